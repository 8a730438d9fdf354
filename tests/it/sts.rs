//! Does the tests' own STS refuse what AWS's would refuse, and let in nobody else?

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::aws_sts::{CREDENTIALS, Call, Policy, Provider, Request, Sts};

const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/issuer.example.com";
const ROLE: &str = "arn:aws:iam::123456789012:role/gitlab/registry";
const SUBJECT: &str = "system:serviceaccount:gitlab:gitlab-registry";

fn statement(changes: &Value) -> Value {
    let mut statement = json!({
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {
            "issuer.example.com:aud": "sts.amazonaws.com",
            "issuer.example.com:sub": SUBJECT,
        }},
    });
    for (key, value) in changes.as_object().unwrap() {
        statement[key] = value.clone();
    }
    statement
}

fn policy(statements: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn lets_in(policy: &Value, subject: &str, audience: &str) -> bool {
    let policy = Policy::read(policy).unwrap_or_else(|why| panic!("{why}: {policy}"));
    let key = |name: &str, value: &str| (format!("issuer.example.com:{name}"), vec![value.to_owned()]);
    let keys = BTreeMap::from([key("aud", audience), key("sub", subject)]);
    policy.lets_in(&Request { provider: PROVIDER, action: "sts:AssumeRoleWithWebIdentity", keys })
}

fn account(name: &str) -> String {
    format!("system:serviceaccount:{name}")
}

#[test]
fn a_condition_lets_in_what_iam_says_it_does() {
    let sub = |operator: &str, value: Value| json!({operator: {"issuer.example.com:sub": value}});
    let registry = json!("system:serviceaccount:gitlab:gitlab-registry");
    for (condition, subject, expected) in [
        (sub("StringEquals", registry.clone()), "gitlab:gitlab-registry", true),
        (sub("StringEquals", registry.clone()), "gitlab:Gitlab-registry", false),
        (sub("StringEqualsIgnoreCase", registry.clone()), "gitlab:Gitlab-registry", true),
        (sub("StringEquals", registry.clone()), "gitlab:gitlab-registry-2", false),
        (sub("StringEquals", registry.clone()), "other:gitlab-registry", false),
        (sub("StringEquals", json!([account("a:b"), account("c:d")])), "c:d", true),
        (sub("StringEquals", json!([account("a:b"), account("c:d")])), "a:d", false),
        // Wildcards mean something to StringLike alone.
        (sub("StringEquals", account("gitlab:*").into()), "gitlab:a", false),
        (sub("StringEquals", account("gitlab:*").into()), "gitlab:*", true),
        (sub("StringLike", account("gitlab:*").into()), "gitlab:a", true),
        (sub("StringLike", account("gitlab:*").into()), "gitlab:", true),
        (sub("StringLike", account("gitlab:*").into()), "gitlab2:a", false),
        (sub("StringLike", account("ci-?:job").into()), "ci-1:job", true),
        (sub("StringLike", account("ci-?:job").into()), "ci-12:job", false),
        (sub("StringLike", account("*:job").into()), "a:b:job", true),
        (sub("StringLike", account("[ab]:{c,d}").into()), "a:c", false),
        (sub("StringNotEquals", registry.clone()), "a:b", true),
        (sub("StringNotLike", account("a:*").into()), "a:b", false),
        // Another issuer's key is not there: nothing is equal to it.
        (json!({"StringEquals": {"other.example.com:sub": account("a:b")}}), "a:b", false),
        (json!({"StringNotEquals": {"other.example.com:sub": account("a:b")}}), "a:b", true),
        (json!({"StringEqualsIfExists": {"other.example.com:sub": account("a:b")}}), "a:b", true),
        (json!({"StringEquals": {"ISSUER.example.com:SUB": account("a:b")}}), "a:b", true),
        // Variables, and what stands for their letters.
        (sub("StringLike", account("${*}:b").into()), "a:b", false),
        (sub("StringLike", account("${*}:b").into()), "*:b", true),
        (sub("StringLike", "${issuer.example.com:sub}".into()), "a:b", true),
        (sub("StringLike", "${aws:username}*".into()), "a:b", false),
        // Every operator and every key has to hold.
        (
            json!({
                "StringEquals": {"issuer.example.com:aud": "other"},
                "StringLike": {"issuer.example.com:sub": "*"},
            }),
            "a:b",
            false,
        ),
        (json!({}), "a:b", true),
    ] {
        let policy = policy(&json!(statement(&json!({"Condition": condition}))));
        assert_eq!(lets_in(&policy, &account(subject), "sts.amazonaws.com"), expected, "{subject}: {policy}");
    }
}

#[test]
fn statements_are_summed_up_as_iam_does() {
    let other =
        statement(&json!({"Condition": {"StringEquals": {"issuer.example.com:sub": account("a:b")}}}));
    let deny = statement(&json!({"Effect": "Deny"}));
    let everybody = statement(&json!({"Principal": "*", "Condition": {}}));
    for (statements, expected) in [
        (json!([statement(&json!({}))]), true),
        (json!([other, statement(&json!({}))]), true),
        (json!([other]), false),
        (json!([deny]), false),
        (json!([deny, everybody]), false),
        (json!([everybody, deny]), false),
        (json!([everybody]), true),
        (json!([statement(&json!({"Action": ["sts:TagSession", "sts:*"]}))]), true),
        (json!([statement(&json!({"Action": "STS:assumerolewithwebidentity"}))]), true),
        (json!([statement(&json!({"Action": "sts:AssumeRole"}))]), false),
        (json!([statement(&json!({"Principal": {"Federated": format!("{PROVIDER}/2")}}))]), false),
        (json!([statement(&json!({"Principal": {"Federated": [format!("{PROVIDER}/2"), PROVIDER]}}))]), true),
    ] {
        let policy = policy(&statements);
        assert_eq!(lets_in(&policy, SUBJECT, "sts.amazonaws.com"), expected, "{policy}");
        assert!(!lets_in(&policy, SUBJECT, "other") || statements.to_string().contains("{}"), "{policy}");
    }
    // Variables are of the newer version.
    let mut old = policy(&json!([statement(
        &json!({"Condition": {"StringEquals": {"issuer.example.com:sub": "${issuer.example.com:sub}"}}})
    )]));
    assert!(lets_in(&old, SUBJECT, "any"));
    old["Version"] = "2008-10-17".into();
    assert!(!lets_in(&old, SUBJECT, "any"));
}

#[test]
fn a_policy_that_iam_refuses_or_this_judge_does_not_know_is_an_error() {
    let long: Vec<String> = (0..80).map(|n| account(&format!("gitlab:gitlab-registry-{n}"))).collect();
    for (policy, words) in [
        (json!([]), "no object"),
        (json!({"Version": "2012-10-17"}), "Statement"),
        (json!({"Version": "2013-10-17", "Statement": [statement(&json!({}))]}), "Version"),
        (policy(&json!([])), "Statement"),
        (policy(&json!([statement(&json!({"Effect": "allow"}))])), "Effect"),
        (policy(&json!([statement(&json!({"Resource": "*"}))])), "Resource"),
        (policy(&json!([statement(&json!({"Principal": {"AWS": "*"}}))])), "AWS"),
        (policy(&json!([statement(&json!({"Principal": {"Federated": "*"}}))])), "Invalid principal"),
        (policy(&json!([statement(&json!({"Action": "s3:GetObject"}))])), "STS"),
        (policy(&json!([statement(&json!({"Action": []}))])), "Action"),
        (policy(&json!([statement(&json!({"Condition": {"StringMatches": {"a": "b"}}}))])), "StringMatches"),
        (policy(&json!([statement(&json!({"Condition": {"StringEquals": {"a": 1}}}))])), "text"),
        (policy(&json!([statement(&json!({"Sid": "a"})), statement(&json!({"Sid": "a"}))])), "unique"),
        (policy(&json!([statement(&json!({"Condition": {"StringEquals": {"a": long}}}))])), "quota"),
    ] {
        let why = Policy::read(&policy).err().unwrap_or_else(|| panic!("taken: {policy}"));
        assert!(why.contains(words), "{why}: {policy}");
    }
}

/// An issuer whose key, documents and tokens a test makes.
struct Issuer {
    key: KeyPair,
    keys: Value,
}

impl Issuer {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        // The uncompressed point of a P-256 key: 4, x, y.
        let (x, y) = key.der_bytes()[1..].split_at(32);
        let [x, y] = [x, y].map(|number| URL_SAFE_NO_PAD.encode(number));
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one", "x": x, "y": y});
        Self { key, keys: json!({"keys": [jwk]}) }
    }

    fn token(&self, changes: &Value) -> String {
        self.token_with_id("one", changes)
    }

    fn token_with_id(&self, id: &str, changes: &Value) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": "https://issuer.example.com", "sub": SUBJECT, "aud": ["sts.amazonaws.com"], "exp": now + 600,
        });
        for (key, value) in changes.as_object().unwrap() {
            claims[key] = value.clone();
        }
        let header = Header { kid: Some(id.into()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        encode(&header, &claims, &key).unwrap()
    }
}

