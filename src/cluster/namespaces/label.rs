//! What does the label `gitlab-iam-webhook/inject` of a namespace say?

use serde::Deserialize;
use serde_json::value::RawValue;

/// A namespace that carries the label, or did so last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelledNamespace {
    pub(super) name: String,
    /// The value of the label. The API server takes no more than 63 characters.
    pub(super) value: String,
}

/// What the label does in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
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
        }
        #[derive(Default, Deserialize)]
        struct Labels {
            #[serde(default, rename = "gitlab-iam-webhook/inject")]
            inject: String,
        }
        let Object { metadata: Metadata { name, labels } } = serde_json::from_str(namespace.get())?;
        Ok(Self { name, value: labels.inject })
    }
}

impl Effect {
    /// What this value does. In a namespace that is excepted none does anything.
    pub(super) fn of(value: &str, is_excepted: bool) -> Self {
        match value {
            _ if is_excepted => Self::Nothing,
            "enabled" => Self::Enabled,
            "observe" => Self::Observed,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_namespace_its_name_and_the_value_of_the_label_are_read() {
        let read = |text: &str| LabelledNamespace::read(&RawValue::from_string(text.to_owned()).unwrap());
        let namespace = read(
            r#"{"metadata":{"name":"a","labels":{"x":"y","gitlab-iam-webhook/inject":"observe"},"uid":"u"}}"#,
        );
        assert_eq!(namespace.unwrap(), LabelledNamespace { name: "a".into(), value: "observe".into() });
        assert_eq!(read(r#"{"metadata":{"name":"a"}}"#).unwrap().value, "");
        assert!(read("{}").is_err());
    }
}
