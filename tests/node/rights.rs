//! The webhook's account may do what it has to, and nothing else.

use std::collections::BTreeSet;

use gitlab_iam_webhook::engine::decision::{APPLIED, WAS};
use serde_json::json;

use crate::harness::{OURS, ROLE, Stage, arn, eventually, mapping};

/// Everything that the account may do in a namespace beyond what everybody may, a line each.
fn rules(stage: &Stage, namespace: &str) -> BTreeSet<String> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace},
    });
    let file = stage.folder().join("review.json");
    std::fs::write(&file, review.to_string()).unwrap();
    let file = file.display().to_string();
    let done = stage.as_the_webhook(&["create", "--validate=false", "-f", &file, "-o", "json"]).good();
    let review: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    let mut lines = BTreeSet::new();
    for rule in review["status"]["resourceRules"].as_array().unwrap() {
        let words = |key: &str| -> Vec<&str> {
            rule[key]
                .as_array()
                .map(|words| words.iter().filter_map(|word| word.as_str()).collect())
                .unwrap_or_default()
        };
        let (mut verbs, names) = (words("verbs"), words("resourceNames"));
        verbs.sort_unstable();
        for resource in words("resources") {
            // What every account may ask about itself.
            if resource.starts_with("selfsubject") {
                continue;
            }
            let names = if names.is_empty() { "*".to_owned() } else { names.join(",") };
            lines.insert(format!("{} {resource} {names}: {}", words("apiGroups").join(","), verbs.join(" ")));
        }
    }
    lines
}

#[test]
fn its_rights_are_exactly_those_of_the_chart() {
    let stage = Stage::new();
    stage.install(&[]);
    stage.namespace("elsewhere", "some=label");
    let cluster_wide = [
        " namespaces *: get list watch",
        " serviceaccounts *: get list patch watch",
        "admissionregistration.k8s.io mutatingwebhookconfigurations gitlab-iam-webhook: get list patch watch",
        "admissionregistration.k8s.io validatingwebhookconfigurations gitlab-iam-webhook: get list patch watch",
        "events.k8s.io events *: create",
    ];
    let own = [
        " configmaps role-mapping,role-mapping-last-good: create get list patch watch",
        " secrets gitlab-iam-webhook-tls: create get list patch watch",
    ];
    let set = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(rules(&stage, "elsewhere"), set(&cluster_wide));
    assert_eq!(rules(&stage, OURS), set(&[&cluster_wide[..], &own].concat()));
    for (verb, what) in [
        ("get", "pods"),
        ("patch", "pods"),
        ("create", "serviceaccounts"),
        ("delete", "serviceaccounts"),
        ("create", "serviceaccounts/token"),
        ("get", "secrets/other"),
        ("get", "configmaps/other"),
        ("patch", "mutatingwebhookconfigurations/other"),
        ("create", "mutatingwebhookconfigurations"),
        ("patch", "namespaces"),
    ] {
        let asked = stage.as_the_webhook(&["auth", "can-i", verb, what, "-n", OURS]);
        assert_eq!(asked.out.trim(), "no", "{verb} {what}");
    }
}

