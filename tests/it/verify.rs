//! What does `verify` ask the API server and STS, what does it say of their answers, and what never?

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gitlab_iam_webhook::inventory;
use gitlab_iam_webhook::tls::Pair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::{Answer, Asked, Fake, proxy};
use crate::fake_sts::{ISSUER, PLANTED, Said, field, given, given_as, refused, said, token};
use crate::support::certificate;

const ROLE: &str = "arn:aws:iam::123456789012:role/gitlab/registry";

/// A cluster with some ServiceAccounts in the namespace gitlab, and a kubeconfig for it.
struct Cluster {
    api: Fake,
    folder: TempDir,
}

impl Cluster {
    /// ServiceAccounts by their names and annotations.
    fn with(accounts: &[(&str, Value)]) -> Self {
        Self::answering(accounts, |_| None)
    }

    /// The same with answers of the test's own for some requests.
    fn answering(
        accounts: &[(&str, Value)],
        own: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let object = |(name, annotations): &(&str, Value)| json!({"metadata": {"name": name, "namespace": "gitlab", "annotations": annotations}});
        let accounts: Vec<Value> = accounts.iter().map(object).collect();
        let api = Fake::start(move |asked| own(asked).unwrap_or_else(|| api(&accounts, asked)));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config"), api.kubeconfig()).unwrap();
        Self { api, folder }
    }

    fn verify(&self, arguments: &[&str]) -> Said {
        self.verify_in(arguments, &[])
    }

    /// Runs the command with variables of the environment.
    fn verify_in(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let config = self.folder.path().join("config").display().to_string();
        let arguments = [&["verify", "--kubeconfig", &config], arguments].concat();
        said(&arguments, variables)
    }

    /// For which accounts and audiences tokens were asked, but for the dry run.
    fn tokens(&self) -> Vec<(String, String)> {
        let real = |asked: &Asked| asked.line.ends_with("/token") || asked.line.ends_with("/token?");
        let told = |asked: Asked| {
            let name = asked.line.rsplit('/').nth(1).unwrap().to_owned();
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            assert_eq!(body["spec"]["expirationSeconds"], 600);
            let audiences = body["spec"]["audiences"].as_array().unwrap().clone();
            assert_eq!(audiences.len(), 1);
            (name, audiences[0].as_str().unwrap().to_owned())
        };
        self.api.asked().into_iter().filter(real).map(told).collect()
    }
}

fn api(accounts: &[Value], asked: &Asked) -> Answer {
    const ACCOUNTS: &str = "/api/v1/namespaces/gitlab/serviceaccounts";
    let (path, query) = asked.line.split_once(' ').unwrap().1.split_once('?').unwrap_or_default();
    let path = if path.is_empty() { asked.line.split_once(' ').unwrap().1 } else { path };
    let list = |items: &[Value]| json!({"metadata": {"resourceVersion": "1"}, "items": items});
    let answer = match path.strip_prefix(ACCOUNTS) {
        _ if path == "/api/v1/namespaces" => list(&[]),
        _ if path == "/api/v1/namespaces/nope" => return forbidden(404, "namespaces \"nope\" not found"),
        _ if path == "/api/v1/namespaces/hidden" => return forbidden(403, "namespaces is forbidden"),
        Some("") => list(accounts),
        Some(rest) if rest.ends_with("/token") => {
            let name = rest.split('/').nth(1).unwrap();
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            let audiences = &body["spec"]["audiences"];
            if query.contains("dryRun=All") {
                assert_eq!(audiences, &json!([]));
                let own = json!([ISSUER, "https://kubernetes.default.svc"]);
                json!({"spec": {"audiences": own}, "status": {"token": format!("{PLANTED}-live")}})
            } else {
                json!({"spec": {"audiences": audiences}, "status": {"token": token(name, audiences)}})
            }
        }
        Some(rest) => {
            let name = rest.trim_start_matches('/');
            match accounts.iter().find(|account| account["metadata"]["name"] == name) {
                Some(account) => account.clone(),
                None => return forbidden(404, "not found"),
            }
        }
        None => return forbidden(404, "not found"),
    };
    Answer::Whole(200, answer.to_string())
}

