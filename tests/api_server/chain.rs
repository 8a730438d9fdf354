//! Do the cluster's tokens, `trust-policy` and STS agree on who gets which role, as `verify` says?

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::aws_sts::{CREDENTIALS, Provider, Sts};
use crate::commands::{Done, run, script, start};
use crate::harness::{Cluster, ISSUER, ROLE, Space, eventually, free_port};

const ACCOUNT: &str = "123456789012";
const AUDIENCE: &str = "sts.amazonaws.com";
/// What a mapping and a provider of IAM may agree on instead.
const OTHER_AUDIENCE: &str = "backups.example.com";

/// What no output may show: the credentials of both STSs, tokens (they begin with `{"` in base64), and the
/// admin's.
const SECRETS: [&str; 6] = [CREDENTIALS[0], CREDENTIALS[1], CREDENTIALS[2], "eyJ", "FQoG", "admin-token"];

fn arn(role: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
}

/// Our own command, with nothing in its environment but this. How it exited, and everything that it printed,
/// in which no secret is.
fn ours(environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let Done { out, err, .. } = Done::of(&output);
    for secret in SECRETS {
        assert!(!out.contains(secret) && !err.contains(secret), "{secret} in {arguments:?}: {out}{err}");
    }
    (output.status.code().unwrap(), out + &err)
}

/// The JSON in front of what a command says on standard error.
#[track_caller]
fn json(printed: &str) -> Value {
    let mut values = serde_json::Deserializer::from_str(printed).into_iter();
    values.next().and_then(Result::ok).unwrap_or_else(|| panic!("no JSON: {printed}"))
}

fn with_kubeconfig(kubeconfig: &Path, arguments: &[&str]) -> (i32, String) {
    ours(&[("KUBECONFIG", kubeconfig.to_str().unwrap())], arguments)
}

fn token(space: &Space, account: &str, audience: &str) -> String {
    let arguments = ["create", "token", account, "--audience", audience, "--duration", "10m"];
    space.kubectl(&arguments).good().out.trim().to_owned()
}

/// What the API server of a cluster publishes. Each path is read once.
fn publisher(kubeconfig: &Path) -> impl Fn(&str) -> Option<String> + Send + Sync + use<> {
    let (kubeconfig, seen) = (kubeconfig.to_owned(), Mutex::new(BTreeMap::new()));
    move |path| {
        let mut seen = seen.lock().unwrap();
        let read = || run("kubectl", &kubeconfig, Path::new("/"), &["get", "--raw", path], "").good().out;
        Some(seen.entry(path.to_owned()).or_insert_with(read).clone())
    }
}

fn provider(issuer: &str, fetch: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Provider {
    let client_ids = vec![AUDIENCE.into(), OTHER_AUDIENCE.into()];
    Provider { account: ACCOUNT.into(), issuer: issuer.into(), client_ids, fetch: Box::new(fetch) }
}

/// An AWS account that believes the tokens of the API server, by its own discovery document and JWKS.
pub(crate) struct Aws {
    sts: Sts,
    kubeconfig: PathBuf,
    /// The API server answers STS no more.
    silent: Arc<AtomicBool>,
}

impl Aws {
    fn new() -> Self {
        Self::of(Cluster::shared())
    }

    /// Of this cluster.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let (sts, silent) = (Sts::start(), Arc::new(AtomicBool::new(false)));
        let is_silent = Arc::clone(&silent);
        let kubeconfig = cluster.kubeconfig.clone();
        let published = publisher(&kubeconfig);
        let fetch = move |path: &str| published(path).filter(|_| !is_silent.load(Ordering::Relaxed));
        sts.provide(provider(ISSUER, fetch));
        Self { sts, kubeconfig, silent }
    }

    /// Where its STS is asked.
    pub(crate) fn url(&self) -> String {
        self.sts.url()
    }

    /// Makes the roles of a mapping, with the trust policies that `trust-policy` prints for it: for these
    /// issuers, or for the one that the API server says it is.
    pub(crate) fn make_roles(&self, space: &Space, mapping: &Path, issuers: &[&str]) -> Vec<String> {
        let mut arguments = vec!["trust-policy", "-m", mapping.to_str().unwrap(), "-n", &space.name];
        arguments.extend(["--output", "json"]);
        for issuer in issuers {
            arguments.extend(["--issuer", issuer]);
        }
        let (code, printed) = with_kubeconfig(&self.kubeconfig, &arguments);
        assert_eq!(code, 0, "{printed}");
        let printed = json(&printed);
        let mut roles = Vec::new();
        for role in printed["roles"].as_array().unwrap() {
            let arn = role["role"].as_str().unwrap();
            self.sts.role(arn, &role["policy"]);
            roles.push(arn.to_owned());
        }
        roles
    }

    /// `ok`, or the code of STS's error.
    fn answer(&self, role: &str, token: &str) -> String {
        self.sts.calls();
        self.sts.ask(role, token, &[]);
        self.sts.calls().remove(0).outcome
    }

    /// `verify` against this STS, as an admin.
    fn verify(&self, arguments: &[&str]) -> (i32, String) {
        self.verify_as(&Cluster::shared().kubeconfig, arguments)
    }

    fn verify_as(&self, kubeconfig: &Path, arguments: &[&str]) -> (i32, String) {
        let url = self.sts.url();
        let here = ["verify", "--sts-endpoint", &url, "--region", "eu-west-1"];
        with_kubeconfig(kubeconfig, &[&here, arguments].concat())
    }
}

