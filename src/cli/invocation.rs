//! Under which name was this program called, and what does that change?
//!
//! kubectl runs `kubectl-gitlab_iam` for `kubectl gitlab-iam`, and asks `kubectl_complete-gitlab_iam` what
//! can follow
//! (<https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>). Both may be links to this program.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Command, CommandFactory};

use super::Cli;

/// The name under which kubectl runs a plugin.
const PLUGIN: &str = "kubectl-gitlab_iam";

/// The name under which kubectl asks for completions of that plugin.
const COMPLETION: &str = "kubectl_complete-gitlab_iam";

/// How a person types our own name at the beginning of an example, and that of the plugin.
const TYPED: &str = "gitlab-iam-webhook ";
const TYPED_FOR_KUBECTL: &str = "kubectl gitlab-iam ";

/// The options of kubectl that have a value, and those that have none.
const WITH_VALUE: [&str; 6] = ["-n", "--namespace", "--context", "--kubeconfig", "--as", "--as-group"];
const WITHOUT_VALUE: [&str; 2] = ["-A", "--all-namespaces"];

/// The name under which this program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CalledAs {
    /// Its own name, or any that says nothing.
    Itself,
    /// That of the plugin of kubectl.
    Plugin,
    /// That under which kubectl asks for completions.
    Completion,
}

impl CalledAs {
    /// By the first word of the command line, which may be a path.
    pub(super) fn of(program: Option<&OsString>) -> Self {
        let name = program.and_then(|program| Path::new(program).file_name()).and_then(OsStr::to_str);
        match name {
            Some(PLUGIN) => Self::Plugin,
            Some(COMPLETION) => Self::Completion,
            _ => Self::Itself,
        }
    }

    /// The command line. For kubectl, its usage and its examples say what is typed there.
    pub(super) fn command(self) -> Command {
        let command = Cli::command();
        match self {
            Self::Itself => command,
            Self::Plugin | Self::Completion => {
                for_kubectl(command).mut_subcommands(for_kubectl).bin_name(TYPED_FOR_KUBECTL.trim_end())
            }
        }
    }
}

fn for_kubectl(command: Command) -> Command {
    let Some(examples) = command.get_after_help().map(ToString::to_string) else { return command };
    let line = |line: &str| {
        let typed = line.trim_start();
        let indent = line.strip_suffix(typed).unwrap_or_default();
        match typed.strip_prefix(TYPED) {
            Some(rest) => format!("{indent}{TYPED_FOR_KUBECTL}{rest}"),
            None => line.to_owned(),
        }
    };
    command.after_help(examples.lines().map(line).collect::<Vec<_>>().join("\n"))
}

/// Puts kubectl's own options that stand before the command behind it, so that `kubectl gitlab-iam -n gitlab
/// verify` is understood as `kubectl gitlab-iam verify -n gitlab`. Where no command follows, they say nothing
/// and are left out.
pub(super) fn options_behind_the_command(words: Vec<OsString>) -> Vec<OsString> {
    let count = options_before_the_command(&words);
    let mut words = words.into_iter();
    let program = words.next();
    let options: Vec<OsString> = words.by_ref().take(count).collect();
    let command = words.next();
    let options = if command.is_some() { options } else { Vec::new() };
    program.into_iter().chain(command).chain(options).chain(words).collect()
}

/// How many words before the command are options of kubectl and their values.
pub(super) fn options_before_the_command(words: &[OsString]) -> usize {
    let mut count = 0;
    let mut rest = words.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    while let Some(word) = rest.next() {
        if WITH_VALUE.contains(&word) {
            count += if rest.next().is_some() { 2 } else { 1 };
        } else if WITHOUT_VALUE.contains(&word) || has_its_value(word) {
            count += 1;
        } else {
            break;
        }
    }
    count
}

/// Whether it is an option with its value: `-ngitlab` or `--context=NAME`.
fn has_its_value(word: &str) -> bool {
    let long = word.split_once('=').is_some_and(|(option, _)| WITH_VALUE.contains(&option));
    long || word.strip_prefix("-n").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_first_word_says_who_calls() {
        for (program, called_as) in [
            ("gitlab-iam-webhook", CalledAs::Itself),
            ("/usr/local/bin/kubectl-gitlab_iam", CalledAs::Plugin),
            ("kubectl_complete-gitlab_iam", CalledAs::Completion),
            ("/kubectl-gitlab_iam/x", CalledAs::Itself),
            ("", CalledAs::Itself),
        ] {
            assert_eq!(CalledAs::of(Some(&program.into())), called_as, "{program}");
        }
        assert_eq!(CalledAs::of(None), CalledAs::Itself);
    }

    #[test]
    fn options_of_kubectl_may_stand_before_the_command() {
        for (typed, understood) in [
            ("x verify -n a", "x verify -n a"),
            ("x -n a verify b", "x verify -n a b"),
            ("x -na -A --context=c --as u verify", "x verify -na -A --context=c --as u"),
            (
                "x --namespace=a --kubeconfig k --as-group=g verify",
                "x verify --namespace=a --kubeconfig k --as-group=g",
            ),
            ("x -n a", "x"),
            ("x -n", "x"),
            ("x", "x"),
            ("", ""),
            ("x --output json verify", "x --output json verify"),
            ("x --name verify", "x --name verify"),
        ] {
            let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
            assert_eq!(options_behind_the_command(words(typed)), words(understood), "{typed}");
        }
    }

    #[test]
    fn for_kubectl_all_examples_are_what_is_typed_there() {
        let mut command = CalledAs::Plugin.command();
        let mut examples = 0;
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines().map(str::trim_start) {
                assert!(!line.starts_with(TYPED) || line.contains("<("), "{line}");
                examples += usize::from(line.starts_with(TYPED_FOR_KUBECTL));
            }
        }
        assert!(examples > 20, "{examples}");
    }
}
