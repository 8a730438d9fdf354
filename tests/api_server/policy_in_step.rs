//! The policy of the chart, kept in step by the replicas: with the chart's rights, its fence, real Helm, and the
//! webhook beside it.

use std::io::Write;
use std::time::{Duration, Instant};

use gitlab_iam_webhook::engine::mapping::compile;
use gitlab_iam_webhook::engine::policy;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use serde_json::{Value, json};

use crate::chart::{HELMS, helm};
use crate::commands::Done;
use crate::harness::{Cluster, POD_ROLE, ROLE, Space, Webhook, eventually};

const CHART: &str = "charts/gitlab-iam-webhook";
const PARAMETER: &str = "role-mapping-policy";

/// What the operator allows here.
const ALLOWED: &str = "arn:aws:iam::123456789012:role/ok-*";

/// Everything that the chart makes for the policy, beside the ConfigMap.
const KINDS: &str = "mutatingadmissionpolicies,mutatingadmissionpolicybindings,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings";

fn mapping(role: &str) -> String {
    format!("account: \"123456789012\"\nrules:\n  - {{match: {{component: registry}}, role: {role}}}\n")
}

fn arn(role: &str) -> String {
    format!("arn:aws:iam::123456789012:role/{role}")
}

/// What the parameter of this mapping holds.
fn parameter_of(text: &str) -> Value {
    json!(policy::parameter(&compile(text, &OperatorPolicy::default()).unwrap()).unwrap().data)
}

fn account(name: &str) -> Value {
    let labels =
        json!({"app": "registry", "chart": "registry-0.7.0", "release": "gitlab", "heritage": "Helm"});
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "labels": labels}})
}

/// An API server stops following ConfigMaps as parameters for good when the last binding with one is deleted
/// (docs/policy.md). In a run of one test alone that would be its own.
fn keep_parameters_followed() {
    let name = "keeps-parameters-followed";
    let api = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "reinvocationPolicy": "Never",
            "matchConstraints": {
                "objectSelector": {"matchLabels": {"selects": "nothing"}},
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"],
                }],
            },
            "mutations": [{
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": "[JSONPatch{op: 'test', path: '/kind', value: 'ConfigMap'}]"},
            }],
        },
    });
    let parameter = json!({"name": name, "namespace": "default", "parameterNotFoundAction": "Allow"});
    let binding = json!({
        "apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "paramRef": parameter},
    });
    for object in [policy, binding] {
        let apply = ["apply", "--server-side", "-f", "-"];
        Cluster::shared().kubectl(&apply, &object.to_string()).good();
    }
}

/// A release of the chart with its policy, for one namespace.
struct Release {
    with: &'static str,
    space: Space,
    gitlab: Space,
    name: String,
}

impl Release {
    /// None where the API server has no such policies, and it is said.
    fn new(with: &'static str, test: &str) -> Option<Self> {
        let served =
            Cluster::shared().kubectl(&["get", "--raw", "/apis/admissionregistration.k8s.io/v1"], "");
        if !served.good().out.contains("\"mutatingadmissionpolicies\"") {
            let mut past_the_capture = std::io::stderr();
            let sentence = "not run: this API server serves no MutatingAdmissionPolicy";
            writeln!(past_the_capture, "{sentence}").unwrap();
            return None;
        }
        keep_parameters_followed();
        // Webhooks are asked in the order of their configurations' names, and one that a test registers for
        // GitLab's namespace comes after those of the chart, as the entries of the chart itself do.
        let (space, gitlab) = (Space::new(test), Space::new(&format!("z-{test}")));
        let name = format!("{with}-{}", space.name);
        Some(Self { with, space, gitlab, name })
    }

    /// `helm VERB` of the chart with the policy and these values. No replica runs: there is no node. So creation
    /// is not held up by the webhook.
    fn helm(&self, verb: &str, values: &[&str]) -> Done {
        let namespaces = format!("namespaces[0]={}", self.gitlab.name);
        let allowed = format!("allowedRoles[0]={ALLOWED}");
        let mut arguments = vec![verb, &self.name, CHART, "--namespace", &self.space.name];
        let own = [
            "policy.enabled=true",
            "webhooks.serviceAccounts.failurePolicy.create=Ignore",
            "webhooks.timeoutSeconds=1",
            "refuseOverlap=false",
        ];
        for value in own.iter().chain(&[&*namespaces, &*allowed]).chain(values) {
            arguments.extend(["--set", value]);
        }
        self.space.run_anywhere(self.with, &arguments, "")
    }

