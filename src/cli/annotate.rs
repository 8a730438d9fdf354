//! What do these manifests look like with the roles in them? The command `annotate` prints them.

mod diff;
mod function;
mod read;

use std::io::{self, IsTerminal};
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::input::{self, Input};
use super::{OperatorPolicyArgs, OutputFormat, cluster_args, output};
use crate::engine::annotate::{Annotated, Circumstances, MAX_OBJECTS, Told, annotate, join};
use crate::engine::decision::Outcome;
use crate::engine::mapping;
use crate::engine::object::component::Component;
use crate::engine::rules::ruleset::Ruleset;
use crate::telemetry::takes_colour;

const EXAMPLES: &str = "Examples:
  Install GitLab with its roles where no webhook runs:
    helm template gitlab gitlab/gitlab -n gitlab -f values.yaml |
      gitlab-iam-webhook annotate -m mapping.yaml -n gitlab | kubectl apply -n gitlab -f -
  The same with Helm 3 itself, which says -n by a post-renderer's arguments:
    helm install gitlab gitlab/gitlab -n gitlab --post-renderer gitlab-iam-webhook \\
      --post-renderer-args annotate --post-renderer-args -m=mapping.yaml \\
      --post-renderer-args -n=gitlab
  Show in CI what would change; at the top of the repository, change the files by it:
    gitlab-iam-webhook annotate -m mapping.yaml -n gitlab --diff manifests/
    gitlab-iam-webhook annotate -m mapping.yaml -n gitlab --diff manifests/ | git apply

Naming the files opts their objects in: the label gitlab-iam-webhook/inject of namespaces is not
looked at. An object that says gitlab-iam-webhook/inject: disabled stays as it is.

The stream keeps its format: YAML stays YAML, JSON stays JSON, and what does not change keeps
every byte. Nothing is printed unless all of it could be read: at most 64 MiB, and 2,000,000
values in one document. A ResourceList on standard input is taken as kustomize gives it to a
function, with the mapping in functionConfig under data, mapping.yaml.

Exit status: 0 when the manifests were printed, or --diff has no difference to show, 1 when
--diff has one, 2 when something cannot be read or annotated.";

/// The arguments of `annotate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AnnotateArgs {
    /// The file with the mapping. It may be left out where a ResourceList brings one.
    #[arg(long, short, value_name = "FILE", env = "GITLAB_IAM_WEBHOOK_MAPPING")]
    mapping: Option<PathBuf>,

    /// The files with the manifests; `-` is standard input, as it is where none is named. Of a folder, its
    /// .yaml, .yml and .json files are taken, but not those of folders in it. Several files come out as one
    /// stream.
    #[arg(value_name = "MANIFEST FILE")]
    files: Vec<PathBuf>,

    /// One more file with manifests, or a folder, as kubectl takes it. The option can be repeated.
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    more_files: Vec<PathBuf>,

    /// The namespace of the objects that name none. The variable is one that Helm itself reads.
    #[arg(
        long,
        short,
        value_name = "NAMESPACE",
        env = "HELM_NAMESPACE",
        value_parser = cluster_args::namespace
    )]
    namespace: Option<String>,

    /// The username of who asks for the Pods that stand in the manifests themselves.
    ///
    /// Without this option, such a Pod counts as one that its workload's controller asks for, and rules with
    /// a runner do not match. The Pods of a template always count as asked for by a controller.
    #[arg(long)]
    user: Option<String>,

    /// Print what changes, in place of the manifests: a unified diff.
    #[arg(long)]
    diff: bool,

    /// The format of what --diff prints. Manifests themselves keep the format that they have.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text, requires = "diff")]
    output: OutputFormat,

    #[command(flatten)]
    policy: OperatorPolicyArgs,
}

impl AnnotateArgs {
    /// The files and folders that are named.
    fn named(&self) -> Vec<PathBuf> {
        let named: Vec<PathBuf> = self.files.iter().chain(&self.more_files).cloned().collect();
        if named.is_empty() { vec!["-".into()] } else { named }
    }
}

pub(super) fn run(args: &AnnotateArgs) -> anyhow::Result<ExitCode> {
    let inputs = read::all(&args.named())?;
    if let [input] = inputs.as_slice()
        && let Some(list) = function::ResourceList::of(input)
    {
        return function::run(args, &list);
    }
    let Some(path) = &args.mapping else {
        bail!("no mapping: name its file with -m FILE, or give a ResourceList that brings one");
    };
    let ruleset = load(path, args)?;
    let mut all = Vec::with_capacity(inputs.len());
    for input in &inputs {
        all.push((input, annotated(input, &ruleset, args)?));
    }
    let objects: usize = all.iter().map(|(_, annotated)| annotated.objects).sum();
    if objects > MAX_OBJECTS {
        bail!("the manifests have more than {MAX_OBJECTS} objects together: annotate fewer at a time");
    }
    let code = if args.diff { print_difference(&all, args)? } else { print_manifests(&all)? };
    tell(&all, args);
    Ok(code)
}

fn load(path: &Path, args: &AnnotateArgs) -> anyhow::Result<Ruleset> {
    let mapping = input::read_at_most(path, 2 * mapping::MAX_BYTES)?;
    compiled(&mapping, args)
}

