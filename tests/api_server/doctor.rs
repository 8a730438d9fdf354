//! Does `doctor` find what is wrong in a real cluster, and say what it may not read?

use std::fs;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::{Space, Webhook, eventually};

const CHART: &str = "charts/gitlab-iam-webhook";

/// What is in every Secret here, and never in an output.
const PLANTED: &str = "AKIAPLANTEDPLANTED00";

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
";

/// A release of our chart whose Pods count as ready although no kubelet runs, and the namespace of a GitLab.
struct Installed {
    ours: Space,
    gitlab: Space,
    webhook: Webhook,
}

impl Installed {
    fn new(test: &str) -> Self {
        let (ours, gitlab) = (Space::new(&format!("{test}-ours")), Space::new(&format!("{test}-gitlab")));
        ours.run_anywhere("kubectl", &["label", "namespace", &ours.name, "gitlab-iam-webhook/inject-"], "")
            .good();
        let file = ours.folder().join("mapping.yaml");
        fs::write(&file, MAPPING).unwrap();
        let sets = [
            format!("fullnameOverride={}", ours.name),
            format!("namespaces[0]={}", gitlab.name),
            format!("mapping={}", file.display()),
        ];
        let [name, namespaces, mapping] = sets.each_ref().map(String::as_str);
        let install = ["install", "release", CHART, "--namespace", &ours.name, "--set", name];
        let values = [
            "--set",
            namespaces,
            "--set-file",
            mapping,
            "--set",
            "webhooks.pods.failurePolicy.create=Ignore",
        ];
        ours.run_anywhere("helm", &[&install[..], &values].concat(), "").good();
        let webhook = Webhook::start(&ours, &["--webhook-configuration", &ours.name]);
        let installed = Self { ours, gitlab, webhook };
        installed.lead_to_the_webhook();
        installed.make_ready();
        installed.webhook.wait_until_ready();
        eventually("the last good mapping is kept", || {
            installed.ours.get("configmap", "role-mapping-last-good")
        });
        installed
    }

    fn patch(&self, kind: &str, patch: &Value) {
        let patch = patch.to_string();
        self.ours.kubectl(&["patch", kind, &self.ours.name, "--type", "json", "-p", &patch]).good();
    }

    /// There is no network of Services here: the webhook is called on loopback.
    fn lead_to_the_webhook(&self) {
        for (kind, path) in
            [("mutatingwebhookconfiguration", "mutate"), ("validatingwebhookconfiguration", "validate")]
        {
            let held = self.ours.get(kind, &self.ours.name).unwrap();
            let entries = held["webhooks"].as_array().unwrap().len();
            let url = format!("https://127.0.0.1:{}/{path}", self.webhook.port);
            let client = json!({"url": url, "caBundle": self.webhook.bundle()});
            let replace = |n: usize| {
                let path = format!("/webhooks/{n}/clientConfig");
                json!({"op": "replace", "path": path, "value": client})
            };
            self.patch(kind, &(0..entries).map(replace).collect());
        }
    }

    /// No kubelet says so here.
    fn make_ready(&self) {
        let pods = eventually("the Pods are made", || {
            let pods = self.ours.kubectl(&["get", "pods", "-o", "name"]).good().out;
            (pods.lines().count() == 2).then_some(pods)
        });
        for (n, pod) in pods.lines().enumerate() {
            self.set_ready(pod, n, "True");
        }
        eventually("the Service has addresses", || {
            let slices = self.ours.kubectl(&["get", "endpointslices", "-o", "json"]).good().out;
            (slices.matches("\"ready\": true").count() == 2).then_some(())
        });
    }

