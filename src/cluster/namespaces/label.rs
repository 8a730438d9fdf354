//! What does the label `gitlab-iam-webhook/inject` of a namespace say?

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::engine::object::subject::INJECT;

/// So many namespaces whose label does nothing are remembered at once. Others are not told of.
const MOST_FUTILE: usize = 1_000;

/// A namespace that carries the label, or did so last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelledNamespace {
    pub(super) name: String,
    /// The value of the label. The API server takes no more than 63 characters.
    pub(super) value: String,
    pub(super) uid: Option<String>,
}

/// What the label does in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Effect {
    /// ServiceAccounts and Pods get their roles.
    Enabled,
    /// What they would get is told, and nothing is written.
    Observed,
    /// It does nothing.
    Nothing,
}

impl LabelledNamespace {
    pub(super) fn read(namespace: &RawValue) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            name: String,
            #[serde(default)]
            labels: Labels,
            uid: Option<String>,
        }
        #[derive(Default, Deserialize)]
        struct Labels {
            #[serde(default, rename = "gitlab-iam-webhook/inject")]
            inject: String,
        }
        let Object { metadata: Metadata { name, labels, uid } } = serde_json::from_str(namespace.get())?;
        Ok(Self { name, value: labels.inject, uid })
    }
}

impl Effect {
    /// What this value does. In a namespace that is excepted none does anything.
    pub(in crate::cluster) fn of(value: &str, is_excepted: bool) -> Self {
        match value {
            _ if is_excepted => Self::Nothing,
            "enabled" => Self::Enabled,
            "observe" => Self::Observed,
            _ => Self::Nothing,
        }
    }
}

/// The namespaces whose label does nothing although it seems to mean something.
#[derive(Debug, Default)]
pub(super) struct FutileLabels(BTreeMap<String, FutileLabel>);

#[derive(Debug)]
struct FutileLabel {
    /// The value that was told last.
    value: String,
    /// Whether the list that is being read, or was read last, has shown it.
    is_listed: bool,
}

impl FutileLabels {
    /// Returns what is to be told of a label: each value once, and again after it was another one.
    pub(super) fn see(&mut self, namespace: &LabelledNamespace, is_excepted: bool) -> Option<String> {
        let LabelledNamespace { name, value, .. } = namespace;
        let Some(told) = futile(value, is_excepted) else {
            self.0.remove(name);
            return None;
        };
        let is_full = self.0.len() >= MOST_FUTILE;
        match self.0.get_mut(name) {
            None if is_full => return None,
            Some(known) if known.value == *value => {
                known.is_listed = true;
                return None;
            }
            None | Some(_) => {}
        }
        self.0.insert(name.clone(), FutileLabel { value: value.clone(), is_listed: true });
        Some(told)
    }

    /// All namespaces are about to be listed.
    pub(super) fn listing(&mut self) {
        self.0.values_mut().for_each(|label| label.is_listed = false);
    }

    /// All namespaces were listed: what the list did not show is gone.
    pub(super) fn listed(&mut self) {
        self.0.retain(|_, label| label.is_listed);
    }

    /// The namespace, or its label, is gone.
    pub(super) fn gone(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Says why a label does nothing, and what to do about it; `None` where it does what it says.
fn futile(value: &str, is_excepted: bool) -> Option<String> {
    // `disabled` says that nothing is to be done.
    if value == "disabled" || Effect::of(value, is_excepted) != Effect::Nothing {
        return None;
    }
    Some(if is_excepted {
        format!(
            "the label {INJECT}={value} has no effect here: nothing is changed in kube-system and in the \
             webhook's own namespace, so that no mistake in a mapping stops what the cluster or the webhook \
             needs; remove the label, and run GitLab in a namespace of its own"
        )
    } else {
        format!(
            "the label {INJECT}={value} has no effect: write {INJECT}=enabled to give ServiceAccounts and \
             Pods their roles, or {INJECT}=observe to be told what they would get"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_values_have_an_effect_and_of_the_others_all_but_disabled_are_told() {
        for (value, excepted, effect, told) in [
            ("enabled", false, Effect::Enabled, None),
            ("observe", false, Effect::Observed, None),
            ("disabled", false, Effect::Nothing, None),
            ("disabled", true, Effect::Nothing, None),
            ("true", false, Effect::Nothing, Some("write gitlab-iam-webhook/inject=enabled")),
            ("Enabled", false, Effect::Nothing, Some("inject=observe to be told")),
            ("", false, Effect::Nothing, Some("the label gitlab-iam-webhook/inject= has no effect: write")),
            ("enabled", true, Effect::Nothing, Some("inject=enabled has no effect here")),
            ("observe", true, Effect::Nothing, Some("inject=observe has no effect here")),
            ("true", true, Effect::Nothing, Some("inject=true has no effect here")),
        ] {
            assert_eq!(Effect::of(value, excepted), effect, "{value} {excepted}");
            let said = futile(value, excepted);
            assert_eq!(said.is_some(), told.is_some(), "{value} {excepted}: {said:?}");
            assert!(said.unwrap_or_default().contains(told.unwrap_or_default()), "{value} {excepted}");
        }
    }

    #[test]
    fn a_label_that_does_nothing_is_told_once_and_again_after_it_changed() {
        let mut labels = FutileLabels::default();
        let mut tell = |name: &str, value: &str| {
            let namespace = LabelledNamespace { name: name.into(), value: value.into(), uid: None };
            labels.see(&namespace, false).is_some()
        };
        for (name, value, is_told) in [
            ("a", "true", true),
            ("a", "true", false),
            ("b", "true", true),
            ("a", "yes", true),
            ("a", "true", true),
            ("a", "enabled", false),
            ("a", "true", true),
        ] {
            assert_eq!(tell(name, value), is_told, "{name}={value}");
        }
        for n in 0..2_000 {
            assert_eq!(tell(&format!("ns-{n}"), "true"), n < MOST_FUTILE - 2, "{n}");
        }
        assert!(tell("a", "yes"), "what is remembered is still followed");
        // What a list does not show was deleted while nobody watched.
        labels.listing();
        let still = LabelledNamespace { name: "a".into(), value: "yes".into(), uid: None };
        assert_eq!(labels.see(&still, false), None);
        labels.listed();
        assert_eq!(labels.see(&still, false), None, "it was told");
        for n in 3_000..3_100 {
            let name = format!("ns-{n}");
            let namespace = LabelledNamespace { name, value: "true".into(), uid: None };
            assert!(labels.see(&namespace, false).is_some(), "there is room again: {n}");
        }
        labels.gone("a");
        let again = LabelledNamespace { name: "a".into(), value: "yes".into(), uid: None };
        assert!(labels.see(&again, false).is_some());
    }

    #[test]
    fn of_a_namespace_its_name_and_the_value_of_the_label_are_read() {
        let read = |text: &str| LabelledNamespace::read(&RawValue::from_string(text.to_owned()).unwrap());
        let namespace = read(
            r#"{"metadata":{"name":"a","labels":{"x":"y","gitlab-iam-webhook/inject":"observe"},"uid":"u"}}"#,
        );
        let (name, value, uid) = ("a".to_owned(), "observe".to_owned(), Some("u".to_owned()));
        assert_eq!(namespace.unwrap(), LabelledNamespace { name, value, uid });
        assert_eq!(read(r#"{"metadata":{"name":"a"}}"#).unwrap().value, "");
        assert!(read("{}").is_err());
    }
}
