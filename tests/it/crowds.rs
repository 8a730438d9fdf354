//! Does a crowd of connections keep the API server or the kubelet out of the running binary?

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::live::{MAPPING, client_config, connect, connect_with, head, is_patched, rest, review, tcp};
use crate::support::{Server, eventually};

const SELF: [u8; 4] = [127, 0, 0, 1];

/// For how long the API server waits, by default.
const API_SERVER: Duration = Duration::from_secs(10);

/// Sends a request on this connection, and returns whether its answer begins so.
async fn ask(connection: &mut (impl AsyncRead + AsyncWrite + Unpin), status: &str) -> bool {
    let body = review();
    let mut answer = vec![0; 4096];
    let asked = async {
        connection.write_all(head(body.len()).as_bytes()).await?;
        connection.write_all(&body).await?;
        connection.flush().await?;
        connection.read(&mut answer).await
    };
    match asked.await {
        Ok(length) => answer[..length].starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
        Err(_) => false,
    }
}

async fn evicted(server: &Server) -> Option<f64> {
    server.metric("gitlab_iam_webhook_evicted_connections_total").await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_port_a_new_connection_takes_the_slot_of_one_that_sent_nothing() {
    let arguments = ["--max-connections", "4", "--max-connections-per-peer", "3", "--header-timeout", "1h"];
    let server = Server::start_with(MAPPING, &arguments).await;
    let mut served = connect(&server, SELF).await.unwrap();
    assert!(ask(&mut served, "200").await);
    // Which of them is the oldest, the server knows alone: it ends a handshake after its peer does.
    let mut silent = JoinSet::new();
    for last in 2..=4 {
        let mut connection = connect(&server, [127, 0, 0, last]).await.unwrap();
        silent.spawn(async move { rest(&mut connection).await });
    }
    assert_eq!(evicted(&server).await, Some(0.0));
    let mut newcomer = connect(&server, [127, 0, 0, 5]).await.unwrap();
    assert!(ask(&mut newcomer, "200").await);
    assert_eq!(silent.join_next().await.unwrap().unwrap(), "", "one of them is closed");
    assert_eq!(evicted(&server).await, Some(1.0));
    assert!(ask(&mut served, "200").await, "who asked before has kept its place");
    assert_eq!(server.metric("gitlab_iam_webhook_open_connections").await, Some(4.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_at_its_share_loses_its_own_connections_while_others_go_on() {
    let arguments = ["--max-connections", "8", "--max-connections-per-peer", "4", "--header-timeout", "1h"];
    let server = Server::start_with(MAPPING, &arguments).await;
    let greedy = [127, 0, 0, 9];
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(connect(&server, greedy).await.unwrap());
    }
    let newest = held.last_mut().unwrap();
    assert!(ask(newest, "200").await, "one API server behind the same address as a flood");
    for connection in &mut held[..8] {
        rest(connection).await;
    }
    for _ in 0..20 {
        let client = server.client_from(SELF);
        assert!(is_patched(&server.post(&client, "/mutate", review()).await), "others go on");
    }
    assert_eq!(server.metric("gitlab_iam_webhook_refused_connections_total").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_just_answered_is_not_closed_under_its_peer() {
    let arguments = ["--max-connections", "4", "--max-connections-per-peer", "2"];
    let server = Server::start_with(MAPPING, &arguments).await;
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut connection = connect(&server, SELF).await.unwrap();
        assert!(ask(&mut connection, "200").await);
        served.push(connection);
    }
    assert!(connect(&server, SELF).await.is_err(), "there is no room for another of this peer");
    assert_eq!(server.metric("gitlab_iam_webhook_refused_connections_total").await, Some(1.0));
    for connection in &mut served {
        assert!(ask(connection, "200").await);
    }
    drop(served);
    eventually("its share is free again", async || connect(&server, SELF).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_is_evicted_is_closed_with_close_notify() {
    let server = Server::start_with(MAPPING, &["--max-connections", "3"]).await;
    let mut hoarder = Vec::new();
    for _ in 0..3 {
        let mut connection = connect(&server, [127, 0, 0, 9]).await.unwrap();
        assert!(ask(&mut connection, "200").await);
        hoarder.push(connection);
    }
    let mut newcomer = connect(&server, SELF).await.unwrap();
    assert!(ask(&mut newcomer, "200").await);
    let mut end = [0; 1];
    assert_eq!(hoarder[0].read(&mut end).await.unwrap(), 0, "an end, and no error");
    assert!(ask(&mut hoarder[1], "200").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_yields_no_request_is_closed_before_tls_holds_much_of_it() {
    let arguments = ["--handshake-timeout", "1h", "--header-timeout", "1h"];
    let server = Server::start_with(MAPPING, &arguments).await;
    let mut half_a_hello = tcp(server.address, SELF).await.unwrap();
    // This ClientHello announces 65,000 bytes, in records of 16,000. The last record is not sent.
    let mut message = vec![1, 0, 0xfd, 0xe8];
    message.resize(48_000, 0);
    for part in message.chunks(16_000) {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        let record = [&[22, 3, 1], &length[..], part].concat();
        // The connection may be closed meanwhile.
        let _ = half_a_hello.write_all(&record).await;
    }
    rest(&mut half_a_hello).await;
    assert_eq!(server.metric("gitlab_iam_webhook_tls_handshakes_total{result=\"failed\"}").await, Some(1.0));
}

/// Probes and posts reviews from addresses of its own until the time is up, and returns how many. It panics
/// when one fails.
async fn go_on(server: &Arc<Server>, until: Instant) -> [usize; 3] {
    let client = server.client_from([127, 0, 0, 3]);
    let create = async |client: &reqwest::Client| {
        let answer = timeout(API_SERVER, server.post(client, "/mutate", review())).await;
        is_patched(&answer.expect("a create in time"))
    };
    let kept = repeat(until, async || create(&client).await);
    let fresh = repeat(until, async || create(&server.client_from([127, 0, 0, 4])).await);
    let probes = repeat(until, async || {
        timeout(API_SERVER, server.admin("/livez")).await.expect("a probe in time").0 == 200
    });
    let (kept, fresh, probes) = tokio::join!(kept, fresh, probes);
    [kept, fresh, probes]
}

async fn repeat(until: Instant, act: impl AsyncFn() -> bool) -> usize {
    let mut count = 0;
    while Instant::now() < until {
        assert!(act().await, "number {count}");
        count += 1;
        sleep(Duration::from_millis(10)).await;
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_a_few_keep_nobody_out() {
    let server = Arc::new(Server::start(MAPPING).await);
    let mut hoard = Vec::new();
    let mut probes = Vec::new();
    for source in (20..24).map(|last| [127, 0, 0, last]) {
        for _ in 0..68 {
            if let Ok(mut connection) = connect(&server, source).await {
                ask(&mut connection, "200").await;
                hoard.push(connection);
            }
            let mut probe = tcp(server.admin, source).await.unwrap();
            let _ =
                probe.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n").await;
            probes.push(probe);
        }
    }
    let counts = go_on(&server, Instant::now() + Duration::from_secs(3)).await;
    assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
    assert!(
        rest(probes.first_mut().unwrap()).await.contains("connection: close"),
        "none is kept alive there"
    );
    assert!(hoard.len() > 128);
}

/// What all members of the crowd share.
struct Crowd {
    webhook: SocketAddr,
    admin: SocketAddr,
    config: Arc<rustls::ClientConfig>,
    until: Instant,
    opened: AtomicUsize,
}

/// What one member of the crowd does on its connection, again and again, until the time is up.
async fn crowd_in(crowd: Arc<Crowd>, number: usize) {
    let Crowd { webhook, admin, config, until, opened } = &*crowd;
    let source = [127, 0, 1, u8::try_from(number % 200).unwrap()];
    sleep(Duration::from_millis(number as u64)).await;
    while Instant::now() < *until {
        opened.fetch_add(1, Ordering::Relaxed);
        let held = async {
            match number / 200 {
                0 => drain(tcp(*webhook, source).await?).await,
                1 => {
                    let mut stream = tcp(*webhook, source).await?;
                    stream.write_all(&[22, 3, 1, 1, 0, 1, 0]).await?;
                    drain(stream).await
                }
                2 => drain(connect_with(config, *webhook, source).await?).await,
                3 => {
                    let mut stream = connect_with(config, *webhook, source).await?;
                    stream.write_all(head(1000).as_bytes()).await?;
                    loop {
                        stream.write_all(b" ").await?;
                        stream.flush().await?;
                        sleep(Duration::from_millis(300)).await;
                    }
                }
                _ => drain(tcp(*admin, source).await?).await,
            }
        };
        let _: Result<std::io::Result<()>, _> = tokio::time::timeout_at(*until, held).await;
        sleep(Duration::from_secs(1)).await;
    }
}

async fn drain(mut stream: impl AsyncRead + Unpin) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_from_two_hundred_addresses_keep_nobody_out() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files: usize = files.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    assert!(files >= 1500, "1,000 connections need files: ulimit -n 4096");

    let server = Arc::new(Server::start(MAPPING).await);
    let until = Instant::now() + Duration::from_secs(8);
    let crowd = Arc::new(Crowd {
        webhook: server.address,
        admin: server.admin,
        config: client_config(&server),
        until,
        opened: AtomicUsize::new(0),
    });
    let crowding = Arc::clone(&crowd);
    // The crowd has a thread of its own, so that it does not slow down what is measured.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            (0..1000)
                .map(|number| crowd_in(Arc::clone(&crowding), number))
                .collect::<JoinSet<_>>()
                .join_all()
                .await
        })
    });
    let counts = go_on(&server, until).await;
    thread.join().unwrap();
    let opened = crowd.opened.load(Ordering::Relaxed);
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    assert!(opened > 1000, "they came again and again");
    assert!(server.metric("gitlab_iam_webhook_open_connections").await <= Some(128.0));
    assert!(evicted(&server).await > Some(128.0));
}

/// An attacker held 8 of the pool's 14 MiB with one connection that sent a byte now and then, and others were
/// answered 503.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_given_up_for_whoever_waits_for_its_memory() {
    let server = Server::start(MAPPING).await;
    let mut slow = connect(&server, [127, 0, 0, 30]).await.unwrap();
    slow.write_all(head(8 << 20).as_bytes()).await.unwrap();
    slow.write_all(&vec![b' '; 1 << 16]).await.unwrap();
    slow.flush().await.unwrap();
    // There is no room for another body of that length beside it.
    let mut long = review();
    long.resize(7 << 20, b' ');
    let client = server.client_from([127, 0, 0, 31]);
    let (answered, told) = tokio::join!(
        server.post(&client, "/mutate", long.clone()),
        timeout(Duration::from_secs(20), rest(&mut slow))
    );
    assert!(is_patched(&answered), "{answered:?}");
    assert!(told.unwrap().starts_with("HTTP/1.1 408 "));
}
