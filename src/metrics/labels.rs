//! Which labels do the metrics have, and which values may each of them take?

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::engine::admission::mutate::Mode;
use crate::engine::decision::Outcome;

/// One answered review.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReviewLabels {
    /// Whether it came to `/mutate` or to `/observe`.
    pub mode: Mode,
    /// The kind of the object.
    pub kind: KindLabel,
    /// The operation of the request.
    pub operation: OperationLabel,
    /// What was decided.
    pub outcome: Outcome,
}

/// The kinds of objects that the metrics tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum KindLabel {
    ServiceAccount,
    Pod,
    Other,
}

/// The operations that the metrics tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum OperationLabel {
    Create,
    Update,
    Other,
}

impl KindLabel {
    /// The label for a kind, as the API server sends it.
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
    /// The label for an operation, as the API server sends it.
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
        // The words are those of the request.
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

/// Makes an enum of a label's values, each with its word. For each of them a series is exported from the
/// start.
macro_rules! label_values {
    ($(#[$about:meta])* $name:ident { $($(#[$of_value:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$of_value])* $value,)+ }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$value),+];
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                match self { $(Self::$value => $word,)+ }.encode(encoder)
            }
        }
    };
}

/// One request that got no decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// Why it got none.
    pub reason: RefusalReason,
}

label_values! {
    /// Why a request got no decision.
    RefusalReason {
        /// The annotations of the object are longer than any that can be stored.
        Annotations = "annotations",
        /// The connection failed while the body was read.
        Body = "body",
        /// There was no room for the body, or no turn to judge it.
        Busy = "busy",
        /// The content type is not JSON.
        ContentType = "content_type",
        /// The body is not an AdmissionReview in JSON.
        Json = "json",
        /// The JSON is of another kind than AdmissionReview.
        Kind = "kind",
        /// The method is not POST.
        Method = "method",
        /// A long body came without its length.
        NoLength = "no_length",
        /// The review has no object.
        NoObject = "no_object",
        /// The review has no request.
        NoRequest = "no_request",
        /// The request has no usable `uid`.
        NoUid = "no_uid",
        /// The code that answers panicked.
        Panic = "panic",
        /// There is nothing at this path.
        Path = "path",
        /// The body came too slowly.
        Slow = "slow",
        /// The body is longer than any that is read.
        TooLarge = "too_large",
        /// The AdmissionReview is of a version that is not supported.
        Version = "version",
        /// No request is counted here: the series has always been exported, and queries may name it.
        Other = "other",
    }
}

/// One TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandshakeLabels {
    /// How it ended.
    pub result: HandshakeResult,
}

label_values! {
    /// How a TLS handshake ended.
    HandshakeResult {
        /// The connection is encrypted.
        Ok = "ok",
        /// TLS failed, or the peer hung up.
        Failed = "failed",
        /// It took longer than a handshake may take.
        Timeout = "timeout",
    }
}

/// One load of a mapping or of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoadLabels {
    /// How it ended.
    pub result: LoadResult,
}

label_values! {
    /// How a load of a mapping or of a certificate ended.
    LoadResult {
        /// It is in use.
        Ok = "ok",
        /// It cannot be read or used, and the one before it stays in use.
        Failed = "failed",
    }
}

/// One re-admission.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RepairLabel {
    /// How it ended.
    pub result: RepairResult,
}

label_values! {
    /// How a re-admission ended.
    RepairResult {
        /// The ServiceAccount is as decided now.
        Repaired = "repaired",
        /// The ServiceAccount is as it was: the API server did not reach the webhook.
        NoEffect = "no_effect",
        /// The API server failed, or did not answer.
        Failed = "failed",
        /// The API server refuses it, and would refuse it again.
        Refused = "refused",
        /// The ServiceAccount was changed back too often, and is left alone.
        LeftAlone = "left_alone",
    }
}

/// What would come of ServiceAccounts that are observed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObservedLabel {
    /// What was decided.
    pub outcome: Outcome,
}

/// One Event that was to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabel {
    /// What became of it.
    pub result: EventResult,
}

label_values! {
    /// What became of an Event that was to be written.
    EventResult {
        /// The Event is there: this replica wrote it, or another one had.
        Written = "written",
        /// The API server refused it, or did not answer.
        Failed = "failed",
        /// There were too many, and the log alone told.
        Dropped = "dropped",
    }
}
