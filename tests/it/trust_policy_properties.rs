//! Do the trust policies of any mapping let in exactly those to whom the mapping gives the role?
//!
//! The policies are evaluated by a small evaluator of this file, written from IAM's documentation alone.

use std::collections::BTreeSet;

use gitlab_iam_webhook::engine::decision::decide;
use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::object::provider::{Provider, STS_AUDIENCE};
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::rule::Action;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use gitlab_iam_webhook::inventory::{Inventory, Metadata, ServiceAccount};
use gitlab_iam_webhook::trust_policy::comparison::compare;
use gitlab_iam_webhook::trust_policy::{Issuer, Sources, Trusts, make, terraform_document};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use crate::support::chart_labels;

const NAMESPACES: [&str; 5] = ["gitlab", "ci-a", "ci-b", "ci-long", "legacy"];
const NAMES: [&str; 6] = ["gitlab-registry", "gitlab-jobs", "default", "ci-x", "a.b", "x"];
const COMPONENTS: [&str; 3] = ["webservice", "registry", "runner"];
const AUDIENCES: [&str; 2] = [STS_AUDIENCE, "vault"];
const ISSUERS: [&str; 2] = ["https://oidc.eks.eu-west-1.amazonaws.com/id/BLUE", "https://green.example.com"];

fn list(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(select(values), 1..3).prop_map(|chosen| {
        let items: Vec<String> = chosen.iter().map(|value| format!("{value:?}")).collect();
        format!("[{}]", items.join(", "))
    })
}

