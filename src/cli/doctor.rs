//! Why does a role not arrive, or is not used? The command `doctor` tells everything that it finds.

mod report;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::cluster_args::{self, ClusterArgs, NamespacesArgs};
use super::progress::Progress;
use super::{OutputFormat, input, output};
use crate::cluster::installation::{Look, find};
use crate::cluster::inventory::{self, Wanted};
use crate::cluster::{ApiServer, gitlab_namespaces};
use crate::doctor::installation;
use crate::doctor::{self, Findings, Gap, Report, Scene, Severity, ValuesFile};
use crate::engine::mapping;
use crate::engine::rules::ruleset::Ruleset;
use crate::installation::{Installation, Seen};
use crate::inventory::{Inventory, read};
use report::{LookedAt, Told};

const EXAMPLES: &str = "Examples:
  Look at the cluster of the current context: the webhook, and every namespace with GitLab:
    gitlab-iam-webhook doctor
  Look into two namespaces, and also into their Secrets, of which no value is ever printed:
    gitlab-iam-webhook doctor -n gitlab -n gitlab-runner --secrets
  Look at a chart before it is installed, without a cluster:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
      gitlab-iam-webhook doctor -m mapping.yaml -n gitlab --values values.yaml -f -

What may not be read narrows the report, and the report says so. Nothing is changed: the API
server is asked, as a dry run, to write a broken mapping, which the webhook refuses.

Exit status: 0 when nothing is wrong in what could be looked at, 1 when there are problems (or,
with --strict, warnings or what could not be looked at), 2 when nothing could be looked at, or
a file that was named could not be read.";

/// The most bytes of a file that are read.
const MOST_BYTES: usize = 64 << 20;

/// The arguments of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    /// Look at these manifests in place of a cluster, as far as they tell; `-` is standard input. With it, -n
    /// is the namespace of the objects that name none. The option can be repeated.
    #[arg(
        long = "filename",
        short,
        value_name = "FILE",
        conflicts_with_all = ["all_namespaces", "kubeconfig", "context", "as_user"]
    )]
    files: Vec<PathBuf>,

    /// The mapping, or the manifest of its ConfigMap. Without it, it is the one that the installation uses.
    #[arg(long, short, value_name = "FILE")]
    mapping: Option<PathBuf>,

    /// The values that GitLab's chart is installed with. The option can be repeated.
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,

    /// Also read Secrets. Only the names of their keys are ever printed.
    #[arg(long)]
    secrets: bool,

    /// The name of the webhook configurations of the installation to look at. Without it, all that are of
    /// this webhook are found.
    #[arg(long, value_name = "NAME", env = "GITLAB_IAM_WEBHOOK_WEBHOOK_CONFIGURATION")]
    webhook_configuration: Option<String>,

    /// Count warnings as problems, and what could not be looked at although it was asked for.
    #[arg(long)]
    strict: bool,

    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    namespaces: NamespacesArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What was read, before it is judged.
struct Gathered {
    inventory: Inventory,
    /// What is known of our installations; `None` where manifests are looked at.
    installations: Option<Seen<Vec<Installation>>>,
    /// What was not looked at, beside what the inventory and the installations say.
    unread: Vec<Gap>,
    /// What was looked into.
    namespaces: Vec<String>,
}

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let gathered = if args.files.is_empty() {
        cluster_args::block_on(from_cluster(args))?
    } else {
        from_manifests(args)?
    };
    let told = judge(args, gathered)?;
    let text =
        output::formatted(args.output, || told.as_text(std::io::stdout().is_terminal()), || told.as_json());
    output::print(&text?)?;
    let is_strictly_found = told.warnings() > 0 || told.has_gaps();
    let is_found = told.problems() > 0 || told.has_more() || args.strict && is_strictly_found;
    Ok(ExitCode::from(u8::from(is_found)))
}

