//! Where does a decision change? Each test stands at an edge that `make mutants` found unguarded: one word of
//! the engine could be changed there, and no other test noticed.

use gitlab_iam_webhook::engine::decision::explain::explain;
use gitlab_iam_webhook::engine::decision::{APPLIED, Outcome, WAS};
use gitlab_iam_webhook::engine::mapping::lints::{LintKind, lint};
use gitlab_iam_webhook::engine::object::manifest;
use gitlab_iam_webhook::engine::object::subject::Requester;
use gitlab_iam_webhook::engine::rules::cost::allocated;
use gitlab_iam_webhook::engine::rules::glob::Glob;
use gitlab_iam_webhook::engine::rules::operator_policy::AllowedRole;
use gitlab_iam_webhook::engine::rules::role_template::{Role, TemplateError};
use gitlab_iam_webhook::engine::rules::rule::{Action, Grant, IrsaOptions, LabelCriterion, PodOptions, Rule};
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;

use crate::support::{Thing, ruleset};

fn of(component: &str, thing: &Thing) -> Outcome {
    let text = format!(
        "account: \"123456789012\"\nprovider: kube2iam\nrules:\n  - {{match: {{component: {component}}}, role: r}}\n"
    );
    thing.decide(&ruleset(&text)).outcome()
}

/// The Pod of the registry's migration Job.
fn migration() -> Thing {
    Thing::pod("registry").labelled("job-name", "gitlab-registry-migrations-1")
}

#[test]
fn registry_brings_its_migration_jobs_and_no_other_component_does() {
    for (component, registry, migrations) in [
        ("registry", Outcome::Set, Outcome::Set),
        ("registry-migrations", Outcome::NoRule, Outcome::Set),
        ("[registry, registry-migrations]", Outcome::Set, Outcome::Set),
        ("[registry-migrations, registry]", Outcome::Set, Outcome::Set),
        ("sidekiq", Outcome::NoRule, Outcome::NoRule),
    ] {
        assert_eq!(of(component, &Thing::pod("registry")), registry, "{component}");
        assert_eq!(of(component, &migration()), migrations, "{component}");
    }
}

#[test]
fn a_star_adds_to_what_is_named_beside_it() {
    for components in
        ["[\"*\", runner]", "[runner, \"*\"]", "[webservice, \"*\", runner]", "[\"*\", \"*\", runner]"]
    {
        for name in ["webservice", "sidekiq", "runner"] {
            assert_eq!(of(components, &Thing::pod(name)), Outcome::Set, "{components}: {name}");
        }
    }
    assert_eq!(of("\"*\"", &Thing::pod("runner")), Outcome::NoRule);
}

#[test]
fn the_pod_of_a_helm_test_is_no_component_and_other_hooks_are() {
    let pod = |key: &str, value: &str| of("webservice", &Thing::pod("webservice").annotated(key, value));
    for hook in ["test", "test-success", "post-install, test", "post-install,test-failure"] {
        assert_eq!(pod("helm.sh/hook", hook), Outcome::NoRule, "{hook}");
    }
    for hook in ["post-install", "pre-upgrade,post-install", ""] {
        assert_eq!(pod("helm.sh/hook", hook), Outcome::Set, "{hook}");
    }
    assert_eq!(pod("eks.amazonaws.com/audience", "test"), Outcome::Set, "it is no hook");
    let text = "account: \"123456789012\"\nrules: [{match: {component: webservice}, role: r}]";
    let account = Thing::service_account("webservice").annotated("helm.sh/hook", "test");
    assert_eq!(account.decide(&ruleset(text)).outcome(), Outcome::Set, "a ServiceAccount is no test");
}

#[test]
fn an_allowed_role_may_hold_an_equals_sign() {
    let allowed: AllowedRole = "arn:aws:iam::123456789012:role/a=b".parse().unwrap();
    assert_eq!(allowed.namespace, None);
    assert!(allowed.role.matches("arn:aws:iam::123456789012:role/a=b"));
    let allowed: AllowedRole = "ci-*=arn:aws:iam::123456789012:role/a=b".parse().unwrap();
    assert!(allowed.namespace.unwrap().matches("ci-x"));
    assert!(allowed.role.matches("arn:aws:iam::123456789012:role/a=b"));
}

