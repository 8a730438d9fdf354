//! How are the decisions on many objects told in a table?

use super::shown::Shown;
use crate::cli::output::in_a_line;
use crate::engine::decision::Outcome;
use crate::engine::decision::explain::ThroughAccount;
use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::rules::rule::Rule;

/// A line: the object, its component, the role, the rule, and what came of it.
pub(super) type Row = [String; 5];

const HEADINGS: [&str; 5] = ["OBJECT", "COMPONENT", "ROLE", "RULE", "OUTCOME"];

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// The lines of an object: one for each provider that has something to tell, or one that says why there is
/// none.
pub(super) fn rows(shown: &Shown<'_>, named: &[Provider]) -> Vec<Row> {
    let (mut rows, mut without_rule) = (Vec::new(), Vec::new());
    for verdict in &shown.explanation.decision.verdicts {
        if verdict.provider == Provider::Irsa && shown.is_told_through_account(verdict, named) {
            match shown.through_account() {
                Some((_, ThroughAccount { verdict, role, .. })) => {
                    let is_nothing = verdict.outcome == Outcome::NoRule && role.is_none();
                    let outcome = format!("ServiceAccount: {}", verdict.outcome.name());
                    let to = if is_nothing { &mut without_rule } else { &mut rows };
                    to.push(row(shown, role.as_deref(), verdict.rule, &outcome));
                }
                None => without_rule.push(row(shown, None, verdict.rule, "ServiceAccount: not known")),
            }
        } else if shown.is_told(verdict, named) {
            let to = if verdict.outcome == Outcome::NoRule { &mut without_rule } else { &mut rows };
            to.push(row(shown, verdict.role.as_deref(), verdict.rule, verdict.outcome.name()));
        }
    }
    if rows.is_empty() {
        rows.extend(without_rule.pop());
    }
    if rows.is_empty() {
        rows.push(row(shown, None, None, Outcome::NoRule.name()));
    }
    rows
}

fn row(shown: &Shown<'_>, role: Option<&str>, rule: Option<&Rule>, outcome: &str) -> Row {
    let component = shown.explanation.facts.component.map(Component::name);
    [Some(shown.name().as_str()), component, role, rule.map(|rule| &*rule.name), Some(outcome)]
        .map(|cell| in_a_line(cell.unwrap_or(NOTHING)))
}

pub(super) fn as_text(rows: &[Row]) -> String {
    let headings = HEADINGS.map(str::to_owned);
    let all = || std::iter::once(&headings).chain(rows);
    let mut widths = [0; 5];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Row| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    all().map(line).collect()
}