/// Judges what was read.
fn judge(args: &DoctorArgs, gathered: Gathered) -> anyhow::Result<Told> {
    let Gathered { mut inventory, installations, unread, namespaces } = gathered;
    if !args.secrets {
        inventory.secrets.clear();
    }
    let found = installations.as_ref().and_then(Seen::there).map(Vec::as_slice).unwrap_or_default();
    let (mapping, ruleset) = mapping_of(args, found)?;
    let own_namespaces: Vec<String> = found.iter().map(|one| one.namespace.clone()).collect();
    let served = found.first().and_then(|one| one.served_namespaces.clone());
    let values = values_of(args)?;
    let mut ours = Report::default();
    about_installations(args, &mut ours, installations.as_ref(), ruleset.as_ref());
    let scene = Scene {
        inventory: &inventory,
        ruleset: ruleset.as_ref(),
        reads_secrets: args.secrets,
        values: &values,
        own_namespaces: &own_namespaces,
        served_namespaces: served.as_deref(),
        is_webhook_broken: ours.findings.iter().any(|finding| finding.severity == Severity::Problem),
    };
    let mut findings = Findings::default();
    doctor::examine(&scene, &mut findings);
    let gitlab = findings.into_report();
    // Ours come first: while the webhook does not answer, other fixes may do harm.
    let mut report = ours;
    report.findings.extend(gitlab.findings);
    report.unread.extend(gitlab.unread);
    report.more += gitlab.more;
    if ruleset.is_none() && !matches!(installations, Some(Seen::Missing)) {
        let why = "no mapping is known: name one with --mapping".to_owned();
        report.unread.push(Gap { what: "what the mapping decides".to_owned(), why });
    }
    report.unread.extend(unread);
    report.unread.extend(inventory.unread.iter().map(Gap::from));
    let looked_at = LookedAt {
        installations: found.iter().map(|one| format!("{}/{}", one.namespace, one.service)).collect(),
        mapping,
        namespaces,
        manifests: args.files.iter().map(|file| file.display().to_string()).collect(),
        values: args.values.iter().map(|file| file.display().to_string()).collect(),
    };
    Ok(Told::new(looked_at, report))
}

/// Adds what is wrong with our installations, and what of them was not looked at.
fn about_installations(
    args: &DoctorArgs,
    report: &mut Report,
    installations: Option<&Seen<Vec<Installation>>>,
    ruleset: Option<&Ruleset>,
) {
    let mut unread = |why: &str| {
        let what = "the installation of gitlab-iam-webhook".to_owned();
        report.unread.push(Gap { what, why: why.to_owned() });
    };
    let found = match installations {
        None => return unread(report::NO_CLUSTER),
        Some(Seen::Unread(why)) => return unread(why),
        Some(Seen::Missing) => {
            let name = args.webhook_configuration.as_deref();
            return report.findings.push(installation::not_installed(name));
        }
        Some(Seen::There(found)) => found,
    };
    for (index, one) in found.iter().enumerate() {
        let own = if index == 0 { Seen::Missing } else { one.in_force() };
        let ruleset = if index == 0 { ruleset } else { own.there().map(|own| &own.ruleset) };
        report.findings.extend(installation::examine(one, ruleset, SystemTime::now()));
        report.unread.extend(installation::gaps(one));
        if index > 0 {
            let why =
                "the mapping of the first installation was used: name this one with --webhook-configuration";
            let what = format!("GitLab by the mapping of {}/{}", one.namespace, one.service);
            report.unread.push(Gap { what, why: why.to_owned() });
        }
    }
}

/// Returns the mapping, and where it stands: the one that was given, or the one that is in force.
fn mapping_of(
    args: &DoctorArgs,
    found: &[Installation],
) -> anyhow::Result<(Option<String>, Option<Ruleset>)> {
    let Some(path) = &args.mapping else {
        let in_force = found.first().map(Installation::in_force);
        let in_force = match in_force {
            Some(Seen::There(held)) => Some(held),
            _ => None,
        };
        return Ok(in_force.map(|held| (held.config_map, held.ruleset)).unzip());
    };
    let policy = found.first().and_then(|one| one.operator_policy().ok());
    let input = input::read_at_most(path, MOST_BYTES)?;
    let ruleset = mapping::compile_file(&input.text, &policy.unwrap_or_default());
    let ruleset = ruleset.with_context(|| format!("reading the mapping {}", input.name))?;
    Ok((Some(input.name), Some(ruleset)))
}

