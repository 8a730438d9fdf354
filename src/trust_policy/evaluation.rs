//! Would a policy let this request in? What cannot be judged is unknown, and never allowed.

use serde_json::{Map, Value};

use super::pattern::{covers, is_pattern, overlap};
use super::policy::Principal;

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// The action.
    pub action: &'static str,
    /// What is known of the request, by the key that a condition uses. Of no other key anything is known.
    pub context: Vec<(String, Known)>,
}

/// What is known under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It has this value.
    Value(String),
    /// It is not there.
    Absent,
    /// It has every value of a pattern that matches none of the exceptions, one after the other.
    Like {
        /// The pattern.
        pattern: String,
        /// The exceptions.
        except: Vec<String>,
    },
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// A statement lets it in, and none denies it.
    Allowed,
    /// It is refused. There is a reason for each statement.
    Refused(Vec<String>),
    /// Nobody can say. These are the reasons.
    Unknown(Vec<String>),
}

/// Whether something fits a request.
enum Fit {
    Yes,
    No(String),
    Unknown(String),
}

/// Judges a request by a policy.
#[must_use]
pub fn evaluate(policy: &Value, request: &Request) -> Judgement {
    let (mut is_allowed, mut refusals, mut doubts, mut denials) = (false, Vec::new(), Vec::new(), Vec::new());
    for (number, statement) in (1..).zip(statements(policy)) {
        let in_place = |why: String| format!("statement {number}: {why}");
        let fit = statement
            .as_object()
            .map_or_else(|| Fit::Unknown("it is no JSON object".to_owned()), |fields| fits(fields, request));
        match (statement.get("Effect").and_then(Value::as_str), fit) {
            (Some("Allow"), Fit::Yes) => is_allowed = true,
            (Some("Allow"), Fit::No(why)) => refusals.push(in_place(why)),
            (Some("Deny"), Fit::Yes) => denials.push(in_place("it denies this".to_owned())),
            (Some("Deny"), Fit::No(_)) => {}
            (Some("Deny"), Fit::Unknown(why)) => {
                doubts.push((true, in_place(format!("it may deny this: {why}"))));
            }
            (Some("Allow"), Fit::Unknown(why)) => doubts.push((false, in_place(why))),
            (_, _) => doubts.push((true, in_place("its Effect is neither Allow nor Deny".to_owned()))),
        }
    }
    let may_be_denied = doubts.iter().any(|(denies, _)| *denies);
    let why = |doubts: Vec<(bool, String)>| doubts.into_iter().map(|(_, why)| why).collect();
    if !denials.is_empty() {
        Judgement::Refused(denials)
    } else if is_allowed && !may_be_denied {
        Judgement::Allowed
    } else if doubts.iter().any(|(denies, _)| !denies) || is_allowed {
        Judgement::Unknown(why(doubts))
    } else {
        if refusals.is_empty() {
            refusals.push("no statement allows anything".to_owned());
        }
        Judgement::Refused(refusals)
    }
}

/// Returns the statements of a policy, which are a list or a single one.
pub(super) fn statements(policy: &Value) -> &[Value] {
    match policy.get("Statement") {
        Some(Value::Array(all)) => all,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    }
}

/// Returns the texts of a field, which are a list or a single one. `None` says that it holds something else.
pub(super) fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn fits(statement: &Map<String, Value>, request: &Request) -> Fit {
    let mut fits = vec![match statement.get("Principal") {
        Some(principal) => fits_principal(principal, &request.principal),
        None => Fit::Unknown("it has no Principal that can be judged".to_owned()),
    }];
    fits.push(match statement.get("Action").and_then(texts) {
        Some(actions) => fits_action(&actions, request.action),
        None => Fit::Unknown("it has no Action that can be judged".to_owned()),
    });
    let known = ["Sid", "Effect", "Principal", "Action", "Condition"];
    if let Some(key) = statement.keys().find(|key| !known.contains(&key.as_str())) {
        fits.push(Fit::Unknown(format!("`{}` cannot be judged here", brief(key))));
    }
    match statement.get("Condition") {
        None => {}
        Some(Value::Object(operators)) => {
            for (operator, keys) in operators {
                match keys {
                    Value::Object(keys) => {
                        fits.extend(keys.iter().map(|(key, values)| holds(operator, key, values, request)));
                    }
                    _ => fits.push(Fit::Unknown("its Condition is no JSON object".to_owned())),
                }
            }
        }
        Some(_) => fits.push(Fit::Unknown("its Condition is no JSON object".to_owned())),
    }
    all(fits)
}

