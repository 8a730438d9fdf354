//! What becomes of an object's annotations?
//!
//! This is a three-way merge of the values that were last applied, those that are present, and those that the
//! winning rule wants. It is made for one provider after the other.
//!
//! A value is ours where it is still exactly what was last applied. Every other value is foreign: somebody
//! else set it.
//!
//! | last applied | present | wanted | what happens |
//! |---|---|---|---|
//! | anything | nothing | `v` | `v` is set, and recorded as ours |
//! | `u` | `u` | `v` | `v` takes the place of our value |
//! | `u` | `u` | nothing | our value comes off |
//! | not `v` | `v` | `v` | nothing: the value stays foreign, and is not recorded as ours |
//! | not `u` | `u` | `v` | a role is a [`Conflict`]; an option follows its role, or stays with a warning |
//! | not `u` | `u` | nothing | nothing: the value stays, unless its role gives way |
//!
//! An option is wanted only beside a role that is ours or becomes ours: beside a foreign role that stays, our
//! options come off. The author of a job has no say: foreign options come off beside the role that the job
//! is given.
//!
//! Where no rule wins, `onNoRule` says whether our values come off. A rule that says `skip` leaves
//! everything, and one that says `remove` takes everything off.

use std::borrow::Cow;
use std::fmt;

use super::last_applied::{LastApplied, Record};
use super::outcome::{Edit, Outcome, Verdict};
use super::warning::warning_within;
use super::was::{Was, is_movable};
use crate::engine::object::component::Component;
use crate::engine::object::provider::{Keys, Provider, RoleOption};
use crate::engine::object::subject::{APPLIED, Kind, Subject, WAS, value_of};
use crate::engine::rules::facts::Facts;
use crate::engine::rules::role_template::{self, FillError, Placeholder};
use crate::engine::rules::rule::{Action, Grant, OnConflict, OnNoRule, Rule};
use crate::engine::rules::ruleset::Ruleset;

/// The merge of one object's annotations while it is under way.
pub(super) struct Merge<'d, 'r> {
    ruleset: &'r Ruleset,
    subject: &'d Subject<'d>,
    facts: &'d Facts<'d>,
    last_applied: Option<&'d LastApplied<'d>>,
    edits: Vec<Edit<'r>>,
    warnings: Vec<String>,
    /// How many characters a warning may have.
    longest_warning: usize,
    /// What will have been applied once the edits are carried out.
    record: Record<'d>,
    /// Some provider's values are left as they are, with what was recorded of them.
    preserved: bool,
    was: Was<'d>,
}

/// What the winning rule wants for one provider.
struct Wanted<'r> {
    provider: Provider,
    keys: &'static Keys,
    rule: &'r Rule,
    grant: &'r Grant,
    role: Cow<'r, str>,
    on_conflict: OnConflict,
    /// The object is a job's Pod whose roles are replaced: beside the role that it is given, its author has
    /// no say.
    owns_all: bool,
}

