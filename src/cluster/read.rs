//! How is an answer of the API server read in bounded memory and time?
//!
//! Others write what the API server answers with: whoever may write ServiceAccounts can make one of 1.5 MB.
//! Up to 16 KiB of an answer are read without asking. A longer one waits for its turn, since one long answer
//! is read at a time, and then for room in the pool: twice the longest that it may be, for itself and for
//! what is made of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::{Address, Failure, Refusal};
use crate::memory::{Lease, Pool};

/// So many bytes of each answer are read without room in the pool.
const FREE: usize = 16 << 10;

/// The longest object, or line of a watch, in bytes. etcd stores 1.5 MiB.
pub(super) const OBJECT: usize = 4 << 20;

/// The longest answer that is an error, in bytes.
const ERROR: usize = 64 << 10;

/// So many bytes are read and dropped so that a connection can be used again; beyond that it is closed.
const DROPPED: usize = 1 << 20;

/// How long it may take until the answer to a call begins.
pub(super) const CALL: Duration = Duration::from_secs(10);

/// How long an answer may take once it has begun and has its room.
const BODY: Duration = Duration::from_secs(10);

/// How long an answer may wait for its turn and its room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a watch may be silent. The API server ends each after 290 seconds.
const SILENCE: Duration = Duration::from_secs(310);

/// A request as [`kube::core::Request`] builds it.
pub(super) type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// The one way to the API server.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    pool: Pool,
    /// Long answers are read one at a time, so that they never take all of the pool from the requests.
    turn: Arc<Semaphore>,
    address: Address,
    /// The label selector of the ServiceAccounts that are sent to the webhook; `None` where all of them are.
    pub(super) service_accounts: Option<Arc<str>>,
}

/// An answer that was read, and its room in the pool.
pub(super) struct Held {
    bytes: Vec<u8>,
    /// There is none where the answer is short.
    _room: Option<Lease>,
}

impl ApiServer {
    /// What is read takes its room in this pool.
    #[must_use]
    pub fn new(client: Client, pool: Pool) -> Self {
        Self {
            client,
            pool,
            turn: Arc::new(Semaphore::new(1)),
            address: Address::default(),
            service_accounts: None,
        }
    }

    /// Names this address where the API server is not reached.
    #[must_use]
    pub(super) fn at(self, address: &http::Uri) -> Self {
        let (scheme, host) = (address.scheme_str().unwrap_or("http"), address.host().unwrap_or_default());
        let port = address.port().map(|port| format!(":{port}")).unwrap_or_default();
        Self { address: Address(Some(format!("{scheme}://{host}{port}").into())), ..self }
    }

