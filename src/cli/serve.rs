//! How is the webhook put together? The command `serve` makes every part and starts it.

mod args;
mod background;
mod try_it;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;

use super::output;
use crate::cluster::{self, ApiServer};
use crate::health::Readiness;
use crate::log;
use crate::mapping_file;
use crate::mapping_loader::MappingLoader;
use crate::memory::{self, Pool};
use crate::metrics::Metrics;
use crate::server::webhook::InCluster;
use crate::server::{self, Limits, Port, admin, webhook};
use crate::shutdown::Shutdown;
use crate::tasks::Tasks;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::reload::Files;
use args::LogFormat;
pub(super) use args::ServeArgs;
use background::Background;

/// For how long the reason of an end may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let format = match args.log_format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    let metrics = Arc::new(Metrics::default());
    let readiness = Readiness::default();
    // It ends last: what the others say while they end is written, too.
    let log = log::start(format, args.log.clone(), metrics.dropped_log_lines.clone(), readiness.clone())
        .context("starting the log")?;
    let shutdown = Shutdown::on_signals(args.shutdown_delay, log.on_last_requests());
    let shutdown = shutdown.context("listening for signals")?;
    // A decision takes microseconds, and more workers would only hold stacks.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // These threads read long reviews and mappings, and look up names. What finds none waits for its
        // turn.
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let served = runtime.block_on(serve(args, metrics, readiness.clone(), shutdown));
    // It is so already, unless a part of it ended by itself.
    readiness.stop();
    runtime.shutdown_timeout(Duration::from_millis(100));
    drop(log);
    served.or_else(|error| tell(&error))
}

/// Says why the webhook ends. Whoever reads standard error may have stopped: it ends nevertheless.
fn tell(error: &anyhow::Error) -> anyhow::Result<ExitCode> {
    let line = format!("error: {error:#}");
    let (told, is_told) = mpsc::channel();
    let thread = thread::Builder::new().spawn(move || {
        output::error(&line);
        let _ = told.send(());
    });
    thread.context("starting a thread for the last words")?;
    let _ = is_told.recv_timeout(LAST_WORDS);
    Ok(ExitCode::from(2))
}

/// Connects to the cluster, where an option needs it.
async fn connect(args: &ServeArgs, pool: &Pool) -> anyhow::Result<Option<ApiServer>> {
    if args.mapping_config_map.is_none() && args.certificate.webhook_configuration.is_none() {
        return Ok(None);
    }
    let api = cluster::connect(pool.clone()).await.context("connecting to the cluster")?;
    Ok(Some(api.selecting_service_accounts(args.repair.service_account_selector.as_deref())))
}

async fn serve(
    args: ServeArgs,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    shutdown: Shutdown,
) -> anyhow::Result<ExitCode> {
    let pool = Pool::new(memory::POOL);
    let starting = readiness.hold("the server to start");

    let mut loader = MappingLoader::new(&metrics, (&args.bounds).into(), args.mapping_source(), &pool);
    let live = loader.live();
    if let Some(path) = &args.mapping {
        mapping_file::load(path, &mut loader).await.context("loading the mapping")?;
    }
    let policy = args.certificate.policy()?;
    let client = connect(&args, &pool).await?;

    let (listener, address) = listen("--listen", args.listen)?;
    let (admin_listener, admin_address) = listen("--admin-listen", args.admin_listen)?;
    let resolver = CertResolver::new(Arc::clone(&metrics));
    let tls = resolver.config().context("setting up TLS")?;
    let mut files = args
        .tls_cert
        .as_ref()
        .zip(args.tls_key.as_ref())
        .map(|(certificate, key)| Files::new(certificate, key));
    let mut made = None;
    if let Some(files) = &mut files {
        files.load(&resolver).context("loading the certificate")?;
    } else if policy.is_none() {
        let file = try_it::make_certificate(address.ip(), &resolver).context("making a certificate")?;
        try_it::introduce(&file, address, admin_address)?;
        made = Some(file);
    }

    let background = Background {
        tasks: Tasks::default(),
        live: Arc::clone(&live),
        resolver,
        readiness: readiness.clone(),
        metrics: Arc::clone(&metrics),
    };
    if let Some(files) = files {
        background.certificate_files(files);
    }
    let freshness = background.mapping(client.as_ref(), &args, loader);
    let in_cluster = match &client {
        Some(client) => background.in_cluster(client, &args, freshness, policy),
        None => InCluster::default(),
    };

    let limits = Limits::from(args.limits);
    let (webhook_stop, admin_stop) = (Shutdown::default(), Shutdown::default());
    let app = webhook::router(live, &metrics, limits, in_cluster, pool);
    let port = Port::webhook(tls, app, limits, Arc::clone(&metrics), webhook_stop.clone());
    let mut webhook = tokio::spawn(port.serve(listener));
    let mut admin = admin::serve(admin_listener, readiness.clone(), metrics, admin_stop.clone())
        .context("starting the thread of probes and metrics")?;
    tracing::info!(%address, %admin_address, "serving");
    drop(starting);

    tokio::select! {
        ended = &mut webhook => return Err(ended_early(ended)).context("serving the webhook"),
        ended = &mut admin => return Err(ended_early(ended)).context("serving probes and metrics"),
        ended = background.tasks.ended_early() => {
            return Err(ended).context("stopping, to be started anew");
        }
        () = shutdown.begin.cancelled() => {}
    }
    readiness.stop();
    let drained = async {
        tokio::time::sleep(args.shutdown_delay).await;
        finish(webhook, &webhook_stop, args.drain_timeout).await;
        // Probes are answered until the end: a kubelet that gets no answer would kill us.
        admin_stop.abort.cancel();
        admin_stop.begin.cancel();
        let _ = admin.await;
        background.tasks.stop().await;
        drop(made);
    };
    match shutdown.abort.run_until_cancelled(drained).await {
        Some(()) => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        None => Ok(ExitCode::FAILURE),
    }
}

/// Takes no more connections, and gives the requests that are under way this time to end.
async fn finish(port: JoinHandle<io::Result<()>>, stop: &Shutdown, drain_timeout: Duration) {
    stop.begin.cancel();
    let _ = tokio::time::timeout(drain_timeout, port).await;
    stop.abort.cancel();
}

/// Listens on this address. The socket comes with the address that it got, whose port may have been chosen.
fn listen(option: &str, address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = server::bind(address).with_context(|| format!("listening on {address} ({option})"))?;
    let bound = listener.local_addr().context("asking for the port")?;
    Ok((listener, bound))
}

fn ended_early<E>(ended: Result<io::Result<()>, E>) -> anyhow::Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    match ended {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => anyhow::anyhow!("it ended by itself"),
        Err(error) => error.into(),
    }
}
