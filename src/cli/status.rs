//! Which role should each ServiceAccount and Pod have, and which one has it? The command `status` tells it of
//! a cluster, of manifests, and of a mapping that is not in force yet.

mod gather;
mod html;
mod mend;
mod report;
mod table;
mod value;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::cluster_args::{self, ClusterArgs, NamespacesArgs};
use super::progress::Progress;
use super::{OperatorPolicyArgs, output};
use report::Report;

const EXAMPLES: &str = "Examples:
  See who has which role, in every namespace that has opted in or is observed:
    gitlab-iam-webhook status
  See what a mapping would change in the cluster before you apply it:
    gitlab-iam-webhook status -m mapping.yaml
  See what a chart still lacks, without a cluster:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
      gitlab-iam-webhook status -m mapping.yaml -n gitlab -f -
  Follow a rollout; or make a page for a review:
    gitlab-iam-webhook status -n gitlab --watch
    gitlab-iam-webhook status --output html >roles.html

The mapping in force, the allowed roles and the workload controllers are those of the
installation; with -m, --allowed-role and --workload-controller try others for the candidate.
What may not be read narrows the report, and the report says so. Nothing is changed.

Exit status: 0 when everything is as decided, 1 when something is not and could be (contested,
drift, stale, on-default), or, with --strict, something could not be looked at; with -m only
what that mapping itself changes, orphans or leaves on-default counts. 2 when nothing could be
looked at. What is observed does not count.";

/// The arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Look at these manifests in place of a cluster; `-` is standard input. Naming them opts them in. With
    /// it, -n is the namespace of the objects that name none. The option can be repeated.
    #[arg(
        long = "filename",
        short,
        value_name = "FILE",
        requires = "mapping",
        conflicts_with_all = ["all_namespaces", "kubeconfig", "context", "watch"]
    )]
    files: Vec<PathBuf>,

    /// A mapping, or the manifest of its ConfigMap. With a cluster, this says what would change if it came
    /// into force. Without this option, the one in force is looked at.
    #[arg(long, short, value_name = "FILE")]
    mapping: Option<PathBuf>,

    /// Go on, and print what changes. On a terminal the table is drawn again; elsewhere each change is a
    /// line. The cluster is asked every 5 seconds. Ctrl-C ends it.
    #[arg(long, short)]
    watch: bool,

    /// List every object: also those that no rule is about and, with a candidate, those that it does not
    /// touch. JSON, YAML and the page always have them.
    #[arg(long)]
    all: bool,

    /// Exit with 1 also when something could not be looked at.
    #[arg(long)]
    strict: bool,

    /// The name of the webhook configurations of the installation whose mapping is in force. Without it, the
    /// first that is found is meant.
    #[arg(long, value_name = "NAME", env = "GITLAB_IAM_WEBHOOK_WEBHOOK_CONFIGURATION")]
    webhook_configuration: Option<String>,

    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,

    #[command(flatten)]
    namespaces: NamespacesArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    policy: OperatorPolicyArgs,
}

/// The format of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people.
    Text,
    /// JSON for programs.
    Json,
    /// YAML for programs.
    Yaml,
    /// One page for a review or an audit, which needs nothing else: no script, no font, no network.
    Html,
}

pub(super) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    if args.watch {
        return cluster_args::block_on(watch::follow(args));
    }
    let report = if args.files.is_empty() {
        cluster_args::block_on(async {
            let mut progress = Progress::new();
            let api = args.cluster.connect().await?;
            gather::from_cluster(args, &api, |what| progress.tell(what)).await
        })?
    } else {
        gather::from_manifests(args)?
    };
    output::print(&text_of(args, &report)?)?;
    Ok(report.exit_code(args.strict))
}

fn text_of(args: &StatusArgs, report: &Report) -> anyhow::Result<String> {
    match args.output {
        Format::Text => Ok(table::text(report, args.all, has_colour())),
        Format::Json => Ok(output::json(&value::value(report))),
        Format::Yaml => output::yaml(&value::value(report)),
        Format::Html => Ok(html::page(report)),
    }
}

/// Whether standard output takes colours.
fn has_colour() -> bool {
    crate::telemetry::takes_colour(&std::io::stdout())
}
