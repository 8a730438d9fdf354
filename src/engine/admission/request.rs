//! What does the API server ask?
//!
//! A request is read in place, for the rules of one mapping, and only what a decision by these rules could
//! read is kept.

use std::borrow::Cow;

use super::wire::{MAX_UID, ReviewError, shown};
use crate::engine::json::{JsonError, RawText, Reader};
use crate::engine::object::metadata::{Metadata, Pairs, once};
use crate::engine::object::subject::{Kind, MAX_NAME, Requester, Subject};
use crate::engine::rules::ruleset::Ruleset;

/// The longest username that is compared, in bytes. Those that rules and flags can name are shorter.
const MAX_USER: usize = 1024;

/// The members of a request that are read, sorted by length.
const MEMBERS: [&str; 9] =
    ["uid", "kind", "name", "dryRun", "object", "userInfo", "namespace", "operation", "subResource"];

/// The `request` of an AdmissionReview, as far as a decision by one mapping needs it.
#[derive(Debug)]
pub struct Request<'a> {
    pub(super) ruleset: &'a Ruleset,
    /// The uid, which is empty where it is longer than any that is answered.
    pub(super) uid: Cow<'a, str>,
    group: Cow<'a, str>,
    version: Cow<'a, str>,
    pub(super) kind: Cow<'a, str>,
    sub_resource: Cow<'a, str>,
    name: Cow<'a, str>,
    pub(super) namespace: Cow<'a, str>,
    pub(super) operation: Cow<'a, str>,
    /// The username, which is empty where it is longer than any that a rule can name.
    username: Cow<'a, str>,
    pub(super) dry_run: bool,
    pub(super) metadata: Option<Metadata<'a>>,
    /// The ServiceAccount that a Pod's `spec` names, which is empty where it names none.
    service_account: Cow<'a, str>,
    /// Which member holds a name that is longer than any in Kubernetes, where one does.
    overlong: Option<&'static str>,
}

/// Why a request leaves nothing to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undecidable<'r> {
    /// This name of the request is longer than any in Kubernetes.
    #[error("nothing is decided: {0} is longer than any name in Kubernetes")]
    Overlong(&'static str),
    /// The webhook configuration sends what this webhook does not act on.
    #[error(
        "{operation} of {kind}{slash}{sub_resource} is not for this webhook: mend the webhook configuration",
        slash = if sub_resource.is_empty() { "" } else { "/" }
    )]
    NotForUs { operation: &'r str, kind: &'r str, sub_resource: &'r str },
}

/// The names of an object.
pub(super) struct Names<'r> {
    /// The name for people. It is the generateName where the object has no name yet.
    pub(super) shown: Cow<'r, str>,
    /// The name that rules and trust policies speak of. It is empty where the API server is still to make
    /// one.
    given: Cow<'r, str>,
}

impl<'a> Request<'a> {
    fn new(ruleset: &'a Ruleset) -> Self {
        Self {
            ruleset,
            uid: Cow::default(),
            group: Cow::default(),
            version: Cow::default(),
            kind: Cow::default(),
            sub_resource: Cow::default(),
            name: Cow::default(),
            namespace: Cow::default(),
            operation: Cow::default(),
            username: Cow::default(),
            dry_run: false,
            metadata: None,
            service_account: Cow::default(),
            overlong: None,
        }
    }