    fn set_ready(&self, pod: &str, n: usize, ready: &str) {
        let address = format!("10.9.9.{}", n + 1);
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": ready}],
        }});
        let patch = ["patch", pod, "--subresource", "status", "--type", "merge", "-p", &status.to_string()];
        self.ours.kubectl(&patch).good();
    }

    /// How `doctor` exits, and what it prints.
    fn doctor(&self, arguments: &[&str]) -> (i32, String) {
        let all = ["doctor", "--webhook-configuration", &self.ours.name, "-n", &self.gitlab.name];
        let (code, out, err) = Space::ours(None, &[&all[..], arguments].concat());
        (code, format!("{out}{err}"))
    }

    /// The one finding of this check.
    #[track_caller]
    fn finds(&self, check: &str, words: &str) {
        let said = eventually(&format!("{check}: {words}"), || {
            let (_, said) = self.doctor(&[]);
            let line =
                said.lines().find(|line| line.contains(&format!(": {check}: ")) && line.contains(words));
            line.map(str::to_owned)
        });
        assert!(said.contains(". Fix: ") && said.contains(". See "), "{said}");
    }
}

#[test]
fn a_sound_installation_is_left_in_peace_and_each_break_is_found() {
    let installed = Installed::new("doctor");
    let Installed { ours, webhook, .. } = &installed;
    let name = &ours.name;
    let before = ours.get("configmap", "role-mapping-last-good");
    let (code, said) = installed.doctor(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("problem: "), "{said}");
    let looked_at =
        format!("looked at: installation {name}/{name}; mapping {name}/role-mapping; namespaces ");
    assert!(said.starts_with(&looked_at), "{said}");
    assert!(said.contains("warning: eks-webhook: "), "{said}");
    assert!(said.contains("not looked at: the certificate that Pod "), "no kubelet forwards ports: {said}");
    assert_eq!(installed.doctor(&["--strict"]).0, 1);
    assert_eq!(ours.get("configmap", "role-mapping-last-good"), before, "nothing was changed");

    // A mapping that broke while nobody judged it, and one that is gone.
    let policy = |kind: &str, policy: &str| {
        installed
            .patch(kind, &json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": policy}]));
    };
    let validating = ours.get("validatingwebhookconfiguration", name).unwrap()["webhooks"].clone();
    installed.patch(
        "validatingwebhookconfiguration",
        &json!([{"op": "replace", "path": "/webhooks", "value": []}]),
    );
    installed.finds("registration", "ValidatingWebhookConfiguration");
    eventually("a broken mapping is let through", || ours.map("ruels: []\n").ok.then_some(()));
    installed.finds("mapping", "unknown key `ruels`");
    let (_, said) = installed.doctor(&[]);
    assert!(said.contains(&format!("mapping {name}/role-mapping-last-good")), "{said}");
    ours.kubectl(&["delete", "configmap", "role-mapping"]).good();
    installed.finds("mapping", "it does not exist; the last good mapping decides");
    ours.map(MAPPING).good();
    let back = json!([{"op": "replace", "path": "/webhooks", "value": validating}]);
    installed.patch("validatingwebhookconfiguration", &back);

    // Replicas.
    let pods = ours.kubectl(&["get", "pods", "-o", "name"]).good().out;
    let first = pods.lines().next().unwrap();
    installed.set_ready(first, 0, "False");
    installed.finds("deployment", "1 of 2 replicas are ready");
    installed.set_ready(pods.lines().nth(1).unwrap(), 1, "False");
    installed.finds("endpoints", "no Pod behind it is ready");

    // Registration and trust.
    policy("mutatingwebhookconfiguration", "Ignore");
    let entries = ours.get("mutatingwebhookconfiguration", name).unwrap()["webhooks"].clone();
    installed.patch(
        "mutatingwebhookconfiguration",
        &json!([{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]),
    );
    installed.finds("ca-bundle", "have no caBundle");
    let other = base64::engine::general_purpose::STANDARD.encode("no certificate");
    installed.patch(
        "mutatingwebhookconfiguration",
        &json!([{"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": other}]),
    );
    // The API server takes only PEM; what it refuses need not be found.
    webhook.stop();
    installed.finds("reach", "does not reach the webhook");
    ours.kubectl(&["delete", "mutatingwebhookconfiguration", name]).good();
    installed.finds("registration", "it does not exist, so neither");
    ours.kubectl(&["delete", "deployment", name]).good();
    installed.finds("deployment", "it does not exist");
    drop(entries);
    ours.kubectl(&["delete", "validatingwebhookconfiguration", name]).good();
    let (code, said) = installed.doctor(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!(
            "problem: not-installed: webhook configurations: none of them has the name {name}"
        )),
        "{said}"
    );
}
