//! What would become of a ServiceAccount in an observed namespace if the namespace had opted in?

use super::warning::{PREFIX, line};
use super::{Decision, Outcome};
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::{Kind, Subject, value_of};

/// The most characters of a sentence.
const MAX_SENTENCE: usize = 800;

/// The most characters of a role that is there: anybody who may write the object can write anything.
const MAX_PRESENT: usize = 200;

/// Says in one sentence what would become of this ServiceAccount. The sentence is one line.
#[must_use]
pub fn sentence(decision: &Decision<'_>, subject: &Subject<'_>) -> String {
    debug_assert_eq!(subject.kind, Kind::ServiceAccount);
    let verdict = decision.leading();
    let keys = Provider::Irsa.service_account_keys();
    let present = keys.and_then(|keys| value_of(subject.annotations, keys.role)).unwrap_or("none");
    let present = line(present, MAX_PRESENT);
    let rule = verdict.and_then(|verdict| verdict.rule).map(|rule| &*rule.name);
    let name = rule.unwrap_or("none");
    let role = verdict.and_then(|verdict| verdict.role.as_deref()).unwrap_or("none");
    let text = match decision.outcome() {
        Outcome::Set => format!("it would get role {role} (rule {name})"),
        Outcome::Replaced => format!("it would get role {role} in place of {present} (rule {name})"),
        Outcome::Kept => format!("it would keep role {present}, and not get {role} (rule {name})"),
        Outcome::Refused => {
            let reason = decision.warnings.first().and_then(|warning| warning.strip_prefix(PREFIX));
            format!("it would get {}", reason.unwrap_or("no role"))
        }
        Outcome::Removed if rule.is_some() => {
            format!("it would lose role {present}: rule {name} says remove")
        }
        Outcome::Removed => format!("it would lose role {present}: no rule matches it any more"),
        Outcome::Orphaned => format!("it would keep role {present}, though no rule matches it any more"),
        Outcome::Skipped => format!("nothing would be written: rule {name} says skip"),
        Outcome::OptedOut => "nothing would be written: it has opted out".to_owned(),
        Outcome::InStep => "nothing would be written: it is as decided".to_owned(),
        Outcome::NoRule | Outcome::Undecided | Outcome::OnServiceAccount | Outcome::DefaultAccount => {
            "nothing would be written: no rule matches it".to_owned()
        }
    };
    line(text, MAX_SENTENCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decision::{APPLIED, decide};
    use crate::engine::mapping;
    use crate::engine::object::subject::{INJECT, Requester};
    use crate::engine::rules::operator_policy::OperatorPolicy;

    const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {serviceAccount: set}, role: new}
  - {match: {serviceAccount: replace}, role: new, onConflict: replace}
  - {match: {serviceAccount: keep}, role: new}
  - {match: {serviceAccount: project}, role: \"{component}\"}
  - {match: {serviceAccount: remove}, provider: irsa, remove: true}
  - {match: {serviceAccount: skip}, skip: true}
";

    type Annotations<'a> = &'a [(&'a str, &'a str)];

    fn said(name: &str, onward: &str, annotations: Annotations<'_>) -> String {
        let ruleset = mapping::compile(&format!("{onward}{MAPPING}"), &OperatorPolicy::default()).unwrap();
        let annotations: Vec<_> =
            annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let subject = Subject {
            kind: Kind::ServiceAccount,
            namespace: "gitlab",
            name,
            service_account: name,
            labels: &[],
            annotations: &annotations,
            requester: Requester::Assumed,
        };
        sentence(&decide(&ruleset, &subject), &subject)
    }

    #[test]
    fn each_outcome_of_a_service_account_has_a_sentence() {
        const KEY: &str = "eks.amazonaws.com/role-arn";
        const OLD: &str = "arn:aws:iam::123456789012:role/old";
        const NEW: &str = "arn:aws:iam::123456789012:role/new";
        let applied = format!(r#"{{"annotations":{{"{KEY}":"{OLD}"}},"rule":"x"}}"#);
        let ours = [(APPLIED, &*applied), (KEY, OLD)];
        let removing = "onNoRule: remove\n";
        let cases: [(&str, &str, Annotations<'_>, &str); 11] = [
            ("set", "", &[], "it would get role NEW (rule serviceAccount=set)"),
            ("set", "", &[(KEY, NEW)], "nothing would be written: it is as decided"),
            ("set", "", &[(INJECT, "disabled")], "nothing would be written: it has opted out"),
            (
                "replace",
                "",
                &[(KEY, OLD)],
                "it would get role NEW in place of OLD (rule serviceAccount=replace)",
            ),
            ("keep", "", &[(KEY, OLD)], "it would keep role OLD, and not get NEW (rule serviceAccount=keep)"),
            ("project", "", &[], "it would get no role from rule serviceAccount=project: "),
            ("remove", "", &[(KEY, OLD)], "it would lose role OLD: rule serviceAccount=remove says remove"),
            ("other", removing, &ours, "it would lose role OLD: no rule matches it any more"),
            ("other", "", &ours, "it would keep role OLD, though no rule matches it any more"),
            ("skip", "", &[], "nothing would be written: rule serviceAccount=skip says skip"),
            ("other", "", &[], "nothing would be written: no rule matches it"),
        ];
        for (name, onward, annotations, want) in cases {
            let want = want.replace("NEW", NEW).replace("OLD", OLD);
            let said = said(name, onward, annotations);
            assert!(
                said == want || want.ends_with(": ") && said.starts_with(&want),
                "{said:?}, not {want:?}"
            );
        }
        let hostile = format!("\u{1b}[2J\n{}", "x".repeat(100_000));
        let said = said("keep", "", &[(KEY, &hostile)]);
        assert!(said.starts_with("it would keep role ?[2J?xxx") && said.chars().count() < 400, "{said}");
    }
}
