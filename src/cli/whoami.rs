//! Who is this process for AWS, and does STS give it that role? The command `whoami` tells inside a Pod.

mod metadata;
mod profile;
mod report;
mod sources;
mod web_identity;

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::cluster_args::block_on;
use super::progress::Progress;
use super::sts_args::{StsArgs, variable};
use super::{OutputFormat, output};
use crate::engine::object::provider::STS_AUDIENCE;
use metadata::NodeRole;
use report::Report;
use sources::sources;
use web_identity::{Outcome, WebIdentity};

const EXAMPLES: &str = "Examples:
  Ask with the ServiceAccount of the registry, in a Job (docs/verify.md has it):
    kubectl apply -f whoami-job.yaml
  Ask in a copy of a Pod, with the webhook's image in place of the container's own:
    kubectl -n gitlab debug POD --copy-to=whoami --container=CONTAINER \\
      --image=IMAGE -it -- /gitlab-iam-webhook whoami

An ephemeral container has nothing to ask about: it gets neither variables nor token.

The sources are told in the order of AWS's SDKs, and keys by the names of their variables
alone. Only a web identity can be proved without signing: of the role of another source,
this says where it comes from.

Exit status: 0 when STS gives the role of the web identity and an SDK would use it, 1 when
there is none, STS refuses it, another source comes before it or AWS_PROFILE names a
profile that does not exist, 2 when that could not be found out.";

/// The arguments of `whoami`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WhoamiArgs {
    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    /// The audience that the token must have, and no other beside it: a token for anybody else is not sent.
    #[arg(long, value_name = "AUDIENCE", default_value = STS_AUDIENCE)]
    audience: String,

    #[command(flatten)]
    sts: StsArgs,
}

pub(super) fn run(args: &WhoamiArgs) -> anyhow::Result<ExitCode> {
    let sts = args.sts.sts()?;
    let report = block_on(async {
        let mut progress = Progress::new();
        progress.tell("asking the metadata service");
        let node = NodeRole::ask(sts.http(), &variable).await;
        let profile = profile::read(&variable);
        let sources = sources(&variable, &profile, &node);
        progress.tell("asking STS");
        let identity = WebIdentity::ask(&sts, &variable, &args.audience).await;
        let is_pod = variable("KUBERNETES_SERVICE_HOST").is_some();
        Ok(Report { sources, node, identity, is_pod, has_missing_profile: profile.missing.is_some() })
    })?;
    output::print(&output::formatted(args.output, || report.as_text(), || report.as_json())?)?;
    match &report.identity.outcome {
        Outcome::Given(_) => {
            let is_used = report.web_identity_wins() && !report.has_missing_profile;
            Ok(ExitCode::from(u8::from(!is_used)))
        }
        Outcome::Absent | Outcome::Unusable(_) | Outcome::Refused { .. } => Ok(ExitCode::from(1)),
        Outcome::Unknown(why) => {
            Err(anyhow::anyhow!("{why}")).context("finding out whether STS gives the role")
        }
    }
}
