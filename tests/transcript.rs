//! Are the transcripts of docs/cli.md what the commands print?
//!
//! In a block whose language is that of the caller, a line that begins with `$ ` is typed, with the lines behind it
//! that a `\` at its end continues, and what it prints stands below it. `UPDATE_DOCS=1` writes down what is
//! printed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use regex::Regex;

use crate::page;

pub(crate) const PAGE: &str = "docs/cli.md";

/// What differs from run to run, and what stands for it on the page.
const DIFFERS: [(&str, &str); 6] = [
    // What takes more than a second is told on standard error.
    (r"(?m)^(asking|reading) .* \.\.\.\n", ""),
    (r"Z, in \d[\dhms ]*", "Z, in DURATION"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:PORT"),
    (r"/\S+/gitlab-iam-webhook-\w{6}\.crt", "/tmp/gitlab-iam-webhook-XXXXXX.crt"),
    // The name of a Pod ends with the hash of its template, and five characters.
    (r"\b(pod/|Pod )(\S+)-[0-9a-z]{8,10}-[0-9a-z]{5}\b", "$1$2-XXXXXXXXXX-XXXXX"),
];

/// A folder with the files of the page, in which its commands are typed.
pub(crate) struct Terminal<'a> {
    folder: &'a Path,
    path: String,
    variables: &'a [(&'a str, &'a str)],
}

impl<'a> Terminal<'a> {
    /// With these variables, and the folder of other tools.
    pub(crate) fn new(folder: &'a Path, tools: &str, variables: &'a [(&'a str, &'a str)]) -> Self {
        let own = folder.join("bin");
        fs::create_dir_all(&own).unwrap();
        for name in ["gitlab-iam-webhook", "kubectl-gitlab_iam", "kubectl_complete-gitlab_iam"] {
            symlink(env!("CARGO_BIN_EXE_gitlab-iam-webhook"), own.join(name)).unwrap();
        }
        for block in page::blocks(PAGE) {
            if let Some(name) = block.file() {
                fs::write(folder.join(name), &block.text).unwrap();
            }
        }
        let path = format!("{}:{tools}:{}", own.display(), std::env::var("PATH").unwrap());
        Self { folder, path, variables }
    }

    fn types(&self, command: &str) -> String {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1\n{command}")]).stdin(Stdio::null()).current_dir(self.folder);
        for (name, _) in std::env::vars() {
            if name.starts_with("AWS_") || name.to_ascii_uppercase().ends_with("_PROXY") {
                shell.env_remove(name);
            }
        }
        shell.env("PATH", &self.path).env("HOME", self.folder).env("KUBECONFIG", "none");
        let output = shell.envs(self.variables.iter().copied()).output().unwrap();
        let mut printed = String::from_utf8(output.stdout).unwrap();
        for (differs, word) in DIFFERS {
            printed = Regex::new(differs).unwrap().replace_all(&printed, word).into_owned();
        }
        assert!(!printed.contains(&*self.folder.to_string_lossy()), "a folder of this machine: {printed}");
        if !printed.is_empty() && !printed.ends_with('\n') {
            printed.push('\n');
        }
        printed
    }

    /// Types the blocks of this language, and compares the page with what they print.
    pub(crate) fn compares(&self, language: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let written = fs::read_to_string(&file).unwrap();
        let fence = format!("```{language}");
        let (mut printed, mut is_open, mut is_continued, mut typed) = (String::new(), false, false, 0);
        let mut command = String::new();
        for line in written.lines() {
            let begins = is_open && line.starts_with("$ ");
            if begins || is_continued {
                command.push_str(line.strip_prefix("$ ").unwrap_or(line));
                command.push('\n');
                is_continued = line.ends_with('\\');
                let _ = writeln!(printed, "{line}");
                if !is_continued {
                    printed.push_str(&self.types(&std::mem::take(&mut command)));
                    typed += 1;
                }
            } else if !is_open || line == "```" {
                is_open = !is_open && line == fence;
                let _ = writeln!(printed, "{line}");
            }
        }
        assert!(typed > 1, "{typed} commands are typed");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, &printed).unwrap();
        }
        let differs = written.lines().zip(printed.lines()).position(|(written, printed)| written != printed);
        let place = differs.map_or_else(|| "its end".to_owned(), |line| format!("line {}", line + 1));
        assert!(
            written == printed || std::env::var_os("UPDATE_DOCS").is_some(),
            "{PAGE} differs at {place} from what is printed; UPDATE_DOCS=1 writes it anew:\n{printed}"
        );
    }
}
