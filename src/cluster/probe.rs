//! Does the API server reach this webhook?
//!
//! Readiness cannot see that: a closed security group or an overlay network lets the kubelet in and keeps the
//! API server out. So the API server is asked to write a text that is no mapping into `NAME-last-good`, as a
//! dry run. Where it reaches the webhook, `/validate` refuses the text, and the refusal comes back in words
//! of ours. The entry for `/validate` has the failure policy `Ignore`: where the API server does not reach
//! the webhook, the dry run is admitted. Nothing is stored in either case.
//!
//! `decision` says what an answer means and when it is told; this task asks, waits and tells.

mod decision;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::{Request, Resource};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::configurations::{Configuration, read};
use super::failure::Failure;
use super::observed::Observed;
use super::{ApiServer, MANAGER, NamespacedName};
use crate::engine::admission::validate::{LAST_GOOD_SUFFIX, PROBE};
use crate::engine::mapping::CONFIG_MAP_KEY;
use crate::health::Readiness;
use crate::metrics::Metrics;
use decision::{Answer, Asked, Next, Report, judge};
pub use decision::{Outcome, Reach};

/// How often it is looked whether the process is ready.
const LOOK: Duration = Duration::from_secs(1);

/// How long the first probe waits once the process is ready, because every kube-proxy has to follow.
const FIRST: Duration = Duration::from_secs(5);

/// Asks the API server whether it reaches the webhook.
pub struct Probe {
    api: ApiServer,
    asked: Asked,
}

impl Probe {
    /// A probe that writes, as a dry run, beside this ConfigMap of the mapping, where the webhook
    /// configurations have this name.
    #[must_use]
    pub fn new(api: ApiServer, mapping: &NamespacedName, configuration: &str) -> Self {
        let last_good = NamespacedName {
            namespace: mapping.namespace.clone(),
            name: format!("{}{LAST_GOOD_SUFFIX}", mapping.name),
        };
        Self { api, asked: Asked { last_good, configuration: configuration.to_owned() } }
    }

    /// Asks the API server once.
    pub async fn ask(&self) -> Outcome {
        // They are read first, so that what is missing is known also where nothing refuses the text.
        let (validating, mutating) = match self.configurations().await {
            Ok(configurations) => configurations,
            Err(failure) => return judge(&self.asked, Answer::unread(&self.asked, &failure), None, None),
        };
        let answer = Answer::of(self.write().await);
        judge(&self.asked, answer, validating.present(), mutating.present())
    }

    async fn configurations(&self) -> Result<(Observed<Configuration>, Observed<Configuration>), Failure> {
        let validating = self.configuration(&ValidatingWebhookConfiguration::url_path(&(), None)).await?;
        let mutating = self.configuration(&MutatingWebhookConfiguration::url_path(&(), None)).await?;
        Ok((validating, mutating))
    }

    /// Reads the configuration of one kind. Only a definite 404 says that there is none.
    async fn configuration(&self, url: &str) -> Result<Observed<Configuration>, Failure> {
        let request = Request::new(url).get(&self.asked.configuration, &GetParams::default());
        let held = self.api.object_or_none(request).await?;
        let found = held.map(|held| read(held.json::<&RawValue>()?).map_err(Failure::json));
        Ok(Observed::from(found.transpose()?))
    }

    /// Asks to write the text that is always refused.
    async fn write(&self) -> Result<(), Failure> {
        let Asked { last_good, .. } = &self.asked;
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": last_good.name},
            "data": {CONFIG_MAP_KEY: PROBE},
        });
        // A server-side apply is asked for by name, also where there is no such object: a Role can allow it
        // for one name. Without force, it would conflict with whoever keeps the last good mapping.
        let parameters = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
        let request = Request::new(ConfigMap::url_path(&(), Some(&last_good.namespace)));
        let request = request.patch_metadata(&last_good.name, &parameters, &Patch::Apply(&object));
        let request = request.map(|mut request| {
            // The next call opens another connection, which may lead to another API server.
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            request
        });
        self.api.tell(request).await
    }

    /// Asks again and again until stopped, while the process is ready. Tells in the log when the outcome is
    /// another one than before, and each time in the metrics.
    pub async fn follow(self, readiness: Readiness, metrics: Arc<Metrics>, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut report = Report::default();
            let mut rest = spread(FIRST);
            loop {
                // While this replica is not ready, that says what is wrong.
                while readiness.check().is_err() {
                    sleep(LOOK).await;
                }
                sleep(rest).await;
                if readiness.check().is_err() {
                    continue;
                }
                let outcome = self.ask().await;
                let Next { is_sure, is_news, wait } = report.hear(outcome.reach());
                if is_sure && let Some(is_reached) = outcome.reach().is_reached() {
                    metrics.probed(is_reached);
                }
                match outcome.reach() {
                    Reach::Reached if is_news => tracing::info!("{outcome}"),
                    _ if is_news => tracing::warn!("{outcome}"),
                    _ => tracing::debug!("{outcome}"),
                }
                rest = spread(wait);
            }
        })
        .await;
    }
}

/// Makes a wait by chance up to a fifth longer, so that replicas do not ask at once.
fn spread(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + fastrand::f64() / 5.0)
}