struct Scene {
    sts: Sts,
    issuer: Issuer,
    /// Nobody answers for the issuer.
    silent: Arc<AtomicBool>,
}

impl Scene {
    fn new() -> Self {
        let (sts, issuer, silent) = (Sts::start(), Issuer::new(), Arc::new(AtomicBool::new(false)));
        let (keys, is_silent) = (issuer.keys.to_string(), Arc::clone(&silent));
        let document = json!({
            "issuer": "https://issuer.example.com", "jwks_uri": "https://192.0.2.1:6443/openid/v1/jwks",
        });
        let fetch = move |path: &str| match path {
            _ if is_silent.load(Ordering::Relaxed) => None,
            "/.well-known/openid-configuration" => Some(document.to_string()),
            "/openid/v1/jwks" => Some(keys.clone()),
            _ => None,
        };
        sts.provide(Provider {
            account: "123456789012".into(),
            issuer: "https://issuer.example.com".into(),
            client_ids: vec!["sts.amazonaws.com".into(), "other".into()],
            fetch: Box::new(fetch),
        });
        sts.role(ROLE, &policy(&json!([statement(&json!({}))])));
        Self { sts, issuer, silent }
    }

    fn ask(&self, changes: &[(&str, &str)]) -> (u16, String) {
        self.sts.ask(ROLE, &self.issuer.token(&json!({})), changes)
    }

