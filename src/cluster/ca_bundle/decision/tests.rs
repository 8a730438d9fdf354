//! What is written into caBundle, and when is the webhook ready, for everything that can be seen?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::cluster::configurations::read;
use crate::tls::issue;

const DAY: Duration = Duration::from_hours(24);

fn certificate() -> Pair {
    issue::self_signed(&["hook.ns.svc".to_owned()], SystemTime::now(), DAY).unwrap()
}

/// The two configurations as the API server holds them, which applies patches as the API server does.
struct Cluster([Option<Value>; 2]);

impl Cluster {
    /// With entries of these names; none where there is no configuration.
    fn new(mutating: Option<&[&str]>, validating: Option<&[&str]>) -> Self {
        let configuration = |names: &[&str]| {
            let service = json!({"name": "hook", "namespace": "ns"});
            let entry = |name: &&str| json!({"name": name, "clientConfig": {"service": service}});
            let webhooks: Vec<Value> = names.iter().map(entry).collect();
            json!({"metadata": {"resourceVersion": "1"}, "webhooks": webhooks})
        };
        Self([mutating.map(configuration), validating.map(configuration)])
    }

    fn at(&mut self, kind: Kind) -> &mut Option<Value> {
        let [mutating, validating] = &mut self.0;
        match kind {
            Kind::Mutating => mutating,
            Kind::Validating => validating,
        }
    }

    fn bundle(&mut self, kind: Kind, entry: usize) -> &mut Value {
        &mut self.at(kind).as_mut().unwrap()["webhooks"][entry]["clientConfig"]["caBundle"]
    }

    /// Somebody changes a bundle.
    fn set(&mut self, kind: Kind, entry: usize, bundle: &[u8]) {
        *self.bundle(kind, entry) = STANDARD.encode(bundle).into();
        self.change(kind);
    }

    fn change(&mut self, kind: Kind) -> String {
        let version = &mut self.at(kind).as_mut().unwrap()["metadata"]["resourceVersion"];
        let next = (version.as_str().unwrap().parse::<u32>().unwrap() + 1).to_string();
        *version = next.clone().into();
        next
    }

    /// The version that a patch made; none for a conflict.
    fn patch(&mut self, kind: Kind, patch: &json_patch::Patch) -> Option<String> {
        let object = self.at(kind).as_mut()?;
        let before = object["metadata"]["resourceVersion"].clone();
        let mut patched = object.clone();
        json_patch::patch(&mut patched, patch).ok()?;
        if patched["metadata"]["resourceVersion"] != before {
            return None;
        }
        *object = patched;
        Some(self.change(kind))
    }

    fn show(&mut self, kind: Kind, seen: &mut WebhookConfigurations) {
        let object = self
            .at(kind)
            .as_ref()
            .map(|object| read(&RawValue::from_string(object.to_string()).unwrap()).unwrap());
        seen.observe(kind, object.into());
    }

    fn show_both(&mut self, seen: &mut WebhookConfigurations) {
        self.show(Kind::Mutating, seen);
        self.show(Kind::Validating, seen);
    }

    /// Does what is to be done now, and tells which entries were patched.
    fn write(&mut self, seen: &mut WebhookConfigurations, bundle: &[u8], now: Instant) -> Vec<String> {
        let patches = match seen.next_write(bundle, now) {
            NextWrite::Patch { patches, .. } => patches,
            NextWrite::Nothing => return Vec::new(),
            NextWrite::Wait(rest) => panic!("to wait for {rest:?}"),
        };
        let mut paths = Vec::new();
        for (kind, patch) in patches {
            let added =
                patch.0.iter().filter(|operation| matches!(operation, json_patch::PatchOperation::Add(_)));
            paths.extend(added.map(|operation| format!("{kind:?}{}", operation.path())));
            let version = self.patch(kind, &patch).expect("what was seen is the newest");
            seen.written(kind, bundle, version);
        }
        paths
    }
}

fn seen() -> WebhookConfigurations {
    WebhookConfigurations::new("hook".to_owned())
}

