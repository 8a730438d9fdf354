//! Does a review take no more memory than its bytes and its weight, whatever stands in it?

use gitlab_iam_webhook::engine::admission::mutate::Mode;
use gitlab_iam_webhook::engine::admission::parse;
use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;

use crate::Alone;

/// How many bytes any review may take beyond its own and its weight.
const SMALL: usize = 32 << 10;

const MAPPING: &str = "account: \"123456789012\"\nonConflict: replace\nrules:\n  - {match: {labels: {team: \"*\"}}, skip: true}\n  - {match: {namespace: \"*\"}, role: given}\n";

fn review(members: &str, metadata: &str) -> Vec<u8> {
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"hostile","kind":{{"group":"","version":"v1","kind":"ServiceAccount"}},"operation":"CREATE","namespace":"busy","userInfo":{{"username":"developer"}}{members},"object":{{"metadata":{metadata}}}}}}}"#
    )
    .into_bytes()
}

fn role(value: &str) -> Vec<u8> {
    review("", &format!(r#"{{"name":"x","annotations":{{"eks.amazonaws.com/role-arn":"{value}"}}}}"#))
}

#[test]
fn a_review_takes_no_more_than_its_bytes_and_what_it_says_it_weighs() {
    let alone = Alone::begin();
    let labels: String = (0..600_000).map(|n| format!("\"{n}\":\"\",")).collect();
    let escapes = "\\n".repeat(4_000_000);
    let applied =
        format!(r#"{{\"annotations\":{{{}\"a\":\"b\"}},\"rule\":\"x\"}}"#, r#"\"a\":\"b\","#.repeat(15_000));
    let ruleset = mapping::compile(MAPPING, &OperatorPolicy::default()).unwrap();
    let bodies = [
        review("", &format!(r#"{{"labels":{{{labels}"team":"a"}}}}"#)),
        review("", &format!(r#"{{"labels":{{"team":"{escapes}"}}}}"#)),
        review("", &format!(r#"{{"labels":{{"{escapes}":"team"}}}}"#)),
        review("", &format!(r#"{{"name":"{escapes}"}}"#)),
        review("", &format!(r#""{escapes}""#)),
        review(&format!(r#","name":"{escapes}""#), "{}"),
        review(&format!(r#","dryRun":"{escapes}""#), "{}"),
        review(&format!(r#","options":{}"#, "[".repeat(8_000_000)), "{}"),
        vec![b'['; 8 << 20],
        role(&"x".repeat(250_000)),
        role(&"\\u003c".repeat(250_000)),
        role(&"\\u0001".repeat(250_000)),
        role(&escapes),
        review("", &format!(r#"{{"name":"x","annotations":{{"gitlab-iam-webhook/applied":"{applied}"}}}}"#)),
    ];
    for body in bodies {
        let mut weight = 0;
        let (answered, peak, _) = alone.peak(|| {
            let request = parse(&body, &ruleset)?;
            weight = request.weight()?;
            request.answer(Mode::Mutate).map(|reply| reply.body.len())
        });
        let start = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
        assert!(peak <= weight + SMALL, "{peak} bytes for {answered:?} of weight {weight}: {start}");
        assert!(weight <= 6 << 20, "with a body of 8 MiB it fits into the pool");
    }
}
