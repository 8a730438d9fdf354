//! Can every example of `--help` be typed as it stands there, however wide the terminal is?

use std::io::Write as _;
use std::process::{Command, Stdio};

/// The longest line of what stands behind the options.
const WIDTH: usize = 96;

/// What an example may begin with, and what may follow a pipe.
const PROGRAMS: [&str; 9] =
    ["gitlab-iam-webhook", "kubectl", "helm", "kustomize", "source", "ln", "aws", "git", "curl"];

/// The help of a command, as it is shown in so many columns.
fn help(arguments: &[&str], columns: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    let done = command.args(arguments).env("COLUMNS", columns).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{arguments:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// The names of all commands.
fn commands() -> Vec<String> {
    let help = help(&["--help"], "200");
    let (_, list) = help.split_once("\nCommands:\n").unwrap();
    let list = list.lines().take_while(|line| !line.is_empty());
    // What a command is for may take two lines.
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split_once(' ').map(|(name, _)| name));
    names.filter(|name| !["", "help"].contains(name)).map(str::to_owned).collect()
}

/// The lines of a help's examples that are typed.
fn typed(examples: &str) -> Vec<&str> {
    let paragraph = examples.lines().take_while(|line| !line.is_empty());
    paragraph.filter(|line| line.starts_with("    ") || !line.ends_with(':')).collect()
}

fn is_understood_by_bash(script: &str) -> bool {
    let mut bash =
        Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    bash.wait().unwrap().success()
}

#[test]
fn examples_can_be_typed_as_they_stand_in_any_width() {
    let commands = commands();
    assert!(commands.len() >= 14, "{commands:?}");
    let mut asked: Vec<Vec<&str>> = vec![vec!["-h"], vec!["--help"]];
    for command in &commands {
        asked.extend([vec![command, "-h"], vec![command, "--help"], vec!["help", command]]);
    }
    let mut count = 0;
    for arguments in asked {
        let behind = |columns: &str| {
            let help = help(&arguments, columns);
            let (_, behind) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{arguments:?}"));
            behind.to_owned()
        };
        let text = behind("100");
        assert_eq!(behind("40"), text, "{arguments:?}");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{arguments:?}: {line}");
        }
        let lines = typed(&text);
        assert!(is_understood_by_bash(&lines.join("\n")), "{arguments:?}: {lines:#?}");
        let mut goes_on = false;
        for line in lines {
            let word = line.split_whitespace().next().unwrap();
            let begins = PROGRAMS.contains(&word) || word == "#";
            assert!(begins || goes_on, "{arguments:?}: {line}");
            goes_on = line.ends_with(['\\', '|']);
            count += 1;
        }
        assert!(!goes_on, "{arguments:?}: {text}");
    }
    assert!(count > 100, "{count}");
}
