//! What is worth knowing about a mapping that is valid?

use crate::engine::mapping::MAX_BYTES;
use crate::engine::object::provider::Provider;
use crate::engine::rules::cost::Steps;
use crate::engine::rules::glob::Glob;
use crate::engine::rules::rule::{Action, OnConflict, Rule};
use crate::engine::rules::ruleset::Ruleset;
use crate::engine::yaml::Position;

/// The size in bytes from which on `kubectl apply` may fail on the ConfigMap: it stores the text a second
/// time in an annotation, and annotations hold 256 KiB.
const LARGE: usize = 200 << 10;

/// How many comparisons of patterns are made to find rules that others cover. A mapping that people write
/// takes thousands.
const MAX_STEPS: usize = 2_000_000;

/// What kind of thing a lint tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LintKind {
    /// The mapping is so large that `kubectl apply` may refuse it.
    Large,
    /// An earlier rule matches whatever this one matches.
    Covered,
    /// Another rule decides on all Pods that this one would annotate.
    AnnotatePods,
    /// It was not looked any further for covered rules.
    NotEverything,
    /// The rule can only be tried one by one.
    Slow,
    /// A pattern holds a character that no name in Kubernetes holds.
    NoName,
    /// The rule's role reaches every Pod that names no account.
    DefaultAccount,
    /// A role that the author of a job wrote stays.
    JobConflict,
    /// The rule names no namespace.
    EveryNamespace,
    /// The rule looks at a namespace that the author of a job may be able to choose.
    JobNamespace,
}

impl LintKind {
    /// The word for programs, in the output of `check`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Covered => "covered",
            Self::AnnotatePods => "annotate-pods",
            Self::NotEverything => "not-everything",
            Self::Slow => "slow",
            Self::NoName => "no-name",
            Self::DefaultAccount => "default-account",
            Self::JobConflict => "job-conflict",
            Self::EveryNamespace => "every-namespace",
            Self::JobNamespace => "job-namespace",
        }
    }

    /// Whether there is nothing to mend: the mapping may well be meant so.
    #[must_use]
    pub fn is_note(self) -> bool {
        matches!(self, Self::EveryNamespace | Self::JobNamespace)
    }
}

/// One thing worth knowing about a valid mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The rule's place in the mapping; `None` for the mapping as a whole.
    pub at: Option<Position>,
    /// The rule's name.
    pub rule: Option<String>,
    /// What kind of thing it is.
    pub kind: LintKind,
    /// A sentence about it, which begins after the rule's name.
    pub message: String,
}

/// Returns everything worth knowing, in the order of the mapping.
#[must_use]
pub fn lint(ruleset: &Ruleset, bytes: usize) -> Vec<Lint> {
    let mut lints = Vec::new();
    each(ruleset, bytes, &mut |lint| lints.push(lint));
    lints.sort_by_key(Lint::place);
    lints
}

/// Gives every lint to `tell`, one after the other and in no order. They are not gathered, because a hostile
/// mapping may have more of them than fit into memory.
pub fn each(ruleset: &Ruleset, bytes: usize, tell: &mut dyn FnMut(Lint)) {
    if bytes >= LARGE {
        let message = format!(
            "the mapping has {bytes} bytes of {MAX_BYTES}; `kubectl apply` stores the text twice and fails \
             near {}, so use `kubectl apply --server-side` or `kubectl replace`",
            256 << 10
        );
        tell(Lint { at: None, rule: None, kind: LintKind::Large, message });
    }
    let mut steps = Steps::new(MAX_STEPS);
    for rule in ruleset.rules() {
        if let Some(earlier) = covering(ruleset, rule, &mut steps) {
            let message =
                format!("never decides: rule `{}` on line {} covers it", earlier.name, earlier.at.line);
            tell(Lint::about(rule, LintKind::Covered, message));
        } else if let Some(earlier) = covering_on_pods(ruleset, rule, &mut steps) {
            let message = format!(
                "never writes on Pods, in spite of `annotatePods`: rule `{}` on line {} decides on all \
                 of them",
                earlier.name, earlier.at.line
            );
            tell(Lint::about(rule, LintKind::AnnotatePods, message));
        }
        if steps.are_used_up() {
            let message =
                "not everything was looked at: from this rule on, nothing tells which rules others cover"
                    .to_owned();
            tell(Lint::about(rule, LintKind::NotEverything, message));
            break;
        }
    }
    for rule in ruleset.rules() {
        about_its_names(rule, tell);
        about_its_role(rule, tell);
    }
    for rule in ruleset.unindexed() {
        let message =
            "can only be tried one by one: no criterion has a literal or a literal prefix".to_owned();
        tell(Lint::about(rule, LintKind::Slow, message));
    }
}

