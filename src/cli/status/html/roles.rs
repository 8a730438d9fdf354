//! How does the page say who has which role: now, and with a candidate?

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{escaped, explain_short, marked, table};
use crate::cli::status::report::Report;
use crate::cli::status::table::short;
use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::status::{Row, State};

/// When an object has a role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Now, where no other moment is told.
    Only,
    /// Now, beside what a candidate changes.
    Before,
    /// Once a candidate is in force, and Pods have started again.
    After,
}

impl Moment {
    /// The moments that are told.
    pub(super) fn of(report: &Report) -> &'static [Self] {
        if report.status.is_candidate { &[Self::Before, Self::After] } else { &[Self::Only] }
    }

    fn head(self, page: &mut String, title: &str) {
        let when = match self {
            Self::Only => "",
            Self::Before => ", as it is now",
            Self::After => ", with the candidate",
        };
        let _ = writeln!(page, "<h2>{title}{when}</h2>");
        if self == Self::After {
            page.push_str(
                "<p class=\"soft\">Once it is in force, the webhook has decided again, and Pods have started \
                 again. Nothing changes for what is observed or unknown.</p>\n",
            );
        }
    }

    /// The role that an object has then.
    fn role(self, row: &Row) -> Option<&str> {
        let is_as_it_was = matches!(row.state, State::Observed | State::Unknown);
        if self == Self::After && !is_as_it_was { row.wanted.as_deref() } else { row.actual.as_deref() }
    }

    /// Which columns a table of it has. The rule and the state are those of the mapping that is looked at.
    fn heads(self) -> &'static [&'static str] {
        match self {
            Self::Before => &["Namespace", "Object", "Component", "By"],
            Self::Only | Self::After => &["Namespace", "Object", "Component", "By", "Rule", "State"],
        }
    }
}

/// Which objects have each role.
pub(super) fn by_role(page: &mut String, report: &Report, moment: Moment) {
    let mut roles: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &report.status.rows {
        if let Some(role) = moment.role(row) {
            roles.entry(role).or_default().push(row);
        }
    }
    moment.head(page, "By role");
    if roles.is_empty() {
        page.push_str("<p>No object that was looked at has a role.</p>\n");
    }
    for (role, rows) in roles {
        let _ = writeln!(page, "<h3>{}</h3>", escaped(role));
        table(page, moment.heads(), |page| {
            for row in rows {
                let provider = row.provider.map_or("", Provider::name);
                let component = row.component.map_or("", Component::name);
                let _ = write!(
                    page,
                    "<tr><td>{}</td><td>{} {}</td><td>{component}</td><td>{provider}</td>",
                    escaped(&row.namespace),
                    escaped(&row.kind),
                    escaped(&row.name)
                );
                if moment != Moment::Before {
                    // A rule stands beside the role that it gives, and beside no other.
                    let gives_it = row.wanted.as_deref() == Some(role) && row.state != State::Conflict;
                    let rule = row.rule.as_deref().filter(|_| gives_it);
                    let rule = escaped(rule.unwrap_or_default());
                    let _ = write!(page, "<td>{rule}</td><td class=\"state\">{}</td>", marked(row.state));
                }
                page.push_str("</tr>\n");
            }
        });
    }
}

/// How many objects of each component have each role.
pub(super) fn by_component(page: &mut String, report: &Report) {
    type Line<'r> = (&'static str, &'r str, Vec<&'r str>);
    let moments = Moment::of(report);
    let mut lines: BTreeMap<Line<'_>, (usize, usize)> = BTreeMap::new();
    for row in report.status.rows.iter().filter(|row| row.component.is_some() || row.actual.is_some()) {
        let component = row.component.map_or("none of GitLab's", Component::name);
        let roles = moments.iter().map(|moment| moment.role(row).unwrap_or_default()).collect();
        let line = (component, row.namespace.as_str(), roles);
        let (accounts, pods) = lines.entry(line).or_default();
        *(if row.kind == "ServiceAccount" { accounts } else { pods }) += 1;
    }
    let prefix = report.common_prefix();
    let _ = writeln!(page, "<h2>By component</h2>");
    explain_short(page, prefix);
    let heads: &[&str] =
        if report.status.is_candidate { &["Role now", "Role with the candidate"] } else { &["Role"] };
    let heads = [&["Component", "Namespace"], heads, &["ServiceAccounts", "Pods"]].concat();
    table(page, &heads, |page| {
        for ((component, namespace, roles), (accounts, pods)) in lines {
            let _ = write!(page, "<tr><td>{component}</td><td>{}</td>", escaped(namespace));
            for role in roles {
                let role = if role.is_empty() {
                    "<span class=\"soft\">none</span>".to_owned()
                } else {
                    escaped(&short(role, prefix))
                };
                let _ = write!(page, "<td>{role}</td>");
            }
            let _ =
                writeln!(page, "<td class=\"number\">{accounts}</td><td class=\"number\">{pods}</td></tr>");
        }
    });
}

/// The objects that have no role.
pub(super) fn without_role(page: &mut String, report: &Report, moment: Moment) {
    let mut namespaces: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in report.status.rows.iter().filter(|row| moment.role(row).is_none()) {
        let names = namespaces.entry(&row.namespace).or_default();
        names.push(escaped(&format!("{} {}", row.kind, row.name)));
    }
    if namespaces.is_empty() {
        return;
    }
    moment.head(page, "Without a role");
    for (namespace, names) in namespaces {
        let _ = writeln!(page, "<h3>{}</h3>\n<p>{}</p>", escaped(namespace), names.join(", "));
    }
}
