//! Which role is asked for, for which ServiceAccount, with a token for whom?

use std::borrow::Cow;

use crate::cluster::NamespacedName;
use crate::engine::decision::explain::through_account;
use crate::engine::object::provider::{IRSA_ROLE, RoleOption, STS_AUDIENCE};
use crate::engine::rules::rule::Action;
use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::ServiceAccount;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// The ServiceAccount.
    pub(super) account: NamespacedName,
    /// The role, as somebody wrote it.
    pub(super) role: String,
    /// The audience of the token.
    pub(super) audience: String,
    /// The audience that the annotation names, where it is another one.
    pub(super) ignored_audience: Option<String>,
    /// The mapping's role, where the ServiceAccount keeps another one.
    pub(super) not_asked: Option<String>,
}

impl Case {
    /// Takes the role of the annotation, or the one that the mapping would give; `None` where there is none.
    ///
    /// Whoever may write a ServiceAccount writes its annotations, so that they never choose whom a token is
    /// for: that is the mapping's or the command line's to say.
    pub(super) fn of(
        account: &ServiceAccount,
        ruleset: Option<&Ruleset>,
        audience: Option<&str>,
    ) -> Option<Self> {
        let metadata = &account.metadata;
        let (role, mapped, not_asked) = match ruleset {
            None => (metadata.annotation(IRSA_ROLE)?.to_owned(), None, None),
            Some(ruleset) => account.with_subject(|subject| {
                let gets = through_account(ruleset, subject)?;
                let role = gets.role?.into_owned();
                // The options of a rule go with its own role alone.
                let rule = gets.verdict.rule.filter(|_| gets.verdict.role.as_deref() == Some(&*role));
                let audience = rule.and_then(|rule| match &rule.action {
                    Action::Role(grant) => grant.option(RoleOption::IrsaAudience),
                    Action::Skip | Action::Remove => None,
                });
                let not_asked = gets.verdict.role.filter(|mapped| **mapped != *role);
                Some((role, audience.map(Cow::into_owned), not_asked.map(Cow::into_owned)))
            })?,
        };
        let audience = audience.map(str::to_owned).or(mapped).unwrap_or_else(|| STS_AUDIENCE.to_owned());
        let annotated = metadata.annotation(RoleOption::IrsaAudience.key());
        let ignored_audience = annotated.filter(|annotated| *annotated != audience).map(str::to_owned);
        let account = NamespacedName { namespace: metadata.namespace.clone(), name: metadata.name.clone() };
        Some(Self { account, role, audience, ignored_audience, not_asked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mapping;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    const ROLE: &str = "arn:aws:iam::123456789012:role/old";
    const AUDIENCE_KEY: &str = "eks.amazonaws.com/audience";
    const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {serviceAccount: plain}, role: new}
  - {match: {serviceAccount: other}, role: new, irsa: {audience: other}}
  - {match: {serviceAccount: replaced}, role: new, onConflict: replace, irsa: {audience: other}}
  - {match: {serviceAccount: gone}, provider: irsa, remove: true}
";

    fn account(name: &str, annotations: &[(&str, &str)]) -> ServiceAccount {
        let mut account = ServiceAccount::default();
        name.clone_into(&mut account.metadata.name);
        "gitlab".clone_into(&mut account.metadata.namespace);
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        account.metadata.annotations = pairs.collect();
        account
    }

    #[test]
    fn an_annotation_names_the_role_and_never_the_audience() {
        assert_eq!(Case::of(&account("a", &[]), None, None), None);
        let both = account("a", &[(IRSA_ROLE, ROLE), (AUDIENCE_KEY, "https://kubernetes.default.svc")]);
        let case = Case::of(&both, None, None).unwrap();
        assert_eq!((case.role.as_str(), case.audience.as_str()), (ROLE, "sts.amazonaws.com"));
        assert_eq!(case.ignored_audience.as_deref(), Some("https://kubernetes.default.svc"));
        let case =
            Case::of(&account("a", &[(IRSA_ROLE, ROLE), (AUDIENCE_KEY, "x")]), None, Some("x")).unwrap();
        assert_eq!((case.audience.as_str(), case.ignored_audience), ("x", None));
    }

    #[test]
    fn a_mapping_names_both_and_a_role_that_stays_is_asked_for_as_it_is() {
        let ruleset = mapping::compile(MAPPING, &OperatorPolicy::default()).unwrap();
        for (name, present, want) in [
            ("plain", &[][..], Some(("arn:aws:iam::123456789012:role/new", "sts.amazonaws.com"))),
            ("other", &[], Some(("arn:aws:iam::123456789012:role/new", "other"))),
            ("other", &[(IRSA_ROLE, ROLE)], Some((ROLE, "sts.amazonaws.com"))),
            ("replaced", &[(IRSA_ROLE, ROLE)], Some(("arn:aws:iam::123456789012:role/new", "other"))),
            ("gone", &[(IRSA_ROLE, ROLE)], None),
            ("unknown", &[], None),
            ("unknown", &[(IRSA_ROLE, ROLE)], Some((ROLE, "sts.amazonaws.com"))),
        ] {
            let case = Case::of(&account(name, present), Some(&ruleset), None);
            let found = case.as_ref().map(|case| (case.role.as_str(), case.audience.as_str()));
            assert_eq!(found, want, "{name} {present:?}");
            let not_asked = case.as_ref().and_then(|case| case.not_asked.as_deref());
            let is_kept = name == "other" && !present.is_empty();
            assert_eq!(not_asked, is_kept.then_some("arn:aws:iam::123456789012:role/new"), "{name}");
        }
    }
}