#[test]
fn braces_of_a_role_come_in_pairs() {
    for role in ["a}b-{project}", "{project}-a}", "{a{project}", "{project"] {
        let error = Role::new(role, None).unwrap_err();
        assert!(matches!(error, TemplateError::Unpaired(_)), "{role}: {error}");
    }
}

/// Whether `check` says of the second rule that the first one covers it.
fn is_covered(wide: &str, narrow: &str) -> bool {
    let text = format!(
        "account: \"123456789012\"\nprovider: kube2iam\nrules:\n  - {{match: {{{wide}}}, role: a}}\n  - {{match: {{{narrow}}}, role: b}}\n"
    );
    let found = lint(&ruleset(&text), text.len());
    found.iter().any(|lint| lint.message.starts_with("never decides"))
}

#[test]
fn a_rule_covers_another_where_each_of_its_criteria_does() {
    let job = "component: runner-job";
    for (wide, narrow, covered) in [
        ("component: [sidekiq, registry]", "component: registry", true),
        ("component: sidekiq", "component: registry", false),
        ("component: registry", "component: [sidekiq, registry]", false),
        ("component: sidekiq", "component: [sidekiq, registry]", false),
        ("component: sidekiq", "namespace: a", false),
        ("namespace: a", "component: sidekiq, namespace: a", true),
        ("namespace: [a, b]", "namespace: b", true),
        ("namespace: a", "namespace: [a, b]", false),
        ("namespace: a", "component: sidekiq", false),
        ("release: a", "release: a, component: sidekiq", true),
        ("release: a", "release: b", false),
        ("serviceAccount: a", "serviceAccount: a, namespace: x", true),
        ("serviceAccount: a, namespace: x", "serviceAccount: a", false),
        // Only a rule that names `default` reaches it.
        ("namespace: a", "namespace: a, serviceAccount: default", false),
        ("serviceAccount: \"*\"", "serviceAccount: default", false),
        ("serviceAccount: [default, \"x*\"]", "serviceAccount: default", true),
        ("labels: {a: x}", "labels: {a: x, b: z}", true),
        ("labels: {a: x, b: z}", "labels: {a: x}", false),
        ("labels: {a: x}", "labels: {a: u}", false),
        ("labels: {a: [x, z]}", "labels: {a: [x, u]}", false),
        ("labels: {a: [x, z]}", "labels: {a: [x, z], b: u}", true),
        ("labels: {a: x}", "labels: {b: x}", false),
        ("labels: {a: \"x*\", b: z}", "labels: {b: z, a: xy}", true),
    ] {
        assert_eq!(is_covered(wide, narrow), covered, "{wide} covers {narrow}");
    }
    for (wide, narrow, covered) in [
        ("project: [1, 2], runner: a/b", "project: 2, runner: a/b", true),
        ("project: 1, runner: a/b", "project: 2, runner: a/b", false),
        ("project: 1, runner: a/b", "project: [1, 2], runner: a/b", false),
        ("runner: [a/b, c/d]", "project: 1, runner: c/d", true),
        ("runner: a/b", "runner: c/d", false),
        ("project: 1, runner: a/b", "runner: a/b", false),
    ] {
        let (wide, narrow) = (format!("{job}, {wide}"), format!("{job}, {narrow}"));
        assert_eq!(is_covered(&wide, &narrow), covered, "{wide} covers {narrow}");
    }
    // A rule that does not reach jobs does not stand for one that does.
    assert!(!is_covered("serviceAccount: \"*\"", "component: runner-job, runner: a/b"));
    assert!(!is_covered("namespace: a", "component: runner-job, runner: a/b, namespace: a"));
    assert!(is_covered(
        "component: [webservice, runner-job], runner: a/b",
        "component: runner-job, runner: a/b"
    ));
}

