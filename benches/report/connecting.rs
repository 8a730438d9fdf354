//! What does a new connection cost, with a full handshake and with a resumed one?

use std::time::Instant;

use rustls::HandshakeKind;
use rustls::client::Resumption;

use crate::client::Client;
use crate::rounds::Rounds;
use crate::section::Table;
use crate::subject::{Contenders, Which};

/// How many connections are opened in a round.
const HANDSHAKES: usize = 200;

/// Milliseconds from the first packet to the end of the answer, over new connections.
pub(crate) struct Connecting {
    kind: &'static str,
    ours: Rounds,
    floor: Rounds,
}

impl Connecting {
    /// With a full handshake and with a resumed one.
    pub(crate) fn measure(contenders: &Contenders, review: &[u8], rounds: usize) -> [Self; 2] {
        let kinds = [("full", HandshakeKind::Full), ("resumed", HandshakeKind::Resumed)];
        kinds.map(|(kind, wanted)| {
            let (mut ours, mut floor) = (Rounds::default(), Rounds::default());
            for round in 0..rounds {
                for (which, server) in contenders.in_turns(round) {
                    let resumption = match wanted {
                        HandshakeKind::Resumed => Resumption::in_memory_sessions(4),
                        _ => Resumption::disabled(),
                    };
                    let client = Client::new(&contenders.files, resumption);
                    // The first one gets what the others resume.
                    client.post(server.address, review);
                    let took = (0..HANDSHAKES).map(|_| {
                        let started = Instant::now();
                        let answer = client.post(server.address, review);
                        assert_eq!(answer.handshake, wanted);
                        started.elapsed().as_secs_f64() * 1_000.0
                    });
                    let median = took.collect::<Rounds>().median();
                    if *which == Which::Ours { ours.push(median) } else { floor.push(median) }
                }
            }
            Self { kind, ours, floor }
        })
    }
}

pub(crate) fn table(seen: &[(&str, [Connecting; 2])]) -> Table {
    let rows = seen.iter().flat_map(|(review, kinds)| {
        kinds.iter().map(|Connecting { kind, ours, floor }| {
            vec![(*review).to_owned(), (*kind).to_owned(), ours.cell(), floor.cell(), ours.over(floor).cell()]
        })
    });
    Table {
        caption: format!(
            "New connections: milliseconds from connecting to the end of the answer, one after the other, \
             p50 of {HANDSHAKES} in each round. A resumed handshake proves no certificate anew:"
        ),
        columns: ["review", "handshake", "ours", "floor", "ratio"].map(str::to_owned).into(),
        rows: rows.collect(),
    }
}
