//! Would the policy that a role has let in those to whom the mapping gives the role, and whom else?

use serde_json::Value;

use super::evaluation::{self, Judgement, Known, Request, brief, statements, texts};
use super::pattern::{covers, is_pattern, overlap};
use super::policy::{Principal, partition_and_account};
use super::{Issuer, Trust, subject};

/// What became of one of those to whom the mapping gives the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The `sub` of the token, a pattern of it, or the role of the node.
    pub who: String,
    /// The issuer of the token; `None` for the role of a node.
    pub issuer: Option<String>,
    /// Whether the policy lets it in.
    pub judgement: Judgement,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Those to whom the mapping gives the role.
    pub checked: Vec<Checked>,
    /// Others whom the policy lets in, in words.
    pub strangers: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Whether everybody is surely let in, and nobody else is seen to be. A role that the mapping gives to
    /// nobody is not good: whoever compares it may have named another one than he meant.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.strangers.is_empty()
            && !self.checked.is_empty()
            && self.checked.iter().all(|checked| checked.judgement == Judgement::Allowed)
    }
}

/// Compares the policy of a role with whom it must trust.
#[must_use]
pub fn compare(policy: &Value, trust: &Trust, issuers: &[Issuer], node_role: Option<&str>) -> Comparison {
    let mut comparison = Comparison::default();
    let (partition, account) = partition_and_account(&trust.role).unwrap_or(("aws", ""));
    for issuer in issuers {
        let provider = issuer.provider_arn(partition, account);
        for (audience, known) in wanted(trust) {
            let who = match &known {
                Known::Value(text) | Known::Like { pattern: text, .. } => text.clone(),
                Known::Absent => String::new(),
            };
            let request = Request {
                principal: Principal::Federated(provider.clone()),
                action: "sts:AssumeRoleWithWebIdentity",
                context: vec![
                    (format!("{}:aud", issuer.provider()), Known::Value(audience.to_owned())),
                    (format!("{}:sub", issuer.provider()), known),
                ],
            };
            let judgement = evaluation::evaluate(policy, &request);
            comparison.checked.push(Checked { who, issuer: Some(issuer.url().to_owned()), judgement });
        }
    }
    for external_id in trust.nodes.iter().filter(|_| node_role.is_some()) {
        let Some(node_role) = node_role else { continue };
        let external_id = external_id.clone().map_or(Known::Absent, Known::Value);
        let request = Request {
            principal: Principal::Aws(node_role.to_owned()),
            action: "sts:AssumeRole",
            context: vec![("sts:ExternalId".to_owned(), external_id)],
        };
        let judgement = evaluation::evaluate(policy, &request);
        comparison.checked.push(Checked { who: node_role.to_owned(), issuer: None, judgement });
    }
    for (number, statement) in (1..).zip(statements(policy)) {
        if statement.get("Effect").and_then(Value::as_str) == Some("Allow") {
            let place = format!("statement {number}");
            let ours: Vec<&str> =
                if trust.nodes.is_empty() { Vec::new() } else { node_role.into_iter().collect() };
            look_for_strangers(&place, statement, trust, issuers, &ours, &mut comparison);
        }
    }
    comparison
}

/// Returns the audience and the `sub` of each token that the role must trust.
fn wanted(trust: &Trust) -> impl Iterator<Item = (&str, Known)> {
    trust.web.iter().flat_map(|(audience, web)| {
        let exactly = web
            .accounts
            .iter()
            .map(|account| Known::Value(subject(&account.namespace, &account.service_account)));
        let like = web.globs.iter().flat_map(|glob| {
            glob.patterns
                .iter()
                .map(|pattern| Known::Like { pattern: pattern.clone(), except: glob.except.clone() })
        });
        exactly.chain(like).map(move |known| (audience.as_str(), known))
    })
}

fn look_for_strangers(
    place: &str,
    statement: &Value,
    trust: &Trust,
    issuers: &[Issuer],
    nodes: &[&str],
    comparison: &mut Comparison,
) {
    let (partition, account) = partition_and_account(&trust.role).unwrap_or(("aws", ""));
    let principals = principals(statement.get("Principal"));
    if principals.is_empty() {
        comparison.strangers.push(format!("{place} names no Principal, so it may let in anybody"));
    }
    for (kind, name) in principals {
        let issuer = issuers.iter().find(|issuer| issuer.provider_arn(partition, account) == name);
        match (kind, issuer) {
            ("Federated", Some(issuer)) => strange_tokens(place, statement, trust, issuer, comparison),
            ("AWS", _) if nodes.contains(&name) => {
                let needs_id = trust.nodes.iter().all(Option::is_some);
                if needs_id && conditions(statement, "sts:ExternalId").is_empty() {
                    comparison.notes.push(format!(
                        "{place} asks for no sts:ExternalId: the node may take the role for every Pod"
                    ));
                }
            }
            (_, _) if name == "*" => {
                comparison.strangers.push(format!("{place} trusts everybody (Principal `*`)"));
            }
            (_, _) => comparison.notes.push(format!(
                "{place} also trusts {kind} {}, of which the mapping says nothing",
                brief(name)
            )),
        }
    }
}

