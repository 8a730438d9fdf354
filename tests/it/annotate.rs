//! What does `annotate` make of manifests, as a person types it?

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gitlab_iam_webhook::engine::annotate::{Circumstances, MAX_BYTES, annotate};
use gitlab_iam_webhook::engine::decision::decide;
use gitlab_iam_webhook::engine::object::manifest;
use gitlab_iam_webhook::engine::object::subject::Requester;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{data, ruleset};

/// Roles for the ServiceAccounts whose names begin with s, whatever else they are, and for their Pods.
const MAPPING: &str = "account: \"123456789012\"
rules:
  - {name: r, match: {serviceAccount: \"s*\"}, provider: [irsa, kube2iam], role: x}
";

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    command.stdin(Stdio::null()).env_remove("HELM_NAMESPACE").env_remove("GITLAB_IAM_WEBHOOK_MAPPING");
    command
}

fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A folder with a mapping, in which commands run.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("m.yaml", MAPPING);
        place
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        finished(binary().arg("annotate").args(arguments).current_dir(self.0.path()).output().unwrap())
    }

    fn pipe(&self, arguments: &[&str], input: &[u8]) -> (i32, String, String) {
        let mut command = binary();
        command.arg("annotate").args(arguments).current_dir(self.0.path());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let done = finished(child.wait_with_output().unwrap());
        writing.join().unwrap();
        done
    }
}

/// Annotates a text by the mapping above.
fn annotated(text: &str) -> Result<String, String> {
    let circumstances = Circumstances { namespace: Some("ns"), user: None };
    let ruleset = ruleset(MAPPING);
    annotate(text, &ruleset, &circumstances)
        .map(|done| done.text.into_owned())
        .map_err(|error| error.to_string())
}

const ROLE: &str = "eks.amazonaws.com/role-arn: \"arn:aws:iam::123456789012:role/x\"";
const APPLIED: &str = "gitlab-iam-webhook/applied: '{\"annotations\":{\"eks.amazonaws.com/role-arn\":\"arn:aws:iam::123456789012:role/x\"},\"rule\":\"r\"}'";
const IN_BRACES: &str = "\"eks.amazonaws.com/role-arn\": \"arn:aws:iam::123456789012:role/x\", \"gitlab-iam-webhook/applied\": \"{\\\"annotations\\\":{\\\"eks.amazonaws.com/role-arn\\\":\\\"arn:aws:iam::123456789012:role/x\\\"},\\\"rule\\\":\\\"r\\\"}\"";

/// Puts what is added where `@` stands for lines of a block, indented as it is, and `%` for a piece in braces.
fn filled(pattern: &str) -> String {
    let newline = if pattern.contains('\r') { "\r\n" } else { "\n" };
    let line = |line: &str| match line.trim_end().strip_suffix('@') {
        Some(indent) if indent.chars().all(|c| c == ' ') => {
            let end = if line.ends_with('\n') { newline } else { "" };
            format!("{indent}{ROLE}{newline}{indent}{APPLIED}{end}")
        }
        _ => line.replace('%', IN_BRACES),
    };
    pattern.split_inclusive('\n').map(line).collect()
}

