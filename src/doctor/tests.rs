//! Does each check find what it is about, and nothing where all is well?

mod cases;

use std::collections::BTreeSet;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

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
    is_webhook_broken: bool,
}

const LIVE: Given<'_> = Given {
    mapping: "",
    is_live: true,
    reads_secrets: true,
    values: &[],
    served_namespaces: None,
    is_webhook_broken: false,
};

/// Examines these manifests as if they were in a cluster.
fn live(mapping: &str, manifests: &str) -> Report {
    examined(&Given { mapping, ..LIVE }, manifests)
}

fn examined(given: &Given<'_>, manifests: &str) -> Report {
    let mut inventory = inventory::read(manifests, "gitlab").unwrap().inventory;
    inventory.is_live = given.is_live;
    let ruleset = (!given.mapping.is_empty()).then(|| ruleset(given.mapping));
    let mut findings = Findings::default();
    let scene = Scene {
        inventory: &inventory,
        ruleset: ruleset.as_ref(),
        reads_secrets: given.reads_secrets,
        values: given.values,
        own_namespaces: &["gitlab-iam-webhook".to_owned()],
        served_namespaces: given.served_namespaces,
        is_webhook_broken: given.is_webhook_broken,
    };
    examine(&scene, &mut findings);
    findings.into_report()
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
fn a_namespace_is_opted_in_only_after_the_webhook_is_mended() {
    let manifests =
        [namespace("gitlab", "", ""), account("web", "webservice", ""), pod("webservice", "web", "", "")];
    let broken =
        examined(&Given { mapping: cases::MAPPING, is_webhook_broken: true, ..LIVE }, &manifests.concat());
    let found = of(&broken, &namespaces::NOT_LABELLED);
    assert!(
        found[0].contains("-> first mend the problems of the webhook above, then: kubectl label"),
        "{found:?}"
    );
    let sound = live(cases::MAPPING, &manifests.concat());
    let found = of(&sound, &namespaces::NOT_LABELLED);
    assert!(found[0].contains("-> kubectl label"), "{found:?}");
}

#[test]
fn a_namespace_of_which_no_rule_decides_anything_needs_no_label() {
    let role = "eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/own";
    let manifests =
        [namespace("gitlab", "", ""), account("web", "webservice", role), pod("webservice", "web", "", "")];
    let elsewhere = "account: \"123456789012\"\nrules: [{match: {namespace: other}, role: gitlab}]\n";
    let report = live(elsewhere, &manifests.concat());
    assert_eq!(of(&report, &namespaces::NOT_LABELLED), Vec::<String>::new());
    let unknown = live("", &manifests.concat());
    assert_eq!(of(&unknown, &namespaces::NOT_LABELLED).len(), 1, "no mapping is known");
}

#[test]
fn manifests_without_the_account_of_a_pod_say_that_it_was_not_looked_at() {
    let manifests = [pod("webservice", "gitlab-web", "", ""), pod("sidekiq", "default", "", "")].concat();
    let report = examined(&Given { is_live: false, ..LIVE }, &manifests);
    let unread: Vec<_> = report.unread.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(unread, ["ServiceAccount gitlab/gitlab-web"], "each namespace has a `default`");
}

#[test]
fn an_annotation_that_nobody_reads_is_told_also_where_the_mapping_gives_the_role() {
    let role = |name: &str| format!("eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/{name}");
    for (name, on_account) in [("gitlab", String::new()), ("other", String::new()), ("other", role("gitlab"))]
    {
        let metadata = format!("annotations: {{{}}}", role(name));
        let manifests =
            [account("web", "webservice", &on_account), pod("webservice", "web", &metadata, "")].concat();
        let found = of(&live(cases::MAPPING, &manifests), &annotations::WITHOUT_EFFECT);
        assert!(
            found[0].contains("its ServiceAccount web has arn:aws:iam::123456789012:role/gitlab"),
            "{found:?}"
        );
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
    // They hide nothing of another namespace.
    let other = account("z", "", "eks.amazonaws.com/role: x").replace("name: z,", "name: z, namespace: z,");
    let report = live("", &format!("{many}{other}"));
    assert_eq!((report.findings.len(), report.more), (MAX_FINDINGS + 1, 7));
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
            "environment variables of Pods from Secret gitlab/aws: Secrets are read with --secrets only",
            "environment variables of Pods from ConfigMap gitlab/gone: it is not there, or was not read",
            "Secrets: those of object storage, registry, s3cmd and the runner's cache, and the values \
             of Helm's \
             releases: Secrets are read with --secrets only",
        ]
    );
    let with = live(cases::MAPPING, &manifests);
    assert_eq!(of(&with, &credentials::STATIC_KEYS).len(), 1);
    assert_eq!(of(&with, &chain::STATIC_ENV).len(), 1);
}

