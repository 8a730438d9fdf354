//! Does the data fit, and does what an object costs by it?
//!
//! The API server counts what an expression costs, and gives up one that costs more than 1,000,000. The cost
//! of the search for rules follows the rules that are tried, and these follow the buckets in which an object
//! can find itself. The largest object of a class is in the costliest bucket of each line of the index. What
//! the other expressions cost depends on no mapping.

use std::collections::BTreeMap;

use super::class::Class;
use crate::engine::object::subject::{MAX_LABEL, MAX_NAME};

/// The most bytes of data, keys and values together. A ConfigMap holds 1 MiB, and the record of who manages
/// its fields takes some more.
pub const MAX_BYTES: usize = 1_000_000;

/// The most cost that the search may take. The rest of the 1,000,000 is what the model leaves out.
pub(super) const MAX: u64 = 800_000;

/// What trying a rule costs beside its expressions, and what a label costs beside its own.
const RULE: u64 = 16;
const LABEL: u64 = 40;
/// What a line of the index costs, with the longest value that it can name.
const LINE: u64 = 130;

/// The most lines of a class's index, the most rules that one object may have to try, and the most bytes that
/// their lines may have. The text of the policy follows no data with more.
const MAX_LINES: usize = 500;
const MAX_TRIED: usize = 5_000;
const MAX_SEARCHED: usize = 200_000;

/// The most bytes that the rules may weigh in memory. Rules of which data could be made that fits weigh less.
pub(super) const MAX_WEIGHT: usize = 3 << 20;

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The data is too long.
    #[error("with it the data would have {0} bytes, and at most {MAX_BYTES} are taken")]
    Bytes(usize),
    /// The rules have too much to say.
    #[error("with it the rules would weigh more than {MAX_WEIGHT} bytes in memory")]
    Weight,
    /// The rules differ in too many ways in what they look at first.
    #[error("with it the index of a {0} would have {1} lines, and at most {MAX_LINES} are taken")]
    Lines(&'static str, usize),
    /// One object could have to try too many rules.
    #[error("with it one {0} could have to try {1} rules, and at most {MAX_TRIED} are taken")]
    Tried(&'static str, usize),
    /// One object could have to try rules that say too much.
    #[error("with it one {0} could have to try rules of {1} bytes, and at most {MAX_SEARCHED} are taken")]
    Searched(&'static str, usize),
    /// One object could take too many steps of CEL.
    #[error("with it one {0} could take {1} units of CEL's cost, and at most {MAX} are taken")]
    Cost(&'static str, u64),
}

/// Checks that the data is no longer than [`MAX_BYTES`], and that no object has to look at more of it than
/// the policy does.
pub(super) fn check(data: &BTreeMap<String, String>) -> Result<(), Why> {
    let bytes = bytes(data);
    if bytes > MAX_BYTES {
        return Err(Why::Bytes(bytes));
    }
    for class in Class::ALL {
        let (object, search) = (class.object(), Search::of(class, data));
        if search.lines > MAX_LINES {
            return Err(Why::Lines(object, search.lines));
        }
        if search.tried > MAX_TRIED {
            return Err(Why::Tried(object, search.tried));
        }
        if search.bytes > MAX_SEARCHED {
            return Err(Why::Searched(object, search.bytes));
        }
        if search.cost > MAX {
            return Err(Why::Cost(object, search.cost));
        }
    }
    Ok(())
}

pub(super) fn bytes(data: &BTreeMap<String, String>) -> usize {
    data.iter().map(|(key, text)| key.len() + text.len()).sum()
}

/// What an object of a class can meet with, each at most.
#[derive(Clone, Copy, Default)]
pub(super) struct Search {
    lines: usize,
    tried: usize,
    bytes: usize,
    /// What one expression can cost.
    pub(super) cost: u64,
}

impl Search {
    pub(super) fn of(class: Class, data: &BTreeMap<String, String>) -> Self {
        let index = data.get(&format!("{}.index", class.name())).map(String::as_str).unwrap_or_default();
        let mut all = Self::default();
        for line in index.lines() {
            let text = line.rsplit('\t').next().and_then(|key| data.get(key)).map_or("", String::as_str);
            let value = Self::of_costliest_value(class, text);
            all.lines += 1;
            all.tried += value.tried;
            all.bytes += value.bytes;
            all.cost += LINE + 2 * units(text.len(), 5) + value.cost;
        }
        all
    }

    /// What the rules take that are filed under one value of a text. The lines of a value stand together.
    fn of_costliest_value(class: Class, text: &str) -> Self {
        let (mut most, mut sum, mut current) = (Self::default(), Self::default(), None);
        for line in text.lines().skip(1) {
            let (value, line) = line.split_once('\t').unwrap_or_default();
            if current != Some(value) {
                (sum, current) = (Self::default(), Some(value));
            }
            sum.tried += 1;
            sum.bytes += line.len() + 1;
            sum.cost += of_rule(class, line);
            most.tried = most.tried.max(sum.tried);
            most.bytes = most.bytes.max(sum.bytes);
            most.cost = most.cost.max(sum.cost);
        }
        most
    }
}

/// Returns what it costs to read one line of a bucket and to try its rule.
fn of_rule(class: Class, line: &str) -> u64 {
    let mut fields = line.split('\t').skip(2);
    let fixed = fields.next().map(|expression| matching(class.longest(), expression)).unwrap_or_default();
    // Each label has two fields, its key and its expression.
    let labels = fields.skip(1).step_by(2).map(|expression| LABEL + matching(MAX_LABEL, expression));
    RULE + units(line.len(), 5) + fixed + labels.sum::<u64>()
}

/// Returns what the API server counts for matching an expression with a text of so many characters
/// (`CostTracker` in github.com/google/cel-go/interpreter/runtimecost.go).
fn matching(longest: usize, expression: &str) -> u64 {
    units(1 + longest, 10) * units(expression.len(), 4)
}

fn units(bytes: usize, each: usize) -> u64 {
    bytes.div_ceil(each) as u64
}

impl Class {
    /// Returns how long the text of an object of the class can be, in characters.
    fn longest(self) -> usize {
        // The longest component, the namespace, the ServiceAccount, the release behind `=`, and line feeds.
        let named = 19 + MAX_LABEL + MAX_NAME + 1 + MAX_LABEL + 6;
        match self {
            Self::Account | Self::Default | Self::Pod => named,
            // The project, and the runner's namespace and name.
            Self::Job => named + MAX_LABEL + MAX_LABEL + 1 + MAX_NAME,
        }
    }
}
