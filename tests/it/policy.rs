//! What does the command `policy` print, and what does it refuse?

use std::io::Write as _;
use std::process::{Command, Stdio};

use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::policy::{self, MAX_BYTES, Why};
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use serde_json::Value;

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry, namespace: \"ci-*\"}, role: registry}
  - {match: {component: webservice}, skip: true}
";

const ALLOWED: [&str; 2] = ["--allowed-role", "arn:aws:iam::123456789012:role/*"];

/// How it exited, and what it printed on standard output and on standard error.
fn run(arguments: &[&str], mapping: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
        .args(["policy", "-m", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Bad arguments are refused before anything is read.
    let _ = child.stdin.take().unwrap().write_all(mapping.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn three_objects_are_printed_ready_for_kubectl() {
    let arguments = [&ALLOWED[..], &["--namespace", "gitlab", "--name", "roles"]].concat();
    let (code, text, errors) = run(&arguments, MAPPING);
    assert_eq!((code, &*errors), (0, ""));
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(kinds, ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ConfigMap"]);
    assert!(text.contains("gives no warnings"), "{text}");
    let (code, json, _) = run(&[&arguments[..], &["-o", "json"]].concat(), MAPPING);
    let list: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &list["kind"]), (0, &"List".into()));
    let [policy, binding, parameter] = [0, 1, 2].map(|n| &list["items"][n]);
    assert_eq!(policy["metadata"]["name"], "roles");
    assert_eq!(binding["spec"]["paramRef"]["namespace"], parameter["metadata"]["namespace"]);
    assert_eq!(parameter["data"]["account.index"], "component\t0\taccount.component");
}

#[test]
fn the_parameter_alone_needs_no_allowed_roles() {
    let (code, text, _) = run(&["--parameter-only"], MAPPING);
    assert_eq!((code, text.matches("\nkind: ").count()), (0, 1));
    let (code, text, error) = run(&[], MAPPING);
    assert_eq!((code, &*text), (2, ""));
    assert!(error.contains("--allowed-role"), "{error}");
    assert_eq!(run(&["--any-role"], MAPPING).0, 0);
    assert_eq!(run(&[&ALLOWED[..], &["--any-role"]].concat(), MAPPING).0, 2);
}

#[test]
fn what_cannot_be_used_is_refused_in_a_sentence() {
    for (arguments, mapping, words) in [
        (&["--any-role"][..], "rules: [{match: {component: registri}, role: x}]", "registr"),
        (&["--any-role"], "{", "standard input:1:1: not YAML"),
        (&["--allowed-role", "arn:aws:iam::*:role/[a-z]*"], MAPPING, "the policy cannot say"),
        (&["--any-role", "--namespace", "Git_lab"], MAPPING, "not the name of a namespace"),
        (&["--any-role", "--name", "-"], MAPPING, "the name of an object"),
        (&["--any-role", "--workload-controller", "a\nb"], MAPPING, "line break"),
    ] {
        let (code, text, error) = run(arguments, mapping);
        assert_eq!((code, &*text), (2, ""), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

/// Rules that can only be tried one by one.
fn one_by_one(count: usize) -> String {
    let rules = (0..count).map(|n| format!("  - {{match: {{namespace: \"*-{n}\"}}, role: role-{n}}}\n"));
    format!("account: \"123456789012\"\nrules:\n{}", rules.collect::<String>())
}

#[test]
fn rules_that_do_not_fit_are_refused_by_name_or_left_out() {
    let mapping = one_by_one(9_000);
    let (code, text, error) = run(&["--any-role"], &mapping);
    assert_eq!((code, &*text), (1, ""));
    assert!(error.contains("units of CEL's cost") && error.contains("is left out"), "{error}");
    assert!(
        error.lines().any(|line| line.starts_with("<stdin>: and ") || line.contains(": and ")),
        "{error}"
    );
    let (code, text, error) = run(&["--any-role", "--partial"], &mapping);
    assert_eq!(code, 1);
    assert!(error.contains("are left as they are"), "{error}");
    assert!(text.contains("# The rule `namespace=*-8999` of line 9002 is left out."));
}

#[test]
fn whatever_is_left_out_no_later_rule_takes_its_place() {
    let ruleset = |text: &str| mapping::compile(text, &OperatorPolicy::default()).unwrap();
    let mut text = one_by_one(5_000);
    text.push_str("  - {match: {component: webservice}, role: late}\n");
    let parameter = policy::parameter(&ruleset(&text)).unwrap();
    let first = 5_001 - parameter.left_out.len();
    assert!(first > 1_000, "{first} rules fit");
    assert!(matches!(parameter.left_out[0].why, Why::Cost(_, cost) if cost > 800_000));
    assert_eq!(parameter.left_out[0].rule, format!("namespace=*-{first}"));
    for class in ["account", "default", "pod", "job"] {
        let rest = &parameter.data[&format!("{class}.always")];
        assert!(rest.ends_with(&format!("\n\t{first}\tirsa pod\t")), "{class}");
    }
    assert!(parameter.data["rules"].ends_with(&format!("\n{first}\tstop")));
    assert!(!parameter.data.values().any(|text| text.contains("role/late")));

    // So it is where the data would be too long.
    let rules = (0..9_000).map(|n| format!("  - {{match: {{namespace: team-{n}}}, role: r-{n}}}\n"));
    let rules: String = rules.collect();
    let audience = "a".repeat(200);
    let text = format!("account: \"123456789012\"\nirsa: {{audience: {audience}}}\nrules:\n{rules}");
    let parameter = policy::parameter(&ruleset(&text)).unwrap();
    assert!(matches!(parameter.left_out[0].why, Why::Bytes(bytes) if bytes > MAX_BYTES));
    let bytes: usize = parameter.data.iter().map(|(key, text)| key.len() + text.len()).sum();
    assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES - 1_000, "{bytes}");
}

#[test]
fn what_the_policy_would_not_look_at_is_left_out() {
    let first = |count: usize, rule: &dyn Fn(usize) -> String| {
        let rules: String =
            (0..count).map(|n| format!("  - {{match: {{{}}}, skip: true}}\n", rule(n))).collect();
        let ruleset = mapping::compile(&format!("rules:\n{rules}"), &OperatorPolicy::default()).unwrap();
        let left_out = policy::parameter(&ruleset).unwrap().left_out;
        (count - left_out.len(), left_out[0].why)
    };
    // The rule that stands for those that are left out is tried too, and has a line of the index.
    let (fits, why) = first(6_000, &|_| "namespace: '?*'".to_owned());
    assert!(matches!(why, Why::Tried("ServiceAccount", 5_001)), "{why}");
    assert_eq!(fits, 4_999);
    let (fits, why) =
        first(1_000, &|n| format!("labels: {{key-{}: '{}*'}}", n % 250, "x".repeat(1 + n / 250)));
    assert!(matches!(why, Why::Lines("ServiceAccount", 501)), "{why}");
    assert_eq!(fits, 499);
    let (fits, why) = first(600, &|_| format!("labels: {{key: '*{}'}}", "x".repeat(400)));
    assert!(matches!(why, Why::Searched(_, bytes) if bytes > 200_000), "{why}");
    assert!(fits > 400, "{fits}");
}

#[test]
fn no_rule_is_longer_than_the_policy_reads() {
    let [namespace, account, names] =
        ["{namespace}".repeat(260), "{serviceAccount}".repeat(64), "abc,".repeat(1_000)];
    let text = format!(
        "account: '123456789012'
rules:
  - name: '{}'
    match: {{component: webservice}}
    role: '{namespace}/{account}'
    provider: [irsa, kube2iam]
    irsa:
      audience: {}
      stsRegionalEndpoints: true
      tokenExpiration: 86400
      annotatePods: true
      skipContainers: [{}]
    kube2iam: {{externalId: {}, sessionName: {}}}
",
        "\"".repeat(63),
        "\u{e9}".repeat(127),
        names,
        "x".repeat(1_224),
        "x".repeat(64)
    );
    let ruleset = mapping::compile(&text, &OperatorPolicy::default()).unwrap();
    let parameter = policy::parameter(&ruleset).unwrap();
    let rule = parameter.data["rules"].split('\t').skip(1).collect::<Vec<_>>();
    assert_eq!((rule.len(), rule[1].len()), (12, 126));
    let bytes: usize = rule.iter().map(|field| field.len()).sum();
    assert!((9_000..16_384).contains(&bytes), "{bytes}");
}

#[test]
fn the_cost_follows_the_rules_that_can_match_and_not_all_of_them() {
    let rules =
        (0..4_000).map(|n| format!("  - {{match: {{component: registry, namespace: t-{n}}}, role: r{n}}}\n"));
    let text = format!("account: \"123456789012\"\nrules:\n{}", rules.collect::<String>());
    let ruleset = mapping::compile(&text, &OperatorPolicy::default()).unwrap();
    assert_eq!(policy::parameter(&ruleset).unwrap().left_out, []);
}
