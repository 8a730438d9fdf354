//! Do the commands of the pages do what the pages say, from an empty cluster to annotated Pods?
//!
//! Every block `sh` of these pages is typed in order, but those whose first line says what they need that is
//! not here. What it prints is compared with the block `text` that follows it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::commands::path_of;
use crate::harness::{Done, Stage, eventually, root};
use crate::page::{Block, blocks, rows};

/// The image that `tests/node/init` makes, of a program that only waits.
const PAUSE: &str = "localhost/gitlab-iam-webhook-pause:node";

/// What a person needs to read what was printed before typing on.
const READING: Duration = Duration::from_secs(2);

/// How long the cluster may take until what is read is as the page says.
const SETTLING: Duration = Duration::from_mins(1);

/// A terminal in a clone of the repository.
struct Terminal {
    folder: PathBuf,
    path: String,
    typed: usize,
}

impl Terminal {
    /// With this Helm as `helm`, beside kubectl and our own command line.
    fn new(stage: &Stage, helm: &str) -> Self {
        let folder = stage.folder().join("clone");
        let tools = folder.join("tools");
        fs::create_dir_all(&tools).unwrap();
        symlink(root().join("charts"), folder.join("charts")).unwrap();
        symlink(path_of(helm), tools.join("helm")).unwrap();
        symlink(path_of("kubectl"), tools.join("kubectl")).unwrap();
        symlink(env!("CARGO_BIN_EXE_gitlab-iam-webhook"), tools.join("gitlab-iam-webhook")).unwrap();
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        Self { folder, path, typed: 0 }
    }

    fn run(&self, commands: &str) -> Done {
        let output = Command::new("sh")
            .args(["-e", "-c", &format!("exec 2>&1\n{commands}")])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("KUBECONFIG", Stage::kubeconfig())
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Done::of(&output)
    }

    /// Types a block, and compares what is printed. What only reads is typed again until the cluster has
    /// settled.
    fn types(&mut self, block: &Block, printed: Option<&Block>) {
        let Block { text, place, .. } = block;
        let expected = printed.map_or("...\n", |printed| &printed.text);
        let attempt = || {
            let done = self.run(text);
            let wrong = match mismatch(expected, &done.out) {
                _ if !done.ok => Some("it fails".to_owned()),
                wrong => wrong,
            };
            wrong.map(|wrong| format!("{place}: {wrong}\n--- typed\n{text}--- printed\n{}", done.out))
        };
        let start = Instant::now();
        let wrong = loop {
            match attempt() {
                Some(_) if reads_only(text) && start.elapsed() < SETTLING => {
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                wrong => break wrong,
            }
        };
        assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        self.typed += 1;
        std::thread::park_timeout(READING);
    }

    /// Saves a block `yaml` as a reader does.
    fn saves(&self, block: &Block) -> bool {
        let Some(name) = block.file() else { return false };
        fs::write(self.folder.join(name), &block.text).unwrap();
        name == "mapping.yaml"
    }
}

fn reads_only(commands: &str) -> bool {
    commands.starts_with("kubectl") && commands.contains(" get ")
}

/// What of the expected lines is not there. A line `...` stands for any lines.
fn mismatch(expected: &str, printed: &str) -> Option<String> {
    let printed: Vec<String> = printed.lines().map(comparable).filter(|line| !line.is_empty()).collect();
    let expected: Vec<String> = expected.lines().map(comparable).filter(|line| !line.is_empty()).collect();
    let mut at = 0;
    let mut anywhere = false;
    for piece in expected.split_inclusive(|line| line == "...") {
        let open = piece.last().is_some_and(|line| line == "...");
        let lines = if open { &piece[..piece.len() - 1] } else { piece };
        let found = (at..=printed.len()).find(|from| printed[*from..].starts_with(lines));
        match found {
            Some(from) if anywhere || from == at => at = from + lines.len(),
            _ => return Some(format!("not printed: {}", lines.join(" / "))),
        }
        anywhere = open;
    }
    let rest = &printed[at..];
    (!anywhere && !rest.is_empty()).then(|| format!("printed beside it: {}", rest.join(" / ")))
}

/// A line without what differs from run to run: widths of columns, names of Pods, numbers of lines.
fn comparable(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let mut parts: Vec<&str> = word.split('-').collect();
        // Kubernetes makes such parts without vowels, so that no words come out.
        let made = |part: &str, long: std::ops::RangeInclusive<usize>| {
            long.contains(&part.len()) && part.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c))
        };
        if let [.., set, pod] = parts[..]
            && made(set, 8..=10)
            && made(pod, 5..=5)
        {
            parts.truncate(parts.len() - 2);
            parts.push("SOME-POD");
        }
        parts.join("-")
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.split_once("(line ") {
        Some((before, after)) => {
            format!("{before}(line{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => line,
    }
}

#[test]
fn lines_are_compared_but_for_what_differs_from_run_to_run() {
    let printed = "NAME   ROLE\ngitlab-registry-6f7d9c8b5d-zbcdf   x\nend\n";
    for good in [
        "...\n",
        "NAME ROLE\n...\n",
        "...\nend\n",
        "NAME ROLE\ngitlab-registry-bcdfghjkl-x2k4p x\nend\n",
        "NAME ROLE\n...\nend\n...\n",
    ] {
        assert_eq!(mismatch(good, printed), None, "{good}");
    }
    for bad in ["NAME ROLE\n", "end\n...\n", "...\nNAME ROLE\n", "NAME ROLE\nend\n", "", "...\nother\n...\n"]
    {
        assert!(mismatch(bad, printed).is_some(), "{bad}");
    }
    assert_eq!(comparable("ServiceAccount a/b (line 13)"), comparable("ServiceAccount a/b  (line 204)"));
    assert_ne!(comparable("role/gitlab-registry"), comparable("role/gitlab-webservice"));
}

/// A GitLab as its chart makes it, with Pods that only wait.
fn gitlab(stage: &Stage) {
    stage.namespace("gitlab", "gitlab-iam-webhook/inject-");
    let deployments = [
        ("registry", "gitlab-registry"),
        ("webservice", "gitlab-webservice-default"),
        ("sidekiq", "gitlab-sidekiq-all-in-1-v2"),
        ("toolbox", "gitlab-toolbox"),
    ];
    let chart = stage.gitlab(&deployments.map(|(component, _)| component));
    for (component, name) in deployments {
        let labels = json!({"app": component, "chart": format!("{component}-9.10.0"), "release": "gitlab", "heritage": "Helm"});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "selector": {"matchLabels": {"app": component, "release": "gitlab"}},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "serviceAccountName": format!("gitlab-{component}"),
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": component, "image": PAUSE, "imagePullPolicy": "IfNotPresent"}],
                }},
            },
        });
        fs::write(Path::new(&chart).join(format!("templates/{name}.yaml")), deployment.to_string()).unwrap();
    }
    stage
        .run("helm", &["install", "gitlab", &chart, "--namespace", "gitlab", "--wait", "--timeout", "2m"])
        .good();
}

