//! Is a document the same as another one, but for the annotations of its objects?

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::engine::object::manifest::{self, ManifestError};
use crate::engine::object::subject::Pair;
use crate::engine::yaml::{Node, ScalarKind, Value};

/// The annotations of each object of a document, in the order of the document.
type Annotations<'e, 't> = [Option<Vec<Pair<'t>>>];

/// The nodes that hold the `metadata` of objects, and the place of each object in the document.
type Holders<'t> = HashMap<*const Node<'t>, usize>;

/// Returns a number that two documents have in common where they say the same. What is spelled differently,
/// or shared by an anchor in one of them, may still say the same. `annotations` take the place of those that
/// the objects carry.
pub(super) fn fingerprint<'t>(document: &Node<'t>, annotations: &Annotations<'_, 't>) -> u64 {
    let mut holders = Holders::new();
    // A document that cannot be read has been refused before, or is not the same.
    let _ = manifest::each(document, &mut |_, holder| {
        holders.insert(std::ptr::from_ref(holder), holders.len());
        Ok::<_, ManifestError>(())
    });
    let mut hasher = DefaultHasher::new();
    add(document, &holders, annotations, &mut hasher);
    hasher.finish()
}

fn add<'t>(
    node: &Node<'t>,
    holders: &Holders<'t>,
    annotations: &Annotations<'_, 't>,
    hasher: &mut DefaultHasher,
) {
    match &node.value {
        Value::Scalar(scalar) => add_scalar(&scalar.text, scalar.kind, hasher),
        Value::Sequence(items) => {
            (1_u8, items.len()).hash(hasher);
            for item in items {
                add(item, holders, annotations, hasher);
            }
        }
        Value::Mapping(entries) => match holders.get(&std::ptr::from_ref(node)) {
            Some(index) => {
                let own = pairs(node);
                let given = annotations.get(*index).and_then(Option::as_ref);
                let all: BTreeMap<&str, &str> = match given {
                    Some(given) => given.iter().map(|(key, value)| (&**key, &**value)).collect(),
                    None => own,
                };
                (2_u8, all).hash(hasher);
                let metadata = node.get("metadata").and_then(Node::as_mapping).unwrap_or_default();
                for (key, value) in without(metadata, "annotations").chain(without(entries, "metadata")) {
                    add(key, holders, annotations, hasher);
                    add(value, holders, annotations, hasher);
                }
            }
            None => {
                (3_u8, entries.len()).hash(hasher);
                for (key, value) in entries {
                    add(key, holders, annotations, hasher);
                    add(value, holders, annotations, hasher);
                }
            }
        },
    }
}

fn add_scalar(text: &str, kind: ScalarKind, hasher: &mut DefaultHasher) {
    let kind = match kind {
        ScalarKind::Text => 0_u8,
        ScalarKind::Number => 1,
        ScalarKind::Boolean(_) => 2,
        ScalarKind::Null => 3,
    };
    // All words for null are the same.
    (4_u8, kind, if kind == 3 { "" } else { text }).hash(hasher);
}

fn without<'n, 't>(
    entries: &'n [(Node<'t>, Node<'t>)],
    key: &'n str,
) -> impl Iterator<Item = &'n (Node<'t>, Node<'t>)> {
    entries.iter().filter(move |(name, _)| name.as_text() != Some(key))
}

/// Returns the annotations that an object carries. Where a key stands twice the last one counts, and null is
/// as if the key were absent.
fn pairs<'n>(holder: &'n Node<'_>) -> BTreeMap<&'n str, &'n str> {
    let entries = holder.at_path(&["metadata", "annotations"]).and_then(Node::as_mapping).unwrap_or_default();
    let pair = |(key, value): &'n (Node<'_>, Node<'_>)| {
        let key = key.as_scalar()?;
        (!value.is_null()).then(|| Some((&*key.text, &*value.as_scalar()?.text)))?
    };
    entries.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::engine::yaml;

    fn of(text: &str, annotations: &Annotations<'_, 'static>) -> u64 {
        fingerprint(&yaml::read(text).unwrap()[0], annotations)
    }

    #[test]
    fn what_says_the_same_has_the_same_fingerprint() {
        let plain = of("kind: Pod\nmetadata:\n  name: a\n  annotations: {x: '1'}\n", &[]);
        for same in [
            "{\"kind\": \"Pod\", \"metadata\": {\"annotations\": {\"x\": \"1\"}, \"name\": \"a\"}}",
            "kind: Pod\nmetadata:\n  annotations:\n    \"x\": \"1\" # one\n  name: 'a'\n",
        ] {
            assert_eq!(of(same, &[]), plain, "{same}");
        }
        for other in [
            "kind: Pod\nmetadata:\n  name: b\n  annotations: {x: '1'}\n",
            "kind: Pod\nmetadata:\n  name: a\n  annotations: {x: '2'}\n",
            "kind: Pod\nmetadata:\n  name: a\n",
            "kind: Pod\nmetadata:\n  name: a\n  annotations: {x: '1'}\n  uid: ''\n",
            "kind: Pod\nmetadata:\n  name: a\n  annotations: {x: '1'}\nspec: null\n",
            "kind: Pad\nmetadata:\n  name: a\n  annotations: {x: '1'}\n",
        ] {
            assert_ne!(of(other, &[]), plain, "{other}");
        }
        let bare = "kind: Pod\nmetadata: {name: a}\n";
        let given = Some(vec![(Cow::Borrowed("x"), Cow::Borrowed("1"))]);
        assert_eq!(of(bare, &[given]), plain);
        // Annotations of what is no object of ours count as everything else does.
        assert_ne!(
            of("kind: Role\nmetadata: {annotations: {x: '1'}}\n", &[]),
            of("kind: Role\nmetadata: {annotations: {x: '2'}}\n", &[])
        );
    }
}
