//! How are the two ConfigMaps written? So that nothing of somebody else's, and nothing newer, is ever overwritten.
//!
//! What exists is written over the version that was seen, by compare-and-swap. What does not exist is created by a server-side apply
//! without force, in the name of a manager that nothing has been written by yet: it conflicts with whatever somebody created
//! meanwhile, ourselves in another replica among them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::{Request, Resource};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cluster::failure::Failure;
use crate::cluster::read::{ApiServer, Versioned};
use crate::cluster::{MANAGER, NamespacedName, in_our_name};

/// What a new user finds in the ConfigMap.
pub(super) const STARTER: &str = include_str!("../starter-mapping.yaml");

/// The mapping's ConfigMap and the one beside it.
pub(super) struct ConfigMaps {
    api: ApiServer,
    place: NamespacedName,
    last_good: String,
}

/// A ConfigMap as it was read.
pub(super) struct Found {
    pub(super) version: String,
    /// The mapping, where it has the key.
    pub(super) text: Option<String>,
}

/// What came of keeping a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Done,
    /// There is another mapping by now; the watch shows it.
    Overtaken,
}

#[derive(Deserialize, Serialize)]
struct Data<'a> {
    /// [`crate::engine::mapping::CONFIG_MAP_KEY`]
    #[serde(borrow, rename = "mapping.yaml")]
    mapping: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
}

/// Reads a ConfigMap.
pub(super) fn read(config_map: &RawValue) -> serde_json::Result<Found> {
    let seen: Seen<'_> = serde_json::from_str(config_map.get())?;
    let versioned: Versioned<'_> = serde_json::from_str(config_map.get())?;
    let text = seen.data.and_then(|data| data.mapping).map(|text| serde_json::from_str(text.get()));
    Ok(Found { version: versioned.version().to_owned(), text: text.transpose()? })
}

impl ConfigMaps {
    pub(super) fn new(api: ApiServer, place: NamespacedName) -> Self {
        let last_good = format!("{}-last-good", place.name);
        Self { api, place, last_good }
    }

    /// The name of the one with the last good mapping.
    pub(super) fn last_good(&self) -> &str {
        &self.last_good
    }

    /// Reads the last good mapping; none where it is not there.
    pub(super) async fn read_last_good(&self) -> Result<Option<Found>, Failure> {
        let request = self.request().get(&self.last_good, &GetParams::default());
        let held = self.api.object_or_none(request).await?;
        held.map(|held| read(held.json()?).map_err(Failure::Json)).transpose()
    }

    /// Keeps the mapping, while it is of this version, for a start beside one that broke meanwhile. Every replica does.
    pub(super) async fn keep(&self, version: &str) -> Result<Kept, Failure> {
        // In this order: what is written over the version seen here was not newer than the mapping that is read after it.
        let last_good = self.version(&self.last_good).await?;
        let mapping = self.request().get(&self.place.name, &GetParams::default());
        let Some(held) = self.api.object_or_none(mapping).await? else { return Ok(Kept::Overtaken) };
        let seen: Seen<'_> = held.json()?;
        let text = seen.data.and_then(|data| data.mapping);
        if held.json::<Versioned<'_>>()?.version() != version || text.is_none() {
            return Ok(Kept::Overtaken);
        }
        // The starter says nothing, and may stand where somebody's mapping was deleted.
        if last_good.is_some() && text.is_some_and(is_starter) {
            return Ok(Kept::Done);
        }
        self.write(&self.last_good, last_good.as_deref(), text).await?;
        Ok(Kept::Done)
    }

    /// Creates the mapping to start from, where there is none: whether there was none.
    pub(super) async fn create_starter(&self) -> Result<bool, Failure> {
        if self.version(&self.place.name).await?.is_some() {
            return Ok(false);
        }
        let text = RawValue::from_string(serde_json::to_string(STARTER).map_err(Failure::Json)?);
        match self.write(&self.place.name, None, Some(&*text.map_err(Failure::Json)?)).await {
            Ok(()) => Ok(true),
            Err(Failure::Conflict) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn request(&self) -> Request {
        Request::new(ConfigMap::url_path(&(), Some(&self.place.namespace)))
    }

    async fn version(&self, name: &str) -> Result<Option<String>, Failure> {
        let held = self.api.object_or_none(self.request().get_metadata(name, &GetParams::default())).await?;
        held.map(|held| Ok(held.json::<Versioned<'_>>()?.version().to_owned())).transpose()
    }

    async fn write(&self, name: &str, over: Option<&str>, text: Option<&RawValue>) -> Result<(), Failure> {
        let written = Written {
            api_version: "v1",
            kind: "ConfigMap",
            metadata: Metadata { name, resource_version: over },
            data: Data { mapping: text },
        };
        let request = match over {
            Some(_) => self.request().patch_metadata(name, &in_our_name(), &Patch::Merge(&written)),
            None => {
                let manager = format!("{MANAGER}-{:08x}", fastrand::u32(..));
                self.request().patch_metadata(name, &PatchParams::apply(&manager), &Patch::Apply(&written))
            }
        };
        self.api.tell(request).await
    }
}

fn is_starter(text: &RawValue) -> bool {
    // Longer by its escapes, and each of them has at most 6 bytes.
    text.get().len() <= 6 * STARTER.len() + 2
        && serde_json::from_str::<String>(text.get()).is_ok_and(|text| text == STARTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mapping::CONFIG_MAP_KEY;
    use crate::engine::rules::operator_policy::OperatorPolicy;

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

    #[test]
    fn a_mapping_is_read_under_its_key_whatever_else_is_there() {
        let read = |data: serde_json::Value| {
            let object = serde_json::json!({"metadata": {"resourceVersion": "7"}, "data": data}).to_string();
            let found = read(&RawValue::from_string(object).unwrap()).unwrap();
            assert_eq!(found.version, "7");
            found.text
        };
        assert_eq!(
            read(serde_json::json!({"other": "x", CONFIG_MAP_KEY: "a: \"b\"\n"})).as_deref(),
            Some("a: \"b\"\n")
        );
        assert_eq!(read(serde_json::json!({"other": "x"})), None);
        assert_eq!(read(serde_json::Value::Null), None);
    }
}
