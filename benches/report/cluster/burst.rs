//! How long does it take until all Pods of a large Deployment exist?

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::Kind;
use super::variants::{FLOOR, NOTHING, OURS, POLICY, Variant};
use crate::progress;
use crate::section::Table;
use crate::stage::{Stage, eventually};

const PODS: usize = 500;
const TIMES: usize = 3;
const DEADLINE: Duration = Duration::from_mins(2);

pub(crate) struct Bursts {
    /// The seconds of each time.
    variants: Vec<(String, Vec<f64>, usize)>,
}

/// In turns.
pub(crate) fn measure(stage: &Stage, variants: &[Variant]) -> Bursts {
    let wanted = [NOTHING, OURS, FLOOR, POLICY];
    let chosen: Vec<&Variant> =
        variants.iter().filter(|variant| wanted.contains(&variant.name.as_str())).collect();
    let mut seen: Vec<_> = chosen.iter().map(|variant| (variant.name.clone(), Vec::new(), 0)).collect();
    for time in 0..TIMES {
        for (variant, (name, seconds, changed)) in chosen.iter().zip(&mut seen) {
            progress(&format!("cluster: {PODS} Pods of a Deployment, {name}, {} of {TIMES}", time + 1));
            let (took, pods) = once(stage, &variant.namespace);
            seconds.push(took.as_secs_f64());
            *changed += pods;
        }
    }
    Bursts { variants: seen }
}

/// The time until all exist, and how many of them were changed on their way.
fn once(stage: &Stage, namespace: &str) -> (Duration, usize) {
    let mut api = stage.connect();
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let version = api.get(&format!("{pods}?limit=1"))["metadata"]["resourceVersion"].clone();
    let begun = Instant::now();
    api.post(&deployments, &deployment(namespace));
    let (mut there, mut changed) = (0, 0);
    let version = version.as_str().unwrap().to_owned();
    stage.api.watch(&pods, version, DEADLINE, |event| {
        if event["type"] == "ADDED" {
            there += 1;
            let annotations = &event["object"]["metadata"]["annotations"];
            changed += usize::from(!annotations["iam.amazonaws.com/role"].is_null());
        }
        there == PODS
    });
    let took = begun.elapsed();
    api.ask(Method::DELETE, &format!("{deployments}/burst"), &json!({"propagationPolicy": "Background"}));
    eventually("the Pods are gone", || {
        let listed = api.get(&format!("{pods}?limit=1"));
        listed["items"].as_array().unwrap().is_empty().then_some(())
    });
    (took, changed)
}

/// Its Pods fit on no node, and are GitLab's webservice.
fn deployment(namespace: &str) -> Value {
    let pod = Kind::Pod.object(namespace);
    let (labels, mut spec) = (&pod["metadata"]["labels"], pod["spec"].clone());
    spec["nodeSelector"] = json!({"there-is": "none"});
    let annotations = &pod["metadata"]["annotations"];
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "burst"},
        "spec": {
            "replicas": PODS, "selector": {"matchLabels": {"app": labels["app"]}},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    })
}

impl Bursts {
    pub(crate) fn table(&self) -> Table {
        let rows = self.variants.iter().map(|(name, seconds, changed)| {
            let mut sorted = seconds.clone();
            sorted.sort_by(f64::total_cmp);
            let times: Vec<String> = sorted.iter().map(|time| format!("{time:.2}")).collect();
            let whole = PODS * TIMES;
            vec![
                name.clone(),
                format!("{:.2}", sorted[TIMES / 2]),
                times.join(", "),
                format!("{changed} of {whole}"),
            ]
        });
        Table {
            caption: format!(
                "Seconds until a Deployment's {PODS} Pods exist, in turns. No node fits them, so that none starts. \
                 The controller manager may make 1,000 calls a second here, and 20 by default. etcd writes \
                 without fsync:"
            ),
            columns: ["", "median", "each time", "Pods with a role"].map(str::to_owned).into(),
            rows: rows.collect(),
        }
    }
}
