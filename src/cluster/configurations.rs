//! What is read of a webhook configuration, mutating or validating, and which JSON Patch changes its
//! caBundle?
//!
//! The patch holds tests, so that an entry that moved meanwhile is never given what belongs to another one.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::json;
use serde_json::value::RawValue;

use super::read::Versioned;

/// The most webhooks of one configuration.
const ENTRIES: usize = 100;

/// The longest caBundle that is read, in base64. A longer one counts as none, and is replaced where it is
/// ours to write.
const LONGEST: usize = 64 << 10;

/// The port that is called where a configuration names none.
const HTTPS: u16 = 443;

/// What is read of a configuration of either kind.
#[derive(Debug)]
pub(super) struct Configuration {
    version: String,
    /// In their order.
    pub(super) entries: Vec<Entry>,
}

/// One webhook of a configuration.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name of the webhook.
    pub(super) name: String,
    /// The name that the API server expects in the certificate.
    pub(super) host: String,
    /// The port that the API server calls, of the Service or of the URL's host.
    pub(super) port: u16,
    /// Its caBundle, PEM; empty where it has none.
    pub(super) bundle: Vec<u8>,
}

impl Configuration {
    /// The patch that gives this bundle to every entry that has another one; none where all of them have it.
    pub(super) fn patch(&self, bundle: &[u8]) -> Option<json_patch::Patch> {
        let entries = self.entries.iter().enumerate();
        let others: Vec<_> = entries.filter(|(_, entry)| entry.bundle != bundle).collect();
        if others.is_empty() {
            return None;
        }
        let encoded = json!(ByteString(bundle.to_owned()));
        // The API server answers 409 where the version that was seen is not the newest any more.
        let mut operations =
            vec![json!({"op": "replace", "path": "/metadata/resourceVersion", "value": self.version})];
        for (index, entry) in others {
            operations
                .push(json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": entry.name}));
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": encoded}));
        }
        serde_json::from_value(operations.into()).ok()
    }

    /// Notes that this bundle was written to every entry, which made this version of the configuration.
    pub(super) fn written(&mut self, bundle: &[u8], version: String) {
        self.version = version;
        for entry in &mut self.entries {
            bundle.clone_into(&mut entry.bundle);
        }
    }
}

/// A configuration of either kind, as it is sent.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    webhooks: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    client_config: ClientConfig<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClientConfig<'a> {
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    service: Option<Service<'a>>,
    #[serde(borrow)]
    ca_bundle: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Service<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    port: Option<u16>,
}

/// Reads a configuration of either kind.
pub(super) fn read(configuration: &RawValue) -> serde_json::Result<Configuration> {
    let found: Found<'_> = serde_json::from_str(configuration.get())?;
    let versioned: Versioned<'_> = serde_json::from_str(configuration.get())?;
    let webhooks = found.webhooks.unwrap_or_default();
    if webhooks.len() > ENTRIES {
        return Err(serde_json::Error::custom(format_args!("it has more than {ENTRIES} webhooks")));
    }
    let entries = webhooks.into_iter().map(|webhook| {
        let webhook: Webhook<'_> = serde_json::from_str(webhook.get())?;
        let bundle = webhook.client_config.ca_bundle.as_ref().filter(|bundle| bundle.len() <= LONGEST);
        let (host, port) = host_and_port(&webhook.client_config);
        Ok(Entry {
            host,
            port,
            name: webhook.name.into_owned(),
            bundle: bundle.and_then(|bundle| STANDARD.decode(bundle.as_bytes()).ok()).unwrap_or_default(),
        })
    });
    let entries = entries.collect::<serde_json::Result<_>>()?;
    Ok(Configuration { version: versioned.version().to_owned(), entries })
}

/// The name that the API server derives from where it calls, and the port. The name is empty where there is
/// none: no certificate has it.
fn host_and_port(client: &ClientConfig<'_>) -> (String, u16) {
    if let Some(service) = &client.service {
        let host = format!("{}.{}.svc", service.name, service.namespace);
        return (host, service.port.unwrap_or(HTTPS));
    }
    let uri: Option<Uri> = client.url.as_deref().and_then(|url| url.parse().ok());
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    // In a certificate an IPv6 address has no brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    (host, uri.as_ref().and_then(Uri::port_u16).unwrap_or(HTTPS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_name_and_port_are_those_of_the_service_or_of_the_url() {
        for (port, expected) in [(json!(null), 443), (json!(8443), 8443)] {
            let service = json!({"service": {"name": "hook", "namespace": "ns", "port": port}}).to_string();
            let client: ClientConfig<'_> = serde_json::from_str(&service).unwrap();
            assert_eq!(host_and_port(&client), ("hook.ns.svc".to_owned(), expected));
        }
        for (url, name, port) in [
            ("https://127.0.0.1:8443/mutate", "127.0.0.1", 8443),
            ("https://[::1]:8443/mutate", "::1", 8443),
            ("https://hook.example.com/mutate", "hook.example.com", 443),
            ("https://hook.example.com", "hook.example.com", 443),
            ("https://hook.example.com?timeout=2s", "hook.example.com", 443),
            ("https://[::1]", "::1", 443),
            ("not a URL", "", 443),
        ] {
            let client = ClientConfig { url: Some(url.into()), ..ClientConfig::default() };
            assert_eq!(host_and_port(&client), (name.to_owned(), port));
        }
    }

    #[test]
    fn of_a_configuration_no_more_is_kept_than_a_bundle_can_be_long_for_so_many_webhooks() {
        let configuration = |webhooks: usize, bundle: &str| {
            let webhook = json!({"name": "a", "clientConfig": {"url": "https://a", "caBundle": bundle}});
            let webhooks = vec![webhook; webhooks];
            let text = json!({"metadata": {"resourceVersion": "7"}, "webhooks": webhooks}).to_string();
            read(&RawValue::from_string(text).unwrap())
        };
        assert_eq!(configuration(1, "YQ==").unwrap().entries[0].bundle, b"a");
        assert_eq!(configuration(1, &"YQ==".repeat(LONGEST)).unwrap().entries[0].bundle, b"");
        assert!(configuration(ENTRIES, "").is_ok());
        assert!(configuration(ENTRIES + 1, "").is_err());
    }
}
