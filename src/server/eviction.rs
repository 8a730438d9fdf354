//! Which connection is evicted for a new one when a port is full?
//!
//! A connection that has not sent a whole request yet is evicted first: nobody loses anything by it. An idle
//! connection may be an API server's, and Go does not send a POST again when its connection is closed under
//! it: it is spared for a while. A connection whose request is being answered is never evicted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How long a handshake may take, or a request or its body may be arriving, before it gives way to somebody
/// else. API servers send a request in one piece.
pub(super) const ARRIVAL_GRACE: Duration = Duration::from_millis(500);

/// How many connections may be open, and how long each is spared from eviction.
#[derive(Clone, Copy, Debug)]
pub(super) struct EvictionPolicy {
    /// How many connections may be open at once.
    pub(super) total: usize,
    /// How many of these may be of one peer address.
    pub(super) per_peer: usize,
    /// How long a connection is spared before its first byte. Silent connections are evicted one after
    /// another at this rate.
    pub(super) silent: Duration,
    /// How long a connection is spared between requests.
    pub(super) idle: Duration,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The peer has sent nothing yet.
    Silent,
    /// A handshake is under way, or the head of the first request is arriving.
    Opening,
    /// The handshake is done, and no request has begun.
    Unused,
    /// The head of another request is arriving.
    Head,
    /// The body of a request is arriving.
    Body,
    /// The whole request is here and is being answered.
    Answering,
    /// The connection is between two requests.
    Idle,
}

/// What the decision looks at of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: IpAddr,
    pub(super) phase: Phase,
    /// For how long it has been in this phase.
    pub(super) age: Duration,
    /// It was evicted, and is not closed yet.
    pub(super) closing: bool,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is room for the new connection.
    Admit,
    /// The connection with this id is to be closed for it.
    Evict(u64),
    /// A connection is closing, or may be evicted in a moment.
    Wait,
    /// No connection may be evicted.
    Refuse,
}

impl Connection {
    fn is_arriving(&self) -> bool {
        self.is_new() || matches!(self.phase, Phase::Head | Phase::Body)
    }

    fn is_new(&self) -> bool {
        matches!(self.phase, Phase::Silent | Phase::Opening | Phase::Unused)
    }

    fn is_overdue(&self, policy: &EvictionPolicy) -> bool {
        match self.phase {
            Phase::Silent => self.age > policy.silent,
            Phase::Opening | Phase::Unused | Phase::Head | Phase::Body => self.age > ARRIVAL_GRACE,
            Phase::Idle => self.age > policy.idle,
            Phase::Answering => false,
        }
    }
}

/// Decides what becomes of a new connection of this peer.
pub(super) fn decide(open: &[Connection], newcomer: IpAddr, policy: &EvictionPolicy) -> Decision {
    let evict = |chosen: Option<&Connection>| chosen.map(|connection| Decision::Evict(connection.id));
    let own = || open.iter().filter(|connection| connection.peer == newcomer);
    let share = own().count();
    if share >= policy.per_peer {
        if own().any(|connection| connection.closing) {
            return Decision::Wait;
        }
        // Its own new connections are not spared: a peer that takes all of its share hurts nobody but itself.
        let candidates = own().filter(|connection| connection.is_new() || connection.is_overdue(policy));
        let chosen = candidates.max_by_key(|connection| (connection.is_arriving(), connection.age));
        return evict(chosen).unwrap_or(Decision::Refuse);
    }
    if open.len() < policy.total {
        return Decision::Admit;
    }
    if open.iter().any(|connection| connection.closing) {
        return Decision::Wait;
    }
    let (arriving, all) = (by_peer(open, Connection::is_arriving), by_peer(open, |_| true));
    let overdue = || open.iter().filter(|connection| connection.is_overdue(policy));
    let of_peer =
        |counts: &HashMap<IpAddr, usize>, connection: &Connection| counts.get(&connection.peer).copied();
    let slow = overdue()
        .filter(|connection| connection.is_arriving())
        .max_by_key(|connection| (of_peer(&arriving, connection), connection.age));
    let idle_for_long = overdue()
        .filter(|connection| connection.phase == Phase::Idle)
        .max_by_key(|connection| connection.age);
    if let Some(decision) = evict(slow.or(idle_for_long)) {
        return decision;
    }
    // A new connection is overdue in a moment, and no other one comes in meanwhile.
    if open.iter().any(Connection::is_new) {
        return Decision::Wait;
    }
    // A peer that sends a request now and then, on many connections, would keep everybody else out: its
    // longest idle one goes.
    let idle = open.iter().filter(|connection| connection.phase == Phase::Idle);
    let of_largest_holder = idle.max_by_key(|connection| (of_peer(&all, connection), connection.age));
    let surplus = of_largest_holder.filter(|connection| of_peer(&all, connection) > Some(share + 1));
    if let Some(decision) = evict(surplus) {
        return decision;
    }
    // A request ends, or is overdue soon.
    if open.iter().any(|connection| connection.phase != Phase::Idle) {
        Decision::Wait
    } else {
        Decision::Refuse
    }
}