/// Types a page. After each mapping that a reader saves, `then` is typed: what the page says once for all.
fn type_page(terminal: &mut Terminal, path: &str, then: &[&Block], mut after: impl FnMut(&Block)) {
    let page = blocks(path);
    for (at, block) in page.iter().enumerate() {
        match &*block.language {
            "yaml" if terminal.saves(block) => {
                for block in then {
                    terminal.types(block, None);
                }
                after(block);
            }
            "sh" if block.needs().is_none() => {
                let printed = page.get(at + 1).filter(|next| next.language == "text");
                terminal.types(block, printed);
            }
            _ => {}
        }
    }
}

fn readme_with(helm: &str) -> Option<(Stage, Terminal)> {
    let stage = Stage::on_our_node("README.md, typed from an empty cluster")?;
    gitlab(&stage);
    let mut terminal = Terminal::new(&stage, helm);
    type_page(&mut terminal, "README.md", &[], |_| {});
    assert!(terminal.typed >= 7, "{}", terminal.typed);
    Some((stage, terminal))
}

#[test]
fn readme_as_typed_with_helm_3() {
    readme_with("helm3");
}

#[test]
fn readme_and_then_every_recipe_as_typed_with_helm_4() {
    let Some((stage, mut terminal)) = readme_with("helm") else { return };
    type_page(&mut terminal, "docs/eks.md", &[], |_| {});

    let recipes = blocks("docs/recipes.md");
    let common = |block: &&Block| block.section == "What every recipe needs" && block.language == "sh";
    let common: Vec<&Block> = recipes.iter().filter(common).filter(|block| block.needs().is_none()).collect();
    assert_eq!(common.len(), 2, "one puts a mapping in force, one restarts what uses it");
    let said = rows("docs/recipes.md", "who gets it");
    let mut compared = 0;
    type_page(&mut terminal, "docs/recipes.md", &common, |mapping| {
        for (_, cells) in said.iter().filter(|(recipe, _)| *recipe == mapping.section) {
            let name = |cell: &str| cell.trim_matches('`').to_owned();
            let Some(account) = cells[0].strip_prefix("ServiceAccount ").map(name) else { continue };
            let (key, value) = (name(&cells[1]), name(&cells[2]));
            let annotation = || {
                let get = ["get", "serviceaccount", &account, "--namespace", "gitlab", "-o", "json"];
                let done = stage.kubectl(&get);
                let object: serde_json::Value = serde_json::from_str(&done.ok.then_some(done.out)?).unwrap();
                Some(object["metadata"]["annotations"][&*key].as_str().map(str::to_owned))
            };
            // Only some of them are in this GitLab; tests/it/recipes.rs has all.
            if annotation().is_none() {
                continue;
            }
            eventually(&format!("{}: {account} has {key}: {value}", mapping.place), || {
                (annotation().flatten().as_ref() == Some(&value)).then_some(())
            });
            compared += 1;
        }
    });
    assert!(compared >= 12, "{compared}");
}
