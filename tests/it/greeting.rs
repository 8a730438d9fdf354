//! What do the commands say of a cluster that is not there, or is no cluster, or does not know who asks?

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::fake::{Answer, Fake};
use crate::fake_sts::{PLANTED, Said, said};
use crate::support::certificate;

const MAPPING: &str = "rules: [{match: {component: registry, namespace: gitlab}, role: \
                       'arn:aws:iam::123456789012:role/registry'}]\n";

/// What each command that asks a cluster is called with. `probe` has words of its own.
const COMMANDS: [&[&str]; 5] = [
    &["doctor"],
    &["verify", "-n", "gitlab"],
    &["import", "-n", "gitlab"],
    &["trust-policy", "-A"],
    &["trust-policy", "-A", "--issuer", "https://oidc.example.com/id/A"],
];

/// A kubeconfig for this server, and a mapping.
struct Files(TempDir);

impl Files {
    fn of(server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": PLANTED, "as": "of-the-kubeconfig",
                "as-groups": ["group-of-the-kubeconfig"]}}],
        });
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        std::fs::write(folder.path().join("mapping.yaml"), MAPPING).unwrap();
        Self(folder)
    }

    fn run(&self, command: &[&str], more: &[&str]) -> Said {
        let [config, mapping] = ["config", "mapping.yaml"].map(|name| self.0.path().join(name));
        let mut arguments = [command, &["--kubeconfig", config.to_str().unwrap()], more].concat();
        if command[0] == "trust-policy" {
            arguments.extend(["-m", mapping.to_str().unwrap()]);
        }
        said(&arguments, &[])
    }

    /// Each command says why in one sentence, in time.
    fn all_say(&self, words: &str) {
        for command in COMMANDS {
            let begun = Instant::now();
            let said = self.run(command, &[]);
            assert!(begun.elapsed() < Duration::from_secs(5), "{command:?}: {:?}", begun.elapsed());
            assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (2, "", 1), "{said:?}");
            let why = said.err.split("connecting to the cluster: ").nth(1).unwrap_or_default();
            assert!(said.err.starts_with("error: ") && why.starts_with(words), "{words}: {said:?}");
        }
    }
}

fn closed() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    let there = format!("https://{}", closed());
    Files::of(&there).all_say(&format!("{there} refuses connections: start the cluster, or name another"));
}

#[test]
fn a_server_that_says_nothing_is_told_within_5_seconds() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = format!("https://{}", silent.local_addr().unwrap());
    Files::of(&there).all_say(&format!("{there} does not answer within 4s: look whether a VPN"));
    let silent = Fake::start(|_| Answer::Silence);
    Files::of(&silent.url()).all_say(&format!("{} does not answer within 4s: ", silent.url()));
    // An answer that begins and never ends takes no longer.
    let trickle = Fake::start(|_| Answer::Endless);
    Files::of(&trickle.url()).all_say(&format!("what answers at {} is no API server", trickle.url()));
}

#[test]
fn a_server_that_is_no_api_server_is_told() {
    for (status, body) in [(200, "<html>hello</html>"), (200, "{}"), (404, "<html>"), (302, "")] {
        let server = Fake::start(move |_| Answer::Whole(status, body.to_owned()));
        Files::of(&server.url()).all_say(&format!("what answers at {} is no API server", server.url()));
    }
    // Where TLS is wanted, a plain server is told apart.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = format!("https://{}", plain.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
        }
    });
    Files::of(&there).all_say(&format!("what answers at {there} does not speak TLS: correct `server`"));
}

#[test]
fn a_certificate_that_is_not_trusted_is_told() {
    let server = Fake::start_tls(&certificate(), |_| Answer::Whole(200, "{}".to_owned()));
    let there = format!("https://{}", server.address);
    Files::of(&there).all_say(&format!("the certificate of {there} is not trusted, as "));
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn a_name_that_nobody_knows_is_told() {
    let there = "https://no-such-host.invalid:6443";
    Files::of(there).all_say(&format!("no name server knows the host of {there}: correct `server`"));
}

#[test]
fn a_login_that_is_refused_is_told_and_a_refusal_to_act_as_somebody() {
    let status = |code: u16, message: &str| {
        let status = json!({"kind": "Status", "code": code, "message": message}).to_string();
        Fake::start(move |_| Answer::Whole(code, status.clone()))
    };
    let server = status(401, "Unauthorized");
    Files::of(&server.url())
        .all_say(&format!("{} does not take these credentials (Unauthorized): log in again", server.url()));
    let server =
        status(403, "users \"x\" is forbidden: User \"y\" cannot impersonate resource \"users\"\u{1b}[2J");
    Files::of(&server.url()).all_say(&format!("{} lets nobody act as somebody else with", server.url()));
}

#[test]
fn who_is_acted_as_is_sent_with_each_request_and_nothing_of_the_kubeconfigs_own() {
    let server = Fake::start(|asked| match asked.line.as_str() {
        "GET /version" => Answer::Whole(200, r#"{"gitVersion": "v1.36.0"}"#.to_owned()),
        _ => Answer::Whole(403, r#"{"kind": "Status", "code": 403, "message": "forbidden"}"#.to_owned()),
    });
    let files = Files::of(&server.url());
    files.run(COMMANDS[1], &["--as", "jane", "--as-group", "a", "--as-group", "b"]);
    let asked = server.asked();
    assert!(asked.len() > 1);
    for asked in &asked {
        let of = |name: &str| asked.head.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        assert_eq!(of("impersonate-user"), ["impersonate-user: jane"]);
        assert_eq!(of("impersonate-group"), ["impersonate-group: a", "impersonate-group: b"]);
    }
    // Without the option, the kubeconfig's own count.
    files.run(COMMANDS[1], &[]);
    let last = server.asked().pop().unwrap().head;
    assert!(last.contains("impersonate-user: of-the-kubeconfig\r\n"), "{last}");
    // Another user does not get the groups of the one in the kubeconfig.
    files.run(COMMANDS[1], &["--as", "jane"]);
    let last = server.asked().pop().unwrap().head;
    assert!(last.contains("impersonate-user: jane\r\n") && !last.contains("impersonate-group"), "{last}");
    for (bad, words) in [
        (&["--as-group", "a"][..], "--as <USER>"),
        (&["--as", ""], "it is empty"),
        (&["--as", "a\r\nx: y"], "characters that cannot be sent"),
    ] {
        let said = files.run(COMMANDS[1], bad);
        assert!(said.code == 2 && said.err.contains(words), "{said:?}");
    }
}
