//! Does each check find what it is about, and nothing where all is well?

mod cases;

use std::collections::BTreeSet;

use super::*;
use crate::engine::mapping;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::inventory;
use cases::{Case, account, cases, namespace, pod, secret};

/// What stands where a credential would: no output may show it.
pub(super) const PLANTED: &str = "PLANTED-SECRET";

/// What is handed to the checks beside the objects.
struct Given<'a> {
    mapping: &'a str,
    is_live: bool,
    reads_secrets: bool,
    values: &'a [ValuesFile],
    served_namespaces: Option<&'a [String]>,
}

const LIVE: Given<'_> =
    Given { mapping: "", is_live: true, reads_secrets: true, values: &[], served_namespaces: None };

/// Examines these manifests as if they were in a cluster.
fn live(mapping: &str, manifests: &str) -> Report {
    examined(&Given { mapping, ..LIVE }, manifests)
}

fn examined(given: &Given<'_>, manifests: &str) -> Report {
    let mut inventory = inventory::read(manifests, "gitlab").unwrap().inventory;
    inventory.is_live = given.is_live;
    let ruleset = (!given.mapping.is_empty()).then(|| ruleset(given.mapping));
    examine(&Scene {
        inventory: &inventory,
        ruleset: ruleset.as_ref(),
        reads_secrets: given.reads_secrets,
        values: given.values,
        own_namespaces: &["gitlab-iam-webhook".to_owned()],
        served_namespaces: given.served_namespaces,
    })
}

fn ruleset(mapping: &str) -> Ruleset {
    mapping::compile(mapping, &OperatorPolicy::default()).unwrap()
}

/// Returns the findings of a check, as `PLACE: WHAT -> FIX`.
fn of<'r>(report: &'r Report, check: &Check) -> Vec<String> {
    let of_check = |finding: &&'r Finding| finding.check == check.id;
    let line = |Finding { place, what, fix, .. }: &Finding| format!("{place}: {what} -> {fix}");
    report.findings.iter().filter(of_check).map(line).collect()
}

#[test]
fn each_check_finds_what_it_is_about_and_nothing_where_all_is_well() {
    let mut tried = BTreeSet::new();
    for Case { check, mapping, wrong, right, want } in cases() {
        tried.insert(check.id);
        let report = live(mapping, &wrong);
        let found = of(&report, check);
        let [only] = found.as_slice() else { panic!("{}: {found:#?} of {report:#?}", check.id) };
        for part in want {
            assert!(only.contains(part), "{}: {only:?} lacks {part:?}", check.id);
        }
        let clean = live(mapping, &right);
        assert_eq!(of(&clean, check), Vec::<String>::new(), "{}: where all is well", check.id);
        for report in [report, clean] {
            assert!(!format!("{report:?}").contains(PLANTED), "{}: {report:?}", check.id);
            for finding in &report.findings {
                assert!(!finding.what.ends_with('.') && !finding.fix.ends_with('.'), "{finding:?}");
                assert!(finding.reference.starts_with("https://") || finding.reference.starts_with("docs/"));
            }
        }
    }
    let all: BTreeSet<_> = CHECKS.iter().map(|check| check.id).collect();
    let elsewhere = BTreeSet::from(["namespace-not-served", "dead-value"]);
    assert_eq!(all.difference(&tried).copied().collect::<BTreeSet<_>>(), elsewhere, "these have no case");
}

#[test]
fn what_is_installed_as_it_should_be_has_no_finding() {
    let report = live(cases::MAPPING, &cases::healthy());
    assert_eq!(report.findings, [], "{report:#?}");
    assert_eq!(report.unread, []);
}

#[test]
fn a_label_on_a_namespace_that_the_webhook_was_not_told_to_work_in_is_told() {
    let manifests = namespace("other", "gitlab-iam-webhook/inject: enabled", "");
    let served = ["gitlab".to_owned()];
    let limited = examined(&Given { served_namespaces: Some(&served), ..LIVE }, &manifests);
    assert_eq!(
        of(&limited, &namespaces::NOT_SERVED),
        ["Namespace other: its label gitlab-iam-webhook/inject=enabled does nothing: the webhook works in \
             gitlab only -> add other to `namespaces` in the values of gitlab-iam-webhook's chart"]
    );
    let other = ["other".to_owned()];
    for served_namespaces in [None, Some([].as_slice()), Some(&other)] {
        let report = examined(&Given { served_namespaces, ..LIVE }, &manifests);
        assert_eq!(report.findings, [], "{served_namespaces:?}");
    }
}

