//! What does `trust-policy` print, and what does it exit with?

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const ISSUER: &str = "https://oidc.eks.eu-west-1.amazonaws.com/id/BLUE";
const PROVIDER: &str = "oidc.eks.eu-west-1.amazonaws.com/id/BLUE";
const NODE: &str = "arn:aws:iam::123456789012:role/node";

const LITERAL: &str = "account: \"123456789012\"
rules:
  - {match: {serviceAccount: gitlab-registry, namespace: gitlab}, role: a/registry}
  - {match: {serviceAccount: gitlab-toolbox, namespace: [gitlab, geo]}, role: backup, irsa: {audience: vault}}
";
const LABELS: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
  - {match: {component: webservice}, role: gitlab}
  - {match: {serviceAccount: job, namespace: ci}, role: job}
";
const PODS: &str = "account: \"123456789012\"
rules:
  - {match: {component: runner-job, namespace: ci, project: [4711, 12], runner: ci/gitlab-runner}, provider: kube2iam,
     role: \"ci-{project}\", kube2iam: {externalId: x-1}}
  - {match: {component: sidekiq}, provider: kube2iam, role: \"arn:aws-cn:iam::210987654321:role/sidekiq\"}
";
const CHART: &str = "apiVersion: v1
kind: ServiceAccount
metadata:
  name: gitlab-registry
  labels: {app: registry, chart: registry-0.7.0, release: gitlab}
---
kind: ServiceAccount
metadata:
  name: gitlab-webservice
  namespace: other
  labels: {app: webservice, chart: webservice-9.10.0, release: gitlab}
---
kind: Secret
metadata: {name: s}
stringData: {key: PLANTED}
";

struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    /// Runs the command in the folder. Nothing of this machine's cluster is seen.
    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
            .arg("trust-policy")
            .args(arguments)
            .current_dir(self.0.path())
            .env("KUBECONFIG", "no-such-file")
            .env("HOME", self.0.path())
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses its arguments may have ended before it has read anything.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(!out.contains("PLANTED") && !err.contains("PLANTED"), "{out}{err}");
        assert!(!format!("{out}{err}").contains(|c: char| c.is_control() && c != '\n'), "{out}{err}");
        (output.status.code().unwrap(), out, err)
    }

    fn json(&self, arguments: &[&str], input: &str) -> (i32, Value, String) {
        let (code, out, err) = self.run(&[arguments, &["--output", "json"]].concat(), input);
        let value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        (code, value, err)
    }
}

fn with_mapping(mapping: &str) -> Files {
    Files::new(&[("m.yaml", mapping), ("chart.yaml", CHART)])
}

/// The roles of an output in JSON with their policies.
fn roles(value: &Value) -> BTreeMap<&str, &Value> {
    let roles = value["roles"].as_array().unwrap();
    roles.iter().map(|role| (role["role"].as_str().unwrap(), &role["policy"])).collect()
}

#[test]
fn rules_that_name_their_accounts_need_nothing_else() {
    let (code, value, err) = with_mapping(LITERAL).json(&["-m", "m.yaml", "--issuer", ISSUER], "");
    assert_eq!((code, err.as_str()), (0, ""));
    let roles = roles(&value);
    assert_eq!(
        roles["arn:aws:iam::123456789012:role/a/registry"],
        &json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{PROVIDER}")},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                format!("{PROVIDER}:aud"): "sts.amazonaws.com",
                format!("{PROVIDER}:sub"): "system:serviceaccount:gitlab:gitlab-registry",
            }},
        }]})
    );
    let backup = &roles["arn:aws:iam::123456789012:role/backup"]["Statement"][0]["Condition"]["StringEquals"];
    assert_eq!(backup[format!("{PROVIDER}:aud")], "vault");
    assert_eq!(
        backup[format!("{PROVIDER}:sub")],
        json!(["system:serviceaccount:geo:gitlab-toolbox", "system:serviceaccount:gitlab:gitlab-toolbox"])
    );
}

#[test]
fn each_issuer_has_statements_of_its_own() {
    let green = "https://green.example.com";
    let arguments = ["-m", "m.yaml", "--issuer", ISSUER, "--issuer", green];
    let (code, value, _) = with_mapping(LITERAL).json(&arguments, "");
    let statements = &roles(&value)["arn:aws:iam::123456789012:role/a/registry"]["Statement"];
    assert_eq!((code, statements.as_array().unwrap().len()), (0, 2));
    assert_eq!(
        statements[1]["Principal"]["Federated"],
        "arn:aws:iam::123456789012:oidc-provider/green.example.com"
    );
}