fn why(seen: &WebhookConfigurations, served: Option<&Pair>) -> String {
    seen.unready(served, SystemTime::now()).map(|reason| reason.to_string()).unwrap_or_default()
}

#[test]
fn every_entry_without_the_bundle_gets_it_and_no_other_is_touched() {
    let (ours, foreign) = (certificate(), certificate());
    let (ours, foreign) = (&*ours.certificate, &*foreign.certificate);
    let all = |mutating: [&[u8]; 2], validating: &[u8]| {
        let mut cluster = Cluster::new(Some(&["a", "b"]), Some(&["c"]));
        cluster.set(Kind::Mutating, 0, mutating[0]);
        cluster.set(Kind::Mutating, 1, mutating[1]);
        cluster.set(Kind::Validating, 0, validating);
        cluster
    };
    let (a, b, c) = (
        "Mutating/webhooks/0/clientConfig/caBundle",
        "Mutating/webhooks/1/clientConfig/caBundle",
        "Validating/webhooks/0/clientConfig/caBundle",
    );
    let both = [ours, foreign].concat();
    let cases: [(&str, Cluster, &[&str]); 10] = [
        ("all have it", all([ours, ours], ours), &[]),
        ("none has one", Cluster::new(Some(&["a", "b"]), Some(&["c"])), &[a, b, c]),
        ("one was cleared", all([ours, b""], ours), &[b]),
        ("one has another one", all([foreign, ours], ours), &[a]),
        ("one has more than that", all([ours, &both], ours), &[b]),
        ("one of the validating entries has none", all([ours, ours], b""), &[c]),
        ("there are no entries", Cluster::new(Some(&[]), Some(&[])), &[]),
        ("there is no validating one", Cluster::new(Some(&["a"]), None), &[a]),
        ("there is no mutating one", Cluster::new(None, Some(&["c"])), &[c]),
        ("there is neither", Cluster::new(None, None), &[]),
    ];
    for (what, mut cluster, patched) in cases {
        let (mut seen, now) = (seen(), Instant::now());
        cluster.show_both(&mut seen);
        assert_eq!(cluster.write(&mut seen, ours, now), patched, "{what}");
        assert_eq!(seen.next_write(ours, now), NextWrite::Nothing, "{what}: it is done");
        cluster.show_both(&mut seen);
        assert_eq!(seen.next_write(ours, now), NextWrite::Nothing, "{what}: the watch shows it");
    }
}

#[test]
fn what_was_not_seen_is_not_written_and_what_was_seen_does_not_wait_for_it() {
    let (ours, now) = (certificate(), Instant::now());
    let (mut seen, mut cluster) = (seen(), Cluster::new(Some(&["a"]), Some(&["c"])));
    assert_eq!(seen.next_write(&ours.certificate, now), NextWrite::Nothing);
    cluster.show(Kind::Mutating, &mut seen);
    assert_eq!(cluster.write(&mut seen, &ours.certificate, now).len(), 1);
    assert_eq!(why(&seen, Some(&ours)), "the webhook configurations hook have not been read yet");
    assert!(!seen.trusted().all_trust(&ours.certificate), "not all of them are known");
    cluster.show(Kind::Validating, &mut seen);
    let later = now + Duration::from_secs(1);
    assert_eq!(cluster.write(&mut seen, &ours.certificate, later).len(), 1);
    assert_eq!(why(&seen, Some(&ours)), "");
    assert!(seen.trusted().all_trust(&ours.certificate));
}

#[test]
fn an_empty_bundle_is_never_written() {
    let (ours, mut seen) = (certificate(), seen());
    let mut cluster = Cluster::new(Some(&["a"]), Some(&["c"]));
    cluster.set(Kind::Mutating, 0, &ours.certificate);
    cluster.show_both(&mut seen);
    assert_eq!(seen.next_write(b"", Instant::now()), NextWrite::Nothing);
}

