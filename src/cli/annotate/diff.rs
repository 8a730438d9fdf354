//! How is a text with some splices shown as a unified diff?
//!
//! What changed is known, so that nothing has to be compared, and a diff takes no longer than its text.

use std::fmt::Write as _;
use std::ops::Range;

use crate::cli::output::in_a_line;
use crate::engine::annotate::Splice;

/// How many lines stand around what changed.
const CONTEXT: usize = 3;

/// For whom a diff is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For programs such as `git apply`: every byte is as it is.
    Exact,
    /// For a terminal, which others' text must not steer.
    Terminal,
    /// The same in colour.
    Coloured,
}

impl Style {
    pub(super) fn of(is_terminal: bool, takes_colour: bool) -> Self {
        match (is_terminal, takes_colour) {
            (false, _) => Self::Exact,
            (true, false) => Self::Terminal,
            (true, true) => Self::Coloured,
        }
    }
}

/// Lines that give way to others. An insertion takes none.
struct Change {
    /// The bytes of whole lines.
    range: Range<usize>,
    new: String,
}

/// Shows what the splices change in the text of a file, and nothing where there are none.
pub(super) fn unified(name: &str, text: &str, splices: &[Splice], style: Style) -> String {
    let changes = changes(text, splices);
    let mut out = Writer { text: String::new(), style };
    if changes.is_empty() {
        return out.text;
    }
    let name = name.strip_prefix("./").unwrap_or(name).trim_start_matches('/');
    let name = in_a_line(if name == "standard input" { "stdin" } else { name });
    out.line("1", &format!("--- a/{name}\n"));
    out.line("1", &format!("+++ b/{name}\n"));
    // The number of lines before `counted`, in the old text, and how many more the new one has so far.
    let (mut counted, mut old_line, mut more) = (0, 0_usize, 0_isize);
    let mut rest = changes.as_slice();
    while let Some(first) = rest.first() {
        let start = lines_back(text, first.range.start, CONTEXT);
        let length = hunk_length(text, rest);
        let (hunk, after) = rest.split_at(length);
        rest = after;
        let last = hunk.last().map_or(start, |change| change.range.end);
        let end = lines_on(text, last, CONTEXT);
        old_line += count(text, counted..start);
        let olds = count(text, start..end);
        let removed: usize = hunk.iter().map(|change| count(text, change.range.clone())).sum();
        let added: usize = hunk.iter().map(|change| change.new.split_inclusive('\n').count()).sum();
        let news = olds + added - removed;
        let place = |lines: usize, before: usize| if lines == 0 { before } else { before + 1 };
        let new_line = old_line.saturating_add_signed(more);
        let head = format!("@@ -{},{olds} +{},{news} @@\n", place(olds, old_line), place(news, new_line));
        out.line("36", &head);
        let mut at = start;
        for Change { range, new } in hunk {
            out.lines(' ', text.get(at..range.start));
            out.lines('-', text.get(range.clone()));
            out.lines('+', Some(new));
            at = range.end;
        }
        out.lines(' ', text.get(at..end));
        (counted, old_line) = (end, old_line + olds);
        more += isize::try_from(added).unwrap_or(0) - isize::try_from(removed).unwrap_or(0);
    }
    out.text
}

/// Makes changes of whole lines of splices that are in order. A line is looked at once, however many splices
/// are in it: a manifest in JSON may be one line.
fn changes(text: &str, splices: &[Splice]) -> Vec<Change> {
    let is_line = |at: usize| at == 0 || text.get(..at).is_some_and(|before| before.ends_with('\n'));
    let end_of = |Splice { range, text: piece }: &Splice| {
        let is_whole = is_line(range.end) && (piece.is_empty() || piece.ends_with('\n'));
        if is_whole { range.end } else { lines_on(text, range.end, 1) }
    };
    let mut changes: Vec<Change> = Vec::new();
    let mut rest = splices;
    while let Some(first) = rest.first() {
        let start = line_start(text, first.range.start);
        let mut end = end_of(first);
        let mut length = 1;
        // A last line without its end goes on behind its last byte.
        let is_here = |at: usize, end: usize| at < end || at == end && !is_line(end);
        while let Some(next) = rest.get(length).filter(|next| is_here(next.range.start, end)) {
            if next.range.end >= end {
                end = end.max(end_of(next));
            }
            length += 1;
        }
        let (here, after) = rest.split_at(length);
        rest = after;
        let (mut new, mut at) = (String::new(), start);
        for Splice { range, text: piece } in here {
            new.push_str(text.get(at..range.start).unwrap_or_default());
            new.push_str(piece);
            at = range.end;
        }
        new.push_str(text.get(at..end).unwrap_or_default());
        changes.push(Change { range: start..end, new });
    }
    changes
}

