//! What does the chart see in the cluster at an install or an upgrade, and what does it refuse then?

use std::fs;

use serde_json::{Value, json};

use crate::chart::HELMS;
use crate::commands::{Done, root};
use crate::harness::Space;

const CHART: &str = "charts/gitlab-iam-webhook";

/// A release of our chart in a namespace of its own, which works in these namespaces alone.
struct Release {
    with: &'static str,
    space: Space,
    name: String,
    namespaces: Vec<String>,
}

impl Release {
    fn new(with: &'static str, test: &str, namespaces: &[&Space]) -> Self {
        let space = Space::new(test);
        let name = format!("{with}-{}", space.name);
        Self { with, space, name, namespaces: namespaces.iter().map(|space| space.name.clone()).collect() }
    }

    /// `helm VERB` with these flags.
    fn helm(&self, verb: &str, flags: &[&str]) -> Done {
        let mut arguments = vec![verb, &self.name, CHART, "--namespace", &self.space.name];
        let lists: Vec<String> =
            self.namespaces.iter().enumerate().map(|(n, name)| format!("namespaces[{n}]={name}")).collect();
        for list in &lists {
            arguments.extend(["--set", list]);
        }
        arguments.extend(flags);
        self.space.run_anywhere(self.with, &arguments, "")
    }

    /// The same with the value `mapping`.
    fn mapped(&self, verb: &str, mapping: &str, flags: &[&str]) -> Done {
        let file = self.space.folder().join("value.yaml");
        fs::write(&file, mapping).unwrap();
        let value = format!("mapping={}", file.display());
        self.helm(verb, &[&["--set-file", &value][..], flags].concat())
    }

    /// The mapping in the cluster.
    fn live(&self) -> String {
        let object = self.space.get("configmap", "role-mapping").unwrap();
        object["data"]["mapping.yaml"].as_str().unwrap().to_owned()
    }

    /// What an edit with kubectl leaves.
    fn edit(&self, mapping: &str) {
        let patch = json!({"data": {"mapping.yaml": mapping}}).to_string();
        self.space.kubectl(&["patch", "configmap", "role-mapping", "--type=merge", "--patch", &patch]).good();
        assert_eq!(self.live(), mapping);
    }

    /// What is needed to write over what another field manager has written.
    fn force(&self) -> &'static [&'static str] {
        if self.with == "helm" { &["--force-conflicts"] } else { &[] }
    }
}

fn rules(role: &str) -> String {
    format!("account: \"123456789012\"\nrules:\n  - {{match: {{component: webservice}}, role: {role}}}\n")
}

#[track_caller]
fn assert_refused(done: &Done, words: &str) {
    assert!(!done.ok && done.err.contains(words), "{}{}", done.out, done.err);
}

const EDITED: &str = "was edited in the cluster, and this release would overwrite it";
const OVERWRITE: [&str; 2] = ["--set", "mappingConfigMap.overwrite=true"];

#[test]
fn a_mapping_that_was_edited_in_the_cluster_is_overwritten_only_when_asked_for() {
    for with in HELMS {
        let gitlab = Space::new("edited-gitlab");
        let release = Release::new(with, "edited", &[&gitlab]);
        release.mapped("install", &rules("first"), &[]).good();
        assert_eq!(release.live(), rules("first"));
        // What the chart itself wrote is not an edit.
        release.mapped("upgrade", &rules("second"), &[]).good();
        assert_eq!(release.live(), rules("second"));

        release.edit(&rules("edited"));
        let refused = release.mapped("upgrade", &rules("third"), &[]);
        assert_refused(&refused, EDITED);
        // The command that shows the difference works as pasted.
        let (_, rest) = refused.err.split_once("behind: ").unwrap();
        let (command, _) = rest.split_once(" | kubectl diff -f - ").unwrap();
        let command = command.replace("CHART", CHART);
        let mut words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let file = release.space.folder().join("value.yaml");
        let value = format!("mapping={}", file.display());
        words.extend(["--set-file", &value, "--kube-version", "1.30.0"]);
        let rendered = release.space.run_anywhere(with, &words, "").good().out;
        let difference = release.space.run_anywhere("kubectl", &["diff", "-f", "-"], &rendered);
        for line in ["role: edited", "role: third"] {
            assert!(difference.out.contains(line), "{}{}", difference.out, difference.err);
        }
        assert_eq!(release.live(), rules("edited"));

        // Without the value the ConfigMap stays, and people edit it.
        release.helm("upgrade", &[]).good();
        assert_eq!(release.live(), rules("edited"));
        release.edit(&rules("edited-again"));
        release.helm("upgrade", &[]).good();
        assert_eq!(release.live(), rules("edited-again"));

        // On the way back to the value it is protected too, unless both say the same.
        assert_refused(&release.mapped("upgrade", &rules("fourth"), &[]), EDITED);
        release.mapped("upgrade", &rules("edited-again"), release.force()).good();
        release.edit(&rules("last-edit"));
        assert_refused(&release.mapped("upgrade", &rules("fifth"), release.force()), EDITED);
        release.mapped("upgrade", &rules("fifth"), &[&OVERWRITE, release.force()].concat()).good();
        assert_eq!(release.live(), rules("fifth"));
        release.mapped("upgrade", &rules("sixth"), &[]).good();
        assert_eq!(release.live(), rules("sixth"));
        release.space.run_anywhere(with, &["uninstall", &release.name, "-n", &release.space.name], "").good();
        assert_eq!(release.live(), rules("sixth"), "the mapping outlives the release");
    }
}

