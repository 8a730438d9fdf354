//! Does the JSON Schema of a mapping take whatever the engine takes, and refuse the mistakes that it can see?

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use gitlab_iam_webhook::engine::mapping::{compile, compile_file, schema};
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::yaml::{self, Node, ScalarKind, Value as Yaml};
use jsonschema::{PatternOptions, Validator};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Its regular expressions have no look-ahead, as Helm's.
static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::draft7::options().with_pattern_options(PatternOptions::regex()).build(&schema()).unwrap()
});

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Reads a text as Helm and editors read it.
fn as_json(node: &Node<'_>) -> Value {
    match &node.value {
        Yaml::Sequence(items) => items.iter().map(as_json).collect(),
        Yaml::Mapping(entries) => {
            let entry = |(key, value): &(Node<'_>, Node<'_>)| {
                (key.as_scalar().unwrap().text.to_string(), as_json(value))
            };
            Value::Object(entries.iter().map(entry).collect())
        }
        Yaml::Scalar(scalar) => match scalar.kind {
            ScalarKind::Text => json!(scalar.text),
            ScalarKind::Boolean(value) => json!(value),
            ScalarKind::Null => Value::Null,
            ScalarKind::Number => match scalar.text.parse::<u64>() {
                Ok(number) => json!(number),
                Err(_) => json!(scalar.text.parse::<f64>().unwrap_or_default()),
            },
        },
    }
}

fn read(text: &str) -> Value {
    as_json(&yaml::read(text).unwrap()[0])
}

