//! How is what `doctor` found printed, for people and for programs?

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::counted;
use crate::cli::output::in_a_line;
use crate::doctor::{Finding, Gap, Report, SECRETS_NOT_ASKED, Severity};

/// Why no installation is looked at with `--filename`.
pub(super) const NO_CLUSTER: &str = "manifests were given, so no cluster was asked";

/// What was looked at.
pub(super) struct LookedAt {
    /// Our installations, as `NAMESPACE/SERVICE`.
    pub(super) installations: Vec<String>,
    /// Where the mapping stands.
    pub(super) mapping: Option<String>,
    /// The namespaces; none where all of them were looked into, or manifests.
    pub(super) namespaces: Vec<String>,
    /// The files of manifests.
    pub(super) manifests: Vec<String>,
    /// The files of values.
    pub(super) values: Vec<String>,
}

/// All that is told.
pub(super) struct Told {
    looked_at: LookedAt,
    findings: Vec<Finding>,
    /// How many more findings there are.
    more: usize,
    unread: Vec<Gap>,
}

impl Told {
    /// The worst findings come first. What was not looked at is told once.
    pub(super) fn new(looked_at: LookedAt, report: Report) -> Self {
        let Report { mut findings, more, unread: all } = report;
        findings.sort_by_key(|finding| finding.severity);
        let mut unread: Vec<Gap> = Vec::new();
        for one in all {
            if !unread.contains(&one) {
                unread.push(one);
            }
        }
        Self { looked_at, findings, more, unread }
    }

    pub(super) fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Problem).count()
    }

    pub(super) fn warnings(&self) -> usize {
        self.findings.len() - self.problems()
    }

    /// Whether something was not looked at that nobody left out on purpose.
    pub(super) fn has_gaps(&self) -> bool {
        self.unread.iter().any(|unread| unread.why != NO_CLUSTER && unread.why != SECRETS_NOT_ASKED)
    }

    /// Whether there are findings beyond those that are told.
    pub(super) fn has_more(&self) -> bool {
        self.more > 0
    }

    /// One line for each finding, so that it can be searched and counted. On a terminal the fix and the
    /// reference have lines of their own.
    pub(super) fn as_text(&self, is_terminal: bool) -> String {
        let mut text = self.looked_at.as_text();
        for Finding { severity, check, place, what, fix, reference } in &self.findings {
            let severity = word(*severity);
            let found = in_a_line(&format!("{severity}: {check}: {place}: {what}"));
            let fix = in_a_line(fix);
            let _ = if is_terminal {
                writeln!(text, "{found}\n  Fix: {fix}\n  See {reference}")
            } else {
                writeln!(text, "{found}. Fix: {fix}. See {reference}")
            };
        }
        for Gap { what, why } in &self.unread {
            let _ = writeln!(text, "{}", in_a_line(&format!("not looked at: {what}: {why}")));
        }
        let mut counts = vec![counted(self.problems(), "problem"), counted(self.warnings(), "warning")];
        if self.more > 0 {
            counts.push(format!("{} that are not told", counted(self.more, "finding")));
        }
        counts.push(format!("{} not looked at", counted(self.unread.len(), "thing")));
        let _ = writeln!(text, "{}", counts.join(", "));
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let finding = |Finding { severity, check, place, what, fix, reference }: &Finding| {
            json!({
                "severity": word(*severity), "check": check, "place": in_a_line(place),
                "what": in_a_line(what), "fix": in_a_line(fix), "reference": reference,
            })
        };
        let unread = |Gap { what, why }: &Gap| json!({"what": in_a_line(what), "why": in_a_line(why)});
        json!({
            "lookedAt": self.looked_at.as_json(),
            "problems": self.problems(),
            "warnings": self.warnings(),
            "moreFindings": self.more,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "notLookedAt": self.unread.iter().map(unread).collect::<Vec<_>>(),
        })
    }
}

impl LookedAt {
    fn as_text(&self) -> String {
        let Self { installations, mapping, namespaces, manifests, values } = self;
        let within = match (namespaces.as_slice(), manifests.as_slice()) {
            ([], []) => "all namespaces".to_owned(),
            ([], manifests) => format!("manifests {}", manifests.join(", ")),
            (namespaces, _) => format!("namespaces {}", namespaces.join(", ")),
        };
        let mut parts = Vec::new();
        if !installations.is_empty() {
            parts.push(format!("installation {}", installations.join(", ")));
        }
        parts.extend(mapping.as_ref().map(|mapping| format!("mapping {mapping}")));
        parts.push(within);
        if !values.is_empty() {
            parts.push(format!("values {}", values.join(", ")));
        }
        format!("{}\n", in_a_line(&format!("looked at: {}", parts.join("; "))))
    }

    fn as_json(&self) -> Value {
        let Self { installations, mapping, namespaces, manifests, values } = self;
        json!({
            "installations": installations, "mapping": mapping, "namespaces": namespaces,
            "manifests": manifests, "values": values,
        })
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Problem => "problem",
        Severity::Warning => "warning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_the_worst_first_and_what_others_wrote_begins_none() {
        let finding = |severity, what: &str| Finding {
            severity,
            check: "check",
            place: "Pod a/b".to_owned(),
            what: what.to_owned(),
            fix: "mend it".to_owned(),
            reference: "docs/x.md",
        };
        let unread = Gap { what: "Pods".to_owned(), why: "forbidden".to_owned() };
        let report = Report {
            findings: vec![
                finding(Severity::Warning, "x\nproblem: y"),
                finding(Severity::Problem, "\x1b[2Jz"),
            ],
            more: 0,
            unread: vec![unread.clone(), unread],
        };
        let looked_at = LookedAt {
            installations: vec!["a/b".to_owned()],
            mapping: None,
            namespaces: vec!["gitlab".to_owned()],
            manifests: Vec::new(),
            values: vec!["values.yaml".to_owned()],
        };
        let told = Told::new(looked_at, report);
        assert!(told.has_gaps());
        let want = "looked at: installation a/b; namespaces gitlab; values values.yaml\n\
                    problem: check: Pod a/b: ?[2Jz. Fix: mend it. See docs/x.md\n\
                    warning: check: Pod a/b: x?problem: y. Fix: mend it. See docs/x.md\n\
                    not looked at: Pods: forbidden\n\
                    1 problem, 1 warning, 1 thing not looked at\n";
        assert_eq!(told.as_text(false), want);
        let found = "problem: check: Pod a/b: ?[2Jz\n  Fix: mend it\n  See docs/x.md\nwarning: ";
        assert!(told.as_text(true).contains(found), "{}", told.as_text(true));
        let value = told.as_json();
        assert_eq!(value["findings"][0]["severity"], "problem");
        assert_eq!(value["problems"], 1);
    }
}
