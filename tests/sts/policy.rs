//! Whom does a role's trust policy let in, by IAM's documentation of its policy language?
//!
//! This is the judge of what `trust-policy` prints, so it shares nothing with it. It was written from the IAM
//! User Guide: "IAM JSON policy elements reference" (Principal, Action, Condition operators, variables) and
//! "Policy evaluation logic". What it does not know is an error, never a guess.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Who asks for what, as STS sees it once it has believed the token.
pub(crate) struct Request<'a> {
    /// `arn:aws:iam::123456789012:oidc-provider/issuer.example.com`
    pub(crate) provider: &'a str,
    pub(crate) action: &'a str,
    /// The condition keys and their values. IAM compares their names without regard to case.
    pub(crate) keys: BTreeMap<String, Vec<String>>,
}

impl Request<'_> {
    fn values(&self, key: &str) -> &[String] {
        let found = self.keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map_or(&[], |(_, values)| values.as_slice())
    }
}

/// A policy that IAM would take.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
struct Statement {
    allows: bool,
    principals: Principals,
    actions: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
enum Principals {
    Everybody,
    Federated(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equals,
    EqualsIgnoreCase,
    Like,
}

#[derive(Clone, Debug)]
struct Condition {
    key: String,
    values: Vec<String>,
    comparison: Comparison,
    negated: bool,
    if_exists: bool,
    /// `${...}` means something since this version of the language.
    variables: bool,
}

impl Policy {
    /// Reads a policy as `create-role` does: what IAM refuses, or this judge does not know, is an error.
    pub(crate) fn read(policy: &Value) -> Result<Self, String> {
        let fields = object(policy, "the policy", &["Version", "Id", "Statement"])?;
        let variables = match fields.get("Version").map(Value::as_str) {
            // The older version is meant where none is given.
            None | Some(Some("2008-10-17")) => false,
            Some(Some("2012-10-17")) => true,
            Some(_) => return Err("Version is neither 2012-10-17 nor 2008-10-17".into()),
        };
        let length = policy.to_string().chars().filter(|letter| !letter.is_whitespace()).count();
        if length > 2048 {
            return Err(format!("{length} characters: the quota is 2,048"));
        }
        let statements = match fields.get("Statement") {
            Some(Value::Array(all)) if !all.is_empty() => all.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err("Statement is missing".into()),
        };
        let mut sids: Vec<&str> = statements.iter().filter_map(|one| one["Sid"].as_str()).collect();
        let said = sids.len();
        sids.sort_unstable();
        sids.dedup();
        if sids.len() < said || sids.iter().any(|sid| !sid.chars().all(|c| c.is_ascii_alphanumeric())) {
            return Err(format!("each Sid is to be unique, of letters and digits: {sids:?}"));
        }
        let statements =
            statements.into_iter().map(|one| Statement::read(one, variables)).collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }

    /// A matching Deny wins over every Allow, and without a matching Allow nobody gets in.
    pub(crate) fn lets_in(&self, request: &Request) -> bool {
        let matches =
            |allows: bool| self.statements.iter().any(|one| one.allows == allows && one.matches(request));
        !matches(false) && matches(true)
    }
}

impl Statement {
    fn read(statement: &Value, variables: bool) -> Result<Self, String> {
        let fields =
            object(statement, "a statement", &["Sid", "Effect", "Principal", "Action", "Condition"])?;
        let allows = match fields.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err("Effect is neither Allow nor Deny".into()),
        };
        let principals = match fields.get("Principal") {
            Some(Value::String(all)) if all == "*" => Principals::Everybody,
            Some(value) => {
                let kinds = object(value, "Principal", &["Federated"])?;
                Principals::Federated(texts(kinds.get("Federated"), "Federated")?)
            }
            None => return Err("a trust policy needs a Principal".into()),
        };
        if let Principals::Federated(arns) = &principals
            && let Some(arn) =
                arns.iter().find(|arn| !arn.contains(":oidc-provider/") || arn.contains(['*', '?']))
        {
            return Err(format!("Invalid principal in policy: {arn}"));
        }
        let actions = texts(fields.get("Action"), "Action")?;
        if let Some(action) = actions.iter().find(|action| !action.to_lowercase().starts_with("sts:")) {
            return Err(format!("a trust policy's actions are those of STS: {action}"));
        }
        let mut conditions = Vec::new();
        if let Some(all) = fields.get("Condition") {
            for (operator, keys) in all.as_object().ok_or("Condition is no object")? {
                for (key, values) in keys.as_object().ok_or("an operator's keys are no object")? {
                    conditions.push(Condition::read(operator, key, values, variables)?);
                }
            }
        }
        Ok(Self { allows, principals, actions, conditions })
    }

