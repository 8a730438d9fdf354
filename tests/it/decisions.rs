//! What happens to values that an object has already?
//!
//! They may be ours, or a person's, or the role that `replace` put away.

use gitlab_iam_webhook::engine::decision::{APPLIED, MAX_WARNING, Outcome, WAS};
use gitlab_iam_webhook::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};

use crate::support::{Thing, ruleset, ruleset_within};

const ROLE: &str = "eks.amazonaws.com/role-arn";
const EXPIRATION: &str = "eks.amazonaws.com/token-expiration";
const POD_ROLE: &str = "iam.amazonaws.com/role";
const REGISTRY: &str = "arn:aws:iam::123456789012:role/registry";
const BY_HAND: &str = "arn:aws:iam::111122223333:role/by-hand";

/// Makes a mapping with this head and one rule for the registry.
fn mapping(head: &str, rule: &str) -> String {
    format!(
        "account: \"123456789012\"\n{head}\nrules:\n  - {{name: r, match: {{component: registry}}, {rule}}}\n"
    )
}

fn outcome(thing: &mut Thing, mapping: &str) -> Outcome {
    let ruleset = ruleset(mapping);
    let outcome = thing.admit(&ruleset).outcome();
    let again = thing.decide(&ruleset);
    assert_eq!(again.edits, [], "deciding again changes nothing");
    outcome
}

#[test]
fn our_values_are_set_and_recorded() {
    let mut account = Thing::service_account("registry");
    assert_eq!(
        outcome(&mut account, &mapping("", "role: registry, irsa: {tokenExpiration: 3600}")),
        Outcome::Set
    );
    assert_eq!(account.annotation(ROLE), Some(REGISTRY));
    assert_eq!(account.annotation(EXPIRATION), Some("3600"));
    assert_eq!(
        account.annotation(APPLIED),
        Some(
            r#"{"annotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/registry","eks.amazonaws.com/token-expiration":"3600"},"rule":"r"}"#
        )
    );
    assert_eq!(account.annotation(WAS), None);
}

#[test]
fn our_values_follow_the_winning_rule() {
    let mut account = Thing::service_account("registry");
    outcome(&mut account, &mapping("", "role: registry, irsa: {tokenExpiration: 3600}"));
    assert_eq!(outcome(&mut account, &mapping("", "role: other")), Outcome::Set);
    assert_eq!(account.annotation(ROLE), Some("arn:aws:iam::123456789012:role/other"));
    assert_eq!(account.annotation(EXPIRATION), None, "an option that the rule no longer sets comes off");
}

#[test]
fn an_existing_role_is_kept_with_a_warning_and_without_options() {
    for foreign in [BY_HAND, "", "anything"] {
        let mut account = Thing::service_account("registry").annotated(ROLE, foreign);
        let ruleset = ruleset(&mapping("", "role: registry, irsa: {tokenExpiration: 3600}"));
        let decision = account.admit(&ruleset);
        assert_eq!(decision.outcome(), Outcome::Kept);
        assert_eq!(decision.warnings.len(), 1);
        assert!(decision.warnings[0].contains("kept role"), "{:?}", decision.warnings);
        assert_eq!(account.sorted_annotations(), [(ROLE.to_owned(), foreign.to_owned())]);
    }
}

#[test]
fn a_replaced_role_is_put_away_with_the_options_that_went_with_it() {
    let mut account = Thing::service_account("registry")
        .annotated(ROLE, BY_HAND)
        .annotated(EXPIRATION, "600")
        .annotated("eks.amazonaws.com/audience", "theirs")
        .annotated("unrelated", "stays");
    let text = mapping("onConflict: replace", "role: registry, irsa: {tokenExpiration: 3600}");
    assert_eq!(outcome(&mut account, &text), Outcome::Replaced);
    assert_eq!(account.annotation(ROLE), Some(REGISTRY));
    assert_eq!(account.annotation(EXPIRATION), Some("3600"));
    assert_eq!(account.annotation("eks.amazonaws.com/audience"), None);
    assert_eq!(account.annotation("unrelated"), Some("stays"));
    assert_eq!(account.annotation(WAS), Some(BY_HAND));
}

