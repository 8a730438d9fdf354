//! Do the recipes of docs/recipes.md do what the page says of them?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use gitlab_iam_webhook::engine::decision::decide;
use gitlab_iam_webhook::engine::object::manifest;
use gitlab_iam_webhook::engine::object::subject::Requester;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;
use gitlab_iam_webhook::engine::yaml;
use serde_json::Value;

use crate::page::{Block, blocks, rows};
use crate::support::{REPLICASET_CONTROLLER, data, ruleset};

const PAGE: &str = "docs/recipes.md";
const RUNNER: &str = "system:serviceaccount:gitlab-runner:gitlab-runner";
const PERSON: &str = "alice";

/// An object that meets a recipe, by what the page calls it.
struct Guest {
    called: &'static str,
    source: Source,
}

enum Source {
    /// A case of tests/data/gitlab-objects.yaml.
    Case(&'static str),
    /// A case that another user asks for.
    CaseBy(&'static str, &'static str),
    /// An object of this page's own, and who asks for it.
    Own(&'static str, &'static str),
}

const fn case(called: &'static str, case: &'static str) -> Guest {
    Guest { called, source: Source::Case(case) }
}

const REGISTRY: Guest = case("ServiceAccount `gitlab-registry`", "sa-registry");
const WEBSERVICE: Guest = case("ServiceAccount `gitlab-webservice`", "sa-webservice");
const SIDEKIQ: Guest = case("ServiceAccount `gitlab-sidekiq`", "sa-sidekiq");
const TOOLBOX: Guest = case("ServiceAccount `gitlab-toolbox`", "sa-toolbox");
const GITALY: Guest = case("ServiceAccount `gitlab-gitaly`", "sa-gitaly");

/// What lives beside GitLab in every recipe and gets a role in none: what runs as `default`, a Pod that a
/// person labels as webservice, and a database.
const BYSTANDERS: [Guest; 4] = [
    case("ServiceAccount `default`", "sa-namespace-default"),
    case("the Pod of `helm test`", "pod-webservice-helm-test"),
    case("ServiceAccount `gitlab-postgresql`", "sa-postgresql"),
    Guest { called: "a Pod that a person labels", source: Source::CaseBy("pod-webservice", PERSON) },
];

fn accounts() -> Vec<Guest> {
    vec![REGISTRY, WEBSERVICE, SIDEKIQ, TOOLBOX, GITALY]
}

fn pods() -> Vec<Guest> {
    vec![
        case("Pods of Deployment `gitlab-registry`", "pod-registry"),
        case("Pods of Job `gitlab-registry-migrations`", "pod-registry-migrations"),
        case("Pods of Deployment `gitlab-webservice-default`", "pod-webservice"),
        case("Pods of Deployment `gitlab-sidekiq-all-in-1-v2`", "pod-sidekiq"),
        case("Pods of Deployment `gitlab-toolbox`", "pod-toolbox"),
        case("Pods of CronJob `gitlab-toolbox-backup`", "pod-toolbox-backup-cronjob"),
        case("Pods of StatefulSet `gitlab-gitaly`", "pod-gitaly"),
    ]
}

/// The objects of the document that a recipe is about.
fn guests(recipe: &str) -> Vec<Guest> {
    let own = |called, text, user| Guest { called, source: Source::Own(text, user) };
    let mut guests = match recipe {
        "The registry" | "Webservice and sidekiq" | "One role for all" => {
            let mut all = accounts();
            all.extend(pods());
            all.push(case("ServiceAccount `gitlab-gitlab-runner`", "sa-gitlab-runner-umbrella"));
            all
        }
        "Backups from toolbox" => {
            let mut all = accounts();
            all.push(case("ServiceAccount `gitlab-task-runner`", "sa-old-task-runner"));
            all.push(case("Pods of CronJob `gitlab-toolbox-backup`", "pod-toolbox-backup-cronjob"));
            all
        }
        "Accounts that eksctl or Terraform made" => vec![
            case("ServiceAccount `gitlab-sa`", "sa-global-name-eksctl"),
            own("ServiceAccount `registry-s3`", REGISTRY_S3, PERSON),
            TOOLBOX,
        ],
        "The role on Pods too" => {
            let mut all = accounts();
            all.extend(pods().into_iter().filter(|guest| !guest.called.contains("Job `gitlab-registry")));
            all
        }
        "kube2iam" | "kiam" => {
            let mut all = pods();
            all.extend(accounts());
            all
        }
        "The runner's cache" => vec![
            case("ServiceAccount `gitlab-runner`", "sa-runner-standalone"),
            case("ServiceAccount `gitlab-runner-prod`", "sa-runner-standalone-named-release"),
            case("ServiceAccount `ci-gitlab-runner`", "sa-runner-other-release"),
            case("ServiceAccount `gitlab-gitlab-runner`", "sa-gitlab-runner-umbrella"),
            case("ServiceAccount `gitlab-jobs`", "sa-runner-jobs"),
            case("a job", "job-19-main"),
        ],
        "Jobs by their account" | "Jobs by an account that they choose" => vec![
            case("ServiceAccount `gitlab-jobs`", "sa-runner-jobs"),
            own("ServiceAccount `ci-test`", CI_TEST, PERSON),
            own("ServiceAccount `ci-deploy`", CI_DEPLOY, PERSON),
            own("ServiceAccount `other-ci-deploy`", OTHER_CI_DEPLOY, PERSON),
            // A glob for the accounts of jobs would reach this manager.
            case("ServiceAccount `ci-gitlab-runner`", "sa-runner-other-release"),
            case("ServiceAccount `gitlab-runner`", "sa-runner-standalone"),
            case("a job", "job-19-main"),
        ],
        "Jobs by project" => vec![
            case("Pods of jobs of project 42", "job-19-main"),
            case("Pods of jobs of project 42", "job-18-feature"),
            case("Pods of jobs of project 42", "job-17-9"),
            case("a job of project 1337", "job-other-project"),
            case("a job that claims another namespace", "job-forged-namespace-label"),
            own("Pods of jobs that ask for a role themselves", BOLD_JOB, RUNNER),
            Guest { called: "a forged job", source: Source::CaseBy("job-19-main", PERSON) },
            Guest { called: "a forged job", source: Source::CaseBy("job-19-main", REPLICASET_CONTROLLER) },
            case("ServiceAccount `gitlab-jobs`", "sa-runner-jobs"),
        ],
        other => panic!("{PAGE} has a recipe that no objects are made for: {other}"),
    };
    guests.extend(BYSTANDERS);
    guests
}

const REGISTRY_S3: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: registry-s3, namespace: gitlab, labels: {app.kubernetes.io/managed-by: terraform}}
";
const CI_TEST: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: ci-test, namespace: gitlab-runner}
";
const CI_DEPLOY: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: ci-deploy, namespace: gitlab-runner}
";
const OTHER_CI_DEPLOY: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: other-ci-deploy, namespace: gitlab-runner}
";
/// Its author wrote the annotation, where the runner's TOML allows that.
const BOLD_JOB: &str = "apiVersion: v1
kind: Pod
metadata:
  name: runner-t1x9kq2vz-project-1337-concurrent-0-q1w2e3r5
  namespace: gitlab-runner
  labels:
    pod: runner-t1x9kq2vz-project-1337-concurrent-0
    project.runner.gitlab.com/id: \"1337\"
  annotations: {iam.amazonaws.com/role: admin}
