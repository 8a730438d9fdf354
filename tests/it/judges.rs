//! Does `trust-policy --verify` judge an existing trust policy as the tests' own STS does?
//!
//! The two were written from IAM's documentation apart from each other. What `--verify` cannot judge it calls
//! unknown, and nothing is asked of that.

use std::collections::BTreeMap;

use gitlab_iam_webhook::trust_policy::evaluation::{Judgement, Known, Request, evaluate};
use gitlab_iam_webhook::trust_policy::policy::Principal;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use crate::aws_sts::{self, Policy};

const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/issuer.example.com";
const OTHER: &str = "arn:aws:iam::123456789012:oidc-provider/b.example.com";
const NAMES: [&str; 7] = ["gitlab:a", "gitlab:b", "gitlab:ab", "ci-a:a", "ci-ab:b", "ci-:a", "Gitlab:a"];
const PATTERNS: [&str; 9] =
    ["gitlab:*", "*:a", "ci-*:*", "ci-?:*", "*", "gitlab:a*", "?itlab:b", "gitlab:", "[g]*:a"];
const OPERATORS: [&str; 7] = [
    "StringEquals",
    "StringNotEquals",
    "StringLike",
    "StringNotLike",
    "StringEqualsIgnoreCase",
    "StringLikeIfExists",
    "StringNotEqualsIfExists",
];

fn subject(name: &str) -> String {
    format!("system:serviceaccount:{name}")
}

fn one_or_many(values: Vec<String>) -> Value {
    match <[String; 1]>::try_from(values) {
        Ok([one]) => one.into(),
        Err(many) => many.into(),
    }
}

fn subjects() -> impl Strategy<Value = Value> {
    let all: Vec<&str> = NAMES.into_iter().chain(PATTERNS).collect();
    let value = prop_oneof![
        12 => select(all).prop_map(subject),
        1 => Just("${issuer.example.com:sub}".to_owned()),
        1 => Just("*".to_owned()),
    ];
    vec(value, 1..3).prop_map(one_or_many)
}

/// A condition on one key.
fn condition() -> impl Strategy<Value = (String, String, Value)> {
    let sub = select(vec!["issuer.example.com:sub", "issuer.example.com:SUB", "b.example.com:sub"]);
    let aud = select(vec!["issuer.example.com:aud", "b.example.com:aud"]);
    let audiences =
        select(vec![json!("sts.amazonaws.com"), json!(["vault", "sts.amazonaws.com"]), json!("s*")]);
    let (operator, other) = (select(OPERATORS.to_vec()), select(OPERATORS.to_vec()));
    prop_oneof![
        3 => (operator, sub, subjects()).prop_map(|(o, k, v)| (o.to_owned(), k.to_owned(), v)),
        1 => (other, aud, audiences).prop_map(|(o, k, v)| (o.to_owned(), k.to_owned(), v)),
    ]
}