#[test]
fn what_was_put_away_comes_back_when_the_rule_goes() {
    for foreign in [BY_HAND, ""] {
        let mut account = Thing::service_account("registry").annotated(ROLE, foreign);
        outcome(&mut account, &mapping("onConflict: replace", "role: registry"));
        assert_eq!(outcome(&mut account, "onNoRule: remove\nrules: []\n"), Outcome::Removed);
        assert_eq!(account.sorted_annotations(), [(ROLE.to_owned(), foreign.to_owned())]);
    }
}

#[test]
fn without_a_rule_our_values_stay_or_go_as_the_mapping_says() {
    let mut account = Thing::service_account("registry");
    outcome(&mut account, &mapping("", "role: registry"));
    let before = account.sorted_annotations();
    assert_eq!(outcome(&mut account, "rules: []\n"), Outcome::Orphaned);
    assert_eq!(account.sorted_annotations(), before);
    assert_eq!(outcome(&mut account, "onNoRule: remove\nrules: []\n"), Outcome::Removed);
    assert_eq!(account.sorted_annotations(), []);
    assert_eq!(outcome(&mut account, "onNoRule: remove\nrules: []\n"), Outcome::NoRule);
}

#[test]
fn a_value_that_a_person_changed_is_theirs() {
    let mut account = Thing::service_account("registry");
    let text = mapping("", "role: registry, irsa: {tokenExpiration: 3600}");
    outcome(&mut account, &text);
    account.set(ROLE, Some(BY_HAND));
    assert_eq!(outcome(&mut account, &text), Outcome::Kept);
    assert_eq!(
        account.sorted_annotations(),
        [(ROLE.to_owned(), BY_HAND.to_owned())],
        "our options went with our role"
    );
    assert_eq!(outcome(&mut account, "onNoRule: remove\nrules: []\n"), Outcome::NoRule);
    assert_eq!(account.annotation(ROLE), Some(BY_HAND));
}

#[test]
fn wanted_values_that_are_there_already_are_never_claimed() {
    let mut account = Thing::service_account("registry").annotated(ROLE, REGISTRY);
    assert_eq!(outcome(&mut account, &mapping("", "role: registry")), Outcome::InStep);
    assert_eq!(account.annotation(APPLIED), None);
    outcome(&mut account, "onNoRule: remove\nrules: []\n");
    assert_eq!(account.annotation(ROLE), Some(REGISTRY));
    // Only what is missing is added, and only that is ours.
    assert_eq!(
        outcome(&mut account, &mapping("", "role: registry, irsa: {tokenExpiration: 900}")),
        Outcome::Set
    );
    outcome(&mut account, "onNoRule: remove\nrules: []\n");
    assert_eq!(account.sorted_annotations(), [(ROLE.to_owned(), REGISTRY.to_owned())]);
}

#[test]
fn an_option_of_a_person_stays_beside_our_role() {
    let mut account = Thing::service_account("registry").annotated(EXPIRATION, "600");
    let ruleset = ruleset(&mapping("", "role: registry, irsa: {tokenExpiration: 3600}"));
    let decision = account.admit(&ruleset);
    assert_eq!(decision.warnings, ["gitlab-iam-webhook: kept token-expiration 600, rule r wants 3600"]);
    assert_eq!(account.annotation(EXPIRATION), Some("600"));
    assert_eq!(account.annotation(ROLE), Some(REGISTRY));
}

#[test]
fn remove_takes_what_anyone_set() {
    let mut account = Thing::service_account("registry")
        .annotated(ROLE, BY_HAND)
        .annotated(EXPIRATION, "600")
        .annotated("iam.amazonaws.com/role", "kube2iam's own");
    let text = mapping("", "provider: irsa, remove: true");
    assert_eq!(outcome(&mut account, &text), Outcome::Removed);
    assert_eq!(
        account.sorted_annotations(),
        [("iam.amazonaws.com/role".to_owned(), "kube2iam's own".to_owned())]
    );
}