spec: {serviceAccountName: gitlab-jobs, containers: []}
";

/// Each case of tests/data/gitlab-objects.yaml: who asks, and the object.
fn cases() -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(data("gitlab-objects.yaml")).unwrap();
    let documents = text.split("\n---\n").filter_map(|document| document.strip_prefix("#@ "));
    let cases = documents.map(|document| {
        let (header, manifest) = document.split_once('\n').unwrap();
        let header: Value = serde_json::from_str(header).unwrap();
        let text = |key: &str| header[key].as_str().unwrap().to_owned();
        (text("case"), (text("user"), manifest.to_owned()))
    });
    cases.collect()
}

/// What is written to an object: annotations and their values, but for our own record.
fn written(ruleset: &Ruleset, text: &str, user: &str) -> Vec<(String, String)> {
    let objects = manifest::read(text).unwrap();
    assert_eq!(objects.len(), 1, "{text}");
    let decision = decide(ruleset, &objects[0].subject("gitlab", Requester::User(user)));
    let edits = decision.edits.iter().filter(|edit| edit.key != "gitlab-iam-webhook/applied");
    let value =
        |value: Option<&str>| value.map_or_else(|| "taken off".to_owned(), |value| format!("`{value}`"));
    edits.map(|edit| (format!("`{}`", edit.key), value(edit.value.as_deref()))).collect()
}

fn mappings() -> Vec<Block> {
    let mappings = blocks(PAGE).into_iter().filter(|block| block.file() == Some("mapping.yaml"));
    mappings.collect()
}

