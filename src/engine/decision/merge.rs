//! What do a rule and an object's present annotations come to, one provider after the other?

use std::borrow::Cow;
use std::fmt;

use super::last_applied::{Applied, Record};
use super::outcome::{Edit, Outcome, Verdict};
use super::warning::warning;
use super::was::{Was, is_movable};
use crate::engine::object::component::Component;
use crate::engine::object::provider::{
    IRSA_AUDIENCE, IRSA_SKIP_CONTAINERS, IRSA_STS_REGIONAL_ENDPOINTS, IRSA_TOKEN_EXPIRATION, Keys,
    POD_EXTERNAL_ID, POD_SESSION_NAME, Provider,
};
use crate::engine::object::subject::{APPLIED, Kind, Subject, WAS, value_of};
use crate::engine::rules::role_template::{self, Placeholder};
use crate::engine::rules::rule::{Action, Facts, Grant, OnConflict, OnNoRule, Rule};
use crate::engine::rules::ruleset::Ruleset;

/// One object's decision in the making.
pub(super) struct Settlement<'d, 'r> {
    ruleset: &'r Ruleset,
    subject: &'d Subject<'d>,
    facts: &'d Facts<'d>,
    applied: Option<&'d Applied<'d>>,
    edits: Vec<Edit<'r>>,
    warnings: Vec<String>,
    record: Record<'d>,
    /// A provider's part of the record was left as it is.
    preserved: bool,
    was: Was<'d>,
}