    /// Back to a revision, or away.
    fn back(&self, verb: &[&str]) -> Done {
        self.space.run(self.with, &[&[verb[0], &self.name], verb.get(1..).unwrap()].concat(), "").good()
    }

    /// The name of what the chart makes.
    fn full_name(&self) -> String {
        format!("{}-gitlab-iam-webhook", self.name)
    }

    fn token(&self) -> String {
        self.space.kubectl(&["create", "token", &self.full_name()]).good().out.trim().to_owned()
    }

    /// A replica with the rights of the chart's account, and no more.
    fn replica(&self) -> Webhook {
        let allowed = format!("--allowed-role={ALLOWED}");
        Webhook::start_as(&self.space, &self.token(), &["--policy-parameter", &allowed])
    }

    fn held(&self) -> Option<Value> {
        self.space.get("configmap", PARAMETER).map(|object| object["data"].clone())
    }

    fn wait_for(&self, text: &str) {
        let wanted = parameter_of(text);
        eventually("the parameter is in step", || (self.held()? == wanted).then_some(()));
    }

    /// What the policy gives a new ServiceAccount of GitLab, of which nothing is kept.
    fn role(&self) -> Option<String> {
        let arguments = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let done = self.gitlab.run("kubectl", &arguments, &account("trial").to_string()).good();
        let object: Value = serde_json::from_str(&done.out).unwrap();
        object["metadata"]["annotations"][ROLE].as_str().map(str::to_owned)
    }

    fn wait_for_role(&self, role: Option<&str>) {
        let wanted = role.map(arn);
        eventually(&format!("the policy gives {wanted:?}"), || (self.role() == wanted).then_some(()));
    }

    /// The names of what the chart has made for the policy.
    fn made(&self) -> Vec<String> {
        let listed = self.space.kubectl(&["get", KINDS, "-o", "name"]).good().out;
        let name = self.full_name();
        let of_the_policy = |line: &&str| {
            line.contains(&name) && (line.contains("mutatingadmission") || line.ends_with("-policy"))
        };
        listed.lines().filter(of_the_policy).map(str::to_owned).collect()
    }
}

#[test]
fn with_the_charts_rights_the_parameter_follows_the_mapping_and_the_policy_gives_what_it_says() {
    let Some(release) = Release::new("helm", "in-step") else { return };
    release.helm("install", &[]).good();
    assert_eq!(release.held(), Some(Value::Null), "it begins empty");
    release.space.map(&mapping("ok-first")).good();
    let one = release.replica();
    release.wait_for(&mapping("ok-first"));
    release.wait_for_role(Some("ok-first"));
    let two = release.replica();
    two.wait_for("mapping in force");
    for role in ["ok-second", "ok-third"] {
        release.space.map(&mapping(role)).good();
        let start = Instant::now();
        release.wait_for(&mapping(role));
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        release.wait_for_role(Some(role));
    }
    for webhook in [&one, &two] {
        eventually("it is in step", || {
            (webhook.metric("gitlab_iam_webhook_policy_in_step") == 1).then_some(())
        });
        assert_eq!(webhook.metric("gitlab_iam_webhook_policy_left_out_rules"), 0);
        assert!(!webhook.has_seen("orbidden"), "nothing was forbidden");
        webhook.stop();
    }
    // Nobody answers, and the mapping goes on.
    release.gitlab.apply(&account("gitlab-registry"));
    let given = release.gitlab.annotation("serviceaccount", "gitlab-registry", ROLE);
    assert_eq!(given, Some(arn("ok-third")));
    release.space.map(&mapping("ok-fourth")).good();
    assert_eq!(release.role(), Some(arn("ok-third")));
    let back = release.replica();
    let start = Instant::now();
    release.wait_for(&mapping("ok-fourth"));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    release.wait_for_role(Some("ok-fourth"));
    // What is withdrawn is given no more.
    release.space.map("rules: []\n").good();
    release.wait_for("rules: []\n");
    release.wait_for_role(None);
    drop(back);
}

