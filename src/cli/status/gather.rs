//! How does `status` come by what it reports: from a cluster, or from manifests?

use std::path::Path;
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
    let namespace = args.namespaces.namespaces.first().map_or("default", String::as_str);
    let Some(path) = &args.mapping else { bail!("reading the mapping: name it with -m") };
    let (name, ruleset) = compile(path, &OperatorPolicy::from(&args.policy))?;
    let mut all = Inventory::default();
    for path in &args.files {
        let input = input::read_at_most(path, MOST_BYTES)?;
        let stated = read(&input.text, namespace).with_context(|| format!("reading {}", input.name))?;
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
            let why = unread.first().map_or_else(String::new, |one| format!(": {}: {}", one.what, one.why));
            bail!("no mapping in force is known{why}: name one with -m");
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
    let is_blind_to_some = found.unread.iter().any(|one| one.namespace.is_none());
    let idle = found.idle.into_iter().map(|(name, why)| Gap {
        what: format!("the namespace {name}"),
        why: format!("the webhook does nothing there: {why}"),
    });
    unread.extend(idle.chain(found.unread.into_iter().map(Gap::from)));
    let mut survey = Survey::new(rules, true, has_eks_webhook);
    let unseen = look(&api, &found.namespaces, &mut survey, progress).await.context(ASKING)?;
    let status = survey.finish();
    if let Some(first) = unseen.first().filter(|_| status.rows.is_empty()) {
        bail!("looking at the cluster: nothing may be read: {first}: {}", first.why);
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
        manifests: Vec::new(),
    };
    Ok(Report { at, looked_at, status, unread, lacks_accounts, flags: args.cluster.kubectl_flags() })
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
    in_force: Option<InForce>,
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
        let mut nothing = Self {
            scope: Scope::default(),
            policy: OperatorPolicy::from(&args.policy),
            in_force: None,
            has_eks_webhook: None,
            selector: None,
            unread: Vec::new(),
        };
        let what = "the installation of gitlab-iam-webhook".to_owned();
        match seen {
            Seen::There(all) => Ok(match all.split_first() {
                Some((first, others)) => Self::of(first, others, args),
                None => nothing,
            }),
            Seen::Unread(why) => {
                nothing.unread.push(Gap { what, why });
                Ok(nothing)
            }
            Seen::Missing => {
                let why = "no webhook configuration is of it, so nothing writes roles here".to_owned();
                nothing.unread.push(Gap { what, why });
                Ok(nothing)
            }
        }
    }

    fn of(first: &Installation, others: &[Installation], args: &StatusArgs) -> Self {
        let mut unread = Vec::new();
        let place = |one: &Installation| format!("{}/{}", one.namespace, one.service);
        for other in others {
            let why = "the first installation was looked at: name this one with --webhook-configuration";
            unread.push(Gap { what: format!("the installation {}", place(other)), why: why.to_owned() });
        }
        let options = first.options();
        if let Some(why) = first.deployment.unread() {
            let what = format!(
                "the Deployment {}, which says which roles are allowed and in which namespaces it works",
                place(first)
            );
            unread.push(Gap { what, why: why.to_owned() });
        }
        let in_force = match first.in_force() {
            Seen::There(held) => Some(held),
            Seen::Missing => {
                let why = "there is none, so nothing is decided".to_owned();
                unread.push(Gap { what: format!("the mapping of {}", place(first)), why });
                None
            }
            Seen::Unread(why) => {
                unread.push(Gap { what: format!("the mapping of {}", place(first)), why });
                None
            }
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
