//! How does a ServiceAccount stand?

use super::row::{self, Mend, Row};
use super::state::State;
use super::survey::{Rules, Survey};
use crate::engine::decision::{Decision, Outcome, decide};
use crate::engine::object::provider::{IRSA_ROLE, Provider};
use crate::engine::object::subject::Subject;
use crate::inventory::ServiceAccount;

/// What a Pod gets through its ServiceAccount.
#[derive(Clone, Debug)]
pub(super) struct AccountRole {
    /// How the ServiceAccount stands, or would if its namespace were not only observed.
    pub(super) state: State,
    /// The rule that decides on it.
    pub(super) rule: Option<String>,
    /// The role that it has.
    pub(super) present: Option<String>,
    /// The role that it has once it is as decided.
    pub(super) after: Option<String>,
}

impl Survey<'_> {
    /// Looks at a ServiceAccount.
    pub fn account(&mut self, account: &ServiceAccount) {
        let mut row = self.judge(account);
        let before = self.before.as_mut().map(|before| before.judge(account));
        row.is_touched = !self.is_candidate() || touches(&row, before.as_ref());
        self.keep(row);
    }

    fn judge(&mut self, account: &ServiceAccount) -> Row {
        let (row, role) = account.with_subject(|subject| self.judged(subject));
        self.accounts.insert(subject_name(account), role);
        row
    }

    fn judged(&mut self, subject: &Subject<'_>) -> (Row, AccountRole) {
        let decision = decide(self.ruleset(), subject);
        self.impact().count(&decision);
        let present = subject.annotation(IRSA_ROLE).filter(|role| !role.is_empty());
        let after = decision.after(IRSA_ROLE, present).filter(|role| !role.is_empty());
        let verdict = decision.leading();
        let rule = verdict.and_then(|verdict| verdict.rule);
        let is_contested = self.place.contested.contains(subject.name);
        let mut state = state_of(&decision, self.pending());
        if state == State::Drift && is_contested {
            state = State::Contested;
        }
        let wanted = verdict.and_then(|verdict| verdict.role.as_deref());
        let is_newly_covered = match self.rules {
            Rules::Candidate(_, Some(in_force)) => Some(
                rule.is_some() && decide(in_force, subject).leading().is_none_or(|old| old.rule.is_none()),
            ),
            Rules::Candidate(_, None) | Rules::InForce(_) => None,
        };
        let rule = rule.map(|rule| rule.name.to_string());
        let role = AccountRole {
            state,
            rule: rule.clone(),
            present: present.map(row::role),
            after: after.map(row::role),
        };
        let row = Row {
            namespace: row::name(&self.place.name),
            kind: "ServiceAccount".to_owned(),
            name: row::name(subject.name),
            component: decision.component,
            provider: Some(Provider::Irsa),
            rule,
            wanted: if self.is_candidate() { after } else { wanted }.map(row::role),
            actual: present.map(row::role),
            state,
            would_be: None,
            detail: detail(state, &decision, subject),
            is_newly_covered,
            is_touched: true,
            mend: mend(state, self.is_live),
        };
        (row, role)
    }
}

/// Whether a candidate touches a ServiceAccount, or something keeps it from doing so. Changes and orphans are
/// those that are counted for an edit of the mapping, so that the two never differ.
fn touches(row: &Row, before: Option<&Row>) -> bool {
    match row.state {
        _ if row.is_newly_covered == Some(true) => true,
        State::Changes | State::Orphaned => true,
        state => state.is_news() && before.is_none_or(|before| before.state != state),
    }
}

/// What the columns do not say.
fn detail(state: State, decision: &Decision<'_>, subject: &Subject<'_>) -> String {
    match state {
        State::Refused => told(decision),
        State::Contested => {
            "something else changed its role back again and again, as an Event RoleChangedBack says"
                .to_owned()
        }
        State::Drift | State::Changes => differs(decision, subject).to_owned(),
        State::Conflict => STAYS.to_owned(),
        _ => String::new(),
    }
}

/// Says what differs of a ServiceAccount that is not as decided, where the two roles do not say it.
fn differs(decision: &Decision<'_>, subject: &Subject<'_>) -> &'static str {
    let present = subject.annotation(IRSA_ROLE);
    let after = decision.after(IRSA_ROLE, present);
    match (present, after, decision.outcome()) {
        _ if present == after => "it lacks annotations that go with its role in the mapping",
        (_, None, _) => "the mapping takes its role off",
        (_, _, Outcome::Replaced) => "somebody else's role gives way",
        _ => "",
    }
}

/// Returns what a decision tells a person.
pub(super) fn told(decision: &Decision<'_>) -> String {
    let warning = decision.warnings.first().map(String::as_str).unwrap_or_default();
    warning.strip_prefix("gitlab-iam-webhook: ").unwrap_or(warning).to_owned()
}

/// How an object stands by what was decided on it. What would still be edited is not as decided, whatever
/// the outcome.
pub(super) fn state_of(decision: &Decision<'_>, pending: State) -> State {
    if decision.edits.is_empty() { settled(decision.outcome()) } else { pending }
}

/// How an object stands by an outcome that needs no edit.
pub(super) fn settled(outcome: Outcome) -> State {
    match outcome {
        Outcome::Orphaned => State::Orphaned,
        Outcome::Kept => State::Conflict,
        Outcome::Refused => State::Refused,
        Outcome::Skipped => State::Skipped,
        Outcome::OptedOut => State::OptedOut,
        Outcome::DefaultAccount => State::OnDefault,
        Outcome::InStep | Outcome::Set | Outcome::Removed | Outcome::Replaced => State::InStep,
        Outcome::NoRule | Outcome::Undecided | Outcome::OnServiceAccount => State::NoRule,
    }
}

fn mend(state: State, is_live: bool) -> Option<Mend> {
    match state {
        State::Drift if is_live => Some(Mend::Readmit),
        State::Contested if is_live => Some(Mend::Settle),
        State::Conflict => Some(Mend::ByHand(
            "write `onConflict: replace` into the rule, or take the annotation \
             eks.amazonaws.com/role-arn out of the chart's values",
        )),
        State::Orphaned => Some(Mend::ByHand(ORPHANED)),
        _ => None,
    }
}

/// What is told of a role of others that a rule leaves.
pub(super) const STAYS: &str = "somebody else set its role, which stays (`onConflict: keep`)";

/// What is to be done about a role of ours that no rule gives.
pub(super) const ORPHANED: &str =
    "write a rule into the mapping that gives the role, or `onNoRule: remove`, which takes it off";

fn subject_name(account: &ServiceAccount) -> String {
    account.metadata.name.clone()
}
