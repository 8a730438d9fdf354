//! Which connections of a port are open, and may another one come in? One table holds them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::eviction::{Connection, Decision, EvictionPolicy, Phase, decide};
use crate::metrics::Metrics;

/// How long a new connection waits for a slot.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a new connection that waits asks again whether another one can be evicted.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The table of the connections of a port.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    policy: EvictionPolicy,
    table: Mutex<Table>,
    /// Waiting connections are told here that a slot is free again.
    freed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    open: HashMap<u64, Arc<Entry>>,
}

/// The entry of one connection.
struct Entry {
    peer: IpAddr,
    phase: Mutex<(Phase, Instant)>,
    evicted: CancellationToken,
    /// The bytes that TLS has read since it last passed any on.
    withheld: AtomicUsize,
}

/// The slot of one open connection. It is free again when this is dropped.
pub(super) struct Slot {
    id: u64,
    entry: Arc<Entry>,
    connections: Connections,
}

impl Connections {
    pub(super) fn new(policy: EvictionPolicy, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner { policy, table: Mutex::default(), freed: Notify::new(), metrics }))
    }

    /// Waits for a slot: where none is free, until an evicted connection has given back all that it held.
    /// Returns `None` where no connection may be evicted.
    pub(super) async fn admit(&self, peer: IpAddr) -> Option<Slot> {
        // The address of an IPv4 peer on a dual-stack socket is written as IPv6.
        let peer = peer.to_canonical();
        let waiting = async {
            loop {
                let freed = self.0.freed.notified();
                match self.decide(peer) {
                    Decision::Admit => return Some(self.open(peer)),
                    Decision::Refuse => return None,
                    Decision::Evict(id) => self.evict(id),
                    Decision::Wait => {}
                }
                let _ = tokio::time::timeout(RETRY_INTERVAL, freed).await;
            }
        };
        let slot = tokio::time::timeout(ADMISSION_TIMEOUT, waiting).await.ok().flatten();
        if slot.is_none() {
            self.0.metrics.refused_connections.inc();
        }
        slot
    }

    fn decide(&self, newcomer: IpAddr) -> Decision {
        let now = Instant::now();
        let table = self.table();
        let connection = |(id, entry): (&u64, &Arc<Entry>)| {
            let (phase, since) = *entry.phase();
            let closing = entry.evicted.is_cancelled();
            let age = now.saturating_duration_since(since);
            Connection { id: *id, peer: entry.peer, phase, age, closing }
        };
        let open: Vec<_> = table.open.iter().map(connection).collect();
        drop(table);
        decide(&open, newcomer, &self.0.policy)
    }

    fn open(&self, peer: IpAddr) -> Slot {
        let entry = Arc::new(Entry {
            peer,
            phase: Mutex::new((Phase::Silent, Instant::now())),
            evicted: CancellationToken::new(),
            withheld: AtomicUsize::new(0),
        });
        let mut table = self.table();
        table.last_id += 1;
        let id = table.last_id;
        table.open.insert(id, Arc::clone(&entry));
        drop(table);
        self.0.metrics.open_connections.inc();
        Slot { id, entry, connections: self.clone() }
    }

    fn evict(&self, id: u64) {
        let table = self.table();
        if let Some(entry) = table.open.get(&id) {
            entry.evicted.cancel();
            self.0.metrics.evicted_connections.inc();
            tracing::debug!(peer = %entry.peer, phase = ?entry.phase().0, "connection closed to make room");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn phase(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The connection is in this phase from now on.
    pub(super) fn enter(&self, phase: Phase) {
        *self.entry.phase() = (phase, Instant::now());
    }

    /// The peer has sent bytes: a silent or unused connection is opening, and an idle one begins
    /// another request.
    pub(super) fn received(&self) {
        let mut phase = self.entry.phase();
        match phase.0 {
            Phase::Silent | Phase::Unused => *phase = (Phase::Opening, Instant::now()),
            Phase::Idle => *phase = (Phase::Head, Instant::now()),
            Phase::Opening | Phase::Head | Phase::Body | Phase::Answering => {}
        }
    }

    /// The phase that the connection is in, and since when.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        *self.entry.phase()
    }

    /// Waits until this connection is evicted.
    pub(super) async fn evicted(&self) {
        self.entry.evicted.cancelled().await;
    }

    /// TLS has read so many bytes. Returns how many it has read since it last passed any on.
    pub(super) fn tls_read(&self, bytes: usize) -> usize {
        self.entry.withheld.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// TLS has passed bytes on.
    pub(super) fn tls_passed_on(&self) {
        self.entry.withheld.store(0, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
        self.connections.0.metrics.open_connections.dec();
        self.connections.0.freed.notify_waiters();
    }
}
