//! Is the same binary a plugin of kubectl under another name, and do shells complete what is typed?

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::run_in;

const NAMES: [&str; 3] = ["gitlab-iam-webhook", "kubectl-gitlab_iam", "kubectl_complete-gitlab_iam"];

/// A folder with the binary under all of its names, and some files.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        symlink(env!("CARGO_BIN_EXE_gitlab-iam-webhook"), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("mapping.yaml"), "rules: []\n").unwrap();
    fs::create_dir(folder.path().join("manifests")).unwrap();
    folder
}

fn run(folder: &Path, name: &str, arguments: &[&str]) -> (i32, String, String) {
    run_in(folder, &folder.join(name), arguments)
}

#[test]
fn as_a_plugin_it_says_what_is_typed_for_kubectl() {
    let folder = folder();
    let plugin = |arguments: &[&str]| run(folder.path(), "kubectl-gitlab_iam", arguments);
    let (code, help, _) = plugin(&["--help"]);
    assert_eq!(code, 0);
    assert!(help.contains("Usage: kubectl gitlab-iam <COMMAND>"), "{help}");
    assert!(help.contains("\n    kubectl gitlab-iam check mapping.yaml\n"), "{help}");
    let (_, help, _) = plugin(&["help", "verify"]);
    assert!(help.contains("Usage: kubectl gitlab-iam verify "), "{help}");
    assert!(help.contains("\n    kubectl gitlab-iam verify -n gitlab --region eu-west-1\n"), "{help}");
    let (code, _, err) = plugin(&["chek"]);
    assert!(code == 2 && err.contains("Usage: kubectl gitlab-iam <COMMAND>"), "{err}");
    let (code, out, _) = plugin(&["check", "mapping.yaml"]);
    assert_eq!((code, out.as_str()), (0, "mapping.yaml: ok, 0 rules\n"));
    let (_, help, _) = run(folder.path(), "gitlab-iam-webhook", &["--help"]);
    assert!(!help.contains("kubectl gitlab-iam "), "{help}");
}

#[test]
fn kubectls_options_may_stand_before_the_command() {
    let folder = folder();
    let named = |arguments: &[&str]| run(folder.path(), "kubectl-gitlab_iam", arguments).2;
    let behind = named(&["verify", "-n", "gitlab", "--context", "none"]);
    assert!(behind.starts_with("error: connecting to the cluster: "), "{behind}");
    assert_eq!(named(&["-n", "gitlab", "--context=none", "verify"]), behind);
    let (code, _, err) = run(folder.path(), "kubectl-gitlab_iam", &["-A", "check", "mapping.yaml"]);
    assert!(code == 2 && err.contains("unexpected argument '-A'"), "{err}");
    let (code, _, err) = run(folder.path(), "kubectl-gitlab_iam", &["-n", "gitlab"]);
    assert!(code == 2 && err.contains("Usage: kubectl gitlab-iam <COMMAND>"), "{err}");
}

#[test]
fn kubectl_is_told_what_can_follow_one_a_line_and_then_what_to_do_with_them() {
    let folder = folder();
    let follows = |words: &[&str]| {
        let (code, out, err) = run(folder.path(), "kubectl_complete-gitlab_iam", words);
        assert_eq!((code, err.as_str()), (0, ""));
        let lines: Vec<String> =
            out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
        lines
    };
    assert_eq!(follows(&["tru"]), ["trust-policy", ":4"]);
    assert_eq!(follows(&["-n", "gitlab", "tru"]), ["trust-policy", ":4"]);
    assert_eq!(follows(&["explain", "--output", "j"]), ["json", ":4"]);
    assert_eq!(follows(&["-n", "gitlab", "explain", "--tr"]), ["--trace", ":4"]);
    assert_eq!(follows(&["explain", "-m", "mapp"]), ["mapping.yaml", ":4"]);
    assert_eq!(follows(&["explain", "manif"]), ["manifests/", ":6"], "no space, so that one can go on");
    assert_eq!(follows(&["explain", "deplo"]), ["deploy/", ":6"]);
    assert_eq!(follows(&["nonsense", "x"]), [":4"]);
    assert_eq!(follows(&["-n", ""]), [":4"], "a command is no namespace");
    assert_eq!(follows(&["-n", "gitlab", "--context", "do"]), [":4"]);
    let commands = follows(&[""]);
    assert!(commands.contains(&"doctor".to_owned()) && commands.len() > 10, "{commands:?}");
    assert!(!commands.iter().any(|word| word.starts_with('-')), "options are told where one is begun");
    assert!(follows(&[]) == commands);
    assert!(follows(&["doctor", "-"]).contains(&"--strict".to_owned()));
}

