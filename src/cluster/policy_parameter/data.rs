//! What stands in the policy's parameter, and is it what is to stand there?
//!
//! Of what stands there only a digest is kept: the text has up to a mebibyte.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::cluster::NamespacedName;
use crate::engine::policy;
use crate::engine::rules::ruleset::Ruleset;
use crate::memory::Lease;

/// The format of a parameter with which every policy does nothing.
const NOTHING: &str = "none";

/// So many of the rules that are left out are named in the log.
const NAMED: usize = 10;

/// Tells two parameters apart. It is keyed by chance, so that nobody can make another one that has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u64);

/// Makes the digests of this process.
#[derive(Clone, Default)]
pub(super) struct Digests(RandomState);

impl Digests {
    fn of<'t>(&self, data: impl Iterator<Item = (&'t str, &'t str)>) -> Digest {
        data.fold(Digest(0), |digest, (key, value)| self.with(digest, key, value))
    }

    /// Adds a key with its value, in any order.
    fn with(&self, digest: Digest, key: &str, value: &str) -> Digest {
        Digest(digest.0.wrapping_add(self.0.hash_one((key, value))))
    }

    /// Reads a ConfigMap, of which one value is held at a time.
    pub(super) fn of_object(&self, object: &RawValue) -> serde_json::Result<Digest> {
        let found: Found<'_> = serde_json::from_str(object.get())?;
        let Some(data) = found.data else { return Ok(Digest(0)) };
        serde_json::Deserializer::from_str(data.get()).deserialize_map(Entries(self))
    }
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

struct Entries<'d>(&'d Digests);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of a ConfigMap")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Digest, A::Error> {
        let mut digest = Digest(0);
        while let Some((key, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
            digest = self.0.with(digest, &key.0, &value.0);
        }
        Ok(digest)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A parameter that was made of a mapping.
pub(super) struct Made {
    data: BTreeMap<String, String>,
    pub(super) digest: Digest,
    /// How many rules it does not have.
    pub(super) left_out: usize,
    said: Said,
    room: Lease,
}

/// What the log says of it.
enum Said {
    Nothing,
    LeftOut(String),
    DoesNothing(String),
}

impl Made {
    /// Makes the parameter of these rules.
    pub(super) fn of(ruleset: &Ruleset, digests: &Digests, room: Lease) -> Self {
        let (data, left_out, said) = match policy::parameter(ruleset) {
            Ok(parameter) => {
                let count = parameter.left_out.len();
                let said = if count == 0 {
                    Said::Nothing
                } else {
                    let named = parameter.left_out.iter().take(NAMED);
                    let mut named: Vec<String> = named
                        .map(|rule| format!("{} (line {}): {}", rule.rule, rule.at.line, rule.why))
                        .collect();
                    if count > NAMED {
                        named.push(format!("and {} more", count - NAMED));
                    }
                    Said::LeftOut(named.join("; "))
                };
                (parameter.data, count, said)
            }
            // Whatever stands there may give what this mapping does not: nothing is to be given.
            Err(why) => {
                let data = [("format", NOTHING), ("why", &why.to_string())];
                let data = data.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
                (data, ruleset.rules().len(), Said::DoesNothing(why.to_string()))
            }
        };
        let digest = digests.of(data.iter().map(|(key, value)| (&**key, &**value)));
        Self { data, digest, left_out, said, room }
    }

    /// Tells what the policy does not do.
    pub(super) fn log(&self, config_map: &NamespacedName) {
        match &self.said {
            Said::Nothing => {}
            Said::LeftOut(rules) => tracing::warn!(
                %config_map,
                left_out = self.left_out,
                "the policy does not have every rule, and does nothing where one of these may decide: {rules}"
            ),
            Said::DoesNothing(why) => tracing::error!(
                %config_map,
                left_out = self.left_out,
                "no parameter can be made of the mapping in force, so that the policy does nothing: {why}"
            ),
        }
    }

    /// The JSON Patch that puts it over this version of the ConfigMap, with the room that it takes.
    pub(super) fn into_patch(self, version: &str) -> serde_json::Result<(Vec<u8>, Lease)> {
        // The API server answers 409 where the version that was seen is not the newest any more.
        let patch = (
            Operation { op: "replace", path: "/metadata/resourceVersion", value: version },
            Operation { op: "add", path: "/data", value: &self.data },
        );
        let body = serde_json::to_vec(&patch)?;
        let Self { data, mut room, .. } = self;
        drop(data);
        room.shrink_to(body.capacity());
        Ok((body, room))
    }
}

#[derive(Serialize)]
struct Operation<T> {
    op: &'static str,
    path: &'static str,
    value: T,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::policy_parameter::ROOM;
    use crate::engine::mapping::compile;
    use crate::engine::rules::operator_policy::OperatorPolicy;
    use crate::memory::Pool;

    fn object(data: &serde_json::Value) -> Box<RawValue> {
        let object = json!({"metadata": {"resourceVersion": "7"}, "data": data});
        RawValue::from_string(object.to_string()).unwrap()
    }

    #[tokio::test]
    async fn what_was_written_is_known_again_and_anything_else_is_not() {
        let digests = Digests::default();
        let text = "account: \"123456789012\"\nrules: [{match: {component: registry}, role: one}]\n";
        let ruleset = compile(text, &OperatorPolicy::default()).unwrap();
        let made = Made::of(&ruleset, &digests, Pool::new(ROOM).take(ROOM).await);
        let (digest, data) = (made.digest, json!(made.data));
        let of = |data: &serde_json::Value| digests.of_object(&object(data)).unwrap();
        assert_eq!(of(&data), digest);
        let (patch, _room) = made.into_patch("7").unwrap();
        let patch: serde_json::Value = serde_json::from_slice(&patch).unwrap();
        let version = json!({"op": "replace", "path": "/metadata/resourceVersion", "value": "7"});
        assert_eq!(patch, json!([version, {"op": "add", "path": "/data", "value": data}]));

        let reversed: serde_json::Map<_, _> = data.as_object().unwrap().clone().into_iter().rev().collect();
        assert_eq!(of(&reversed.into()), digest, "in another order it is the same");
        let mut more = data.clone();
        more["other"] = "".into();
        let mut without = data.clone();
        without.as_object_mut().unwrap().shift_remove("format");
        let mut swapped = data.clone();
        swapped["format"] = "other".into();
        for other in [json!(null), json!({}), more, without, swapped] {
            assert_ne!(of(&other), digest, "{other}");
        }
        assert_ne!(of(&json!({"a": "bc"})), of(&json!({"ab": "c"})));
        assert_ne!(Digests::default().of_object(&object(&data)).unwrap(), digest, "the key is one's own");
    }
}
