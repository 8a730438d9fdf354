//! How do edits of annotations become a JSON Patch (RFC 6902)?

use super::outcome::Edit;
use crate::engine::json::{write_text, write_texts};
use crate::engine::object::subject::{Pair, value_of};

/// Writes a patch that adds, replaces and removes single annotations, and touches nothing else. It is empty
/// where nothing changes.
///
/// `annotations` are those of the object. Where it is `None` the object has no map of annotations, and the
/// patch adds one.
///
/// # Errors
/// Returns an error where it cannot be written as JSON, which does not happen.
pub fn patch(edits: &[Edit<'_>], annotations: Option<&[Pair<'_>]>) -> serde_json::Result<Vec<u8>> {
    let length = |edit: &Edit<'_>| edit.key.len() + edit.value.as_ref().map_or(0, |value| value.len());
    let mut json = Vec::with_capacity(edits.iter().map(|edit| length(edit) + 64).sum());
    let Some(present) = annotations else {
        let mut values = edits.iter().filter_map(|edit| Some((edit.key, edit.value.as_deref()?))).peekable();
        if values.peek().is_some() {
            json.extend_from_slice(br#"[{"op":"add","path":"/metadata/annotations","value":"#);
            write_texts(&mut json, values)?;
            json.extend_from_slice(b"}]");
        }
        return Ok(json);
    };
    for Edit { key, value } in edits {
        let operation = match (value, value_of(present, key).is_some()) {
            (Some(_), true) => "replace",
            (Some(_), false) => "add",
            (None, true) => "remove",
            (None, false) => continue,
        };
        json.extend_from_slice(if json.is_empty() { br#"[{"op":""# } else { br#",{"op":""# });
        json.extend_from_slice(operation.as_bytes());
        json.extend_from_slice(br#"","path":"/metadata/annotations/"#);
        write_token(&mut json, key);
        json.push(b'"');
        if let Some(value) = value {
            json.extend_from_slice(br#","value":"#);
            write_text(&mut json, value)?;
        }
        json.push(b'}');
    }
    if !json.is_empty() {
        json.push(b']');
    }
    Ok(json)
}

/// Writes the key of an annotation as a part of a JSON Pointer (RFC 6901). No such key has anything else to
/// be escaped.
fn write_token(json: &mut Vec<u8>, key: &str) {
    for byte in key.bytes() {
        match byte {
            b'~' => json.extend_from_slice(b"~0"),
            b'/' => json.extend_from_slice(b"~1"),
            _ => json.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn edit(key: &'static str, value: Option<&'static str>) -> Edit<'static> {
        Edit { key, value: value.map(Cow::Borrowed) }
    }

    #[test]
    fn single_keys_are_added_replaced_and_removed() {
        let present = [("b/x".into(), "1".into()), ("c~d".into(), "2".into())];
        let edits = [edit("a/x", Some("0")), edit("b/x", Some("3")), edit("c~d", None), edit("gone", None)];
        assert_eq!(
            String::from_utf8(patch(&edits, Some(&present)).unwrap()).unwrap(),
            r#"[{"op":"add","path":"/metadata/annotations/a~1x","value":"0"},{"op":"replace","path":"/metadata/annotations/b~1x","value":"3"},{"op":"remove","path":"/metadata/annotations/c~0d"}]"#
        );
    }

    #[test]
    fn a_missing_map_is_made_with_what_goes_into_it() {
        let edits = [edit("a/x", Some("0")), edit("gone", None)];
        assert_eq!(
            String::from_utf8(patch(&edits, None).unwrap()).unwrap(),
            r#"[{"op":"add","path":"/metadata/annotations","value":{"a/x":"0"}}]"#
        );
        for annotations in [None, Some([].as_slice())] {
            assert!(patch(&[edit("gone", None)], annotations).unwrap().is_empty());
        }
    }
}