/// What bash itself completes at the end of a line, by the script that it was given.
fn bash(folder: &Path, words: &[&str]) -> Vec<String> {
    bash_by("gitlab-iam-webhook", folder, words)
}

/// The same where the script is that of this program.
fn bash_by(program: &str, folder: &Path, words: &[&str]) -> Vec<String> {
    let current = words.len() - 1;
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let typed = format!(
        "source <(\"$PROGRAM\" completions bash) || exit
        rule=$(complete -p gitlab-iam-webhook) || exit
        function=${{rule##*-F }}
        COMP_WORDS=({words}) COMP_CWORD={current} COMP_TYPE=9
        ${{function%% *}} gitlab-iam-webhook {last} ''
        printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words = quoted.join(" "),
        last = quoted[current],
    );
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["--norc", "-c", &typed])
        .current_dir(folder)
        .env("PATH", path)
        .env("PROGRAM", program)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    // compopt works only while somebody types.
    let err: String = err.lines().filter(|line| !line.contains("compopt")).collect();
    assert!(output.status.success() && err.is_empty(), "{err}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_values_and_files() {
    let folder = folder();
    let completed = |words: &[&str]| bash(folder.path(), &[&["gitlab-iam-webhook"], words].concat());
    assert_eq!(completed(&["tru"]), ["trust-policy"]);
    assert_eq!(completed(&["explain", "--tr"]), ["--trace"]);
    assert_eq!(completed(&["explain", "--output", "j"]), ["json"]);
    assert_eq!(completed(&["explain", "-m", "mapp"]), ["mapping.yaml"]);
    assert_eq!(completed(&["-n", "gitlab", "explain", "--tr"]), ["--trace"]);
    assert_eq!(completed(&["-n", "do"]), [""]);
    assert_eq!(completed(&["completions", ""]).iter().filter(|word| !word.starts_with('-')).count(), 3);
}

#[test]
fn no_name_of_a_folder_or_a_file_is_run_by_a_completion() {
    for name in
        ["p q", "it's", "$(touch run)", "`touch run`", "a\"b", "a;touch run;b", "VAR BIN NAME", "$HOME"]
    {
        let folder = folder();
        let inner = folder.path().join(name);
        fs::create_dir(&inner).unwrap();
        symlink(env!("CARGO_BIN_EXE_gitlab-iam-webhook"), inner.join(NAMES[0])).unwrap();
        for program in [format!("./{name}/{}", NAMES[0]), inner.join(NAMES[0]).display().to_string()] {
            let words = [NAMES[0], "tru"];
            assert_eq!(bash_by(&program, folder.path(), &words), ["trust-policy"], "{program}");
        }
        // What is completed goes into the line, where it must be one word.
        fs::write(inner.join("m y.yaml"), "").unwrap();
        let first = name.split(['\'', '$', '`', '"', ';', ' ']).next().unwrap();
        let typed = [NAMES[0], "check", first];
        for word in bash(folder.path(), &typed).iter().filter(|word| word.ends_with("'/")) {
            let script = format!("printf %s {word}");
            let done =
                Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
            assert_eq!(String::from_utf8(done.stdout).unwrap(), format!("{name}/"), "{word}");
        }
        assert!(!folder.path().join("run").exists(), "{name}");
    }
}

#[test]
fn each_shell_has_a_script_and_others_are_refused() {
    let folder = folder();
    let ours = |arguments: &[&str]| run(folder.path(), "gitlab-iam-webhook", arguments);
    let own = folder.path().join("gitlab-iam-webhook").display().to_string();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = ours(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(script.contains("GITLAB_IAM_WEBHOOK_COMPLETE") && script.contains(&own), "{script}");
    }
    let (code, _, err) = ours(&["completions", "tcsh"]);
    assert!(code == 2 && err.contains("[possible values: bash, zsh, fish]"), "{err}");
    let asked = Command::new(&own).env("GITLAB_IAM_WEBHOOK_COMPLETE", "tcsh").output().unwrap();
    let err = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(2));
    assert!(err.starts_with("error: reading the variable GITLAB_IAM_WEBHOOK_COMPLETE: "), "{err}");
}
