//! Does the real kubectl run the binary as its plugin, and complete what is typed for it?

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::commands::{Done, path_of};
use crate::harness::{Cluster, Space};

/// kubectl with the binary's two other names in its PATH, as a person puts them there.
struct Kubectl {
    folder: PathBuf,
    path: String,
}

impl Kubectl {
    fn new(space: &Space) -> Self {
        for name in ["kubectl-gitlab_iam", "kubectl_complete-gitlab_iam"] {
            symlink(env!("CARGO_BIN_EXE_gitlab-iam-webhook"), space.folder().join(name)).unwrap();
        }
        let folder = space.folder().to_owned();
        Self { folder, path: format!("{}:{}", space.folder().display(), std::env::var("PATH").unwrap()) }
    }

    fn run(&self, arguments: &[&str]) -> Done {
        let output = Command::new(path_of("kubectl"))
            .args(arguments)
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &Cluster::shared().kubeconfig)
            .output()
            .unwrap();
        Done::of(&output)
    }
}

#[test]
fn kubectl_runs_the_plugin_and_completes_it() {
    let space = Space::new("plugin");
    let kubectl = Kubectl::new(&space);
    let listed = kubectl.run(&["plugin", "list"]).good().out;
    assert!(listed.contains("/kubectl-gitlab_iam\n"), "{listed}");
    let help = kubectl.run(&["gitlab-iam", "--help"]).good().out;
    assert!(help.contains("Usage: kubectl gitlab-iam <COMMAND>"), "{help}");

    // With kubectl's own options, before the command and behind it.
    let behind = kubectl.run(&["gitlab-iam", "doctor", "-n", &space.name]);
    let before = kubectl.run(&["gitlab-iam", "-n", &space.name, "doctor"]);
    assert!(behind.out.starts_with("looked at: "), "{}{}", behind.out, behind.err);
    assert!(before.out.contains(&format!("namespaces {}\n", space.name)), "{}", before.out);

    let completed = |words: &[&str]| {
        let done = kubectl.run(&[&["__complete", "gitlab-iam"], words].concat()).good();
        let lines = done.out.lines().map(|line| line.split('\t').next().unwrap().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(completed(&["trus"]), ["trust-policy", ":4"]);
    assert_eq!(completed(&["-n", "gitlab", "explain", "--output", "j"]), ["json", ":4"]);
    assert_eq!(completed(&["explain", "deplo"]), ["deploy/", ":6"]);
}
