//! `check`: what is wrong with these mappings?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::input::{self, Input};
use super::{BoundsArgs, OutputFormat, counted, output};
use crate::engine::advice::{self, Advice};
use crate::engine::bounds::Bounds;
use crate::engine::mapping::{self, Problem, Problems};
use crate::engine::ruleset::Ruleset;

const EXAMPLES: &str = "Examples:
  gitlab-iam-webhook check mapping.yaml
  gitlab-iam-webhook check --strict --output json *.yaml
  kubectl get configmap role-mapping -o yaml | gitlab-iam-webhook check -

Exit status: 0 no problems, 1 problems (with --strict also warnings), 2 a file cannot be read.";

/// A mapping, or the manifest of a ConfigMap that holds one under `mapping.yaml`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Mapping files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Warnings count as problems.
    #[arg(long)]
    strict: bool,

    /// The form of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    bounds: BoundsArgs,
}

struct Checked {
    input: Input,
    result: Result<Ruleset, Problems>,
    warnings: Vec<Advice>,
    /// Names of rules without `namespace`: worth knowing, nothing to mend.
    everywhere: Vec<String>,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let bounds = Bounds::from(&args.bounds);
    let inputs = args.files.iter().map(|path| input::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let checked: Vec<Checked> = inputs.into_iter().map(|input| check(input, &bounds)).collect();
    let text = match args.output {
        OutputFormat::Text => checked.iter().map(as_text).collect(),
        OutputFormat::Json => {
            let files: Vec<_> = checked.iter().map(as_json).collect();
            format!("{:#}\n", serde_json::Value::Array(files))
        }
    };
    output::print(&text)?;
    let found = checked.iter().any(|c| c.result.is_err() || (args.strict && !c.warnings.is_empty()));
    Ok(ExitCode::from(u8::from(found)))
}

fn check(input: Input, bounds: &Bounds) -> Checked {
    let result = mapping::compile(&input.text, bounds);
    let advice = result.as_ref().map(|ruleset| advice::advise(ruleset, input.text.len())).unwrap_or_default();
    let (everywhere, warnings): (Vec<_>, Vec<_>) =
        advice.into_iter().partition(|advice| advice.kind == "every-namespace");
    let everywhere = everywhere.into_iter().filter_map(|advice| advice.rule).collect();
    Checked { input, result, warnings, everywhere }
}

fn as_text(checked: &Checked) -> String {
    let Checked { input, result, warnings, everywhere } = checked;
    let mut text = String::new();
    match result {
        Err(Problems(problems)) => {
            for problem in problems {
                let _ = writeln!(text, "{input}:{problem}");
            }
            let _ = writeln!(text, "{input}: {}", counted(problems.len(), "problem"));
        }
        Ok(ruleset) => {
            for Advice { at, rule, message, .. } in warnings {
                let place = at.map(|at| format!(":{at}")).unwrap_or_default();
                let rule = rule.as_ref().map(|rule| format!("rule `{rule}` ")).unwrap_or_default();
                let _ = writeln!(text, "{input}{place}: warning: {rule}{message}");
            }
            let _ = write!(text, "{input}: ok, {}", counted(ruleset.rules().len(), "rule"));
            if !warnings.is_empty() {
                let _ = write!(text, ", {}", counted(warnings.len(), "warning"));
            }
            text.push('\n');
            if !everywhere.is_empty() {
                let _ = writeln!(
                    text,
                    "  {} without `namespace`, reaching every opted-in namespace: {}",
                    counted(everywhere.len(), "rule"),
                    everywhere.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                );
            }
        }
    }
    text
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let Checked { input, result, warnings, everywhere } = checked;
    let problems: Vec<_> = match result {
        Err(Problems(problems)) => problems
            .iter()
            .map(|Problem { at, path, message }| {
                json!({"line": at.line, "column": at.column, "path": path, "message": message})
            })
            .collect(),
        Ok(_) => Vec::new(),
    };
    let warnings: Vec<_> = warnings
        .iter()
        .map(|Advice { at, rule, kind, message }| {
            json!({
                "kind": kind,
                "line": at.map(|at| at.line),
                "column": at.map(|at| at.column),
                "rule": rule,
                "message": message,
            })
        })
        .collect();
    json!({
        "file": input.name,
        "ok": result.is_ok(),
        "rules": result.as_ref().ok().map(|ruleset| ruleset.rules().len()),
        "problems": problems,
        "warnings": warnings,
        "everyNamespace": everywhere,
    })
}
