//! How is an explanation told to people, in some lines for one object?

use std::fmt::Write as _;

use super::shown::{Account, Place, Runs, Shown};
use crate::cli::output::in_a_line;
use crate::engine::decision::explain::{Explanation, ThroughAccount, Tried};
use crate::engine::decision::{Edit, Outcome, Verdict};
use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Subject, value_of};
use crate::engine::rules::facts::Facts;

/// Lines, of which none is begun by what others wrote.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, indent: usize, words: &str) {
        let _ = writeln!(self.0, "{:indent$}{}", "", in_a_line(words));
    }
}

pub(super) fn of(shown: &Shown<'_>, named: &[Provider]) -> String {
    let mut lines = Lines::default();
    heading(shown, &mut lines);
    let mut is_told_of_some = false;
    for verdict in &shown.explanation.decision.verdicts {
        if shown.is_told(verdict, named) {
            is_told_of_some = true;
            provider(verdict, &shown.explanation, &mut lines);
        }
        if verdict.provider == Provider::Irsa && shown.is_told_through_account(verdict, named) {
            is_told_of_some = true;
            through_account(shown, &mut lines);
        }
    }
    if !is_told_of_some {
        let kind = shown.subject.kind.name();
        lines.add(2, &format!("no rule of the mapping is about {kind}s, nothing changes"));
    }
    // Where the mapping has nothing to do with IRSA, it is no news that a Pod runs without it.
    let is_news = |runs: &&Runs| runs.role.is_some() || named.contains(&Provider::Irsa);
    if let Some(runs) = shown.live.as_ref().and_then(|live| live.runs.as_ref()).filter(is_news) {
        lines.add(2, &runs_with(runs, shown));
    }
    for Edit { key, value } in &shown.explanation.decision.edits {
        let sign = if value_of(shown.subject.annotations, key).is_some() { '~' } else { '+' };
        match value {
            Some(value) => lines.add(2, &format!("{sign} {key}: {value}")),
            None => lines.add(2, &format!("- {key}")),
        }
    }
    for warning in &shown.explanation.decision.warnings {
        lines.add(2, &format!("warning: {warning}"));
    }
    lines.0
}

/// What the object is, for whoever decides.
fn heading(shown: &Shown<'_>, lines: &mut Lines) {
    let facts = &shown.explanation.facts;
    let name = shown.name();
    lines.add(0, &shown.heading.line.map_or_else(|| name.clone(), |line| format!("{name} (line {line})")));
    let component = facts.component.map_or("none", Component::name);
    let why_none = match facts {
        Facts { component: Some(_), .. } => String::new(),
        Facts { resembles: Some(old), .. } => format!(" ({})", old.resemblance()),
        _ => missing_labels(shown.subject),
    };
    lines.add(2, &format!("component: {component}{why_none}"));
    if let Some(claimed) = facts.disbelieved {
        let claimed = claimed.name();
        lines.add(2, &format!("its labels say {claimed}, which is believed only of a workload controller"));
    }
    if shown.is_pod() {
        lines.add(2, &format!("serviceAccount: {}", shown.subject.service_account));
    }
    if let Some(live) = &shown.live {
        for words in live.requester.iter().chain(&live.not_sent) {
            lines.add(2, words);
        }
    }
}

/// What was decided for a provider, and the rules that were tried.
fn provider(verdict: &Verdict<'_>, explanation: &Explanation<'_>, lines: &mut Lines) {
    lines.add(2, &format!("{}: {}", verdict.provider.name(), in_words(verdict)));
    let tried = explanation.traces.iter().find(|trace| trace.provider == verdict.provider);
    for Tried { rule, mismatch } in tried.map(|trace| trace.tried.as_slice()).unwrap_or_default() {
        let place = format!("line {}, {}", rule.at.line, rule.name);
        match mismatch {
            Some(mismatch) => lines.add(4, &format!("no   {place}: {mismatch}")),
            None => lines.add(4, &format!("yes  {place}")),
        }
    }
}

