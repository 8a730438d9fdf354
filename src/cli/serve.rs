//! `serve`: the webhook.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use clap::{Args, ValueEnum};
use tempfile::NamedTempFile;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{BoundsArgs, output};
use crate::cluster;
use crate::cluster::mapping_watch::{MappingWatch, Place};
use crate::health::Readiness;
use crate::mapping_file;
use crate::mapping_intake::Intake;
use crate::metrics::Metrics;
use crate::server::{self, Limits, admin, webhook};
use crate::shutdown::Shutdown;
use crate::telemetry;
use crate::tls::reload::Files;
use crate::tls::{Identity, issue};

const EXAMPLES: &str = "Examples:
  On this machine, with a certificate made on the spot, and requests to try:
    gitlab-iam-webhook serve --mapping mapping.yaml
  With a certificate from a Secret volume, renewed without a restart:
    gitlab-iam-webhook serve --mapping mapping.yaml \\
      --tls-cert /tls/tls.crt --tls-key /tls/tls.key

Every option can also be given as an environment variable.
SIGTERM drains and stops; a second one stops at once.";

/// How long a certificate lives that is made on the spot.
const LIFE: Duration = Duration::from_hours(365 * 24);

/// Serve the admission webhook over HTTPS.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// The role mapping; read again when its content changes, the last good one is kept.
    #[arg(long, short, value_name = "FILE", env = "GITLAB_IAM_WEBHOOK_MAPPING")]
    mapping: Option<PathBuf>,

    /// The ConfigMap whose key `mapping.yaml` holds the role mapping, instead of a file; it is watched.
    ///
    /// Reached with KUBECONFIG or the Pod's own credentials. The last good text is kept in NAME-last-good, and used at the
    /// start beside one that broke meanwhile.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        env = "GITLAB_IAM_WEBHOOK_MAPPING_CONFIG_MAP",
        conflicts_with = "mapping",
        required_unless_present = "mapping"
    )]
    mapping_config_map: Option<Place>,

    /// Create that ConfigMap where there is none, with comments that teach and no rules. It is never written again.
    #[arg(long, env = "GITLAB_IAM_WEBHOOK_STARTER_MAPPING", requires = "mapping_config_map")]
    starter_mapping: bool,

    /// Where the API server reaches POST /mutate and POST /observe, in HTTPS.
    #[arg(long, value_name = "ADDRESS", env = "GITLAB_IAM_WEBHOOK_LISTEN", default_value = "[::]:8443", value_parser = address)]
    listen: SocketAddr,

    /// Where /livez, /readyz and /metrics are, in plain HTTP.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "GITLAB_IAM_WEBHOOK_ADMIN_LISTEN", default_value = "[::]:8080", value_parser = address
    )]
    admin_listen: SocketAddr,

    /// The certificate chain in PEM, the leaf first; read again every 2 seconds. Without it one is made in memory.
    #[arg(long, value_name = "FILE", env = "GITLAB_IAM_WEBHOOK_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key in PEM.
    #[arg(long, value_name = "FILE", env = "GITLAB_IAM_WEBHOOK_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    #[command(flatten)]
    bounds: BoundsArgs,

    /// The form of log lines on standard error.
    #[arg(long, value_enum, env = "GITLAB_IAM_WEBHOOK_LOG_FORMAT", default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// What is logged: a level, or a filter such as `warn,gitlab_iam_webhook=debug`.
    #[arg(long, value_name = "FILTER", env = "GITLAB_IAM_WEBHOOK_LOG", default_value = "info,kube_client=off", value_parser = log_filter)]
    log: EnvFilter,

    #[command(flatten)]
    limits: LimitArgs,

    /// After SIGTERM: how long to answer on while unready, so that endpoints can follow.
    #[arg(long, value_name = "DURATION", env = "GITLAB_IAM_WEBHOOK_SHUTDOWN_DELAY", default_value = "0s",
        value_parser = humantime::parse_duration)]
    shutdown_delay: Duration,

    /// After that: how long to wait for requests under way.
    #[arg(long, value_name = "DURATION", env = "GITLAB_IAM_WEBHOOK_DRAIN_TIMEOUT", default_value = "15s",
        value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write IP:PORT, as in 127.0.0.1:8443 or [::]:8443".to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number from 1 on, bytes without a unit: 8388608".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// A bare word that is no level would be taken for a target that nothing logs under.
fn log_filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let known = text.split(',').map(str::trim).all(|part| part.contains(['=', '[']) || is_level(part));
    EnvFilter::builder().parse(text).ok().filter(|_| known).ok_or_else(|| {
        "write off, error, warn, info, debug or trace, or TARGET=LEVEL, as in warn,gitlab_iam_webhook=debug".to_owned()
    })
}