#[test]
fn skip_and_opting_out_leave_everything_as_it_is() {
    let frozen = |account: Thing, text: &str, want: Outcome| {
        let mut account = account;
        let before = account.sorted_annotations();
        assert_eq!(outcome(&mut account, text), want);
        assert_eq!(account.sorted_annotations(), before);
    };
    let mut ours = Thing::service_account("registry");
    outcome(&mut ours, &mapping("", "role: registry"));
    let skip = mapping("onNoRule: remove", "skip: true");
    frozen(ours.clone(), &skip, Outcome::Skipped);
    frozen(Thing::service_account("registry").annotated(ROLE, BY_HAND), &skip, Outcome::Skipped);
    let inject = "gitlab-iam-webhook/inject";
    for text in ["onNoRule: remove\nrules: []\n", &mapping("onConflict: replace", "role: other")] {
        frozen(ours.clone().annotated(inject, "disabled"), text, Outcome::OptedOut);
        frozen(ours.clone().labelled(inject, "disabled"), text, Outcome::OptedOut);
    }
    let mut enabled = Thing::service_account("registry").labelled(inject, "enabled");
    assert_eq!(outcome(&mut enabled, &mapping("", "role: registry")), Outcome::Set);
}

#[test]
fn a_rule_of_the_other_provider_does_not_decide() {
    let text = "account: \"123456789012\"
rules:
  - {match: {component: registry}, provider: kube2iam, skip: true}
  - {name: irsa, match: {component: registry}, role: registry}
  - {name: pod, match: {component: registry}, provider: kube2iam, role: never}
";
    let mut account = Thing::service_account("registry");
    assert_eq!(outcome(&mut account, text), Outcome::Set);
    let mut pod = Thing::pod("registry");
    assert_eq!(outcome(&mut pod, text), Outcome::Skipped);
    assert_eq!(pod.sorted_annotations(), []);
}

#[test]
fn skip_without_a_provider_stands_for_all() {
    let text = "account: \"123456789012\"
provider: [irsa, kube2iam]
rules:
  - {match: {component: registry, namespace: gitlab}, skip: true}
  - {match: {component: registry}, role: registry}
";
    for mut thing in [Thing::service_account("registry"), Thing::pod("registry")] {
        assert_eq!(outcome(&mut thing, text), Outcome::Skipped);
    }
}

#[test]
fn kube2iam_and_kiam_write_the_pods_annotations() {
    for provider in ["kube2iam", "kiam"] {
        let options =
            format!("provider: {provider}, role: registry, {provider}: {{externalId: x-1, sessionName: ci}}");
        let mut pod = Thing::pod("registry");
        assert_eq!(outcome(&mut pod, &mapping("", &options)), Outcome::Set);
        assert_eq!(pod.annotation(POD_ROLE), Some(REGISTRY));
        assert_eq!(pod.annotation("iam.amazonaws.com/external-id"), Some("x-1"));
        assert_eq!(pod.annotation("iam.amazonaws.com/session-name"), Some("ci"));
        let mut account = Thing::service_account("registry");
        assert_eq!(outcome(&mut account, &mapping("", &options)), Outcome::NoRule);
    }
    let mut pod = Thing::pod("registry");
    let bare = "provider: kube2iam\nrules:\n  - {match: {component: registry}, role: path/registry}\n";
    outcome(&mut pod, bare);
    assert_eq!(pod.annotation(POD_ROLE), Some("path/registry"), "their base ARN completes it");
}

#[test]
fn irsa_writes_on_pods_only_what_the_rule_says() {
    let mut pod = Thing::pod("registry");
    assert_eq!(outcome(&mut pod, &mapping("", "role: registry")), Outcome::OnServiceAccount);
    assert_eq!(pod.sorted_annotations(), []);
    pod.service_account = "default".to_owned();
    assert_eq!(outcome(&mut pod, &mapping("", "role: registry")), Outcome::DefaultAccount);
    let text =
        mapping("irsa: {skipContainers: [certificates]}", "role: registry, irsa: {annotatePods: true}");
    assert_eq!(outcome(&mut pod, &text), Outcome::Set);
    assert_eq!(pod.annotation(ROLE), Some(REGISTRY));
    assert_eq!(pod.annotation("eks.amazonaws.com/skip-containers"), Some("certificates"));
    assert_eq!(pod.annotation(EXPIRATION), None);
}

