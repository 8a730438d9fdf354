//! `serve`: the webhook, put together.

mod args;
mod try_it;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster;
use crate::cluster::ca_bundle::{Bundles, Trust};
use crate::cluster::certificates::Certificates;
use crate::cluster::impact_preview::ImpactPreview;
use crate::cluster::mapping_freshness::MappingFreshness;
use crate::cluster::mapping_watch::MappingWatch;
use crate::cluster::namespaces::{self, OptedIn, Scope};
use crate::cluster::repair::Repair;
use crate::cluster::{ApiServer, NamespacedName};
use crate::health::Readiness;
use crate::live::Live;
use crate::mapping_file;
use crate::mapping_loader::MappingLoader;
use crate::memory::{self, Pool};
use crate::metrics::Metrics;
use crate::server::webhook::PreviewImpact as Rehearse;
use crate::server::{self, Limits, Port, admin, webhook};
use crate::shutdown::Shutdown;
use crate::telemetry;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::reload::Files;
use crate::tls::rotation::RotationPolicy as Plan;
pub(super) use args::ServeArgs;
use args::{CertificateArgs, LogFormat, RepairArgs};

pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let format = match args.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(format, args.log.clone()).context("starting the log")?;
    // A decision takes microseconds; more workers would only hold stacks.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Long reviews, mappings and names to be looked up; the rest waits for its turn.
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let code = runtime.block_on(serve(args))?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(code)
}

/// To the cluster, where something of it is needed.
async fn connect(args: &ServeArgs, pool: &Pool) -> anyhow::Result<Option<ApiServer>> {
    if args.mapping_config_map.is_none() && args.certificate.webhook_configuration.is_none() {
        return Ok(None);
    }
    cluster::connect(pool.clone()).await.map(Some).context("connecting to the cluster")
}

/// What goes on beside the requests, until they have all been answered.
struct Beside {
    live: Arc<Live>,
    served: Arc<CertResolver>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// One of them has ended by itself.
    broken: CancellationToken,
}

