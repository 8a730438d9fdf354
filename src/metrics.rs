//! Which metrics does the webhook export? The values of every label are an enum: no text from outside becomes
//! a series.

mod labels;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::engine::decision::Outcome;
pub use labels::{
    EventLabel, EventResult, HandshakeLabels, HandshakeResult, KindLabel, LoadLabels, LoadResult,
    ObservedLabel, OperationLabel, RefusalLabels, RefusalReason, RepairLabel, RepairResult, ReviewLabels,
};

/// Every metric, and the registry that writes them out.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The reviews that were answered.
    pub reviews: Family<ReviewLabels, Counter>,
    /// The seconds from the moment when a whole body is here to its answer.
    pub review_duration: Histogram,
    /// The Pods of GitLab that a role does not reach, because they run as `default`.
    pub unreached_pods: Counter,
    /// The requests that got no decision.
    pub refused_requests: Family<RefusalLabels, Counter>,
    /// The connections that are open.
    pub open_connections: Gauge,
    /// The connections that were closed unanswered, because too many were open.
    pub refused_connections: Counter,
    /// The connections that were closed to make room for others.
    pub evicted_connections: Counter,
    /// The TLS handshakes, by how they ended.
    pub handshakes: Family<HandshakeLabels, Counter>,
    /// The number of rules in force.
    pub mapping_rules: Gauge,
    /// The number of mappings that came into force since the start.
    pub mapping_generation: Gauge,
    /// This is 1 while the newest mapping cannot be used, and 0 while it is in force.
    pub mapping_stale: Gauge,
    /// The time since when the newest mapping cannot be used, in seconds since 1970; 0 while it is in force.
    pub mapping_stale_since: Gauge,
    /// The time when the mapping in force was loaded, in seconds since 1970.
    pub mapping_loaded: Gauge,
    /// The loads of mappings, by how they ended.
    pub mapping_loads: Family<LoadLabels, Counter>,
    /// The time when the certificate being served ends, in seconds since 1970.
    pub certificate_not_after: Gauge,
    /// The loads of certificates, by how they ended.
    pub certificate_loads: Family<LoadLabels, Counter>,
    /// The number of namespaces that have opted in.
    pub opted_in_namespaces: Gauge,
    /// The number of namespaces that are observed.
    pub observed_namespaces: Gauge,
    /// The number of ServiceAccounts in observed namespaces, by what was decided.
    pub observed_service_accounts: Family<ObservedLabel, Gauge>,
    /// The number of ServiceAccounts that are to be re-admitted.
    pub repairs_waiting: Gauge,
    /// The re-admissions, by how they ended.
    pub repairs: Family<RepairLabel, Counter>,
    /// The Events that were to be written, by what became of them.
    pub events: Family<EventLabel, Counter>,
    /// The log lines that found no room.
    pub dropped_log_lines: Counter,
    reachability: Reachability,
    policy_parameter: PolicyParameter,
    build: Family<Build, Gauge>,
}

/// What became of a mapping that was read, or that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingLoad {
    /// The newest mapping came into force.
    Newest(InForce),
    /// An older mapping came into force, because the newest one cannot be used.
    Fallback(InForce),
    /// The newest mapping cannot be used, or is gone.
    Refused,
}

/// A mapping that came into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// How many mappings have come into force, with this one.
    pub generation: u64,
    /// How many rules it has.
    pub rules: usize,
}

/// Whether the API server reaches the webhook, and when that was known last, in seconds since 1970. Nothing
/// is exported before it is known: a 0 would be an alarm.
#[derive(Clone, Debug, Default)]
struct Reachability(Arc<ArcSwapOption<(bool, i64)>>);