#[test]
fn each_layout_is_kept_but_for_what_is_added() {
    const SA: &str = "kind: ServiceAccount\n";
    for (before, after) in [
        ("metadata:\n  name: s\n", "metadata:\n  annotations:\n    @\n  name: s\n"),
        ("metadata:\n    name: s", "metadata:\n    annotations:\n        @\n    name: s"),
        (
            "metadata: # why\n\n  # it\n  name: s\n",
            "metadata: # why\n  annotations:\n    @\n\n  # it\n  name: s\n",
        ),
        (
            "metadata:\n  name: s\n  annotations:\n    # on x\n    x: z\n",
            "metadata:\n  name: s\n  annotations:\n    @\n    # on x\n    x: z\n",
        ),
        ("metadata:\n  name: s\n  annotations:\n", "metadata:\n  name: s\n  annotations:\n    @\n"),
        ("metadata:\n  name: s\n  annotations:", "metadata:\n  name: s\n  annotations:\n    @"),
        (
            "metadata:\n  name: s\n  annotations: # none\n",
            "metadata:\n  name: s\n  annotations: # none\n    @\n",
        ),
        (
            "metadata:\n  annotations: ~ # none\n  name: s\n",
            "metadata:\n  annotations: # none\n    @\n  name: s\n",
        ),
        ("metadata:\n  annotations: null\n  name: s\n", "metadata:\n  annotations:\n    @\n  name: s\n"),
        ("metadata:\n  annotations: { }\n  name: s\n", "metadata:\n  annotations:\n    @\n  name: s\n"),
        (
            "metadata:\n  annotations:\n      {}\n  name: s\n",
            "metadata:\n  annotations:\n      @\n  name: s\n",
        ),
        ("metadata: {name: s}\n", "metadata: {\"annotations\": {%}, name: s}\n"),
        ("metadata: { name: s, annotations: {} }\n", "metadata: { name: s, annotations: {%} }\n"),
        ("metadata: {name: s, annotations: {x: z,}}\n", "metadata: {name: s, annotations: {%, x: z,}}\n"),
        ("metadata: {name: s, annotations}\n", "metadata: {name: s, annotations: {%}}\n"),
        ("metadata: {name: s, annotations: }\n", "metadata: {name: s, annotations: {%} }\n"),
        ("metadata: {name: s, annotations: ~}\n", "metadata: {name: s, annotations: {%}}\n"),
        ("metadata:\r\n  name: s\r\n", "metadata:\r\n  annotations:\r\n    @\r\n  name: s\r\n"),
        // The anchor of nothing else.
        ("metadata: &m\n  name: s\n", "metadata: &m\n  annotations:\n    @\n  name: s\n"),
        ("metadata:\n  name: s\n  annotations: &a {}\n", "metadata:\n  name: s\n  annotations:\n    @\n"),
        (
            "metadata:\n  name: s\n  \"annotations\" : !!map\n    x: |+\n      a\n\n\n",
            "metadata:\n  name: s\n  \"annotations\" : !!map\n    @\n    x: |+\n      a\n\n\n",
        ),
        // A key that stands twice counts as it stands last.
        (
            "metadata:\n  annotations: {}\n  name: s\n  annotations:\n    a: b\n",
            "metadata:\n  annotations: {}\n  name: s\n  annotations:\n    @\n    a: b\n",
        ),
        (
            "metadata:\n  name: s\n  annotations:\n    a: |\n      x\n    b: >-\n     tab\there\n...\n---\n# end",
            "metadata:\n  name: s\n  annotations:\n    @\n    a: |\n      x\n    b: >-\n     tab\there\n...\n---\n# end",
        ),
    ] {
        let ends = if before.contains('\r') { SA.replace('\n', "\r\n") } else { SA.to_owned() };
        for head in [ends.clone(), format!("# head\n---\n{ends}"), format!("\u{feff}{ends}")] {
            let text = format!("{head}{before}");
            let head = &head;
            assert_eq!(annotated(&text).as_deref(), Ok(&*format!("{head}{}", filled(after))), "{text}");
        }
    }
}

#[test]
fn json_keeps_its_layout() {
    let long = "{\n  \"kind\": \"ServiceAccount\",\n  \"metadata\": {\n    \"name\": \"s\"\n  }\n}\n";
    let done = annotated(long).unwrap();
    assert!(done.starts_with("{\n  \"kind\": \"ServiceAccount\",\n  \"metadata\": {\n    \"annotations\": {\n      \"eks.amazonaws.com/role-arn\": \"arn:aws:iam::123456789012:role/x\",\n      \"git"), "{done}");
    assert!(done.ends_with("}\"\n    },\n    \"name\": \"s\"\n  }\n}\n"), "{done}");
    let tabs = long.replace("  ", "\t");
    assert_eq!(annotated(&tabs).unwrap(), done.replace("  ", "\t"));
    let empty = long.replace("\"name\": \"s\"", "\"annotations\": {},\n    \"name\": \"s\"");
    assert_eq!(annotated(&empty).unwrap(), done);
    let short =
        "[1]\n---\n{\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"s\",\"annotations\":{\"a\":\"b\"}}}";
    let done = annotated(short).unwrap();
    assert_eq!(
        done,
        format!(
            "[1]\n---\n{{\"kind\":\"ServiceAccount\",\"metadata\":{{\"name\":\"s\",\"annotations\":{{{},\"a\":\"b\"}}}}}}",
            IN_BRACES.replace("\": \"", "\":\"").replace("\", \"", "\",\"")
        )
    );
    for text in [long, &tabs, &empty] {
        let value: Value = serde_json::from_str(&annotated(text).unwrap()).unwrap();
        assert_eq!(value["metadata"]["annotations"].as_object().unwrap().len(), 2);
    }
}

