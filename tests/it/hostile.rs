//! What becomes of reviews that somebody made up to do harm?
//!
//! The comment on a test says what its reviews did before. `tests/memory` measures the memory that they take.

use std::fmt::Write as _;

use gitlab_iam_webhook::engine::admission::mutate::{Mode, Reply, respond};
use gitlab_iam_webhook::engine::admission::{ReviewError, parse};
use gitlab_iam_webhook::engine::decision::Outcome;
use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use serde_json::{Value, json};

use crate::support::{RUNNER, Thing, patch_of, ruleset, ruleset_within};

const ROLE: &str = "eks.amazonaws.com/role-arn";

fn answer(reply: &Reply<'_>) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

/// Returns the role that the rules give to a ServiceAccount with this metadata and this `request.name`.
fn given(ruleset: &Ruleset, name: Option<&str>, metadata: &Value) -> Option<String> {
    let mut review = Thing::service_account("kas").to_review();
    review["request"]["object"]["metadata"] = metadata.clone();
    if let Some(name) = name {
        review["request"]["name"] = name.into();
    }
    let body = serde_json::to_vec(&review).unwrap();
    let reply = respond(&body, ruleset, Mode::Mutate).unwrap();
    let role = patch_of(&answer(&reply))[0]["value"][ROLE].as_str().map(str::to_owned);
    role.map(|role| role.rsplit('/').next().unwrap().to_owned())
}

/// The metadata `{name: ci-jobs, generateName: ci-jobs}` slipped past the rule for `ci-jobs`, and
/// `generateName: default` gave `default` a role.
#[test]
fn a_generate_name_beside_a_name_hides_neither_the_name_nor_default() {
    let ruleset = ruleset(
        "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: ci-jobs}, role: jobs}\n  - {match: {serviceAccount: \"*\"}, role: others}\n",
    );
    let both = json!({"name": "ci-jobs", "generateName": "ci-jobs"});
    assert_eq!(given(&ruleset, Some("ci-jobs"), &both).as_deref(), Some("jobs"));
    assert_eq!(given(&ruleset, None, &both).as_deref(), Some("jobs"));
    let default = json!({"name": "default", "generateName": "default"});
    assert_eq!(given(&ruleset, Some("default"), &default), None);
    assert_eq!(given(&ruleset, None, &default), None);
    // Here the request alone names the object, as server-side apply does, or nobody names it yet.
    let only_generate = json!({"generateName": "ci-jobs"});
    assert_eq!(given(&ruleset, Some("ci-jobs"), &only_generate).as_deref(), Some("jobs"));
    assert_eq!(given(&ruleset, None, &only_generate).as_deref(), Some("others"));
}

/// Each label took 48 bytes for 6 that were sent.
#[test]
fn of_a_flood_of_labels_those_that_count_are_read_and_the_last_of_each_wins() {
    let ruleset = ruleset(
        "account: \"123456789012\"\nrules: [{match: {labels: {team: a}, component: kas}, role: \"kas-{release}\"}]\n",
    );
    let mut labels = r#""team":"b","release":"old","#.to_owned();
    for n in 0..100_000 {
        write!(labels, "\"l{n}\":\"\",").unwrap();
    }
    labels.push_str(r#""app":"kas","chart":"kas-9.1.0","release":"new","team":"a""#);
    let mut account = Thing::service_account("kas");
    account.labels.clear();
    let body = account.to_review().to_string().replacen("\"labels\":{", &format!("\"labels\":{{{labels}"), 1);
    let reply = respond(body.as_bytes(), &ruleset, Mode::Mutate).unwrap();
    let role = patch_of(&answer(&reply))[0]["value"][ROLE].clone();
    assert_eq!(role, "arn:aws:iam::123456789012:role/kas-new");
}

/// A label that no API server would store must not match, and must not be taken for absent either.
#[test]
fn an_overlong_label_is_present_and_matches_nothing() {
    let ruleset = ruleset(
        "account: \"123456789012\"\nrules: [{match: {labels: {team: \"*\"}}, role: a}, {match: {release: \"*\"}, role: b}, {match: {component: kas}, role: c}]\n",
    );
    let (long, fits) = ("x".repeat(64), "x".repeat(63));
    let role = |thing: &Thing| {
        let body = serde_json::to_vec(&thing.to_review()).unwrap();
        let reply = respond(&body, &ruleset, Mode::Mutate).unwrap();
        let role = patch_of(&answer(&reply))[0]["value"][ROLE].as_str().unwrap().to_owned();
        // The same label comes from a file, where nothing is cut.
        let decided = thing.decide(&ruleset).verdicts[0].role.clone().unwrap();
        assert_eq!(decided, role);
        role.rsplit('/').next().unwrap().to_owned()
    };
    let kas = Thing::service_account("kas");
    assert_eq!(role(&kas.clone().labelled("team", &fits)), "a");
    assert_eq!(role(&kas.clone().labelled("team", &long)), "b");
    assert_eq!(role(&kas.labelled("team", &long).labelled("release", &long)), "c", "still a release");
}

/// A job stays a job, even where its author makes the runner's label too long.
#[test]
fn an_overlong_runner_label_is_a_runner_label() {
    let ruleset = ruleset(
        "account: \"123456789012\"\nprovider: kube2iam\nrules: [{match: {component: kas}, role: kas}]\n",
    );
    let labels = format!("x.runner.gitlab.com/{}", "x".repeat(1000));
    let mut pod = Thing::pod("kas").labelled(&labels, "y");
    let body = serde_json::to_vec(&pod.to_review()).unwrap();
    let reply = respond(&body, &ruleset, Mode::Mutate).unwrap();
    assert_eq!(reply.outcome(), Outcome::NoRule);
    pod.labels.pop();
    let body = serde_json::to_vec(&pod.to_review()).unwrap();
    assert_eq!(respond(&body, &ruleset, Mode::Mutate).unwrap().outcome(), Outcome::Set);
}

/// A value that can be stored is neither lost nor overlooked because it is long.
#[test]
fn a_long_role_on_a_jobs_pod_is_taken_off() {
    let mapping = "rules: [{match: {namespace: \"*\"}, provider: kube2iam, remove: true}]\n";
    let ruleset = ruleset_within(mapping, &OperatorPolicy::default());
    // The API server writes `<` as an escape of six bytes.
    let pod = Thing::job("1").by(RUNNER).annotated("iam.amazonaws.com/role", "ROLE");
    let body = pod.to_review().to_string().replace("\"ROLE\"", &format!("\"{}\"", "\\u003c".repeat(200_000)));
    let reply = respond(body.as_bytes(), &ruleset, Mode::Mutate).unwrap();
    let patch = patch_of(&answer(&reply));
    assert_eq!(patch, json!([{"op": "remove", "path": "/metadata/annotations/iam.amazonaws.com~1role"}]));
    assert!(reply.warnings.iter().all(|warning| warning.chars().count() <= 120));
    assert!(parse(body.as_bytes(), &ruleset).unwrap().weight().unwrap() <= 4 * 200_000 + 3 * 1_200_000);

    let body = body.replace("\\u003c\"", &format!("{}\"", "x".repeat(70_000)));
    let refused = respond(body.as_bytes(), &ruleset, Mode::Mutate).unwrap_err();
    assert!(matches!(refused, ReviewError::Annotations), "{refused}");
}

/// A text of megabytes that stands in a wrong place is neither copied nor told.
#[test]
fn errors_and_names_never_carry_what_was_sent() {
    let ruleset = ruleset("rules: []\n");
    let long = "\\n".repeat(1 << 20);
    let review = Thing::service_account("kas").to_review().to_string();
    for (from, to) in [
        (r#""request":{"#, format!(r#""request":"{long}","x":{{"#)),
        (r#""object":{"#, format!(r#""object":"{long}","x":{{"#)),
        (r#""labels":{"#, format!(r#""labels":"{long}","x":{{"#)),
        (r#""dryRun":false"#, format!(r#""dryRun":"{long}""#)),
        (r#""kind":"AdmissionReview""#, format!(r#""kind":"{long}""#)),
    ] {
        assert!(review.contains(from), "{from}");
        let error = parse(review.replacen(from, &to, 1).as_bytes(), &ruleset).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }
    for from in [r#""name":"gitlab-kas""#, r#""namespace":"gitlab""#] {
        let (member, _) = from.split_once(':').unwrap();
        let mut body = review.replacen("\"uid\"", &format!("{member}:\"{long}\",\"uid\""), 1);
        if member == "\"namespace\"" {
            body = body.replacen(",\"namespace\":\"gitlab\",\"userInfo\"", ",\"userInfo\"", 1);
        }
        let reply = respond(body.as_bytes(), &ruleset, Mode::Mutate).unwrap();
        assert!(reply.warnings[0].contains("longer than any name in Kubernetes"), "{:?}", reply.warnings);
        assert_eq!(answer(&reply)["response"].get("patch"), None);
    }
}

/// Found by a second attacker: 4 kB of a mapping kept a worker busy for seconds, and 6 kB for a quarter of an
/// hour.
#[test]
fn braces_and_aliases_that_take_long_to_expand_are_a_problem_and_soon() {
    let alternatives = "a,".repeat(98);
    let glob = format!("{{{alternatives}a}}{}", "{}".repeat(400));
    let members = ",*g".repeat(999);
    let lists = "- *r\n".repeat(380);
    let text = format!(
        "rules:\n- {{match: {{namespace: &l [&g \"{glob}\"{members}]}}, skip: true}}\n- &r {{match: {{namespace: *l}}, skip: true}}\n{lists}"
    );
    let soon = std::time::Instant::now();
    let problems = compile(&text, &OperatorPolicy::default()).unwrap_err();
    assert!(problems.to_string().contains("takes too long to read"), "{problems}");
    // It took a quarter of an hour before. The limit is far more than it takes now on any machine.
    assert!(soon.elapsed() < std::time::Duration::from_secs(30), "{:?}", soon.elapsed());
    assert!(
        compile(
            &format!("rules: [{{match: {{namespace: \"{glob}\"}}, skip: true}}]"),
            &OperatorPolicy::default()
        )
        .is_ok()
    );
}

/// Found by a second attacker: `skip` by a namespace of the job author's choosing came before `remove`.
#[test]
fn a_skip_for_jobs_by_a_namespace_glob_wants_unsafe() {
    let rule = |more: &str| {
        format!("rules: [{{match: {{component: runner-job, namespace: \"trusted-*\"}}, skip: true{more}}}]")
    };
    let problems = compile(&rule(""), &OperatorPolicy::default()).unwrap_err();
    assert!(problems.to_string().contains("can be steered by the author of a job"), "{problems}");
    assert!(compile(&rule(", unsafe: true"), &OperatorPolicy::default()).is_ok());
    let remove =
        "rules: [{match: {component: runner-job, namespace: \"ci-*\"}, provider: kube2iam, remove: true}]";
    assert!(compile(remove, &OperatorPolicy::default()).is_ok(), "what only takes away is steered by nobody");
}
