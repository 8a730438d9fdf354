//! What do people have today, as a mapping? The command `import` tells.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::cluster_args::{self, ClusterArgs, NamespacesArgs};
use super::progress::Progress;
use super::{OutputFormat, counted, input, output};
use crate::cluster::NamespacedName;
use crate::cluster::inventory::{Wanted, collect};
use crate::engine::mapping;
use crate::engine::object::dns_name::is_dns_label;
use crate::engine::object::provider::Provider;
use crate::engine::rules::arn;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::import::{self, Chart, Fate, Import, Terms, ValueNote, Values, Version};
use crate::inventory::{self, Inventory};

const EXAMPLES: &str = "Examples:
  From the values of GitLab's chart:
    gitlab-iam-webhook import -n gitlab --values values.yaml >mapping.yaml
    helm get values gitlab -n gitlab | gitlab-iam-webhook import -n gitlab --values -
  From the options of a Helm command, word by word:
    gitlab-iam-webhook import -n gitlab \\
      --set registry.annotations.\"iam\\.amazonaws\\.com/role\"=gitlab-registry \\
      --base-role-arn arn:aws:iam::123456789012:role/
  From what the objects of a namespace carry now:
    gitlab-iam-webhook import -n gitlab
    kubectl get sa,pods -n gitlab -o yaml | gitlab-iam-webhook import -f -
  From the ConfigMap of the EKS webhook:
    gitlab-iam-webhook import -A --eks-config-map kube-system/pod-identity-webhook

The mapping goes to standard output. Which values can be deleted then, which never did
anything, and what somebody has to decide goes to standard error.

Exit status: 0 when there is at least one rule, 1 when there is nothing to import, 2 when
a file or the cluster cannot be read, or only in part: the mapping is then printed as far as
it could be made.";

/// The options that say values.
const OF_VALUES: [&str; 3] = ["values", "set", "set_string"];

/// The name of the ConfigMap that the EKS webhook reads.
const EKS_CONFIG_MAP: &str = "pod-identity-webhook";

/// The longest manifest that is read, in bytes.
const MAX_MANIFEST: usize = 256 << 20;

/// Which annotation reader Pods have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PodProvider {
    /// kube2iam reads the annotations of Pods.
    Kube2iam,
    /// kiam reads the annotations of Pods.
    Kiam,
}

/// The arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    values: ValuesArgs,

    /// A file with manifests in YAML or JSON, in place of a cluster; `-` is standard input. The option can be
    /// repeated.
    #[arg(long = "filename", short = 'f', value_name = "FILE", conflicts_with_all = OF_VALUES)]
    files: Vec<PathBuf>,

    /// The ConfigMap of the EKS webhook, which it reads with `--watch-config-map`. With `-f`, it is taken
    /// from the manifests.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        conflicts_with_all = OF_VALUES
    )]
    eks_config_map: Option<NamespacedName>,

    /// Who reads `iam.amazonaws.com/role` on Pods.
    #[arg(long, value_enum, default_value_t = PodProvider::Kube2iam)]
    pod_provider: PodProvider,

    /// What kube2iam or kiam puts before a role that is no ARN: their own option of that name.
    #[arg(long, value_name = "ARN")]
    base_role_arn: Option<String>,

    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    namespaces: NamespacesArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The values of a chart.
#[derive(Debug, Args)]
#[command(next_help_heading = "The values of a chart")]
struct ValuesArgs {
    /// A file of values; `-` is standard input. The option can be repeated: what comes later counts.
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,

    /// A value as Helm's `--set` takes it. The option can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// A value as Helm's `--set-string` takes it. The option can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set_string: Vec<String>,

    /// The name of the Helm release. The rules then hold for this release only.
    #[arg(long, value_name = "NAME")]
    release: Option<String>,

    /// The version of the chart, as 4.12 or 9.10.0. Without this option, it is the newest one.
    #[arg(long, value_name = "VERSION")]
    chart_version: Option<Version>,

    /// The values are those of the runner's own chart. Without this option, the values tell.
    #[arg(long)]
    runner_chart: bool,
}