/// Counts the connections of each peer, of those that `counts` names.
fn by_peer(open: &[Connection], counts: impl Fn(&Connection) -> bool) -> HashMap<IpAddr, usize> {
    let mut peers = HashMap::new();
    for connection in open.iter().filter(|connection| counts(connection)) {
        *peers.entry(connection.peer).or_default() += 1;
    }
    peers
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: EvictionPolicy = EvictionPolicy {
        total: 4,
        per_peer: 3,
        silent: Duration::from_millis(100),
        idle: Duration::from_secs(10),
    };

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// The last byte of a peer's address, a phase, and the milliseconds in it.
    type At = (u8, Phase, u64);

    /// The id of each connection is its index.
    fn connections(open: &[At]) -> Vec<Connection> {
        let connection = |(id, &(last, phase, age)): (u64, &At)| Connection {
            id,
            peer: peer(last),
            phase,
            age: Duration::from_millis(age),
            closing: false,
        };
        (0..).zip(open).map(connection).collect()
    }

    #[test]
    fn connections_without_a_whole_request_are_evicted_before_those_idle_for_long_and_no_others_are() {
        use Decision::{Admit, Evict, Refuse, Wait};
        use Phase::{Answering, Body, Head, Idle, Opening, Silent, Unused};
        let cases: &[(&str, &[At], Decision)] = &[
            ("there is room", &[(1, Opening, 9_000), (2, Idle, 99_000), (3, Body, 9_000)], Admit),
            (
                "never asked",
                &[(1, Idle, 99_000), (2, Silent, 101), (3, Body, 499), (4, Answering, 1)],
                Evict(1),
            ),
            ("the longer", &[(1, Silent, 101), (2, Opening, 600), (3, Opening, 501), (4, Idle, 1)], Evict(1)),
            ("unused", &[(1, Idle, 99_000), (2, Unused, 501), (3, Body, 499), (4, Idle, 1)], Evict(1)),
            ("unused for a moment", &[(1, Idle, 99), (2, Unused, 499), (3, Body, 9), (4, Idle, 1)], Wait),
            ("a slow body", &[(1, Idle, 99_000), (2, Silent, 99), (3, Body, 501), (4, Idle, 1)], Evict(2)),
            ("a slow head", &[(1, Idle, 99_000), (2, Idle, 99), (3, Body, 499), (4, Head, 501)], Evict(3)),
            (
                "of the peer with most",
                &[(1, Opening, 900), (2, Silent, 101), (2, Opening, 501), (3, Idle, 1)],
                Evict(2),
            ),
            ("long idle", &[(1, Idle, 10_001), (2, Idle, 10_002), (3, Opening, 499), (4, Idle, 1)], Evict(1)),
            (
                "has only just come",
                &[(1, Opening, 1), (2, Idle, 9_999), (2, Idle, 1), (3, Answering, 60_000)],
                Wait,
            ),
            ("one each", &[(1, Idle, 9_999), (2, Idle, 9_000), (3, Idle, 1), (4, Idle, 1)], Refuse),
            ("under way", &[(1, Idle, 9_999), (2, Idle, 9_000), (3, Head, 499), (4, Body, 499)], Wait),
            (
                "all busy",
                &[(1, Answering, 60_000), (1, Answering, 60_000), (2, Answering, 1), (3, Answering, 1)],
                Wait,
            ),
            ("a hoarder's", &[(1, Idle, 500), (1, Idle, 900), (2, Idle, 9_000), (3, Answering, 1)], Evict(1)),
        ];
        for (what, open, want) in cases {
            assert_eq!(decide(&connections(open), peer(9), &POLICY), *want, "{what}");
        }
        let mut closing =
            connections(&[(1, Opening, 900), (2, Opening, 900), (3, Opening, 900), (4, Opening, 900)]);
        closing[2].closing = true;
        assert_eq!(decide(&closing, peer(9), &POLICY), Wait, "one at a time");
    }

    #[test]
    fn a_peer_at_its_share_evicts_its_own_connections_and_no_others() {
        use Decision::{Admit, Evict, Refuse, Wait};
        use Phase::{Answering, Body, Idle, Opening};
        let cases: &[(&str, &[At], Decision)] = &[
            ("its own, however young", &[(1, Opening, 1), (1, Idle, 99_000), (1, Opening, 2)], Evict(2)),
            ("its own that has rested", &[(1, Idle, 10_001), (1, Idle, 9_000), (1, Answering, 1)], Evict(0)),
            ("its slow one", &[(1, Idle, 10_001), (1, Body, 501), (1, Answering, 1)], Evict(1)),
            (
                "none of it",
                &[(1, Idle, 9_999), (1, Body, 499), (1, Answering, 60_000), (2, Opening, 900)],
                Refuse,
            ),
            (
                "below it, and no more than others",
                &[(1, Idle, 1), (1, Idle, 1), (2, Idle, 9_000), (2, Idle, 9_000)],
                Refuse,
            ),
            ("below it", &[(1, Idle, 1), (1, Idle, 1), (2, Idle, 1)], Admit),
        ];
        for (what, open, want) in cases {
            assert_eq!(decide(&connections(open), peer(1), &POLICY), *want, "{what}");
        }
        let mut closing = connections(&[(1, Opening, 1), (1, Opening, 1), (1, Opening, 1)]);
        closing[0].closing = true;
        assert_eq!(decide(&closing, peer(1), &POLICY), Wait);
    }
}
