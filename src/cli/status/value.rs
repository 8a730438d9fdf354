//! How is the report of `status` told to programs?

use serde_json::{Value, json};

use super::report::{Report, effect_name};
use crate::engine::decision::impact::Impact;
use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::status::{Mend, Row, State};

/// Makes one value of the report. Its keys are stable.
pub(super) fn value(report: &Report) -> Value {
    let at = &report.looked_at;
    let status = &report.status;
    let namespaces = at.namespaces.iter();
    let namespaces = namespaces.map(|(name, effect)| json!({"name": name, "effect": effect_name(*effect)}));
    let states: serde_json::Map<String, Value> =
        status.counts.states.iter().map(|(state, count)| (state.name().to_owned(), json!(count))).collect();
    let unread = report.unread.iter().map(|one| json!({"what": one.what, "why": one.why}));
    let mut all = json!({
        "lookedAt": {
            "at": humantime::format_rfc3339_seconds(report.at).to_string(),
            "cluster": at.cluster,
            "mapping": at.mapping,
            "candidate": at.candidate,
            "rules": at.rules,
            "namespaces": namespaces.collect::<Vec<_>>(),
            "manifests": at.manifests,
        },
        "counts": {
            "serviceAccounts": status.counts.service_accounts,
            "pods": status.counts.pods,
            "podTemplates": status.counts.templates,
            "states": states,
        },
        "hasDrift": status.has_drift(),
        "objects": status.rows.iter().map(|row| object(row, status.is_candidate)).collect::<Vec<_>>(),
        "notShown": status.more,
        "restart": restarts(report),
        "notLookedAt": unread.collect::<Vec<_>>(),
    });
    if let Some(all) = all.as_object_mut().filter(|_| status.is_candidate) {
        let candidate = json!({
            "enabled": impact(&status.impact),
            "observed": status.observed_impact.as_ref().map(impact),
            "newlyCovered": status.counts.newly_covered,
        });
        all.insert("impact".to_owned(), candidate);
    }
    all
}

fn impact(counts: &Impact) -> Value {
    json!({"serviceAccounts": counts.seen(), "changes": counts.changes(), "orphans": counts.orphans()})
}

fn object(row: &Row, is_candidate: bool) -> Value {
    let mut all = json!({
        "namespace": row.namespace,
        "kind": row.kind,
        "name": row.name,
        "component": row.component.map(Component::name),
        "provider": row.provider.map(Provider::name),
        "rule": row.rule,
        "wanted": row.wanted,
        "actual": row.actual,
        "state": row.state.name(),
        "wouldBe": row.would_be.map(State::name),
        "detail": row.detail,
        "mend": row.mend.as_ref().map(mend),
    });
    if let Some(all) = all.as_object_mut().filter(|_| is_candidate) {
        all.insert("newlyCovered".to_owned(), json!(row.is_newly_covered));
        all.insert("touched".to_owned(), json!(row.is_touched));
    }
    all
}

fn mend(mend: &Mend) -> Value {
    match mend {
        Mend::Readmit => json!({"action": "readmit"}),
        Mend::Settle => json!({"action": "settle"}),
        Mend::Restart { resource, name } => {
            json!({"action": "restart", "workload": format!("{resource}/{name}")})
        }
        Mend::AfterAccount { resource, name } => {
            json!({"action": "restart-later", "workload": format!("{resource}/{name}")})
        }
        Mend::ByHand(what) => json!({"action": "by-hand", "what": what}),
    }
}

/// The workloads that are to be restarted now.
fn restarts(report: &Report) -> Vec<Value> {
    let mending = report.status.mending();
    let one = |(namespace, resource, name): &(&str, &str, &str)| {
        let workload = format!("{resource}/{name}");
        json!({"namespace": namespace, "workload": workload})
    };
    mending.restart.iter().map(one).collect()
}
