//! The chart: what it renders is accepted, what is mistyped is refused, and what is made from it is up to date.

use std::collections::BTreeSet;
use std::process::Command;

use gitlab_iam_webhook::engine::decision::{APPLIED, WAS};
use gitlab_iam_webhook::engine::provider::Provider;

use crate::commands::{Done, path_of, root};
use crate::harness::Space;

const HELMS: [&str; 2] = ["helm", "helm3"];

pub(crate) fn helm(helm: &str, arguments: &[&str]) -> Done {
    // So that neither this user's plugins nor their repositories matter.
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(path_of(helm));
    Done::of(&command.args(arguments).current_dir(root()).env("HOME", home.path()).output().unwrap())
}

fn template(with: &str, values: &[&str]) -> Done {
    let mut arguments = vec!["template", "release", "charts/gitlab-iam-webhook", "--namespace", "ours"];
    arguments.extend(["--kube-version", "1.30.0"]);
    for value in values {
        arguments.extend(["--set", value]);
    }
    helm(with, &arguments)
}

#[test]
fn what_is_made_from_the_chart_is_up_to_date() {
    Space::tools();
    for script in ["charts/readme", "deploy/make"] {
        let output = Command::new(root().join(script)).arg("--check").output().unwrap();
        Done::of(&output).good();
    }
}

#[test]
fn both_helms_find_nothing_to_complain_of_and_render_the_same_twice() {
    Space::tools();
    for with in HELMS {
        helm(with, &["lint", "--strict", "charts/gitlab-iam-webhook"]).good();
        assert_eq!(template(with, &[]).good().out, template(with, &[]).good().out);
    }
    // Whatever is chosen at installation time is the cluster's business, and keys are made in the cluster.
    for entry in std::fs::read_dir(root().join("charts/gitlab-iam-webhook/templates")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for function in
            ["lookup ", "genCA", "genSelfSigned", "genSignedCert", "genPrivateKey", "rand", "now "]
        {
            assert!(!text.contains(function), "{function}");
        }
    }
}

#[test]
fn unknown_and_mistyped_values_are_refused_with_their_path() {
    Space::tools();
    for (value, words) in [
        ("replicas=3", "replicas"),
        ("replicaCount=two", "replicaCount"),
        ("image.tagg=1", "tagg"),
        ("webhooks.serviceAccounts.failurePolicy.create=Sometimes", "failurePolicy"),
        ("certificates.mode=magic", "mode"),
        ("certificates.mode=existing", "certificates.existingSecret"),
        ("allowedRoles=one", "allowedRoles"),
        ("namespaces[0]=kube-system", "never sent to the webhook"),
        ("resources.limits.memory[0]=1", "memory"),
        ("mapping.rules=none", "rules"),
    ] {
        for with in HELMS {
            let refused = template(with, &[value]);
            assert!(!refused.ok && refused.err.contains(words), "{with} {value}: {}", refused.err);
        }
    }
}

#[test]
fn the_policy_allows_exactly_the_annotations_that_are_written() {
    Space::tools();
    let rendered = template("helm", &[]).good().out;
    let (_, list) = rendered.split_once("- name: ours").unwrap();
    let (_, list) = list.split_once('[').unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let allowed: BTreeSet<&str> = list.split('\'').skip(1).step_by(2).collect();
    let keys = Provider::Irsa.service_account_keys().unwrap();
    assert_eq!(allowed, keys.iter().chain([APPLIED, WAS]).collect());
}

#[test]
fn the_plain_manifests_are_accepted_word_for_word() {
    let space = Space::new("plain");
    let deploy = root().join("deploy").display().to_string();
    let everything = space.run_anywhere("kubectl", &["kustomize", &deploy], "").good().out;
    for document in everything.split("\n---\n") {
        // The namespace is not there in a rehearsal, so what goes into it is rehearsed in ours.
        let document =
            document.replace("namespace: gitlab-iam-webhook", &format!("namespace: {}", space.name));
        let rehearse = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        space.run_anywhere("kubectl", &rehearse, &document).good();
    }
}