fn compiled(mapping: &Input, args: &AnnotateArgs) -> anyhow::Result<Ruleset> {
    mapping::compile_file(&mapping.text, &(&args.policy).into())
        .with_context(|| format!("loading the mapping {mapping}"))
}

fn annotated<'t, 'r>(
    input: &'t Input,
    ruleset: &'r Ruleset,
    args: &'t AnnotateArgs,
) -> anyhow::Result<Annotated<'t, 'r>> {
    let circumstances = Circumstances { namespace: args.namespace.as_deref(), user: args.user.as_deref() };
    annotate(&input.text, ruleset, &circumstances).with_context(|| format!("annotating {input}"))
}

/// Prints the texts as one stream.
fn print_manifests(all: &[(&Input, Annotated<'_, '_>)]) -> anyhow::Result<ExitCode> {
    if let [(_, annotated)] = all {
        output::print(&annotated.text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let texts: Vec<_> = all.iter().map(|(_, annotated)| annotated).collect();
    let stream = join(&texts).map_err(|error| {
        let name = all.get(error.index).map_or("the files", |(input, _)| &input.name);
        anyhow::Error::new(error).context(format!("making one stream of the files, with {name}"))
    });
    output::print(&stream?)?;
    Ok(ExitCode::SUCCESS)
}

fn print_difference(all: &[(&Input, Annotated<'_, '_>)], args: &AnnotateArgs) -> anyhow::Result<ExitCode> {
    let is_different = all.iter().any(|(_, annotated)| !annotated.splices.is_empty());
    match args.output {
        OutputFormat::Text => {
            let stdout = io::stdout();
            let style = diff::Style::of(stdout.is_terminal(), takes_colour(&stdout));
            for (input, annotated) in all {
                output::print(&diff::unified(&input.name, &input.text, &annotated.splices, style))?;
            }
            if is_different && all.iter().any(|(input, _)| !is_below(&input.name)) {
                output::error(
                    "git apply takes no path that begins with / or has .. in it: name files from the top of \
                     the repository",
                );
            }
        }
        OutputFormat::Json | OutputFormat::Yaml => {
            let objects = all
                .iter()
                .flat_map(|(input, annotated)| annotated.told.iter().map(|told| as_json(input, told)));
            output::print(&output::formatted(args.output, String::new, || objects.collect())?)?;
        }
    }
    Ok(ExitCode::from(u8::from(is_different)))
}

/// Whether a path goes down from the folder that this runs in.
fn is_below(name: &str) -> bool {
    Path::new(name)
        .components()
        .all(|part| matches!(part, path::Component::Normal(_) | path::Component::CurDir))
}

fn as_json(input: &Input, told: &Told<'_, '_>) -> Value {
    let Told { object, namespace, decision } = told;
    let annotations: serde_json::Map<String, Value> = decision
        .edits
        .iter()
        .map(|edit| (edit.key.to_owned(), json!({"from": told.present(edit.key), "to": edit.value})))
        .collect();
    json!({
        "file": input.name,
        "line": object.at.line,
        "kind": object.written_kind,
        "namespace": namespace,
        "name": object.name,
        "component": decision.component.map(Component::name),
        "annotations": annotations,
        "warnings": warnings(told),
    })
}

/// Returns what a person should know of an object.
fn warnings(told: &Told<'_, '_>) -> Vec<String> {
    let mut warnings = told.decision.warnings.clone();
    let missed = told.decision.verdicts.iter().find(|v| v.outcome == Outcome::DefaultAccount);
    if let Some(role) = missed.and_then(|verdict| verdict.role.as_deref()) {
        let advice = told.decision.component.and_then(Component::account_advice);
        let advice = advice.map(|advice| format!(": {advice}")).unwrap_or_default();
        warnings.push(format!("role {role} does not reach it, because the Pod runs as `default`{advice}"));
    }
    warnings
}

/// Says on standard error what was done, and what a person should know.
fn tell(all: &[(&Input, Annotated<'_, '_>)], args: &AnnotateArgs) {
    let mut changed = 0;
    for (input, annotated) in all {
        for told in &annotated.told {
            changed += usize::from(!told.decision.edits.is_empty());
            for warning in warnings(told) {
                output::error(&format!("warning: {}", sentence(input, told, &warning)));
            }
        }
    }
    if all.iter().any(|(_, annotated)| annotated.is_requester_assumed) {
        output::error("Pods count as asked for by their controller: name another requester with --user USER");
    }
    let objects: usize = all.iter().map(|(_, annotated)| annotated.objects).sum();
    let done = if args.diff { "would change" } else { "annotated" };
    output::error(&format!("{changed} of {objects} ServiceAccounts, Pods and Pod templates {done}"));
}

fn sentence(input: &Input, told: &Told<'_, '_>, warning: &str) -> String {
    let Told { object, namespace, .. } = told;
    format!(
        "{input}:{}: {} {namespace}/{}: {}",
        object.at.line,
        object.written_kind,
        object.name,
        warning.strip_prefix("gitlab-iam-webhook: ").unwrap_or(warning)
    )
}