    /// Where the API server is.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    fn failed(&self, error: kube::Error) -> Failure {
        Failure::call(&self.address, error)
    }

    /// Returns where it is, as `https://HOST:PORT`, where that is known.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.address.0.as_deref()
    }

    /// Returns the namespace of the kubeconfig's context, or that of the Pod that this runs in.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Lists and watches only the ServiceAccounts that this label selector selects: the webhook is not asked
    /// about the others, so that nothing can be done for them.
    #[must_use]
    pub fn selecting_service_accounts(self, selector: Option<&str>) -> Self {
        Self { service_accounts: selector.map(Arc::from), ..self }
    }

    /// The pool that what is read takes its room in, for what is made to be written.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The client itself, for what is no call: a port-forward.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks for one object.
    pub(super) async fn object(&self, request: Built) -> Result<Held, Failure> {
        let answer = self.begin(request, CALL).await?;
        self.collect(answer, OBJECT).await
    }

    /// The same where it may not be there: only the API server's own word says so.
    pub(super) async fn object_or_none(&self, request: Built) -> Result<Option<Held>, Failure> {
        match self.object(request).await {
            Ok(held) => Ok(Some(held)),
            Err(failure) if failure.is_not_there() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Asks for something whose answer must begin within `time` and have at most `most` bytes.
    pub(super) async fn ask(&self, request: Built, time: Duration, most: usize) -> Result<Held, Failure> {
        let answer = self.begin(request, time).await?;
        self.collect(answer, most).await
    }

    /// Writes something, of which the answer tells nothing but that it is done.
    pub(super) async fn tell(&self, request: Built) -> Result<(), Failure> {
        let mut body = self.begin(request, CALL).await?;
        let (mut left, end) = (DROPPED, Instant::now() + BODY);
        // It is read to its end, so that the connection can be used again. It is done, even if this fails.
        while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        Ok(())
    }

    /// Asks for a watch.
    pub(super) async fn lines(&self, request: Built) -> Result<Lines, Failure> {
        let body = self.begin(request, CALL).await?;
        Ok(Lines { api: self.clone(), body, rest: Bytes::new(), line: Vec::new(), room: None })
    }

    async fn begin(&self, request: Built, time: Duration) -> Result<Body, Failure> {
        let request = request.map_err(|error| self.failed(kube::Error::BuildRequest(error)))?;
        let answer = timeout(time, self.client.send(request.map(Body::from))).await;
        let (head, body) =
            answer.map_err(|_| Failure::TooLate(time))?.map_err(|error| self.failed(error))?.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let held = self.collect(body, ERROR).await.ok();
        let status: Option<Status<'_>> = held.as_ref().and_then(|held| held.json().ok());
        Err(status.unwrap_or_default().failure(head.status.as_u16(), retry_after))
    }

    async fn collect(&self, mut body: Body, most: usize) -> Result<Held, Failure> {
        let (mut bytes, mut room) = (Vec::new(), None);
        let mut end = Instant::now() + BODY;
        loop {
            let frame = timeout_at(end, body.frame()).await.map_err(|_| Failure::TooLate(BODY))?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|error| self.failed(error))?.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > most {
                return Err(Failure::TooLong(most));
            }
            if length > FREE && room.is_none() {
                room = Some(self.room(most).await?);
                end = Instant::now() + BODY;
            }
            grow(&mut bytes, &data, most);
        }
        // Its turn ends here, and it keeps the room that it needs.
        let room = room.map(|(mut room, _turn)| {
            room.shrink_to(2 * bytes.len());
            room
        });
        Ok(Held { bytes, _room: room })
    }

    /// Waits for the turn, and for room for so many bytes and what is made of them.
    async fn room(&self, bytes: usize) -> Result<(Lease, OwnedSemaphorePermit), Failure> {
        let taken = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
            Some((self.pool.take(2 * bytes).await, turn))
        };
        timeout(ROOM_TIMEOUT, taken).await.ok().flatten().ok_or(Failure::NoRoom(ROOM_TIMEOUT))
    }
}

impl Held {
    /// Returns it as text, and gives back its room; `None` where it is none.
    pub(super) fn into_text(self) -> Option<String> {
        String::from_utf8(self.bytes).ok()
    }

    /// Reads it as JSON, which may borrow from it.
    pub(super) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        serde_json::from_slice(&self.bytes).map_err(Failure::json)
    }
}

/// The lines of a watch, one after the other.
pub(super) struct Lines {
    api: ApiServer,
    body: Body,
    /// What came last and was not looked at yet.
    rest: Bytes,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// For a long line: its room, its turn, and when it must have ended.
    room: Option<(Lease, OwnedSemaphorePermit, Instant)>,
}

