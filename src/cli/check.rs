//! What is wrong with these mappings? The command `check` tells.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::input;
use super::{OperatorPolicyArgs, OutputFormat, counted, output};
use crate::engine::mapping::lints::{self, Lint, LintKind};
use crate::engine::mapping::{self, Problem, Problems};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;

const EXAMPLES: &str = "Examples:
  gitlab-iam-webhook check mapping.yaml
  gitlab-iam-webhook check --strict --output json *.yaml
  kubectl get configmap role-mapping -o yaml | gitlab-iam-webhook check -

Exit status: 0 when there are no problems, 1 when there are problems (or warnings,
with --strict), 2 when a file cannot be read.";

/// The arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// The files with the mappings; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Count warnings as problems.
    #[arg(long)]
    strict: bool,

    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    policy: OperatorPolicyArgs,
}

struct Checked {
    name: String,
    result: Result<Ruleset, Failure>,
    warnings: Vec<Lint>,
    /// What is worth knowing though nothing needs to be mended.
    notes: Vec<Lint>,
}

impl Checked {
    /// The names of the rules that this kind of note is about.
    fn noted(&self, kind: LintKind) -> Vec<&str> {
        self.notes.iter().filter(|note| note.kind == kind).filter_map(|note| note.rule.as_deref()).collect()
    }
}

/// Why a mapping was not accepted.
enum Failure {
    /// The file cannot be read.
    Unreadable(anyhow::Error),
    /// The mapping cannot be used.
    Problems(Problems),
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let policy = OperatorPolicy::from(&args.policy);
    let checked: Vec<Checked> = args.files.iter().map(|path| check(path, &policy)).collect();
    let text = output::formatted(
        args.output,
        || checked.iter().map(as_text).collect(),
        || checked.iter().map(as_json).collect(),
    );
    output::print(&text?)?;
    let mut code = 0;
    for Checked { result, warnings, .. } in &checked {
        match result {
            Err(Failure::Unreadable(error)) => {
                output::error(&format!("error: {error:#}"));
                code = 2;
            }
            Err(Failure::Problems(_)) => code = code.max(1),
            Ok(_) if args.strict && !warnings.is_empty() => code = code.max(1),
            Ok(_) => {}
        }
    }
    Ok(ExitCode::from(code))
}

fn check(path: &Path, policy: &OperatorPolicy) -> Checked {
    let input = match input::read(path) {
        Ok(input) => input,
        Err(error) => {
            let name = path.display().to_string();
            let result = Err(Failure::Unreadable(error));
            return Checked { name, result, warnings: Vec::new(), notes: Vec::new() };
        }
    };
    let result = mapping::compile_file(&input.text, policy);
    let found = result.as_ref().map(|ruleset| lints::lint(ruleset, input.text.len())).unwrap_or_default();
    let (notes, warnings) = found.into_iter().partition(|lint| lint.kind.is_note());
    Checked { name: input.name, result: result.map_err(Failure::Problems), warnings, notes }
}

fn as_text(checked: &Checked) -> String {
    let Checked { name: input, result, warnings, notes: _ } = checked;
    let mut text = String::new();
    match result {
        // The error goes to standard error.
        Err(Failure::Unreadable(_)) => {}
        Err(Failure::Problems(Problems { first: problems, .. })) => {
            for problem in problems {
                let _ = writeln!(text, "{input}:{problem}");
            }
            let _ = writeln!(text, "{input}: {}", counted(problems.len(), "problem"));
        }
        Ok(ruleset) => {
            for Lint { at, rule, message, .. } in warnings {
                let place = at.map(|at| format!(":{at}")).unwrap_or_default();
                let rule = rule.as_ref().map(|rule| format!("rule `{rule}` ")).unwrap_or_default();
                let _ = writeln!(text, "{input}{place}: warning: {rule}{message}");
            }
            let _ = write!(text, "{input}: ok, {}", counted(ruleset.rules().len(), "rule"));
            if !warnings.is_empty() {
                let _ = write!(text, ", {}", counted(warnings.len(), "warning"));
            }
            text.push('\n');
            for (kind, words) in [
                (LintKind::EveryNamespace, "reaching every opted-in namespace"),
                (
                    LintKind::JobNamespace,
                    "about jobs by their namespace, which a job's author may be able to choose",
                ),
            ] {
                let names: Vec<_> = checked.noted(kind).iter().map(|name| format!("`{name}`")).collect();
                if !names.is_empty() {
                    let _ =
                        writeln!(text, "  {} {words}: {}", counted(names.len(), "rule"), names.join(", "));
                }
            }
        }
    }
    text
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let Checked { name: input, result, warnings, notes: _ } = checked;
    let problems: Vec<_> = match result {
        Err(Failure::Problems(Problems { first: problems, .. })) => problems
            .iter()
            .map(|Problem { at, path, message }| {
                json!({"line": at.line, "column": at.column, "path": path, "message": message})
            })
            .collect(),
        _ => Vec::new(),
    };
    let error = match result {
        Err(Failure::Unreadable(error)) => Some(format!("{error:#}")),
        _ => None,
    };
    let warnings: Vec<_> = warnings
        .iter()
        .map(|Lint { at, rule, kind, message }| {
            json!({
                "kind": kind.name(),
                "line": at.map(|at| at.line),
                "column": at.map(|at| at.column),
                "rule": rule,
                "message": message,
            })
        })
        .collect();
    json!({
        "file": input,
        "error": error,
        "ok": result.is_ok(),
        "rules": result.as_ref().ok().map(|ruleset| ruleset.rules().len()),
        "problems": problems,
        "warnings": warnings,
        "everyNamespace": checked.noted(LintKind::EveryNamespace),
        "jobNamespace": checked.noted(LintKind::JobNamespace),
    })
}
