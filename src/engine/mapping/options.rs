//! What do the option blocks `irsa`, `kube2iam` and `kiam` say?

use super::keys::{Key, Takes, key};
use super::reader::{Allowed, Path, Reader};
use crate::engine::object::dns_name::is_dns_label;
use crate::engine::rules::rule::{IrsaOptions, PodOptions};
use crate::engine::yaml::{Node, ScalarKind};

pub(super) const IRSA_KEYS: [Key; 5] = [
    key("stsRegionalEndpoints", Takes::Boolean, "Whether AWS STS is asked in the Pod's own region."),
    key("tokenExpiration", Takes::TokenExpiration, "For how many seconds the Pod's token is valid."),
    key("audience", Takes::Audience, "The audience of the Pod's token; EKS's default is sts.amazonaws.com."),
    key("annotatePods", Takes::Boolean, "Whether Pods get the role's annotation too, which EKS ignores."),
    key("skipContainers", Takes::Containers, "Names of containers that get no credentials."),
];

pub(super) const POD_KEYS: [Key; 2] = [
    key("externalId", Takes::ExternalId, "The external id with which the role is assumed."),
    key("sessionName", Takes::SessionName, "The name of the session in which the role is assumed."),
];

/// How many seconds the EKS webhook takes for a token, as its README says. AWS STS takes no longer ones.
pub const TOKEN_EXPIRATION: std::ops::RangeInclusive<u32> = 600..=86400;

/// The longest audience in bytes, which is that of `clientIDType` in the service model of IAM.
pub(super) const MAX_AUDIENCE: usize = 255;

/// The lengths of an external id and of a session's name are those of `externalIdType` and
/// `roleSessionNameType` in the service model of STS.
pub(super) const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1224;
pub(super) const SESSION_NAME: std::ops::RangeInclusive<usize> = 2..=64;

/// An external id and a session's name may hold these beside letters and digits.
pub(super) const SESSION_SIGNS: &str = "_+=,.@-";
/// Only an external id may hold these.
pub(super) const EXTERNAL_ID_SIGNS: &str = ":/";

/// How many bytes the joined names of containers may have. No Pod has that many.
const MAX_CONTAINERS: usize = 4096;

pub(super) fn irsa(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> IrsaOptions {
    let mut options = IrsaOptions::default();
    let Some(fields) = reader.fields(node, path, Allowed::Only(&IRSA_KEYS)) else {
        return options;
    };
    for (key, value) in fields.iter() {
        let path = path.key(key);
        match key {
            "stsRegionalEndpoints" => options.sts_regional_endpoints = reader.boolean(value, path),
            "annotatePods" => options.annotate_pods = reader.boolean(value, path),
            "tokenExpiration" => options.token_expiration = token_expiration(value, path, reader),
            "audience" => {
                options.audience = reader.text(value, path).and_then(|text| {
                    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
                        reader.report(
                            value.at,
                            path,
                            "an audience is a word without spaces, as sts.amazonaws.com",
                        );
                        return None;
                    }
                    if text.len() > MAX_AUDIENCE {
                        let message = format!("has {} bytes, IAM allows {MAX_AUDIENCE}", text.len());
                        reader.report(value.at, path, message);
                        return None;
                    }
                    Some(text.into())
                });
            }
            _ => {
                let mut names = Vec::new();
                reader.each(value, path, |reader, item, path| {
                    let Some(name) = reader.text(item, path) else {
                        return;
                    };
                    if is_dns_label(name) {
                        names.push(name);
                    } else {
                        reader.report(item.at, path, format!("`{name}` cannot be the name of a container"));
                    }
                });
                let joined = names.join(",");
                if joined.len() > MAX_CONTAINERS {
                    let message =
                        format!("the names have {} bytes, at most {MAX_CONTAINERS} are taken", joined.len());
                    reader.report(value.at, path, message);
                }
                options.skip_containers = (!names.is_empty()).then(|| joined.into());
            }
        }
    }
    options
}

fn token_expiration(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> Option<u32> {
    let seconds = node
        .as_scalar()
        .filter(|scalar| matches!(scalar.kind, ScalarKind::Number | ScalarKind::Text))
        .and_then(|scalar| scalar.text.parse().ok())
        .filter(|seconds| TOKEN_EXPIRATION.contains(seconds));
    if seconds.is_none() {
        let (first, last) = (TOKEN_EXPIRATION.start(), TOKEN_EXPIRATION.end());
        reader.report(node.at, path, format!("must be a whole number of seconds from {first} to {last}"));
    }
    seconds
}

/// Reads the block of kube2iam or of kiam.
pub(super) fn pod(node: &Node<'_>, path: Path<'_>, reader: &mut Reader<'_>) -> PodOptions {
    let mut options = PodOptions::default();
    let Some(fields) = reader.fields(node, path, Allowed::Only(&POD_KEYS)) else {
        return options;
    };
    let mut take = |key: &str, extra: &str, length: std::ops::RangeInclusive<usize>| {
        let value = fields.get(key)?;
        let path = path.key(key);
        let text = reader.text(value, path)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || SESSION_SIGNS.contains(c) || extra.contains(c);
        if length.contains(&text.len()) && text.chars().all(fits) {
            return Some(text.into());
        }
        let (least, most) = (length.start(), length.end());
        let message =
            format!("must be {least} to {most} letters, digits or characters of {SESSION_SIGNS}{extra}");
        reader.report(value.at, path, message);
        None
    };
    options.external_id = take("externalId", EXTERNAL_ID_SIGNS, EXTERNAL_ID);
    options.session_name = take("sessionName", "", SESSION_NAME);
    options
}

impl IrsaOptions {
    /// Returns these options, with the `defaults` for those that are not set.
    pub(super) fn or(self, defaults: &Self) -> Self {
        Self {
            audience: self.audience.or_else(|| defaults.audience.clone()),
            sts_regional_endpoints: self.sts_regional_endpoints.or(defaults.sts_regional_endpoints),
            token_expiration: self.token_expiration.or(defaults.token_expiration),
            annotate_pods: self.annotate_pods.or(defaults.annotate_pods),
            skip_containers: self.skip_containers.or_else(|| defaults.skip_containers.clone()),
        }
    }
}

impl PodOptions {
    /// Returns these options, with the `defaults` for those that are not set.
    pub(super) fn or(self, defaults: &Self) -> Self {
        Self {
            external_id: self.external_id.or_else(|| defaults.external_id.clone()),
            session_name: self.session_name.or_else(|| defaults.session_name.clone()),
        }
    }
}
