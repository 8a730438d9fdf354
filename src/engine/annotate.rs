//! How does a text of manifests get the annotations that a mapping gives its objects?
//!
//! The text is read document by document, and each object is decided on as at admission. What comes of it is
//! spliced into the text, so that every byte that need not change stays as it is. The new text is then read
//! again: unless each document is what it was but for those annotations, nothing comes out at all.

mod fingerprint;
mod join;
mod layout;
mod quote;
mod splice;

use std::borrow::Cow;

use crate::engine::decision::{self, Decision, Edit, Outcome};
use crate::engine::object::manifest::{self, ManifestError, Object};
use crate::engine::object::subject::{Kind, Pair, Requester, value_of};
use crate::engine::rules::ruleset::Ruleset;
use crate::engine::yaml::{self, Node, Position, SyntaxError};
use fingerprint::fingerprint;
pub use join::{NotJoined, join};
use splice::NotSpliced;
pub use splice::{Splice, Top};

/// How many bytes of manifests are annotated at once.
pub const MAX_BYTES: usize = 64 << 20;

/// How many objects are annotated at once. Each takes some hundred bytes more than its text.
pub const MAX_OBJECTS: usize = 100_000;

/// What is known of the objects beside what stands in the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// The namespace of the objects that name none.
    pub namespace: Option<&'a str>,
    /// Who asks for the Pods that stand there themselves. `None` is for their workload's controller, which
    /// always asks for the Pods of templates.
    pub user: Option<&'a str>,
}

/// A text with the annotations of its objects.
#[derive(Debug)]
pub struct Annotated<'t, 'r> {
    /// The text.
    pub text: Cow<'t, str>,
    /// What was changed to make it, in the order of the text that was read.
    pub splices: Vec<Splice>,
    /// How many objects were decided on.
    pub objects: usize,
    /// Those that change, or of which there is something to tell.
    pub told: Vec<Told<'t, 'r>>,
    /// Whether there is a Pod of which nobody knows who asks for it.
    pub is_requester_assumed: bool,
    /// Where each document begins in the text that was read, and its fingerprint as it is now.
    documents: Vec<(Position, u64)>,
}

/// What was decided on one object.
#[derive(Debug)]
pub struct Told<'t, 'r> {
    /// The object.
    pub object: Object<'t>,
    /// Its namespace.
    pub namespace: Cow<'t, str>,
    /// The decision. Its warnings are not cut.
    pub decision: Decision<'r>,
}

/// Why a text cannot be annotated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotateError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ManifestError),
    /// An object names no namespace, and no other is known.
    #[error("{at}: the {object} names no namespace: say with -n NAMESPACE where it will be")]
    NoNamespace {
        /// The place of the object.
        at: Position,
        /// Its kind and its name.
        object: String,
    },
    /// The annotations of an object have no place in the text.
    #[error("{at}: the {object} cannot be annotated: {why}")]
    NoPlace {
        /// The place of the object.
        at: Position,
        /// Its kind and its name.
        object: String,
        /// What is in the way.
        why: NotSpliced,
    },
    /// Two objects share lines by an anchor, and both would be written into.
    #[error(
        "{at}: by an anchor, two objects share what is to be changed here: write it out for each of them"
    )]
    SharedPlace {
        /// The place in question.
        at: Position,
    },
    /// kubectl and other readers of YAML 1.1 take a character for the end of a line, and readers of YAML 1.2
    /// do not: what one of them reads as a comment, the other one reads as a key.
    #[error(
        "{at}: the character U+{code:04X} ends a line for kubectl, and not for other readers of YAML: take \
         it out, or write it as an escape between double quotes"
    )]
    LineBreak {
        /// The place of the character.
        at: Position,
        /// Its number in Unicode.
        code: u32,
    },
    /// Writing the annotations would change something else as well.
    #[error(
        "{at}: the document that begins here cannot be annotated without changing something else in it: \
         write out what its anchors and aliases share, and its annotations as `key: value` lines"
    )]
    OtherChange {
        /// The place of the document.
        at: Position,
    },
    /// Lines end in a way of which nothing can be spliced in.
    #[error(
        "{at}: a carriage return ends a line here, and no line feed follows it: end lines with line feeds"
    )]
    CarriageReturn {
        /// The place of the first such end.
        at: Position,
    },
    /// There are more objects than are annotated at once.
    #[error("{at}: this is one object more than {MAX_OBJECTS}: annotate fewer at a time")]
    TooManyObjects {
        /// The place of the first object that is too many.
        at: Position,
    },
}

impl From<SyntaxError> for AnnotateError {
    fn from(error: SyntaxError) -> Self {
        Self::Unreadable(error.into())
    }
}

impl Told<'_, '_> {
    /// Returns the annotation under a key, as it was read.
    #[must_use]
    pub fn present(&self, key: &str) -> Option<&str> {
        value_of(self.object.annotations(), key)
    }
}

