//! Which rule decides on these objects, and why do the others not match? The command `explain` tells.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::input::{self, Input};
use super::{OperatorPolicyArgs, OutputFormat, output};
use crate::engine::admission;
use crate::engine::decision::explain::{self, Explanation, Tried};
use crate::engine::decision::{Edit, Outcome, Verdict};
use crate::engine::mapping;
use crate::engine::object::component::Component;
use crate::engine::object::manifest;
use crate::engine::object::subject::{Kind, Requester, Subject, value_of};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::ruleset::Ruleset;

const EXAMPLES: &str = "Examples:
  helm template gitlab gitlab/gitlab -n gitlab |
    gitlab-iam-webhook explain -m mapping.yaml -n gitlab -
  kubectl get sa,pods -A -o yaml |
    gitlab-iam-webhook explain -m mapping.yaml --output json -
  gitlab-iam-webhook explain -m mapping.yaml job-pod.yaml \\
    --user system:serviceaccount:ci:gitlab-runner

Exit status: 0 when something was explained, 1 when the file has no ServiceAccount,
Pod or Pod template, 2 when a file cannot be read or used.";

/// The arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// The file with the mapping.
    #[arg(long, short, value_name = "FILE")]
    mapping: PathBuf,

    /// The file with the manifest or the review; `-` is standard input.
    #[arg(default_value = "-", value_name = "OBJECT FILE")]
    objects: PathBuf,

    /// The namespace of the objects that name none.
    #[arg(long, short, default_value = "default")]
    namespace: String,

    /// The username of who asks for the objects.
    ///
    /// Without this option, a Pod counts as one that its workload's controller asks for, and rules with a
    /// runner do not match. The Pods of a template always count as asked for by a controller.
    #[arg(long)]
    user: Option<String>,

    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    policy: OperatorPolicyArgs,
}

