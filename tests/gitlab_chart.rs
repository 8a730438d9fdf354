//! Which objects does the tests' own chart make of which values?
//!
//! This is a model of `tests/data/gitlab-chart`, for the speed of thousands of cases. `tests/api_server` holds
//! it to what Helm renders.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// An object as far as a mapping looks at it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    /// `ServiceAccount`, or the kind of the workload that makes the Pod.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) service_account: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

const CHARTS: [&str; 7] = ["registry", "webservice", "sidekiq", "toolbox", "gitaly", "migrations", "kas"];

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// Renders the chart as the release `gitlab`.
pub(crate) fn render(values: &Value) -> Vec<Object> {
    let shared = &values["global"]["serviceAccount"];
    let mut objects = Vec::new();
    for name in CHARTS {
        let own = if name == "registry" { &values["registry"] } else { &values["gitlab"][name] };
        let is_enabled = is_true(&own["serviceAccount"]["enabled"]) || is_true(&shared["enabled"]);
        let is_made = is_true(&own["serviceAccount"]["create"]) || shared.get("create").is_none_or(is_true);
        let full = format!("gitlab-{name}");
        let account = text(&own["serviceAccount"]["name"]).or_else(|| text(&shared["name"])).unwrap_or(&full);
        let mut make = |kind: &str, named: String, account: &str, labels: &[(&str, &str)], annotations| {
            let mut all = BTreeMap::new();
            let chart = format!("{name}-9.10.0");
            let common = [("app", name), ("chart", &chart), ("release", "gitlab"), ("heritage", "Helm")];
            for (key, value) in common.iter().chain(labels) {
                all.insert((*key).to_owned(), (*value).to_owned());
            }
            objects.push(Object {
                kind: kind.to_owned(),
                name: named,
                service_account: account.to_owned(),
                labels: all,
                annotations,
            });
        };
        if is_enabled && is_made {
            let of_all = is_true(&shared["annotations"]);
            let annotations =
                if of_all { &shared["annotations"] } else { &own["serviceAccount"]["annotations"] };
            make("ServiceAccount", account.to_owned(), account, &[], texts(annotations));
        }
        let account = if is_enabled { account } else { "default" };
        let annotations = texts(&own["annotations"]);
        match name {
            "webservice" => {
                let default = json!({"default": {}});
                let deployments = Some(&own["deployments"]).filter(|all| is_true(all)).unwrap_or(&default);
                for (key, deployment) in deployments.as_object().unwrap() {
                    let mut annotations = annotations.clone();
                    let over = texts(&deployment["pod"]["annotations"]);
                    annotations.extend(over.into_iter().filter(|(_, value)| !value.is_empty()));
                    let labels = [("gitlab.com/webservice-name", key.as_str())];
                    make("Deployment", format!("gitlab-webservice-{key}"), account, &labels, annotations);
                }
            }
            "migrations" => {
                let mut annotations = annotations;
                let over = texts(&own["podAnnotations"]);
                annotations.extend(over.into_iter().filter(|(_, value)| !value.is_empty()));
                let labels = [("job-name", "gitlab-migrations-1234567")];
                make("Job", "gitlab-migrations-1234567".to_owned(), account, &labels, annotations);
            }
            "gitaly" => make("StatefulSet", full.clone(), account, &[], annotations),
            _ => make("Deployment", full.clone(), account, &[], annotations.clone()),
        }
        let annotations = texts(&own["annotations"]);
        if name == "toolbox" {
            let labels = [("job-name", "gitlab-toolbox-backup")];
            make("CronJob", "gitlab-toolbox-backup".to_owned(), account, &labels, annotations);
        } else if name == "registry" {
            let job = "gitlab-registry-migrations-1234567";
            make(
                "Job",
                job.to_owned(),
                account,
                &[("app", "registry-migrations"), ("job-name", job)],
                annotations,
            );
        }
    }
    vendored(values, &mut objects);
    objects.sort();
    objects
}

