//! What holds for `annotate`, however manifests are written and whatever the mapping says?

use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
use gitlab_iam_webhook::engine::annotate::{Annotated, Circumstances, annotate};
use gitlab_iam_webhook::engine::object::subject::Kind;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{REPLICASET_CONTROLLER, Thing, patch_of, ruleset};
use crate::things::{a_mapping, a_thing};
use crate::written_yaml::{Dice, stream};

const TEXTS: [&str; 9] = [
    "plain",
    "two\nlines\n",
    "a\n\ttab\nkind: ServiceAccount\n--- no document\n",
    "yes",
    "# no comment",
    "it's \"quoted\"",
    "föö: {a: b}",
    "",
    "trailing # comment",
];

/// Reads a stream with a reader of others, which is a port of C's libyaml as kubectl's and Helm's are.
fn read(text: &str) -> Vec<Value> {
    let read = serde_norway::Deserializer::from_str(text).map(Value::deserialize);
    let all: Vec<Value> = read.map(|value| value.unwrap_or_else(|error| panic!("{error}\n{text}"))).collect();
    all.into_iter().filter(|value| !value.is_null()).collect()
}

/// Makes a document of an object: as it is, or as the template of a workload.
fn document(thing: &Thing, shape: usize, texts: &[&str]) -> Value {
    let mut object = thing.to_object();
    if shape.is_multiple_of(3) {
        object["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    let metadata = object["metadata"].as_object_mut().unwrap();
    match (metadata.contains_key("annotations"), shape % 4) {
        (true, 0) => metadata["annotations"]["other"] = json!(texts[0]),
        (false, 1) => _ = metadata.insert("annotations".to_owned(), Value::Null),
        (false, 2) => _ = metadata.insert("annotations".to_owned(), json!({})),
        _ => {}
    }
    if thing.kind == Kind::ServiceAccount || shape % 5 == 4 {
        object["extra"] =
            json!({"text": texts[1], "list": [texts[0], 1, true, null, {}], "x": {"y": texts[2]}});
        return object;
    }
    let mut object = object.as_object().unwrap().clone();
    let mut outer = json!({"name": "some-pod", "namespace": thing.namespace});
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).unwrap();
    if metadata.remove("namespace").is_none() {
        outer.as_object_mut().unwrap().remove("namespace");
    }
    metadata.remove("name");
    let mut template = json!({"spec": object["spec"]});
    if !object["metadata"].as_object().unwrap().is_empty() {
        template["metadata"] = object["metadata"].clone();
    }
    match shape % 3 {
        0 => json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": outer,
            "spec": {"schedule": texts[1], "jobTemplate": {"spec": {"template": template}}}}),
        1 => {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": outer, "spec": {"template": template}})
        }
        _ => {
            json!({"spec": {"template": template}, "kind": "StatefulSet", "metadata": outer, "apiVersion": "apps/v1"})
        }
    }
}

/// Some documents, of which some are lists, and some no objects of ours.
fn documents() -> impl Strategy<Value = Vec<Value>> {
    let texts = || vec(select(TEXTS.to_vec()), 3);
    vec((a_thing(), 0..60_usize, texts()), 1..4).prop_map(|things| {
        let mut documents = Vec::new();
        let mut items = Vec::new();
        for (thing, shape, texts) in things {
            let object = document(&thing, shape, &texts);
            match shape % 7 {
                5 => items.push(object),
                6 => {
                    let data = json!({"a": texts[0], "kind": texts[1], "metadata": texts[2]});
                    documents.push(json!({"kind": "ConfigMap", "data": data, "metadata": {"name": "c"}}));
                    documents.push(object);
                }
                _ => documents.push(object),
            }
        }
        if !items.is_empty() {
            documents.push(json!({"items": items, "apiVersion": "v1", "kind": "List"}));
        }
        documents
    })
}

