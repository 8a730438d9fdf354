//! How does `status` come by what it reports: from a cluster, or from manifests?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use super::StatusArgs;
use super::report::{Gap, LookedAt, Report};
use crate::cli::input;
use crate::cluster::ApiServer;
use crate::cluster::installation::{Look, find};
use crate::cluster::namespaces::Scope;
use crate::cluster::survey::{look, places};
use crate::engine::mapping;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use crate::installation::{InForce, Installation, Seen};
use crate::inventory::{Inventory, Listed, read};
use crate::status::{Effect, Rules, Survey};

/// The most bytes of a file that are read.
const MOST_BYTES: usize = 64 << 20;

const ASKING: &str = "asking the cluster";

pub(super) fn from_manifests(args: &StatusArgs) -> anyhow::Result<Report> {
    let named = args.namespaces.namespaces.first();
    let namespace = named.map_or("default", String::as_str);
    let Some(path) = &args.mapping else { bail!("reading the mapping: name it with -m") };
    read_once(args.files.iter().chain([path]))?;
    let (name, ruleset) = compile(path, &OperatorPolicy::from(&args.policy))?;
    let (mut all, mut takes_default) = (Inventory::default(), false);
    for path in &args.files {
        let input = input::read_at_most(path, MOST_BYTES)?;
        let stated = read(&input.text, namespace).with_context(|| format!("reading {}", input.name))?;
        takes_default |= stated.without_namespace && named.is_none();
        all.add(stated.inventory);
    }
    if all.service_accounts.is_empty() && all.pods.is_empty() {
        bail!("looking at manifests: there is no ServiceAccount, Pod or workload in them");
    }
    let mut survey = Survey::new(Rules::InForce(&ruleset), false, None);
    let namespaces = survey.manifests(&all);
    let looked_at = LookedAt {
        mapping: Some(name),
        rules: ruleset.rules().len(),
        namespaces: namespaces.into_iter().map(|name| (name, Effect::Enabled)).collect(),
        manifests: args.files.iter().map(|file| file.display().to_string()).collect(),
        takes_default,
        ..LookedAt::default()
    };
    let at = SystemTime::now();
    Ok(Report {
        at,
        looked_at,
        status: survey.finish(),
        unread: Vec::new(),
        lacks_accounts: false,
        flags: String::new(),
    })
}

pub(super) async fn from_cluster(
    args: &StatusArgs,
    api: &ApiServer,
    mut progress: impl FnMut(&str),
) -> anyhow::Result<Report> {
    let at = SystemTime::now();
    let installed = Installed::find(args, api, &mut progress).await?;
    let Installed { scope, policy, in_force, has_eks_webhook, mut unread, selector } = installed;
    let (in_force, why_none) = match in_force {
        Ok(held) => (Some(held), None),
        Err(gap) => (None, Some(gap)),
    };
    let given = OperatorPolicy::from(&args.policy);
    let is_given = !given.allowed_roles.is_empty() || !given.workload_controllers.is_empty();
    if args.mapping.is_none() && is_given {
        bail!(
            "judging by the mapping in force: what the installation allows decides there, so --allowed-role \
             and --workload-controller go with -m FILE only"
        );
    }
    let policy = tried(policy, given);
    let candidate = args.mapping.as_deref().map(|path| compile(path, &policy)).transpose()?;
    let rules = match (&candidate, &in_force) {
        (Some((_, candidate)), held) => Rules::Candidate(candidate, held.as_ref().map(|held| &held.ruleset)),
        (None, Some(held)) => Rules::InForce(&held.ruleset),
        (None, None) => {
            let why = why_none
                .map_or_else(String::new, |Gap { what, why }| format!("{what} is not known ({why}); "));
            bail!("looking for the mapping in force: {why}give a mapping with -m FILE");
        }
    };
    let api = api.clone().selecting_service_accounts(selector.as_deref());
    let found = places(&api, &scope, &args.namespaces.namespaces).await.context(ASKING)?;
    let is_blind = found.namespaces.is_empty() && args.namespaces.namespaces.is_empty();
    if let Some(first) = found.unread.first().filter(|_| is_blind) {
        bail!(
            "looking for namespaces: {}: {}; where you may read some namespaces only, name them with -n",
            first,
            first.why
        );
    }
    if found.namespaces.is_empty() && !args.namespaces.namespaces.is_empty() {
        let idle = found.idle.iter().map(|(name, why)| format!("{name} ({why})"));
        bail!(
            "looking at the namespaces that were named: the webhook does nothing in {}",
            idle.collect::<Vec<_>>().join(", nor in ")
        );
    }
    unread.splice(0..0, why_none);
    let is_blind_to_some = found.unread.iter().any(|one| one.namespace.is_none());
    let idle = found.idle.into_iter().map(|(name, why)| Gap {
        what: format!("the namespace {name}"),
        why: format!("the webhook does nothing there: {why}"),
    });
    unread.extend(idle.chain(found.unread.into_iter().map(Gap::from)));
    let mut survey = Survey::new(rules, true, has_eks_webhook);
    let unseen = look(&api, &found.namespaces, &mut survey, progress).await.context(ASKING)?;
    let status = survey.finish();
    // Without an object there is no report, unless there is none to see.
    let of = |kind| unseen.iter().find(|one| one.kind == kind);
    let hidden = of(Listed::ServiceAccounts).or_else(|| of(Listed::Pods));
    if let Some(hidden) = hidden.filter(|_| status.rows.is_empty()) {
        bail!("looking at the cluster: nothing may be read: {hidden}: {}", hidden.why);
    }
    let lacks_accounts = unseen.iter().any(|one| one.kind == Listed::ServiceAccounts) || is_blind_to_some;
    unread.extend(unseen.into_iter().map(Gap::from));
    let ruleset = candidate.as_ref().map(|(_, ruleset)| ruleset);
    let rules = ruleset.or_else(|| in_force.as_ref().map(|held| &held.ruleset));
    let looked_at = LookedAt {
        cluster: api.url().map(str::to_owned),
        mapping: in_force.as_ref().map(|held| format!("ConfigMap {}", held.config_map)),
        rules: rules.map_or(0, |rules| rules.rules().len()),
        candidate: candidate.map(|(name, _)| name),
        namespaces: found.namespaces.into_iter().collect(),
        ..LookedAt::default()
    };
    Ok(Report { at, looked_at, status, unread, lacks_accounts, flags: args.cluster.kubectl_flags() })
}

