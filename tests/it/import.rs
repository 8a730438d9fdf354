//! Does an import give the roles that there were, and never more?

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use gitlab_iam_webhook::engine::mapping::lints;
use gitlab_iam_webhook::engine::object::provider::Provider;
use gitlab_iam_webhook::engine::object::subject::Kind;
use gitlab_iam_webhook::import::{self, Chart, Fate, Import, Terms, Values};
use gitlab_iam_webhook::inventory::{self, Listed, Unread};
use proptest::prelude::*;
use serde_json::Value;

use crate::gitlab_chart::{Object, any_values, remove, render};
use crate::support::{Thing, ruleset};

const IRSA: &str = "eks.amazonaws.com/role-arn";
const POD: &str = "iam.amazonaws.com/role";
const OF_ACCOUNTS: [&str; 4] = [
    IRSA,
    "eks.amazonaws.com/audience",
    "eks.amazonaws.com/sts-regional-endpoints",
    "eks.amazonaws.com/token-expiration",
];
const OF_PODS: [&str; 3] = [POD, "iam.amazonaws.com/external-id", "iam.amazonaws.com/session-name"];

fn terms() -> Terms {
    Terms {
        namespaces: vec!["gitlab".to_owned()],
        release: None,
        pod_provider: Provider::Kube2iam,
        base_role_arn: None,
        only_gitlab: false,
    }
}

fn imported(values: &Value) -> Import {
    let mut read = Values::default();
    read.merge("values.yaml", &values.to_string()).unwrap();
    import::from_values(&read, &Chart::new(false, None), &terms())
}

/// What stays of values when everything is deleted that can be.
fn without(values: &Value, made: &Import) -> Value {
    let mut rest = values.clone();
    for note in made.values.iter().filter(|note| note.fate != Fate::Stays) {
        remove(&mut rest, &note.steps);
    }
    rest
}

fn thing(object: &Object) -> Thing {
    let kind = if object.kind == "ServiceAccount" { Kind::ServiceAccount } else { Kind::Pod };
    Thing {
        kind,
        namespace: "gitlab".to_owned(),
        service_account: object.service_account.clone(),
        generate_name: None,
        labels: object.labels.clone().into_iter().collect(),
        annotations: object.annotations.clone().into_iter().collect(),
        user: None,
    }
}