#[test]
fn templates_and_lists_are_annotated_where_they_stand() {
    let pod = "iam.amazonaws.com/role: \"arn:aws:iam::123456789012:role/x\"";
    let without = |indent: usize| {
        let pad = " ".repeat(indent);
        format!("{pad}metadata:\n{pad}  annotations:\n{pad}    {pod}\n")
    };
    for (kind, path, indent) in [
        ("Deployment", "spec:\n  template:\n", 4),
        ("StatefulSet", "spec:\n  template:\n", 4),
        ("DaemonSet", "spec:\n  template:\n", 4),
        ("ReplicaSet", "spec:\n  template:\n", 4),
        ("ReplicationController", "spec:\n  template:\n", 4),
        ("Job", "spec:\n  template:\n", 4),
        ("CronJob", "spec:\n  jobTemplate:\n    spec:\n      template:\n", 8),
        ("PodTemplate", "template:\n", 2),
    ] {
        let text = format!(
            "kind: {kind}\nmetadata: {{name: w}}\n{path}{:indent$}spec: {{serviceAccountName: s}}\n",
            ""
        );
        let done = annotated(&text).unwrap();
        assert!(done.contains(&format!("{path}{}", without(indent))), "{done}");
        let list = format!("kind: List\nitems:\n- {}", text.replace('\n', "\n  ").trim_end_matches(' '));
        let done = annotated(&list).unwrap();
        assert!(done.contains(&without(indent + 2)), "{done}");
    }
    // Kinds of others that have the same name.
    for version in ["iam.example.com/v1", "kruise.io/v1"] {
        let text = format!("apiVersion: {version}\nkind: ServiceAccount\nmetadata: {{name: s}}\n");
        assert_eq!(annotated(&text).as_deref(), Ok(&*text));
    }
    let out = "kind: ServiceAccount\nmetadata: {name: s, labels: {gitlab-iam-webhook/inject: disabled}}\n";
    assert_eq!(annotated(out).as_deref(), Ok(out));
}

#[test]
fn what_is_shared_is_never_changed_for_one_alone() {
    for (text, want) in [
        (
            "kind: List\nitems:\n- kind: ServiceAccount\n  metadata: {name: a, annotations: &a {x: z}}\n- kind: ServiceAccount\n  metadata:\n    name: s\n    annotations: *a\n",
            "5:3: the ServiceAccount s cannot be annotated: its `annotations` come from an alias or from `<<`, so other places share them: write them out",
        ),
        (
            "kind: List\nitems:\n- kind: ServiceAccount\n  metadata: {name: s, annotations: &a {x: z}}\n- kind: ServiceAccount\n  metadata:\n    name: a\n    annotations: *a\n",
            "1:1: the document that begins here cannot be annotated without changing something else in it: write out what its anchors and aliases share, and its annotations as `key: value` lines",
        ),
        (
            "kind: Deployment\nmetadata: &m {name: s}\nspec: {template: {metadata: *m, spec: {serviceAccountName: s}}}\n",
            "1:1: the Deployment s cannot be annotated: its `metadata` come from an alias or from `<<`, so other places share them: write them out",
        ),
        (
            "kind: ServiceAccount\nx: &x {annotations: {a: b}}\nmetadata: {name: s, <<: *x}\n",
            "1:1: the ServiceAccount s cannot be annotated: its `annotations` come from an alias or from `<<`, so other places share them: write them out",
        ),
        (
            "kind: ServiceAccount\nmetadata: {name: s, annotations: [a]}\n",
            "1:1: the ServiceAccount s cannot be annotated: its `annotations` must be a mapping, found a list",
        ),
        (
            "kind: Pod\nmetadata: s\nspec: {serviceAccountName: s}\n",
            "1:1: the Pod  cannot be annotated: its `metadata` must be a mapping, found text",
        ),
    ] {
        assert_eq!(annotated(text), Err(want.to_owned()), "{text}");
    }
    let old = "kind: ServiceAccount\rmetadata:\r  name: s\r";
    let error =
        "1:21: a carriage return ends a line here, and no line feed follows it: end lines with line feeds";
    assert_eq!(annotated(old), Err(error.to_owned()));
    let quoted = "kind: ServiceAccount\nmetadata:\n  name: s\n  annotations:\n    '<<':\n      x: y\n";
    let error = annotated(quoted).unwrap_err();
    assert!(error.starts_with("6:7: annotations.<< must be text, but YAML reads it as a mapping"), "{error}");
    let template = "spec: &s {template: {metadata: {labels: {app: x}}, spec: {serviceAccountName: s}}}";
    let twice = format!(
        "kind: List\nitems:\n- kind: Deployment\n  metadata: {{name: a}}\n  {template}\n- kind: Deployment\n  metadata: {{name: b}}\n  spec: *s\n"
    );
    let error = annotated(&twice).unwrap_err();
    assert!(error.contains("by an anchor, two objects share what is to be changed here"), "{error}");
    // An entry of its own wins over one that comes by `<<`.
    let merged = "kind: ServiceAccount\nx: &x {a: b}\nmetadata:\n  name: s\n  annotations:\n    <<: *x\n";
    assert_eq!(
        annotated(merged).unwrap(),
        merged.replace("    <<", &format!("    {ROLE}\n    {APPLIED}\n    <<"))
    );
    let braces = "kind: ServiceAccount\nx: &x {a: b}\nmetadata: {name: s, annotations: {<<: *x}}\n";
    assert_eq!(annotated(braces).unwrap(), braces.replace("<<", &format!("{IN_BRACES}, <<")));
}