#[test]
fn what_others_write_is_one_bounded_line_and_one_word_of_a_shell() {
    let hostile = "arn:aws:iam::1:role/'; rm -rf /\n\u{1b}[2J".to_owned() + &"x".repeat(1_000);
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

/// Packs values as Helm keeps them.
fn release(name: &str, chart: &str, config: &str) -> String {
    let json =
        format!(r#"{{"chart":{{"metadata":{{"name":"{chart}","version":"9.10.0"}}}},"config":{config}}}"#);
    packed(name, json.as_bytes())
}

fn packed(name: &str, json: &[u8]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(json).unwrap();
    let data = STANDARD.encode(STANDARD.encode(gzip.finish().unwrap()));
    format!(
        "---\n{{kind: Secret, type: helm.sh/release.v1, metadata: {{name: {name}}}, data: {{release: \
         {data}}}}}\n"
    )
}

#[test]
fn values_that_do_nothing_are_found_in_files_and_in_the_newest_release_of_helm() {
    const DEAD: &str =
        r#"{"global":{"platform":{"eksRoleArn":"PLANTED-SECRET"}},"password":"PLANTED-SECRET"}"#;
    let file = |text: &str| ValuesFile::read("values.yaml".to_owned(), text).unwrap();
    let values = [file(DEAD), file("registry: {annotations: {a: b}}\n")];
    let report = examined(&Given { values: &values, ..LIVE }, "");
    let [only] = report.findings.as_slice() else { panic!("{report:#?}") };
    assert_eq!((only.check, only.place.as_str()), ("dead-value", "values.yaml global.platform.eksRoleArn"));
    assert_eq!(report.unread.len(), 0, "{report:#?}");

    let live_value = r#"{"gitlab":{"toolbox":{"annotations":{"a":"b"}}}}"#;
    let releases = |last: &str| {
        [
            release("sh.helm.release.v1.gitlab.v9", "gitlab", live_value),
            release("sh.helm.release.v1.gitlab.v10", "gitlab", last),
            release("sh.helm.release.v1.other.v1", "other", DEAD),
        ]
        .concat()
    };
    let report = live("", &releases(DEAD));
    let [only] = report.findings.as_slice() else { panic!("{report:#?}") };
    assert_eq!(only.place, "Secret gitlab/sh.helm.release.v1.gitlab.v10 global.platform.eksRoleArn");
    assert!(!format!("{report:?}").contains(PLANTED), "{report:?}");
    assert_eq!(live("", &releases(live_value)).findings, []);
}

#[test]
fn a_release_that_is_a_bomb_or_broken_is_unread() {
    let mut bomb = br#"{"chart":{"metadata":{"name":"gitlab"}},"config":{},"x":""#.to_vec();
    bomb.resize(64 << 20, b' ');
    let deep = format!(r#"{{"chart":{{"metadata":{{"name":"gitlab"}}}},"config":{}}}"#, "[".repeat(100_000));
    let cases = [
        (packed("a.v1", &bomb), "it is larger than 16 MiB once it is unpacked"),
        (packed("b.v1", deep.as_bytes()), "it is not what Helm writes"),
        (packed("c.v1", b"PLANTED-SECRET"), "it is not what Helm writes"),
        (
            "{kind: Secret, type: helm.sh/release.v1, metadata: {name: d}, data: {release: \
             PLANTED-SECRET}}\n"
                .to_owned(),
            "it is not what Helm writes",
        ),
    ];
    for (manifest, why) in cases {
        let report = live("", &manifest);
        let [unread] = report.unread.as_slice() else { panic!("{report:#?}") };
        assert_eq!((unread.why.as_str(), report.findings.len()), (why, 0));
        assert!(!format!("{report:?}").contains(PLANTED), "{report:?}");
    }
}

#[test]
fn what_cannot_be_read_is_told_and_not_called_fine() {
    let deep = format!("a = {}", "[".repeat(100_000));
    for (toml, why) in [
        ("{{ range .runners }}\nkey = 'PLANTED-SECRET'\n", "it is a template of Go, and no TOML yet"),
        ("PLANTED-SECRET", "it is no TOML"),
        (&deep, "it is no TOML"),
    ] {
        let report = live("", &cases::config_map(toml));
        let unread: Vec<_> = report.unread.iter().map(|one| (one.what.as_str(), one.why.as_str())).collect();
        assert_eq!(unread, [("ConfigMap gitlab/runner key config.template.toml", why)]);
        assert!(!format!("{report:?}").contains(PLANTED), "{report:?}");
    }
    let secret = cases::with_secret("webservice", "connection", "{{ PLANTED-SECRET");
    let report = live(cases::MAPPING, &secret);
    assert_eq!(report.unread[0].what, "Secret gitlab/storage key connection", "{report:#?}");
    // A pattern that Go reads and this does not is not called a mistake.
    let permitted =
        namespace("gitlab", "gitlab-iam-webhook/inject: enabled", "iam.amazonaws.com/permitted: '('");
    let role = "annotations: {iam.amazonaws.com/role: 'arn:aws:iam::123456789012:role/gitlab'}";
    let report = live("", &[permitted, pod("webservice", "x", role, "")].concat());
    assert_eq!(of(&report, &metadata_roles::KIAM_NAMESPACE), Vec::<String>::new());
    assert_eq!(report.unread[0].what, "Namespace gitlab");
}

#[test]
fn many_objects_of_one_kind_hide_no_other_finding_and_are_judged_in_seconds() {
    let mut manifests = String::new();
    for number in 0..3_000 {
        let role = format!("arn:aws-cn:iam::123456789012:role/{number}");
        manifests += &account(
            &format!("a{number}"),
            "",
            &format!("eks.amazonaws.com/role: x, eks.amazonaws.com/role-arn: {role}"),
        );
        let annotation = format!("name: p{number}, annotations: {{iam.amazonaws.com/role: '{role}'}}");
        manifests += &pod("webservice", &format!("a{number}"), &annotation, "");
    }
    let items: Vec<_> = (0..200).map(|number| format!("(a+)+{number}*")).collect();
    let items = serde_json::to_string(&items).unwrap();
    manifests += &namespace(
        "gitlab",
        "gitlab-iam-webhook/inject: enabled",
        &format!("iam.amazonaws.com/allowed-roles: '{items}'"),
    );
    let start = std::time::Instant::now();
    let report = live(cases::MAPPING, &manifests);
    let took = start.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    assert_eq!(of(&report, &annotations::TYPO).len(), MAX_FINDINGS);
    assert_eq!(of(&report, &metadata_roles::KUBE2IAM_NAMESPACE).len(), 1);
    assert!(report.more >= 2_950, "{}", report.more);
}
