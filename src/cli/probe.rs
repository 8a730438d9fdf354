//! Does the API server reach the webhook that is installed? The command `probe` tells.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::cluster_args::{self, ClusterArgs};
use super::output;
use crate::cluster::NamespacedName;
use crate::cluster::probe::{Outcome, Probe};

const EXAMPLES: &str = "Examples:
  gitlab-iam-webhook probe --mapping-config-map gitlab-iam-webhook/role-mapping \\
    --webhook-configuration gitlab-iam-webhook

The credentials of the cluster must allow to get both webhook configurations, and to patch
and create NAME-last-good; nothing is stored.
The answer holds for the one API server that gave it: where there are more, ask again.

Exit status: 0 when the API server reaches the webhook, 1 when it does not, 2 when nobody
can say, because the API server could not be asked or something else refused the dry run.";

/// How long to wait before the API server is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// The arguments of `probe`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ProbeArgs {
    /// The ConfigMap of the mapping. Beside it a broken text is written to NAME-last-good, as a dry run.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "GITLAB_IAM_WEBHOOK_MAPPING_CONFIG_MAP")]
    mapping_config_map: NamespacedName,

    /// The name of both webhook configurations.
    #[arg(long, value_name = "NAME", env = "GITLAB_IAM_WEBHOOK_WEBHOOK_CONFIGURATION")]
    webhook_configuration: String,

    /// For how long to ask again where the API server does not reach the webhook: right after an
    /// installation, that takes a moment.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    retry_for: Duration,

    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let outcome = cluster_args::block_on(ask(args))?;
    match outcome.reach().is_reached() {
        Some(is_reached) => {
            output::print(&format!("{outcome}\n"))?;
            Ok(ExitCode::from(u8::from(!is_reached)))
        }
        None => anyhow::bail!("{outcome}"),
    }
}

async fn ask(args: &ProbeArgs) -> anyhow::Result<Outcome> {
    let api = args.cluster.client().await?;
    let probe = Probe::new(api, &args.mapping_config_map, &args.webhook_configuration);
    let end = Instant::now() + args.retry_for;
    loop {
        let outcome = probe.ask().await;
        if outcome.reach().is_reached() == Some(true) || Instant::now() + PAUSE > end {
            return Ok(outcome);
        }
        sleep(PAUSE).await;
    }
}
