//! Where a port is full, who gives way to a newcomer?
//!
//! Until a connection has asked for something it is nobody's loss. Between requests it may be an API server's, and Go does not send
//! a POST again on a connection that was closed under it: such a one has its rest for a while. One that is being answered always
//! stays.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How long a handshake may take, or a request may be coming, before it may be made to give way. API servers send theirs in one piece.
const COMING: Duration = Duration::from_millis(500);

/// How many may be open, and what is granted to each before it may have to give way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Open at once.
    pub(super) total: usize,
    /// Of these, for one peer address.
    pub(super) per_peer: usize,
    /// Before its first byte. This is how fast a crowd of silent ones passes through.
    pub(super) silent: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has sent nothing yet.
    Silent,
    /// A handshake is under way, or the head of the first request is coming.
    Opening,
    /// The head of another request is coming.
    Head,
    /// The body of a request is coming.
    Body,
    /// A request is here and being answered.
    Answering,
    /// Between requests.
    Idle,
}

/// A connection as the decision sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) peer: IpAddr,
    pub(super) phase: Phase,
    /// For how long it has been in this phase.
    pub(super) age: Duration,
    pub(super) leaving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Room,
    /// This one is to be closed.
    GivesWay(u64),
    /// Somebody is leaving, or may be made to in a moment.
    Wait,
    Refused,
}

impl Seen {
    fn is_coming(&self) -> bool {
        self.is_new() || matches!(self.phase, Phase::Head | Phase::Body)
    }

    fn is_new(&self) -> bool {
        matches!(self.phase, Phase::Silent | Phase::Opening)
    }

    fn is_overdue(&self, rules: &Rules) -> bool {
        match self.phase {
            Phase::Silent => self.age > rules.silent,
            Phase::Opening | Phase::Head | Phase::Body => self.age > COMING,
            Phase::Idle => self.age > rules.idle,
            Phase::Answering => false,
        }
    }
}

/// May this peer come in?
pub(super) fn decide(open: &[Seen], newcomer: IpAddr, rules: &Rules) -> Verdict {
    let gives_way = |seen: Option<&Seen>| seen.map(|seen| Verdict::GivesWay(seen.id));
    let own = || open.iter().filter(|seen| seen.peer == newcomer);
    let share = own().count();
    if share >= rules.per_peer {
        if own().any(|seen| seen.leaving) {
            return Verdict::Wait;
        }
        // Among its own nobody is spared for being young: others are not to wait for what one peer does to itself.
        let candidates = own().filter(|seen| seen.is_new() || seen.is_overdue(rules));
        let chosen = candidates.max_by_key(|seen| (seen.is_coming(), seen.age));
        return gives_way(chosen).unwrap_or(Verdict::Refused);
    }
    if open.len() < rules.total {
        return Verdict::Room;
    }
    if open.iter().any(|seen| seen.leaving) {
        return Verdict::Wait;
    }
    let (coming, all) = (held(open, Seen::is_coming), held(open, |_| true));
    let overdue = || open.iter().filter(|seen| seen.is_overdue(rules));
    let of_peer = |counts: &HashMap<IpAddr, usize>, seen: &Seen| counts.get(&seen.peer).copied();
    let slow =
        overdue().filter(|seen| seen.is_coming()).max_by_key(|seen| (of_peer(&coming, seen), seen.age));
    let rested = overdue().filter(|seen| seen.phase == Phase::Idle).max_by_key(|seen| seen.age);
    if let Some(verdict) = gives_way(slow.or(rested)) {
        return verdict;
    }
    // These are overdue in a moment, and no new ones come in meanwhile.
    if open.iter().any(Seen::is_new) {
        return Verdict::Wait;
    }
    // Whoever asks for something now and then, on many connections, would keep everybody else out: it yields its longest idle one.
    let idle = open.iter().filter(|seen| seen.phase == Phase::Idle);
    let of_the_greediest = idle.max_by_key(|seen| (of_peer(&all, seen), seen.age));
    let greedy = of_the_greediest.filter(|seen| of_peer(&all, seen) > Some(share + 1));
    if let Some(verdict) = gives_way(greedy) {
        return verdict;
    }
    // Requests end, or are overdue soon.
    if open.iter().any(|seen| seen.phase != Phase::Idle) { Verdict::Wait } else { Verdict::Refused }
}

