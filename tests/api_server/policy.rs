//! Does the API server by itself decide as the engine does?
//!
//! The policy is bound to each mapping of a crowd by a label that picks the mapping out, so that thousands of
//! objects meet hundreds of mappings at once.

use std::collections::BTreeMap;
use std::fs;

use gitlab_iam_webhook::engine::decision::{APPLIED, decide};
use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::object::manifest;
use gitlab_iam_webhook::engine::object::subject::{Kind, Requester};
use gitlab_iam_webhook::engine::policy::{self, Objects, Placed};
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::commands::root;
use crate::harness::{Cluster, ISSUER, Proxy, eventually};
use crate::things::{Thing, a_hand, a_mapping, a_thing};

/// The label that picks out the mapping of an object.
const PICK: &str = "mapping-of-test";

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

/// A cluster of its own, because the names of namespaces are what rules look at.
pub(crate) struct Api {
    _proxy: Proxy,
    cluster: Cluster,
    url: String,
    client: reqwest::Client,
    runtime: Runtime,
}

impl Api {
    /// Returns `None` where the API server has no such policies.
    pub(crate) fn start() -> Option<Self> {
        crate::harness::Space::tools();
        let cluster = Cluster::start(ISSUER, ISSUER);
        let proxy = cluster.proxy();
        let url = format!("http://127.0.0.1:{}", proxy.port);
        // Plain HTTP needs none, but the client wants one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Runtime::new().unwrap();
        let api = Self { _proxy: proxy, cluster, url, client: reqwest::Client::new(), runtime };
        let (status, _) = api.ask("GET", POLICIES, "admin", None);
        if status == 404 {
            assert!(std::env::var_os("KUBE_APISERVER").is_some(), "Kubernetes 1.36 serves such policies");
            return None;
        }
        Some(api)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, user: &str, body: Option<&Value>) -> (u16, Value) {
        self.runtime.block_on(async {
            let mut request = self
                .client
                .request(method.parse().unwrap(), format!("{}{path}", self.url))
                .header("Impersonate-User", user)
                .header("Impersonate-Group", "system:masters");
            if let Some(body) = body {
                request = request.header("Content-Type", "application/json").body(body.to_string());
            }
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
        })
    }

    pub(crate) fn make(&self, path: &str, object: &Value) {
        let (status, answer) = self.ask("POST", path, "admin", Some(object));
        assert!(status == 201 || status == 409, "{path}: {answer}");
    }

    pub(crate) fn opt_in(&self, namespace: &str) {
        let labels = json!({"gitlab-iam-webhook/inject": "enabled"});
        self.make("/api/v1/namespaces", &json!({"metadata": {"name": namespace, "labels": labels}}));
    }

    /// Writes a policy. With `Fail` one that cannot be evaluated is seen.
    pub(crate) fn install(&self, name: &str, operator: &OperatorPolicy, failure_policy: &str) {
        let placed = Placed { name, namespace: "default", acts_in: &[] };
        let objects = Objects::new(&placed, &operator.allowed_roles, &BTreeMap::new()).unwrap();
        let mut policy = policy::value(&objects.policy);
        policy["spec"]["failurePolicy"] = failure_policy.into();
        self.make(POLICIES, &policy);
    }

    /// Binds the policy to a mapping, for objects with this value of [`PICK`].
    pub(crate) fn bind(&self, pick: &str, data: &BTreeMap<String, String>) {
        self.bind_to("roles", pick, data);
    }

    pub(crate) fn bind_to(&self, policy: &str, pick: &str, data: &BTreeMap<String, String>) {
        let name = format!("mapping-{pick}");
        self.make(
            "/api/v1/namespaces/default/configmaps",
            &json!({"metadata": {"name": name}, "data": data}),
        );
        let spec = json!({
            "policyName": policy,
            "paramRef": {"name": name, "namespace": "default", "parameterNotFoundAction": "Allow"},
            "matchResources": {"objectSelector": {"matchLabels": {PICK: pick}}},
        });
        self.make(BINDINGS, &json!({"metadata": {"name": name}, "spec": spec}));
    }

