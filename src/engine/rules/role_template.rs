//! How does the role of a rule become the role for one object?

use std::borrow::Cow;
use std::fmt;

use crate::engine::rules::arn::{self, RoleError};
use crate::engine::rules::cost::allocated;

/// A part of a role that each object fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// `{namespace}` is the namespace of the object.
    Namespace,
    /// `{serviceAccount}` is the name of its ServiceAccount.
    ServiceAccount,
    /// `{component}` is its component.
    Component,
    /// `{release}` is its Helm release.
    Release,
    /// `{project}` is the GitLab project of a job.
    Project,
}

impl Placeholder {
    /// All placeholders.
    pub const ALL: [Self; 5] =
        [Self::Namespace, Self::ServiceAccount, Self::Component, Self::Release, Self::Project];

    /// Returns the name between the braces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::ServiceAccount => "serviceAccount",
            Self::Component => "component",
            Self::Release => "release",
            Self::Project => "project",
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Fill(Placeholder),
}

/// A role as a rule says it. It is completed to an ARN where the account is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role(Box<[Part]>);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Fill(placeholder) => placeholder.fmt(f),
        })
    }
}

/// Whether a provider would read this text as a role, because it is a full ARN, or a name with or without a
/// path.
#[must_use]
pub fn is_role(text: &str) -> bool {
    if is_arn(text) { arn::check_arn(text).is_ok() } else { arn::check_path_and_name(text).is_ok() }
}

/// Why the text of a rule's `role` is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` has no `}`, or the reverse.
    #[error("`{{` and `}}` do not pair up in the role `{0}`")]
    Unpaired(String),
    /// It holds a placeholder that does not exist.
    #[error("unknown placeholder `{{{0}}}`: known are {known}", known = known())]
    Unknown(String),
    /// A placeholder stands before the path and name of the role.
    #[error("`{0}` cannot stand here: placeholders belong in the path and name of the role, after role/")]
    Misplaced(Placeholder),
    /// The text around the placeholders is no role.
    #[error(transparent)]
    Grammar(#[from] RoleError),
}

fn known() -> String {
    Placeholder::ALL.map(|placeholder| placeholder.to_string()).join(", ")
}

/// Why an object cannot fill the role of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The object has nothing to fill a placeholder with.
    #[error("{0} cannot be filled: the object has none")]
    Missing(Placeholder),
    /// The object has a value that cannot stand in a role's name.
    #[error("{0} cannot be filled with `{1}`: only letters, digits and _.- may stand there")]
    Unfit(Placeholder, String),
    /// The role is no role once it is filled.
    #[error(transparent)]
    Grammar(#[from] RoleError),
}

impl Role {
    /// Reads a role. It is a full ARN, or a name with or without a path that `prefix` completes, as in
    /// `arn:aws:iam::123456789012:role/`.
    ///
    /// # Errors
    /// Returns what is wrong with it, in words for whoever wrote it. What shows only once the placeholders
    /// are filled is left to [`Role::fill`].
    pub fn new(text: &str, prefix: Option<&str>) -> Result<Self, TemplateError> {
        let mut parts = split(text)?;
        // The grammar is checked with each placeholder filled by one letter, which is the shortest that it
        // can be.
        let sample: String = parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Fill(_) => "x",
            })
            .collect();
        if is_arn(text) {
            let head = text.find("role/").map_or(text, |at| text.get(..at).unwrap_or(text));
            if let Some(early) = split(head).unwrap_or_default().iter().find_map(placeholder) {
                return Err(TemplateError::Misplaced(early));
            }
            arn::check_arn(&sample)?;
        } else {
            arn::check_path_and_name(&sample)?;
            if let Some(prefix) = prefix {
                match parts.first_mut() {
                    Some(Part::Text(first)) => *first = format!("{prefix}{first}").into(),
                    _ => parts.insert(0, Part::Text(prefix.into())),
                }
            }
        }
        Ok(Self(parts.into()))
    }

    /// Returns how many bytes it holds on the heap.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = self.0.iter().map(|part| match part {
            Part::Text(text) => allocated(text.len()),
            Part::Fill(_) => 0,
        });
        allocated(size_of_val(&*self.0)) + texts.sum::<usize>()
    }

    /// Returns the placeholders in it.
    pub fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.0.iter().filter_map(placeholder)
    }

    /// Returns the role where it has no placeholder, and is the same for every object.
    #[must_use]
    pub fn fixed(&self) -> Option<&str> {
        match &*self.0 {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills the role for one object. `value` returns what the object has for a placeholder.
    ///
    /// # Errors
    /// Returns why the object cannot fill it.
    pub fn fill<'a>(
        &self,
        value: impl Fn(Placeholder) -> Option<&'a str>,
    ) -> Result<Cow<'_, str>, FillError> {
        if let Some(fixed) = self.fixed() {
            return Ok(Cow::Borrowed(fixed));
        }
        let mut filled = String::with_capacity(96);
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Fill(placeholder) => {
                    let value = value(*placeholder)
                        .filter(|value| !value.is_empty())
                        .ok_or(FillError::Missing(*placeholder))?;
                    // A value must not end the part of the ARN that it stands in, so that it has no `/`, `:`
                    // or `*`.
                    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                    if !value.chars().all(fits) {
                        return Err(FillError::Unfit(*placeholder, value.to_owned()));
                    }
                    filled.push_str(value);
                }
            }
        }
        if is_arn(&filled) { arn::check_arn(&filled) } else { arn::check_path_and_name(&filled) }?;
        Ok(Cow::Owned(filled))
    }
}