/// How many of those that count each peer has.
fn held(open: &[Seen], counts: impl Fn(&Seen) -> bool) -> HashMap<IpAddr, usize> {
    let mut held = HashMap::new();
    for seen in open.iter().filter(|seen| counts(seen)) {
        *held.entry(seen.peer).or_default() += 1;
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { total: 4, per_peer: 3, silent: Duration::from_millis(100), idle: Duration::from_secs(10) };

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A peer, a phase, and the milliseconds in it.
    type At = (u8, Phase, u64);

    /// Each id is its index.
    fn seen(open: &[At]) -> Vec<Seen> {
        let seen = |(id, &(last, phase, age)): (u64, &At)| Seen {
            id,
            peer: peer(last),
            phase,
            age: Duration::from_millis(age),
            leaving: false,
        };
        (0..).zip(open).map(seen).collect()
    }

    #[test]
    fn whoever_never_finished_a_request_gives_way_before_whoever_has_rested_and_nobody_else_does() {
        use Phase::{Answering, Body, Head, Idle, Opening, Silent};
        use Verdict::{GivesWay, Refused, Room, Wait};
        let cases: &[(&str, &[At], Verdict)] = &[
            ("there is room", &[(1, Opening, 9_000), (2, Idle, 99_000), (3, Body, 9_000)], Room),
            (
                "never asked",
                &[(1, Idle, 99_000), (2, Silent, 101), (3, Body, 499), (4, Answering, 1)],
                GivesWay(1),
            ),
            (
                "the longer",
                &[(1, Silent, 101), (2, Opening, 600), (3, Opening, 501), (4, Idle, 1)],
                GivesWay(1),
            ),
            ("a slow body", &[(1, Idle, 99_000), (2, Silent, 99), (3, Body, 501), (4, Idle, 1)], GivesWay(2)),
            ("a slow head", &[(1, Idle, 99_000), (2, Idle, 99), (3, Body, 499), (4, Head, 501)], GivesWay(3)),
            (
                "of the peer with most",
                &[(1, Opening, 900), (2, Silent, 101), (2, Opening, 501), (3, Idle, 1)],
                GivesWay(2),
            ),
            (
                "long idle",
                &[(1, Idle, 10_001), (2, Idle, 10_002), (3, Opening, 499), (4, Idle, 1)],
                GivesWay(1),
            ),
            (
                "has only just come",
                &[(1, Opening, 1), (2, Idle, 9_999), (2, Idle, 1), (3, Answering, 60_000)],
                Wait,
            ),
            ("one each", &[(1, Idle, 9_999), (2, Idle, 9_000), (3, Idle, 1), (4, Idle, 1)], Refused),
            ("under way", &[(1, Idle, 9_999), (2, Idle, 9_000), (3, Head, 499), (4, Body, 499)], Wait),
            (
                "all busy",
                &[(1, Answering, 60_000), (1, Answering, 60_000), (2, Answering, 1), (3, Answering, 1)],
                Wait,
            ),
            (
                "a hoarder's",
                &[(1, Idle, 500), (1, Idle, 900), (2, Idle, 9_000), (3, Answering, 1)],
                GivesWay(1),
            ),
        ];
        for (what, open, want) in cases {
            assert_eq!(decide(&seen(open), peer(9), &RULES), *want, "{what}");
        }
        let mut leaving = seen(&[(1, Opening, 900), (2, Opening, 900), (3, Opening, 900), (4, Opening, 900)]);
        leaving[2].leaving = true;
        assert_eq!(decide(&leaving, peer(9), &RULES), Wait, "one at a time");
    }

    #[test]
    fn a_peer_at_its_share_gives_way_to_itself_and_to_nobody_else() {
        use Phase::{Answering, Body, Idle, Opening};
        use Verdict::{GivesWay, Refused, Room, Wait};
        let cases: &[(&str, &[At], Verdict)] = &[
            ("its own, however young", &[(1, Opening, 1), (1, Idle, 99_000), (1, Opening, 2)], GivesWay(2)),
            (
                "its own that has rested",
                &[(1, Idle, 10_001), (1, Idle, 9_000), (1, Answering, 1)],
                GivesWay(0),
            ),
            ("its slow one", &[(1, Idle, 10_001), (1, Body, 501), (1, Answering, 1)], GivesWay(1)),
            (
                "none of it",
                &[(1, Idle, 9_999), (1, Body, 499), (1, Answering, 60_000), (2, Opening, 900)],
                Refused,
            ),
            (
                "below it, and no more than others",
                &[(1, Idle, 1), (1, Idle, 1), (2, Idle, 9_000), (2, Idle, 9_000)],
                Refused,
            ),
            ("below it", &[(1, Idle, 1), (1, Idle, 1), (2, Idle, 1)], Room),
        ];
        for (what, open, want) in cases {
            assert_eq!(decide(&seen(open), peer(1), &RULES), *want, "{what}");
        }
        let mut leaving = seen(&[(1, Opening, 1), (1, Opening, 1), (1, Opening, 1)]);
        leaving[0].leaving = true;
        assert_eq!(decide(&leaving, peer(1), &RULES), Wait);
    }
}
