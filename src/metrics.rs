//! What is counted? Every family in one place; label values are enums, so no text from outside becomes a series.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::engine::admission::mutate::Mode;
use crate::engine::decision::Outcome;

/// Each reason for which a request gets no decision.
pub const REFUSALS: [&str; 17] = [
    "annotations",
    "body",
    "busy",
    "content_type",
    "json",
    "kind",
    "method",
    "no_length",
    "no_object",
    "no_request",
    "no_uid",
    "panic",
    "path",
    "slow",
    "too_large",
    "version",
    "other",
];

/// Every metric, and the registry that writes them out.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Reviews that were answered.
    pub reviews: Family<ReviewLabels, Counter>,
    /// From the whole body being here to the answer being made, seconds.
    pub review_duration: Histogram,
    /// Requests that got no answer with a decision.
    pub refused_requests: Family<Reason, Counter>,
    /// Connections that are open.
    pub open_connections: Gauge,
    /// Connections closed unanswered, for want of room.
    pub refused_connections: Counter,
    /// Connections closed to make room for others.
    pub evicted_connections: Counter,
    /// TLS handshakes by how they ended.
    pub handshakes: Family<Handshake, Counter>,
    /// Rules in force.
    pub mapping_rules: Gauge,
    /// Counts mappings put in force.
    pub mapping_generation: Gauge,
    /// 1 while a newer mapping is there that cannot be used.
    pub mapping_stale: Gauge,
    /// Since when it is stale, seconds since 1970; 0 while it is not.
    pub mapping_stale_since: Gauge,
    /// When the mapping in force was loaded, seconds since 1970.
    pub mapping_loaded: Gauge,
    /// Loads by how they ended.
    pub mapping_loads: Family<Load, Counter>,
    /// When the certificate being served ends, seconds since 1970.
    pub certificate_not_after: Gauge,
    /// Loads of certificates by how they ended.
    pub certificate_loads: Family<Load, Counter>,
    /// Namespaces that have opted in.
    pub opted_in_namespaces: Gauge,
    /// ServiceAccounts that are to be re-admitted.
    pub repairs_waiting: Gauge,
    /// Re-admissions by what came of them.
    pub repairs: Family<RepairLabel, Counter>,
    build: Family<Build, Gauge>,
}

/// One answered review.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReviewLabels {
    /// `/mutate` or `/observe`.
    pub mode: Mode,
    /// The object's kind.
    pub kind: KindLabel,
    /// The request's operation.
    pub operation: OperationLabel,
    /// What came of it.
    pub outcome: Outcome,
}

/// Kinds that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum KindLabel {
    ServiceAccount,
    Pod,
    Other,
}

/// Operations that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum OperationLabel {
    Create,
    Update,
    Other,
}

impl KindLabel {
    /// Of a kind as sent.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        match kind {
            "ServiceAccount" => Self::ServiceAccount,
            "Pod" => Self::Pod,
            _ => Self::Other,
        }
    }
}

impl OperationLabel {
    /// Of an operation as sent.
    #[must_use]
    pub fn of(operation: &str) -> Self {
        match operation {
            "CREATE" => Self::Create,
            "UPDATE" => Self::Update,
            _ => Self::Other,
        }
    }
}

impl EncodeLabelValue for OperationLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        // As in the request, but for those that are not told apart.
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Other => "other",
        }
        .encode(encoder)
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

impl EncodeLabelValue for Mode {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

/// Why a request got no decision: a fixed word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// `json`, `too_large`, `busy` and so on.
    pub reason: &'static str,
}

/// How a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Handshake {
    /// `ok`, `failed` or `timeout`.
    pub result: &'static str,
}

/// How a load ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Load {
    /// `ok` or `failed`.
    pub result: &'static str,
}

/// One re-admission.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RepairLabel {
    /// What came of it.
    pub result: RepairResult,
}

/// What comes of a re-admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepairResult {
    /// It is as decided now.
    Repaired,
    /// It is as it was: the API server did not reach us.
    NoEffect,
    /// The API server refused, or did not answer.
    Failed,
    /// The API server refuses it, for good as it seems.
    Refused,
    /// It was changed back too often, and is left alone.
    LeftAlone,
}

impl RepairResult {
    const ALL: [Self; 5] = [Self::Repaired, Self::NoEffect, Self::Failed, Self::Refused, Self::LeftAlone];
}

impl EncodeLabelValue for RepairResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Repaired => "repaired",
            Self::NoEffect => "no_effect",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::LeftAlone => "left_alone",
        }
        .encode(encoder)
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
            // 50 microseconds to 1.6 seconds: the API server gives up after 2.
            review_duration: Histogram::new(exponential_buckets(50e-6, 2.0, 16)),
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
            repairs_waiting: Gauge::default(),
            repairs: Family::default(),
            build: Family::default(),
        };
        metrics.build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        // A counter that first appears when something goes wrong hides its first step from `increase()`.
        for reason in REFUSALS {
            metrics.refused_requests.get_or_create(&Reason { reason }).inc_by(0);
        }
        for result in ["ok", "failed", "timeout"] {
            metrics.handshakes.get_or_create(&Handshake { result }).inc_by(0);
        }
        for result in ["ok", "failed"] {
            metrics.mapping_loads.get_or_create(&Load { result }).inc_by(0);
            metrics.certificate_loads.get_or_create(&Load { result }).inc_by(0);
        }
        for result in RepairResult::ALL {
            metrics.repairs.get_or_create(&RepairLabel { result }).inc_by(0);
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
            "repairs_waiting",
            "ServiceAccounts that are not as decided",
            self.repairs_waiting.clone(),
        );
        registry.register(
            "repairs",
            "ServiceAccounts re-admitted because they were not as decided, by result",
            self.repairs.clone(),
        );
        registry.register("build_info", "The version of this binary", self.build.clone());
    }

    /// A mapping came into force.
    pub fn mapping_in_force(&self, generation: u64, rules: usize) {
        self.mapping_loads.get_or_create(&Load { result: "ok" }).inc();
        self.mapping_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.mapping_rules.set(i64::try_from(rules).unwrap_or(i64::MAX));
        self.mapping_loaded.set(now());
        self.mapping_stale.set(0);
        self.mapping_stale_since.set(0);
    }

    /// The newest mapping cannot be used.
    pub fn mapping_refused(&self) {
        self.mapping_loads.get_or_create(&Load { result: "failed" }).inc();
        self.mapping_is_stale();
    }

    /// What is in force is not the newest mapping.
    pub fn mapping_is_stale(&self) {
        if self.mapping_stale.set(1) == 0 {
            self.mapping_stale_since.set(now());
        }
    }

    /// A request without a decision.
    pub fn refused(&self, reason: &'static str) {
        let known = REFUSALS.iter().find(|known| **known == reason);
        self.refused_requests.get_or_create(&Reason { reason: known.copied().unwrap_or("other") }).inc();
    }

    /// Everything, in OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(8 << 10);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