/// Writes a mapping into the space's folder.
fn mapping_file(space: &Space, name: &str, rules: &[Value]) -> PathBuf {
    let file = space.folder().join(name);
    fs::write(&file, json!({"account": ACCOUNT, "rules": rules}).to_string()).unwrap();
    file
}

/// All ServiceAccounts of a namespace, each with the role and the audience of its annotations.
fn accounts(space: &Space) -> Vec<(String, Option<String>, String)> {
    let listed = space.kubectl(&["get", "serviceaccounts", "-o", "json"]).good().out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let of = |account: &Value| {
        let metadata = &account["metadata"];
        let annotation = |key: &str| metadata["annotations"][key].as_str().map(str::to_owned);
        let audience = annotation("eks.amazonaws.com/audience").unwrap_or_else(|| AUDIENCE.into());
        (metadata["name"].as_str().unwrap().to_owned(), annotation(ROLE), audience)
    };
    listed["items"].as_array().unwrap().iter().map(of).collect()
}

/// A namespace as GitLab's chart makes it, with accounts that jobs use beside it.
fn gitlab(space: &Space) {
    let chart = space.chart(&["registry", "webservice", "sidekiq", "toolbox"]);
    space.run("helm", &["install", "gitlab", &chart], "").good();
    for account in ["ci-a", "ci-b", "deploy"] {
        space.kubectl(&["create", "serviceaccount", account]).good();
    }
    eventually("its `default` is there", || space.get("serviceaccount", "default"));
}

#[test]
fn what_trust_policy_prints_lets_in_exactly_the_accounts_to_which_the_webhook_gives_the_role() {
    let (space, stranger, aws) = (Space::new("chain"), Space::new("chain"), Aws::new());
    let namespace = &space.name;
    let rules = [
        json!({"match": {"component": "registry", "namespace": namespace}, "role": "gitlab/registry"}),
        json!({"match": {"component": ["webservice", "sidekiq"], "namespace": namespace}, "role": "storage"}),
        json!({"match": {"serviceAccount": "ci-a", "namespace": namespace}, "role": "ci-a"}),
        json!({"match": {"serviceAccount": "ci-*", "namespace": namespace}, "role": "ci"}),
        json!({
            "match": {"serviceAccount": "gitlab-toolbox", "namespace": namespace},
            "role": "backup", "irsa": {"audience": OTHER_AUDIENCE},
        }),
    ];
    let mapping = mapping_file(&space, "mapping.yaml", &rules);
    space.map(&fs::read_to_string(&mapping).unwrap()).good();
    let webhook = space.webhook("Fail");
    webhook.wait_for("mapping in force");
    gitlab(&space);
    gitlab(&stranger);
    let roles = aws.make_roles(&space, &mapping, &[]);
    let mut expected = ["gitlab/registry", "storage", "ci-a", "ci", "backup"].map(arn).to_vec();
    expected.sort();
    assert_eq!(
        {
            let mut roles = roles.clone();
            roles.sort();
            roles
        },
        expected
    );

    let mut let_in = Vec::new();
    for of in [&space, &stranger] {
        for (account, annotation, audience) in accounts(of) {
            let (ours, usual) = (token(of, &account, &audience), token(of, &account, AUDIENCE));
            for role in &roles {
                let wanted = if annotation.as_ref() == Some(role) { "ok" } else { "AccessDenied" };
                assert_eq!(aws.answer(role, &ours), wanted, "{}/{account}, {role}", of.name);
                if audience != AUDIENCE {
                    assert_eq!(aws.answer(role, &usual), "AccessDenied", "{account}: another audience");
                }
                if wanted == "ok" {
                    let_in.push(format!("{}/{account}", of.name));
                }
            }
        }
    }
    let names = ["ci-a", "ci-b", "gitlab-registry", "gitlab-sidekiq", "gitlab-toolbox", "gitlab-webservice"];
    assert_eq!(let_in, names.map(|name| format!("{namespace}/{name}")));

    // The same, as a person asks.
    aws.sts.calls();
    let mapping = mapping.to_str().unwrap();
    let (code, printed) = aws.verify(&["-m", mapping, "-n", namespace]);
    assert_eq!(code, 0, "{printed}");
    for name in names {
        assert!(printed.contains(name), "{name}: {printed}");
    }
    assert!(!printed.contains("deploy") && !printed.contains("default "), "{printed}");
    let mut asked: Vec<String> = aws
        .sts
        .calls()
        .into_iter()
        .map(|call| format!("{}: {}", call.subject.unwrap(), call.outcome))
        .collect();
    asked.sort();
    assert_eq!(asked, names.map(|name| format!("system:serviceaccount:{namespace}:{name}: ok")));
}

