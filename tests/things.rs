//! What are objects and mappings like that somebody could have?

#![allow(dead_code, reason = "each of the test binaries uses a part of it")]

use std::borrow::Cow;

use gitlab_iam_webhook::engine::decision::{Decision, WAS, decide};
use gitlab_iam_webhook::engine::object::subject::{Kind, Pair, Requester, Subject};
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

/// An object that owns its labels and annotations.
#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    /// Where it is given, the API server is still to make a name.
    pub(crate) generate_name: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) annotations: Vec<(String, String)>,
    /// `None` is an object in a file.
    pub(crate) user: Option<String>,
}

pub(crate) const REPLICASET_CONTROLLER: &str = "system:serviceaccount:kube-system:replicaset-controller";
pub(crate) const RUNNER: &str = "system:serviceaccount:ci:gitlab-runner";

impl Thing {
    /// A component's ServiceAccount, as GitLab's chart makes it.
    pub(crate) fn service_account(component: &str) -> Self {
        Self {
            kind: Kind::ServiceAccount,
            namespace: "gitlab".to_owned(),
            service_account: format!("gitlab-{component}"),
            generate_name: None,
            labels: chart_labels(component),
            annotations: Vec::new(),
            user: Some("admin".to_owned()),
        }
    }

    /// A component's Pod, as the ReplicaSet controller asks for it.
    pub(crate) fn pod(component: &str) -> Self {
        Self {
            kind: Kind::Pod,
            user: Some(REPLICASET_CONTROLLER.to_owned()),
            ..Self::service_account(component)
        }
    }

    /// A job's Pod, as the runner asks for it.
    pub(crate) fn job(project: &str) -> Self {
        Self {
            kind: Kind::Pod,
            namespace: "ci".to_owned(),
            service_account: "gitlab-jobs".to_owned(),
            generate_name: None,
            labels: vec![
                ("pod".to_owned(), format!("runner-x-project-{project}-concurrent-0")),
                ("project.runner.gitlab.com/id".to_owned(), project.to_owned()),
            ],
            annotations: Vec::new(),
            user: Some(RUNNER.to_owned()),
        }
    }

    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.set(key, Some(value));
        self
    }

    pub(crate) fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.retain(|(present, _)| present != key);
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn by(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    pub(crate) fn set(&mut self, key: &str, value: Option<&str>) {
        self.annotations.retain(|(present, _)| present != key);
        if let Some(value) = value {
            self.annotations.push((key.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.iter().find(|(present, _)| present == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn with_subject<T>(&self, act: impl FnOnce(&Subject<'_>) -> T) -> T {
        let pairs = |pairs: &'_ [(String, String)]| -> Vec<Pair<'static>> {
            pairs.iter().map(|(key, value)| (Cow::Owned(key.clone()), Cow::Owned(value.clone()))).collect()
        };
        let (labels, annotations) = (pairs(&self.labels), pairs(&self.annotations));
        act(&Subject {
            kind: self.kind,
            namespace: &self.namespace,
            name: self.generate_name.as_deref().unwrap_or("some-pod"),
            service_account: if self.generate_name.is_some() && self.kind == Kind::ServiceAccount {
                ""
            } else {
                &self.service_account
            },
            labels: &labels,
            annotations: &annotations,
            requester: self.user.as_deref().map_or(Requester::Assumed, Requester::User),
        })
    }

    pub(crate) fn decide<'r>(&self, ruleset: &'r Ruleset) -> Decision<'r> {
        self.with_subject(|subject| decide(ruleset, subject))
    }

    /// Decides, and carries the decision out.
    pub(crate) fn admit<'r>(&mut self, ruleset: &'r Ruleset) -> Decision<'r> {
        let decision = self.decide(ruleset);
        for edit in &decision.edits {
            self.set(edit.key, edit.value.as_deref());
        }
        decision
    }

    /// The annotations, ours and everybody's, sorted.
    pub(crate) fn sorted_annotations(&self) -> Vec<(String, String)> {
        let mut annotations = self.annotations.clone();
        annotations.sort();
        annotations
    }

    /// As the object in a review or a file.
    pub(crate) fn to_object(&self) -> Value {
        let map = |pairs: &[(String, String)]| -> serde_json::Map<String, Value> {
            pairs.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect()
        };
        let mut object = serde_json::json!({
            "apiVersion": "v1",
            "kind": self.kind.name(),
            "metadata": {"name": "some-pod", "namespace": self.namespace, "labels": map(&self.labels)},
        });
        if !self.annotations.is_empty() {
            object["metadata"]["annotations"] = Value::Object(map(&self.annotations));
        }
        match self.kind {
            Kind::ServiceAccount => object["metadata"]["name"] = self.service_account.clone().into(),
            Kind::Pod => {
                object["spec"] = serde_json::json!({
                    "serviceAccountName": self.service_account,
                    "containers": [{"name": "main", "image": "x", "futureField": {"kept": [1, 2.5, null]}}],
                });
            }
        }
        if let (Some(start), Some(metadata)) = (&self.generate_name, object["metadata"].as_object_mut()) {
            metadata.remove("name");
            metadata.insert("generateName".to_owned(), start.clone().into());
        }
        object
    }

    /// As the API server would ask.
    pub(crate) fn to_review(&self) -> Value {
        serde_json::json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "kind": {"group": "", "version": "v1", "kind": self.kind.name()},
                "operation": "CREATE",
                "namespace": self.namespace,
                "userInfo": {"username": self.user.clone().unwrap_or_default()},
                "object": self.to_object(),
                "dryRun": false,
            },
        })
    }
}

