//! What does `whoami` say inside a Pod, whatever is there, and what never?

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::{Answer, Asked, Fake};
use crate::fake_sts::{ISSUER, PLANTED, Said, field, given, refused, said, token};

const ROLE: &str = "arn:aws:iam::123456789012:role/gitlab/registry";
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

/// A Pod with a token, an STS and a metadata service.
struct Pod {
    sts: Fake,
    metadata: Fake,
    home: TempDir,
}

impl Pod {
    fn new(sts: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(metadata_service, sts)
    }

    /// The same with a metadata service of its own.
    fn on(
        metadata: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
        sts: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (sts, metadata) = (Fake::start(sts), Fake::start(metadata));
        let home = tempfile::tempdir().unwrap();
        let pod = Self { sts, metadata, home };
        pod.write("token", &format!("{}\n", token("registry", &json!(["sts.amazonaws.com"]))));
        pod
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn whoami(&self, variables: &[(&str, &str)]) -> Said {
        self.whoami_as("text", variables)
    }

    fn whoami_as(&self, output: &str, variables: &[(&str, &str)]) -> Said {
        let home = self.home.path().display().to_string();
        let (sts, metadata) = (self.sts.url(), self.metadata.url());
        let usual = [("HOME", home.as_str()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)];
        said(&["whoami", "--sts-endpoint", &sts, "--output", output], &[&usual, variables].concat())
    }

    /// With the variables that the EKS webhook sets.
    fn with_irsa(&self, variables: &[(&str, &str)]) -> Said {
        let file = self.home.path().join("token").display().to_string();
        let irsa = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str())];
        self.whoami(&[&irsa, variables].concat())
    }
}

/// As on a node of EC2: the credentials are one path deeper, where nobody should look.
fn metadata_service(asked: &Asked) -> Answer {
    match asked.line.split_once(' ').unwrap() {
        ("PUT", "/latest/api/token") => Answer::Whole(200, format!("{PLANTED}-session")),
        ("GET", CREDENTIALS) => Answer::Whole(200, "node-role".to_owned()),
        _ => Answer::Whole(200, format!("{{\"SecretAccessKey\": \"{PLANTED}\"}}")),
    }
}

fn nobody(_: &Asked) -> Answer {
    Answer::Whole(404, String::new())
}