    /// Asks with this token, and gives the error's code and message.
    #[track_caller]
    fn refusal(&self, token: &str) -> String {
        self.refused(&[("WebIdentityToken", token)])
    }

    #[track_caller]
    fn refused(&self, changes: &[(&str, &str)]) -> String {
        let (status, answer) = self.ask(changes);
        assert!(status == 400 || status == 403, "{answer}");
        let between = |from: &str, to: &str| answer.split_once(from).unwrap().1.split_once(to).unwrap().0;
        format!("{status} {}: {}", between("<Code>", "</Code>"), between("<Message>", "</Message>"))
    }
}

#[test]
fn a_token_that_is_what_it_says_gets_the_role_that_lets_it_in() {
    let scene = Scene::new();
    let (status, answer) = scene.ask(&[]);
    assert_eq!(status, 200, "{answer}");
    let arn = "<Arn>arn:aws:sts::123456789012:assumed-role/registry/somebody@example.com</Arn>";
    assert!(answer.contains(arn) && answer.contains(CREDENTIALS[0]), "{answer}");
    let audiences = vec!["sts.amazonaws.com".into()];
    let call = Call { role: ROLE.into(), subject: Some(SUBJECT.into()), audiences, outcome: "ok".into() };
    assert_eq!(scene.sts.calls(), [call]);
    assert_eq!(scene.sts.calls(), []);
}

