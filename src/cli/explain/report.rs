//! How is what is told of each object put together?

use serde_json::Value;

use super::shown::Shown;
use super::table::{self, Row};
use super::{ExplainArgs, json, text};
use crate::cli::OutputFormat;
use crate::cli::output::{self, in_a_line};
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::Requester;
use crate::engine::rules::ruleset::Ruleset;

/// Everything that is told.
pub(super) struct Report<'a> {
    args: &'a ExplainArgs,
    /// The providers that some rule names.
    named: Vec<Provider>,
    /// Whether there is more than one object, so that it begins with a table.
    is_table: bool,
    rows: Vec<Row>,
    /// The objects in many lines each.
    texts: Vec<String>,
    warnings: Vec<String>,
    values: Vec<Value>,
    is_assumed: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(args: &'a ExplainArgs, ruleset: &Ruleset, count: usize) -> Self {
        let named = Provider::ALL.into_iter().filter(|provider| ruleset.names_provider(*provider));
        Self {
            args,
            named: named.collect(),
            is_table: count > 1,
            rows: Vec::new(),
            texts: Vec::new(),
            warnings: Vec::new(),
            values: Vec::new(),
            is_assumed: false,
        }
    }

    pub(super) fn add(&mut self, shown: &Shown<'_>) {
        if self.args.output != OutputFormat::Text {
            self.values.push(json::of(shown));
            return;
        }
        self.is_assumed |= shown.is_pod() && shown.subject.requester == Requester::Assumed;
        if self.is_table {
            self.rows.extend(table::rows(shown, &self.named));
            let name = shown.name();
            let warnings = shown.explanation.decision.warnings.iter();
            self.warnings.extend(warnings.map(|warning| in_a_line(&format!("{name}: {warning}"))));
        }
        if !self.is_table || self.args.trace {
            self.texts.push(text::of(shown, &self.named));
        }
    }

    /// Whether Pods count as asked for by a controller although nobody said so.
    pub(super) fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// Prints it: what is said first, the table, the objects, and what is said last.
    pub(super) fn print(mut self, first: &[String], last: &[String]) -> anyhow::Result<()> {
        let values = std::mem::take(&mut self.values);
        let text = || self.as_text(first, last);
        output::print(&output::formatted(self.args.output, text, || Value::Array(values))?)
    }

    fn as_text(&self, first: &[String], last: &[String]) -> String {
        let lines = |lines: &[String]| lines.iter().map(|line| format!("{}\n", in_a_line(line))).collect();
        let table = if self.rows.is_empty() { String::new() } else { table::as_text(&self.rows) };
        let hint = if self.is_table && !self.args.trace {
            "Name one object, as sa/NAME, to see the rules that were tried, or say --trace.\n".to_owned()
        } else {
            String::new()
        };
        let parts = [&[lines(first), table, lines(&self.warnings)][..], &self.texts, &[lines(last), hint]];
        let parts: Vec<String> = parts.concat().into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n")
    }
}
