//! Does `doctor` find what is wrong in a real cluster, and say what it may not read?

use std::fs;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::{Space, Webhook, eventually};

const CHART: &str = "charts/gitlab-iam-webhook";

/// What is in every Secret here, and never in an output.
const PLANTED: &str = "AKIAPLANTEDPLANTED00";

pub(crate) const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
";

/// A release of our chart whose Pods count as ready although no kubelet runs, and the namespace of a GitLab.
pub(crate) struct Installed {
    pub(crate) ours: Space,
    pub(crate) gitlab: Space,
    pub(crate) webhook: Webhook,
}

impl Installed {
    pub(crate) fn new(test: &str) -> Self {
        Self::with(test, &[])
    }

    /// The same with more arguments for `serve`.
    pub(crate) fn with(test: &str, arguments: &[&str]) -> Self {
        let (ours, gitlab) = (Space::new(&format!("{test}-ours")), Space::new(&format!("{test}-gitlab")));
        ours.run_anywhere("kubectl", &["label", "namespace", &ours.name, "gitlab-iam-webhook/inject-"], "")
            .good();
        Self::within(ours, gitlab, MAPPING, arguments)
    }

    /// In these namespaces, with this mapping.
    pub(crate) fn within(ours: Space, gitlab: Space, mapping: &str, arguments: &[&str]) -> Self {
        let file = ours.folder().join("mapping.yaml");
        fs::write(&file, mapping).unwrap();
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
        let own = ["--webhook-configuration", &ours.name, "--watch-namespace", &gitlab.name];
        let webhook = Webhook::start(&ours, &[&own[..], arguments].concat());
        let installed = Self { ours, gitlab, webhook };
        installed.lead_to_the_webhook();
        installed.make_ready();
        installed.webhook.wait_until_ready();
        eventually("the last good mapping is kept", || {
            installed.ours.get("configmap", "role-mapping-last-good")
        });
        installed
    }

    pub(crate) fn patch(&self, kind: &str, patch: &Value) {
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
        self.set_addresses(true);
    }

    /// The controller of `EndpointSlices` knows no node of these Pods.
    fn set_addresses(&self, is_ready: bool) {
        let endpoint =
            |n: u8| json!({"addresses": [format!("10.9.9.{n}")], "conditions": {"ready": is_ready}});
        self.ours.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "by-hand", "labels": {"kubernetes.io/service-name": self.ours.name}},
            "endpoints": [endpoint(1), endpoint(2)], "ports": [{"name": "webhook", "port": 8443}],
        }));
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
        // Where it takes long it says what it is doing.
        assert!(!err.contains("error: "), "{err}");
        (code, out)
    }

    /// The problems, but those of other tests' namespaces.
    fn problems(&self) -> Vec<String> {
        let (_, said) = self.doctor(&[]);
        let lines = said.lines().filter(|line| line.starts_with("problem: "));
        lines.filter(|line| !line.contains(": namespace-not-served: ")).map(str::to_owned).collect()
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
    let (_, said) = installed.doctor(&[]);
    assert_eq!(installed.problems(), [""; 0], "{said}");
    let looked_at =
        format!("looked at: installation {name}/{name}; mapping {name}/role-mapping; namespaces ");
    assert!(said.starts_with(&looked_at), "{said}");
    assert!(said.contains("warning: eks-webhook: "), "{said}");
    assert!(said.contains("not looked at: the certificate that Pod "), "no kubelet forwards ports: {said}");
    assert_eq!(installed.doctor(&["--strict"]).0, 1);
    assert_eq!(ours.get("configmap", "role-mapping-last-good"), before, "nothing was changed");

    // A mapping that broke while nobody judged it, and one that is gone.
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
    installed.set_addresses(false);
    installed.finds("endpoints", "no Pod behind it is ready");

    // Trust and registration.
    let bundle = |operation: &str, value: &str| {
        let path = "/webhooks/1/clientConfig/caBundle";
        installed
            .patch("mutatingwebhookconfiguration", &json!([{"op": operation, "path": path, "value": value}]));
    };
    bundle("remove", "");
    installed.finds("ca-bundle", "have no caBundle");
    bundle("add", &base64::engine::general_purpose::STANDARD.encode("no certificate"));
    installed.finds("ca-bundle", "without a certificate in PEM");
    webhook.stop();
    installed.finds("reach", "does not reach the webhook");
    ours.kubectl(&["delete", "mutatingwebhookconfiguration", name]).good();
    installed.finds("registration", "it does not exist, so neither");
    ours.kubectl(&["delete", "deployment", name]).good();
    installed.finds("deployment", "it does not exist");
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

#[test]
fn of_secrets_only_names_of_keys_are_told_also_in_json() {
    let installed = Installed::new("doctor-secrets");
    let Installed { ours, gitlab, .. } = &installed;
    let connection =
        format!("provider: AWS\naws_access_key_id: {PLANTED}\naws_secret_access_key: {PLANTED}\n");
    let registry = format!("s3: {{bucket: b, accesskey: {PLANTED}, secretkey: {PLANTED}}}\n");
    for (name, data) in [
        ("object-storage", json!({"connection": connection})),
        ("registry-storage", json!({"config": registry})),
        ("s3cmd", json!({"config": format!("[default]\naccess_key = {PLANTED}\nsecret_key = {PLANTED}\n")})),
        ("plain", json!({"AWS_ACCESS_KEY_ID": PLANTED, "AWS_SECRET_ACCESS_KEY": PLANTED, "x": "\u{1b}[2J"})),
    ] {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        gitlab.apply(&secret);
        let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        gitlab.apply(&held);
    }
    let labels = json!({"app": "registry", "chart": "registry-0.7.0", "release": "gitlab"});
    gitlab.kubectl(&["create", "serviceaccount", "gitlab-registry"]).good();
    let env = json!([{"name": "AWS_SECRET_ACCESS_KEY", "value": PLANTED}]);
    let from = json!([{"secretRef": {"name": "plain"}}]);
    let volumes = json!([{"name": "a", "secret": {"secretName": "registry-storage"}}, {"name": "b", "secret": {"secretName": "object-storage"}}]);
    gitlab.apply(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gitlab-registry-0", "labels": labels},
        "spec": {
            "serviceAccountName": "gitlab-registry", "volumes": volumes,
            "containers": [{"name": "registry", "image": "x", "env": env, "envFrom": from}],
        },
    }));
    for arguments in [&[][..], &["--secrets"], &["--output", "json"], &["--secrets", "--output", "json"]] {
        let (code, said) = installed.doctor(arguments);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("AWS_SECRET_ACCESS_KEY"), "the name is told: {said}");
        assert!(!said.contains(PLANTED) && !said.contains('\u{1b}'), "{said}");
        let encoded = base64::engine::general_purpose::STANDARD.encode(PLANTED);
        assert!(!said.contains(&encoded), "{said}");
        if arguments.contains(&"json") {
            let all: Value = serde_json::from_str(&said).unwrap();
            assert!(all["problems"].as_u64().unwrap() > 0, "{all}");
        }
    }
    // Without names of namespaces, GitLab's is found by its label and its objects.
    let (_, said) = {
        let (code, out, err) = Space::ours(None, &["doctor", "--webhook-configuration", &ours.name]);
        (code, format!("{out}{err}"))
    };
    let first = said.lines().next().unwrap();
    assert!(first.contains("; namespaces ") && first.contains(&gitlab.name), "{said}");
    assert!(!said.contains(PLANTED), "{said}");
}

