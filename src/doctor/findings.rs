//! How are findings gathered, so that many Pods with one fault make one line?

use std::collections::BTreeMap;

use super::{Finding, Gap, Report, Severity};
use crate::inventory::{Metadata, Pod};
use crate::shell;

/// The most findings of one check in one namespace that are told: whoever may write many objects hides no
/// other check's, and no other namespace's.
pub const MAX_FINDINGS: usize = 50;

/// The most findings that are told at all.
const MAX_ALL: usize = 5000;

/// The most things that are told to be unread.
const MAX_UNREAD: usize = 200;

/// The most characters of a text of others in a finding.
const MAX_TEXT: usize = 260;

/// The most characters of a word in a command. Annotations are longer than that only by mischief.
const MAX_WORD: usize = 4096;

/// One thing that `doctor` looks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// The name, which never changes: scripts know it, and `docs/doctor.md` has a row of that name.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where it can be read up: an issue or a page.
    pub reference: &'static str,
}

/// Where a finding stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// The namespace of the object; empty where it has none.
    namespace: String,
    object: String,
    /// What the object is one of many of, as `Pods of StatefulSet gitlab-gitaly`.
    group: Option<String>,
    detail: String,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings {
    entries: Vec<Entry>,
    /// The place in `entries` of each check, group and sentence.
    known: BTreeMap<(&'static str, String, String), usize>,
    /// How many entries each check has in each namespace.
    of_check: BTreeMap<(&'static str, String), usize>,
    more: usize,
    unread: Vec<Gap>,
}

#[derive(Debug)]
struct Entry {
    check: &'static Check,
    place: Place,
    /// How many other objects of the group have the same fault.
    others: usize,
    what: String,
    fix: String,
}

impl Findings {
    /// Adds a finding. The same one on another object of the same group is only counted.
    pub fn add(
        &mut self,
        check: &'static Check,
        place: Place,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (what, fix) = (what.into(), fix.into());
        let group = place.group.clone().unwrap_or_else(|| place.object.clone());
        let key = (check.id, format!("{group}{}", place.detail), what.clone());
        if let Some(entry) = self.known.get(&key).and_then(|index| self.entries.get_mut(*index)) {
            entry.others += usize::from(entry.place.object != place.object);
            return;
        }
        let count = self.of_check.entry((check.id, place.namespace.clone())).or_default();
        if *count >= MAX_FINDINGS || self.entries.len() >= MAX_ALL {
            self.more += 1;
            return;
        }
        *count += 1;
        self.known.insert(key, self.entries.len());
        self.entries.push(Entry { check, place, others: 0, what, fix });
    }

    /// Tells that something was not looked at. The same is told once.
    pub fn unread(&mut self, what: impl Into<String>, why: impl Into<String>) {
        let unread = Gap { what: what.into(), why: why.into() };
        if self.unread.len() < MAX_UNREAD && !self.unread.contains(&unread) {
            self.unread.push(unread);
        }
    }

    /// Returns all of it, the worst first.
    #[must_use]
    pub fn into_report(mut self) -> Report {
        self.entries.sort_by_key(|entry| entry.check.severity);
        let findings = self.entries.into_iter().map(Entry::into_finding).collect();
        Report { findings, more: self.more, unread: self.unread }
    }
}

impl Entry {
    fn into_finding(self) -> Finding {
        let Place { mut object, group, detail, .. } = self.place;
        object.push_str(&detail);
        if let (Some(group), 1..) = (group, self.others) {
            object = format!("{object} and {} other {group}", self.others);
        }
        let Check { id, severity, reference } = self.check;
        Finding { severity: *severity, check: id, place: object, what: self.what, fix: self.fix, reference }
    }
}

impl Place {
    /// The place of an object of a namespace.
    #[must_use]
    pub fn of(kind: &str, metadata: &Metadata) -> Self {
        let (namespace, name) = (shown(&metadata.namespace), shown(&metadata.name));
        let object = if namespace.is_empty() {
            format!("{kind} {name}")
        } else {
            format!("{kind} {namespace}/{name}")
        };
        Self { namespace, object, group: None, detail: String::new() }
    }

    /// The place of a Pod, or of the workload whose template makes it.
    #[must_use]
    pub fn of_pod(pod: &Pod) -> Self {
        Self { group: group(pod), ..Self::of(&pod.written_kind, &pod.metadata) }
    }

    /// The place of something that is no object of Kubernetes.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { namespace: String::new(), object: shown(name), group: None, detail: String::new() }
    }

    /// Names these containers.
    #[must_use]
    pub fn containers(mut self, names: &[&str]) -> Self {
        let noun = if names.len() == 1 { "container" } else { "containers" };
        let names: Vec<_> = names.iter().map(|name| shown(name)).collect();
        self.detail = format!(" {noun} {}", shown(&names.join(", ")));
        self
    }

    /// Names what is meant in the object, as `key connection`.
    #[must_use]
    pub fn at(mut self, detail: &str) -> Self {
        self.detail = format!(" {}", shown(detail));
        self
    }
}

/// Names the Pods that this one is one of; `None` where it stands alone.
fn group(pod: &Pod) -> Option<String> {
    if pod.is_template() {
        return None;
    }
    if let Some((kind, name)) = pod.workload() {
        return Some(format!("Pods of {kind} {}", shown(name)));
    }
    let is_job =
        pod.metadata.labels.keys().any(|key| {
            key.ends_with("runner.gitlab.com/pod") || key.starts_with("project.runner.gitlab.com/")
        });
    let account = shown(pod.service_account());
    is_job.then(|| format!("Pods of CI jobs in {} that run as {account}", shown(&pod.metadata.namespace)))
}

/// Returns a text of others in one line of bounded length.
pub(super) fn shown(text: &str) -> String {
    line(text, MAX_TEXT)
}

fn line(text: &str, longest: usize) -> String {
    let mut line: String = text.chars().take(longest).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(longest).is_some() {
        line.push_str("...");
    }
    line
}

/// Returns a text of others as one word of a shell, so that a command that is pasted does nothing else.
pub(super) fn word(text: &str) -> String {
    shell::word(&line(text, MAX_WORD))
}

/// Joins names for a sentence, and cuts what is too long.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let first: Vec<_> = names.iter().take(5).map(|name| shown(name)).collect();
    let more = names.len().saturating_sub(first.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_others_is_one_line_of_one_word() {
        assert_eq!(word("a\nb"), "'a?b'");
    }
}
