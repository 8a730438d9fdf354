//! What is the trust policy for GitLab's own `id_tokens`, which jobs outside Kubernetes use?
//!
//! The `sub` of such a token is `project_path:GROUP/NAME:ref_type:TYPE:ref:NAME`
//! (<https://docs.gitlab.com/ci/cloud_services/aws/>). A `*` is a wildcard: neither git nor GitLab takes one
//! in a name, so that nobody can mean it literally. It never reaches over a `:`, as for ServiceAccounts,
//! because no name holds one.

use super::policy::{self, Policy, Subjects};
use super::{Issuer, pattern};

/// What a branch or a tag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefType {
    /// A branch. The pipeline of a merge request counts as one of its source branch.
    Branch,
    /// A tag.
    Tag,
}

/// Which jobs are trusted.
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    /// GitLab's URL, which is the issuer.
    pub issuer: &'a Issuer,
    /// The project with its groups, as `group/name`; `group/*` for all projects of a group.
    pub project: &'a str,
    /// The branch or the tag, which may have a `*`.
    pub reference: &'a str,
    /// Which of both it is.
    pub reference_type: RefType,
    /// The audience that the job's `id_tokens` asks for.
    pub audience: &'a str,
    /// The ARN of the role.
    pub role: &'a str,
}

/// Why there is no policy for these jobs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// The project is none.
    #[error(
        "`{0}` is no project: write its path as GROUP/NAME, or GROUP/* for all projects of a group and of \
         its subgroups"
    )]
    Project(String),
    /// The ref is none.
    #[error(
        "`{0}` is no name of a branch or a tag: git takes no spaces and none of : ? [ \\ ^ ~, and IAM would \
         read `${{` as a variable"
    )]
    Reference(String),
    /// The audience is none.
    #[error("`{0}` is no audience: write a word without spaces and `${{`, as the job's id_tokens has it")]
    Audience(String),
    /// The role is no ARN.
    #[error("the role must be a full ARN, as arn:aws:iam::123456789012:role/NAME")]
    Role,
}

impl Jobs<'_> {
    /// Returns the `sub` of their tokens. It is a pattern where the project or the ref has a `*`.
    #[must_use]
    pub fn subject(&self) -> String {
        let kind = match self.reference_type {
            RefType::Branch => "branch",
            RefType::Tag => "tag",
        };
        format!("project_path:{}:ref_type:{kind}:ref:{}", self.project, self.reference)
    }

    /// Makes the policy.
    ///
    /// # Errors
    /// When one of the values is not what it should be.
    pub fn policy(&self) -> Result<Policy, JobsError> {
        if !is_project(self.project) {
            return Err(JobsError::Project(self.project.to_owned()));
        }
        if !is_reference(self.reference) {
            return Err(JobsError::Reference(self.reference.to_owned()));
        }
        if self.audience.is_empty() || !is_plain(self.audience) {
            return Err(JobsError::Audience(self.audience.to_owned()));
        }
        let subject = self.subject();
        let subjects = if pattern::is_pattern(&subject) {
            Subjects::Like { patterns: vec![subject], except: Vec::new() }
        } else {
            Subjects::Exactly(vec![subject])
        };
        let statement = policy::web_identity(self.issuer, self.role, self.audience, subjects);
        Ok(Policy { statements: vec![statement.ok_or(JobsError::Role)?] })
    }

    /// Returns what a person should know of the wildcards.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let whole = ["refs/heads/", "refs/tags/"].iter().find_map(|start| self.reference.strip_prefix(start));
        if let Some(name) = whole {
            warnings.push(format!(
                "GitLab's tokens name a branch or a tag without refs/heads/ or refs/tags/, so {} matches \
                 none of them: write --ref {name}",
                self.reference
            ));
        }
        if self.project.contains('*') {
            warnings.push(format!(
                "the role is for every project that matches {}, also for those that are made later",
                self.project
            ));
        }
        if self.reference.contains('*') {
            warnings.push(format!(
                "the role is for whoever may push a ref that matches {}: protect such refs in GitLab",
                self.reference
            ));
        }
        warnings
    }
}

/// Whether the first part is literal and no other has more than letters, digits, `.`, `_`, `-` and `*`.
fn is_project(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-*".contains(c))
    };
    text.split_once('/')
        .is_some_and(|(group, rest)| is_part(group) && !group.contains('*') && rest.split('/').all(is_part))
}

/// Whether git takes the text as the name of a ref, but for `*`.
fn is_reference(text: &str) -> bool {
    !text.is_empty() && is_plain(text) && !text.contains([':', '?', '[', '\\', '^', '~'])
}

fn is_plain(text: &str) -> bool {
    super::read_as_variable(text).is_none() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        "https://gitlab.example.com".parse().unwrap()
    }

    fn of(project: &str, reference: &str, audience: &str) -> Result<String, JobsError> {
        let issuer = issuer();
        let jobs = Jobs {
            issuer: &issuer,
            project,
            reference,
            reference_type: RefType::Branch,
            audience,
            role: "arn:aws:iam::123456789012:role/deploy",
        };
        jobs.policy().map(|policy| policy.to_json().to_string())
    }

    #[test]
    fn a_wildcard_is_one_only_where_it_is_written() {
        let literal = of("group/sub/name", "main", "https://gitlab.example.com").unwrap();
        assert!(literal.contains(
            r#""StringEquals":{"gitlab.example.com:aud":"https://gitlab.example.com","gitlab.example.com:sub":"project_path:group/sub/name:ref_type:branch:ref:main"}"#
        ));
        assert!(!literal.contains("StringLike"));
        for (project, reference) in [("group/name", "release/*"), ("group/*", "main")] {
            let liked = of(project, reference, "a").unwrap();
            assert!(liked.contains("StringLike") && liked.contains(reference), "{liked}");
        }
    }

    #[test]
    fn what_iam_would_read_otherwise_is_refused() {
        for project in [
            "",
            "name",
            "*",
            "*/name",
            "gr*/name",
            "group/",
            "group//a",
            "group/a:ref",
            "group/a?",
            "group/${x}",
        ] {
            assert!(matches!(of(project, "main", "a"), Err(JobsError::Project(_))), "{project}");
        }
        for reference in ["", "a b", "a?", "a:b", "${aws:username}", "a\n"] {
            assert!(matches!(of("group/name", reference, "a"), Err(JobsError::Reference(_))), "{reference}");
        }
        for audience in ["", "a b", "${a}", "&{a}", "{{resolve:ssm:a}}"] {
            assert!(matches!(of("group/name", "main", audience), Err(JobsError::Audience(_))), "{audience}");
        }
    }
}