/// Returns how many of the changes are near enough to the first one to be shown with it.
fn hunk_length(text: &str, changes: &[Change]) -> usize {
    let near = |pair: &[Change]| match pair {
        [one, two] => lines_on(text, one.range.end, 2 * CONTEXT) >= two.range.start,
        _ => false,
    };
    1 + changes.windows(2).take_while(|pair| near(pair)).count()
}

fn count(text: &str, range: Range<usize>) -> usize {
    text.get(range).unwrap_or_default().split_inclusive('\n').count()
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// Returns where the line begins that is so many lines before the one at `at`.
fn lines_back(text: &str, at: usize, lines: usize) -> usize {
    (0..lines).fold(line_start(text, at), |start, _| line_start(text, start.saturating_sub(1)))
}

/// Returns where so many lines end from `at` on.
fn lines_on(text: &str, at: usize, lines: usize) -> usize {
    let lines = text.get(at..).unwrap_or_default().split_inclusive('\n').take(lines);
    at + lines.map(str::len).sum::<usize>()
}

struct Writer {
    text: String,
    style: Style,
}

impl Writer {
    fn lines(&mut self, sign: char, text: Option<&str>) {
        let colour = match sign {
            '-' => "31",
            '+' => "32",
            _ => "",
        };
        for line in text.unwrap_or_default().split_inclusive('\n') {
            self.line(colour, &format!("{sign}{line}"));
            if !line.ends_with('\n') {
                self.line("", "\n\\ No newline at end of file\n");
            }
        }
    }

    fn line(&mut self, colour: &str, line: &str) {
        if self.style == Style::Exact {
            self.text.push_str(line);
            return;
        }
        let (words, newline) = line.strip_suffix('\n').map_or((line, ""), |words| (words, "\n"));
        let words = words.strip_suffix('\r').unwrap_or(words);
        let words = words.replace(|c: char| c.is_control() && c != '\t' && c != '\n', "?");
        let _ = if self.style == Style::Coloured && !colour.is_empty() {
            write!(self.text, "\x1b[{colour}m{words}\x1b[0m{newline}")
        } else {
            write!(self.text, "{words}{newline}")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splice(range: Range<usize>, text: &str) -> Splice {
        Splice { range, text: text.to_owned() }
    }

    #[test]
    fn what_changed_stands_between_three_lines_before_and_behind() {
        let text: String = (1..=20).map(|n| format!("l{n}\n")).collect();
        // Lines 1 to 9 have three bytes each.
        let splices = [splice(12..12, "new\n"), splice(16..17, "X"), splice(24..27, ""), splice(70..71, "Y")];
        let want = "\
--- a/x.yaml
+++ b/x.yaml
@@ -2,11 +2,11 @@
 l2
 l3
 l4
+new
 l5
-l6
+lX
 l7
 l8
-l9
 l10
 l11
 l12
@@ -17,4 +17,4 @@
 l17
 l18
 l19
-l20
+lY0
";
        // Byte 70 is the 2 of the line l20: nine lines of 3 bytes and ten of 4 stand before it.
        let splices: Vec<_> =
            splices.into_iter().map(|s| if s.range.start == 70 { splice(68..69, "Y") } else { s }).collect();
        assert_eq!(unified("./x.yaml", &text, &splices, Style::Exact), want);
        assert_eq!(unified("x.yaml", &text, &[], Style::Exact), "");
    }

    #[test]
    fn a_last_line_without_its_end_is_shown_as_git_shows_it() {
        let shown =
            unified("standard input", "a: {}", &[splice(2..5, ""), splice(5..5, "\n  b: c")], Style::Exact);
        let want = "--- a/stdin\n+++ b/stdin\n@@ -1,1 +1,2 @@\n-a: {}\n\\ No newline at end of file\n+a:\n+  b: c\n\\ No newline at end of file\n";
        assert_eq!(shown, want);
    }

    #[test]
    fn a_terminal_is_not_steered() {
        let text = "a: \"\x1b[2J\"\r\nb: c\r\n";
        let splices = [splice(14..15, "d")];
        let plain = unified("x\x1b", text, &splices, Style::Terminal);
        assert!(!plain.contains('\x1b') && !plain.contains('\r'), "{plain:?}");
        assert!(plain.contains("\n-b: c\n+b: d\n"), "{plain:?}");
        let coloured = unified("x", text, &splices, Style::Coloured);
        assert!(coloured.contains("\x1b[31m-b: c\x1b[0m\n\x1b[32m+b: d\x1b[0m\n"), "{coloured:?}");
        assert!(unified("x", text, &splices, Style::Exact).contains("\n-b: c\r\n+b: d\r\n"));
    }
}
