//! What did our replicas ask of the API server? Its audit log tells every call of their account.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// The account of the chart.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:gitlab-iam-webhook:gitlab-iam-webhook";

/// The audit log, in a folder of its own.
pub(crate) struct Audit {
    folder: tempfile::TempDir,
}

/// The calls from one moment on.
#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) patches: usize,
    /// Answered with 429.
    pub(crate) too_many: usize,
    /// The others, by verb and resource.
    pub(crate) others: BTreeMap<String, usize>,
    /// The most patches of one replica that were under way at once.
    pub(crate) most_at_once: usize,
}

impl Audit {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
        });
        fs::write(folder.path().join("policy.json"), policy.to_string()).unwrap();
        Self { folder }
    }

    /// With which the API server writes it.
    pub(crate) fn arguments(&self) -> String {
        let policy = self.folder.path().join("policy.json");
        format!("--audit-policy-file {} --audit-log-path {}", policy.display(), self.log().display())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// How long it is now.
    pub(crate) fn position(&self) -> u64 {
        length(&self.log())
    }

    pub(crate) fn since(&self, position: u64) -> Calls {
        let text = fs::read(self.log()).unwrap();
        let text = &text[usize::try_from(position).unwrap()..];
        let mut calls = Calls::default();
        let mut under_way: BTreeMap<String, Vec<(Timestamp, i32)>> = BTreeMap::new();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).unwrap();
            // A watch has two lines.
            let is_watch = event["verb"] == "watch";
            if is_watch && event["stage"] != "ResponseStarted" {
                continue;
            }
            let of = format!("{} {}", word(&event["verb"]), word(&event["objectRef"]["resource"]));
            calls.too_many += usize::from(event["responseStatus"]["code"] == 429);
            if of != "patch serviceaccounts" {
                *calls.others.entry(of).or_default() += 1;
                continue;
            }
            calls.patches += 1;
            let time = |key: &str| word(&event[key]).parse::<Timestamp>().unwrap();
            let replica = event["user"]["extra"]["authentication.kubernetes.io/credential-id"].to_string();
            let times = under_way.entry(replica).or_default();
            times.extend([(time("requestReceivedTimestamp"), 1), (time("stageTimestamp"), -1)]);
        }
        calls.most_at_once = under_way.into_values().map(most_at_once).max().unwrap_or_default();
        calls
    }
}

fn most_at_once(mut times: Vec<(Timestamp, i32)>) -> usize {
    // What ends at a moment ends before what begins then.
    times.sort();
    let mut now = 0;
    let most = times.into_iter().map(|(_, change)| {
        now += change;
        now
    });
    usize::try_from(most.max().unwrap_or_default()).unwrap()
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