/// How long peers may take, and how much room they may have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// For a TLS handshake.
    #[arg(long, value_name = "DURATION", env = "GITLAB_IAM_WEBHOOK_HANDSHAKE_TIMEOUT", default_value = "5s",
        value_parser = humantime::parse_duration)]
    handshake_timeout: Duration,

    /// For the head of a request.
    #[arg(long, value_name = "DURATION", env = "GITLAB_IAM_WEBHOOK_HEADER_TIMEOUT", default_value = "2s",
        value_parser = humantime::parse_duration)]
    header_timeout: Duration,

    /// For a request, from its head to its answer.
    #[arg(long, value_name = "DURATION", env = "GITLAB_IAM_WEBHOOK_REQUEST_TIMEOUT", default_value = "10s",
        value_parser = humantime::parse_duration)]
    request_timeout: Duration,

    /// For a connection between two requests; longer than the 90 seconds after which API servers close it themselves.
    #[arg(long, value_name = "DURATION", env = "GITLAB_IAM_WEBHOOK_IDLE_TIMEOUT", default_value = "2m",
        value_parser = humantime::parse_duration)]
    idle_timeout: Duration,

    /// Connections open at once; each takes about 27 kB.
    #[arg(long, value_name = "COUNT", env = "GITLAB_IAM_WEBHOOK_MAX_CONNECTIONS", default_value_t = 256, value_parser = count)]
    max_connections: usize,

    /// Of these, for one peer address.
    #[arg(
        long,
        value_name = "COUNT",
        env = "GITLAB_IAM_WEBHOOK_MAX_CONNECTIONS_PER_PEER",
        default_value_t = 64, value_parser = count)]
    max_connections_per_peer: usize,

    /// Bytes of request bodies in memory at once.
    #[arg(long, value_name = "BYTES", env = "GITLAB_IAM_WEBHOOK_MAX_BODY_BYTES", default_value_t = 12 << 20, value_parser = count)]
    max_body_bytes: usize,

    /// Of these, for one peer address; the longest body is 8 MiB.
    #[arg(long, value_name = "BYTES", env = "GITLAB_IAM_WEBHOOK_MAX_BODY_BYTES_PER_PEER", default_value_t = 8 << 20, value_parser = count)]
    max_body_bytes_per_peer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            handshake: args.handshake_timeout,
            header: args.header_timeout,
            request: args.request_timeout,
            idle: args.idle_timeout,
            connections: args.max_connections,
            connections_per_peer: args.max_connections_per_peer,
            body_bytes: args.max_body_bytes,
            body_bytes_per_peer: args.max_body_bytes_per_peer,
        }
    }
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let format = match args.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(format, args.log.clone()).context("starting the log")?;
    // A decision takes microseconds; more workers would only hold stacks.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let code = runtime.block_on(serve(args))?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(code)
}

/// Where the certificate comes from.
enum Source {
    Files(Files),
    /// Made for this run; the file holds the certificate for clients, and goes when this goes.
    Made(NamedTempFile),
}

