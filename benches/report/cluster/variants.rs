//! Who stands between a client and the API server's answer? Each variant has a namespace of its own, so that all are
//! registered at once and can be asked in turns.

use std::fs;
use std::process::Command;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::Kind;
use super::peer::Peer;
use crate::connection::{Call, Host};
use crate::reviews;
use crate::stage::{Hook, Stage, deployed};
use crate::subject::{Files, Server, Which};

/// Where the Services are, and the parameters of policies.
const HOME: &str = "webhooks";

/// What stands there.
pub(crate) struct Variant {
    /// In words.
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Whether it is for ServiceAccounts too.
    pub(crate) is_for_both: bool,
    /// They end with it.
    _servers: Vec<Server>,
}

/// The names of the variants that goals speak of.
pub(crate) const NOTHING: &str = "nothing registered";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const OURS: &str = "ours, 10 rules";
pub(crate) const OURS_MANY: &str = "ours, 10,000 rules";
pub(crate) const POLICY: &str = "policy, 10 rules";
pub(crate) const POLICY_MORE: &str = "policy, 100 rules";
/// All but a peer.
pub(crate) const KNOWN: [&str; 6] = [NOTHING, FLOOR, OURS, OURS_MANY, POLICY, POLICY_MORE];

/// Makes all of them.
pub(crate) struct Makers<'a> {
    stage: &'a Stage,
    files: Files,
}

impl<'a> Makers<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Self {
        stage.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}));
        let services = ["ours", "ours-many", "floor-accounts", "floor-pods", "peer"];
        let names = services.map(|service| format!("{service}.{HOME}.svc"));
        let own = [&names[..], &["127.0.0.1".to_owned()]].concat();
        Self { stage, files: Files::naming(&own) }
    }

    /// A namespace with the ServiceAccount that Pods run as. It has a role, for webhooks that give a Pod the role
    /// of its ServiceAccount.
    fn namespace(&self, name: &str) -> String {
        self.stage.namespace(name);
        let role = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/gitlab"});
        self.stage.apply(&json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"namespace": name, "name": "gitlab-webservice", "annotations": role},
        }));
        name.to_owned()
    }

    pub(crate) fn nothing(&self) -> Variant {
        Variant::new(NOTHING, self.namespace("nothing"), Vec::new())
    }

    /// The webhook with so many rules, of which the last one matches.
    pub(crate) fn ours(&self, name: &str, service: &str, rules: usize) -> Variant {
        let namespace = self.namespace(service);
        let mapping = self.files.write(&format!("{service}.yaml"), mapping(rules, &namespace, "gitlab"));
        let server = Server::ours(&Which::Ours.binary(), &self.files, &mapping);
        self.register(&namespace, Kind::BOTH.map(|kind| (kind, &server, service)));
        Variant::new(name, namespace, vec![server])
    }

    /// The floor, which answers what ours would. It knows one answer, so that each kind has a floor of its own.
    pub(crate) fn floor(&self) -> Variant {
        let namespace = self.namespace("floor");
        let mapping = self.files.write("floor.yaml", mapping(10, &namespace, "gitlab"));
        let ours = Server::ours(&Which::Ours.binary(), &self.files, &mapping);
        let trusted = fs::read(self.files.path("tls.crt")).unwrap();
        let host = Host::new(ours.address, &trusted, None);
        let mut connection = host.connect();
        let servers = Kind::BOTH.map(|kind| {
            let review = kind.review(&namespace).to_string();
            let (_, answer, _) = connection.timed(&host.call(Method::POST, "/mutate", review));
            let file = self.files.write(&format!("{}.json", kind.service()), &answer);
            Server::floor(&Which::Floor.binary(), &self.files, &file)
        });
        self.register(&namespace, [0, 1].map(|n| (Kind::BOTH[n], &servers[n], Kind::BOTH[n].service())));
        Variant::new(FLOOR, namespace, servers.into())
    }

    /// The policy that our own command makes of the same mapping.
    pub(crate) fn policy(&self, name: &str, short: &str, rules: usize) -> Variant {
        let namespace = self.namespace(short);
        let mapping = self.files.write(&format!("{short}.yaml"), mapping(rules, &namespace, "gitlab"));
        let output = Command::new(Which::Ours.binary())
            .args(["policy", "--name", short, "--parameter-namespace", HOME, "--namespace", &namespace])
            .args(["--allowed-role", "arn:aws:iam::123456789012:role/*", "--mapping"])
            .arg(mapping)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.stage.apply_text(&String::from_utf8(output.stdout).unwrap());
        Variant::new(name, namespace, Vec::new())
    }

    /// Another webhook.
    pub(crate) fn peer(&self, peer: &Peer) -> Variant {
        let namespace = self.namespace("peer");
        let server = peer.start(&self.files, self.stage.kubeconfig());
        let trusted = peer.trusted(&self.files);
        let service = peer.service.as_ref().map_or((HOME, "peer"), |(space, name)| (space, name));
        let hook = Hook { address: peer.address, service, path: &peer.path, trusted: &trusted };
        let resources: Vec<&str> = peer.resources.iter().map(String::as_str).collect();
        let rule = json!({
            "apiGroups": [""], "apiVersions": ["v1"], "resources": resources, "operations": ["CREATE"],
        });
        self.configure(
            &namespace,
            &json!([{
                "name": "peer.example.com", "clientConfig": self.stage.client_config(&hook),
                "admissionReviewVersions": ["v1", "v1beta1"], "sideEffects": "None", "failurePolicy": "Fail",
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [rule],
            }]),
        );
        let is_for_both = resources.contains(&"serviceaccounts");
        Variant { is_for_both, ..Variant::new(&peer.name, namespace, server.into_iter().collect()) }
    }

    /// Registers servers as the chart registers ours, but for one namespace, and so that no failure is hidden.
    fn register(&self, namespace: &str, servers: [(Kind, &Server, &str); 2]) {
        let trusted = fs::read(self.files.path("tls.crt")).unwrap();
        let entries = servers.map(|(kind, server, service)| {
            let service = (HOME, service);
            let hook = Hook { address: server.address, service, path: "/mutate", trusted: &trusted };
            let mut entry = kind.chart_entry();
            entry["clientConfig"] = self.stage.client_config(&hook);
            entry["failurePolicy"] = "Fail".into();
            entry["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
            entry
        });
        self.configure(namespace, &json!(entries));
    }

    fn configure(&self, name: &str, webhooks: &Value) {
        self.stage.apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": webhooks,
        }));
    }
}

