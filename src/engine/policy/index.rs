//! Under which keys of the data does an object find the rules that can match it?
//!
//! As in a ruleset's own index, each rule is filed under its most selective criterion, so that the cost of a
//! decision follows the rules that can match and not all of them. A bucket is the value of one key, with a
//! line for each rule: its number, its providers, the expression over the object's text, and then the key and
//! the expression of each label. Tabs stand between the fields. The key `CLASS.index` says which keys there
//! can be: each of its lines names a field of the object, how many characters of it count (0 for the whole
//! value), and what the key begins with. Rules without a literal beginning are in the bucket `CLASS.rest`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::class::Class;
use super::{MAX_BYTES, Why, matcher};
use crate::engine::object::component::Component;
use crate::engine::rules::glob::{Glob, Head};
use crate::engine::rules::rule::{Criteria, Rule};
use crate::engine::rules::ruleset::Ruleset;

/// The longest key of a ConfigMap.
pub(super) const MAX_KEY: usize = 253;

/// The longest value or prefix under which a rule is filed: with what stands before it, it must be a key.
const MAX_FILED: usize = 200;

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
        }
    }
}

/// Returns how the data writes a runner, from its username.
pub(super) fn runner_value(user: &str) -> Option<String> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(format!("{namespace}.{name}"))
}

/// Returns the key that says of a username that it is a runner's, where it can be a key.
pub(super) fn runner(user: &str) -> Option<String> {
    let key = format!("runner.{}", runner_value(user)?);
    (is_key(&key) && key.len() <= MAX_KEY).then_some(key)
}

/// Files the first `count` rules of a ruleset for one class of objects.
///
/// # Errors
/// Returns an error as soon as their lines are too long: a rule of a thousand names has a thousand lines.
pub(super) fn file(
    class: Class,
    ruleset: &Ruleset,
    count: usize,
    data: &mut BTreeMap<String, String>,
) -> Result<(), Why> {
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
    let mut buckets: BTreeMap<Option<&Place<'_>>, String> = BTreeMap::new();
    let mut bytes = 0;
    for (number, rule, providers, filings) in &filed {
        // The criterion whose most frequent value the fewest rules share.
        let shared = |place| sharing.get(place).copied().unwrap_or_default();
        let best = filings.iter().min_by_key(|places| places.iter().map(shared).max());
        let line = line(class, *number, providers, &rule.criteria);
        let places: Vec<Option<&Place<'_>>> = match best {
            Some(places) => places.iter().map(Some).collect(),
            None => vec![None],
        };
        for place in places {
            bytes += line.len();
            if bytes > MAX_BYTES {
                return Err(Why::Bytes(bytes));
            }
            let bucket = buckets.entry(place).or_default();
            // A rule can name a value twice, and is filed there once.
            if !bucket.ends_with(&line) {
                bucket.push_str(&line);
            }
        }
    }
    if count < ruleset.rules().len() {
        let line = format!("{count}\tirsa pod\t\n");
        buckets.entry(None).or_default().push_str(&line);
    }
    let mut probes: Vec<Probe<'_>> = buckets.keys().flatten().map(|(probe, _)| *probe).collect();
    probes.dedup();
    let begins: BTreeMap<_, _> = probes
        .iter()
        .enumerate()
        .map(|(place, probe)| {
            let word = probe.field.word();
            let begin = match probe.field {
                // The key of a label has characters that a ConfigMap's key cannot have.
                Field::Label(_) => format!("{}.{word}-{place}.", class.name()),
                _ if probe.length == 0 => format!("{}.{word}.", class.name()),
                _ => format!("{}.{word}-{}.", class.name(), probe.length),
            };
            (*probe, begin)
        })
        .collect();
    if !probes.is_empty() {
        let lines = begins.iter().map(|(probe, begin)| {
            let field = match probe.field {
                Field::Label(key) => format!("label {key}"),
                field => field.word().to_owned(),
            };
            format!("{field}\t{}\t{begin}", probe.length)
        });
        data.insert(format!("{}.index", class.name()), lines.collect::<Vec<_>>().join("\n"));
    }
    for (place, mut lines) in buckets {
        let key = match place {
            Some((probe, text)) => {
                format!("{}{text}", begins.get(probe).map(String::as_str).unwrap_or_default())
            }
            None => format!("{}.rest", class.name()),
        };
        lines.pop();
        data.insert(key, lines);
    }
    Ok(())
}

/// Returns the line of a rule, with its line feed.
fn line(class: Class, number: usize, providers: &str, criteria: &Criteria) -> String {
    let labels = criteria.labels.iter().map(|(key, globs)| format!("\t{key}\t{}", matcher::label(globs)));
    format!("{number}\t{providers}\t{}{}\n", matcher::fixed(class, criteria), labels.collect::<String>())
}

/// Returns the places of each criterion under which a rule can be filed, because all its alternatives have a
/// literal beginning.
fn filings(class: Class, criteria: &Criteria) -> Vec<Vec<Place<'_>>> {
    fn globs<'r>(field: Field<'r>, globs: &'r [Glob]) -> Option<Vec<Place<'r>>> {
        let places = globs.iter().flat_map(Glob::heads).map(|head| {
            let (length, text) = match head {
                Head::Exact(text) => (0, text),
                Head::Prefix(text) => (text.len(), text),
            };
            (Probe { field, length }, Cow::Borrowed(text))
        });
        fitting(places.collect())
    }
    fn exact<'r>(field: Field<'r>, text: impl Into<Cow<'r, str>>) -> Place<'r> {
        (Probe { field, length: 0 }, text.into())
    }
    let components = criteria.components.iter().map(Component::name);
    let runners = criteria.runners.iter().filter_map(|runner| runner_value(runner));
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

/// Returns the places where each of them can be a key, and says something.
fn fitting(places: Vec<Place<'_>>) -> Option<Vec<Place<'_>>> {
    let fits = |(probe, text): &Place<'_>| {
        is_key(text) && text.len() <= MAX_FILED && (probe.length == 0 || !text.is_empty())
    };
    (!places.is_empty() && places.iter().all(fits)).then_some(places)
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