/// Values hold credentials: they are hidden from here on.
fn values_of(args: &DoctorArgs) -> anyhow::Result<Vec<ValuesFile>> {
    let read = |path: &PathBuf| {
        let input = input::read_at_most(path, MOST_BYTES)?;
        let name = input.name.clone();
        ValuesFile::read(input.name, &input.text).map_err(|why| anyhow!("reading the values {name}: {why}"))
    };
    args.values.iter().map(read).collect()
}

fn from_manifests(args: &DoctorArgs) -> anyhow::Result<Gathered> {
    let namespace = args.namespaces.namespaces.first().map_or("default", String::as_str);
    let mut inventory = Inventory::default();
    for path in &args.files {
        let input = input::read_at_most(path, MOST_BYTES)?;
        let stated = read(&input.text, namespace).with_context(|| format!("reading {}", input.name))?;
        inventory.add(stated.inventory);
    }
    let is_empty = [
        inventory.namespaces.len(),
        inventory.service_accounts.len(),
        inventory.pods.len(),
        inventory.config_maps.len(),
        inventory.secrets.len(),
    ]
    .iter()
    .all(|count| *count == 0);
    if is_empty {
        bail!(
            "looking at manifests: there is no Namespace, ServiceAccount, workload, ConfigMap or Secret \
             in them"
        );
    }
    Ok(Gathered { inventory, installations: None, unread: Vec::new(), namespaces: Vec::new() })
}

async fn from_cluster(args: &DoctorArgs) -> anyhow::Result<Gathered> {
    let mut progress = Progress::new();
    progress.tell("connecting to the cluster");
    let api = args.cluster.connect().await?;
    let look = Look { configuration: args.webhook_configuration.clone(), is_deep: true };
    let installations = find(&api, &look, |what| progress.tell(what)).await.context("asking the cluster")?;
    let (namespaces, unread) = chosen(args, &api, &mut progress).await?;
    let wanted =
        Wanted { namespaces: namespaces.clone(), pods: true, config_maps: true, secrets: args.secrets };
    let collected = inventory::collect(&api, &wanted, |what| progress.tell(what)).await;
    let inventory = collected.context("asking the cluster")?;
    let is_blind = inventory.namespaces.is_empty()
        && inventory.service_accounts.is_empty()
        && inventory.pods.is_empty()
        && installations.unread().is_some();
    if let (true, Some(first)) = (is_blind, inventory.unread.first()) {
        let advice = if args.namespaces.namespaces.is_empty() && !args.namespaces.all_namespaces {
            "; where you may read some namespaces only, name them with -n"
        } else {
            ""
        };
        bail!("looking at the cluster: nothing may be read: {first}: {}{advice}", first.why);
    }
    Ok(Gathered { inventory, installations: Some(installations), unread, namespaces })
}

/// The namespaces to look into. An empty list stands for all of them.
async fn chosen(
    args: &DoctorArgs,
    api: &ApiServer,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<String>, Vec<Gap>)> {
    let NamespacesArgs { namespaces, all_namespaces } = &args.namespaces;
    if *all_namespaces || !namespaces.is_empty() {
        let mut once: Vec<String> = Vec::new();
        for namespace in namespaces {
            if !once.contains(namespace) {
                once.push(namespace.clone());
            }
        }
        return Ok((once, Vec::new()));
    }
    let found = gitlab_namespaces::find(api, |what| progress.tell(what)).await;
    let gitlab_namespaces::Found { namespaces, unread } = found.context("asking the cluster")?;
    if !namespaces.is_empty() {
        return Ok((namespaces.into_iter().collect(), unread.iter().map(Gap::from).collect()));
    }
    let own = api.default_namespace().to_owned();
    let why = format!(
        "no namespace that may be read has our label or objects of GitLab's charts, so only {own} was looked \
         into: name GitLab's namespace with -n"
    );
    let nothing = Gap { what: "GitLab".to_owned(), why };
    Ok((vec![own], unread.iter().map(Gap::from).chain([nothing]).collect()))
}