impl Lint {
    fn about(rule: &Rule, kind: LintKind, message: String) -> Self {
        Self { at: Some(rule.at), rule: Some(rule.name.to_string()), kind, message }
    }

    /// Returns the place by which lints are sorted. What is about the mapping as a whole comes first.
    #[must_use]
    pub fn place(&self) -> Position {
        self.at.unwrap_or_default()
    }
}

fn about_its_names(rule: &Rule, tell: &mut dyn FnMut(Lint)) {
    for glob in rule.criteria.namespaces.iter().chain(&rule.criteria.service_accounts) {
        if let Some(c) = glob.as_str().chars().find(|c| !is_of_a_name_or_glob(*c)) {
            let message = format!(
                "`{glob}` matches no name in Kubernetes, which holds no `{c}`; these are globs, not \
                 regular expressions"
            );
            tell(Lint::about(rule, LintKind::NoName, message));
        }
    }
    let everywhere =
        rule.criteria.namespaces.is_empty() || rule.criteria.namespaces.iter().any(Glob::matches_everything);
    if everywhere && !matches!(rule.action, Action::Skip) {
        let message = "reaches every opted-in namespace: it names none".to_owned();
        tell(Lint::about(rule, LintKind::EveryNamespace, message));
    }
    let namespaces = &rule.criteria.namespaces;
    let steered = match &rule.action {
        // A glob is a problem unless the rule says `unsafe: true`, whose author knows it.
        Action::Role(_) => namespaces.iter().all(Glob::is_literal),
        Action::Skip => true,
        Action::Remove => false,
    };
    if rule.criteria.names_runner_job() && !namespaces.is_empty() && steered {
        let message = "looks at the namespace, which a job's author chooses where the runner allows \
            KUBERNETES_NAMESPACE_OVERWRITE"
            .to_owned();
        tell(Lint::about(rule, LintKind::JobNamespace, message));
    }
}

fn about_its_role(rule: &Rule, tell: &mut dyn FnMut(Lint)) {
    let Action::Role(grant) = &rule.action else { return };
    if rule.criteria.names_default_account() && !rule.criteria.names_runner_job() {
        let message =
            "names the account `default`: its role reaches every Pod there that names no account".to_owned();
        tell(Lint::about(rule, LintKind::DefaultAccount, message));
    }
    if rule.criteria.names_runner_job() && grant.on_conflict == Some(OnConflict::Keep) {
        let message = "keeps a role that a job's author wrote on the Pod: `onConflict: replace` is the \
            default here for that reason"
            .to_owned();
        tell(Lint::about(rule, LintKind::JobConflict, message));
    }
}

/// Whether a name of a namespace or a ServiceAccount can hold this character, or a glob needs it. Names hold
/// lower case letters, digits, `-` and `.`.
fn is_of_a_name_or_glob(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || "-.*?[]{},!".contains(c)
}

/// Returns the first earlier rule that matches whatever this one matches, for all of its providers.
fn covering<'r>(ruleset: &'r Ruleset, rule: &Rule, steps: &mut Steps) -> Option<&'r Rule> {
    possibly_covering_earlier(ruleset, rule).find(|earlier| {
        steps.take(1)
            && earlier.providers.covers(rule.providers)
            && earlier.criteria.covers(&rule.criteria, steps)
    })
}

/// Returns the first earlier rule that decides for irsa on every Pod on which this one would write the role.
fn covering_on_pods<'r>(ruleset: &'r Ruleset, rule: &Rule, steps: &mut Steps) -> Option<&'r Rule> {
    let Action::Role(grant) = &rule.action else { return None };
    if grant.irsa.annotate_pods != Some(true) {
        return None;
    }
    possibly_covering_earlier(ruleset, rule).find(|earlier| {
        steps.take(1)
            && earlier.providers.contains(Provider::Irsa)
            && earlier.criteria.covers_on_pods(&rule.criteria, steps)
    })
}

fn possibly_covering_earlier<'r>(ruleset: &'r Ruleset, rule: &Rule) -> impl Iterator<Item = &'r Rule> {
    ruleset.possibly_covering(rule).take_while(|earlier| !std::ptr::eq(*earlier, rule))
}