#[test]
fn nobody_but_the_webhooks_account_says_what_the_parameter_says() {
    let Some(release) = Release::new("helm", "parameter-fence") else { return };
    release.helm("install", &[]).good();
    let other = parameter_of(&mapping("ok-other"));
    let config_map = |fields: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PARAMETER}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        object
    };
    let refused = |done: &Done| {
        // Our own account is held by another one, too.
        let by = |policy: &str| {
            done.err.contains(&format!("ValidatingAdmissionPolicy '{}-{policy}'", release.full_name()))
        };
        assert!(!done.ok && (by("policy") || by("mapping")), "{}{}", done.out, done.err);
    };
    let patch = |patch: &Value, more: &[&str]| {
        let patch = patch.to_string();
        let arguments = ["patch", "configmap", PARAMETER, "--type", "merge", "-p", &patch];
        release.space.kubectl(&[&arguments[..], more].concat())
    };
    eventually("the fence is in force", || {
        (!patch(&json!({"data": {"a": "b"}}), &["--dry-run=server"]).ok).then_some(())
    });
    // An admin may do everything else.
    for fields in [
        json!({"data": other}),
        json!({"data": {"format": "none"}}),
        json!({"binaryData": {"format": "MQ=="}}),
        json!({"immutable": true}),
    ] {
        refused(&patch(&fields, &[]));
    }
    release.space.map(&mapping("ok-first")).good();
    let webhook = release.replica();
    release.wait_for(&mapping("ok-first"));
    webhook.stop();
    for fields in [
        json!({"data": other}),
        json!({"data": {"more": "data"}}),
        json!({"data": {"format": "none"}}),
        json!({"data": {"format": null}}),
        json!({"binaryData": {"more": "MQ=="}}),
        json!({"immutable": true}),
    ] {
        refused(&patch(&fields, &[]));
        let object = config_map(fields).to_string();
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        refused(&release.space.run("kubectl", &apply, &object));
    }
    release.wait_for(&mapping("ok-first"));
    // A backup's labels, and a rewrite of all that is stored, change nothing that it says.
    patch(&json!({"metadata": {"labels": {"backed-up": "yes"}}}), &[]).good();
    let stored = release.space.get("configmap", PARAMETER).unwrap();
    release.space.run("kubectl", &["replace", "-f", "-"], &stored.to_string()).good();
    release.wait_for(&mapping("ok-first"));
    // What takes away is left to RBAC, and what comes instead is empty.
    patch(&json!({"data": null}), &[]).good();
    release.wait_for_role(None);
    release.space.kubectl(&["delete", "configmap", PARAMETER]).good();
    refused(&release.space.try_apply(&config_map(json!({"data": other})), &[]));
    release.space.apply(&config_map(json!({})));
    release.space.kubectl(&["delete", "configmap", PARAMETER]).good();

    // With the token of our own account: in the format of the policy, and into one that is there already.
    let token = release.token();
    let as_us = ["--token", &token];
    let apply = ["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"];
    let apply = |fields: Value| {
        let arguments = [&apply[..], &as_us].concat();
        release.space.run("kubectl", &arguments, &config_map(fields).to_string())
    };
    refused(&apply(json!({"data": other})));
    apply(json!({})).good();
    for fields in [
        json!({"data": {"format": "2"}}),
        json!({"data": {"rule.0": "any"}}),
        json!({"binaryData": {"format": "MQ=="}}),
        json!({"data": other, "immutable": true}),
    ] {
        refused(&apply(fields));
    }
    apply(json!({"data": other})).good();
    // A role that is not allowed is not given, whatever the parameter says.
    release.wait_for_role(Some("ok-other"));
    apply(json!({"data": parameter_of(&mapping("forbidden"))})).good();
    release.wait_for_role(None);
    apply(json!({"data": {"format": "none", "why": "nothing fits"}})).good();
    assert!(!release.space.run("kubectl", &["delete", "configmap", PARAMETER, "--token", &token], "").ok);
    // It writes no policy, and does not even read one.
    for verb in ["get", "patch", "create", "delete"] {
        for kind in ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"] {
            let asked =
                ["auth", "can-i", verb, &format!("{kind}/{}", release.full_name()), "--token", &token];
            assert_eq!(release.space.run_anywhere("kubectl", &asked, "").out.trim(), "no", "{verb} {kind}");
        }
    }
}

