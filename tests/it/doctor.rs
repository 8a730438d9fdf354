//! What does `doctor` say and exit with, as a person types it, where no cluster answers?

use std::fs;
use std::process::{Command, Stdio};

use gitlab_iam_webhook::doctor::installation::CHECKS;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::data;

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
";

/// What is in every Secret here, and never in an output.
const PLANTED: &str = "AKIAPLANTEDPLANTED00";

fn doctor(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
        .arg("doctor")
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env("HOME", "/nowhere")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments may have ended before it has read anything.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn file(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A Deployment of the registry as GitLab's chart makes it, with the account that it names.
fn chart(account: &str) -> String {
    let labels = "{app: registry, chart: registry-0.7.0, release: gitlab}";
    format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: gitlab-registry, namespace: gitlab, labels: {labels}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: gitlab-registry, namespace: gitlab}}
spec: {{template: {{metadata: {{labels: {labels}}}, spec: {{serviceAccountName: {account}, containers: []}}}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: registry-storage, namespace: gitlab}}
stringData: {{config: \"s3: {{accesskey: {PLANTED}, secretkey: {PLANTED}}}\"}}
"
    )
}

#[test]
fn manifests_are_looked_at_without_a_cluster_as_far_as_they_tell() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = file(&folder, "mapping.yaml", MAPPING);
    let good = file(&folder, "good.yaml", chart("gitlab-registry"));
    let (code, out, err) = doctor(&["-m", &mapping, "-f", &good], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with(&format!("looked at: mapping {mapping}; manifests {good}\n")), "{out}");
    assert!(
        out.contains("not looked at: the installation of gitlab-iam-webhook: manifests were given"),
        "{out}"
    );
    assert!(out.contains("not looked at: Secrets"), "{out}");
    assert!(out.contains("0 problems, 0 warnings, "), "{out}");

    let (code, out, _) = doctor(&["-m", &mapping, "-f", "-"], &chart("default"));
    assert_eq!(code, 1, "{out}");
    let line = out.lines().find(|line| line.starts_with("problem: ")).unwrap();
    assert!(line.contains("Deployment gitlab/gitlab-registry") && line.contains(". Fix: "), "{line}");
    assert!(line.contains(". See "), "{line}");
    // Several files are one picture.
    let more = file(&folder, "more.yaml", chart("default"));
    let (code, out, _) = doctor(&["-m", &mapping, "-f", &good, "-f", &more], "");
    assert_eq!(code, 1, "{out}");
    // Without a mapping nobody knows what is to arrive, which is said.
    let (code, out, _) = doctor(&["-f", &more], "");
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("not looked at: what the mapping decides: no mapping is known: name one"), "{out}");
    assert_eq!(doctor(&["--strict", "-f", &more], "").0, 1, "nobody knows whether all is well");
    assert_eq!(doctor(&["--strict", "-m", &mapping, "-f", &good], "").0, 0, "Secrets were not asked for");
}

#[test]
fn json_tells_the_same_and_a_warning_counts_when_asked_for() {
    let objects = data("gitlab-objects.yaml").display().to_string();
    let mapping = data("one-rule-per-component.yaml").display().to_string();
    let arguments = ["-n", "gitlab", "-m", &mapping, "-f", &objects];
    let (_, text, _) = doctor(&arguments, "");
    let (code, out, err) = doctor(&[&arguments[..], &["--output", "json"]].concat(), "");
    assert_eq!((code, err.as_str()), (1, ""));
    let all: Value = serde_json::from_str(&out).unwrap();
    let findings = all["findings"].as_array().unwrap();
    assert_eq!(findings.len(), text.matches(". Fix: ").count());
    for finding in findings {
        for key in ["severity", "check", "place", "what", "fix", "reference"] {
            let words = finding[key].as_str().unwrap();
            assert!(!words.is_empty() && text.contains(words), "{key}: {words}");
        }
    }
    let count = |severity: &str| findings.iter().filter(|finding| finding["severity"] == severity).count();
    assert_eq!(all["problems"], count("problem"));
    assert_eq!(all["warnings"], count("warning"));
    assert_eq!(all["lookedAt"]["manifests"][0], *objects);
    assert!(all["notLookedAt"].as_array().unwrap().iter().all(|one| one["why"].is_string()));
}