    fn matches(&self, request: &Request) -> bool {
        let principal = match &self.principals {
            Principals::Everybody => true,
            Principals::Federated(arns) => arns.iter().any(|arn| arn == request.provider),
        };
        let action = request.action.to_lowercase();
        principal
            && self.actions.iter().any(|pattern| like(&wildcards(&pattern.to_lowercase()), &action))
            && self.conditions.iter().all(|condition| condition.holds(request))
    }
}

impl Condition {
    fn read(operator: &str, key: &str, values: &Value, variables: bool) -> Result<Self, String> {
        let (name, if_exists) =
            operator.strip_suffix("IfExists").map_or((operator, false), |name| (name, true));
        let (comparison, negated) = match name {
            "StringEquals" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualsIgnoreCase, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            _ => return Err(format!("this judge does not know {operator}")),
        };
        let values = texts(Some(values), key)?;
        Ok(Self { key: key.to_owned(), values, comparison, negated, if_exists, variables })
    }

    fn holds(&self, request: &Request) -> bool {
        let present = request.values(&self.key);
        if present.is_empty() {
            // What is not there equals nothing: so a negated operator holds.
            return self.if_exists || self.negated;
        }
        let found =
            self.values.iter().any(|value| present.iter().any(|there| self.equals(value, there, request)));
        found != self.negated
    }

    fn equals(&self, value: &str, there: &str, request: &Request) -> bool {
        let (value, there) = if self.comparison == Comparison::EqualsIgnoreCase {
            (value.to_lowercase(), there.to_lowercase())
        } else {
            (value.to_owned(), there.to_owned())
        };
        let Some(mut pattern) = self.pattern(&value, request) else {
            return false;
        };
        if self.comparison != Comparison::Like {
            for piece in &mut pattern {
                *piece = piece.literally();
            }
        }
        like(&pattern, &there)
    }

    /// With `${...}` replaced. Nothing where a variable has no value: then nothing is equal to it.
    fn pattern(&self, value: &str, request: &Request) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = value;
        while self.variables
            && let Some((before, after)) = rest.split_once("${")
        {
            let (name, after) = after.split_once('}')?;
            pieces.extend(wildcards(before));
            match name {
                "*" | "?" | "$" => pieces.extend(name.chars().map(Piece::Letter)),
                _ => match request.values(name) {
                    [one] => pieces.extend(one.chars().map(Piece::Letter)),
                    _ => return None,
                },
            }
            rest = after;
        }
        pieces.extend(wildcards(rest));
        Some(pieces)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Letter(char),
    AnyLetter,
    AnyText,
}

impl Piece {
    fn literally(self) -> Self {
        match self {
            Self::AnyLetter => Self::Letter('?'),
            Self::AnyText => Self::Letter('*'),
            letter @ Self::Letter(_) => letter,
        }
    }
}

fn wildcards(pattern: &str) -> Vec<Piece> {
    let piece = |letter| match letter {
        '*' => Piece::AnyText,
        '?' => Piece::AnyLetter,
        letter => Piece::Letter(letter),
    };
    pattern.chars().map(piece).collect()
}

/// `*` is any text, also none, and passes over colons and slashes; `?` is one character.
fn like(pattern: &[Piece], text: &str) -> bool {
    // For each number of characters read so far: can the pattern until here have read them?
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for piece in pattern {
        let mut next = vec![false; text.len() + 1];
        for read in 0..=text.len() {
            next[read] = match piece {
                Piece::AnyText => reached[..=read].contains(&true),
                Piece::AnyLetter => read > 0 && reached[read - 1],
                Piece::Letter(letter) => read > 0 && reached[read - 1] && text[read - 1] == *letter,
            };
        }
        reached = next;
    }
    reached[text.len()]
}

fn object<'a>(value: &'a Value, what: &str, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let fields = value.as_object().ok_or_else(|| format!("{what} is no object: {value}"))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{what}: this judge does not know {key}")),
        None => Ok(fields),
    }
}

fn texts(value: Option<&Value>, what: &str) -> Result<Vec<String>, String> {
    let all = match value {
        Some(Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => return Err(format!("{what} is missing")),
    };
    let texts: Option<Vec<String>> = all.iter().map(|one| one.as_str().map(str::to_owned)).collect();
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| format!("{what} is neither a text nor a list of texts"))
}
