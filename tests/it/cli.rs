//! What does the command line say and exit with, as a person types it?

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::data;

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
  - {match: {component: registry, namespace: gitlab}, role: never}
";
const MANIFEST: &str = "apiVersion: v1
kind: ServiceAccount
metadata:
  name: gitlab-registry
  labels: {app: registry, chart: registry-0.7.0, release: gitlab}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gitlab-registry}
spec:
  template:
    metadata:
      labels: {app: registry, chart: registry-0.7.0, release: gitlab}
    spec: {containers: []}
";

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    finished(binary().args(arguments).output().unwrap())
}

fn run_with_input(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = binary();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    match child.stdin.take().unwrap().write_all(input.as_bytes()) {
        // A command that refuses its arguments may have ended before it has read anything.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.unwrap(),
    }
    finished(child.wait_with_output().unwrap())
}

fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What a command prints with `--output yaml`, which must be what it prints with `--output json`.
fn as_yaml(arguments: &[&str], input: &str) -> String {
    let said = |format| run_with_input(&[arguments, &["--output", format]].concat(), input);
    let ((code, yaml, errors), json) = (said("yaml"), said("json"));
    assert!(!yaml.trim_start().starts_with(['{', '[']), "{yaml}");
    let read: Value = serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
    assert_eq!((code, &read, errors), (json.0, &serde_json::from_str(&json.1).unwrap(), json.2));
    yaml
}

