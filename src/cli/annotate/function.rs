//! How is a ResourceList annotated, as kustomize gives it to a function?
//!
//! The protocol is the specification of KRM functions, which kustomize's sources hold
//! (cmd/config/docs/api-conventions/functions-spec.md): objects come in `items`, what to do with them in
//! `functionConfig`, and what there is to say goes out in `results`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{AnnotateArgs, annotated, compiled, load, sentence, tell, warnings};
use crate::cli::input::Input;
use crate::cli::output;
use crate::engine::annotate::{Annotated, Top};
use crate::engine::mapping::CONFIG_MAP_KEY;
use crate::engine::rules::ruleset::Ruleset;
use crate::engine::yaml::{self, Node};

/// The group of kustomize's own lists, before its version.
const GROUP: &str = "config.kubernetes.io/";

/// A ResourceList that stands alone in its text.
pub(super) struct ResourceList<'i> {
    input: &'i Input,
    /// The mapping of its functionConfig.
    mapping: Option<Input>,
    /// Where results go, unless there are some already.
    top: Option<Top>,
}

impl<'i> ResourceList<'i> {
    /// Recognises a ResourceList.
    pub(super) fn of(input: &'i Input) -> Option<Self> {
        // Most texts are none, and need not be read for that.
        if !input.text.contains("ResourceList") {
            return None;
        }
        let documents = yaml::read(&input.text).ok()?;
        let [list] = documents.as_slice() else { return None };
        let text_of = |key| list.get(key).and_then(Node::as_text).unwrap_or_default();
        if text_of("kind") != "ResourceList" || !text_of("apiVersion").starts_with(GROUP) {
            return None;
        }
        let text = list.at_path(&["functionConfig", "data", CONFIG_MAP_KEY]).and_then(Node::as_text);
        let name = || format!("functionConfig.data.{CONFIG_MAP_KEY}");
        let mapping = text.map(|text| Input { name: name(), text: text.to_owned() });
        let top = Top::of(&input.text, list).filter(|_| list.get("results").is_none());
        Some(Self { input, mapping, top })
    }

    fn ruleset(&self, args: &AnnotateArgs) -> anyhow::Result<Ruleset> {
        match (&self.mapping, &args.mapping) {
            (Some(_), Some(path)) => bail!(
                "two mappings: leave out -m {}, or {CONFIG_MAP_KEY} in the data of functionConfig",
                path.display()
            ),
            (Some(mapping), None) => compiled(mapping, args),
            (None, Some(path)) => load(path, args),
            (None, None) => {
                bail!("no mapping: write it into the data of functionConfig under {CONFIG_MAP_KEY}")
            }
        }
    }

    /// Returns a text of this list with its results.
    fn with_results(&self, text: &str, results: &[Value]) -> String {
        match &self.top {
            // Nothing before the top of the list was changed, so that it is where it was.
            Some(top) if !results.is_empty() => {
                // YAML takes no control characters, and JSON takes some.
                top.with_entry(text, "results", &output::escaped(&Value::from(results).to_string()))
            }
            _ => text.to_owned(),
        }
    }
}

pub(super) fn run(args: &AnnotateArgs, list: &ResourceList<'_>) -> anyhow::Result<ExitCode> {
    if args.diff {
        bail!("--diff shows nothing of a ResourceList, which kustomize writes anew: compare what it builds");
    }
    let done = list.ruleset(args).and_then(|ruleset| print(args, list, &ruleset));
    if let Err(error) = &done {
        // Whoever asked gets the objects back as they were, and is told why.
        let result = json!({"message": format!("{error:#}"), "severity": "error"});
        output::print(&list.with_results(&list.input.text, &[result])).context("printing the error")?;
    }
    done
}

fn print(args: &AnnotateArgs, list: &ResourceList<'_>, ruleset: &Ruleset) -> anyhow::Result<ExitCode> {
    let all = [(list.input, annotated(list.input, ruleset, args)?)];
    let results: Vec<Value> = all.iter().flat_map(|(input, annotated)| results(input, annotated)).collect();
    for (_, annotated) in &all {
        output::print(&list.with_results(&annotated.text, &results))?;
    }
    tell(&all, args);
    Ok(ExitCode::SUCCESS)
}

fn results(input: &Input, annotated: &Annotated<'_, '_>) -> Vec<Value> {
    let of_object = |told| {
        let resource = |told: &super::Told<'_, '_>| {
            json!({
                "kind": told.object.written_kind,
                "namespace": told.namespace,
                "name": told.object.name,
            })
        };
        warnings(told).into_iter().map(move |warning| {
            json!({
                "message": sentence(input, told, &warning),
                "severity": "warning",
                "resourceRef": resource(told),
            })
        })
    };
    annotated.told.iter().flat_map(of_object).collect()
}