#[test]
fn the_rule_to_paste_is_taken_and_gives_the_account_its_role() {
    let manifests = [account("gitlab-shared", "", ""), pod("webservice", "gitlab-shared", "", "")].concat();
    let report = live(cases::MAPPING, &manifests);
    let found = of(&report, &accounts::ACCOUNT_WITHOUT_LABELS);
    let rule = found[0].split_once("add this rule to the mapping: ").unwrap().1;
    let mended = format!("{}  {rule}\n", cases::MAPPING);
    let report = live(&mended, &manifests);
    assert_eq!(of(&report, &accounts::ACCOUNT_WITHOUT_LABELS), Vec::<String>::new());
    let inventory = inventory::read(&manifests, "gitlab").unwrap().inventory;
    let decided = inventory.service_accounts[0]
        .with_subject(|subject| crate::engine::decision::decide(&ruleset(&mended), subject).edits.len());
    assert_eq!(decided, 2, "the role, and the record of it");
}

#[test]
fn fifty_pods_of_a_deployment_are_one_line() {
    let pods: String = (0..50)
        .map(|number| {
            let owned = format!(
                "name: gitlab-webservice-default-5d4f-{number}, ownerReferences: [{{kind: ReplicaSet, name: \
                 gitlab-webservice-default-5d4f}}], labels: {{chart: webservice-9.10.0, app: webservice, \
                 release: gitlab, pod-template-hash: 5d4f}}"
            );
            pod("webservice", "default", &owned, "")
        })
        .collect();
    let found = of(&live(cases::MAPPING, &pods), &accounts::DEFAULT_ACCOUNT);
    assert_eq!(found.len(), 1, "{found:#?}");
    let start = "Pod gitlab/gitlab-webservice-default-5d4f-0 and 49 other Pods of Deployment \
                 gitlab-webservice-default: ";
    assert!(found[0].starts_with(start), "{found:?}");
}

#[test]
fn findings_are_counted_where_there_are_more_than_are_told() {
    let many: String = (0..MAX_FINDINGS + 7)
        .map(|number| account(&format!("a{number}"), "", "eks.amazonaws.com/role: x"))
        .collect();
    let report = live("", &many);
    assert_eq!((report.findings.len(), report.more), (MAX_FINDINGS, 7));
}

#[test]
fn secrets_are_looked_at_only_where_that_was_asked_for() {
    let manifests = [
        cases::healthy(),
        secret("storage", "connection", "provider: AWS\naws_access_key_id: PLANTED-SECRET\n"),
        cases::written(
            "Deployment",
            "toolbox",
            "gitlab-webservice",
            "",
            "containers: [{name: a, envFrom: [{secretRef: {name: aws}}, {configMapRef: {name: gone}}]}]",
        ),
        secret("aws", "AWS_ACCESS_KEY_ID", "PLANTED-SECRET"),
    ]
    .concat();
    let without = examined(&Given { reads_secrets: false, mapping: cases::MAPPING, ..LIVE }, &manifests);
    assert_eq!(without.findings, [], "{without:#?}");
    let unread: Vec<_> = without.unread.iter().map(|one| format!("{}: {}", one.what, one.why)).collect();
    assert_eq!(
        unread,
        [
            "environment variables of Pods from ConfigMap gitlab/gone, Secret gitlab/aws: Secrets are read with \
             --secrets only",
            "Secrets: those of object storage, registry, s3cmd and the runner's cache, and the values of Helm's \
             releases: Secrets are read with --secrets only",
        ]
    );
    let with = live(cases::MAPPING, &manifests);
    assert_eq!(of(&with, &credentials::STATIC_KEYS).len(), 1);
    assert_eq!(of(&with, &chain::STATIC_ENV).len(), 1);
}

#[test]
fn what_others_write_is_one_bounded_line_and_one_word_of_a_shell() {
    let hostile = "arn:aws:iam::1:role/'; rm -rf /\n\u{1b}[2J".to_owned() + &"x".repeat(100_000);
    let namespace =
        namespace("gitlab", "gitlab-iam-webhook/inject: enabled", "iam.amazonaws.com/permitted: x");
    let hostile = serde_json::to_string(&hostile).unwrap();
    let annotated = format!("annotations: {{iam.amazonaws.com/role: {hostile}}}");
    let manifests = [namespace, pod("webservice", "gitlab-webservice", &annotated, "")].concat();
    let report = live("", &manifests);
    assert!(!report.findings.is_empty());
    for Finding { place, what, fix, .. } in &report.findings {
        let text = format!("{place}{what}{fix}");
        assert!(!text.contains(char::is_control) && text.len() < 10_000, "{text}");
    }
}
