//! Which object triggers each check, and which one like it does not?

use super::super::*;
use super::{Check, PLANTED};

/// What triggers a check, and what does not.
pub(super) struct Case {
    pub(super) check: &'static Check,
    pub(super) mapping: &'static str,
    pub(super) wrong: String,
    pub(super) right: String,
    /// What the line of the finding says.
    pub(super) want: &'static [&'static str],
}

pub(super) const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
  - {match: {component: [webservice, sidekiq, toolbox, runner]}, role: gitlab}
";

const KUBE2IAM: &str = "account: \"123456789012\"
provider: kube2iam
rules:
  - {match: {component: [webservice, sidekiq]}, role: gitlab}
";

const KIAM: &str = "account: \"123456789012\"
provider: kiam
rules:
  - {match: {component: [webservice, sidekiq]}, role: gitlab}
";

const ROLE: &str = "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/gitlab";
const POD_ROLE: &str = "annotations: {iam.amazonaws.com/role: 'arn:aws:iam::123456789012:role/gitlab'}";
const INJECTED: &str = "volumes: [{name: aws-iam-token, projected: {sources: [{serviceAccountToken: \
     {audience: \
     sts.amazonaws.com}}]}}], containers: [{name: web, env: [{name: AWS_ROLE_ARN, value: \
     'arn:aws:iam::123456789012:role/gitlab'}, {name: AWS_WEB_IDENTITY_TOKEN_FILE, value: /var/run/token}]}]";

