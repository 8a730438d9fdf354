//! How do edits of annotations become a JSON Patch (RFC 6902)?

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::Value;

use super::outcome::Edit;
use crate::engine::object::subject::{Pair, value_of};

/// Makes a patch that adds, replaces and removes single annotations, and touches nothing else.
///
/// `annotations` are those of the object. Where it is `None` the object has no map of annotations, and the
/// patch adds one.
#[must_use]
pub fn patch(edits: &[Edit<'_>], annotations: Option<&[Pair<'_>]>) -> Patch {
    let Some(present) = annotations else {
        let map: serde_json::Map<String, Value> = edits
            .iter()
            .filter_map(|edit| Some((edit.key.to_owned(), Value::String(edit.value.as_deref()?.to_owned()))))
            .collect();
        if map.is_empty() {
            return Patch::default();
        }
        let path = PointerBuf::from_tokens(["metadata", "annotations"]);
        return Patch(vec![PatchOperation::Add(AddOperation { path, value: Value::Object(map) })]);
    };
    let operations = edits.iter().filter_map(|edit| {
        let path = PointerBuf::from_tokens(["metadata", "annotations", edit.key]);
        let is_there = value_of(present, edit.key).is_some();
        match (&edit.value, is_there) {
            (Some(value), true) => {
                let value = Value::String(value.clone().into_owned());
                Some(PatchOperation::Replace(ReplaceOperation { path, value }))
            }
            (Some(value), false) => {
                let value = Value::String(value.clone().into_owned());
                Some(PatchOperation::Add(AddOperation { path, value }))
            }
            (None, true) => Some(PatchOperation::Remove(RemoveOperation { path })),
            (None, false) => None,
        }
    });
    Patch(operations.collect())
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
            serde_json::to_string(&patch(&edits, Some(&present))).unwrap(),
            r#"[{"op":"add","path":"/metadata/annotations/a~1x","value":"0"},{"op":"replace","path":"/metadata/annotations/b~1x","value":"3"},{"op":"remove","path":"/metadata/annotations/c~0d"}]"#
        );
    }

    #[test]
    fn a_missing_map_is_made_with_what_goes_into_it() {
        let edits = [edit("a/x", Some("0")), edit("gone", None)];
        assert_eq!(
            serde_json::to_string(&patch(&edits, None)).unwrap(),
            r#"[{"op":"add","path":"/metadata/annotations","value":{"a/x":"0"}}]"#
        );
        assert!(patch(&[edit("gone", None)], None).0.is_empty());
    }
}