    fn member(&mut self, name: &str, reader: &mut Reader<'a>) -> Result<(), ReviewError> {
        match name {
            "uid" => self.uid = reader.text()?.unwrap_or_default().within(MAX_UID)?.unwrap_or_default(),
            "subResource" => self.sub_resource = shown(reader.text()?)?,
            "operation" => self.operation = shown(reader.text()?)?,
            "name" => self.name = self.bounded("request.name", reader.text()?)?,
            "namespace" => self.namespace = self.bounded("request.namespace", reader.text()?)?,
            "dryRun" => self.dry_run = reader.boolean()?.unwrap_or_default(),
            "kind" => {
                reader.object(|name, reader| {
                    let place = match &*name.to_name()? {
                        b"group" => &mut self.group,
                        b"version" => &mut self.version,
                        b"kind" => &mut self.kind,
                        _ => return Ok(()),
                    };
                    *place = shown(reader.text()?)?;
                    Ok::<_, JsonError>(())
                })?;
            }
            "userInfo" => {
                reader.object(|name, reader| {
                    if *name.to_name()? == *b"username" {
                        let user = reader.text()?.unwrap_or_default();
                        self.username = user.within(MAX_USER)?.unwrap_or_default();
                    }
                    Ok::<_, JsonError>(())
                })?;
            }
            "object" => {
                reader.object(|name, reader| self.of_object(&name.to_name()?, reader))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn of_object(&mut self, name: &[u8], reader: &mut Reader<'a>) -> Result<(), ReviewError> {
        match name {
            b"metadata" => {
                once(&mut self.metadata, "metadata", Metadata::read(reader, self.ruleset.label_keys())?)?;
            }
            b"spec" => {
                reader.object(|name, reader| {
                    if *name.to_name()? == *b"serviceAccountName" {
                        self.service_account = self.bounded("spec.serviceAccountName", reader.text()?)?;
                    }
                    Ok::<_, JsonError>(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns a name. One that is longer than any in Kubernetes is noted, and empty.
    fn bounded(&mut self, what: &'static str, text: Option<RawText<'a>>) -> Result<Cow<'a, str>, JsonError> {
        let name = text.unwrap_or_default().within(MAX_NAME)?;
        if name.is_none() {
            self.overlong = Some(what);
        }
        Ok(name.unwrap_or_default())
    }

    /// Returns the most bytes that it can take to decide and to answer, beyond the body itself and some
    /// kilobytes.
    ///
    /// # Errors
    /// Returns an error where the object has more annotations than can be stored.
    pub fn weight(&self) -> Result<usize, ReviewError> {
        Ok(self.metadata.as_ref().map_or(Ok(0), Metadata::weight)?)
    }

    /// Gives the object to `see` as a decision sees it. Returns `None` where there is nothing to decide.
    ///
    /// # Errors
    /// Returns an error where the request holds bytes that are not UTF-8.
    pub fn with_subject<T>(&self, see: impl FnOnce(&Subject<'_>) -> T) -> Result<Option<T>, ReviewError> {
        let (Ok(kind), Some(metadata)) = (self.acts_on(), &self.metadata) else { return Ok(None) };
        let (names, pairs) = (self.names()?, metadata.pairs()?);
        Ok(Some(see(&self.subject(kind, &names, &pairs))))
    }

    /// Returns the kind to decide on, or why there is nothing to decide.
    pub(super) fn acts_on(&self) -> Result<Kind, Undecidable<'_>> {
        let Self { group, version, kind, sub_resource, operation, .. } = self;
        if let Some(what) = self.overlong {
            return Err(Undecidable::Overlong(what));
        }
        let core = group.is_empty() && version == "v1" && sub_resource.is_empty();
        match (&**kind, &**operation) {
            ("ServiceAccount", "CREATE" | "UPDATE") if core => Ok(Kind::ServiceAccount),
            ("Pod", "CREATE") if core => Ok(Kind::Pod),
            (kind, operation) => Err(Undecidable::NotForUs { operation, kind, sub_resource }),
        }
    }

    /// Tells what the object is called. The API server makes a name only where neither the request nor the
    /// object has one, whatever stands in `generateName`.
    pub(super) fn names(&self) -> Result<Names<'a>, JsonError> {
        let metadata = self.metadata.as_ref();
        let of = |text: Option<RawText<'a>>| shown(text.filter(|text| text.raw_len() > 0));
        let given = match &*self.name {
            "" => of(metadata.and_then(|metadata| metadata.name))?,
            _ => self.name.clone(),
        };
        let shown = match &*given {
            "" => of(metadata.and_then(|metadata| metadata.generate_name))?,
            _ => given.clone(),
        };
        Ok(Names { shown, given })
    }

    pub(super) fn subject<'s>(
        &'s self,
        kind: Kind,
        names: &'s Names<'_>,
        pairs: &'s Pairs<'_>,
    ) -> Subject<'s> {
        let service_account = match kind {
            Kind::ServiceAccount => &*names.given,
            // The API server fills it in before it asks. A Pod that names no account runs as `default`.
            Kind::Pod if self.service_account.is_empty() => "default",
            Kind::Pod => &*self.service_account,
        };
        Subject {
            kind,
            namespace: &self.namespace,
            name: &names.shown,
            service_account,
            labels: &pairs.labels,
            annotations: pairs.annotations.as_deref().unwrap_or_default(),
            requester: Requester::User(&self.username),
        }
    }
}

/// Reads a request, to decide on it by these rules.
///
/// # Errors
/// Returns an error as [`super::mutate::respond`] does.
pub fn parse<'a>(body: &'a [u8], ruleset: &'a Ruleset) -> Result<Request<'a>, ReviewError> {
    let mut request = Request::new(ruleset);
    let mut seen = 0_u32;
    super::wire::open(body, |name, reader| {
        let place = name.place_in(&MEMBERS);
        let Some((place, member)) = place.and_then(|place| Some((place, *MEMBERS.get(place)?))) else {
            return Ok(());
        };
        // Of a member that stands twice, another reader could take the other one.
        if seen & 1 << place != 0 {
            return Err(ReviewError::Twice(member));
        }
        seen |= 1 << place;
        request.member(member, reader)
    })?;
    if request.uid.is_empty() { Err(ReviewError::NoUid) } else { Ok(request) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_are_sorted_so_that_they_are_found() {
        assert!(MEMBERS.is_sorted_by_key(|member| (member.len(), *member)));
    }
}