impl Lines {
    /// Lends the next line; `None` at the end, where a line that has not ended is dropped.
    pub(super) async fn next<T>(&mut self, see: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let last = self.rest.split_to(end + 1);
                let last = last.strip_suffix(b"\n").unwrap_or_default();
                if self.line.is_empty() {
                    return Ok(Some(see(last)));
                }
                self.add(last).await?;
                let seen = see(&self.line);
                // The room of a long line is given back.
                self.line = Vec::new();
                self.room = None;
                return Ok(Some(seen));
            }
            let begun = std::mem::take(&mut self.rest);
            self.add(&begun).await?;
            let (end, time) = match &self.room {
                Some((_, _, end)) => (*end, BODY),
                None => (Instant::now() + SILENCE, SILENCE),
            };
            let frame = timeout_at(end, self.body.frame()).await.map_err(|_| Failure::TooLate(time))?;
            let Some(frame) = frame else { return Ok(None) };
            self.rest = frame.map_err(|error| self.api.failed(error))?.into_data().unwrap_or_default();
        }
    }

    async fn add(&mut self, data: &[u8]) -> Result<(), Failure> {
        let length = self.line.len() + data.len();
        if length > OBJECT {
            return Err(Failure::TooLong(OBJECT));
        }
        if length > FREE && self.room.is_none() {
            let (room, turn) = self.api.room(OBJECT).await?;
            self.room = Some((room, turn, Instant::now() + BODY));
        }
        grow(&mut self.line, data, OBJECT);
        Ok(())
    }
}

/// Adds bytes to others, with a capacity of at most `most` bytes.
fn grow(held: &mut Vec<u8>, data: &[u8], most: usize) {
    let length = held.len() + data.len();
    if held.capacity() < length {
        held.reserve_exact((2 * length).min(most).max(length) - held.len());
    }
    held.extend_from_slice(data);
}

/// A `Status` of the API server, as far as it is used.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    code: u16,
    #[serde(borrow)]
    message: Cow<'a, str>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u64,
}

impl Status<'_> {
    /// Makes it a failure. What the body does not say is taken from the head of the answer.
    pub(super) fn failure(&self, code: u16, retry_after: Option<u64>) -> Failure {
        let code = if self.code == 0 { code } else { self.code };
        if code == 409 {
            return Failure::Conflict;
        }
        let asked = self.details.as_ref().map(|details| details.retry_after_seconds).filter(|wait| *wait > 0);
        let wait = asked.or(retry_after).map(Duration::from_secs);
        let is_not_there = code == 404 && self.kind == "Status" && matches!(&*self.reason, "" | "NotFound");
        Failure::Refused(Refusal::new(code, &self.message, wait).not_there(is_not_there))
    }
}

/// Any object, of which only the version is read.
#[derive(Deserialize)]
pub(super) struct Versioned<'a> {
    #[serde(borrow)]
    metadata: Version<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

impl Versioned<'_> {
    /// `metadata.resourceVersion`
    pub(super) fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An API server that answers everything with this.
    pub(in crate::cluster) fn answering(code: u16, body: &'static str) -> ApiServer {
        let service = tower::service_fn(move |_: http::Request<Body>| async move {
            let answer = http::Response::builder().status(code);
            answer
                .body(http_body_util::Full::new(Bytes::from_static(body.as_bytes())))
                .map_err(tower::BoxError::from)
        });
        ApiServer::new(Client::new(service, "default"), Pool::new(crate::memory::POOL))
    }

    #[tokio::test]
    async fn only_the_api_server_itself_says_that_an_object_is_not_there() {
        let request =
            || http::Request::get("/x").body(Vec::new()).map_err(kube::core::request::Error::BuildRequest);
        let not_found = r#"{"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"}"#;
        assert!(answering(404, not_found).object_or_none(request()).await.unwrap().is_none());
        for foreign in ["<html>404</html>", "", r#"{"message": "no such route"}"#] {
            assert!(answering(404, foreign).object_or_none(request()).await.is_err(), "{foreign}");
        }
    }

    /// An API server that never answers.
    pub(in crate::cluster) fn nobody() -> ApiServer {
        type Answer = http::Response<http_body_util::Empty<Bytes>>;
        let service = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<Answer, tower::BoxError>>()
        });
        ApiServer::new(Client::new(service, "default"), Pool::new(crate::memory::POOL))
    }
}
