//! How much memory does a rule take, and how many steps does it take to match one?

use super::cost::allocated;
use super::glob::Glob;
use super::rule::{Action, Criteria, Grant, IrsaOptions, PodOptions, Rule};
use crate::engine::object::subject::{MAX_LABEL, MAX_NAME};

/// How many bytes the index takes for each value or prefix of a rule: for the entry itself, for where its
/// bucket begins, and for the count of those who share it.
const INDEXED: usize = 24;

impl Rule {
    /// Returns how many bytes it holds with its part of the index. The number is rather too large than too
    /// small.
    #[must_use]
    pub fn weight(&self) -> usize {
        let action = match &self.action {
            Action::Role(grant) => allocated(size_of::<Grant>()) + grant.weight(),
            Action::Skip | Action::Remove => 0,
        };
        size_of::<Self>() + allocated(self.name.len()) + self.criteria.weight() + action
    }

    /// Returns the most steps that it can take to see whether the rule matches one object.
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
        // The key of a label stands in the index as well.
        let labels = self.labels.iter().map(|(key, values)| 2 * allocated(key.len()) + 64 + globs(values));
        globs(&self.namespaces)
            + globs(&self.service_accounts)
            + globs(&self.releases)
            + allocated(size_of_val(&*self.labels))
            + labels.sum::<usize>()
            + texts(&self.projects)
            // A ruleset keeps the usernames of all runners once more.
            + 2 * texts(&self.runners)
            + self.components.iter().count() * INDEXED
    }
}