#[test]
fn a_claim_that_is_not_believed_is_told_only_where_no_rule_decides() {
    let text = "account: \"123456789012\"\nprovider: [irsa, kube2iam]\nrules:\n  - {match: {serviceAccount: gitlab-webservice}, provider: PROVIDER, role: r}\n";
    let warnings = |provider: &str, account: &str| {
        let mut pod = Thing::pod("webservice").by("admin");
        pod.service_account = account.to_owned();
        let ruleset = ruleset(&text.replace("PROVIDER", provider));
        pod.decide(&ruleset).warnings
    };
    for provider in ["irsa", "kube2iam", "[irsa, kube2iam]"] {
        assert_eq!(warnings(provider, "gitlab-webservice"), [""; 0], "{provider}");
        let told = warnings(provider, "other");
        assert!(told.iter().any(|told| told.contains("labels say webservice")), "{provider}: {told:?}");
    }
}

#[test]
fn what_was_tried_is_explained_for_each_provider_unless_the_object_opted_out() {
    let ruleset = ruleset("account: \"123456789012\"\nrules: [{match: {component: webservice}, role: r}]");
    let traces = |thing: &Thing| thing.with_subject(|subject| explain(&ruleset, subject).traces.len());
    let account = Thing::service_account("webservice");
    assert_eq!(traces(&account), 1);
    assert_eq!(traces(&account.labelled("gitlab-iam-webhook/inject", "disabled")), 0);
}

#[test]
fn a_manifest_gives_each_workloads_pod_and_what_stands_in_it_itself() {
    let objects = |text: &str| {
        let objects = manifest::read(text).unwrap();
        let shown = objects
            .iter()
            .map(|object| format!("{} {} {}", object.kind.name(), object.name, object.is_template()));
        shown.collect::<Vec<_>>()
    };
    let template = "template: {metadata: {labels: {a: b}}, spec: {serviceAccountName: x}}";
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"] {
        let text = format!("{{kind: {kind}, metadata: {{name: w}}, spec: {{{template}}}}}");
        assert_eq!(objects(&text), ["Pod w true"], "{kind}");
    }
    assert_eq!(objects(&format!("{{kind: PodTemplate, metadata: {{name: w}}, {template}}}")), ["Pod w true"]);
    let cron_job =
        format!("{{kind: CronJob, metadata: {{name: w}}, spec: {{jobTemplate: {{spec: {{{template}}}}}}}}}");
    assert_eq!(objects(&cron_job), ["Pod w true"]);
    let list = "{kind: List, items: [{kind: Pod, metadata: {name: p}}, {kind: ServiceAccount, metadata: {name: s}}, {kind: Service}]}";
    assert_eq!(objects(list), ["Pod p false", "ServiceAccount s false"]);
    assert_eq!(objects("{kind: Service, metadata: {name: s}, spec: {template: {}}}"), [""; 0]);
}

#[test]
fn a_label_that_is_null_is_absent_and_one_that_is_a_number_is_a_mistake() {
    let labels = |value: &str| {
        let text = format!("{{kind: Pod, metadata: {{name: p, labels: {{a: {value}, b: c}}}}}}");
        let objects = manifest::read(&text).map_err(|error| error.to_string())?;
        Ok::<_, String>(objects[0].subject("gitlab", Requester::Assumed).labels.len())
    };
    assert_eq!(labels("null"), Ok(1));
    assert_eq!(labels("x"), Ok(2));
    for value in ["1", "true", "[x]", "{x: y}"] {
        assert!(labels(value).unwrap_err().contains("labels.a must be text"), "{value}");
    }
}

const ROLE: &str = "eks.amazonaws.com/role-arn";
const SKIP_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";

/// A mapping of rules that decide for the registry, each with a part of its own.
fn registry(rules: &[&str]) -> String {
    let rules: String =
        rules.iter().map(|rule| format!("  - {{match: {{component: registry}}, {rule}}}\n")).collect();
    format!("account: \"123456789012\"\nonNoRule: remove\nrules:\n{rules}")
}

