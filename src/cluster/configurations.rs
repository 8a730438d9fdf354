//! What stands in a webhook configuration, mutating or validating, and how does it get another caBundle? By JSON Patch with tests, so
//! that an entry that moved meanwhile is never given what belongs to another one.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

/// A webhook configuration as it was seen last.
#[derive(Default)]
pub(super) enum Known {
    #[default]
    NotYet,
    Absent,
    There(Configuration),
}

/// What is read of a configuration of either kind.
pub(super) struct Configuration {
    version: Option<String>,
    entries: Vec<Entry>,
}

pub(super) struct Entry {
    pub(super) name: String,
    /// The name that the API server expects in the certificate.
    pub(super) host: String,
    pub(super) bundle: Vec<u8>,
}

impl Known {
    /// In their order.
    pub(super) fn entries(&self) -> &[Entry] {
        match self {
            Self::There(configuration) => &configuration.entries,
            Self::NotYet | Self::Absent => &[],
        }
    }

    /// Gives every entry this bundle; none where they have it.
    pub(super) fn patch(&self, bundle: &[u8]) -> Option<json_patch::Patch> {
        let Self::There(configuration) = self else { return None };
        let entries = configuration.entries.iter().enumerate();
        let others: Vec<_> = entries.filter(|(_, entry)| entry.bundle != bundle).collect();
        if others.is_empty() {
            return None;
        }
        let encoded = json!(ByteString(bundle.to_owned()));
        let mut operations = vec![
            json!({"op": "replace", "path": "/metadata/resourceVersion", "value": configuration.version}),
        ];
        for (index, entry) in others {
            operations
                .push(json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": entry.name}));
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": encoded}));
        }
        serde_json::from_value(operations.into()).ok()
    }

    fn of<'a>(
        metadata: &ObjectMeta,
        entries: impl Iterator<Item = (&'a String, &'a WebhookClientConfig)>,
    ) -> Self {
        let entries = entries.map(|(name, client)| Entry {
            name: name.clone(),
            host: host(client),
            bundle: client.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default(),
        });
        Self::There(Configuration { version: metadata.resource_version.clone(), entries: entries.collect() })
    }
}

/// As the API server derives it from where it calls.
fn host(client: &WebhookClientConfig) -> String {
    if let Some(service) = &client.service {
        return format!("{}.{}.svc", service.name, service.namespace);
    }
    let url = client.url.as_deref().unwrap_or_default();
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
    name.trim_start_matches('[').trim_end_matches(']').to_owned()
}

impl From<MutatingWebhookConfiguration> for Known {
    fn from(found: MutatingWebhookConfiguration) -> Self {
        let webhooks = found.webhooks.unwrap_or_default();
        Self::of(&found.metadata, webhooks.iter().map(|webhook| (&webhook.name, &webhook.client_config)))
    }
}

impl From<ValidatingWebhookConfiguration> for Known {
    fn from(found: ValidatingWebhookConfiguration) -> Self {
        let webhooks = found.webhooks.unwrap_or_default();
        Self::of(&found.metadata, webhooks.iter().map(|webhook| (&webhook.name, &webhook.client_config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_name_is_the_services_or_the_urls_host() {
        let service =
            serde_json::from_value(json!({"service": {"name": "hook", "namespace": "ns"}})).unwrap();
        assert_eq!(host(&service), "hook.ns.svc");
        for (url, name) in [
            ("https://127.0.0.1:8443/mutate", "127.0.0.1"),
            ("https://[::1]:8443/mutate", "::1"),
            ("https://hook.example.com/mutate", "hook.example.com"),
        ] {
            assert_eq!(host(&WebhookClientConfig { url: Some(url.to_owned()), ..Default::default() }), name);
        }
    }
}