impl ValuesArgs {
    fn are_given(&self) -> bool {
        !(self.values.is_empty() && self.set.is_empty() && self.set_string.is_empty())
    }
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let (import, source) = if args.values.are_given() {
        (from_values(args)?, "the values of a Helm chart")
    } else if args.files.is_empty() {
        (cluster_args::block_on(from_cluster(args))?, "what a cluster holds")
    } else {
        (from_files(args)?, "manifests")
    };
    let text = import::mapping_text(&import, source);
    if let Err(problems) = mapping::compile(&text, &OperatorPolicy::default()) {
        bail!("writing the mapping: {problems}; look into fewer namespaces");
    }
    output::print(&output::formatted(args.output, || text.clone(), || as_json(&import, &text))?)?;
    let told = as_text(&import);
    if args.output == OutputFormat::Text && !told.is_empty() {
        output::error(told.trim_end());
    }
    if let Some(first) = import.unread.first() {
        let more = match import.unread.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        bail!("reading {source}: roles may be missing, as not all could be read: {}{more}", shown(first));
    }
    Ok(ExitCode::from(u8::from(import.rules.is_empty())))
}

fn terms(args: &ImportArgs) -> anyhow::Result<Terms> {
    if let Some(base) = &args.base_role_arn
        && arn::check_arn(&format!("{base}x")).is_err()
    {
        bail!(
            "reading --base-role-arn: `{}` is not the beginning of a role's ARN: it must look like \
             arn:aws:iam::123456789012:role/",
            shown(base)
        );
    }
    let release = &args.values.release;
    if let Some(release) = release
        && !is_dns_label(release)
    {
        bail!("reading --release: `{}` is no name of a release", shown(release));
    }
    let pod_provider = match args.pod_provider {
        PodProvider::Kube2iam => Provider::Kube2iam,
        PodProvider::Kiam => Provider::Kiam,
    };
    Ok(Terms {
        namespaces: args.namespaces.namespaces.clone(),
        release: release.clone(),
        pod_provider,
        base_role_arn: args.base_role_arn.clone(),
        only_gitlab: args.namespaces.all_namespaces && args.files.is_empty(),
    })
}

fn from_values(args: &ImportArgs) -> anyhow::Result<Import> {
    let terms = terms(args)?;
    if terms.namespaces.is_empty() && !args.namespaces.all_namespaces {
        bail!(
            "values do not say where they are installed: name the namespace with -n, or ask with -A for \
             rules that hold in every opted-in namespace"
        );
    }
    let mut values = Values::default();
    for path in &args.values.values {
        let input = input::read_at_most(path, import::MAX_BYTES)?;
        values.merge(&input.name, &input.text).with_context(|| format!("reading {input}"))?;
    }
    for (texts, as_text) in [(&args.values.set, false), (&args.values.set_string, true)] {
        for text in texts {
            values.set(text, as_text).context("reading the command line")?;
        }
    }
    let version = args.values.chart_version;
    let chart =
        if args.values.runner_chart { Chart::new(true, version) } else { Chart::detect(&values, version) };
    Ok(import::from_values(&values, &chart, &terms))
}

fn from_files(args: &ImportArgs) -> anyhow::Result<Import> {
    let terms = terms(args)?;
    let mut all = Inventory::default();
    for path in &args.files {
        let input = input::read_at_most(path, MAX_MANIFEST)?;
        let first = terms.namespaces.first().map_or("", String::as_str);
        let stated = inventory::read(&input.text, first).with_context(|| format!("reading {input}"))?;
        if stated.without_namespace && first.is_empty() {
            bail!("reading {input}: some object names no namespace: say with -n which one it is in");
        }
        all.add(stated.inventory);
    }
    if all.service_accounts.is_empty() && all.pods.is_empty() && all.config_maps.is_empty() {
        bail!(
            "looking at manifests: there is no ServiceAccount, workload or ConfigMap in them; values of a \
             chart go to --values"
        );
    }
    let is_named = |map: &inventory::ConfigMap| {
        let wanted = args.eks_config_map.as_ref();
        wanted.is_some_and(|at| map.metadata.namespace == at.namespace && map.metadata.name == at.name)
    };
    // Whoever may write ConfigMaps in some namespace could write one by the name that the EKS webhook reads.
    let (named, others): (Vec<_>, Vec<_>) = all.config_maps.into_iter().partition(is_named);
    if let Some(place) = &args.eks_config_map
        && named.is_empty()
    {
        bail!("reading the ConfigMap {place}: the manifests have none");
    }
    all.config_maps = named;
    let mut import = import::from_objects(&all, &terms);
    for map in others.iter().filter(|map| map.metadata.name == EKS_CONFIG_MAP).take(10) {
        let place = format!("{}/{EKS_CONFIG_MAP}", map.metadata.namespace);
        import.remarks.push(format!(
            "the ConfigMap {place} was not looked at: if it is the one that the EKS webhook reads, add \
             --eks-config-map {place}"
        ));
    }
    Ok(import)
}

