//! Does the running binary serve everybody while certificates, mappings and peers come, go and misbehave?

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gitlab_iam_webhook::tls::Pair;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::{
    DEADLINE, Server, Thing, certificate, eventually, install_crypto, patch_of, write_secret,
};

pub(crate) const MAPPING: &str =
    "account: \"123456789012\"\nrules:\n  - {match: {component: \"*\"}, role: x}\n";

pub(crate) fn review() -> Vec<u8> {
    serde_json::to_vec(&Thing::service_account("registry").to_review()).unwrap()
}

pub(crate) fn is_patched(answer: &(u16, String)) -> bool {
    answer.0 == 200 && answer.1.contains("\"patch\"")
}

/// Posts on new connections, one after the other, until it is told to stop. It counts them, and panics when
/// one fails.
fn load(
    server: &Server,
    client: impl Fn() -> reqwest::Client + Send + 'static,
) -> (Arc<AtomicBool>, tokio::task::JoinHandle<usize>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let url = server.url("/mutate");
    let task = tokio::spawn(async move {
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            let request = client().post(&url).header("content-type", "application/json").body(review());
            let response = request.send().await.unwrap_or_else(|error| panic!("request {count}: {error:?}"));
            assert_eq!(response.status(), 200);
            count += 1;
        }
        count
    });
    (stop, task)
}

/// The certificate that a new connection is served, in DER.
async fn served(server: &Server, trusted: &Pair) -> Option<Vec<u8>> {
    let client = trusting(&[trusted]);
    let response = client.get(server.url("/")).send().await.ok()?;
    let info = response.extensions().get::<reqwest::tls::TlsInfo>()?;
    info.peer_certificate().map(<[u8]>::to_vec)
}

