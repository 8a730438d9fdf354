//! What do the sections of the benchmarks' page say? This measures and prints the one that is there.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::struct_field_names,
    reason = "a bench stops at what is wrong, and prints what it finds"
)]

mod call;
mod section;

use section::Section;

fn main() {
    call::measure().keep();
    let section = Section::kept("call").unwrap();
    for table in &section.tables {
        println!("\n{}\n| {} |", table.caption, table.columns.join(" | "));
        for row in &table.rows {
            println!("| {} |", row.join(" | "));
        }
    }
    for goal in &section.goals {
        println!("{}: {}, seen {}: {}", goal.what, goal.goal, goal.seen, goal.is_reached);
    }
}

pub(crate) fn progress(what: &str) {
    eprintln!("{what}");
}
