//! How is the webhook put together? The command `serve` makes every part and starts it.

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

use crate::cluster;
use crate::cluster::ca_bundle::CaBundle;
use crate::cluster::events::Events;
use crate::cluster::impact_preview::ImpactPreview;
use crate::cluster::mapping_freshness::MappingFreshness;
use crate::cluster::mapping_watch::MappingWatch;
use crate::cluster::namespaces::{self, KnownNamespaces, Scope};
use crate::cluster::observe::Observe;
use crate::cluster::probe::Probe;
use crate::cluster::repair::Repair;
use crate::cluster::{ApiServer, NamespacedName};
use crate::health::Readiness;
use crate::live::Live;
use crate::mapping_file;
use crate::mapping_loader::MappingLoader;
use crate::memory::{self, Pool};
use crate::metrics::Metrics;
use crate::server::webhook::PreviewImpact;
use crate::server::{self, Limits, Port, admin, webhook};
use crate::shutdown::Shutdown;
use crate::tasks::Tasks;
use crate::telemetry;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::reload::Files;
use crate::tls::rotation::RotationPolicy;
pub(super) use args::ServeArgs;
use args::{CertificateArgs, LogFormat, RepairArgs};

pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let format = match args.log_format {
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(format, args.log.clone()).context("starting the log")?;
    // A decision takes microseconds, and more workers would only hold stacks.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // These threads read long reviews and mappings, and look up names. What finds none waits for its
        // turn.
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let code = runtime.block_on(serve(args))?;
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(code)
}

/// Connects to the cluster, where an option needs it.
async fn connect(args: &ServeArgs, pool: &Pool) -> anyhow::Result<Option<ApiServer>> {
    if args.mapping_config_map.is_none() && args.certificate.webhook_configuration.is_none() {
        return Ok(None);
    }
    let api = cluster::connect(pool.clone()).await.context("connecting to the cluster")?;
    Ok(Some(api.selecting_service_accounts(args.repair.service_account_selector.as_deref())))
}

/// The tasks beside the requests, and what they share.
struct Background {
    tasks: Tasks,
    live: Arc<Live>,
    resolver: Arc<CertResolver>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::on_signals().context("listening for signals")?;
    let (metrics, pool) = (Arc::new(Metrics::default()), Pool::new(memory::POOL));
    let readiness = Readiness::default();
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
    let mut files = args.tls_cert.zip(args.tls_key).map(|(certificate, key)| Files::new(&certificate, &key));
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
    let tasks = &background.tasks;
    if let Some(files) = files {
        let following = files.follow(Arc::clone(&background.resolver), tasks.stop_token());
        tasks.spawn("follows the files of the certificate", following);
    }
    let events = client.as_ref().map(|client| background.events(client));
    let in_cluster = args.repair.repair || args.certificate.webhook_configuration.is_some();
    let namespaces = client.as_ref().zip(events.as_ref()).filter(|_| in_cluster).map(|(client, events)| {
        let namespaces = background.namespaces(client, &args.repair, events);
        background.observe(client, namespaces.clone(), events.clone());
        namespaces
    });
    if let (Some(client), Some(place), Some(name)) =
        (&client, &args.mapping_config_map, &args.certificate.webhook_configuration)
    {
        background.probe(Probe::new(client.clone(), place, name));
    }
    if let Some(path) = args.mapping {
        let following = mapping_file::follow(path, loader, tasks.stop_token());
        tasks.spawn("follows the mapping's file", following);
    } else if let Some((place, client)) = args.mapping_config_map.zip(client.as_ref()) {
        let hold = readiness.hold("the mapping");
        let watch = MappingWatch::new(client.clone(), place, args.starter_mapping, loader, hold);
        let freshness = watch.freshness();
        tasks.spawn("follows the mapping's ConfigMap", watch.follow(tasks.stop_token()));
        let shared = namespaces.clone().zip(events);
        if let Some((namespaces, events)) = shared.filter(|_| args.repair.repair) {
            background.repair(client, namespaces, freshness, events);
        }
    }
    let mut preview = None;
    if let Some(client) = &client
        && args.certificate.webhook_configuration.is_some()
    {
        background.certificates(client, &args.certificate, policy);
        preview = namespaces.map(|namespaces| impact_preview(client, namespaces));
    }