#[test]
fn a_record_is_left_as_it_is_where_the_values_are_left() {
    let ruleset = ruleset(&registry(&["skip: true"]));
    let role = "arn:aws:iam::123456789012:role/registry";
    // We would write it without the spaces.
    let record = format!("{{ \"annotations\": {{\"{ROLE}\": \"{role}\"}}, \"rule\": \"r\" }}");
    let account = Thing::service_account("registry").annotated(ROLE, role).annotated(APPLIED, &record);
    assert_eq!(account.decide(&ruleset).edits, []);
    // Where another provider's values change, so does the record.
    let ruleset = self::ruleset(&registry(&[
        "provider: kube2iam, skip: true",
        "role: registry, irsa: {annotatePods: true}",
    ]));
    let decision = Thing::pod("registry").decide(&ruleset).edits;
    assert_eq!(decision.iter().map(|edit| edit.key).collect::<Vec<_>>(), [ROLE, APPLIED]);
}

#[test]
fn a_record_that_we_did_not_write_is_never_taken_off() {
    for rule in ["provider: irsa, remove: true", "role: \"{release}\""] {
        let mut account = Thing::service_account("registry").annotated(APPLIED, "somebody else's");
        account.labels.retain(|(key, _)| key != "release");
        let text = registry(&[rule]).replace("component: registry", "serviceAccount: gitlab-registry");
        account.admit(&ruleset(&text));
        assert_eq!(account.annotation(APPLIED), Some("somebody else's"), "{rule}");
    }
}

#[test]
fn remove_warns_of_what_was_not_ours() {
    let mut account = Thing::service_account("registry");
    account.admit(&ruleset(&registry(&["role: registry"])));
    let remove = ruleset(&registry(&["provider: irsa, remove: true"]));
    let ours = account.admit(&remove);
    assert_eq!((ours.outcome(), ours.warnings), (Outcome::Removed, Vec::new()));
    let foreign = account.annotated(ROLE, "theirs").admit(&remove).warnings;
    assert!(foreign.len() == 1 && foreign[0].contains("removed role theirs"), "{foreign:?}");
}

#[test]
fn on_a_pod_whose_role_stands_on_its_account_options_alone_are_a_change() {
    let with = ruleset(&registry(&["role: registry, irsa: {skipContainers: [a]}"]));
    let mut pod = Thing::pod("registry");
    assert_eq!(pod.admit(&with).outcome(), Outcome::Set);
    assert_eq!(pod.annotation(SKIP_CONTAINERS), Some("a"));
    assert_eq!(pod.decide(&with).outcome(), Outcome::OnServiceAccount);
    // So is our role alone, which comes off where the rule no longer wants it on Pods.
    let mut pod = Thing::pod("registry");
    pod.admit(&ruleset(&registry(&["role: registry, irsa: {annotatePods: true}"])));
    assert_eq!(pod.admit(&ruleset(&registry(&["role: registry"]))).outcome(), Outcome::Set);
    assert_eq!(pod.annotation(ROLE), None);
}

#[test]
fn an_option_that_a_person_set_as_the_rule_wants_it_is_no_conflict_and_not_ours() {
    for rule in ["role: registry", "role: registry, onConflict: replace"] {
        let ruleset = ruleset(&registry(&[&format!("{rule}, irsa: {{skipContainers: [a]}}")]));
        let mut pod = Thing::pod("registry").annotated(SKIP_CONTAINERS, "a");
        let decision = pod.admit(&ruleset);
        assert_eq!(
            (decision.outcome(), decision.warnings),
            (Outcome::OnServiceAccount, Vec::new()),
            "{rule}"
        );
        assert_eq!(pod.annotation(APPLIED), None, "{rule}");
    }
    // Beside a role that gives way, too.
    let ruleset = ruleset(&registry(&["role: registry, onConflict: replace, irsa: {audience: a}"]));
    let audience = "eks.amazonaws.com/audience";
    let mut account = Thing::service_account("registry").annotated(ROLE, "theirs").annotated(audience, "a");
    assert_eq!(account.admit(&ruleset).outcome(), Outcome::Replaced);
    assert!(!account.annotation(APPLIED).unwrap().contains(audience), "{account:?}");
}

