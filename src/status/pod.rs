//! How does a Pod stand, or the Pod that a template makes?

use super::account::{AccountRole, ORPHANED, STAYS, settled, told};
use super::apart::{Apart, apart};
use super::mending::is_first;
use super::row::{self, Mend, Row};
use super::state::State;
use super::survey::{Effect, Survey};
use crate::engine::decision::{Decision, Outcome, Verdict, decide};
use crate::engine::object::component::Component;
use crate::engine::object::dns_name::is_dns_name;
use crate::engine::object::provider::{POD_ROLE, Provider};
use crate::inventory::Pod;

/// What is to be done where a restart does not mend it.
const KEPT: &str = "write `onConflict: replace` into the rule, or take the annotation iam.amazonaws.com/role \
                    out of the workload";
const NO_EKS_WEBHOOK: &str = "install amazon-eks-pod-identity-webhook outside EKS, or see on EKS whether a \
                              new Pod has AWS_ROLE_ARN (`doctor` tells more), and restart the workload then";

/// What is known of a Pod before its roles are compared.
struct Look<'p> {
    pod: &'p Pod,
    component: Option<Component>,
    is_job: bool,
}

impl Survey<'_> {
    /// Looks at a Pod, or at the template of one. A Pod that has ended is left out.
    pub fn pod(&mut self, pod: &Pod) {
        if pod.has_ended() {
            return;
        }
        self.count_pod(pod);
        let before = self.before.as_ref().map(|before| before.judge_pod(pod));
        for mut row in self.judge_pod(pod) {
            if self.is_candidate() {
                self.compare_mappings(pod, &mut row, before.as_deref());
            }
            self.keep(row);
        }
    }

    fn judge_pod(&self, pod: &Pod) -> Vec<Row> {
        let ruleset = self.ruleset();
        pod.with_subject(pod.requester(), |subject| {
            let decision = decide(ruleset, subject);
            let facts = ruleset.facts(subject);
            let component = decision.component.or(facts.resembles);
            let look = Look { pod, component, is_job: facts.is_job };
            let by_annotation = self.by_annotation(&look, &decision);
            let by_account = self.by_account(&look, &decision);
            match (by_annotation, by_account) {
                (None, None) => vec![self.row(&look, None, State::NoRule)],
                rows => [rows.0, rows.1].into_iter().flatten().collect(),
            }
        })
    }

    /// Says whether the candidate does anything about a Pod. One that is stale by either mapping, or gets no
    /// role by either, stands as it stood.
    fn compare_mappings(&self, pod: &Pod, row: &mut Row, before: Option<&[Row]>) {
        let old = before.and_then(|rows| rows.iter().find(|old| old.provider == row.provider));
        let is_pending = row.state == State::Changes;
        let is_same = match (before, old) {
            // A role of others that stays is not wanted, and gives way by the candidate.
            (Some(_), Some(old)) if is_pending => old.wanted == row.wanted && old.state != State::Conflict,
            (Some(_), Some(old)) => old.state == row.state,
            // Without the mapping in force, a Pod that starts now gets what its ServiceAccount carries.
            (None, _) if is_pending && row.provider == Some(Provider::Irsa) => {
                let account = self.accounts.get(pod.service_account());
                account.is_some_and(|account| account.present == row.wanted)
            }
            (Some(_), None) | (None, _) => false,
        };
        row.is_touched = row.state.is_news() && !is_same;
        if is_pending && is_same {
            (row.state, row.detail) = old.map_or_else(
                || (State::Stale, "it runs with another role than its ServiceAccount carries".to_owned()),
                |old| (old.state, old.detail.clone()),
            );
        }
    }

    fn row(&self, look: &Look<'_>, provider: Option<Provider>, state: State) -> Row {
        Row {
            namespace: row::name(&self.place.name),
            kind: row::name(&look.pod.written_kind),
            name: row::name(&look.pod.metadata.name),
            component: look.component,
            provider,
            rule: None,
            wanted: None,
            actual: None,
            state,
            would_be: None,
            detail: String::new(),
            is_newly_covered: None,
            is_touched: true,
            mend: None,
        }
    }

    /// The role that kube2iam or kiam gives it, by its own annotation. `None` where there is nothing to say.
    fn by_annotation(&self, look: &Look<'_>, decision: &Decision<'_>) -> Option<Row> {
        let provider = self.ruleset().pod_provider();
        let verdict = decision.verdicts.iter().find(|verdict| verdict.provider == provider)?;
        let present = look.pod.metadata.annotation(POD_ROLE);
        let is_about = verdict.rule.is_some() && !is_skip_for_all(self, verdict);
        let is_unknown = look.is_job && self.names_runners && self.ruleset().names_provider(provider);
        if !is_about && !is_unknown && present.is_none() {
            return None;
        }
        let mut row = self.row(look, Some(provider), State::Unknown);
        row.actual = present.map(row::role);
        if is_unknown {
            row.detail.push_str("its rules ask which runner requested it, which cannot be seen afterwards");
            return Some(row);
        }
        row.rule = verdict.rule.map(|rule| rule.name.to_string());
        let after = decision.after(POD_ROLE, present);
        row.wanted = if self.is_candidate() { after } else { verdict.role.as_deref() }.map(row::role);
        let is_pending = matches!(verdict.outcome, Outcome::Set | Outcome::Replaced | Outcome::Removed)
            || present != after;
        row.state = match (is_pending, self.is_template(look)) {
            (false, _) => settled(verdict.outcome),
            (true, true) => self.pending(),
            (true, false) if self.is_candidate() => State::Changes,
            (true, false) => State::Stale,
        };
        match row.state {
            State::Refused => row.detail = told(decision),
            State::Stale => {
                row.detail.push_str("a Pod that runs is never changed");
                row.mend = self.restart(look, State::InStep);
            }
            State::Conflict => {
                row.detail.push_str(STAYS);
                row.mend = Some(Mend::ByHand(KEPT));
            }
            State::Orphaned => row.mend = Some(Mend::ByHand(ORPHANED)),
            _ => {}
        }
        Some(row)
    }

    /// The role that the EKS webhook gave it, by its ServiceAccount. `None` where there is nothing to say.
    fn by_account(&self, look: &Look<'_>, decision: &Decision<'_>) -> Option<Row> {
        let pod = look.pod;
        let running: Vec<String> = pod.roles().map(|(_, role)| row::role(role)).collect();
        let mut row = self.row(look, Some(Provider::Irsa), State::Unknown);
        row.actual = running.first().cloned();
        let verdict = decision.verdicts.iter().find(|verdict| verdict.provider == Provider::Irsa);
        if let Some(verdict) = verdict.filter(|verdict| verdict.outcome == Outcome::DefaultAccount) {
            row.rule = verdict.rule.map(|rule| rule.name.to_string());
            // The rule's role does not reach it.
            let account = self.accounts.get(pod.service_account()).filter(|_| self.is_candidate());
            row.wanted = account.and_then(|account| account.after.clone());
            row.state = State::OnDefault;
            row.detail.push_str("it runs as default, which the rule's role does not reach");
            row.mend = Some(Mend::ByHand(advice(look.component)));
            return Some(row);
        }
        let Some(account) = self.accounts.get(pod.service_account()) else {
            if look.component.is_none() && running.is_empty() {
                return None;
            }
            row.detail = self.why_unknown();
            return Some(row);
        };
        if account.state == State::NoRule && running.is_empty() && account.present.is_none() {
            return None;
        }
        row.rule.clone_from(&account.rule);
        row.wanted.clone_from(&account.after);
        if self.is_template(look) {
            let keys = Provider::Irsa.pod_keys();
            let is_pending = decision.edits.iter().any(|edit| keys.iter().any(|key| key == edit.key));
            row.actual.clone_from(&account.present);
            row.state = if is_pending { self.pending() } else { account.state };
            if let Some(apart) = apart(pod).filter(|_| !account.state.is_left_alone()) {
                row.actual = running.first().cloned();
                self.set_apart(&mut row, &apart);
            }
            return Some(row);
        }
        self.compare(look, account, &running, &mut row);
        Some(row)
    }

    /// Compares what a Pod runs with to what its ServiceAccount gives, or will give.
    fn compare(&self, look: &Look<'_>, account: &AccountRole, running: &[String], row: &mut Row) {
        let pod = look.pod;
        let wanted = account.after.as_deref();
        let other = running.iter().find(|role| wanted != Some(role));
        if let Some(other) = other {
            row.actual = Some(other.clone());
        }
        let has_it = other.is_none() && (wanted.is_none() || !running.is_empty());
        let kept = if account.state.is_left_alone() || has_it { None } else { apart(pod) };
        if let Some(apart) = kept {
            return self.set_apart(row, &apart);
        }
        (row.state, row.detail) = match account.state {
            state if state.is_left_alone() => (state, String::new()),
            state if has_it => (
                if is_first(state) || state == State::Changes { State::InStep } else { state },
                String::new(),
            ),
            _ if self.is_candidate() => {
                (State::Changes, "it keeps what it runs with until it starts again".to_owned())
            }
            state => {
                // Without the webhook of EKS a Pod that starts again gets no role either.
                row.mend = if self.has_eks_webhook == Some(false) {
                    wanted.map(|_| Mend::ByHand(NO_EKS_WEBHOOK))
                } else {
                    self.restart(look, state)
                };
                (State::Stale, self.why_stale(account, running))
            }
        };
    }

    /// Says of a Pod that it never gets the role of its ServiceAccount.
    fn set_apart(&self, row: &mut Row, apart: &Apart) {
        // It keeps what it has, whatever the mapping gives.
        row.wanted = row.actual.clone().filter(|_| self.is_candidate());
        apart.why.clone_into(&mut row.detail);
        (row.state, row.mend) = (apart.state, apart.remedy.map(Mend::ByHand));
    }

    fn why_stale(&self, account: &AccountRole, running: &[String]) -> String {
        if self.has_eks_webhook == Some(false) {
            return "this cluster has no webhook of EKS, which puts the role into Pods".to_owned();
        }
        let what = if running.is_empty() { "it runs without a role" } else { "it runs with another role" };
        // When it started, and whether the webhook of EKS saw it then, is not known.
        let why = if is_first(account.state) {
            "its ServiceAccount is not in step itself"
        } else if account.present.is_none() {
            "its ServiceAccount carries none"
        } else if running.is_empty() {
            "it started before its ServiceAccount had this one, or the webhook of EKS did not see it"
        } else {
            "its ServiceAccount carries this one now"
        };
        format!("{what}: {why}")
    }

    fn why_unknown(&self) -> String {
        let why = match (self.knows_accounts, self.is_live) {
            (false, _) => "its ServiceAccount could not be read",
            (true, true) => "its ServiceAccount is not there, or not sent to the webhook",
            (true, false) => "its ServiceAccount is in none of the manifests",
        };
        why.to_owned()
    }

    fn is_template(&self, look: &Look<'_>) -> bool {
        !self.is_live || look.pod.is_template()
    }

    /// What makes the Pod anew. `account` is how its ServiceAccount stands.
    fn restart(&self, look: &Look<'_>, account: State) -> Option<Mend> {
        if self.place.effect == Effect::Observed {
            return None;
        }
        if look.is_job {
            return Some(Mend::ByHand(
                "nothing: a CI job ends by itself, and the next one starts with the role",
            ));
        }
        let resource = match look.pod.workload() {
            Some(("Deployment", _)) => "deployment",
            Some(("StatefulSet", _)) => "statefulset",
            Some(("DaemonSet", _)) => "daemonset",
            Some(("Job", _)) => {
                return Some(Mend::ByHand(
                    "let the Job end, or delete it and have it made again (helm upgrade)",
                ));
            }
            Some(_) => return Some(Mend::ByHand("delete the Pod: its controller makes it again")),
            None => return Some(Mend::ByHand("delete the Pod and make it again: no controller does")),
        };
        let name = look.pod.workload().map(|(_, name)| name.to_owned()).unwrap_or_default();
        // A Pod's author writes what its owner is called, and the line is to be pasted into a shell.
        if !is_dns_name(&name) {
            return None;
        }
        Some(if is_first(account) {
            Mend::AfterAccount { resource, name }
        } else {
            Mend::Restart { resource, name }
        })
    }
}

/// A `skip` that stands for all providers is said where the role is: on the ServiceAccount.
fn is_skip_for_all(survey: &Survey<'_>, verdict: &Verdict<'_>) -> bool {
    verdict.outcome == Outcome::Skipped && !survey.ruleset().names_provider(verdict.provider)
}

/// What gives a Pod a ServiceAccount of its own.
fn advice(component: Option<Component>) -> &'static str {
    const NONE: &str = "give its workload a ServiceAccount of its own, which a rule matches";
    component.and_then(Component::account_advice).unwrap_or(NONE)
}