#[test]
fn what_looks_at_labels_is_missing_and_said_without_the_accounts() {
    let files = with_mapping(LABELS);
    let (code, value, err) = files.json(&["-m", "m.yaml", "--issuer", ISSUER], "");
    assert_eq!(code, 2);
    // What can be said is printed all the same.
    assert_eq!(roles(&value).keys().collect::<Vec<_>>(), [&"arn:aws:iam::123456789012:role/job"]);
    assert_eq!(value["missing"].as_array().unwrap().len(), 2);
    let wanted = [
        "error: making the trust policies: 2 policies cannot be made, or not as a whole",
        "rule `component=registry` (line 3): it looks at `component`, so the ServiceAccounts are needed",
        "give the manifests with -f FILE, or look into a cluster with -n NAMESPACE or -A",
        "warning: rule `serviceAccount=job namespace=ci`: ci/job is not among the objects",
    ];
    for wanted in wanted {
        assert!(err.contains(wanted), "{err}");
    }
}

#[test]
fn no_rule_without_a_namespace_becomes_a_star() {
    let mapping = "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: job}, role: job}\n";
    let files = with_mapping(mapping);
    let (code, out, err) = files.run(&["-m", "m.yaml", "--issuer", ISSUER], "");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("it names no `namespace`, which never becomes `*`"), "{err}");
    let account = "{kind: ServiceAccount, metadata: {name: job, namespace: ci}}";
    let (code, value, _) = files.json(&["-m", "m.yaml", "--issuer", ISSUER, "-f", "-"], account);
    assert_eq!(code, 0);
    assert_eq!(value["roles"][0]["subjects"], json!(["system:serviceaccount:ci:job"]));
    assert_eq!(value["roles"][0]["subjectPatterns"], json!([]));
}

#[test]
fn manifests_tell_who_a_component_is() {
    let files = with_mapping(LABELS);
    for (file, input) in [("chart.yaml", ""), ("-", CHART)] {
        let (code, value, err) =
            files.json(&["-m", "m.yaml", "--issuer", ISSUER, "-f", file, "-n", "gitlab"], input);
        assert_eq!((code, &value["missing"]), (0, &json!([])));
        assert!(err.contains("is taken to carry no labels"), "{err}");
        let subjects: Vec<_> =
            value["roles"].as_array().unwrap().iter().map(|role| &role["subjects"]).collect();
        let of = |name: &str| json!([format!("system:serviceaccount:{name}")]);
        assert_eq!(subjects, [&of("other:gitlab-webservice"), &of("ci:job"), &of("gitlab:gitlab-registry")]);
    }
    let (code, _, err) = files.run(&["-m", "m.yaml", "--issuer", ISSUER, "-f", "chart.yaml"], "");
    assert_eq!(code, 0);
    assert!(err.contains("objects that name no namespace count as in `default`"), "{err}");
}

#[test]
fn a_role_that_nobody_gets_is_said() {
    let files = with_mapping(LABELS);
    let account = "{kind: ServiceAccount, metadata: {name: job, namespace: ci}}";
    let (code, value, err) = files.json(&["-m", "m.yaml", "--issuer", ISSUER, "-f", "-"], account);
    assert_eq!((code, value["roles"].as_array().unwrap().len()), (1, 1));
    assert!(
        err.contains(
            "rule `component=registry` (line 3) gives its role to nobody: there is no policy for \
             arn:aws:iam::123456789012:role/registry"
        ),
        "{err}"
    );
}

#[test]
fn what_another_role_lacks_does_not_matter_to_the_one_that_is_asked_for() {
    let files = with_mapping(LABELS);
    let job = "arn:aws:iam::123456789012:role/job";
    let (code, value, _) = files.json(&["-m", "m.yaml", "--issuer", ISSUER, "--role", job], "");
    assert_eq!((code, roles(&value).keys().collect::<Vec<_>>()), (0, vec![&job]));
    let policy = value["roles"][0]["policy"].to_string();
    let arguments = ["-m", "m.yaml", "--issuer", ISSUER, "--role", job, "--verify", "-"];
    assert_eq!(files.run(&arguments, &policy).0, 0);
    let registry = "arn:aws:iam::123456789012:role/registry";
    let (code, out, err) = files.run(&["-m", "m.yaml", "--issuer", ISSUER, "--role", registry], "");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("1 policy cannot be made"), "{err}");
}

#[test]
fn accounts_of_a_namespace_that_has_not_opted_in_get_no_trust() {
    let account = "{kind: ServiceAccount, metadata: {name: job, namespace: ci}}\n---\n";
    let files =
        with_mapping("account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: job}, role: job}\n");
    for (label, is_in) in [("", false), ("disabled", false), ("enabled", true), ("observe", true)] {
        let namespace = format!(
            "{{kind: Namespace, metadata: {{name: ci, labels: {{gitlab-iam-webhook/inject: '{label}'}}}}}}"
        );
        let input = format!("{account}{namespace}");
        let arguments = ["-m", "m.yaml", "--issuer", ISSUER, "-f", "-"];
        let (code, value, err) = files.json(&arguments, &input);
        assert_eq!(value["roles"].as_array().unwrap().len(), usize::from(is_in), "{label}");
        assert_eq!((code == 0, err.contains("the namespace ci has not opted in")), (is_in, !is_in), "{err}");
        let (code, _, err) = files.json(&[&arguments[..], &["-n", "ci"]].concat(), &input);
        assert_eq!((code, err.as_str()), (0, ""), "{label}");
    }
}

