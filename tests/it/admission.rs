//! How is a review or an edit read, and what is done with one that is not as it should be?

use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
use gitlab_iam_webhook::engine::admission::validate::Purpose;
use gitlab_iam_webhook::engine::admission::{ReviewError, parse, validate};
use gitlab_iam_webhook::engine::decision::Outcome;
use gitlab_iam_webhook::engine::json::{RawText, Reader};
use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::object::component::Component;
use gitlab_iam_webhook::engine::object::metadata::Metadata;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use serde_json::{Value, json};

use crate::support::{RUNNER, Thing, edit, ruleset};

/// The answer to a review of this object, after something of the request was changed.
fn answered(thing: &Thing, change: impl FnOnce(&mut Value)) -> (Outcome, String) {
    let mut review = thing.to_review();
    change(&mut review["request"]);
    let ruleset = ruleset(
        "account: \"123456789012\"\nprovider: [irsa, kube2iam]\nrules: [{match: {serviceAccount: [gitlab-*, default]}, role: r}]",
    );
    let body = serde_json::to_vec(&review).unwrap();
    let reply = respond(&body, &ruleset, Mode::Mutate).unwrap();
    (reply.outcome(), reply.name.to_string())
}

#[test]
fn nothing_but_serviceaccounts_and_created_pods_of_the_core_group_is_decided() {
    let (account, pod) = (Thing::service_account("webservice"), Thing::pod("webservice"));
    let outcome = |thing: &Thing, change: &dyn Fn(&mut Value)| answered(thing, change).0;
    for (thing, operation, decided) in [
        (&account, "CREATE", true),
        (&account, "UPDATE", true),
        (&account, "DELETE", false),
        (&pod, "CREATE", true),
        (&pod, "UPDATE", false),
        (&pod, "CONNECT", false),
    ] {
        let what = outcome(thing, &|request| request["operation"] = operation.into());
        assert_eq!(what == Outcome::Set, decided, "{operation}");
        assert_eq!(what == Outcome::Undecided, !decided, "{operation}");
    }
    for thing in [&account, &pod] {
        for (member, value) in [("group", "apps"), ("version", "v1beta1"), ("kind", "Deployment")] {
            let what = outcome(thing, &|request| request["kind"][member] = value.into());
            assert_eq!(what, Outcome::Undecided, "{member}");
        }
        let what = outcome(thing, &|request| request["subResource"] = "token".into());
        assert_eq!(what, Outcome::Undecided);
    }
}

#[test]
fn an_object_is_called_by_its_name_or_by_the_beginning_of_the_one_that_it_will_have() {
    let pod = Thing::pod("webservice");
    let name = |of_request: &str, name: Value, generate: &str| {
        let called = answered(&pod, |request| {
            request["name"] = of_request.into();
            request["object"]["metadata"]["name"] = name;
            request["object"]["metadata"]["generateName"] = generate.into();
        });
        called.1
    };
    assert_eq!(name("", Value::Null, "web-"), "web-");
    assert_eq!(name("", "".into(), "web-"), "web-");
    assert_eq!(name("", "web-1".into(), "web-"), "web-1");
    assert_eq!(name("web-2", "web-1".into(), "web-"), "web-2");
}

#[test]
fn a_pod_that_names_no_serviceaccount_runs_as_default() {
    let mut pod = Thing::pod("webservice");
    pod.service_account = String::new();
    assert_eq!(answered(&pod, |_| {}).0, Outcome::Set);
    let nameless = answered(&pod, |request| {
        request["object"]["spec"].as_object_mut().unwrap().remove("serviceAccountName");
    });
    assert_eq!(nameless.0, Outcome::Set);
    pod.service_account = "other".to_owned();
    assert_eq!(answered(&pod, |_| {}).0, Outcome::NoRule);
}

#[test]
fn no_member_that_is_read_may_stand_twice() {
    let review = Thing::pod("webservice").to_review().to_string();
    let ruleset = ruleset("rules: []");
    for member in
        ["uid", "kind", "subResource", "name", "namespace", "operation", "userInfo", "object", "dryRun"]
    {
        let value = match member {
            "dryRun" => "false",
            "kind" | "userInfo" | "object" => "{}",
            _ => "\"\"",
        };
        let twice = format!("\"request\":{{\"{member}\":{value},\"{member}\":{value},");
        let body = review.replace("\"request\":{", &twice);
        let error = respond(body.as_bytes(), &ruleset, Mode::Mutate).unwrap_err();
        assert!(error.to_string().ends_with(&format!("`{member}` stands there twice")), "{member}: {error}");
    }
    let others = review.replace("\"request\":{", "\"request\":{\"options\":1,\"options\":2,");
    assert!(respond(others.as_bytes(), &ruleset, Mode::Mutate).is_ok(), "nobody reads it");
}