#[test]
fn what_was_written_earlier_is_replaced_and_taken_off_where_it_stands() {
    let circumstances = Circumstances { namespace: Some("ns"), user: None };
    let ours = |role: &str| {
        format!("'{{\"annotations\":{{\"eks.amazonaws.com/role-arn\":\"{role}\"}},\"rule\":\"r\"}}'")
    };
    let gone = ruleset("onNoRule: remove\nrules: []\n");
    let other = ruleset(MAPPING);
    let cases = [
        (
            format!(
                "annotations:\n    a: b\n    eks.amazonaws.com/role-arn: old # by hand\n    gitlab-iam-webhook/applied: {}\n    c: |\n      d\n",
                ours("old")
            ),
            "annotations:\n    a: b\n    c: |\n      d\n".to_owned(),
            format!("annotations:\n    a: b\n    {ROLE} # by hand\n    {APPLIED}\n    c: |\n      d\n"),
        ),
        (
            format!(
                "annotations:\n    eks.amazonaws.com/role-arn: |-\n      old\n    # between\n    gitlab-iam-webhook/applied: >-\n      {}\n",
                ours("old").trim_matches('\'')
            ),
            "annotations:\n    # between\n".to_owned(),
            format!("annotations:\n    {ROLE}\n    # between\n    {APPLIED}\n"),
        ),
        (
            format!(
                "annotations: {{a: b, \"eks.amazonaws.com/role-arn\": old, gitlab-iam-webhook/applied: {}, c: d}}\n",
                ours("old")
            ),
            "annotations: {a: b, c: d}\n".to_owned(),
            format!(
                "annotations: {{a: b, {}, c: d}}\n",
                IN_BRACES.replace("\"gitlab-iam-webhook/applied\"", "gitlab-iam-webhook/applied")
            ),
        ),
        (
            format!(
                "annotations: {{ \"eks.amazonaws.com/role-arn\": old, gitlab-iam-webhook/applied: {}, }}\n",
                ours("old")
            ),
            "annotations: {  }\n".to_owned(),
            format!(
                "annotations: {{ {}, }}\n",
                IN_BRACES.replace("\"gitlab-iam-webhook/applied\"", "gitlab-iam-webhook/applied")
            ),
        ),
    ];
    for (before, removed, replaced) in cases {
        let text = |annotations: &str| format!("kind: ServiceAccount\nmetadata:\n  name: s\n  {annotations}");
        let before = text(&before);
        assert_eq!(annotate(&before, &gone, &circumstances).unwrap().text, text(&removed), "{before}");
        assert_eq!(annotate(&before, &other, &circumstances).unwrap().text, text(&replaced), "{before}");
    }
}

#[test]
fn each_of_the_72_objects_is_annotated_as_it_is_decided_on() {
    let text = fs::read_to_string(data("gitlab-objects.yaml")).unwrap();
    let ruleset = ruleset(&fs::read_to_string(data("one-rule-per-component.yaml")).unwrap());
    let circumstances = Circumstances { namespace: Some("gitlab"), user: None };
    let done = annotate(&text, &ruleset, &circumstances).unwrap();
    assert_eq!(done.objects, 72);
    assert!(done.told.len() > 40, "{}", done.told.len());
    let (before, after) = (manifest::read(&text).unwrap(), manifest::read(&done.text).unwrap());
    for (before, after) in before.iter().zip(&after) {
        let decision = decide(&ruleset, &before.subject("gitlab", Requester::Assumed));
        for edit in &decision.edits {
            let found =
                after.annotations().iter().find(|(key, _)| key == edit.key).map(|(_, value)| &**value);
            assert_eq!(found, edit.value.as_deref(), "{}", after.name);
        }
        assert!(decide(&ruleset, &after.subject("gitlab", Requester::Assumed)).edits.is_empty());
    }
    // Every line that was there is there still, in its order.
    let mut new = done.text.lines();
    for line in text.lines() {
        assert!(new.any(|found| found == line), "{line}");
    }
}

const ACCOUNT: &str = "kind: ServiceAccount\nmetadata:\n  name: s\n";

