//! Where do the issuers and the ServiceAccounts come from?

use anyhow::{Context, bail};

use super::{TrustPolicyArgs, gives_by_irsa, visible};
use crate::cli::cluster_args::block_on;
use crate::cli::progress::Progress;
use crate::cli::{input, output};
use crate::cluster::inventory::{Wanted, collect};
use crate::cluster::issuer::{IssuerFailure, issuer};
use crate::engine::object::dns_name::{is_dns_label, is_dns_name};
use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{self, Inventory, Listed};
use crate::trust_policy::Issuer;

/// The longest file with manifests, in bytes.
const MAX_MANIFESTS: usize = 64 << 20;

/// Where kubectl, too, puts what names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// What is known beside the mapping.
pub(super) struct Gathered {
    pub(super) issuers: Vec<Issuer>,
    pub(super) inventory: Option<Inventory>,
    /// What could not be read, although it is needed.
    pub(super) unread: Vec<String>,
}

/// Reads the files, or asks the cluster where the command line names one or no issuer is known.
pub(super) fn gather(args: &TrustPolicyArgs, ruleset: &Ruleset) -> anyhow::Result<Gathered> {
    let TrustPolicyArgs { files, namespaces, cluster, .. } = args;
    if !files.is_empty() && namespaces.all_namespaces {
        bail!("-A looks into a cluster, and -f names manifests: use one of them");
    }
    let mut gathered = Gathered { issuers: args.issuers.clone(), inventory: None, unread: Vec::new() };
    let needs_issuer = gathered.issuers.is_empty() && !args.pod_identity && gives_by_irsa(ruleset);
    let looks_into_cluster =
        namespaces.all_namespaces || !namespaces.namespaces.is_empty() || cluster.is_named() || needs_issuer;
    if !files.is_empty() {
        gathered.inventory = Some(manifests(args)?);
    }
    if needs_issuer || (files.is_empty() && looks_into_cluster) {
        block_on(ask_cluster(args, needs_issuer, &mut gathered)).with_context(|| {
            if needs_issuer {
                "making trust policies without --issuer URL"
            } else {
                "looking into the cluster"
            }
        })?;
    }
    Ok(gathered)
}

fn manifests(args: &TrustPolicyArgs) -> anyhow::Result<Inventory> {
    let named = args.namespaces.namespaces.first();
    let namespace = named.map_or(DEFAULT_NAMESPACE, String::as_str);
    let mut all = Inventory::default();
    let mut is_assumed = false;
    for path in &args.files {
        let input = input::read_at_most(path, MAX_MANIFESTS)?;
        let stated = inventory::read(&input.text, namespace).with_context(|| format!("reading {input}"))?;
        if let Some(wrong) = stated
            .inventory
            .service_accounts
            .iter()
            .map(|account| &account.metadata)
            .find(|it| !is_dns_name(&it.name) || !is_dns_label(&it.namespace))
        {
            bail!(
                "reading {input}: `{}/{}` is no name of a ServiceAccount, and IAM may read it otherwise",
                visible(&wrong.namespace),
                visible(&wrong.name)
            );
        }
        is_assumed |= stated.without_namespace && named.is_none();
        all.add(stated.inventory);
    }
    if all.namespaces.is_empty() && all.service_accounts.is_empty() && all.pods.is_empty() {
        bail!("looking at manifests: there is no Namespace, ServiceAccount or workload in them");
    }
    if is_assumed {
        output::error(
            "warning: objects that name no namespace count as in `default`: name another one with -n \
             NAMESPACE",
        );
    }
    Ok(all)
}

async fn ask_cluster(
    args: &TrustPolicyArgs,
    needs_issuer: bool,
    gathered: &mut Gathered,
) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    progress.tell("connecting to the cluster");
    let api = args.cluster.connect().await?;
    progress.tell("asking for the issuer");
    let answer = issuer(&api).await;
    progress.clear();
    match answer {
        Ok(found) => {
            let found: Issuer =
                found.parse().with_context(|| format!("using the cluster's issuer {}", visible(&found)))?;
            if needs_issuer {
                gathered.issuers.push(found);
            } else if !gathered.issuers.is_empty() && !gathered.issuers.contains(&found) {
                output::error(&format!(
                    "warning: the cluster's own issuer is {found}, which no --issuer names"
                ));
            }
        }
        // Whoever named the issuers does not need the cluster's.
        Err(IssuerFailure::Refused(_)) if !needs_issuer => {}
        Err(error) => return Err(error.into()),
    }
    if gathered.inventory.is_some() {
        return Ok(());
    }
    let wanted = Wanted {
        namespaces: args.namespaces.namespaces.clone(),
        pods: needs_pods(args),
        ..Wanted::default()
    };
    let inventory = collect(&api, &wanted, |what| progress.tell(&format!("reading {what}"))).await?;
    drop(progress);
    for unread in &inventory.unread {
        let why = visible(&unread.why);
        output::error(&format!("warning: could not read the {unread}: {why}"));
    }
    // What could not be read is not known to be absent: then nothing that is said of it is complete.
    let unread = inventory.unread.iter().filter(|unread| unread.kind == Listed::ServiceAccounts);
    if args.namespaces.namespaces.is_empty()
        && inventory.unread.iter().any(|unread| unread.kind == Listed::Namespaces)
    {
        gathered.unread.push(
            "the Namespaces cannot be read, so it is not known which have opted in: name yours with -n"
                .to_owned(),
        );
    }
    gathered.unread.extend(unread.map(|unread| format!("the {unread} cannot be read, and may need a role")));
    gathered.inventory = Some(inventory);
    Ok(())
}

/// Pods are read only where the role of a node is trusted: they fill the placeholders of such roles.
fn needs_pods(args: &TrustPolicyArgs) -> bool {
    args.node_role.is_some()
}