#[test]
fn the_role_of_the_nodes_is_trusted_for_kube2iam() {
    let files = with_mapping(PODS);
    let (code, out, err) = files.run(&["-m", "m.yaml"], "");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.contains("role/ci-4711: kube2iam or kiam gives it") && err.contains("--node-role ARN"),
        "{err}"
    );
    let (code, value, err) = files.json(&["-m", "m.yaml", "--node-role", NODE], "");
    assert_eq!((code, err.as_str()), (0, ""));
    let roles = roles(&value);
    assert_eq!(roles.len(), 3);
    assert_eq!(
        roles["arn:aws:iam::123456789012:role/ci-4711"]["Statement"],
        json!([{
            "Effect": "Allow",
            "Principal": {"AWS": NODE},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "x-1"}},
        }])
    );
    let plain = &roles["arn:aws-cn:iam::210987654321:role/sidekiq"]["Statement"][0];
    assert_eq!(plain.get("Condition"), None);
    for bad in ["node", "arn:aws:iam::123456789012:role/*", "arn:aws:iam::123456789012:role/*/x"] {
        let (code, _, err) = files.run(&["-m", "m.yaml", "--node-role", bad], "");
        assert!(code == 2 && err.contains("--node-role"), "{err}");
    }
}

#[test]
fn pod_identity_has_policies_and_associations_in_each_format() {
    let files = with_mapping(LITERAL);
    let arguments = ["-m", "m.yaml", "--pod-identity", "--cluster", "blue"];
    let (code, value, err) = files.json(&arguments, "");
    assert_eq!((code, err.as_str()), (0, ""));
    let role = &value["roles"][0];
    assert_eq!(role["role"], "arn:aws:iam::123456789012:role/a/registry");
    assert_eq!(
        role["policy"]["Statement"],
        json!([{
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {"StringEquals": {
                "aws:RequestTag/eks-cluster-name": "blue",
                "aws:RequestTag/kubernetes-namespace": "gitlab",
                "aws:RequestTag/kubernetes-service-account": "gitlab-registry",
            }},
        }])
    );
    assert_eq!(
        role["associations"],
        json!([{"clusterName": "blue", "namespace": "gitlab", "serviceAccount": "gitlab-registry",
                "roleArn": "arn:aws:iam::123456789012:role/a/registry"}])
    );
    // Two namespaces in one statement would let in each name of either.
    assert_eq!(value["roles"][1]["policy"]["Statement"].as_array().unwrap().len(), 2);
    let in_format = |format| files.run(&[&arguments[..], &["--output", format]].concat(), "").1;
    assert!(in_format("text").contains(
        "aws eks create-pod-identity-association --cluster-name blue --namespace gitlab --service-account \
         gitlab-registry --role-arn arn:aws:iam::123456789012:role/a/registry\n"
    ));
    assert!(in_format("terraform").contains(
        "resource \"aws_eks_pod_identity_association\" \"gitlab_gitlab-registry\" {\n  cluster_name    = \"blue\"\n"
    ));
    let template: Value = serde_json::from_str(&in_format("cloudformation")).unwrap();
    let types: Vec<_> = template["Resources"].as_object().unwrap().values().map(|one| &one["Type"]).collect();
    assert_eq!(types.iter().filter(|kind| **kind == "AWS::IAM::Role").count(), 2);
    assert_eq!(types.iter().filter(|kind| **kind == "AWS::EKS::PodIdentityAssociation").count(), 3);

    let (code, _, err) = files.run(&["-m", "m.yaml", "--pod-identity"], "");
    assert!(code == 2 && err.contains("--cluster"), "{err}");
    let glob = "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: job, namespace: \"ci-*\"}, role: job}\n";
    let (code, _, err) = with_mapping(glob).run(&arguments, "");
    assert!(code == 2 && err.contains("EKS Pod Identity takes only names"), "{err}");
}