    let limits = Limits::from(args.limits);
    let (webhook_stop, admin_stop) = (Shutdown::default(), Shutdown::default());
    let app = webhook::router(live, &metrics, limits, preview, pool);
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

impl Background {
    fn namespaces(
        &self,
        client: &ApiServer,
        args: &RepairArgs,
        events: &Events,
    ) -> watch::Receiver<KnownNamespaces> {
        let scope = Scope {
            only: args.watch_namespaces.clone(),
            except: args.except_namespaces.clone(),
            selector: args.namespace_selector.clone(),
        };
        let stop = self.tasks.stop_token();
        let (namespaces, tasks) = namespaces::follow(client, &scope, events, &self.metrics, &stop);
        for task in tasks {
            self.tasks.spawn("follows the namespaces that carry the label", task);
        }
        namespaces
    }

    fn events(&self, client: &ApiServer) -> Events {
        let (events, writer) = Events::new(client.clone(), Arc::clone(&self.metrics));
        self.tasks.spawn("writes Events", writer.follow(self.tasks.stop_token()));
        events
    }

    fn observe(&self, client: &ApiServer, namespaces: watch::Receiver<KnownNamespaces>, events: Events) {
        let (live, metrics) = (Arc::clone(&self.live), Arc::clone(&self.metrics));
        let observe = Observe::new(client.clone(), live, namespaces, events, metrics);
        self.tasks.spawn("reports on observed namespaces", observe.follow(self.tasks.stop_token()));
    }

    fn repair(
        &self,
        client: &ApiServer,
        namespaces: watch::Receiver<KnownNamespaces>,
        freshness: MappingFreshness,
        events: Events,
    ) {
        let repair = Repair::new(
            client.clone(),
            Arc::clone(&self.live),
            namespaces,
            freshness,
            self.readiness.clone(),
            Arc::clone(&self.metrics),
            events,
        );
        self.tasks.spawn("repairs ServiceAccounts", repair.follow(self.tasks.stop_token()));
    }

    fn probe(&self, probe: Probe) {
        let (readiness, metrics) = (self.readiness.clone(), Arc::clone(&self.metrics));
        let following = probe.follow(readiness, metrics, self.tasks.stop_token());
        self.tasks.spawn("asks whether the API server reaches the webhook", following);
    }

    fn certificates(
        &self,
        client: &ApiServer,
        args: &CertificateArgs,
        policy: Option<(NamespacedName, RotationPolicy)>,
    ) {
        let Some(name) = args.webhook_configuration.clone() else { return };
        let (client, resolver) = (client.clone(), Arc::clone(&self.resolver));
        let readiness = self.readiness.clone();
        let ca_bundle = match policy {
            None => CaBundle::read_only(client, name, resolver, readiness),
            Some((secret, policy)) => {
                let (ca_bundle, certificates) =
                    CaBundle::self_managed(client, name, resolver, readiness, secret, policy);
                let following = certificates.follow(self.tasks.stop_token());
                self.tasks.spawn("rotates the certificate in its Secret", following);
                ca_bundle
            }
        };
        let following = ca_bundle.follow(self.tasks.stop_token());
        self.tasks.spawn("looks after the caBundle of the webhook configurations", following);
    }
}

/// Takes no more connections, and gives the requests that are under way this time to end.
async fn finish(port: JoinHandle<io::Result<()>>, stop: &Shutdown, drain_timeout: Duration) {
    stop.begin.cancel();
    let _ = tokio::time::timeout(drain_timeout, port).await;
    stop.abort.cancel();
}

/// What `/validate` asks: what would this mapping do to what exists?
fn impact_preview(client: &ApiServer, namespaces: watch::Receiver<KnownNamespaces>) -> PreviewImpact {
    let preview = ImpactPreview::new(client.clone(), namespaces);
    Arc::new(move |ruleset| {
        let preview = preview.clone();
        async move { preview.warnings(&ruleset).await }.boxed()
    })
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
