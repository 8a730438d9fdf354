//! Does krew's manifest name archives that hold the plugin, by the rules of krew?

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use gitlab_iam_webhook::engine::yaml::{self, Node};
use regex::Regex;

const URL: &str = "https://example.com/releases/v0.2.0";

fn make(folder: &Path, version: &str, url: &str, binary: &str) -> Output {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/krew/make"))
        .args([version, url, binary, binary, "out"])
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text<'n>(node: &'n Node<'_>, path: &[&str]) -> &'n str {
    node.at_path(path).and_then(Node::as_text).unwrap_or_else(|| panic!("{path:?} is no text"))
}

fn printed(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_manifest_names_an_archive_with_the_plugin_for_each_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::write(folder.path().join("binary"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.path().join("binary"), fs::Permissions::from_mode(0o755)).unwrap();
    let done = make(folder.path(), "v0.2.0", URL, "./binary");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    let manifest = fs::read_to_string(out.join("gitlab-iam.yaml")).unwrap();
    assert!(!manifest.contains('@'), "something is not filled in: {manifest}");
    let documents = yaml::read(&manifest).unwrap();
    let [plugin] = documents.as_slice() else { panic!("{manifest}") };
    assert_eq!(text(plugin, &["apiVersion"]), "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(text(plugin, &["kind"]), "Plugin");
    // krew links the plugin as kubectl- and its name, with _ for -: that is what the program knows itself by.
    assert_eq!(text(plugin, &["metadata", "name"]).replace('-', "_"), "gitlab_iam");
    assert!(Regex::new(r"^v\d+\.\d+\.\d+$").unwrap().is_match(text(plugin, &["spec", "version"])));
    let short = text(plugin, &["spec", "shortDescription"]);
    assert!((1..=50).contains(&short.len()) && !short.contains('\n') && !short.ends_with('.'), "{short}");
    assert!(!text(plugin, &["spec", "description"]).is_empty());

    let platforms = plugin.at_path(&["spec", "platforms"]).and_then(Node::as_sequence).unwrap();
    let mut architectures = Vec::new();
    for platform in platforms {
        let labels = ["selector", "matchLabels"];
        assert_eq!(text(platform, &[&labels[..], &["os"]].concat()), "linux");
        architectures.push(text(platform, &[&labels[..], &["arch"]].concat()));
        let archive = text(platform, &["uri"]).strip_prefix(&format!("{URL}/")).unwrap();
        let sum = printed("sha256sum", &[archive], &out);
        assert_eq!(sum.split(' ').next(), Some(text(platform, &["sha256"])));
        let held = printed("tar", &["--list", "--verbose", "--gzip", "--file", archive], &out);
        let bin = text(platform, &["bin"]);
        let line = held.lines().find(|line| line.ends_with(&format!("/{bin}"))).unwrap();
        assert!(line.starts_with("-rwxr-xr-x 0/0 "), "{held}");
        assert!(held.contains("/LICENSE\n"), "{held}");
    }
    // Those that the Dockerfile builds.
    assert_eq!(architectures, ["amd64", "arm64"]);

    let again = fs::read(out.join("gitlab-iam-webhook_linux_amd64.tar.gz")).unwrap();
    assert!(make(folder.path(), "v0.2.0", URL, "./binary").status.success());
    assert_eq!(fs::read(out.join("gitlab-iam-webhook_linux_amd64.tar.gz")).unwrap(), again);
}

#[test]
fn what_krew_would_refuse_is_refused_first() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("binary"), "not to be run").unwrap();
    for (version, url, said) in [
        ("0.2.0", URL, "krew takes versions as v0.2.0, not 0.2.0"),
        (
            "v0.2.0",
            "http://example.com",
            "the archives are at an https:// URL without a / at its end, not at ",
        ),
        (
            "v0.2.0",
            "https://example.com/",
            "the archives are at an https:// URL without a / at its end, not at ",
        ),
        ("v0.2.0", URL, "./binary is not there, or cannot be run"),
    ] {
        let done = make(folder.path(), version, url, "./binary");
        let err = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && err.contains(said), "{err}");
        assert!(!folder.path().join("out/gitlab-iam.yaml").exists());
    }
}
