//! How is the benchmarks' page written? Each run makes it anew as a whole, of all sections that are kept.

use std::fmt::Write as _;
use std::fs;

use crate::machine::{Run, root};
use crate::plot;
use crate::section::{Kept, Section, Table};

const INTRODUCTION: &str = "\
# Benchmarks

What does the webhook cost an API server, and how much of that is its own work?
";

const READING: &str = "
**How to read this page.** Absolute times are those of one machine, which others may share, with the load
generator and the API server beside the webhook on the same cores. Compare figures of one table: what stands
side by side was measured in turns. A figure that is compared with a goal is rounded against us; all others are
rounded to the nearest digit, so that the two can differ in their last one. What is not reached is listed too.

The *floor* (`benches/floor.rs`) is the least that an admission webhook can cost on the same stack (axum,
axum-server, rustls, and the allocator): it answers each review with the same body and decides nothing.

**How to measure again.** `make bench` measures everything and writes this page;
`make bench SECTIONS=\"server memory\"` measures these sections alone. It takes Linux, Go (which builds the API
server), and the Debian packages valgrind and musl-tools, which it installs as root; for the section on where
the time goes, linux-perf, and for the image's size, root and buildah. What was measured is kept in
`docs/benchmarks/data`. Another webhook stands in the tables where `PEER` names it, as
`benches/report/cluster/peer.rs` tells; without `PEER` its rows are not there.
";

/// Writes `docs/benchmarks.md` and its pictures.
pub(crate) fn write(sections: &[Kept]) {
    let mut page = INTRODUCTION.to_owned();
    for summary in sections.iter().filter_map(|Kept { section, .. }| section.summary.as_ref()) {
        page.push_str(&table(summary));
    }
    page.push_str(READING);
    page.push_str(&goals(sections));
    for Kept { section, .. } in sections {
        page.push_str(&text_of(section));
    }
    page.push_str(&runs(sections));
    let pictures = root().join("docs/benchmarks");
    fs::create_dir_all(&pictures).unwrap();
    for plot in sections.iter().flat_map(|Kept { section, .. }| &section.plots) {
        plot::draw(plot, &pictures.join(format!("{}.svg", plot.name)));
    }
    // Pictures that no section has any more.
    for picture in fs::read_dir(pictures).unwrap().map(|picture| picture.unwrap().path()) {
        let name = picture.file_name().unwrap().to_str().unwrap();
        if picture.is_file() && !page.contains(&*format!("benchmarks/{name}")) {
            fs::remove_file(picture).unwrap();
        }
    }
    fs::write(root().join("docs/benchmarks.md"), page).unwrap();
}

fn goals(sections: &[Kept]) -> String {
    let rows = sections.iter().flat_map(|Kept { section, .. }| {
        section.goals.iter().map(|goal| {
            let (seen, reached) = match &goal.seen {
                None => ("not measured", ""),
                Some(seen) => (seen.as_str(), if goal.is_reached { "yes" } else { "**no**" }),
            };
            let link = format!("[{}](#{})", section.name, anchor(&section.title));
            vec![link, goal.what.clone(), goal.goal.clone(), seen.to_owned(), reached.to_owned()]
        })
    });
    let columns = ["section", "what", "goal", "seen", "reached"].map(str::to_owned).into();
    let caption = "What was to be reached, and what was seen:".to_owned();
    format!("\n## Goals\n{}", table(&Table { caption, columns, rows: rows.collect() }))
}

/// What GitHub makes of a heading in a link.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c)).collect::<String>().replace(' ', "-")
}

fn text_of(section: &Section) -> String {
    let mut text = format!("\n## {}\n", section.title);
    for paragraph in &section.text {
        write!(text, "\n{paragraph}\n").unwrap();
    }
    for of in &section.tables {
        text.push_str(&table(of));
    }
    for plot in &section.plots {
        write!(text, "\n![{}](benchmarks/{}.svg)\n", plot.title, plot.name).unwrap();
    }
    text
}

fn table(table: &Table) -> String {
    let Table { caption, columns, rows } = table;
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("\n{caption}\n\n{}", line(columns));
    // Figures stand under each other.
    let is_figures = |column: usize| {
        let mut cells = rows.iter().map(|row| row[column].trim_start_matches(['*', '+', '-', '<']));
        cells.all(|cell| cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit()))
    };
    let rules = (0..columns.len()).map(|column| if is_figures(column) { "---:" } else { "---" });
    writeln!(text, "|{}|", rules.collect::<Vec<_>>().join("|")).unwrap();
    for row in rows {
        assert_eq!(row.len(), columns.len(), "{caption}: {row:?}");
        text.push_str(&line(row));
    }
    text
}

/// Where and of what the sections were measured: a column for all that were measured alike.
fn runs(sections: &[Kept]) -> String {
    let mut alike: Vec<(Vec<&str>, &Run)> = Vec::new();
    for Kept { section, run } in sections {
        match alike.iter_mut().find(|(_, other)| *other == run) {
            Some((names, _)) => names.push(&section.name),
            None => alike.push((vec![&section.name], run)),
        }
    }
    let Some((_, first)) = alike.first() else { return String::new() };
    let names = alike.iter().map(|(names, _)| names.join(", "));
    let rows = first.facts.iter().map(|(fact, _)| {
        let found = |run: &Run| run.facts.iter().find(|(name, _)| name == fact).cloned();
        let values = alike.iter().map(|(_, run)| found(run).map_or_else(String::new, |(_, value)| value));
        std::iter::once(fact.clone()).chain(values).collect()
    });
    let caption = "The section `call` is built with glibc, all others for musl. Packages have an `opt-level` of their own, \
                   which [architecture.md](architecture.md#allocator-and-profile) explains."
        .to_owned();
    let columns = std::iter::once("measured".to_owned()).chain(names).collect();
    format!("\n## Machine, versions and commit\n{}", table(&Table { caption, columns, rows: rows.collect() }))
}