/// The places that the schema refuses, with why.
fn refusals(mapping: &Value) -> Vec<String> {
    SCHEMA.iter_errors(mapping).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Whether the engine takes these values, as the chart writes them into the ConfigMap. JSON is YAML.
fn is_taken(mapping: &Value) -> bool {
    compile(&mapping.to_string(), &OperatorPolicy::default()).is_ok()
}

/// Says that the schema takes a text that the engine takes.
pub(crate) fn assert_takes(text: &str) {
    assert_eq!(refusals(&read(text)), [""; 0], "{text}");
}

#[test]
fn the_schemas_in_the_repository_are_what_the_command_prints() {
    let printed = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook")).arg("schema").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let mended_by = "run `make chart`";
    assert!(printed == file("docs/mapping.schema.json"), "docs/mapping.schema.json: {mended_by}");
    let schema: Value = serde_json::from_str(&printed).unwrap();
    let chart: Value = serde_json::from_str(&file("charts/gitlab-iam-webhook/values.schema.json")).unwrap();
    let definitions = chart["definitions"].as_object().unwrap();
    let ours: Map<String, Value> = definitions
        .iter()
        .filter(|(name, _)| name.starts_with("mapping"))
        .map(|(name, definition)| (name.clone(), definition.clone()))
        .collect();
    assert!(Value::Object(ours) == schema["definitions"], "values.schema.json: {mended_by}");
}

#[test]
fn the_chart_knows_the_keys_at_the_top_of_a_mapping() {
    let checks = file("charts/gitlab-iam-webhook/templates/_checks.tpl");
    let (_, list) = checks.split_once("$known := list ").unwrap();
    let keys: Vec<&str> = list.lines().next().unwrap().split('"').skip(1).step_by(2).collect();
    assert_eq!(keys, keys_of("mapping"));
}

#[test]
fn the_schema_refers_only_to_itself() {
    let text = schema().to_string();
    assert!(!text.contains("$id"));
    let refers = text.matches("\"$ref\":").count();
    assert!(refers > 5 && text.matches("\"$ref\":\"#/definitions/mapping").count() == refers);
}

#[test]
fn the_value_mapping_of_the_chart_may_be_a_mapping_a_text_or_nothing() {
    let mut chart: Value =
        serde_json::from_str(&file("charts/gitlab-iam-webhook/values.schema.json")).unwrap();
    chart["properties"] = json!({"mapping": chart["properties"]["mapping"].take()});
    let chart = jsonschema::draft7::new(&chart).unwrap();
    for (mapping, is_taken) in [
        (json!(null), true),
        (json!({}), true),
        (json!(""), true),
        (json!("rules: []"), true),
        (json!({"rules": []}), true),
        (json!({"account": "123456789012"}), false),
        (json!({"ruls": []}), false),
        (json!([]), false),
        (json!(5), false),
    ] {
        assert_eq!(chart.is_valid(&json!({"mapping": mapping})), is_taken, "{mapping}");
    }
}

#[test]
fn every_mapping_of_the_documents_is_taken() {
    let mut taken = 0;
    let mut pages: Vec<_> = ["README.md", "charts/gitlab-iam-webhook/README.md"].map(str::to_owned).into();
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let texts =
        docs.filter(|name| Path::new(name).extension().is_some_and(|end| end == "md" || end == "yaml"));
    pages.extend(texts.map(|name| format!("docs/{}", name.to_str().unwrap())));
    pages.push("src/cluster/starter-mapping.yaml".to_owned());
    pages.push("tests/data/one-rule-per-component.yaml".to_owned());
    for page in &pages {
        let text = file(page);
        let blocks: Vec<&str> =
            text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        let texts = if blocks.is_empty() { vec![&*text] } else { blocks };
        for text in texts {
            // A page also shows manifests, values and single rules.
            if compile_file(text, &OperatorPolicy::default()).is_ok() && !text.contains("kind: ConfigMap") {
                assert_takes(text);
                taken += 1;
            }
        }
    }
    assert!(taken >= 4, "{taken}");
}

#[test]
fn each_mistake_that_the_schema_can_see_is_refused_at_its_place() {
    let rule = |text: &str| format!("rules: [{{match: {{component: registry}}, {text}}}]");
    let job = |text: &str| format!("rules: [{{match: {{component: runner-job, {text}}}, role: x}}]");
    for (mapping, place) in [
        ("ruls: []".to_owned(), ""),
        ("{rules: [], ruls: []}".to_owned(), ""),
        ("rules: {match: {component: registry}}".to_owned(), "/rules"),
        ("rules: 5".to_owned(), "/rules"),
        ("rules: ~".to_owned(), "/rules"),
        ("rules: [5]".to_owned(), "/rules/0"),
        ("{account: \"1\", rules: []}".to_owned(), "/account"),
        ("{account: 1, rules: []}".to_owned(), "/account"),
        ("{account: 12345678901, rules: []}".to_owned(), "/account"),
        ("{account: 1234567890123, rules: []}".to_owned(), "/account"),
        ("{account: \"12345678901x\", rules: []}".to_owned(), "/account"),
        ("{partition: aws-mars, rules: []}".to_owned(), "/partition"),
        ("{provider: isra, rules: []}".to_owned(), "/provider"),
        ("{provider: [irsa, kube], rules: []}".to_owned(), "/provider"),
        ("{provider: [], rules: []}".to_owned(), "/provider"),
        ("{onConflict: repalce, rules: []}".to_owned(), "/onConflict"),
        ("{onNoRule: replace, rules: []}".to_owned(), "/onNoRule"),
        ("{irsa: {audiense: x}, rules: []}".to_owned(), "/irsa"),
        ("{kiam: ~, rules: []}".to_owned(), "/kiam"),
        ("rules: [{role: x}]".to_owned(), "/rules/0"),
        ("rules: [{match: ~, role: x}]".to_owned(), "/rules/0/match"),
        ("rules: [{match: {}, role: x}]".to_owned(), "/rules/0/match"),
        ("rules: [{match: {namspace: x}, role: x}]".to_owned(), "/rules/0/match"),
        ("rules: [{match: {component: registri}, role: x}]".to_owned(), "/rules/0/match/component"),
        ("rules: [{match: {namespace: ''}, role: x}]".to_owned(), "/rules/0/match/namespace"),
        ("rules: [{match: {release: 'a\\b'}, role: x}]".to_owned(), "/rules/0/match/release"),
        ("rules: [{match: {serviceAccount: 5}, role: x}]".to_owned(), "/rules/0/match/serviceAccount"),
        ("rules: [{match: {labels: {}}, role: x}]".to_owned(), "/rules/0/match/labels"),
        ("rules: [{match: {labels: {a: 1}}, role: x}]".to_owned(), "/rules/0/match/labels/a"),
        (job("project: 5"), "/rules/0/match"),
        (job("runner: ci/r, project: x"), "/rules/0/match/project"),
        (job("runner: gitlab-runner"), "/rules/0/match/runner"),
        (rule("name: '', role: x"), "/rules/0/name"),
        (rule("role: a b"), "/rules/0/role"),
        (rule("role: /a"), "/rules/0/role"),
        (rule("role: a//b"), "/rules/0/role"),
        (rule("role: 'a-{nmespace}'"), "/rules/0/role"),
        (rule("role: 5"), "/rules/0/role"),
        (rule("role: arn:aws:iam::1:role/x"), "/rules/0/role"),
        (rule("role: 'arn:aws:iam::123456789012:user/x'"), "/rules/0/role"),
        (rule("skip: 'yes'"), "/rules/0/skip"),
        (rule("skip: true, role: x"), "/rules/0/role"),
        (rule("skip: true, remove: true"), "/rules/0/remove"),
        (rule("remove: true"), "/rules/0"),
        (rule("remove: true, provider: irsa, onConflict: keep"), "/rules/0/onConflict"),
        (rule("skip: false"), "/rules/0"),
        (rule("role: x, unsafe: 1"), "/rules/0/unsafe"),
        (rule("role: x, irsa: {tokenExpiration: 599}"), "/rules/0/irsa/tokenExpiration"),
        (rule("role: x, irsa: {tokenExpiration: 1h}"), "/rules/0/irsa/tokenExpiration"),
        (rule("role: x, irsa: {audience: a b}"), "/rules/0/irsa/audience"),
        (rule("role: x, irsa: {annotatePods: 1}"), "/rules/0/irsa/annotatePods"),
        (rule("role: x, irsa: {skipContainers: [A]}"), "/rules/0/irsa/skipContainers"),
        (rule("role: x, kube2iam: {externalId: a}"), "/rules/0/kube2iam/externalId"),
        (rule("role: x, kube2iam: {sessionName: a:b}"), "/rules/0/kube2iam/sessionName"),
    ] {
        let found = refusals(&read(&mapping));
        assert!(
            found.iter().any(|refusal| refusal.split(": ").next() == Some(place)),
            "{mapping}: {found:?}"
        );
        assert!(!is_taken(&read(&mapping)), "the engine takes {mapping}");
    }
}

/// Values at which something begins or ends to be taken, for one key or another.
fn values() -> Vec<Value> {
    let mut texts: Vec<String> = [
        "",
        "keep",
        "replace",
        "remove",
        "irsa",
        "kube2iam",
        "kiam",
        "aws",
        "aws-cn",
        "webservice",
        "*",
        "runner-job",
        "task-runner",
        "registry-migrations",
        "yes",
        "123456789012",
        "012345678901",
        "12345678901",
        "1234567890123",
        "ci/r",
        "ci/default",
        "kube-system/job-controller",
        "ci/a.b-c",
        "gitlab",
        "ci-*",
        "a[b",
        "[!a-c]?",
        "{a,b}",
        "a\\b",
        "arn:aws:iam::123456789012:role/x",
        "arn:aws-eusc:iam::123456789012:role/a/{namespace}-x",
        "arn:aws:iam::{project}:role/x",
        "ARN:x",
        "arn:",
        "{component}",
        "backup/{release}-x",
        "{namespace}/{component}",
        "a b",
        "x-{project}",
        "/a",
        "a/",
        "a//b",
        "~!/|:/n",
        "a:b/n",
        "_+=,.@-",
        "é",
        "é/n",
        "a\u{7f}b",
        "a\u{80}b",
        "a\u{feff}b",
        "a\u{a0}b",
        "a\nb",
        "\n",
        "+3600",
        "0003600",
        "600",
        "599",
        "86400",
        "86401",
        "1",
        "4711",
        "+5",
        "05",
        "9999999999999999999",
        "99999999999999999999",
        "sts.amazonaws.com",
        "x-1",
        "a/b:c",
        "A_b",
        "1h",
    ]
    .map(str::to_owned)
    .into();
    for length in [2, 63, 64, 65, 253, 255, 256, 317, 318, 576, 1024, 1025, 1224, 1225, 4096, 4097] {
        texts.push("a".repeat(length));
        texts.push("é".repeat(length / 2));
    }
    for (name, length) in [(64, 510), (64, 511), (65, 3)] {
        texts.push(format!("{}/{}", "p".repeat(length), "n".repeat(name)));
    }
    let mut values: Vec<Value> = texts.into_iter().map(Value::String).collect();
    values.extend([json!(null), json!(true), json!(false), json!({}), json!([]), json!({"a": "b"})]);
    values.extend([0, 1, 599, 600, 3600, 86400, 86401, 4711].map(|number| json!(number)));
    values.extend(
        [99_999_999_999_u64, 100_000_000_000, 123_456_789_012, 999_999_999_999, 1_000_000_000_000, u64::MAX]
            .map(|number| json!(number)),
    );
    values.extend([json!(9_999_999_999_999_999_999_u64), json!(-1), json!(1.5), json!(3600.0)]);
    values.extend([
        json!({"tokenExpiration": 600}),
        json!({"sessionName": "ci"}),
        json!({"component": "kas"}),
    ]);
    values
}

/// Mappings into which each of those values is put, under each key.
fn bases() -> Vec<Value> {
    [
        "{account: '123456789012', rules: [{match: {component: registry}, role: x}]}",
        "{account: '123456789012', rules: [{match: {component: runner-job, runner: ci/r}, role: x, provider: kube2iam}]}",
        "{account: '123456789012', rules: [{match: {component: runner-job, runner: ci/r}, role: x, provider: kube2iam, unsafe: true}]}",
        "{rules: [{match: {namespace: gitlab}, skip: true}]}",
        "{rules: [{match: {serviceAccount: gitlab}, remove: true, provider: irsa}]}",
        "{rules: [{match: {release: gitlab}, remove: true, provider: kiam}]}",
        "{provider: kiam, rules: [{match: {labels: {a: b}}, role: x}]}",
        "{rules: [{match: {component: '*'}, role: 'arn:aws:iam::123456789012:role/x', provider: [irsa, kube2iam]}]}",
        "{rules: [{match: {component: kas}, skip: false, remove: false, provider: kube2iam, role: x}]}",
    ]
    .map(read)
    .into()
}

/// The blocks of a mapping: where each stands, and the definition that describes it.
const BLOCKS: [(&str, &str); 9] = [
    ("", "mapping"),
    ("/irsa", "mappingIrsa"),
    ("/kube2iam", "mappingPod"),
    ("/kiam", "mappingPod"),
    ("/rules/0", "mappingRule"),
    ("/rules/0/match", "mappingMatch"),
    ("/rules/0/irsa", "mappingIrsa"),
    ("/rules/0/kube2iam", "mappingPod"),
    ("/rules/0/kiam", "mappingPod"),
];

fn keys_of(definition: &str) -> Vec<String> {
    let definition = &schema()["definitions"][definition]["properties"];
    definition.as_object().unwrap().keys().cloned().collect()
}

/// Puts a value under a key of a block, which is made where it is missing.
fn put(mapping: &mut Value, block: &str, key: &str, value: Value) {
    if let Some((outer, name)) = block.rsplit_once('/')
        && mapping.pointer(block).is_none()
    {
        put(mapping, outer, name, json!({}));
    }
    if let Some(Value::Object(block)) = mapping.pointer_mut(block) {
        block.insert(key.to_owned(), value);
    }
}

#[test]
fn whatever_the_engine_takes_under_a_key_the_schema_takes() {
    let values = values();
    let mut taken: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for base in bases() {
        assert!(is_taken(&base), "{base}");
        for (block, definition) in BLOCKS {
            for key in keys_of(definition) {
                for value in &values {
                    for value in
                        [value.clone(), json!([value]), json!(["gitlab", value]), json!({"a": value})]
                    {
                        let mut mapping = base.clone();
                        put(&mut mapping, block, &key, value);
                        if is_taken(&mapping) {
                            assert_eq!(refusals(&mapping), [""; 0], "{mapping}");
                            *taken.entry((block, key.clone())).or_default() += 1;
                        }
                    }
                }
            }
        }
    }
    for (block, definition) in BLOCKS {
        for key in keys_of(definition) {
            // No member of the table is a list of rules.
            let is_tried = key == "rules" || taken.contains_key(&(block, key.clone()));
            assert!(is_tried, "nothing was taken as {block}/{key}");
        }
    }
}

/// Makes a mapping of several changes, of which some are mistakes.
fn a_changed_mapping() -> impl Strategy<Value = Value> {
    let places: Vec<(&str, String)> = BLOCKS
        .iter()
        .flat_map(|(block, definition)| keys_of(definition).into_iter().map(|key| (*block, key)))
        .filter(|(_, key)| key != "rules")
        .collect();
    let change = (select(places), select(values()), 0..8_u8);
    (select(bases()), vec(change, 1..5)).prop_map(|(mut mapping, changes)| {
        for ((block, key), value, how) in changes {
            match how {
                0 => {
                    if let Some(Value::Object(block)) = mapping.pointer_mut(block) {
                        block.remove(&key);
                    }
                }
                1 => put(&mut mapping, block, &format!("{key}s"), value),
                2 => put(&mut mapping, block, &key, json!([value, "gitlab"])),
                3 => put(&mut mapping, block, &key, json!({"a": value, "b": ["x-*"]})),
                _ => put(&mut mapping, block, &key, value),
            }
        }
        mapping
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_schema_never_refuses_a_mapping_that_the_engine_takes(mapping in a_changed_mapping()) {
        if is_taken(&mapping) {
            prop_assert_eq!(refusals(&mapping), [""; 0], "{}", mapping);
        }
    }
}
