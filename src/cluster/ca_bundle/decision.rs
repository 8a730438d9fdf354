//! What is to be written into caBundle, and why is the webhook not ready?
//!
//! Everything here is pure: the time and all that was seen are given.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::cluster::bundle_exchange::TrustedBundles;
use crate::cluster::configurations::{Configuration, Entry};
use crate::cluster::observed::Observed;
use crate::cluster::write_throttle::WriteThrottle;
use crate::tls::{Pair, chain_check};

/// Which of the two webhook configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Mutating,
    Validating,
}

/// The two webhook configurations of one name as they were seen last, and when they were written.
pub(super) struct WebhookConfigurations {
    name: String,
    mutating: Observed<Configuration>,
    validating: Observed<Configuration>,
    throttle: WriteThrottle,
}

/// What to write now.
#[derive(Debug, PartialEq)]
pub(super) enum NextWrite {
    /// Every entry that is known has the bundle.
    Nothing,
    /// Something is to be written, but the last write was too short a while ago: wait for so long.
    Wait(Duration),
    /// Send these patches, in this order, until one fails.
    Patch {
        patches: Vec<(Kind, json_patch::Patch)>,
        /// Something else has undone so many writes that an operator should know.
        is_contended: bool,
    },
}

/// Why the webhook is not ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unready {
    #[error("the webhook configurations {0} have not been read yet")]
    NotRead(String),
    #[error("there is no MutatingWebhookConfiguration {0}: nothing reaches the webhook")]
    NotRegistered(String),
    #[error("there is no certificate yet")]
    NoCertificate,
    #[error(transparent)]
    Distrust(#[from] Distrust),
}

/// Why the API server does not accept the certificate when it calls one of the entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caBundle of webhook {webhook} does not let the API server in: {reason}")]
pub(super) struct Distrust {
    webhook: String,
    reason: String,
}

impl WebhookConfigurations {
    /// Those of this name, of which nothing has been seen yet.
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            mutating: Observed::NotYet,
            validating: Observed::NotYet,
            throttle: WriteThrottle::default(),
        }
    }

    /// Notes how one of them is now.
    pub(super) fn observe(&mut self, kind: Kind, seen: Observed<Configuration>) {
        *self.of(kind) = seen;
    }

    /// What to write so that every entry trusts this bundle, and no other. A write begins by being returned
    /// from here: what became of it is told by [`Self::written`] and [`Self::write_failed`].
    pub(super) fn next_write(&mut self, bundle: &[u8], now: Instant) -> NextWrite {
        // Without a bundle the API server would trust public authorities.
        if bundle.is_empty() {
            return NextWrite::Nothing;
        }
        let seen = [(Kind::Mutating, &self.mutating), (Kind::Validating, &self.validating)];
        let patches =
            seen.into_iter().filter_map(|(kind, seen)| Some((kind, seen.present()?.patch(bundle)?)));
        let patches: Vec<_> = patches.collect();
        if patches.is_empty() {
            return NextWrite::Nothing;
        }
        match self.throttle.begin(now) {
            Ok(()) => NextWrite::Patch { patches, is_contended: self.throttle.is_slow() },
            Err(left) => NextWrite::Wait(left),
        }
    }

    /// Notes that this bundle was written to one of them, which made this version.
    pub(super) fn written(&mut self, kind: Kind, bundle: &[u8], version: String) {
        if let Some(configuration) = self.of(kind).present_mut() {
            configuration.written(bundle, version);
        }
    }

    /// How long to wait after a write that failed.
    pub(super) fn write_failed(&self, now: Instant) -> Duration {
        self.throttle.after_failure(now)
    }

    /// What the entries trust. The certificate waits for all of them before it moves, so nothing is told
    /// before all of them are known.
    pub(super) fn trusted(&self) -> TrustedBundles {
        if self.mutating.present().is_none() || !self.validating.is_known() {
            return TrustedBundles::default();
        }
        let seen = [&self.mutating, &self.validating];
        seen.into_iter().flat_map(entries).map(|entry| entry.bundle.clone()).collect()
    }

    /// Why the webhook is not ready with this certificate; none where it is ready.
    pub(super) fn unready(&self, served: Option<&Pair>, now: SystemTime) -> Option<Unready> {
        if !self.mutating.is_known() || !self.validating.is_known() {
            return Some(Unready::NotRead(self.name.clone()));
        }
        let Some(mutating) = self.mutating.present() else {
            return Some(Unready::NotRegistered(self.name.clone()));
        };
        let Some(served) = served else { return Some(Unready::NoCertificate) };
        distrust(&mutating.entries, served, now).map(Unready::from)
    }

    /// Why edits of the mapping are not judged. The validating entries always have the failure policy
    /// `Ignore`: without them everything else goes on, and the webhook is ready.
    pub(super) fn edits_not_judged(&self, served: Option<&Pair>, now: SystemTime) -> Option<Distrust> {
        distrust(entries(&self.validating), served?, now)
    }

    fn of(&mut self, kind: Kind) -> &mut Observed<Configuration> {
        match kind {
            Kind::Mutating => &mut self.mutating,
            Kind::Validating => &mut self.validating,
        }
    }
}

fn entries(seen: &Observed<Configuration>) -> &[Entry] {
    seen.present().map_or(&[], |configuration| &configuration.entries)
}

/// The first of these entries by which the API server does not accept the certificate.
fn distrust(entries: &[Entry], served: &Pair, now: SystemTime) -> Option<Distrust> {
    entries.iter().find_map(|entry| {
        let reason = chain_check::check(&entry.bundle, &served.certificate, &entry.host, now).err()?;
        Some(Distrust { webhook: entry.name.clone(), reason })
    })
}

#[cfg(test)]
mod tests;
