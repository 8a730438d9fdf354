//! A chart is installed and upgraded with real Helm: what it makes carries the roles when the install
//! returns.

use crate::harness::{ROLE, Space, Webhook, eventually};
use serde_json::json;

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {name: web, match: {component: webservice}, role: web}
  - {name: sidekiq, match: {component: sidekiq, release: one}, role: sidekiq-one}
  - {name: registry, match: {component: registry}, role: registry}
  - {name: toolbox, match: {component: toolbox}, role: backup/toolbox}
  - {name: runner, match: {component: runner, namespace: \"install-*\"}, role: runner-cache}
";

fn role(space: &Space, account: &str) -> Option<String> {
    space.annotation("serviceaccount", account, ROLE)
}

fn arn(name: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{name}")
}

fn install_with(helm: &str) {
    let space = Space::new(&format!("install-{helm}"));
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    let chart = space.chart(&["webservice", "sidekiq", "toolbox", "registry", "runner"]);
    for release in ["one", "two"] {
        space.run(helm, &["install", release, &chart], "").good();
        let wanted = [
            ("webservice", "web"),
            ("registry", "registry"),
            ("toolbox", "backup/toolbox"),
            ("runner", "runner-cache"),
        ];
        for (component, wanted) in wanted {
            let account = format!("{release}-{component}");
            assert_eq!(
                role(&space, &account).as_deref(),
                Some(arn(wanted).as_str()),
                "when the install returns"
            );
        }
    }
    assert_eq!(role(&space, "one-sidekiq").as_deref(), Some(arn("sidekiq-one").as_str()));
    assert_eq!(role(&space, "two-sidekiq"), None);

    // An upgrade keeps them; and no field manager owns them.
    space.run(helm, &["upgrade", "one", &chart], "").good();
    assert_eq!(role(&space, "one-webservice").as_deref(), Some(arn("web").as_str()));
    let account = space.get("serviceaccount", "one-webservice").unwrap();
    assert!(!account["metadata"]["managedFields"].to_string().contains("role-arn"), "{account}");

    // Values that set another role are kept, and the terminal says so.
    let by_hand = "arn:aws:iam::111122223333:role/by-hand";
    let value = format!("annotations.webservice.eks\\.amazonaws\\.com/role-arn={by_hand}");
    let upgrade = space.run(helm, &["upgrade", "one", &chart, "--set", &value], "").good();
    assert_eq!(role(&space, "one-webservice").as_deref(), Some(by_hand));
    let said = format!("{}{}", upgrade.out, upgrade.err);
    assert!(
        said.contains("kept role 111122223333:role/by-hand, not 123456789012:role/web (rule web)"),
        "{said}"
    );

    // Or replaced, where the mapping says so, and come back when the rule goes.
    let replacing = MAPPING.replace("rules:", "onConflict: replace\nonNoRule: remove\nrules:");
    space.map(&replacing).good();
    eventually("the new mapping", || (webhook.count("mapping in force") == 2).then_some(()));
    space.kubectl(&["patch", "serviceaccount", "one-webservice", "--type", "merge", "-p", "{}"]).good();
    assert_eq!(role(&space, "one-webservice").as_deref(), Some(arn("web").as_str()));
    let without: String = replacing
        .lines()
        .filter(|line| !line.contains("name: web"))
        .map(|line| format!("{line}\n"))
        .collect();
    space.map(&without).good();
    eventually("the newest mapping", || (webhook.count("mapping in force") == 3).then_some(()));
    space.kubectl(&["patch", "serviceaccount", "one-webservice", "--type", "merge", "-p", "{}"]).good();
    assert_eq!(role(&space, "one-webservice").as_deref(), Some(by_hand));
}

#[test]
fn a_chart_installed_with_helm_4_carries_the_roles() {
    install_with("helm");
}

#[test]
fn a_chart_installed_with_helm_3_carries_the_roles() {
    install_with("helm3");
}

#[test]
fn while_the_webhook_is_down_ignore_lets_through_and_fail_names_us_and_an_empty_patch_mends() {
    let account = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "labels": {"app": "registry", "chart": "registry-0.7.0", "release": "x"}},
        })
    };
    let space = Space::new("down");
    space.map(MAPPING).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    let port = webhook.port;
    webhook.stop();
    let refused = space.try_apply(&account("refused"), &[]);
    assert!(
        !refused.ok && refused.err.contains("accounts.gitlab-iam-webhook.example.com"),
        "{}",
        refused.err
    );

    space.register(&webhook, "Ignore");
    let chart = space.chart(&["registry"]);
    eventually("the install goes through", || {
        space.run("helm", &["upgrade", "--install", "late", &chart], "").ok.then_some(())
    });
    assert_eq!(role(&space, "late-registry"), None);
    let through = eventually("the new failure policy", || {
        space.try_apply(&account("missed"), &["--server-side"]).ok.then(|| role(&space, "missed"))
    });
    assert_eq!(through, None);

    let again = Webhook::start_on(&space, port, &[]);
    again.wait_for("mapping in force");
    space.register(&again, "Fail");
    space.apply(&account("next"));
    assert_eq!(role(&space, "next").as_deref(), Some(arn("registry").as_str()));
    space.kubectl(&["patch", "serviceaccount", "missed", "--type", "merge", "-p", "{}"]).good();
    assert_eq!(role(&space, "missed").as_deref(), Some(arn("registry").as_str()));
    // Nor does a later upgrade with Helm 4 meet a conflict with what was mended.
    space.kubectl(&["patch", "serviceaccount", "late-registry", "--type", "merge", "-p", "{}"]).good();
    assert_eq!(role(&space, "late-registry").as_deref(), Some(arn("registry").as_str()));
    let by_hand = "arn:aws:iam::111122223333:role/by-hand";
    let value = format!("annotations.registry.eks\\.amazonaws\\.com/role-arn={by_hand}");
    space.run("helm", &["upgrade", "late", &chart, "--set", &value], "").good();
    assert_eq!(role(&space, "late-registry").as_deref(), Some(by_hand));

    let version =
        |space: &Space| space.get("serviceaccount", "missed").unwrap()["metadata"]["resourceVersion"].clone();
    let before = version(&space);
    space.kubectl(&["patch", "serviceaccount", "missed", "--type", "merge", "-p", "{}"]).good();
    space.try_apply(&account("missed"), &["--server-side"]).good();
    assert_eq!(version(&space), before, "nothing is written a second time");
    let missed = space.get("serviceaccount", "missed").unwrap();
    assert!(!missed["metadata"]["managedFields"].to_string().contains("role-arn"), "{missed}");
}

#[test]
fn the_api_server_is_the_one_that_was_asked_for() {
    let space = Space::new("version");
    let version: serde_json::Value =
        serde_json::from_str(&space.kubectl(&["version", "-o", "json"]).good().out).unwrap();
    let minor =
        if std::env::var("KUBE_APISERVER").is_ok_and(|name| name.ends_with("1.30")) { "30" } else { "36" };
    // KUBEBUILDER_ASSETS may bring any.
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        assert_eq!(version["serverVersion"]["minor"], minor);
    }
}