#[test]
fn a_stream_goes_in_and_the_same_stream_comes_out() {
    let place = Place::new();
    let (code, out, err) = place.pipe(&["-m", "m.yaml", "-n", "ns"], ACCOUNT.as_bytes());
    assert_eq!((code, &*out), (0, &*annotated(ACCOUNT).unwrap()));
    assert_eq!(err, "1 of 1 ServiceAccounts, Pods and Pod templates annotated\n");
    let (code, again, err) = place.pipe(&["-m", "m.yaml", "-n", "ns"], out.as_bytes());
    assert_eq!((code, again), (0, out.clone()));
    assert_eq!(err, "0 of 1 ServiceAccounts, Pods and Pod templates annotated\n");
    // Several files are one stream, and a folder is its manifests.
    fs::create_dir(place.0.path().join("f")).unwrap();
    place.write("f/b.yml", "# b\nkind: ConfigMap");
    place.write("f/a.yaml", ACCOUNT);
    place.write("f/c.json", "{\"kind\": \"Secret\"}");
    place.write("f/d.yaml", "# d\n---\nkind: Role\n");
    place.write("f/notes.txt", "kind: [");
    let (code, all, _) = place.run(&["-m", "m.yaml", "-n", "ns", "f"]);
    assert_eq!(code, 0);
    assert_eq!(
        all,
        format!("{out}---\n# b\nkind: ConfigMap\n---\n{{\"kind\": \"Secret\"}}\n# d\n---\nkind: Role\n")
    );
    // Nothing in is nothing out.
    assert_eq!(place.pipe(&["-m", "m.yaml"], b"").0, 0);
    // Variables say what Helm cannot.
    let mut command = binary();
    command.args(["annotate", "f/a.yaml"]).current_dir(place.0.path());
    let done =
        command.env("HELM_NAMESPACE", "ns").env("GITLAB_IAM_WEBHOOK_MAPPING", "m.yaml").output().unwrap();
    assert_eq!(finished(done).1, out);
}

#[test]
fn the_difference_is_one_that_git_applies() {
    let place = Place::new();
    let mut text = String::new();
    for n in 0..30 {
        let style = [
            "metadata:\n  name: s",
            "metadata: {name: s",
            "metadata:\n  annotations: {} # c\n  name: s",
            "metadata:\n  name: t",
        ];
        let end = if n % 4 == 1 { "}" } else { "" };
        let filler = "# filler\n".repeat(n % 9);
        let _ = writeln!(text, "kind: ServiceAccount\n{}{n}{end}\n{filler}---", style[n % 4]);
    }
    text.push_str("kind: ServiceAccount\nmetadata:\n  name: s-last\n  annotations: {}");
    place.write("a.yaml", &text);
    let (code, difference, err) = place.run(&["-m", "m.yaml", "-n", "ns", "--diff", "a.yaml"]);
    assert_eq!(code, 1, "{err}");
    assert!(difference.starts_with("--- a/a.yaml\n+++ b/a.yaml\n@@ -1,"), "{difference}");
    assert_eq!(err, "24 of 31 ServiceAccounts, Pods and Pod templates would change\n");
    place.write("d.patch", &difference);
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).current_dir(place.0.path()).output().unwrap();
        assert!(done.status.success(), "{}\n{difference}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["apply", "d.patch"]);
    let applied = fs::read_to_string(place.0.path().join("a.yaml")).unwrap();
    assert_eq!(applied, annotated(&text).unwrap());
    let (code, difference, _) = place.run(&["-m", "m.yaml", "-n", "ns", "--diff", "a.yaml"]);
    assert_eq!((code, &*difference), (0, ""));
}

#[test]
fn a_difference_that_git_does_not_apply_says_how_it_would() {
    let place = Place::new();
    fs::create_dir(place.0.path().join("f")).unwrap();
    place.write("f/a.yaml", ACCOUNT);
    let tells = |file: &str| {
        let (code, _, err) = place.run(&["-m", "m.yaml", "-n", "ns", "--diff", file]);
        assert_eq!(code, 1, "{err}");
        err.starts_with("git apply takes no path that begins with / or has .. in it: name files from the top")
    };
    let whole = place.0.path().join("f/a.yaml").display().to_string();
    assert!(tells("f/../f/a.yaml") && tells(&whole) && !tells("./f/a.yaml"));
}