#[test]
fn an_entry_that_moved_meanwhile_is_not_given_what_belongs_to_another_one() {
    let (ours, mut seen) = (certificate(), seen());
    let mut cluster = Cluster::new(Some(&["a", "b"]), Some(&[]));
    cluster.set(Kind::Mutating, 0, &ours.certificate);
    cluster.show_both(&mut seen);
    let NextWrite::Patch { mut patches, .. } = seen.next_write(&ours.certificate, Instant::now()) else {
        panic!("b has no bundle")
    };
    let (kind, patch) = patches.remove(0);
    // The same version, so that it is the test of the name that refuses it.
    cluster.at(Kind::Mutating).as_mut().unwrap()["webhooks"].as_array_mut().unwrap().swap(0, 1);
    assert_eq!(cluster.patch(kind, &patch), None);
    cluster.at(Kind::Mutating).as_mut().unwrap()["webhooks"].as_array_mut().unwrap().swap(0, 1);
    assert!(cluster.patch(kind, &patch).is_some());
}

#[test]
fn after_conflicts_in_a_row_it_is_tried_again_after_a_second_and_then_ever_later() {
    let (ours, mut seen) = (certificate(), seen());
    let mut cluster = Cluster::new(Some(&["a"]), Some(&["c"]));
    let mut now = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..9 {
        cluster.show_both(&mut seen);
        // Another replica is faster each time, and what it wrote is not seen yet.
        cluster.change(Kind::Mutating);
        let NextWrite::Patch { patches, .. } = seen.next_write(&ours.certificate, now) else {
            panic!("no entry has the bundle")
        };
        let (kind, patch) = &patches[0];
        assert_eq!(cluster.patch(*kind, patch), None, "a conflict");
        let wait = seen.write_failed(now);
        waits.push(wait.as_secs_f64());
        now += wait;
    }
    assert_eq!(waits, [1.0, 1.0, 1.0, 1.0, 1.0, 1.6, 3.2, 6.4, 12.8]);
    cluster.show_both(&mut seen);
    assert_eq!(cluster.write(&mut seen, &ours.certificate, now).len(), 2, "nobody is faster now");
    assert_eq!(why(&seen, Some(&ours)), "");
}

#[test]
fn somebody_who_clears_a_bundle_again_and_again_is_answered_ever_more_slowly_and_told() {
    let (ours, mut seen) = (certificate(), seen());
    let mut cluster = Cluster::new(Some(&["a"]), None);
    let (mut now, begun) = (Instant::now(), Instant::now());
    let (mut writes, mut contended_after) = (0, None);
    while now < begun + Duration::from_mins(5) {
        cluster.set(Kind::Mutating, 0, b"");
        cluster.show_both(&mut seen);
        match seen.next_write(&ours.certificate, now) {
            NextWrite::Nothing => panic!("it was cleared"),
            NextWrite::Wait(rest) => now += rest,
            NextWrite::Patch { patches, is_contended } => {
                let version = cluster.patch(Kind::Mutating, &patches[0].1).unwrap();
                seen.written(Kind::Mutating, &ours.certificate, version);
                writes += 1;
                if is_contended {
                    contended_after.get_or_insert(writes);
                }
            }
        }
    }
    assert!((15..=20).contains(&writes), "{writes} in five minutes");
    assert_eq!(contended_after, Some(6));
    // It lasts for a while: the next change is answered at once.
    now += Duration::from_mins(3);
    cluster.set(Kind::Mutating, 0, b"");
    cluster.show_both(&mut seen);
    assert_eq!(cluster.write(&mut seen, &ours.certificate, now).len(), 1);
}

