//! Does each row of docs/troubleshooting.md lead from what somebody sees to an answer?

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use crate::fake::{Answer, Asked, Fake};
use crate::fake_sts::{Said, given, refused, said, token};
use crate::page;

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: [registry, webservice]}, role: gitlab}
";

const ROLE: &str = "arn:aws:iam::123456789012:role/gitlab";

/// What somebody has who sees it.
enum Has {
    /// These objects.
    Objects(String),
    /// These values of GitLab's chart.
    Values(&'static str),
    /// A Pod with a web identity, to which STS answers this.
    Sts(u16, &'static str, &'static str),
    /// A Pod without any variable of AWS, on a node with a role.
    Node,
    /// This trust policy.
    TrustPolicy(&'static str),
    /// Nothing but the command.
    Nothing,
}

/// A workload of a component, as GitLab's chart makes it.
fn workload(component: &str, account: &str, metadata: &str, spec: &str) -> String {
    let labels = format!("labels: {{app: {component}, chart: {component}-9.10.0, release: gitlab}}");
    format!(
        "---
{{kind: Deployment, metadata: {{name: gitlab-{component}}}, spec: {{template: {{metadata: {{{labels}, {metadata}}},
  spec: {{serviceAccountName: {account}, {spec}}}}}}}}}
---
{{kind: ServiceAccount, metadata: {{name: gitlab-{component}, {labels},
  annotations: {{eks.amazonaws.com/role-arn: \"{ROLE}\"}}}}}}
"
    )
}

/// A workload that mounts a Secret with this text.
fn with_secret(component: &str, key: &str, text: &str) -> Has {
    let spec = "volumes: [{name: s, projected: {sources: [{secret: {name: storage}}]}}]";
    let secret = json!({"kind": "Secret", "metadata": {"name": "storage"}, "stringData": {key: text}});
    Has::Objects(format!("{}---\n{secret}\n", workload(component, &format!("gitlab-{component}"), "", spec)))
}

fn webservice(metadata: &str, spec: &str) -> Has {
    Has::Objects(workload("webservice", "gitlab-webservice", metadata, spec))
}

/// By what stands in the first column.
fn rows() -> BTreeMap<&'static str, Has> {
    [of_aws(), of_gitlab(), of_the_chart()].into_iter().flatten().collect()
}

/// What AWS says.
fn of_aws() -> Vec<(&'static str, Has)> {
    let keys = "containers: [{name: web, env: [{name: AWS_ACCESS_KEY_ID, value: a}]}]";
    vec![
        (
            "`An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation: Not \
             authorized to perform sts:AssumeRoleWithWebIdentity`",
            Has::Sts(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
        ),
        (
            "`InvalidIdentityToken: No OpenIDConnect provider found in your account`",
            Has::Sts(400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for x"),
        ),
        (
            "`InvalidIdentityToken: Incorrect token audience`",
            Has::Sts(400, "InvalidIdentityToken", "Incorrect token audience"),
        ),
        ("`ExpiredTokenException`", Has::Sts(400, "ExpiredTokenException", "Token expired")),
        (
            "`IDPCommunicationError`",
            Has::Sts(400, "IDPCommunicationError", "Couldn't retrieve verification key"),
        ),
        ("`RegionDisabledException`", Has::Sts(403, "RegionDisabledException", "STS is not activated")),
        ("`aws sts get-caller-identity` shows the role of the node", Has::Node),
        ("`aws sts get-caller-identity` shows a user", webservice("", keys)),
        (
            "\"You have a naming error in your references\"",
            Has::TrustPolicy("system:serviceaccount:gitlab:gitlab-runner"),
        ),
        ("A job outside Kubernetes needs a role (`CI_JOB_JWT_V2` is gone)", Has::Nothing),
    ]
}

/// What GitLab says.
fn of_gitlab() -> Vec<(&'static str, Has)> {
    let runner = workload(
        "gitlab-runner",
        "gitlab-gitlab-runner",
        "",
        "volumes: [{name: c, configMap: {name: runner}}]",
    );
    let cache = "[[runners]]\n[runners.cache]\nType = 's3'\n[runners.cache.s3]\nServerAddress = 's3.amazonaws.com'\n\
        AccessKey = 'a'\nSecretKey = 'b'\nBucketName = 'c'\n";
    let config = json!({
        "kind": "ConfigMap", "metadata": {"name": "runner"}, "data": {"config.template.toml": cache},
    });
    let identity = "containers: [{name: web, env: [{name: AWS_CONTAINER_CREDENTIALS_FULL_URI, value: \
        'http://169.254.170.23/v1/credentials'}]}]";
    let vault = "annotations: {vault.hashicorp.com/agent-inject: 'true', \
        vault.hashicorp.com/agent-inject-secret-aws: aws/creds/gitlab}";
    vec![
        (
            "`WebIdentityErr: failed to retrieve credentials`",
            with_secret(
                "webservice",
                "connection",
                "provider: AWS\nuse_iam_profile: true\nregion: us-east-1\nendpoint: https://s3.example.com\n",
            ),
        ),
        (
            "`Missing required arguments: aws_access_key_id, aws_secret_access_key`",
            with_secret("webservice", "connection", "provider: AWS\nregion: us-east-1\n"),
        ),
        (
            "Objects are stored with the old keys, and the role is ignored",
            with_secret(
                "webservice",
                "connection",
                "provider: AWS\nuse_iam_profile: true\nregion: us-east-1\naws_access_key_id: a\n\
                 aws_secret_access_key: b\n",
            ),
        ),
        (
            "The registry ignores the role",
            with_secret(
                "registry",
                "config",
                "s3:\n  bucket: b\n  region: us-east-1\n  v4auth: true\n  accesskey: a\n  secretkey: b\n",
            ),
        ),
        (
            "`backup-utility` does not copy the backup to the bucket",
            with_secret("toolbox", "config", "[default]\naccess_key = a\nsecret_key = b\n"),
        ),
        (
            "The runner's cache answers 403, or jobs do not find it",
            Has::Objects(format!("{runner}---\n{config}\n")),
        ),
        ("`uri host is not a loopback address`", webservice("", identity)),
        ("The job's or the Pod's keys come from Vault", webservice(vault, "")),
    ]
}

/// What the chart does in silence.
fn of_the_chart() -> Vec<(&'static str, Has)> {
    let misspelt = "{kind: ServiceAccount, metadata: {name: gitlab-registry, annotations: \
        {eks.amazonaws.com/role: 'arn:aws:iam::123456789012:role/gitlab'}}}\n";
    let other = "{kind: ServiceAccount, metadata: {name: gitlab-other}}\n";
    let label = "{kind: Namespace, metadata: {name: gitlab}}\n---\n";
    vec![        (
            "`global.platform.eksRoleArn` is set, and nothing happens",
            Has::Values("global: {platform: {eksRoleArn: \"arn:aws:iam::123456789012:role/gitlab\"}}\n"),
        ),
        (
            "`gitlab.task-runner.annotations` is set, and nothing happens",
            Has::Values("gitlab: {task-runner: {annotations: {iam.amazonaws.com/role: gitlab}}}\n"),
        ),
        (
            "`global.serviceAccount.annotations` is set, and there is no ServiceAccount",
            Has::Values(
                "global: {serviceAccount: {annotations: {eks.amazonaws.com/role-arn: \
                 \"arn:aws:iam::123456789012:role/gitlab\"}}}\n",
            ),
        ),
        (
            "Which values can I delete?",
            Has::Values("registry: {annotations: {iam.amazonaws.com/role: registry}}\n"),
        ),
        ("The Pods run as `default`", Has::Objects(workload("registry", "default", "", ""))),
        (
            "\"You are using a wrong serviceAccount for your Pods\"",
            Has::Objects(format!("{other}{}", workload("registry", "gitlab-other", "", ""))),
        ),
        ("The annotation is there, and nothing happens", Has::Objects(misspelt.to_owned())),
        (
            "`eks.amazonaws.com/role-arn` is on the Pods",
            Has::Objects(
                "{kind: Pod, metadata: {name: a, labels: {app: webservice, chart: webservice-9.10.0, release: gitlab}, \
                 annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/gitlab'}}, \
                 spec: {serviceAccountName: gitlab-webservice}}\n"
                    .to_owned(),
            ),
        ),
        (
            "kube2iam or kiam gives no role",
            webservice("annotations: {iam.amazonaws.com/role: gitlab}", ""),
        ),
        (
            "`serviceaccounts \"gitlab\" already exists`",
            Has::Values("global: {serviceAccount: {enabled: true, name: gitlab}}\n"),
        ),
        (
            "kubectl warns `kept role ..., not ...`",
            Has::Objects(workload("registry", "gitlab-registry", "", "").replace("role/gitlab", "role/other")),
        ),
        (
            "GitLab runs, and no object has a role",
            Has::Objects(format!("{label}{}", workload("registry", "gitlab-registry", "", ""))),
        ),
    ]
}

/// As on a node of EC2.
fn metadata_service(asked: &Asked) -> Answer {
    match asked.line.split_once(' ').unwrap() {
        ("GET", "/latest/meta-data/iam/security-credentials/") => Answer::Whole(200, "node-role".to_owned()),
        ("PUT", "/latest/api/token") => Answer::Whole(200, "session".to_owned()),
        _ => Answer::Whole(404, String::new()),
    }
}

/// Types the command, with what somebody has.
fn ask(command: &str, has: Has) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let mapping = write("mapping.yaml", MAPPING);
    let mut variables = vec![("HOME".to_owned(), folder.path().display().to_string())];
    let mut files = BTreeMap::from([("mapping.yaml", mapping)]);
    let mut more = Vec::new();
    let metadata = Fake::start(metadata_service);
    variables.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), metadata.url()));
    variables.push(("KUBERNETES_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()));
    let (status, code, message) = match has {
        Has::Sts(status, code, message) => (status, code, message),
        _ => (0, "", ""),
    };
    let sts =
        Fake::start(move |asked| if status == 0 { given(asked) } else { refused(status, code, message) });
    match has {
        Has::Objects(objects) => more.extend(["-f".to_owned(), write("objects.yaml", &objects)]),
        Has::Values(values) => {
            files.insert("values.yaml", write("values.yaml", values));
            if command.starts_with("doctor") {
                let objects = write("objects.yaml", &workload("registry", "gitlab-registry", "", ""));
                more.extend(["-f".to_owned(), objects]);
            }
        }
        Has::Sts(..) => {
            let token = write("token", &token("registry", &json!(["sts.amazonaws.com"])));
            variables.push(("AWS_ROLE_ARN".to_owned(), ROLE.to_owned()));
            variables.push(("AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(), token));
            more.extend(["--sts-endpoint".to_owned(), sts.url()]);
        }
        Has::Node => more.extend(["--sts-endpoint".to_owned(), sts.url()]),
        Has::TrustPolicy(subject) => {
            let policy = json!({"Role": {"RoleName": "gitlab", "Arn": ROLE, "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                    "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/issuer.example.com"},
                    "Condition": {"StringEquals": {
                        "issuer.example.com:sub": subject, "issuer.example.com:aud": "sts.amazonaws.com",
                    }},
                }],
            }}});
            files.insert("role.json", write("role.json", &policy.to_string()));
            let objects = write("objects.yaml", &workload("registry", "gitlab-registry", "", ""));
            more.extend(["-f".to_owned(), objects]);
        }
        Has::Nothing => {}
    }
    let words = command.split_whitespace().map(|word| match files.get(word) {
        Some(path) => path.clone(),
        None => word.to_owned(),
    });
    let arguments: Vec<String> = words.chain(more).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(key, value)| (&**key, &**value)).collect();
    said(&arguments, &variables)
}

fn plain(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or_else(|| panic!("{cell}"))
}

#[test]
fn each_row_leads_from_what_is_seen_to_an_answer() {
    let mut known = rows();
    let mut wrong = Vec::new();
    for (_, cells) in page::rows("docs/troubleshooting.md", "what you see") {
        let [seen, _, command, answer] = cells.as_slice() else { panic!("{cells:?}") };
        let has = known.remove(seen.as_str()).unwrap_or_else(|| panic!("nobody tries the row {seen}"));
        let said = ask(plain(command), has);
        // The name of a check stands in brackets behind its finding; other answers are words.
        if !format!("{}{}", said.out, said.err).contains(plain(answer)) {
            wrong.push(format!("{seen}: `{}` does not say {answer}:\n{said:#?}", plain(command)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(known.is_empty(), "the page does not have {:?}", known.keys());
}