/// Carries out on an object what the webhook answers.
fn admit(document: &mut Value, ruleset: &Ruleset) {
    if let Some(items) = document.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            admit(item, ruleset);
        }
        return;
    }
    let kind = document["kind"].as_str().unwrap().to_owned();
    let (name, namespace) = (document["metadata"]["name"].clone(), document["metadata"]["namespace"].clone());
    let path = match &*kind {
        "ServiceAccount" | "Pod" => "",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "Deployment" | "StatefulSet" => "/spec/template",
        _ => return,
    };
    let made = if kind == "ServiceAccount" { "ServiceAccount" } else { "Pod" };
    let holder = document.pointer_mut(path).unwrap();
    let mut object = holder.clone();
    let metadata = object.as_object_mut().unwrap().entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata["name"] = name.clone();
    if kind == "CronJob" {
        let labels = metadata.as_object_mut().unwrap().entry("labels").or_insert_with(|| json!({}));
        labels["job-name"] = name.clone();
    }
    let user = if made == "Pod" { REPLICASET_CONTROLLER } else { "admin" };
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": made}, "operation": "CREATE", "name": name,
            "namespace": namespace.as_str().unwrap_or("gitlab"), "userInfo": {"username": user}, "object": object,
        },
    });
    let body = serde_json::to_vec(&review).unwrap();
    let answer: Value = serde_json::from_slice(&respond(&body, ruleset, Mode::Mutate).unwrap().body).unwrap();
    let patch: json_patch::Patch = serde_json::from_value(patch_of(&answer)).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    if let Some(annotations) = object["metadata"].get("annotations") {
        let metadata = holder.as_object_mut().unwrap().entry("metadata").or_insert_with(|| json!({}));
        if metadata.is_null() {
            *metadata = json!({});
        }
        metadata["annotations"] = annotations.clone();
    }
}

/// Takes away what says nothing: annotations without any entry.
fn tidy(value: &mut Value) {
    let is_nothing = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                metadata.retain(|key, value| key != "annotations" || !is_nothing(value));
            }
            map.retain(|key, value| key != "metadata" || !is_nothing(value));
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn annotated<'t, 'r>(text: &'t str, ruleset: &'r Ruleset) -> Annotated<'t, 'r> {
    let circumstances = Circumstances { namespace: Some("gitlab"), user: None };
    annotate(text, ruleset, &circumstances).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Annotates a text, and checks the result by what the webhook does with each object. Returns the new text.
fn check(text: &str, documents: &[Value], ruleset: &Ruleset) -> Result<String, TestCaseError> {
    let annotated = annotated(text, ruleset);
    let mut wanted = documents.to_vec();
    for document in &mut wanted {
        admit(document, ruleset);
        tidy(document);
    }
    let mut found = read(&annotated.text);
    found.iter_mut().for_each(tidy);
    prop_assert_eq!(found, wanted, "{}\n{}", text, annotated.text);

    // The splices are all that changed, and those take away nothing but what they say.
    let mut rebuilt = String::new();
    let mut at = 0;
    for splice in &annotated.splices {
        prop_assert!(splice.range.start >= at, "in order");
        rebuilt.push_str(text.get(at..splice.range.start).unwrap());
        rebuilt.push_str(&splice.text);
        at = splice.range.end;
        let gone = text.get(splice.range.clone()).unwrap().trim();
        let is_ours = |word: &str| gone.contains(word);
        let is_known =
            ["eks.amazonaws.com/", "iam.amazonaws.com/", "gitlab-iam-webhook/"].into_iter().any(is_ours);
        let is_value =
            ["by-hand", "arn:aws", "3600", "true", "annotations\\\":", "\"\"", "''"].into_iter().any(is_ours);
        let is_nothing = ["", "null", "~", "{}", "{ }", ","].contains(&gone)
            || gone.starts_with('&')
            || gone.starts_with('{');
        prop_assert!(
            is_known || is_value || is_nothing || gone.starts_with("{\"annotations"),
            "{:?} of\n{}",
            gone,
            text
        );
    }
    rebuilt.push_str(text.get(at..).unwrap());
    prop_assert_eq!(&rebuilt, &annotated.text);
    Ok(rebuilt)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn annotated_manifests_are_what_the_webhook_would_make_of_them(
        documents in documents(),
        first in a_mapping(),
        second in a_mapping(),
        thrown in vec(any::<u8>(), 1..400),
    ) {
        let text = stream(&documents, &mut Dice::new(&thrown));
        // The writer is right, before it says anything about what reads it.
        prop_assert_eq!(&read(&text), &documents, "{}", text);
        let (first, second) = (ruleset(&first), ruleset(&second));
        let once = check(&text, &documents, &first)?;
        prop_assert!(annotated(&once, &first).splices.is_empty(), "{}", once);
        // Another mapping replaces and takes off what this one wrote.
        let twice = check(&once, &read(&once), &second)?;
        prop_assert!(annotated(&twice, &second).splices.is_empty(), "{}", twice);
    }
}
