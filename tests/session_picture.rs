//! How does a recorded terminal session become a picture that plays by itself?

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const CHARACTER: f64 = 8.4;
const LINE: f64 = 19.0;
const MARGIN: f64 = 16.0;
/// How long the last frame stays before the session begins again, seconds.
const REST: f64 = 5.0;

pub(crate) fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/session.cast")
}

pub(crate) fn picture() -> PathBuf {
    recording().with_extension("svg")
}

/// What appears at one moment, in one place.
struct Piece {
    at: f64,
    row: usize,
    column: usize,
    kind: &'static str,
    text: String,
}

/// Draws an asciicast (version 2) as an SVG. Each piece of text appears at its time, by CSS alone; where
/// nothing is animated, all of it is there.
pub(crate) fn draw(cast: &str) -> String {
    let mut lines = cast.lines();
    let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let columns = usize::try_from(header["width"].as_u64().unwrap()).unwrap();
    let (pieces, rows) = pieces(lines, columns);
    let last = pieces.last().unwrap().at;
    let length = last + REST;
    #[allow(clippy::cast_precision_loss, reason = "a terminal has some hundred rows and columns")]
    let (width, height) = (columns as f64 * CHARACTER + 2.0 * MARGIN, rows as f64 * LINE + 2.0 * MARGIN);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} \
         {height:.0}\" font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" \
         font-size=\"14\">\n<title>{}</title>\n<style>\n\
         text {{ fill: #c9d1d9; white-space: pre }}\n\
         .prompt {{ fill: #3fb950 }}\n.typed {{ fill: #ffffff; font-weight: bold }}\n\
         .warning {{ fill: #d29922 }}\n.error {{ fill: #ff7b72 }}\n",
        escaped(header["title"].as_str().unwrap())
    );
    let mut times: Vec<f64> = pieces.iter().map(|piece| piece.at).filter(|at| *at > 0.0).collect();
    times.dedup();
    for at in &times {
        let (name, from) = (name(*at), at / length * 100.0);
        writeln!(
            svg,
            "@keyframes {name} {{ 0%, {:.3}% {{ opacity: 0 }} {from:.3}%, 100% {{ opacity: 1 }} }}\n\
             .{name} {{ animation: {name} {length:.1}s linear infinite }}",
            from - 0.001
        )
        .unwrap();
    }
    svg.push_str(
        "@media (prefers-reduced-motion: reduce) { text { animation: none !important } }\n</style>\n",
    );
    writeln!(svg, "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>").unwrap();
    for Piece { at, row, column, kind, text } in &pieces {
        #[allow(clippy::cast_precision_loss, reason = "a terminal has some hundred rows and columns")]
        let (x, y) = (MARGIN + *column as f64 * CHARACTER, MARGIN + (*row as f64 + 0.8) * LINE);
        let when = if *at > 0.0 { format!(" {}", name(*at)) } else { String::new() };
        #[allow(clippy::cast_precision_loss, reason = "a terminal has some hundred rows and columns")]
        let long = text.chars().count() as f64 * CHARACTER;
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{long:.1}\" class=\"{kind}{when}\">{}</text>",
            escaped(text)
        )
        .unwrap();
    }
    svg.push_str("</svg>\n");
    svg
}

/// The name of the moment in the style sheet: milliseconds.
fn name(at: f64) -> String {
    format!("t{:.0}", at * 1000.0)
}

/// Every piece of the session, and how many rows it takes.
fn pieces<'l>(events: impl Iterator<Item = &'l str>, columns: usize) -> (Vec<Piece>, usize) {
    let mut pieces = Vec::new();
    let (mut row, mut column) = (0, 0);
    let mut kind = "printed";
    for event in events {
        let event: Value = serde_json::from_str(event).unwrap();
        let (at, output) = (event[0].as_f64().unwrap(), event[2].as_str().unwrap());
        for line in output.split_inclusive("\r\n") {
            let text = line.trim_end_matches("\r\n");
            if column == 0 {
                kind = kind_of(text);
            }
            let mut rest: Vec<char> = text.chars().collect();
            while !rest.is_empty() {
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                let after = rest.split_off(rest.len().min(columns - column));
                let text: String = std::mem::replace(&mut rest, after).into_iter().collect();
                let (length, blank) = (text.chars().count(), text.trim().is_empty());
                if !blank {
                    pieces.push(Piece { at, row, column, kind, text });
                }
                column += length;
            }
            if kind == "prompt" {
                kind = "typed";
            }
            if line.ends_with('\n') {
                (row, column) = (row + 1, 0);
            }
        }
    }
    (pieces, row + usize::from(column > 0))
}

fn kind_of(line: &str) -> &'static str {
    if line.starts_with("$ ") {
        "prompt"
    } else if line.starts_with("Warning: ") {
        "warning"
    } else if line.contains(" is invalid: ") {
        "error"
    } else {
        "printed"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Writes both files anew, where `UPDATE_SESSION` says so.
#[allow(dead_code, reason = "only the crate that records calls it")]
pub(crate) fn update(cast: &str) {
    if std::env::var_os("UPDATE_SESSION").is_some() {
        fs::write(recording(), cast).unwrap();
        fs::write(picture(), draw(cast)).unwrap();
    }
}