#[test]
fn a_mapping_of_somebody_else_is_taken_over_only_when_asked_for_twice() {
    for with in HELMS {
        let gitlab = Space::new("foreign-gitlab");
        let release = Release::new(with, "foreign", &[&gitlab]);
        let text = format!("--from-literal=mapping.yaml={}", rules("foreign"));
        release.space.kubectl(&["create", "configmap", "role-mapping", &text]).good();
        assert_refused(&release.mapped("install", &rules("ours"), &[]), EDITED);
        // Helm's own refusal is next.
        let refused = release.mapped("install", &rules("ours"), &OVERWRITE);
        assert_refused(&refused, "invalid ownership metadata");
        assert_eq!(release.live(), rules("foreign"));
        let all = [&OVERWRITE, &["--take-ownership"][..], release.force()].concat();
        release.mapped("install", &rules("ours"), &all).good();
        assert_eq!(release.live(), rules("ours"));
    }
}

#[test]
fn a_starter_without_rules_is_nothing_to_lose() {
    for with in HELMS {
        let gitlab = Space::new("starter-gitlab");
        let release = Release::new(with, "starter", &[&gitlab]);
        release.helm("install", &[]).good();
        let starter = fs::read_to_string(root().join("src/cluster/starter-mapping.yaml")).unwrap();
        let text = format!("--from-literal=mapping.yaml={starter}");
        release.space.kubectl(&["create", "configmap", "role-mapping", &text]).good();
        let flags = [&["--take-ownership"][..], release.force()].concat();
        release.mapped("upgrade", &rules("ours"), &flags).good();
        assert_eq!(release.live(), rules("ours"));
    }
}

#[test]
fn a_second_release_is_refused_where_it_would_work_in_the_same_namespaces() {
    for with in HELMS {
        let (one, two) = (Space::new("overlap-one"), Space::new("overlap-two"));
        let first = Release::new(with, "overlap-first", &[&one]);
        first.helm("install", &[]).good();
        let named = format!("release {} in the namespace {} ({})", first.name, first.space.name, one.name);

        let both = Release::new(with, "overlap-both", &[&one, &two]);
        assert_refused(&both.helm("install", &[]), &named);
        // Without a list it would work in all namespaces.
        let all = Release::new(with, "overlap-all", &[]);
        assert_refused(&all.helm("install", &["--dry-run=server"]), &named);
        // Terms that exclude the other's namespaces by name are seen.
        let term = "webhooks.namespaceSelector.matchExpressions[0]";
        let set = |field: &str, value: &str| format!("{term}.{field}={value}");
        let (key, operator) = (set("key", "kubernetes.io/metadata.name"), set("operator", "NotIn"));
        let values = set("values[0]", &one.name);
        let terms = ["--dry-run=server", "--set", &key, "--set", &operator, "--set", &values];
        let refused = all.helm("install", &terms);
        assert!(!refused.err.contains(&named), "{}", refused.err);

        // Nor may it be in the namespace of the first, whose mapping it would share.
        let space = &first.space.name;
        let list = format!("namespaces[0]={}", two.name);
        let beside = ["install", "beside", CHART, "--namespace", space, "--set", &list];
        let refused = first.space.run_anywhere(with, &beside, "");
        assert_refused(
            &refused,
            &format!("the namespace {space}: there is another release in it ({})", first.name),
        );

        let second = Release::new(with, "overlap-second", &[&two]);
        second.helm("install", &[]).good();
        // Each can be upgraded beside the other, and neither can grow into the other's namespaces.
        first.helm("upgrade", &[]).good();
        let grown = format!("namespaces[1]={}", two.name);
        let refused = first.helm("upgrade", &["--set", &grown]);
        let named = format!("release {} in the namespace {} ({})", second.name, second.space.name, two.name);
        assert_refused(&refused, &named);

        // The plain manifests are seen as well, by the names of their entries.
        let entry = |namespace: &str| {
            json!({
                "name": "create.serviceaccounts.gitlab-iam-webhook", "admissionReviewVersions": ["v1"],
                "sideEffects": "None", "failurePolicy": "Ignore", "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:1/mutate"},
                "namespaceSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [namespace]}]},
            })
        };
        let three = Space::new("overlap-three");
        let plain: Value = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": three.name}, "webhooks": [entry(&three.name)],
        });
        three.apply(&plain);
        let third = Release::new(with, "overlap-third", &[&three]);
        let named = format!("MutatingWebhookConfiguration {0} ({0})", three.name);
        assert_refused(&third.helm("install", &[]), &named);
        third.helm("install", &["--set", "refuseOverlap=false"]).good();
    }
}
