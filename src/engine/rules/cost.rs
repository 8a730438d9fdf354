//! What do a mapping, a rule and its decisions cost, in bytes and in steps?

use super::glob::Glob;
use super::rule::{Action, Criteria, Grant, IrsaOptions, PodOptions, Rule};
use crate::engine::object::subject::{MAX_LABEL, MAX_NAME};

/// What so many bytes take on the heap, with what the allocator keeps for itself.
#[must_use]
pub fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes.next_multiple_of(16) + 16 }
}

/// How many steps something may still take.
#[derive(Clone, Copy, Debug)]
pub struct Steps(usize);

impl Steps {
    /// So many.
    #[must_use]
    pub fn new(left: usize) -> Self {
        Self(left)
    }

    /// Takes so many; whether there were that many left. Without, nothing is left.
    pub fn take(&mut self, steps: usize) -> bool {
        let left = self.0.checked_sub(steps);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }

    /// None is left.
    #[must_use]
    pub fn are_used_up(&self) -> bool {
        self.0 == 0
    }
}

/// What an entry in the index takes for each value or prefix: itself, where it begins, and the count of those who share it.
const INDEXED: usize = 24;

impl Rule {
    /// How many bytes it holds, its part of the index included. Rather more than less.
    #[must_use]
    pub fn weight(&self) -> usize {
        let action = match &self.action {
            Action::Role(grant) => allocated(size_of::<Grant>()) + grant.weight(),
            Action::Skip | Action::Remove => 0,
        };
        size_of::<Self>() + allocated(self.name.len()) + self.criteria.weight() + action
    }

    /// How many steps it may take at most to see whether it matches one object.
    #[must_use]
    pub fn steps(&self) -> usize {
        let globs = |globs: &[Glob], longest| globs.iter().map(|glob| glob.steps(longest)).sum::<usize>();
        let Criteria { namespaces, service_accounts, releases, labels, projects, runners, .. } =
            &self.criteria;
        globs(namespaces, MAX_LABEL)
            + globs(service_accounts, MAX_NAME)
            + globs(releases, MAX_LABEL)
            + labels.iter().map(|(_, values)| globs(values, MAX_LABEL)).sum::<usize>()
            + projects.len()
            + runners.len()
    }
}

impl Grant {
    fn weight(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| allocated(text.len()));
        let irsa = self.irsa.0.as_ref().map_or(0, |irsa| {
            allocated(size_of::<IrsaOptions>()) + text(&irsa.audience) + text(&irsa.skip_containers)
        });
        let pod = self.pod.0.as_ref().map_or(0, |pod| {
            allocated(size_of::<PodOptions>()) + text(&pod.external_id) + text(&pod.session_name)
        });
        self.role.weight() + irsa + pod
    }
}

impl Criteria {
    fn weight(&self) -> usize {
        let globs = |globs: &[Glob]| {
            let each = globs.iter().map(|glob| glob.weight() + glob.heads().count() * INDEXED);
            allocated(size_of_val(globs)) + each.sum::<usize>()
        };
        let texts = |texts: &[Box<str>]| {
            let each = texts.iter().map(|text| allocated(text.len()) + INDEXED);
            allocated(size_of_val(texts)) + each.sum::<usize>()
        };
        // A label's key stands in the index as well.
        let labels = self.labels.iter().map(|(key, values)| 2 * allocated(key.len()) + 64 + globs(values));
        globs(&self.namespaces)
            + globs(&self.service_accounts)
            + globs(&self.releases)
            + allocated(size_of_val(&*self.labels))
            + labels.sum::<usize>()
            + texts(&self.projects)
            // The usernames of all runners are kept once more.
            + 2 * texts(&self.runners)
            + self.components.iter().count() * INDEXED
    }
}