/// What the heading of an explanation says of its object.
struct Heading<'a> {
    kind: &'a str,
    name: &'a str,
    line: u32,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let mapping = input::read(&args.mapping)?;
    let ruleset = mapping::compile_file(&mapping.text, &(&args.policy).into())
        .with_context(|| format!("loading the mapping {mapping}"))?;
    let input = input::read(&args.objects)?;
    let mut texts = Vec::new();
    let mut values = Vec::new();
    let mut assumed = false;
    let mut show = |heading: &Heading<'_>, subject: &Subject<'_>| {
        assumed |= subject.kind == Kind::Pod && subject.requester == Requester::Assumed;
        let explanation = explain::explain(&ruleset, subject);
        match args.output {
            OutputFormat::Text => texts.push(as_text(heading, subject, &explanation)),
            OutputFormat::Json => values.push(as_json(heading, subject, &explanation)),
        }
    };
    let found = each_subject(&input, &ruleset, args, &mut show)?;
    if found == 0 {
        output::error(&format!("no ServiceAccount, Pod or Pod template in {input}"));
        return Ok(ExitCode::from(1));
    }
    let mut text = match args.output {
        OutputFormat::Text => texts.join("\n"),
        OutputFormat::Json => format!("{:#}\n", Value::Array(values)),
    };
    if assumed && args.output == OutputFormat::Text {
        text.push_str(
            "\nPods count as asked for by their controller: name another requester with --user USER.\n",
        );
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows each object of the input, and returns how many there were.
fn each_subject(
    input: &Input,
    ruleset: &Ruleset,
    args: &ExplainArgs,
    show: &mut impl FnMut(&Heading<'_>, &Subject<'_>),
) -> anyhow::Result<usize> {
    if is_review(&input.text) {
        let shown = admission::parse(input.text.as_bytes(), ruleset).and_then(|request| {
            request.with_subject(|subject| {
                show(&Heading { kind: subject.kind.name(), name: subject.name, line: 1 }, subject);
            })
        });
        if shown.with_context(|| format!("reading {input}"))?.is_none() {
            bail!("reading {input}: the review is not about a ServiceAccount or about creating a Pod");
        }
        return Ok(1);
    }
    let objects = manifest::read(&input.text).with_context(|| format!("reading {input}"))?;
    for object in &objects {
        let heading = Heading { kind: &object.written_kind, name: &object.name, line: object.at.line };
        // A controller asks for the Pods of a workload, whoever applied the workload.
        let user = args.user.as_deref().filter(|_| !object.is_template());
        let requester = user.map_or(Requester::Assumed, Requester::User);
        show(&heading, &object.subject(&args.namespace, requester));
    }
    Ok(objects.len())
}

fn is_review(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .is_ok_and(|value| value.get("kind") == Some(&json!("AdmissionReview")))
}

fn as_text(heading: &Heading<'_>, subject: &Subject<'_>, explanation: &Explanation<'_>) -> String {
    let Explanation { facts, traces, decision } = explanation;
    let mut text = String::new();
    // Anybody can write an annotation: it must not begin a line of its own, nor send commands to the
    // terminal.
    let mut line = |indent: usize, words: String| {
        let _ = writeln!(text, "{:indent$}{}", "", words.replace(char::is_control, "?"));
    };
    line(0, format!("{} {}/{} (line {})", heading.kind, subject.namespace, heading.name, heading.line));
    let component = facts.component.map_or("none", Component::name);
    let why_none = match facts {
        Facts { component: Some(_), .. } => String::new(),
        Facts { resembles: Some(old), .. } => format!(" ({})", old.resemblance()),
        _ => missing_labels(subject),
    };
    line(2, format!("component: {component}{why_none}"));
    if let Some(claimed) = facts.disbelieved {
        line(
            2,
            format!("its labels say {}, which is believed only of a workload controller", claimed.name()),
        );
    }
    if subject.kind == Kind::Pod {
        line(2, format!("serviceAccount: {}", subject.service_account));
    }
    for verdict in &decision.verdicts {
        let tried = traces.iter().find(|trace| trace.provider == verdict.provider);
        let tried = tried.map(|trace| trace.tried.as_slice()).unwrap_or_default();
        line(2, format!("{}: {}", verdict.provider.name(), in_words(verdict)));
        for Tried { rule, mismatch } in tried {
            let place = format!("line {}, {}", rule.at.line, rule.name);
            match mismatch {
                Some(mismatch) => line(4, format!("no   {place}: {mismatch}")),
                None => line(4, format!("yes  {place}")),
            }
        }
    }
    for Edit { key, value } in &decision.edits {
        let sign = if value_of(subject.annotations, key).is_some() { '~' } else { '+' };
        match value {
            Some(value) => line(2, format!("{sign} {key}: {value}")),
            None => line(2, format!("- {key}")),
        }
    }
    for warning in &decision.warnings {
        line(2, format!("warning: {warning}"));
    }
    text
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

fn as_json(heading: &Heading<'_>, subject: &Subject<'_>, explanation: &Explanation<'_>) -> Value {
    let Explanation { facts, traces, decision } = explanation;
    let providers: Vec<Value> = decision
        .verdicts
        .iter()
        .map(|verdict| {
            let trace = traces.iter().find(|trace| trace.provider == verdict.provider);
            let tried = trace.map(|trace| trace.tried.as_slice()).unwrap_or_default();
            let tried: Vec<Value> = tried
                .iter()
                .map(|Tried { rule, mismatch }| {
                    json!({
                        "rule": rule.name,
                        "line": rule.at.line,
                        "matches": mismatch.is_none(),
                        "mismatch": mismatch,
                    })
                })
                .collect();
            json!({
                "provider": verdict.provider.name(),
                "outcome": verdict.outcome.name(),
                "rule": verdict.rule.map(|rule| &rule.name),
                "role": verdict.role,
                "tried": tried,
            })
        })
        .collect();
    let edits: serde_json::Map<String, Value> =
        decision.edits.iter().map(|edit| (edit.key.to_owned(), json!(edit.value))).collect();
    json!({
        "kind": heading.kind,
        "namespace": subject.namespace,
        "name": heading.name,
        "line": heading.line,
        "serviceAccount": subject.service_account,
        "component": facts.component.map(Component::name),
        "resembles": facts.resembles.map(Component::name),
        "disbelievedComponent": facts.disbelieved.map(Component::name),
        "requesterAssumed": subject.requester == Requester::Assumed,
        "providers": providers,
        "annotations": edits,
        "warnings": decision.warnings,
    })
}