fn statement() -> impl Strategy<Value = Value> {
    let effect = prop_oneof![3 => Just("Allow"), 1 => Just("Deny")];
    let principal = prop_oneof![
        6 => Just(json!({"Federated": PROVIDER})),
        1 => Just(json!({"Federated": OTHER})),
        1 => Just(json!({"Federated": [OTHER, PROVIDER]})),
        1 => Just(json!("*")),
    ];
    let actions =
        vec!["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "STS:Assume*", "sts:AssumeRole", "sts:*"];
    let action = prop_oneof![
        4 => Just(json!("sts:AssumeRoleWithWebIdentity")),
        1 => subsequence(actions, 1..3).prop_map(|all| json!(all)),
    ];
    (effect, principal, action, vec(condition(), 0..3)).prop_map(|(effect, principal, action, conditions)| {
        let mut operators = Map::new();
        for (operator, key, values) in conditions {
            operators.entry(operator).or_insert_with(|| json!({}))[key] = values;
        }
        json!({"Effect": effect, "Principal": principal, "Action": action, "Condition": operators})
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let version = prop_oneof![4 => Just(Some("2012-10-17")), 1 => Just(Some("2008-10-17")), 1 => Just(None)];
    (version, vec(statement(), 1..4)).prop_map(|(version, statements)| {
        let mut policy = json!({"Statement": statements});
        if let Some(version) = version {
            policy["Version"] = version.into();
        }
        policy
    })
}

fn judged(policy: &Value, subject: Known, audience: &str) -> Judgement {
    let context = vec![
        ("issuer.example.com:aud".to_owned(), Known::Value(audience.to_owned())),
        ("issuer.example.com:sub".to_owned(), subject),
    ];
    let principal = Principal::Federated(PROVIDER.to_owned());
    evaluate(policy, &Request { principal, action: "sts:AssumeRoleWithWebIdentity", context })
}

fn is_let_in(policy: &Policy, subject: String, audience: &str) -> bool {
    let keys = BTreeMap::from([
        ("issuer.example.com:aud".to_owned(), vec![audience.to_owned()]),
        ("issuer.example.com:sub".to_owned(), vec![subject]),
    ]);
    let action = "sts:AssumeRoleWithWebIdentity";
    policy.lets_in(&aws_sts::Request { provider: PROVIDER, action, keys })
}

/// Of a policy without surprises something must be known, or all of this shows nothing.
#[test]
fn what_is_plain_is_judged() {
    let plain = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {"issuer.example.com:sub": subject("gitlab:a")}},
    }});
    assert_eq!(judged(&plain, Known::Value(subject("gitlab:a")), "any"), Judgement::Allowed);
    let refused = judged(&plain, Known::Value(subject("gitlab:b")), "any");
    assert!(matches!(refused, Judgement::Refused(_)), "{refused:?}");
}

fn many() -> ProptestConfig {
    ProptestConfig { cases: 4096, ..ProptestConfig::default() }
}

/// What was judged is so, if it is known.
fn agrees(judgement: &Judgement, let_in: bool, about: &str) -> Result<(), TestCaseError> {
    match judgement {
        Judgement::Allowed => prop_assert!(let_in, "{about}: said to be allowed"),
        Judgement::Refused(why) => prop_assert!(!let_in, "{about}: said to be refused, {why:?}"),
        Judgement::Unknown(_) => {}
    }
    Ok(())
}

#[test]
fn what_verify_is_sure_of_is_so() {
    proptest!(many(), |(policy in policy())| {
        let judge = Policy::read(&policy).unwrap();
        for audience in ["sts.amazonaws.com", "vault"] {
            for name in NAMES {
                let judgement = judged(&policy, Known::Value(subject(name)), audience);
                agrees(&judgement, is_let_in(&judge, subject(name), audience), name)?;
            }
        }
    });
}

/// Of a pattern it is only sure where it is of every name for which the pattern stands.
#[test]
fn what_verify_is_sure_of_a_pattern_is_so_for_every_name_of_it() {
    let (pattern, except) = (select(PATTERNS.to_vec()), subsequence(PATTERNS.to_vec(), 0..3));
    proptest!(many(), |(policy in policy(), pattern in pattern, except in except)| {
        let judge = Policy::read(&policy).unwrap();
        let like = Known::Like {
            pattern: subject(pattern),
            except: except.iter().map(|except| subject(except)).collect(),
        };
        let judgement = judged(&policy, like, "sts.amazonaws.com");
        let is_meant =
            |name: &&str| matches(pattern, name) && !except.iter().any(|except| matches(except, name));
        for name in NAMES.iter().filter(|name| is_meant(name)) {
            agrees(&judgement, is_let_in(&judge, subject(name), "sts.amazonaws.com"), name)?;
        }
    });
}

/// By the judge's own reading of `StringLike`.
fn matches(pattern: &str, name: &str) -> bool {
    let policy = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": "*", "Action": "sts:*",
        "Condition": {"StringLike": {"issuer.example.com:sub": subject(pattern)}},
    }});
    is_let_in(&Policy::read(&policy).unwrap(), subject(name), "any")
}
