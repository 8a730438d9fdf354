//! Which faults of an installation are found, and is nothing told of a sound one?

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::installation::{Configuration, Deployment, InForce, MappingText, Reach, Replica, Seen, served};
use crate::tls::issue;

const DAY: Duration = Duration::from_hours(24);

const IRSA: &str = "account: \"123456789012\"\nrules:\n- {name: a, match: {component: registry}, role: a}\n";
const KUBE2IAM: &str = "account: \"123456789012\"
provider: kube2iam
rules:
- {match: {component: registry}, role: a}
";

fn certificate(names: &[&str], begun: SystemTime, life: Duration) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    issue::self_signed(&names, begun, life).unwrap().certificate
}

fn entry(name: &str, policy: &str, pem: &[u8]) -> Value {
    json!({
        "name": format!("{name}.gitlab-iam-webhook"),
        "clientConfig": {"service": {"namespace": "ours", "name": "hook"}, "caBundle": STANDARD.encode(pem)},
        "failurePolicy": policy, "timeoutSeconds": 2,
        "rules": [{"operations": ["CREATE", "UPDATE"], "resources": ["serviceaccounts", "pods"]}],
        "namespaceSelector": {"matchExpressions": [
            {"key": "gitlab-iam-webhook/inject", "operator": "In", "values": ["enabled"]},
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "ours"]},
        ]},
    })
}

fn configuration(webhooks: &[Value]) -> Configuration {
    let text = json!({"metadata": {"name": "hook"}, "webhooks": webhooks});
    serde_json::from_value(text).unwrap()
}

fn deployment(args: &[&str], replicas: u32) -> Deployment {
    let args =
        [&["--mapping-config-map=ours/role-mapping", "--certificate-secret=ours/hook-tls"], args].concat();
    let container = json!({"image": "hook:1", "args": args});
    let pod = json!({"spec": {"containers": [container]}});
    serde_json::from_value(json!({"spec": {"replicas": replicas, "template": pod}})).unwrap()
}

fn replica(name: &str, pem: &[u8]) -> Replica {
    let served = Seen::There(pem.to_vec());
    Replica { name: name.to_owned(), image: "hook:1".to_owned(), is_ready: true, served }
}

fn text(config_map: &str, text: &str) -> Seen<MappingText> {
    Seen::There(MappingText { config_map: config_map.to_owned(), text: Some(text.to_owned()) })
}

/// An installation of which there is nothing to say.
fn sound(pem: &[u8]) -> Installation {
    let entries =
        [("create.serviceaccounts", "Fail"), ("update.serviceaccounts", "Ignore"), ("create.pods", "Ignore")];
    let entries = entries.map(|(name, policy)| entry(name, policy, pem));
    let mut validate = entry("validate.mapping", "Ignore", pem);
    validate["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": "ours"}});
    Installation {
        name: "hook".to_owned(),
        namespace: "ours".to_owned(),
        service: "hook".to_owned(),
        mutating: Seen::There(configuration(&entries)),
        validating: Seen::There(configuration(&[validate])),
        served_namespaces: None,
        eks_webhook: Seen::There("pod-identity-webhook".to_owned()),
        deployment: Seen::There(deployment(&[], 2)),
        endpoints: Seen::There(2),
        replicas: Seen::There(vec![replica("hook-1", pem), replica("hook-2", pem)]),
        certificate_secret: Seen::There(()),
        reach: Seen::There(Reach { is_reached: true, text: "it does".to_owned() }),
        mapping: text("ours/role-mapping", IRSA),
        last_good: text("ours/role-mapping-last-good", IRSA),
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}

fn own_certificate() -> Vec<u8> {
    certificate(&["hook.ours.svc"], now(), 90 * DAY)
}

