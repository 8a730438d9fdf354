//! What do the routes answer, without a socket? Each bad request gets a status and a sentence, and never a
//! patch.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use gitlab_iam_webhook::engine::admission::validate::PROBE;
use gitlab_iam_webhook::live::Live;
use gitlab_iam_webhook::memory::{self, Pool};
use gitlab_iam_webhook::metrics::Metrics;
use gitlab_iam_webhook::server::{Limits, webhook};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{DEADLINE, Thing, edit, patch_of, ruleset};

const MAPPING: &str =
    "account: \"123456789012\"\nrules:\n  - {name: r, match: {component: \"*\"}, role: x}\n";

pub(crate) fn limits() -> Limits {
    Limits {
        handshake: DEADLINE,
        header: DEADLINE,
        request: DEADLINE,
        idle: DEADLINE,
        connections: 10,
        connections_per_peer: 10,
        body_bytes: 16 << 20,
        body_bytes_per_peer: 16 << 20,
    }
}

fn app() -> Router {
    app_within(limits(), Pool::new(memory::POOL))
}

fn app_within(limits: Limits, pool: Pool) -> Router {
    let live = Arc::new(Live::new(ruleset(MAPPING)));
    webhook::router(live, &Arc::new(Metrics::default()), limits, webhook::InCluster::default(), pool)
}

#[tokio::test]
async fn each_pod_that_its_role_does_not_reach_is_told_and_counted() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let tell: webhook::TellUnreached = Arc::new(move |namespace, unreached| {
        let owner = unreached.owner.as_ref().map_or("nobody", |owner| &*owner.name);
        sink.lock().unwrap().push(format!("{namespace} {owner} {}", unreached.role));
    });
    let (live, metrics) = (Arc::new(Live::new(ruleset(MAPPING))), Arc::new(Metrics::default()));
    let in_cluster = webhook::InCluster { tell_unreached: Some(tell), preview_impact: None };
    let app = webhook::router(live, &metrics, limits(), in_cluster, Pool::new(memory::POOL));
    assert!(metrics.encode().unwrap().contains("gitlab_iam_webhook_unreached_pods_total 0"));

    let mut pod = Thing::pod("webservice");
    let own_account = pod.to_review();
    pod.service_account = "default".to_owned();
    let mut owned = pod.to_review();
    owned["request"]["object"]["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true},
    ]);
    let mut dry_run = owned.clone();
    dry_run["request"]["dryRun"] = true.into();
    for path in ["/mutate", "/observe"] {
        for review in [&own_account, &owned, &dry_run, &pod.to_review()] {
            let request = Request::post(path).header("content-type", "application/json");
            let request = request.body(Body::from(review.to_string())).unwrap();
            assert_eq!(app.clone().oneshot(request).await.unwrap().status(), StatusCode::OK);
        }
    }
    let role = "arn:aws:iam::123456789012:role/x";
    let [web, nobody] = ["web-1", "nobody"].map(|owner| format!("gitlab {owner} {role}"));
    assert_eq!(*told.lock().unwrap(), [&*web, &*nobody, &*web, &*nobody]);
    assert_eq!(metrics.unreached_pods.get(), 4);
}

async fn send(request: Request<Body>) -> (StatusCode, String) {
    let response = app().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn post(path: &str, content_type: Option<&str>, body: impl Into<Body>) -> (StatusCode, String) {
    let mut request = Request::builder().method(Method::POST).uri(path);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    send(request.body(body.into()).unwrap()).await
}

async fn post_json(body: &Value) -> (StatusCode, String) {
    post("/mutate", Some("application/json"), body.to_string()).await
}

fn review() -> Value {
    Thing::service_account("registry").to_review()
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut review = review();
    change(&mut review);
    review
}

#[tokio::test]
async fn a_good_review_is_answered_in_the_apis_own_form() {
    let (status, body) =
        post("/mutate?timeout=2s", Some("application/json; charset=utf-8"), review().to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], review()["request"]["uid"]);
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    assert_eq!(patch_of(&answer)[0]["path"], "/metadata/annotations");
    let (status, body) = post("/observe", Some("application/json"), review().to_string()).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, answer["response"].get("patch")), (StatusCode::OK, None));
    assert_eq!(
        answer["response"]["warnings"],
        json!(["gitlab-iam-webhook: observed, not written: role arn:aws:iam::123456789012:role/x, rule r"])
    );
}

