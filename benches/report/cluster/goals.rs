//! What was to be reached at the API server, and was it?

use super::variants::{FLOOR, KNOWN, OURS, OURS_MANY, POLICY, POLICY_MORE};
use super::{Column, Kind};
use crate::rounds::raised;
use crate::section::Goal;

/// The goals are about one client, where nothing waits for anything else.
pub(crate) fn all(columns: &[Column]) -> Vec<Goal> {
    let alone = |kind: Kind| columns.iter().find(move |column| column.kind == kind && column.clients == 1);
    let mut goals = Vec::new();
    for kind in Kind::BOTH {
        let column = alone(kind).unwrap();
        for name in [OURS, OURS_MANY] {
            goals.push(goal(column, name, FLOOR, 1.05));
        }
    }
    let (accounts, pods) = (alone(Kind::ServiceAccount).unwrap(), alone(Kind::Pod).unwrap());
    goals.push(goal(pods, OURS, POLICY, 1.0));
    // With 100 times the rules that the policy has.
    goals.push(goal(pods, OURS_MANY, POLICY_MORE, 1.0));
    goals.push(goal(accounts, OURS_MANY, POLICY_MORE, 1.0));
    for peer in pods.measured.iter().filter(|variant| !KNOWN.contains(&variant.name.as_str())) {
        goals.push(goal(pods, OURS, &peer.name, 0.65));
    }
    goals
}

/// That one adds at most so many times what another adds.
fn goal(column: &Column, of: &str, to: &str, most: f64) -> Goal {
    let ratio = column.ratio(column.of(of).unwrap(), column.of(to).unwrap());
    Goal {
        what: format!(
            "{}: what `{of}` adds to p50, over what `{to}` adds (interval {:.2} to {:.2})",
            column.kind.name(),
            ratio.low,
            ratio.high
        ),
        goal: format!("at most {most:.2}"),
        seen: Some(raised(ratio.value)),
        is_reached: ratio.value <= most,
    }
}
