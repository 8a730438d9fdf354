//! Does each state come of what it should, with what mends it?

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Effect, Mend, Place, Row, Rules, State, Status, Survey};
use crate::engine::mapping;
use crate::engine::object::provider::Provider;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{Pod, ServiceAccount};

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
  - {match: {component: kas}, role: \"{component}\"}
  - {match: {component: toolbox}, skip: true}
  - {match: {component: sidekiq}, provider: kube2iam, role: sidekiq}
";
const ROLE: &str = "arn:aws:iam::123456789012:role/registry";
const OLD: &str = "arn:aws:iam::123456789012:role/old";
const IRSA: &str = "eks.amazonaws.com/role-arn";

fn rules(text: &str) -> Ruleset {
    let allowed = ["registry", "sidekiq", "gitaly", "r"];
    let allowed = allowed.map(|name| format!("arn:aws:iam::*:role/{name}").parse().unwrap());
    let policy = OperatorPolicy { allowed_roles: allowed.into(), ..OperatorPolicy::default() };
    mapping::compile(text, &policy).unwrap()
}

fn labels(component: &str) -> Value {
    json!({"app": component, "chart": format!("{component}-9.0.0"), "release": "gitlab"})
}

#[allow(clippy::needless_pass_by_value, reason = "each caller makes it in place")]
fn account(component: &str, annotations: Value) -> ServiceAccount {
    serde_json::from_value(json!({"metadata": {
        "name": format!("gitlab-{component}"), "namespace": "gitlab", "labels": labels(component),
        "annotations": annotations,
    }}))
    .unwrap()
}

/// The record of a role that we set.
fn applied(role: &str) -> Value {
    let record = format!(r#"{{"annotations":{{"{IRSA}":"{role}"}},"rule":"x"}}"#);
    json!({IRSA: role, "gitlab-iam-webhook/applied": record})
}

/// A Pod of a Deployment that runs with this role, or none.
fn pod(component: &str, role: Option<&str>) -> Value {
    let env: Vec<Value> = role
        .map(|role| {
            vec![
                json!({"name": "AWS_ROLE_ARN", "value": role}),
                json!({"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/t"}),
            ]
        })
        .unwrap_or_default();
    let token =
        json!({"projected": {"sources": [{"serviceAccountToken": {"audience": "sts.amazonaws.com"}}]}});
    let mut labels = labels(component);
    labels["pod-template-hash"] = json!("abc");
    json!({
        "metadata": {
            "name": format!("gitlab-{component}-abc-x"), "namespace": "gitlab", "labels": labels,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
                "name": format!("gitlab-{component}-abc"), "uid": "u"}],
        },
        "spec": {
            "serviceAccountName": format!("gitlab-{component}"),
            "containers": [{"name": "a", "env": env}],
            "volumes": if role.is_some() { json!([token]) } else { json!([]) },
        },
    })
}

fn api_of(kind: &str) -> &'static str {
    if kind == "Job" { "batch/v1" } else { "apps/v1" }
}

fn live(pod: &Value) -> Pod {
    let mut pod: Pod = serde_json::from_value(pod.clone()).unwrap();
    "Pod".clone_into(&mut pod.written_kind);
    pod
}

fn place(effect: Effect) -> Place {
    Place { name: "gitlab".to_owned(), effect, contested: BTreeSet::new() }
}

fn survey(rules: &Ruleset, accounts: &[ServiceAccount], pods: &[Value]) -> Status {
    let mut survey = Survey::new(Rules::InForce(rules), true, Some(true));
    survey.enter(place(Effect::Enabled));
    for account in accounts {
        survey.account(account);
    }
    for pod in pods {
        survey.pod(&live(pod));
    }
    survey.finish()
}

fn only(status: &Status) -> &Row {
    assert_eq!(status.rows.len(), 1, "{status:?}");
    &status.rows[0]
}

/// The row of the only Pod.
fn of_pod(status: &Status) -> &Row {
    let mut rows = status.rows.iter().filter(|row| row.kind == "Pod");
    let row = rows.next().unwrap();
    assert!(rows.next().is_none(), "{status:?}");
    row
}

