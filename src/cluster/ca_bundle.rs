//! Does the API server trust the certificate that is served? The webhook configurations say so, in
//! `caBundle`.
//!
//! Where certificates are self-managed their `caBundle` is also written, to every entry that has another one
//! or none. `decision` says what to write and why the webhook is not ready; this task watches, writes and
//! waits.

mod decision;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::Patch;
use kube::core::{Request, Resource};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bundle_exchange::{BundleEnd, exchange};
use super::certificates::Certificates;
use super::configurations::read;
use super::failure::Failure;
use super::observed::Observed;
use super::pages::Collection;
use super::read::Versioned;
use super::watch::follow_one;
use super::{ApiServer, NamespacedName, in_our_name};
use crate::health::{Hold, Readiness};
use crate::tls::cert_resolver::CertResolver;
use crate::tls::rotation::RotationPolicy;
use decision::{Distrust, Kind, NextWrite, Unready, WebhookConfigurations};

const WAITING: &str = "the caBundle of the webhook configuration to trust the certificate";

/// How often the certificate is judged while nothing happens: it ends some day.
const JUDGE_EVERY: Duration = Duration::from_mins(1);

/// The task that looks after the `caBundle` of the two webhook configurations of one name.
pub struct CaBundle {
    api: ApiServer,
    name: String,
    resolver: Arc<CertResolver>,
    readiness: Readiness,
    /// Keeps the process unready while the certificate is not trusted.
    hold: Option<Hold>,
    /// Who says what is to be trusted; none where somebody else writes `caBundle`.
    exchange: Option<BundleEnd>,
    configurations: WebhookConfigurations,
    /// What was wrong the last time, so that it is logged once.
    logged: Option<Unready>,
    /// The same for what does not make the process unready.
    warned: Option<Distrust>,
}

impl CaBundle {
    /// The task where somebody else writes `caBundle`: it is only read. The process is not ready until the
    /// certificate is trusted.
    #[must_use]
    pub fn read_only(
        api: ApiServer,
        name: String,
        resolver: Arc<CertResolver>,
        readiness: Readiness,
    ) -> Self {
        let hold = Some(readiness.hold(WAITING));
        let configurations = WebhookConfigurations::new(name.clone());
        Self {
            api,
            name,
            resolver,
            readiness,
            hold,
            exchange: None,
            configurations,
            logged: None,
            warned: None,
        }
    }

    /// The task where the certificate in the Secret `secret` is self-managed, and the task that looks after
    /// that one. Both must run: they tell each other what is to be trusted and what is.
    #[must_use]
    pub fn self_managed(
        api: ApiServer,
        name: String,
        resolver: Arc<CertResolver>,
        readiness: Readiness,
        secret: NamespacedName,
        policy: RotationPolicy,
    ) -> (Self, Certificates) {
        let (certificate_end, bundle_end) = exchange();
        let certificates =
            Certificates::new(api.clone(), secret, policy, Arc::clone(&resolver), certificate_end);
        let ca_bundle =
            Self { exchange: Some(bundle_end), ..Self::read_only(api, name, resolver, readiness) };
        (ca_bundle, certificates)
    }