#[test]
fn what_unescaping_may_take_is_told_before_it_is_done() {
    let ruleset = ruleset("rules: []");
    let weight = |thing: &Thing| {
        let body = serde_json::to_vec(&thing.to_review()).unwrap();
        parse(&body, &ruleset).unwrap().weight().unwrap()
    };
    let account = Thing::service_account("webservice");
    assert_eq!(weight(&account), 0);
    let key = "eks.amazonaws.com/role-arn";
    assert!(weight(&account.clone().annotated(key, &"x".repeat(1000))) >= 4000);
    assert_eq!(weight(&account.annotated("other", &"x".repeat(1000))), 0, "nobody reads it");
}

#[test]
fn another_kind_and_an_older_version_are_different_mistakes() {
    let error = |text: &str| respond(text.as_bytes(), &ruleset("rules: []"), Mode::Mutate).unwrap_err();
    let of = |kind: &str, version: &str| {
        error(&json!({"apiVersion": version, "kind": kind, "request": {"uid": "7"}}).to_string())
    };
    assert!(matches!(of("AdmissionReview", "admission.k8s.io/v1beta1"), ReviewError::Version(_)));
    for (kind, version) in [
        ("AdmissionReview", "other.k8s.io/v1"),
        ("Other", "admission.k8s.io/v1"),
        ("Other", "admission.k8s.io/v1beta1"),
    ] {
        assert!(matches!(of(kind, version), ReviewError::Kind { .. }), "{kind} {version}");
    }
    assert!(matches!(error("{"), ReviewError::Json(_)));
    let head = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview""#;
    assert!(matches!(error(&format!("{head}}}")), ReviewError::NoRequest));
    assert!(matches!(error(&format!("{head},\"request\":{{}}}}")), ReviewError::NoUid));
}

#[test]
fn of_metadata_each_member_goes_to_its_place() {
    let text = r#"{"name": "a", "generateName": "b", "namespace": "c", "resourceVersion": "d"}"#;
    let metadata = Metadata::read(&mut Reader::new(text.as_bytes()), &[]).unwrap().unwrap();
    let is = |text: Option<RawText<'_>>| text.unwrap().to_text().unwrap().into_owned();
    assert_eq!(is(metadata.name), "a");
    assert_eq!(is(metadata.generate_name), "b");
    assert_eq!(is(metadata.namespace), "c");
    assert_eq!(is(metadata.resource_version), "d");
    assert!(!metadata.is_deleted);
    for (stamp, is_deleted) in [("\"2026-01-01T00:00:00Z\"", true), ("null", false)] {
        let text = format!("{{\"deletionTimestamp\": {stamp}}}");
        let metadata = Metadata::read(&mut Reader::new(text.as_bytes()), &[]).unwrap().unwrap();
        assert_eq!(metadata.is_deleted, is_deleted, "{stamp}");
    }
}

#[test]
fn what_a_decision_sees_is_lent_where_there_is_something_to_decide() {
    let ruleset = ruleset("rules: []");
    let seen = |thing: &Thing, operation: &str| {
        let mut review = thing.to_review();
        review["request"]["operation"] = operation.into();
        let body = review.to_string();
        let request = parse(body.as_bytes(), &ruleset).unwrap();
        request.with_subject(|subject| subject.service_account.to_owned()).unwrap()
    };
    assert_eq!(seen(&Thing::service_account("kas"), "UPDATE").as_deref(), Some("gitlab-kas"));
    assert_eq!(seen(&Thing::pod("kas"), "CREATE").as_deref(), Some("gitlab-kas"));
    assert_eq!(seen(&Thing::pod("kas"), "UPDATE"), None);
}

