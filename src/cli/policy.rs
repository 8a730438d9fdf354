//! How does a mapping look as a policy of the API server? The command `policy` prints it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::input;
use super::{OperatorPolicyArgs, OutputFormat, counted, output};
use crate::engine::mapping;
use crate::engine::object::dns_name::{is_dns_label, is_dns_name};
use crate::engine::policy::{self, LeftOut, Objects, Placed};
use crate::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};

const EXAMPLES: &str = "Examples:
  See the policy, its binding and its parameter; then give the roles without a webhook:
    gitlab-iam-webhook policy -m mapping.yaml \\
      --allowed-role 'arn:aws:iam::123456789012:role/gitlab*'
    kubectl create namespace gitlab-iam-webhook
    gitlab-iam-webhook policy -m mapping.yaml \\
      --allowed-role 'arn:aws:iam::123456789012:role/gitlab*' |
      kubectl apply --server-side -f -
  Let it act in one namespace only, where that has opted in:
    gitlab-iam-webhook policy -m mapping.yaml --namespace gitlab \\
      --allowed-role 'arn:aws:iam::123456789012:role/gitlab*'
  After an edit of the mapping, replace its data alone:
    gitlab-iam-webhook policy -m mapping.yaml --parameter-only |
      kubectl apply --server-side -f -

A policy needs Kubernetes 1.36. It gives no warnings, writes no Events and no metrics, and
repairs nothing: what exists already is annotated when it is next created or updated.

Exit status: 0 when the policy has every rule, 1 when rules would be left out, 2 when the
mapping cannot be read or has problems. docs/policy.md says what a policy does otherwise than
the webhook.";

/// The name of the objects where none is given.
const NAME: &str = "gitlab-iam-webhook";

/// The arguments of `policy`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PolicyArgs {
    /// The file with the mapping; `-` is standard input.
    #[arg(long, short, value_name = "FILE")]
    mapping: PathBuf,

    /// The name of the policy, of its binding and of its parameter.
    #[arg(long, default_value = NAME, value_parser = name)]
    name: String,

    /// The namespace of the parameter. The policy acts in every other one, and never in kube-system.
    #[arg(long, value_name = "NAMESPACE", default_value = NAME, value_parser = namespace)]
    parameter_namespace: String,

    /// A namespace in which the policy acts. Without this option it acts in all that have opted in.
    ///
    /// The option can be repeated.
    #[arg(long = "namespace", short, value_name = "NAMESPACE", value_parser = namespace)]
    namespaces: Vec<String>,

    /// Let whoever may write the parameter give any role.
    ///
    /// Without it, --allowed-role is needed: the roles stand in the policy itself, where no edit of the
    /// parameter reaches them.
    #[arg(long, conflicts_with = "allowed_roles")]
    any_role: bool,

    /// Print the policy also where it cannot have every rule. Those that do not fit are named.
    ///
    /// An object that no rule before them matches is left as it is, so that no later rule decides in the
    /// place of one that is missing.
    #[arg(long)]
    partial: bool,

    /// Print the parameter alone, which is all that an edit of the mapping changes.
    #[arg(long)]
    parameter_only: bool,

    /// The format of what is printed: YAML with comments, or the objects as one list.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    operator_policy: OperatorPolicyArgs,
}

fn name(text: &str) -> Result<String, String> {
    let fits = is_dns_name(text);
    fits.then(|| text.to_owned())
        .ok_or_else(|| "the name of an object is lower-case words with `-`".to_owned())
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = is_dns_label(text);
    fits.then(|| text.to_owned()).ok_or_else(|| "not the name of a namespace".to_owned())
}

pub(super) fn run(args: &PolicyArgs) -> anyhow::Result<ExitCode> {
    let mut operator = OperatorPolicy::from(&args.operator_policy);
    if args.any_role {
        operator.allowed_roles.push("*".parse::<AllowedRole>().map_err(anyhow::Error::msg)?);
    }
    if operator.allowed_roles.is_empty() && !args.parameter_only {
        anyhow::bail!(
            "whoever may write the parameter could give any role: say with --allowed-role which ones, \
             or --any-role"
        );
    }
    let input = input::read(&args.mapping)?;
    let ruleset = mapping::compile_file(&input.text, &operator).map_err(|problems| {
        let first = problems.first.first().map(ToString::to_string).unwrap_or_default();
        let count = counted(problems.first.len(), "problem");
        anyhow::anyhow!("{}:{first} ({count}; `check` names them all)", input.name)
    })?;
    let parameter =
        policy::parameter(&ruleset).with_context(|| format!("compiling {} to a policy", input.name))?;
    let left_out = &parameter.left_out;
    if !left_out.is_empty() {
        output::error(&sentence(&input.name, left_out, args.partial));
        if !args.partial {
            return Ok(ExitCode::from(1));
        }
    }
    let placed = Placed { name: &args.name, namespace: &args.parameter_namespace, acts_in: &args.namespaces };
    let objects = Objects::new(&placed, &operator.allowed_roles, &parameter.data)?;
    output::print(&print(args, &objects, left_out)?)?;
    Ok(ExitCode::from(u8::from(!left_out.is_empty())))
}

/// Names the rules that are left out, and why the first of them is.
fn sentence(file: &str, left_out: &[LeftOut], partial: bool) -> String {
    const NAMED: usize = 20;
    let mut text = format!("{file}: the policy cannot have {}", counted(left_out.len(), "rule"));
    if let Some(first) = left_out.first() {
        let _ = write!(text, ", from line {} on: {}", first.at.line, first.why);
    }
    for LeftOut { rule, at, .. } in left_out.iter().take(NAMED) {
        let _ = write!(text, "\n{file}:{at}: rule `{rule}` is left out");
    }
    if left_out.len() > NAMED {
        let _ = write!(text, "\n{file}: and {} more", left_out.len() - NAMED);
    }
    if partial {
        text.push_str("\nobjects that no rule before them matches are left as they are");
    } else {
        text.push_str("\nnothing is printed: have fewer rules that one object must try, or say --partial");
    }
    text
}

fn print(args: &PolicyArgs, objects: &Objects, left_out: &[LeftOut]) -> anyhow::Result<String> {
    let Objects { policy, binding, parameter } = objects;
    let documents: &[&String] =
        if args.parameter_only { &[parameter] } else { &[policy, binding, parameter] };
    let list = || {
        let items: Vec<Value> = documents.iter().map(|document| policy::value(document)).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items})
    };
    output::formatted(args.output, || as_text(documents, left_out), list)
}

/// The objects as YAML with comments.
fn as_text(documents: &[&String], left_out: &[LeftOut]) -> String {
    let mut text = String::from(
        "# Apply it with `kubectl apply --server-side`: a large mapping is too long for the annotation of a
# client-side apply. A policy gives no warnings, writes no Events and no metrics, and repairs nothing.
",
    );
    for LeftOut { rule, at, .. } in left_out {
        let rule: String = rule.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(text, "# The rule `{rule}` of line {} is left out.", at.line);
    }
    let documents: Vec<&str> = documents.iter().map(|document| document.as_str()).collect();
    text + &documents.join("---\n")
}