impl Variant {
    fn new(name: &str, namespace: String, servers: Vec<Server>) -> Self {
        Self { name: name.to_owned(), namespace, is_for_both: true, _servers: servers }
    }

    /// A dry run that creates an object of this kind, as its author does.
    pub(crate) fn call(&self, stage: &Stage, kind: Kind) -> Call {
        let namespace = &self.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/{}?dryRun=All", kind.resource());
        let body = Bytes::from(kind.object(namespace).to_string());
        let mut call = stage.api.call(Method::POST, &path, body);
        if kind == Kind::Pod {
            let author = "system:serviceaccount:kube-system:replicaset-controller";
            call.headers_mut().insert("Impersonate-User", author.parse().unwrap());
        }
        call
    }
}

/// So many rules, of which the last one matches in this namespace, and gives this role.
pub(crate) fn mapping(rules: usize, namespace: &str, role: &str) -> String {
    let last = "namespace: gitlab}, role: gitlab}";
    reviews::mapping(rules).replace(last, &format!("namespace: {namespace}}}, role: {role}}}"))
}

impl Kind {
    /// The Service of its floor.
    fn service(self) -> &'static str {
        match self {
            Self::ServiceAccount => "floor-accounts",
            Self::Pod => "floor-pods",
        }
    }

    /// The entry with which the chart registers the webhook for its creation.
    fn chart_entry(self) -> Value {
        let wanted = format!("create.{}.gitlab-iam-webhook", self.resource());
        let of = deployed().into_iter().find(|object| object["kind"] == "MutatingWebhookConfiguration");
        let mut entries = of.unwrap()["webhooks"].take();
        entries.as_array_mut().unwrap().iter_mut().find(|entry| entry["name"] == *wanted).unwrap().take()
    }
}