#[test]
fn a_pod_that_runs_as_default_gets_its_role_only_by_a_rule_for_that_account() {
    let of_pod = |head: &str, criteria: &str| {
        let text = format!(
            "account: \"123456789012\"\n{head}\nrules:\n  - {{match: {{{criteria}}}, role: registry}}\n"
        );
        let mut pod = Thing::pod("registry");
        pod.service_account = "default".to_owned();
        let outcome = outcome(&mut pod, &text);
        // This is how Kubernetes makes the account.
        let mut account = Thing::service_account("registry");
        account.service_account = "default".to_owned();
        account.labels.clear();
        let has_role = account.decide(&ruleset(&text)).outcome() == Outcome::Set;
        (outcome, has_role, pod.annotation("eks.amazonaws.com/skip-containers").map(str::to_owned))
    };
    for (criteria, has_role) in [
        ("component: registry", false),
        ("component: registry, serviceAccount: default", false),
        ("serviceAccount: \"def*\"", false),
        ("serviceAccount: default, release: gitlab", false),
        ("serviceAccount: default, labels: {app: registry}", false),
        ("serviceAccount: default", true),
        ("serviceAccount: [gitlab-registry, default]", true),
        ("serviceAccount: default, namespace: gitlab", true),
    ] {
        let want = if has_role { Outcome::OnServiceAccount } else { Outcome::DefaultAccount };
        assert_eq!(of_pod("", criteria), (want, has_role, None), "{criteria}");
        // An option that is set on the Pod hides nothing.
        let want = if has_role { Outcome::Set } else { Outcome::DefaultAccount };
        let of_option = of_pod("irsa: {skipContainers: [certificates]}", criteria);
        assert_eq!(of_option, (want, has_role, Some("certificates".to_owned())), "{criteria}");
    }
}

