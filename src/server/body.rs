//! May this request's body be read? A long one reserves memory first, and keeps it until the answer has been
//! sent.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body_util::BodyExt;

use super::connection::{Peer, address_of};
use super::eviction::ARRIVAL_GRACE;
use super::quota::{self, Quota};
use super::refusal::{Refusal, SHORT_BODY};
use super::{Limits, MAX_BODY};
use crate::memory::{self, Pool};

/// How long a body waits for memory, and for how long a refused one is read on.
pub(super) const RESERVATION_TIMEOUT: Duration = Duration::from_secs(1);

/// A body of more bytes is parsed and judged on a thread of its own, so that no other request waits behind
/// it.
pub(super) const LONG_BODY: usize = 64 << 10;

/// How many seconds a body with a reservation may take, beside one for each MiB of it. Others wait for its
/// memory.
const ARRIVAL_SECONDS: u64 = 2;

/// Reads bodies, within the memory that long ones share.
#[derive(Clone, Debug)]
pub(super) struct BodyReader {
    quota: Quota,
    pool: Pool,
}

/// The memory that is reserved for a body and its answer. It is none for a short body.
#[derive(Debug, Default)]
#[must_use = "the memory is given back when this is dropped"]
pub(super) struct Reservation(Option<(quota::Lease, memory::Lease)>);

/// An answer, and the memory that is reserved for it.
struct ReservedAnswer {
    bytes: Vec<u8>,
    _reservation: Reservation,
}

impl BodyReader {
    pub(super) fn new(limits: Limits, pool: Pool) -> Self {
        Self { quota: Quota::new(limits.body_bytes, limits.body_bytes_per_peer), pool }
    }

    /// Reads the whole body, and returns it with its reservation.
    pub(super) async fn receive(
        &self,
        peer: Option<&Peer>,
        request: Request,
    ) -> Result<(Bytes, Reservation), Refusal> {
        let mut body = request.into_body();
        let received = self.read(&mut body, address_of(peer)).await;
        if matches!(received, Err(Refusal::Busy | Refusal::TooLarge | Refusal::NoLength)) {
            // A peer that is still sending when its connection is closed may never see the answer.
            let _ = Box::pin(tokio::time::timeout(RESERVATION_TIMEOUT, discard(&mut body))).await;
        }
        if let Some(peer) = peer {
            peer.body_is_complete();
        }
        received
    }

    async fn read(&self, body: &mut Body, peer: IpAddr) -> Result<(Bytes, Reservation), Refusal> {
        let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        match announced {
            Some(bytes) if bytes > MAX_BODY => Err(Refusal::TooLarge),
            // A future of its own: that of a short body would be as large, and is copied for each review.
            Some(bytes) if bytes > SHORT_BODY => Box::pin(self.read_long(body, bytes, peer)).await,
            // A body that does not announce its length cannot reserve it.
            _ => Ok((collect(body, announced.unwrap_or(SHORT_BODY)).await?, Reservation::default())),
        }
    }

    async fn read_long(
        &self,
        body: &mut Body,
        bytes: usize,
        peer: IpAddr,
    ) -> Result<(Bytes, Reservation), Refusal> {
        // A short answer may be longer than its body. A long body reserves more when its answer's length is
        // known.
        let reservation = self.reserve(peer, if bytes > LONG_BODY { bytes } else { 2 * bytes });
        let reservation = tokio::time::timeout(RESERVATION_TIMEOUT, reservation);
        let reservation = reservation.await.map_err(|_| Refusal::Busy)?;
        let arrival = Duration::from_secs(ARRIVAL_SECONDS + (bytes as u64 >> 20));
        let collected = tokio::time::timeout(arrival, collect(body, bytes));
        tokio::select! {
            biased;
            body = collected => Ok((body.map_err(|_| Refusal::Slow)??, reservation)),
            () = self.must_yield() => Err(Refusal::Slow),
        }
    }

    /// Returns when a body that is still arriving must be given up: it has taken long, and somebody waits for
    /// memory.
    async fn must_yield(&self) {
        tokio::time::sleep(ARRIVAL_GRACE).await;
        self.pool.contended().await;
    }

    /// Reserves more for a body that has a reservation, unless it is little.
    pub(super) async fn extend(&self, reservation: &mut Reservation, bytes: usize) -> Result<(), Refusal> {
        if bytes <= SHORT_BODY {
            return Ok(());
        }
        let more = self.pool.take_within(bytes, RESERVATION_TIMEOUT).await.ok_or(Refusal::Busy)?;
        if let Reservation(Some((_, in_pool))) = reservation {
            in_pool.merge(more);
        }
        Ok(())
    }

    async fn reserve(&self, peer: IpAddr, bytes: usize) -> Reservation {
        let mut of_peer = self.quota.lease(peer);
        if !of_peer.try_grow(bytes) {
            let _waiter = self.pool.register_waiter();
            of_peer.grow(bytes).await;
        }
        Reservation(Some((of_peer, self.pool.take(bytes).await)))
    }
}

impl Reservation {
    /// Turns into an answer, which keeps as much memory as it takes until it has been sent, or cannot be.
    pub(super) fn into_answer(mut self, answer: Vec<u8>) -> Bytes {
        match &mut self.0 {
            None => answer.into(),
            Some((of_peer, in_pool)) => {
                of_peer.shrink_to(answer.len());
                in_pool.shrink_to(answer.len());
                Bytes::from_owner(ReservedAnswer { bytes: answer, _reservation: self })
            }
        }
    }
}

impl AsRef<[u8]> for ReservedAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the whole body, of at most `max_bytes`. The kernel gives out its memory page by page as the body
/// arrives.
async fn collect(body: &mut Body, max_bytes: usize) -> Result<Bytes, Refusal> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| Refusal::Body(error.into_inner()))?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > max_bytes {
            return Err(Refusal::NoLength);
        }
        if data.len() == max_bytes {
            return Ok(data);
        }
        if whole.is_empty() {
            whole.reserve_exact(max_bytes);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// Reads the rest of a body without keeping it.
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