#[test]
fn ready_is_who_is_registered_and_trusted_and_the_reason_says_what_is_missing() {
    let (ours, foreign) = (certificate(), certificate());
    let configurations = |mutating: &[u8], validating: &[u8]| {
        let mut cluster = Cluster::new(Some(&["a"]), Some(&["c"]));
        cluster.set(Kind::Mutating, 0, mutating);
        cluster.set(Kind::Validating, 0, validating);
        cluster
    };
    let (own, other) = (&*ours.certificate, &*foreign.certificate);
    let both = [own, other].concat();
    let refused = "the caBundle of webhook a does not let the API server in: ";
    for (what, mut cluster, served, reason, is_judged) in [
        ("both trust it", configurations(own, own), Some(&ours), "", true),
        ("both trust it and another one", configurations(&both, &both), Some(&ours), "", true),
        ("before there is one", configurations(own, own), None, "there is no certificate yet", true),
        ("cleared", configurations(b"", own), Some(&ours), refused, true),
        ("rubbish", configurations(b"rubbish", own), Some(&ours), refused, true),
        ("another one", configurations(other, own), Some(&ours), refused, true),
        ("only the mapping's edits are unjudged", configurations(own, other), Some(&ours), "", false),
        (
            "not registered",
            Cluster::new(None, Some(&["c"])),
            Some(&ours),
            "there is no MutatingWebhookConfiguration hook: nothing reaches the webhook",
            false,
        ),
        (
            "no /validate",
            {
                let mut cluster = configurations(own, own);
                *cluster.at(Kind::Validating) = None;
                cluster
            },
            Some(&ours),
            "",
            true,
        ),
    ] {
        let mut seen = seen();
        cluster.show_both(&mut seen);
        let why = why(&seen, served);
        assert!(why.starts_with(reason) && (why.is_empty() == reason.is_empty()), "{what}: {why}");
        let judged = seen.edits_not_judged(served, SystemTime::now()).is_none();
        assert_eq!(judged, is_judged, "{what}");
    }
}

#[test]
fn somebody_else_who_writes_the_bundle_makes_it_ready_and_the_end_of_the_certificate_unready() {
    let (ours, mut seen) = (certificate(), seen());
    let mut cluster = Cluster::new(Some(&["a"]), Some(&["c"]));
    cluster.show_both(&mut seen);
    assert!(why(&seen, Some(&ours)).contains("webhook a does not let the API server in"));
    // cert-manager's cainjector fills one after the other.
    cluster.set(Kind::Validating, 0, &ours.certificate);
    cluster.show(Kind::Validating, &mut seen);
    assert!(why(&seen, Some(&ours)).contains("webhook a does not let the API server in"));
    cluster.set(Kind::Mutating, 0, &ours.certificate);
    cluster.show(Kind::Mutating, &mut seen);
    assert_eq!(why(&seen, Some(&ours)), "");
    let ended = seen.unready(Some(&ours), SystemTime::now() + 2 * DAY);
    assert!(ended.unwrap().to_string().contains("does not let the API server in"), "nothing else changed");
}

#[test]
fn all_entries_must_trust_a_certificate_before_it_counts_as_trusted() {
    let (ours, foreign) = (certificate(), certificate());
    let (own, other) = (&*ours.certificate, &*foreign.certificate);
    let both = [own, other].concat();
    for (mutating, validating, trusted) in
        [(own, own, true), (&*both, own, true), (own, other, false), (other, own, false), (own, b"", false)]
    {
        let mut seen = seen();
        let mut cluster = Cluster::new(Some(&["a"]), Some(&["c"]));
        cluster.set(Kind::Mutating, 0, mutating);
        cluster.set(Kind::Validating, 0, validating);
        cluster.show_both(&mut seen);
        assert_eq!(seen.trusted().all_trust(own), trusted);
    }
    // Without a validating one, the mutating one alone counts; without that, nothing does.
    for (mutating, validating, trusted) in [(Some(&["a"][..]), None, true), (None, Some(&["c"][..]), false)] {
        let (mut seen, mut cluster) = (seen(), Cluster::new(mutating, validating));
        for kind in [Kind::Mutating, Kind::Validating] {
            if cluster.at(kind).is_some() {
                cluster.set(kind, 0, own);
            }
        }
        cluster.show_both(&mut seen);
        assert_eq!(seen.trusted().all_trust(own), trusted);
    }
}
