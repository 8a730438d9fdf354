//! Which workload made this Pod?
//!
//! Kubernetes says so in `metadata.ownerReferences`. Whoever creates a Pod writes them, so that they say
//! something only where a workload controller created it.

use std::borrow::Cow;

use crate::engine::json::{JsonError, RawText, Reader};
use crate::engine::object::dns_name::is_dns_name;
use crate::engine::object::subject::MAX_NAME;

/// The workloads that make Pods, or that a controller of others may have made a Pod for. Other kinds are not
/// named to anybody: our own account may write Events on these only.
const WORKLOADS: [(&str, &str); 6] = [
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("v1", "ReplicationController"),
];

/// The longest uid that is read, in bytes. The API server makes 36.
const MAX_UID: usize = 64;

/// The workload that made a Pod. Its name and its uid have the form of names and of uids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its `apiVersion`.
    pub api_version: &'static str,
    /// Its `kind`.
    pub kind: &'static str,
    /// Its name. Its namespace is that of the Pod.
    pub name: Cow<'a, str>,
    /// Its uid.
    pub uid: Cow<'a, str>,
}

/// One element of `metadata.ownerReferences`.
#[derive(Default)]
struct Reference<'a> {
    api_version: Option<RawText<'a>>,
    kind: Option<RawText<'a>>,
    name: Option<RawText<'a>>,
    uid: Option<RawText<'a>>,
    is_controller: bool,
}

impl<'a> Owner<'a> {
    /// Reads a list of ownerReferences. Returns the controller, of which there is at most one, where it is a
    /// workload that is known here.
    ///
    /// # Errors
    /// Returns an error where it is no such list.
    pub(in crate::engine) fn read(mut reader: Reader<'a>) -> Result<Option<Self>, JsonError> {
        let mut controller = None;
        reader.list(|reader| {
            let mut reference = Reference::default();
            reader.object(|name, reader| {
                let place = match &*name.to_name()? {
                    b"apiVersion" => &mut reference.api_version,
                    b"kind" => &mut reference.kind,
                    b"name" => &mut reference.name,
                    b"uid" => &mut reference.uid,
                    b"controller" => {
                        reference.is_controller = reader.boolean()?.unwrap_or_default();
                        return Ok(());
                    }
                    _ => return Ok(()),
                };
                *place = reader.text()?;
                Ok::<_, JsonError>(())
            })?;
            if reference.is_controller {
                controller = Some(reference);
            }
            Ok::<_, JsonError>(())
        })?;
        controller.map_or(Ok(None), Reference::workload)
    }
}

impl<'a> Reference<'a> {
    fn workload(self) -> Result<Option<Owner<'a>>, JsonError> {
        let within = |text: Option<RawText<'a>>, most| {
            text.unwrap_or_default().within(most).map(Option::unwrap_or_default)
        };
        let [api_version, kind] = [within(self.api_version, MAX_NAME)?, within(self.kind, MAX_NAME)?];
        let [name, uid] = [within(self.name, MAX_NAME)?, within(self.uid, MAX_UID)?];
        let known = WORKLOADS.iter().find(|known| **known == (&*api_version, &*kind));
        let has_form = is_dns_name(&name)
            && !uid.is_empty()
            && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        Ok(known.filter(|_| has_form).map(|(api_version, kind)| Owner { api_version, kind, name, uid }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(references: &str) -> Result<Option<String>, String> {
        let owner = Owner::read(Reader::new(references.as_bytes())).map_err(|error| error.to_string())?;
        Ok(owner.map(|Owner { api_version, kind, name, uid }| format!("{api_version} {kind} {name} {uid}")))
    }

    fn reference(api_version: &str, kind: &str, name: &str, uid: &str) -> String {
        format!(
            r#"[{{"apiVersion": "{api_version}", "kind": "{kind}", "name": "{name}", "uid": "{uid}",
                "controller": true, "blockOwnerDeletion": true}}]"#
        )
    }

    #[test]
    fn the_owner_is_the_controller_where_it_is_a_workload() {
        for (api_version, kind) in WORKLOADS {
            let want = format!("{api_version} {kind} web-1 u-1");
            assert_eq!(owner(&reference(api_version, kind, "web-1", "u-1")), Ok(Some(want)));
        }
        for (api_version, kind) in
            [("apps/v1", "Deployment"), ("v1", "ReplicaSet"), ("argoproj.io/v1alpha1", "Rollout"), ("", "")]
        {
            assert_eq!(owner(&reference(api_version, kind, "web-1", "u-1")), Ok(None), "{kind}");
        }
        let beside = r#"{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}"#;
        let two = reference("batch/v1", "Job", "backup", "u-2").replacen('[', &format!("[{beside},"), 1);
        assert_eq!(owner(&two), Ok(Some("batch/v1 Job backup u-2".to_owned())));
        let not_controlled = reference("batch/v1", "Job", "backup", "u-2").replace("true", "false");
        for none in ["[]", "null", "[{}]", "[null]", &*not_controlled, r#"[{"controller": true}]"#] {
            assert_eq!(owner(none), Ok(None), "{none}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_name_or_a_uid_is_no_owner() {
        let long = "a".repeat(254);
        for (name, uid) in [
            ("", "u"),
            ("web", ""),
            ("Web", "u"),
            ("../web", "u"),
            ("web..1", "u"),
            (r"web\n1", "u"),
            (r"web\u001b[2J", "u"),
            (&*long, "u"),
            ("web", "u u"),
            ("web", r"u\u0000"),
            ("web", &long),
        ] {
            assert_eq!(owner(&reference("apps/v1", "ReplicaSet", name, uid)), Ok(None), "{name} {uid}");
        }
        let longest =
            [["a"; 63].concat(), ["b"; 63].concat(), ["c"; 63].concat(), ["d"; 61].concat()].join(".");
        assert!(owner(&reference("apps/v1", "ReplicaSet", &longest, &"u".repeat(64))).unwrap().is_some());
    }

    #[test]
    fn what_is_no_list_of_references_is_an_error() {
        for (text, want) in [
            ("{}", "expected a list at byte 0"),
            ("[1]", "expected an object at byte 1"),
            (r#"[{"name": 1}]"#, "expected a text at byte 10"),
            (r#"[{"controller": "yes"}]"#, "expected true or false at byte 16"),
        ] {
            assert_eq!(owner(text), Err(want.to_owned()), "{text}");
        }
    }
}
