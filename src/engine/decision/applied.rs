//! Which values on an object are ours? The record that we keep on the object itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::subject::Text;

/// `gitlab-iam-webhook/applied`: canonical JSON, keys sorted, no spaces.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Applied<'a> {
    #[serde(borrow)]
    pub(super) annotations: BTreeMap<Text<'a>, Text<'a>>,
    pub(super) rule: RuleNames<'a>,
}

/// The rule that set them: its name alone, or a name for each provider where two rules did.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RuleNames<'a> {
    #[serde(borrow)]
    One(Text<'a>),
    #[serde(borrow)]
    Each(BTreeMap<Text<'a>, Text<'a>>),
}

impl<'a> Applied<'a> {
    /// `None` where it is not what we write: then nothing is ours.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(|value| value.0.as_ref())
    }

    pub(super) fn rule_of(&self, provider: &str) -> &str {
        match &self.rule {
            RuleNames::One(name) => &name.0,
            RuleNames::Each(names) => names.get(provider).map_or("", |name| name.0.as_ref()),
        }
    }
}

/// What will be ours when the decision has been carried out.
#[derive(Default)]
pub(super) struct Record<'a> {
    annotations: BTreeMap<&'static str, Cow<'a, str>>,
    rules: BTreeMap<&'static str, Cow<'a, str>>,
}

impl<'a> Record<'a> {
    pub(super) fn add(
        &mut self,
        key: &'static str,
        value: Cow<'a, str>,
        provider: &'static str,
        rule: Cow<'a, str>,
    ) {
        self.annotations.insert(key, value);
        self.rules.insert(provider, rule);
    }

    /// The annotation's text; `None` where nothing is ours.
    pub(super) fn to_text(&self) -> Option<String> {
        if self.annotations.is_empty() {
            return None;
        }
        let mut names = self.rules.values();
        let first = names.next()?;
        let rule = if names.all(|name| name == first) {
            RuleNames::One(Text(Cow::Borrowed(first)))
        } else {
            let each = self.rules.iter().map(|(provider, name)| (text(provider), text(name)));
            RuleNames::Each(each.collect())
        };
        let annotations = self.annotations.iter().map(|(key, value)| (text(key), text(value))).collect();
        serde_json::to_string(&Applied { annotations, rule }).ok()
    }
}

fn text(text: &str) -> Text<'_> {
    Text(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_canonical_and_reads_back() {
        let mut record = Record::default();
        record.add("eks.amazonaws.com/role-arn", "arn".into(), "irsa", "a \"quoted\" rule".into());
        record.add("eks.amazonaws.com/audience", "aud".into(), "irsa", "a \"quoted\" rule".into());
        let text = record.to_text().unwrap();
        assert_eq!(
            text,
            r#"{"annotations":{"eks.amazonaws.com/audience":"aud","eks.amazonaws.com/role-arn":"arn"},"rule":"a \"quoted\" rule"}"#
        );
        let applied = Applied::parse(&text).unwrap();
        assert_eq!(applied.value("eks.amazonaws.com/role-arn"), Some("arn"));
        assert_eq!(applied.rule_of("irsa"), "a \"quoted\" rule");
    }

    #[test]
    fn two_rules_are_told_apart() {
        let mut record = Record::default();
        record.add("eks.amazonaws.com/role-arn", "x".into(), "irsa", "one".into());
        record.add("iam.amazonaws.com/role", "y".into(), "kube2iam", "two".into());
        let text = record.to_text().unwrap();
        assert!(text.ends_with(r#""rule":{"irsa":"one","kube2iam":"two"}}"#), "{text}");
        assert_eq!(Applied::parse(&text).unwrap().rule_of("kube2iam"), "two");
    }

    #[test]
    fn what_we_did_not_write_is_no_record() {
        for text in
            ["", "x", "{}", "[]", r#"{"annotations":[],"rule":"x"}"#, r#"{"annotations":{"a":1},"rule":"x"}"#]
        {
            assert!(Applied::parse(text).is_none(), "{text}");
        }
    }
}