/// What is found, as `severity check: place: what -> fix`.
fn found(installation: &Installation, at: SystemTime) -> Vec<String> {
    let in_force: Seen<InForce> = installation.in_force();
    let ruleset = in_force.there().map(|held| &held.ruleset);
    let findings = examine(installation, ruleset, at);
    for Finding { check, fix, reference, .. } in &findings {
        assert!(CHECKS.contains(check), "{check}");
        assert!(!fix.is_empty() && !reference.is_empty());
    }
    let word = |Finding { severity, check, place, what, fix, .. }: &Finding| {
        format!("{severity:?} {check}: {place}: {what} -> {fix}")
    };
    findings.iter().map(word).collect()
}

fn entries(installation: &mut Installation, change: impl Fn(&mut Vec<Value>)) {
    let pem = own_certificate();
    let names =
        [("create.serviceaccounts", "Fail"), ("update.serviceaccounts", "Ignore"), ("create.pods", "Ignore")];
    let mut entries = names.map(|(name, policy)| entry(name, policy, &pem)).to_vec();
    change(&mut entries);
    installation.mutating = Seen::There(configuration(&entries));
    // Entries with certificates of their own are served by nobody here.
    installation.replicas = Seen::There(vec![replica("hook-1", &pem), replica("hook-2", &pem)]);
    if let Seen::There(validating) = &mut installation.validating {
        validating.webhooks.clear();
        validating.webhooks.push(serde_json::from_value(entry("validate.mapping", "Ignore", &pem)).unwrap());
    }
}

#[test]
fn of_a_sound_installation_nothing_is_told() {
    let sound = sound(&own_certificate());
    assert_eq!(found(&sound, now()), [""; 0]);
    assert!(gaps(&sound).is_empty());
    assert_eq!(sound.in_force().there().unwrap().config_map, "ours/role-mapping");
}

/// What breaks an installation.
type Break = fn(&mut Installation);

#[track_caller]
fn assert_found(cases: &[(&str, Break, &[&str])]) {
    for (what, change, words) in cases {
        let mut installation = sound(&own_certificate());
        change(&mut installation);
        let told = found(&installation, now());
        let is_told = told.iter().any(|line| words.iter().all(|words| line.contains(words)));
        assert!(is_told, "{what}: {told:#?}");
        let most = match *what {
            // It is not that of the certificate that each replica serves either.
            "another caBundle" => 3,
            // The one for edits is told as well.
            "another certificate is served" => 2,
            _ => 1,
        };
        assert_eq!(told.len(), most, "{what}: {told:#?}");
    }
}

#[test]
fn an_entry_that_sends_nothing_is_found() {
    assert_found(&[
        (
            "no rules",
            |one| entries(one, |all| all[0]["rules"] = json!([])),
            &[
                "Problem registration",
                "has no rule for CREATE of serviceaccounts, so new ServiceAccounts get no role",
            ],
        ),
        (
            "rules for other requests",
            |one| {
                entries(one, |all| {
                    all[1]["rules"] = json!([{"operations": ["CREATE"], "resources": ["serviceaccounts"]}]);
                });
            },
            &["Warning registration", "has no rule for UPDATE of serviceaccounts"],
        ),
        (
            "a condition that nothing passes",
            |one| {
                entries(one, |all| {
                    all[0]["matchConditions"] = json!([{"name": "x", "expression": " false"}]);
                });
            },
            &["Problem registration", "`false`"],
        ),
        (
            "a condition of somebody else's",
            |one| {
                entries(one, |all| all[0]["matchConditions"] = json!([{"name": "x", "expression": "1 > 2"}]));
            },
            &["Warning registration", "not the chart's (x)"],
        ),
        (
            "an objectSelector",
            |one| entries(one, |all| all[0]["objectSelector"] = json!({"matchLabels": {"a": "b"}})),
            &["Warning registration", "has an objectSelector"],
        ),
    ]);
}