/// Makes a folder with a mapping, a broken one, and a manifest.
fn files() -> (TempDir, [String; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let paths = [
        write("good.yaml", MAPPING),
        write("bad.yaml", "rules:\n  - {match: {component: kass}, role: x y}\n"),
        write("objects.yaml", MANIFEST),
    ];
    (folder, paths)
}

#[test]
fn check_prints_all_problems_and_exits_1() {
    let (_folder, [good, bad, _]) = files();
    let (code, out, err) = run(&["check", &good, &bad]);
    assert_eq!((code, err.as_str()), (1, ""));
    let want = format!(
        "{good}:4:5: warning: rule `component=registry namespace=gitlab` never decides: rule `component=registry` on line 3 covers it
{good}: ok, 2 rules, 1 warning
  1 rule reaching every opted-in namespace: `component=registry`
{bad}:2:25: rules[0].match.component: unknown component `kass`; did you mean `kas`?
{bad}:2:38: rules[0].role: the role name `x y` holds ` `: IAM allows letters, digits and _+=,.@-
{bad}: 2 problems
"
    );
    assert_eq!(out, want);
}

#[test]
fn check_exits_0_1_and_2() {
    let (_folder, [good, bad, _]) = files();
    assert_eq!(run(&["check", &good]).0, 0);
    assert_eq!(run(&["check", "--strict", &good]).0, 1);
    assert_eq!(run(&["check", &bad]).0, 1);
    let (code, out, err) = run(&["check", "/nowhere/mapping.yaml"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(err, "error: reading /nowhere/mapping.yaml: No such file or directory (os error 2)\n");
    let (code, out, _) = run(&["check", "/nowhere/mapping.yaml", &bad]);
    assert_eq!(code, 2);
    assert!(out.contains("2 problems"), "the others are checked all the same: {out}");
    assert_eq!(run(&["check"]).0, 2, "no file");
    assert_eq!(run(&["chek", &good]).0, 2, "no such command");
}

#[test]
fn check_takes_standard_input_config_maps_and_the_operators_bound() {
    let indented = MAPPING.replace('\n', "\n    ");
    let manifest = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata:\n  mapping.yaml: |\n    {indented}\n"
    );
    let (code, out, _) = run_with_input(&["check", "-"], &manifest);
    assert_eq!(code, 0);
    assert!(out.starts_with("standard input:"), "{out}");
    let outside = ["check", "--allowed-role", "arn:aws:iam::123456789012:role/gitlab-*", "-"];
    let (code, out, _) = run_with_input(&outside, &manifest);
    assert_eq!(code, 1);
    assert!(
        out.contains(
            "standard input:8:46: rules[0].role: `arn:aws:iam::123456789012:role/registry` is outside"
        ),
        "{out}"
    );
    let (code, _, err) = run_with_input(&["check", "--allowed-role", "[", "-"], &manifest);
    assert_eq!(code, 2);
    assert!(err.contains("`[` is not closed in the glob `[`"), "{err}");
}

#[test]
fn what_needs_no_mending_is_noted_and_no_warning() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mapping.example.yaml");
    let (code, out, _) = run(&["check", "--strict", "--output", "json", example]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0, "{out}");
    assert_eq!(found[0]["warnings"], serde_json::json!([]));
    assert_eq!(found[0]["everyNamespace"].as_array().unwrap().len(), 4);
    assert_eq!(found[0]["jobNamespace"].as_array().unwrap().len(), 1);
    let (_, out, _) = run(&["check", example]);
    assert!(
        out.contains(
            "\n  1 rule about jobs by their namespace, which a job's author may be able to choose: "
        ),
        "{out}"
    );
}

#[test]
fn every_command_says_in_yaml_what_it_says_in_json() {
    let (_folder, [good, bad, objects]) = files();
    assert!(as_yaml(&["check", &good, &bad], "").contains("\n  ok: false\n"));
    assert!(
        as_yaml(&["explain", "-m", &good, "-n", "gitlab", "-"], MANIFEST).contains("component: registry")
    );
    assert!(as_yaml(&["doctor", "-m", &good, "-n", "gitlab", "-f", &objects], "").contains("\nfindings:"));
    let values = "registry: {serviceAccount: {annotations: {eks.amazonaws.com/role-arn: \
                  arn:aws:iam::123456789012:role/registry}}}\n";
    let imported = as_yaml(&["import", "-n", "gitlab", "--values", "-"], values);
    // The mapping is a text in it, with its lines.
    assert!(imported.starts_with("mapping: |\n  # ") && imported.contains("\n  rules:"), "{imported}");
    let issuer = ["--issuer", "https://oidc.example.com/id/A"];
    let policies = [&["trust-policy", "-m", &good, "-n", "gitlab", "-f", "-"][..], &issuer].concat();
    assert!(as_yaml(&policies, MANIFEST).contains("Version: \"2012-10-17\"\n"));
}

#[test]
fn check_speaks_json() {
    let (_folder, [good, bad, _]) = files();
    let (code, out, _) = run(&["check", "--output", "json", &good, &bad]);
    assert_eq!(code, 1);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found[0]["ok"], true);
    assert_eq!(found[0]["rules"], 2);
    assert_eq!(found[0]["warnings"][0]["kind"], "covered");
    assert_eq!(found[0]["everyNamespace"][0], "component=registry");
    assert_eq!(found[1]["problems"][0]["line"], 2);
    assert_eq!(found[1]["problems"][0]["column"], 25);
    assert_eq!(found[1]["problems"][0]["path"], "rules[0].match.component");
}

#[test]
fn explain_shows_each_rule_and_the_winner() {
    let (_folder, [good, _, objects]) = files();
    let (code, out, err) = run(&["explain", "-m", &good, "-n", "gitlab", "--trace", &objects]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("explain_text", out);
    let (_, from_input, _) = run_with_input(&["explain", "-m", &good, "-n", "gitlab", "--trace"], MANIFEST);
    assert_eq!(from_input, out, "standard input is the default");
    let (code, out, _) = run(&["explain", "-m", &good, "-n", "gitlab", "--output", "json", &objects]);
    assert_eq!(code, 0);
    let found: Value = serde_json::from_str(&out).unwrap();
    insta::assert_json_snapshot!("explain_json", found);
}

/// Explains these objects by a mapping for irsa, and returns the text.
fn explained(objects: &str) -> String {
    let mapping = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
  - {name: jobs, match: {serviceAccount: gitlab-jobs}, role: jobs}
  - {name: default, match: {serviceAccount: default, namespace: bare}, role: default}
";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mapping.yaml").display().to_string();
    fs::write(&file, mapping).unwrap();
    let (code, out, err) = run_with_input(&["explain", "-m", &file, "-n", "gitlab", "--trace", "-"], objects);
    assert_eq!((code, err.as_str()), (0, ""));
    out
}