fn trusting(pairs: &[&Pair]) -> reqwest::Client {
    install_crypto();
    let roots = pairs.iter().map(|pair| reqwest::Certificate::from_pem(&pair.certificate).unwrap());
    reqwest::Client::builder().tls_certs_only(roots).tls_info(true).timeout(DEADLINE).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_failed_request_and_a_broken_one_is_not() {
    let server = Server::start(MAPPING).await;
    let first = Pair {
        certificate: fs::read(server.tls.join("tls.crt")).unwrap(),
        key: fs::read(server.tls.join("tls.key")).unwrap(),
    };
    let pairs = Arc::new([first.clone(), certificate(), certificate()]);
    let trusted = Arc::clone(&pairs);
    let (stop, task) = load(&server, move || trusting(&trusted.iter().collect::<Vec<_>>()));
    assert!(served(&server, &pairs[0]).await.is_some());

    for (generation, pair) in (1..).zip(&pairs[1..]) {
        write_secret(&server.tls, pair, generation);
        eventually("the renewed certificate is served", async || served(&server, pair).await.is_some()).await;
        assert!(served(&server, &pairs[0]).await.is_none(), "the first one is served no longer");
    }
    // This key is not the certificate's: the last good pair stays.
    let mixed = Pair { certificate: first.certificate.clone(), key: pairs[1].key.clone() };
    write_secret(&server.tls, &mixed, 3);
    let said = server.logged("the certificate served so far stays").await;
    assert!(
        said["message"].as_str().unwrap().contains("using the private key with the certificate"),
        "{said}"
    );
    assert!(served(&server, &pairs[2]).await.is_some());
    assert_eq!(
        server.metric("gitlab_iam_webhook_certificate_loads_total{result=\"failed\"}").await,
        Some(1.0)
    );
    assert_eq!(server.metric("gitlab_iam_webhook_certificate_loads_total{result=\"ok\"}").await, Some(3.0));

    stop.store(true, Ordering::Relaxed);
    assert!(task.await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_swapped_under_load_gives_each_object_its_own_rules_role() {
    const OBJECTS: usize = 200;
    const SWAPS: usize = 10;
    let mapping = |generation: usize| {
        let rules: String = (0..OBJECTS)
            .map(|n| {
                format!("  - {{match: {{serviceAccount: account-{n}}}, role: role-{n}-v{generation}}}\n")
            })
            .collect();
        format!("account: \"123456789012\"\nrules:\n{rules}")
    };
    let server = Arc::new(Server::start(&mapping(0)).await);
    let newest = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client_number in 0..8 {
        let (server, newest, done) = (Arc::clone(&server), Arc::clone(&newest), Arc::clone(&done));
        clients.spawn(async move {
            let client = server.client();
            let mut seen = std::collections::HashSet::new();
            let mut n = client_number;
            while !done.load(Ordering::Relaxed) {
                n = (n + 7) % OBJECTS;
                let mut account = Thing::service_account("kas");
                account.service_account = format!("account-{n}");
                let body = serde_json::to_vec(&account.to_review()).unwrap();
                let (status, answer) = server.post(&client, "/mutate", body).await;
                assert_eq!(status, 200, "{answer}");
                let answer: Value = serde_json::from_str(&answer).unwrap();
                let patch = patch_of(&answer);
                let role = patch[0]["value"]["eks.amazonaws.com/role-arn"].as_str().unwrap();
                let own = format!("arn:aws:iam::123456789012:role/role-{n}-v");
                let version: usize = role
                    .strip_prefix(&own)
                    .unwrap_or_else(|| panic!("account-{n} got {role}"))
                    .parse()
                    .unwrap();
                assert!(version <= newest.load(Ordering::Relaxed), "a mapping that is not there yet");
                seen.insert(version);
            }
            seen
        });
    }
    let mut in_force = 1.0;
    for generation in 1..=SWAPS {
        newest.store(generation, Ordering::Relaxed);
        fs::write(&server.mapping, mapping(generation)).unwrap();
        in_force += 1.0;
        eventually("the new mapping is in force", async || {
            server.metric("gitlab_iam_webhook_mapping_generation").await >= Some(in_force)
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    let seen: Vec<_> = clients.join_all().await;
    assert!(seen.iter().any(|versions| versions.len() > SWAPS / 2), "the load saw the swaps: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_or_missing_mapping_leaves_the_last_good_one_in_force() {
    let server = Server::start(MAPPING).await;
    let client = server.client();
    fs::write(&server.mapping, "rules: [{match: {component: kass}, role: x}]\n").unwrap();
    let said = server.logged("the last good mapping stays in force").await;
    assert!(said["message"].as_str().unwrap().contains("unknown component `kass`"), "{said}");
    assert_eq!(server.metric("gitlab_iam_webhook_mapping_stale").await, Some(1.0));
    assert!(server.metric("gitlab_iam_webhook_mapping_stale_since_timestamp_seconds").await > Some(1.7e9));
    assert!(is_patched(&server.post(&client, "/mutate", review()).await));
    assert_eq!(server.admin("/readyz").await.0, 200);

    fs::remove_file(&server.mapping).unwrap();
    server.logged("No such file").await;
    assert!(is_patched(&server.post(&client, "/mutate", review()).await));

    fs::write(&server.mapping, "rules: []\n").unwrap();
    eventually("the good mapping is in force", async || {
        server.metric("gitlab_iam_webhook_mapping_stale").await == Some(0.0)
    })
    .await;
    assert!(!is_patched(&server.post(&client, "/mutate", review()).await));
}

/// Opens a TLS connection from this address of loopback.
pub(crate) async fn connect(
    server: &Server,
    source: [u8; 4],
) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    connect_with(&client_config(server), server.address, source).await
}

pub(crate) fn client_config(server: &Server) -> Arc<rustls::ClientConfig> {
    install_crypto();
    let pem = fs::read(server.tls.join("tls.crt")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

pub(crate) async fn connect_with(
    config: &Arc<rustls::ClientConfig>,
    address: SocketAddr,
    source: [u8; 4],
) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    let tcp = tcp(address, source).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

pub(crate) async fn tcp(address: SocketAddr, source: [u8; 4]) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(address).await
}

pub(crate) fn head(content_length: usize) -> String {
    format!(
        "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {content_length}\r\n\r\n"
    )
}

/// Reads until the other side closes.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A close without TLS's close_notify counts too.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_under_way_whoever_is_silent() {
    let arguments = ["--handshake-timeout", "1s", "--shutdown-delay", "1s"];
    let mut server = Server::start_with(MAPPING, &arguments).await;
    assert_eq!(server.admin("/readyz").await, (200, "ok\n".to_owned()));
    let _silent = tcp(server.address, [127, 0, 0, 1]).await.unwrap();
    let mut idle = connect(&server, [127, 0, 0, 1]).await.unwrap();
    let mut slow = connect(&server, [127, 0, 0, 1]).await.unwrap();
    let body = review();
    slow.write_all(head(body.len()).as_bytes()).await.unwrap();
    slow.write_all(&body[..10]).await.unwrap();
    slow.flush().await.unwrap();

    server.signal("-TERM");
    eventually("unready", async || {
        server.admin("/readyz").await == (503, "not ready: stopping\n".to_owned())
    })
    .await;
    assert_eq!(server.admin("/livez").await.0, 200, "alive until the end");
    assert!(
        is_patched(&server.post(&server.client(), "/mutate", body.clone()).await),
        "answering while endpoints follow"
    );
    eventually("no new connections", async || tcp(server.address, [127, 0, 0, 1]).await.is_err()).await;
    slow.write_all(&body[10..]).await.unwrap();
    let answer = rest(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"patch\""), "{answer}");
    rest(&mut idle).await;
    assert!(server.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait() {
    let mut server = Server::start_with(MAPPING, &["--shutdown-delay", "1h"]).await;
    server.signal("-TERM");
    server.logged("stopping").await;
    server.signal("-TERM");
    assert_eq!(server.ended().await.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_flight_are_bounded_for_each_peer_while_others_go_on() {
    let arguments = ["--max-body-bytes", "3000000", "--max-body-bytes-per-peer", "2000000"];
    let server = Server::start_with(MAPPING, &arguments).await;
    let greedy = [127, 0, 0, 9];
    let part = vec![b' '; 900_000];
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = connect(&server, greedy).await.unwrap();
        connection.write_all(head(part.len()).as_bytes()).await.unwrap();
        connection.write_all(&part[1..]).await.unwrap();
        connection.flush().await.unwrap();
        held.push(connection);
    }
    // It holds 1.8 of its 2 MB. There is no room for another body beside both, and one that has been arriving
    // for long is given up.
    let mut third = connect(&server, greedy).await.unwrap();
    third.write_all(head(part.len()).as_bytes()).await.unwrap();
    third.write_all(&part).await.unwrap();
    let mut start = [0; 13];
    third.read_exact(&mut start).await.unwrap();
    assert!(start.starts_with(b"HTTP/1.1 400 "), "room was found for what is no review");
    let mut gave_way = 0;
    for connection in &mut held {
        gave_way += usize::from(rest(connection).await.starts_with("HTTP/1.1 408 "));
    }
    assert!(gave_way >= 1, "who came slowly was told so");
    let client = server.client_from([127, 0, 0, 1]);
    for _ in 0..20 {
        assert!(is_patched(&server.post(&client, "/mutate", review()).await), "others go on");
    }
    // A body that is too long is refused by what it announces, before any of it is read.
    let mut announcing = connect(&server, [127, 0, 0, 1]).await.unwrap();
    announcing.write_all(head(9 << 20).as_bytes()).await.unwrap();
    assert!(rest(&mut announcing).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_handshakes_and_requests_have_their_time_and_idle_connections_theirs() {
    let arguments = [
        "--header-timeout",
        "500ms",
        "--handshake-timeout",
        "500ms",
        "--request-timeout",
        "700ms",
        "--idle-timeout",
        "1h",
    ];
    let server = Server::start_with(MAPPING, &arguments).await;
    let source = [127, 0, 0, 1];

    let mut no_handshake = tcp(server.address, source).await.unwrap();
    assert_eq!(rest(&mut no_handshake).await, "");
    assert_eq!(server.metric("gitlab_iam_webhook_tls_handshakes_total{result=\"timeout\"}").await, Some(1.0));
    let mut garbage = tcp(server.address, source).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    rest(&mut garbage).await;
    assert_eq!(server.metric("gitlab_iam_webhook_tls_handshakes_total{result=\"failed\"}").await, Some(1.0));

    // Go dials ahead: what is not used at first must not be closed under a request that comes later.
    let mut unused = connect(&server, source).await.unwrap();
    let mut half_a_head = connect(&server, source).await.unwrap();
    half_a_head.write_all(b"POST /mutate HTTP/1.1\r\n").await.unwrap();
    assert!(!rest(&mut half_a_head).await.contains("200 OK"));
    let mut half_a_body = connect(&server, source).await.unwrap();
    half_a_body.write_all(head(100).as_bytes()).await.unwrap();
    half_a_body.write_all(b"{").await.unwrap();
    assert!(rest(&mut half_a_body).await.starts_with("HTTP/1.1 408 "));

    // Before the first request, and between requests, a connection stays open for longer than any of these.
    let body = review();
    let kept = &mut unused;
    for _ in 0..2 {
        kept.write_all(head(body.len()).as_bytes()).await.unwrap();
        kept.write_all(&body).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = tokio::time::timeout(DEADLINE, kept.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK"));
        // Later ones have been closed meanwhile.
        let mut later = connect(&server, source).await.unwrap();
        later.write_all(b"P").await.unwrap();
        rest(&mut later).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_http_1_1_over_tls_1_2_and_1_3_is_spoken() {
    let server = Server::start(MAPPING).await;
    let pem = fs::read(server.tls.join("tls.crt")).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let mut config = rustls::ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = tcp(server.address, [127, 0, 0, 1]).await.unwrap();
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
    }
    let mut preface = connect(&server, [127, 0, 0, 1]).await.unwrap();
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(!rest(&mut preface).await.contains("200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_what_a_pod_of_an_old_chart_looks_like() {
    let server = Server::start(MAPPING).await;
    let mut pod = Thing::pod("sidekiq");
    pod.labels.retain(|(key, _)| key == "app" || key == "release");
    let (_, answer) = server.post(&server.client(), "/mutate", pod.to_review().to_string()).await;
    assert!(!answer.contains("warnings"), "it is for those who write the mapping: {answer}");
    let line = server.logged("review").await;
    assert_eq!(line["hint"], "looks like sidekiq of a chart before 4.9: match it by its labels");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_review_is_one_log_line_and_one_count() {
    let server = Server::start(MAPPING).await;
    server.post(&server.client(), "/mutate", review()).await;
    let line = server.logged("review").await;
    let expected = [
        ("mode", "mutate"),
        ("uid", "705ab4f5-6393-11e8-b7cc-42010a800002"),
        ("operation", "CREATE"),
        ("kind", "ServiceAccount"),
        ("namespace", "gitlab"),
        ("name", "gitlab-registry"),
        ("component", "registry"),
        ("rule", "component=*"),
        ("role", "arn:aws:iam::123456789012:role/x"),
        ("outcome", "set"),
    ];
    for (field, want) in expected {
        assert_eq!(line[field], want, "{line}");
    }
    assert!(line["duration_us"].is_u64(), "{line}");
    let series = r#"gitlab_iam_webhook_reviews_total{mode="mutate",kind="ServiceAccount",operation="CREATE",outcome="set"}"#;
    assert_eq!(server.metric(series).await, Some(1.0));
    assert_eq!(server.metric("gitlab_iam_webhook_review_duration_seconds_count").await, Some(1.0));
    assert!(
        server.metric("gitlab_iam_webhook_review_duration_seconds_bucket{le=\"0.00005\"}").await.is_some()
    );
    assert_eq!(server.admin("/nothing").await.0, 404);
}

/// Clients make records of any length, and Go's longer ones when there is much to send. What the server read of a
/// long one while it filled its buffer with short ones counted as no part of a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_come_in_records_of_any_length() {
    let server = Server::start(MAPPING).await;
    let tcp = tcp(server.address, [127, 0, 0, 1]).await.unwrap();
    // The server finds many records at once.
    let stream = BufWriter::with_capacity(1 << 20, tcp);
    let connector = tokio_rustls::TlsConnector::from(client_config(&server));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let mut body = review();
    body.resize(256 << 10, b' ');
    stream.write_all(head(body.len()).as_bytes()).await.unwrap();
    let mut left = body.as_slice();
    while !left.is_empty() {
        for length in [1_150, 1_150, 1_150, 1_150, 1_150, 1_150, 1_150, 16 << 10, 4_000] {
            let (record, rest) = left.split_at(left.len().min(length));
            stream.write_all(record).await.unwrap();
            left = rest;
        }
        stream.flush().await.unwrap();
        // The server waits for the next of them then.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