fn forbidden(code: u16, message: &str) -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message});
    Answer::Whole(code, status.to_string())
}

fn annotated(role: &str) -> Value {
    json!({"eks.amazonaws.com/role-arn": role})
}

#[test]
fn each_account_with_a_role_is_proved_by_a_token_of_its_own() {
    let sts = Fake::start(given);
    let other = "arn:aws:iam::123456789012:role/other";
    let cluster =
        Cluster::with(&[("registry", annotated(ROLE)), ("web", annotated(other)), ("none", json!({}))]);
    let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
    let want = format!(
        "ok       gitlab/registry: {ROLE}
  STS gives it as arn:aws:sts::123456789012:assumed-role/registry/gitlab-iam-webhook-verify
ok       gitlab/web: {other}
  STS gives it as arn:aws:sts::123456789012:assumed-role/other/gitlab-iam-webhook-verify
2 ServiceAccounts: 2 ok, 0 refused, 0 unknown
"
    );
    assert_eq!((said.code, said.out, said.err.as_str()), (0, want, ""));
    let mut tokens = cluster.tokens();
    tokens.sort();
    let audience = "sts.amazonaws.com".to_owned();
    assert_eq!(tokens, [("registry".to_owned(), audience.clone()), ("web".to_owned(), audience)]);
    let dry_runs = cluster.api.lines().iter().filter(|line| line.contains("dryRun")).count();
    assert_eq!(dry_runs, 1);
    for asked in sts.asked() {
        assert!(asked.line == "POST /" && !asked.head.contains("authorization"), "{asked:?}");
        assert_eq!(field(&asked, "Action"), "AssumeRoleWithWebIdentity");
        assert_eq!(
            (field(&asked, "Version"), field(&asked, "DurationSeconds")),
            ("2011-06-15".into(), "900".into())
        );
        let name = if field(&asked, "RoleArn") == ROLE { "registry" } else { "web" };
        assert_eq!(field(&asked, "WebIdentityToken"), token(name, &json!(["sts.amazonaws.com"])));
    }
}