#[test]
fn the_largest_parameter_passes_the_fence() {
    let Some(release) = Release::new("helm", "parameter-size") else { return };
    release.helm("install", &[]).good();
    let rule = |n: usize| format!("  - {{match: {{serviceAccount: account-{n}}}, role: ok-{n}}}\n");
    let mut text = "account: \"123456789012\"\nrules:\n".to_owned();
    text.extend((0..4_000).map(rule));
    release.space.map(&text).good();
    let webhook = release.replica();
    release.wait_for(&text);
    let label = r#"{"metadata": {"labels": {"backed-up": "yes"}}}"#;
    release.space.kubectl(&["patch", "configmap", PARAMETER, "-p", label]).good();
    let data = r#"{"data": {"rule.0": "x"}}"#;
    assert!(!release.space.kubectl(&["patch", "configmap", PARAMETER, "-p", data]).ok);
    drop(webhook);
}

#[test]
fn with_both_in_place_a_second_admission_changes_nothing_and_repair_goes_on() {
    let Some(release) = Release::new("helm", "both") else { return };
    release.helm("install", &[]).good();
    release.space.map(&mapping("ok-first")).good();
    let allowed = format!("--allowed-role={ALLOWED}");
    let arguments = ["--policy-parameter", "--repair", "--watch-namespace", &release.gitlab.name, &allowed];
    let webhook = Webhook::start_as(&release.space, &release.token(), &arguments);
    release.wait_for(&mapping("ok-first"));
    release.wait_for_role(Some("ok-first"));
    release.gitlab.register(&webhook, "Fail");
    release.gitlab.apply(&account("gitlab-registry"));
    let of = |name: &str, outcome: &str| {
        let (name, outcome) = (format!("\"name\":\"{name}\""), format!("\"outcome\":\"{outcome}\""));
        webhook.lines_where(|line| line.contains(&name) && line.contains(&outcome))
    };
    assert!(of("gitlab-registry", "in_step") >= 1, "the webhook finds what the policy has written");
    assert_eq!(of("gitlab-registry", "set"), 0);
    let version = || {
        release.gitlab.get("serviceaccount", "gitlab-registry").unwrap()["metadata"]["resourceVersion"]
            .clone()
    };
    let before = version();
    release.gitlab.kubectl(&["patch", "serviceaccount", "gitlab-registry", "-p", "{}"]).good();
    release.gitlab.apply(&account("gitlab-registry"));
    assert_eq!(version(), before, "nothing is written a second time");

    // An edit reaches what exists by the empty patch of our own account, which the policy leaves to the webhook.
    release.space.map(&mapping("ok-second")).good();
    eventually("it is repaired", || {
        let role = release.gitlab.annotation("serviceaccount", "gitlab-registry", ROLE);
        (role == Some(arn("ok-second"))).then_some(())
    });
    assert!(!webhook.has_seen("orbidden"), "nothing was refused");
}

