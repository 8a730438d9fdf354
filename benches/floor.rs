//! What does a webhook cost that decides nothing? It answers each review with the same body, on axum,
//! axum-server and rustls, with the allocator of the webhook: what anybody would write who needs no more. The
//! server is measured beside it.
//!
//! The API server takes only an answer that carries the uid of its review. So the uid is searched for in the
//! first bytes of the request, where the API server writes it, and put into the answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench stops at what is wrong"
)]

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;

/// That of the webhook.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: floor ADDRESS CERTIFICATE KEY ANSWER: an answer is an AdmissionReview in JSON";

/// The answer before and after its uid.
struct Answer {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Answer {
    fn new(body: &[u8]) -> Self {
        let uid = uid_in(body).expect("the answer has a uid");
        Self { before: body[..uid.start].to_vec(), after: body[uid.end..].to_vec() }
    }

    fn to(&self, review: &[u8]) -> Response {
        let Some(uid) = uid_in(review) else { return StatusCode::BAD_REQUEST.into_response() };
        let mut body = Vec::with_capacity(self.before.len() + uid.len() + self.after.len());
        body.extend_from_slice(&self.before);
        body.extend_from_slice(&review[uid]);
        body.extend_from_slice(&self.after);
        ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
    }
}

/// Where the first uid stands, without its quotes. Nothing else of the text is looked at.
fn uid_in(text: &[u8]) -> Option<std::ops::Range<usize>> {
    const KEY: &[u8] = br#""uid":""#;
    let start = text.windows(KEY.len()).position(|bytes| bytes == KEY)? + KEY.len();
    let length = text[start..].iter().position(|byte| *byte == b'"')?;
    Some(start..start + length)
}

// As many workers as the webhook has.
#[tokio::main(worker_threads = 2)]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, certificate, key, answer] = arguments.as_slice() else { panic!("{USAGE}") };
    let answer = Arc::new(Answer::new(&std::fs::read(answer).unwrap()));
    let tls = RustlsConfig::from_pem_file(certificate, key).await.unwrap();
    let app = Router::new()
        .route("/mutate", post(async move |review: Bytes| answer.to(&review)))
        .route("/readyz", axum::routing::get(|| async { "ok\n" }));
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    axum_server::from_tcp_rustls(listener, tls).unwrap().serve(app.into_make_service()).await.unwrap();
}
