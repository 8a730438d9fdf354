//! How are the mapping's two ConfigMaps read and written? So that nothing of somebody else's, and nothing
//! newer, is ever overwritten.
//!
//! What exists is written over the version that was seen, by compare-and-swap. What does not exist is created
//! by a server-side apply without force, in the name of a manager that nothing has been written by yet: it
//! conflicts with whatever somebody created meanwhile, another replica of ours among them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::{Request, Resource};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::last_good::{Keep, Newest, STARTER, keep};
use crate::cluster::failure::Failure;
use crate::cluster::read::{ApiServer, Versioned};
use crate::cluster::{MANAGER, NamespacedName, in_our_name};
use crate::engine::admission::validate::LAST_GOOD_SUFFIX;

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

/// What became of keeping a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is kept, or what is kept already stays.
    Done,
    /// There is another mapping by now, and the watch will tell it.
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

/// Reads a ConfigMap that holds a mapping.
pub(super) fn read(config_map: &RawValue) -> serde_json::Result<Found> {
    let seen: Seen<'_> = serde_json::from_str(config_map.get())?;
    let versioned: Versioned<'_> = serde_json::from_str(config_map.get())?;
    let text = seen.data.and_then(|data| data.mapping).map(|text| serde_json::from_str(text.get()));
    Ok(Found { version: versioned.version().to_owned(), text: text.transpose()? })
}

impl ConfigMaps {
    pub(super) fn new(api: ApiServer, place: NamespacedName) -> Self {
        let last_good = format!("{}{LAST_GOOD_SUFFIX}", place.name);
        Self { api, place, last_good }
    }

    /// The name of the ConfigMap with the last good mapping.
    pub(super) fn last_good(&self) -> &str {
        &self.last_good
    }

    /// Reads the last good mapping. There is none where its ConfigMap is not there.
    pub(super) async fn read_last_good(&self) -> Result<Option<Found>, Failure> {
        let request = self.request().get(&self.last_good, &GetParams::default());
        let held = self.api.object_or_none(request).await?;
        held.map(|held| read(held.json()?).map_err(Failure::json)).transpose()
    }

    /// Keeps the mapping as the last good one, while it is of this version. Every replica does.
    pub(super) async fn keep(&self, in_force: &str) -> Result<Kept, Failure> {
        // In this order: the last good one in the version seen here is no newer than the mapping that is read
        // after it.
        let last_good = self.version(&self.last_good).await?;
        let mapping = self.request().get(&self.place.name, &GetParams::default());
        let Some(held) = self.api.object_or_none(mapping).await? else { return Ok(Kept::Overtaken) };
        let (seen, versioned): (Seen<'_>, Versioned<'_>) = (held.json()?, held.json()?);
        let text = seen.data.and_then(|data| data.mapping);
        match keep(in_force, last_good.as_deref(), Newest { version: versioned.version(), text }) {
            Keep::Write { over, text } => {
                self.write(&self.last_good, over, Some(text)).await?;
                Ok(Kept::Done)
            }
            Keep::Leave => Ok(Kept::Done),
            Keep::Overtaken => Ok(Kept::Overtaken),
        }
    }

    /// Creates the mapping to start from, where there is none. Returns whether there was none.
    pub(super) async fn create_starter(&self) -> Result<bool, Failure> {
        if self.version(&self.place.name).await?.is_some() {
            return Ok(false);
        }
        let text = RawValue::from_string(serde_json::to_string(STARTER).map_err(Failure::json)?);
        match self.write(&self.place.name, None, Some(&*text.map_err(Failure::json)?)).await {
            Ok(()) => Ok(true),
            Err(Failure::Conflict) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn request(&self) -> Request {
        Request::new(ConfigMap::url_path(&(), Some(&self.place.namespace)))
    }

    /// The version of a ConfigMap; none where it is not there.
    async fn version(&self, name: &str) -> Result<Option<String>, Failure> {
        let held = self.api.object_or_none(self.request().get_metadata(name, &GetParams::default())).await?;
        held.map(|held| Ok(held.json::<Versioned<'_>>()?.version().to_owned())).transpose()
    }

    /// Writes a text over this version, or creates a ConfigMap that holds it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mapping::CONFIG_MAP_KEY;

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
