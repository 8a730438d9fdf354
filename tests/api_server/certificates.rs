//! Certificates look after themselves: made once, trusted before they are served, healed and rolled without a
//! gap.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{ROLE, Space, Webhook, eventually};
use serde_json::json;

const MAPPING: &str =
    "account: \"123456789012\"\nrules:\n  - {match: {serviceAccount: \"*\"}, role: some-role}\n";

fn certificate(space: &Space) -> Option<String> {
    space.get("secret", "tls")?["data"]["tls.crt"].as_str().map(str::to_owned)
}

fn is_annotated(space: &Space) -> bool {
    let done = space.kubectl(&["create", "serviceaccount", "trial", "--dry-run=server", "-o", "json"]);
    done.ok && done.out.contains(ROLE)
}

#[test]
fn two_replicas_that_start_at_once_on_an_empty_secret_share_one_certificate() {
    let space = Space::new("tls-two");
    space.map(MAPPING).good();
    let (one, two) = std::thread::scope(|scope| {
        let start = || Webhook::start_self_managed(&space, &[]);
        let (one, two) = (scope.spawn(start), scope.spawn(start));
        (one.join().unwrap(), two.join().unwrap())
    });
    one.wait_for("there is no MutatingWebhookConfiguration");
    let (status, words) = one.admin("/readyz");
    assert_eq!(status, 503);
    assert!(words.contains("the caBundle of the webhook configuration to trust the certificate"), "{words}");
    assert_eq!(one.admin("/livez").0, 200);

    space.register_unsigned(&[&one, &two], |_| {});
    one.wait_until_ready();
    two.wait_until_ready();
    eventually("both entries are asked", || is_annotated(&space).then_some(()));
    let made = |webhook: &Webhook| webhook.count("a new one was made");
    assert_eq!(made(&one) + made(&two), 1, "one certificate for both");
    let bundles = space.bundles();
    assert!(bundles.len() == 2 && bundles[0].is_some() && bundles[0] == bundles[1], "{bundles:?}");
    assert_eq!(bundles[0], certificate(&space), "a self-signed leaf is its own anchor");
    // Nothing is written where nothing has to be.
    let version =
        |kind: &str, name: &str| space.get(kind, name).unwrap()["metadata"]["resourceVersion"].clone();
    let before = (version("secret", "tls"), version("mutatingwebhookconfiguration", &space.name));
    let again = Webhook::start_self_managed(&space, &[]);
    again.wait_until_ready();
    assert_eq!((version("secret", "tls"), version("mutatingwebhookconfiguration", &space.name)), before);
}