fn vendored(values: &Value, objects: &mut Vec<Object>) {
    let mut make = |kind: &str, name: &str, account: &str, labels: &[(&str, &str)], annotations| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (kind, name, service_account) = (kind.to_owned(), name.to_owned(), account.to_owned());
        objects.push(Object { kind, name, service_account, labels, annotations });
    };
    let labels = |app, chart| [("app", app), ("chart", chart), ("release", "gitlab"), ("heritage", "Helm")];
    let minio = texts(&values["minio"]["podAnnotations"]);
    make("Deployment", "gitlab-minio", "default", &labels("minio", "minio-9.10.0"), minio);

    let zoekt = &values["gitlab-zoekt"];
    let of_zoekt = [("app.kubernetes.io/name", "gitlab-zoekt"), ("app.kubernetes.io/instance", "gitlab")];
    let full = "gitlab-gitlab-zoekt";
    let is_made = zoekt["serviceAccount"].get("create").is_none_or(is_true);
    if is_made {
        make("ServiceAccount", full, full, &of_zoekt, texts(&zoekt["serviceAccount"]["annotations"]));
    }
    let account = if is_made { full } else { "default" };
    make("StatefulSet", full, account, &of_zoekt, texts(&zoekt["podAnnotations"]));

    let (runner, full) = (&values["gitlab-runner"], "gitlab-gitlab-runner");
    let (account, rbac) = (&runner["serviceAccount"], &runner["rbac"]);
    let of_runner = labels(full, "gitlab-runner-0.86.0");
    let is_rbac = rbac.get("create").is_none_or(is_true);
    let name = if is_true(&account["create"]) {
        text(&account["name"]).or(Some(full))
    } else if is_rbac {
        text(&rbac["generatedServiceAccountName"]).or(Some(full))
    } else {
        text(&rbac["serviceAccountName"])
    };
    if is_true(&account["create"]) || is_rbac && account["create"].is_null() {
        let mut annotations = texts(&rbac["serviceAccountAnnotations"]);
        let newer = texts(&account["annotations"]);
        annotations.extend(newer.into_iter().filter(|(_, value)| !value.is_empty()));
        make("ServiceAccount", name.unwrap(), name.unwrap(), &of_runner, annotations);
    }
    let annotations = texts(&runner["podAnnotations"]);
    make("Deployment", full, name.unwrap_or("default"), &of_runner, annotations);
}

/// Puts a value at a path.
fn put(values: &mut Value, path: &[&str], value: Value) {
    let (last, before) = path.split_last().unwrap();
    let mut here = values;
    for key in before {
        let map = here.as_object_mut().unwrap();
        here = map.entry(*key).or_insert_with(|| Value::Object(Map::new()));
    }
    here.as_object_mut().unwrap().insert((*last).to_owned(), value);
}

/// Takes the value at a path away.
pub(crate) fn remove(values: &mut Value, path: &[String]) {
    let (last, before) = path.split_last().unwrap();
    let pointer = before.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")));
    if let Some(Value::Object(map)) = values.pointer_mut(&pointer.collect::<String>()) {
        map.remove(last);
    }
}

const IRSA: &str = "eks.amazonaws.com/role-arn";
const POD: &str = "iam.amazonaws.com/role";

