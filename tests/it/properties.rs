//! What holds for every mapping, every object and every change that somebody makes to it?

use std::collections::{BTreeMap, HashMap};

use gitlab_iam_webhook::engine::admission::mutate::{Mode, respond};
use gitlab_iam_webhook::engine::decision::explain::explain;
use gitlab_iam_webhook::engine::decision::{APPLIED, Outcome, WAS, decide};
use gitlab_iam_webhook::engine::mapping::lints::{self, LintKind};
use gitlab_iam_webhook::engine::object::manifest;
use gitlab_iam_webhook::engine::object::provider::Provider;
use gitlab_iam_webhook::engine::object::subject::{Kind, Requester};
use gitlab_iam_webhook::engine::rules::cost::Steps;
use gitlab_iam_webhook::engine::rules::glob::Glob;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::rule::{Action, OnNoRule, Rule};
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use crate::support::{REPLICASET_CONTROLLER, RUNNER, Thing, chart_labels, patch_of, ruleset, ruleset_within};

const KEYS: [&str; 9] = [
    "eks.amazonaws.com/role-arn",
    "eks.amazonaws.com/audience",
    "eks.amazonaws.com/sts-regional-endpoints",
    "eks.amazonaws.com/token-expiration",
    "eks.amazonaws.com/skip-containers",
    "iam.amazonaws.com/role",
    "iam.amazonaws.com/external-id",
    "iam.amazonaws.com/session-name",
    WAS,
];
const ROLES: [&str; 2] = ["eks.amazonaws.com/role-arn", "iam.amazonaws.com/role"];
const NAMESPACES: [&str; 4] = ["gitlab", "ci-a", "ci-b", "legacy"];
const ACCOUNTS: [&str; 4] = ["gitlab-webservice", "gitlab-jobs", "default", "ci-x"];
const COMPONENTS: [&str; 4] = ["webservice", "sidekiq", "registry", "runner"];
/// Values of annotations. Some are those that rules set, so that equal values come up.
const VALUES: [&str; 6] =
    ["", "by-hand", "arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:role/b", "3600", "true"];

fn quoted_list(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(select(values), 1..3).prop_map(|chosen| {
        let items: Vec<String> = chosen.iter().map(|value| format!("{value:?}")).collect();
        format!("[{}]", items.join(", "))
    })
}