/// A scene for refusals: `gitlab-registry` of a namespace has a role that lets it in, and nobody else has.
struct Refusals {
    aws: Aws,
    space: Space,
}

/// The mapping that gives that role.
fn granted(space: &Space) -> PathBuf {
    let matched = json!({"serviceAccount": "gitlab-registry", "namespace": space.name});
    mapping_file(space, "granted.yaml", &[json!({"match": matched, "role": "registry"})])
}

impl Refusals {
    fn new() -> Self {
        let (space, aws) = (Space::new("refusals"), Aws::new());
        gitlab(&space);
        aws.make_roles(&space, &granted(&space), &[]);
        aws.sts.calls();
        Self { aws, space }
    }

    /// What `verify` says where one account of a namespace is mapped to a role, and all that it printed.
    fn verify(&self, namespace: &str, account: &str, role: &str, arguments: &[&str]) -> (i32, String) {
        let rule = json!({"match": {"serviceAccount": account, "namespace": namespace}, "role": role});
        let mapping = mapping_file(&self.space, "wrong.yaml", &[rule]);
        let here = ["-m", mapping.to_str().unwrap(), "-n", namespace];
        self.aws.verify(&[&here, arguments].concat())
    }

    /// Where STS refuses it: what `verify` says of the error, in which these words are.
    #[track_caller]
    fn refused(
        &self,
        namespace: &str,
        account: &str,
        role: &str,
        arguments: &[&str],
        words: &[&str],
    ) -> Value {
        let (code, printed) =
            self.verify(namespace, account, role, &[arguments, &["--output", "json"]].concat());
        assert_eq!(code, 1, "{printed}");
        let printed = json(&printed);
        let error = &printed["serviceAccounts"][0]["error"];
        for word in words {
            assert!(error.to_string().contains(word), "{word} is not in: {printed:#}");
        }
        error.clone()
    }
}

#[test]
fn verify_says_on_which_side_what_sts_refuses_is_mended() {
    let refusals = Refusals::new();
    let (aws, namespace) = (&refusals.aws, &*refusals.space.name);
    let (code, printed) = refusals.verify(namespace, "gitlab-registry", "registry", &[]);
    assert_eq!(code, 0, "{printed}");
    let registry = |role: &str, arguments: &[&str], words: &[&str]| {
        refusals.refused(namespace, "gitlab-registry", role, arguments, words)["side"].clone()
    };

    // A role that is not there looks to STS as one that lets nobody in: so both are told.
    let words = ["AccessDenied", "trust policy", "there is no such role", "Deny"];
    assert_eq!(registry("absent", &[], &words), "iam");
    // An audience that IAM's provider does not know, and one that the trust policy does not name.
    let words = ["InvalidIdentityToken", "Incorrect token audience", "vault.example.com", "client"];
    assert_eq!(registry("registry", &["--audience", "vault.example.com"], &words), "iam");
    let words = ["AccessDenied", OTHER_AUDIENCE];
    assert_eq!(registry("registry", &["--audience", OTHER_AUDIENCE], &words), "iam");
    // An account of AWS that has no provider for the cluster.
    let words = [
        "InvalidIdentityToken",
        "No OpenIDConnect provider found",
        "210987654321",
        "create-open-id-connect-provider --url https://kubernetes.default.svc",
    ];
    assert_eq!(registry("arn:aws:iam::210987654321:role/registry", &[], &words), "iam");

    // An issuer that STS cannot reach, and clocks that disagree.
    aws.silent.store(true, Ordering::Relaxed);
    let document = format!("{ISSUER}/.well-known/openid-configuration");
    assert_eq!(registry("registry", &[], &["IDPCommunicationError", &document]), "network");
    aws.silent.store(false, Ordering::Relaxed);
    aws.sts.clock_ahead(Duration::from_hours(1));
    assert_eq!(registry("registry", &[], &["ExpiredTokenException", "clock"]), "cluster");
    aws.sts.clock_ahead(Duration::ZERO);

    let kept = format!("{:?}", aws.sts.calls());
    assert!(!SECRETS.iter().any(|secret| kept.contains(secret)), "{kept}");
}

