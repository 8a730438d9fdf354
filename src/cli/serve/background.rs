//! Which tasks run beside the requests? The options of `serve` say so.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::args::{RepairArgs, ServeArgs};
use crate::cluster::ca_bundle::CaBundle;
use crate::cluster::default_account::DefaultAccounts;
use crate::cluster::events::Events;
use crate::cluster::impact_preview::ImpactPreview;
use crate::cluster::mapping_freshness::MappingFreshness;
use crate::cluster::mapping_watch::MappingWatch;
use crate::cluster::namespaces::{self, KnownNamespaces, Scope};
use crate::cluster::observe::Observe;
use crate::cluster::policy_parameter::PolicyParameter;
use crate::cluster::probe::Probe;
use crate::cluster::repair::Repair;
use crate::cluster::{ApiServer, NamespacedName};
use crate::health::Readiness;
use crate::live::Live;
use crate::mapping_file;
use crate::mapping_loader::MappingLoader;
use crate::metrics::Metrics;
use crate::server::webhook::{InCluster, PreviewImpact, TellUnreached};
use crate::tasks::Tasks;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::reload::Files;
use crate::tls::rotation::RotationPolicy;

/// The tasks beside the requests, and what they share.
pub(super) struct Background {
    pub(super) tasks: Tasks,
    pub(super) live: Arc<Live>,
    pub(super) resolver: Arc<CertResolver>,
    pub(super) readiness: Readiness,
    pub(super) metrics: Arc<Metrics>,
}

impl Background {
    /// Follows the files of a certificate that somebody else renews.
    pub(super) fn certificate_files(&self, files: Files) {
        let following = files.follow(Arc::clone(&self.resolver), self.tasks.stop_token());
        self.tasks.spawn("follows the files of the certificate", following);
    }

    /// Follows the mapping. Where it is in the cluster, its freshness is returned.
    pub(super) fn mapping(
        &self,
        client: Option<&ApiServer>,
        args: &ServeArgs,
        loader: MappingLoader,
    ) -> Option<MappingFreshness> {
        let stop = self.tasks.stop_token();
        if let Some(path) = args.mapping.clone() {
            self.tasks.spawn("follows the mapping's file", mapping_file::follow(path, loader, stop));
            return None;
        }
        let (client, place) = client.zip(args.mapping_config_map.clone())?;
        let hold = self.readiness.hold("the mapping");
        let watch = MappingWatch::new(client.clone(), place, args.starter_mapping, loader, hold);
        let freshness = watch.freshness();
        self.tasks.spawn("follows the mapping's ConfigMap", watch.follow(stop));
        Some(freshness)
    }

    /// Starts what else the options ask for in a cluster. Returns what the routes do there.
    pub(super) fn in_cluster(
        &self,
        client: &ApiServer,
        args: &ServeArgs,
        freshness: Option<MappingFreshness>,
        policy: Option<(NamespacedName, RotationPolicy)>,
    ) -> InCluster {
        let mut in_cluster = InCluster::default();
        if let Some(freshness) = freshness.clone().filter(|_| args.policy_parameter) {
            self.policy_parameter(client, args, freshness);
        }
        let configuration = args.certificate.webhook_configuration.as_ref();
        if args.repair.repair || configuration.is_some() {
            let events = self.events(client);
            let namespaces = self.namespaces(client, &args.repair, &events);
            self.observe(client, namespaces.clone(), events.clone());
            in_cluster.tell_unreached = Some(tell_unreached(&events, namespaces.clone()));
            if configuration.is_some() {
                in_cluster.preview_impact = Some(impact_preview(client, namespaces.clone()));
            }
            if let Some(freshness) = freshness.filter(|_| args.repair.repair) {
                self.repair(client, namespaces, freshness, events);
            }
        }
        if let Some(name) = configuration {
            self.certificates(client, name, policy);
            if let Some(place) = &args.mapping_config_map {
                self.probe(Probe::new(client.clone(), place, name));
            }
        }
        in_cluster
    }

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

    fn policy_parameter(&self, client: &ApiServer, args: &ServeArgs, freshness: MappingFreshness) {
        let Some(mapping) = &args.mapping_config_map else { return };
        let (live, metrics) = (Arc::clone(&self.live), Arc::clone(&self.metrics));
        let parameter = PolicyParameter::new(client.clone(), mapping, live, freshness, metrics);
        let following = parameter.follow(self.tasks.stop_token());
        self.tasks.spawn("keeps the policy's parameter in step", following);
    }

    fn probe(&self, probe: Probe) {
        let (readiness, metrics) = (self.readiness.clone(), Arc::clone(&self.metrics));
        let following = probe.follow(readiness, metrics, self.tasks.stop_token());
        self.tasks.spawn("asks whether the API server reaches the webhook", following);
    }

    fn certificates(
        &self,
        client: &ApiServer,
        webhook_configuration: &str,
        policy: Option<(NamespacedName, RotationPolicy)>,
    ) {
        let (client, resolver) = (client.clone(), Arc::clone(&self.resolver));
        let name = webhook_configuration.to_owned();
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

/// What `/validate` asks: what would this mapping do to what exists?
fn impact_preview(client: &ApiServer, namespaces: watch::Receiver<KnownNamespaces>) -> PreviewImpact {
    let preview = ImpactPreview::new(client.clone(), namespaces);
    Arc::new(move |ruleset| {
        let preview = preview.clone();
        async move { preview.warnings(&ruleset).await }.boxed()
    })
}

/// What a review tells of a Pod that runs as `default`.
fn tell_unreached(events: &Events, namespaces: watch::Receiver<KnownNamespaces>) -> TellUnreached {
    let default_accounts = DefaultAccounts::new(events, namespaces);
    Arc::new(move |namespace, unreached| default_accounts.tell(namespace, unreached))
}