async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::on_signals().context("listening for signals")?;
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    let starting = readiness.hold("the server to start");

    let source = match (&args.mapping, &args.mapping_config_map) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(place)) => format!("ConfigMap {place}"),
        (None, None) => String::new(),
    };
    let mut intake = Intake::new(Arc::clone(&metrics), (&args.bounds).into(), source);
    let live = intake.live();
    if let Some(path) = &args.mapping {
        mapping_file::load(path, &mut intake).context("loading the mapping")?;
    }
    let client = match &args.mapping_config_map {
        Some(_) => Some(cluster::connect().await.context("connecting to the cluster")?),
        None => None,
    };

    let listener = listen("--listen", args.listen)?;
    let admin_listener = listen("--admin-listen", args.admin_listen)?;
    let address = listener.local_addr().context("asking for the port")?;
    let admin_address = admin_listener.local_addr().context("asking for the port")?;
    let files = args.tls_cert.zip(args.tls_key).map(|(certificate, key)| Files::new(&certificate, &key));
    let (identity, certificate) = match files {
        Some(mut files) => (files.load().context("loading the certificate")?, Source::Files(files)),
        None => make_certificate(address.ip())?,
    };
    metrics.certificate_not_after.set(identity.not_after);
    let tls = RustlsConfig::from_config(identity.config);

    let followers = TaskTracker::new();
    let stop = shutdown.begin.clone();
    match (args.mapping, args.mapping_config_map.zip(client)) {
        (Some(path), _) => {
            followers.spawn(mapping_file::follow(path, intake, stop.clone()));
        }
        (None, Some((place, client))) => {
            let unknown = readiness.hold("the mapping");
            let watch = MappingWatch::new(client, place, args.starter_mapping, intake, unknown);
            followers.spawn(watch.follow(stop.clone()));
        }
        (None, None) => {}
    }
    let _certificate = match certificate {
        Source::Files(files) => {
            followers.spawn(files.follow(tls.clone(), Arc::clone(&metrics), stop));
            None
        }
        Source::Made(file) => {
            introduce(&file, address, admin_address)?;
            Some(file)
        }
    };

    let limits = Limits::from(args.limits);
    let (handle, admin_handle) = (Handle::new(), Handle::new());
    let app = webhook::router(live, &metrics, limits);
    let admin_app = admin::router(readiness.clone(), Arc::clone(&metrics));
    let mut webhook = tokio::spawn(server::serve_tls(listener, tls, app, limits, metrics, handle.clone()));
    let mut admin =
        tokio::spawn(server::serve_plain(admin_listener, admin_app, limits, admin_handle.clone()));
    tracing::info!(%address, %admin_address, "serving");
    drop(starting);

    tokio::select! {
        ended = &mut webhook => return Err(ended_early(ended)).context("serving the webhook"),
        ended = &mut admin => return Err(ended_early(ended)).context("serving probes and metrics"),
        () = shutdown.begin.cancelled() => {}
    }
    readiness.stop();
    let drained = async {
        tokio::time::sleep(args.shutdown_delay).await;
        handle.graceful_shutdown(Some(args.drain_timeout));
        let _ = (&mut webhook).await;
        // Probes are answered until the end: a kubelet that gets no answer would kill us.
        admin_handle.graceful_shutdown(Some(Duration::ZERO));
        let _ = (&mut admin).await;
        followers.close();
        followers.wait().await;
    };
    match shutdown.abort.run_until_cancelled(drained).await {
        Some(()) => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(ExitCode::FAILURE),
    }
}

fn listen(option: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    server::bind(address).with_context(|| format!("listening on {address} ({option})"))
}

fn ended_early(ended: Result<io::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => anyhow::anyhow!("it ended by itself"),
        Err(error) => error.into(),
    }
}

fn make_certificate(listening: IpAddr) -> anyhow::Result<(Identity, Source)> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listening.is_unspecified() && !listening.is_loopback() {
        names.push(listening.to_string());
    }
    let pair = issue::self_signed(&names, SystemTime::now(), LIFE).context("making a certificate")?;
    let identity = pair.identity().context("making a certificate")?;
    let mut file = tempfile::Builder::new()
        .prefix("gitlab-iam-webhook-")
        .suffix(".crt")
        .tempfile()
        .context("writing the certificate for clients")?;
    file.write_all(&pair.certificate).context("writing the certificate for clients")?;
    Ok((identity, Source::Made(file)))
}

/// Says where the certificate is, and what to type.
fn introduce(certificate: &NamedTempFile, address: SocketAddr, admin: SocketAddr) -> anyhow::Result<()> {
    let url = |scheme: &str, address: SocketAddr| {
        let host =
            if address.ip().is_unspecified() { "localhost".to_owned() } else { bracketed(address.ip()) };
        format!("{scheme}://{host}:{}", address.port())
    };
    output::print(&format!(
        "No certificate was given, so one was made for this run. Clients trust it by this file, which goes when the server stops:
  {certificate}
Try it: what does the webhook patch into the registry's ServiceAccount? (`patch` is base64)
  curl --cacert {certificate} -H 'Content-Type: application/json' {webhook}/mutate -d '{EXAMPLE_REVIEW}'; echo
See how it is:
  curl {admin}/readyz
  curl {admin}/metrics
",
        certificate = certificate.path().display(),
        webhook = url("https", address),
        admin = url("http", admin),
    ))
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The registry's ServiceAccount, as Helm creates it.
const EXAMPLE_REVIEW: &str = concat!(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"try-it","#,
    r#""kind":{"group":"","version":"v1","kind":"ServiceAccount"},"operation":"CREATE","namespace":"gitlab","#,
    r#""name":"gitlab-registry","userInfo":{"username":"admin"},"object":{"metadata":{"name":"gitlab-registry","#,
    r#""labels":{"app":"registry","chart":"registry-0.7.0","release":"gitlab","heritage":"Helm"}}}}}"#,
);
