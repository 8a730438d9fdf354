//! Which values of an object did we apply last?
//!
//! We keep a record of them on the object itself, as `kubectl apply` does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::engine::json::{write_text, write_texts};
use crate::engine::object::provider::{Keys, Provider};
use crate::engine::object::subject::{MAX_ANNOTATIONS, Text};

/// The annotation `gitlab-iam-webhook/applied`. It is canonical JSON, which has its keys sorted and no
/// spaces.
///
/// Anybody who may write the object can write such a record, and one of any length. Only keys that we write
/// are read from it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LastApplied<'a> {
    #[serde(borrow, deserialize_with = "annotations")]
    annotations: Texts<'a>,
    #[serde(borrow, deserialize_with = "rule_names")]
    rule: RuleNames<'a>,
}

type Texts<'a> = BTreeMap<&'static str, Cow<'a, str>>;

/// The name of the rule that set the values, or a name for each provider where two rules did.
#[derive(Debug, PartialEq, Eq)]
enum RuleNames<'a> {
    One(Cow<'a, str>),
    Each(Texts<'a>),
}

impl<'a> LastApplied<'a> {
    /// Reads a record. Returns `None` where it is not one that we could have written, so that no value is
    /// ours.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        // The API server stores no annotation that is longer.
        (text.len() <= MAX_ANNOTATIONS).then(|| serde_json::from_str(text).ok()).flatten()
    }

    /// Returns the value that was recorded for a key.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(AsRef::as_ref)
    }

    /// Returns the name of the rule that set a provider's values. It is empty where the record does not say
    /// it.
    pub(super) fn rule_of(&self, provider: &str) -> &str {
        match &self.rule {
            RuleNames::One(name) => name,
            RuleNames::Each(names) => names.get(provider).map_or("", AsRef::as_ref),
        }
    }
}

fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Texts<'de>, D::Error> {
    let known = |key: &str| {
        let keys =
            |provider: Provider| provider.service_account_keys().into_iter().chain([provider.pod_keys()]);
        Provider::ALL.into_iter().flat_map(keys).flat_map(Keys::iter).find(|known| *known == key)
    };
    deserializer.deserialize_map(TextsVisitor(known))
}

fn rule_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RuleNames<'de>, D::Error> {
    deserializer.deserialize_any(RuleNamesVisitor)
}

/// Reads a map of texts, and keeps those whose keys are known. The function returns the known key.
struct TextsVisitor(fn(&str) -> Option<&'static str>);

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = Texts::new();
        while let Some((key, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
            if let Some(known) = self.0(&key.0) {
                texts.insert(known, value.0);
            }
        }
        Ok(texts)
    }
}

struct RuleNamesVisitor;

impl<'de> Visitor<'de> for RuleNamesVisitor {
    type Value = RuleNames<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a rule, or one for each provider")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(RuleNames::One(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(RuleNames::One(Cow::Owned(name.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let known =
            |name: &str| Provider::ALL.iter().map(|provider| provider.name()).find(|known| *known == name);
        TextsVisitor(known).visit_map(map).map(RuleNames::Each)
    }
}

/// The record of what will be ours once a decision is carried out.
#[derive(Default)]
pub(super) struct Record<'a> {
    annotations: Texts<'a>,
    rules: Texts<'a>,
}

impl<'a> Record<'a> {
    /// Records the value of a key, and the rule that gave it to the provider.
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

    /// Returns the text of the annotation, or `None` where nothing will be ours.
    pub(super) fn to_text(&self) -> Option<String> {
        if self.annotations.is_empty() {
            return None;
        }
        let mut json = Vec::with_capacity(256);
        self.write(&mut json).ok()?;
        String::from_utf8(json).ok()
    }

    fn write(&self, json: &mut Vec<u8>) -> serde_json::Result<()> {
        json.extend_from_slice(br#"{"annotations":"#);
        write_texts(json, &self.annotations)?;
        json.extend_from_slice(br#","rule":"#);
        let mut names = self.rules.values();
        match names.next() {
            Some(first) if names.all(|name| name == first) => write_text(json, first)?,
            _ => write_texts(json, &self.rules)?,
        }
        json.push(b'}');
        Ok(())
    }
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
        let applied = LastApplied::parse(&text).unwrap();
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
        assert_eq!(LastApplied::parse(&text).unwrap().rule_of("kube2iam"), "two");
    }

    #[test]
    fn a_text_that_we_did_not_write_is_no_record() {
        for text in [
            "",
            "x",
            "{}",
            "[]",
            r#"{"annotations":[],"rule":"x"}"#,
            r#"{"annotations":{"a":1},"rule":"x"}"#,
            r#"{"annotations":{},"rule":1}"#,
            r#"{"annotations":{},"rule":["x"]}"#,
            r#"{"annotations":{},"rule":{"irsa":[]}}"#,
            r#"{"annotations":{},"rule":{"unknown":1}}"#,
            r#"{"annotations":{},"rule":"x","more":1}"#,
        ] {
            assert!(LastApplied::parse(text).is_none(), "{text}");
        }
        let deep = format!(r#"{{"annotations":{{}},"rule":{}"#, "[".repeat(100_000));
        assert!(LastApplied::parse(&deep).is_none());
        let long = format!(r#"{{"annotations":{{}},"rule":"{}"}}"#, "x".repeat(MAX_ANNOTATIONS));
        assert!(LastApplied::parse(&long).is_none());
    }

    #[test]
    fn only_keys_that_we_write_are_read_from_a_record() {
        let text = r#"{"annotations":{"x":"y","iam.amazonaws.com/role":"a","iam.amazonaws.com/role":"\u0062"},"rule":{"x":"y","irsa":"r"}}"#;
        let applied = LastApplied::parse(text).unwrap();
        assert_eq!(applied.annotations, BTreeMap::from([("iam.amazonaws.com/role", "b".into())]));
        assert_eq!(applied.rule, RuleNames::Each(BTreeMap::from([("irsa", "r".into())])));
        for provider in Provider::ALL {
            for key in
                provider.service_account_keys().into_iter().chain([provider.pod_keys()]).flat_map(Keys::iter)
            {
                let text = format!(r#"{{"annotations":{{"{key}":"v"}},"rule":"r"}}"#);
                assert_eq!(LastApplied::parse(&text).unwrap().value(key), Some("v"));
            }
        }
    }
}
