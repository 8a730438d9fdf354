//! Which ServiceAccounts does a rule name by itself, and for which must they be looked at?
//!
//! A rule that looks at nothing but `namespace` and `serviceAccount` can be written for IAM. What earlier
//! rules take away from its globs becomes an exception. Every other rule needs the ServiceAccounts
//! themselves.

use super::pattern::{self, Alphabet, TooMany, covers, is_pattern, overlap};
use super::subject;
use super::trusts::{Account, GlobTrust};
use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::rules::cost::Steps;
use crate::engine::rules::glob::Glob;
use crate::engine::rules::rule::{Criteria, Grant, Rule};
use crate::engine::rules::ruleset::Ruleset;

/// The most pairs of a namespace and a ServiceAccount that one rule may stand for.
const MAX_PAIRS: usize = 1000;

/// The most exceptions of one rule's globs.
const MAX_EXCEPTIONS: usize = 50;

/// Whom a rule reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It reaches these, unless an earlier rule decides on one of the accounts.
    Named {
        /// The ServiceAccounts that it names literally.
        accounts: Vec<Account>,
        /// Those that its globs stand for.
        globs: Vec<GlobTrust>,
    },
    /// It cannot be told without the ServiceAccounts, for this reason.
    Unnamed(String),
}

/// Tells whom a rule about irsa reaches. Where `takes_globs` is not set, only literal names will do.
pub(super) fn reach(
    ruleset: &Ruleset,
    rule: &Rule,
    grant: &Grant,
    takes_globs: bool,
    steps: &mut Steps,
) -> Reach {
    match named(ruleset, rule, grant, takes_globs, steps) {
        Ok((accounts, globs)) => Reach::Named { accounts, globs },
        Err(why) => Reach::Unnamed(why),
    }
}

/// The pairs of a namespace and a ServiceAccount that globs stand for.
type Pairs = Vec<(String, String)>;

fn named(
    ruleset: &Ruleset,
    rule: &Rule,
    grant: &Grant,
    takes_globs: bool,
    steps: &mut Steps,
) -> Result<(Vec<Account>, Vec<GlobTrust>), String> {
    let criteria = &rule.criteria;
    if is_about_pods(criteria) {
        return Ok((Vec::new(), Vec::new()));
    }
    if let Some(key) = label_criterion(criteria) {
        return Err(format!("it looks at `{key}`"));
    }
    for (globs, key) in [(&criteria.namespaces, "namespace"), (&criteria.service_accounts, "serviceAccount")]
    {
        if globs.is_empty() {
            return Err(format!("it names no `{key}`, which never becomes `*`"));
        }
    }
    let too_many = |_: TooMany| "its globs stand for too many names".to_owned();
    let namespaces = pattern::patterns(&criteria.namespaces, Alphabet::Namespace).map_err(too_many)?;
    let names = pattern::patterns(&criteria.service_accounts, Alphabet::ServiceAccount).map_err(too_many)?;
    if namespaces.len() * names.len() > MAX_PAIRS {
        return Err(too_many(TooMany));
    }
    let pairs = namespaces.iter().flat_map(|namespace| names.iter().map(move |name| (namespace, name)));
    let pairs = pairs.map(|(namespace, name)| (namespace.clone(), name.clone()));
    let (liked, exact): (Pairs, Pairs) =
        pairs.partition(|(namespace, name)| is_pattern(namespace) || is_pattern(name));
    let accounts =
        exact.into_iter().map(|(namespace, service_account)| Account { namespace, service_account });
    let globs = if liked.is_empty() {
        Vec::new()
    } else if !takes_globs {
        return Err("it has globs, and EKS Pod Identity takes only names".to_owned());
    } else {
        let role = grant.role.fixed().ok_or("its globs and the placeholders of its role need names")?;
        if !is_allowed_everywhere(ruleset, &criteria.namespaces, role, steps) {
            return Err("its role is allowed in some namespaces only".to_owned());
        }
        liked_globs(ruleset, rule, liked, steps)?
    };
    Ok((accounts.collect(), globs))
}

/// Returns what IAM is told of globs: the patterns, and what earlier rules take away from them.
fn liked_globs(
    ruleset: &Ruleset,
    rule: &Rule,
    pairs: Pairs,
    steps: &mut Steps,
) -> Result<Vec<GlobTrust>, String> {
    // The account `default` belongs to rules that name it literally, and to no glob.
    let (of_default, others): (Pairs, Pairs) = pairs.into_iter().partition(|(_, name)| name == "default");
    let mut globs = Vec::new();
    if rule.criteria.names_default_account() {
        globs.extend(except_earlier(ruleset, rule, &of_default, Vec::new(), true, steps)?);
    }
    let defaults =
        others.iter().filter(|(_, name)| covers(name, "default")).map(|(place, _)| subject(place, "default"));
    let defaults = defaults.collect();
    globs.extend(except_earlier(ruleset, rule, &others, defaults, false, steps)?);
    Ok(globs)
}