#[test]
fn one_account_is_named_as_for_kubectl_and_nothing_is_listed() {
    let sts = Fake::start(given);
    let cluster = Cluster::with(&[("registry", annotated(ROLE)), ("web", json!({}))]);
    let endpoint = sts.url();
    assert_eq!(cluster.verify(&["sa/registry", "--sts-endpoint", &endpoint]).code, 0);
    assert!(
        cluster
            .api
            .lines()
            .iter()
            .all(|line| line == "GET /version" || line.contains("/serviceaccounts/registry"))
    );
    let said = cluster.verify(&["web", "--sts-endpoint", &endpoint]);
    let want = "gitlab/web carries no eks.amazonaws.com/role-arn: `doctor -n gitlab` says why, and `verify -m \
                mapping.yaml` asks for the role that the mapping gives\n";
    assert_eq!((said.code, said.err.as_str()), (1, want));
    let said = cluster.verify(&["sa/gone", "-n", "gitlab", "--sts-endpoint", &endpoint]);
    let want = "error: there is no ServiceAccount gitlab/gone: name its namespace with -n\n";
    assert_eq!((said.code, said.err.as_str()), (2, want));
    for bad in [&["sa/a/b"][..], &["deploy/a"], &["sa/A b"], &["sa/a", "-A"], &["sa/a", "-n", "a", "-n", "b"]]
    {
        assert_eq!(cluster.verify(bad).code, 2, "{bad:?}");
    }
    for bad in ["sa/", "sa/-a", "a-", "sa/a..b", "sa/A"] {
        let said = cluster.verify(&["-n", "gitlab", "--", bad]);
        assert!(
            said.code == 2 && said.err.contains("begins and ends with a letter or a digit"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_namespace_that_is_none_is_told_where_the_api_server_says_so() {
    let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
    for arguments in [&["-n", "nope"][..], &["-n", "gitlab", "-n", "nope"], &["sa/a", "-n", "nope"]] {
        let said = cluster.verify(arguments);
        assert_eq!((said.code, said.err.lines().count()), (2, 1), "{said:?}");
        assert!(said.err.ends_with("there is no namespace nope\n"), "{said:?}");
    }
    let said = cluster.verify(&["-n", "hidden"]);
    assert!(!said.err.contains("no namespace"), "{said:?}");
    let asked = cluster.api.lines().len();
    for bad in ["", "GitLab", "gitlab,b"] {
        let said = cluster.verify(&["-n", bad]);
        assert!(said.code == 2 && said.err.contains("--namespace"), "{said:?}");
    }
    assert_eq!(cluster.api.lines().len(), asked, "nothing is asked of a namespace that cannot be");
}

#[test]
fn each_refusal_is_explained_and_the_others_are_asked_nevertheless() {
    let sts = Fake::start(|asked| match field(asked, "RoleArn").rsplit('/').next().unwrap() {
        "denied" => refused(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
        "provider" => {
            refused(400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for x")
        }
        "audience" => refused(400, "InvalidIdentityToken", "Incorrect token audience"),
        "claim" => refused(403, "IDPRejectedClaim", "no"),
        "expired" => refused(400, "ExpiredTokenException", "Token expired"),
        "region" => {
            refused(403, "RegionDisabledException", "STS is not activated in this region for account")
        }
        "new" => refused(418, "Teapot", "I&apos;m &#x1b;[31m a teapot"),
        _ => given(asked),
    });
    let names = ["denied", "provider", "audience", "claim", "expired", "region", "new", "good"];
    let accounts: Vec<_> = names
        .iter()
        .map(|name| (*name, annotated(&format!("arn:aws:iam::123456789012:role/{name}"))))
        .collect();
    let cluster = Cluster::with(&accounts);
    let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);
    assert!(said.out.ends_with("8 ServiceAccounts: 1 ok, 7 refused, 0 unknown\n"), "{}", said.out);
    for words in [
        "STS says AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity\n",
        "\"oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub\": \"system:serviceaccount:gitlab:denied\"",
        "aws iam get-role --role-name denied",
        "create-open-id-connect-provider --url https://oidc.eks.eu-west-1.amazonaws.com/id/ABC",
        "add-client-id-to-open-id-connect-provider",
        "set the clocks",
        "is switched off",
        "STS says Teapot: I'm ?[31m a teapot\n",
    ] {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    let said = cluster.verify(&["--sts-endpoint", &sts.url(), "--output", "json"]);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let denied = &found["serviceAccounts"][0];
    assert_eq!((&denied["outcome"], &denied["error"]["side"]), (&json!("refused"), &json!("iam")));
    assert_eq!(denied["error"]["code"], "AccessDenied");
    assert_eq!(denied["error"]["statement"]["Action"], "sts:AssumeRoleWithWebIdentity");
    assert_eq!(denied["subject"], "system:serviceaccount:gitlab:denied");
    assert_eq!(found["serviceAccounts"][7]["outcome"], "verified");
}

#[test]
fn a_token_that_the_api_server_takes_is_never_asked_for() {
    let own = |asked: &Asked| {
        let audiences = json!({"spec": {"audiences": ["sts.amazonaws.com"]}});
        asked.line.contains("dryRun").then(|| Answer::Whole(200, audiences.to_string()))
    };
    let sts = Fake::start(given);
    let cluster = Cluster::answering(&[("registry", annotated(ROLE))], own);
    let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("take sts.amazonaws.com out of its --api-audiences"), "{}", said.out);
    assert_eq!((cluster.tokens().len(), sts.asked().len()), (0, 0));

    let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
    for audience in [ISSUER, "https://kubernetes.default.svc"] {
        let said = cluster.verify(&["--sts-endpoint", &sts.url(), "--audience", audience]);
        assert_eq!(said.code, 2, "{said:?}");
    }
    assert_eq!((cluster.tokens().len(), sts.asked().len()), (0, 0));
}

#[test]
fn where_the_api_server_does_not_say_what_it_takes_no_token_is_asked_for() {
    let sts = Fake::start(given);
    for answer in ["{}", "{\"spec\": {\"audiences\": []}}", "no"] {
        let own =
            |asked: &Asked| asked.line.contains("dryRun").then(|| Answer::Whole(200, answer.to_owned()));
        let cluster = Cluster::answering(&[("registry", annotated(ROLE))], own);
        let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
        assert_eq!((said.code, cluster.tokens().len(), sts.asked().len()), (2, 0, 0), "{said:?}");
    }
}

#[test]
fn a_token_that_came_for_others_too_is_not_sent() {
    let own = |asked: &Asked| {
        let token = token("registry", &json!(["sts.amazonaws.com", "https://kubernetes.default.svc"]));
        let issued = json!({"status": {"token": token}});
        let is_asked = asked.line.contains("/token") && !asked.line.contains("dryRun");
        is_asked.then(|| Answer::Whole(200, issued.to_string()))
    };
    let sts = Fake::start(given);
    let cluster = Cluster::answering(&[("registry", annotated(ROLE))], own);
    let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
    assert_eq!((said.code, sts.asked().len()), (2, 0), "{said:?}");
    assert!(said.out.contains("is for others too"), "{}", said.out);
}

#[test]
fn the_mapping_and_the_command_line_choose_the_audience_and_an_annotation_never() {
    let sts = Fake::start(given);
    let mut annotations = annotated(ROLE);
    annotations["eks.amazonaws.com/audience"] = json!("planned\u{1b}[31m");
    let cluster = Cluster::with(&[("registry", annotations)]);
    let mapping = cluster.folder.path().join("mapping.yaml");
    let text = "account: \"123456789012\"
rules:
  - {match: {serviceAccount: registry}, role: mapped, onConflict: replace, irsa: {audience: from-mapping}}
";
    std::fs::write(&mapping, text).unwrap();
    let (endpoint, mapping) = (sts.url(), mapping.display().to_string());
    let plain = cluster.verify(&["--sts-endpoint", &endpoint]);
    assert_eq!(plain.code, 0);
    assert!(
        plain.out.contains("eks.amazonaws.com/audience says planned?[31m, and the token was for"),
        "{plain:?}"
    );
    let mapped = cluster.verify(&["--sts-endpoint", &endpoint, "-m", &mapping]);
    assert!(
        mapped.out.starts_with("ok       gitlab/registry: arn:aws:iam::123456789012:role/mapped\n"),
        "{mapped:?}"
    );
    cluster.verify(&["--sts-endpoint", &endpoint, "-m", &mapping, "--audience", "typed"]);
    let audiences: Vec<String> = cluster.tokens().into_iter().map(|(_, audience)| audience).collect();
    assert_eq!(audiences, ["sts.amazonaws.com", "from-mapping", "typed"]);
}

#[test]
fn what_rbac_forbids_narrows_the_proof_and_is_no_success() {
    let sts = Fake::start(given);
    let own = |asked: &Asked| {
        asked.line.contains("/web/token").then(|| forbidden(403, "serviceaccounts \"web\" is forbidden"))
    };
    let cluster = Cluster::answering(&[("registry", annotated(ROLE)), ("web", annotated(ROLE))], own);
    let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
    assert_eq!(said.code, 2);
    assert_eq!(said.err, "error: verifying the roles: STS could not be asked about 1 ServiceAccount\n");
    assert!(said.out.contains("ok       gitlab/registry"), "{}", said.out);
    let want = "asking for a token (create on serviceaccounts/token): serviceaccounts \"web\" is forbidden\n";
    assert!(said.out.contains(want), "{}", said.out);

    let own = |asked: &Asked| asked.line.contains("limit=").then(|| forbidden(403, "it is forbidden"));
    let cluster = Cluster::answering(&[("registry", annotated(ROLE))], own);
    let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
    assert_eq!(said.code, 2);
    let want = "not read: ServiceAccounts of the namespace gitlab: it is forbidden\n";
    assert_eq!(said.out, want);
    assert!(
        said.err.ends_with("ServiceAccounts of the namespace gitlab could not be read\n"),
        "{}",
        said.err
    );
}

#[test]
fn a_role_that_is_none_is_refused_without_asking_and_no_role_at_all_is_told() {
    let sts = Fake::start(given);
    let cluster =
        Cluster::with(&[("a", annotated("registry")), ("b", annotated("arn:aws:iam::1:user/\u{7}x"))]);
    let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
    assert_eq!((said.code, sts.asked().len(), cluster.tokens().len()), (1, 0, 0), "{said:?}");
    assert!(said.out.contains("`registry` is not a role ARN"), "{}", said.out);
    assert!(!said.out.contains('\u{7}'));
    let said = Cluster::with(&[("a", json!({}))]).verify(&["--sts-endpoint", &sts.url()]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.starts_with("no ServiceAccount that was looked at has a role"), "{}", said.err);
}

type Answers = Box<dyn Fn(&Asked) -> Answer + Send + Sync>;

#[test]
fn an_answer_that_is_not_stss_is_no_proof() {
    let elsewhere = Fake::start(given);
    let location: &'static str = Box::leak(format!("location: {}/", elsewhere.url()).into_boxed_str());
    let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
    let cases: [(Answers, &str); 7] = [
        (Box::new(move |_| Answer::Head(302, location)), "status 302 and a redirect, which is not followed"),
        (Box::new(move |_| Answer::Head(307, location)), "status 307 and a redirect, which is not followed"),
        (Box::new(|_| Answer::Endless), "the answer is longer than 65536 bytes"),
        (Box::new(|_| Answer::Whole(200, "<html>Blocked</html>".into())), "is it the endpoint of STS?"),
        (Box::new(|_| Answer::Whole(200, "<a>".repeat(20_000))), "is it the endpoint of STS?"),
        (
            Box::new(|_| {
                given_as("arn:aws:sts::666666666666:assumed-role/registry/gitlab-iam-webhook-verify")
            }),
            "another role",
        ),
        // Whoever answers with the token itself gets none of it printed.
        (
            Box::new(|asked| given_as(&field(asked, "WebIdentityToken"))),
            "another role than the one that was asked for: (hidden)",
        ),
    ];
    for (answer, words) in cases {
        let sts = Fake::start(answer);
        let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
        assert_eq!((said.code, said.err.lines().count()), (2, 1), "{said:?}");
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    assert_eq!(elsewhere.asked().len(), 0);
}

#[test]
fn an_error_that_repeats_the_token_shows_none_of_it() {
    let sts = Fake::start(|asked| {
        let token = field(asked, "WebIdentityToken");
        let message = format!("Value '{token}' at 'webIdentityToken', that is {}", token.get(..60).unwrap());
        refused(400, "ValidationError", &message)
    });
    let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
    for output in ["text", "json"] {
        let said = cluster.verify(&["--sts-endpoint", &sts.url(), "--output", output]);
        assert!(said.code == 1 && said.out.contains("(hidden)"), "{said:?}");
    }
}

#[test]
fn where_sts_asks_for_patience_it_is_asked_again_a_few_times() {
    for (status, code, gives_in, want) in [
        (400, "Throttling", 2, 0),
        (503, "ServiceUnavailable", 1, 0),
        (400, "IDPCommunicationError", 2, 0),
        (400, "Throttling", usize::MAX, 2),
        (503, "ServiceUnavailable", usize::MAX, 2),
        (400, "IDPCommunicationError", usize::MAX, 1),
        (403, "AccessDenied", 1, 1),
    ] {
        let count = AtomicUsize::new(0);
        let sts = Fake::start(move |asked| {
            if count.fetch_add(1, Ordering::Relaxed) < gives_in {
                refused(status, code, "")
            } else {
                given(asked)
            }
        });
        let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
        let said = cluster.verify(&["--sts-endpoint", &sts.url()]);
        assert_eq!(said.code, want, "{code}: {said:?}");
        let asked = if code == "AccessDenied" { 1 } else { 3.min(gives_in.saturating_add(1)) };
        assert_eq!(sts.asked().len(), asked, "{code}");
    }
}

#[test]
fn an_sts_that_does_not_answer_is_told_within_ten_seconds_and_asked_once() {
    let accounts: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| (name, annotated(ROLE))).to_vec();
    let cluster = Cluster::with(&accounts);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let silent = Fake::start(|_| Answer::Silence);
    for (endpoint, words) in [(&closed, "Connection refused"), (&silent.url(), "no answer within 8s")] {
        let begun = Instant::now();
        let said = cluster.verify(&["--sts-endpoint", endpoint]);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!((said.code, said.out.matches(words).count()), (2, 6), "{said:?}");
        assert_eq!(
            said.err.lines().last(),
            Some("error: verifying the roles: STS could not be asked about 6 ServiceAccounts")
        );
    }
    assert_eq!(silent.asked().len(), 4);
}

#[test]
fn without_a_network_and_an_endpoint_a_sentence_comes_within_ten_seconds() {
    // This address is for documentation: nobody is there.
    let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
    let begun = Instant::now();
    let said = cluster.verify_in(&[], &[("HTTPS_PROXY", "http://192.0.2.1:3128")]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.contains("asking STS at https://sts.amazonaws.com: "), "{}", said.out);
}

#[test]
fn an_endpoint_or_a_region_that_cannot_be_used_says_what_to_write() {
    let cluster = Cluster::with(&[("a", annotated("arn:aws-cn:iam::123456789012:role/a"))]);
    for (arguments, variables, words) in [
        (&["--sts-endpoint", "http://sts.example.com"][..], &[][..], "only https:// is taken"),
        (&["--sts-endpoint", "sts.example.com"], &[], "an endpoint is a URL"),
        (
            &[],
            &[("AWS_ENDPOINT_URL_STS", "http://sts.example.com")],
            "reading the variable AWS_ENDPOINT_URL_STS: a token",
        ),
        (&["--region", "eu-west-1.example.com"], &[], "a region has only"),
        (&[], &[("AWS_REGION", "x/y")], "reading the variable AWS_REGION: a region has only"),
        (&["--ca-file", "/nonexistent"], &[], "reading the CA file /nonexistent: No such file"),
        (&["--ca-file", "/dev/null"], &[], "holds no certificate in PEM"),
        (&[], &[], "roles of the partition aws-cn need a region"),
        (&["--region", "eu-west-1"], &[], "the region eu-west-1 is not one of the role's partition aws-cn"),
    ] {
        let said = cluster.verify_in(arguments, variables);
        assert_eq!(said.code, 2, "{arguments:?} {said:?}");
        assert!(format!("{}{}", said.out, said.err).contains(words), "{words}: {said:?}");
    }
}

/// A file with the certificate of an STS that speaks TLS.
fn trusted(folder: &TempDir, pair: &Pair) -> String {
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &pair.certificate).unwrap();
    path.display().to_string()
}

#[test]
fn over_tls_sts_is_known_by_the_ca_file_or_not_at_all() {
    let pair = certificate();
    let sts = Fake::start_tls(&pair, given);
    let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
    let file = trusted(&cluster.folder, &pair);
    let endpoint = format!("https://localhost:{}", sts.address.port());
    assert_eq!(cluster.verify(&["--sts-endpoint", &endpoint, "--ca-file", &file]).code, 0);
    assert_eq!(cluster.verify_in(&["--sts-endpoint", &endpoint], &[("AWS_CA_BUNDLE", &file)]).code, 0);
    assert_eq!(sts.asked().len(), 2);
    let said = cluster.verify(&["--sts-endpoint", &endpoint]);
    assert_eq!((said.code, sts.asked().len()), (2, 2), "{said:?}");
    assert!(said.out.contains("name the CA of a proxy that opens TLS with --ca-file"), "{said:?}");
}

#[test]
fn sts_is_asked_through_the_proxy_that_the_environment_names() {
    let pair = certificate();
    let sts = Fake::start_tls(&pair, given);
    let (proxy, asked) = proxy();
    let cluster = Cluster::with(&[("registry", annotated(ROLE))]);
    let file = trusted(&cluster.folder, &pair);
    let endpoint = format!("https://localhost:{}", sts.address.port());
    let arguments = ["--sts-endpoint", &endpoint, "--ca-file", &file];
    let through = format!("http://user:{PLANTED}@{proxy}");
    let said = cluster.verify_in(&arguments, &[("HTTPS_PROXY", &through), ("NO_PROXY", "127.0.0.1")]);
    assert_eq!(said.code, 0, "{said:?}");
    let heads = asked.lock().unwrap().clone();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with(&format!("connect localhost:{} ", sts.address.port())), "{heads:?}");
    assert!(heads[0].contains("proxy-authorization: basic "), "{heads:?}");
    let passing = [("HTTPS_PROXY", through.as_str()), ("NO_PROXY", "localhost,127.0.0.1")];
    assert_eq!(cluster.verify_in(&arguments, &passing).code, 0);
    assert_eq!(asked.lock().unwrap().len(), 1);

    let closed = format!("http://user:{PLANTED}@127.0.0.1:1");
    let said = cluster.verify_in(&arguments, &[("HTTPS_PROXY", &closed), ("NO_PROXY", "127.0.0.1")]);
    assert_eq!(said.code, 2, "{said:?}");
    let socks = format!("socks5://user:{PLANTED}@127.0.0.1:1");
    let said = cluster.verify_in(&arguments, &[("HTTPS_PROXY", &socks), ("NO_PROXY", "127.0.0.1")]);
    assert!(said.code == 2 && said.out.contains("others are not supported"), "{said:?}");
}

#[test]
fn help_has_examples_and_the_exit_status() {
    let said = said(&["verify", "--help"], &[]);
    assert!(said.out.contains("Examples:") && said.out.contains("Exit status: 0 when"), "{}", said.out);
}

#[test]
fn the_page_shows_what_the_command_prints() {
    let page = include_str!("../../docs/verify.md");
    let sts = Fake::start(|asked| match field(asked, "RoleArn").rsplit('/').next() {
        Some("gitlab-backup") => {
            refused(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        }
        _ => given(asked),
    });
    let role = |name: &str| annotated(&format!("arn:aws:iam::123456789012:role/{name}"));
    let accounts = [("gitlab-registry", role("gitlab-registry")), ("gitlab-toolbox", role("gitlab-backup"))];
    let said = Cluster::with(&accounts).verify(&["-n", "gitlab", "--sts-endpoint", &sts.url()]);
    assert_eq!(said.code, 1);
    assert!(page.contains(&format!("```\n{}```\n", said.out)), "{}", said.out);
    // The Job is one, and its token can be read by the image's user.
    let job = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let stated = inventory::read(job, "default").unwrap().inventory;
    let pod = &stated.pods[0];
    assert_eq!((pod.service_account(), pod.metadata.namespace.as_str()), ("gitlab-registry", "gitlab"));
    assert!(job.contains("fsGroup: 65532") && include_str!("../../Dockerfile").contains("USER 65532:65532"));
}
