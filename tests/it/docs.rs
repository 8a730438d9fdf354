//! Do the documents name what is there?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gitlab_iam_webhook::doctor::CHECKS;

/// Words of others that look like the name of a type.
const FOREIGN: [&str; 3] = ["ServiceAccount", "ServiceAccounts", "ConfigMap"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn is_path(word: &str) -> bool {
    let first = word.split('/').next().unwrap();
    word.contains('/') && ["src", "docs", "tests", "charts", "deploy"].contains(&first)
}

/// `Live`, but neither `applied` nor `NAME-last-good`.
fn is_type(word: &str) -> bool {
    word.starts_with(char::is_uppercase)
        && word.chars().all(char::is_alphanumeric)
        && word.contains(char::is_lowercase)
        && !FOREIGN.contains(&word)
}

/// `decide` of `decide()`.
fn function(word: &str) -> Option<&str> {
    word.strip_suffix("()")
}

/// All Rust text of a file, or of a folder with the file beside it that declares it.
fn code(path: &str) -> String {
    let mut pending: Vec<PathBuf> = vec![root().join(path)];
    let mut code = String::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    code
}

fn defines(code: &str, name: &str) -> bool {
    let kinds: &[&str] = match function(name) {
        Some(_) => &["fn"],
        None => &["struct", "enum", "trait", "type"],
    };
    let name = function(name).unwrap_or(name);
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    kinds.iter().any(|kind| {
        let definition = format!("{kind} {name}");
        code.split(&definition).skip(1).any(ends)
    })
}

#[test]
fn what_the_architecture_names_is_where_it_says() {
    let page = read("docs/architecture.md");
    let (before, rest) = page.split_once("```mermaid\n").unwrap();
    let (picture, after) = rest.split_once("```").unwrap();
    let text = format!("{before}{after}");
    let (text, _) = text.split_once("## Glossary").unwrap();
    // Every other part stands between backticks.
    let parts: Vec<&str> = text.split('`').collect();
    let mut named: Vec<&str> = Vec::new();
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for at in (1..parts.len()).step_by(2) {
        let word = parts[at];
        if is_path(word) {
            assert!(root().join(word).exists(), "{word} does not exist");
        } else if is_type(word) || function(word).is_some() {
            let follows = matches!(parts[at + 1].trim(), "(" | ",");
            match parts.get(at + 2).filter(|path| follows && is_path(path)) {
                Some(path) => {
                    assert!(defines(&code(path), word), "{word} is not defined in {path}");
                    places.entry(word).or_default().push(path);
                }
                None => named.push(word),
            }
        }
    }
    assert!(places.len() > 20, "{places:?}");
    // In the picture, words without a second capital may be anything.
    let drawn = picture.split(|c: char| !c.is_alphanumeric() && !"_()".contains(c));
    named.extend(drawn.filter(|word| {
        function(word).is_some() || is_type(word) && word.chars().skip(1).any(char::is_uppercase)
    }));
    for word in named {
        assert!(places.contains_key(word), "the page does not say where {word} is");
    }
}

/// Every page that people read.
fn pages() -> Vec<PathBuf> {
    let pages = ["README.md", "CONTRIBUTING.md", "charts/gitlab-iam-webhook/README.md", "deploy/README.md"];
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.iter().map(|page| root().join(page)).chain(docs).collect()
}

#[test]
fn the_files_that_the_documents_name_are_there() {
    for page in &pages() {
        let text = fs::read_to_string(page).unwrap();
        // What stands between fences are commands and files of others.
        let prose: String = text.split("\n```").step_by(2).collect();
        for word in prose.split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
            assert!(root().join(word).exists(), "{} names {word}", page.display());
        }
    }
}

#[test]
fn what_the_documents_link_to_is_there() {
    let mut links = 0;
    for page in &pages() {
        let text = fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{} links to {link}", page.display());
            if !heading.is_empty() {
                let target = fs::read_to_string(&target).unwrap();
                let mut headings = target.lines().filter_map(|line| line.strip_prefix('#'));
                let anchor = |title: &str| {
                    let title = title.trim_matches(['#', ' ']).to_lowercase().replace(' ', "-");
                    title.replace(|c: char| !c.is_alphanumeric() && !"-_".contains(c), "")
                };
                assert!(headings.any(|title| anchor(title) == heading), "{} links to {link}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 10, "{links}");
}

#[test]
fn the_page_of_doctor_has_a_row_for_each_check_in_their_order() {
    let page = read("docs/doctor.md");
    let (_, section) = page.split_once("## What it looks for in GitLab").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<String> = rows
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
            format!("{} {}", cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let checks = CHECKS.iter().map(|check| format!("{} {:?}", check.id, check.severity).to_lowercase());
    assert_eq!(rows, checks.collect::<Vec<_>>());
}
