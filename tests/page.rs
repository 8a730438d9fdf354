//! What does a page of ours hold between its fences?

use std::fs;
use std::path::Path;

/// A fenced block of a page.
#[derive(Debug)]
pub(crate) struct Block {
    /// The heading that it stands below.
    pub(crate) section: String,
    /// `sh` for what is typed, `text` for what the block before it prints, `yaml` and the like for files.
    pub(crate) language: String,
    pub(crate) text: String,
    /// The page and the line on which its text begins, for messages.
    pub(crate) place: String,
}

impl Block {
    /// The file as which a reader saves it: its first line is `# mapping.yaml`.
    pub(crate) fn file(&self) -> Option<&str> {
        let name = self.text.lines().next()?.strip_prefix("# ")?;
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
            .then_some(name)
    }

    /// What typing it needs that no test has: its first line is `# needs AWS`.
    pub(crate) fn needs(&self) -> Option<&str> {
        self.text.lines().next()?.strip_prefix("# needs ")
    }
}

/// All blocks of a page, in order.
pub(crate) fn blocks(path: &str) -> Vec<Block> {
    let page = read(path);
    let mut blocks: Vec<Block> = Vec::new();
    let mut section = String::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        match (open, line.strip_prefix("```")) {
            (true, Some(_)) => open = false,
            (true, None) => {
                let text = &mut blocks.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            (false, Some(language)) => {
                open = true;
                let place = format!("{path}:{}", number + 2);
                let (section, language) = (section.clone(), language.to_owned());
                blocks.push(Block { section, language, text: String::new(), place });
            }
            (false, None) => {
                if line.starts_with('#') {
                    line.trim_start_matches(['#', ' ']).clone_into(&mut section);
                }
            }
        }
    }
    assert!(!open, "{path}: a fence is not closed");
    blocks
}

/// The cells of a page's tables whose first heading is this, row by row, each with the heading that its table
/// stands below.
pub(crate) fn rows(path: &str, heading: &str) -> Vec<(String, Vec<String>)> {
    let page = read(path);
    let mut section = String::new();
    let mut within = false;
    let mut rows = Vec::new();
    for line in page.lines() {
        let Some(line) = line.strip_prefix('|') else {
            within = false;
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut section);
            }
            continue;
        };
        let cells: Vec<String> =
            line.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells[0] == heading {
            within = true;
        } else if within && !cells[0].starts_with("---") {
            rows.push((section.clone(), cells));
        }
    }
    rows
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
