//! How is the benchmarks' page written? Each run makes it anew as a whole, of all sections that are kept.

use std::fmt::Write as _;
use std::fs;

use crate::machine::{Run, root};
use crate::plot;
use crate::section::{Section, Table};

const INTRODUCTION: &str = "\
# Benchmarks

`make bench` measures all of this and writes this page. `cargo bench --bench report -- SECTION` measures one
section anew, after `make bench` has built what it needs. It takes Linux, Rust, the Debian packages that the
scripts name, and Go, with which `tests/kube/build` builds the API server. A picture of where the time goes
takes `perf` too.

**How to read it.** Absolute times are those of one machine, which others may share, with the load generator
and the API server beside the webhook on the same cores. Compare figures of one table: what stands side by
side was measured in turns. No figure is rounded in our favour, and what is not reached is listed too.

The *floor* (`benches/floor.rs`) is the least that an admission webhook can cost on the same stack (axum,
axum-server, rustls): it answers each review with the same body and decides nothing.
";

/// Writes `docs/benchmarks.md` and its pictures.
pub(crate) fn write(sections: &[(Section, Run)]) {
    let mut page = INTRODUCTION.to_owned();
    page.push_str(&goals(sections));
    for (section, _) in sections {
        page.push_str(&text_of(section));
    }
    page.push_str(&runs(sections));
    let pictures = root().join("docs/benchmarks");
    fs::create_dir_all(&pictures).unwrap();
    for plot in sections.iter().flat_map(|(section, _)| &section.plots) {
        plot::draw(plot, &pictures.join(format!("{}.svg", plot.name)));
    }
    // Pictures that no section has any more.
    for picture in fs::read_dir(pictures).unwrap().map(Result::unwrap) {
        if !page.contains(&*format!("benchmarks/{}", picture.file_name().to_str().unwrap())) {
            fs::remove_file(picture.path()).unwrap();
        }
    }
    fs::write(root().join("docs/benchmarks.md"), page).unwrap();
}

fn goals(sections: &[(Section, Run)]) -> String {
    let rows = sections.iter().flat_map(|(section, _)| {
        section.goals.iter().map(|goal| {
            let reached = if goal.is_reached { "yes" } else { "**no**" };
            let link = format!("[{}](#{})", section.name, anchor(&section.title));
            vec![link, goal.what.clone(), goal.goal.clone(), goal.seen.clone(), reached.to_owned()]
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
fn runs(sections: &[(Section, Run)]) -> String {
    let mut alike: Vec<(Vec<&str>, &Run)> = Vec::new();
    for (section, run) in sections {
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
    let caption = "Each section says itself what else it used.".to_owned();
    let columns = std::iter::once("measured".to_owned()).chain(names).collect();
    format!("\n## Machine, versions and commit\n{}", table(&Table { caption, columns, rows: rows.collect() }))
}