#[test]
fn what_secrets_and_values_hold_is_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = file(&folder, "mapping.yaml", MAPPING);
    let broken = format!("global: {{minio: [{PLANTED}\n");
    let good = format!("global: {{platform: {{eksRoleArn: {PLANTED}}}}}\n");
    let typed = format!("kind: Secret\nmetadata: {{name: s}}\ndata: [{PLANTED}]\n");
    let encoded =
        format!("kind: Secret\nmetadata: {{name: s}}\ndata: {{connection: \"{PLANTED} no base64\"}}\n");
    for manifest in [chart("default"), typed, encoded] {
        for values in [&good, &broken] {
            let values = file(&folder, "values.yaml", values);
            for more in [&[][..], &["--secrets"], &["--output", "json"], &["--secrets", "--output", "json"]] {
                let arguments = ["-m", &mapping, "--values", &values, "-f", "-"];
                let (code, out, err) = doctor(&[&arguments[..], more].concat(), &manifest);
                assert!((0..=2).contains(&code));
                assert!(!out.contains(PLANTED) && !err.contains(PLANTED), "{out}{err}");
            }
        }
    }
}

#[test]
fn what_cannot_be_used_is_said_in_a_sentence_once() {
    let folder = tempfile::tempdir().unwrap();
    let objects = file(&folder, "objects.yaml", chart("gitlab-registry"));
    let broken = file(&folder, "broken.yaml", "a: [b\n");
    let binary = file(&folder, "binary", [0xff, 0xfe, 0x00]);
    let empty = file(&folder, "empty.yaml", "");
    let other = file(&folder, "other.yaml", "kind: Ingress\nmetadata: {name: a}\n");
    let ruels = file(&folder, "ruels.yaml", "ruels: []\n");
    let nowhere = folder.path().join("nowhere").display().to_string();
    let itself = folder.path().display().to_string();
    for (arguments, words) in [
        (&["-f", &nowhere][..], "No such file"),
        (&["-f", &itself], "directory"),
        (&["-f", &broken], "broken.yaml: "),
        (&["-f", &binary], "it is not text in UTF-8"),
        (&["-f", &empty], "there is no Namespace, ServiceAccount, workload, ConfigMap or Secret in them"),
        (&["-f", &other], "there is no Namespace"),
        (&["-f", &objects, "-m", &ruels], "unknown key `ruels`"),
        (&["-f", &objects, "-m", &nowhere], "No such file"),
        (&["-f", &objects, "--values", &nowhere], "No such file"),
        (&["-f", &objects, "--values", &broken], "the values are no YAML of that size"),
        (&["--kubeconfig", &nowhere], "using the kubeconfig"),
        (&["--kubeconfig", &broken], "using the kubeconfig"),
        (&[], "found no credentials"),
    ] {
        let (code, out, err) = doctor(arguments, "");
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains(words), "{arguments:?}: {err}");
        assert_eq!(err.matches(words).count(), 1, "{arguments:?}: {err}");
    }
    for arguments in
        [&["-f", &objects, "-A"][..], &["-f", &objects, "--context", "x"], &["-A", "-n", "gitlab"]]
    {
        let (code, out, err) = doctor(arguments, "");
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("cannot be used with"), "{err}");
    }
}

#[test]
fn a_file_that_is_too_long_is_refused_before_it_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.yaml");
    // It takes no room on disk.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let path = path.display().to_string();
    let (code, out, err) = doctor(&["-f", &path], "");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("it has more than 67108864 bytes"), "{err}");
}

#[test]
fn the_page_of_doctor_has_a_row_for_each_check_of_an_installation_in_their_order() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.md")).unwrap();
    let (_, section) = page.split_once("## What it looks for in our own installation").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0));
    assert_eq!(rows.collect::<Vec<_>>(), CHECKS);
}