#[test]
fn cloudformation_and_terraform_hold_the_same_policies() {
    let files = with_mapping(LITERAL);
    let (_, value, _) = files.json(&["-m", "m.yaml", "--issuer", ISSUER], "");
    let arguments = ["-m", "m.yaml", "--issuer", ISSUER, "--output"];
    let (code, out, _) = files.run(&[&arguments[..], &["cloudformation"]].concat(), "");
    let template: Value = serde_json::from_str(&out).unwrap();
    let registry = &template["Resources"]["Roleregistry"]["Properties"];
    assert_eq!((code, &registry["RoleName"], &registry["Path"]), (0, &json!("registry"), &json!("/a/")));
    assert_eq!(registry["AssumeRolePolicyDocument"], value["roles"][0]["policy"]);
    let (code, out, _) = files.run(&[&arguments[..], &["terraform"]].concat(), "");
    assert_eq!((code, out.matches("data \"aws_iam_policy_document\"").count()), (0, 2));
    assert!(out.contains("assume_role_policy = data.aws_iam_policy_document.registry.json"), "{out}");
}

#[test]
fn jobs_of_gitlab_have_a_policy_without_a_mapping() {
    let files = Files::new(&[]);
    let base = |reference| {
        vec![
            "--gitlab",
            "https://gitlab.example.com",
            "--project",
            "group/name",
            "--ref",
            reference,
            "--audience",
            "https://gitlab.example.com",
            "--role",
            "arn:aws:iam::123456789012:role/deploy",
        ]
    };
    let (code, value, err) = files.json(&base("main"), "");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        value["roles"][0]["policy"]["Statement"][0]["Condition"],
        json!({"StringEquals": {
            "gitlab.example.com:aud": "https://gitlab.example.com",
            "gitlab.example.com:sub": "project_path:group/name:ref_type:branch:ref:main",
        }})
    );
    let (code, value, err) = files.json(&[&base("v*")[..], &["--ref-type", "tag"]].concat(), "");
    assert_eq!(code, 0);
    assert_eq!(
        value["roles"][0]["policy"]["Statement"][0]["Condition"]["StringLike"],
        json!({"gitlab.example.com:sub": "project_path:group/name:ref_type:tag:ref:v*"})
    );
    assert!(err.contains("whoever may push a ref that matches v*"), "{err}");
    for (reference, name) in [("refs/heads/main", "main"), ("refs/tags/v1", "v1")] {
        let (code, _, err) = files.run(&base(reference), "");
        assert!(code == 0 && err.contains(&format!("write --ref {name}\n")), "{err}");
    }
    for left_out in ["--project", "--ref", "--audience", "--role"] {
        let all = base("main");
        let at = all.iter().position(|word| *word == left_out).unwrap();
        let (code, _, err) = files.run(&[&all[..at], &all[at + 2..]].concat(), "");
        assert!(code == 2 && err.contains(left_out), "{err}");
    }
}

/// What `aws iam get-role` prints of a role with these statements.
fn get_role(statements: &Value) -> String {
    json!({"Role": {
        "RoleName": "registry",
        "Arn": "arn:aws:iam::123456789012:role/a/registry",
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": statements},
    }})
    .to_string()
}

fn statement(condition: &Value) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{PROVIDER}")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    })
}

/// Compares a policy of `registry`, and returns the exit status, the judgement and everything that was printed.
fn verified(statements: &Value) -> (i32, String, String) {
    let files = with_mapping(LITERAL);
    let arguments = ["-m", "m.yaml", "--issuer", ISSUER, "--verify", "-"];
    let (code, value, err) = files.json(&arguments, &get_role(statements));
    assert_eq!(err, "");
    let judgement = value["checked"][0]["judgement"].as_str().unwrap().to_owned();
    let (_, text, _) = files.run(&arguments, &get_role(statements));
    (code, judgement, text)
}

/// Says of each policy what it exits with, what becomes of the account, and what is said.
fn assert_verified(cases: &[(Value, i32, &str, &str)]) {
    for (statements, code, judgement, said) in cases {
        let (found, verdict, text) = verified(statements);
        assert_eq!((found, verdict.as_str()), (*code, *judgement), "{statements}\n{text}");
        assert!(text.contains(said), "{text}\nwithout {said}");
    }
}

const OURS: &str = "system:serviceaccount:gitlab:gitlab-registry";

