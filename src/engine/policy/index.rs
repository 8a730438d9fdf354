//! Where in the data does an object find the rules that can match it?
//!
//! As in a ruleset's own index, each rule is filed under its most selective criterion, so that the cost of a
//! decision follows the rules that can match and not all of them. There are few keys, because the API server
//! copies the map of keys at each admission, but not their texts.
//!
//! The key `CLASS.index` has a line for each text of the class: a field of the object, how many characters of
//! it count (0 for the whole value), and the key of the text. A text has a line for each rule that is filed
//! there: the value, the rule's number, its providers, the expression over the object's text, and then the
//! key and the expression of each label. Tabs stand between the fields. Rules without a literal beginning are
//! filed under the field `always`, which is empty.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::slice;

use super::class::Class;
use super::matcher;
use crate::engine::object::component::Component;
use crate::engine::rules::glob::{Glob, Head};
use crate::engine::rules::rule::{Criteria, Rule};
use crate::engine::rules::ruleset::Ruleset;

/// A value or a prefix under which rules are filed.
type Place<'r> = (Probe<'r>, Cow<'r, str>);

/// What an index line names, and how many characters of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Probe<'r> {
    field: Field<'r>,
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Field<'r> {
    Project,
    ServiceAccount,
    Namespace,
    Release,
    Runner,
    Component,
    Label(&'r str),
    Always,
}

impl Field<'_> {
    /// Returns the name that the policy knows the field by. That of a label has its key behind it.
    fn word(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::ServiceAccount => "serviceAccount",
            Self::Namespace => "namespace",
            Self::Release => "release",
            Self::Runner => "runner",
            Self::Component => "component",
            Self::Label(_) => "label",
            Self::Always => "always",
        }
    }
}

/// Files the first `count` rules of a ruleset for one class of objects.
pub(super) fn file(class: Class, ruleset: &Ruleset, count: usize, data: &mut BTreeMap<String, String>) {
    let filed: Vec<(usize, &Rule, &str, Vec<_>)> = ruleset
        .rules()
        .iter()
        .take(count)
        .enumerate()
        .filter_map(|(number, rule)| {
            let providers = class.providers(rule, ruleset.pod_provider())?;
            Some((number, rule, providers, filings(class, &rule.criteria)))
        })
        .collect();
    let mut sharing: HashMap<&Place<'_>, usize> = HashMap::new();
    for place in filed.iter().flat_map(|(_, _, _, filings)| filings.iter().flatten()) {
        *sharing.entry(place).or_default() += 1;
    }
    let always = (Probe { field: Field::Always, length: 0 }, Cow::Borrowed(""));
    let mut texts: BTreeMap<Probe<'_>, BTreeMap<&str, String>> = BTreeMap::new();
    for (number, rule, providers, filings) in &filed {
        // The criterion whose most frequent value the fewest rules share.
        let shared = |place| sharing.get(place).copied().unwrap_or_default();
        let best = filings.iter().min_by_key(|places| places.iter().map(shared).max());
        let line = line(class, *number, providers, &rule.criteria);
        for (probe, value) in best.map_or_else(|| slice::from_ref(&always), Vec::as_slice) {
            let lines = texts.entry(*probe).or_default().entry(value).or_default();
            let line = format!("\n{value}\t{line}");
            // A rule can name a value twice, and is filed there once.
            if !lines.ends_with(&line) {
                lines.push_str(&line);
            }
        }
    }
    if count < ruleset.rules().len() {
        let lines = texts.entry(always.0).or_default().entry("").or_default();
        let _ = write!(lines, "\n\t{count}\tirsa pod\t");
    }
    let mut index = Vec::with_capacity(texts.len());
    for (place, (probe, lines)) in texts.into_iter().enumerate() {
        let word = probe.field.word();
        let (field, key) = match probe.field {
            // The key of a label has characters that a ConfigMap's key cannot have.
            Field::Label(key) => (format!("{word} {key}"), format!("{}.{word}-{place}", class.name())),
            _ if probe.length == 0 => (word.to_owned(), format!("{}.{word}", class.name())),
            _ => (word.to_owned(), format!("{}.{word}-{}", class.name(), probe.length)),
        };
        index.push(format!("{field}\t{}\t{key}", probe.length));
        data.insert(key, lines.into_values().collect());
    }
    if !index.is_empty() {
        data.insert(format!("{}.index", class.name()), index.join("\n"));
    }
}

/// Returns the line of a rule behind its value.
fn line(class: Class, number: usize, providers: &str, criteria: &Criteria) -> String {
    let labels = criteria.labels.iter().map(|(key, globs)| format!("\t{key}\t{}", matcher::label(globs)));
    format!("{number}\t{providers}\t{}{}", matcher::fixed(class, criteria), labels.collect::<String>())
}

/// Returns the places of each criterion under which a rule can be filed, because all its alternatives have a
/// literal beginning.
fn filings(class: Class, criteria: &Criteria) -> Vec<Vec<Place<'_>>> {
    fn globs<'r>(field: Field<'r>, globs: &'r [Glob]) -> Option<Vec<Place<'r>>> {
        let places = globs.iter().flat_map(Glob::heads).map(|head| match head {
            Head::Exact(text) => Some((Probe { field, length: 0 }, Cow::Borrowed(text))),
            // An empty prefix says that any value matches.
            Head::Prefix("") => None,
            Head::Prefix(text) => Some((Probe { field, length: text.chars().count() }, Cow::Borrowed(text))),
        });
        fitting(places.collect::<Option<_>>()?)
    }
    fn exact<'r>(field: Field<'r>, text: impl Into<Cow<'r, str>>) -> Place<'r> {
        (Probe { field, length: 0 }, text.into())
    }
    let components = criteria.components.iter().map(Component::name);
    let runners = criteria.runners.iter().filter_map(|runner| matcher::runner(runner));
    let of_class = match class {
        Class::Job => [
            fitting(criteria.projects.iter().map(|project| exact(Field::Project, &**project)).collect()),
            fitting(runners.map(|runner| exact(Field::Runner, runner)).collect()),
        ],
        Class::Default => [None, None],
        Class::Account | Class::Pod => {
            [fitting(components.map(|name| exact(Field::Component, name)).collect()), None]
        }
    };
    let service_accounts = match class {
        Class::Default => None,
        _ => globs(Field::ServiceAccount, &criteria.service_accounts),
    };
    let names = [
        service_accounts,
        globs(Field::Namespace, &criteria.namespaces),
        globs(Field::Release, &criteria.releases),
    ];
    let labels = criteria.labels.iter().map(|(key, patterns)| globs(Field::Label(key), patterns));
    of_class.into_iter().chain(names).chain(labels).flatten().collect()
}

/// Returns the places where each of them says something, and can stand on a line.
fn fitting(places: Vec<Place<'_>>) -> Option<Vec<Place<'_>>> {
    let fits = |(_, text): &Place<'_>| !text.contains(char::is_control);
    (!places.is_empty() && places.iter().all(fits)).then_some(places)
}