#[test]
fn a_was_without_a_record_keeps_no_role_that_is_the_only_one() {
    let ruleset = ruleset(
        "account: \"123456789012\"\nonConflict: replace\nprovider: [irsa, kube2iam]\nrules: [{match: {component: registry}, role: r}]",
    );
    for (thing, key) in
        [(Thing::service_account("registry"), ROLE), (Thing::pod("registry"), "iam.amazonaws.com/role")]
    {
        let mut thing = thing.annotated(key, "theirs").annotated(WAS, "forged");
        assert_eq!(thing.admit(&ruleset).outcome(), Outcome::Replaced, "{key}");
        assert_eq!(thing.annotation(WAS), Some("theirs"), "{key}");
    }
}

#[test]
fn of_two_roles_on_a_jobs_pod_the_first_is_put_away_unless_it_is_too_long() {
    let ruleset = ruleset(
        "account: \"123456789012\"\nprovider: [irsa, kube2iam]\nrules:\n  - match: {component: runner-job, runner: ci/gitlab-runner}\n    role: r\n    irsa: {annotatePods: true}\n",
    );
    let admitted = |first: &str, second: &str| {
        let mut pod = Thing::job("7").annotated("iam.amazonaws.com/role", first).annotated(ROLE, second);
        assert_eq!(pod.admit(&ruleset).outcome(), Outcome::Replaced);
        assert_eq!(pod.annotation(ROLE), Some("arn:aws:iam::123456789012:role/r"));
        pod.annotation(WAS).map(ToOwned::to_owned)
    };
    let long = |bytes: usize| "x".repeat(bytes);
    assert_eq!(admitted("one", "two").as_deref(), Some("one"));
    assert_eq!(admitted(&long(2048), "two"), Some(long(2048)));
    assert_eq!(admitted(&long(2049), "two").as_deref(), Some("two"));
    assert_eq!(admitted(&long(2049), &long(2049)), None);
}

/// Compiles one rule that is called `x`.
fn one_rule(matches: &str, beside: &str) -> Ruleset {
    ruleset(&format!(
        "account: \"123456789012\"\nprovider: kube2iam\nrules: [{{name: x, match: {{{matches}}}, {beside}}}]"
    ))
}

#[test]
fn a_rule_weighs_what_each_of_its_parts_takes() {
    // What the rule itself takes, its name, and what stands for each value in the index.
    let bare = size_of::<Rule>() + allocated(1);
    let indexed = 24;
    let globs = |count: usize| allocated(count * size_of::<Glob>());
    let texts = |count: usize| allocated(count * size_of::<Box<str>>());
    let label = |key: usize| 2 * allocated(key) + 64 + globs(1) + allocated(1) + indexed;
    let runner = texts(1) + allocated("system:serviceaccount:ci:r".len()) + indexed;
    let braces = Glob::new("{a,b*}").unwrap().weight();
    for (matches, want) in [
        ("namespace: abc", globs(1) + allocated(3) + indexed),
        ("serviceAccount: [a, \"b*\"]", globs(2) + 2 * (allocated(1) + indexed)),
        ("release: \"{a,b*}\"", globs(1) + braces + 2 * indexed),
        ("labels: {k: a}", allocated(size_of::<LabelCriterion>()) + label(1)),
        (
            "labels: {k: a, kkkkkkkkkkkkkkkkk: b}",
            allocated(2 * size_of::<LabelCriterion>()) + label(1) + label(17),
        ),
        ("component: [kas, praefect]", 2 * indexed),
        ("runner: ci/r", 2 * runner),
        ("runner: ci/r, project: [1, 22]", 2 * runner + texts(2) + 2 * (allocated(1) + indexed)),
    ] {
        let ruleset = one_rule(matches, "skip: true");
        assert_eq!(ruleset.rules()[0].weight(), bare + want, "{matches}");
        assert_eq!(ruleset.weight(), size_of::<Ruleset>() + bare + want, "{matches}");
    }
    let component = bare + indexed;
    let (irsa, pod) = (allocated(size_of::<IrsaOptions>()), allocated(size_of::<PodOptions>()));
    for (beside, want) in [
        ("", 0),
        (", provider: irsa, irsa: {tokenExpiration: 3600}", irsa),
        (", provider: irsa, irsa: {audience: a}", irsa + allocated(1)),
        (", provider: irsa, irsa: {skipContainers: [a, b]}", irsa + allocated(3)),
        (", provider: irsa, irsa: {audience: a, skipContainers: [a]}", irsa + 2 * allocated(1)),
        (", kube2iam: {externalId: ab}", pod + allocated(2)),
        (", kube2iam: {sessionName: ab}", pod + allocated(2)),
        (", kube2iam: {externalId: ab, sessionName: ab}", pod + 2 * allocated(2)),
    ] {
        let ruleset = one_rule("component: kas", &format!("role: r{beside}"));
        let Action::Role(grant) = &ruleset.rules()[0].action else { panic!("it gives a role") };
        assert!(grant.role.weight() >= "arn:aws:iam::123456789012:role/r".len());
        let grant = allocated(size_of::<Grant>()) + grant.role.weight();
        assert_eq!(ruleset.rules()[0].weight(), component + grant + want, "{beside}");
    }
}

