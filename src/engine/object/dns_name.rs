//! Which texts does Kubernetes take as names?
//!
//! The two forms are described in <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.

/// Whether a container or a namespace may have this name: a label of RFC 1123.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether a ServiceAccount or a workload may have this name: a subdomain of RFC 1123.
#[must_use]
pub fn is_dns_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_63_characters_and_a_name_is_made_of_labels() {
        let long = "a".repeat(63);
        for (name, is_label, is_name) in [
            ("a", true, true),
            ("7", true, true),
            ("a-7", true, true),
            (&*long, true, true),
            (&format!("{long}a"), false, false),
            ("", false, false),
            ("A", false, false),
            ("a_b", false, false),
            ("é", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a.b-7", false, true),
            ("a.", false, false),
            (".a", false, false),
            ("a.-b", false, false),
            (&format!("{long}.{long}.{long}.{}", "a".repeat(61)), false, true),
            (&format!("{long}.{long}.{long}.{}", "a".repeat(62)), false, false),
        ] {
            assert_eq!((is_dns_label(name), is_dns_name(name)), (is_label, is_name), "{name}");
        }
    }
}