pub(super) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Makes sure that no file is read twice: of standard input nothing is left then, and objects would count
/// twice.
fn read_once<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for path in paths {
        if !seen.insert(path) {
            let name = if is_standard_input(path) { "standard input".into() } else { path.to_string_lossy() };
            bail!("looking at manifests: {name} is named twice, and is read once");
        }
    }
    Ok(())
}

/// What the operator allows, where the command line tries something else than the installation has.
fn tried(installed: OperatorPolicy, given: OperatorPolicy) -> OperatorPolicy {
    fn either<T>(installed: Vec<T>, given: Vec<T>) -> Vec<T> {
        if given.is_empty() { installed } else { given }
    }
    OperatorPolicy {
        allowed_roles: either(installed.allowed_roles, given.allowed_roles),
        workload_controllers: either(installed.workload_controllers, given.workload_controllers),
    }
}

/// Reads a mapping that was given.
fn compile(path: &Path, policy: &OperatorPolicy) -> anyhow::Result<(String, Ruleset)> {
    let input = input::read_at_most(path, MOST_BYTES)?;
    let ruleset = mapping::compile_file(&input.text, policy);
    let ruleset = ruleset.with_context(|| format!("reading the mapping {}", input.name))?;
    Ok((input.name, ruleset))
}

/// What is known of the installation.
struct Installed {
    scope: Scope,
    policy: OperatorPolicy,
    /// The mapping in force, or why it is not known.
    in_force: Result<InForce, Gap>,
    has_eks_webhook: Option<bool>,
    /// Which ServiceAccounts are sent to the webhook.
    selector: Option<String>,
    unread: Vec<Gap>,
}

impl Installed {
    async fn find(
        args: &StatusArgs,
        api: &ApiServer,
        progress: &mut impl FnMut(&str),
    ) -> anyhow::Result<Self> {
        let look = Look { configuration: args.webhook_configuration.clone(), is_deep: false };
        let seen = find(api, &look, progress).await.context(ASKING)?;
        let missing = "no webhook configuration in this cluster is of it, so nothing gives roles here";
        let why = match (seen, &args.webhook_configuration) {
            (Seen::There(all), _) => match all.split_first() {
                Some((first, others)) => return Ok(Self::of(first, others, args)),
                None => missing.to_owned(),
            },
            (Seen::Unread(why), _) => why,
            (Seen::Missing, Some(name)) => {
                bail!("looking for the installation: there are no webhook configurations named {name}")
            }
            (Seen::Missing, None) => missing.to_owned(),
        };
        Ok(Self {
            scope: Scope::default(),
            policy: OperatorPolicy::from(&args.policy),
            in_force: Err(Gap { what: "the installation of gitlab-iam-webhook".to_owned(), why }),
            has_eks_webhook: None,
            selector: None,
            unread: Vec::new(),
        })
    }

    fn of(first: &Installation, others: &[Installation], args: &StatusArgs) -> Self {
        let mut unread = Vec::new();
        let place = |one: &Installation| format!("{}/{}", one.namespace, one.service);
        for other in others {
            let why = "the first installation was looked at: name this one with --webhook-configuration";
            unread.push(Gap { what: format!("the installation {}", place(other)), why: why.to_owned() });
        }
        if let Some(why) = first.eks_webhook.unread() {
            let what = "the MutatingWebhookConfigurations, of which one puts roles into Pods on EKS";
            unread.push(Gap { what: what.to_owned(), why: why.to_owned() });
        }
        let options = first.options();
        if let Some(why) = first.deployment.unread() {
            let what = format!(
                "the Deployment {}, which says which roles are allowed and in which namespaces it works",
                place(first)
            );
            unread.push(Gap { what, why: why.to_owned() });
        }
        let unknown = |why| Gap { what: format!("the mapping of {}", place(first)), why };
        let in_force = match first.in_force() {
            Seen::There(held) => Ok(held),
            Seen::Missing => Err(unknown("there is none, so nothing is decided".to_owned())),
            Seen::Unread(why) => Err(unknown(why)),
        };
        let policy = match first.deployment.there().map(|_| first.operator_policy()) {
            Some(Ok(policy)) => policy,
            Some(Err(why)) => {
                unread.push(Gap { what: format!("the roles that {} allows", place(first)), why });
                OperatorPolicy::from(&args.policy)
            }
            None => OperatorPolicy::from(&args.policy),
        };
        let except = options.except_namespaces.into_iter().chain([first.namespace.clone()]);
        let scope = Scope {
            only: options.watch_namespaces,
            except: except.filter(|name| !name.is_empty()).collect(),
            selector: options.namespace_selector,
        };
        let has_eks_webhook = match &first.eks_webhook {
            Seen::There(_) => Some(true),
            Seen::Missing => Some(false),
            Seen::Unread(_) => None,
        };
        let selector = options.service_account_selector;
        Self { scope, policy, in_force, has_eks_webhook, selector, unread }
    }
}