#[test]
fn both_providers_on_one_pod_are_recorded_apart() {
    let text = "account: \"123456789012\"
rules:
  - {name: one, match: {component: registry}, role: registry, irsa: {annotatePods: true}}
  - {name: two, match: {component: registry}, provider: kube2iam, role: registry}
";
    let mut pod = Thing::pod("registry");
    assert_eq!(outcome(&mut pod, text), Outcome::Set);
    assert!(pod.annotation(APPLIED).unwrap().ends_with(r#""rule":{"irsa":"one","kube2iam":"two"}}"#));
}

#[test]
fn of_two_foreign_roles_on_a_pod_none_is_lost() {
    let text = "account: \"123456789012\"
onConflict: replace
provider: [irsa, kube2iam]
rules:
  - {name: r, match: {component: registry}, role: registry, irsa: {annotatePods: true}}
";
    let mut pod = Thing::pod("registry").annotated(ROLE, BY_HAND).annotated(POD_ROLE, "by-hand");
    assert_eq!(outcome(&mut pod, text), Outcome::Replaced);
    assert_eq!(pod.annotation(WAS), Some("by-hand"));
    assert_eq!(pod.annotation(POD_ROLE), Some(REGISTRY));
    assert_eq!(pod.annotation(ROLE), Some(BY_HAND), "`was` holds one value, so this one stays");
}

#[test]
fn a_role_that_cannot_be_filled_is_no_role_and_ours_comes_off() {
    let text = mapping("", "role: \"x-{release}\"");
    let mut account = Thing::service_account("registry");
    assert_eq!(outcome(&mut account, &text), Outcome::Set);
    // The chart's label goes, so that the account is no registry any more. A rule that names the account
    // still matches.
    let by_name = text.replace("component: registry", "serviceAccount: gitlab-registry");
    account.labels.clear();
    let decision = account.admit(&ruleset(&by_name)).warnings;
    assert_eq!(
        decision,
        ["gitlab-iam-webhook: no role from rule r: {release} cannot be filled: the object has none"]
    );
    assert_eq!(account.sorted_annotations(), []);
    let mut foreign = Thing::service_account("registry").annotated(ROLE, BY_HAND);
    foreign.labels.clear();
    assert_eq!(outcome(&mut foreign, &by_name), Outcome::Refused);
    assert_eq!(foreign.annotation(ROLE), Some(BY_HAND), "a person's role is not ours to take");
}

#[test]
fn what_was_put_away_comes_back_when_the_rule_can_give_no_role() {
    let mut account = Thing::service_account("registry").annotated(ROLE, BY_HAND);
    let text = mapping("onConflict: replace", "role: \"x-{release}\"");
    assert_eq!(outcome(&mut account, &text), Outcome::Replaced);
    account.labels.clear();
    assert_eq!(
        outcome(&mut account, &text.replace("component: registry", "serviceAccount: gitlab-registry")),
        Outcome::Refused
    );
    assert_eq!(account.sorted_annotations(), [(ROLE.to_owned(), BY_HAND.to_owned())]);
}

#[test]
fn a_was_that_one_provider_empties_is_free_for_the_other() {
    let replacing = |rules: &str| {
        format!("account: \"123456789012\"\nonConflict: replace\nonNoRule: remove\nrules:{rules}\n")
    };
    let mut pod = Thing::pod("registry").annotated(POD_ROLE, "theirs");
    let pod_rule =
        replacing("\n  - {name: pod, match: {component: registry}, provider: kube2iam, role: registry}");
    assert_eq!(outcome(&mut pod, &pod_rule), Outcome::Replaced);
    pod.set(ROLE, Some(BY_HAND));
    let irsa_rule = replacing(
        "\n  - {name: irsa, match: {component: registry}, role: registry, irsa: {annotatePods: true}}",
    );
    assert_eq!(outcome(&mut pod, &irsa_rule), Outcome::Replaced);
    assert_eq!(pod.annotation(POD_ROLE), Some("theirs"));
    assert_eq!(pod.annotation(ROLE), Some(REGISTRY));
    assert_eq!(pod.annotation(WAS), Some(BY_HAND));
}

#[test]
fn remove_on_pods_takes_what_the_eks_webhook_reads_there() {
    let mut pod = Thing::pod("registry")
        .annotated(EXPIRATION, "600")
        .annotated("eks.amazonaws.com/skip-containers", "a");
    assert_eq!(outcome(&mut pod, &mapping("", "provider: irsa, remove: true")), Outcome::Removed);
    assert_eq!(pod.sorted_annotations(), []);
}

#[test]
fn warnings_fit_what_the_api_server_passes_on() {
    let long = format!("arn:aws:iam::111122223333:role/{}/\n{}", "p".repeat(400), "é".repeat(60));
    let mut account = Thing::service_account("registry").annotated(ROLE, &long);
    let ruleset = ruleset(&mapping("", "role: registry"));
    for warning in account.admit(&ruleset).warnings {
        assert!(warning.chars().count() <= MAX_WARNING, "{warning}");
        assert!(!warning.contains('\n'), "{warning}");
    }
}

#[test]
fn a_record_that_we_did_not_write_makes_nothing_ours() {
    for forged in ["rubbish", "{}", r#"{"annotations":{"eks.amazonaws.com/role-arn":5},"rule":"r"}"#] {
        let mut account =
            Thing::service_account("registry").annotated(ROLE, BY_HAND).annotated(APPLIED, forged);
        assert_eq!(outcome(&mut account, &mapping("", "role: registry")), Outcome::Kept);
        assert_eq!(account.annotation(ROLE), Some(BY_HAND));
    }
}

const NO_RULE: &str = "onNoRule: remove\nrules: []\n";

/// Makes a ServiceAccount of a chart that sets a role, which `replace` has put away.
fn replaced() -> Thing {
    let mut account = Thing::service_account("registry").annotated(ROLE, BY_HAND);
    assert_eq!(outcome(&mut account, &mapping("onConflict: replace", "role: registry")), Outcome::Replaced);
    assert_eq!(account.annotation(WAS), Some(BY_HAND));
    account
}

#[test]
fn what_was_put_away_ends_when_its_owner_drops_it() {
    // A helm upgrade without the role takes the key off, and leaves what it never wrote: `applied` and `was`.
    for admitted_between in [true, false] {
        let mut account = replaced();
        account.set(ROLE, None);
        if admitted_between {
            let outcome = outcome(&mut account, &mapping("onConflict: replace", "role: registry"));
            assert_eq!(outcome, Outcome::Set);
            assert_eq!(account.annotation(ROLE), Some(REGISTRY));
            assert_eq!(account.annotation(WAS), None, "the chart withdrew it");
        }
        outcome(&mut account, NO_RULE);
        assert_eq!(account.sorted_annotations(), [], "admitted between: {admitted_between}");
    }
}

#[test]
fn what_was_put_away_ends_when_another_role_is_set_over_ours() {
    let other = "arn:aws:iam::111122223333:role/other";
    let mut account = replaced();
    account.set(ROLE, Some(other));
    assert_eq!(outcome(&mut account, &mapping("onConflict: keep", "role: registry")), Outcome::Kept);
    assert_eq!(account.sorted_annotations(), [(ROLE.to_owned(), other.to_owned())]);
    // Under `replace` the other role is the one that is put away and comes back.
    let mut account = replaced();
    account.set(ROLE, Some(other));
    outcome(&mut account, &mapping("onConflict: replace", "role: registry"));
    assert_eq!(account.annotation(WAS), Some(other));
    outcome(&mut account, NO_RULE);
    assert_eq!(account.sorted_annotations(), [(ROLE.to_owned(), other.to_owned())]);
}

#[test]
fn what_was_put_away_waits_while_the_object_is_frozen() {
    let mut account = replaced();
    account.set(ROLE, None);
    let before = account.sorted_annotations();
    for frozen in ["rules: []\n", &mapping("", "skip: true")] {
        outcome(&mut account, frozen);
        assert_eq!(account.sorted_annotations(), before, "nothing is written or removed");
    }
    outcome(&mut account, NO_RULE);
    assert_eq!(account.sorted_annotations(), [], "and yet it was withdrawn");
}

#[test]
fn what_comes_back_is_bounded_as_what_is_given() {
    let operator_policy = OperatorPolicy {
        allowed_roles: ["gitlab=arn:aws:iam::123456789012:role/*", "other=*"]
            .map(|text| text.parse::<AllowedRole>().unwrap())
            .to_vec(),
        ..OperatorPolicy::default()
    };
    let gone = ruleset_within(NO_RULE, &operator_policy);
    let forged = format!(r#"{{"annotations":{{"{ROLE}":"x"}},"rule":"r"}}"#);
    let account = |was: &str| {
        Thing::service_account("registry")
            .annotated(ROLE, "x")
            .annotated(APPLIED, &forged)
            .annotated(WAS, was)
    };
    let long = format!("arn:aws:iam::123456789012:role/{}", "p".repeat(2048));
    let no_role = "arn:aws:iam::123456789012:role/../..//x\n";
    for outside in [BY_HAND, "admin", "", &long, no_role] {
        let mut account = account(outside);
        let decision = account.admit(&gone);
        assert_eq!(decision.outcome(), Outcome::Removed);
        assert_eq!(decision.warnings.len(), 1, "{:?}", decision.warnings);
        assert!(
            decision.warnings[0].contains("stays in `gitlab-iam-webhook/was`"),
            "{:?}",
            decision.warnings
        );
        assert!(decision.warnings[0].chars().count() <= MAX_WARNING);
        assert_eq!(account.sorted_annotations(), [(WAS.to_owned(), outside.to_owned())], "it stays, unused");
        assert_eq!(account.decide(&gone).edits, [], "deciding again changes nothing");
    }
    let mut inside = account(REGISTRY);
    inside.admit(&gone);
    assert_eq!(inside.sorted_annotations(), [(ROLE.to_owned(), REGISTRY.to_owned())]);
    let mut elsewhere = account(BY_HAND);
    elsewhere.namespace = "other".to_owned();
    elsewhere.admit(&gone);
    assert_eq!(elsewhere.annotation(ROLE), Some(BY_HAND), "the bound is that of the namespace");
}

#[test]
fn a_role_that_comes_back_for_want_of_another_must_be_allowed_too() {
    let operator_policy = OperatorPolicy {
        allowed_roles: vec!["arn:aws:iam::123456789012:role/*".parse::<AllowedRole>().unwrap()],
        ..OperatorPolicy::default()
    };
    let text = "account: \"123456789012\"
rules:
  - {name: r, match: {serviceAccount: gitlab-registry}, role: \"x-{release}\"}
";
    let ruleset = ruleset_within(text, &operator_policy);
    let forged = format!(r#"{{"annotations":{{"{ROLE}":"x"}},"rule":"r"}}"#);
    let mut account = Thing::service_account("registry")
        .annotated(ROLE, "x")
        .annotated(APPLIED, &forged)
        .annotated(WAS, BY_HAND);
    account.labels.clear();
    let decision = account.admit(&ruleset);
    assert_eq!(decision.outcome(), Outcome::Refused);
    assert_eq!(decision.warnings.len(), 2, "{:?}", decision.warnings);
    assert_eq!(account.sorted_annotations(), [(WAS.to_owned(), BY_HAND.to_owned())]);
}

#[test]
fn one_role_that_was_put_away_comes_back_once() {
    let text = "account: \"123456789012\"
onConflict: replace
provider: [irsa, kube2iam]
rules:
  - {name: r, match: {component: registry}, role: registry, irsa: {annotatePods: true}}
";
    let mut pod = Thing::pod("registry").annotated(POD_ROLE, "by-hand");
    assert_eq!(outcome(&mut pod, text), Outcome::Replaced);
    assert_eq!(outcome(&mut pod, NO_RULE), Outcome::Removed);
    assert_eq!(pod.sorted_annotations(), [(POD_ROLE.to_owned(), "by-hand".to_owned())]);
}

#[test]
fn a_value_longer_than_any_role_is_not_put_away() {
    // The answer would be longer than the question, because it would hold the value as `was`, escaped and in
    // base64.
    let long = "\u{1}".repeat(100_000);
    let mut account = Thing::service_account("registry").annotated(ROLE, &long);
    let text = mapping("onConflict: replace", "role: registry");
    assert_eq!(outcome(&mut account, &text), Outcome::Kept);
    assert_eq!(account.sorted_annotations(), [(ROLE.to_owned(), long)]);
}

#[test]
fn a_record_of_keys_that_we_never_write_is_not_kept() {
    let unknown: String = (0..10_000).map(|n| format!(r#""k{n}":"v","#)).collect();
    let with = |value: &str| format!(r#"{{"annotations":{{{unknown}"{ROLE}":{value}}},"rule":"r"}}"#);
    let mut account = Thing::service_account("registry")
        .annotated(ROLE, BY_HAND)
        .annotated(APPLIED, &with(&format!("{BY_HAND:?}")));
    assert_eq!(outcome(&mut account, &mapping("", "role: registry")), Outcome::Set, "it is ours");
    assert!(account.annotation(APPLIED).unwrap().len() < 200, "{:?}", account.annotation(APPLIED));
    // More than all annotations of an object can hold was never stored, so it is no record of ours.
    let padding = format!("{BY_HAND:?}{}", " ".repeat(256 << 10));
    let mut account =
        Thing::service_account("registry").annotated(ROLE, BY_HAND).annotated(APPLIED, &with(&padding));
    assert_eq!(outcome(&mut account, &mapping("", "role: registry")), Outcome::Kept);
}