#[test]
fn a_replica_of_another_version_cannot_write_its_format_and_takes_over_after_a_rollback() {
    let Some(release) = Release::new("helm", "formats") else { return };
    release.helm("install", &[]).good();
    release.space.map(&mapping("ok-first")).good();
    let webhook = release.replica();
    release.wait_for(&mapping("ok-first"));
    // An upgrade: the policy and its fence know another format, and a new replica writes it.
    let fence = format!("{}-policy", release.full_name());
    let change = |from: &str, to: &str| {
        let (from, to) = (format!("in ['{from}', 'none']"), format!("in ['{to}', 'none']"));
        // The API server may write the status of a policy meanwhile.
        eventually("the fence is changed", || {
            let get = ["get", "validatingadmissionpolicy", &fence, "-o", "json"];
            let text = release.space.kubectl(&get).good().out;
            assert!(text.contains(&from), "{text}");
            let replace = ["replace", "-f", "-"];
            release.space.run_anywhere("kubectl", &replace, &text.replace(&from, &to)).ok.then_some(())
        });
    };
    let token = release.token();
    let patch = json!({"data": {"format": "99", "new": "words"}}).to_string();
    let newer = ["patch", "configmap", PARAMETER, "--type", "merge", "-p", &patch, "--token", &token];
    // A policy is in force a moment after it was made: without this, both replicas could write.
    eventually("the fence is in force", || {
        (!release.space.kubectl(&[&newer[..], &["--dry-run=server"]].concat()).ok).then_some(())
    });
    change(policy::FORMAT, "99");
    eventually("the new replica writes", || release.space.kubectl(&newer).ok.then_some(()));
    let words = "has another format than the policy of this release";
    eventually("the old one is refused", || webhook.has_seen(words).then_some(()));
    assert_eq!(release.held().unwrap()["format"], "99");
    release.wait_for_role(None);
    // And back.
    change("99", policy::FORMAT);
    release.wait_for(&mapping("ok-first"));
    release.wait_for_role(Some("ok-first"));
}

#[test]
fn a_parameter_that_may_not_be_read_any_more_is_told_and_counted_until_it_may_again() {
    let Some(release) = Release::new("helm", "forbidden") else { return };
    release.helm("install", &[]).good();
    release.space.map(&mapping("ok-first")).good();
    let webhook = release.replica();
    release.wait_for(&mapping("ok-first"));
    let in_step = || webhook.metric("gitlab_iam_webhook_policy_in_step");
    eventually("it is in step", || (in_step() == 1).then_some(()));
    let role = release.space.get("role", &release.full_name()).unwrap();
    let mut less = role.clone();
    let rules = less["rules"].as_array_mut().unwrap();
    rules.retain(|rule| !rule["resourceNames"].as_array().unwrap().contains(&json!(PARAMETER)));
    assert!(rules.len() < role["rules"].as_array().unwrap().len());
    release.space.run("kubectl", &["replace", "-f", "-"], &less.to_string()).good();
    release.space.map(&mapping("ok-second")).good();
    eventually("it is said", || webhook.has_seen("reading the policy's parameter").then_some(()));
    assert!(webhook.has_seen("orbidden"), "why is said too");
    eventually("it is counted", || (in_step() == 0).then_some(()));
    // The policy goes on with what it has.
    assert_eq!(release.role(), Some(arn("ok-first")));
    release.space.run("kubectl", &["replace", "--force", "-f", "-"], &role.to_string());
    release.wait_for(&mapping("ok-second"));
    release.wait_for_role(Some("ok-second"));
    eventually("it is in step again", || (in_step() == 1).then_some(()));
}

#[test]
fn the_policy_comes_with_an_upgrade_and_goes_with_a_rollback_or_the_release_and_never_gives_what_is_old() {
    for with in HELMS {
        let Some(release) = Release::new(with, &format!("policy-life-{with}")) else { return };
        release.helm("install", &["policy.enabled=false"]).good();
        release.space.map(&mapping("ok-first")).good();
        assert_eq!((release.made(), release.held()), (vec![], None));

        release.helm("upgrade", &[]).good();
        assert_eq!(release.held(), Some(Value::Null));
        assert!(release.made().len() >= 4, "{:?}", release.made());
        let webhook = release.replica();
        release.wait_for(&mapping("ok-first"));
        release.wait_for_role(Some("ok-first"));
        webhook.stop();
        // What the replicas have written outlives upgrades and rollbacks between revisions that have it.
        release.helm("upgrade", &["replicaCount=3"]).good();
        assert_eq!(release.held(), Some(parameter_of(&mapping("ok-first"))), "{with}");
        release.back(&["rollback", "2"]);
        assert_eq!(release.held(), Some(parameter_of(&mapping("ok-first"))), "{with}");
        release.wait_for_role(Some("ok-first"));

        release.back(&["rollback", "1"]);
        assert_eq!((release.made(), release.held()), (vec![], None), "{with}");
        release.wait_for_role(None);
        release.space.map(&mapping("ok-second")).good();
        release.helm("upgrade", &[]).good();
        assert_eq!(release.held(), Some(Value::Null), "{with}: nothing old is in force");
        assert_eq!(release.role(), None, "{with}");
        let webhook = release.replica();
        release.wait_for(&mapping("ok-second"));
        release.wait_for_role(Some("ok-second"));
        webhook.stop();
        release.back(&["uninstall"]);
        assert_eq!((release.made(), release.held()), (vec![], None), "{with}");
        assert!(release.space.get("configmap", "role-mapping").is_some(), "the mapping stays");
    }
}

