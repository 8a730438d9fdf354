//! How is the source of a manifest laid out around a place?

use std::ops::Range;

use crate::engine::yaml::Node;

/// A source, with what is asked of it.
#[derive(Clone, Copy)]
pub(super) struct Layout<'t> {
    pub(super) text: &'t str,
}

/// How the entries of a mapping in braces stand.
pub(super) struct Braces<'t> {
    /// What stands between the brace and the first entry, or nothing where that is more than white space.
    pub(super) lead: &'t str,
    /// What stands between a key and its value.
    pub(super) colon: &'static str,
}

impl Braces<'_> {
    /// Returns what stands between two entries on one line.
    pub(super) fn comma(&self) -> &'static str {
        if self.colon == ":" { "," } else { ", " }
    }
}

impl<'t> Layout<'t> {
    pub(super) fn at(self, range: Range<usize>) -> &'t str {
        self.text.get(range).unwrap_or_default()
    }

    /// Whether a mapping is written in braces, as in JSON.
    pub(super) fn is_flow(self, node: &Node<'_>) -> bool {
        self.at(node.span()).starts_with('{')
    }

    /// Whether a mapping is an alias, as `*name`.
    pub(super) fn is_alias(self, node: &Node<'_>) -> bool {
        let written = self.at(node.span());
        written.starts_with('*') && !written.contains(char::is_whitespace)
    }

    /// Returns the place where the line begins that `at` is in.
    pub(super) fn line_start(self, at: usize) -> usize {
        self.at(0..at).rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Returns the place behind the end of the line that `at` is in, or behind the text.
    pub(super) fn line_end(self, at: usize) -> usize {
        let newline = self.text.get(at..).and_then(|rest| rest.find('\n'));
        newline.map_or(self.text.len(), |found| at + found + 1)
    }

    /// Returns how the lines around a place end.
    pub(super) fn newline(self, at: usize) -> &'static str {
        let before = self.at(0..at).rfind('\n');
        let newline = before.or_else(|| Some(at + self.text.get(at..)?.find('\n')?));
        let is_windows = newline.is_some_and(|newline| self.at(0..newline).ends_with('\r'));
        if is_windows { "\r\n" } else { "\n" }
    }

    /// Returns what stands before a place in its line.
    pub(super) fn before(self, at: usize) -> &'t str {
        self.at(self.line_start(at)..at).trim_start_matches('\u{feff}')
    }

    /// Returns in which column a place is, from 0: the entries of a block are aligned with its first one,
    /// whatever stands before that.
    pub(super) fn indent(self, at: usize) -> usize {
        self.before(at).chars().count()
    }

    /// Returns the place behind the colon of a key, where it follows on the key's line.
    pub(super) fn behind_colon(self, key: &Node<'_>) -> Option<usize> {
        let end = key.span().end;
        let rest = self.text.get(end..)?;
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest.get(blank..)?.starts_with(':').then_some(end + blank + 1)
    }

    /// Returns the place of the line behind a key's line, where the key's block begins on that line, or only
    /// comments and empty lines stand before it.
    pub(super) fn below(self, key: &Node<'_>, block: &Node<'_>) -> Option<usize> {
        let behind = self.behind_colon(key)?;
        let gap = self.text.get(behind..block.span().start)?;
        let (_, lines) = gap.split_once('\n')?;
        let is_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        lines.lines().all(is_nothing).then_some(behind + gap.len() - lines.len())
    }

    /// Returns how a mapping in braces is laid out.
    pub(super) fn braces(self, map: &Node<'_>, first: Option<&(Node<'_>, Node<'_>)>) -> Braces<'t> {
        let open = map.span().start + 1;
        let Some((key, value)) = first else { return Braces { lead: "", colon: ": " } };
        let lead = self.at(open..key.span().start);
        let lead = if lead.trim().is_empty() { lead } else { "" };
        let is_compact = self.at(key.span().end..value.span().start) == ":";
        Braces { lead, colon: if is_compact { ":" } else { ": " } }
    }

    /// Returns by how much the entries of a mapping in braces stand further in than its closing brace.
    pub(super) fn step(self, map: &Node<'_>, lead: &'t str) -> &'t str {
        // What is one line may be a long one, and is not looked through for each of its objects.
        if !lead.contains('\n') {
            return "  ";
        }
        let last = |text: &'t str| text.rsplit('\n').next().unwrap_or_default();
        let closing = self.before(map.span().end.saturating_sub(1));
        let step = last(lead).strip_prefix(closing).unwrap_or_default();
        if step.is_empty() { "  " } else { step }
    }
}