#[test]
fn the_statement_that_verify_prints_for_an_account_lets_in_that_account_alone() {
    let refusals = Refusals::new();
    let namespace = &*refusals.space.name;
    let stranger = Space::new("stranger");
    stranger.kubectl(&["create", "serviceaccount", "gitlab-registry"]).good();
    let allow = |statement: &Value| {
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
        refusals.aws.sts.role(&arn("registry"), &policy);
    };
    // Of the same namespace, of another, and with another audience: each is refused before, and alone let in
    // after.
    let cases = [
        (namespace, "deploy", &[][..]),
        (&*stranger.name, "gitlab-registry", &[]),
        (namespace, "gitlab-registry", &["--audience", OTHER_AUDIENCE]),
    ];
    for (of, account, arguments) in cases {
        let subject = format!("system:serviceaccount:{of}:{account}");
        let error = refusals.refused(of, account, "registry", arguments, &["AccessDenied", &subject]);
        allow(&error["statement"]);
        for (other_of, other, other_arguments) in cases {
            let (code, printed) = refusals.verify(other_of, other, "registry", other_arguments);
            let is_it = (other_of, other, other_arguments) == (of, account, arguments);
            assert_eq!(code, i32::from(!is_it), "{printed}");
        }
    }
}

#[test]
fn a_token_that_the_api_server_itself_accepts_is_sent_to_nobody() {
    let Refusals { aws, space } = Refusals::new();
    let role = format!("{ROLE}={}", arn("registry"));
    space.kubectl(&["annotate", "serviceaccount", "gitlab-registry", &role]).good();
    let (code, printed) = aws.verify(&["-n", &space.name, "--audience", ISSUER]);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains(ISSUER) && printed.contains("the API server accepts"), "{printed}");
    assert_eq!(aws.sts.calls(), []);

    // What a developer writes into an annotation chooses no audience.
    let audience = format!("eks.amazonaws.com/audience={ISSUER}");
    space.kubectl(&["annotate", "serviceaccount", "gitlab-registry", &audience]).good();
    let (code, printed) = aws.verify(&["-n", &space.name]);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains(&format!("annotation eks.amazonaws.com/audience says {ISSUER}")), "{printed}");
    assert_eq!(aws.sts.calls()[0].audiences, [AUDIENCE]);
}

#[test]
fn another_clusters_tokens_are_refused_until_iam_knows_its_issuer_and_the_role_names_it() {
    let refusals = Refusals::new();
    let other = Cluster::start("https://b.example.com", "https://b.example.com,vault.example.com");
    // The same namespace and account, with the role that is the other cluster's to have.
    let namespace = &refusals.space.name;
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": "gitlab-registry", "namespace": namespace, "annotations": {ROLE: arn("registry")},
        }},
    ]});
    other.kubectl(&["apply", "-f", "-"], &objects.to_string()).good();
    let verify = |arguments: &[&str]| {
        refusals.aws.verify_as(&other.kubeconfig, &[&["-n", namespace][..], arguments].concat())
    };
    let (code, printed) = verify(&[]);
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("No OpenIDConnect provider found") && printed.contains("https://b.example.com"));
    let call = refusals.aws.sts.calls().remove(0);
    assert_eq!((call.subject, &*call.outcome), (None, "InvalidIdentityToken"));
    let (code, printed) = verify(&["--audience", "vault.example.com"]);
    assert_eq!(code, 2, "{printed}");
    assert_eq!(refusals.aws.sts.calls(), [], "{printed}");

    // Blue and green: once the account of AWS knows both issuers, and the role both clusters, both get in.
    let believed = provider("https://b.example.com", publisher(&other.kubeconfig));
    refusals.aws.sts.provide(believed);
    let (code, printed) = verify(&[]);
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("AccessDenied"), "{printed}");
    let issuers = [ISSUER, "https://b.example.com"];
    refusals.aws.make_roles(&refusals.space, &granted(&refusals.space), &issuers);
    let (code, printed) = verify(&[]);
    assert_eq!(code, 0, "{printed}");
    let (code, printed) = refusals.verify(namespace, "gitlab-registry", "registry", &[]);
    assert_eq!(code, 0, "{printed}");
    let (code, printed) = refusals.verify(namespace, "deploy", "registry", &[]);
    assert_eq!(code, 1, "{printed}");
    let _folder = other.end();
}

