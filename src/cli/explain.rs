//! Which rule decides on these objects, and why do the others not match? The command `explain` tells.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::input::{self, Input};
use super::{OperatorPolicyArgs, OutputFormat, output};
use crate::engine::admission;
use crate::engine::decision::explain::{self, Explanation, ThroughAccount, Tried};
use crate::engine::decision::{Edit, Outcome, Verdict};
use crate::engine::mapping;
use crate::engine::object::component::Component;
use crate::engine::object::manifest::{self, Object};
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Kind, Requester, Subject, value_of};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::ruleset::Ruleset;

const EXAMPLES: &str = "Examples:
  helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
    gitlab-iam-webhook explain -m mapping.yaml -n gitlab -
  kubectl get sa,pods -A -o yaml |
    gitlab-iam-webhook explain -m mapping.yaml --output json -
  gitlab-iam-webhook explain -m mapping.yaml job-pod.yaml \\
    --user system:serviceaccount:ci:gitlab-runner

The role of irsa is on a Pod's ServiceAccount: give explain both in one input, as
kubectl get sa,pods does, to see which role the Pod gets.

Exit status: 0 when something was explained, 1 when the file has no ServiceAccount,
Pod or Pod template, 2 when a file cannot be read or used.";

/// The arguments of `explain`.
/// Where kubectl, too, puts what names no namespace.
const DEFAULT_NAMESPACE: &str = "default";

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
    #[arg(long, short, default_value = DEFAULT_NAMESPACE)]
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

/// What a Pod gets through its ServiceAccount.
struct Account<'a> {
    /// The line where it stands. `None` is for an account `default` that is not in the input, and is taken to
    /// have no labels and annotations.
    line: Option<u32>,
    /// Whether it comes from a cluster.
    is_stored: bool,
    gets: ThroughAccount<'a>,
}

pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let mapping = input::read(&args.mapping)?;
    let ruleset = mapping::compile_file(&mapping.text, &(&args.policy).into())
        .with_context(|| format!("loading the mapping {mapping}"))?;
    let input = input::read(&args.objects)?;
    let mut texts = Vec::new();
    let mut values = Vec::new();
    let mut assumed = false;
    let named: Vec<Provider> =
        Provider::ALL.into_iter().filter(|provider| ruleset.names_provider(*provider)).collect();
    let mut show = |heading: &Heading<'_>, subject: &Subject<'_>, account: Option<&Object<'_>>| {
        assumed |= subject.kind == Kind::Pod && subject.requester == Requester::Assumed;
        let explanation = explain::explain(&ruleset, subject);
        let account = account_of(subject, account, &ruleset);
        match args.output {
            OutputFormat::Text => {
                texts.push(as_text(heading, subject, &explanation, account.as_ref(), &named));
            }
            OutputFormat::Json | OutputFormat::Yaml => {
                values.push(as_json(heading, subject, &explanation, account.as_ref()));
            }
        }
    };
    let found = each_subject(&input, &ruleset, args, &mut show)?;
    if found.objects == 0 {
        output::error(&format!(
            "no ServiceAccount, Pod or Pod template in {input}: give it what `kubectl get sa,pods -o yaml` \
             or `helm template` prints"
        ));
        return Ok(ExitCode::from(1));
    }
    let mut text = output::formatted(args.output, || texts.join("\n"), || Value::Array(values))?;
    if assumed && args.output == OutputFormat::Text {
        text.push_str(
            "\nPods count as asked for by their controller: name another requester with --user USER.\n",
        );
    }
    if found.without_namespace && args.namespace == DEFAULT_NAMESPACE && args.output == OutputFormat::Text {
        text.push_str(
            "\nObjects that name no namespace count as in `default`: name another one with -n NAMESPACE.\n",
        );
    }
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what a Pod gets through its ServiceAccount, where that is known. A `default` that is not in the
/// input is known well enough: every namespace has one, and it comes without labels and annotations.
fn account_of<'a>(
    pod: &Subject<'a>,
    found: Option<&'a Object<'a>>,
    ruleset: &'a Ruleset,
) -> Option<Account<'a>> {
    let (line, is_stored, account) = match found {
        _ if pod.kind != Kind::Pod => return None,
        Some(object) => {
            (Some(object.at.line), object.is_stored, object.subject(pod.namespace, pod.requester))
        }
        None if pod.service_account == "default" => {
            let bare = Subject {
                kind: Kind::ServiceAccount,
                name: "default",
                labels: &[],
                annotations: &[],
                ..*pod
            };
            (None, false, bare)
        }
        None => return None,
    };
    Some(Account { line, is_stored, gets: explain::through_account(ruleset, &account)? })
}

/// What was in the input.
struct Found {
    objects: usize,
    /// Whether some object names no namespace.
    without_namespace: bool,
}

