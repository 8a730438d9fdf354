//! What can a person type on the command line? Each command has a file, and only these know clap's types.

mod annotate;
mod check;
mod cluster_args;
mod doctor;
mod explain;
mod import;
mod input;
mod output;
mod probe;
mod progress;
mod schema;
mod serve;
mod sts_args;
mod trust_policy;
mod verify;
mod whoami;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};

const EXAMPLES: &str = "Examples:
  Find everything that is wrong with a mapping:
    gitlab-iam-webhook check mapping.yaml
  See which role each object of a chart would get, and why:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
      gitlab-iam-webhook explain -m mapping.yaml -n gitlab -
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
    /// Serve the admission webhook over HTTPS.
    Serve(Box<serve::ServeArgs>),
    /// Find everything that is wrong with a mapping.
    ///
    /// The mapping is the text of a file, or stands under the key `mapping.yaml` in the manifest of a
    /// ConfigMap.
    Check(check::CheckArgs),
    /// Say for each object of a manifest which rule decides, and why the others do not.
    ///
    /// The objects are the ServiceAccounts, Pods and Pod templates of a manifest in YAML or JSON, also in
    /// lists, or the one of an AdmissionReview in JSON.
    Explain(explain::ExplainArgs),
    /// Print manifests with the roles that a mapping gives their objects.
    ///
    /// The manifests are a stream of YAML or JSON, also with lists: the ServiceAccounts, the Pods, and the
    /// Pod templates of workloads get the annotations that the webhook would write on them.
    Annotate(Box<annotate::AnnotateArgs>),
    /// Make a mapping of what there is: values of GitLab's charts, or the objects of a namespace.
    ///
    /// The rules give the roles that are given today, and never more. What would give more is a decision,
    /// which stands as a comment at the end of the mapping.
    Import(Box<import::ImportArgs>),
    /// Print the JSON Schema of a mapping, with which editors check it while it is written.
    Schema(schema::SchemaArgs),
    /// Ask the API server whether it reaches the webhook that is installed.
    ///
    /// The API server is asked to write a broken mapping, as a dry run: if it reaches the webhook, the
    /// webhook refuses that. Readiness cannot see this, because the kubelet reaches Pods by another way.
    Probe(probe::ProbeArgs),
    /// Ask AWS's STS whether it gives each ServiceAccount the role that it has.
    ///
    /// Both sides are proved before any Pod starts again: the API server's issuer, IAM's OIDC provider, and
    /// the trust policies.
    Verify(Box<verify::VerifyArgs>),
    /// Say inside a Pod who it is for AWS: which credentials an SDK would use, and what STS says of the role.
    Whoami(Box<whoami::WhoamiArgs>),
    /// Print the IAM trust policies that a mapping needs, or compare one that exists.
    ///
    /// A role is given twice: the webhook names it on a ServiceAccount, and the role's trust policy lets
    /// that ServiceAccount in. The policies let in exactly those to whom the mapping gives the role.
    TrustPolicy(Box<trust_policy::TrustPolicyArgs>),
    /// Find everything that is wrong where a role does not arrive, or is not used.
    ///
    /// The webhook's own installation is looked at, and GitLab: its ServiceAccounts, Pods, ConfigMaps, and
    /// with --secrets its Secrets. Each finding says what is wrong, where, and how to mend it.
    Doctor(Box<doctor::DoctorArgs>),
}

/// What the operator allows, whatever a mapping says.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What the operator allows")]
struct OperatorPolicyArgs {
    /// A role that the mapping may give. Without this option it may give any.
    ///
    /// The value is a glob that matches the whole ARN of a role: `arn:aws:iam::123456789012:role/gitlab-*`.
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
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Annotate(args) => annotate::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Whoami(args) => whoami::run(&args),
        Command::TrustPolicy(args) => trust_policy::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    };
    done.unwrap_or_else(|error| {
        output::error(&format!("error: {error:#}"));
        ExitCode::from(2)
    })
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