pub(crate) fn chart_labels(component: &str) -> Vec<(String, String)> {
    let chart = if component == "runner" { "gitlab-runner" } else { component };
    [("app", component), ("chart", &format!("{chart}-9.10.0")), ("release", "gitlab"), ("heritage", "Helm")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
}

const KEYS: [&str; 9] = [
    "eks.amazonaws.com/role-arn",
    "eks.amazonaws.com/audience",
    "eks.amazonaws.com/sts-regional-endpoints",
    "eks.amazonaws.com/token-expiration",
    "eks.amazonaws.com/skip-containers",
    "iam.amazonaws.com/role",
    "iam.amazonaws.com/external-id",
    "iam.amazonaws.com/session-name",
    WAS,
];
const NAMESPACES: [&str; 4] = ["gitlab", "ci-a", "ci-b", "legacy"];
const ACCOUNTS: [&str; 4] = ["gitlab-webservice", "gitlab-jobs", "default", "ci-x"];
const COMPONENTS: [&str; 4] = ["webservice", "sidekiq", "registry", "runner"];
/// Values of annotations. Some are those that rules set, so that equal values come up.
const VALUES: [&str; 6] =
    ["", "by-hand", "arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:role/b", "3600", "true"];

fn quoted_list(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(select(values), 1..3).prop_map(|chosen| {
        let items: Vec<String> = chosen.iter().map(|value| format!("{value:?}")).collect();
        format!("[{}]", items.join(", "))
    })
}

/// Makes one rule in YAML. Some break the rules of the language, and are left out of the mapping.
fn a_rule() -> impl Strategy<Value = String> {
    let criteria = (
        option::of(quoted_list(&[
            "webservice",
            "sidekiq",
            "registry",
            "runner",
            "runner-job",
            "registry-migrations",
            "*",
        ])),
        option::of(quoted_list(&[
            "gitlab",
            "ci-a",
            "ci-*",
            "*",
            "c?-[ab]",
            "{gitlab,legacy}",
            "*-b",
            "leg*",
        ])),
        option::of(quoted_list(&["gitlab-webservice", "default", "gitlab-*", "*-x", "{default,ci-x}"])),
        option::of(quoted_list(&["gitlab", "git*", "?itlab"])),
        option::of(quoted_list(&["a", "b*", "*"])),
        any::<(bool, bool, bool)>(),
    );
    let action = select(vec![
        "role: a",
        "role: b",
        "role: \"x-{release}\"",
        "role: \"{namespace}-{project}\"",
        "role: b, onConflict: replace",
        "role: a, onConflict: keep",
        "skip: true",
        "remove: true",
    ]);
    let provider = select(vec![
        "",
        ", provider: irsa",
        ", provider: kube2iam",
        ", provider: [irsa, kube2iam]",
        ", provider: irsa, irsa: {annotatePods: true, skipContainers: [a], tokenExpiration: 3600}",
        ", provider: irsa, irsa: {stsRegionalEndpoints: true, audience: aud}",
        ", provider: kube2iam, kube2iam: {externalId: x-1, sessionName: ci}",
    ]);
    (criteria, action, provider, any::<bool>()).prop_map(|(criteria, action, provider, is_unsafe)| {
        let (component, namespace, account, release, label, (project, runner, other_runner)) = criteria;
        let runner_name = if other_runner { "ci/other" } else { "ci/gitlab-runner" };
        let parts: Vec<String> = [
            component.map(|list| format!("component: {list}")),
            namespace.map(|list| format!("namespace: {list}")),
            account.map(|list| format!("serviceAccount: {list}")),
            release.map(|list| format!("release: {list}")),
            label.map(|list| format!("labels: {{team: {list}}}")),
            (project && runner).then(|| "project: [42, 7]".to_owned()),
            runner.then(|| format!("runner: {runner_name}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let is_unsafe = if is_unsafe { ", unsafe: true" } else { "" };
        format!("  - {{match: {{{}}}, {action}{provider}{is_unsafe}}}\n", parts.join(", "))
    })
}

pub(crate) fn a_mapping() -> impl Strategy<Value = String> {
    let head = select(vec![
        "",
        "onConflict: replace\n",
        "onNoRule: remove\n",
        "onConflict: replace\nonNoRule: remove\n",
    ]);
    (head, vec(a_rule(), 0..12)).prop_map(|(head, rules)| {
        let head = format!("account: \"123456789012\"\n{head}rules:");
        let good: Vec<String> =
            rules.into_iter().filter(|rule| is_good(&format!("{head}\n{rule}"))).collect();
        if good.is_empty() { format!("{head} []\n") } else { format!("{head}\n{}", good.concat()) }
    })
}

fn is_good(mapping: &str) -> bool {
    gitlab_iam_webhook::engine::mapping::compile(mapping, &OperatorPolicy::default()).is_ok()
}

pub(crate) fn a_thing() -> impl Strategy<Value = Thing> {
    let kind = select(vec![Kind::ServiceAccount, Kind::Pod]);
    let labels = (
        option::of(select(COMPONENTS.to_vec())),
        option::of(select(vec!["a", "bb"])),
        option::of(select(vec!["42", "8"])),
    );
    let annotations = vec((select(KEYS.to_vec()), select(VALUES.to_vec())), 0..4);
    let user = select(vec![REPLICASET_CONTROLLER, RUNNER, "admin"]);
    let names = (select(NAMESPACES.to_vec()), select(ACCOUNTS.to_vec()));
    (kind, names, labels, annotations, user).prop_map(
        |(kind, (namespace, account), labels, annotations, user)| {
            let (component, team, project) = labels;
            let mut thing = Thing {
                kind,
                namespace: namespace.to_owned(),
                service_account: account.to_owned(),
                generate_name: None,
                labels: component.map(chart_labels).unwrap_or_default(),
                annotations: Vec::new(),
                user: Some(user.to_owned()),
            };
            if let Some(team) = team {
                thing = thing.labelled("team", team);
            }
            if let Some(project) = project.filter(|_| kind == Kind::Pod) {
                thing = thing.labelled("project.runner.gitlab.com/id", project);
            }
            for (key, value) in annotations {
                thing.set(key, Some(value));
            }
            thing
        },
    )
}

/// Makes a change that somebody makes between two admissions, which sets a key or takes it off.
pub(crate) fn a_hand() -> impl Strategy<Value = (&'static str, Option<&'static str>)> {
    (select(KEYS[..8].to_vec()), option::of(select(VALUES.to_vec())))
}
