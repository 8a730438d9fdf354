//! What people are told where nothing is written: in namespaces under observe, and where a label does nothing.

use serde_json::{Value, json};

use crate::harness::{ROLE, Space, Webhook, eventually};

/// Gives the ServiceAccount `gitlab-a` this role, and all others of GitLab the role `rest`.
fn mapping(a: &str) -> String {
    format!(
        "account: \"123456789012\"\nrules:\n  - {{match: {{serviceAccount: gitlab-a}}, role: {a}}}\n  \
         - {{match: {{serviceAccount: \"gitlab*\"}}, role: rest}}\n"
    )
}

fn account(name: &str, role: Option<&str>) -> Value {
    let annotations = role.map(|role| json!({ROLE: format!("arn:aws:iam::123456789012:role/{role}")}));
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": annotations.unwrap_or_else(|| json!({}))},
    })
}

fn label(space: &Space, value: &str) {
    let label = format!("gitlab-iam-webhook/inject={value}");
    space.kubectl(&["label", "namespace", &space.name, &label, "--overwrite"]).good();
}

/// Our Events in a namespace, each as its object, reason and note.
fn events(space: &Space) -> Vec<(String, String, String)> {
    let done = space.kubectl(&["get", "events.events.k8s.io", "-o", "json"]).good();
    let all: Value = serde_json::from_str(&done.out).unwrap();
    let ours = all["items"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut events: Vec<_> = ours
        .filter(|event| event["reportingController"] == "gitlab-iam-webhook")
        .map(|event| (word(&event["regarding"]["name"]), word(&event["reason"]), word(&event["note"])))
        .collect();
    events.sort();
    events
}

fn observed(webhook: &Webhook, outcome: &str) -> u64 {
    webhook.metric(&format!("gitlab_iam_webhook_observed_service_accounts{{outcome=\"{outcome}\"}}"))
}

fn written(webhook: &Webhook) -> u64 {
    webhook.metric("gitlab_iam_webhook_events_total{result=\"written\"}")
}

#[test]
fn what_exists_under_observe_is_told_at_once_and_after_each_edit_and_by_each_event_once() {
    const LINE: &str = "observed ServiceAccount: ";
    let space = Space::new("observed");
    label(&space, "observe");
    for (name, role) in
        [("gitlab-a", None), ("gitlab-b", Some("foreign")), ("gitlab-c", Some("rest")), ("other", None)]
    {
        space.apply(&account(name, role));
    }
    space.map(&mapping("first")).good();
    let replicas = [Webhook::start_self_managed(&space, &[]), Webhook::start_self_managed(&space, &[])];
    for webhook in &replicas {
        eventually("both are logged", || (webhook.count(LINE) == 2).then_some(()));
        assert!(webhook.has_seen("it would get role arn:aws:iam::123456789012:role/first"));
        assert!(webhook.has_seen("it would keep role arn:aws:iam::123456789012:role/foreign"));
        eventually("the metric says it", || {
            let of = |outcome| observed(webhook, outcome);
            // The namespace's `default` is one that no rule matches.
            (of("set") == 1 && of("kept") == 1 && of("in_step") == 1 && of("no_rule") >= 1).then_some(())
        });
        eventually("both Events are there", || (written(webhook) == 2).then_some(()));
        assert_eq!(webhook.metric("gitlab_iam_webhook_observed_namespaces"), 1);
        assert_eq!(webhook.metric("gitlab_iam_webhook_opted_in_namespaces"), 0);
    }
    let told = events(&space);
    let words = |told: &[(String, String, String)]| {
        told.iter().map(|(name, reason, _)| format!("{name} {reason}")).collect::<Vec<_>>()
    };
    assert_eq!(words(&told), ["gitlab-a RoleWouldBeSet", "gitlab-b OtherRoleWouldBeKept"]);
    assert!(told[0].2.starts_with("observed, and not written: it would get role"), "{}", told[0].2);
    let described = space.kubectl(&["describe", "serviceaccount", "gitlab-a"]).good().out;
    assert!(described.contains("RoleWouldBeSet"), "{described}");

    space.map(&mapping("second")).good();
    for webhook in &replicas {
        eventually("the edit is told", || webhook.has_seen("role/second (rule").then_some(()));
        eventually("by an Event, too", || (written(webhook) == 3).then_some(()));
        assert_eq!(webhook.count(LINE), 3, "and nothing that did not change");
    }
    assert_eq!(events(&space).len(), 3);

    // After a restart it is logged again, and no Event is written a second time.
    let [first, _second] = &replicas;
    first.stop();
    let anew = Webhook::start_self_managed(&space, &[]);
    eventually("both are logged", || (anew.count(LINE) == 2).then_some(()));
    eventually("both Events were tried", || (written(&anew) == 2).then_some(()));
    assert_eq!(events(&space).len(), 3);
    assert_eq!(space.annotation("serviceaccount", "gitlab-a", ROLE), None);
}

#[test]
fn of_150_service_accounts_under_observe_a_hundred_get_an_event_and_the_namespace_one() {
    let space = Space::new("observed");
    label(&space, "observe");
    let accounts: Vec<Value> = (0..150).map(|n| account(&format!("gitlab-{n}"), None)).collect();
    let all = json!({"apiVersion": "v1", "kind": "List", "items": accounts});
    space.run("kubectl", &["create", "-f", "-"], &all.to_string()).good();
    space.map(&mapping("first")).good();
    let webhook = Webhook::start_self_managed(&space, &[]);
    let summary = eventually("it is summed up", || {
        events(&space).into_iter().find(|(_, reason, _)| reason == "ServiceAccountsObserved")
    });
    assert_eq!(summary.0, space.name);
    assert!(summary.2.contains("150 set; not each of them has an Event"), "{}", summary.2);
    let told = events(&space);
    assert_eq!(told.iter().filter(|(_, reason, _)| reason == "RoleWouldBeSet").count(), 100);
    assert_eq!(webhook.count("observed ServiceAccount: "), 150);
    eventually("the metric says it", || (observed(&webhook, "set") == 150).then_some(()));
}

#[test]
fn a_label_that_does_nothing_is_told_by_an_event_on_its_namespace_and_in_the_log() {
    let (space, own, outside) = (Space::new("label"), Space::new("own"), Space::new("outside"));
    label(&space, "true");
    label(&outside, "true");
    // `own` says `enabled`.
    let arguments = ["--watch-namespace", &own.name, "--except-namespace", &own.name];
    let webhook = Webhook::start_self_managed(&space, &arguments);
    let told = |space: &Space, words: &str| {
        let (name, _, note) = eventually("an Event tells it", || {
            events(space).into_iter().find(|(_, _, note)| note.contains(words))
        });
        assert_eq!(name, space.name);
        assert!(note.starts_with("the label gitlab-iam-webhook/inject="), "{note}");
    };
    told(&space, "inject=true has no effect: write gitlab-iam-webhook/inject=enabled");
    told(
        &own,
        "inject=enabled has no effect here: nothing is changed in kube-system and in the webhook's own",
    );
    webhook.wait_for("inject=true has no effect");
    label(&space, "yes");
    told(&space, "inject=yes has no effect");
    label(&space, "disabled");
    label(&own, "observe");
    told(&own, "inject=observe has no effect here");
    assert_eq!(webhook.count("has no effect"), 4);
    assert_eq!((events(&space).len(), events(&own).len()), (2, 2));
    // What may not be written to is not even looked at.
    assert_eq!(events(&outside), []);
}

#[test]
fn an_accepted_edit_tells_apart_what_it_would_change_under_observe() {
    let (space, other) = (Space::new("impact"), Space::new("impact"));
    label(&other, "observe");
    space.map(&mapping("first")).good();
    let webhook = Webhook::start_self_managed(&space, &["--watch-namespace", &other.name]);
    space.register_unsigned(&[&webhook], |_| {});
    webhook.wait_until_ready();
    space.register_at(&webhook, "Fail", "/mutate");
    space.apply(&account("gitlab-a", None));
    for (name, role) in [("gitlab-a", None), ("gitlab-b", None), ("other", None)] {
        other.apply(&account(name, role));
    }
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping"},
        "data": {"mapping.yaml": mapping("second")},
    });
    let told = eventually("the validating webhook is asked", || {
        let done =
            space.try_apply(&object, &["--server-side", "--force-conflicts", "--dry-run=server"]).good();
        done.err.contains("observed: ").then_some(done.err)
    });
    // The namespaces' `default` may be among them, or not yet.
    assert!(told.contains("gitlab-iam-webhook: changes 1, orphans 0 of "), "{told}");
    assert!(told.contains("gitlab-iam-webhook: observed: would change 2, orphans 0 of "), "{told}");
    assert!(!told.contains(&other.name) && !told.contains("gitlab-a"), "{told}");
}