/// Shows each object of the input, a Pod with its ServiceAccount where that is in the input as well.
fn each_subject(
    input: &Input,
    ruleset: &Ruleset,
    args: &ExplainArgs,
    show: &mut impl FnMut(&Heading<'_>, &Subject<'_>, Option<&Object<'_>>),
) -> anyhow::Result<Found> {
    if is_review(&input.text) {
        let shown = admission::parse(input.text.as_bytes(), ruleset).and_then(|request| {
            request.with_subject(|subject| {
                show(&Heading { kind: subject.kind.name(), name: subject.name, line: 1 }, subject, None);
            })
        });
        if shown.with_context(|| format!("reading {input}"))?.is_none() {
            bail!("reading {input}: the review is not about a ServiceAccount or about creating a Pod");
        }
        return Ok(Found { objects: 1, without_namespace: false });
    }
    let objects = manifest::read(&input.text).with_context(|| format!("reading {input}"))?;
    let is_account = |object: &&Object<'_>| object.kind == Kind::ServiceAccount;
    let accounts: HashMap<(&str, &str), &Object<'_>> = objects
        .iter()
        .filter(is_account)
        .map(|object| ((object.namespace.as_deref().unwrap_or(&args.namespace), &*object.name), object))
        .collect();
    for object in &objects {
        let heading = Heading { kind: &object.written_kind, name: &object.name, line: object.at.line };
        // A controller asks for the Pods of a workload, whoever applied the workload.
        let user = args.user.as_deref().filter(|_| !object.is_template());
        let requester = user.map_or(Requester::Assumed, Requester::User);
        let subject = object.subject(&args.namespace, requester);
        let account = accounts.get(&(subject.namespace, subject.service_account)).copied();
        show(&heading, &subject, account);
    }
    let without_namespace = objects.iter().any(|object| object.namespace.is_none());
    Ok(Found { objects: objects.len(), without_namespace })
}

fn is_review(text: &str) -> bool {
    serde_json::from_str::<Value>(text)
        .is_ok_and(|value| value.get("kind") == Some(&json!("AdmissionReview")))
}

fn as_text(
    heading: &Heading<'_>,
    subject: &Subject<'_>,
    explanation: &Explanation<'_>,
    account: Option<&Account<'_>>,
    named: &[Provider],
) -> String {
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
    let mut told = 0;
    for verdict in &decision.verdicts {
        if is_told(verdict, subject.kind, account, named) {
            told += 1;
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
        if subject.kind == Kind::Pod && verdict.provider == Provider::Irsa {
            for (index, words) in through_account(verdict, account, named).into_iter().enumerate() {
                told += 1;
                line(if index == 0 { 2 } else { 4 }, words);
            }
        }
    }
    if told == 0 {
        line(2, format!("no rule of the mapping is about {}s, nothing changes", subject.kind.name()));
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

/// Whether the verdict of a provider is worth a line. A provider that no rule names is left out, and so is
/// what irsa's rules do with a Pod itself, where the role is on its ServiceAccount.
fn is_told(verdict: &Verdict<'_>, kind: Kind, account: Option<&Account<'_>>, named: &[Provider]) -> bool {
    let is_named = named.contains(&verdict.provider);
    match verdict.outcome {
        Outcome::NoRule => is_named && (kind == Kind::ServiceAccount || verdict.provider != Provider::Irsa),
        Outcome::OnServiceAccount => account.is_none(),
        Outcome::OptedOut => is_named,
        _ => true,
    }
}

/// Says in some lines what a Pod gets through its ServiceAccount, where the mapping or somebody else gives it
/// something there. `verdict` is what was decided for irsa on the Pod itself.
fn through_account(verdict: &Verdict<'_>, account: Option<&Account<'_>>, named: &[Provider]) -> Vec<String> {
    let Some(Account { line, is_stored, gets }) = account else {
        let unknown = "irsa, through its ServiceAccount: not known, as that is not in the input; add it, as \
            `kubectl get sa,pods -o yaml` does";
        return if named.contains(&Provider::Irsa) { vec![unknown.to_owned()] } else { Vec::new() };
    };
    let ThroughAccount { verdict: on_account, role, present } = gets;
    let is_nothing = on_account.outcome == Outcome::NoRule && role.is_none();
    if is_nothing && (!named.contains(&Provider::Irsa) || verdict.outcome == Outcome::DefaultAccount) {
        return Vec::new();
    }
    let place = line.map_or_else(|| "not in the input".to_owned(), |line| format!("line {line}"));
    let mut lines = vec![format!("irsa, through its ServiceAccount ({place}): {}", in_words(on_account))];
    lines.extend(on_account.rule.map(|rule| format!("yes  line {}, {}", rule.at.line, rule.name)));
    if *role != on_account.role {
        lines.push(format!("it carries {}", role.as_deref().unwrap_or("no role")));
    }
    match present {
        Some(present) if role.as_deref() != Some(present) => {
            lines.push(format!("in the input it still carries {present}"));
        }
        None if role.is_some() && *is_stored => {
            lines.push("in the input it carries no role yet, and Pods get none until it does".to_owned());
        }
        _ => {}
    }
    lines
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

fn as_json(
    heading: &Heading<'_>,
    subject: &Subject<'_>,
    explanation: &Explanation<'_>,
    account: Option<&Account<'_>>,
) -> Value {
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
        "throughServiceAccount": (subject.kind == Kind::Pod).then(|| through_account_as_json(account)),
        "annotations": edits,
        "warnings": decision.warnings,
    })
}

fn through_account_as_json(account: Option<&Account<'_>>) -> Value {
    let gets = account.map(|account| &account.gets);
    json!({
        "inInput": account.is_some_and(|account| account.line.is_some()),
        "line": account.and_then(|account| account.line),
        "outcome": gets.map(|gets| gets.verdict.outcome.name()),
        "rule": gets.and_then(|gets| gets.verdict.rule).map(|rule| &rule.name),
        "role": gets.and_then(|gets| gets.role.as_deref()),
        "present": gets.and_then(|gets| gets.present),
    })
}
