//! What does one part of the benchmarks' page say? Each part is measured apart and kept as JSON beside the
//! page's pictures, so that one can be measured anew without the others.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::machine::{Run, root};

/// One part of `docs/benchmarks.md`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Section {
    /// Its name, which is also that of its file: `server`.
    pub(crate) name: String,
    pub(crate) title: String,
    /// How it was measured, and what is to be known to read it. Markdown, a paragraph each.
    pub(crate) text: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
    /// What was to be reached, and whether it was.
    pub(crate) goals: Vec<Goal>,
    /// What the page begins with.
    pub(crate) summary: Option<Table>,
}

/// A section, and of what it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) section: Section,
    pub(crate) run: Run,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Markdown.
    pub(crate) caption: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A picture with lines, or with bars where `x` has names.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plot {
    /// The file in `docs/benchmarks/` without its extension: `server-latency`.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Axis {
    /// With its unit: `connections`, `milliseconds`.
    pub(crate) label: String,
    pub(crate) is_logarithmic: bool,
    /// Where these are given, the values of the axis are their indexes.
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// The lowest and the highest that was seen, or a quartile on each side: the text says which.
    pub(crate) spread: Option<(f64, f64)>,
}

/// A figure that is to be reached.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "`goal` is its column on the page")]
pub(crate) struct Goal {
    pub(crate) what: String,
    /// `at least 0.95`
    pub(crate) goal: String,
    /// `0.97`, never rounded in our favour. It is `None` where it could not be measured.
    pub(crate) seen: Option<String>,
    pub(crate) is_reached: bool,
}

impl Kept {
    fn file(name: &str) -> PathBuf {
        root().join("docs/benchmarks/data").join(format!("{name}.json"))
    }

    /// Writes it where the page is made from.
    pub(crate) fn keep(&self) {
        let file = Self::file(&self.section.name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, serde_json::to_string_pretty(self).unwrap() + "\n").unwrap();
    }

    /// The one that was kept last, if there is one.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let text = fs::read(Self::file(name)).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }
}