#[test]
fn an_edit_is_judged_where_it_touches_the_text() {
    const GOOD: &str = "rules: []";
    const BAD: &str = "ruels: []";
    let map = |text: Option<&str>| text.map(|text| json!({"data": {"mapping.yaml": text, "other": "x"}}));
    let judged = |operation: &str, old: Option<&str>, new: Option<Value>| {
        let mut review = edit(operation, old, None);
        review["request"]["object"] = new.unwrap_or_default();
        let edit = validate::read(review.to_string().as_bytes()).unwrap();
        let verdict = edit.judge(&OperatorPolicy::default());
        let accepted = verdict.accepted.is_some();
        let body: Value = serde_json::from_slice(&verdict.into_body(Vec::new()).unwrap()).unwrap();
        assert_eq!(body["response"]["uid"], "u");
        (body["response"]["allowed"].as_bool().unwrap(), accepted, body)
    };
    for (operation, old, new, allowed, accepted) in [
        ("CREATE", None, map(Some(GOOD)), true, true),
        ("CREATE", None, map(Some(BAD)), false, false),
        ("CREATE", None, map(None), false, false),
        ("CREATE", None, Some(json!({"data": {"other": GOOD}})), false, false),
        ("UPDATE", Some(GOOD), map(Some(BAD)), false, false),
        ("UPDATE", Some(BAD), map(Some(GOOD)), true, true),
        ("UPDATE", Some(BAD), map(Some(BAD)), true, false),
        ("UPDATE", Some(GOOD), map(Some(GOOD)), true, false),
        ("UPDATE", Some(GOOD), Some(json!({"data": {}})), false, false),
        ("DELETE", Some(GOOD), None, true, false),
        ("DELETE", Some(BAD), None, true, false),
    ] {
        let (is_allowed, is_accepted, body) = judged(operation, old, new);
        assert_eq!((is_allowed, is_accepted), (allowed, accepted), "{operation} {old:?}: {body}");
        if !allowed {
            assert_eq!(body["response"]["status"]["details"]["name"], "role-mapping");
        }
    }
}

#[test]
fn a_broken_text_is_never_kept_as_the_last_good_mapping_and_a_good_one_without_a_word() {
    // Of this mapping the second rule never decides.
    let covered = "rules: [{match: {component: kas}, remove: true, provider: irsa}, {name: x, match: {component: kas}, remove: true, provider: irsa}]";
    for (text, allowed) in [(covered, true), ("ruels: []", false), (validate::PROBE, false)] {
        let mut review = edit("UPDATE", Some("rules: []"), Some(text));
        review["request"]["name"] = "role-mapping-last-good".into();
        let edit = validate::read(review.to_string().as_bytes()).unwrap();
        assert_eq!(edit.purpose(), Purpose::LastGood, "{text}");
        let verdict = edit.judge(&OperatorPolicy::default());
        assert!(verdict.accepted.is_none(), "it changes nothing that is in force");
        let body: Value = serde_json::from_slice(&verdict.into_body(Vec::new()).unwrap()).unwrap();
        assert_eq!(body["response"]["allowed"], allowed, "{body}");
        assert_eq!(body["response"]["warnings"], Value::Null, "whoever edited the mapping was warned");
    }
}

#[test]
fn a_probe_is_always_refused_and_whoever_forges_one_gets_no_more_than_that() {
    let said = |name: &str, dry_run: Value, old: Option<&str>, new: Option<&str>| {
        let mut review = edit("UPDATE", old, new);
        review["request"]["name"] = name.into();
        review["request"]["dryRun"] = dry_run;
        let edit = validate::read(review.to_string().as_bytes()).unwrap();
        let (purpose, bytes) = (edit.purpose(), edit.text_bytes());
        let body = edit.judge(&OperatorPolicy::default()).into_body(Vec::new()).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let message = body["response"]["status"]["message"].as_str().unwrap_or_default().to_owned();
        (purpose, bytes, body["response"]["allowed"] == true, message)
    };
    let last_good = "role-mapping-last-good";
    // Also where somebody has stored that very text, and where nothing is stored.
    for old in [Some("rules: []"), Some(validate::PROBE), None] {
        let (purpose, bytes, is_allowed, message) = said(last_good, true.into(), old, Some(validate::PROBE));
        assert_eq!((purpose, bytes, is_allowed), (Purpose::Probe, None, false), "{old:?}");
        assert_eq!(
            message,
            format!("{}1 problem\n  1:1: this is a probe, which is always refused", validate::REFUSAL)
        );
    }
    // Not in earnest, not for the mapping, and no other text: these are edits as all others.
    let longer = format!("{}!", validate::PROBE);
    for (name, dry_run, text, purpose) in [
        (last_good, Value::from(false), validate::PROBE, Purpose::LastGood),
        (last_good, Value::Null, validate::PROBE, Purpose::LastGood),
        (last_good, true.into(), &longer, Purpose::LastGood),
        ("role-mapping", true.into(), validate::PROBE, Purpose::Mapping),
    ] {
        let (found, bytes, is_allowed, message) = said(name, dry_run, Some("rules: []"), Some(text));
        assert_eq!((found, bytes, is_allowed), (purpose, Some(text.len()), false), "{name} {text}");
        assert!(
            message.starts_with(validate::REFUSAL),
            "a version that knows no probes says it as well: {message}"
        );
    }
}