#[test]
fn a_secret_that_is_deleted_emptied_or_filled_with_rubbish_is_healed_and_served_on() {
    let space = Space::new("tls-heal");
    space.map(MAPPING).good();
    let webhook = Webhook::start_self_managed(&space, &[]);
    space.register_unsigned(&[&webhook], |_| {});
    webhook.wait_until_ready();
    let first = certificate(&space).unwrap();
    let healed = |round: usize| {
        eventually("it is said", || (webhook.count("it gets the one being served") == round).then_some(()));
        eventually("the Secret holds it again", || (certificate(&space)? == first).then_some(()));
        eventually("the API server comes through", || is_annotated(&space).then_some(()));
    };
    space.kubectl(&["delete", "secret", "tls"]).good();
    healed(1);
    let patch = |data: &str| space.kubectl(&["patch", "secret", "tls", "--type", "merge", "-p", data]).good();
    patch(r#"{"data": null}"#);
    healed(2);
    patch(r#"{"data": {"tls.crt": "cnViYmlzaA==", "tls.key": "cnViYmlzaA=="}}"#);
    healed(3);
    assert_eq!(webhook.metric("gitlab_iam_webhook_certificate_loads_total{result=\"ok\"}"), 1);

    // After a restart it is the same one.
    webhook.stop();
    let again = Webhook::start_self_managed(&space, &[]);
    space.register_unsigned(&[&again], |_| {});
    again.wait_until_ready();
    assert_eq!(certificate(&space).unwrap(), first);
}

#[test]
fn entries_that_come_move_and_lose_their_bundle_get_it_again() {
    let space = Space::new("tls-entries");
    space.map(MAPPING).good();
    let (one, two) = (Webhook::start_self_managed(&space, &[]), Webhook::start_self_managed(&space, &[]));
    space.register_unsigned(&[&one], |_| {});
    one.wait_until_ready();
    let settled = |entries: usize| {
        let bundle = certificate(&space);
        eventually("every entry has the bundle", || {
            (space.bundles() == vec![bundle.clone(); entries]).then_some(())
        });
    };
    settled(1);
    space.register_unsigned(&[&one, &two], |_| {});
    settled(2);
    space.register_unsigned(&[&two], |_| {});
    settled(1);
    // Replaced as a whole, as some tools do.
    let mut plain = space.get("mutatingwebhookconfiguration", &space.name).unwrap();
    plain["webhooks"][0]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    space.run("kubectl", &["replace", "-f", "-"], &plain.to_string()).good();
    settled(1);
    one.wait_until_ready();
    eventually("the API server comes through", || is_annotated(&space).then_some(()));
}

#[test]
fn three_generations_are_rolled_while_accounts_are_created_and_none_fails() {
    let space = Space::new("tls-roll");
    space.map(MAPPING).good();
    let life = ["--certificate-life", "12s", "--certificate-roll-wait", "1s"];
    let (one, two) = (Webhook::start_self_managed(&space, &life), Webhook::start_self_managed(&space, &life));
    space.register_unsigned(&[&one, &two], |_| {});
    one.wait_until_ready();
    two.wait_until_ready();
    eventually("both are asked", || is_annotated(&space).then_some(()));
    let enough = AtomicBool::new(false);
    let created = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut created = 0;
            while !enough.load(Ordering::Relaxed) {
                created += 1;
                let name = format!("account-{created}");
                let account =
                    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
                space.run("kubectl", &["create", "-f", "-"], &account.to_string()).good();
            }
            created
        });
        eventually("three generations", || {
            let rolled = |webhook: &Webhook| webhook.count("it is served from now on");
            (rolled(&one) + rolled(&two) >= 3 || load.is_finished()).then_some(())
        });
        enough.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    let all = space.kubectl(&["get", "serviceaccounts", "-o", "json"]).good().out;
    assert!(created >= 20, "{created}");
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    let annotated = all["items"].as_array().unwrap().iter().filter(|account| {
        account["metadata"]["name"].as_str().unwrap().starts_with("account-")
            && account["metadata"]["annotations"][ROLE].is_string()
    });
    assert_eq!(annotated.count(), created);
    for webhook in [&one, &two] {
        assert_eq!(webhook.metric("gitlab_iam_webhook_tls_handshakes_total{result=\"failed\"}"), 0);
    }
    println!("{created} accounts over {} rolls", one.count("it is served") + two.count("it is served"));
}

#[test]
fn with_a_certificate_of_ones_own_ready_waits_for_a_bundle_that_trusts_it() {
    let space = Space::new("tls-own");
    space.map(MAPPING).good();
    let webhook = Webhook::start(&space, &["--webhook-configuration", &space.name]);
    space.register_unsigned(&[&webhook], |_| {});
    webhook.wait_for("does not let the API server in");
    assert_eq!(webhook.admin("/readyz").0, 503);
    assert_eq!(space.bundles(), [None], "it is not ours to write");
    space.register(&webhook, "Fail");
    webhook.wait_until_ready();
}

#[test]
fn a_plan_that_cannot_work_is_refused_at_the_start() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
        .args(["serve", "--mapping-config-map", "a/b", "--certificate-secret", "a/tls"])
        .args(["--certificate-name", "x.a.svc", "--webhook-configuration", "x"])
        .args(["--certificate-life", "1h", "--certificate-roll-wait", "30m"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        words.contains(
            "--certificate-life 1h must be from 10s to 10 years, and at least five times --certificate-roll-wait 30m"
        ),
        "{words}"
    );
}
