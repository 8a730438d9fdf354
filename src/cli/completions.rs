//! What can follow what was typed so far? Shells and kubectl ask, and the command `completions` tells shells
//! how to.
//!
//! Nothing is asked of a cluster: who presses the tab key must not wait.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use clap_complete::engine::{CompletionCandidate, complete};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::invocation::{CalledAs, options_before_the_command, options_behind_the_command};
use super::output;
use crate::shell;

const EXAMPLES: &str = "Examples:
  Complete in this shell, and with a line in ~/.bashrc or ~/.zshrc in each:
    source <(gitlab-iam-webhook completions bash)
    source <(gitlab-iam-webhook completions zsh)
  The same for fish, in ~/.config/fish/config.fish:
    gitlab-iam-webhook completions fish | source
  Complete `kubectl gitlab-iam`: kubectl asks a program of this name, which may be a link:
    ln -s \"$(command -v gitlab-iam-webhook)\" ~/bin/kubectl_complete-gitlab_iam

The shell asks this program itself at each tab, so what it completes is never older than the
program. No cluster is asked.

Exit status: 0, or 2 when the shell is not one of these.";

/// With this variable the scripts ask what can follow. Its value names the shell.
const VARIABLE: &str = "GITLAB_IAM_WEBHOOK_COMPLETE";

/// What is completed. zsh needs it on the line of the script that begins with `#compdef`.
const PROGRAM: &str = "gitlab-iam-webhook";

/// What cobra, by which kubectl reads its command line, calls `ShellCompDirectiveNoSpace` and
/// `ShellCompDirectiveNoFileComp`
/// (<https://pkg.go.dev/github.com/spf13/cobra#ShellCompDirective>).
const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;

/// The arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// The shells for which there is a script.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
        }
    }
}

/// Prints the script of a shell.
pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let asked = asked_program(env::args_os().next(), &env::current_dir().unwrap_or_default());
    output::print(&script(args.shell, &asked).context("writing the script")?)?;
    Ok(ExitCode::SUCCESS)
}

/// The script of a shell, which asks a program. In our own quotes, the name of a folder is neither run by
/// bash or zsh, nor taken for one of the words that clap fills in.
fn script(shell: Shell, asked: &str) -> anyhow::Result<String> {
    const PLACE: &str = "asked-program";
    let quotes = match shell {
        Shell::Bash => "\"",
        Shell::Zsh => "",
        Shell::Fish => return registration(shell, asked),
    };
    let script = registration(shell, PLACE)?;
    Ok(script.replace(&format!("{quotes}{PLACE}{quotes}"), &shell::word(asked)))
}

fn registration(shell: Shell, asked: &str) -> anyhow::Result<String> {
    let mut script = Vec::new();
    shell.completer().write_registration(VARIABLE, PROGRAM, PROGRAM, asked, &mut script)?;
    Ok(String::from_utf8(script)?)
}

/// The program that the script asks: the one that was called, wherever the shell is then.
fn asked_program(called: Option<OsString>, folder: &Path) -> String {
    let called = called.unwrap_or_else(|| PROGRAM.into());
    let is_path = Path::new(&called).components().count() > 1;
    let asked = if is_path { folder.join(called).into_os_string() } else { called };
    asked.to_string_lossy().into_owned()
}

/// Answers a shell or kubectl; `None` where nobody asks for completions.
pub(super) fn answer(called_as: CalledAs, words: &[OsString]) -> Option<anyhow::Result<ExitCode>> {
    if called_as == CalledAs::Completion {
        return Some(for_kubectl(words));
    }
    let shell = env::var(VARIABLE).ok().filter(|shell| !shell.is_empty())?;
    Some(for_shell(&shell, words))
}

