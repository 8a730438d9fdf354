//! Which connections are open? All of a port in one table, from the first packet until what they held is free again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::eviction::{Phase, Rules, Seen, Verdict, decide};
use crate::metrics::Metrics;

/// How long a newcomer waits for its place.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it looks whether somebody has become overdue meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The table of a port.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    rules: Rules,
    table: Mutex<Table>,
    /// Told when a place is free again.
    freed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<Progress>>,
}

/// One connection's entry.
struct Progress {
    peer: IpAddr,
    phase: Mutex<(Phase, Instant)>,
    evicted: CancellationToken,
    /// Bytes that TLS has taken in since it last gave out any.
    unread: AtomicUsize,
}

/// The place of one connection: free again when it is dropped.
pub(super) struct NamespacedName {
    id: u64,
    progress: Arc<Progress>,
    connections: Connections,
}

impl Connections {
    pub(super) fn new(rules: Rules, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { rules, table: Mutex::default(), freed: Notify::new(), metrics }))
    }

    /// A place, if need be after another connection has gone and what it held is free; `None` where there is none.
    pub(super) async fn admit(&self, peer: IpAddr) -> Option<NamespacedName> {
        // An IPv4 peer on a dual-stack socket is the same peer.
        let peer = peer.to_canonical();
        let waiting = async {
            loop {
                let freed = self.0.freed.notified();
                let verdict = self.look(peer);
                match verdict {
                    Verdict::Room => return Some(self.enter(peer)),
                    Verdict::Refused => return None,
                    Verdict::GivesWay(id) => self.evict(id),
                    Verdict::Wait => {}
                }
                let _ = tokio::time::timeout(LOOK_AGAIN, freed).await;
            }
        };
        let place = tokio::time::timeout(PATIENCE, waiting).await.ok().flatten();
        if place.is_none() {
            self.0.metrics.refused_connections.inc();
        }
        place
    }

    fn look(&self, newcomer: IpAddr) -> Verdict {
        let now = Instant::now();
        let table = self.table();
        let seen = |(id, progress): (&u64, &Arc<Progress>)| {
            let (phase, since) = *progress.phase();
            let leaving = progress.evicted.is_cancelled();
            Seen { id: *id, peer: progress.peer, phase, age: now.saturating_duration_since(since), leaving }
        };
        let open: Vec<_> = table.open.iter().map(seen).collect();
        drop(table);
        decide(&open, newcomer, &self.0.rules)
    }

    fn enter(&self, peer: IpAddr) -> NamespacedName {
        let progress = Arc::new(Progress {
            peer,
            phase: Mutex::new((Phase::Silent, Instant::now())),
            evicted: CancellationToken::new(),
            unread: AtomicUsize::new(0),
        });
        let mut table = self.table();
        table.next += 1;
        let id = table.next;
        table.open.insert(id, Arc::clone(&progress));
        drop(table);
        self.0.metrics.open_connections.inc();
        NamespacedName { id, progress, connections: self.clone() }
    }

    fn evict(&self, id: u64) {
        let table = self.table();
        if let Some(progress) = table.open.get(&id) {
            progress.evicted.cancel();
            self.0.metrics.evicted_connections.inc();
            tracing::debug!(peer = %progress.peer, phase = ?progress.phase().0, "connection closed to make room");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn phase(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NamespacedName {
    /// The connection is there from now on.
    pub(super) fn reach(&self, phase: Phase) {
        *self.progress.phase() = (phase, Instant::now());
    }

    /// There are bytes of it.
    pub(super) fn spoke(&self) {
        let mut phase = self.progress.phase();
        match phase.0 {
            Phase::Silent => *phase = (Phase::Opening, Instant::now()),
            Phase::Idle => *phase = (Phase::Head, Instant::now()),
            Phase::Opening | Phase::Head | Phase::Body | Phase::Answering => {}
        }
    }

    /// Where it is, and since when.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        *self.progress.phase()
    }

    /// Waits until this connection has to give way.
    pub(super) async fn evicted(&self) {
        self.progress.evicted.cancelled().await;
    }

    /// TLS has taken in so many bytes: how many are there since it last gave out any?
    pub(super) fn took_in(&self, bytes: usize) -> usize {
        self.progress.unread.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// It has given out something.
    pub(super) fn gave_out(&self) {
        self.progress.unread.store(0, Ordering::Relaxed);
    }
}

impl Drop for NamespacedName {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
        self.connections.0.metrics.open_connections.dec();
        self.connections.0.freed.notify_waiters();
    }
}