fn except_earlier(
    ruleset: &Ruleset,
    rule: &Rule,
    pairs: &Pairs,
    mut except: Vec<String>,
    of_default: bool,
    steps: &mut Steps,
) -> Result<Option<GlobTrust>, String> {
    let earlier = ruleset.rules().iter().take_while(|other| other.name != rule.name);
    for other in earlier.filter(|other| other.providers.contains(Provider::Irsa)) {
        let criteria = &other.criteria;
        if is_about_pods(criteria) || (of_default && !criteria.names_default_account()) {
            continue;
        }
        let taken = taken_by(criteria, of_default, pairs, steps)
            .ok_or_else(|| format!("what the earlier rule `{}` takes is too much to tell", other.name))?;
        if taken.is_empty() {
            continue;
        }
        if let Some(key) = label_criterion(criteria) {
            return Err(format!("the earlier rule `{}` takes some of them by `{key}`", other.name));
        }
        except.extend(taken.into_iter().filter(|taken| !except.contains(taken)).collect::<Vec<_>>());
        if except.len() > MAX_EXCEPTIONS {
            return Err("earlier rules take too many names from its globs".to_owned());
        }
    }
    let patterns = pairs.iter().map(|(namespace, name)| subject(namespace, name));
    let patterns: Vec<String> =
        patterns.filter(|pattern| !except.iter().any(|taken| covers(taken, pattern))).collect();
    except.retain(|taken| patterns.iter().any(|pattern| overlap(taken, pattern)));
    Ok((!patterns.is_empty()).then_some(GlobTrust { patterns, except }))
}

/// Returns the subjects that some rule's namespaces and names take from these pairs. `None` says that they
/// are too many.
fn taken_by(criteria: &Criteria, of_default: bool, pairs: &Pairs, steps: &mut Steps) -> Option<Vec<String>> {
    let or_any = |globs: &[Glob], alphabet| match globs {
        [] => Ok(vec!["*".to_owned()]),
        globs => pattern::patterns(globs, alphabet),
    };
    let namespaces = or_any(&criteria.namespaces, Alphabet::Namespace).ok()?;
    let names = if of_default {
        vec!["default".to_owned()]
    } else {
        or_any(&criteria.service_accounts, Alphabet::ServiceAccount).ok()?
    };
    let mut taken = Vec::new();
    for place in &namespaces {
        for name in &names {
            if !steps.take(pairs.len()) {
                return None;
            }
            if pairs.iter().any(|(ours, our_name)| overlap(place, ours) && overlap(name, our_name)) {
                taken.push(subject(place, name));
            }
        }
    }
    Some(taken)
}

/// Whether a rule that looks at labels may decide on this account, if the account carries such labels.
pub(super) fn may_be_taken_by_labels(ruleset: &Ruleset, rule: &Rule, account: &Account) -> bool {
    let earlier = ruleset.rules().iter().take_while(|other| other.name != rule.name);
    let holds =
        |globs: &[Glob], value: &str| globs.is_empty() || globs.iter().any(|glob| glob.matches(value));
    earlier.filter(|other| other.providers.contains(Provider::Irsa)).any(|other| {
        let criteria = &other.criteria;
        label_criterion(criteria).is_some()
            && !is_about_pods(criteria)
            && holds(&criteria.namespaces, &account.namespace)
            && holds(&criteria.service_accounts, &account.service_account)
    })
}

/// Returns the key of a criterion that only the object itself can tell.
fn label_criterion(criteria: &Criteria) -> Option<&'static str> {
    [
        (!criteria.components.is_empty(), "component"),
        (!criteria.releases.is_empty(), "release"),
        (!criteria.labels.is_empty(), "labels"),
    ]
    .into_iter()
    .find_map(|(is_there, key)| is_there.then_some(key))
}

/// Whether a rule never matches a ServiceAccount.
fn is_about_pods(criteria: &Criteria) -> bool {
    let components = criteria.components;
    !criteria.projects.is_empty()
        || !criteria.runners.is_empty()
        || (!components.is_empty() && components.iter().all(Component::is_pods_only))
}

/// Whether the operator allows the role in every namespace that these globs match.
fn is_allowed_everywhere(ruleset: &Ruleset, namespaces: &[Glob], role: &str, steps: &mut Steps) -> bool {
    let allowed = &ruleset.operator_policy().allowed_roles;
    allowed.is_empty()
        || namespaces.iter().all(|ours| {
            allowed.iter().any(|allowed| {
                allowed.role.matches(role)
                    && allowed.namespace.as_ref().is_none_or(|theirs| theirs.covers(ours, steps))
            })
        })
}
