//! How are objects of a cluster explained?

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::ExplainArgs;
use super::cluster::Gathered;
use super::report::Report;
use super::shown::{Account, Heading, Live, Place, Runs, Shown, account_of};
use crate::cli::{OutputFormat, output};
use crate::engine::decision::explain;
use crate::engine::object::manifest::{self, Object};
use crate::engine::object::subject::{INJECT, Kind, Pair, Requester, Subject};
use crate::installation::{Labels, Seen, Sent, labels_of_namespace};
use crate::inventory::Pod;
use crate::status::kept_apart;

/// The variable with which the EKS webhook gives a container its role.
const ROLE_VARIABLE: &str = "AWS_ROLE_ARN";

pub(super) fn explain(args: &ExplainArgs, gathered: &Gathered) -> anyhow::Result<ExitCode> {
    for why in &gathered.failed {
        output::error(&format!("error: {why}"));
    }
    if gathered.objects.is_empty() {
        return Ok(ExitCode::from(2));
    }
    let accounts: BTreeMap<&str, Seen<Vec<Object<'_>>>> =
        gathered.accounts.iter().map(|(name, seen)| (name.as_str(), accounts_of(seen))).collect();
    let mut report = Report::new(args, &gathered.ruleset, gathered.objects.len());
    let mut has_pods = false;
    for (named, text) in &gathered.objects {
        let objects = manifest::read(text).with_context(|| format!("reading {named}"))?;
        let Some(object) = objects.first() else { bail!("reading {named}: the answer is another object") };
        has_pods |= named.kind.name == "Pod";
        show(args, gathered, &accounts, (object, text), &mut report)?;
    }
    let mut last = gathered.unread.clone();
    if has_pods {
        let when =
            "A Pod is decided on when it is created: this is what it would get if it were created now.";
        last.push(when.to_owned());
    }
    if args.output != OutputFormat::Text {
        gathered.unread.iter().for_each(|unread| output::error(unread));
    }
    report.print(&about_the_namespace(gathered), &last)?;
    Ok(ExitCode::from(if gathered.failed.is_empty() { 0 } else { 2 }))
}

fn accounts_of(seen: &Seen<String>) -> Seen<Vec<Object<'_>>> {
    match seen {
        Seen::There(text) => match manifest::read(text) {
            Ok(objects) => Seen::There(objects),
            Err(error) => Seen::Unread(error.to_string()),
        },
        Seen::Missing => Seen::Missing,
        Seen::Unread(why) => Seen::Unread(why.clone()),
    }
}

