//! What does each answer to a probe mean, and what is told of it?

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::cluster::configurations::read;
use crate::cluster::failure::Refusal;

const OURS: &str = "admission webhook \"validate.mapping\" denied the request: mapping.yaml has 1 problem";

/// A configuration with entries of this name, Service, port and caBundle.
fn configuration(entries: &[(&str, &str, u16, &str)]) -> Configuration {
    let entry = |(name, service, port, bundle): &(&str, &str, u16, &str)| {
        let service = json!({"name": service, "namespace": "ns", "port": port});
        json!({"name": name, "clientConfig": {"service": service, "caBundle": bundle}})
    };
    let webhooks: Vec<Value> = entries.iter().map(entry).collect();
    let text = json!({"metadata": {"resourceVersion": "1"}, "webhooks": webhooks}).to_string();
    read(&RawValue::from_string(text).unwrap()).unwrap()
}

fn asked() -> Asked {
    Asked { last_good: "ns/role-mapping-last-good".parse().unwrap(), configuration: "hook".to_owned() }
}

fn refused(code: u16, message: &str) -> Answer {
    Answer::of(Err(Failure::Refused(Refusal::new(code, message, None))))
}

fn check(
    what: &str,
    answer: Answer,
    validating: Option<&Configuration>,
    mutating: Option<&Configuration>,
    (reach, words): (Reach, &str),
) {
    let outcome = judge(&asked(), answer, validating, mutating);
    assert_eq!(outcome.reach(), reach, "{what}: {outcome}");
    assert!(outcome.to_string().contains(words), "{what}: {outcome}");
}

#[test]
fn each_answer_has_its_meaning_and_a_sentence_that_says_what_to_do() {
    let validating = configuration(&[("validate.mapping", "hook", 443, "YQ==")]);
    let mutating = configuration(&[("create", "hook", 443, "YQ=="), ("pods", "hook", 443, "YQo=")]);
    let failed = |webhook: &str| {
        let why = "failed to call webhook: context deadline exceeded";
        format!("Internal error occurred: failed calling webhook \"{webhook}\": {why}")
    };
    let denied =
        |webhook: &str, words: &str| format!("admission webhook \"{webhook}\" denied the request: {words}");
    let forbidden = "configmaps \"role-mapping-last-good\" is forbidden: User \"x\" cannot patch";
    let policy = "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'hook-mapping' denied request: no";
    for (code, message, reach, words) in [
        (422, OURS, Reach::Reached, "reaches the webhook (hook.ns.svc:443)"),
        (422, OURS, Reach::Reached, "this holds for the one API server that answered"),
        // The failure policy was made Fail.
        (
            500,
            &*failed("validate.mapping"),
            Reach::NotReached,
            "it says: failed to call webhook: context deadline",
        ),
        (403, forbidden, Reach::RefusedElsewhere, "allow this account to patch and create it"),
        (403, forbidden, Reach::RefusedElsewhere, "User \"x\" cannot patch"),
        (422, policy, Reach::RefusedElsewhere, "'hook-mapping' denied request"),
        (
            400,
            &denied("other", "mapping.yaml has 1 problem"),
            Reach::RefusedElsewhere,
            "webhook \"other\" denied",
        ),
        (400, &denied("other", OURS), Reach::RefusedElsewhere, "webhook \"other\" denied"),
        (500, &failed("other"), Reach::RefusedElsewhere, "failed calling webhook \"other\""),
        (
            500,
            &denied("other", &failed("validate.mapping")),
            Reach::RefusedElsewhere,
            "webhook \"other\" denied",
        ),
        // Something else answers at our Service.
        (400, &denied("validate.mapping", "no"), Reach::RefusedElsewhere, "denied the request: no"),
        (429, "too many requests", Reach::NotAnswered, "too many requests"),
        (503, "not now", Reach::NotAnswered, "not now"),
        (401, "Unauthorized", Reach::NotAnswered, "Unauthorized"),
    ] {
        check(message, refused(code, message), Some(&validating), Some(&mutating), (reach, words));
    }
    let silence = Answer::of(Err(Failure::TooLate(Duration::from_secs(10))));
    check("silence", silence, None, None, (Reach::NotAnswered, "no answer within 10s"));
    let unread = Answer::unread(&asked(), &Failure::Refused(Refusal::new(403, "cannot get", None)));
    let words = "reading the webhook configurations hook: cannot get; see that";
    check("unread", unread, None, None, (Reach::NotAnswered, words));
}