#[test]
fn the_difference_speaks_json() {
    let place = Place::new();
    place.write(
        "a.yaml",
        format!("{ACCOUNT}  annotations: {{eks.amazonaws.com/role-arn: by-hand}}\n---\n{ACCOUNT}"),
    );
    let (code, out, _) = place.run(&["-m", "m.yaml", "-n", "ns", "--diff", "--output", "json", "a.yaml"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    assert_eq!(found[0]["annotations"], serde_json::json!({}));
    assert_eq!(found[0]["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&found[1]["line"], &found[1]["name"], &found[1]["namespace"]),
        (&6.into(), &"s".into(), &"ns".into())
    );
    assert_eq!(
        found[1]["annotations"]["eks.amazonaws.com/role-arn"],
        serde_json::json!({"from": null, "to": "arn:aws:iam::123456789012:role/x"})
    );
    let (code, _, err) = place.run(&["-m", "m.yaml", "--output", "json", "a.yaml"]);
    assert_eq!(code, 2);
    assert!(err.contains("--diff"), "{err}");
}

#[test]
fn a_person_is_told_on_standard_error_what_was_not_done() {
    let place = Place::new();
    let kept = format!("{ACCOUNT}  annotations: {{eks.amazonaws.com/role-arn: \"by\\e[2Jhand\"}}\n");
    let (code, out, err) = place.pipe(&["-m", "m.yaml", "-n", "ns"], kept.as_bytes());
    assert_eq!((code, out), (0, kept));
    let want = "warning: standard input:1: ServiceAccount ns/s: kept role by?[2Jhand, not 123456789012:role/x (rule r)\n";
    assert!(err.starts_with(want), "{err}");
    let mapping = data("one-rule-per-component.yaml").display().to_string();
    let labels = "labels: {app: webservice, chart: webservice-9.10.0, release: gitlab}";
    let pod = format!("kind: Pod\nmetadata: {{name: p, {labels}}}\n");
    let (_, _, err) = place.pipe(&["-m", &mapping, "-n", "ns"], pod.as_bytes());
    assert!(err.contains("does not reach it, because the Pod runs as `default`"), "{err}");
    assert!(
        err.contains(
            "Pods count as asked for by their controller: name another requester with --user USER\n"
        ),
        "{err}"
    );
    let (_, _, err) = place.pipe(&["-m", &mapping, "-n", "ns", "--user", "admin"], pod.as_bytes());
    assert!(err.contains("labels say webservice, but no workload controller asked for this Pod"), "{err}");
    assert!(!err.contains("count as asked"), "{err}");
}

#[test]
fn bad_input_is_refused_with_a_sentence_and_nothing_comes_out() {
    let place = Place::new();
    let ok = format!("{ACCOUNT}---\n");
    let many = "kind: ServiceAccount\nmetadata: {name: t}\n---\n".repeat(100_001);
    let wide = format!("a: [{}]\n", "1,".repeat(2_000_000));
    let copies = format!("a: &a \"\\n{}\"\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(300));
    for (input, want) in [
        (format!("{ok}kind: ["), "annotating standard input: 5:7: not YAML: unclosed bracket '['"),
        (format!("{ok}a:\n\t- b\n"), "annotating standard input: 6:2: not YAML: tabs disallowed"),
        (format!("{ok}\u{0}\u{1}\u{2}"), "annotating standard input: "),
        (
            "kind: ServiceAccount\nmetadata:\n  name: a # x\u{2028}  name: b\n".to_owned(),
            "3:14: the character U+2028 ends a line for kubectl, and not for other readers of YAML: take it out",
        ),
        (format!("{ok}a: *b\n"), "annotating standard input: 5:4: not YAML: "),
        (
            "kind: ServiceAccount\nmetadata: {name: s, labels: {a: 1}}\n".to_owned(),
            "2:33: labels.a must be text, but YAML reads 1 as a number: write it in quotes",
        ),
        (many, "this is one object more than 100000: annotate fewer at a time"),
        (wide, "1:4000003: it holds more than 2000000 values, aliases followed"),
        (copies, "one document takes more than 256 MiB: split it"),
    ] {
        let (code, out, err) = place.pipe(&["-m", "m.yaml", "-n", "ns"], input.as_bytes());
        let short = input.chars().take(60).collect::<String>();
        assert_eq!((code, &*out), (2, ""), "{short}: {err}");
        assert!(
            err.starts_with("error: annotating standard input: ") && err.contains(want),
            "{short}: {err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    for (arguments, want) in [
        (
            &["-m", "m.yaml", "nowhere.yaml"][..],
            "error: reading nowhere.yaml: No such file or directory (os error 2)\n",
        ),
        (
            &["-m", "nowhere.yaml", "m.yaml"],
            "error: reading nowhere.yaml: No such file or directory (os error 2)\n",
        ),
        (
            &["m.yaml"],
            "error: no mapping: name its file with -m FILE, or give a ResourceList that brings one\n",
        ),
        (
            &["-m", "m.yaml", "empty"],
            "error: reading the folder empty: it has no .yaml, .yml or .json file\n",
        ),
        (
            &["-m", "m.yaml", "bytes.yaml"],
            "error: reading bytes.yaml: it is not text in UTF-8: save it as UTF-8\n",
        ),
        (&["-m", "bad.yaml", "m.yaml"], "error: loading the mapping bad.yaml: 2 problems"),
    ] {
        let _ = fs::create_dir(place.0.path().join("empty"));
        place.write("bytes.yaml", b"kind: \xff\xfe");
        place.write("bad.yaml", "ruls: []\n");
        let (code, out, err) = place.run(arguments);
        assert_eq!((code, &*out), (2, ""), "{err}");
        assert!(err.starts_with(want), "{err}");
    }
    let (code, out, err) = place.pipe(&["-m", "m.yaml"], ACCOUNT.as_bytes());
    assert_eq!((code, &*out), (2, ""));
    assert_eq!(
        err,
        "error: annotating standard input: 1:1: the ServiceAccount s names no namespace: say with -n NAMESPACE where it will be\n"
    );
    for namespace in ["", "a/b", "A"] {
        assert_eq!(place.pipe(&["-m", "m.yaml", "-n", namespace], b"").0, 2, "{namespace}");
    }
    // What is no object of ours passes as it is.
    for text in [
        "a: b",
        "[1, 2]",
        "just text",
        "kind: [a]\n",
        "items: {}\nkind: List\n",
        "# nothing\n",
        "a: b\na: c\n",
    ] {
        let (code, out, _) = place.pipe(&["-m", "m.yaml"], text.as_bytes());
        assert_eq!((code, &*out), (0, text));
    }
}

#[test]
fn as_much_as_is_promised_is_taken_and_one_byte_more_is_not() {
    let place = Place::new();
    let object = "kind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: some text of an ordinary length\n---\n";
    let mut text = object.repeat(MAX_BYTES / object.len() - 1);
    text.push_str(ACCOUNT);
    text.push_str("# ");
    text.push_str(&"x".repeat(MAX_BYTES - text.len()));
    assert_eq!(text.len(), MAX_BYTES);
    place.write("big.yaml", &text);
    let (code, out, err) = place.run(&["-m", "m.yaml", "-n", "ns", "big.yaml"]);
    assert_eq!((code, out.len() > MAX_BYTES), (0, true), "{err}");
    assert!(err.ends_with("1 of 1 ServiceAccounts, Pods and Pod templates annotated\n"), "{err}");
    place.write("more.yaml", "#");
    let (code, out, err) = place.run(&["-m", "m.yaml", "-n", "ns", "big.yaml", "more.yaml"]);
    assert_eq!((code, &*out), (2, ""));
    assert_eq!(
        err,
        "error: reading more.yaml: the manifests have more than 64 MiB in all: annotate fewer at a time\n"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    place.write("a.yaml", "kind: ServiceAccount\nmetadata: {name: s}\n---\n".repeat(5000));
    let ours = Path::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook")).display();
    let command = format!("{{ {ours} annotate -m m.yaml -n ns a.yaml; echo $? >&2; }} | head -1");
    let done = Command::new("sh").args(["-c", &command]).current_dir(place.0.path()).output().unwrap();
    let (_, out, err) = finished(done);
    assert_eq!(out, "kind: ServiceAccount\n");
    assert!(err.ends_with("\n0\n"), "{err}");
}

#[test]
fn a_resource_list_brings_its_mapping_and_takes_its_results() {
    let place = Place::new();
    let mapping = MAPPING.trim_end().replace('\n', "\n      ");
    let item = |annotations: &str| {
        format!(
            "- kind: ServiceAccount\n  metadata:\n    name: s\n    annotations:\n      config.kubernetes.io/index: '0'\n{annotations}"
        )
    };
    let list = |mapping: &str, item: &str| {
        format!(
            "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n{item}functionConfig:\n  kind: ConfigMap\n  data:\n    mapping.yaml: |\n      {mapping}\n"
        )
    };
    let plain = list(&mapping, &item(""));
    let (code, out, err) = place.pipe(&["-n", "ns"], plain.as_bytes());
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        plain.replace("    annotations:\n", &format!("    annotations:\n      {ROLE}\n      {APPLIED}\n"))
    );
    // What a person should know is a result.
    let kept = list(&mapping, &item("      eks.amazonaws.com/role-arn: by-hand\n"));
    let (code, out, _) = place.pipe(&["-n", "ns"], kept.as_bytes());
    let (first, rest) = out.split_once('\n').unwrap();
    assert_eq!((code, rest), (0, &*kept));
    let results: Value = serde_json::from_str(first.strip_prefix("results: ").unwrap()).unwrap();
    assert_eq!(results[0]["severity"], "warning");
    assert_eq!(results[0]["resourceRef"]["name"], "s");
    // An error is one, too, and the objects come back as they were.
    let bad = list("ruls: []", &item(""));
    let (code, out, err) = place.pipe(&["-n", "ns"], bad.as_bytes());
    let (first, rest) = out.split_once('\n').unwrap();
    assert_eq!((code, rest), (2, &*bad));
    assert!(
        first.contains("\"severity\":\"error\"")
            && first.contains("loading the mapping functionConfig.data.mapping.yaml: 2 problems"),
        "{first}"
    );
    assert!(
        err.starts_with("error: loading the mapping functionConfig.data.mapping.yaml: 2 problems"),
        "{err}"
    );
    let (code, _, err) = place.pipe(&["-n", "ns", "-m", "m.yaml"], plain.as_bytes());
    assert_eq!(code, 2);
    assert!(
        err.starts_with(
            "error: two mappings: leave out -m m.yaml, or mapping.yaml in the data of functionConfig"
        ),
        "{err}"
    );
    let none = plain.replace("mapping.yaml:", "other:");
    let (code, _, err) = place.pipe(&["-n", "ns"], none.as_bytes());
    assert_eq!(code, 2);
    assert!(
        err.starts_with("error: no mapping: write it into the data of functionConfig under mapping.yaml"),
        "{err}"
    );
    assert_eq!(place.pipe(&["-n", "ns", "-m", "m.yaml"], none.as_bytes()).0, 0);
    let json = serde_json::json!({"apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList", "items": [], "functionConfig": {"data": {"mapping.yaml": "x"}}}).to_string();
    let (code, out, _) = place.pipe(&[], json.as_bytes());
    assert_eq!(code, 2);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["results"][0]["severity"], "error");
    // Others may have kinds of the same name.
    let other = plain.replace("config.kubernetes.io/v1", "example.com/v1");
    let (code, out, err) = place.pipe(&["-n", "ns"], other.as_bytes());
    assert_eq!((code, &*out), (2, ""));
    assert!(err.starts_with("error: no mapping: name its file with -m FILE"), "{err}");
}

#[test]
fn results_of_a_resource_list_hold_nothing_that_yaml_refuses() {
    let place = Place::new();
    let list = "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n- kind: ServiceAccount\n  metadata:\n    name: \"s\\x7f\\x85\\u202e\"\n    annotations: {eks.amazonaws.com/role-arn: \"by\\x7fhand\"}\n";
    let (code, out, err) = place.pipe(&["-n", "ns", "-m", "m.yaml"], list.as_bytes());
    assert_eq!(code, 0, "{err}");
    let (first, rest) = out.split_once('\n').unwrap();
    assert_eq!(rest, list);
    assert!(first.is_ascii() && !first.contains(char::is_control), "{first:?}");
    let results: Value = serde_json::from_str(first.strip_prefix("results: ").unwrap()).unwrap();
    assert_eq!(results[0]["resourceRef"]["name"], "s\u{7f}\u{85}\u{202e}");
}

#[test]
fn several_files_are_a_stream_that_is_read_again_as_they_were() {
    let place = Place::new();
    place.write("a.yaml", ACCOUNT);
    place.write("b.yaml", format!("\u{feff}%YAML 1.1\n---\n{}", ACCOUNT.replace("name: s", "name: s2")));
    place.write("c.yaml", "\u{feff}kind: ConfigMap\ndata:\n  a: |\n    text");
    let all = ["-m", "m.yaml", "-n", "ns"];
    let (code, out, err) = place.run(&[&all[..], &["a.yaml", "-f", "b.yaml", "-f", "c.yaml"]].concat());
    assert_eq!(code, 0, "{err}");
    assert_eq!(manifest::read(&out).unwrap().len(), 2);
    assert_eq!(out.matches('\u{feff}').count(), 0);
    assert!(out.contains("  name: s\n...\n%YAML 1.1\n---\nkind: ServiceAccount\n"), "{out}");
    assert!(out.ends_with("  name: s2\n---\nkind: ConfigMap\ndata:\n  a: |\n    text"), "{out}");
    let (code, again, err) = place.pipe(&all, out.as_bytes());
    assert_eq!((code, again), (0, out), "{err}");
    // The text of c.yaml would have an end of line more.
    let (code, out, err) = place.run(&[&all[..], &["-f", "c.yaml", "-f", "a.yaml"]].concat());
    assert_eq!((code, &*out), (2, ""));
    assert_eq!(
        err,
        "error: making one stream of the files, with c.yaml: it would not say the same among other files: \
         end its last line, or annotate it alone\n"
    );
    let (code, out, err) = place.pipe(&[&all[..], &["-", "-f", "-"]].concat(), ACCOUNT.as_bytes());
    assert_eq!((code, &*out), (2, ""));
    assert_eq!(err, "error: standard input is named twice, and can be read once only: save it as a file\n");
    let (code, _, err) = place.pipe(&["-m", "-"], MAPPING.as_bytes());
    assert!(code == 2 && err.starts_with("error: standard input is named twice"), "{err}");
}