impl<'d, 'r: 'd> Settlement<'d, 'r> {
    pub(super) fn new(
        ruleset: &'r Ruleset,
        subject: &'d Subject<'d>,
        facts: &'d Facts<'d>,
        applied: Option<&'d Applied<'d>>,
    ) -> Self {
        Self {
            ruleset,
            subject,
            facts,
            applied,
            edits: Vec::new(),
            warnings: Vec::new(),
            record: Record::default(),
            preserved: false,
            was: Was::of(subject, applied),
        }
    }

    pub(super) fn settle(
        &mut self,
        provider: Provider,
        keys: &'static Keys,
        winner: Option<&'r Rule>,
    ) -> Verdict<'r> {
        let mut role = None;
        let outcome = match winner {
            None => self.no_rule(provider, keys),
            Some(rule) => match &rule.action {
                Action::Skip => {
                    self.preserve(provider, keys);
                    Outcome::Skipped
                }
                Action::Remove => self.remove(rule, keys),
                Action::Role(grant) => {
                    let (given, outcome) = self.grant(provider, keys, rule, grant);
                    role = given;
                    outcome
                }
            },
        };
        Verdict { provider, rule: winner, role, outcome }
    }

    /// The edits with that of our record, and the warnings. `present` is the record's text on the object.
    pub(super) fn finish(mut self, present: Option<&str>) -> (Vec<Edit<'r>>, Vec<String>) {
        let wanted = self.record.to_text();
        // On a job's Pod the record is not read, so it is only written with what it records.
        let stays = (self.preserved || self.facts.is_job) && self.edits.is_empty();
        if !stays && self.was == Was::Ended {
            self.edit(WAS, None);
        }
        if !stays && wanted.as_deref() != present {
            match wanted {
                Some(text) => self.edit(APPLIED, Some(Cow::Owned(text))),
                // A text that we did not write is left; so is one on a job's Pod, which is not even read.
                None if self.applied.is_some() => self.edit(APPLIED, None),
                None => {}
            }
        }
        (self.edits, self.warnings)
    }

    fn current(&self, key: &str) -> Option<&'d str> {
        value_of(self.subject.annotations, key)
    }

    /// Still exactly what our record says.
    fn is_ours(&self, key: &str) -> bool {
        let current = self.current(key);
        current.is_some() && self.applied.and_then(|applied| applied.value(key)) == current
    }

    /// Gives a key this value, or takes it off; what was wished for the key before is forgotten.
    fn edit(&mut self, key: &'static str, value: Option<Cow<'r, str>>) {
        self.edits.retain(|edit| edit.key != key);
        if self.current(key) != value.as_deref() {
            self.edits.push(Edit { key, value });
        }
    }

    fn warn(&mut self, text: impl fmt::Display) {
        self.warnings.push(warning(text));
    }

    /// Leaves a provider's values, and what the record says of them.
    fn preserve(&mut self, provider: Provider, keys: &'static Keys) {
        self.preserved = true;
        let Some(applied) = self.applied else { return };
        for key in keys.iter() {
            if let Some(value) = applied.value(key) {
                let rule = applied.rule_of(provider.name());
                self.record.add(key, Cow::Borrowed(value), provider.name(), Cow::Borrowed(rule));
            }
        }
    }

    fn no_rule(&mut self, provider: Provider, keys: &'static Keys) -> Outcome {
        let ours: Vec<&'static str> = keys.iter().filter(|key| self.is_ours(key)).collect();
        if self.ruleset.defaults().on_no_rule == OnNoRule::Keep {
            self.preserve(provider, keys);
            return if ours.is_empty() { Outcome::NoRule } else { Outcome::Orphaned };
        }
        if ours.is_empty() {
            return Outcome::NoRule;
        }
        self.withdraw(keys);
        Outcome::Removed
    }

    /// Takes our values off; what `replace` had put away comes back, if it may be given here.
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
        self.take_off_ours(keys.options.iter().copied());
    }

    /// Anybody who may write the object can write a `was`, and a record that goes with it.
    fn may_come_back(&self, was: &str) -> bool {
        let bounds = self.ruleset.bounds();
        // Without a bound anything may stand there, and comes back as it was.
        let is_role = bounds.allowed_roles.is_empty() || role_template::is_role(was);
        is_movable(was) && is_role && bounds.allows(self.subject.namespace, was)
    }

    /// Takes a provider's annotations off, whoever set them. What `was` holds is a person's, and stays.
    fn remove(&mut self, rule: &Rule, keys: &'static Keys) -> Outcome {
        let foreign = self.current(keys.role).filter(|_| !self.is_ours(keys.role));
        if let Some(foreign) = foreign {
            self.warn(format_args!("removed role {}: rule {} says remove", brief(foreign), rule.name));
        }
        self.take_off_all(keys)
    }

    fn take_off_all(&mut self, keys: &'static Keys) -> Outcome {
        let before = self.edits.len();
        for key in keys.iter().chain(keys.read_only.iter().copied()) {
            self.edit(key, None);
        }
        if self.edits.len() > before { Outcome::Removed } else { Outcome::InStep }
    }

    fn take_off_ours(&mut self, keys: impl Iterator<Item = &'static str>) {
        for key in keys {
            if self.is_ours(key) {
                self.edit(key, None);
            }
        }
    }

    fn grant(
        &mut self,
        provider: Provider,
        keys: &'static Keys,
        rule: &'r Rule,
        grant: &'r Grant,
    ) -> (Option<Cow<'r, str>>, Outcome) {
        let default =
            if self.facts.is_job { OnConflict::Replace } else { self.ruleset.defaults().on_conflict };
        let on_conflict = grant.on_conflict.unwrap_or(default);
        let role = match self.role_for(grant) {
            Ok(role) => role,
            Err(reason) => {
                self.warn(format_args!("no role from rule {}: {reason}", rule.name));
                self.refuse(keys, on_conflict);
                return (None, Outcome::Refused);
            }
        };
        let writes_role = self.subject.kind == Kind::ServiceAccount
            || provider != Provider::Irsa
            || grant.irsa.annotate_pods == Some(true);
        // Beside the role that a job is given, its author has no say.
        let owns_all = self.facts.is_job && on_conflict == OnConflict::Replace;
        let before = self.edits.len();
        let mut replaced = false;
        if writes_role {
            let foreign =
                self.current(keys.role).filter(|current| *current != role && !self.is_ours(keys.role));
            if let Some(foreign) = foreign {
                if on_conflict == OnConflict::Keep || !(owns_all || self.can_put_away(provider, foreign)) {
                    self.warn(format_args!(
                        "kept role {}, not {} (rule {})",
                        brief(foreign),
                        brief(&role),
                        rule.name
                    ));
                    self.take_off_ours(keys.options.iter().copied());
                    return (Some(role), Outcome::Kept);
                }
                self.warn(format_args!(
                    "replaced role {} by {} (rule {})",
                    brief(foreign),
                    brief(&role),
                    rule.name
                ));
                self.put_away(foreign);
                replaced = true;
            }
            if self.current(keys.role).is_none() || replaced || self.is_ours(keys.role) {
                self.record.add(keys.role, role.clone(), provider.name(), Cow::Borrowed(&rule.name));
                self.edit(keys.role, Some(role.clone()));
            }
        } else {
            self.take_off_ours(std::iter::once(keys.role));
        }
        for key in keys.options {
            self.option(provider, key, option_value(grant, key), rule, replaced || owns_all);
        }
        let outcome = if replaced {
            Outcome::Replaced
        } else if self.edits.len() > before {
            Outcome::Set
        } else if writes_role {
            Outcome::InStep
        } else if self.subject.service_account == "default" {
            Outcome::DefaultAccount
        } else {
            Outcome::OnServiceAccount
        };
        (Some(role), outcome)
    }

    /// One option beside a role that is ours or becomes ours.
    fn option(
        &mut self,
        provider: Provider,
        key: &'static str,
        wanted: Option<Cow<'r, str>>,
        rule: &'r Rule,
        taken_over: bool,
    ) {
        let current = self.current(key);
        let may_change = current.is_none() || taken_over || self.is_ours(key);
        match wanted {
            // There already, by somebody else's hand: as wished, and not ours.
            Some(wanted) if current == Some(wanted.as_ref()) && !self.is_ours(key) => {}
            Some(wanted) if may_change => {
                self.record.add(key, wanted.clone(), provider.name(), Cow::Borrowed(&rule.name));
                self.edit(key, Some(wanted));
            }
            Some(wanted) => {
                let short = key.rsplit('/').next().unwrap_or(key);
                let current = current.unwrap_or_default();
                self.warn(format_args!("kept {short} {current}, rule {} wants {wanted}", rule.name));
            }
            None if may_change => self.edit(key, None),
            None => {}
        }
    }

    /// No role can be given: nothing of ours stays, and on a job's Pod nothing that its author wrote either.
    fn refuse(&mut self, keys: &'static Keys, on_conflict: OnConflict) {
        if self.facts.is_job && on_conflict == OnConflict::Replace {
            if let Some(foreign) = self.current(keys.role) {
                self.put_away(foreign);
            }
            self.take_off_all(keys);
        } else {
            self.withdraw(keys);
        }
    }

    /// `was` holds one value. Where a Pod has two foreign roles the one that is read goes there, and the role-arn, which
    /// EKS ignores on Pods, is kept rather than lost.
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

    fn role_for(&self, grant: &'r Grant) -> Result<Cow<'r, str>, String> {
        let value = |placeholder| match placeholder {
            Placeholder::Namespace => Some(self.subject.namespace),
            Placeholder::ServiceAccount => Some(self.subject.service_account),
            Placeholder::Component => self.facts.component.map(Component::name),
            Placeholder::Release => self.facts.release,
            Placeholder::Project => self.facts.project,
        };
        let role = grant.role.fill(value).map_err(|error| error.to_string())?;
        if self.ruleset.bounds().allows(self.subject.namespace, &role) {
            Ok(role)
        } else {
            Err(format!("{} is outside --allowed-role here", brief(&role)))
        }
    }
}

/// The value that a rule's options give an annotation.
fn option_value<'r>(grant: &'r Grant, key: &str) -> Option<Cow<'r, str>> {
    fn text(value: Option<&str>) -> Option<Cow<'_, str>> {
        value.map(Cow::Borrowed)
    }
    match key {
        IRSA_AUDIENCE => text(grant.irsa.audience.as_deref()),
        IRSA_STS_REGIONAL_ENDPOINTS => {
            grant.irsa.sts_regional_endpoints.map(|on| if on { "true" } else { "false" }.into())
        }
        IRSA_TOKEN_EXPIRATION => grant.irsa.token_expiration.map(|seconds| seconds.to_string().into()),
        IRSA_SKIP_CONTAINERS => text(grant.irsa.skip_containers.as_deref()),
        POD_EXTERNAL_ID => text(grant.pod.external_id.as_deref()),
        POD_SESSION_NAME => text(grant.pod.session_name.as_deref()),
        _ => None,
    }
}

/// `123456789012:role/NAME` for an ARN: two of them fit one warning.
fn brief(role: &str) -> &str {
    match role.split_once(":iam::") {
        Some((_, rest)) => rest,
        None if role.is_empty() => "\"\"",
        None => role,
    }
}