#[test]
fn each_recipe_writes_what_its_table_says_and_nothing_else() {
    let cases = cases();
    let rows = rows(PAGE, "who gets it");
    let mappings = mappings();
    assert_eq!(mappings.len(), 12, "each recipe has one mapping");
    for Block { section, text, place, .. } in &mappings {
        let ruleset = ruleset(text);
        let mut comes_out = BTreeSet::new();
        for Guest { called, source } in guests(section) {
            let (user, manifest) = match source {
                Source::Case(case) => (&*cases[case].0, &*cases[case].1),
                Source::CaseBy(case, user) => (user, &*cases[case].1),
                Source::Own(text, user) => (user, text),
            };
            for (key, value) in written(&ruleset, manifest, user) {
                comes_out.insert([called.to_owned(), key, value]);
            }
        }
        let said = rows.iter().filter(|(recipe, _)| recipe == section);
        let said: BTreeSet<[String; 3]> =
            said.map(|(_, cells)| <[String; 3]>::try_from(cells.clone()).unwrap()).collect();
        assert_eq!(comes_out, said, "{place}: {section}");
        assert!(!said.is_empty(), "{place}");
    }
    let recipes: BTreeSet<&str> = mappings.iter().map(|block| &*block.section).collect();
    let tables: BTreeSet<&str> = rows.iter().map(|(recipe, _)| &**recipe).collect();
    assert_eq!(recipes, tables);
}

#[test]
fn every_mapping_of_the_pages_passes_check_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for page in [PAGE, "README.md", "docs/eks.md"] {
        for block in blocks(page).iter().filter(|block| block.file() == Some("mapping.yaml")) {
            let file = folder.path().join("mapping.yaml");
            fs::write(&file, &block.text).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
            let done = command.args(["check", "--strict", "--output", "json"]).arg(&file).output().unwrap();
            assert!(done.status.success(), "{}: {}", block.place, String::from_utf8_lossy(&done.stdout));
            let found: Value = serde_json::from_slice(&done.stdout).unwrap();
            assert_eq!(found[0]["warnings"], serde_json::json!([]), "{}", block.place);
            assert_eq!(found[0]["everyNamespace"], serde_json::json!([]), "{}", block.place);
            checked += 1;
        }
    }
    assert!(checked >= 12, "{checked}");
}

#[test]
fn every_command_of_the_pages_is_typed_or_says_what_it_needs() {
    let known = ["AWS", "Rust", "a job that runs"];
    let mut typed = 0;
    for page in [PAGE, "README.md", "docs/eks.md"] {
        let mut before = String::new();
        for block in blocks(page) {
            let Block { language, place, .. } = &block;
            match (&**language, block.needs()) {
                ("sh", Some(needs)) => {
                    assert!(known.iter().any(|known| needs.starts_with(known)), "{place}: {needs}");
                }
                ("sh", None) => typed += 1,
                ("text", _) => assert_eq!(before, "sh", "{place}: what prints this?"),
                ("yaml" | "json" | "toml" | "ini" | "mermaid", _) => {}
                (other, _) => panic!("{place}: nobody reads a block `{other}`"),
            }
            before.clone_from(language);
        }
    }
    assert!(typed >= 12, "{typed}");
}

fn top_keys<'n>(node: &'n yaml::Node<'n>) -> impl Iterator<Item = &'n str> {
    node.as_mapping().unwrap().iter().map(|(key, _)| key.as_text().unwrap())
}

#[test]
fn every_values_file_and_secret_of_the_pages_is_yaml() {
    let ours = include_str!("../../charts/gitlab-iam-webhook/values.yaml");
    let ours = yaml::read(ours).unwrap();
    let gitlabs = ["global", "registry", "gitlab", "rbac", "serviceAccount", "runners"];
    for page in [PAGE, "README.md", "docs/eks.md"] {
        // That page's values are those of our own chart.
        let known: BTreeSet<&str> =
            if page == "docs/eks.md" { top_keys(&ours[0]).collect() } else { gitlabs.into() };
        for block in blocks(page).iter().filter(|block| block.language == "yaml") {
            assert!(block.file().is_some(), "{}: the first line names no file", block.place);
            let read = yaml::read(&block.text).unwrap_or_else(|error| panic!("{}: {error}", block.place));
            assert_eq!(read.len(), 1, "{}", block.place);
            // Helm takes a value that nobody reads without a word.
            if block.file() == Some("values.yaml") {
                let unknown: Vec<&str> = top_keys(&read[0]).filter(|key| !known.contains(*key)).collect();
                assert!(unknown.is_empty(), "{}: {unknown:?}", block.place);
            }
        }
    }
}
