//! What does the argument of Helm's `--set` say?
//!
//! The syntax is that of Helm's `pkg/strvals`: `a.b=c,d[0].e={x,y}`, with `\` before a sign that is meant as
//! itself. A key that stands in quotes loses them: documents write `"iam\.amazonaws\.com/role"`, and a shell
//! takes the quotes off.

use std::fmt;

use super::values::{Entry, Place, Value};

/// The highest index of a list, which is Helm's own.
const MAX_INDEX: usize = 65_536;

/// How deep keys may be nested.
const MAX_DEPTH: usize = 30;

/// The most bytes that lists may take which one argument makes: an index makes what stands before it.
const MAX_MEMBERS: usize = 100_000;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The key of a map.
    Key(String),
    /// The index of a list.
    Index(usize),
}

/// Why an argument is not in the syntax. None of its text is shown, not even a key: what follows a comma in a
/// password is read as one. The number is that of the assignment, of which a comma begins the next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No `=` follows a key.
    #[error("assignment {0} has no value: write key=value, and \\, for a comma within a value")]
    NoValue(usize),
    /// Nothing stands before `=`.
    #[error("a value has no key before its `=`")]
    NoKey,
    /// The same behind a comma, where it may be the rest of a password.
    #[error("what stands behind a comma is no key=value: a comma of the value itself is written `\\,`")]
    Comma,
    /// It is no index of a list.
    #[error("the index of a list in assignment {0} must be a number from 0 to {MAX_INDEX}")]
    Index(usize),
    /// Its lists are too long altogether.
    #[error("the indexes are too high altogether: lists may have {MAX_MEMBERS} members")]
    TooMany,
    /// It is nested too deeply.
    #[error("the key of assignment {0} is nested deeper than {MAX_DEPTH} keys")]
    TooDeep(usize),
    /// A list does not end.
    #[error("the list of assignment {0} does not end with a brace")]
    OpenList(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Reads the argument of `--set`, or of `--set-string`, whose values are text.
pub(super) fn parse(text: &str, as_text: bool, place: &Place) -> Result<Vec<(Vec<Step>, Value)>, SetError> {
    let mut reader =
        Reader { rest: text.chars().collect::<Vec<_>>().into_iter().peekable(), members: 0, number: 0 };
    let mut assignments = Vec::new();
    while reader.rest.peek().is_some() {
        reader.number += 1;
        let steps = reader.path()?;
        let value = reader.value(as_text, place)?;
        assignments.push((steps, value));
    }
    Ok(assignments)
}

struct Reader {
    rest: std::iter::Peekable<std::vec::IntoIter<char>>,
    members: usize,
    /// Which assignment is being read, counted from 1.
    number: usize,
}

impl Reader {
    /// Reads up to one of these signs, which is taken and returned. A backslash makes the next sign a letter.
    fn until(&mut self, signs: &str) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(c) = self.rest.next() {
            if c == '\\' {
                text.extend(self.rest.next());
            } else if signs.contains(c) {
                return (text, Some(c));
            } else {
                text.push(c);
            }
        }
        (text, None)
    }

    fn path(&mut self) -> Result<Vec<Step>, SetError> {
        let mut steps = Vec::new();
        loop {
            let (key, sign) = self.until(".=[,");
            let key = unquoted(&key).to_owned();
            // After an index comes a dot or `=`, with nothing before it.
            if !(key.is_empty() && matches!(steps.last(), Some(Step::Index(_)))) {
                if key.is_empty() {
                    return Err(SetError::NoKey);
                }
                steps.push(Step::Key(key));
            }
            match sign {
                Some('=') => break,
                Some('[') => {
                    let (index, closed) = self.until("]");
                    let index = index.parse().ok().filter(|index| closed.is_some() && *index <= MAX_INDEX);
                    let index = index.ok_or(SetError::Index(self.number))?;
                    self.members += index;
                    if self.members > MAX_MEMBERS {
                        return Err(SetError::TooMany);
                    }
                    steps.push(Step::Index(index));
                }
                Some('.') => {}
                _ => return Err(SetError::NoValue(self.number)),
            }
            if steps.len() > MAX_DEPTH {
                return Err(SetError::TooDeep(self.number));
            }
        }
        Ok(steps)
    }

    fn value(&mut self, as_text: bool, place: &Place) -> Result<Value, SetError> {
        if self.rest.peek() != Some(&'{') {
            return Ok(typed(self.until(",").0, as_text));
        }
        self.rest.next();
        let mut list = Vec::new();
        loop {
            let (text, sign) = self.until(",}");
            let is_last = sign == Some('}');
            if !(is_last && list.is_empty() && text.is_empty()) {
                list.push(Entry { place: place.clone(), value: typed(text, as_text) });
            }
            match sign {
                Some('}') => break,
                Some(_) => {}
                None => return Err(SetError::OpenList(self.number)),
            }
        }
        // What stands between the brace and the next comma is nothing.
        self.until(",");
        Ok(Value::List(list))
    }
}

fn unquoted(key: &str) -> &str {
    key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key)
}

/// Gives a text the type that Helm gives it.
fn typed(text: String, as_text: bool) -> Value {
    let is_number = |text: &str| {
        text.parse::<i64>().is_ok() && (text == "0" || !text.starts_with('0')) && !text.starts_with('+')
    };
    match text.as_str() {
        _ if as_text => Value::Text(text),
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        "null" => Value::Null,
        number if is_number(number) => Value::Number(text),
        _ => Value::Text(text),
    }
}