#[test]
fn each_state_of_a_service_account_comes_of_its_decision() {
    let rules = rules(MAPPING);
    let frozen = json!({"gitlab-iam-webhook/inject": "disabled"});
    for (component, annotations, state, drift) in [
        ("registry", json!({}), State::Drift, true),
        ("registry", json!({IRSA: ROLE}), State::InStep, false),
        ("registry", applied(OLD), State::Drift, true),
        ("registry", json!({IRSA: OLD}), State::Conflict, false),
        ("registry", frozen, State::OptedOut, false),
        ("kas", json!({}), State::Refused, false),
        ("toolbox", json!({}), State::Skipped, false),
        ("gitaly", json!({}), State::NoRule, false),
        ("gitaly", json!({IRSA: OLD}), State::NoRule, false),
        ("gitaly", applied(OLD), State::Orphaned, false),
    ] {
        let status = survey(&rules, &[account(component, annotations.clone())], &[]);
        let row = only(&status);
        assert_eq!((row.state, status.has_drift()), (state, drift), "{component} {annotations}: {row:?}");
        let is_mended = row.mend == Some(Mend::Readmit);
        assert_eq!(is_mended, state == State::Drift, "{row:?}");
    }
}

#[test]
fn an_account_is_contested_only_while_it_is_not_as_decided() {
    let rules = rules(MAPPING);
    for (annotations, state) in [(json!({}), State::Contested), (json!({IRSA: ROLE}), State::InStep)] {
        let mut survey = Survey::new(Rules::InForce(&rules), true, Some(true));
        let contested = ["gitlab-registry".to_owned()].into();
        survey.enter(Place { contested, ..place(Effect::Enabled) });
        survey.account(&account("registry", annotations));
        let status = survey.finish();
        assert_eq!(only(&status).state, state);
        assert_eq!(status.mending().settle.len(), usize::from(state == State::Contested));
    }
}

#[test]
fn a_pod_is_stale_where_it_runs_with_another_role_than_its_account_and_one_line_restarts_it() {
    let rules = rules(MAPPING);
    let good = account("registry", json!({IRSA: ROLE}));
    for (role, state) in [(Some(ROLE), State::InStep), (Some(OLD), State::Stale), (None, State::Stale)] {
        let pods = [pod("registry", role), pod("registry", role)];
        let status = survey(&rules, std::slice::from_ref(&good), &pods[..1]);
        let row = of_pod(&status);
        assert_eq!((row.state, row.actual.as_deref(), row.wanted.as_deref()), (state, role, Some(ROLE)));
        let status = survey(&rules, std::slice::from_ref(&good), &pods);
        let restart: Vec<_> = status.mending().restart.into_iter().collect();
        let want = (state == State::Stale).then_some(("gitlab", "deployment", "gitlab-registry"));
        assert_eq!(restart, want.into_iter().collect::<Vec<_>>());
    }
    // When it started is not known, so that nothing more is said than is seen.
    let says =
        |role| of_pod(&survey(&rules, std::slice::from_ref(&good), &[pod("registry", role)])).detail.clone();
    assert!(says(None).ends_with("or the webhook of EKS did not see it"), "{}", says(None));
    assert_eq!(says(Some(OLD)), "it runs with another role: its ServiceAccount carries this one now");
    // A restart before the account is in step would bring the older role again.
    let status = survey(&rules, &[account("registry", json!({}))], &[pod("registry", None)]);
    assert_eq!(of_pod(&status).state, State::Stale);
    let mending = status.mending();
    assert_eq!((mending.restart.len(), mending.restart_later.len(), mending.readmit.len()), (0, 1, 1));
    // Without the webhook of EKS no restart helps.
    let mut survey = Survey::new(Rules::InForce(&rules), true, Some(false));
    survey.enter(place(Effect::Enabled));
    survey.account(&good);
    survey.pod(&live(&pod("registry", None)));
    let status = survey.finish();
    let mending = status.mending();
    assert!(mending.restart.is_empty() && of_pod(&status).state == State::Stale);
    let (advice, ..) = mending.by_hand.first().unwrap();
    assert!(advice.contains("amazon-eks-pod-identity-webhook"), "{advice}");
}