/// Everything must fit: what surely does not fit decides, whatever else is unknown.
fn all(fits: Vec<Fit>) -> Fit {
    let mut doubt = None;
    for fit in fits {
        match fit {
            Fit::Yes => {}
            Fit::No(why) => return Fit::No(why),
            Fit::Unknown(why) => doubt = doubt.or(Some(why)),
        }
    }
    doubt.map_or(Fit::Yes, Fit::Unknown)
}

fn fits_principal(principal: &Value, asks: &Principal) -> Fit {
    let (kind, name) = asks.parts();
    let Value::Object(kinds) = principal else {
        return Fit::Unknown(format!(
            "whether Principal {} stands for {name} is not judged",
            brief_of(principal)
        ));
    };
    // `{"AWS": "*"}` stands for everybody, whatever they come with.
    let is_everybody =
        |names: &Value| texts(names).is_none_or(|names| names.iter().any(|name| name.contains('*')));
    if kinds.get("AWS").is_some_and(is_everybody) {
        return Fit::Unknown(format!(
            "whether Principal {} stands for {name} is not judged",
            brief_of(principal)
        ));
    }
    let Some(trusted) = kinds.get(kind) else {
        return Fit::No(format!("it trusts {}, and not {kind} {name}", brief_of(principal)));
    };
    let Some(trusted) = texts(trusted) else {
        return Fit::Unknown(format!("Principal {} cannot be judged", brief_of(principal)));
    };
    if trusted.contains(&name) {
        return Fit::Yes;
    }
    // A whole account leaves it to the policies of its own roles.
    let account = super::policy::partition_and_account(name).map(|(_, account)| account);
    let is_whole_account =
        |text: &&str| Some(*text) == account || text.ends_with(&format!("::{}:root", account.unwrap_or("-")));
    // It may be a session of the role, or its unique id.
    let is_other_name = |text: &&str| {
        text.contains(":assumed-role/")
            || !(text.starts_with("arn:") || text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()))
    };
    if trusted.iter().any(|text| text.contains('*'))
        || (kind == "AWS" && trusted.iter().any(|text| is_whole_account(text) || is_other_name(text)))
    {
        return Fit::Unknown(format!(
            "whether Principal {} stands for {name} is not judged",
            brief_of(principal)
        ));
    }
    Fit::No(format!("it trusts {}, and not {name}", brief(&trusted.join(", "))))
}

fn fits_action(actions: &[&str], asks: &str) -> Fit {
    let asked = asks.to_ascii_lowercase();
    if actions.iter().any(|action| covers(&action.to_ascii_lowercase(), &asked)) {
        Fit::Yes
    } else {
        Fit::No(format!("it allows {}, and not {asks}", brief(&actions.join(", "))))
    }
}