/// Annotates the ServiceAccounts, Pods and Pod templates of a text in YAML or JSON.
///
/// # Errors
/// Returns the first thing for which the text cannot be annotated as a whole.
pub fn annotate<'t, 'r>(
    text: &'t str,
    ruleset: &'r Ruleset,
    circumstances: &Circumstances<'t>,
) -> Result<Annotated<'t, 'r>, AnnotateError> {
    if let Some((offset, code)) = line_break_of_some(text) {
        return Err(AnnotateError::LineBreak { at: Position::at(text, offset), code });
    }
    let mut annotated = Annotated {
        text: Cow::Borrowed(text),
        splices: Vec::new(),
        objects: 0,
        told: Vec::new(),
        is_requester_assumed: false,
        documents: Vec::new(),
    };
    // Where each object is written into.
    let mut places: Vec<(usize, usize)> = Vec::new();
    yaml::read_each(text, |document| {
        let mut edits = Vec::new();
        manifest::each(&document, &mut |object, holder| {
            let before = annotated.splices.len();
            edits.push(annotated.add(text, object, holder, ruleset, circumstances)?);
            let new = annotated.splices.iter().skip(before);
            places.extend(new.map(|splice| (splice.range.start, annotated.objects)));
            Ok::<_, AnnotateError>(())
        })?;
        annotated.documents.push((document.at, fingerprint(&document, &edits)));
        Ok::<_, AnnotateError>(())
    })?;
    if annotated.splices.is_empty() {
        return Ok(annotated);
    }
    places.sort_unstable();
    let is_shared = |pair: &&[(usize, usize)]| matches!(pair, [(a, x), (b, y)] if a == b && x != y);
    if let Some([(offset, _), ..]) = places.windows(2).find(is_shared) {
        return Err(AnnotateError::SharedPlace { at: Position::at(text, *offset) });
    }
    annotated.splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
    let new = splice::apply(text, &annotated.splices);
    let documents = &annotated.documents;
    if let Some(changed) = first_changed(&new, documents.iter().map(|(_, print)| *print)) {
        let (at, _) = documents.get(changed).or_else(|| documents.last()).copied().unwrap_or_default();
        return Err(match text.replace("\r\n", "  ").find('\r') {
            Some(offset) => AnnotateError::CarriageReturn { at: Position::at(text, offset) },
            None => AnnotateError::OtherChange { at },
        });
    }
    annotated.text = Cow::Owned(new);
    Ok(annotated)
}

/// Finds the first character that ends a line in YAML 1.1 only.
fn line_break_of_some(text: &str) -> Option<(usize, u32)> {
    let breaks = ['\u{85}', '\u{2028}', '\u{2029}'];
    text.match_indices(breaks).next().and_then(|(at, found)| Some((at, u32::from(found.chars().next()?))))
}

/// A text is not what it should be, or no text at all.
struct Changed;

impl From<SyntaxError> for Changed {
    fn from(_: SyntaxError) -> Self {
        Self
    }
}

/// Reads a new text, and returns how many of its documents are as they should be, unless all of them are.
fn first_changed(text: &str, wanted: impl IntoIterator<Item = u64>) -> Option<usize> {
    let (mut wanted, mut same) = (wanted.into_iter(), 0);
    let read = yaml::read_each(text, |document| {
        if wanted.next() != Some(fingerprint(&document, &[])) {
            return Err(Changed);
        }
        same += 1;
        Ok(())
    });
    (read.is_err() || wanted.next().is_some()).then_some(same)
}

impl<'t, 'r> Annotated<'t, 'r> {
    /// Decides on an object, and notes what comes of it. Returns its annotations, where they change.
    fn add(
        &mut self,
        text: &str,
        object: Object<'t>,
        holder: &Node<'t>,
        ruleset: &'r Ruleset,
        circumstances: &Circumstances<'t>,
    ) -> Result<Option<Vec<Pair<'t>>>, AnnotateError> {
        let at = object.at;
        let named = || format!("{} {}", object.written_kind, object.name);
        self.objects += 1;
        if self.objects > MAX_OBJECTS {
            return Err(AnnotateError::TooManyObjects { at });
        }
        let namespace = object.namespace.clone().or_else(|| circumstances.namespace.map(Cow::Borrowed));
        let Some(namespace) = namespace else {
            return Err(AnnotateError::NoNamespace { at, object: named() });
        };
        let user = circumstances.user.filter(|_| !object.is_template());
        let requester = user.map_or(Requester::Assumed, Requester::User);
        self.is_requester_assumed |= object.kind == Kind::Pod && user.is_none() && !object.is_template();
        let subject = object.subject(&namespace, requester);
        let decision = decision::decide_telling(ruleset, &subject, usize::MAX);
        let changed = (!decision.edits.is_empty()).then(|| after(object.annotations(), &decision.edits));
        if changed.is_some() {
            let splices = splice::splices(text, holder, &decision.edits)
                .map_err(|why| AnnotateError::NoPlace { at, object: named(), why })?;
            self.splices.extend(splices);
        }
        let is_unreached = decision.verdicts.iter().any(|v| v.outcome == Outcome::DefaultAccount);
        if changed.is_some() || !decision.warnings.is_empty() || is_unreached {
            self.told.push(Told { object, namespace, decision });
        }
        Ok(changed)
    }
}

/// Returns what annotations become by these edits.
fn after<'t>(annotations: &[Pair<'t>], edits: &[Edit<'_>]) -> Vec<Pair<'t>> {
    let is_edited = |key: &str| edits.iter().any(|edit| edit.key == key);
    let mut after: Vec<Pair<'t>> = annotations.iter().filter(|(key, _)| !is_edited(key)).cloned().collect();
    let set = |edit: &Edit<'_>| Some((edit.key.into(), edit.value.clone()?.into_owned().into()));
    after.extend(edits.iter().filter_map(set));
    after
}
