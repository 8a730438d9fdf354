//! Which texts does Kubernetes take as names?
//!
//! The two forms are described in <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.

/// Whether a container or a namespace may have this name: a label of RFC 1123.
pub(super) fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether a ServiceAccount may have this name: a subdomain of RFC 1123.
pub(super) fn is_dns_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}