#[test]
fn in_a_pod_of_irsa_it_is_the_role_that_sts_gives() {
    let pod = Pod::new(given);
    let said = pod.with_irsa(&[("AWS_REGION", "eu-west-1")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    for line in [
        "-> web identity (IRSA): AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are set\n",
        "   metadata service (the node's role; the Pod's with kube2iam or kiam): role node-role (IMDSv2)\n",
        "  An SDK would use: web identity (IRSA)\n",
        &format!("  role: {ROLE}\n"),
        &format!("  issuer: {ISSUER}\n"),
        "  subject: system:serviceaccount:gitlab:registry\n",
        "  audience: sts.amazonaws.com\n",
        "  ends: 2100-01-01T00:00:00Z, in ",
        "STS gives the role: arn:aws:sts::123456789012:assumed-role/registry/gitlab-iam-webhook-whoami\n",
    ] {
        assert!(said.out.contains(line), "{line}\n{}", said.out);
    }
    let asked = pod.sts.asked();
    assert_eq!(field(&asked[0], "WebIdentityToken"), token("registry", &json!(["sts.amazonaws.com"])));
    assert_eq!(pod.metadata.lines(), ["PUT /latest/api/token".to_owned(), format!("GET {CREDENTIALS}")]);
    let session = format!("x-aws-ec2-metadata-token: {}-session", PLANTED.to_lowercase());
    assert!(pod.metadata.asked()[1].head.contains(&session));
}

#[test]
fn a_refusal_is_explained_and_json_has_all_of_it() {
    let pod =
        Pod::new(|_| refused(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"));
    let said = pod.with_irsa(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("STS says AccessDenied: Not authorized"), "{}", said.out);
    assert!(said.out.contains("ABC:sub\": \"system:serviceaccount:gitlab:registry\""), "{}", said.out);
    let file = pod.home.path().join("token").display().to_string();
    let irsa = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str())];
    let found: Value = serde_json::from_str(&pod.whoami_as("json", &irsa).out).unwrap();
    assert_eq!(found["winner"], "webIdentity");
    assert_eq!(found["metadataRole"], "node-role");
    let identity = &found["webIdentity"];
    assert_eq!(
        (&identity["outcome"], &identity["error"]["code"]),
        (&json!("refused"), &json!("AccessDenied"))
    );
    assert_eq!(identity["endsAt"], "2100-01-01T00:00:00Z");
    assert_eq!(found["sources"].as_array().unwrap().len(), 5);
}

#[test]
fn what_comes_before_the_role_is_named_without_its_values() {
    let pod = Pod::new(given);
    let keys =
        [("AWS_ACCESS_KEY_ID", PLANTED), ("AWS_SECRET_ACCESS_KEY", PLANTED), ("AWS_SESSION_TOKEN", PLANTED)];
    let said = pod.with_irsa(&keys);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("-> static keys in the environment: AWS_ACCESS_KEY_ID and"), "{}", said.out);
    assert!(said.out.contains("take them out of the Pod's env and envFrom"), "{}", said.out);
    assert!(said.out.contains("STS gives the role, but another source comes before it"), "{}", said.out);
    let said = pod.with_irsa(&keys[..1]);
    assert!(said.code == 0 && said.out.contains("is set without AWS_SECRET_ACCESS_KEY"), "{said:?}");

    pod.write(
        ".aws/credentials",
        &format!("[default]\naws_access_key_id={PLANTED}\naws_secret_access_key={PLANTED}\n"),
    );
    let said =
        pod.with_irsa(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("http://127.0.0.1/{PLANTED}"))]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.contains("has aws_access_key_id in [default]") && said.out.contains("fog"),
        "{}",
        said.out
    );
    let said = pod.whoami(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("-> shared files") && said.out.contains("need a signature"), "{}", said.out);
}

