//! What is read of the cluster to explain objects of it?

use std::collections::BTreeMap;

use anyhow::{Context, bail};

use super::{ExplainArgs, read_mapping};
use crate::cli::progress::Progress;
use crate::cluster::ApiServer;
use crate::cluster::installation::{Look, find};
use crate::cluster::inventory::must_exist;
use crate::cluster::named_object::{Kind, NamedObject, read, read_namespace};
use crate::engine::object::manifest;
use crate::engine::object::subject::{self, INJECT, Requester};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use crate::installation::{InForce, Installation, Labels, Seen, Sent, labels_of_namespace};

/// Everything that was read.
pub(super) struct Gathered {
    pub(super) namespace: String,
    /// The labels of the namespace.
    pub(super) labels: Seen<Labels>,
    /// Where the mapping stands, in words.
    pub(super) mapping: String,
    pub(super) ruleset: Ruleset,
    /// The installation that works in the namespace.
    pub(super) installation: Option<Installation>,
    /// The objects that were named, as JSON.
    pub(super) objects: Vec<(NamedObject, String)>,
    /// The ServiceAccounts of the Pods among them, by their names, as JSON.
    pub(super) accounts: BTreeMap<String, Seen<String>>,
    /// What was named and is not there, or could not be read; in words.
    pub(super) failed: Vec<String>,
    /// What could not be read beside that, and why; in words.
    pub(super) unread: Vec<String>,
}

pub(super) async fn gather(args: &ExplainArgs, named: &[NamedObject]) -> anyhow::Result<Gathered> {
    let mut progress = Progress::new();
    let api = args.cluster.connect().await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| api.default_namespace().to_owned());
    progress.tell(&format!("reading the namespace {namespace}"));
    let seen = read_namespace(&api, &namespace).await.context("asking the cluster")?;
    if matches!(seen, Seen::Missing) {
        must_exist(&api, &namespace).await.context("asking the cluster")?;
    }
    let labels = seen.map(|metadata| metadata.labels);
    let look = Look { configuration: args.webhook_configuration.clone(), is_deep: false };
    let found = find(&api, &look, |what| progress.tell(&format!("reading {what}"))).await;
    let found = found.context("asking the cluster")?;
    let mut unread = Vec::new();
    unread.extend(unread_of(&format!("the label of the namespace {namespace}"), labels.unread()));
    unread.extend(unread_of("the installation of gitlab-iam-webhook", found.unread()));
    let installation = working_in(&namespace, labels.there(), found.there());
    let (mapping, ruleset) = mapping_of(args, installation.as_ref(), &found, &mut unread)?;
    let mut gathered = Gathered {
        namespace,
        labels,
        mapping,
        ruleset,
        installation,
        objects: Vec::new(),
        accounts: BTreeMap::new(),
        failed: Vec::new(),
        unread,
    };
    for object in named {
        progress.tell(&format!("reading {object}"));
        gathered.read(&api, object).await?;
    }
    Ok(gathered)
}

fn unread_of(what: &str, why: Option<&str>) -> Option<String> {
    Some(format!("not looked at: {what}: {}", why?))
}

/// The installation that is sent the objects of the namespace; where none is known to be, the first.
fn working_in(
    namespace: &str,
    labels: Option<&Labels>,
    found: Option<&Vec<Installation>>,
) -> Option<Installation> {
    let found = found?;
    let labels = labels_of_namespace(namespace, labels.unwrap_or(&Labels::new()));
    let is_sent = |one: &&Installation| {
        one.mutating.there().is_some_and(|configuration| {
            ["serviceaccounts", "pods"].iter().any(|resource| {
                matches!(configuration.sends(resource, &labels, &Labels::new()), Sent::Sent | Sent::Object)
            })
        })
    };
    found.iter().find(is_sent).or_else(|| found.first()).cloned()
}