#[test]
fn an_edit_says_how_long_the_text_is_that_is_to_be_judged() {
    let bytes = |operation: &str, text: &str| {
        let review = edit(operation, None, Some(text)).to_string();
        validate::read(review.as_bytes()).unwrap().text_bytes()
    };
    assert_eq!(bytes("CREATE", "rules: []"), Some(9));
    assert_eq!(bytes("DELETE", "rules: []"), None);
    assert_eq!(bytes("CREATE", &"x".repeat(mapping::MAX_BYTES + 1)), None, "it is refused unread");
}

#[test]
fn whoever_edits_the_mapping_is_warned_of_what_to_mend_and_gets_no_notes() {
    // The second rule never decides, and both hold in every namespace.
    let text = "rules: [{match: {component: kas}, remove: true, provider: irsa}, {name: x, match: {component: kas}, remove: true, provider: irsa}]";
    let review = edit("CREATE", None, Some(text)).to_string();
    let verdict = validate::read(review.as_bytes()).unwrap().judge(&OperatorPolicy::default());
    let body: Value = serde_json::from_slice(&verdict.into_body(Vec::new()).unwrap()).unwrap();
    let warnings = body["response"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].as_str().unwrap().contains("rule x never decides"), "{warnings:?}");
}

/// What a review of a Pod that runs as `default` tells beside its answer, after something of it was changed.
fn unreached(component: &str, mode: Mode, change: impl FnOnce(&mut Value)) -> Option<String> {
    let pod = Thing { service_account: "default".to_owned(), ..Thing::pod(component) };
    let mut review = pod.to_review();
    review["request"]["object"]["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u-1", "controller": true},
    ]);
    change(&mut review["request"]);
    let ruleset = ruleset(
        "account: \"123456789012\"
provider: [irsa, kube2iam]
rules:
  - {name: all, match: {component: [webservice, registry, minio, runner]}, role: \"{component}\"}
  - {name: job, match: {component: runner-job, runner: ci/gitlab-runner}, role: job}
",
    );
    let body = review.to_string();
    let reply = respond(body.as_bytes(), &ruleset, mode).unwrap();
    reply.unreached.map(|unreached| {
        assert_eq!(unreached.component, Component::from_name(component).unwrap());
        let owner = unreached.owner.map(|owner| format!("{} {} {}", owner.kind, owner.name, owner.uid));
        format!("{} by {} of {}", unreached.role, unreached.rule, owner.unwrap_or_default())
    })
}

#[test]
fn a_role_that_does_not_reach_a_pod_of_gitlab_is_told_with_the_pods_workload() {
    let told = |component: &str| {
        Some(format!("arn:aws:iam::123456789012:role/{component} by all of ReplicaSet web-1 u-1"))
    };
    for mode in [Mode::Mutate, Mode::Observe] {
        // kube2iam may give the Pod the same role meanwhile, and IRSA is still to.
        assert_eq!(unreached("webservice", mode, |_| {}), told("webservice"));
        assert_eq!(unreached("registry", mode, |_| {}), told("registry"));
        assert_eq!(unreached("runner", mode, |_| {}), told("runner"));
    }
    let owners = |value: Value| {
        let change = |request: &mut Value| request["object"]["metadata"]["ownerReferences"] = value;
        unreached("webservice", Mode::Mutate, change)
    };
    let nobodys = "arn:aws:iam::123456789012:role/webservice by all of ";
    for value in [json!(null), json!([]), json!("x"), json!([{"controller": "x"}]), json!([[]])] {
        assert_eq!(owners(value.clone()).as_deref(), Some(nobodys), "{value}");
    }
}

#[test]
fn nobody_but_a_workload_controller_can_cause_that_a_role_is_told_as_not_reached() {
    let with = |component: &str, change: &dyn Fn(&mut Value)| unreached(component, Mode::Mutate, change);
    for user in ["admin", "system:serviceaccount:gitlab:default", "system:node:a", ""] {
        let by = |request: &mut Value| request["userInfo"]["username"] = user.into();
        assert_eq!(with("webservice", &by), None, "{user}");
    }
    assert_eq!(with("webservice", &|request| request["dryRun"] = true.into()), None, "a dry run");
    let own_account = |request: &mut Value| request["object"]["spec"]["serviceAccountName"] = "web".into();
    assert_eq!(with("webservice", &own_account), None, "it has an account of its own");
    assert_eq!(with("minio", &|_| {}), None, "no value of a chart gives it an account");
    let job = |request: &mut Value| {
        request["object"]["metadata"]["labels"]["project.runner.gitlab.com/id"] = "42".into();
        request["userInfo"]["username"] = RUNNER.into();
    };
    assert_eq!(with("webservice", &job), None, "a job's author wrote it");
}
