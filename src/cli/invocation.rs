//! Under which name was this program called, and what does that change?
//!
//! kubectl runs `kubectl-gitlab_iam` for `kubectl gitlab-iam`, and asks `kubectl_complete-gitlab_iam` what
//! can follow
//! (<https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>). Both may be links to this program.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
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

/// How these are called in what is told, and their long names.
const OPTIONS: [(&str, &str); 6] = [
    ("-n", "namespace"),
    ("-A", "all-namespaces"),
    ("--context", "context"),
    ("--kubeconfig", "kubeconfig"),
    ("--as", "as"),
    ("--as-group", "as-group"),
];

/// The command that is about a cluster without an option that names it.
const IN_A_CLUSTER: &str = "serve";

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
        let command = match self {
            Self::Itself => command,
            Self::Plugin | Self::Completion => {
                for_kubectl(command).mut_subcommands(for_kubectl).bin_name(TYPED_FOR_KUBECTL.trim_end())
            }
        };
        with_whole_lines(command).mut_subcommands(with_whole_lines)
    }
}

/// Puts the examples into the template of the help, where clap leaves lines as they are. Elsewhere it breaks
/// them at the width of the terminal, and a broken one cannot be typed.
fn with_whole_lines(command: Command) -> Command {
    let Some(examples) = command.get_after_help().map(ToString::to_string) else { return command };
    let options = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}";
    command.help_template(format!("{options}\n\n{examples}"))
}

fn for_kubectl(command: Command) -> Command {
    let Some(examples) = command.get_after_help().map(ToString::to_string) else { return command };
    let line = |line: &str| {
        let typed = line.trim_start();
        let indent = line.strip_suffix(typed).unwrap_or_default();
        match typed.strip_prefix(TYPED) {
            Some(rest) => format!("{indent}{TYPED_FOR_KUBECTL}{rest}"),
            None => line.replace(&format!("| {TYPED}"), &format!("| {TYPED_FOR_KUBECTL}")),
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

/// Says of an option of kubectl that a command does not take which ones it does take. `words` is the command
/// line with the command first.
pub(super) fn with_advice(mut error: clap::Error, cli: &Command, words: &[OsString]) -> clap::Error {
    let command = words.get(1).and_then(|word| cli.find_subcommand(word));
    let (Some(command), Some(ContextValue::String(wrong))) = (command, error.get(ContextKind::InvalidArg))
    else {
        return error;
    };
    let wrong = wrong.split(['=', ' ']).next().unwrap_or_default();
    if !WITH_VALUE.contains(&wrong) && !WITHOUT_VALUE.contains(&wrong) {
        return error;
    }
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let is_taken = |long: &str| command.get_arguments().any(|argument| argument.get_long() == Some(long));
    let taken: Vec<&str> =
        OPTIONS.iter().filter(|(_, long)| is_taken(long)).map(|(option, _)| *option).collect();
    let name = command.get_name();
    let takes = match taken.split_last() {
        None => format!("{name} takes none of kubectl's options"),
        Some((one, [])) => format!("of kubectl's options, {name} takes {one} only"),
        Some((last, others)) => {
            format!("of kubectl's options, {name} takes {} and {last}", others.join(", "))
        }
    };
    let asks_no_cluster = !is_taken("kubeconfig") && name != IN_A_CLUSTER;
    let why = if asks_no_cluster { ", because it asks no cluster" } else { "" };
    error.remove(ContextKind::SuggestedArg);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![format!("{takes}{why}").into()]));
    error
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
    fn a_command_says_which_of_kubectls_options_it_takes() {
        for (typed, said) in [
            ("x check -A m", "tip: check takes none of kubectl's options, because it asks no cluster"),
            ("x -n gitlab check m", "tip: check takes none of kubectl's options, because it asks no cluster"),
            (
                "x --context=c annotate",
                "tip: of kubectl's options, annotate takes -n only, because it asks no",
            ),
            ("x serve --as-group g", "tip: serve takes none of kubectl's options\n"),
            (
                "x explain -A sa/a",
                "tip: of kubectl's options, explain takes -n, --context, --kubeconfig, --as and --as-group\n",
            ),
            ("x probe -nx", "tip: of kubectl's options, probe takes --context, --kubeconfig, --as and --as"),
            // What kubectl has not either is as clap says it.
            ("x check --jsn m", "tip: to pass '--jsn' as a value, use '-- --jsn'"),
            ("x chek -A m", "unrecognized subcommand 'chek'"),
        ] {
            let words: Vec<OsString> = typed.split_whitespace().map(OsString::from).collect();
            let words = options_behind_the_command(words);
            let mut command = CalledAs::Plugin.command();
            let error = command.try_get_matches_from_mut(words.clone()).unwrap_err();
            let error = with_advice(error, &command, &words).to_string();
            assert!(error.contains(said), "{typed}: {error}");
            assert_eq!(error.matches("tip: ").count(), 1, "{typed}: {error}");
        }
        for command in Cli::command().get_subcommands().filter(|one| one.get_name() != IN_A_CLUSTER) {
            let asks = ["context", "kubeconfig"]
                .map(|long| command.get_arguments().any(|argument| argument.get_long() == Some(long)));
            assert_eq!(asks[0], asks[1], "{}", command.get_name());
        }
    }

    #[test]
    fn the_page_says_which_commands_take_these_options() {
        let page = include_str!("../../docs/cli.md");
        let (_, table) = page.split_once("| options | commands |\n|---|---|\n").unwrap();
        let quoted =
            |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let mut told = 0;
        for row in table.lines().take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = row.split('|').collect();
            for long in quoted(cells[1]).iter().filter_map(|option| option.strip_prefix("--")) {
                let cli = Cli::command();
                let takes =
                    |command: &&Command| command.get_arguments().any(|one| one.get_long() == Some(long));
                let names = cli.get_subcommands().filter(takes).map(|command| command.get_name().to_owned());
                assert_eq!(quoted(cells[2]), names.collect::<Vec<_>>(), "{long}");
                told += 1;
            }
        }
        assert_eq!(told, OPTIONS.len());
    }

    #[test]
    fn for_kubectl_all_examples_are_what_is_typed_there() {
        let mut command = CalledAs::Plugin.command();
        let mut examples = 0;
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines().map(str::trim_start) {
                assert!(!line.starts_with(TYPED) && !line.contains(&format!("| {TYPED}")), "{line}");
                examples += usize::from(line.starts_with(TYPED_FOR_KUBECTL));
            }
        }
        assert!(examples > 20, "{examples}");
    }
}