/// A kubeconfig with the rights of a new account, which are these in its namespace and no others.
fn caller(space: &Space, name: &str, rights: &[Value]) -> PathBuf {
    let (metadata, group) = (json!({"name": name}), "rbac.authorization.k8s.io");
    let version = format!("{group}/v1");
    let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": space.name});
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rights}),
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata, "subjects": [subject],
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        }),
    ] {
        space.apply(&object);
    }
    let token = space.kubectl(&["create", "token", name]).good().out;
    // RBAC takes effect some moments after it is stored.
    eventually("its rights", || {
        let may = ["auth", "can-i", "get", "serviceaccounts", "--token", token.trim()];
        space.kubectl(&may).ok.then_some(())
    });
    space.kubeconfig(token.trim())
}

fn right(resource: &str, verbs: &[&str], names: &[&str]) -> Value {
    json!({"apiGroups": [""], "resources": [resource], "verbs": verbs, "resourceNames": names})
}

#[test]
fn without_a_right_verify_says_which_one_and_verifies_what_it_may() {
    let Refusals { aws, space } = Refusals::new();
    let role = format!("{ROLE}={}", arn("registry"));
    space.kubectl(&["annotate", "serviceaccount", "gitlab-registry", "ci-a", &role]).good();
    let verify = |kubeconfig: &Path, arguments: &[&str]| {
        let (code, printed) = aws.verify_as(kubeconfig, &[&["-n", &space.name], arguments].concat());
        (code, printed, aws.sts.calls().len())
    };
    let (read, get) =
        (right("serviceaccounts", &["get", "list"], &[]), right("serviceaccounts", &["get"], &[]));
    let tokens = right("serviceaccounts/token", &["create"], &["gitlab-registry"]);

    let reader = caller(&space, "reader", std::slice::from_ref(&read));
    let (code, printed, calls) = verify(&reader, &[]);
    assert_eq!((code, calls), (2, 0), "{printed}");
    assert!(printed.contains("serviceaccounts/token"), "{printed}");

    let no_list = caller(&space, "no-list", &[get, tokens.clone()]);
    let (code, printed, calls) = verify(&no_list, &[]);
    assert_eq!((code, calls), (2, 0), "{printed}");
    assert!(printed.contains("list") && printed.contains("serviceaccounts"), "{printed}");
    // One account needs no list.
    let (code, printed, calls) = verify(&no_list, &["sa/gitlab-registry"]);
    assert_eq!((code, calls), (0, 1), "{printed}");
    // Who may not list cannot know to whom a role is given.
    let matched = json!({"serviceAccount": "gitlab-*", "namespace": space.name, "release": "gitlab"});
    let mapping = mapping_file(&space, "labels.yaml", &[json!({"match": matched, "role": "registry"})]);
    let arguments = ["trust-policy", "-m", mapping.to_str().unwrap(), "-n", &space.name];
    let (code, printed) = with_kubeconfig(&no_list, &arguments);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains("ServiceAccounts") && printed.contains("orbidden"), "{printed}");

    // Of two, one is verified, and of the other it is said why not.
    let (code, printed, calls) = verify(&caller(&space, "one-token", &[read, tokens]), &[]);
    assert_eq!((code, calls), (2, 1), "{printed}");
    assert!(printed.contains("ci-a") && printed.contains("serviceaccounts/token"), "{printed}");
}

/// `whoami` as in a Pod of EKS, with this token.
fn whoami(url: &str, folder: &Path, role: &str, token: &str) -> (i32, String) {
    let file = folder.join("token");
    fs::write(&file, token).unwrap();
    let environment = [
        ("AWS_ROLE_ARN", role),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_REGION", "eu-west-1"),
        // No metadata service answers there.
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"),
        ("HOME", folder.to_str().unwrap()),
    ];
    ours(&environment, &["whoami", "--sts-endpoint", url])
}