const JOB: &str = "kind: Pod
metadata: {name: job, namespace: ci, labels: {project.runner.gitlab.com/id: \"42\"}}
spec: {serviceAccountName: gitlab-jobs}
";

#[test]
fn explain_says_which_role_a_pod_gets_through_its_service_account() {
    // The account may stand behind its Pods, and another one of that name in another namespace.
    let account = "---\nkind: ServiceAccount\nmetadata: {name: gitlab-jobs, namespace: NS}\n";
    let out = explained(&format!("{JOB}{}{}", account.replace("NS", "other"), account.replace("NS", "ci")));
    let role = "  irsa, through its ServiceAccount (line 8): role arn:aws:iam::123456789012:role/jobs
    yes  line 4, jobs\n";
    // Behind the table.
    let job = out.split("\n\n").nth(1).unwrap();
    assert!(format!("{job}\n").ends_with(role), "{out}");
    assert!(!out.contains("the Pod of a CI job") && !out.contains("kube2iam"), "{out}");
}

#[test]
fn explain_says_that_a_pods_service_account_is_not_in_the_input() {
    let out = explained(JOB);
    let missing = "irsa, through its ServiceAccount: not known, as that is not in the input; add it, as `kubectl get sa,pods -o yaml` does\n";
    assert!(out.contains(missing), "{out}");
    // Without a rule that names `default`, nothing about the account can give a role.
    let out =
        explained("kind: Pod\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: b, namespace: bare}\n");
    let not_there = "irsa, through its ServiceAccount (not in the input): ";
    assert!(out.contains(&format!("{not_there}no rule matches, nothing changes\n")), "{out}");
    assert!(out.contains(&format!("{not_there}role arn:aws:iam::123456789012:role/default\n")), "{out}");
    assert!(!out.contains("does not reach it"), "{out}");
}

#[test]
fn explain_says_what_a_service_account_carries_where_that_is_not_as_decided() {
    let told = |metadata: &str| {
        let account =
            format!("kind: ServiceAccount\nmetadata: {{name: gitlab-jobs, namespace: ci{metadata}}}\n");
        let out = explained(&format!("{account}---\n{JOB}"));
        // The Pod comes last.
        let (_, behind) = out.rsplit_once("yes  line 4, jobs\n").unwrap();
        behind.trim().lines().next().unwrap().to_owned()
    };
    let pods_note = "Pods count as asked for by their controller: name another requester with --user USER.";
    let ours = r#"{"annotations":{"eks.amazonaws.com/role-arn":"old"},"rule":"r"}"#;
    for (metadata, want) in [
        (String::new(), pods_note),
        (", uid: 1-2".to_owned(), "in the input it carries no role yet, and Pods get none until it does"),
        (", uid: 1-2, annotations: {eks.amazonaws.com/role-arn: by-hand}".to_owned(), "it carries by-hand"),
        (
            format!(
                ", annotations: {{eks.amazonaws.com/role-arn: old, gitlab-iam-webhook/applied: '{ours}'}}"
            ),
            "in the input it still carries old",
        ),
        (
            ", uid: 1-2, annotations: {eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/jobs}"
                .to_owned(),
            pods_note,
        ),
    ] {
        assert_eq!(told(&metadata), want, "{metadata}");
    }
}

#[test]
fn explain_leaves_out_providers_that_no_rule_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mapping.yaml").display().to_string();
    let told = |mapping: &str| {
        fs::write(&file, mapping).unwrap();
        run_with_input(&["explain", "-m", &file, "-n", "gitlab", "--trace"], MANIFEST).1
    };
    // `skip` without a provider stands for all of them, and names none.
    let skip = "  - {match: {component: kas}, skip: true}\n";
    let irsa = told(&format!("{MAPPING}{skip}"));
    assert!(irsa.contains("irsa: role") && !irsa.contains("kube2iam"), "{irsa}");
    let kiam =
        told(&format!("rules:\n  - {{match: {{component: registry}}, provider: kiam, role: x}}\n{skip}"));
    assert!(kiam.contains("  kiam: role x\n") && !kiam.contains("irsa"), "{kiam}");
    assert!(kiam.contains("  no rule of the mapping is about ServiceAccounts, nothing changes\n"), "{kiam}");
    let none = told("rules: []\n");
    assert!(none.contains("  no rule of the mapping is about Pods, nothing changes\n"), "{none}");
    let matched = told("rules:\n  - {match: {component: registry}, skip: true}\n");
    assert_eq!(matched.matches("the rule says skip, nothing changes").count(), 3, "{matched}");
}

#[test]
fn explain_tells_a_warning_to_its_end() {
    let name = "n".repeat(64);
    let out = explained(&format!(
        "kind: ServiceAccount
metadata: {{name: gitlab-jobs, annotations: {{eks.amazonaws.com/role-arn: \"arn:aws:iam::210987654321:role/{name}/{name}\"}}}}
"
    ));
    let whole = format!(
        "  warning: gitlab-iam-webhook: kept role 210987654321:role/{name}/{name}, not 123456789012:role/jobs (rule jobs)\n"
    );
    assert!(out.contains(&whole), "{out}");
}

#[test]
fn schema_prints_a_schema_of_the_mapping_and_says_how_an_editor_uses_it() {
    let (code, out, err) = run(&["schema"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let (code, help, _) = run(&["schema", "--help"]);
    assert_eq!(code, 0);
    assert!(help.contains("# yaml-language-server: $schema=./mapping.schema.json\n"), "{help}");
}

#[test]
fn explain_says_what_a_pod_of_an_old_chart_looks_like() {
    let old = "apiVersion: apps/v1
kind: Deployment
metadata: {name: gitlab-sidekiq, namespace: gitlab}
spec: {template: {metadata: {labels: {app: sidekiq, release: gitlab}}}}
";
    let mapping = data("one-rule-per-component.yaml").display().to_string();
    let (_, out, _) = run_with_input(&["explain", "-m", &mapping, "-"], old);
    let hint = "component: none (looks like sidekiq of a chart before 4.9: match it by its labels)";
    assert!(out.contains(hint), "{out}");
    // docs/mapping.md says to match such Pods so.
    let by_labels = "rules:
  - match: {namespace: gitlab, labels: {app: sidekiq}, release: gitlab}
    provider: kube2iam
    role: gitlab
";
    let folder = tempfile::tempdir().unwrap();
    let mapping = folder.path().join("mapping.yaml").display().to_string();
    fs::write(&mapping, by_labels).unwrap();
    let (_, out, _) = run_with_input(&["explain", "-m", &mapping, "-"], old);
    assert!(out.contains("+ iam.amazonaws.com/role: gitlab"), "{out}");
}

#[test]
fn nobodys_annotation_speaks_for_explain() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = folder.path().join("mapping.yaml").display().to_string();
    fs::write(&mapping, "onNoRule: remove\nrules: []\n").unwrap();
    let account = r#"apiVersion: v1
kind: ServiceAccount
metadata:
  name: a
  annotations:
    eks.amazonaws.com/role-arn: x
    gitlab-iam-webhook/applied: '{"annotations":{"eks.amazonaws.com/role-arn":"x"},"rule":"r"}'
    gitlab-iam-webhook/was: "y\e[2J\n  component: registry"
"#;
    let (code, out, _) = run_with_input(&["explain", "-m", &mapping, "-"], account);
    assert_eq!(code, 0);
    assert!(out.contains("~ eks.amazonaws.com/role-arn: y?[2J?  component: registry\n"), "{out:?}");
    assert!(!out.contains('\u{1b}') && !out.contains("\n  component: registry"), "{out:?}");
}

#[test]
fn explain_takes_a_requester_and_a_review() {
    let mapping = data("one-rule-per-component.yaml").display().to_string();
    let job = "apiVersion: v1
kind: Pod
metadata: {name: job, namespace: gitlab-runner, labels: {project.runner.gitlab.com/id: \"42\"}}
";
    let (_, without, _) = run_with_input(&["explain", "-m", &mapping, "-"], job);
    assert!(without.contains("runner: the requester is not known here"), "{without}");
    let user = "system:serviceaccount:gitlab-runner:gitlab-runner";
    let (_, with, _) = run_with_input(&["explain", "-m", &mapping, "--user", user, "-"], job);
    assert!(with.contains("+ iam.amazonaws.com/role: arn:aws:iam::123456789012:role/role-job-42"), "{with}");
    let review = data("reviews/pod-create-runner-job-by-manager.json").display().to_string();
    let (code, out, _) = run(&["explain", "-m", &mapping, &review]);
    assert_eq!(code, 0);
    assert!(out.contains("+ iam.amazonaws.com/role: arn:aws:iam::123456789012:role/role-job-42"), "{out}");
}

#[test]
fn explain_says_which_namespace_it_assumes() {
    const NOTE: &str =
        "\nObjects that name no namespace count as in `default`: name another one with -n NAMESPACE.\n";
    let (_folder, [good, ..]) = files();
    let tells = |namespace: &str, arguments: &[&str]| {
        let object = format!("kind: ServiceAccount\nmetadata: {{name: gitlab-registry{namespace}}}\n");
        let (code, out, _) = run_with_input(&[&["explain", "-m", &good, "-"], arguments].concat(), &object);
        assert_eq!(code, 0);
        out.ends_with(NOTE)
    };
    assert!(tells("", &[]));
    assert!(!tells("", &["-n", "gitlab"]));
    assert!(!tells("", &["-o", "json"]));
    assert!(!tells(", namespace: gitlab", &[]));
}

#[test]
fn explain_says_what_it_cannot_do() {
    let (_folder, [good, bad, objects]) = files();
    let (code, _, err) = run(&["explain", "-m", &bad, &objects]);
    assert_eq!(code, 2);
    assert!(
        err.starts_with(&format!("error: loading the mapping {bad}: 2 problems\n  2:25: rules[0]")),
        "{err}"
    );
    let folder = tempfile::tempdir().unwrap();
    let utf_16 = folder.path().join("utf-16.yaml");
    fs::write(&utf_16, b"\xff\xfer\0u\0").unwrap();
    let utf_16 = utf_16.display().to_string();
    let (code, _, err) = run(&["explain", "-m", &utf_16, &objects]);
    let words = format!("error: reading {utf_16}: it is not text in UTF-8: save it as UTF-8\n");
    assert_eq!((code, err), (2, words));
    let (code, _, err) = run_with_input(&["explain", "-m", &good, "-"], "kind: Service\n");
    let none = "no ServiceAccount, Pod or Pod template in standard input: give it what \
                `kubectl get sa,pods -o yaml` or `helm template` prints\n";
    assert_eq!((code, err.as_str()), (1, none));
    let (code, _, err) = run_with_input(&["explain", "-m", &good, "-"], "kind: [\n");
    assert_eq!(
        (code, err.as_str()),
        (2, "error: reading standard input: 1:7: not YAML: unclosed bracket '['\n")
    );
    let number = "kind: Pod\nmetadata: {labels: {a: 1}}\n";
    let (code, _, err) = run_with_input(&["explain", "-m", &good, "-"], number);
    assert_eq!(code, 2);
    assert_eq!(
        err,
        "error: reading standard input: 2:24: labels.a must be text, but YAML reads 1 as a number: write it in quotes\n"
    );
}

#[test]
fn explain_reads_every_shape_of_manifest() {
    let (_folder, [good, ..]) = files();
    let pod = r#"{"metadata": {"labels": {"app": "registry", "chart": "registry-0.7.0", "release": "g"}}, "spec": {}}"#;
    let documents = [
        r#"{"kind": "List", "items": [{"kind": "Pod", "spec": {}}, {"kind": "ServiceAccount"}]}"#.to_owned(),
        format!(r#"{{"kind": "CronJob", "metadata": {{"name": "c"}}, "spec": {{"jobTemplate": {{"spec": {{"template": {pod}}}}}}}}}"#),
        format!(r#"{{"kind": "StatefulSet", "spec": {{"template": {pod}}}}}"#),
        format!(r#"{{"kind": "PodTemplate", "template": {pod}}}"#),
    ]
    .join("\n---\n");
    let (code, out, err) = run_with_input(&["explain", "-m", &good, "--output", "json", "-"], &documents);
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    let told: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|object| format!("{} {}", object["kind"].as_str().unwrap(), object["component"]))
        .collect();
    assert_eq!(
        told,
        [
            "Pod null",
            "ServiceAccount null",
            // The Job of the registry's chart makes migrations.
            "CronJob \"registry-migrations\"",
            "StatefulSet \"registry\"",
            "PodTemplate \"registry\"",
        ]
    );
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let mapping = data("one-rule-per-component.yaml");
    let mut command = binary();
    command.arg("explain").arg("-m").arg(mapping).arg(data("gitlab-objects.yaml"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (code, _, err) = finished(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn every_option_of_serve_is_documented_and_has_a_variable() {
    let (code, help, _) = run(&["serve", "--help"]);
    assert_eq!(code, 0);
    let (described, _) = help.split_once("Examples:").unwrap();
    // Lines with a deeper indent describe the options.
    let is_option =
        |line: &&str| (line.starts_with("  -") || line.starts_with("      -")) && !line.contains("--help");
    let options: Vec<_> = described.lines().filter(is_option).collect();
    assert!(options.len() >= 28, "{help}");
    assert_eq!(described.matches("[env: GITLAB_IAM_WEBHOOK_").count(), options.len(), "{help}");
    for command in ["check", "completions", "explain", "schema", "probe"] {
        assert!(run(&[command, "--help"]).1.contains("Examples:"), "{command}");
    }
}

#[test]
fn a_wrong_mapping_at_the_start_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = folder.path().join("mapping.yaml");
    fs::write(&mapping, "rulez: []\n").unwrap();
    let (code, _, err) = run(&["serve", "--mapping", &mapping.display().to_string()]);
    assert_eq!(code, 2);
    assert_eq!(err.matches("did you mean `rules`?").count(), 1, "{err}");
    assert!(!err.contains("stays in force"), "there was none before: {err}");
}

#[test]
fn serve_says_in_one_line_why_it_does_not_start() {
    let (folder, [good, bad, _]) = files();
    let missing = folder.path().join("none").display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    let cases: [(&[&str], String); 6] = [
        (
            &["--mapping", &missing],
            format!(
                "error: loading the mapping: reading {missing}: No such file or directory (os error 2)\n"
            ),
        ),
        (&["--mapping", &bad], format!("error: loading the mapping: {bad} has 2 problems\n")),
        (
            &["--mapping", &good, "--listen", &taken, "--admin-listen", free],
            format!("error: listening on {taken} (--listen): Address already in use (os error 98)\n"),
        ),
        (
            &["--mapping", &good, "--listen", free, "--admin-listen", &taken],
            format!("error: listening on {taken} (--admin-listen): Address already in use (os error 98)\n"),
        ),
        (
            &[
                "--mapping",
                &good,
                "--listen",
                free,
                "--admin-listen",
                free,
                "--tls-cert",
                &missing,
                "--tls-key",
                &missing,
            ],
            format!(
                "error: loading the certificate: reading {missing}: No such file or directory (os error 2)\n"
            ),
        ),
        (
            &[
                "--mapping",
                &good,
                "--listen",
                free,
                "--admin-listen",
                free,
                "--tls-cert",
                &good,
                "--tls-key",
                &good,
            ],
            format!(
                "error: loading the certificate: loading {good} and {good}: the certificate file holds no certificate\n"
            ),
        ),
    ];
    for (arguments, want) in cases {
        let (code, _, err) = run(&[&["serve", "--log", "off"], arguments].concat());
        assert_eq!(code, 2, "{arguments:?}");
        assert!(err.starts_with(&want), "wanted {want}found {err}");
    }
    let watch =
        ["serve", "--log", "off", "--mapping-config-map", "a/b", "--listen", free, "--admin-listen", free];
    let (code, _, err) = finished(binary().args(watch).env("KUBECONFIG", &missing).output().unwrap());
    let want = format!(
        "error: connecting to the cluster: found no credentials: set KUBECONFIG to a kubeconfig that can be read, or run in a Pod of the cluster: {missing}: No such file or directory (os error 2)\n"
    );
    assert_eq!((code, err), (2, want));
    for bad in [
        &["--listen", "nowhere"][..],
        &["--tls-cert", &good],
        &["--log-format", "xml"],
        &["--drain-timeout", "5"],
    ] {
        let (code, _, err) = run(&[&["serve", "--mapping", &good], bad].concat());
        assert_eq!(code, 2, "{bad:?}: {err}");
        assert!(err.starts_with("error: "), "{err}");
    }
    for (bad, want) in [
        (["--log", "inof"], "write off, error, warn, info, debug or trace"),
        (["--log", ""], "write off, error, warn, info, debug or trace"),
        (["--log", "info,"], "write off, error, warn, info, debug or trace"),
        (["--log", "info,kube_client="], "write off, error, warn, info, debug or trace"),
        (["--log", "gitlab_iam_webhook[review]=info"], "write off, error, warn, info, debug or trace"),
        (["--listen", "8443"], "write IP:PORT, as in 127.0.0.1:8443 or [::]:8443"),
        (["--max-connections", "0"], "write a whole number from 1 on"),
        (["--max-body-bytes", "8MiB"], "write a whole number from 1 on"),
        (["--allowed-role", "gitlab-*"], "the glob is over whole ARNs: write arn:aws:iam::*:role/gitlab-*"),
        (["--workload-controller", ""], "a value is required"),
    ] {
        let (code, _, err) = run(&[&["serve", "--mapping", &good], &bad[..]].concat());
        assert!(code == 2 && err.contains(want), "{bad:?}: {err}");
    }
}

#[test]
fn without_a_certificate_the_printed_request_works_as_printed() {
    let (_folder, [good, ..]) = files();
    let mut command = binary();
    command.args([
        "serve",
        "--mapping",
        &good,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log",
        "off",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let curls: Vec<String> = lines.filter(|line| line.trim_start().starts_with("curl ")).take(3).collect();
    let answers: Vec<String> = curls
        .iter()
        .map(|line| finished(Command::new("sh").arg("-c").arg(line).output().unwrap()))
        .map(|(code, out, err)| if code == 0 { out } else { panic!("curl: {err}") })
        .collect();
    assert!(answers[0].contains("\"patchType\":\"JSONPatch\""), "{answers:?}");
    assert_eq!(answers[1], "ok\n");
    assert!(answers[2].contains("gitlab_iam_webhook_reviews_total{"), "{answers:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
