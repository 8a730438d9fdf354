//! How long does a create take with each variant, when all are asked in turns?

use std::sync::Barrier;
use std::thread;

use http::StatusCode;
use serde_json::Value;

use super::Kind;
use super::variants::{NOTHING, Variant};
use crate::connection::Call;
use crate::stage::{Stage, eventually};
use crate::statistics::Samples;

/// Samples before those that count.
const WARM_UP: usize = 3;

pub(crate) struct Plan {
    pub(crate) clients: usize,
    /// How often each client asks one variant before it asks the next.
    pub(crate) in_a_row: usize,
    pub(crate) rounds: usize,
}

pub(crate) struct Measured {
    pub(crate) name: String,
    /// Milliseconds.
    pub(crate) rounds: Samples,
}

impl Plan {
    /// Asks each variant in each round, in an order that is drawn anew: whoever is asked after another may pay for
    /// what that one left behind.
    pub(crate) fn run(&self, stage: &Stage, kind: Kind, variants: &[&Variant]) -> Vec<Measured> {
        let calls: Vec<Call> = variants.iter().map(|variant| variant.call(stage, kind)).collect();
        let together = Barrier::new(self.clients);
        let clients: Vec<Vec<Samples>> = thread::scope(|scope| {
            let ask = || self.client(stage, &calls, &together);
            let clients: Vec<_> = (0..self.clients).map(|_| scope.spawn(ask)).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let measured = variants.iter().enumerate().map(|(n, variant)| {
            let of_round =
                |round: usize| clients.iter().flat_map(|client| client[n][round].clone()).collect();
            Measured { name: variant.name.clone(), rounds: (0..self.rounds).map(of_round).collect() }
        });
        measured.collect()
    }

    /// One client. All ask the same variant at the same time.
    fn client(&self, stage: &Stage, calls: &[Call], together: &Barrier) -> Vec<Samples> {
        let mut connection = stage.connect();
        // The same for all clients.
        let mut random = fastrand::Rng::with_seed(14);
        let mut order: Vec<usize> = (0..calls.len()).collect();
        let mut seen = vec![vec![Vec::with_capacity(self.in_a_row); self.rounds]; calls.len()];
        for round in 0..WARM_UP + self.rounds {
            random.shuffle(&mut order);
            for &variant in &order {
                together.wait();
                for _ in 0..self.in_a_row {
                    let (status, answer, took) = connection.timed(&calls[variant]);
                    assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer));
                    if let Some(round) = round.checked_sub(WARM_UP) {
                        seen[variant][round].push(took.as_secs_f64() * 1000.0);
                    }
                }
            }
        }
        seen
    }
}

/// Waits until the API server knows every variant: then each object but that of the first comes back changed.
pub(crate) fn check(stage: &Stage, kind: Kind, variants: &[&Variant]) {
    let mut connection = stage.connect();
    let mut made = |variant: &Variant| {
        let (status, answer, _) = connection.timed(&variant.call(stage, kind));
        let object: Value = serde_json::from_slice(&answer).ok().filter(|_| status.is_success())?;
        Some((object["metadata"]["annotations"].clone(), object["spec"].clone()))
    };
    for variant in variants {
        eventually(&format!("{} changes a {}", variant.name, kind.name()), || {
            let plain = made(variants[0])?;
            (made(variant)? == plain).eq(&(variant.name == NOTHING)).then_some(())
        });
    }
}