#[test]
fn with_its_token_a_service_account_can_be_admitted_again_and_nothing_changed() {
    let stage = Stage::new();
    stage.install(&[]);
    stage.opt_in("gitlab", "enabled");
    stage.map(&mapping("gitlab-", "given"));
    stage.kubectl(&["create", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
    eventually("it has its role", || {
        (stage.role("gitlab", "gitlab-kas") == Some(arn("given"))).then_some(())
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": "gitlab"},
        "spec": {"containers": [{"name": "main", "image": "localhost/none"}]},
    });
    stage.apply(&pod);
    let patch = |kind: &str, name: &str, patch: serde_json::Value| {
        stage.as_the_webhook(&[
            "patch",
            kind,
            name,
            "-n",
            "gitlab",
            "--type",
            "merge",
            "-p",
            &patch.to_string(),
        ])
    };
    let image = patch(
        "pod",
        "plain",
        json!({"spec": {"containers": [{"name": "main", "image": "localhost/other"}]}}),
    );
    assert!(!image.ok && image.err.contains("forbidden"), "{}", image.err);
    for (what, change) in [
        ("changes no labels", json!({"metadata": {"labels": {"a": "b"}}})),
        ("changes no annotations but those of roles", json!({"metadata": {"annotations": {"a": "b"}}})),
        ("changes no imagePullSecrets", json!({"imagePullSecrets": [{"name": "a"}]})),
        ("changes no automountServiceAccountToken", json!({"automountServiceAccountToken": false})),
    ] {
        let refused = eventually("the policy is in force", || {
            let done = patch("serviceaccount", "gitlab-kas", change.clone());
            (!done.ok).then_some(done.err)
        });
        assert!(refused.contains(what), "{refused}");
    }
    for (key, value) in
        [(ROLE, json!(arn("stolen"))), (ROLE, json!(null)), (APPLIED, json!("{}")), (WAS, json!("{}"))]
    {
        let refused =
            patch("serviceaccount", "gitlab-kas", json!({"metadata": {"annotations": {key: value}}}));
        let by_the_first_entry = refused.err.contains("own.serviceaccounts.gitlab-iam-webhook");
        assert!(!refused.ok && by_the_first_entry, "{key}: {}", refused.err);
    }
    patch("serviceaccount", "gitlab-kas", json!({})).good();
    assert_eq!(stage.role("gitlab", "gitlab-kas"), Some(arn("given")));
    assert!(
        stage.json(&["get", "serviceaccount", "gitlab-kas", "-n", "gitlab"])["metadata"]["annotations"][ROLE]
            .is_string()
    );
}

#[test]
fn with_its_token_the_mapping_cannot_be_changed_and_what_is_kept_beside_it_can() {
    let stage = Stage::new();
    stage.install(&[]);
    stage.map(&mapping("gitlab-", "given"));
    let text = |name: &str| {
        stage.json(&["get", "configmap", name, "-n", OURS])["data"]["mapping.yaml"]
            .as_str()
            .map(str::to_owned)
    };
    let patch = |name: &str, text: &str| {
        let patch = json!({"data": {"mapping.yaml": text}}).to_string();
        stage.as_the_webhook(&["patch", "configmap", name, "-n", OURS, "--type", "merge", "-p", &patch])
    };
    eventually("it is kept", || {
        stage.kubectl(&["get", "configmap", "role-mapping-last-good", "-n", OURS]).ok.then_some(())
    });
    let refused = patch("role-mapping", &mapping("*", "stolen"));
    assert!(!refused.ok && refused.err.contains("writes no ConfigMap but"), "{}", refused.err);
    assert_eq!(text("role-mapping"), Some(mapping("gitlab-", "given")));
    patch("role-mapping-last-good", &mapping("*", "stolen")).good();

    // Where it is gone, it can be begun anew, and without rules.
    stage.kubectl(&["delete", "configmap", "role-mapping", "-n", OURS]).good();
    let apply = |text: &str| {
        let file = stage.folder().join("mapping.json");
        let config_map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "role-mapping", "namespace": OURS},
            "data": {"mapping.yaml": text},
        });
        std::fs::write(&file, config_map.to_string()).unwrap();
        let file = file.display().to_string();
        stage.as_the_webhook(&["apply", "--server-side", "--validate=false", "-f", &file])
    };
    let refused = apply(&mapping("*", "stolen"));
    assert!(!refused.ok && refused.err.contains("without rules"), "{}", refused.err);
    apply(include_str!("../../src/cluster/starter-mapping.yaml")).good();
}

#[test]
fn with_its_token_a_webhook_configuration_can_be_given_a_bundle_and_nothing_else() {
    let stage = Stage::new();
    stage.install(&[]);
    let patch = |kind: &str, change: serde_json::Value| {
        stage.as_the_webhook(&["patch", kind, OURS, "--type", "json", "-p", &json!([change]).to_string()])
    };
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        for (path, value) in [
            ("rules/0/resources", json!(["*"])),
            ("clientConfig", json!({"url": "https://elsewhere.example.com/"})),
            ("clientConfig/service/name", json!("elsewhere")),
            ("failurePolicy", json!("Fail")),
            ("namespaceSelector", json!({})),
            ("matchConditions", json!([])),
        ] {
            // The last entry of either has the failure policy Ignore and matchConditions.
            let last = if kind.starts_with("mutating") { 5 } else { 0 };
            let change = json!({"op": "add", "path": format!("/webhooks/{last}/{path}"), "value": value});
            let refused = eventually("the policy is in force", || {
                let done = patch(kind, change.clone());
                (!done.ok).then_some(done.err)
            });
            assert!(refused.contains("changes nothing but the caBundle"), "{kind} {path}: {refused}");
        }
        let bundle = json!({"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"});
        patch(kind, bundle).good();
    }
    // The webhook puts it back.
    eventually("every entry has its bundle", || {
        let configuration = stage.json(&["get", "mutatingwebhookconfiguration", OURS]);
        let webhooks = configuration["webhooks"].as_array().unwrap().clone();
        webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"].is_string()).then_some(())
    });
}