/// Every value that the charts read and that decides on a role, and some that nobody reads.
fn candidates() -> Vec<(Vec<&'static str>, Vec<Value>)> {
    let arns =
        || ["a", "path/b", "c"].map(|name| json!(format!("arn:aws:iam::123456789012:role/{name}"))).to_vec();
    let roles = || vec![json!("d"), json!("path/e"), json!("arn:aws:iam::123456789012:role/f"), json!("")];
    let names = || vec![json!("shared"), json!("gitlab-kas"), json!("")];
    let booleans = || vec![json!(true), json!(true), json!(false)];
    let mut all: Vec<(Vec<&str>, Vec<Value>)> = Vec::new();
    let shared = ["global", "serviceAccount"];
    for _ in 0..12 {
        all.push(([&shared[..], &["enabled"]].concat(), booleans()));
    }
    for _ in 0..4 {
        all.push(([&shared[..], &["create"]].concat(), booleans()));
        all.push(([&shared[..], &["annotations", IRSA]].concat(), arns()));
    }
    all.push(([&shared[..], &["name"]].concat(), names()));
    all.push(([&shared[..], &["annotations", "other"]].concat(), vec![json!("x")]));
    all.push(([&shared[..], &["annotations", POD]].concat(), roles()));
    all.push((vec!["global", "platform", "eksRoleArn"], arns()));
    all.push((vec!["global", "deployment", "annotations", POD], roles()));
    for name in CHARTS {
        let own = if name == "registry" { vec!["registry"] } else { vec!["gitlab", name] };
        let at = |path: &[&'static str]| [&own[..], path].concat();
        all.push((at(&["serviceAccount", "enabled"]), booleans()));
        all.push((at(&["serviceAccount", "create"]), booleans()));
        all.push((at(&["serviceAccount", "name"]), names()));
        for _ in 0..3 {
            all.push((at(&["serviceAccount", "annotations", IRSA]), arns()));
            all.push((at(&["annotations", POD]), roles()));
        }
        let option = |key| vec!["serviceAccount", "annotations", key];
        all.push((at(&option("eks.amazonaws.com/audience")), vec![json!("x.example.com")]));
        all.push((
            at(&option("eks.amazonaws.com/sts-regional-endpoints")),
            vec![json!("true"), json!("false")],
        ));
        all.push((at(&option("eks.amazonaws.com/token-expiration")), vec![json!("3600")]));
        all.push((at(&option(POD)), roles()));
        all.push((at(&["annotations", IRSA]), arns()));
        all.push((at(&["annotations", "iam.amazonaws.com/external-id"]), vec![json!("id-1")]));
        all.push((at(&["annotations", "other"]), vec![json!("x")]));
    }
    for name in ["api", "web"] {
        let at = |key| vec!["gitlab", "webservice", "deployments", name, "pod", "annotations", key];
        all.push((at(POD), roles()));
        all.push((at("other"), vec![json!("x")]));
    }
    all.push((vec!["gitlab", "migrations", "podAnnotations", POD], roles()));
    all.push((vec!["gitlab", "task-runner", "annotations", POD], roles()));
    all.push((vec!["gitlab", "task-runner", "serviceAccount", "annotations", IRSA], arns()));
    all.push((vec!["minio", "podAnnotations", POD], roles()));
    all.push((vec!["gitlab-zoekt", "podAnnotations", POD], roles()));
    all.push((vec!["gitlab-zoekt", "serviceAccount", "create"], booleans()));
    all.push((vec!["gitlab-zoekt", "serviceAccount", "annotations", IRSA], arns()));
    let runner = |path: &[&'static str]| [&["gitlab-runner"][..], path].concat();
    all.push((runner(&["rbac", "create"]), booleans()));
    all.push((runner(&["rbac", "serviceAccountName"]), names()));
    all.push((runner(&["rbac", "generatedServiceAccountName"]), names()));
    all.push((runner(&["rbac", "serviceAccountAnnotations", IRSA]), arns()));
    all.push((
        runner(&["rbac", "serviceAccountAnnotations", "eks.amazonaws.com/audience"]),
        vec![json!("y.example.com")],
    ));
    all.push((runner(&["serviceAccount", "create"]), booleans()));
    all.push((runner(&["serviceAccount", "name"]), names()));
    all.push((runner(&["serviceAccount", "annotations", IRSA]), arns()));
    all.push((runner(&["podAnnotations", POD]), roles()));
    all
}

/// Values of all kinds.
pub(crate) fn any_values() -> impl Strategy<Value = Value> {
    let candidates = candidates();
    proptest::collection::vec((0..candidates.len(), any::<proptest::sample::Index>()), 0..30).prop_map(
        move |chosen| {
            let mut values = json!({});
            for (index, choice) in chosen {
                let (path, choices) = &candidates[index];
                put(&mut values, path, choices[choice.index(choices.len())].clone());
            }
            values
        },
    )
}