    /// Waits until the API server has taken in all that was bound: it takes them in their order.
    pub(crate) fn wait_for_bindings(&self, role: &str) {
        let text =
            format!("account: '123456789012'\nrules: [{{match: {{serviceAccount: probe}}, role: {role}}}]");
        let ruleset = mapping::compile(&text, &OperatorPolicy::default());
        self.bind("probe", &policy::parameter(&ruleset.unwrap()).unwrap().data);
        let mut thing = Thing::service_account("x");
        "probe".clone_into(&mut thing.service_account);
        eventually("the policy is in force", || {
            (!self.admit(&thing, "probe", true).is_empty()).then_some(())
        });
    }

    /// Waits until an edit of a parameter is in force, and returns the annotations that an object then gets.
    pub(crate) fn admit_when(
        &self,
        thing: &Thing,
        pick: &str,
        holds: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> BTreeMap<String, String> {
        eventually("the parameter is in force", || Some(self.admit(thing, pick, true)).filter(&holds))
    }

    /// Returns the annotations with which the API server would store an object.
    pub(crate) fn admit(&self, thing: &Thing, pick: &str, create: bool) -> BTreeMap<String, String> {
        let mut object = thing.clone().labelled(PICK, pick).to_object();
        if let Some(spec) = object.get_mut("spec") {
            spec["containers"] = json!([{"name": "main", "image": "x"}]);
        }
        let kind = if thing.kind == Kind::Pod { "pods" } else { "serviceaccounts" };
        let path = format!("/api/v1/namespaces/{}/{kind}", thing.namespace);
        let user = thing.user.as_deref().unwrap();
        let (status, answer) = if create {
            self.ask("POST", &format!("{path}?dryRun=All"), user, Some(&object))
        } else {
            let path = format!("{path}/{}?dryRun=All", thing.service_account);
            self.ask("PUT", &path, user, Some(&object))
        };
        assert!(status < 300, "{object}: {answer}");
        annotations(&answer)
    }
}

fn annotations(object: &Value) -> BTreeMap<String, String> {
    let map = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    map.into_iter().map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect()
}

fn operator() -> OperatorPolicy {
    let allowed = [
        "{gitlab,legacy}=arn:aws:iam::123456789012:role/?",
        "ci-?=arn:aws:iam::123456789012:role/{a,x-*}",
        "arn:aws:iam::123456789012:role/{b,ci-*}",
    ];
    OperatorPolicy {
        allowed_roles: allowed.iter().map(|role| role.parse().unwrap()).collect(),
        workload_controllers: vec!["kruise".to_owned(), "flux".to_owned()],
    }
}

fn some<T>(runner: &mut TestRunner, strategy: impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// A thing with labels that few have, and perhaps admitted before under another mapping.
fn a_past(runner: &mut TestRunner, before: &Ruleset) -> (Thing, bool) {
    let mut thing = some(runner, a_thing());
    let few = [
        ("job-name", "x"),
        ("app.kubernetes.io/managed-by", "gitlab-operator"),
        ("app.kubernetes.io/component", "sidekiq"),
        ("app.kubernetes.io/component", "task-runner"),
        ("app.kubernetes.io/instance", "gitlab"),
        ("helm.sh/chart", "openbao-1.2.3"),
        ("gitlab-iam-webhook/inject", "disabled"),
        ("release", ""),
        ("a.runner.gitlab.com/x", "y"),
        ("runner.gitlab.com.x/x", "y"),
    ];
    for (key, value) in some(runner, proptest::collection::vec(select(few.to_vec()), 0..3)) {
        thing = thing.labelled(key, value);
    }
    if some(runner, 0..8) == 0 {
        let (key, value) = some(
            runner,
            select(vec![
                ("helm.sh/hook", "pre-install, \u{a0}test-success"),
                ("helm.sh/hook", "pretest"),
                ("job.runner.gitlab.com/id", "7"),
                ("gitlab-iam-webhook/inject", "disabled"),
            ]),
        );
        thing.set(key, Some(value));
    }
    if some(runner, 0..6) == 0 {
        thing = thing.by(some(runner, select(vec!["kruise", "flux", "system:serviceaccount:ci:other"])));
    }
    if some(runner, 0..4) == 0 {
        let starts =
            ["some-", "default", "runner-x-project-42-concurrent-0-", "runner-x-project-7-concurrent-"];
        thing.generate_name = Some(some(runner, select(starts.to_vec())).to_owned());
    }
    if some(runner, any::<bool>()) {
        thing.admit(before);
        for (key, value) in some(runner, proptest::collection::vec(a_hand(), 0..3)) {
            thing.set(key, value);
        }
    }
    let record = thing.annotation(APPLIED).map(str::to_owned);
    let forged = || {
        json!({"annotations": thing.annotations.iter().cloned().collect::<BTreeMap<_, _>>(), "rule": "r\"\\"})
            .to_string()
    };
    let respelled = match (some(runner, 0..16), record) {
        (0, Some(record)) => Some(record.replacen(':', ": ", 1)),
        (1, _) => Some("no record".to_owned()),
        (2 | 3, _) => {
            let record = forged();
            thing.set(APPLIED, Some(&record));
            None
        }
        _ => None,
    };
    if let Some(record) = &respelled {
        thing.set(APPLIED, Some(record));
    }
    (thing, respelled.is_some())
}

#[test]
fn the_policy_decides_as_the_engine_does_on_generated_mappings_and_objects() {
    const MAPPINGS: usize = 300;
    const THINGS: usize = 16;
    let Some(api) = Api::start() else { return };
    let operator = operator();
    let mut runner = TestRunner::deterministic();
    for namespace in ["gitlab", "ci-a", "ci-b", "legacy", "default"] {
        api.opt_in(namespace);
    }
    let rulesets: Vec<(String, Ruleset)> = (0..MAPPINGS)
        .map(|_| {
            let text = some(&mut runner, a_mapping());
            let ruleset = mapping::compile(&text, &operator).unwrap();
            (text, ruleset)
        })
        .collect();
    api.install("roles", &operator, "Fail");
    for (number, (_, ruleset)) in rulesets.iter().enumerate() {
        let parameter = policy::parameter(ruleset).unwrap();
        assert!(parameter.left_out.is_empty());
        api.bind(&number.to_string(), &parameter.data);
    }
    api.wait_for_bindings("b");
    let things: Vec<(usize, Thing, bool)> = (0..MAPPINGS * THINGS)
        .map(|n| {
            let number = n % MAPPINGS;
            let before = &rulesets[(number + 1) % MAPPINGS].1;
            let (thing, is_outside) = a_past(&mut runner, before);
            (number, thing.labelled(PICK, &number.to_string()), is_outside)
        })
        .collect();
    // What is created first is not there yet, and what is updated is.
    let is_created = |thing: &Thing, n: usize| {
        thing.kind == Kind::ServiceAccount
            && (thing.generate_name.is_some() || (thing.service_account != "default" && n.is_multiple_of(2)))
    };
    let mut order: Vec<usize> = (0..things.len()).collect();
    order.sort_by_key(|n| !is_created(&things[*n].1, *n));
    let (mut made, mut changed, mut outside, mut unnamed) = (false, 0, 0, [0, 0]);
    let mut different = Vec::new();
    for n in order {
        let (number, thing, respelled) = &things[n];
        let create = thing.kind == Kind::Pod || is_created(thing, n);
        if !made && !is_created(thing, n) {
            for namespace in ["gitlab", "ci-a", "ci-b", "legacy"] {
                for account in ["gitlab-webservice", "gitlab-jobs", "ci-x", "default"] {
                    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
                    api.make(&path, &json!({"metadata": {"name": account}}));
                }
            }
            made = true;
        }
        let (text, ruleset) = &rulesets[*number];
        let mut wanted = thing.clone();
        let is_job = thing.with_subject(|subject| ruleset.facts(subject).is_job);
        // The policy leaves an object whose record it cannot read.
        let is_outside = *respelled && !is_job;
        if is_outside {
            outside += 1;
        } else {
            wanted.admit(ruleset);
        }
        let wanted: BTreeMap<String, String> = wanted.annotations.into_iter().collect();
        let found = api.admit(thing, &number.to_string(), create);
        let before: BTreeMap<String, String> = thing.annotations.iter().cloned().collect();
        changed += usize::from(wanted != before);
        if thing.generate_name.is_some() && wanted != before {
            unnamed[usize::from(thing.kind == Kind::Pod)] += 1;
        }
        if found != wanted {
            different.push(format!("{text}\n{thing:?}\nfound {found:#?}\nwanted {wanted:#?}"));
        }
    }
    let total = things.len();
    assert!(different.is_empty(), "{} of {total} differ:\n{}", different.len(), different.join("\n\n"));
    assert!(changed > total / 10, "{changed} of {total} are changed");
    assert!(unnamed.iter().all(|changed| *changed > 40), "{unnamed:?} without a name are changed");
    assert!(outside * 10 < total && outside > 10, "{outside} of {total} are outside of what it can judge");
    drop(api.cluster.end());
}

#[test]
fn the_policy_decides_as_the_engine_does_on_each_of_the_72_objects() {
    let Some(api) = Api::start() else { return };
    let data = |name: &str| fs::read_to_string(root().join("tests/data").join(name)).unwrap();
    let operator = OperatorPolicy {
        allowed_roles: vec!["arn:aws:iam::123456789012:role/*".parse().unwrap()],
        ..OperatorPolicy::default()
    };
    let ruleset = mapping::compile(&data("one-rule-per-component.yaml"), &operator).unwrap();
    api.install("roles", &operator, "Fail");
    api.bind("all", &policy::parameter(&ruleset).unwrap().data);
    let text = data("gitlab-objects.yaml");
    let documents: Vec<&str> = text.split("\n---\n").filter(|document| document.starts_with("#@ ")).collect();
    assert_eq!(documents.len(), 72);
    let (mut in_force, mut annotated) = (false, 0);
    // Each Pod needs its ServiceAccount, and none may be there when it is created.
    for kind in ["ServiceAccount", "Pod"] {
        for document in &documents {
            let (header, manifest) = document.split_once('\n').unwrap();
            let header: Value = serde_json::from_str(header.strip_prefix("#@ ").unwrap()).unwrap();
            let objects = manifest::read(manifest).unwrap();
            let object = &objects[0];
            let user = header["user"].as_str().unwrap();
            let subject = object.subject("gitlab", Requester::User(user));
            if subject.kind.name() != kind {
                continue;
            }
            api.opt_in(subject.namespace);
            let accounts = format!("/api/v1/namespaces/{}/serviceaccounts", subject.namespace);
            if kind == "Pod" {
                api.make(&accounts, &json!({"metadata": {"name": subject.service_account}}));
            }
            let mut wanted: BTreeMap<String, String> =
                subject.annotations.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let before = wanted.clone();
            for edit in decide(&ruleset, &subject).edits {
                match edit.value {
                    Some(value) => drop(wanted.insert(edit.key.to_owned(), value.into_owned())),
                    None => drop(wanted.remove(edit.key)),
                }
            }
            annotated += usize::from(wanted != before);
            // The namespace's own account is there already, or soon: a controller makes it.
            let verb =
                if kind == "ServiceAccount" && subject.name == "default" { "replace" } else { "create" };
            let arguments = [
                verb,
                "--dry-run=server",
                "-f",
                "-",
                "-o",
                "json",
                "--namespace",
                subject.namespace,
                "--as",
                user,
                "--as-group",
                "system:masters",
            ];
            if verb == "replace" {
                let path = format!("{accounts}/{}", subject.name);
                eventually("the namespace has its own account", || {
                    (api.ask("GET", &path, "admin", None).0 == 200).then_some(())
                });
            }
            let labelled = manifest.replacen("  labels:\n", &format!("  labels:\n    {PICK}: all\n"), 1);
            let labelled = if labelled == manifest {
                manifest.replacen("metadata:\n", &format!("metadata:\n  labels: {{{PICK}: all}}\n"), 1)
            } else {
                labelled
            };
            let found = || {
                let done = api.cluster.kubectl(&arguments, &labelled).good();
                annotations(&serde_json::from_str(&done.out).unwrap())
            };
            if !in_force && wanted != before {
                eventually("the policy is in force", || (found() != before).then_some(()));
                in_force = true;
            }
            assert_eq!(found(), wanted, "{}", header["case"]);
        }
    }
    assert!(annotated > 40, "{annotated}");
}