    /// Follows the configurations, the certificate that is served and what is to be trusted, until stopped.
    pub async fn follow(mut self, stop: CancellationToken) {
        let mutating = Collection::of::<MutatingWebhookConfiguration>(None).named(&self.name);
        let mutating = follow_one(self.api.clone(), mutating, read);
        let validating = Collection::of::<ValidatingWebhookConfiguration>(None).named(&self.name);
        let validating = follow_one(self.api.clone(), validating, read);
        let events = stream::select(
            mutating.map(|event| event.map(|seen| (Kind::Mutating, seen))),
            validating.map(|event| event.map(|seen| (Kind::Validating, seen))),
        );
        let mut events = std::pin::pin!(events);
        let mut served = self.resolver.subscribe();
        let mut rest = JUDGE_EVERY;
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
                Ok(()) = served.changed() => None,
                () = to_trust_changed(self.exchange.as_mut()) => None,
                () = tokio::time::sleep(rest) => None,
            };
            match event {
                Some(Ok((kind, seen))) => self.configurations.observe(kind, Observed::from(seen)),
                Some(Err(failure)) => {
                    failure.log(&format!("watching the webhook configurations {}", self.name));
                }
                None => {}
            }
            let Some(done) = stop.run_until_cancelled(self.act()).await else { return };
            rest = done;
        }
    }

    /// Writes what is to be written, and judges what there is. Returns how long to rest where nothing
    /// happens.
    async fn act(&mut self) -> Duration {
        let rest = match self.write().await {
            Ok(rest) => rest,
            Err(failure) => {
                failure.log(&format!("writing the caBundle of {}", self.name));
                self.configurations.write_failed(Instant::now())
            }
        };
        self.judge();
        rest
    }

    /// Returns how long to rest.
    async fn write(&mut self) -> Result<Duration, Failure> {
        let Some(wanted) = self.exchange.as_ref().and_then(BundleEnd::to_trust) else {
            return Ok(JUDGE_EVERY);
        };
        let (patches, is_contended) = match self.configurations.next_write(&wanted, Instant::now()) {
            NextWrite::Nothing => return Ok(JUDGE_EVERY),
            NextWrite::Wait(rest) => return Ok(rest),
            NextWrite::Patch { patches, is_contended } => (patches, is_contended),
        };
        if is_contended {
            tracing::warn!(
                "the caBundle of {} has to be written again and again: something else writes it",
                self.name
            );
        }
        for (kind, patch) in patches {
            let version = self.apply(kind, patch).await?;
            self.configurations.written(kind, &wanted, version);
        }
        tracing::info!("caBundle written to the webhook configurations {}", self.name);
        Ok(JUDGE_EVERY)
    }

    /// Sends a patch. Returns the version that it made.
    async fn apply(&self, kind: Kind, patch: json_patch::Patch) -> Result<String, Failure> {
        let url = match kind {
            Kind::Mutating => MutatingWebhookConfiguration::url_path(&(), None),
            Kind::Validating => ValidatingWebhookConfiguration::url_path(&(), None),
        };
        let patch = Patch::<()>::Json(patch);
        let request = Request::new(url).patch_metadata(&self.name, &in_our_name(), &patch);
        let written = self.api.object(request).await?;
        Ok(written.json::<Versioned<'_>>()?.version().to_owned())
    }

    /// Tells what is trusted, and whether the process is ready by that.
    fn judge(&mut self) {
        if let Some(exchange) = &self.exchange {
            exchange.tell_trusted(self.configurations.trusted());
        }
        let (served, now) = (self.resolver.pair(), SystemTime::now());
        let warning = self.configurations.edits_not_judged(served.as_ref(), now);
        if let Some(reason) = warning.as_ref().filter(|reason| self.warned.as_ref() != Some(*reason)) {
            tracing::warn!("edits of the mapping are not judged: {reason}");
        }
        self.warned = warning;
        match self.configurations.unready(served.as_ref(), now) {
            None => {
                if self.hold.take().is_some() {
                    tracing::info!("the webhook configurations {} trust the certificate", self.name);
                }
                self.logged = None;
            }
            Some(reason) => {
                if self.hold.is_none() {
                    self.hold = Some(self.readiness.hold(WAITING));
                }
                if self.logged.as_ref() != Some(&reason) {
                    tracing::warn!("not ready: {reason}");
                    self.logged = Some(reason);
                }
            }
        }
    }
}

/// Waits until something else is to be trusted: for ever where nobody says so.
async fn to_trust_changed(exchange: Option<&mut BundleEnd>) {
    match exchange {
        Some(exchange) => exchange.changed().await,
        None => std::future::pending().await,
    }
}
