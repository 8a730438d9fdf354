//! How are the objects of a file explained, or the one of a review?

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::report::Report;
use super::shown::{Heading, Place, Shown, account_of};
use super::{DEFAULT_NAMESPACE, ExplainArgs};
use crate::cli::input::{self, Input};
use crate::cli::output;
use crate::cluster::named_object::NamedObject;
use crate::engine::admission;
use crate::engine::decision::explain;
use crate::engine::object::manifest::{self, Object};
use crate::engine::object::subject::{Kind, Requester, Subject};
use crate::engine::rules::ruleset::Ruleset;

const NOT_IN_THE_INPUT: &str = "that is not in the input; add it, as `kubectl get sa,pods -o yaml` does";

pub(super) fn explain(
    args: &ExplainArgs,
    ruleset: &Ruleset,
    path: &Path,
    only: &[NamedObject],
) -> anyhow::Result<ExitCode> {
    let input = input::read(path)?;
    if is_review(&input.text) {
        return review(args, ruleset, &input, only);
    }
    let namespace = args.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let objects = manifest::read(&input.text).with_context(|| format!("reading {input}"))?;
    let chosen = chosen(&objects, only, args, &input)?;
    if chosen.is_empty() {
        output::error(&format!(
            "no ServiceAccount, Pod or Pod template in {input}: give it what `kubectl get sa,pods -o yaml` \
             or `helm template` prints"
        ));
        return Ok(ExitCode::from(1));
    }
    let is_account = |object: &&Object<'_>| object.kind == Kind::ServiceAccount;
    let accounts: HashMap<(&str, &str), &Object<'_>> = objects
        .iter()
        .filter(is_account)
        .map(|object| ((object.namespace.as_deref().unwrap_or(namespace), &*object.name), object))
        .collect();
    let mut report = Report::new(args, ruleset, chosen.len());
    for object in &chosen {
        // A controller asks for the Pods of a workload, whoever applied the workload.
        let user = args.user.as_deref().filter(|_| !object.is_template());
        let subject = object.subject(namespace, user.map_or(Requester::Assumed, Requester::User));
        let account = accounts
            .get(&(subject.namespace, subject.service_account))
            .map(|account| (Place::Line { line: account.at.line, is_stored: account.is_stored }, *account));
        report.add(&Shown {
            heading: Heading { kind: &object.written_kind, name: &object.name, line: Some(object.at.line) },
            subject: &subject,
            explanation: explain::explain(ruleset, &subject),
            account: account_of(ruleset, &subject, account, NOT_IN_THE_INPUT),
            live: None,
        });
    }
    let is_placed = chosen.iter().all(|object| object.namespace.is_some()) || namespace != DEFAULT_NAMESPACE;
    let last = notes(&report, is_placed);
    report.print(&[], &last)?;
    Ok(ExitCode::SUCCESS)
}

/// What is said last.
fn notes(report: &Report<'_>, is_placed: bool) -> Vec<String> {
    let assumed = "Pods count as asked for by their controller: name another requester with --user USER.";
    let placed = "Objects that name no namespace count as in `default`: name another one with -n NAMESPACE.";
    [(report.is_assumed(), assumed), (!is_placed, placed)]
        .into_iter()
        .filter(|(is_said, _)| *is_said)
        .map(|(_, words)| words.to_owned())
        .collect()
}

/// The objects that are to be explained: all of them, or those that are named.
fn chosen<'o, 't>(
    objects: &'o [Object<'t>],
    only: &[NamedObject],
    args: &ExplainArgs,
    input: &Input,
) -> anyhow::Result<Vec<&'o Object<'t>>> {
    if only.is_empty() {
        return Ok(objects.iter().collect());
    }
    let mut chosen = Vec::new();
    for named in only {
        let is_named = |object: &&Object<'_>| {
            let namespaces = (object.namespace.as_deref(), args.namespace.as_deref());
            let is_there = matches!(namespaces, (None, _) | (_, None)) || namespaces.0 == namespaces.1;
            is_there && object.written_kind == named.kind.name && object.name == named.name.as_str()
        };
        let before = chosen.len();
        chosen.extend(objects.iter().filter(is_named));
        if chosen.len() == before {
            bail!("looking for {named} in {input}: it is not there");
        }
    }
    Ok(chosen)
}

fn is_review(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .is_ok_and(|value| value.get("kind") == Some(&json!("AdmissionReview")))
}

fn review(
    args: &ExplainArgs,
    ruleset: &Ruleset,
    input: &Input,
    only: &[NamedObject],
) -> anyhow::Result<ExitCode> {
    if !only.is_empty() {
        bail!("reading {input}: it is a review, which has one object: name none");
    }
    let mut report = Report::new(args, ruleset, 1);
    let show = |subject: &Subject<'_>| {
        report.add(&Shown {
            heading: Heading { kind: subject.kind.name(), name: subject.name, line: Some(1) },
            subject,
            explanation: explain::explain(ruleset, subject),
            account: account_of(ruleset, subject, None, NOT_IN_THE_INPUT),
            live: None,
        });
    };
    let shown =
        admission::parse(input.text.as_bytes(), ruleset).and_then(|request| request.with_subject(show));
    if shown.with_context(|| format!("reading {input}"))?.is_none() {
        bail!("reading {input}: the review is not about a ServiceAccount or about creating a Pod");
    }
    let last = notes(&report, true);
    report.print(&[], &last)?;
    Ok(ExitCode::SUCCESS)
}