/// What becomes of a foreign role where the rule gives another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conflict<'d> {
    /// The foreign role stays, and the rule's role is not written.
    Stays(&'d str),
    /// The foreign role gives way to the rule's role.
    GivesWay(&'d str),
}

/// Why a rule gives an object no role.
#[derive(Debug, thiserror::Error)]
enum NoRole<'r> {
    #[error(transparent)]
    Unfillable(#[from] FillError),
    #[error("{} is outside --allowed-role here", brief(.0))]
    NotAllowed(Cow<'r, str>),
}

impl<'d, 'r: 'd> Merge<'d, 'r> {
    pub(super) fn new(
        ruleset: &'r Ruleset,
        subject: &'d Subject<'d>,
        facts: &'d Facts<'d>,
        last_applied: Option<&'d LastApplied<'d>>,
        longest_warning: usize,
    ) -> Self {
        Self {
            ruleset,
            subject,
            facts,
            last_applied,
            edits: Vec::new(),
            warnings: Vec::new(),
            longest_warning,
            record: Record::default(),
            preserved: false,
            was: Was::of(subject, last_applied),
        }
    }

    /// Merges the annotations of one provider.
    pub(super) fn merge(
        &mut self,
        provider: Provider,
        keys: &'static Keys,
        winner: Option<&'r Rule>,
    ) -> Verdict<'r> {
        let (outcome, role) = match winner.map(|rule| (rule, &rule.action)) {
            None => (self.without_rule(provider, keys), None),
            Some((_, Action::Skip)) => (self.skip(provider, keys), None),
            Some((rule, Action::Remove)) => (self.remove(rule, keys), None),
            Some((rule, Action::Role(grant))) => self.grant(provider, keys, rule, grant),
        };
        Verdict { provider, rule: winner, role, outcome }
    }

    /// The edits, with that of the record, and the warnings. `present` is the record's text on the object.
    pub(super) fn finish(mut self, present: Option<&str>) -> (Vec<Edit<'r>>, Vec<String>) {
        let wanted = self.record.to_text();
        // On a job's Pod the record is not read, so it is only written with what it records.
        let stays = (self.preserved || self.facts.is_job) && self.edits.is_empty();
        if !stays && self.was == Was::Ended {
            self.edit(WAS, None);
        }
        if !stays && wanted.as_deref() != present {
            match wanted {
                Some(text) => {
                    self.edit(APPLIED, Some(Cow::Owned(text)));
                }
                // A text that we did not write is left; so is one on a job's Pod, which is not even read.
                None if self.last_applied.is_some() => {
                    self.edit(APPLIED, None);
                }
                None => {}
            }
        }
        (self.edits, self.warnings)
    }

    fn present(&self, key: &str) -> Option<&'d str> {
        value_of(self.subject.annotations, key)
    }

    /// Whether the value that is present is still exactly what was last applied.
    fn is_ours(&self, key: &str) -> bool {
        let present = self.present(key);
        present.is_some() && self.last_applied.and_then(|applied| applied.value(key)) == present
    }

    /// Gives a key this value, or takes it off, in place of an earlier edit of the key. Returns whether the
    /// object changes by it.
    fn edit(&mut self, key: &'static str, value: Option<Cow<'r, str>>) -> bool {
        self.edits.retain(|edit| edit.key != key);
        let changes = self.present(key) != value.as_deref();
        if changes {
            self.edits.push(Edit { key, value });
        }
        changes
    }

    fn warn(&mut self, text: impl fmt::Display) {
        self.warnings.push(warning_within(self.longest_warning, text));
    }

    /// Leaves a provider's values, and what was recorded of them.
    fn preserve(&mut self, provider: Provider, keys: &'static Keys) {
        self.preserved = true;
        let Some(applied) = self.last_applied else { return };
        for key in keys.iter() {
            if let Some(value) = applied.value(key) {
                let rule = applied.rule_of(provider.name());
                self.record.add(key, Cow::Borrowed(value), provider.name(), Cow::Borrowed(rule));
            }
        }
    }

    fn skip(&mut self, provider: Provider, keys: &'static Keys) -> Outcome {
        self.preserve(provider, keys);
        Outcome::Skipped
    }

    fn without_rule(&mut self, provider: Provider, keys: &'static Keys) -> Outcome {
        let has_ours = keys.iter().any(|key| self.is_ours(key));
        match self.ruleset.defaults().on_no_rule {
            OnNoRule::Keep => {
                self.preserve(provider, keys);
                if has_ours { Outcome::Orphaned } else { Outcome::NoRule }
            }
            OnNoRule::Remove if has_ours => {
                self.withdraw(keys);
                Outcome::Removed
            }
            OnNoRule::Remove => Outcome::NoRule,
        }
    }

    /// Takes our values off. The role that ours had replaced comes back, if it may be given here.
    fn withdraw(&mut self, keys: &'static Keys) {
        if self.is_ours(keys.role) {
            let comes_back = match self.was {
                Was::Waiting(was) if self.may_come_back(was) => {
                    self.edit(WAS, None);
                    self.was = Was::Empty;
                    Some(Cow::Owned(was.to_owned()))
                }
                Was::Waiting(was) => {
                    let why = if is_movable(was) {
                        "outside --allowed-role here, or no role"
                    } else {
                        "too long for a role"
                    };
                    self.warn(format_args!("{why}, so it stays in `{WAS}`: {}", brief(was)));
                    None
                }
                Was::Empty | Was::Ended | Was::Taken => None,
            };
            self.edit(keys.role, comes_back);
        }
        self.take_off_our_options(keys);
    }

    /// Whether a role in `was` may be given here. This is asked because anybody who may write the object can
    /// write a `was`, and a record that goes with it.
    fn may_come_back(&self, was: &str) -> bool {
        let operator_policy = self.ruleset.operator_policy();
        // Where the operator allows any role, any text may stand there, and comes back as it was.
        let is_role = operator_policy.allowed_roles.is_empty() || role_template::is_role(was);
        is_movable(was) && is_role && operator_policy.allows(self.subject.namespace, was)
    }

    /// Takes a provider's annotations off, whoever set them. What `was` holds is a person's, and stays.
    fn remove(&mut self, rule: &Rule, keys: &'static Keys) -> Outcome {
        let foreign = self.present(keys.role).filter(|_| !self.is_ours(keys.role));
        if let Some(foreign) = foreign {
            self.warn(format_args!("removed role {}: rule {} says remove", brief(foreign), rule.name));
        }
        if self.take_off_all(keys) { Outcome::Removed } else { Outcome::InStep }
    }

    /// Returns whether anything was there to be taken off.
    fn take_off_all(&mut self, keys: &'static Keys) -> bool {
        let mut changes = false;
        for key in keys.iter().chain(keys.read_only.iter().copied()) {
            changes |= self.edit(key, None);
        }
        changes
    }

    /// Returns whether the value was ours, and thus is taken off.
    fn take_off_ours(&mut self, key: &'static str) -> bool {
        self.is_ours(key) && self.edit(key, None)
    }

    fn take_off_our_options(&mut self, keys: &'static Keys) {
        for option in keys.options {
            self.take_off_ours(option.key());
        }
    }

    fn grant(
        &mut self,
        provider: Provider,
        keys: &'static Keys,
        rule: &'r Rule,
        grant: &'r Grant,
    ) -> (Outcome, Option<Cow<'r, str>>) {
        let default =
            if self.facts.is_job { OnConflict::Replace } else { self.ruleset.defaults().on_conflict };
        let on_conflict = grant.on_conflict.unwrap_or(default);
        let owns_all = self.facts.is_job && on_conflict == OnConflict::Replace;
        let role = match self.role_for(grant) {
            Ok(role) => role,
            Err(reason) => {
                self.warn(format_args!("no role from rule {}: {reason}", rule.name));
                self.refuse(keys, owns_all);
                return (Outcome::Refused, None);
            }
        };
        let wanted = Wanted { provider, keys, rule, grant, role, on_conflict, owns_all };
        let carries_role = self.subject.kind == Kind::ServiceAccount
            || provider != Provider::Irsa
            || grant.irsa.annotate_pods == Some(true);
        let outcome = if carries_role { self.set_role(&wanted) } else { self.set_options_alone(&wanted) };
        (outcome, Some(wanted.role))
    }

    /// Merges the role and its options.
    fn set_role(&mut self, wanted: &Wanted<'r>) -> Outcome {
        let Wanted { keys, rule, role, .. } = wanted;
        match self.conflict(wanted) {
            Some(Conflict::Stays(foreign)) => {
                self.warn(format_args!(
                    "kept role {}, not {} (rule {})",
                    brief(foreign),
                    brief(role),
                    rule.name
                ));
                self.take_off_our_options(keys);
                Outcome::Kept
            }
            Some(Conflict::GivesWay(foreign)) => {
                self.warn(format_args!(
                    "replaced role {} by {} (rule {})",
                    brief(foreign),
                    brief(role),
                    rule.name
                ));
                self.put_away(foreign);
                self.apply(wanted, keys.role, role.clone());
                self.set_options(wanted, true);
                Outcome::Replaced
            }
            None => {
                // The same role by somebody else's hand is as wanted, and not ours.
                let may_set = self.present(keys.role).is_none() || self.is_ours(keys.role);
                let role_changes = may_set && self.apply(wanted, keys.role, role.clone());
                let options_change = self.set_options(wanted, wanted.owns_all);
                if role_changes || options_change { Outcome::Set } else { Outcome::InStep }
            }
        }
    }

    /// Merges the options on a Pod whose role stands on its ServiceAccount.
    fn set_options_alone(&mut self, wanted: &Wanted<'r>) -> Outcome {
        let role_changes = self.take_off_ours(wanted.keys.role);
        let options_change = self.set_options(wanted, wanted.owns_all);
        if self.subject.service_account == "default" && !wanted.rule.criteria.reach_default_account() {
            // An option beside a role that does not arrive is no success.
            Outcome::DefaultAccount
        } else if role_changes || options_change {
            Outcome::Set
        } else {
            Outcome::OnServiceAccount
        }
    }

    fn conflict(&self, wanted: &Wanted<'r>) -> Option<Conflict<'d>> {
        let Wanted { provider, keys, role, on_conflict, owns_all, .. } = wanted;
        let foreign =
            self.present(keys.role).filter(|present| *present != *role && !self.is_ours(keys.role))?;
        let gives_way =
            *on_conflict == OnConflict::Replace && (*owns_all || self.can_put_away(*provider, foreign));
        Some(if gives_way { Conflict::GivesWay(foreign) } else { Conflict::Stays(foreign) })
    }

    /// Sets a value and records it as ours. Returns whether the object changes by it.
    fn apply(&mut self, wanted: &Wanted<'r>, key: &'static str, value: Cow<'r, str>) -> bool {
        self.record.add(key, value.clone(), wanted.provider.name(), Cow::Borrowed(&wanted.rule.name));
        self.edit(key, Some(value))
    }

    /// Merges the options beside a role that is ours or becomes ours; `taken_over` says that foreign ones
    /// give way. Returns whether any of them changes.
    fn set_options(&mut self, wanted: &Wanted<'r>, taken_over: bool) -> bool {
        let mut change = false;
        for option in wanted.keys.options {
            change |= self.set_option(wanted, *option, wanted.grant.option(*option), taken_over);
        }
        change
    }

    fn set_option(
        &mut self,
        wanted: &Wanted<'r>,
        option: RoleOption,
        value: Option<Cow<'r, str>>,
        taken_over: bool,
    ) -> bool {
        let key = option.key();
        let present = self.present(key);
        let may_change = present.is_none() || taken_over || self.is_ours(key);
        match value {
            // The same value by somebody else's hand is as wanted, and not ours.
            Some(value) if present == Some(value.as_ref()) && !self.is_ours(key) => false,
            Some(value) if may_change => self.apply(wanted, key, value),
            Some(value) => {
                let short = key.rsplit('/').next().unwrap_or(key);
                let present = present.unwrap_or_default();
                self.warn(format_args!("kept {short} {present}, rule {} wants {value}", wanted.rule.name));
                false
            }
            None => may_change && self.edit(key, None),
        }
    }

    /// Leaves nothing of ours where no role can be given, and on a job's Pod nothing that its author wrote
    /// either.
    fn refuse(&mut self, keys: &'static Keys, owns_all: bool) {
        if owns_all {
            if let Some(foreign) = self.present(keys.role) {
                self.put_away(foreign);
            }
            self.take_off_all(keys);
        } else {
            self.withdraw(keys);
        }
    }

    /// Whether a foreign role can go into `was`, which holds one value. Where a Pod has two foreign roles,
    /// the one that is read goes there; the role-arn, which EKS ignores on Pods, is kept rather than lost.
    fn can_put_away(&self, provider: Provider, foreign: &str) -> bool {
        let second = self.subject.kind == Kind::Pod && provider == Provider::Irsa;
        let free = matches!(self.was, Was::Empty | Was::Ended);
        is_movable(foreign) && (!second || free)
    }

    /// Keeps a role that gives way. Of two on a job's Pod the first is enough: both are its author's.
    fn put_away(&mut self, foreign: &str) {
        if self.was != Was::Taken && is_movable(foreign) {
            self.edit(WAS, Some(Cow::Owned(foreign.to_owned())));
            self.was = Was::Taken;
        }
    }

    fn role_for(&self, grant: &'r Grant) -> Result<Cow<'r, str>, NoRole<'r>> {
        let value = |placeholder| match placeholder {
            Placeholder::Namespace => Some(self.subject.namespace),
            Placeholder::ServiceAccount => Some(self.subject.service_account),
            Placeholder::Component => self.facts.component.map(Component::name),
            Placeholder::Release => self.facts.release,
            Placeholder::Project => self.facts.project,
        };
        let role = grant.role.fill(value)?;
        if self.ruleset.operator_policy().allows(self.subject.namespace, &role) {
            Ok(role)
        } else {
            Err(NoRole::NotAllowed(role))
        }
    }
}

/// Shortens an ARN to `123456789012:role/NAME`, so that two of them fit into one warning.
fn brief(role: &str) -> &str {
    match role.split_once(":iam::") {
        Some((_, rest)) => rest,
        None if role.is_empty() => "\"\"",
        None => role,
    }
}
