//! What is to be kept as the last good mapping?
//!
//! It is kept for a replica that starts while the mapping is broken or gone. Everything here is pure: all
//! that was read is given.

use serde_json::value::RawValue;

/// What a new user finds in the ConfigMap.
pub(super) const STARTER: &str = include_str!("../starter-mapping.yaml");

/// The mapping as it was read just now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest<'a> {
    pub(super) version: &'a str,
    /// Its text in JSON, where it has the key.
    pub(super) text: Option<&'a RawValue>,
}

/// What to do to keep a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep<'a> {
    /// Write this text over this version of what is kept, or create it where nothing is.
    Write { over: Option<&'a str>, text: &'a RawValue },
    /// What is kept stays.
    Leave,
    /// The mapping is another one by now. Nothing says that this one is good, so it is not kept.
    Overtaken,
}

/// How to keep the mapping that came into force with the version `in_force`. What is kept now was seen in the
/// version `last_good`, before the mapping was read: then a newer text that is written meanwhile makes a
/// conflict, and is never overwritten by an older one.
pub(super) fn keep<'a>(in_force: &str, last_good: Option<&'a str>, mapping: Newest<'a>) -> Keep<'a> {
    match mapping.text.filter(|_| mapping.version == in_force) {
        None => Keep::Overtaken,
        // The starter says nothing, and may stand where somebody's mapping was deleted.
        Some(text) if last_good.is_some() && is_starter(text) => Keep::Leave,
        Some(text) => Keep::Write { over: last_good, text },
    }
}

fn is_starter(text: &RawValue) -> bool {
    // In JSON it is longer by its escapes, and each of them has at most 6 bytes.
    text.get().len() <= 6 * STARTER.len() + 2
        && serde_json::from_str::<String>(text.get()).is_ok_and(|text| text == STARTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rules::operator_policy::OperatorPolicy;

    #[test]
    fn a_mapping_is_kept_over_what_was_seen_while_it_is_the_newest_and_the_starter_over_nothing() {
        let escaped: String = STARTER.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
        let escaped = format!("\"{escaped}\"");
        let starter = serde_json::to_string(STARTER).unwrap();
        let own = "\"rules: []\\n\"";
        let more = serde_json::to_string(&format!("{STARTER}#\n")).unwrap();
        for (what, last_good, version, text, expected) in [
            ("nothing is kept", None, "4", Some(own), "created"),
            ("another one is kept", Some("3"), "4", Some(own), "over 3"),
            ("a newer one is kept, and the mapping is newer too", Some("6"), "5", Some(own), "overtaken"),
            ("the mapping is another one", Some("3"), "5", Some(own), "overtaken"),
            ("the mapping has no key any more", Some("3"), "4", None, "overtaken"),
            ("the starter, and nothing is kept", None, "4", Some(&*starter), "created"),
            ("the starter, and something is kept", Some("3"), "4", Some(&*starter), "left"),
            ("the starter in other words of JSON", Some("3"), "4", Some(&*escaped), "left"),
            ("the starter with one line more", Some("3"), "4", Some(&*more), "over 3"),
        ] {
            let text: Option<&RawValue> = text.map(|text| serde_json::from_str(text).unwrap());
            let done = match keep("4", last_good, Newest { version, text }) {
                Keep::Write { over: None, .. } => "created".to_owned(),
                Keep::Write { over: Some(over), .. } => format!("over {over}"),
                Keep::Leave => "left".to_owned(),
                Keep::Overtaken => "overtaken".to_owned(),
            };
            assert_eq!(done, expected, "{what}");
        }
    }

    #[test]
    fn the_starter_is_a_good_mapping_and_so_is_what_it_teaches() {
        let compile =
            |text: &str| crate::engine::mapping::compile(text, &OperatorPolicy::default()).map(|_| ());
        assert_eq!(compile(STARTER), Ok(()));
        let taught: String = STARTER
            .lines()
            .skip_while(|line| !line.starts_with("# account:"))
            .take_while(|line| !line.starts_with("# GitLab's"))
            .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or_default()))
            .collect();
        assert!(taught.contains("- match:"), "{taught}");
        assert_eq!(compile(&taught), Ok(()));
    }
}