fn show(
    args: &ExplainArgs,
    gathered: &Gathered,
    accounts: &BTreeMap<&str, Seen<Vec<Object<'_>>>>,
    (object, text): (&Object<'_>, &str),
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let ruleset = &gathered.ruleset;
    let pod = (!object.is_template() && object.kind == Kind::Pod).then(|| pod_of(text)).transpose()?;
    let user = args.user.as_deref().filter(|_| !object.is_template());
    let (requester, who) = match (&pod, user) {
        (Some(_), Some(user)) => (Requester::User(user), Some(format!("asked for by {user} (--user)"))),
        (Some(pod), None) => requester_of(pod),
        (None, Some(user)) => (Requester::User(user), None),
        (None, None) => (Requester::Assumed, None),
    };
    let subject = object.subject(&gathered.namespace, requester);
    let seen = accounts.get(subject.service_account);
    let account = seen.and_then(Seen::there).and_then(|objects| objects.first());
    let why = match seen {
        Some(Seen::Unread(why)) => {
            format!("ServiceAccount {} could not be read: {why}", subject.service_account)
        }
        _ => format!("there is no ServiceAccount {}", subject.service_account),
    };
    let account = account_of(ruleset, &subject, account.map(|account| (Place::Cluster, account)), &why);
    let live = Live {
        not_sent: not_sent(gathered, &subject),
        requester: who,
        runs: pod.as_ref().map(|pod| runs(pod, &account)),
    };
    report.add(&Shown {
        heading: Heading { kind: &object.written_kind, name: &object.name, line: None },
        subject: &subject,
        explanation: explain::explain(ruleset, &subject),
        account,
        live: Some(live),
    });
    Ok(())
}

/// A Pod that stands for itself.
fn pod_of(text: &str) -> anyhow::Result<Pod> {
    let mut pod: Pod = serde_json::from_str(text).context("reading a Pod")?;
    // Without it, it would count as a template, whose Pods a controller asks for.
    Kind::Pod.name().clone_into(&mut pod.written_kind);
    Ok(pod)
}

/// What is said first: by which mapping, and what the webhook does in the namespace at all.
fn about_the_namespace(gathered: &Gathered) -> Vec<String> {
    let Gathered { namespace, mapping, installation, .. } = gathered;
    let own = installation.as_ref().map(|one| one.namespace.as_str());
    let state = match gathered.label() {
        _ if namespace == "kube-system" || own == Some(namespace) => {
            "the webhook leaves it alone: nothing is written".to_owned()
        }
        Seen::Unread(why) => format!("whether it has opted in could not be read: {why}"),
        Seen::Missing | Seen::There("") => {
            format!("it has not opted in (it has no label {INJECT}): nothing is written")
        }
        Seen::There("enabled") => "it has opted in".to_owned(),
        Seen::There("observe") => "it is observed: nothing is written".to_owned(),
        Seen::There(other) => format!("its label {INJECT}={other} does nothing: nothing is written"),
    };
    vec![format!("mapping {mapping}"), format!("namespace {namespace}: {state}")]
}

/// Why the webhook is not asked about an object, where its namespace says that it is.
fn not_sent(gathered: &Gathered, subject: &Subject<'_>) -> Option<String> {
    let configuration = gathered.installation.as_ref()?.mutating.there()?;
    if !matches!(gathered.label(), Seen::There("enabled" | "observe")) {
        return None;
    }
    let namespace = labels_of_namespace(&gathered.namespace, gathered.labels.there()?);
    let pairs = |pairs: &[Pair<'_>]| -> Labels {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    let resource = match subject.kind {
        Kind::ServiceAccount => "serviceaccounts",
        Kind::Pod => "pods",
    };
    let name = &configuration.metadata.name;
    let why = match configuration.sends(resource, &namespace, &pairs(subject.labels)) {
        Sent::Sent => return None,
        Sent::Kind => format!("no entry of {name} asks for {resource}"),
        Sent::Namespace => format!("no entry of {name} selects its namespace"),
        Sent::Object => format!("no entry of {name} selects its labels (objectSelector)"),
    };
    Some(format!("nothing is written on it: the webhook is not asked, as {why}"))
}

/// The role of the containers of a Pod, against what its ServiceAccount carries now.
fn runs(pod: &Pod, account: &Account<'_>) -> Runs {
    let variables = pod.containers().filter_map(|container| container.env(ROLE_VARIABLE));
    let roles: BTreeSet<Option<&str>> =
        variables.filter(|variable| variable.is_set).map(|variable| variable.value.as_deref()).collect();
    let role = (!roles.is_empty()).then(|| {
        let words = roles.iter().map(|role| role.unwrap_or("a role that does not stand there as text"));
        words.collect::<Vec<_>>().join(" and ")
    });
    let is_stale = match account {
        Account::Known { gets, place: Place::Cluster } => Some(role.as_deref() != gets.present),
        _ => None,
    };
    // `status` judges by the same.
    let apart = kept_apart(pod).filter(|_| is_stale == Some(true)).map(|(_, why)| why);
    Runs { role, is_stale: is_stale.map(|is_stale| is_stale && apart.is_none()), apart }
}

/// Who asked for a Pod, as its owner implies, and what is told of that.
fn requester_of(pod: &Pod) -> (Requester<'static>, Option<String>) {
    let requester = pod.requester();
    let owner = pod.metadata.owner_references.first().map(|owner| format!("{} {}", owner.kind, owner.name));
    let words = match (requester, owner) {
        (Requester::User(user), Some(owner)) => format!("asked for by {user}, as its owner {owner} says"),
        (_, Some(owner)) => {
            format!("its owner {owner} does not tell who asked for it: say it with --user USER")
        }
        (_, None) => "it has no owner, which would tell who asked for it: say it with --user USER".to_owned(),
    };
    (requester, Some(words))
}