impl Collector for Reachability {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(known) = self.0.load_full() else { return Ok(()) };
        let (is_reached, at) = *known;
        for (name, help, value) in [
            (
                "reachable_from_api_server",
                "1 while the API server that was asked last reaches the webhook, 0 while it does not",
                i64::from(is_reached),
            ),
            (
                "reachable_from_api_server_timestamp_seconds",
                "When an API server last said whether it reaches the webhook",
                at,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// How the parameter of the chart's MutatingAdmissionPolicy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyParameterState {
    /// How many rules of the mapping in force it does not have.
    pub left_out_rules: usize,
    /// Whether it is seen to be the one that is made of the mapping in force.
    pub in_step: bool,
}

/// The state of the policy's parameter. Nothing is exported where there is no policy, or before it was
/// asked for: a 0 would say that the policy has every rule.
#[derive(Clone, Debug, Default)]
struct PolicyParameter(Arc<ArcSwapOption<PolicyParameterState>>);

impl Collector for PolicyParameter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(state) = self.0.load_full() else { return Ok(()) };
        for (name, help, value) in [
            (
                "policy_left_out_rules",
                "Rules in force that the MutatingAdmissionPolicy does not have",
                i64::try_from(state.left_out_rules).unwrap_or(i64::MAX),
            ),
            (
                "policy_in_step",
                "1 while the parameter of the MutatingAdmissionPolicy is that of the mapping in force",
                i64::from(state.in_step),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("gitlab_iam_webhook"),
            reviews: Family::default(),
            // The buckets go from 50 microseconds to 1.6 seconds: the API server gives up after 2.
            review_duration: Histogram::new(exponential_buckets(50e-6, 2.0, 16)),
            unreached_pods: Counter::default(),
            refused_requests: Family::default(),
            open_connections: Gauge::default(),
            refused_connections: Counter::default(),
            evicted_connections: Counter::default(),
            handshakes: Family::default(),
            mapping_rules: Gauge::default(),
            mapping_generation: Gauge::default(),
            mapping_stale: Gauge::default(),
            mapping_stale_since: Gauge::default(),
            mapping_loaded: Gauge::default(),
            mapping_loads: Family::default(),
            certificate_not_after: Gauge::default(),
            certificate_loads: Family::default(),
            opted_in_namespaces: Gauge::default(),
            observed_namespaces: Gauge::default(),
            observed_service_accounts: Family::default(),
            repairs_waiting: Gauge::default(),
            repairs: Family::default(),
            events: Family::default(),
            dropped_log_lines: Counter::default(),
            reachability: Reachability::default(),
            policy_parameter: PolicyParameter::default(),
            build: Family::default(),
        };
        metrics.build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        // A counter that first appears with its first event hides that event from `increase()`.
        for &reason in RefusalReason::ALL {
            metrics.refused_requests.get_or_create(&RefusalLabels { reason }).inc_by(0);
        }
        for &result in HandshakeResult::ALL {
            metrics.handshakes.get_or_create(&HandshakeLabels { result }).inc_by(0);
        }
        for &result in LoadResult::ALL {
            metrics.mapping_loads.get_or_create(&LoadLabels { result }).inc_by(0);
            metrics.certificate_loads.get_or_create(&LoadLabels { result }).inc_by(0);
        }
        for &result in RepairResult::ALL {
            metrics.repairs.get_or_create(&RepairLabel { result }).inc_by(0);
        }
        for outcome in Outcome::of_service_accounts() {
            metrics.observed_service_accounts.get_or_create(&ObservedLabel { outcome }).set(0);
        }
        for &result in EventResult::ALL {
            metrics.events.get_or_create(&EventLabel { result }).inc_by(0);
        }
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "reviews",
            "AdmissionReviews answered, by kind, operation and outcome",
            self.reviews.clone(),
        );
        registry.register(
            "review_duration_seconds",
            "Time from the whole body to the answer",
            self.review_duration.clone(),
        );
        registry.register(
            "unreached_pods",
            "Pods of GitLab that their role does not reach because they run as default",
            self.unreached_pods.clone(),
        );
        registry.register(
            "refused_requests",
            "Requests answered without a decision, by reason",
            self.refused_requests.clone(),
        );
        registry.register("open_connections", "Connections that are open", self.open_connections.clone());
        registry.register(
            "refused_connections",
            "Connections closed unanswered because too many were open",
            self.refused_connections.clone(),
        );
        registry.register(
            "evicted_connections",
            "Connections that never finished a request, or rested, closed to make room for others",
            self.evicted_connections.clone(),
        );
        registry.register("tls_handshakes", "TLS handshakes, by result", self.handshakes.clone());
        registry.register("mapping_rules", "Rules of the mapping in force", self.mapping_rules.clone());
        registry.register(
            "mapping_generation",
            "Counts the mappings put in force since the start",
            self.mapping_generation.clone(),
        );
        registry.register(
            "mapping_stale",
            "1 while the newest mapping cannot be used and the last good one goes on",
            self.mapping_stale.clone(),
        );
        registry.register(
            "mapping_stale_since_timestamp_seconds",
            "Since when the newest mapping cannot be used; 0 while it can",
            self.mapping_stale_since.clone(),
        );
        registry.register(
            "mapping_loaded_timestamp_seconds",
            "When the mapping in force was loaded",
            self.mapping_loaded.clone(),
        );
        registry.register("mapping_loads", "Mappings read, by result", self.mapping_loads.clone());
        registry.register(
            "certificate_not_after_timestamp_seconds",
            "When the certificate being served ends",
            self.certificate_not_after.clone(),
        );
        registry.register(
            "certificate_loads",
            "Certificates loaded, by result",
            self.certificate_loads.clone(),
        );
        registry.register(
            "opted_in_namespaces",
            "Namespaces labelled gitlab-iam-webhook/inject=enabled",
            self.opted_in_namespaces.clone(),
        );
        registry.register(
            "observed_namespaces",
            "Namespaces labelled gitlab-iam-webhook/inject=observe",
            self.observed_namespaces.clone(),
        );
        registry.register(
            "observed_service_accounts",
            "ServiceAccounts in observed namespaces as they stand, by what would come of them",
            self.observed_service_accounts.clone(),
        );
        registry.register(
            "repairs_waiting",
            "ServiceAccounts that are not as decided",
            self.repairs_waiting.clone(),
        );
        registry.register(
            "repairs",
            "ServiceAccounts re-admitted because they were not as decided, by result",
            self.repairs.clone(),
        );
        registry.register("events", "Events to be written on objects, by result", self.events.clone());
        registry.register(
            "dropped_log_lines",
            "Log lines dropped, because the log was read too slowly",
            self.dropped_log_lines.clone(),
        );
        registry.register_collector(Box::new(self.reachability.clone()));
        registry.register_collector(Box::new(self.policy_parameter.clone()));
        registry.register("build_info", "The version of this binary", self.build.clone());
    }

