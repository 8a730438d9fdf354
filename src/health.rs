//! Is this process ready? It is when everything that it waited for is there, and it is not stopping.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

/// Whether the process is ready. It is shared by whoever waits for something and by the probe that asks.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting_for: Vec<Cow<'static, str>>,
    stopping: bool,
}

/// Keeps the process unready until it is dropped.
#[derive(Debug)]
#[must_use = "readiness is only held while this lives"]
pub struct Hold {
    readiness: Readiness,
    what: Cow<'static, str>,
}

impl Readiness {
    /// Keeps the process unready until the hold is dropped. `what` is what it waits for.
    pub fn hold(&self, what: &'static str) -> Hold {
        let what = Cow::Borrowed(what);
        self.with(|state| state.waiting_for.push(what.clone()));
        Hold { readiness: self.clone(), what }
    }

    /// Makes the process unready for good, because it is stopping.
    pub fn stop(&self) {
        self.with(|state| state.stopping = true);
    }

    /// Whether the process is ready.
    ///
    /// # Errors
    /// Where it is not, a sentence that says what is waited for.
    pub fn check(&self) -> Result<(), String> {
        self.with(|state| match (state.stopping, state.waiting_for.as_slice()) {
            (true, _) => Err("not ready: stopping".to_owned()),
            (false, []) => Ok(()),
            (false, waiting) => Err(format!("not ready: waiting for {}", waiting.join(", "))),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Hold {
    /// Waits for `what` from now on. Returns whether that is something else than before.
    pub fn change(&mut self, what: &str) -> bool {
        let what = Cow::Owned(what.to_owned());
        let differs = self.what != what;
        self.readiness.with(|state| {
            if let Some(waiting) = state.waiting_for.iter_mut().find(|waiting| **waiting == self.what) {
                waiting.clone_from(&what);
            }
        });
        self.what = what;
        differs
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.readiness.with(|state| {
            if let Some(index) = state.waiting_for.iter().position(|what| *what == self.what) {
                state.waiting_for.remove(index);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_hold_is_released_and_never_again_after_stop() {
        let readiness = Readiness::default();
        assert_eq!(readiness.check(), Ok(()));
        let mapping = readiness.hold("the mapping");
        let certificate = readiness.hold("the certificate");
        assert_eq!(readiness.check().unwrap_err(), "not ready: waiting for the mapping, the certificate");
        let mut mapping = mapping;
        assert!(mapping.change("a good mapping"));
        assert!(!mapping.change("a good mapping"));
        assert_eq!(readiness.check().unwrap_err(), "not ready: waiting for a good mapping, the certificate");
        drop(mapping);
        assert_eq!(readiness.check().unwrap_err(), "not ready: waiting for the certificate");
        drop(certificate);
        assert_eq!(readiness.check(), Ok(()));
        readiness.stop();
        assert_eq!(readiness.check().unwrap_err(), "not ready: stopping");
    }
}