#[test]
fn a_policy_that_exists_is_compared() {
    let (aud, sub) = (format!("{PROVIDER}:aud"), format!("{PROVIDER}:sub"));
    let good = statement(&json!({"StringEquals": {&aud: "sts.amazonaws.com", &sub: OURS}}));
    let mut other_provider = good.clone();
    other_provider["Principal"]["Federated"] = json!("arn:aws:iam::123456789012:oidc-provider/other");
    let mut other_account = good.clone();
    other_account["Principal"]["Federated"] = json!(format!("arn:aws:iam::1:oidc-provider/{PROVIDER}"));
    let mut other_action = good.clone();
    other_action["Action"] = json!("sts:AssumeRole");
    let mut every_action = good.clone();
    every_action["Action"] = json!(["sts:*"]);
    let mut not_principal = good.clone();
    let principal = not_principal["Principal"].take();
    not_principal.as_object_mut().unwrap().remove("Principal");
    not_principal["NotPrincipal"] = principal;
    let mut deny = good.clone();
    deny["Effect"] = json!("Deny");
    let everybody_denied = json!({"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:*"});
    let mut only_not = good.clone();
    only_not["Condition"] = json!({"StringNotEquals": {format!("{PROVIDER}:sub"): "zzz"}});
    let mut unjudged = good.clone();
    unjudged["Condition"] = json!({"ForAllValues:StringLike": {format!("{PROVIDER}:sub"): "*"}});
    let mut more_audiences = good.clone();
    let audiences = json!(["sts.amazonaws.com", "https://kubernetes.default.svc"]);
    more_audiences["Condition"]["StringEquals"][format!("{PROVIDER}:aud")] = audiences;
    let doubtful_deny = json!({"Effect": "Deny", "Principal": "*", "Action": "sts:*",
        "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}});
    let cases = [
        (json!(good), 0, "allowed", ""),
        (json!([every_action]), 0, "allowed", ""),
        (json!([more_audiences]), 0, "allowed", "the audience https://kubernetes.default.svc, which no rule"),
        (json!([]), 1, "refused", "no statement allows anything"),
        (json!([other_provider]), 1, "refused", "it trusts arn:aws:iam::123456789012:oidc-provider/other"),
        (json!([other_account]), 1, "refused", "it trusts arn:aws:iam::1:oidc-provider/"),
        (
            json!([other_action]),
            1,
            "refused",
            "it allows sts:AssumeRole, and not sts:AssumeRoleWithWebIdentity",
        ),
        (json!([good, deny]), 1, "refused", "statement 2: it denies this"),
        (json!([good, doubtful_deny]), 1, "unknown", "statement 2: it may deny this"),
        (json!([not_principal]), 1, "unknown", "it has no Principal that can be judged"),
        (json!([good, everybody_denied]), 1, "unknown", "statement 2: it may deny this"),
        (
            json!([only_not]),
            1,
            "allowed",
            "stranger statement 1 lets in every ServiceAccount of the cluster but",
        ),
        (json!([good, unjudged]), 1, "allowed", "stranger statement 2 may let in others"),
    ];
    assert_verified(&cases);
}

#[test]
fn the_conditions_of_a_policy_that_exists_are_judged() {
    let (aud, sub) = (format!("{PROVIDER}:aud"), format!("{PROVIDER}:sub"));
    let (ours, audience) = (OURS, "sts.amazonaws.com");
    let with = |operator: &str, key: &str, value: &str| {
        statement(&json!({"StringEquals": {&aud: audience, &sub: ours}, operator: {key: value}}))
    };
    let cases = [
        (json!([statement(&json!({"StringLike": {&aud: audience, &sub: ours}}))]), 0, "allowed", ""),
        // Condition keys do not mind their case.
        (
            json!([statement(&json!({"StringEquals": {aud.to_uppercase(): audience, &sub: ours}}))]),
            0,
            "allowed",
            "",
        ),
        (
            json!([statement(&json!({"StringEquals": {&aud: "vault", &sub: ours}}))]),
            1,
            "refused",
            "it takes the audience vault, not sts.amazonaws.com",
        ),
        (
            json!([statement(
                &json!({"StringEquals": {&aud: audience, &sub: "system:serviceaccount:gitlab:*"}})
            )]),
            1,
            "refused",
            "StringEquals takes `*` literally",
        ),
        (
            json!([statement(&json!({"StringEquals": {&aud: audience, "other.example.com:sub": ours}}))]),
            1,
            "refused",
            "which is of another issuer",
        ),
        (json!([with("ForAnyValue:StringEquals", "x:sub", "a")]), 1, "unknown", "cannot be judged"),
        (json!([with("StringEqualsIfExists", "aws:x", "a")]), 1, "unknown", "cannot be judged"),
        (json!([with("StringEquals2", "aws:x", "a")]), 1, "unknown", "cannot be judged"),
        (json!([with("StringLike", "aws:PrincipalTag/x", "a")]), 1, "unknown", "cannot be judged"),
        (json!([with("StringLike", &sub, "${aws:username}")]), 1, "unknown", "policy variable"),
        (
            json!([statement(
                &json!({"StringLike": {&aud: audience, &sub: "system:serviceaccount:gitlab:*"}})
            )]),
            1,
            "allowed",
            "stranger statement 1 lets in system:serviceaccount:gitlab:*",
        ),
        (
            json!([statement(&json!({"StringEquals": {&aud: audience}}))]),
            1,
            "allowed",
            "every ServiceAccount of the cluster may take the role",
        ),
        (
            json!([statement(
                &json!({"StringEquals": {&aud: audience, &sub: [ours, "system:serviceaccount:a:b"]}})
            )]),
            1,
            "allowed",
            "stranger statement 1 lets in system:serviceaccount:a:b, to which the mapping does not give the role",
        ),
        // The policy of a well-known post has no audience.
        (
            json!([statement(&json!({"StringEquals": {&sub: ours}}))]),
            0,
            "allowed",
            "it takes tokens of every audience",
        ),
    ];
    assert_verified(&cases);
}

#[test]
fn a_glob_of_the_mapping_is_compared_with_that_of_the_policy() {
    let mapping = "account: \"123456789012\"
rules:
  - {match: {serviceAccount: job, namespace: ci-secret}, provider: irsa, skip: true}
  - {match: {serviceAccount: job, namespace: \"ci-*\"}, role: a/registry}
";
    let files = with_mapping(mapping);
    let arguments = ["-m", "m.yaml", "--issuer", ISSUER, "--verify", "-"];
    let (aud, sub) = (format!("{PROVIDER}:aud"), format!("{PROVIDER}:sub"));
    let like = |pattern: &str, except: &str| {
        let mut all = json!({"StringEquals": {&aud: "sts.amazonaws.com"}, "StringLike": {&sub: pattern}});
        if !except.is_empty() {
            all["StringNotLike"] = json!({&sub: except});
        }
        json!([statement(&all)])
    };
    let of = |namespace: &str| format!("system:serviceaccount:{namespace}:job");
    for (pattern, except, code, said) in [
        (of("ci-*"), of("ci-secret"), 0, "allowed"),
        (of("ci-*"), String::new(), 1, "without the exception of system:serviceaccount:ci-secret:job"),
        (of("*"), of("ci-secret"), 1, "the mapping does not give the role to all of these"),
        (of("ci-a*"), of("ci-secret"), 1, "unknown"),
        (of("ci-*"), of("ci-s*"), 1, "unknown"),
        (of("x-*"), of("ci-secret"), 1, "refused"),
    ] {
        let (found, text, err) = files.run(&arguments, &get_role(&like(&pattern, &except)));
        assert_eq!((found, err.as_str()), (code, ""), "{pattern} {except}\n{text}");
        assert!(text.contains(said), "{text}\nwithout {said}");
    }
}

#[test]
fn what_is_no_policy_or_of_another_role_is_an_error() {
    let files = with_mapping(LITERAL);
    let base = ["-m", "m.yaml", "--issuer", ISSUER, "--verify", "-"];
    let bare = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    let long = " ".repeat(2 << 20);
    for (arguments, input, said) in [
        (&[][..], "no json", "it is not JSON"),
        (&[], "{}", "it holds no trust policy"),
        (&[], &long, "it has more than"),
        (&[], &bare, "does not say whose policy it is: name the role with --role ARN"),
        (&["--role", "arn:aws:iam::123456789012:role/backup"], &get_role(&json!([])), "has the policy of"),
        (&["--output", "terraform"], &bare, "--verify prints no templates: use --output text, json or yaml"),
    ] {
        let (code, out, err) = files.run(&[&base[..], arguments].concat(), input);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(said), "{err}");
    }
    let other = ["--role", "arn:aws:iam::123456789012:role/backup"];
    let (code, out, _) = files.run(&[&base[..], &other].concat(), &bare);
    assert!(code == 1 && out.contains("refused"), "{out}");
    let (code, _, err) = files.run(&["-m", "m.yaml", "--issuer", ISSUER, "--role", "nobody\u{1b}[2J"], "");
    assert!(code == 2 && err.contains("reading --role: `nobody?[2J` is not a role ARN"), "{err}");
}

#[test]
fn no_account_is_trusted_where_the_webhook_changes_nothing() {
    let mapping = "account: \"123456789012\"
rules:
  - {match: {serviceAccount: a, namespace: [kube-system, b]}, role: r}
";
    let (code, out, err) = with_mapping(mapping).run(&["-m", "m.yaml", "--issuer", ISSUER], "");
    assert!(
        code == 0 && out.contains("serviceaccount:b:a") && !out.contains("serviceaccount:kube-system"),
        "{out}{err}"
    );
    assert!(err.contains("kube-system/a: the webhook changes nothing"), "{err}");
}

#[test]
fn a_role_that_the_mapping_does_not_give_is_never_good() {
    let files = with_mapping(LITERAL);
    let bare = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    let base = ["-m", "m.yaml", "--issuer", ISSUER];
    let unknown = "arn:aws:iam::123456789012:role/unknown";
    for (arguments, expected, said) in [
        (&["--role", "registry", "--verify", "-"][..], 2, "`registry` is not a role ARN"),
        (&["--role", "registry"], 2, "`registry` is not a role ARN"),
        (&["--role", unknown, "--verify", "-"], 1, "the mapping gives it to nobody"),
        (&["--role", unknown], 2, "role/unknown to nobody"),
    ] {
        let (code, out, err) = files.run(&[&base[..], arguments].concat(), &bare);
        assert_eq!(code, expected, "{arguments:?}: {out}{err}");
        assert!(format!("{out}{err}").contains(said), "{arguments:?}: {out}{err}");
    }
    let kube2iam = "rules: [{match: {component: sidekiq}, provider: kube2iam, role: bare}]\n";
    let (code, out, err) =
        with_mapping(kube2iam).run(&["-m", "m.yaml", "--role", "bare", "--node-role", NODE], "");
    assert!(code == 0 && out.contains(NODE), "what kube2iam completes is no ARN: {out}{err}");
}

#[test]
fn a_long_policy_is_warned_of() {
    let names: Vec<String> = (0..60).map(|number| format!("account-{number:04}")).collect();
    let mapping = |count: usize| {
        let names = names[..count].join(", ");
        format!(
            "account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: [{names}], namespace: gitlab}}, role: r}}\n"
        )
    };
    for (count, said) in [(10, ""), (36, "characters that IAM takes"), (60, "quota")] {
        let (code, value, err) =
            with_mapping(&mapping(count)).json(&["-m", "m.yaml", "--issuer", ISSUER], "");
        assert_eq!(code, 0);
        assert!(if said.is_empty() { err.is_empty() } else { err.contains(said) }, "{count}: {err}");
        let length = value["roles"][0]["policy"].to_string().len();
        assert_eq!(value["roles"][0]["length"], length);
    }
}

#[test]
fn bad_input_is_an_error_that_says_what_to_do() {
    let files = Files::new(&[
        ("m.yaml", LITERAL),
        ("bad.yaml", "rules: [{}]\n"),
        ("chart.yaml", CHART),
        ("values.yaml", "a: 1\n"),
    ]);
    for (arguments, said) in [
        (&["--issuer", ISSUER][..], "--mapping"),
        (&["-m", "none.yaml", "--issuer", ISSUER], "reading none.yaml"),
        (&["-m", "bad.yaml", "--issuer", ISSUER], "loading the mapping bad.yaml"),
        (&["-m", "m.yaml", "--issuer", "http://a"], "an issuer begins with https://"),
        (&["-m", "m.yaml", "--issuer", "https://a/*"], "the issuer must be a host and a path"),
        (&["-m", "m.yaml", "--issuer", ISSUER, "-f", "chart.yaml", "-A"], "use one of them"),
        (
            &["-m", "m.yaml", "--issuer", ISSUER, "--pod-identity", "--cluster", "a b"],
            "the name of an EKS cluster",
        ),
        (
            &[
                "-m",
                "m.yaml",
                "--gitlab",
                "https://a",
                "--project",
                "a/b",
                "--ref",
                "x",
                "--audience",
                "x",
                "--role",
                "x",
            ],
            "leave out -m",
        ),
        (
            &["--gitlab", "https://a", "--project", "*", "--ref", "x", "--audience", "x", "--role", NODE],
            "is no project",
        ),
        (
            &["-m", "m.yaml"],
            "making trust policies without --issuer URL: connecting to the cluster: found no credentials",
        ),
        (&["-m", "m.yaml", "--issuer", ISSUER, "-A"], "found no credentials"),
        (&["-m", "m.yaml", "--issuer", ISSUER, "--filename", "values.yaml"], "there is no Namespace"),
    ] {
        let (code, out, err) = files.run(arguments, "");
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?} {err}");
        assert!(err.contains(said), "{err}\nwithout {said}");
    }
}

/// An API server that answers with these texts, by the beginning of the path. Everything else is forbidden.
/// Returns the text of a kubeconfig.
fn api_server(answers: Vec<(&'static str, Value)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            while let Some(request) = lines.next() {
                lines.by_ref().take_while(|line| !line.is_empty()).count();
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let forbidden = json!({"kind": "Status", "code": 403, "message": "forbidden \u{1b}[2J"});
                let found = answers.iter().find(|(start, _)| path.starts_with(start));
                let (status, body) =
                    found.map_or(("403 Forbidden", &forbidden), |(_, body)| ("200 OK", body));
                let body = body.to_string();
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        }
    });
    kubeconfig(&format!("http://{address}"))
}