#[test]
fn behind_kube2iam_the_role_is_the_one_that_the_metadata_service_names() {
    let pod = Pod::new(given);
    let said = pod.whoami(&[]);
    assert_eq!((said.code, pod.sts.asked().len()), (1, 0), "{said:?}");
    assert!(said.out.contains("-> metadata service"), "{}", said.out);
    assert!(
        said.out.contains("role node-role (IMDSv2)") && said.out.contains("this is no Pod"),
        "{}",
        said.out
    );

    let said = pod.whoami(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
    assert!(said.out.contains("AWS sees the role of the node, node-role"), "{}", said.out);
    assert!(said.out.contains("Ask `doctor -n NAMESPACE`"), "{}", said.out);

    // kube2iam speaks version 1 alone.
    let old =
        |asked: &Asked| if asked.line.starts_with("PUT") { nobody(asked) } else { metadata_service(asked) };
    let said = Pod::on(old, given).whoami(&[]);
    assert!(said.out.contains("role node-role (IMDSv1)"), "{}", said.out);
}

#[test]
fn whatever_the_metadata_service_answers_it_is_soon_over_and_bounded() {
    for (answer, words) in [
        ((|_: &Asked| Answer::Endless) as fn(&Asked) -> Answer, "nobody answers"),
        (|_| Answer::Silence, "nobody answers"),
        (|_| Answer::Whole(200, "<html>\u{1b}[31m".into()), "its answer is no name of a role"),
        (|_| Answer::Head(302, "location: http://127.0.0.1:1/"), "it answers with status 302"),
        (nobody, "it names no role"),
    ] {
        let begun = Instant::now();
        let said = Pod::on(answer, given).whoami(&[]);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert!(said.code == 1 && said.out.contains(words), "{words}: {said:?}");
        assert!(said.out.contains("An SDK would find no credentials."), "{}", said.out);
    }
    let pod = Pod::new(given);
    let said = pod.whoami(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    assert!(said.out.contains("AWS_EC2_METADATA_DISABLED is set") && pod.metadata.asked().is_empty());
    let said = pod.whoami(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://example.com")]);
    assert!(said.out.contains("is not asked: it is neither"), "{}", said.out);
}

#[test]
fn a_token_that_no_sdk_could_use_or_that_is_the_api_servers_is_not_sent() {
    let pod = Pod::new(given);
    let file = pod.home.path().join("token").display().to_string();
    for (text, words) in [
        ("", "this is no JSON Web Token"),
        ("PLANTED=password of something else", "this is no JSON Web Token"),
        ("PLANTED.PLANTED.PLANTED", "the claims of the token cannot be read"),
        (&"PLANTED.".repeat(9_000), "the token is longer than 20000 bytes"),
        (&token("registry", &json!([ISSUER])), "the token is one for the API server"),
        (
            &token("registry", &json!(["a", "https://kubernetes.default.svc"])),
            "the token is one for the API server",
        ),
    ] {
        pod.write("token", text);
        let said = pod.with_irsa(&[]);
        assert!(said.code == 1 && said.out.contains(words), "{words}: {said:?}");
    }
    let pipe = pod.home.path().join("pipe").display().to_string();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (role, file, words, code) in [
        ("registry", file.as_str(), "AWS_ROLE_ARN: `registry` is not a role ARN", 1),
        (ROLE, "/nonexistent", "reading /nonexistent: No such file", 1),
        (ROLE, "/dev/zero", "reading /dev/zero: it is no file", 1),
        (ROLE, &pipe, "it is no file", 1),
    ] {
        pod.write("token", &token("registry", &json!("sts.amazonaws.com")));
        let said = pod.whoami(&[("AWS_ROLE_ARN", role), ("AWS_WEB_IDENTITY_TOKEN_FILE", file)]);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.out.contains(words), "{words}: {said:?}");
    }
    let said = pod.whoami(&[("AWS_ROLE_ARN", ROLE)]);
    assert!(
        said.out.contains("is set without AWS_WEB_IDENTITY_TOKEN_FILE, so it does not count"),
        "{}",
        said.out
    );
    assert_eq!(pod.sts.asked().len(), 0);
}

#[test]
fn only_a_token_for_sts_alone_is_sent_and_one_in_place_of_a_file_is_not_shown() {
    let pod = Pod::new(given);
    for audiences in [json!(["api"]), json!(["k3s"]), json!(["sts.amazonaws.com", "k3s"]), json!([])] {
        pod.write("token", &token("registry", &audiences));
        let said = pod.with_irsa(&[]);
        assert_eq!(said.code, 1, "{said:?}");
    }
    let live = token("registry", &json!(["sts.amazonaws.com"]));
    for output in ["text", "json"] {
        let set = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", live.as_str())];
        let said = pod.whoami_as(output, &set);
        assert!(said.code == 1 && !format!("{said:?}").contains(&live), "{said:?}");
    }
    assert_eq!(pod.sts.asked().len(), 0);
}

#[test]
fn a_profile_that_no_file_has_is_told() {
    let pod = Pod::new(given);
    let said = pod.with_irsa(&[("AWS_PROFILE", "foo")]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("the profile foo, which no file has"), "{}", said.out);
    pod.write(".aws/config", "[profile foo]\nregion = eu-west-1\n");
    assert_eq!(pod.with_irsa(&[("AWS_PROFILE", "foo")]).code, 0);
}

#[test]
fn an_sts_that_takes_no_more_calls_is_no_refusal() {
    let pod = Pod::new(|_| refused(400, "Throttling", "Rate exceeded"));
    let said = pod.with_irsa(&[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("STS says Throttling"), "{said:?}");
}

#[test]
fn an_sts_that_cannot_be_reached_is_no_refusal() {
    let pod = Pod::new(|_| Answer::Silence);
    let begun = Instant::now();
    let said = pod.with_irsa(&[]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err.ends_with("no answer within 8s: is the network open to it, or HTTPS_PROXY needed?\n"),
        "{said:?}"
    );
}

#[test]
fn help_has_examples_and_the_exit_status() {
    let said = said(&["whoami", "--help"], &[]);
    assert!(said.out.contains("Examples:") && said.out.contains("Exit status: 0 when"), "{}", said.out);
}