/// The kubeconfig of an account of this namespace that may do this in it, and nothing else.
pub(crate) fn viewer(space: &Space, name: &str, may: &[&str]) -> std::path::PathBuf {
    space.kubectl(&["create", "serviceaccount", name]).good();
    if !may.is_empty() {
        let rights = [&["create", "role", name, "--verb=get,list"][..], may].concat();
        space.kubectl(&rights).good();
        let account = format!("--serviceaccount={}:{name}", space.name);
        space.kubectl(&["create", "rolebinding", name, "--role", name, &account]).good();
    }
    let token = space.kubectl(&["create", "token", name]).good().out;
    space.kubeconfig_with(token.trim())
}

#[test]
fn what_may_not_be_read_narrows_the_report_and_is_said() {
    let installed = Installed::new("doctor-viewer");
    let Installed { ours, gitlab, .. } = &installed;
    let mapping = gitlab.folder().join("mapping.yaml");
    fs::write(&mapping, MAPPING).unwrap();
    let mapping = mapping.display().to_string();
    let ask = |kubeconfig: &std::path::Path, arguments: &[&str]| {
        let (code, out, err) = Space::ours(Some(kubeconfig), &[&["doctor"][..], arguments].concat());
        (code, out, err)
    };
    let within = ["-n", &gitlab.name, "-m", &mapping];

    let viewing = viewer(gitlab, "viewer", &["--resource=serviceaccounts,pods"]);
    gitlab.apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "gitlab-registry-0", "labels": {"app": "registry", "chart": "registry-0.7.0", "release": "gitlab"}},
        "spec": {"containers": [{"name": "registry", "image": "x"}]},
    }));
    let (code, said, err) = ask(&viewing, &within);
    assert!(code == 1 && !err.contains("error: "), "{said}{err}");
    assert!(said.contains("problem: default-account: Pod "), "{said}");
    for unread in [
        "the installation of gitlab-iam-webhook: ",
        "ConfigMaps of the namespace ",
        "CronJobs of ",
        "Namespaces: ",
    ] {
        let line = said.lines().find(|line| line.starts_with(&format!("not looked at: {unread}")));
        assert!(line.is_some_and(|line| line.contains("forbidden")), "{unread}: {said}");
    }
    assert!(!said.contains("not-installed"), "that it may not be read is not that it is not there: {said}");

    // With the rights of the webhook itself the installation is found by its name.
    let token = ours.kubectl(&["create", "token", &ours.name]).good().out;
    let own = ours.kubeconfig_with(token.trim());
    let arguments = [&within[..], &["--webhook-configuration", &ours.name]].concat();
    let (_, said, _) = ask(&own, &arguments);
    assert!(said.starts_with(&format!("looked at: installation {0}/{0}; ", ours.name)), "{said}");
    assert!(said.contains(&format!("not looked at: Deployment {0}/{0}: ", ours.name)), "{said}");
    assert!(!said.contains(": deployment: ") && !said.contains(": endpoints: "), "{said}");

    let blind = viewer(gitlab, "blind", &[]);
    let (code, out, err) = ask(&blind, &within);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("error: looking at the cluster: nothing may be read: "), "{err}");
    let wrong = gitlab.kubeconfig_with("no-such-token");
    let (code, out, err) = ask(&wrong, &within);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("Unauthorized"), "{err}");
    assert!(!err.contains("no-such-token"), "{err}");
}
