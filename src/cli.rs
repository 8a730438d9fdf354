//! What can a person type? One file for each command; clap's types live only here.

mod check;
mod explain;
mod input;
mod output;
mod serve;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};

const EXAMPLES: &str = "Examples:
  Find everything that is wrong with a mapping:
    gitlab-iam-webhook check mapping.yaml
  See which role each object of a chart would get, and why:
    helm template gitlab gitlab/gitlab |
      gitlab-iam-webhook explain -m mapping.yaml -
  Serve it on this machine, with a certificate made on the spot:
    gitlab-iam-webhook serve --mapping mapping.yaml

Exit status: check 0 no problems, 1 problems; explain 0 explained, 1 nothing
to explain; 2 could not do it.";

/// GitLab's ServiceAccounts and Pods get their AWS IAM roles from one role mapping.
#[derive(Debug, Parser)]
#[command(name = "gitlab-iam-webhook", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the admission webhook over HTTPS.
    Serve(Box<serve::ServeArgs>),
    /// Find everything that is wrong with a mapping.
    Check(check::CheckArgs),
    /// Say for each object of a manifest which rule decides, and why the others do not.
    Explain(explain::ExplainArgs),
}

/// What the operator fixes and no mapping can exceed.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "OperatorPolicy of every mapping")]
struct BoundsArgs {
    /// A role that may be handed out; may be repeated (in the environment: separated by spaces). Without it, any may.
    ///
    /// A glob over the whole role ARN, in some namespaces only where a namespace glob stands before it:
    /// `arn:aws:iam::123456789012:role/gitlab-*`, `ci-*=arn:aws:iam::*:role/ci-*`.
    #[arg(
        long = "allowed-role",
        value_name = "[NAMESPACE-GLOB=]ARN-GLOB",
        env = "GITLAB_IAM_WEBHOOK_ALLOWED_ROLES",
        value_delimiter = ' '
    )]
    allowed_roles: Vec<AllowedRole>,

    /// A username that is believed as a workload controller, beside Kubernetes' own; may be repeated (in the environment:
    /// separated by spaces).
    ///
    /// On a Pod, GitLab's labels are believed only when a workload controller asked for it.
    #[arg(
        long = "workload-controller",
        value_name = "USER",
        env = "GITLAB_IAM_WEBHOOK_WORKLOAD_CONTROLLERS",
        value_delimiter = ' ',
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    workload_controllers: Vec<String>,
}

impl From<&BoundsArgs> for OperatorPolicy {
    fn from(args: &BoundsArgs) -> Self {
        let BoundsArgs { allowed_roles, workload_controllers } = args.clone();
        Self { workload_controllers, allowed_roles }
    }
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
    };
    done.unwrap_or_else(|error| {
        output::error(&format!("error: {error:#}"));
        ExitCode::from(2)
    })
}

/// `1 rule`, `2 rules`.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