/// The role that an object has, and what goes with it. An empty one is none.
fn role_of(thing: &Thing) -> Vec<(&'static str, String)> {
    let keys: &[&str] = if thing.kind == Kind::ServiceAccount { &OF_ACCOUNTS } else { &OF_PODS };
    if thing.annotation(keys[0]).unwrap_or_default().is_empty() {
        return Vec::new();
    }
    keys.iter().filter_map(|key| Some((*key, thing.annotation(key)?.to_owned()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn an_import_gives_the_roles_that_the_values_gave(values in any_values()) {
        let made = imported(&values);
        let text = import::mapping_text(&made, "values");
        let ruleset = ruleset(&text);
        let found = lints::lint(&ruleset, text.len());
        prop_assert!(found.is_empty(), "{found:?}\n{text}");
        let (before, after) = (render(&values), render(&without(&values, &made)));
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            prop_assert_eq!(
                (&before.kind, &before.name, &before.service_account, &before.labels),
                (&after.kind, &after.name, &after.service_account, &after.labels)
            );
            let mut thing_after = thing(after);
            // Deleted values leave nothing behind that would be kept.
            prop_assert_eq!(role_of(&thing_after), vec![], "{} {}\n{:?}", after.kind, after.name, made.values);
            thing_after.admit(&ruleset);
            prop_assert_eq!(
                role_of(&thing_after), role_of(&thing(before)),
                "{} {}\n{}", before.kind, before.name, text
            );
            let mut elsewhere = Thing { namespace: "other".to_owned(), ..thing(after) };
            elsewhere.admit(&ruleset);
            prop_assert_eq!(role_of(&elsewhere), vec![]);
        }
    }

    #[test]
    fn importing_the_rendered_objects_gives_them_their_roles_and_nobody_more(values in any_values()) {
        let objects = render(&values);
        let stated = inventory::read(&manifest(&objects), "gitlab").unwrap();
        let made = import::from_objects(&stated.inventory, &terms());
        let text = import::mapping_text(&made, "manifests");
        let ruleset = ruleset(&text);
        for object in &objects {
            let before = thing(object);
            let mut bare = before.clone();
            bare.annotations.clear();
            bare.admit(&ruleset);
            let (gets, had) = (role_of(&bare), role_of(&before));
            // What nothing tells apart gets none; it is said, and has to be decided.
            if gets.is_empty() && !had.is_empty() {
                prop_assert!(made.remarks.iter().any(|remark| remark.contains(&object.name)), "{text}\n{had:?}");
            } else {
                prop_assert_eq!(gets, had, "{} {}\n{}", object.kind, object.name, text);
            }
        }
    }
}

fn manifest(objects: &[Object]) -> String {
    let object = |object: &Object| {
        let metadata = serde_json::json!({
            "name": object.name, "namespace": "gitlab", "labels": object.labels, "annotations": object.annotations,
        });
        if object.kind == "ServiceAccount" {
            return serde_json::json!({"kind": "ServiceAccount", "metadata": metadata});
        }
        let pod = serde_json::json!({
            "metadata": {"labels": object.labels, "annotations": object.annotations},
            "spec": {"serviceAccountName": object.service_account},
        });
        let spec = match object.kind.as_str() {
            "CronJob" => serde_json::json!({"jobTemplate": {"spec": {"template": pod}}}),
            _ => serde_json::json!({"template": pod}),
        };
        serde_json::json!({"kind": object.kind, "metadata": {"name": object.name, "namespace": "gitlab"}, "spec": spec})
    };
    let items: Vec<Value> = objects.iter().map(object).collect();
    serde_json::json!({"kind": "List", "items": items}).to_string()
}

fn run(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    command.arg("import").args(arguments).env_remove("KUBECONFIG").env("HOME", "/nowhere");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments may have ended before it has read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn rules_of(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

const ARN: &str = "arn:aws:iam::123456789012:role";

#[test]
fn the_options_of_the_kube2iam_documents_become_rules() {
    // Word by word as a shell hands them over, and once with the quotes that a list of arguments keeps.
    let sets = [
        r"registry.annotations.iam\.amazonaws\.com/role=registry",
        r"gitlab.sidekiq.annotations.iam\.amazonaws\.com/role=gitlab",
        r#"gitlab.webservice.annotations."iam\.amazonaws\.com/role"=gitlab"#,
        r"gitlab.toolbox.annotations.iam\.amazonaws\.com/role=backup",
        r"gitlab.task-runner.annotations.iam\.amazonaws\.com/role=older",
    ];
    let mut arguments = vec!["-n", "gitlab", "--base-role-arn", "arn:aws:iam::123456789012:role/"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let (code, out, err) = run(&arguments, "");
    assert_eq!(code, 0, "{err}");
    let want = format!(
        "rules:
  - match: {{component: [webservice, sidekiq], namespace: gitlab}}
    provider: kube2iam
    role: {ARN}/gitlab
  - match: {{component: toolbox, namespace: gitlab}}
    provider: kube2iam
    role: {ARN}/backup
  - match: {{component: registry, namespace: gitlab}}
    provider: kube2iam
    role: {ARN}/registry"
    );
    assert_eq!(rules_of(&out), want, "{out}");
    assert!(err.contains("Delete, as a rule gives the same (4 values):"), "{err}");
    assert!(err.contains("chart 5.5.0 renamed task-runner to toolbox"), "{err}");
    assert!(out.contains("#   role: arn:aws:iam::123456789012:role/older"), "{out}");
    // The older chart reads the older name.
    let old = ["--chart-version", "5.4", "--set", sets[3], "--set", sets[4], "-n", "gitlab"];
    let (_, out, err) = run(&old, "");
    assert!(rules_of(&out).ends_with("role: older") && err.contains("from version 5.5 on"), "{out}{err}");
}

#[test]
fn a_rule_for_the_account_of_eksctl_is_only_suggested() {
    let values = format!(
        "global:\n  serviceAccount: {{enabled: true, create: false, name: gitlab-sa}}\n  platform: {{eksRoleArn: \
         \"{ARN}/gitlab\"}}\n"
    );
    let (code, out, err) = run(&["-n", "gitlab", "--values", "-"], &values);
    assert_eq!((code, rules_of(&out).as_str()), (1, "rules: []"), "{err}");
    let rule = "# - match: {serviceAccount: gitlab-sa, namespace: gitlab}";
    assert!(out.contains(rule) && out.contains(&format!("role: {ARN}/gitlab")), "{out}");
    assert!(
        err.contains("global.platform.eksRoleArn (standard input:3:26): the chart has read it in 4.11"),
        "{err}"
    );
    // The same by options.
    let role = format!("global.platform.eksRoleArn={ARN}/gitlab");
    let sets = [
        "global.serviceAccount.enabled=true,global.serviceAccount.create=false",
        "global.serviceAccount.name=gitlab-sa",
        &role,
    ];
    let mut arguments = vec!["-n", "gitlab"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let out = run(&arguments, "").1;
    assert!(rules_of(&out) == "rules: []" && out.contains(rule), "{out}");
}

#[test]
fn annotations_without_an_account_give_nothing_and_are_only_suggested() {
    let values = format!(
        "global:\n  serviceAccount:\n    annotations:\n      {IRSA}: {ARN}/name\nregistry:\n  serviceAccount:\n    \
         annotations:\n      {IRSA}: {ARN}/registry\n"
    );
    let (code, out, err) = run(&["-n", "gitlab", "--values", "-"], &values);
    assert_eq!((code, rules_of(&out).as_str()), (1, "rules: []"), "{err}");
    assert!(err.contains("no `serviceAccount.enabled` is true"), "{err}");
    let needs = "set global.serviceAccount.enabled=true";
    assert!(err.contains(needs) && out.contains("global.serviceAccount.enabled=true first"), "{out}{err}");
    let named = "registry: {serviceAccount: {create: false, name: r}}\n";
    let (_, _, told) = run(&["-n", "gitlab", "--values", "-"], named);
    assert!(told.starts_with("Keep, and set what it needs") && !told.contains("Delete"), "{told}");
    assert!(err.ends_with("there is nothing to import: the mapping has no rules\n"), "{err}");
    assert!(out.contains("# - match: {component: registry, namespace: gitlab}"), "{out}");
    // With the one value that is missing, the global one counts for all charts.
    let (code, out, err) =
        run(&["-n", "gitlab", "--values", "-", "--set", "global.serviceAccount.enabled=true"], &values);
    assert_eq!(code, 0, "{err}");
    assert!(rules_of(&out).starts_with("rules:\n  - match: {component: \"*\", namespace: gitlab}"), "{out}");
    assert!(
        !rules_of(&out).contains("registry") && err.contains("takes the place of every chart's own"),
        "{err}"
    );
}

#[test]
fn the_runners_own_chart_is_known_and_jobs_are_left_to_be_decided() {
    let values = format!(
        "rbac:\n  create: true\n  serviceAccountAnnotations:\n    {IRSA}: {ARN}/cache\nrunners:\n  podAnnotations:\n    \
         {POD}: gone\n  config: |\n    [[runners]]\n      token = \"planted-token\"\n      \
         [runners.kubernetes]\n        service_account = \"gitlab-jobs\"\n        \
         [runners.kubernetes.pod_annotations]\n          \"{POD}\" = \"jobs\"\n"
    );
    let (code, out, err) = run(&["-n", "ci", "--release", "gitlab-runner", "--values", "-"], &values);
    assert_eq!(code, 0, "{err}");
    let want = format!(
        "rules:\n  - match: {{component: runner, namespace: ci, release: gitlab-runner}}\n    provider: irsa\n    role: \
         {ARN}/cache"
    );
    assert_eq!(rules_of(&out), want);
    let decided = "# - match: {component: runner-job, runner: ci/gitlab-runner, project: [PROJECT-ID]}";
    assert!(out.contains(decided), "{out}");
    for words in ["removed it: only runners.config is read", "jobs run as the ServiceAccount gitlab-jobs"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert!(!format!("{out}{err}").contains("planted"));
}

#[test]
fn a_live_namespace_is_imported_without_what_we_set_and_without_what_jobs_carry() {
    let record = r#"{"annotations":{"iam.amazonaws.com/role":"ours"},"rule":"r"}"#;
    let labels = |app: &str| format!("{{app: {app}, chart: {app}-9.10.0, release: gitlab}}");
    let owner = "ownerReferences: [{kind: ReplicaSet, name: r}]";
    let objects = format!(
        "kind: List
items:
- {{kind: ServiceAccount, metadata: {{name: made-by-hand, namespace: gitlab, annotations: {{{IRSA}: {ARN}/hand}}}}}}
- {{kind: ServiceAccount, metadata: {{name: '*', namespace: gitlab, annotations: {{{IRSA}: {ARN}/glob}}}}}}
- {{kind: ServiceAccount, metadata: {{name: x, namespace: 'git*', annotations: {{{IRSA}: {ARN}/glob}}}}}}
- kind: Pod
  metadata: {{name: registry-1, namespace: gitlab, labels: {}, annotations: {{{POD}: registry}}, {owner}}}
- kind: Pod
  metadata: {{name: sidekiq-1, namespace: gitlab, labels: {}, annotations: {{{POD}: ours, gitlab-iam-webhook/applied: '{record}'}}, {owner}}}
- kind: Pod
  metadata: {{name: kas-forged, namespace: gitlab, labels: {}, annotations: {{{POD}: admin}}}}
- kind: Pod
  metadata: {{name: mine, namespace: gitlab, annotations: {{{POD}: \"x\\n  - match: {{namespace: '*'}}\"}}}}
  spec: {{serviceAccountName: mine}}
- kind: Pod
  metadata: {{name: job, namespace: gitlab, labels: {{project.runner.gitlab.com/id: '42'}}, annotations: {{{POD}: chosen}}}}
",
        labels("registry"),
        labels("sidekiq"),
        labels("kas"),
    );
    let (code, out, err) = run(&["-f", "-"], &objects);
    assert_eq!(code, 0, "{err}");
    let want = format!(
        "rules:
  - match: {{component: registry, namespace: gitlab}}
    provider: kube2iam
    role: registry
  - match: {{serviceAccount: made-by-hand, namespace: gitlab}}
    provider: irsa
    role: {ARN}/hand"
    );
    assert_eq!(rules_of(&out), want, "{out}{err}");
    assert!(out.contains("project: [42]") && out.contains("its author may have chosen it"), "{out}");
    assert!(
        err.contains("1 objects already") && err.contains("kas-forged has a role, but nothing tells"),
        "{err}"
    );
}

#[test]
fn the_config_map_of_the_eks_webhook_is_imported() {
    let config = format!(
        r#"{{"gitlab/registry":{{"RoleARN":"{ARN}/registry","Audience":"amazonaws.com","UseRegionalSTS":true,"TokenExpiration":0}},
        "gitlab/annotated":{{"RoleARN":"{ARN}/other","Audience":"sts.amazonaws.com"}},
        "gitlab/none":{{"RoleARN":""}},
        "other/x":{{"rolearn":"{ARN}/x","TokenExpiration":60}},
        "*/none":{{"RoleARN":"{ARN}/all","Audience":"sts.amazonaws.com"}},
        "test-*/x":{{"RoleARN":"{ARN}/never"}}, "bad":{{"RoleARN":"{ARN}/never"}}}}"#
    );
    let map = |config: &str| {
        serde_json::json!({
            "kind": "ConfigMap", "metadata": {"name": "pod-identity-webhook", "namespace": "kube-system"},
            "data": {"config": config},
        })
    };
    let account = serde_json::json!({
        "kind": "ServiceAccount",
        "metadata": {"name": "annotated", "namespace": "gitlab", "annotations": {IRSA: format!("{ARN}/first")}},
    });
    let list = serde_json::json!({"kind": "List", "items": [map(&config), account]}).to_string();
    let with_map = ["-A", "-f", "-", "--eks-config-map", "kube-system/pod-identity-webhook"];
    // A ConfigMap of this name that nobody named could be anybody's.
    let (_, out, err) = run(&["-A", "-f", "-"], &list);
    assert!(!out.contains("registry") && err.contains("was not looked at"), "{out}{err}");
    let another = list.replace("pod-identity-webhook", "another");
    let named = ["-A", "-f", "-", "--eks-config-map", "kube-system/another"];
    assert!(run(&named, &another).1.contains("serviceAccount: registry"));
    let (code, _, err) = run(&with_map, &another);
    assert!(code == 2 && err.contains("the manifests have none"), "{err}");
    let (code, out, err) = run(&with_map, &list);
    assert_eq!(code, 0, "{err}");
    let want = format!(
        "rules:
  - match: {{serviceAccount: none, namespace: gitlab}}
    provider: irsa
    skip: true
  - match: {{serviceAccount: registry, namespace: gitlab}}
    provider: irsa
    role: {ARN}/registry
    irsa: {{audience: amazonaws.com, stsRegionalEndpoints: true}}
  - match: {{serviceAccount: x, namespace: other}}
    provider: irsa
    role: {ARN}/x
    irsa: {{tokenExpiration: 600}}
  - match: {{serviceAccount: annotated, namespace: gitlab}}
    provider: irsa
    role: {ARN}/first
  - match: {{serviceAccount: none}}
    provider: irsa
    role: {ARN}/all"
    );
    assert_eq!(rules_of(&out), want, "{out}{err}");
    assert!(
        err.contains("entry test-*/x matches no ServiceAccount") && err.contains("entry bad names no"),
        "{err}"
    );
    for broken in ["{", "[]", r#"{"a/b": {"RoleARN": 5}}"#] {
        let (code, _, err) = run(&with_map, &map(broken).to_string());
        assert!(code == 2 && err.contains("kube-system/pod-identity-webhook could not be read"), "{err}");
    }
}

#[test]
fn later_sources_count_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, role: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("registry: {{annotations: {{{POD}: {role}}}}}\n")).unwrap();
        path.display().to_string()
    };
    let (first, second) = (write("a.yaml", "one"), write("b.yaml", "two"));
    let (_, out, err) = run(&["-n", "gitlab", "--values", &first, "--values", &second], "");
    assert!(rules_of(&out).ends_with("role: two"), "{out}");
    assert!(err.contains(&format!("of {first}:1:")) && err.contains("counts no more"), "{err}");
}

#[test]
fn json_holds_the_mapping_and_everything_that_is_said() {
    let values =
        format!("registry: {{annotations: {{{POD}: r}}}}\nglobal: {{platform: {{eksRoleArn: x}}}}\n");
    let (code, out, err) = run(&["-n", "gitlab", "--values", "-", "--output", "json"], &values);
    assert_eq!((code, err.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["rules"], 1);
    assert!(told["mapping"].as_str().unwrap().contains("role: r"));
    assert_eq!(told["values"][0]["fate"], "imported");
    assert_eq!(told["values"][1]["path"], "global.platform.eksRoleArn");
}

#[test]
fn hostile_texts_stay_texts() {
    let values = serde_json::json!({
        "registry": {"annotations": {POD: "x}\n  - match: {component: '*'}\n    role: admin"}},
        "gitlab": {
            "kas": {"annotations": {POD: "{namespace}"}},
            "webservice": {"deployments": {"*": {"pod": {"annotations": {POD: "a"}}}, "b": {}}},
            "x\n\u{2028}- y": {"annotations": {POD: "unknown\u{1b}[2J"}},
        },
        "global": {"psql": {"password": "planted-password"}, "serviceAccount": {"enabled": true}},
    });
    let (code, out, err) = run(&["-n", "gitlab", "--values", "-"], &values.to_string());
    assert_eq!((code, rules_of(&out).as_str()), (1, "rules: []"), "{err}");
    let all = format!("{out}{err}");
    assert!(!all.contains("planted") && !all.contains(['\u{1b}', '\u{2028}']), "{all}");
    assert!(
        all.contains("a name that Kubernetes does not take") && all.contains("begin a placeholder"),
        "{all}"
    );
}

#[test]
fn bad_input_ends_with_2_and_one_sentence() {
    let (values, nowhere) = (["-n", "gitlab", "--values", "-"], "/nowhere/values.yaml");
    let cases: [(&[&str], &str, &str); 18] = [
        (&["-f", "-"], "registry: {annotations: {}}\n", "values of a chart go to --values"),
        (&[], "", "nothing says what to import"),
        (&["--values", "-"], "a: 1", "name the namespace with -n"),
        (&["-n", "gitlab", "--values", nowhere], "", "reading /nowhere/values.yaml: No such file"),
        (&values, "- a\n", "values are a mapping, and this is a list"),
        (&values, "a: [", "not YAML"),
        (&values, "a: 1\n---\nb: 2\n", "values are one YAML document, and this has 2"),
        (&["-n", "g", "--set", "a"], "", "assignment 1 has no value"),
        (&["-n", "g", "--set", "a=x,planted"], "", "assignment 2 has no value"),
        (&["-n", "g", "--set", "a=x,planted[x"], "", "the index of a list in assignment 2"),
        (&["-n", "g", "--set", "a[x]=1"], "", "the index of a list in assignment 1 must be a number"),
        (&["-n", "g", "--set", "a[65537]=1"], "", "the index of a list in assignment 1 must be a number"),
        (&["-n", "g", "--set", "a[65536]=1,b[65536]=1"], "", "the indexes are too high altogether"),
        (&["-n", "g", "--set", "a={planted"], "", "the list of assignment 1 does not end"),
        (&["-n", "g", "--set", "a=1", "--base-role-arn", "x"], "", "is not the beginning of a role's ARN"),
        (&["-n", "g", "--set", "a=1", "--release", "*"], "", "`*` is no name of a release"),
        (&["-f", "-"], "kind: ServiceAccount\nmetadata: {name: x}\n", "some object names no namespace"),
        (&["-n", "gitlab"], "", "connecting to the cluster"),
    ];
    for (arguments, input, words) in cases {
        let (code, out, err) = run(arguments, input);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?} {err}");
        assert!(err.contains(words) && err.lines().count() == 1, "{arguments:?}: {err}");
        assert!(!err.contains("planted"), "{err}");
    }
    let long = format!("a: {}\n", "x".repeat(import::MAX_BYTES));
    let (code, _, err) = run(&values, &long);
    assert!(code == 2 && err.contains("has more than 4194304 bytes"), "{err}");
    assert_eq!(run(&["-n", "g", "--set", "a=1", "--chart-version", "new"], "").0, 2);
}

#[test]
fn a_rule_reaches_nothing_that_was_not_read_or_has_ended_or_has_a_role_that_is_none() {
    let pod = |name: &str, app: &str, more: &str, annotations: &str| {
        format!(
            "- {{kind: Pod, metadata: {{name: {name}, namespace: gitlab, annotations: {{{annotations}}}, labels: \
             {{app: {app}, chart: {app}-9.10.0, release: gitlab}}, ownerReferences: [{{kind: Job, name: j}}]}}, \
             {more}}}\n"
        )
    };
    let list = |items: &[String]| format!("kind: List\nitems:\n{}", items.concat());
    let given = pod("one", "kas", "spec: {}", &format!("{POD}: r"));
    let ended = list(&[given.clone(), pod("two", "kas", "status: {phase: Succeeded}", "")]);
    assert_eq!(rules_of(&run(&["-f", "-"], &ended).1), "rules: []");
    // A role that is none keeps the rule of another Pod with the same account away.
    let account = "spec: {serviceAccountName: shared}";
    let of_none = pod("bad", "kas", account, &format!("{POD}: 'x y'"));
    let other = format!(
        "- {{kind: Pod, metadata: {{name: o, namespace: gitlab, annotations: {{{POD}: r}}}}, {account}}}\n"
    );
    let (_, out, err) = run(&["-f", "-"], &list(&[of_none, other]));
    assert_eq!(rules_of(&out), "rules: []", "{err}");
    // What was read in part makes no rule by component.
    let labels = "labels: {app: kas, chart: kas-9.10.0, release: gitlab}";
    let made_of = format!(
        "- {{kind: ServiceAccount, metadata: {{name: a, namespace: gitlab, {labels}, annotations: \
         {{{IRSA}: {ARN}/a, eks.amazonaws.com/audience: vault}}}}}}\n"
    );
    let mut inventory = inventory::read(&list(&[given, made_of]), "gitlab").unwrap().inventory;
    let all = import::from_objects(&inventory, &terms());
    assert!(all.rules.len() == 2 && all.unread.is_empty(), "{all:?}");
    assert!(all.rules.iter().all(|rule| !rule.matching.components.is_empty()));
    assert!(all.remarks.iter().any(|remark| remark.contains("asks for tokens for vault")), "{all:?}");
    for (kind, namespace, components, rules) in [
        (Listed::CronJobs, Some("gitlab"), 1, 1),
        (Listed::Pods, None, 1, 1),
        (Listed::ServiceAccounts, Some("gitlab"), 1, 2),
        (Listed::Pods, Some("other"), 2, 2),
    ] {
        let namespace = namespace.map(str::to_owned);
        let why = "410: the list is too old".to_owned();
        inventory.unread = vec![Unread { kind, namespace, is_partial: true, why }];
        let made = import::from_objects(&inventory, &terms());
        let by_component = made.rules.iter().filter(|rule| !rule.matching.components.is_empty()).count();
        assert_eq!((by_component, made.rules.len(), made.unread.len()), (components, rules, 1), "{made:?}");
    }
}