/// Makes one rule in YAML. Some break the rules of the language, and are left out of the mapping.
fn a_rule() -> impl Strategy<Value = String> {
    let criteria = (
        option::of(quoted_list(&[
            "webservice",
            "sidekiq",
            "registry",
            "runner",
            "runner-job",
            "registry-migrations",
            "*",
        ])),
        option::of(quoted_list(&[
            "gitlab",
            "ci-a",
            "ci-*",
            "*",
            "c?-[ab]",
            "{gitlab,legacy}",
            "*-b",
            "leg*",
        ])),
        option::of(quoted_list(&["gitlab-webservice", "default", "gitlab-*", "*-x", "{default,ci-x}"])),
        option::of(quoted_list(&["gitlab", "git*", "?itlab"])),
        option::of(quoted_list(&["a", "b*", "*"])),
        any::<(bool, bool, bool)>(),
    );
    let action = select(vec![
        "role: a",
        "role: b",
        "role: \"x-{release}\"",
        "role: \"{namespace}-{project}\"",
        "role: b, onConflict: replace",
        "role: a, onConflict: keep",
        "skip: true",
        "remove: true",
    ]);
    let provider = select(vec![
        "",
        ", provider: irsa",
        ", provider: kube2iam",
        ", provider: [irsa, kube2iam]",
        ", provider: irsa, irsa: {annotatePods: true, skipContainers: [a], tokenExpiration: 3600}",
        ", provider: irsa, irsa: {stsRegionalEndpoints: true, audience: aud}",
        ", provider: kube2iam, kube2iam: {externalId: x-1, sessionName: ci}",
    ]);
    (criteria, action, provider, any::<bool>()).prop_map(|(criteria, action, provider, is_unsafe)| {
        let (component, namespace, account, release, label, (project, runner, other_runner)) = criteria;
        let runner_name = if other_runner { "ci/other" } else { "ci/gitlab-runner" };
        let parts: Vec<String> = [
            component.map(|list| format!("component: {list}")),
            namespace.map(|list| format!("namespace: {list}")),
            account.map(|list| format!("serviceAccount: {list}")),
            release.map(|list| format!("release: {list}")),
            label.map(|list| format!("labels: {{team: {list}}}")),
            (project && runner).then(|| "project: [42, 7]".to_owned()),
            runner.then(|| format!("runner: {runner_name}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let is_unsafe = if is_unsafe { ", unsafe: true" } else { "" };
        format!("  - {{match: {{{}}}, {action}{provider}{is_unsafe}}}\n", parts.join(", "))
    })
}

pub(crate) fn a_mapping() -> impl Strategy<Value = String> {
    let head = select(vec![
        "",
        "onConflict: replace\n",
        "onNoRule: remove\n",
        "onConflict: replace\nonNoRule: remove\n",
    ]);
    (head, vec(a_rule(), 0..12)).prop_map(|(head, rules)| {
        let head = format!("account: \"123456789012\"\n{head}rules:");
        let good: Vec<String> =
            rules.into_iter().filter(|rule| is_good(&format!("{head}\n{rule}"))).collect();
        if good.is_empty() { format!("{head} []\n") } else { format!("{head}\n{}", good.concat()) }
    })
}

fn is_good(mapping: &str) -> bool {
    gitlab_iam_webhook::engine::mapping::compile(mapping, &OperatorPolicy::default()).is_ok()
}

pub(crate) fn a_thing() -> impl Strategy<Value = Thing> {
    let kind = select(vec![Kind::ServiceAccount, Kind::Pod]);
    let labels = (
        option::of(select(COMPONENTS.to_vec())),
        option::of(select(vec!["a", "bb"])),
        option::of(select(vec!["42", "8"])),
    );
    let annotations = vec((select(KEYS.to_vec()), select(VALUES.to_vec())), 0..4);
    let user = select(vec![REPLICASET_CONTROLLER, RUNNER, "admin"]);
    let names = (select(NAMESPACES.to_vec()), select(ACCOUNTS.to_vec()));
    (kind, names, labels, annotations, user).prop_map(
        |(kind, (namespace, account), labels, annotations, user)| {
            let (component, team, project) = labels;
            let mut thing = Thing {
                kind,
                namespace: namespace.to_owned(),
                service_account: account.to_owned(),
                labels: component.map(chart_labels).unwrap_or_default(),
                annotations: Vec::new(),
                user: Some(user.to_owned()),
            };
            if let Some(team) = team {
                thing = thing.labelled("team", team);
            }
            if let Some(project) = project.filter(|_| kind == Kind::Pod) {
                thing = thing.labelled("project.runner.gitlab.com/id", project);
            }
            for (key, value) in annotations {
                thing.set(key, Some(value));
            }
            thing
        },
    )
}

/// Makes a change that somebody makes between two admissions, which sets a key or takes it off.
fn a_hand() -> impl Strategy<Value = (&'static str, Option<&'static str>)> {
    (select(KEYS[..8].to_vec()), option::of(select(VALUES.to_vec())))
}

/// Finds the rules that win by trying all of them from top to bottom, one for each provider.
fn naive_winners<'r>(ruleset: &'r Ruleset, thing: &Thing) -> [Option<&'r Rule>; 2] {
    thing.with_subject(|subject| {
        let facts = ruleset.facts(subject);
        [Provider::Irsa, ruleset.pod_provider()].map(|provider| {
            if subject.kind == Kind::ServiceAccount && provider != Provider::Irsa {
                return None;
            }
            ruleset.rules().iter().find(|rule| {
                rule.providers.contains(provider) && rule.criteria.mismatch(subject, &facts).is_none()
            })
        })
    })
}

fn same_rule(one: Option<&Rule>, other: Option<&Rule>) -> bool {
    one.map(|rule| &rule.name) == other.map(|rule| &rule.name)
}

/// Returns the value that our record on the object has for a key.
fn recorded(thing: &Thing, key: &str) -> Option<String> {
    let applied: Value = serde_json::from_str(thing.annotation(APPLIED)?).unwrap();
    applied["annotations"][key].as_str().map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rule_order_is_respected_whatever_the_index_does(mapping in a_mapping(), things in vec(a_thing(), 1..8)) {
        let ruleset = ruleset(&mapping);
        for thing in things {
            let naive = naive_winners(&ruleset, &thing);
            let found = thing.with_subject(|subject| {
                let winners = ruleset.winners(subject, &ruleset.facts(subject));
                [winners.irsa.map(|rule| rule.name.clone()), winners.pod.map(|rule| rule.name.clone())]
            });
            prop_assert_eq!(found, naive.map(|rule| rule.map(|rule| rule.name.clone())));
        }
    }

    #[test]
    fn our_patch_sets_exactly_the_wished_annotations(mapping in a_mapping(), thing in a_thing()) {
        let ruleset = ruleset(&mapping);
        let review = thing.to_review();
        let body = serde_json::to_vec(&review).unwrap();
        let reply = respond(&body, &ruleset, Mode::Mutate).unwrap();
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        let patch: json_patch::Patch = serde_json::from_value(patch_of(&answer)).unwrap();
        let before = &review["request"]["object"];
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch).unwrap();

        let mut wished: BTreeMap<String, String> = thing.annotations.iter().cloned().collect();
        let decision = thing.decide(&ruleset);
        for edit in &decision.edits {
            match &edit.value {
                Some(value) => wished.insert(edit.key.to_owned(), value.to_string()),
                None => wished.remove(edit.key),
            };
        }
        let found: BTreeMap<String, String> = after["metadata"]["annotations"]
            .as_object()
            .map(|map| map.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect())
            .unwrap_or_default();
        prop_assert_eq!(found, wished);

        // The patch changes nothing beside them.
        let without = |object: &Value| {
            let mut object = object.clone();
            object["metadata"].as_object_mut().unwrap().remove("annotations");
            object
        };
        prop_assert_eq!(without(&after), without(before));
    }

    #[test]
    fn deciding_again_changes_nothing(mapping in a_mapping(), thing in a_thing()) {
        let ruleset = ruleset(&mapping);
        let mut thing = thing;
        thing.admit(&ruleset);
        prop_assert_eq!(thing.decide(&ruleset).edits, vec![]);
    }

    #[test]
    fn no_role_outside_the_operators_bound_is_written_whatever_is_forged(
        mapping in a_mapping(),
        thing in a_thing(),
        forged in any::<bool>(),
    ) {
        const ALLOWED: &str = "arn:aws:iam::123456789012:role/";
        let mut thing = thing;
        if forged {
            // The record says of everything on the object that it is ours.
            let annotations: BTreeMap<&str, &str> =
                thing.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let record = serde_json::json!({"annotations": annotations, "rule": "r"}).to_string();
            thing.set(APPLIED, Some(&record));
        }
        let operator_policy = OperatorPolicy { allowed_roles: vec![format!("{ALLOWED}*").parse().unwrap()], ..OperatorPolicy::default() };
        let ruleset = ruleset_within(&mapping, &operator_policy);
        for edit in thing.admit(&ruleset).edits.iter().filter(|edit| ROLES.contains(&edit.key)) {
            let role = edit.value.as_deref().unwrap_or(ALLOWED);
            prop_assert!(role.starts_with(ALLOWED), "{} is written under\n{}", role, mapping);
        }
        prop_assert_eq!(thing.decide(&ruleset).edits, vec![]);
    }

    #[test]
    fn observing_decides_the_same_and_patches_nothing(mapping in a_mapping(), thing in a_thing()) {
        let ruleset = ruleset(&mapping);
        let body = serde_json::to_vec(&thing.to_review()).unwrap();
        let mutated = respond(&body, &ruleset, Mode::Mutate).unwrap();
        let observed = respond(&body, &ruleset, Mode::Observe).unwrap();
        prop_assert_eq!(observed.outcome(), mutated.outcome());
        let answer: Value = serde_json::from_slice(&observed.body).unwrap();
        prop_assert!(answer["response"].get("patch").is_none());
        let told = observed.warnings;
        let edits = mutated.decision.unwrap().edits;
        let wanted = mutated.warnings.len() + usize::from(!edits.is_empty());
        prop_assert_eq!(told.len(), wanted, "every edit that is not made is told");
    }

    #[test]
    fn every_entry_point_agrees(mapping in a_mapping(), thing in a_thing()) {
        let ruleset = ruleset(&mapping);
        let text = serde_json::to_string(&thing.to_object()).unwrap();
        let objects = manifest::read(&text).unwrap();
        prop_assert_eq!(objects.len(), 1);
        let requester = Requester::User(thing.user.as_deref().unwrap());
        let from_file = objects[0].subject("nowhere", requester);
        let direct = thing.decide(&ruleset);
        prop_assert_eq!(&decide(&ruleset, &from_file).edits, &direct.edits);
        let explained = explain(&ruleset, &from_file);
        prop_assert_eq!(&explained.decision.edits, &direct.edits);
        // `explain` tells the rules that decided.
        for trace in &explained.traces {
            let told = trace.tried.iter().find(|tried| tried.mismatch.is_none()).map(|tried| tried.rule);
            let verdict = direct.verdicts.iter().find(|verdict| verdict.provider == trace.provider).unwrap();
            prop_assert!(same_rule(told, verdict.rule));
        }
    }

    #[test]
    fn no_sequence_of_mappings_and_hands_loses_or_claims_a_persons_value(
        thing in a_thing(),
        steps in vec((a_mapping(), vec(a_hand(), 0..3)), 1..6),
    ) {
        let mut thing = thing;
        // These are the values that we set last under each key.
        let mut ours: HashMap<&'static str, String> = HashMap::new();
        for (mapping, hands) in steps {
            let ruleset = ruleset(&mapping);
            let before: BTreeMap<String, String> = thing.annotations.iter().cloned().collect();
            let decision = thing.admit(&ruleset);
            let replaced: Vec<Provider> = decision
                .verdicts
                .iter()
                .filter(|verdict| verdict.outcome == Outcome::Replaced)
                .map(|verdict| verdict.provider)
                .collect();
            let is_job = thing.with_subject(|subject| ruleset.facts(subject).is_job);
            for verdict in &decision.verdicts {
                let keys = match thing.kind {
                    Kind::ServiceAccount => verdict.provider.service_account_keys().unwrap(),
                    Kind::Pod => verdict.provider.pod_keys(),
                };
                let removes = verdict.rule.is_some_and(|rule| matches!(rule.action, Action::Remove));
                let takes = removes
                    || replaced.contains(&verdict.provider)
                    // Beside a role that a job is given or refused, its author has no say.
                    || (is_job && verdict.rule.is_some());
                for key in keys.iter() {
                    let was_foreign = before.get(key).filter(|value| ours.get(key) != Some(value));
                    let Some(foreign) = was_foreign else { continue };
                    let now = thing.annotation(key);
                    if now == Some(foreign.as_str()) {
                        let claimed = recorded(&thing, key).as_deref() == now;
                        prop_assert!(!claimed || is_job, "{} of a person is claimed under\n{}", key, mapping);
                    } else {
                        prop_assert!(takes, "{}={} of a person is lost under\n{}", key, foreign, mapping);
                        if ROLES.contains(&key) && !removes && !is_job && replaced.contains(&verdict.provider) {
                            prop_assert_eq!(thing.annotation(WAS), Some(foreign.as_str()));
                        }
                    }
                }
                // Without a rule nothing of ours goes under `keep`.
                if verdict.rule.is_none() && ruleset.defaults().on_no_rule == OnNoRule::Keep {
                    for key in keys.iter() {
                        prop_assert_eq!(thing.annotation(key), before.get(key).map(String::as_str));
                    }
                }
            }
            let comes_back = decision.edits.iter().any(|edit| edit.key == WAS && edit.value.is_none());
            for edit in &decision.edits {
                match &edit.value {
                    // What comes back is the person's again, and not recorded as ours.
                    Some(_) if comes_back && ROLES.contains(&edit.key) && recorded(&thing, edit.key).is_none() => {
                        ours.remove(edit.key);
                    }
                    Some(value) => {
                        ours.insert(edit.key, value.to_string());
                    }
                    None => {
                        ours.remove(edit.key);
                    }
                }
            }
            for (key, value) in hands {
                // Where somebody sets the very value that the record names it becomes ours: nothing tells the
                // two apart.
                match value {
                    Some(value) if recorded(&thing, key).as_deref() == Some(value) => {
                        ours.insert(key, value.to_owned());
                    }
                    _ => {
                        ours.remove(key);
                    }
                }
                thing.set(key, value);
            }
        }
    }

    #[test]
    fn globs_match_as_globset_does(
        glob in "[a-c*?]{0,6}(\\[[!]?[a-c]{1,2}\\])?[a-c*]{0,3}(\\{[a-c*]{1,3},[a-c?]{1,3}\\})?[a-c*?]{0,3}",
        values in vec("[a-c/]{0,10}", 1..8),
    ) {
        let Ok(ours) = Glob::new(&glob) else { return Ok(()) };
        let oracle = globset::GlobBuilder::new(&glob).literal_separator(false).build().unwrap().compile_matcher();
        // globset reads `**` as its own operator, but without a separator it matches what `*` matches.
        for value in values {
            prop_assert_eq!(ours.matches(&value), oracle.is_match(&value), "{} against {}", glob, value);
        }
    }

    #[test]
    fn covering_globs_match_all_that_the_covered_match(
        wide in "[ab*?]{1,4}(\\{[ab*]{1,2},[ab]{1,2}\\})?",
        narrow in "[ab*?]{1,4}(\\{[ab*]{1,2},[ab]{1,2}\\})?",
        values in vec("[ab]{0,6}", 1..16),
    ) {
        let (wide, narrow) = (Glob::new(&wide).unwrap(), Glob::new(&narrow).unwrap());
        if wide.covers(&narrow, &mut Steps::new(10_000)) {
            for value in values {
                prop_assert!(wide.matches(&value) || !narrow.matches(&value), "{} covers {} but not {}", wide, narrow, value);
            }
        }
    }

    #[test]
    fn a_covered_rule_never_decides(mapping in a_mapping(), things in vec(a_thing(), 1..8)) {
        let ruleset = ruleset(&mapping);
        let covered: Vec<String> = lints::lint(&ruleset, mapping.len())
            .into_iter()
            .filter(|lint| lint.kind == LintKind::Covered)
            .filter_map(|lint| lint.rule)
            .collect();
        for thing in things {
            for winner in naive_winners(&ruleset, &thing).into_iter().flatten() {
                prop_assert!(!covered.contains(&winner.name.to_string()), "{} decides in\n{}", winner.name, mapping);
            }
        }
    }
}