fn kubeconfig(server: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "users": [{"name": "a", "user": {"token": "PLANTED"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    })
    .to_string()
}

fn objects(items: &Value) -> Value {
    json!({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items})
}

fn cluster() -> Vec<(&'static str, Value)> {
    let namespace = |name: &str, label: &str| json!({"metadata": {"name": name, "labels": {"gitlab-iam-webhook/inject": label}}});
    let account = |namespace: &str| {
        json!({"metadata": {"name": "gitlab-registry", "namespace": namespace,
            "labels": {"app": "registry", "chart": "registry-0.7.0", "release": "gitlab"}}})
    };
    vec![
        ("/.well-known/openid-configuration", json!({"issuer": ISSUER, "jwks_uri": "x"})),
        ("/api/v1/namespaces?", objects(&json!([namespace("gitlab", "enabled"), namespace("dev", "no")]))),
        ("/api/v1/serviceaccounts?", objects(&json!([account("gitlab"), account("dev")]))),
    ]
}

const REGISTRY: &str =
    "account: \"123456789012\"\nrules:\n  - {match: {component: registry}, role: registry}\n";

#[test]
fn the_cluster_is_asked_for_its_issuer_and_its_accounts() {
    let files = Files::new(&[("m.yaml", REGISTRY), ("config", &api_server(cluster()))]);
    for arguments in
        [&["-m", "m.yaml", "--kubeconfig", "config"][..], &["-m", "m.yaml", "--kubeconfig", "config", "-A"]]
    {
        let (code, value, err) = files.json(arguments, "");
        assert_eq!((code, &value["missing"]), (0, &json!([])), "{err}");
        assert!(
            err.contains("the namespace dev has not opted in, so its ServiceAccounts (1) get no role"),
            "{err}"
        );
        assert_eq!(value["roles"][0]["subjects"], json!(["system:serviceaccount:gitlab:gitlab-registry"]));
        let policy = value["roles"][0]["policy"].to_string();
        assert!(policy.contains(&format!("oidc-provider/{PROVIDER}")), "{policy}");
    }
    let arguments = ["-m", "m.yaml", "--kubeconfig", "config", "--issuer", "https://other.example.com"];
    let (code, _, err) = files.run(&arguments, "");
    assert_eq!(code, 0);
    assert!(
        err.contains("the cluster's own issuer is https://oidc") && err.contains("no --issuer names"),
        "{err}"
    );
}

#[test]
fn what_the_cluster_forbids_narrows_the_answer_and_is_said() {
    let without = |start: &str| {
        let mut answers = cluster();
        answers.retain(|(path, _)| !path.starts_with(start));
        answers
    };
    let files = Files::new(&[
        ("m.yaml", REGISTRY),
        ("literal.yaml", LITERAL),
        ("no-issuer", &api_server(without("/.well"))),
        ("no-accounts", &api_server(without("/api/v1/serviceaccounts"))),
        ("no-namespaces", &api_server(without("/api/v1/namespaces"))),
        ("bad-issuer", &api_server(vec![("/.well", json!({"issuer": "http://a\u{1b}"}))])),
        ("broken", &api_server(vec![("/.well", json!([]))])),
    ]);
    let with = |config: &'static str, more: &[&'static str]| {
        files.run(&[&["-m", "m.yaml", "--kubeconfig", config][..], more].concat(), "")
    };
    let (code, out, err) = with("no-issuer", &[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.starts_with("error: making trust policies without --issuer URL: asking the cluster")
            && err.contains("forbidden"),
        "{err}"
    );
    let (code, _, err) = with("no-issuer", &["--issuer", ISSUER]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = with("no-namespaces", &[]);
    assert!(code == 2 && err.contains("it is not known which have opted in"), "{err}");
    let (code, _, err) = with("no-accounts", &[]);
    assert!(code == 2 && err.contains("the ServiceAccounts of all namespaces cannot be read"), "{err}");
    assert!(!err.contains("to nobody"), "{err}");
    let arguments = ["-m", "literal.yaml", "--kubeconfig", "no-accounts"];
    let (code, out, _) = files.run(&arguments, "");
    assert!(code == 2 && out.contains("system:serviceaccount:gitlab:gitlab-registry"), "{out}");
    for config in ["bad-issuer", "broken"] {
        let (code, out, err) = with(config, &[]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
    }
}

#[test]
fn the_text_is_for_people_and_the_help_has_examples() {
    let (code, out, err) = with_mapping(LITERAL).run(&["-m", "m.yaml", "--issuer", ISSUER], "");
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().take(4).collect();
    assert_eq!(
        lines,
        [
            "arn:aws:iam::123456789012:role/a/registry",
            "  by serviceAccount=gitlab-registry namespace=gitlab",
            "  399 of the 2048 characters that IAM takes",
            "{"
        ]
    );
    let (code, out, _) = Files::new(&[]).run(&["--help"], "");
    assert_eq!(code, 0);
    for said in ["Examples:", "Exit status:", "--node-role <ARN>", "--verify <FILE>"] {
        assert!(out.contains(said), "{out}");
    }
}
