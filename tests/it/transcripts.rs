//! Are the transcripts of docs/cli.md that need no cluster what is printed, and has each command one?

use std::process::Command;

use crate::page;
use crate::transcript::{PAGE, Terminal};

#[test]
fn what_needs_no_cluster_prints_what_the_page_shows() {
    let folder = tempfile::tempdir().unwrap();
    // The same width of help everywhere.
    Terminal::new(folder.path(), "", &[("COLUMNS", "100")]).compares("console");
}

#[test]
fn each_command_has_a_section_with_a_transcript() {
    let help = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("\nCommands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = commands.lines().filter(is_name).map(|line| line.split_whitespace().next().unwrap());
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(names.len() > 10, "{names:?}");
    let blocks = page::blocks(PAGE);
    for name in names {
        let typed = format!("gitlab-iam-webhook {name}");
        let is_shown = blocks.iter().any(|block| {
            block.section == name && block.language.starts_with("console") && block.text.contains(&typed)
        });
        assert!(is_shown, "{PAGE} has no section {name} with a transcript of it");
    }
}
