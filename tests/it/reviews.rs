//! How does the running binary answer the reviews that a real API server sent?

use std::fs;

use serde_json::Value;

use crate::support::{Server, captured_reviews, data, patch_of};

#[tokio::test(flavor = "multi_thread")]
async fn each_captured_review_gets_its_answer_and_only_annotations_change() {
    let mapping = fs::read_to_string(data("one-rule-per-component.yaml")).unwrap();
    let server = Server::start(&mapping).await;
    let client = server.client();
    for path in ["/mutate", "/observe"] {
        for (name, review) in captured_reviews() {
            let (status, body) = server.post(&client, path, review.clone()).await;
            assert_eq!(status, 200, "{name}: {body}");
            let mut answer: Value = serde_json::from_str(&body).unwrap();
            let patch = patch_of(&answer);
            let review: Value = serde_json::from_slice(&review).unwrap();
            let before = &review["request"]["object"];
            let mut after = before.clone();
            let operations: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
            json_patch::patch(&mut after, &operations).unwrap();
            let without_annotations = |object: &Value| {
                let mut object = object.clone();
                object["metadata"].as_object_mut().unwrap().remove("annotations");
                object
            };
            assert_eq!(without_annotations(&after), without_annotations(before), "{name}");
            if answer["response"].get("patch").is_some() {
                answer["response"]["patch"] = patch;
            }
            insta::assert_json_snapshot!(format!("{}_{name}", path.trim_start_matches('/')), answer);
        }
    }
}
