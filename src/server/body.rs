//! May this request's body come in? What is long takes its room first, and keeps it until its answer has been sent.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body_util::BodyExt;

use super::connection::Reading;
use super::quota::{self, Quota};
use super::refusal::{FREE, Refusal};
use super::{Limits, MAX_BODY};
use crate::memory::{self, Pool};

/// How long a body waits for room, and how long a refused one is read on.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Longer bodies are parsed and judged on a thread of their own, so that nobody waits behind them.
pub(super) const LONG: usize = 64 << 10;

/// How long a body that holds room may take, in seconds, and a second for each MiB of it: others wait for that room.
const ARRIVAL: u64 = 2;

/// How long a body may be coming before it gives way to whoever waits for room. Those of an API server come in milliseconds.
const COMING: Duration = Duration::from_millis(500);

/// The room that long bodies share.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    quota: Quota,
    pool: Pool,
}

/// What a body has taken: nothing, if it is short.
#[derive(Debug, Default)]
#[must_use = "the room is given back when this is dropped"]
pub(super) struct Room(Option<(quota::Lease, memory::Lease)>);

/// Bytes, and the room that they take.
struct Held {
    bytes: Vec<u8>,
    _room: Room,
}

impl Bodies {
    pub(super) fn new(limits: Limits, pool: Pool) -> Self {
        Self { quota: Quota::new(limits.body_bytes, limits.body_bytes_per_peer), pool }
    }

    /// The whole body, and its room.
    pub(super) async fn receive(&self, peer: IpAddr, request: Request) -> Result<(Bytes, Room), Refusal> {
        let reading = request.extensions().get::<Reading>().cloned();
        let mut body = request.into_body();
        let received = self.read(&mut body, peer).await;
        if matches!(received, Err(Refusal::Busy | Refusal::TooLarge | Refusal::NoLength)) {
            // A peer that is still sending when the connection closes may never see its answer.
            let _ = tokio::time::timeout(PATIENCE, discard(&mut body)).await;
        }
        if let Some(reading) = reading {
            reading.ended();
        }
        received
    }

    async fn read(&self, body: &mut Body, peer: IpAddr) -> Result<(Bytes, Room), Refusal> {
        let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        match announced {
            Some(bytes) if bytes > MAX_BODY => Err(Refusal::TooLarge),
            Some(bytes) if bytes > FREE => {
                // A short answer may be longer than its body; a long one takes more room when its length is known.
                let room = self.room(peer, if bytes > LONG { bytes } else { 2 * bytes });
                let room = tokio::time::timeout(PATIENCE, room).await.map_err(|_| Refusal::Busy)?;
                let arrival = Duration::from_secs(ARRIVAL + (bytes as u64 >> 20));
                let collected = tokio::time::timeout(arrival, collect(body, bytes));
                tokio::select! {
                    biased;
                    body = collected => Ok((body.map_err(|_| Refusal::Slow)??, room)),
                    () = self.others_wait() => Err(Refusal::Slow),
                }
            }
            // What comes in pieces of no announced sum can take no room first.
            _ => Ok((collect(body, announced.unwrap_or(FREE)).await?, Room::default())),
        }
    }

    /// A body has been coming for so long that it gives way, and somebody waits for room.
    async fn others_wait(&self) {
        tokio::time::sleep(COMING).await;
        self.pool.wanted().await;
    }

    /// More room for a body that has some, beyond what is small.
    pub(super) async fn more(&self, room: &mut Room, bytes: usize) -> Result<(), Refusal> {
        if bytes <= FREE {
            return Ok(());
        }
        let more = self.pool.take_within(bytes, PATIENCE).await.ok_or(Refusal::Busy)?;
        if let Room(Some((_, in_pool))) = room {
            in_pool.merge(more);
        }
        Ok(())
    }

    async fn room(&self, peer: IpAddr, bytes: usize) -> Room {
        let mut of_peer = self.quota.lease(peer);
        if !of_peer.try_grow(bytes) {
            let _want = self.pool.want();
            of_peer.grow(bytes).await;
        }
        Room(Some((of_peer, self.pool.take(bytes).await)))
    }
}

impl Room {
    /// An answer, which keeps as much of the room as it needs until it has been sent, or cannot be.
    pub(super) fn keep(mut self, answer: Vec<u8>) -> Bytes {
        match &mut self.0 {
            None => answer.into(),
            Some((of_peer, in_pool)) => {
                of_peer.shrink_to(answer.len());
                in_pool.shrink_to(answer.len());
                Bytes::from_owner(Held { bytes: answer, _room: self })
            }
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All of it, in no more memory than `room`, which grows as it arrives: what has not been written to is not there.
async fn collect(body: &mut Body, room: usize) -> Result<Bytes, Refusal> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Refusal::Body)?.into_data() else { continue };
        if whole.len() + data.len() > room {
            return Err(Refusal::NoLength);
        }
        if data.len() == room {
            return Ok(data);
        }
        if whole.is_empty() {
            whole.reserve_exact(room);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// Reads on without keeping anything.
async fn discard(body: &mut Body) {
    let mut left = 2 * MAX_BODY;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.into_data().map_or(0, |data| data.len());
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