async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::on_signals().context("listening for signals")?;
    let (metrics, pool) = (Arc::new(Metrics::default()), Pool::new(memory::POOL));
    let readiness = Readiness::default();
    let starting = readiness.hold("the server to start");

    let mut intake = MappingLoader::new(&metrics, (&args.bounds).into(), args.mapping_source(), &pool);
    let live = intake.live();
    if let Some(path) = &args.mapping {
        mapping_file::load(path, &mut intake).await.context("loading the mapping")?;
    }
    let plan = args.certificate.plan()?;
    let client = connect(&args, &pool).await?;

    let (listener, address) = listen("--listen", args.listen)?;
    let (admin_listener, admin_address) = listen("--admin-listen", args.admin_listen)?;
    let served = CertResolver::new(Arc::clone(&metrics));
    let tls = served.config().context("setting up TLS")?;
    let mut files = args.tls_cert.zip(args.tls_key).map(|(certificate, key)| Files::new(&certificate, &key));
    let mut made = None;
    if let Some(files) = &mut files {
        files.load(&served).context("loading the certificate")?;
    } else if plan.is_none() {
        let file = try_it::make_certificate(address.ip(), &served).context("making a certificate")?;
        try_it::introduce(&file, address, admin_address)?;
        made = Some(file);
    }

    let beside = Beside {
        live: Arc::clone(&live),
        served,
        readiness: readiness.clone(),
        metrics: Arc::clone(&metrics),
        tracker: TaskTracker::new(),
        stop: CancellationToken::new(),
        broken: CancellationToken::new(),
    };
    if let Some(files) = files {
        beside.spawn(files.follow(Arc::clone(&beside.served), beside.stop.clone()));
    }
    let in_cluster = args.repair.repair || args.certificate.webhook_configuration.is_some();
    let namespaces =
        client.as_ref().filter(|_| in_cluster).map(|client| beside.namespaces(client, &args.repair));
    if let Some(path) = args.mapping {
        beside.spawn(mapping_file::follow(path, intake, beside.stop.clone()));
    } else if let Some((place, client)) = args.mapping_config_map.zip(client.as_ref()) {
        let unknown = readiness.hold("the mapping");
        let watch = MappingWatch::new(client.clone(), place, args.starter_mapping, intake, unknown);
        let newest = watch.newest();
        beside.spawn(watch.follow(beside.stop.clone()));
        if let Some(namespaces) = namespaces.clone().filter(|_| args.repair.repair) {
            beside.repair(client, namespaces, newest);
        }
    }
    let mut rehearse = None;
    if let Some(client) = &client
        && args.certificate.webhook_configuration.is_some()
    {
        beside.trust(client, &args.certificate, plan);
        rehearse = namespaces.map(|namespaces| rehearsal(client, namespaces));
    }

    let limits = Limits::from(args.limits);
    let (webhook_stop, admin_stop) = (Shutdown::default(), Shutdown::default());
    let app = webhook::router(live, &metrics, limits, rehearse, pool);
    let port = Port::webhook(tls, app, limits, Arc::clone(&metrics), webhook_stop.clone());
    let mut webhook = tokio::spawn(port.serve(listener));
    let mut admin = admin::serve(admin_listener, readiness.clone(), metrics, admin_stop.clone())
        .context("starting the thread of probes and metrics")?;
    tracing::info!(%address, %admin_address, "serving");
    drop(starting);

    tokio::select! {
        ended = &mut webhook => return Err(ended_early(ended)).context("serving the webhook"),
        ended = &mut admin => return Err(ended_early(ended)).context("serving probes and metrics"),
        () = beside.broken.cancelled() => {
            anyhow::bail!("a part of it ended by itself, as the log above may tell: it is to be started anew")
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
        beside.end().await;
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

impl Beside {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        let (stop, broken) = (self.stop.clone(), self.broken.clone());
        self.tracker.spawn(async move {
            // Also by a panic. Without it the process would be but half of what it says it is.
            let ended = task.await;
            if ended.is_err() || !stop.is_cancelled() {
                broken.cancel();
            }
        });
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn namespaces(&self, client: &ApiServer, args: &RepairArgs) -> watch::Receiver<OptedIn> {
        let scope = Scope { only: args.watch_namespaces.clone(), except: args.except_namespaces.clone() };
        let (namespaces, tasks) = namespaces::follow(client, &scope, &self.metrics, &self.stop);
        for task in tasks {
            self.spawn(task);
        }
        namespaces
    }

    fn repair(&self, client: &ApiServer, namespaces: watch::Receiver<OptedIn>, newest: MappingFreshness) {
        let repair = Repair::new(
            client.clone(),
            Arc::clone(&self.live),
            namespaces,
            newest,
            self.readiness.clone(),
            Arc::clone(&self.metrics),
        );
        self.spawn(repair.follow(self.stop.clone()));
    }

    fn trust(&self, client: &ApiServer, args: &CertificateArgs, plan: Option<(NamespacedName, Plan)>) {
        let Some(name) = args.webhook_configuration.clone() else { return };
        let (wanted, trusted) = (watch::Sender::default(), watch::Sender::<Bundles>::default());
        let written = plan.is_some().then(|| wanted.subscribe());
        if let Some((place, plan)) = plan {
            let served = Arc::clone(&self.served);
            let certificates =
                Certificates::new(client.clone(), place, plan, served, wanted, trusted.subscribe());
            self.spawn(certificates.follow(self.stop.clone()));
        }
        let trust = Trust::new(
            client.clone(),
            name,
            Arc::clone(&self.served),
            written,
            trusted,
            self.readiness.clone(),
        );
        self.spawn(trust.follow(self.stop.clone()));
    }
}

/// Takes no more connections; what is under way has so long.
async fn finish(port: JoinHandle<io::Result<()>>, stop: &Shutdown, patience: Duration) {
    stop.begin.cancel();
    let _ = tokio::time::timeout(patience, port).await;
    stop.abort.cancel();
}

fn rehearsal(client: &ApiServer, namespaces: watch::Receiver<OptedIn>) -> Rehearse {
    let rehearsal = ImpactPreview::new(client.clone(), namespaces);
    Arc::new(move |ruleset| {
        let rehearsal = rehearsal.clone();
        async move { rehearsal.warnings(&ruleset).await }.boxed()
    })
}

/// The port, and where it is.
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
