//! Which IAM trust policies does this mapping need? The command `trust-policy` tells.

mod gitlab;
mod print;
mod sources;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::cluster_args::{ClusterArgs, NamespacesArgs};
use super::{OperatorPolicyArgs, counted, input, output};
use crate::engine::mapping;
use crate::engine::object::provider::Provider;
use crate::engine::rules::arn;
use crate::engine::rules::rule::Action;
use crate::engine::rules::ruleset::Ruleset;
use crate::trust_policy::policy::{HIGHEST_QUOTA, QUOTA};
use crate::trust_policy::{self, Issuer, Lack, Policy, Trust, Trusts};
use sources::Gathered;

const EXAMPLES: &str = "Examples:
  The rules name their ServiceAccounts:
    gitlab-iam-webhook trust-policy -m mapping.yaml \\
      --issuer https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE
  The rules look at labels, so the ServiceAccounts of the chart are needed:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
      gitlab-iam-webhook trust-policy -m mapping.yaml -n gitlab -f - --issuer URL
  The issuer and the ServiceAccounts of a cluster, for Terraform:
    gitlab-iam-webhook trust-policy -m mapping.yaml -A --output terraform
  Compare the policy that a role has:
    aws iam get-role --role-name gitlab-registry |
      gitlab-iam-webhook trust-policy -m mapping.yaml -A --verify -
  EKS Pod Identity:
    gitlab-iam-webhook trust-policy -m mapping.yaml -A --pod-identity --cluster blue
  Jobs that use GitLab's own id_tokens:
    gitlab-iam-webhook trust-policy --gitlab https://gitlab.example.com \\
      --project group/name --ref main --audience https://gitlab.example.com \\
      --role arn:aws:iam::123456789012:role/deploy

Exit status: 0 when there is a policy for every role, or when --verify finds nothing; 1
when nobody gets a role, or when --verify finds somebody who is refused, who cannot be
judged, or who should not be let in; 2 when something that is needed is not
known, or cannot be read.";

/// The longest file with a mapping, in bytes: the text may stand in a manifest.
const MAX_MAPPING: usize = 8 << 20;

/// The arguments of `trust-policy`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TrustPolicyArgs {
    /// The file with the mapping.
    #[arg(long, short, value_name = "FILE", required_unless_present = "gitlab")]
    mapping: Option<PathBuf>,

    /// The issuer of the cluster's tokens. The option can be repeated, for blue and green clusters.
    ///
    /// Without this option the cluster is asked for its own.
    #[arg(long = "issuer", value_name = "URL")]
    issuers: Vec<Issuer>,

    /// A file with manifests of the ServiceAccounts, which rules need that look at labels; `-` is standard
    /// input. The option can be repeated. Without it, -n and -A look into a cluster.
    #[arg(long = "filename", alias = "file", short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The ARN of the role that the nodes have, or the server of kiam, for rules of kube2iam and kiam.
    #[arg(long, value_name = "ARN", value_parser = trusted_role)]
    node_role: Option<String>,

    /// Show only this role. With --gitlab, the role that the jobs take.
    #[arg(long, value_name = "ARN")]
    role: Option<String>,

    /// Compare the policy that the role has, as `aws iam get-role` prints it; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pod_identity", "gitlab"])]
    verify: Option<PathBuf>,

    /// Give the same roles by EKS Pod Identity: policies and associations.
    #[arg(long, requires = "eks_cluster", conflicts_with = "gitlab")]
    pod_identity: bool,

    /// The name of the EKS cluster of the associations.
    #[arg(
        id = "eks_cluster",
        long = "cluster",
        value_name = "NAME",
        requires = "pod_identity",
        value_parser = eks_cluster
    )]
    eks_cluster: Option<String>,

    #[command(flatten)]
    gitlab: gitlab::GitlabArgs,

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
    /// The policies as JSON, each under its role, for people.
    Text,
    /// JSON for programs.
    Json,
    /// YAML for programs.
    Yaml,
    /// Data sources and resources of Terraform.
    Terraform,
    /// A template of `CloudFormation`, in JSON.
    Cloudformation,
}

/// A role with its policy, as it is printed.
struct Made<'a> {
    role: &'a str,
    trust: Option<&'a Trust>,
    policy: Policy,
}

pub(super) fn run(args: &TrustPolicyArgs) -> anyhow::Result<ExitCode> {
    let Some(path) = &args.mapping else { return gitlab::run(args) };
    if args.gitlab.is_asked_for() {
        bail!("--gitlab is about jobs outside the cluster, of which a mapping says nothing: leave out -m");
    }
    let text = input::read_at_most(path, MAX_MAPPING)?;
    let ruleset = mapping::compile_file(&text.text, &(&args.policy).into())
        .with_context(|| format!("loading the mapping {text}"))?;
    let Gathered { issuers, inventory, unread } = sources::gather(args, &ruleset)?;
    let mut trusts = trust_policy::make(
        &ruleset,
        trust_policy::Sources {
            inventory: inventory.as_ref(),
            namespaces: &args.namespaces.namespaces,
            by_pod_identity: args.pod_identity,
        },
    );
    trusts.missing.extend(unread.into_iter().map(|text| Lack { role: None, text }));
    if let Some(role) = &args.role {
        check_role(role, &trusts)?;
        trusts.retain(role);
        let is_told = trusts.missing.is_empty() && trusts.unmatched.is_empty();
        if trusts.roles.is_empty() && args.verify.is_none() && is_told {
            bail!("the mapping gives {} to nobody", visible(role));
        }
    }
    if let Some(path) = &args.verify {
        return verify::run(args, path, trusts, &issuers);
    }
    needs_node_role(args, &mut trusts);
    let made: Vec<Made<'_>> = trusts.roles.iter().filter_map(|trust| made(args, trust, &issuers)).collect();
    let mut warnings = trusts.warnings.clone();
    warnings.extend(made.iter().filter_map(length_warning));
    if !made.is_empty() || matches!(args.output, Format::Json | Format::Yaml) {
        output::print(&print::all(args, &made, &trusts, &warnings)?)?;
    }
    conclude(&trusts, &warnings)
}