#[test]
fn what_a_restart_does_not_mend_has_no_restart() {
    let rules = rules(MAPPING);
    let good = account("registry", json!({IRSA: ROLE}));
    let with = |path: &str, value: Value| {
        let mut pod = pod("registry", None);
        *pod.pointer_mut(path).unwrap() = value;
        pod
    };
    let env = json!([{"name": "AWS_ROLE_ARN", "value": OLD}]);
    let mut skips = pod("registry", None);
    skips["metadata"]["labels"]["eks.amazonaws.com/skip-pod-identity-webhook"] = json!("true");
    let mut identity = pod("registry", None);
    identity["metadata"]["labels"]["eks.amazonaws.com/pod-identity"] = json!("enabled");
    for (pod, state, remedy) in [
        (with("/spec/containers/0/env", env), State::Conflict, Some("out of the environment")),
        (skips, State::Skipped, None),
        (identity, State::Conflict, Some("delete the association")),
        (with("/spec/serviceAccountName", json!("gone")), State::Unknown, None),
    ] {
        let status = survey(&rules, std::slice::from_ref(&good), std::slice::from_ref(&pod));
        let row = of_pod(&status);
        let told = match &row.mend {
            Some(Mend::ByHand(what)) => Some(*what),
            None => None,
            other => panic!("{other:?}"),
        };
        assert_eq!((row.state, told.is_some()), (state, remedy.is_some()), "{pod}");
        assert!(told.zip(remedy).is_none_or(|(told, words)| told.contains(words)), "{told:?}");
        assert!(!row.detail.is_empty() && row.wanted.is_none(), "no role reaches it: {row:?}");
        // The same of its template, before there is a cluster.
        let mut template = live(&pod);
        "Deployment".clone_into(&mut template.written_kind);
        let mut survey = Survey::new(Rules::InForce(&rules), false, None);
        survey.enter(place(Effect::Enabled));
        survey.account(&good);
        survey.pod(&template);
        let status = survey.finish();
        assert_eq!((status.rows[1].state, &status.rows[1].mend), (state, &row.mend), "{pod}");
        assert_eq!((status.counts.pods, status.counts.templates), (0, 1));
    }
    // The kinds of owners.
    for (kind, name, want) in [
        ("StatefulSet", "gitlab-gitaly", Some("statefulset/gitlab-gitaly")),
        ("DaemonSet", "agent", Some("daemonset/agent")),
        ("ReplicaSet", "gitlab-registry-abc", Some("deployment/gitlab-registry")),
        ("StatefulSet", "x; rm -rf /", None),
        ("StatefulSet", "$(x)", None),
    ] {
        let owner = json!([{"apiVersion": api_of(kind), "kind": kind, "name": name, "controller": true}]);
        let status = survey(&rules, std::slice::from_ref(&good), &[with("/metadata/ownerReferences", owner)]);
        let restart = status.mending().restart;
        let lines: Vec<_> = restart.iter().map(|(_, resource, name)| format!("{resource}/{name}")).collect();
        assert_eq!(lines, want.into_iter().collect::<Vec<_>>(), "{kind} {name}");
    }
    for (kind, words) in
        [("Job", "let the Job end"), ("ReplicaSet", "its controller"), ("Thing", "its controller")]
    {
        let owner = json!([{"apiVersion": api_of(kind), "kind": kind, "name": "other", "controller": true}]);
        let status = survey(&rules, std::slice::from_ref(&good), &[with("/metadata/ownerReferences", owner)]);
        let by_hand = status.mending().by_hand;
        assert!(by_hand.iter().any(|(what, ..)| what.contains(words)), "{kind}: {by_hand:?}");
    }
    let status = survey(&rules, std::slice::from_ref(&good), &[with("/metadata/ownerReferences", json!([]))]);
    assert!(status.mending().by_hand.iter().any(|(what, ..)| what.contains("no controller")));
    let mut ended = pod("registry", None);
    ended["status"] = json!({"phase": "Succeeded"});
    assert_eq!(survey(&rules, &[], &[ended]).rows, []);
}