#[test]
fn the_policy_acts_where_the_webhook_is_asked_and_nowhere_else() {
    let Some(release) = Release::new("helm", "policy-scope") else { return };
    let term = "webhooks.namespaceSelector.matchExpressions[0]";
    let terms = ["key=team", "operator=NotIn", "values[0]=legacy"].map(|field| format!("{term}.{field}"));
    let mut values: Vec<&str> = terms.iter().map(String::as_str).collect();
    values.extend([
        "webhooks.serviceAccounts.objectSelector.matchLabels.roles=yes",
        "webhooks.pods.enabled=false",
    ]);
    release.helm("install", &values).good();
    let text = "account: \"123456789012\"\nrules:\n  - {match: {component: registry}, role: ok-a}\n  \
                - {match: {component: registry}, role: ok-pod, provider: kube2iam}\n";
    release.space.map(text).good();
    let webhook = release.replica();
    release.wait_for(text);
    let dry = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let roles = |space: &Space, object: &Value, more: &[&str]| {
        let done = space.run("kubectl", &[&dry[..], more].concat(), &object.to_string()).good();
        let object: Value = serde_json::from_str(&done.out).unwrap();
        let annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        annotations.get(ROLE).or_else(|| annotations.get(POD_ROLE)).cloned()
    };
    let mut selected = account("trial");
    selected["metadata"]["labels"]["roles"] = "yes".into();
    let given = || roles(&release.gitlab, &selected, &[]);
    eventually("the policy is in force", &given);
    assert_eq!(given(), Some(json!(arn("ok-a"))));
    assert_eq!(roles(&release.gitlab, &account("trial"), &[]), None, "the objectSelector");
    // Each has the label that opts it in.
    assert_eq!(roles(&release.space, &selected, &[]), None, "the release's own namespace");
    assert_eq!(roles(&Space::new("policy-elsewhere"), &selected, &[]), None, "it is not in `namespaces`");
    let label = |label: &str| {
        release.gitlab.kubectl(&["label", "namespace", &release.gitlab.name, "--overwrite", label]).good();
    };
    for (out, back) in [
        ("team=legacy", "team=new"),
        ("gitlab-iam-webhook/inject=observe", "gitlab-iam-webhook/inject=enabled"),
        ("gitlab-iam-webhook/inject=disabled", "gitlab-iam-webhook/inject=enabled"),
    ] {
        label(out);
        eventually(out, || given().is_none().then_some(()));
        label(back);
        eventually(back, &given);
    }
    // What exists is left to the webhook, when our own account has it admitted again.
    label("gitlab-iam-webhook/inject=observe");
    eventually("nothing is given", || given().is_none().then_some(()));
    let mut stored = selected.clone();
    stored["metadata"]["name"] = "stored".into();
    release.gitlab.apply(&stored);
    label("gitlab-iam-webhook/inject=enabled");
    eventually("it is given again", given);
    let admit_again = |more: &[&str]| {
        let patch = ["patch", "serviceaccount", "stored", "--dry-run=server", "-o", "json", "-p", "{}"];
        release.gitlab.kubectl(&[&patch[..], more].concat()).good().out
    };
    assert!(admit_again(&[]).contains("role/ok-a"));
    assert!(!admit_again(&["--token", &release.token()]).contains("role/ok-a"));

    let mut pod = account("registry-1");
    pod["kind"] = "Pod".into();
    pod["spec"] = json!({"serviceAccountName": "default", "containers": [{"name": "a", "image": "a"}]});
    let controller = ["--as", "system:serviceaccount:kube-system:replicaset-controller"];
    assert_eq!(roles(&release.gitlab, &pod, &controller), None, "no Pod is sent");
    let with_pods: Vec<&str> = values.iter().filter(|value| !value.contains("pods")).copied().collect();
    release.helm("upgrade", &with_pods).good();
    let of_the_pod = eventually("Pods are looked at", || roles(&release.gitlab, &pod, &controller));
    assert_eq!(of_the_pod, arn("ok-pod"));
    drop(webhook);
}