    /// Counts a mapping that was read, and tells what is in force now.
    pub fn mapping_loaded(&self, load: MappingLoad) {
        let result = match load {
            MappingLoad::Newest(_) | MappingLoad::Fallback(_) => LoadResult::Ok,
            MappingLoad::Refused => LoadResult::Failed,
        };
        self.mapping_loads.get_or_create(&LoadLabels { result }).inc();
        if let MappingLoad::Newest(InForce { generation, rules })
        | MappingLoad::Fallback(InForce { generation, rules }) = load
        {
            self.mapping_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
            self.mapping_rules.set(i64::try_from(rules).unwrap_or(i64::MAX));
            self.mapping_loaded.set(now());
        }
        if let MappingLoad::Newest(_) = load {
            self.mapping_stale.set(0);
            self.mapping_stale_since.set(0);
        } else if self.mapping_stale.set(1) == 0 {
            self.mapping_stale_since.set(now());
        }
    }

    /// Counts a certificate that was loaded, or that could not be.
    pub fn certificate_loaded(&self, result: LoadResult) {
        self.certificate_loads.get_or_create(&LoadLabels { result }).inc();
    }

    /// Notes whether the API server reaches the webhook.
    pub fn probed(&self, is_reached: bool) {
        self.reachability.0.store(Some(Arc::new((is_reached, now()))));
    }

    /// Notes how the policy's parameter stands.
    pub fn policy_parameter_seen(&self, state: PolicyParameterState) {
        self.policy_parameter.0.store(Some(Arc::new(state)));
    }

    /// Counts a TLS handshake.
    pub fn handshake_ended(&self, result: HandshakeResult) {
        self.handshakes.get_or_create(&HandshakeLabels { result }).inc();
    }

    /// Counts an Event that was to be written.
    pub fn event_ended(&self, result: EventResult) {
        self.events.get_or_create(&EventLabel { result }).inc();
    }

    /// Counts a request that got no decision.
    pub fn refused(&self, reason: RefusalReason) {
        self.refused_requests.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// Writes every metric in the OpenMetrics text format.
    ///
    /// # Errors
    /// Writing to a string does not fail, so there is none in practice.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(8 << 10);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// The time now, in seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
