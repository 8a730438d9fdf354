//! How does `status --watch` follow a cluster?
//!
//! The cluster is asked again every few seconds, page by page: no watch is left open, and nothing of one
//! round is kept but its rows.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::bail;

use super::report::Report;
use super::{Format, StatusArgs, gather, has_colour, table};
use crate::cli::output;
use crate::cli::plain::plain;
use crate::engine::object::provider::Provider;
use crate::status::{Row, State};

/// How long to wait between two rounds.
const PAUSE: Duration = Duration::from_secs(5);

/// Follows the cluster until the process is ended, or nobody reads any more.
pub(super) async fn follow(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    if args.output != Format::Text {
        bail!("following the cluster: --watch prints text only: take --output off");
    }
    if args.mapping.as_deref().is_some_and(gather::is_standard_input) {
        bail!("following the cluster: the mapping is read again each time: save it to a file and name that");
    }
    let api = args.cluster.connect().await?;
    let is_terminal = std::io::stdout().is_terminal();
    // The first round must work. Later ones may fail: the cluster may be gone for a while.
    let mut last = gather::from_cluster(args, &api, |_| ()).await?;
    let mut drawn = draw(&last, args.all, is_terminal);
    let mut is_read = output::print_while_read(&drawn)?;
    while is_read {
        tokio::time::sleep(PAUSE).await;
        let report = match gather::from_cluster(args, &api, |_| ()).await {
            Ok(report) => report,
            Err(error) => {
                output::error(&format!("error: {error:#}; asking again"));
                continue;
            }
        };
        let text = if is_terminal { draw(&report, args.all, true) } else { changes(&last, &report) };
        // A table that is as it was is not drawn again.
        if text != drawn {
            is_read = output::print_while_read(&text)?;
        }
        drawn = if is_terminal { text } else { String::new() };
        last = report;
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole report; on a terminal it takes the place of the one before.
fn draw(report: &Report, shows_all: bool, is_terminal: bool) -> String {
    let text = table::text(report, shows_all, has_colour());
    if is_terminal { format!("\x1b[H\x1b[2J\x1b[3J{text}") } else { text }
}

/// What differs from the round before, a line for each row.
fn changes(before: &Report, after: &Report) -> String {
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let (old, new) = (by_object(before), by_object(after));
    let mut lines = Vec::new();
    for (object, row) in &new {
        match old.get(object) {
            None => lines.push(format!("{time} {}: new: {}\n", name(row), standing(row))),
            Some(was) if standing(was) != standing(row) => {
                lines.push(format!("{time} {}: {} -> {}\n", name(row), standing(was), standing(row)));
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(object, _)| !new.contains_key(*object));
    lines.extend(gone.map(|(_, row)| format!("{time} {}: gone\n", name(row))));
    lines.concat()
}

/// What makes a row that of the same object.
type Object<'r> = (&'r str, &'r str, &'r str, Option<&'static str>);

fn by_object(report: &Report) -> BTreeMap<Object<'_>, &Row> {
    report.status.rows.iter().map(|row| (object(row), row)).collect()
}

fn object(row: &Row) -> Object<'_> {
    (&row.namespace, &row.kind, &row.name, row.provider.map(Provider::name))
}

fn name(row: &Row) -> String {
    plain(&format!("{} {}/{}", row.kind, row.namespace, row.name))
}

fn standing(row: &Row) -> String {
    let role = row.actual.as_deref().unwrap_or("no role");
    let would = row.would_be.map(State::name).map(|state| format!(" ({state})")).unwrap_or_default();
    plain(&format!("{}{would} with {role}", row.state.name()))
}
