//! How is the report of `status` printed for people?

use std::borrow::Cow;
use std::fmt::Write as _;

use super::mend;
use super::report::{PLACED, Report, effect_name};
use crate::cli::counted;
use crate::cli::plain::plain;
use crate::status::{Counts, Effect, Row, State, Status};

/// Writes the report as text: what was looked at, the table, what is to be done, and the counts at last.
pub(super) fn text(report: &Report, shows_all: bool, has_colour: bool) -> String {
    let mut text = head(report);
    text.push_str(&table(report, shows_all, has_colour));
    text.push_str(&mend::text(report));
    text.push_str(&tail(report, shows_all));
    text
}

fn head(report: &Report) -> String {
    let mut text = String::new();
    let at = &report.looked_at;
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12}{}", plain(value));
    };
    match (&at.candidate, &at.mapping) {
        (Some(candidate), mapping) => {
            line("candidate:", &format!("{candidate}, {}", counted(at.rules, "rule")));
            line("in force:", mapping.as_deref().unwrap_or("not known"));
        }
        (None, mapping) => {
            let mapping = mapping.as_deref().unwrap_or("not known");
            line("mapping:", &format!("{mapping}, {}", counted(at.rules, "rule")));
        }
    }
    if !at.manifests.is_empty() {
        line("manifests:", &at.manifests.join(", "));
    }
    line("namespaces:", &namespaces(&at.namespaces));
    if at.takes_default {
        line("", PLACED);
    }
    if let Some(prefix) = report.common_prefix() {
        line("roles:", &format!("{SHORTENED} stands for {prefix}"));
    }
    text.push('\n');
    text
}

/// Names the namespaces; of many, only some.
fn namespaces(all: &[(String, Effect)]) -> String {
    const MOST: usize = 10;
    if all.is_empty() {
        return "none that the webhook looks after has the label gitlab-iam-webhook/inject=enabled or \
                =observe"
            .to_owned();
    }
    let name = |(name, effect): &(String, Effect)| match effect {
        Effect::Enabled => name.clone(),
        Effect::Observed => format!("{name} ({})", effect_name(*effect)),
    };
    let mut names: Vec<String> = all.iter().take(MOST).map(name).collect();
    if all.len() > MOST {
        names.push(format!("and {} more", all.len() - MOST));
    }
    names.join(", ")
}

/// The columns of a row.
const COLUMNS: usize = 8;

fn table(report: &Report, shows_all: bool, has_colour: bool) -> String {
    let is_candidate = report.status.is_candidate;
    let (wanted, actual) = if is_candidate { ("AFTER", "BEFORE") } else { ("WANTED", "HAS") };
    let heads = ["STATE", "NAMESPACE", "OBJECT", "COMPONENT", "RULE", actual, wanted, "NOTE"];
    let prefix = report.common_prefix();
    let rows = report.status.rows.iter();
    let mut shown: Vec<&Row> = rows.filter(|row| shows_all || is_listed(row)).collect();
    // The worst comes first, and what is as decided last.
    shown.sort_by_key(|row| row.state);
    if shown.is_empty() {
        return String::new();
    }
    let cells: Vec<[String; COLUMNS]> = shown.iter().map(|row| cells(row, prefix)).collect();
    let width = |column: usize| {
        let all = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        all.chain(heads.get(column).map(|head| head.len())).max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = line(&heads.map(str::to_owned), &widths, None);
    for (row, cells) in shown.iter().zip(&cells) {
        text.push_str(&line(cells, &widths, has_colour.then_some(row.state)));
    }
    text.push('\n');
    text
}

/// Whether a row is worth a line although nobody asked for all: some rule is about it, and the candidate
/// touches it where one is looked at.
fn is_listed(row: &Row) -> bool {
    row.is_touched && row.state != State::NoRule
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS], state: Option<State>) -> String {
    const STATE: usize = 0;
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padded = format!("{cell:<width$}");
        match state.filter(|_| column == STATE).and_then(colour) {
            Some(colour) => {
                let _ = write!(text, "\x1b[{colour}m{padded}\x1b[0m   ");
            }
            None => {
                let _ = write!(text, "{padded}   ");
            }
        }
    }
    format!("{}\n", text.trim_end())
}

/// The colour of a state, as terminals number them.
fn colour(state: State) -> Option<u8> {
    const RED: u8 = 31;
    const GREEN: u8 = 32;
    const YELLOW: u8 = 33;
    match state {
        State::Contested | State::Drift | State::Stale | State::OnDefault | State::Refused => Some(RED),
        State::Changes | State::Conflict | State::Orphaned | State::Observed | State::Unknown => Some(YELLOW),
        State::InStep => Some(GREEN),
        State::Skipped | State::OptedOut | State::NoRule => None,
    }
}