fn principals(principal: Option<&Value>) -> Vec<(&str, &str)> {
    match principal {
        Some(Value::String(one)) => vec![("AWS", one)],
        Some(Value::Object(kinds)) => kinds
            .iter()
            .flat_map(|(kind, names)| {
                texts(names).unwrap_or_default().into_iter().map(move |name| (kind.as_str(), name))
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn strange_tokens(
    place: &str,
    statement: &Value,
    trust: &Trust,
    issuer: &Issuer,
    comparison: &mut Comparison,
) {
    let (subjects, audiences) = (format!("{}:sub", issuer.provider()), format!("{}:aud", issuer.provider()));
    if conditions(statement, &audiences).is_empty() {
        comparison.notes.push(format!("{place} names no `{audiences}`: it takes tokens of every audience"));
    }
    for (operator, values) in conditions(statement, &audiences) {
        let is_judged = matches!(operator, "StringEquals" | "StringLike");
        let of_nobody = |value: &&str| !trust.web.contains_key(*value);
        for value in texts(values).unwrap_or_default().into_iter().filter(|_| is_judged).filter(of_nobody) {
            comparison.notes.push(format!(
                "{place} takes tokens of the audience {}, which no rule for this role names",
                brief(value)
            ));
        }
    }
    let found = conditions(statement, &subjects);
    let known: Vec<&(&str, &Value)> =
        found.iter().filter(|(operator, _)| matches!(*operator, "StringEquals" | "StringLike")).collect();
    if known.is_empty() {
        let is_negated =
            |(operator, _): &(&str, &Value)| matches!(*operator, "StringNotEquals" | "StringNotLike");
        comparison.strangers.push(if found.is_empty() {
            format!("{place} names no `{subjects}`: every ServiceAccount of the cluster may take the role")
        } else if found.iter().all(is_negated) {
            format!(
                "{place} lets in every ServiceAccount of the cluster but some: it says only who is not meant"
            )
        } else {
            format!("{place} may let in others: its conditions on `{subjects}` cannot be judged")
        });
    }
    let except: Vec<&str> = found
        .iter()
        .filter(|(operator, _)| matches!(*operator, "StringNotEquals" | "StringNotLike"))
        .flat_map(|(operator, values)| {
            // StringNotEquals takes a wildcard literally, so that such a value keeps nobody out.
            let keeps_out = |value: &&str| *operator == "StringNotLike" || !is_pattern(value);
            texts(values).unwrap_or_default().into_iter().filter(keeps_out)
        })
        .collect();
    for (operator, values) in known {
        for value in texts(values).unwrap_or_default() {
            let is_glob = *operator == "StringLike" && is_pattern(value);
            if let Some(why) = strange(trust, value, is_glob, &except) {
                comparison.strangers.push(format!("{place} lets in {}{why}", brief(value)));
            }
        }
    }
}

/// Returns the conditions of a statement on a key: the operator and the values.
fn conditions<'a>(statement: &'a Value, key: &str) -> Vec<(&'a str, &'a Value)> {
    let operators = statement.get("Condition").and_then(Value::as_object);
    let of = |(operator, keys): (&'a String, &'a Value)| {
        let keys = keys.as_object()?;
        let (_, values) = keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some((operator.as_str(), values))
    };
    operators.into_iter().flatten().filter_map(of).collect()
}

/// Says why a `sub` that a policy lets in is a stranger. `None` says that the mapping gives it the role.
/// `theirs` are the patterns that the policy excepts.
fn strange(trust: &Trust, value: &str, is_glob: bool, theirs: &[&str]) -> Option<String> {
    if !is_glob {
        let is_account =
            trust.accounts().any(|account| subject(&account.namespace, &account.service_account) == value);
        return (!is_account && !is_given(trust, value))
            .then(|| ", to which the mapping does not give the role".to_owned());
    }
    let globs = trust.web.values().flat_map(|web| &web.globs);
    let mut open_ones =
        globs.filter(|glob| glob.patterns.iter().any(|pattern| covers(pattern, value))).map(|glob| {
            let is_closed = |ours: &str| {
                !overlap(ours, value)
                    || theirs.iter().any(|except| covers(except, ours))
                    || is_given(trust, ours)
            };
            glob.except.iter().map(String::as_str).filter(|ours| !is_closed(ours)).collect::<Vec<_>>()
        });
    let Some(first) = open_ones.next() else {
        return Some(", and the mapping does not give the role to all of these".to_owned());
    };
    let is_open = !first.is_empty() && open_ones.all(|open| !open.is_empty());
    is_open.then(|| format!(" without the exception of {}", brief(&first.join(", "))))
}

/// Whether a glob of the mapping gives the role to all of these, and none of its exceptions touches them.
fn is_given(trust: &Trust, value: &str) -> bool {
    trust.web.values().flat_map(|web| &web.globs).any(|glob| glob.takes(value))
}