/// The annotations of an object with [`ROLE`], of whose role it is recorded that we gave it this value.
fn recorded(value: &str) -> String {
    let record = format!(r#"{{"annotations":{{"eks.amazonaws.com/role-arn":"{value}"}},"rule":"x"}}"#);
    format!("annotations: {{{ROLE}, gitlab-iam-webhook/applied: '{record}'}}")
}

/// A Pod of a component; `metadata` and `spec` are more of both.
pub(super) fn pod(component: &str, account: &str, metadata: &str, spec: &str) -> String {
    written("Pod", component, account, metadata, spec)
}

/// The same, as a workload of this kind.
pub(super) fn written(kind: &str, component: &str, account: &str, metadata: &str, spec: &str) -> String {
    let pod = format!(
        "metadata: {{name: gitlab-{component}-0, namespace: gitlab, labels: {{app: {component}, chart: \
         {component}-9.10.0, release: gitlab}}, {metadata}}}, spec: {{serviceAccountName: {account}, {spec}}}"
    );
    if kind == "Pod" {
        return format!("---\n{{kind: Pod, {pod}}}\n");
    }
    format!("---\n{{kind: {kind}, metadata: {{name: gitlab-{component}}}, spec: {{template: {{{pod}}}}}}}\n")
}

/// A ServiceAccount; of a component where one is named.
pub(super) fn account(name: &str, component: &str, annotations: &str) -> String {
    let labels = match component {
        "" => String::new(),
        _ => format!("labels: {{app: {component}, chart: {component}-9.10.0, release: gitlab}}, "),
    };
    format!(
        "---\n{{kind: ServiceAccount, metadata: {{name: {name}, {labels}annotations: {{{annotations}}}}}}}\n"
    )
}

pub(super) fn namespace(name: &str, labels: &str, annotations: &str) -> String {
    format!(
        "---\n{{kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}, annotations: \
         {{{annotations}}}}}}}\n"
    )
}

pub(super) fn secret(name: &str, key: &str, text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!("---\n{{kind: Secret, metadata: {{name: {name}}}, stringData: {{{key}: {text}}}}}\n")
}

pub(super) fn config_map(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!("---\n{{kind: ConfigMap, metadata: {{name: runner}}, data: {{config.template.toml: {text}}}}}\n")
}

fn opted_in() -> String {
    namespace("gitlab", "gitlab-iam-webhook/inject: enabled", "")
}

fn webservice_account() -> String {
    account("gitlab-webservice", "webservice", ROLE)
}

/// The Pod of webservice with a role on its account, and this in its first container.
fn with_container(container: &str) -> String {
    let spec = format!("containers: [{{name: web, {container}}}]");
    [webservice_account(), written("Deployment", "webservice", "gitlab-webservice", "", &spec)].concat()
}

fn with_env(name: &str, value: &str) -> String {
    with_container(&format!("env: [{{name: {name}, value: {value}}}]"))
}

/// GitLab with a role, whose Pods mount a Secret with this text.
pub(super) fn with_secret(component: &str, key: &str, text: &str) -> String {
    let volume = "volumes: [{name: s, projected: {sources: [{secret: {name: storage}}]}}]";
    [
        account(&format!("gitlab-{component}"), component, ROLE),
        written("Deployment", component, &format!("gitlab-{component}"), "", volume),
        secret("storage", key, text),
    ]
    .concat()
}

fn with_cache(s3: &str, spec: &str) -> String {
    with_runner(&format!("[runners.cache]\nType = 's3'\n[runners.cache.s3]\n{s3}"), spec)
}

fn with_runner(toml: &str, spec: &str) -> String {
    let spec = format!(
        "volumes: [{{name: c, configMap: {{name: runner}}}}, {{name: s, secret: {{secretName: \
         cache}}}}], {spec}"
    );
    [
        account("gitlab-gitlab-runner", "gitlab-runner", ROLE),
        written("Deployment", "gitlab-runner", "gitlab-gitlab-runner", "", &spec),
        config_map(&format!("[[runners]]\n{toml}")),
    ]
    .concat()
}

/// GitLab as it should be.
pub(super) fn healthy() -> String {
    [
        opted_in(),
        webservice_account(),
        pod("webservice", "gitlab-webservice", "", INJECTED),
        with_secret("registry", "config", "s3:\n  bucket: b\n  region: eu-west-1\n  v4auth: true\n")
            .replace("role/gitlab", "role/registry"),
        with_cache("BucketName = 'b'\nBucketLocation = 'eu-west-1'\n", ""),
    ]
    .concat()
}

pub(super) fn cases() -> Vec<Case> {
    [
        of_namespaces(),
        of_accounts(),
        of_decisions(),
        of_pods(),
        of_the_chain(),
        of_metadata_roles(),
        of_secrets(),
        of_registry_and_backups(),
        of_runners(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_namespaces() -> Vec<Case> {
    let gitlab = |label: &str| [namespace("gitlab", label, ""), account("x", "webservice", "")].concat();
    let orphan = |label: &str, role: &str| {
        let applied = r#"'{"annotations":{"eks.amazonaws.com/role-arn":"r"},"rule":"x"}'"#;
        let annotations =
            format!("eks.amazonaws.com/role-arn: {role}, gitlab-iam-webhook/applied: {applied}");
        [namespace("gitlab", label, ""), account("x", "", &annotations)].concat()
    };
    vec![
        Case {
            check: &namespaces::NOT_LABELLED,
            mapping: MAPPING,
            wrong: gitlab(""),
            right: gitlab("gitlab-iam-webhook/inject: enabled"),
            want: &[
                "Namespace gitlab: GitLab is in it (webservice), but nobody opted it in",
                "kubectl label namespace gitlab --overwrite gitlab-iam-webhook/inject=enabled",
            ],
        },
        Case {
            check: &namespaces::NOT_LABELLED,
            mapping: MAPPING,
            wrong: gitlab("gitlab-iam-webhook/inject: 'true'"),
            right: gitlab("gitlab-iam-webhook/inject: disabled"),
            want: &["its label gitlab-iam-webhook/inject=true does nothing"],
        },
        Case {
            check: &namespaces::OBSERVED,
            mapping: MAPPING,
            wrong: gitlab("gitlab-iam-webhook/inject: observe"),
            right: gitlab("gitlab-iam-webhook/inject: enabled"),
            want: &["it is only observed"],
        },
        Case {
            check: &namespaces::OWN_NAMESPACE,
            mapping: MAPPING,
            wrong: namespace("gitlab-iam-webhook", "gitlab-iam-webhook/inject: enabled", ""),
            right: [namespace("gitlab-iam-webhook", "", ""), opted_in()].concat(),
            want: &[
                "Namespace gitlab-iam-webhook",
                "kubectl label namespace gitlab-iam-webhook gitlab-iam-webhook/inject-",
            ],
        },
        Case {
            check: &namespaces::ORPHAN,
            mapping: MAPPING,
            wrong: orphan("", "r"),
            right: orphan("gitlab-iam-webhook/inject: enabled", "r"),
            want: &[
                "ServiceAccount gitlab/x",
                "has not opted in",
                "annotate serviceaccount x eks.amazonaws.com/role-arn- gitlab-iam-webhook/applied-",
            ],
        },
        Case {
            check: &namespaces::ORPHAN,
            mapping: MAPPING,
            wrong: orphan("gitlab-iam-webhook/inject: disabled", "r"),
            // A person gave it another role by now.
            right: orphan("gitlab-iam-webhook/inject: disabled", "other"),
            want: &["its namespace says disabled"],
        },
    ]
}

fn of_accounts() -> Vec<Case> {
    let shared = |component: &str| {
        [account("shared", "", ""), pod("webservice", "shared", "", ""), pod(component, "shared", "", "")]
            .concat()
    };
    vec![
        Case {
            check: &accounts::DEFAULT_ACCOUNT,
            mapping: MAPPING,
            wrong: pod("webservice", "default", "", ""),
            right: [pod("webservice", "gitlab-webservice", "", ""), pod("kas", "default", "", "")].concat(),
            want: &[
                "Pod gitlab/gitlab-webservice-0",
                "role/gitlab of webservice",
                "set global.serviceAccount.enabled=true",
            ],
        },
        Case {
            check: &accounts::ACCOUNT_WITHOUT_LABELS,
            mapping: MAPPING,
            wrong: shared("sidekiq"),
            right: [account("shared", "webservice", ""), pod("webservice", "shared", "", "")].concat(),
            want: &[
                "ServiceAccount gitlab/shared",
                "the Pods of webservice run as it",
                "serviceAccount: \"shared\"}, provider: irsa, role: \
                 \"arn:aws:iam::123456789012:role/gitlab\"}",
            ],
        },
        Case {
            check: &accounts::SHARED_ACCOUNT,
            mapping: MAPPING,
            wrong: shared("registry"),
            right: shared("sidekiq"),
            want: &["ServiceAccount gitlab/shared", "webservice", "registry"],
        },
        Case {
            check: &accounts::ACCOUNT_MISSING,
            mapping: MAPPING,
            wrong: [account("default", "", ""), pod("praefect", "gitlab-praefect", "", "")].concat(),
            right: [account("gitlab-praefect", "", ""), pod("praefect", "gitlab-praefect", "", "")].concat(),
            want: &[
                "ServiceAccount gitlab-praefect, which does not exist",
                "create serviceaccount gitlab-praefect",
            ],
        },
        Case {
            check: &accounts::ROLE_NOT_ARN,
            mapping: MAPPING,
            wrong: account("x", "", "eks.amazonaws.com/role-arn: gitlab"),
            right: account("x", "", ROLE),
            want: &["ServiceAccount gitlab/x", "`gitlab` is not a role ARN"],
        },
    ]
}

fn of_decisions() -> Vec<Case> {
    vec![
        Case {
            check: &out_of_step::OUT_OF_STEP,
            mapping: MAPPING,
            wrong: opted_in() + &account("gitlab-webservice", "webservice", ""),
            // Where nobody opted in, nothing is written.
            right: [opted_in(), webservice_account(), namespace("other", "", "")].concat(),
            want: &[
                "ServiceAccount gitlab/gitlab-webservice: its role is none, but the mapping gives it arn:",
                "kubectl -n gitlab patch serviceaccount gitlab-webservice --type merge --patch '{}'",
            ],
        },
        Case {
            check: &out_of_step::KEPT,
            mapping: MAPPING,
            wrong: account("x", "webservice", &ROLE.replace("gitlab", "old")),
            right: account("x", "webservice", ROLE),
            want: &[
                "somebody else set its role arn:aws:iam::123456789012:role/old, which is kept; rule ",
                " of the mapping would give arn:aws:iam::123456789012:role/gitlab",
                "onConflict: replace",
            ],
        },
        Case {
            check: &out_of_step::REFUSED,
            mapping: "account: \"123456789012\"\nrules: [{match: {serviceAccount: x*}, role: \
                 'a-{release}'}]\n",
            wrong: account("x1", "", ""),
            right: account("x2", "webservice", ""),
            want: &["ServiceAccount gitlab/x1", "{release} cannot be filled"],
        },
        Case {
            check: &annotations::TYPO,
            mapping: MAPPING,
            wrong: account("x", "", "eks.amazon.com/role-arn: $(x)"),
            right: account("x", "", ROLE),
            want: &[
                "eks.amazon.com/role-arn is read by nobody: eks.amazonaws.com/role-arn is meant",
                "kubectl -n gitlab annotate serviceaccount x eks.amazon.com/role-arn- \
                 'eks.amazonaws.com/role-arn=$(x)'",
            ],
        },
        Case {
            check: &annotations::WITHOUT_EFFECT,
            mapping: MAPPING,
            wrong: [
                webservice_account().replace(ROLE, ""),
                pod("webservice", "gitlab-webservice", &format!("annotations: {{{ROLE}}}"), ""),
            ]
            .concat(),
            right: [webservice_account(), pod("webservice", "gitlab-webservice", "", "")].concat(),
            want: &["is read by nobody", "has arn:aws:iam::123456789012:role/gitlab by the mapping"],
        },
        Case {
            check: &annotations::WRONG_OBJECT,
            mapping: "",
            wrong: pod("webservice", "x", &format!("annotations: {{{ROLE}}}"), ""),
            right: [
                webservice_account(),
                pod("webservice", "gitlab-webservice", &format!("annotations: {{{ROLE}}}"), ""),
            ]
            .concat(),
            want: &["EKS reads it on the ServiceAccount"],
        },
        Case {
            check: &annotations::WRONG_OBJECT,
            mapping: "",
            // Somebody gave it another value since, or wrote the record himself.
            wrong: pod("webservice", "x", &recorded("other"), ""),
            right: pod("webservice", "x", &recorded("arn:aws:iam::123456789012:role/gitlab"), ""),
            want: &["EKS reads it on the ServiceAccount"],
        },
        Case {
            check: &annotations::WRONG_OBJECT,
            mapping: "",
            wrong: account("x", "", "iam.amazonaws.com/role: gitlab"),
            right: pod("webservice", "x", POD_ROLE, ""),
            want: &["kube2iam and kiam read it on Pods", "annotate serviceaccount x iam.amazonaws.com/role-"],
        },
    ]
}

fn of_pods() -> Vec<Case> {
    let with = |metadata: &str, spec: &str| {
        [webservice_account(), pod("webservice", "gitlab-webservice", metadata, spec)].concat()
    };
    let china = |spec: &str| {
        let role = "eks.amazonaws.com/role-arn: arn:aws-cn:iam::123456789012:role/gitlab";
        [
            account("gitlab-webservice", "webservice", role),
            written("Deployment", "webservice", "gitlab-webservice", "", spec),
        ]
        .concat()
    };
    vec![
        Case {
            check: &stale::WITHOUT_ROLE,
            mapping: MAPPING,
            wrong: with("ownerReferences: [{kind: StatefulSet, name: web}]", "containers: [{name: web}]"),
            right: with("", INJECTED),
            want: &[
                "older than the role arn:aws:iam::123456789012:role/gitlab",
                "kubectl -n gitlab rollout restart statefulset/web",
            ],
        },
        Case {
            check: &stale::WITHOUT_ROLE,
            mapping: MAPPING,
            wrong: with(
                "labels: {eks.amazonaws.com/skip-pod-identity-webhook: ''}",
                "containers: [{name: web}]",
            ),
            // What has ended needs no role.
            right: with("", "containers: [{name: web}]")
                .replace("spec:", "status: {phase: Succeeded}, spec:"),
            want: &["its label eks.amazonaws.com/skip-pod-identity-webhook keeps the EKS webhook away"],
        },
        Case {
            check: &stale::WITHOUT_ROLE,
            mapping: KUBE2IAM,
            wrong: [opted_in(), pod("webservice", "x", "", "")].concat(),
            right: [opted_in(), pod("webservice", "x", POD_ROLE, "")].concat(),
            want: &["it has no annotation iam.amazonaws.com/role"],
        },
        Case {
            check: &stale::OTHER_ROLE,
            mapping: MAPPING,
            wrong: with("", &INJECTED.replace("role/gitlab", "role/old")),
            right: with("", INJECTED),
            want: &[
                "container web: it has the role arn:aws:iam::123456789012:role/old",
                "kubectl -n gitlab delete pod gitlab-webservice-0",
            ],
        },
        Case {
            check: &stale::ROLE_BY_HAND,
            mapping: MAPPING,
            wrong: with_env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/gitlab"),
            right: with("", INJECTED),
            want: &["Deployment gitlab/gitlab-webservice container web", "the EKS webhook adds neither"],
        },
        Case {
            check: &regional_sts::REGIONAL_STS,
            mapping: "",
            wrong: account("x", "", "eks.amazonaws.com/role-arn: arn:aws-us-gov:iam::123456789012:role/x"),
            right: account(
                "x",
                "",
                "eks.amazonaws.com/role-arn: arn:aws-us-gov:iam::123456789012:role/x, \
                 eks.amazonaws.com/sts-regional-endpoints: 'true'",
            ) + &account("other", "", ROLE),
            want: &[
                "its role is of aws-us-gov",
                "annotate serviceaccount x eks.amazonaws.com/sts-regional-endpoints=true",
            ],
        },
        Case {
            check: &regional_sts::CHINA_STS,
            mapping: "",
            wrong: china("containers: [{name: web}]"),
            right: china("containers: [{name: web, env: [{name: AWS_ENDPOINT_URL_STS, value: x}]}]"),
            want: &[
                "Deployment gitlab/gitlab-webservice",
                "AWS_ENDPOINT_URL_STS=https://sts.cn-north-1.amazonaws.com.cn",
            ],
        },
    ]
}

fn of_the_chain() -> Vec<Case> {
    let env_from = |key: &str, prefix: &str| {
        let container = format!("envFrom: [{{prefix: '{prefix}', secretRef: {{name: aws}}}}]");
        [with_container(&container), secret("aws", key, PLANTED)].concat()
    };
    let vault = |secret: &str| {
        let annotations = format!(
            "annotations: {{vault.hashicorp.com/agent-inject: 'true', \
             vault.hashicorp.com/agent-inject-secret-x: {secret}}}"
        );
        [webservice_account(), pod("webservice", "gitlab-webservice", &annotations, INJECTED)].concat()
    };
    vec![
        Case {
            check: &chain::STATIC_ENV,
            mapping: MAPPING,
            wrong: with_env("AWS_ACCESS_KEY_ID", PLANTED),
            right: with_env("AWS_ACCESS_KEY_ID", "''"),
            want: &["Deployment gitlab/gitlab-webservice container web: its environment sets \
                 AWS_ACCESS_KEY_ID, which"],
        },
        Case {
            check: &chain::STATIC_ENV,
            mapping: MAPPING,
            wrong: with_container(
                "env: [{name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: a, key: b}}}]",
            ),
            // The role of this component is nobody's concern.
            right: written(
                "Deployment",
                "kas",
                "kas",
                "",
                "containers: [{name: a, env: [{name: AWS_SECRET_ACCESS_KEY, value: x}]}]",
            ),
            want: &["AWS_SECRET_ACCESS_KEY"],
        },
        Case {
            check: &chain::STATIC_ENV,
            mapping: MAPPING,
            wrong: with_env("REGISTRY_STORAGE_S3_ACCESSKEY", PLANTED),
            right: with_env("REGISTRY_STORAGE_S3_BUCKET", "x"),
            want: &["its environment sets REGISTRY_STORAGE_S3_ACCESSKEY", "verify` says ok"],
        },
        Case {
            check: &chain::STATIC_ENV,
            mapping: MAPPING,
            wrong: env_from("ACCESS_KEY_ID", "AWS_"),
            right: env_from("ACCESS_KEY_ID", ""),
            want: &["AWS_ACCESS_KEY_ID"],
        },
        Case {
            check: &chain::PROFILE,
            mapping: MAPPING,
            wrong: with_env("AWS_PROFILE", "prod"),
            right: with_env("AWS_REGION", "eu-west-1"),
            want: &["sets AWS_PROFILE"],
        },
        Case {
            check: &chain::CREDENTIALS_FILE,
            mapping: MAPPING,
            wrong: with_container("volumeMounts: [{name: a, mountPath: /home/git/.aws}]"),
            right: with_container("volumeMounts: [{name: a, mountPath: /home/git/.awsome}]"),
            want: &["container web: a volume is mounted at .aws"],
        },
        Case {
            check: &chain::CREDENTIALS_FILE,
            mapping: MAPPING,
            wrong: with_env("AWS_SHARED_CREDENTIALS_FILE", "/x"),
            right: with_env("AWS_SHARED_CREDENTIALS_FILE", "''"),
            want: &["(AWS_SHARED_CREDENTIALS_FILE)"],
        },
        Case {
            check: &chain::VAULT_AGENT,
            mapping: MAPPING,
            wrong: vault("aws/creds/gitlab"),
            right: vault("kv/gitlab"),
            want: &["vault.hashicorp.com/agent-inject-secret-x"],
        },
        Case {
            check: &chain::POD_IDENTITY,
            mapping: MAPPING,
            wrong: with_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
            right: with_env("AWS_REGION", "eu-west-1"),
            want: &["EKS Pod Identity has a role for its ServiceAccount gitlab-webservice"],
        },
    ]
}

fn of_metadata_roles() -> Vec<Case> {
    let under = |annotations: &str| {
        let namespace = namespace("gitlab", "gitlab-iam-webhook/inject: enabled", annotations);
        [namespace, pod("webservice", "x", POD_ROLE, "")].concat()
    };
    let bare =
        |role: &str| pod("webservice", "x", &format!("annotations: {{iam.amazonaws.com/role: {role}}}"), "");
    vec![
        Case {
            check: &metadata_roles::KIAM_NAMESPACE,
            mapping: KIAM,
            wrong: under(""),
            right: under("iam.amazonaws.com/permitted: '.*/gitlab'"),
            want: &[
                "Namespace gitlab: it has no annotation iam.amazonaws.com/permitted",
                "--overwrite iam.amazonaws.com/permitted=arn:aws:iam::123456789012:role/gitlab",
            ],
        },
        Case {
            check: &metadata_roles::KIAM_NAMESPACE,
            mapping: KIAM,
            wrong: under("iam.amazonaws.com/permitted: gitlab"),
            right: under("iam.amazonaws.com/permitted: 'arn:aws:iam::\\d+:role/(gitlab|other)'"),
            want: &[
                "does not match arn:aws:iam::123456789012:role/gitlab",
                "'iam.amazonaws.com/permitted=(gitlab)|arn:",
            ],
        },
        Case {
            check: &metadata_roles::KUBE2IAM_NAMESPACE,
            mapping: KUBE2IAM,
            wrong: under("iam.amazonaws.com/allowed-roles: '[\"other\"]'"),
            right: under("iam.amazonaws.com/allowed-roles: '[\"git*\"]'"),
            want: &[
                "does not name arn:aws:iam::123456789012:role/gitlab",
                "[\"other\",\"arn:aws:iam::123456789012:role/gitlab\"]'",
            ],
        },
        Case {
            check: &metadata_roles::KUBE2IAM_NAMESPACE,
            mapping: KUBE2IAM,
            wrong: under("iam.amazonaws.com/allowed-roles: gitlab"),
            right: under("iam.amazonaws.com/allowed-roles: '[\"arn:aws:iam::123456789012:role/.*\"]'"),
            want: &["is no JSON array of texts"],
        },
        Case {
            check: &metadata_roles::BARE_ROLE,
            mapping: "",
            wrong: bare("gitlab"),
            right: bare("'arn:aws:iam::123456789012:role/gitlab'"),
            want: &["its role gitlab is a bare name"],
        },
        Case {
            check: &metadata_roles::BARE_ROLE,
            mapping: "",
            wrong: bare("''"),
            right: pod("webservice", "x", "", ""),
            want: &["is empty"],
        },
        Case {
            check: &metadata_roles::HOST_NETWORK,
            mapping: "",
            wrong: pod("webservice", "x", POD_ROLE, "hostNetwork: true"),
            right: [
                pod("webservice", "x", POD_ROLE, ""),
                pod("webservice", "other", "", "hostNetwork: true"),
            ]
            .concat(),
            want: &["it has the address of its node"],
        },
        Case {
            check: &metadata_roles::METADATA_DISABLED,
            mapping: "",
            wrong: pod(
                "webservice",
                "x",
                POD_ROLE,
                "containers: [{name: web, env: [{name: AWS_EC2_METADATA_DISABLED, value: 'true'}]}]",
            ),
            right: pod(
                "webservice",
                "x",
                POD_ROLE,
                "containers: [{name: web, env: [{name: AWS_EC2_METADATA_DISABLED, value: 'false'}]}]",
            ),
            want: &["container web: AWS_EC2_METADATA_DISABLED"],
        },
    ]
}

fn of_secrets() -> Vec<Case> {
    let connection = |text: &str| with_secret("webservice", "connection", &format!("region: x\n{text}"));
    let good = || connection("provider: AWS\nuse_iam_profile: true\n");
    vec![
        Case {
            check: &credentials::STATIC_KEYS,
            mapping: MAPPING,
            wrong: connection(
                "provider: AWS\nuse_iam_profile: true\naws_access_key_id: AKIA\naws_secret_access_key: \
                 PLANTED-SECRET\n",
            ),
            right: good(),
            want: &[
                "Secret gitlab/storage key connection: it has aws_access_key_id and \
                 aws_secret_access_key, which",
                "(webservice read it)",
            ],
        },
        Case {
            check: &credentials::STATIC_KEYS,
            mapping: MAPPING,
            wrong: connection("provider: AWS\nuse_iam_profile: true\naws_access_key_id: ''\n"),
            // Nobody expects a role of kas.
            right: with_secret("kas", "connection", "provider: AWS\naws_access_key_id: x\n")
                .replace(ROLE, ""),
            want: &["it has aws_access_key_id with nothing in it"],
        },
        Case {
            check: &credentials::USE_IAM_PROFILE,
            mapping: MAPPING,
            wrong: connection("provider: AWS\n"),
            right: good(),
            want: &["`use_iam_profile` is missing", "write `use_iam_profile: true`"],
        },
        Case {
            check: &credentials::USE_IAM_PROFILE,
            mapping: MAPPING,
            wrong: connection("provider: AWS\nuse_iam_profile: false\n"),
            right: connection("provider: AWS\nuse_iam_profile: yes\n"),
            want: &["`use_iam_profile` does not say true"],
        },
        Case {
            check: &credentials::STORAGE_ENDPOINT,
            mapping: MAPPING,
            wrong: connection("provider: AWS\nuse_iam_profile: true\nendpoint: https://PLANTED-SECRET\n"),
            right: good(),
            want: &["it has `endpoint`"],
        },
        Case {
            check: &credentials::STORAGE_PROVIDER,
            mapping: MAPPING,
            wrong: connection("provider: Google\n"),
            right: good(),
            want: &["its `provider` is not AWS"],
        },
    ]
}

fn of_registry_and_backups() -> Vec<Case> {
    let registry = |text: &str| with_secret("registry", "config", &format!("s3:\n  bucket: b\n  {text}\n"));
    let webservice = || [webservice_account(), pod("webservice", "gitlab-webservice", "", "")].concat();
    let s3cmd =
        |text: &str| with_secret("toolbox", "config", &format!("[default]\nbucket_location = x\n{text}\n"));
    let identity = |name: &str| {
        let label = format!("labels: {{chart: toolbox-9.10.0, {name}: enabled}}");
        let volume = "volumes: [{name: s, secret: {secretName: storage}}]";
        [
            account("gitlab-toolbox", "toolbox", ROLE),
            pod("toolbox", "gitlab-toolbox", &label, volume),
            secret("storage", "config", "[default]\nbucket_location = x\n"),
        ]
        .concat()
    };
    vec![
        Case {
            check: &credentials::REGISTRY_KEYS,
            mapping: MAPPING,
            wrong: registry("accesskey: AKIA\n  secretkey: PLANTED-SECRET"),
            right: registry("accesskey: ''"),
            want: &["Secret gitlab/storage key config: it has accesskey and secretkey"],
        },
        Case {
            check: &credentials::REGISTRY_ENDPOINT,
            mapping: MAPPING,
            wrong: registry("regionendpoint: https://x"),
            right: registry("region: x"),
            want: &["it has `regionendpoint`"],
        },
        Case {
            check: &credentials::REGISTRY_V4AUTH,
            mapping: MAPPING,
            wrong: registry("v4auth: false"),
            right: registry("v4auth: true"),
            want: &["write `v4auth: true`"],
        },
        Case {
            check: &credentials::S3CMD_KEYS,
            mapping: MAPPING,
            wrong: s3cmd("access_key = AKIA\nsecret_key = PLANTED-SECRET"),
            right: s3cmd("access_key =\n# secret_key = x"),
            want: &["it has access_key and secret_key"],
        },
        Case {
            check: &credentials::S3CMD_KEYS,
            mapping: MAPPING,
            wrong: webservice() + &secret("gitlab-s3cmd-config", "config", "[default]\naccess_key = AKIA\n"),
            right: webservice() + &secret("other", "config", "[default]\naccess_key = AKIA\n"),
            want: &["Secret gitlab/gitlab-s3cmd-config key config: it has access_key", "verify` says ok"],
        },
        Case {
            check: &credentials::S3CMD_POD_IDENTITY,
            mapping: MAPPING,
            wrong: identity("eks.amazonaws.com/pod-identity"),
            right: identity("other"),
            want: &["Secret gitlab/storage key config", "--s3tool awscli"],
        },
    ]
}

fn of_runners() -> Vec<Case> {
    let secret = |key: &str| {
        let data = format!(
            "---\n{{kind: Secret, metadata: {{name: cache}}, stringData: {{accesskey: x, {key}: \
             {PLANTED}}}}}\n"
        );
        with_cache("ServerAddress = 's3.amazonaws.com'\n", "") + &data
    };
    let legacy = |name: &str| {
        let spec = format!("containers: [{{name: m, env: [{{name: {name}, value: 'https://x'}}]}}]");
        let toml =
            "[runners.feature_flags]\nFF_USE_LEGACY_S3_CACHE_ADAPTER = true\n[runners.cache]\nType = 's3'\n";
        with_runner(toml, &spec)
    };
    vec![
        Case {
            check: &runner_cache::KEYS,
            mapping: MAPPING,
            wrong: with_cache("ServerAddress = 'a'\naccesskey = 'b'\nSecretKey = 'PLANTED-SECRET'\n", ""),
            right: with_cache(
                "ServerAddress = 'a'\nAccessKey = 'b'\nSecretKey = 'c'\nAuthenticationType = 'IAM'\n",
                "",
            ),
            want: &["ConfigMap gitlab/runner key config.template.toml, runners[0].cache.s3: it has \
                 ServerAddress, AccessKey"],
        },
        Case {
            check: &runner_cache::KEYS,
            mapping: MAPPING,
            wrong: with_cache("AuthenticationType = 'access-key'\n", ""),
            right: with_cache("AccessKey = 'b'\nSecretKey = 'c'\n", ""),
            want: &["AuthenticationType is access-key"],
        },
        Case {
            check: &runner_cache::KEYS,
            mapping: MAPPING,
            wrong: secret("secretkey"),
            right: secret("other"),
            want: &["the Secret cache gives the runner accesskey and secretkey"],
        },
        Case {
            check: &runner_cache::AUTHENTICATION_TYPE,
            mapping: MAPPING,
            wrong: with_cache("AuthenticationType = 'PLANTED-SECRET'\n", ""),
            right: with_cache("AuthenticationType = 'iam'\n", ""),
            want: &["is neither iam nor access-key"],
        },
        Case {
            check: &runner_cache::ASSUMES_ROLE,
            mapping: MAPPING,
            wrong: with_cache("RoleARN = 'arn:aws:iam::123456789012:role/cache'\n", ""),
            right: with_cache("BucketName = 'x'\n", ""),
            want: &["it has RoleARN"],
        },
        Case {
            check: &runner_cache::LEGACY_ADAPTER,
            mapping: MAPPING,
            wrong: legacy("AWS_ENDPOINT_URL_STS"),
            right: legacy("AWS_REGION"),
            want: &["FF_USE_LEGACY_S3_CACHE_ADAPTER is on, and its manager asks an STS of its own"],
        },
    ]
}
