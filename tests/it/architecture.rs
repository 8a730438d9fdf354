//! Arrows point inward, and the engine does nothing but decide.

use std::fs;
use std::path::{Path, PathBuf};

/// From the outside in. A module may use those after it, and itself.
const LAYERS: [&[&str]; 9] = [
    &["cli"],
    &["server", "cluster", "mapping_file"],
    &["tls"],
    &["mapping_loader"],
    &["tasks"],
    &["telemetry", "shutdown"],
    &["live", "health", "metrics"],
    &["memory"],
    &["engine"],
];

/// The rooms of the engine likewise.
const ROOMS: [&[&str]; 5] =
    [&["admission"], &["mapping", "decision"], &["rules"], &["object"], &["yaml", "json"]];

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

/// Each file below `src` with the name of its top module.
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

/// Where lines end at [`LONGEST_LINE`], as prefixes of a path below `src`.
const WRAPPED: [&str; 16] = [
    "server",
    "tls",
    "cli.rs",
    "cli/check.rs",
    "cli/explain.rs",
    "cli/input.rs",
    "cli/output.rs",
    "lib.rs",
    "live.rs",
    "main.rs",
    "mapping_file.rs",
    "mapping_loader.rs",
    "memory.rs",
    "metrics.rs",
    "shutdown.rs",
    "telemetry.rs",
];

/// rustfmt breaks code at this length, but neither comments nor texts.
const LONGEST_LINE: usize = 110;

#[test]
fn no_line_is_longer_than_rustfmt_would_make_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut long = Vec::new();
    for (_, path, text) in modules() {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if !WRAPPED.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let length = line.chars().count();
            if length > LONGEST_LINE {
                long.push(format!("{}:{number}: {length} characters", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "these lines are longer than {LONGEST_LINE} characters:\n{}", long.join("\n"));
}

#[test]
fn the_rooms_of_the_engine_use_only_what_stands_below_them() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let floor = |room: &str| ROOMS.iter().position(|floor| floor.contains(&room));
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    sources(&engine, &mut files);
    for path in files {
        let first = path.strip_prefix(&engine).unwrap().components().next().unwrap().as_os_str();
        let room = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let own = floor(&room).unwrap_or_else(|| panic!("{room} has no place in ROOMS"));
        let text = fs::read_to_string(&path).unwrap();
        // Tests may come from above.
        for line in text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")) {
            let Some((_, after)) = line.split_once("crate::engine::") else { continue };
            let used: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used != room && floor(&used).is_none_or(|used| used <= own) {
                wrong.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "these point up:\n{}", wrong.join("\n"));
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
