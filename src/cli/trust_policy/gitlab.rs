//! Which jobs of GitLab take a role with their own `id_tokens`, as the command line says it?

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::{Made, TrustPolicyArgs, conclude, length_warning, print};
use crate::cli::output;
use crate::engine::rules::arn;
use crate::trust_policy::gitlab::{Jobs, RefType};
use crate::trust_policy::{Issuer, Trusts};

/// The jobs that take a role with GitLab's own `id_tokens`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Jobs outside Kubernetes")]
pub(super) struct GitlabArgs {
    /// The URL of GitLab, for jobs that use its own `id_tokens`. No mapping is needed.
    #[arg(long, value_name = "URL", requires_all = ["project", "ref", "audience", "role"])]
    gitlab: Option<Issuer>,

    /// The project of the jobs. `GROUP/*` stands for every project of a group and of its subgroups.
    #[arg(long, value_name = "GROUP/NAME", requires = "gitlab")]
    project: Option<String>,

    /// The branch or the tag of the jobs. A `*` stands for any characters.
    #[arg(id = "ref", long = "ref", value_name = "REF", requires = "gitlab")]
    reference: Option<String>,

    /// What the ref is.
    #[arg(long, value_enum, default_value_t = RefTypeArg::Branch)]
    ref_type: RefTypeArg,

    /// The audience that the `id_tokens` of the job ask for.
    #[arg(long, value_name = "AUDIENCE", requires = "gitlab")]
    audience: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RefTypeArg {
    /// A branch.
    Branch,
    /// A tag.
    Tag,
}

impl GitlabArgs {
    pub(super) fn is_asked_for(&self) -> bool {
        self.gitlab.is_some()
    }
}

/// Prints the policy for the jobs.
pub(super) fn run(args: &TrustPolicyArgs) -> anyhow::Result<ExitCode> {
    let GitlabArgs { gitlab, project, reference, ref_type, audience } = &args.gitlab;
    // clap has seen to it that all of them are there.
    let (Some(issuer), Some(project), Some(reference), Some(audience), Some(role)) =
        (gitlab, project, reference, audience, &args.role)
    else {
        anyhow::bail!("--gitlab needs --project, --ref, --audience and --role");
    };
    let doing = "making the trust policy for jobs of GitLab";
    arn::check_arn(role).context(doing)?;
    let reference_type = match ref_type {
        RefTypeArg::Branch => RefType::Branch,
        RefTypeArg::Tag => RefType::Tag,
    };
    let jobs = Jobs { issuer, project, reference, reference_type, audience, role };
    let made = [Made { role, trust: None, policy: jobs.policy().context(doing)? }];
    let mut warnings = jobs.warnings();
    warnings.extend(made.iter().filter_map(length_warning));
    let trusts = Trusts::default();
    output::print(&print::all(args, &made, &trusts, &warnings)?)?;
    conclude(&trusts, &warnings)
}