#[test]
fn a_pod_on_default_is_told_how_its_chart_gives_it_an_account() {
    let rules = rules(MAPPING);
    let mut on_default = pod("registry", None);
    on_default["spec"]["serviceAccountName"] = json!("default");
    let status = survey(&rules, &[], &[on_default.clone()]);
    let row = of_pod(&status);
    assert_eq!((row.state, row.wanted.as_deref()), (State::OnDefault, None), "the role does not reach it");
    let Some(Mend::ByHand(advice)) = row.mend else { panic!("{row:?}") };
    assert!(advice.contains("global.serviceAccount.enabled=true"), "{advice}");
    // Nobody vouches for a Pod without a workload: its labels are its author's.
    on_default["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(of_pod(&survey(&rules, &[], &[on_default])).state, State::NoRule);
}

#[test]
fn a_pod_with_an_annotation_of_kube2iam_is_compared_by_it() {
    let rules = rules(MAPPING);
    let role = "arn:aws:iam::123456789012:role/sidekiq";
    for (annotation, state) in
        [(None, State::Stale), (Some(role), State::InStep), (Some(OLD), State::Conflict)]
    {
        let mut pod = pod("sidekiq", None);
        if let Some(annotation) = annotation {
            pod["metadata"]["annotations"] = json!({"iam.amazonaws.com/role": annotation});
        }
        let status = survey(&rules, &[account("sidekiq", json!({}))], &[pod]);
        let row = of_pod(&status);
        assert_eq!((row.state, row.provider), (state, Some(Provider::Kube2iam)), "{annotation:?}");
        assert_eq!((row.wanted.as_deref(), row.actual.as_deref()), (Some(role), annotation));
    }
}

#[test]
fn a_role_of_others_that_gives_way_by_a_candidate_is_a_change() {
    let in_force = rules(MAPPING);
    let role = "arn:aws:iam::123456789012:role/sidekiq";
    let replacing = MAPPING.replace("role: sidekiq}", "role: sidekiq, onConflict: replace}");
    let mut kept = pod("sidekiq", None);
    kept["metadata"]["annotations"] = json!({"iam.amazonaws.com/role": OLD});
    for (candidate, state, after) in [(MAPPING, State::Conflict, OLD), (&replacing, State::Changes, role)] {
        let candidate = rules(candidate);
        let mut survey = Survey::new(Rules::Candidate(&candidate, Some(&in_force)), true, Some(true));
        survey.enter(place(Effect::Enabled));
        survey.account(&account("sidekiq", json!({})));
        survey.pod(&live(&kept));
        let status = survey.finish();
        let row = of_pod(&status);
        assert_eq!((row.state, row.wanted.as_deref()), (state, Some(after)), "{row:?}");
        assert_eq!((row.is_touched, status.has_drift()), (state == State::Changes, state == State::Changes));
    }
}

#[test]
fn what_is_kept_or_orphaned_is_told_its_remedy() {
    let rules = rules(MAPPING);
    for (component, annotations, words) in [
        ("registry", json!({IRSA: OLD}), "onConflict: replace"),
        ("gitaly", applied(OLD), "onNoRule: remove"),
    ] {
        let status = survey(&rules, &[account(component, annotations)], &[]);
        let mending = status.mending();
        let (told, ..) = mending.by_hand.first().unwrap();
        assert!(told.contains(words) && mending.readmit.is_empty(), "{told}");
        assert_eq!(only(&status).detail.is_empty(), words == "onNoRule: remove", "{status:?}");
    }
}

#[test]
fn of_a_job_nobody_knows_afterwards_who_requested_it() {
    let text = "account: \"123456789012\"
provider: kube2iam
rules:
  - {match: {component: runner-job, namespace: gitlab, project: 7, runner: gitlab/runner}, role: r}
";
    let mut job = pod("x", None);
    job["metadata"]["labels"] =
        json!({"project.runner.gitlab.com/id": "7", "job.runner.gitlab.com/pod": "x"});
    job["metadata"]["ownerReferences"] = json!([]);
    let status = survey(&rules(text), &[account("x", json!({}))], &[job]);
    assert_eq!(of_pod(&status).state, State::Unknown, "{status:?}");
    assert!(!status.has_drift());
}

#[test]
fn what_is_observed_is_told_as_a_rehearsal_and_is_no_drift() {
    let rules = rules(MAPPING);
    let mut survey = Survey::new(Rules::InForce(&rules), true, Some(true));
    survey.enter(place(Effect::Observed));
    survey.account(&account("registry", json!({})));
    survey.account(&account("gitaly", json!({})));
    survey.pod(&live(&pod("registry", None)));
    let status = survey.finish();
    assert!(!status.has_drift() && status.mending().is_empty(), "{status:?}");
    let states: Vec<_> = status.rows.iter().map(|row| (row.state, row.would_be)).collect();
    let want =
        [(State::NoRule, None), (State::Observed, Some(State::Drift)), (State::Observed, Some(State::Stale))];
    assert_eq!(states, want);
    assert_eq!(status.observed_impact.unwrap().changes(), 1);
    assert_eq!(status.impact.seen(), 0);
}

#[test]
fn a_candidate_is_counted_as_an_edit_is_and_says_what_it_newly_covers() {
    let in_force = rules(MAPPING);
    let candidate = rules(
        "account: \"123456789012\"\nrules:\n  - {match: {component: gitaly}, role: gitaly}\n  \
         - {match: {component: registry}, role: registry}\n",
    );
    let accounts = [
        account("gitaly", json!({})),
        account("registry", json!({IRSA: ROLE})),
        account("toolbox", applied(OLD)),
    ];
    let judge = |in_force| {
        let mut survey = Survey::new(Rules::Candidate(&candidate, in_force), true, Some(true));
        survey.enter(place(Effect::Enabled));
        for account in &accounts {
            survey.account(account);
        }
        survey.pod(&live(&pod("gitaly", None)));
        survey.finish()
    };
    let status = judge(Some(&in_force));
    assert_eq!((status.impact.seen(), status.impact.changes(), status.impact.orphans()), (3, 1, 1));
    assert_eq!(status.counts.newly_covered, 1);
    let mending = status.mending();
    assert!(status.has_drift() && mending.restart.is_empty() && mending.readmit.is_empty(), "{mending:?}");
    assert!(mending.by_hand.iter().all(|(what, ..)| what.contains("onNoRule")), "{mending:?}");
    let told: Vec<_> = status.rows.iter().map(|row| (row.state, row.is_newly_covered)).collect();
    let want = [
        (State::Changes, Some(true)),
        (State::InStep, Some(false)),
        (State::Orphaned, Some(false)),
        (State::Changes, None),
    ];
    assert_eq!(told, want);
    let gitaly = &status.rows[0];
    assert_eq!(
        (gitaly.actual.as_deref(), gitaly.wanted.as_deref()),
        (None, Some("arn:aws:iam::123456789012:role/gitaly"))
    );
    let orphan = &status.rows[2];
    assert_eq!((orphan.actual.as_deref(), orphan.wanted.as_deref()), (Some(OLD), Some(OLD)), "it keeps it");
    // What it covers newly is not known where nobody knows what is in force.
    assert!(judge(None).rows.iter().all(|row| row.is_newly_covered.is_none()));
}

#[test]
fn a_text_of_others_of_any_length_is_kept_short() {
    let rules = rules(MAPPING);
    let status = survey(&rules, &[account("registry", json!({IRSA: "é".repeat(100_000)}))], &[]);
    assert!(only(&status).actual.as_ref().unwrap().len() < 2_100);
    // Of very many of them, some are only counted.
    let long = account("registry", json!({IRSA: "x".repeat(2_000)}));
    let mut survey = Survey::new(Rules::InForce(&rules), true, Some(true));
    survey.enter(place(Effect::Enabled));
    for _ in 0..20_000 {
        survey.account(&long);
    }
    let status = survey.finish();
    assert_eq!(status.rows.len() + status.more, 20_000);
    assert_eq!(status.count(State::Conflict), 20_000);
    let kept: usize = status.rows.iter().map(|row| row.actual.as_ref().unwrap().len()).sum();
    assert!(status.more > 0 && kept < 32 << 20, "{kept}");
}