fn holds(operator: &str, key: &str, values: &Value, request: &Request) -> Fit {
    let unknown = |why: &str| Fit::Unknown(format!("{operator} of `{}` {why}", brief(key)));
    let (test, is_negated): (Test, bool) = match operator {
        "StringEquals" => (Test::Equals, false),
        "StringNotEquals" => (Test::Equals, true),
        "StringLike" => (Test::Like, false),
        "StringNotLike" => (Test::Like, true),
        _ => return unknown("cannot be judged"),
    };
    let Some(values) = texts(values) else { return unknown("has values that are no texts") };
    if values.iter().any(|value| value.contains("${")) {
        return unknown("has a policy variable, which cannot be judged");
    }
    let known =
        request.context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, known)| known);
    let lower = key.to_ascii_lowercase();
    match known {
        // A token says nothing under the keys of another issuer.
        None if !is_negated && (lower.ends_with(":sub") || lower.ends_with(":aud")) => {
            Fit::No(format!("its condition is on `{}`, which is of another issuer", brief(key)))
        }
        None => unknown("cannot be judged"),
        Some(Known::Absent) if is_negated => unknown("cannot be judged"),
        Some(Known::Absent) => Fit::No(format!("it asks for `{key}`, and there is none")),
        Some(Known::Value(value)) => holds_for(test, is_negated, key, &values, value),
        Some(Known::Like { pattern, except }) => {
            holds_for_all(test, is_negated, key, &values, pattern, except)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Test {
    Equals,
    Like,
}

fn holds_for(test: Test, is_negated: bool, key: &str, values: &[&str], value: &str) -> Fit {
    let is_met = values.iter().any(|wanted| match test {
        Test::Equals => *wanted == value,
        // The value is no pattern: a wildcard in it is a letter like any other.
        Test::Like => covers(wanted, &value.replace(['*', '?'], "\u{1}")),
    });
    let wanted = brief(&values.join(", "));
    match (is_met, is_negated) {
        (true, false) | (false, true) => Fit::Yes,
        (true, true) => Fit::No(format!("`{key}` must not be {wanted}, and {value} is")),
        (false, false) => {
            let would = test == Test::Equals && values.iter().any(|wanted| covers(wanted, value));
            let hint = if would { " (StringEquals takes `*` literally: StringLike is meant)" } else { "" };
            Fit::No(format!("{}{hint}", lets_in(key, &wanted, value)))
        }
    }
}

/// Says what a condition asks for, and that this is something else.
fn lets_in(key: &str, wanted: &str, found: &str) -> String {
    let lower = key.to_ascii_lowercase();
    if lower.ends_with(":sub") {
        format!("it lets in {wanted}, not {found}")
    } else if lower.ends_with(":aud") {
        format!("it takes the audience {wanted}, not {found}")
    } else {
        format!("it asks for {wanted} as `{key}`, not {found}")
    }
}

/// Whether a condition holds for all values of a pattern but its exceptions.
fn holds_for_all(
    test: Test,
    is_negated: bool,
    key: &str,
    values: &[&str],
    pattern: &str,
    except: &[String],
) -> Fit {
    let touches = |wanted: &&&str| match test {
        Test::Equals => covers(pattern, wanted),
        Test::Like => overlap(wanted, pattern),
    };
    if is_negated {
        let is_ours = |wanted: &&str| except.iter().any(|except| covers(except, wanted));
        return match values.iter().filter(touches).find(|wanted| !is_ours(wanted)) {
            None => Fit::Yes,
            Some(taken) => {
                Fit::Unknown(format!("`{key}` must not be {}, which {pattern} may be", brief(taken)))
            }
        };
    }
    if test == Test::Like && values.iter().any(|wanted| covers(wanted, pattern)) {
        return Fit::Yes;
    }
    let wanted = brief(&values.join(", "));
    if values.iter().any(|wanted| touches(&wanted)) {
        return Fit::Unknown(format!("`{key}` must be {wanted}, which is only some of {pattern}"));
    }
    let is_literal = test == Test::Equals && values.iter().any(|wanted| is_pattern(wanted));
    let hint = if is_literal { " (StringEquals takes `*` literally: StringLike is meant)" } else { "" };
    Fit::No(format!("{}{hint}", lets_in(key, &wanted, pattern)))
}

/// The most characters that are shown of a policy's text.
const MAX_SHOWN: usize = 200;

/// Shortens what a policy says.
pub(super) fn brief(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

fn brief_of(value: &Value) -> String {
    brief(&value.to_string())
}