/// Whether a text is meant as a full ARN, because it begins like one. kube2iam and kiam tell it in the same
/// way.
#[must_use]
pub fn is_arn(text: &str) -> bool {
    text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("arn:"))
}

fn placeholder(part: &Part) -> Option<Placeholder> {
    match part {
        Part::Fill(placeholder) => Some(*placeholder),
        Part::Text(_) => None,
    }
}

fn split(text: &str) -> Result<Vec<Part>, TemplateError> {
    let unpaired = || TemplateError::Unpaired(text.to_owned());
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or_else(unpaired)?;
        if before.contains('}') || name.contains('{') {
            return Err(unpaired());
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        let placeholder = Placeholder::ALL
            .into_iter()
            .find(|placeholder| placeholder.name() == name)
            .ok_or_else(|| TemplateError::Unknown(name.to_owned()))?;
        parts.push(Part::Fill(placeholder));
        rest = behind;
    }
    if rest.contains('}') {
        return Err(unpaired());
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "arn:aws:iam::123456789012:role/";

    fn fill(text: &str, prefix: Option<&str>) -> Result<String, String> {
        let role = Role::new(text, prefix).map_err(|error| error.to_string())?;
        let value = |placeholder| match placeholder {
            Placeholder::Namespace => Some("ci-prod"),
            Placeholder::Project => Some("42"),
            Placeholder::Component => Some("runner-job"),
            Placeholder::ServiceAccount => Some("a/b"),
            Placeholder::Release => None,
        };
        role.fill(value).map(Cow::into_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn names_paths_and_arns_become_arns() {
        assert_eq!(fill("gitlab", Some(PREFIX)).unwrap(), "arn:aws:iam::123456789012:role/gitlab");
        assert_eq!(fill("a/b/gitlab", Some(PREFIX)).unwrap(), "arn:aws:iam::123456789012:role/a/b/gitlab");
        assert_eq!(fill("{namespace}-{project}", Some(PREFIX)).unwrap(), format!("{PREFIX}ci-prod-42"));
        assert_eq!(
            fill("arn:aws-cn:iam::210987654321:role/x-{component}", Some(PREFIX)).unwrap(),
            "arn:aws-cn:iam::210987654321:role/x-runner-job"
        );
        assert_eq!(fill("ci-{project}", None).unwrap(), "ci-42");
    }

    #[test]
    fn a_role_that_an_object_cannot_fill_is_an_error() {
        assert_eq!(fill("x-{release}", None).unwrap_err(), "{release} cannot be filled: the object has none");
        assert_eq!(
            fill("x-{serviceAccount}", None).unwrap_err(),
            "{serviceAccount} cannot be filled with `a/b`: only letters, digits and _.- may stand there"
        );
        let long = "n".repeat(60);
        assert!(fill(&format!("{long}-{{namespace}}"), Some(PREFIX)).unwrap_err().contains("IAM allows 64"));
    }

    #[test]
    fn bad_roles_say_what_is_wrong() {
        let cases = [
            (
                "ci-{projekt}",
                "unknown placeholder `{projekt}`: known are {namespace}, {serviceAccount}, {component}, {release}, {project}",
            ),
            ("ci-{project", "`{` and `}` do not pair up in the role `ci-{project`"),
            ("ci-project}", "`{` and `}` do not pair up in the role `ci-project}`"),
            (
                "arn:aws:iam::{namespace}:role/x",
                "`{namespace}` cannot stand here: placeholders belong in the path and name of the role, after role/",
            ),
            ("a b", "the role name `a b` holds ` `: IAM allows letters, digits and _+=,.@-"),
            (
                "/gitlab",
                "the role `/gitlab` must not begin with `/`: write the path without it, as in backup/NAME",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(Role::new(text, None).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn a_role_weighs_its_parts_and_their_texts() {
        let parts = |count: usize| allocated(count * size_of::<Part>());
        for (text, want) in [
            ("r", parts(1) + 32),
            ("seventeen-letters", parts(1) + 48),
            ("{project}", parts(1)),
            ("a-{project}-seventeen-letters", parts(3) + 32 + 48),
        ] {
            assert_eq!(Role::new(text, None).unwrap().weight(), want, "{text}");
        }
    }
}