/// Refuses what is no ARN, unless the mapping itself gives such a role, which kube2iam or kiam completes.
fn check_role(role: &str, trusts: &Trusts) -> anyhow::Result<()> {
    let is_in_mapping = trusts.roles.iter().any(|trust| trust.role == role)
        || trusts.missing.iter().chain(&trusts.unmatched).any(|lack| lack.role.as_deref() == Some(role));
    match arn::check_arn(role) {
        Err(error) if !is_in_mapping => bail!("reading --role: {}", visible(&error.to_string())),
        _ => Ok(()),
    }
}

fn made<'a>(args: &TrustPolicyArgs, trust: &'a Trust, issuers: &[Issuer]) -> Option<Made<'a>> {
    let policy = match &args.eks_cluster {
        Some(cluster) => trust.pod_identity_policy(cluster),
        None => trust.policy(issuers, args.node_role.as_deref()),
    };
    (!policy.statements.is_empty()).then_some(Made { role: &trust.role, trust: Some(trust), policy })
}

/// Says where the role of the nodes is needed, and not known.
fn needs_node_role(args: &TrustPolicyArgs, trusts: &mut Trusts) {
    if args.node_role.is_none() {
        let needing = trusts.roles.iter().filter(|trust| !trust.nodes.is_empty());
        trusts.missing.extend(needing.map(|trust| {
            let text = format!(
                "{}: kube2iam or kiam gives it, so the role of the nodes is needed: --node-role ARN",
                trust.role
            );
            Lack { role: Some(trust.role.clone()), text }
        }));
    }
}

/// Warns of a policy that is nearly as long as IAM takes it, or longer.
fn length_warning(made: &Made<'_>) -> Option<String> {
    let (length, role) = (made.policy.length(), made.role);
    let advice = "give fewer ServiceAccounts one role, or name them by a glob";
    if length > HIGHEST_QUOTA {
        Some(format!(
            "the policy of {role} has {length} characters, and IAM never takes more than \
             {HIGHEST_QUOTA}: {advice}"
        ))
    } else if length > QUOTA {
        Some(format!(
            "the policy of {role} has {length} characters, and IAM takes {QUOTA}: have the quota \"Role \
             trust policy length\" raised (to at most {HIGHEST_QUOTA}), or {advice}"
        ))
    } else if length * 10 > QUOTA * 9 {
        Some(format!("the policy of {role} has {length} of the {QUOTA} characters that IAM takes"))
    } else {
        None
    }
}

/// Tells on standard error what is missing, and exits accordingly.
fn conclude(trusts: &Trusts, warnings: &[String]) -> anyhow::Result<ExitCode> {
    for warning in warnings.iter().chain(texts(&trusts.unmatched)) {
        output::error(&format!("warning: {}", visible(warning)));
    }
    if trusts.missing.is_empty() {
        return Ok(ExitCode::from(u8::from(!trusts.unmatched.is_empty())));
    }
    bail!("{}", missing(trusts))
}

fn texts(lacks: &[Lack]) -> impl Iterator<Item = &String> {
    lacks.iter().map(|lack| &lack.text)
}

/// Says in some lines what is missing, and what to give.
fn missing(trusts: &Trusts) -> String {
    let lines: String = texts(&trusts.missing).map(|line| format!("\n  {}", visible(line))).collect();
    let advice = if texts(&trusts.missing).any(|line| line.contains("are needed")) {
        "\ngive the manifests with -f FILE, or look into a cluster with -n NAMESPACE or -A"
    } else {
        ""
    };
    let count = counted(trusts.missing.len(), "policy").replace("policys", "policies");
    format!("making the trust policies: {count} cannot be made, or not as a whole{lines}{advice}")
}

/// Whether some rule gives a role by irsa.
fn gives_by_irsa(ruleset: &Ruleset) -> bool {
    ruleset
        .rules()
        .iter()
        .any(|rule| matches!(rule.action, Action::Role(_)) && rule.providers.contains(Provider::Irsa))
}

/// Others wrote these texts: none of them may steer a terminal.
fn visible(text: &str) -> String {
    text.replace(output::is_steering, "?")
}

fn trusted_role(text: &str) -> Result<String, String> {
    arn::check_arn(text).map_err(|error| error.to_string())?;
    if text.contains(['*', '?', '$', '&', '{']) {
        return Err("IAM takes no wildcard in the ARN of a role that is trusted".to_owned());
    }
    Ok(text.to_owned())
}

/// Checks the name of a cluster (`ClusterName` in the service model of EKS).
fn eks_cluster(text: &str) -> Result<String, String> {
    let is_name = (1..=100).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("the name of an EKS cluster has up to 100 letters, digits, - and _".to_owned())
    }
}