fn cells(row: &Row, prefix: Option<&str>) -> [String; COLUMNS] {
    let role = |role: &Option<String>| {
        role.as_deref().map_or_else(none, |role| capped(&plain(&short(role, prefix))))
    };
    let name = |text: &str| capped(&plain(text));
    [
        row.state.name().to_owned(),
        name(&row.namespace),
        name(&format!("{}/{}", short_kind(&row.kind), row.name)),
        row.component.map_or_else(none, |component| component.name().to_owned()),
        row.rule.as_deref().map_or_else(none, name),
        role(&row.actual),
        role(&row.wanted),
        plain(&note(row)),
    ]
}

/// A cell of the table. Only mischief makes longer ones, which --output json has whole.
fn capped(text: &str) -> String {
    const MOST: usize = 120;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What stands in the last column.
pub(super) fn note(row: &Row) -> String {
    let new = if row.is_newly_covered == Some(true) { "newly covered" } else { "" };
    let parts = [new, &row.detail];
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("; ")
}

fn none() -> String {
    "-".to_owned()
}

/// What stands for the beginning of most roles. No role begins so.
pub(super) const SHORTENED: &str = "…";

/// A role with that in place of what most of them begin with.
pub(super) fn short<'r>(role: &'r str, prefix: Option<&str>) -> Cow<'r, str> {
    match prefix.and_then(|prefix| role.strip_prefix(prefix)) {
        Some(rest) => Cow::Owned(format!("{SHORTENED}{rest}")),
        None => Cow::Borrowed(role),
    }
}

/// The name of a kind as kubectl abbreviates it, and as `explain` takes it.
fn short_kind(kind: &str) -> &str {
    match kind {
        "ServiceAccount" => "sa",
        "Pod" => "pod",
        "Deployment" => "deploy",
        "StatefulSet" => "sts",
        "DaemonSet" => "ds",
        "ReplicaSet" => "rs",
        "Job" => "job",
        "CronJob" => "cj",
        other => other,
    }
}

/// Counts the rows by their states, the worst first, and says which of them are not listed.
fn counts(status: &Status, shows_all: bool) -> Vec<String> {
    let all: usize = status.counts.states.values().sum();
    let touched: usize = status.counts.touched.values().sum();
    let told = |(state, count): (&State, &usize)| {
        let hidden = if *state == State::NoRule && !shows_all { " (listed with --all)" } else { "" };
        format!("{count} {}{hidden}", state.name())
    };
    let mut counts: Vec<String> = status.counts.touched.iter().map(told).collect();
    if all > touched {
        let hidden = if shows_all { "" } else { " (listed with --all)" };
        counts.push(format!("{} not touched{hidden}", all - touched));
    }
    counts
}

/// What a candidate does, in the numbers that its edit is told; nothing where none is looked at.
pub(super) fn impact(report: &Report) -> Vec<String> {
    let status = &report.status;
    if !status.is_candidate {
        return Vec::new();
    }
    let warnings = status.impact.warnings(status.observed_impact.as_ref(), !report.lacks_accounts);
    let told = |warning: &String| {
        let told = warning.strip_prefix("gitlab-iam-webhook: ").unwrap_or(warning);
        told.split(';').next().unwrap_or(told).to_owned()
    };
    let covered = format!("newly covered {}", counted(status.counts.newly_covered, "ServiceAccount"));
    warnings.iter().map(told).chain([covered]).collect()
}

fn tail(report: &Report, shows_all: bool) -> String {
    let mut text = String::new();
    for one in &report.unread {
        let _ = writeln!(text, "not looked at: {}: {}", plain(&one.what), plain(&one.why));
    }
    let status = &report.status;
    if status.more > 0 {
        let _ = writeln!(text, "not shown: {}", counted(status.more, "more row"));
    }
    for line in impact(report) {
        let _ = writeln!(text, "{line}");
    }
    let counts = counts(status, shows_all);
    let rows = if counts.is_empty() { "nothing to look at".to_owned() } else { counts.join(", ") };
    let Counts { service_accounts, pods, templates, .. } = status.counts;
    let templates =
        if templates > 0 { format!(", {}", counted(templates, "Pod template")) } else { String::new() };
    let (accounts, pods) = (counted(service_accounts, "ServiceAccount"), counted(pods, "Pod"));
    let _ = writeln!(text, "{accounts}, {pods}{templates}: {rows}");
    text
}