fn a_rule() -> impl Strategy<Value = String> {
    let component = option::weighted(0.2, list(&["webservice", "registry", "runner", "*", "runner-job"]));
    let namespaces = &[
        "gitlab",
        "ci-a",
        "ci-*",
        "*",
        "c?-[ab]",
        "{gitlab,legacy}",
        "*-b",
        "leg*",
        "ci-[!a]*",
        "UPPER",
        "?????*",
    ];
    let names = &[
        "gitlab-registry",
        "default",
        "gitlab-*",
        "*",
        "{default,ci-x}",
        "[dx]*",
        "a.b",
        "?.?",
        "x",
        "def*",
    ];
    let criteria = (
        component,
        option::weighted(0.9, list(namespaces)),
        option::weighted(0.9, list(names)),
        option::weighted(0.1, list(&["gitlab", "g*"])),
    );
    let action = select(vec![
        "role: a",
        "role: b",
        "role: b, irsa: {audience: vault}",
        "role: \"x-{namespace}\"",
        "role: \"x-{release}\"",
        "skip: true",
        "remove: true, provider: irsa",
        "role: a, provider: kube2iam",
        "role: b, provider: [irsa, kube2iam]",
    ]);
    (criteria, action).prop_map(|((component, namespace, name, release), action)| {
        let parts: Vec<String> = [
            component.map(|list| format!("component: {list}")),
            namespace.map(|list| format!("namespace: {list}")),
            name.map(|list| format!("serviceAccount: {list}")),
            release.map(|list| format!("release: {list}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        format!("  - {{match: {{{}}}, {action}}}\n", parts.join(", "))
    })
}

fn bounds() -> impl Strategy<Value = OperatorPolicy> {
    let allowed = select(vec![
        vec![],
        vec![],
        vec!["ci-*=arn:aws:iam::*:role/*", "gitlab=arn:aws:iam::*:role/a"],
        vec!["arn:aws:iam::*:role/[ab]"],
    ]);
    allowed.prop_map(|allowed| OperatorPolicy {
        allowed_roles: allowed.iter().map(|text| text.parse().unwrap()).collect(),
        ..OperatorPolicy::default()
    })
}

/// A mapping that compiles: bad rules are left out.
fn a_mapping() -> impl Strategy<Value = (String, OperatorPolicy)> {
    (vec(a_rule(), 1..8), bounds()).prop_map(|(rules, bounds)| {
        let head = "account: \"123456789012\"\nrules:";
        let is_good = |rule: &String| mapping::compile(&format!("{head}\n{rule}"), &bounds).is_ok();
        let good: Vec<String> = rules.into_iter().filter(is_good).collect();
        let text =
            if good.is_empty() { format!("{head} []\n") } else { format!("{head}\n{}", good.concat()) };
        (text, bounds)
    })
}

fn account(namespace: &str, name: &str, labels: &[(String, String)]) -> ServiceAccount {
    ServiceAccount {
        metadata: Metadata {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            labels: labels.iter().cloned().collect(),
            ..Metadata::default()
        },
    }
}

/// Some of all ServiceAccounts, some of them with the labels of a component.
fn accounts() -> impl Strategy<Value = Vec<ServiceAccount>> {
    let one = option::weighted(0.7, option::of(select(COMPONENTS.to_vec())));
    vec(one, NAMESPACES.len() * NAMES.len()).prop_map(|chosen| {
        let all = NAMESPACES.iter().flat_map(|namespace| NAMES.iter().map(move |name| (namespace, name)));
        all.zip(chosen)
            .filter_map(|((namespace, name), component)| {
                let labels = component?.map(chart_labels).unwrap_or_default();
                Some(account(namespace, name, &labels))
            })
            .collect()
    })
}

/// The role and the audience that the webhook gives a ServiceAccount.
fn given(ruleset: &Ruleset, account: &ServiceAccount) -> Option<(String, String)> {
    let decision = account.with_subject(|subject| decide(ruleset, subject));
    let verdict = decision.verdicts.into_iter().find(|verdict| verdict.provider == Provider::Irsa)?;
    let Action::Role(grant) = &verdict.rule?.action else { return None };
    let audience = grant.irsa.audience.as_deref().unwrap_or(STS_AUDIENCE);
    Some((verdict.role?.into_owned(), audience.to_owned()))
}

/// Matches as IAM's `StringLike`.
fn like(pattern: &[u8], value: &[u8]) -> bool {
    match (pattern, value) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => like(rest, value) || (!value.is_empty() && like(pattern, &value[1..])),
        ([b'?', rest @ ..], [_, value @ ..]) => like(rest, value),
        ([wanted, rest @ ..], [c, value @ ..]) => wanted == c && like(rest, value),
        _ => false,
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().map(|text| text.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap()],
    }
}

/// Whether the policy lets a token take the role. It panics on anything that a policy of ours never has.
fn lets_in(policy: &Value, role: &str, issuer: &str, audience: &str, subject: &str) -> bool {
    let provider = issuer.strip_prefix("https://").unwrap();
    let account = role.split(':').nth(4).unwrap();
    let federated = format!("arn:aws:iam::{account}:oidc-provider/{provider}");
    policy["Statement"].as_array().unwrap().iter().any(|statement| {
        assert_eq!(statement["Effect"], "Allow");
        if statement["Principal"]["Federated"] != federated.as_str() {
            return false;
        }
        assert_eq!(statement["Action"], "sts:AssumeRoleWithWebIdentity");
        let conditions = statement["Condition"].as_object().unwrap();
        let mut keys = BTreeSet::new();
        let holds = conditions.iter().all(|(operator, tests)| {
            tests.as_object().unwrap().iter().all(|(key, values)| {
                keys.insert(key.clone());
                let value = match key.strip_prefix(provider).unwrap() {
                    ":sub" => subject,
                    ":aud" => audience,
                    other => panic!("{other}"),
                };
                let values = texts(values);
                // Neither a literal nor a pattern stands among the others.
                match operator.as_str() {
                    "StringEquals" => {
                        assert!(values.iter().all(|text| !text.contains(['*', '?'])), "{values:?}");
                        values.contains(&value)
                    }
                    "StringLike" => {
                        assert!(values.iter().all(|text| text.contains(['*', '?'])), "{values:?}");
                        values.iter().any(|pattern| like(pattern.as_bytes(), value.as_bytes()))
                    }
                    "StringNotLike" => {
                        !values.iter().any(|pattern| like(pattern.as_bytes(), value.as_bytes()))
                    }
                    other => panic!("{other}"),
                }
            })
        });
        holds && keys.len() == 2
    })
}

fn issuers() -> Vec<Issuer> {
    ISSUERS.iter().map(|url| url.parse().unwrap()).collect()
}

fn policies(trusts: &Trusts) -> Vec<(String, Value)> {
    trusts.roles.iter().map(|trust| (trust.role.clone(), trust.policy(&issuers(), None).to_json())).collect()
}

/// The roles and audiences with which an account is let in.
fn taken(policies: &[(String, Value)], namespace: &str, name: &str) -> Vec<(String, String)> {
    let subject = format!("system:serviceaccount:{namespace}:{name}");
    let mut taken = Vec::new();
    for (role, policy) in policies {
        for audience in AUDIENCES {
            let [blue, green] = ISSUERS.map(|issuer| lets_in(policy, role, issuer, audience, &subject));
            assert_eq!(blue, green, "every issuer is trusted alike");
            assert!(!lets_in(policy, role, "https://other.example.com", audience, &subject));
            if blue {
                taken.push((role.clone(), audience.to_owned()));
            }
        }
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn exactly_the_accounts_that_the_webhook_gives_a_role_are_let_in(
        (text, bounds) in a_mapping(),
        accounts in accounts(),
    ) {
        let ruleset = mapping::compile(&text, &bounds).unwrap();
        let inventory = Inventory { service_accounts: accounts, ..Inventory::default() };
        let trusts = make(&ruleset, Sources { inventory: Some(&inventory), ..Sources::default() });
        prop_assert!(trusts.missing.is_empty(), "{:?}", trusts.missing);
        let policies = policies(&trusts);
        for account in &inventory.service_accounts {
            let Metadata { namespace, name, .. } = &account.metadata;
            let given: Vec<_> = given(&ruleset, account).into_iter().collect();
            prop_assert_eq!(taken(&policies, namespace, name), given, "{} {}\n{}", namespace, name, text);
        }
        // Who is not among the objects is let in only where the webhook would give him the role, too.
        for namespace in NAMESPACES.into_iter().chain(["ci-new"]) {
            for name in NAMES.into_iter().chain(["new"]) {
                let is_known = |known: &&ServiceAccount| known.metadata.namespace == namespace && known.metadata.name == name;
                if !inventory.service_accounts.iter().any(|known| is_known(&known)) {
                    let given: Vec<_> = given(&ruleset, &account(namespace, name, &[])).into_iter().collect();
                    let taken = taken(&policies, namespace, name);
                    prop_assert!(taken.is_empty() || taken == given, "{namespace} {name} {taken:?}\n{text}");
                }
            }
        }
    }

    #[test]
    fn without_objects_what_is_not_missing_is_exact(text_and_bounds in a_mapping()) {
        let (text, bounds) = text_and_bounds;
        let ruleset = mapping::compile(&text, &bounds).unwrap();
        let trusts = make(&ruleset, Sources::default());
        let policies = policies(&trusts);
        for namespace in NAMESPACES {
            for name in NAMES {
                let given: Vec<_> = given(&ruleset, &account(namespace, name, &[])).into_iter().collect();
                let taken = taken(&policies, namespace, name);
                let is_exact = taken == given;
                let is_told = taken.is_empty() && !trusts.missing.is_empty();
                prop_assert!(is_exact || is_told, "{namespace} {name} {taken:?} {given:?}\n{text}");
            }
        }
    }

    #[test]
    fn what_is_printed_is_found_good_when_it_is_compared(
        (text, bounds) in a_mapping(),
        accounts in accounts(),
    ) {
        let ruleset = mapping::compile(&text, &bounds).unwrap();
        let inventory = Inventory { service_accounts: accounts, ..Inventory::default() };
        let trusts = make(&ruleset, Sources { inventory: Some(&inventory), ..Sources::default() });
        for trust in &trusts.roles {
            let node = "arn:aws:iam::123456789012:role/node";
            let policy = trust.policy(&issuers(), Some(node));
            let comparison = compare(&policy.to_json(), trust, &issuers(), Some(node));
            prop_assert!(comparison.is_good() && comparison.notes.is_empty(), "{comparison:#?}\n{text}");
            // A policy without any one of its statements refuses somebody.
            for index in 0..policy.statements.len() {
                let mut fewer = policy.clone();
                fewer.statements.remove(index);
                let comparison = compare(&fewer.to_json(), trust, &issuers(), Some(node));
                prop_assert!(!comparison.is_good(), "{fewer:?}\n{text}");
            }
        }
    }

    #[test]
    fn no_pod_identity_policy_lets_in_a_stranger((text, bounds) in a_mapping(), accounts in accounts()) {
        let ruleset = mapping::compile(&text, &bounds).unwrap();
        let inventory = Inventory { service_accounts: accounts, ..Inventory::default() };
        let sources = Sources { inventory: Some(&inventory), by_pod_identity: true, ..Sources::default() };
        let trusts = make(&ruleset, sources);
        prop_assert!(trusts.missing.is_empty(), "{:?}", trusts.missing);
        for namespace in NAMESPACES {
            for name in NAMES {
                let known = inventory.service_accounts.iter().find(|known| {
                    known.metadata.namespace == namespace && known.metadata.name == name
                });
                let asked = known.cloned().unwrap_or_else(|| account(namespace, name, &[]));
                let given = given(&ruleset, &asked).map(|(role, _)| role);
                for trust in &trusts.roles {
                    let policy = trust.pod_identity_policy("blue").to_json();
                    let is_in = policy["Statement"].as_array().unwrap().iter().any(|statement| {
                        let tests = statement["Condition"]["StringEquals"].as_object().unwrap();
                        assert_eq!((tests.len(), statement["Condition"].as_object().unwrap().len()), (3, 1));
                        tests["aws:RequestTag/eks-cluster-name"] == "blue"
                            && texts(&tests["aws:RequestTag/kubernetes-namespace"]).contains(&namespace)
                            && texts(&tests["aws:RequestTag/kubernetes-service-account"]).contains(&name)
                    });
                    let should = given.as_ref() == Some(&trust.role);
                    prop_assert!(if known.is_some() { is_in == should } else { !is_in || should }, "{text}");
                }
            }
        }
    }

    #[test]
    fn terraform_says_what_json_says((text, bounds) in a_mapping()) {
        let ruleset = mapping::compile(&text, &bounds).unwrap();
        for trust in &make(&ruleset, Sources::default()).roles {
            let policy = trust.policy(&issuers(), None);
            let document = terraform_document("x", &trust.role, &policy);
            prop_assert_eq!(statements_of(&document), policy.to_json()["Statement"].clone());
        }
    }
}

/// Reads the statements of a data source `aws_iam_policy_document`, as far as we write such.
fn statements_of(document: &str) -> Value {
    let mut statements = Vec::new();
    let (mut kind, mut condition) = (String::new(), (String::new(), String::new()));
    let mut depth = 0;
    for line in document.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        depth += line.matches(" {").count();
        let Some((key, value)) = line.split_once('=') else {
            depth -= usize::from(line.trim() == "}");
            if line.trim() == "statement {" {
                statements.push(serde_json::json!({}));
            }
            continue;
        };
        let value: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {line}"));
        let single = |value: &Value| match value.as_array().unwrap().as_slice() {
            [one] => one.clone(),
            _ => value.clone(),
        };
        let statement = statements.last_mut().unwrap();
        match key.trim() {
            "effect" => statement["Effect"] = value,
            "actions" => statement["Action"] = single(&value),
            "type" => value.as_str().unwrap().clone_into(&mut kind),
            "identifiers" => statement["Principal"][&kind] = single(&value),
            "test" => value.as_str().unwrap().clone_into(&mut condition.0),
            "variable" => value.as_str().unwrap().clone_into(&mut condition.1),
            "values" => statement["Condition"][&condition.0][&condition.1] = single(&value),
            other => panic!("{other}"),
        }
    }
    assert_eq!(depth, 0, "{document}");
    Value::Array(statements)
}
