//! What can a person type on the command line? Each command has a file, and only these know clap's types.

mod annotate;
mod check;
mod cluster_args;
mod completions;
mod doctor;
mod explain;
mod import;
mod input;
mod invocation;
mod output;
mod plain;
mod policy;
mod probe;
mod progress;
mod schema;
mod serve;
mod status;
mod sts_args;
mod trust_policy;
mod verify;
mod whoami;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, ColorChoice, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use self::invocation::CalledAs;
use crate::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};
use crate::telemetry;

const EXAMPLES: &str = "Examples:
  Find everything that is wrong with a mapping:
    gitlab-iam-webhook check mapping.yaml
  See which role each object of a chart would get; and why one of the cluster gets its own:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
      gitlab-iam-webhook explain -m mapping.yaml -n gitlab -
    gitlab-iam-webhook explain -n gitlab deploy/gitlab-registry
  See which role each ServiceAccount and Pod has; and what a mapping would change:
    gitlab-iam-webhook status
    gitlab-iam-webhook status -m mapping.yaml
  Put the roles into manifests, where no webhook runs:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
      gitlab-iam-webhook annotate -m mapping.yaml -n gitlab >gitlab.yaml
  Find out why a role does not arrive, or is not used; then ask AWS itself:
    gitlab-iam-webhook doctor
    gitlab-iam-webhook verify
  Make a mapping of the values that give GitLab its roles today:
    gitlab-iam-webhook import -n gitlab --values values.yaml >mapping.yaml
  Serve it on this machine, with a certificate made on the spot:
    gitlab-iam-webhook serve --mapping mapping.yaml
  Ask whether the API server reaches the webhook that is installed:
    gitlab-iam-webhook probe --mapping-config-map gitlab-iam-webhook/role-mapping \\
      --webhook-configuration gitlab-iam-webhook
  Print the IAM trust policies that a mapping needs, with the issuer of the cluster:
    gitlab-iam-webhook trust-policy -m mapping.yaml -A
  Give the roles without a webhook, by a policy of the API server:
    gitlab-iam-webhook policy -m mapping.yaml \\
      --allowed-role 'arn:aws:iam::123456789012:role/gitlab*' |
      kubectl apply --server-side -f -

Exit status: 0 when there is nothing to report, 1 when a command found what it looks for
(problems, a refusal), 2 when it could not do what was asked. `help COMMAND` says more.";

/// GitLab's ServiceAccounts and Pods get their AWS IAM roles from one role mapping.
#[derive(Debug, Parser)]
#[command(name = "gitlab-iam-webhook", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // The order is that of the help: what a mapping does, what is wrong, where a mapping comes from and goes
    // to, the webhook itself, the command line itself.
    /// Find everything that is wrong with a mapping.
    ///
    /// The mapping is the text of a file, or stands under the key `mapping.yaml` in the manifest of a
    /// ConfigMap.
    Check(check::CheckArgs),
    /// Say for an object which rule decides, and why the others do not.
    ///
    /// The objects are ServiceAccounts, Pods and workloads of a cluster, those of a manifest in YAML or JSON,
    /// also in lists, or the one of an AdmissionReview in JSON.
    Explain(Box<explain::ExplainArgs>),
    /// Print manifests with the roles that a mapping gives their objects.
    ///
    /// The manifests are a stream of YAML or JSON, also with lists: the ServiceAccounts, the Pods, and the
    /// Pod templates of workloads get the annotations that the webhook would write on them.
    Annotate(Box<annotate::AnnotateArgs>),
    /// Say which role each ServiceAccount and Pod should have, and which one it has.
    ///
    /// With a mapping that is not in force yet, it says what that would change, before anybody applies it.
    /// Of Pods that run with an older role it prints the commands that restart exactly those.
    Status(Box<status::StatusArgs>),
    /// Find everything that is wrong where a role does not arrive, or is not used.
    ///
    /// The webhook's own installation is looked at, and GitLab: its ServiceAccounts, Pods, ConfigMaps, and
    /// with --secrets its Secrets. Each finding says what is wrong, where, and how to mend it.
    Doctor(Box<doctor::DoctorArgs>),
    /// Ask AWS's STS whether it gives each ServiceAccount the role that it has.
    ///
    /// Both sides are proved before any Pod starts again: the API server's issuer, IAM's OIDC provider, and
    /// the trust policies.
    Verify(Box<verify::VerifyArgs>),
    /// Say inside a Pod who it is for AWS: which credentials an SDK would use, and what STS says of the role.
    Whoami(Box<whoami::WhoamiArgs>),
    /// Make a mapping of what there is: values of GitLab's charts, or the objects of a namespace.
    ///
    /// The rules give the roles that are given today, and never more. What would give more is a decision,
    /// which stands as a comment at the end of the mapping.
    Import(Box<import::ImportArgs>),
    /// Print a mapping as a policy of the API server, for a cluster that wants no webhook.
    ///
    /// A mutating admission policy, its binding and a ConfigMap are printed, for Kubernetes 1.36 and later.
    /// The policy's text is the same for every mapping: the ConfigMap holds the mapping as data.
    Policy(Box<policy::PolicyArgs>),
    /// Print the IAM trust policies that a mapping needs, or compare one that exists.
    ///
    /// A role is given twice: the webhook names it on a ServiceAccount, and the role's trust policy lets
    /// that ServiceAccount in. The policies let in exactly those to whom the mapping gives the role.
    TrustPolicy(Box<trust_policy::TrustPolicyArgs>),
    /// Print the JSON Schema of a mapping, with which editors check it while it is written.
    Schema(schema::SchemaArgs),
    /// Serve the admission webhook over HTTPS.
    Serve(Box<serve::ServeArgs>),
    /// Ask the API server whether it reaches the webhook that is installed.
    ///
    /// The API server is asked to write a broken mapping, as a dry run: if it reaches the webhook, the
    /// webhook refuses that. Readiness cannot see this, because the kubelet reaches Pods by another way.
    Probe(probe::ProbeArgs),
    /// Print what makes a shell complete commands, options and files.
    Completions(completions::CompletionsArgs),
}

