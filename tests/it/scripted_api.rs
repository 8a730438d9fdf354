//! An API server that says what a test wants it to say, behind the real client. Time is the test's as well:
//! `start_paused`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use gitlab_iam_webhook::cluster::ApiServer;
use gitlab_iam_webhook::memory::Pool;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower_test::mock::{Handle, SendResponse};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The other side of the client.
pub(crate) struct ScriptedApi(Handle<Request<Body>, Answer>);

/// One request, which waits for its answer.
pub(crate) struct Asked {
    /// The verb as RBAC names it: get, list, watch, patch, create.
    pub(crate) verb: &'static str,
    /// The path without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Vec<u8>,
    answer: SendResponse<Answer>,
}

/// A watch that goes on until this is dropped.
pub(crate) struct Stream(mpsc::UnboundedSender<Bytes>);

/// The time and words of each request: `list /api/v1/namespaces`.
pub(crate) type Log = Arc<Mutex<Vec<(Instant, String)>>>;

/// An API server and its script. What it answers takes its room in the pool.
pub(crate) fn scripted(pool: &Pool) -> (ApiServer, ScriptedApi) {
    let (service, handle) = tower_test::mock::pair();
    (ApiServer::new(Client::new(service, "default"), pool.clone()), ScriptedApi(handle))
}

/// A list of these objects.
pub(crate) fn list(version: &str, items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items})
}

/// A `Status` as the API server answers an error.
pub(crate) fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message})
}

impl ScriptedApi {
    /// Takes the next request; there must be one within an hour.
    pub(crate) async fn next(&mut self) -> Asked {
        self.next_within(Duration::from_hours(1)).await.expect("nothing was asked for an hour")
    }

    pub(crate) async fn next_within(&mut self, time: Duration) -> Option<Asked> {
        let (request, answer) = tokio::time::timeout(time, self.0.next_request()).await.ok()??;
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let verb = match head.method.as_str() {
            "GET" if query.contains("watch=true") => "watch",
            "GET" if query.contains("limit=") => "list",
            "GET" => "get",
            "PATCH" => "patch",
            "POST" => "create",
            method => panic!("nothing here is to {method}"),
        };
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Some(Asked { verb, path: head.uri.path().to_owned(), query, body, answer })
    }

    /// Takes the next request, which must be this one.
    pub(crate) async fn expect(&mut self, verb: &str, path: &str) -> Asked {
        let asked = self.next().await;
        assert_eq!((asked.verb, &*asked.path), (verb, path));
        asked
    }

    /// Fails where anything is asked within this time.
    pub(crate) async fn expect_silence(&mut self, time: Duration) {
        if let Some(asked) = self.next_within(time).await {
            panic!("{} {} was asked", asked.verb, asked.path);
        }
    }

    /// Answers everything from now on, and writes down what was asked.
    pub(crate) fn answer_all(mut self, mut answer: impl FnMut(Asked) + Send + 'static) -> Log {
        let log = Log::default();
        let written = Arc::clone(&log);
        tokio::spawn(async move {
            loop {
                let asked = self.next().await;
                written.lock().unwrap().push((Instant::now(), format!("{} {}", asked.verb, asked.path)));
                answer(asked);
            }
        });
        log
    }
}

impl Asked {
    /// The value of a parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The body, read as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn respond(self, status: u16, body: &Value) {
        self.respond_with(status, &[], body.to_string());
    }

    pub(crate) fn respond_with(self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        self.answer.send_response(response.body(Full::new(body.into()).boxed_unsync()).unwrap());
    }

    /// Answers that there is no such object.
    pub(crate) fn respond_absent(self) {
        self.respond(404, &status(404, "not found"));
    }

    /// Begins an answer that goes on until the stream is dropped.
    pub(crate) fn stream(self) -> Stream {
        let (sender, receiver) = mpsc::unbounded_channel();
        let frames = stream::unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<Bytes>| {
            let bytes = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
        });
        let body = StreamBody::new(Box::pin(frames)).boxed_unsync();
        self.answer.send_response(Response::new(body));
        Stream(sender)
    }
}

impl Stream {
    /// Sends an event: ADDED, MODIFIED, DELETED, BOOKMARK, ERROR.
    pub(crate) fn event(&self, kind: &str, object: &Value) {
        self.send(format!("{}\n", json!({"type": kind, "object": object})));
    }

    /// Sends any bytes.
    pub(crate) fn send(&self, bytes: impl Into<Bytes>) {
        self.0.send(bytes.into()).unwrap();
    }
}
