//! Which rule decides on these objects, and why do the others not match? The command `explain` tells.

mod cluster;
mod json;
mod live;
mod manifests;
mod report;
mod shown;
mod table;
mod target;
mod text;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::cluster_args::{self, ClusterArgs};
use super::{OperatorPolicyArgs, OutputFormat, input};
use crate::engine::mapping;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use target::Target;

const EXAMPLES: &str = "Examples:
  Say which role a Pod of the cluster gets, by the mapping in force, and why:
    gitlab-iam-webhook explain pod/gitlab-registry-6f7d9c8b5d-x2k4p -n gitlab
  The same by a mapping that is not applied yet, for a workload and an account:
    gitlab-iam-webhook explain -m mapping.yaml -n gitlab deploy/gitlab-registry sa/gitlab-web
  What each object of a chart would get, and then all rules that were tried for one:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml >chart.yaml
    gitlab-iam-webhook explain -m mapping.yaml -n gitlab chart.yaml
    gitlab-iam-webhook explain -m mapping.yaml -n gitlab -f chart.yaml sa/gitlab-registry
  A Pod that GitLab Runner would ask for:
    gitlab-iam-webhook explain -m mapping.yaml job-pod.yaml \\
      --user system:serviceaccount:ci:gitlab-runner

What has the form KIND/NAME is an object of the cluster: a sa, pod, deploy, sts, ds, rs, job or
cronjob, by any name that kubectl takes. Everything else is a file, as is ./KIND/NAME. The role
of irsa is on a Pod's ServiceAccount: give explain both in one input, as `kubectl get sa,pods`
does.

Exit status: 0 when something was explained, 1 when the file has no ServiceAccount, Pod or Pod
template, 2 when a file or an object cannot be read, or is not there.";

/// Where kubectl, too, puts what names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// The arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// Objects of the cluster, as sa/NAME, pod/NAME or deploy/NAME; or one file with manifests or a review,
    /// where `-` is standard input, as it is where nothing is named.
    #[arg(value_name = "KIND/NAME|FILE", add = ArgValueCompleter::new(target::complete))]
    what: Vec<PathBuf>,

    /// The file with manifests, of which only the objects that are named are explained; `-` is standard
    /// input.
    #[arg(
        long = "filename",
        short,
        value_name = "FILE",
        conflicts_with_all = ["kubeconfig", "context", "as_user"]
    )]
    file: Option<PathBuf>,

    /// The file with the mapping. Without this option, objects of the cluster are explained by the mapping
    /// that is in force there.
    #[arg(long, short, value_name = "FILE")]
    mapping: Option<PathBuf>,

    /// The namespace: of the objects of the cluster, where it is that of the kubeconfig's context if this
    /// option is not given; of the objects of a file that name none, where it is `default`.
    #[arg(long, short, value_name = "NAMESPACE", value_parser = cluster_args::namespace)]
    namespace: Option<String>,

    /// The name of the webhook configurations of the installation that decides. Without it, it is the one
    /// that works in the namespace.
    #[arg(long, value_name = "NAME", env = "GITLAB_IAM_WEBHOOK_WEBHOOK_CONFIGURATION")]
    webhook_configuration: Option<String>,

    /// The username of who asks for the objects.
    ///
    /// Without this option, a Pod of a file counts as one that its workload's controller asks for, and rules
    /// with a runner do not match. A Pod of the cluster counts as asked for by the controller that owns it.
    /// The Pods of a template always count as asked for by a controller.
    #[arg(long)]
    user: Option<String>,

    /// Also tell the rules that were tried where there is more than one object.
    #[arg(long)]
    trace: bool,

    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    policy: OperatorPolicyArgs,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    if args.what.is_empty() && args.file.is_none() && io::stdin().is_terminal() {
        bail!("nothing is named that is to be explained: name an object, as sa/NAME, or a file");
    }
    match target::of(&args.what, args.file.as_deref())? {
        Target::Manifests { path, only } => {
            let mapping = args.mapping.as_ref().context(
                "finding the mapping: name it with -m FILE (only objects of the cluster, as \
                 sa/gitlab-registry, are explained by the mapping in force)",
            )?;
            let ruleset = read_mapping(mapping, &(&args.policy).into())?;
            manifests::explain(args, &ruleset, &path, &only)
        }
        Target::Cluster(objects) => {
            let gathered = cluster_args::block_on(cluster::gather(args, &objects))?;
            live::explain(args, &gathered)
        }
    }
}

fn read_mapping(path: &Path, policy: &OperatorPolicy) -> anyhow::Result<Ruleset> {
    let mapping = input::read(path)?;
    mapping::compile_file(&mapping.text, policy).with_context(|| format!("loading the mapping {mapping}"))
}
