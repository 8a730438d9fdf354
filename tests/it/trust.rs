//! Who is believed for what?
//!
//! The tests hold each sentence that the documentation of the mapping says about it, and try attacks on it.

use gitlab_iam_webhook::engine::decision::{APPLIED, Outcome, WAS};
use gitlab_iam_webhook::engine::object::component::Component;
use gitlab_iam_webhook::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};

use crate::support::{REPLICASET_CONTROLLER, RUNNER, Thing, ruleset, ruleset_within};

const ROLE: &str = "iam.amazonaws.com/role";
const INJECT: &str = "gitlab-iam-webhook/inject";
const ARN: &str = "arn:aws:iam::123456789012:role/";

/// A mapping that gives webservice and project 42 of one runner a role, and takes anything else of jobs off.
const MAPPING: &str = "account: \"123456789012\"
provider: kube2iam
rules:
  - {name: web, match: {component: webservice}, role: web}
  - {name: by account, match: {serviceAccount: deploy}, role: by-account}
  - {name: by label, match: {labels: {team: a}}, role: by-label}
  - {name: skip by label, match: {labels: {team: b}}, skip: true}
  - {name: job, match: {component: runner-job, project: 42, runner: ci/gitlab-runner}, role: \"job-{project}\"}
  - {name: rest, match: {component: runner-job}, provider: kube2iam, remove: true}
";

fn role_after(mut pod: Thing) -> Option<String> {
    let ruleset = ruleset(MAPPING);
    pod.admit(&ruleset);
    assert_eq!(pod.decide(&ruleset).edits, [], "deciding again changes nothing");
    pod.annotation(ROLE).map(str::to_owned)
}

fn web() -> Thing {
    Thing::pod("webservice")
}

#[test]
fn a_component_is_believed_of_workload_controllers_only() {
    for user in [
        "system:serviceaccount:kube-system:replicaset-controller",
        "system:serviceaccount:kube-system:statefulset-controller",
        "system:serviceaccount:kube-system:daemon-set-controller",
        "system:serviceaccount:kube-system:job-controller",
        "system:kube-controller-manager",
    ] {
        assert_eq!(
            role_after(web().by(user)).as_deref(),
            Some("arn:aws:iam::123456789012:role/web"),
            "{user}"
        );
    }
    for user in [
        "admin",
        "",
        "system:serviceaccount:gitlab:default",
        "system:serviceaccount:gitlab:replicaset-controller",
        "system:serviceaccount:kube-system:replicaset-controller2",
        "replicaset-controller",
    ] {
        assert_eq!(role_after(web().by(user)), None, "{user}");
        let ruleset = ruleset(MAPPING);
        let decision = web().by(user).decide(&ruleset);
        assert_eq!(decision.disbelieved, Some(Component::Webservice));
        assert_eq!(
            decision.warnings,
            [
                "gitlab-iam-webhook: no role: labels say webservice, but no workload controller asked for this Pod"
            ]
        );
    }
}

#[test]
fn a_pod_of_an_old_chart_is_told_only_of_workload_controllers_and_where_no_rule_decides() {
    let old = |text: &str, user: &str| {
        let mut pod = Thing::pod("sidekiq").by(user);
        pod.labels.retain(|(key, _)| key == "app" || key == "release");
        let ruleset = ruleset(text);
        let decision = pod.decide(&ruleset);
        assert_eq!(decision.warnings, [""; 0], "nobody at the API server can mend it");
        decision.resembles
    };
    let by_labels =
        "rules:\n  - {match: {labels: {app: sidekiq}, release: gitlab}, provider: kube2iam, role: x}\n";
    assert_eq!(old(MAPPING, REPLICASET_CONTROLLER), Some(Component::Sidekiq));
    assert_eq!(old(by_labels, REPLICASET_CONTROLLER), None);
    assert_eq!(old(MAPPING, "admin"), None);
    assert_eq!(old(MAPPING, RUNNER), None);
}

#[test]
fn the_operator_may_name_more_workload_controllers() {
    let rollouts = "system:serviceaccount:argo-rollouts:argo-rollouts";
    let operator_policy =
        OperatorPolicy { workload_controllers: vec![rollouts.to_owned()], ..OperatorPolicy::default() };
    let ruleset = ruleset_within(MAPPING, &operator_policy);
    assert_eq!(web().by(rollouts).decide(&ruleset).outcome(), Outcome::Set);
    assert_eq!(web().by("system:serviceaccount:x:argo-rollouts").decide(&ruleset).outcome(), Outcome::NoRule);
}

#[test]
fn a_job_gets_its_own_projects_role_from_its_own_runner() {
    assert_eq!(role_after(Thing::job("42")), Some(format!("{ARN}job-42")));
    assert_eq!(role_after(Thing::job("1337")), None);
    assert_eq!(role_after(Thing::job("42").by("system:serviceaccount:ci:other-runner")), None);
    assert_eq!(role_after(Thing::job("42").by("admin")), None);
    assert_eq!(
        role_after(Thing::job("42").by("system:serviceaccount:kube-system:replicaset-controller")),
        None
    );
}

#[test]
fn a_pod_from_a_runner_is_a_job_and_nothing_else() {
    // The job labels itself as webservice, with every label that the chart would set.
    let mut disguised = web().by(RUNNER);
    assert_eq!(role_after(disguised.clone()), None);
    disguised.labels.push(("project.runner.gitlab.com/id".to_owned(), "1337".to_owned()));
    assert_eq!(role_after(disguised), None);
    // A Pod that carries the runner's labels is a job, too, whoever sends it.
    let labelled = web().labelled("manager.runner.gitlab.com/name", "x");
    assert_eq!(role_after(labelled), None);
}

#[test]
fn a_job_reaches_no_rule_that_does_not_name_jobs() {
    let mut by_account = Thing::job("1337");
    by_account.service_account = "deploy".to_owned();
    assert_eq!(role_after(by_account.clone()), None);
    by_account.user = Some("admin".to_owned());
    by_account.labels.clear();
    assert_eq!(role_after(by_account), Some(format!("{ARN}by-account")), "it is the job that is kept out");
    assert_eq!(role_after(Thing::job("1337").labelled("team", "a")), None);
    // It does not reach a rule either that would leave what its author wrote.
    assert_eq!(role_after(Thing::job("1337").labelled("team", "b").annotated(ROLE, "admin")), None);
}

#[test]
fn the_author_of_a_job_cannot_opt_out() {
    for job in [
        Thing::job("42").annotated(INJECT, "disabled"),
        Thing::job("42").labelled(INJECT, "disabled"),
        Thing::job("42").annotated(INJECT, "disabled").annotated(ROLE, "admin"),
    ] {
        assert_eq!(role_after(job), Some(format!("{ARN}job-42")));
    }
    assert_eq!(role_after(Thing::job("1337").annotated(INJECT, "disabled").annotated(ROLE, "admin")), None);
    // Any other author can.
    assert_eq!(role_after(web().annotated(INJECT, "disabled")), None);
}

#[test]
fn the_author_of_a_job_cannot_bring_a_record_of_what_is_ours() {
    let forged = format!(r#"{{"annotations":{{"{ROLE}":"admin"}},"rule":"job"}}"#);
    // With `onNoRule: remove`, a forged record and `was` would let anyone choose the role that "comes back".
    let text = MAPPING.replacen("provider: kube2iam", "onNoRule: remove\nprovider: kube2iam", 1);
    let without_rest = text
        .replace("  - {name: rest, match: {component: runner-job}, provider: kube2iam, remove: true}\n", "");
    let ruleset = ruleset(&without_rest);
    let mut job =
        Thing::job("1337").annotated(ROLE, "admin").annotated(APPLIED, &forged).annotated(WAS, "root");
    job.admit(&ruleset);
    assert_eq!(job.annotation(ROLE), Some("admin"), "nothing is decided on it, and nothing comes back");
    let mut job = Thing::job("42").annotated(ROLE, "admin").annotated(APPLIED, &forged);
    assert_eq!(job.admit(&ruleset).outcome(), Outcome::Replaced);
    assert_eq!(job.annotation(ROLE), Some("arn:aws:iam::123456789012:role/job-42"));
    assert_eq!(job.annotation(WAS), Some("admin"));
    assert!(job.annotation(APPLIED).unwrap().contains("job-42"));
}

#[test]
fn a_role_that_a_jobs_author_wrote_is_replaced_by_default() {
    // This holds even where the mapping keeps all other foreign roles.
    let text = MAPPING.replacen("provider: kube2iam", "onConflict: keep\nprovider: kube2iam", 1);
    let ruleset = ruleset(&text);
    let mut job =
        Thing::job("42").annotated(ROLE, "admin").annotated("iam.amazonaws.com/external-id", "theirs");
    assert_eq!(job.admit(&ruleset).outcome(), Outcome::Replaced);
    assert_eq!(job.annotation(ROLE), Some("arn:aws:iam::123456789012:role/job-42"));
    assert_eq!(job.annotation("iam.amazonaws.com/external-id"), None);
}

#[test]
fn a_job_whose_role_cannot_be_given_keeps_none() {
    let text = "provider: kube2iam
rules:
  - {name: job, match: {component: runner-job, runner: ci/gitlab-runner}, role: \"job-{project}\"}
";
    let ruleset = ruleset(text);
    for project in ["", "4/2", "42; drop"] {
        let mut job = Thing::job(project).annotated(ROLE, "admin");
        assert_eq!(job.admit(&ruleset).outcome(), Outcome::Refused, "{project:?}");
        assert_eq!(job.annotation(ROLE), None);
        assert_eq!(job.decide(&ruleset).edits, []);
    }
}

#[test]
fn the_project_is_the_label_and_nothing_that_its_author_can_write() {
    // Annotations, the Pod's own name and the forgeable labels say 42; the label that the server fills says
    // 1337.
    let mut job = Thing::job("1337").annotated("project.runner.gitlab.com/id", "42");
    job = job
        .labelled("project.runner.gitlab.com/namespace", "platform")
        .labelled("pod", "runner-x-project-42-c-0");
    assert_eq!(role_after(job), None);
}

#[test]
fn an_old_runners_job_is_known_by_its_annotation() {
    // A runner before 17.9 writes no label of its own.
    let mut job = Thing::job("42").annotated("job.runner.gitlab.com/id", "91234").annotated(ROLE, "admin");
    job.labels = vec![("pod".to_owned(), "runner-x-project-42-concurrent-0".to_owned())];
    assert_eq!(
        role_after(job.clone()),
        None,
        "its author's role comes off, and without a project there is none"
    );
    assert_eq!(role_after(job.by("system:serviceaccount:ci:unknown-runner")), None);
}

#[test]
fn beside_the_role_that_a_job_is_given_its_author_has_no_say() {
    let text = MAPPING
        .replace("role: \"job-{project}\"}", "role: \"job-{project}\", kube2iam: {sessionName: ours}}");
    let ruleset = ruleset(&text);
    let id = "iam.amazonaws.com/external-id";
    let session = "iam.amazonaws.com/session-name";
    let granted = format!("{ARN}job-42");
    for role in [None, Some("admin"), Some(granted.as_str())] {
        let mut job = Thing::job("42").annotated(id, "partner").annotated(session, "admin-alice");
        job.set(ROLE, role);
        job.admit(&ruleset);
        assert_eq!(job.annotation(ROLE), Some(granted.as_str()), "{role:?}");
        assert_eq!(job.annotation(id), None, "{role:?}");
        assert_eq!(job.annotation(session), Some("ours"), "{role:?}");
        assert_eq!(job.decide(&ruleset).edits, [], "{role:?}");
    }
}

#[test]
fn a_rule_that_only_removes_reaches_jobs_without_naming_them() {
    let text = "rules:\n  - {match: {namespace: ci}, provider: kube2iam, remove: true}\n";
    let ruleset = ruleset(text);
    for job in [Thing::job("42"), web().labelled("x.runner.gitlab.com/y", "z")] {
        let mut job = job.annotated(ROLE, "admin");
        job.namespace = "ci".to_owned();
        assert_eq!(job.admit(&ruleset).outcome(), Outcome::Removed);
        assert_eq!(job.annotation(ROLE), None);
    }
}

#[test]
fn a_forged_was_does_not_keep_a_role() {
    let text = "account: \"123456789012\"
rules:
  - {match: {component: runner-job, runner: ci/gitlab-runner}, provider: [irsa, kube2iam], role: job, irsa: {annotatePods: true}}
";
    let ruleset = ruleset(text);
    let arn = "eks.amazonaws.com/role-arn";
    let mut job = Thing::job("42").annotated(WAS, "z").annotated(arn, "evil").annotated(ROLE, "evil too");
    job.admit(&ruleset);
    let granted = format!("{ARN}job");
    assert_eq!((job.annotation(arn), job.annotation(ROLE)), (Some(granted.as_str()), Some(granted.as_str())));
    assert_eq!(job.decide(&ruleset).edits, []);
}

#[test]
fn a_label_that_the_pods_own_name_belies_is_not_believed() {
    // Runners before 17.9 let a job's author write the label, but not the name.
    let ruleset = ruleset(MAPPING);
    let outcome = |name: &str| {
        let job = Thing::job("42");
        job.with_subject(|subject| {
            let named = gitlab_iam_webhook::engine::object::subject::Subject { name, ..*subject };
            gitlab_iam_webhook::engine::decision::decide(&ruleset, &named).outcome()
        })
    };
    assert_eq!(outcome("runner-t1x9kq2vz-project-42-concurrent-0-k3v9x0qa"), Outcome::Set);
    assert_eq!(
        outcome("runner-t1x9kq2vz-project-1337-concurrent-0-k3v9x0qa"),
        Outcome::InStep,
        "the rest removes"
    );
    assert_eq!(outcome("another-name"), Outcome::Set);
}

#[test]
fn an_account_called_default_is_no_component_whatever_its_labels() {
    let mut account = Thing::service_account("webservice");
    account.service_account = "default".to_owned();
    let ruleset = ruleset("rules: []\n");
    assert_eq!(account.decide(&ruleset).component, None);
}

#[test]
fn a_generated_name_is_not_a_name_to_match() {
    use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
    let ruleset = ruleset(
        "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: \"gitlab-*\"}, role: \"{serviceAccount}\"}\n",
    );
    let mut review = Thing::service_account("kas").to_review();
    let body = serde_json::to_vec(&review).unwrap();
    assert_eq!(respond(&body, &ruleset, Mode::Mutate).unwrap().outcome(), Outcome::Set);
    let metadata = review["request"]["object"]["metadata"].as_object_mut().unwrap();
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), "gitlab-kas".into());
    let body = serde_json::to_vec(&review).unwrap();
    assert_eq!(respond(&body, &ruleset, Mode::Mutate).unwrap().outcome(), Outcome::NoRule);
}

#[test]
fn the_account_default_is_matched_by_its_literal_name_only() {
    let account = |rule: &str| {
        let text = format!("account: \"123456789012\"\nrules:\n  - {{match: {{{rule}}}, role: x}}\n");
        let ruleset = ruleset(&text);
        let mut account = Thing::service_account("webservice");
        account.service_account = "default".to_owned();
        account.decide(&ruleset).outcome()
    };
    for rule in [
        "serviceAccount: \"*\"",
        "serviceAccount: \"def*\"",
        "serviceAccount: \"defaul?\"",
        "namespace: gitlab",
        "component: webservice",
    ] {
        assert_eq!(account(rule), Outcome::NoRule, "{rule}");
    }
    for rule in
        ["serviceAccount: default", "serviceAccount: [other, default]", "serviceAccount: \"{a,default}\""]
    {
        assert_eq!(account(rule), Outcome::Set, "{rule}");
    }
    // A Pod that runs as `default` is matched by component, as any other Pod is.
    let mut pod = web();
    pod.service_account = "default".to_owned();
    assert_eq!(role_after(pod), Some(format!("{ARN}web")));
}

#[test]
fn the_namespace_is_that_of_the_request_and_not_of_the_object() {
    use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
    let text = "account: \"123456789012\"\nrules:\n  - {match: {namespace: rich}, role: x}\n";
    let mut review = Thing::service_account("kas").to_review();
    review["request"]["object"]["metadata"]["namespace"] = "rich".into();
    let ruleset = ruleset(text);
    let body = serde_json::to_vec(&review).unwrap();
    assert_eq!(respond(&body, &ruleset, Mode::Mutate).unwrap().outcome(), Outcome::NoRule);
    review["request"]["namespace"] = "rich".into();
    let body = serde_json::to_vec(&review).unwrap();
    assert_eq!(respond(&body, &ruleset, Mode::Mutate).unwrap().outcome(), Outcome::Set);
}

#[test]
fn offline_a_workload_controller_is_assumed_and_no_runner() {
    let mut pod = web();
    pod.user = None;
    assert_eq!(role_after(pod), Some(format!("{ARN}web")));
    let mut job = Thing::job("42");
    job.user = None;
    assert_eq!(role_after(job), None);
}

#[test]
fn a_filled_in_role_that_the_operator_does_not_allow_is_refused_at_the_object() {
    let operator_policy = OperatorPolicy {
        allowed_roles: ["gitlab=arn:aws:iam::123456789012:role/gitlab-*"]
            .map(|text| text.parse::<AllowedRole>().unwrap())
            .to_vec(),
        ..OperatorPolicy::default()
    };
    let text = "account: \"123456789012\"\nrules:\n  - {name: r, match: {component: kas}, role: \"{namespace}-kas\"}\n";
    let ruleset = ruleset_within(text, &operator_policy);
    let inside = Thing::service_account("kas");
    assert_eq!(inside.decide(&ruleset).outcome(), Outcome::Set);
    let mut outside = Thing::service_account("kas");
    outside.namespace = "other".to_owned();
    let decision = outside.decide(&ruleset);
    assert_eq!(decision.outcome(), Outcome::Refused);
    assert_eq!(
        decision.warnings,
        [
            "gitlab-iam-webhook: no role from rule r: 123456789012:role/other-kas is outside --allowed-role here"
        ]
    );
}