#[test]
fn every_other_token_is_refused_in_the_words_of_sts() {
    let scene = Scene::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let token = |changes: Value| scene.issuer.token(&changes);
    let genuine = token(json!({}));
    let parts = |token: &str| -> [String; 3] {
        token.split('.').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
    };
    let [header, payload, signature] = parts(&genuine);
    let [_, other_payload, _] = parts(&token(json!({"sub": account("a:b")})));
    let forged = format!("{header}.{other_payload}.{signature}");
    let unsigned = format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"one"}"#));
    let denied = "403 AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity";
    let no_key = "400 InvalidIdentityToken: Couldn't retrieve verification key";
    for (token, expected) in [
        (token(json!({"sub": account("gitlab:other")})), denied),
        (token(json!({"sub": account("other:gitlab-registry")})), denied),
        // The provider has this client id, but the role does not take it.
        (token(json!({"aud": "other"})), denied),
        (token(json!({"aud": ["vault"]})), "400 InvalidIdentityToken: Incorrect token audience"),
        (token(json!({"aud": []})), "400 InvalidIdentityToken: Incorrect token audience"),
        (
            token(json!({"iss": "https://b.example.com"})),
            "400 InvalidIdentityToken: No OpenIDConnect provider found in your account for https://b.example.com",
        ),
        (token(json!({"exp": now - 1})), "400 ExpiredTokenException: Token expired: current date/time"),
        (token(json!({"exp": null})), "400 InvalidIdentityToken: Missing a required claim: exp"),
        (Issuer::new().token(&json!({})), "400 InvalidIdentityToken: The signature"),
        (scene.issuer.token_with_id("two", &json!({})), no_key),
        (forged, "400 InvalidIdentityToken: The signature"),
        (unsigned, "400 InvalidIdentityToken: "),
        ("no token".into(), "400 InvalidIdentityToken: The ID Token provided is not a valid JWT"),
    ] {
        let refusal = scene.refusal(&token);
        assert!(refusal.starts_with(expected), "{refusal}, not {expected}");
    }
    assert!(scene.sts.calls().iter().all(|call| call.outcome != "ok"));

    scene.sts.clock_ahead(Duration::from_mins(11));
    assert!(scene.refusal(&genuine).contains("ExpiredTokenException"));
    scene.sts.clock_ahead(Duration::ZERO);
    scene.silent.store(true, Ordering::Relaxed);
    assert!(scene.refusal(&genuine).contains("IDPCommunicationError"));
}

#[test]
fn of_gitlabs_jobs_exactly_those_take_a_role_for_which_trust_policy_was_asked() {
    let scene = Scene::new();
    let jobs = [
        "project_path:group/app:ref_type:branch:ref:main",
        "project_path:group/app:ref_type:branch:ref:main-2",
        "project_path:group/app:ref_type:branch:ref:release/1",
        "project_path:group/app:ref_type:tag:ref:main",
        "project_path:group/app-2:ref_type:branch:ref:main",
        "project_path:group/sub/app:ref_type:branch:ref:main",
        "project_path:other/group/app:ref_type:branch:ref:main",
    ];
    for (project, reference, kind, let_in) in [
        ("group/app", "main", "branch", vec![0]),
        ("group/app", "main", "tag", vec![3]),
        ("group/app", "*", "branch", vec![0, 1, 2]),
        ("group/app", "release/*", "branch", vec![2]),
        ("group/*", "main", "branch", vec![0, 4, 5]),
    ] {
        let printed = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"))
            .args([
                "trust-policy",
                "--gitlab",
                "https://issuer.example.com",
                "--role",
                ROLE,
                "--output",
                "json",
            ])
            .args(["--project", project, "--ref", reference, "--ref-type", kind, "--audience", "other"])
            .output()
            .unwrap();
        let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
        scene.sts.role(ROLE, &printed["roles"][0]["policy"]);
        for (number, job) in jobs.iter().enumerate() {
            let token = scene.issuer.token(&json!({"sub": job, "aud": "other"}));
            let status = scene.sts.ask(ROLE, &token, &[]).0;
            assert_eq!(status == 200, let_in.contains(&number), "{job}: {project} {reference} {kind}");
        }
        let token = scene.issuer.token(&json!({"sub": jobs[0]}));
        assert_eq!(scene.sts.ask(ROLE, &token, &[]).0, 403, "another audience");
    }
}

#[test]
fn a_request_that_sts_would_not_take_is_not_taken() {
    let scene = Scene::new();
    for (name, value, expected) in [
        ("Action", "AssumeRole", "InvalidAction"),
        ("Version", "2010-05-08", "InvalidAction"),
        ("RoleSessionName", "a", "ValidationError"),
        ("RoleSessionName", "system:serviceaccount:a:b", "ValidationError"),
        ("RoleArn", "registry", "ValidationError"),
        ("DurationSeconds", "600", "ValidationError"),
        ("WebIdentityToken", "", "ValidationError"),
        ("Other", "a", "MalformedQueryString"),
        ("RoleArn", "arn:aws:iam::123456789012:role/absent", "AccessDenied"),
        // The provider is another account's.
        ("RoleArn", "arn:aws:iam::210987654321:role/gitlab/registry", "No OpenIDConnect provider"),
    ] {
        let refused = scene.refused(&[(name, value)]);
        assert!(refused.contains(expected), "{name}={value}: {refused}");
    }
    let kept = format!("{:?}", scene.sts.calls());
    assert!(!kept.contains("eyJ"), "no token is kept: {kept}");
}