#[test]
fn every_entry_must_lead_to_the_same_place_and_trust_the_same() {
    let validating = configuration(&[("validate.mapping", "hook", 443, "YQ==")]);
    let mutating = |service, port, bundle| {
        configuration(&[("create", "hook", 443, "YQ=="), ("pods", service, port, bundle)])
    };
    for (mutating, reach, words) in [
        (Some(mutating("hook", 443, "YQo=")), Reach::Reached, "hook.ns.svc"),
        (
            Some(mutating("hook", 443, "Yg==")),
            Reach::Differs,
            "the entry pods of MutatingWebhookConfiguration hook has another caBundle",
        ),
        (Some(mutating("hook", 443, "")), Reach::Differs, "has another caBundle"),
        (
            Some(mutating("other", 443, "YQ==")),
            Reach::Differs,
            "leads to other.ns.svc:443 instead of hook.ns.svc:443",
        ),
        (
            Some(mutating("hook", 8443, "YQ==")),
            Reach::Differs,
            "leads to hook.ns.svc:8443 instead of hook.ns.svc:443",
        ),
        (None, Reach::NotRegistered, "no MutatingWebhookConfiguration hook"),
        (Some(configuration(&[])), Reach::NotRegistered, "no MutatingWebhookConfiguration hook"),
    ] {
        check(words, refused(422, OURS), Some(&validating), mutating.as_ref(), (reach, words));
    }
    let untrusted = configuration(&[("validate.mapping", "hook", 443, "")]);
    for (validating, reach, words) in [
        (
            Some(&validating),
            Reach::NotReached,
            "and only its own log says why; let the control plane connect",
        ),
        (Some(&validating), Reach::NotReached, "docs/eks.md"),
        (Some(&untrusted), Reach::NotReached, "the entry validate.mapping has no caBundle"),
        (None, Reach::NotRegistered, "no ValidatingWebhookConfiguration hook"),
        (Some(&configuration(&[])), Reach::NotRegistered, "no ValidatingWebhookConfiguration hook"),
    ] {
        check(words, Answer::Admitted, validating, None, (reach, words));
    }
}

#[test]
fn what_others_write_becomes_one_line() {
    let outcome = judge(&asked(), refused(403, "no\n\u{1b}[2Jreached"), None, None);
    assert!(outcome.to_string().ends_with("no  [2Jreached"), "{outcome}");
}

#[test]
fn a_change_is_told_once_and_what_is_bad_only_when_it_is_confirmed() {
    use Reach::{NotAnswered, NotReached, Reached};
    let mut report = Report::default();
    for (step, (reach, is_sure, is_news, wait)) in [
        (Reached, true, true, INTERVAL),
        (Reached, true, false, INTERVAL),
        (NotReached, false, false, CONFIRM),
        (Reached, true, false, INTERVAL),
        (NotReached, false, false, CONFIRM),
        (NotReached, true, true, INTERVAL_WHILE_NOT_REACHED),
        (NotReached, true, false, INTERVAL_WHILE_NOT_REACHED),
        (NotAnswered, false, false, CONFIRM),
        (NotReached, true, false, INTERVAL_WHILE_NOT_REACHED),
        (Reached, true, true, INTERVAL),
        (NotAnswered, false, false, CONFIRM),
        // Two bad ones that take turns are told, and are not asked for ever sooner.
        (NotReached, true, true, INTERVAL_WHILE_NOT_REACHED),
        (NotAnswered, false, false, CONFIRM),
        (NotReached, true, false, INTERVAL_WHILE_NOT_REACHED),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(report.hear(reach), Next { is_sure, is_news, wait }, "step {step}");
    }
}
