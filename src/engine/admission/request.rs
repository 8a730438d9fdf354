//! What does the API server ask? A review is read in place, for one mapping: what neither its rules nor recognition look at is passed
//! over.

use std::borrow::Cow;

use super::wire::{MAX_UID, ReviewError, shown};
use crate::engine::json::{JsonError, RawText, Reader};
use crate::engine::object::metadata::{Metadata, Pairs, once};
use crate::engine::object::subject::{Kind, MAX_NAME, Requester, Subject};
use crate::engine::rules::ruleset::Ruleset;

/// The longest username that is compared, in bytes. Those that rules and options can name are shorter.
const MAX_USER: usize = 1024;

/// The members of a request that are read.
const MEMBERS: [&str; 9] =
    ["uid", "kind", "subResource", "name", "namespace", "operation", "userInfo", "object", "dryRun"];

/// `request` of an AdmissionReview, as far as a decision by one mapping needs it.
#[derive(Debug)]
pub struct Request<'a> {
    pub(super) ruleset: &'a Ruleset,
    /// Empty where it is longer than any that is answered.
    pub(super) uid: Cow<'a, str>,
    group: Cow<'a, str>,
    version: Cow<'a, str>,
    pub(super) kind: Cow<'a, str>,
    sub_resource: Cow<'a, str>,
    name: Cow<'a, str>,
    pub(super) namespace: Cow<'a, str>,
    pub(super) operation: Cow<'a, str>,
    /// Empty where it is longer than any that a rule can name.
    username: Cow<'a, str>,
    pub(super) dry_run: bool,
    pub(super) metadata: Option<Metadata<'a>>,
    /// What a Pod's `spec` says.
    service_account: Cow<'a, str>,
    /// A name that is longer than any in Kubernetes.
    overlong: Option<&'static str>,
}

/// What an object is called.
pub(super) struct Names<'r> {
    /// For people: its name, or the beginning of the one that will be made.
    pub(super) shown: Cow<'r, str>,
    /// Its name; empty where the API server is still to make one. Rules and trust policies speak of it.
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
                        "group" => &mut self.group,
                        "version" => &mut self.version,
                        "kind" => &mut self.kind,
                        _ => return Ok(()),
                    };
                    *place = shown(reader.text()?)?;
                    Ok::<_, JsonError>(())
                })?;
            }
            "userInfo" => {
                reader.object(|name, reader| {
                    if name.to_name()? == "username" {
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

    fn of_object(&mut self, name: &str, reader: &mut Reader<'a>) -> Result<(), ReviewError> {
        match name {
            "metadata" => {
                once(&mut self.metadata, "metadata", Metadata::read(reader, self.ruleset.label_keys())?)?;
            }
            "spec" => {
                reader.object(|name, reader| {
                    if name.to_name()? == "serviceAccountName" {
                        self.service_account = self.bounded("spec.serviceAccountName", reader.text()?)?;
                    }
                    Ok::<_, JsonError>(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A name; one that is longer than any in Kubernetes is noted.
    fn bounded(&mut self, what: &'static str, text: Option<RawText<'a>>) -> Result<Cow<'a, str>, JsonError> {
        let name = text.unwrap_or_default().within(MAX_NAME)?;
        if name.is_none() {
            self.overlong = Some(what);
        }
        Ok(name.unwrap_or_default())
    }

    /// How many bytes it may take at most to judge and to answer it, beyond its own bytes and some kilobytes.
    ///
    /// # Errors
    /// Where its object is too long to be stored.
    pub fn weight(&self) -> Result<usize, ReviewError> {
        Ok(self.metadata.as_ref().map_or(Ok(0), Metadata::weight)?)
    }

    /// Lends the object as a decision sees it, with what it is called; `None` where there is nothing to decide.
    ///
    /// # Errors
    /// Where it holds bytes that are no text.
    pub fn with_subject<T>(&self, see: impl FnOnce(&Subject<'_>) -> T) -> Result<Option<T>, ReviewError> {
        let (Ok(kind), Some(metadata)) = (self.acts_on(), &self.metadata) else { return Ok(None) };
        let (names, pairs) = (self.names()?, metadata.pairs()?);
        Ok(Some(see(&self.subject(kind, &names, &pairs))))
    }

    /// The kind to decide on, or why there is nothing to decide.
    pub(super) fn acts_on(&self) -> Result<Kind, String> {
        let Self { group, version, kind, sub_resource, operation, .. } = self;
        if let Some(what) = self.overlong {
            return Err(format!("nothing is decided: {what} is longer than any name in Kubernetes"));
        }
        let core = group.is_empty() && version == "v1" && sub_resource.is_empty();
        match (&**kind, &**operation) {
            ("ServiceAccount", "CREATE" | "UPDATE") if core => Ok(Kind::ServiceAccount),
            ("Pod", "CREATE") if core => Ok(Kind::Pod),
            (kind, _) => {
                let slash = if sub_resource.is_empty() { "" } else { "/" };
                Err(format!(
                    "{operation} of {kind}{slash}{sub_resource} is not for this webhook: mend the webhook configuration"
                ))
            }
        }
    }

    /// The one place that says what an object is called. Its name is made by the API server only where neither the request nor the
    /// object has one, whatever else stands in `generateName`.
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
            // The API server fills it in before it asks; a Pod without a name runs as `default`.
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

/// Reads a request, to be judged by the rules that it is read for.
///
/// # Errors
/// As [`super::mutate::respond`].
pub fn parse<'a>(body: &'a [u8], ruleset: &'a Ruleset) -> Result<Request<'a>, ReviewError> {
    let mut request = Request::new(ruleset);
    let mut seen = 0_u32;
    super::wire::open(body, |name, reader| {
        let Some((place, member)) = MEMBERS.iter().enumerate().find(|(_, member)| ***member == *name) else {
            return Ok(());
        };
        // Where a member stands twice, two readers could take different ones.
        if seen & 1 << place != 0 {
            return Err(ReviewError::Twice(member));
        }
        seen |= 1 << place;
        request.member(member, reader)
    })?;
    if request.uid.is_empty() { Err(ReviewError::NoUid) } else { Ok(request) }
}