#[test]
fn whoami_says_whose_token_a_pod_has_and_what_sts_makes_of_it() {
    let Refusals { aws, space } = Refusals::new();
    let (url, role) = (aws.sts.url(), arn("registry"));
    let whoami = |role: &str, token: &str| whoami(&url, space.folder(), role, token);
    let genuine = token(&space, "gitlab-registry", AUDIENCE);
    let (code, printed) = whoami(&role, &genuine);
    assert_eq!(code, 0, "{printed}");
    let subject = format!("system:serviceaccount:{}:gitlab-registry", space.name);
    for words in [&*subject, ISSUER, AUDIENCE, &role, "assumed-role/registry/"] {
        assert!(printed.contains(words), "{words} is not in: {printed}");
    }

    let deploys = token(&space, "deploy", AUDIENCE);
    // Signed by the cluster's own key, and by another that pretends to be it.
    let (mut old, own_key) = (claims(&genuine), Cluster::shared().signing_key());
    old["exp"] = json!(old["iat"].as_u64().unwrap() - 1);
    let expired = sign(&genuine, &old, &own_key);
    let forged = sign(&genuine, &claims(&genuine), &rcgen::KeyPair::generate().unwrap().serialize_pem());
    for (token, words) in
        [(&deploys, "AccessDenied"), (&expired, "ExpiredTokenException"), (&forged, "InvalidIdentityToken")]
    {
        let (code, printed) = whoami(&role, token);
        assert_eq!(code, 1, "{printed}");
        assert!(printed.contains(words), "{words} is not in: {printed}");
    }
    // What is signed by the cluster's key is believed: so it is the time, not the making, that was refused.
    assert_eq!(whoami(&role, &sign(&genuine, &claims(&genuine), &own_key)).0, 0);
}

fn claims(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap()
}

/// A token with the header of another.
fn sign(like: &str, claims: &Value, key: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_ec_pem(key.as_bytes()).unwrap();
    jsonwebtoken::encode(&jsonwebtoken::decode_header(like).unwrap(), claims, &key).unwrap()
}

#[test]
fn verify_and_whoami_take_an_sts_of_somebody_else() {
    let space = Space::new("moto");
    gitlab(&space);
    let role = format!("{ROLE}={}", arn("gitlab/registry"));
    space.kubectl(&["annotate", "serviceaccount", "gitlab-registry", &role]).good();
    script("tests/moto/build", &[]);
    let (port, log) = (free_port(), space.folder().join("moto.log"));
    let (mut up, stdin) = start("tests/moto/up", &[port.as_ref(), log.as_ref()]);
    let url = format!("http://127.0.0.1:{port}");

    let arguments = ["verify", "--sts-endpoint", &url, "--region", "eu-west-1", "-n", &space.name];
    let (code, printed) = with_kubeconfig(&Cluster::shared().kubeconfig, &arguments);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("gitlab-registry"), "{printed}");
    let token = token(&space, "gitlab-registry", AUDIENCE);
    let (code, printed) = whoami(&url, space.folder(), &arn("gitlab/registry"), &token);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("arn:aws:sts::123456789012:assumed-role/registry/"), "{printed}");

    drop(stdin);
    eventually("moto has ended", || up.try_wait().unwrap());
    let asked = fs::read_to_string(log).unwrap();
    assert_eq!(asked.matches("POST / ").count(), 2, "{asked}");
    assert!(!asked.contains("eyJ"), "the token is in no address: {asked}");
}

#[test]
fn where_nobody_answers_for_sts_verify_says_so_within_ten_seconds() {
    let Refusals { aws, space } = Refusals::new();
    let role = format!("{ROLE}={}", arn("registry"));
    space.kubectl(&["annotate", "serviceaccount", "gitlab-registry", "deploy", "ci-a", &role]).good();
    // The way out of the network takes connections, and then nothing comes back.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", silent.local_addr().unwrap());
    let kubeconfig = &Cluster::shared().kubeconfig;
    let environment =
        [("KUBECONFIG", kubeconfig.to_str().unwrap()), ("HTTPS_PROXY", &*proxy), ("NO_PROXY", "127.0.0.1")];
    let start = Instant::now();
    let (code, printed) = ours(&environment, &["verify", "--region", "eu-west-1", "-n", &space.name]);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains("sts.eu-west-1.amazonaws.com") && printed.contains("error: "), "{printed}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}: {printed}", start.elapsed());
    assert_eq!(aws.sts.calls(), []);
}