/// The mapping, and where it stands: the one that was given, or the one that is in force.
fn mapping_of(
    args: &ExplainArgs,
    installation: Option<&Installation>,
    found: &Seen<Vec<Installation>>,
    unread: &mut Vec<String>,
) -> anyhow::Result<(String, Ruleset)> {
    let given = OperatorPolicy::from(&args.policy);
    let is_given = !given.allowed_roles.is_empty() || !given.workload_controllers.is_empty();
    if let Some(path) = &args.mapping {
        let policy = match installation.map(Installation::policy_in_force) {
            Some(Seen::There(own)) if !is_given => own,
            Some(Seen::Unread(why)) if !is_given => {
                let what = "which roles the installation allows, so that all count as allowed";
                unread.extend(unread_of(what, Some(&why)));
                given
            }
            _ => given,
        };
        return Ok((path.display().to_string(), read_mapping(path, &policy)?));
    }
    if is_given {
        bail!(
            "explaining by the mapping in force: what the installation allows decides there, so \
             --allowed-role and --workload-controller go with -m FILE only"
        );
    }
    let why = match (found, installation.map(|one| (one, one.in_force()))) {
        (_, Some((_, Seen::There(InForce { config_map, ruleset, .. })))) => {
            return Ok((format!("{config_map}, in force"), ruleset));
        }
        (_, Some((one, Seen::Unread(why)))) => {
            format!("that of the installation {} is not known: {why}", one.name)
        }
        (_, Some((one, Seen::Missing))) => format!("the installation {} has none", one.name),
        (Seen::Unread(why), None) => format!("the installation cannot be read: {why}"),
        (_, None) => match &args.webhook_configuration {
            Some(name) => format!("there is no webhook configuration {name}"),
            None => "gitlab-iam-webhook is not installed in this cluster".to_owned(),
        },
    };
    bail!("finding the mapping in force: {why}; name a mapping with -m FILE")
}

impl Gathered {
    /// Reads an object, and its ServiceAccount where it is a Pod or makes one.
    async fn read(&mut self, api: &ApiServer, named: &NamedObject) -> anyhow::Result<()> {
        let namespace = self.namespace.clone();
        let failed = |why: &str| format!("reading {} {namespace}/{}: {why}", named.kind.name, named.name);
        let text = match read(api, &namespace, named).await.context("asking the cluster")? {
            Seen::There(text) => text,
            Seen::Missing => {
                must_exist(api, &namespace).await.context("asking the cluster")?;
                self.failed.push(failed("it is not there: if it is in another namespace, name that with -n"));
                return Ok(());
            }
            Seen::Unread(why) => {
                self.failed.push(failed(&why));
                return Ok(());
            }
        };
        let accounts: Vec<String> = match manifest::read(&text) {
            Ok(objects) => {
                let pods = objects.iter().filter(|object| object.kind == subject::Kind::Pod);
                let name = |object: &manifest::Object<'_>| {
                    object.subject(&namespace, Requester::Assumed).service_account.to_owned()
                };
                pods.map(name).collect()
            }
            Err(error) => {
                self.failed.push(failed(&error.to_string()));
                return Ok(());
            }
        };
        for name in accounts {
            if let (false, Some(kind)) = (self.accounts.contains_key(&name), Kind::of("ServiceAccount")) {
                let account = NamedObject { kind, name: name.clone() };
                let seen = read(api, &namespace, &account).await.context("asking the cluster")?;
                self.unread.extend(unread_of(&format!("ServiceAccount {namespace}/{name}"), seen.unread()));
                self.accounts.insert(name, seen);
            }
        }
        self.objects.push((named.clone(), text));
        Ok(())
    }

    /// What the label of the namespace says.
    pub(super) fn label(&self) -> Seen<&str> {
        match &self.labels {
            Seen::There(labels) => Seen::There(labels.get(INJECT).map(String::as_str).unwrap_or_default()),
            Seen::Missing => Seen::There(""),
            Seen::Unread(why) => Seen::Unread(why.clone()),
        }
    }
}