/// Says in some lines what a Pod gets through its ServiceAccount.
fn through_account(shown: &Shown<'_>, lines: &mut Lines) {
    let (place, gets) = match &shown.account {
        Account::Known { place, gets } => (*place, gets),
        Account::Unknown(why) => {
            return lines.add(2, &format!("irsa, through its ServiceAccount: not known, as {why}"));
        }
    };
    let ThroughAccount { verdict, role, present } = gets;
    let at = match place {
        Place::Line { line, .. } => format!(" (line {line})"),
        Place::Taken => " (not in the input)".to_owned(),
        Place::Cluster => String::new(),
    };
    lines.add(2, &format!("irsa, through its ServiceAccount{at}: {}", in_words(verdict)));
    if let Some(rule) = verdict.rule {
        lines.add(4, &format!("yes  line {}, {}", rule.at.line, rule.name));
    }
    if *role != verdict.role {
        lines.add(4, &format!("it carries {}", role.as_deref().unwrap_or("no role")));
    }
    let (within, is_stored) = match place {
        Place::Line { is_stored, .. } => ("in the input it", is_stored),
        Place::Taken => ("in the input it", false),
        Place::Cluster => ("now it", true),
    };
    match present {
        Some(present) if role.as_deref() != Some(present) => {
            lines.add(4, &format!("{within} still carries {present}"));
        }
        None if role.is_some() && is_stored => {
            lines.add(4, &format!("{within} carries no role yet, and Pods get none until it does"));
        }
        _ => {}
    }
}

/// Says what a Pod runs with, and whether that is what its ServiceAccount carries.
fn runs_with(runs: &Runs, shown: &Shown<'_>) -> String {
    let carries = shown.through_account().and_then(|(_, gets)| gets.present);
    let with = runs.role.as_deref().map_or_else(
        || "it runs without a role by IRSA (no AWS_ROLE_ARN)".to_owned(),
        |role| format!("it runs with {role} (AWS_ROLE_ARN)"),
    );
    if let Some(why) = runs.apart {
        let carries = carries.unwrap_or("none");
        return format!(
            "{with}, and its ServiceAccount carries {carries}: no restart changes that, as {why}"
        );
    }
    match (runs.is_stale, carries) {
        (Some(true), Some(carries)) => {
            format!(
                "{with}, and its ServiceAccount carries {carries}: its Pods get that once they are restarted"
            )
        }
        (Some(true), None) => {
            format!("{with}, and its ServiceAccount carries none: its Pods have none once they are restarted")
        }
        (Some(false), _) => format!("{with}, as its ServiceAccount says"),
        (None, _) => with,
    }
}

/// Says which labels of GitLab's charts are missing on an object that has some of them.
fn missing_labels(subject: &Subject<'_>) -> String {
    let (present, missing): (Vec<&str>, Vec<&str>) =
        ["app", "chart", "release"].into_iter().partition(|key| value_of(subject.labels, key).is_some());
    if present.is_empty() || missing.is_empty() {
        return String::new();
    }
    let missing = missing.join(" and ");
    format!(" (GitLab's charts write the labels app, chart=NAME-VERSION and release; {missing} is missing)")
}

/// Says the verdict in a sentence.
fn in_words(verdict: &Verdict<'_>) -> String {
    let role = verdict.role.as_deref().unwrap_or("none");
    match verdict.outcome {
        Outcome::Undecided => "not decided on".to_owned(),
        Outcome::NoRule => "no rule matches, nothing changes".to_owned(),
        Outcome::OnServiceAccount => format!("role {role} belongs on its ServiceAccount, nothing on the Pod"),
        Outcome::DefaultAccount => format!(
            "role {role} does not reach it: the Pod runs as `default` (in GitLab's chart, set \
             global.serviceAccount.enabled=true)"
        ),
        Outcome::Skipped => "the rule says skip, nothing changes".to_owned(),
        Outcome::OptedOut => {
            "the object says gitlab-iam-webhook/inject: disabled, nothing changes".to_owned()
        }
        Outcome::InStep => format!("role {role}, already in step"),
        Outcome::Orphaned => "no rule matches, values set earlier stay (onNoRule: keep)".to_owned(),
        Outcome::Set => format!("role {role}"),
        Outcome::Removed => "annotations come off".to_owned(),
        Outcome::Kept => format!("role {role}, but another one is there and stays (onConflict: keep)"),
        Outcome::Replaced => format!("role {role}, in place of another (onConflict: replace)"),
        Outcome::Refused => "no role can be given".to_owned(),
    }
}