/// The script gives the words that were typed behind `--`.
fn for_shell(shell: &str, words: &[OsString]) -> anyhow::Result<ExitCode> {
    let shell = Shell::from_str(shell, false)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("reading the variable {VARIABLE}"))?;
    let typed: Vec<OsString> = words.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    if are_options_only(&typed) {
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = CalledAs::Itself.command();
    let mut answer = Vec::new();
    let folder = env::current_dir().ok();
    let written =
        shell.completer().write_complete(&mut command, understood(typed), folder.as_deref(), &mut answer);
    written.context("completing what was typed")?;
    let answer = String::from_utf8_lossy(&answer);
    match (shell, env::var("_CLAP_IFS").ok().filter(|between| !between.is_empty())) {
        (Shell::Bash, Some(between)) => output::print(&for_bash(&answer, &between))?,
        _ => output::print(&answer)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// bash puts a candidate into the line as it is, where the name of a file may be a command of its own.
fn for_bash(answer: &str, between: &str) -> String {
    let quoted = |candidate: &str| match candidate.strip_suffix('/') {
        Some(folder) => format!("{}/", shell::word(folder)),
        None => shell::word(candidate),
    };
    let candidates =
        answer.split(between).filter(|text| !text.is_empty() && !text.contains(char::is_control));
    candidates.map(quoted).collect::<Vec<_>>().join(between)
}

/// kubectl gives the words behind the plugin's name, of which the last is being typed. It expects a line for
/// each that can follow, with its help behind a tab, and then what the shell is to do with them.
fn for_kubectl(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let mut words = words.to_vec();
    if words.len() < 2 {
        words.push(OsString::new());
    }
    if are_options_only(&words) {
        output::print(&for_cobra(&[]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let words = understood(words);
    let index = words.len() - 1;
    let folder = env::current_dir().ok();
    let is_begun = words.last().is_some_and(|word| !word.is_empty());
    let found = complete(&mut CalledAs::Completion.command(), words, index, folder.as_deref());
    let mut found = found.context("completing what was typed")?;
    let is_option =
        |candidate: &CompletionCandidate| candidate.get_value().as_encoded_bytes().starts_with(b"-");
    // As kubectl does itself, options are told where one is begun, or nothing else can follow.
    if !is_begun && !found.iter().all(is_option) {
        found.retain(|candidate| !is_option(candidate));
    }
    output::print(&for_cobra(&found))?;
    Ok(ExitCode::SUCCESS)
}

fn for_cobra(found: &[CompletionCandidate]) -> String {
    let mut text = String::new();
    let mut is_begun = false;
    for candidate in found {
        // A name of a file with a line break would be two of them.
        let value = candidate.get_value().to_string_lossy();
        if value.contains(char::is_control) {
            continue;
        }
        is_begun |= value.ends_with(['/', '=']);
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = match help.lines().next() {
            Some(help) => writeln!(text, "{value}\t{help}"),
            None => writeln!(text, "{value}"),
        };
    }
    let directive = if is_begun && found.len() == 1 { NO_SPACE | NO_FILES } else { NO_FILES };
    let _ = writeln!(text, ":{directive}");
    text
}

/// Whether the last word is an option of kubectl before the command, or the value of one. Nothing is known of
/// that here, as it would take a cluster.
fn are_options_only(words: &[OsString]) -> bool {
    words.len() > 1 && options_before_the_command(words) + 1 == words.len()
}

/// The words with kubectl's own options behind the command, unless the command is still being typed.
fn understood(words: Vec<OsString>) -> Vec<OsString> {
    let before = options_before_the_command(&words);
    if words.len() > before + 2 { options_behind_the_command(words) } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_asks_the_program_that_printed_it() {
        for (called, asked) in [
            ("gitlab-iam-webhook", "gitlab-iam-webhook"),
            ("/opt/x", "/opt/x"),
            ("bin/kubectl-gitlab_iam", "/home/me/bin/kubectl-gitlab_iam"),
        ] {
            assert_eq!(asked_program(Some(called.into()), Path::new("/home/me")), asked);
        }
        assert_eq!(asked_program(None, Path::new("/")), "gitlab-iam-webhook");
    }

    #[test]
    fn a_file_is_one_word_for_bash() {
        let answer = "a b\u{b}$(x)/\u{b}--all\u{b}a\nb\u{b}c/";
        assert_eq!(for_bash(answer, "\u{b}"), "'a b'\u{b}'$(x)'/\u{b}--all\u{b}c/");
        assert_eq!(for_bash("", "\u{b}"), "");
    }

    #[test]
    fn a_name_that_is_no_line_is_left_out() {
        let found = ["a\nb", "c/"].map(CompletionCandidate::new);
        assert_eq!(for_cobra(&found), "c/\n:4\n");
        assert_eq!(for_cobra(&found[1..]), "c/\n:6\n");
        assert_eq!(for_cobra(&[]), ":4\n");
    }
}
