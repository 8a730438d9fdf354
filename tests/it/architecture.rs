//! Do imports point only inward, and does the engine do nothing but decide?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of modules from the outside in. A module may use those of the layers after it, and itself.
const LAYERS: [&[&str]; 14] = [
    &["cli"],
    &["server", "cluster", "mapping_file", "sts"],
    &["doctor", "status"],
    &["import", "trust_policy"],
    &["installation"],
    &["inventory"],
    &["tls"],
    &["mapping_loader"],
    &["tasks"],
    &["log", "shutdown"],
    &["telemetry"],
    &["live", "health", "metrics"],
    &["memory", "shell"],
    &["engine"],
];

/// The folders of the engine, likewise.
const FOLDERS: [&[&str]; 5] = [
    &["admission", "annotate"],
    &["mapping", "decision", "policy"],
    &["rules"],
    &["object"],
    &["yaml", "json"],
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns each file below `src` with the name of its top module.
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let module = |path: &Path| {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    files.into_iter().map(|path| (module(&path), path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn arrows_point_inward() {
    let mut wrong = Vec::new();
    for (module, path, text) in modules() {
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let own = layer(&module).unwrap_or_else(|| panic!("{module} has no place in LAYERS"));
        for line in text.lines() {
            let Some((_, after)) = line.split_once("crate::") else { continue };
            let used: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let inward = used == module || layer(&used).is_some_and(|used| used > own);
            if !inward {
                wrong.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "these point outward:\n{}", wrong.join("\n"));
}

/// rustfmt breaks code at this length, but neither comments nor texts.
const LONGEST_LINE: usize = 110;

#[test]
fn no_line_is_longer_than_rustfmt_would_make_it() {
    let mut long = Vec::new();
    for (_, path, text) in modules() {
        // What tests compare with stands as it is.
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        for (number, line) in (1..).zip(lines) {
            let length = line.chars().count();
            if length > LONGEST_LINE {
                long.push(format!("{}:{number}: {length} characters", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "these lines are longer than {LONGEST_LINE} characters:\n{}", long.join("\n"));
}

#[test]
fn the_folders_of_the_engine_use_only_what_stands_below_them() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let floor = |folder: &str| FOLDERS.iter().position(|floor| floor.contains(&folder));
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    sources(&engine, &mut files);
    for path in files {
        let first = path.strip_prefix(&engine).unwrap().components().next().unwrap().as_os_str();
        let folder = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let own = floor(&folder).unwrap_or_else(|| panic!("{folder} has no place in FOLDERS"));
        let text = fs::read_to_string(&path).unwrap();
        // Tests may use folders above.
        for line in text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")) {
            let Some((_, after)) = line.split_once("crate::engine::") else { continue };
            let used: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used != folder && floor(&used).is_none_or(|used| used <= own) {
                wrong.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "these point up:\n{}", wrong.join("\n"));
}

/// One file of the engine as a module: `rules/glob/pattern.rs` is `["rules", "glob", "pattern"]`.
type Module = Vec<String>;

/// The code of a file without its comments and its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    code.map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The paths with `::` in a piece of code; of `a::{b, c::d}` these are `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut path, mut rest) = (Vec::new(), Vec::new(), code);
    while let Some(start) = rest.find(is_word) {
        let word = rest.split_at(start).1;
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        path.push(word.to_owned());
        let below = after.strip_prefix("::").unwrap_or_default();
        rest = if below.starts_with(is_word) { below } else { after };
        if below.starts_with('{') {
            let mut depth = 0;
            let closes = |c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            };
            let (group, after) = below.split_at(below.find(closes).unwrap());
            for member in members(group.strip_prefix('{').unwrap()) {
                let inner = if member.contains("::") { paths(member) } else { vec![vec![member.to_owned()]] };
                found.extend(inner.into_iter().map(|inner| [path.clone(), inner].concat()));
            }
            path.clear();
            rest = after;
        } else if !below.starts_with(is_word) {
            found.push(std::mem::take(&mut path));
        }
    }
    found.retain(|path| path.len() > 1);
    found
}

/// What stands between the commas of a group, but not of a group within it.
fn members(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = group.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0 && c == ','
    });
    parts.map(str::trim).filter(|member| !member.is_empty()).collect()
}

/// Which file of the engine uses which. Looked at are the paths in each file's code: those of `use`, and
/// those that are written out (`crate::engine::`, `super::`, or the name of a module below the file). A
/// method that is called on a value names no file and is not seen. A re-export (`pub use`) is no use: whoever
/// takes a name by it uses the file that the name comes from. A parent that only declares and re-exports thus
/// has no part in any circle.
fn uses_of_the_engine() -> BTreeMap<Module, BTreeSet<Module>> {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let mut files = Vec::new();
    sources(&engine, &mut files);
    let module = |path: &Path| -> Module {
        let path = path.strip_prefix(&engine).unwrap().with_extension("");
        path.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect()
    };
    let codes: BTreeMap<Module, String> = files.iter().map(|path| (module(path), code(path))).collect();
    // From the engine's top to what a path in `from` names; `None` where that is not of the engine.
    let absolute = |from: &Module, path: &[String]| -> Option<Vec<String>> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let within = |start: &[String], rest: &[String]| Some([start, rest].concat());
        match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["crate", "engine", ..] => within(&[], &path[2..]),
            ["super", ..] => within(&from[..from.len() - supers], &path[supers..]),
            ["self", ..] => within(from, &path[1..]),
            [first, ..] if codes.contains_key(&[from.as_slice(), &[(*first).to_owned()]].concat()) => {
                within(from, path)
            }
            _ => None,
        }
    };
    let re_exported = |statement: &str| {
        let (before, tree) = statement.trim_start().split_once(" use ")?;
        (before.starts_with("pub") && !before.contains(['{', '\n'])).then(|| paths(tree))
    };
    let mut re_exports = BTreeMap::new();
    let mut used = BTreeMap::new();
    for (from, code) in &codes {
        for statement in code.split_inclusive(';') {
            let exports = re_exported(statement);
            let is_use = exports.is_none();
            for path in exports.unwrap_or_else(|| paths(statement)) {
                let Some(target) = absolute(from, &path) else { continue };
                if is_use {
                    used.entry(from.clone()).or_insert_with(Vec::new).push(target);
                } else {
                    re_exports.insert([from.as_slice(), &path[path.len() - 1..]].concat(), target);
                }
            }
        }
    }
    let file_of = |mut path: Vec<String>| -> Option<Module> {
        while let Some(origin) = re_exports.get(&path) {
            path.clone_from(origin);
        }
        (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|module| codes.contains_key(module))
    };
    let files_of = |from: &Module, targets: Vec<Vec<String>>| {
        targets.into_iter().filter_map(file_of).filter(|file| file != from).collect()
    };
    used.into_iter().map(|(from, targets)| (from.clone(), files_of(&from, targets))).collect()
}

#[test]
fn the_files_of_the_engine_use_each_other_in_no_circle() {
    let mut uses = uses_of_the_engine();
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Module>();
    for (from, to) in [
        ("decision/merge", "rules/rule"),
        ("rules/glob", "rules/glob/pattern"),
        ("mapping/rules", "mapping/match_block"),
        ("admission/validate", "mapping/problems"),
        ("admission/mutate", "admission/wire"),
    ] {
        assert!(uses[&module(from)].contains(&module(to)), "{from} uses {to}, which was not seen");
    }
    // A file that uses none of those that are left is in no circle, and neither is one that none of them
    // uses.
    loop {
        let before = uses.len();
        let left: BTreeSet<Module> = uses.keys().cloned().collect();
        for used in uses.values_mut() {
            used.retain(|file| left.contains(file));
        }
        let used: BTreeSet<Module> = uses.values().flatten().cloned().collect();
        uses.retain(|file, uses| !uses.is_empty() && used.contains(file));
        if uses.len() == before {
            break;
        }
    }
    let names =
        |files: &BTreeSet<Module>| files.iter().map(|file| file.join("/")).collect::<Vec<_>>().join(", ");
    let circles: Vec<String> =
        uses.iter().map(|(file, used)| format!("{} uses {}", file.join("/"), names(used))).collect();
    assert!(circles.is_empty(), "these use each other in a circle:\n{}", circles.join("\n"));
}

#[test]
fn the_engine_does_no_io_reads_no_clock_and_does_not_log() {
    let forbidden = [
        "std::fs",
        "std::io",
        "std::net",
        "std::env",
        "std::time",
        "std::thread",
        "std::process",
        "std::sync",
        "tokio",
        "tracing",
        "axum",
        "rustls",
        "kube::",
        "k8s_openapi",
        "prometheus",
        "async ",
        ".await",
        "println!",
    ];
    let mut wrong = Vec::new();
    for (module, path, text) in modules() {
        if module != "engine" {
            continue;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if let Some(word) = forbidden.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{}: {word}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "the engine must stay pure:\n{}", wrong.join("\n"));
}

#[test]
fn modules_say_what_question_they_answer() {
    let vague = ["utils", "helpers", "common", "types", "core", "misc"];
    for (_, path, text) in modules() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!vague.contains(&name.as_str()), "{} says nothing", path.display());
        assert!(text.starts_with("//! "), "{} does not say what it is for", path.display());
    }
}

#[test]
fn the_tests_that_the_docs_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("tests"), &mut files);
    sources(&root.join("src"), &mut files);
    let code: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let named: Vec<&str> = page.split('`').filter(|word| word.matches('_').count() >= 4).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named.iter().filter(|name| !name.contains([' ', '\n', '-', '.'])) {
        assert!(code.contains(&format!("fn {name}()")), "{name}");
    }
}