#[test]
fn what_is_not_sent_to_the_webhook_or_too_much_is_found() {
    assert_found(&[
        (
            "no configuration",
            |one| one.mutating = Seen::Missing,
            &["Problem registration", "neither ServiceAccounts nor Pods"],
        ),
        (
            "nobody judges edits",
            |one| one.validating = Seen::Missing,
            &["Warning registration", "ValidatingWebhookConfiguration hook", "is not refused"],
        ),
        (
            "an entry less",
            |one| entries(one, |all| drop(all.remove(0))),
            &["Problem registration", "no entry create.serviceaccounts.gitlab-iam-webhook"],
        ),
        ("no entries", |one| entries(one, Vec::clear), &["Problem registration"]),
        (
            "Pods are not sent, and the mapping is for them",
            |one| {
                entries(one, |all| drop(all.remove(2)));
                one.mapping = text("ours/role-mapping", KUBE2IAM);
            },
            &["Problem registration", "create.pods"],
        ),
        (
            "everybody is opted in",
            |one| {
                entries(one, |all| {
                    drop(all[0]["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().remove(0));
                });
            },
            &["Problem namespace-selector", "nobody opted in"],
        ),
        (
            "our own namespace is let in",
            |one| {
                entries(one, |all| {
                    drop(all[0]["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().remove(1));
                });
            },
            &["Warning namespace-selector", "lets kube-system and ours in"],
        ),
        (
            "other namespaces are watched than are sent",
            |one| one.deployment = Seen::There(deployment(&["--watch-namespace=gitlab"], 2)),
            &["Warning namespace-selector", "the Deployment repairs in gitlab"],
        ),
        (
            "a long timeout",
            |one| entries(one, |all| all[0]["timeoutSeconds"] = 30.into()),
            &["Warning timeout", "waits 30 seconds"],
        ),
        (
            "accounts are ignored",
            |one| entries(one, |all| all[0]["failurePolicy"] = "Ignore".into()),
            &["Warning failure-policy", "the role of the node"],
        ),
        (
            "Pods fail",
            |one| entries(one, |all| all[2]["failurePolicy"] = "Fail".into()),
            &["Warning failure-policy", "no Pod starts"],
        ),
        (
            "one replica",
            |one| one.deployment = Seen::There(deployment(&[], 1)),
            &["Warning failure-policy", "there is one replica"],
        ),
    ]);
}

#[test]
fn a_certificate_that_nobody_trusts_is_found() {
    assert_found(&[
        (
            "no caBundle",
            |one| entries(one, |all| all[0]["clientConfig"]["caBundle"] = Value::Null),
            &["Problem ca-bundle", "create.serviceaccounts.gitlab-iam-webhook have no caBundle"],
        ),
        (
            "a caBundle that is no PEM",
            |one| entries(one, |all| all[0]["clientConfig"]["caBundle"] = STANDARD.encode("planted").into()),
            &["Problem ca-bundle", "without a certificate in PEM"],
        ),
        (
            "another caBundle",
            |one| {
                let other = STANDARD.encode(own_certificate());
                entries(one, |all| all[1]["clientConfig"]["caBundle"] = other.clone().into());
            },
            &["Warning ca-bundle", "update.serviceaccounts.gitlab-iam-webhook have another caBundle"],
        ),
        (
            "another certificate is served",
            |one| {
                if let Seen::There(replicas) = &mut one.replicas {
                    replicas[0].served = Seen::There(own_certificate());
                }
            },
            &["Problem certificate", "Pod ours/hook-1", "BadSignature"],
        ),
        (
            "the mounted Secret is gone",
            |one| {
                if let Seen::There(deployment) = &mut one.deployment {
                    deployment.mounted_secret = Some("cert".to_owned());
                }
                one.certificate_secret = Seen::Missing;
            },
            &["Problem certificate", "Secret ours/cert"],
        ),
    ]);
}

#[test]
fn a_webhook_that_does_not_run_or_is_not_reached_is_found() {
    assert_found(&[
        ("no Deployment", |one| one.deployment = Seen::Missing, &["Problem deployment", "it does not exist"]),
        (
            "no replicas",
            |one| one.deployment = Seen::There(deployment(&[], 0)),
            &["Problem deployment", "asks for 0 replicas"],
        ),
        (
            "a replica is not ready",
            |one| {
                if let Seen::There(replicas) = &mut one.replicas {
                    replicas[1].is_ready = false;
                }
            },
            &["Warning deployment", "1 of 2 replicas are ready (not ready: hook-2)"],
        ),
        (
            "no replica is ready",
            |one| {
                if let Seen::There(replicas) = &mut one.replicas {
                    for replica in replicas.iter_mut() {
                        replica.is_ready = false;
                    }
                }
            },
            &["Problem deployment", "0 of 2 replicas are ready"],
        ),
        (
            "a replica is not there",
            |one| one.deployment = Seen::There(deployment(&[], 3)),
            &["Warning deployment", "2 of 3"],
        ),
        (
            "no endpoints",
            |one| one.endpoints = Seen::There(0),
            &["Problem endpoints", "new ServiceAccounts are refused"],
        ),
        (
            "two versions",
            |one| {
                if let Seen::There(replicas) = &mut one.replicas {
                    "hook:2".clone_into(&mut replicas[1].image);
                }
            },
            &["Warning versions", "hook:1, hook:2"],
        ),
        (
            "it is not reached",
            |one| {
                one.reach =
                    Seen::There(Reach { is_reached: false, text: "the API server does not".to_owned() });
            },
            &["Problem reach", "the API server does not"],
        ),
    ]);
}

#[test]
fn a_mapping_that_cannot_decide_is_found() {
    assert_found(&[
        (
            "no mapping",
            |one| one.mapping = Seen::Missing,
            &[
                "Problem mapping",
                "ConfigMap ours/role-mapping: it does not exist",
                "the last good mapping decides (ours/role-mapping-last-good)",
                "kubectl -n ours create configmap role-mapping --from-file=mapping.yaml; \
                 ours/role-mapping-last-good holds the last good text",
            ],
        ),
        (
            "no mapping at all",
            |one| (one.mapping, one.last_good) = (Seen::Missing, Seen::Missing),
            &["Problem mapping", "no role is given"],
        ),
        (
            "no key",
            |one| {
                one.mapping =
                    Seen::There(MappingText { config_map: "ours/role-mapping".to_owned(), text: None });
            },
            &["Problem mapping", "it has no key mapping.yaml"],
        ),
        (
            "a broken mapping",
            |one| one.mapping = text("ours/role-mapping", "ruels: []\n"),
            &["Problem mapping", "unknown key `ruels`", "the last good mapping decides"],
        ),
        (
            "a broken mapping, and nobody knows what is kept",
            |one| {
                one.mapping = text("ours/role-mapping", "ruels: []\n");
                one.last_good = Seen::Unread("forbidden".to_owned());
            },
            &["Problem mapping", "where there is one"],
        ),
        (
            "an option that nobody can read",
            |one| one.deployment = Seen::There(deployment(&["--allowed-role="], 2)),
            &["Problem mapping", "--allowed-role"],
        ),
        ("no webhook of EKS", |one| one.eks_webhook = Seen::Missing, &["Warning eks-webhook"]),
    ]);
}

#[test]
fn what_could_not_be_read_is_no_fault_and_is_told() {
    let mut blind = sound(&own_certificate());
    let why = || "forbidden".to_owned();
    blind.mutating = Seen::Unread(why());
    blind.validating = Seen::Unread(why());
    blind.eks_webhook = Seen::Unread(why());
    blind.deployment = Seen::Unread(why());
    blind.endpoints = Seen::Unread(why());
    blind.replicas = Seen::Unread(why());
    blind.certificate_secret = Seen::Unread(why());
    blind.reach = Seen::Unread(why());
    blind.mapping = Seen::Unread(why());
    blind.last_good = Seen::Unread(why());
    assert_eq!(found(&blind, now()), [""; 0]);
    let unread = gaps(&blind);
    assert_eq!(unread.len(), 11, "{unread:?}");
    assert!(unread.iter().all(|one| one.why == "forbidden" && !one.what.is_empty()));
    assert!(blind.in_force().unread().is_some(), "the mapping may be another one than the last good one");
}

#[test]
fn a_certificate_is_told_before_and_after_its_end_and_under_another_name() {
    let begun = now();
    let pem = certificate(&["hook.ours.svc"], begun, 90 * DAY);
    let told = |installation: &Installation, days: u32| found(installation, begun + days * DAY);
    let mut one = sound(&pem);
    assert_eq!(told(&one, 70), [""; 0], "a third of its life is left, or a little less");
    let late = told(&one, 80);
    assert_eq!(late.len(), 2, "one for each replica: {late:#?}");
    assert!(late[0].contains("Warning certificate: Pod ours/hook-1: the certificate ends at"), "{late:#?}");
    let ended = told(&one, 91);
    assert!(
        ended.iter().any(|line| line.contains("Problem ca-bundle") && line.contains("that ended at")),
        "{ended:#?}"
    );
    assert!(
        ended.iter().any(|line| line.contains("Problem certificate: Pod ours/hook-1")
            && line.contains("the certificate ended at")),
        "{ended:#?}"
    );

    // Where no certificate was seen, the one that is trusted tells.
    let unseen = |replica: Replica| Replica { served: Seen::Unread("forbidden".to_owned()), ..replica };
    one.replicas = one.replicas.map(|replicas| replicas.into_iter().map(unseen).collect());
    let late = told(&one, 80);
    assert_eq!(late.len(), 1, "{late:#?}");
    assert!(late[0].contains("MutatingWebhookConfiguration hook: the certificate ends at"), "{late:#?}");

    let misnamed = sound(&certificate(&["other.ours.svc"], begun, 90 * DAY));
    let told = told(&misnamed, 0);
    assert!(told[0].contains("the API server calls hook.ours.svc: "), "{told:#?}");
}

#[test]
fn a_long_bundle_is_not_looked_at_and_that_is_told() {
    let mut one = sound(&own_certificate());
    entries(&mut one, |all| all[0]["clientConfig"]["caBundle"] = "YQ==".repeat(20_000).into());
    assert_eq!(found(&one, now()), [""; 0]);
    let unread = gaps(&one);
    assert_eq!(unread.len(), 1);
    assert_eq!(unread[0].what, "the caBundle of the entry create.serviceaccounts.gitlab-iam-webhook");
}

#[test]
fn the_namespaces_that_are_served_are_those_of_all_installations() {
    let only = |names: &[&str]| -> Configuration {
        let requirement = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": names});
        let selector = if names.is_empty() { json!({}) } else { json!({"matchExpressions": [requirement]}) };
        serde_json::from_value(json!({"webhooks": [{"name": "a", "namespaceSelector": selector}]})).unwrap()
    };
    let names = |all: &[Configuration]| served(all).map(|names| names.join(" "));
    assert_eq!(names(&[only(&["b"]), only(&["a", "b"])]).as_deref(), Some("a b"));
    assert_eq!(names(&[only(&["b"]), only(&[])]), None, "the second one works in all");
    assert_eq!(names(&[Configuration::default()]), None);
    assert_eq!(names(&[]), None);
}

#[test]
fn ours_and_that_of_eks_are_known_by_labels_and_names() {
    let named = |name: &str, label: Option<&str>, entry: &str| -> Configuration {
        let labels = label.map(|value| json!({"app.kubernetes.io/name": value}));
        let text = json!({"metadata": {"name": name, "labels": labels}, "webhooks": [{"name": entry}]});
        serde_json::from_value(text).unwrap()
    };
    for (one, ours, eks) in [
        (named("x", Some("gitlab-iam-webhook"), "a.b"), true, false),
        (named("x", Some("renamed"), "create.pods.gitlab-iam-webhook"), true, false),
        (named("x", None, "create.pods.example.com"), false, false),
        (named("pod-identity-webhook", None, "a.b"), false, true),
        (named("x", None, "iam-for-pods.amazonaws.com"), false, true),
        (named("vpc-resource-mutating-webhook", None, "mpod.vpc.k8s.aws"), false, false),
    ] {
        assert_eq!((one.is_ours(), one.is_of_eks()), (ours, eks), "{one:?}");
    }
}