async fn from_cluster(args: &ImportArgs) -> anyhow::Result<Import> {
    let terms = terms(args)?;
    let NamespacesArgs { namespaces, all_namespaces } = &args.namespaces;
    if namespaces.is_empty() && !all_namespaces {
        bail!(
            "nothing says what to import: name values with --values, manifests with -f, or a namespace of \
             the cluster with -n"
        );
    }
    let mut progress = Progress::new();
    progress.tell("connecting to the cluster");
    let api = args.cluster.connect().await?;
    let mut tell = |what: &str| progress.tell(&format!("reading {what}"));
    let wanted = Wanted { namespaces: namespaces.clone(), pods: true, ..Wanted::default() };
    let mut inventory = collect(&api, &wanted, &mut tell).await.context("reading the cluster")?;
    if let Some(place) = &args.eks_config_map {
        let wanted =
            Wanted { namespaces: vec![place.namespace.clone()], config_maps: true, ..Wanted::default() };
        let beside = collect(&api, &wanted, &mut tell).await.context("reading the cluster")?;
        let mut maps = beside.config_maps;
        maps.retain(|map| map.metadata.name == place.name);
        if maps.is_empty() && beside.unread.is_empty() {
            bail!("reading the ConfigMap {place}: there is none");
        }
        inventory.config_maps = maps;
        inventory.unread.extend(beside.unread);
    }
    Ok(import::from_objects(&inventory, &terms))
}

/// Replaces what would begin a line of its own or send commands to the terminal, and cuts what is long.
fn shown(text: &str) -> String {
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if is_break(c) { '?' } else { c }).take(500).collect()
}

fn as_text(import: &Import) -> String {
    let mut text = String::new();
    let headings = [
        (Fate::Imported, false, "Delete, as a rule gives the same"),
        (Fate::Dead, false, "Delete, as it never did anything"),
        (Fate::Dead, true, "Keep, and set what it needs, as it does nothing yet"),
        (Fate::Stays, false, "Keep, as no rule gives the same"),
    ];
    for (fate, decides, words) in headings {
        let is_meant = |note: &&ValueNote| note.fate == fate && decides_on_account(note) == decides;
        let notes: Vec<&ValueNote> = import.values.iter().filter(is_meant).collect();
        if notes.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{words} ({}):", counted(notes.len(), "value"));
        for ValueNote { path, place, why, instead, .. } in notes {
            let mut line = format!("{path} ({place})");
            if fate != Fate::Imported {
                let _ = write!(line, ": {why}");
            }
            if let Some(instead) = instead {
                let _ = write!(line, "; {instead}");
            }
            let _ = writeln!(text, "  {}", shown(&line));
        }
    }
    for remark in &import.remarks {
        let _ = writeln!(text, "note: {}", shown(remark));
    }
    let decisions = import.suggestions.len();
    if decisions > 0 {
        let _ = writeln!(text, "{} at the end of the mapping", counted(decisions, "decision"));
    }
    if import.rules.is_empty() {
        text.push_str("there is nothing to import: the mapping has no rules\n");
    }
    text
}

/// Whether a value names no role, and decides which ServiceAccount there is: it may be wanted all the same.
fn decides_on_account(note: &ValueNote) -> bool {
    match note.steps.as_slice() {
        [.., of, last] => of == "serviceAccount" && (last == "create" || last == "name"),
        _ => false,
    }
}

fn as_json(import: &Import, text: &str) -> Value {
    let values: Vec<Value> = import
        .values
        .iter()
        .map(|ValueNote { path, steps, place, fate, why, instead }| {
            json!({
                "path": path, "steps": steps, "place": place,
                "fate": fate.name(), "why": why, "instead": instead,
            })
        })
        .collect();
    let decisions: Vec<Value> = import
        .suggestions
        .iter()
        .map(|suggestion| json!({"why": suggestion.why, "rule": suggestion.rule}))
        .collect();
    json!({
        "mapping": text,
        "rules": import.rules.len(),
        "values": values,
        "decisions": decisions,
        "notes": import.remarks,
        "unread": import.unread,
    })
}