#[tokio::test]
async fn what_is_no_review_is_400_with_a_sentence() {
    let whole = review().to_string();
    let truncated = whole.get(..whole.len() / 2).unwrap().to_owned();
    let cases: Vec<(&str, String, &str)> = vec![
        (
            "not JSON",
            "hello".into(),
            "the body is not an AdmissionReview in JSON: expected an object at byte 0\n",
        ),
        (
            "nothing",
            String::new(),
            "the body is not an AdmissionReview in JSON: expected a value at byte 0\n",
        ),
        ("truncated", truncated, "the body is not an AdmissionReview in JSON: expected "),
        (
            "trailing",
            format!("{whole}x"),
            "the body is not an AdmissionReview in JSON: expected nothing more at byte ",
        ),
        ("a list", "[]".into(), "the body is not an AdmissionReview in JSON: expected an object at byte 0"),
        (
            "no kind",
            "{}".into(),
            "expected kind AdmissionReview of admission.k8s.io/v1, found kind `` and apiVersion ``\n",
        ),
        (
            "another kind",
            json!({"kind": "Pod", "apiVersion": "v1"}).to_string(),
            "expected kind AdmissionReview of admission.k8s.io/v1, found kind `Pod` and apiVersion `v1`\n",
        ),
        (
            "another API",
            changed(|r| r["apiVersion"] = "v1".into()).to_string(),
            "expected kind AdmissionReview of admission.k8s.io/v1, found kind `AdmissionReview` and apiVersion `v1`\n",
        ),
        (
            "v1beta1",
            changed(|r| r["apiVersion"] = "admission.k8s.io/v1beta1".into()).to_string(),
            "`admission.k8s.io/v1beta1` is not supported: register the webhook with admissionReviewVersions [\"v1\"]\n",
        ),
        (
            "no request",
            changed(|r| {
                r.as_object_mut().unwrap().remove("request");
            })
            .to_string(),
            "the AdmissionReview has no `request`\n",
        ),
        (
            "a response",
            changed(|r| {
                r["request"] = Value::Null;
                r["response"] = json!({});
            })
            .to_string(),
            "the AdmissionReview has no `request`\n",
        ),
        (
            "no uid",
            changed(|r| r["request"]["uid"] = "".into()).to_string(),
            "`request.uid` is missing, empty or longer than 128 bytes\n",
        ),
        (
            "no object",
            changed(|r| r["request"]["object"] = Value::Null).to_string(),
            "`request.object` is missing, or has no `metadata`\n",
        ),
        (
            "no metadata",
            changed(|r| r["request"]["object"] = json!({})).to_string(),
            "`request.object` is missing, or has no `metadata`\n",
        ),
        (
            "labels of numbers",
            changed(|r| r["request"]["object"]["metadata"]["labels"] = json!({"a": 1})).to_string(),
            "the body is not an AdmissionReview in JSON: expected a text at byte ",
        ),
        (
            "an object that is text",
            changed(|r| r["request"]["object"] = "x".into()).to_string(),
            "the body is not an AdmissionReview in JSON: expected an object at byte ",
        ),
        (
            "a key twice",
            whole.replacen("\"uid\"", "\"uid\":\"a\",\"uid\"", 1),
            "the body is not an AdmissionReview in JSON: `uid` stands there twice",
        ),
    ];
    for (what, body, want) in cases {
        let (status, text) = post("/mutate", Some("application/json"), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {text}");
        assert!(text.starts_with(want), "{what}: {text}");
    }
}

#[tokio::test]
async fn what_is_not_ours_to_decide_is_allowed_unpatched_with_a_warning() {
    let operation = |operation: &str| changed(|r| r["request"]["operation"] = operation.into());
    let kind = |group: &str, version: &str, kind: &str| {
        changed(|r| r["request"]["kind"] = json!({"group": group, "version": version, "kind": kind}))
    };
    let mut pod_update = Thing::pod("registry").to_review();
    pod_update["request"]["operation"] = "UPDATE".into();
    let deleted = changed(|r| {
        r["request"]["operation"] = "DELETE".into();
        r["request"]["oldObject"] = r["request"]["object"].take();
    });
    let sub_resource = changed(|r| r["request"]["subResource"] = "token".into());
    let cases = [
        (deleted, "DELETE of ServiceAccount is not for this webhook: mend the webhook configuration"),
        (
            operation("CONNECT"),
            "CONNECT of ServiceAccount is not for this webhook: mend the webhook configuration",
        ),
        (
            kind("apps", "v1", "Deployment"),
            "CREATE of Deployment is not for this webhook: mend the webhook configuration",
        ),
        (
            kind("other.example.com", "v1", "Pod"),
            "CREATE of Pod is not for this webhook: mend the webhook configuration",
        ),
        (kind("", "v2", "Pod"), "CREATE of Pod is not for this webhook: mend the webhook configuration"),
        (pod_update, "UPDATE of Pod is not for this webhook: mend the webhook configuration"),
        (
            sub_resource,
            "CREATE of ServiceAccount/token is not for this webhook: mend the webhook configuration",
        ),
    ];
    for (review, want) in cases {
        let (status, body) = post_json(&review).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"].get("patch"), None, "{want}");
        assert_eq!(answer["response"]["warnings"], json!([format!("gitlab-iam-webhook: {want}")]));
    }
}

#[tokio::test]
async fn other_methods_paths_and_types_are_told_so() {
    let get = Request::builder().uri("/mutate").body(Body::empty()).unwrap();
    assert_eq!(
        send(get).await,
        (StatusCode::METHOD_NOT_ALLOWED, "method not allowed: send the AdmissionReview by POST\n".to_owned())
    );
    let (status, text) = post("/", Some("application/json"), review().to_string()).await;
    assert_eq!(
        (status, text.as_str()),
        (StatusCode::NOT_FOUND, "no such path: send reviews to /mutate, /observe or /validate\n")
    );
    for (content_type, found) in [
        (None, "none"),
        (Some("text/plain"), "\"text/plain\""),
        (Some("application/jsonx"), "\"application/jsonx\""),
    ] {
        let (status, text) = post("/mutate", content_type, review().to_string()).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(text, format!("expected content-type application/json, found {found}\n"));
    }
}

#[tokio::test]
async fn bodies_end_at_8_mib() {
    let (status, _) = post("/mutate", Some("application/json"), padded(8 << 20)).await;
    assert_eq!(status, StatusCode::OK, "8 MiB are taken");
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 8388608 bytes\n".to_owned());
    assert_eq!(post("/mutate", Some("application/json"), padded((8 << 20) + 1)).await, too_large);
    assert_eq!(post("/mutate", Some("application/json"), padded(9 << 20)).await, too_large);
}

/// Makes a review of so many bytes, with blanks at its end.
fn padded(bytes: usize) -> String {
    let mut text = review().to_string();
    text.push_str(&" ".repeat(bytes - text.len()));
    text
}

fn request(body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri("/mutate");
    request.header("content-type", "application/json").body(body.into()).unwrap()
}

#[tokio::test]
async fn a_long_body_of_no_announced_length_is_411() {
    let pieces = |bytes: usize| {
        let text = padded(bytes).into_bytes();
        let pieces: Vec<_> = text.chunks(1000).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    let (status, text) = send(request(pieces(16 << 10))).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let (status, text) = send(request(pieces((16 << 10) + 1))).await;
    let want = "a body of more than 16384 bytes needs a content-length: send it\n";
    assert_eq!((status, text.as_str()), (StatusCode::LENGTH_REQUIRED, want));
}

#[tokio::test]
async fn a_long_body_takes_room_in_the_pool_until_its_answer_has_been_sent_or_dropped() {
    let app = app_within(limits(), Pool::new(100 << 10));
    let post = |bytes: usize| app.clone().oneshot(request(padded(bytes)));
    let first = post(100 << 10).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let no_room = post(100 << 10).await.unwrap();
    assert_eq!(no_room.status(), StatusCode::SERVICE_UNAVAILABLE, "the first answer has not been taken yet");
    assert_eq!(post(90 << 10).await.unwrap().status(), StatusCode::OK, "it holds no more than it needs");
    assert_eq!(post(16 << 10).await.unwrap().status(), StatusCode::OK, "nearly every review asks for none");
    drop(first);
    assert_eq!(post(100 << 10).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn long_bodies_share_their_part_of_the_pool() {
    let limits = Limits { body_bytes: 150 << 10, ..limits() };
    let pool = Pool::new(memory::POOL);
    let app = app_within(limits, pool.clone());
    let post = |bytes: usize| app.clone().oneshot(request(padded(bytes)));
    assert_eq!(post(150 << 10).await.unwrap().status(), StatusCode::OK);
    assert_eq!(
        post(151 << 10).await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "the rest is for others"
    );
    let all = pool.take(memory::POOL).await;
    assert_eq!(post(20 << 10).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(all);
    assert_eq!(post(20 << 10).await.unwrap().status(), StatusCode::OK);
}

/// This test has one thread: whoever parses there keeps everybody else waiting.
#[tokio::test]
async fn a_long_body_is_parsed_aside_while_others_are_answered() {
    let labels: String = (0..300_000).map(|n| format!("\"l{n}\":\"\",")).collect();
    let long = review().to_string().replacen("\"labels\":{", &format!("\"labels\":{{{labels}"), 1);
    assert!(long.len() > 3_000_000);
    let app = app();
    let order = Mutex::new(Vec::new());
    let post = async |what: &'static str, body: String| {
        let response = app.clone().oneshot(request(body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        order.lock().unwrap().push(what);
    };
    tokio::join!(post("long", long), post("short", review().to_string()));
    assert_eq!(*order.lock().unwrap(), ["short", "long"]);
}

#[tokio::test]
async fn objects_without_labels_annotations_or_names_are_answered() {
    for metadata in [json!({}), json!({"labels": null, "annotations": null}), json!({"generateName": "x-"})] {
        for kind in ["Pod", "ServiceAccount"] {
            let review = changed(|r| {
                r["request"]["kind"]["kind"] = kind.into();
                r["request"]["object"] = json!({"metadata": metadata});
                r["request"].as_object_mut().unwrap().remove("userInfo");
                r["request"].as_object_mut().unwrap().remove("namespace");
            });
            let (status, body) = post_json(&review).await;
            assert_eq!(status, StatusCode::OK, "{body}");
        }
    }
}

#[tokio::test]
async fn what_comes_in_does_not_come_out_at_any_length() {
    let long = "u".repeat(1 << 20);
    for change in [
        changed(|r| r["request"]["uid"] = long.clone().into()),
        changed(|r| r["kind"] = long.clone().into()),
        changed(|r| r["apiVersion"] = format!("admission.k8s.io/{long}").into()),
    ] {
        let (status, text) = post_json(&change).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.len() < 300, "{} bytes", text.len());
    }
    let (status, text) = post_json(&changed(|r| r["kind"] = "a\nb".into())).await;
    assert_eq!((status, text.matches('\n').count()), (StatusCode::BAD_REQUEST, 1), "{text}");
}

#[tokio::test]
async fn escapes_in_json_are_understood() {
    let body = review().to_string().replace("\"registry-9.10.0\"", "\"regist\\u0072y-9.10.0\"");
    let (_, body) = post("/mutate", Some("application/json"), body).await;
    assert!(body.contains("\"patch\""), "{body}");
}

async fn validated(review: &Value) -> Value {
    let (status, body) = post("/validate", Some("application/json"), review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["response"]["uid"], "u");
    answer["response"].clone()
}

#[tokio::test]
async fn a_broken_mapping_is_refused_with_all_its_problems() {
    let refused =
        validated(&edit("CREATE", None, Some("rules: [{match: {component: kass}, skip: true}]\nx: 1\n")))
            .await;
    assert_eq!(refused["allowed"], false);
    let status = &refused["status"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")));
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("mapping.yaml has 2 problems\n  1:29: rules[0].match.component: unknown"),
        "{message}"
    );
    let cause = |field: &str, message: &str| json!({"reason": "FieldValueInvalid", "field": field, "message": message});
    assert_eq!(
        status["details"],
        json!({"kind": "ConfigMap", "name": "role-mapping", "causes": [
            cause("mapping.yaml:1:29", "rules[0].match.component: unknown component `kass`; did you mean `kas`?"),
            cause("mapping.yaml:2:1", "x: unknown key `x`; known are account, partition, provider, onConflict, onNoRule, irsa, kube2iam, kiam, rules"),
        ]})
    );
    let no_key = json!({"metadata": {}, "data": {"other": "x"}});
    let mut review = edit("UPDATE", Some("rules: []"), None);
    review["request"]["object"] = no_key;
    let refused = validated(&review).await;
    assert_eq!(
        refused["status"]["message"],
        "mapping.yaml has 1 problem\n  1:1: there is no `data` key `mapping.yaml`: give the text this key, as `kubectl create configmap \
         --from-file=mapping.yaml=FILE` does"
    );
}

#[tokio::test]
async fn an_answer_about_a_mapping_is_bounded_whatever_the_mapping_is() {
    let bad = "- {match: {component: kas}, role: \"é\\u0001$\"}\n";
    let bad = format!("rules:\n{}", bad.replace('$', &"é".repeat(20)).repeat(9_000));
    let refused = validated(&edit("CREATE", None, Some(&bad))).await;
    assert!(refused.to_string().len() < 256 << 10, "{} bytes", refused.to_string().len());
    let causes = refused["status"]["details"]["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 101);
    assert_eq!(causes[100]["message"], "and 8900 more");
    assert!(refused["status"]["message"].as_str().unwrap().ends_with("\n  and 8900 more"));
    let long = format!("rules: []\n#{}", "x".repeat(1 << 20));
    let refused = validated(&edit("CREATE", None, Some(&long))).await;
    assert_eq!(
        refused["status"]["message"],
        "mapping.yaml has 1 problem\n  1:1: the mapping has 1048587 bytes, a ConfigMap holds at most 1048576"
    );
}

/// This test has one thread, so that two edits are in the queue before anything else is sent.
#[tokio::test]
async fn a_probe_is_answered_while_edits_wait() {
    let pool = Pool::new(memory::POOL);
    let app = app_within(limits(), pool.clone());
    let send = |review: &Value| {
        let request = Request::post("/validate").header("content-type", "application/json");
        app.clone().oneshot(request.body(Body::from(review.to_string())).unwrap())
    };
    let change = edit("CREATE", None, Some(MAPPING));
    let mut probe = edit("CREATE", None, Some(PROBE));
    probe["request"]["name"] = "role-mapping-last-good".into();
    probe["request"]["dryRun"] = true.into();
    // No edit finds room.
    let all = pool.take(memory::POOL).await;
    let waiting = [tokio::spawn(send(&change)), tokio::spawn(send(&change))];
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(send(&change).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = send(&probe).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["response"]["allowed"], false, "{answer}");
    drop(all);
    for edit in waiting {
        edit.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_mapping_is_judged_where_there_is_room() {
    let pool = Pool::new(memory::POOL);
    let live = Arc::new(Live::new(ruleset(MAPPING)));
    let app = webhook::router(
        live,
        &Arc::new(Metrics::default()),
        limits(),
        webhook::InCluster::default(),
        pool.clone(),
    );
    let judged = async || {
        let body = edit("CREATE", None, Some(MAPPING)).to_string();
        let request =
            Request::post("/validate").header("content-type", "application/json").body(Body::from(body));
        app.clone().oneshot(request.unwrap()).await.unwrap().status()
    };
    let room = pool.take(memory::POOL).await;
    assert_eq!(judged().await, StatusCode::SERVICE_UNAVAILABLE);
    drop(room);
    assert_eq!(judged().await, StatusCode::OK);
    assert!(pool.take_within(memory::POOL, DEADLINE).await.is_some(), "all of it is given back");
}

#[tokio::test]
async fn a_good_mapping_may_stand_and_so_may_what_does_not_touch_it() {
    assert_eq!(validated(&edit("CREATE", None, Some(MAPPING))).await, json!({"uid": "u", "allowed": true}));
    let broken = "rules: [";
    assert_eq!(validated(&edit("UPDATE", Some(broken), Some(broken))).await["allowed"], true, "a label, say");
    assert_eq!(validated(&edit("DELETE", Some(MAPPING), None)).await["allowed"], true);
    let covered = "rules:\n  - {name: a, match: {namespace: x}, skip: true}\n  - {name: b, match: {namespace: x}, skip: true}\n";
    assert_eq!(
        validated(&edit("CREATE", None, Some(covered))).await["warnings"],
        json!(["gitlab-iam-webhook: 3:5: rule b never decides: rule `a` on line 2 covers it"])
    );
    let (status, text) = post("/validate", Some("application/json"), "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
}