#[test]
fn the_chart_refuses_the_policy_where_it_cannot_work_and_renders_it_without_a_cluster() {
    Space::tools();
    let api = "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";
    for with in HELMS {
        let template = |flags: &[&str]| {
            let arguments =
                ["template", "release", CHART, "--namespace", "ours", "--set", "policy.enabled=true"];
            helm(with, &[&arguments[..], flags].concat())
        };
        let allowed = format!("--set=allowedRoles[0]={ALLOWED}");
        for version in ["1.30.0", "1.35.9"] {
            let refused = template(&["--kube-version", version, &allowed]);
            let words = format!(
                "policy.enabled: a MutatingAdmissionPolicy needs Kubernetes 1.36 or later, and this is v{version}"
            );
            assert!(!refused.ok && refused.err.contains(&words), "{with}: {}", refused.err);
        }
        let refused = template(&["--kube-version", "1.36.0"]);
        let words = "policy.enabled: the policy gives no role outside allowedRoles, and that list is empty";
        assert!(!refused.ok && refused.err.contains(words), "{with}: {}", refused.err);
        // The chart takes the globs that the policy understands, and no others.
        for role in [
            "arn:*",
            "{a,b}=arn:*:role/{c,d}-?",
            "arn:*:role/a,b",
            "arn:*:role/a|b",
            "arn:*:role/[ab]",
            "arn:*:role/{a,{b,c}}",
            "arn:*:role/{a,b},c",
            "arn:*:role/{a|b,c}",
        ] {
            let taken = policy::spec(&[role.parse().unwrap()]).is_ok();
            let json = format!("--set-json=allowedRoles={}", json!([role]));
            let done = template(&["--kube-version", "1.36.0", &json]);
            let refused = format!("allowedRoles[0]: {role}: with policy.enabled a glob has");
            assert_eq!(
                (done.ok, done.err.contains(&refused)),
                (taken, !taken),
                "{with} {role}: {}",
                done.err
            );
        }
        // And as many as the policy can compare.
        for (count, length) in [(100, 80), (101, 32), (100, 81)] {
            let roles = vec![format!("arn:aws:iam::123456789012:role/{}", "x".repeat(length - 31)); count];
            let taken = policy::spec(&roles.iter().map(|role| role.parse().unwrap()).collect::<Vec<_>>());
            let json = format!("--set-json=allowedRoles={}", json!(roles));
            let done = template(&["--kube-version", "1.36.0", &json]);
            let refused = format!("policy.enabled: {count} allowedRoles have {} bytes", count * length);
            assert_eq!(
                (done.ok, done.err.contains(&refused)),
                (taken.is_ok(), taken.is_err()),
                "{}",
                done.err
            );
        }
        for flags in [
            &["--kube-version", "1.36.0"][..],
            &["--kube-version", "v1.37.1-eks-1a2b3c"],
            &["--kube-version", "1.34.0", api],
        ] {
            let rendered = template(&[flags, &[&*allowed]].concat()).good().out;
            for kind in ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"] {
                assert!(rendered.contains(&format!("\nkind: {kind}\n")), "{with} {flags:?}: {kind}");
            }
            assert!(rendered.contains("--policy-parameter"), "{with} {flags:?}");
        }
        let without = helm(with, &["template", "r", CHART, "--kube-version", "1.36.0"]).good().out;
        for word in ["MutatingAdmissionPolicy", PARAMETER, "--policy-parameter"] {
            assert!(!without.contains(word), "{with}: {word}");
        }
    }
}