/// What the operator allows, whatever a mapping says.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What the operator allows")]
struct OperatorPolicyArgs {
    /// A role that the mapping may give. Without this option it may give any.
    ///
    /// The value is a glob that matches the whole ARN of a role: `arn:aws:iam::123456789012:role/gitlab*`.
    /// With a namespace glob before it, it allows the role in these namespaces only:
    /// `ci-*=arn:aws:iam::*:role/ci-*`. The option can be repeated; in the environment, spaces separate
    /// the values.
    #[arg(
        long = "allowed-role",
        value_name = "[NAMESPACE-GLOB=]ARN-GLOB",
        env = "GITLAB_IAM_WEBHOOK_ALLOWED_ROLES",
        value_delimiter = ' '
    )]
    allowed_roles: Vec<AllowedRole>,

    /// A username that is believed as a workload controller, beside those of Kubernetes.
    ///
    /// GitLab's labels on a Pod are believed only when a workload controller asked for the Pod. The option
    /// can be repeated; in the environment, spaces separate the values.
    #[arg(
        long = "workload-controller",
        value_name = "USER",
        env = "GITLAB_IAM_WEBHOOK_WORKLOAD_CONTROLLERS",
        value_delimiter = ' ',
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    workload_controllers: Vec<String>,
}

impl From<&OperatorPolicyArgs> for OperatorPolicy {
    fn from(args: &OperatorPolicyArgs) -> Self {
        let OperatorPolicyArgs { allowed_roles, workload_controllers } = args.clone();
        Self { workload_controllers, allowed_roles }
    }
}

/// The format of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// Text for people.
    Text,
    /// JSON for programs.
    Json,
    /// YAML for programs.
    Yaml,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    let called_as = CalledAs::of(words.first());
    let done = completions::answer(called_as, &words).unwrap_or_else(|| run(called_as, words));
    done.unwrap_or_else(|error| {
        output::error(&format!("error: {error:#}"));
        ExitCode::from(2)
    })
}

fn run(called_as: CalledAs, words: Vec<OsString>) -> anyhow::Result<ExitCode> {
    // By itself, clap colours its help on a terminal without colours where `CI` is set.
    let colour = if telemetry::environment_takes_colour() { ColorChoice::Auto } else { ColorChoice::Never };
    let mut command = called_as.command().color(colour);
    let words = invocation::options_behind_the_command(words);
    let typed = command.try_get_matches_from_mut(words.clone());
    let typed = typed.unwrap_or_else(|error| invocation::with_advice(error, &command, &words).exit());
    let cli = Cli::from_arg_matches(&typed).unwrap_or_else(|error| error.format(&mut command).exit());
    match cli.command {
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Annotate(args) => annotate::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Whoami(args) => whoami::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::TrustPolicy(args) => trust_policy::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Serve(args) => serve::run(*args),
        Command::Probe(args) => probe::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Writes a count with its noun: `1 rule`, `2 rules`.
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