#[test]
fn a_rule_takes_the_steps_of_each_of_its_parts() {
    for (matches, want) in [
        ("namespace: [a, \"*-a\"]", 1 + 3),
        ("namespace: \"*a*\"", 3 + 63),
        ("serviceAccount: \"*a*\"", 3 + 253),
        ("release: \"*a*\"", 3 + 63),
        ("labels: {a: \"*a*\", b: [c, \"*d*\"]}", 2 * (3 + 63) + 1),
        ("runner: [a/b, c/d, e/f]", 3),
        ("runner: a/b, project: [1, 2]", 1 + 2),
        ("component: kas", 0),
    ] {
        assert_eq!(one_rule(matches, "skip: true").rules()[0].steps(), want, "{matches}");
    }
}

#[test]
fn a_warning_names_a_role_without_what_each_arn_begins_with() {
    let ruleset = ruleset(&registry(&["role: registry"]));
    for (role, told) in [
        ("", "\"\""),
        ("theirs", "theirs"),
        ("arn:aws:iam::111122223333:role/theirs", "111122223333:role/theirs"),
    ] {
        let warnings = Thing::service_account("registry").annotated(ROLE, role).decide(&ruleset).warnings;
        let want = format!("kept role {told}, not 123456789012:role/registry (rule component=registry)");
        assert_eq!(warnings, [format!("gitlab-iam-webhook: {want}")]);
    }
}

#[test]
fn what_did_not_match_is_told_with_what_the_object_has() {
    for (matches, want) in [
        ("component: registry", "component: the object's is `webservice`"),
        ("namespace: a", "namespace: the object's is `gitlab`"),
        ("serviceAccount: a", "serviceAccount: the object's is `gitlab-webservice`"),
        ("release: a", "release: the object's is `gitlab`"),
        ("labels: {app: a}", "labels.app: the object's is `webservice`"),
        ("labels: {none: a}", "labels.none: the object's is none"),
        ("runner: a/b", "it is about the Pods of CI jobs, and this is none"),
    ] {
        let ruleset = one_rule(matches, "skip: true");
        let told = Thing::pod("webservice").with_subject(|subject| {
            let facts = ruleset.facts(subject);
            ruleset.rules()[0].criteria.mismatch(subject, &facts).map(|mismatch| mismatch.to_string())
        });
        assert_eq!(told.as_deref(), Some(want), "{matches}");
    }
}

#[test]
fn a_provider_may_be_named_twice() {
    let ruleset = ruleset(&registry(&["provider: [kube2iam, kube2iam], role: registry"]));
    assert_eq!(Thing::pod("registry").decide(&ruleset).outcome(), Outcome::Set);
    assert_eq!(Thing::service_account("registry").decide(&ruleset).outcome(), Outcome::NoRule);
}

#[test]
fn only_what_may_well_be_meant_so_is_a_note() {
    use LintKind::{
        AnnotatePods, Covered, DefaultAccount, EveryNamespace, JobConflict, JobNamespace, Large, NoName,
        NotEverything, Slow,
    };
    for kind in [EveryNamespace, JobNamespace] {
        assert!(kind.is_note(), "{kind:?}");
    }
    for kind in [Large, Covered, AnnotatePods, NotEverything, Slow, NoName, DefaultAccount, JobConflict] {
        assert!(!kind.is_note(), "{kind:?}");
    }
}
