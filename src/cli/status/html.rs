//! How does the report of `status` become one page that says who has which role?
//!
//! Nothing of it is fetched or run, whatever stands in it: there is no script, and the page's own policy
//! allows nothing but its style sheet, by its hash.

mod roles;

use std::fmt::Write as _;

use super::mend;
use super::report::{PLACED, Report, effect_name};
use super::table::{SHORTENED, impact, note, short};
use crate::cli::counted;
use crate::cli::plain::plain;
use crate::engine::object::component::Component;
use crate::status::{Row, State};

use roles::{Moment, by_component, by_role, without_role};

const STYLE: &str = include_str!("page.css");

/// The SHA-256 of the style sheet in base64, as the policy names it. A test compares the two.
const STYLE_HASH: &str = "sha256-6pHNCv7Jedf1qLz4zXEENJGFeGIIJzsVA6Fe87i1e7I=";

/// Writes the page.
pub(super) fn page(report: &Report) -> String {
    let title =
        if report.status.is_candidate { "What a mapping would change" } else { "Who has which AWS role" };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src '{STYLE_HASH}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n"
    );
    head(&mut page, report);
    counts(&mut page, report);
    problems(&mut page, report);
    for moment in Moment::of(report) {
        by_role(&mut page, report, *moment);
    }
    by_component(&mut page, report);
    for moment in Moment::of(report) {
        without_role(&mut page, report, *moment);
    }
    legend(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}

/// Escapes a text for a page, and shows what would steer the text beside it as its code.
fn escaped(text: &str) -> String {
    plain(text).chars().fold(String::with_capacity(text.len()), |mut text, c| {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            c => text.push(c),
        }
        text
    })
}

fn head(page: &mut String, report: &Report) {
    let at = &report.looked_at;
    page.push_str("<dl>\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
    };
    line("Looked at", &humantime::format_rfc3339_seconds(report.at).to_string());
    if let Some(cluster) = &at.cluster {
        line("Cluster", cluster);
    }
    if let Some(candidate) = &at.candidate {
        line("Candidate", candidate);
    }
    let name = if at.manifests.is_empty() { "Mapping in force" } else { "Mapping" };
    line(name, at.mapping.as_deref().unwrap_or("not known"));
    line("Rules", &at.rules.to_string());
    if !at.manifests.is_empty() {
        line("Manifests", &at.manifests.join(", "));
    }
    let namespaces = at.namespaces.iter();
    let names: Vec<_> =
        namespaces.map(|(name, effect)| format!("{name} ({})", effect_name(*effect))).collect();
    line("Namespaces", &if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    if at.takes_default {
        line("Note", PLACED);
    }
    line("Made by", concat!("gitlab-iam-webhook ", env!("CARGO_PKG_VERSION")));
    page.push_str("</dl>\n");
}

fn counts(page: &mut String, report: &Report) {
    let counts = &report.status.counts;
    page.push_str("<ul class=\"counts\">\n");
    for (count, what) in [
        (counts.service_accounts, "ServiceAccounts"),
        (counts.pods, "Pods"),
        (counts.templates, "Pod templates"),
        (report.unread.len(), "not looked at"),
    ] {
        if count == 0 && what == "Pod templates" {
            continue;
        }
        let _ = writeln!(page, "<li><b>{count}</b>{what}</li>");
    }
    for (state, count) in &counts.states {
        let _ = writeln!(page, "<li><b>{count}</b>{}</li>", marked(*state));
    }
    page.push_str("</ul>\n");
    for line in impact(report) {
        let _ = writeln!(page, "<p>{}</p>", escaped(&line));
    }
    if report.status.more > 0 {
        let _ = writeln!(page, "<p class=\"look\">{} not shown.</p>", counted(report.status.more, "row"));
    }
    for one in &report.unread {
        let _ = writeln!(
            page,
            "<p><span class=\"look\">Not looked at:</span> {}: {}</p>",
            escaped(&one.what),
            escaped(&one.why)
        );
    }
}

fn marked(state: State) -> String {
    let class = match state {
        state if state.is_drift() => "bad",
        State::Refused => "bad",
        State::Changes | State::Conflict | State::Orphaned | State::Observed | State::Unknown => "look",
        State::InStep => "good",
        _ => "soft",
    };
    format!("<span class=\"{class}\">{}</span>", state.name())
}

/// What somebody should look at comes first.
fn problems(page: &mut String, report: &Report) {
    let is_problem = |row: &&Row| row.is_touched && row.state <= State::Orphaned;
    let mut rows: Vec<&Row> = report.status.rows.iter().filter(is_problem).collect();
    rows.sort_by_key(|row| row.state);
    let _ = writeln!(page, "<h2>To look at</h2>");
    if rows.is_empty() {
        page.push_str("<p class=\"good\">Nothing: what could be looked at is as decided.</p>\n");
        return;
    }
    let (wanted, actual) = if report.status.is_candidate { ("After", "Before") } else { ("Wanted", "Has") };
    let prefix = report.common_prefix();
    explain_short(page, prefix);
    table(page, &["State", "Namespace", "Object", "Component", "Rule", actual, wanted, "Note"], |page| {
        for row in rows {
            let note = note(row);
            let [actual, wanted] = [row.actual.as_deref(), row.wanted.as_deref()]
                .map(|role| short(role.unwrap_or_default(), prefix));
            let component = row.component.map_or("", Component::name);
            let object = format!("{} {}", row.kind, row.name);
            let cells = [
                &row.namespace,
                &*object,
                component,
                row.rule.as_deref().unwrap_or_default(),
                &*actual,
                &*wanted,
                &note,
            ];
            let _ = write!(page, "<tr><td class=\"state\">{}</td>", marked(row.state));
            for cell in cells {
                let _ = write!(page, "<td>{}</td>", escaped(cell));
            }
            page.push_str("</tr>\n");
        }
    });
    let mending = mend::text(report);
    if !mending.is_empty() {
        let _ = writeln!(page, "<h2>What mends it</h2>\n<pre>{}</pre>", escaped_lines(mending.trim_end()));
    }
}

/// The same for a text of several lines.
fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

fn table(page: &mut String, heads: &[&str], body: impl FnOnce(&mut String)) {
    page.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    for head in heads {
        let class = if matches!(*head, "ServiceAccounts" | "Pods") { " class=\"number\"" } else { "" };
        let _ = write!(page, "<th{class}>{head}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    body(page);
    page.push_str("</tbody></table></div>\n");
}

fn explain_short(page: &mut String, prefix: Option<&str>) {
    if let Some(prefix) = prefix {
        let _ = writeln!(page, "<p class=\"soft\">{SHORTENED} stands for {}</p>", escaped(prefix));
    }
}

fn legend(page: &mut String, report: &Report) {
    let _ = writeln!(page, "<h2>What the states mean</h2>\n<dl>");
    for state in report.status.counts.states.keys() {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", marked(*state), escaped(state.meaning()));
    }
    page.push_str("</dl>\n");
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

    use super::*;

    #[test]
    fn the_policy_of_the_page_names_its_style_sheet_and_nothing_else() {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let hash = suite.common.hash_provider.hash(STYLE.as_bytes());
        assert_eq!(STYLE_HASH, format!("sha256-{}", STANDARD.encode(hash.as_ref())));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains('<'));
    }

    #[test]
    fn no_text_of_others_leaves_its_place() {
        assert_eq!(
            escaped("\"><img src=x onerror='a&b'>\u{202e}\x1b"),
            "&quot;&gt;&lt;img src=x onerror=&#39;a&amp;b&#39;&gt;\\u{202e}\\u{1b}"
        );
    }
}
