//! With which line, column, path and message is each kind of mistake in a mapping reported?

use std::fs;
use std::time::{Duration, Instant};

use gitlab_iam_webhook::engine::decision::Outcome;
use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::mapping::lints::{LintKind, lint};
use gitlab_iam_webhook::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};

use crate::support::{Thing, data, ruleset};

fn problems_within(text: &str, operator_policy: &OperatorPolicy) -> Vec<String> {
    match mapping::compile(text, operator_policy) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.first.iter().map(ToString::to_string).collect(),
    }
}

fn problems(text: &str) -> Vec<String> {
    problems_within(text, &OperatorPolicy::default())
}

/// Makes a mapping of one rule, which begins at line 3.
fn rule(rule: &str) -> String {
    format!("account: \"123456789012\"\nrules:\n  - {}\n", rule.replace('\n', "\n    "))
}

#[test]
fn the_documented_example_reports_nothing() {
    let example =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mapping.example.yaml")).unwrap();
    assert_eq!(problems(&example), Vec::<String>::new());
    let lints = lint(&ruleset(&example), example.len());
    assert!(lints.iter().all(|lint| lint.kind.is_note()), "{lints:?}");
    ruleset(&fs::read_to_string(data("one-rule-per-component.yaml")).unwrap());
}

#[test]
fn every_mistake_has_its_place_and_its_words() {
    let match_registry = "match: {component: registry}";
    let cases: Vec<(&str, String, &str)> = vec![
        // These are about the text as a whole.
        ("not YAML", "rules: [".into(), "1:8: not YAML: unclosed bracket '['"),
        ("not a mapping", "- a\n".into(), "1:1: must be a mapping, found a list"),
        ("no rules", "account: \"123456789012\"\n".into(), "1:1: `rules` is missing: write `rules: []` for a mapping without rules"),
        ("rules are no list", "rules: {}\n".into(), "1:8: rules: must be a list of rules, found a mapping"),
        ("rules are nothing", "rules:\n".into(), "1:6: rules: must be a list of rules, found nothing"),
        // These are about keys.
        ("unknown key", "rules: []\nacount: \"1\"\n".into(), "2:1: acount: unknown key `acount`; did you mean `account`?"),
        ("unknown key, nothing near", "rules: []\nzzzzzz: 1\n".into(), "2:1: zzzzzz: unknown key `zzzzzz`; known are account, partition, provider, onConflict, onNoRule, irsa, kube2iam, kiam, rules"),
        ("duplicate key", "rules: []\nrules: []\n".into(), "2:1: rules: the key `rules` stands here twice"),
        ("a criterion beside the match", rule("component: registry\nrole: x"), "3:5: rules[0].component: `component` belongs under `match`"),
        ("the values of our chart", "replicaCount: 2\nmapping: {rules: []}\n".into(), "1:1: this looks like the values of gitlab-iam-webhook's chart: expected the mapping itself, which is what stands under `mapping`"),
        ("the values of GitLab's chart", "global: {}\nregistry: {}\n".into(), "1:1: this looks like the values of GitLab's chart: expected a mapping, which has `rules` (docs/mapping.md)"),
        ("another kind of object", "apiVersion: apps/v1\nkind: Deployment\n".into(), "1:1: this is a Deployment: expected a mapping, or a ConfigMap with the `data` key `mapping.yaml`"),
        ("a star without quotes", rule("match: {component: *}\nskip: true"), "3:24: not YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character: text that begins with * or & wants quotes"),
        ("a component without gitlab-", rule("match: {component: pages}\nskip: true"), "3:24: rules[0].match.component: unknown component `pages`; did you mean `gitlab-pages`?"),
        ("a component with gitlab-", rule("match: {component: gitlab-runner}\nskip: true"), "3:24: rules[0].match.component: unknown component `gitlab-runner`; did you mean `runner`?"),
        ("a placeholder without quotes", rule("match: {component: registry}\nrole: {component}"), "4:11: rules[0].role: must be text, found a mapping: a placeholder at the start wants quotes, as in \"{component}\""),
        ("an empty role", rule("match: {component: registry}\nrole: ''"), "4:11: rules[0].role: the role is empty"),
        ("a bad account at the top, and a role that needs it", "account: 1\nrules:\n  - {match: {component: kas}, role: x}\n".into(), "1:10: account: the account 1 must be written in quotes, with all of its 12 digits: an unquoted number loses its leading zero"),
        ("a key that is no text", "rules: []\n1: x\n".into(), "2:1: a key must be text, found a number"),
        ("unknown key in a rule", rule("match: {component: registry}\nroles: x"), "4:5: rules[0].roles: unknown key `roles`; did you mean `role`?"),
        ("unknown key in a match", rule("match: {serviceaccount: x}\nrole: x"), "3:13: rules[0].match.serviceaccount: unknown key `serviceaccount`; did you mean `serviceAccount`?"),
        ("unknown key in options", rule("match: {component: registry}\nrole: x\nirsa: {tokenExpiry: 3600}"), "5:12: rules[0].irsa.tokenExpiry: unknown key `tokenExpiry`; did you mean `tokenExpiration`?"),
        // These are about accounts and partitions.
        ("11 digits in quotes", "account: \"12345678901\"\nrules: []\n".into(), "1:10: account: the account `12345678901` must be 12 digits"),
        ("an unquoted number of 11 digits", "account: 12345678901\nrules: []\n".into(), "1:10: account: the account 12345678901 must be written in quotes, with all of its 12 digits: an unquoted number loses its leading zero"),
        ("an unquoted number with its leading zero", "account: 012345678901\nrules: []\n".into(), "1:10: account: the account 012345678901 must be written in quotes, with all of its 12 digits: an unquoted number loses its leading zero"),
        ("an account that is a list", "account: [1]\nrules: []\n".into(), "1:10: account: must be an account of 12 digits, found a list"),
        ("unknown partition", "partition: aws-us-gow\nrules: []\n".into(), "1:12: partition: unknown partition `aws-us-gow`; did you mean `aws-us-gov`?"),
        ("a bad account on a rule", rule("match: {component: registry}\nrole: x\naccount: \"1\""), "5:14: rules[0].account: the account `1` must be 12 digits"),
        // These are about words of which only a few are known.
        ("unknown provider", "provider: isra\nrules: []\n".into(), "1:11: provider: unknown provider `isra`; did you mean `irsa`?"),
        ("unknown onConflict", "onConflict: ignore\nrules: []\n".into(), "1:13: onConflict: unknown value `ignore`; known are keep, replace"),
        ("unknown onNoRule", "onNoRule: delete\nrules: []\n".into(), "1:11: onNoRule: unknown value `delete`; known are keep, remove"),
        ("an empty list", "provider: []\nrules: []\n".into(), "1:11: provider: an empty list matches nothing; leave the key out"),
        ("a boolean that is none", rule("match: {component: registry}\nskip: please"), "4:11: rules[0].skip: must be true or false, found text"),
        // These are about `match`.
        ("no match", rule("role: x"), "3:5: rules[0]: `match` is missing: a rule needs at least one criterion"),
        ("an empty match", rule("match: {}\nrole: x"), "3:12: rules[0].match: needs at least one criterion of component, namespace, serviceAccount, release, labels, project, runner"),
        ("unknown component", rule("match: {component: webservise}\nrole: x"), "3:24: rules[0].match.component: unknown component `webservise`; did you mean `webservice`?"),
        ("unknown component in a list", rule("match: {component: [registry, gitlabshell]}\nrole: x"), "3:35: rules[0].match.component[1]: unknown component `gitlabshell`; did you mean `gitlab-shell`?"),
        ("a component that is a glob", rule("match: {component: \"gitlab-*\"}\nrole: x"), "3:24: rules[0].match.component: components are named, not matched: list them instead of `gitlab-*`"),
        ("a bad glob", rule("match: {namespace: \"ci-[a\"}\nrole: x"), "3:24: rules[0].match.namespace: `[` is not closed in the glob `ci-[a`"),
        ("a boolean where text belongs", rule("match: {release: yes}\nrole: x"), "3:22: rules[0].match.release: must be text, but YAML reads yes as a boolean: write it in quotes"),
        ("empty labels", rule("match: {labels: {}}\nrole: x"), "3:21: rules[0].match.labels: an empty mapping matches nothing; leave the key out"),
        ("a project that is no number", rule("match: {component: runner-job, project: infra, runner: ci/gitlab-runner}\nprovider: kube2iam\nrole: x"), "3:45: rules[0].match.project: must be the id of a GitLab project, a whole number"),
        ("a project without a runner", rule("match: {component: runner-job, project: 1}\nprovider: kube2iam\nskip: true"), "3:45: rules[0].match.project: needs `runner` beside it: anyone who may create Pods can write a project's id on one"),
        ("a runner that is a glob", rule("match: {component: runner-job, runner: \"ci/*\"}\nprovider: kube2iam\nrole: x"), "3:44: rules[0].match.runner: must be NAMESPACE/NAME of the runner manager's ServiceAccount, without wildcards"),
        ("the account default as runner", rule("match: {component: runner-job, runner: ci/default}\nprovider: kube2iam\nrole: x"), "3:44: rules[0].match.runner: the account `default` is every Pod's that names none, so it cannot stand for the runner: give the runner's manager an account of its own"),
        ("a runner beside another component", rule("match: {component: registry, runner: ci/gitlab-runner}\nprovider: kube2iam\nrole: x"), "3:12: rules[0].match: matches nothing: `project` and `runner` hold for the Pods of jobs, whose component is runner-job"),
        // These are about roles.
        ("a role that is a number", rule("match: {component: registry}\nrole: 42"), "4:11: rules[0].role: must be text, but YAML reads 42 as a number: write it in quotes"),
        ("a bad name", rule("match: {component: registry}\nrole: git lab"), "4:11: rules[0].role: the role name `git lab` holds ` `: IAM allows letters, digits and _+=,.@-"),
        ("a long name", rule(&format!("{match_registry}\nrole: {}", "n".repeat(65))), "4:11: rules[0].role: the role name `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn` has 65 characters, IAM allows 64"),
        ("a bad ARN", rule("match: {component: registry}\nrole: arn:aws:iam::123:role/x"), "4:11: rules[0].role: the account `123` must be 12 digits"),
        ("the ARN of a user", rule("match: {component: registry}\nrole: arn:aws:iam::123456789012:user/x"), "4:11: rules[0].role: `arn:aws:iam::123456789012:user/x` is not a role: after the account must come role/NAME"),
        ("the ARN of a session", rule("match: {component: registry}\nrole: arn:aws:sts::123456789012:assumed-role/x/y"), "4:11: rules[0].role: `arn:aws:sts::123456789012:assumed-role/x/y` is the session of a role, not a role: it must look like arn:aws:iam::123456789012:role/NAME"),
        ("a partition that AWS has not", rule("match: {component: registry}\nrole: arn:aws-x:iam::123456789012:role/x"), "4:11: rules[0].role: unknown partition `aws-x`: known are aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f, aws-eusc"),
        ("a name without an account", "rules:\n  - {match: {component: registry}, role: x}\n".into(), "2:42: rules[0].role: `x` needs an `account`, here or at the top, to become an ARN for irsa"),
        ("an account beside an ARN", rule("match: {component: registry}\nrole: arn:aws:iam::123456789012:role/x\naccount: \"210987654321\""), "5:14: rules[0].account: has no effect beside a full ARN; leave it out"),
        ("an unknown placeholder", rule("match: {component: registry}\nrole: x-{ns}"), "4:11: rules[0].role: unknown placeholder `{ns}`: known are {namespace}, {serviceAccount}, {component}, {release}, {project}"),
        ("a placeholder that cannot be filled", rule("match: {component: registry}\nrole: x-{project}"), "4:11: rules[0].role: `{project}` is known of job Pods only: match component runner-job and its `runner`"),
        ("a placeholder in the account", rule("match: {component: registry}\nrole: arn:aws:iam::{namespace}:role/x"), "4:11: rules[0].role: `{namespace}` cannot stand here: placeholders belong in the path and name of the role, after role/"),
        ("no action", rule("match: {component: registry}"), "3:5: rules[0]: does nothing: give it a `role`, or `skip: true`, or `remove: true`"),
        ("a role beside skip", rule("match: {component: registry}\nrole: x\nskip: true"), "4:11: rules[0].role: cannot stand beside `skip: true`"),
        ("a role beside remove", rule("match: {component: registry}\nrole: x\nremove: true\nprovider: irsa"), "4:11: rules[0].role: cannot stand beside `remove: true`"),
        ("skip beside remove", rule("match: {component: registry}\nskip: true\nremove: true\nprovider: irsa"), "5:13: rules[0].remove: cannot stand beside `skip`: one leaves, the other takes"),
        ("remove without a provider", rule("match: {component: registry}\nremove: true"), "4:13: rules[0].remove: must name its `provider`: whose annotations come off?"),
        ("options beside skip", rule("match: {component: registry}\nskip: true\nirsa: {audience: x}"), "5:11: rules[0].irsa: has no effect beside `skip: true`; leave it out"),
        ("irsa alone on Pods by component", rule("match: {component: [minio, registry-migrations]}\nrole: x"), "4:11: rules[0].role: irsa reads ServiceAccounts, and this rule matches only Pods: use provider kube2iam or kiam, or match the ServiceAccount by its name"),
        ("irsa alone on jobs", rule("match: {component: runner-job, project: 1, runner: ci/gitlab-runner}\nrole: x"), "4:11: rules[0].role: irsa reads ServiceAccounts, and this rule matches only Pods: use provider kube2iam or kiam, or match the ServiceAccount by its name"),
        // These are about options.
        ("options of another provider", rule("match: {component: registry}\nrole: x\nkube2iam: {sessionName: ci}"), "5:15: rules[0].kube2iam: options of another provider: this rule's is irsa"),
        ("too short a life", rule("match: {component: registry}\nrole: x\nirsa: {tokenExpiration: 599}"), "5:29: rules[0].irsa.tokenExpiration: must be a whole number of seconds from 600 to 86400"),
        ("too long a life", "irsa: {tokenExpiration: 86401}\nrules: []\n".into(), "1:25: irsa.tokenExpiration: must be a whole number of seconds from 600 to 86400"),
        ("a container that is none", rule("match: {component: registry}\nrole: x\nirsa: {skipContainers: [A_b]}"), "5:29: rules[0].irsa.skipContainers[0]: `A_b` cannot be the name of a container"),
        ("an audience with a space", rule("match: {component: registry}\nrole: x\nirsa: {audience: \"a b\"}"), "5:22: rules[0].irsa.audience: an audience is a word without spaces, as sts.amazonaws.com"),
        ("a bad session name", rule("match: {component: registry}\nprovider: kube2iam\nrole: x\nkube2iam: {sessionName: \"a:b\"}"), "6:29: rules[0].kube2iam.sessionName: must be 2 to 64 letters, digits or characters of _+=,.@-"),
        ("a bad external id", rule("match: {component: registry}\nprovider: kiam\nrole: x\nkiam: {externalId: \"a\"}"), "6:24: rules[0].kiam.externalId: must be 2 to 1224 letters, digits or characters of _+=,.@-:/"),
        // These are about several rules together.
        ("duplicate names", "rules:\n  - {name: a, match: {component: kas}, skip: true}\n  - {name: a, match: {component: kas}, skip: true}\n".into(), "3:12: rules[1].name: the name `a` is taken by the rule on line 2"),
        ("a long rule name", rule(&format!("name: {}\nmatch: {{component: kas}}\nskip: true", "n".repeat(64))), "3:11: rules[0].name: must be 1 to 63 characters"),
        ("kube2iam and kiam", "rules:\n  - {match: {component: kas}, provider: kube2iam, role: x}\n  - {match: {component: kas}, provider: kiam, role: x}\n".into(), "3:41: rules[1].provider: kiam and kube2iam in one mapping would write the same annotation: line 2 uses kube2iam"),
        ("kube2iam and kiam on one rule", rule("match: {component: kas}\nprovider: [kube2iam, kiam]\nskip: true"), "4:15: rules[0].provider: kube2iam and kiam in one mapping would write the same annotation"),
        // These are about the Pods of jobs.
        ("a role for jobs without a runner", rule("match: {component: runner-job, namespace: ci}\nprovider: kube2iam\nrole: x"), "3:12: rules[0].match: a role for runner-job must name its `runner` (NAMESPACE/NAME of the manager's ServiceAccount): anyone who may create Pods can write a job's labels"),
        ("jobs by a label of theirs", rule("match: {component: runner-job, runner: ci/r, labels: {project.runner.gitlab.com/namespace: platform}}\nprovider: kube2iam\nrole: x"), "3:96: rules[0].match.labels.project.runner.gitlab.com/namespace: this label can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by their account", rule("match: {component: runner-job, runner: ci/r, serviceAccount: deploy}\nprovider: kube2iam\nrole: x"), "3:66: rules[0].match.serviceAccount: the ServiceAccount can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by a release", rule("match: {component: runner-job, runner: ci/r, release: gitlab}\nprovider: kube2iam\nrole: x"), "3:59: rules[0].match.release: the release can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by their account's name in the role", rule("match: {component: runner-job, runner: ci/r}\nprovider: kube2iam\nrole: ci-{serviceAccount}"), "5:11: rules[0].role: `{serviceAccount}` can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by a release in the role", rule("match: {component: runner-job, runner: ci/r}\nprovider: kube2iam\nrole: ci-{release}"), "5:11: rules[0].role: `{release}` can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by a namespace that is a glob", rule("match: {component: runner-job, runner: ci/r, namespace: [ci, \"ci-*\"]}\nprovider: kube2iam\nrole: x"), "3:61: rules[0].match.namespace: a namespace by a glob (KUBERNETES_NAMESPACE_OVERWRITE) can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by a namespace that is a glob, beside a remove that says no", rule("match: {component: runner-job, runner: ci/r, namespace: [ci, \"ci-*\"]}\nprovider: kube2iam\nremove: false\nrole: x"), "3:61: rules[0].match.namespace: a namespace by a glob (KUBERNETES_NAMESPACE_OVERWRITE) can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by a namespace that is a class", rule("match: {runner: ci/r, namespace: \"ci-[ab]\"}\nprovider: kube2iam\nrole: x"), "3:38: rules[0].match.namespace: a namespace by a glob (KUBERNETES_NAMESPACE_OVERWRITE) can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("jobs by their namespace in the role", rule("match: {component: runner-job, runner: ci/r, namespace: ci}\nprovider: kube2iam\nrole: ci-{namespace}"), "5:11: rules[0].role: `{namespace}` can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
        ("a workload controller as runner", rule("match: {component: runner-job, runner: kube-system/replicaset-controller}\nprovider: kube2iam\nrole: x"), "3:44: rules[0].match.runner: `kube-system/replicaset-controller` is a controller, and every Pod that it makes would be taken for a job: name the account of the runner's manager"),
        ("jobs skipped by a label of theirs", rule("match: {component: runner-job, labels: {team: a}}\nskip: true"), "3:51: rules[0].match.labels.team: this label can be steered by the author of a job: leave it out, or write `unsafe: true` on the rule"),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .map(|(what, text, want)| (what, text, want, problems(text)))
        .filter(|(.., want, found)| found != &[**want])
        .map(|(what, text, want, found)| {
            format!("{what}:\n{text}wanted {want}\nfound  {}", found.join("\n       "))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn rules_about_jobs_may_use_unsafe_and_labels_of_the_runner() {
    for good in [
        "match: {component: runner-job, runner: ci/r, serviceAccount: deploy}\nprovider: kube2iam\nrole: ci-{release}\nunsafe: true",
        "match: {component: runner-job, runner: ci/r, labels: {project.runner.gitlab.com/root-namespace-id: \"3\"}}\nprovider: kube2iam\nrole: x",
        "match: {component: runner-job, runner: ci/r, labels: {manager.runner.gitlab.com/name: shared}}\nprovider: kube2iam\nrole: x",
        "match: {component: runner-job}\nprovider: kube2iam\nremove: true",
        "match: {component: [minio, registry]}\nrole: x",
        "match: {runner: ci/r, project: [1, \"2\"]}\nprovider: [irsa, kube2iam]\nrole: ci-{project}",
        "match: {runner: ci/r, namespace: [ci-a, \"{ci-b,ci-c}\"]}\nprovider: kube2iam\nrole: x",
        "match: {runner: ci/r, namespace: \"ci-*\"}\nprovider: kube2iam\nrole: \"{namespace}\"\nunsafe: true",
        "match: {component: runner-job, namespace: \"ci-*\"}\nprovider: kube2iam\nremove: true",
        "match: {component: webservice, namespace: \"ci-*\"}\nprovider: kube2iam\nrole: \"{namespace}\"",
        "match: {runner: kube-system/gitlab-runner}\nprovider: kube2iam\nrole: x",
    ] {
        assert_eq!(problems(&rule(good)), Vec::<String>::new(), "{good}");
    }
    assert_eq!(
        problems("account: 123456789012\nrules: []\n"),
        Vec::<String>::new(),
        "nothing can be lost of it"
    );
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_text() {
    let text = "partition: mars\naccount: \"1\"\nrules:\n  - match: {component: kass}\n    role: a b\n  - skip: maybe\n";
    let places: Vec<_> =
        problems(text).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["1:12", "2:10", "4:24", "5:11", "6:5", "6:11"]);
}

#[test]
fn a_literal_role_that_the_operator_does_not_allow_is_a_problem() {
    let operator_policy = OperatorPolicy {
        allowed_roles: ["arn:aws:iam::123456789012:role/gitlab-*", "ci-*=arn:aws:iam::*:role/ci-*"]
            .map(|text| text.parse::<AllowedRole>().unwrap())
            .to_vec(),
        ..OperatorPolicy::default()
    };
    let outside = problems_within(&rule("match: {component: kas}\nrole: admin"), &operator_policy);
    assert_eq!(
        outside,
        [
            "4:11: rules[0].role: `arn:aws:iam::123456789012:role/admin` is outside what the operator allows (--allowed-role)"
        ]
    );
    let elsewhere = problems_within(&rule("match: {namespace: gitlab}\nrole: ci-x"), &operator_policy);
    assert_eq!(elsewhere.len(), 1, "the namespace is literal and not ci-*: {elsewhere:?}");
    for good in [
        "match: {component: kas}\nrole: gitlab-kas",
        "match: {component: kas}\nrole: ci-x",
        "match: {namespace: ci-prod}\nrole: ci-x",
        "match: {component: kas}\nrole: \"{namespace}\"",
    ] {
        assert_eq!(problems_within(&rule(good), &operator_policy), Vec::<String>::new(), "{good}");
    }
    assert!("".parse::<AllowedRole>().is_err());
}

#[test]
fn no_workload_controller_can_be_a_runner() {
    let operator_policy = OperatorPolicy {
        workload_controllers: vec!["system:serviceaccount:argo-rollouts:argo-rollouts".to_owned()],
        ..OperatorPolicy::default()
    };
    let runner = |name: &str| {
        let text =
            rule(&format!("match: {{component: runner-job, runner: {name}}}\nprovider: kube2iam\nrole: x"));
        problems_within(&text, &operator_policy)
    };
    for controller in [
        "kube-system/replicaset-controller",
        "kube-system/statefulset-controller",
        "kube-system/daemon-set-controller",
        "kube-system/job-controller",
        "kube-system/replication-controller",
        "kube-system/cronjob-controller",
        "kube-system/deployment-controller",
        "argo-rollouts/argo-rollouts",
    ] {
        let found = runner(controller);
        assert_eq!(found.len(), 1, "{controller}");
        assert!(found[0].contains(&format!("`{controller}` is a controller")), "{found:?}");
    }
    for good in ["ci/replicaset-controller", "argo-rollouts/other", "ci/gitlab-runner"] {
        assert_eq!(runner(good), Vec::<String>::new(), "{good}");
    }
}

#[test]
fn names_are_made_unique_and_stable() {
    let text = "rules:
  - {match: {component: kas}, skip: true}
  - {match: {component: kas}, skip: true}
  - {name: component=kas#2, match: {component: [kas, praefect], labels: {a: b}}, skip: true}
";
    let ruleset = ruleset(text);
    let names: Vec<_> = ruleset.rules().iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["component=kas", "component=kas#3", "component=kas#2"]);
}

#[test]
fn a_rule_that_never_gets_to_annotate_pods_is_told() {
    let text = "account: \"123456789012\"
rules:
  - {name: role, match: {component: sidekiq, namespace: gitlab}, role: x}
  - {name: both, match: {component: sidekiq, namespace: gitlab}, provider: [irsa, kube2iam], role: x, irsa: {annotatePods: true}}
  - {name: only kube2iam, match: {component: sidekiq, namespace: gitlab}, provider: kube2iam, role: z}
  - {name: more, match: {component: [sidekiq, kas], namespace: gitlab}, role: x, irsa: {annotatePods: true}}
  - {name: plain, match: {namespace: legacy}, provider: irsa, skip: true}
  - {name: default, match: {namespace: legacy, serviceAccount: default}, role: x, irsa: {annotatePods: true}}
  - {name: says no, match: {namespace: legacy, serviceAccount: default}, provider: [irsa, kube2iam], role: x, irsa: {annotatePods: false}}
";
    let found: Vec<_> = lint(&ruleset(text), text.len())
        .into_iter()
        .filter(|lint| matches!(lint.kind, LintKind::AnnotatePods | LintKind::Covered))
        .map(|lint| format!("{} {}: {}", lint.kind.name(), lint.rule.unwrap(), lint.message))
        .collect();
    let told = |rule: &str, earlier: &str| {
        format!(
            "annotate-pods {rule}: never writes on Pods, in spite of `annotatePods`: rule {earlier} decides on all of them"
        )
    };
    assert_eq!(
        found,
        [
            told("both", "`role` on line 3"),
            "covered only kube2iam: never decides: rule `both` on line 4 covers it".to_owned(),
            told("default", "`plain` on line 7"),
        ]
    );
}

#[test]
fn lints_name_covered_slow_and_dangerous_rules() {
    let text = "account: \"123456789012\"
provider: kube2iam
rules:
  - {name: wide, match: {component: [webservice, sidekiq], namespace: \"ci-*\"}, role: x}
  - {name: narrow, match: {component: sidekiq, namespace: [ci-prod, \"ci-t*\"], release: a}, role: z}
  - {name: other provider, match: {component: sidekiq, namespace: ci-prod}, provider: irsa, role: z}
  - {name: wider, match: {component: sidekiq, namespace: \"c*\"}, role: z}
  - {name: slow, match: {namespace: \"*-prod\"}, role: z}
  - {name: default, match: {serviceAccount: default, namespace: a}, role: z}
  - {name: everywhere, match: {component: kas}, role: z}
  - {name: star, match: {component: praefect, namespace: \"*\"}, role: z}
  - {name: regex, match: {namespace: \"^gitlab.*$\"}, role: z}
  - {name: jobs, match: {component: runner-job, namespace: a, runner: a/b}, onConflict: keep, role: z}
  - {name: skipped jobs, match: {component: runner-job, namespace: b}, skip: true}
  - {name: jobs wherever, match: {component: runner-job, namespace: \"c*\", runner: a/b}, role: z, unsafe: true}
  - {name: no jobs, match: {component: runner-job, namespace: d}, remove: true, provider: kube2iam}
";
    let found: Vec<_> = lint(&ruleset(text), text.len())
        .into_iter()
        .map(|lint| format!("{} {}: {}", lint.kind.name(), lint.rule.unwrap(), lint.message))
        .collect();
    assert_eq!(
        found,
        [
            "covered narrow: never decides: rule `wide` on line 4 covers it",
            "slow slow: can only be tried one by one: no criterion has a literal or a literal prefix",
            "default-account default: names the account `default`: its role reaches every Pod there that names no account",
            "every-namespace everywhere: reaches every opted-in namespace: it names none",
            "every-namespace star: reaches every opted-in namespace: it names none",
            "no-name regex: `^gitlab.*$` matches no name in Kubernetes, which holds no `^`; these are globs, not regular expressions",
            "job-namespace jobs: looks at the namespace, which a job's author chooses where the runner allows KUBERNETES_NAMESPACE_OVERWRITE",
            "job-conflict jobs: keeps a role that a job's author wrote on the Pod: `onConflict: replace` is the default here for that reason",
            "job-namespace skipped jobs: looks at the namespace, which a job's author chooses where the runner allows KUBERNETES_NAMESPACE_OVERWRITE",
        ]
    );
    assert_eq!(lint(&ruleset("rules: []\n"), 200 << 10)[0].kind, LintKind::Large);
}

#[test]
fn a_hostile_mapping_is_refused_soon() {
    let nested_anchors = {
        let open: String = (0..150).map(|n| format!("&a{n} [")).collect();
        format!("{open}{}{}", "x,".repeat(50_000), "]".repeat(150))
    };
    let globs = format!("{{{}}}?{}", ",".repeat(99), "x".repeat(850));
    let keys = |count| (0..count).map(|n| format!("k{n}: 1, ")).collect::<String>();
    let (merged, many) = (keys(500), keys(20_000));
    let cases = [
        (
            nested_anchors,
            "too much at once: one rule, what stands beside the rules and what has an anchor may hold 10922 values together",
        ),
        (rule(&format!("match: {{labels: {{{many}}}}}\nskip: true")), "too much at once"),
        (
            format!("l: &l [a, b, c]\nrules: [{}]\n", "*l,".repeat(100_001)),
            "it holds more than 400000 values, aliases followed",
        ),
        (
            rule(&format!("match: {{component: kas}}\nrole: \"{}\"", "r".repeat(4097))),
            "rules[0].role: has 4097 bytes, at most 4096 are taken",
        ),
        (
            rule(&format!("match: {{component: kas}}\nrole: x\nirsa: {{audience: {}}}", "a".repeat(256))),
            "rules[0].irsa.audience: has 256 bytes, IAM allows 255",
        ),
        (
            rule(&format!("match: {{labels: {{{}: a}}}}\nskip: true", "k".repeat(318))),
            "rules[0].match.labels: the key has 318 bytes, at most 317 are taken",
        ),
        (
            rule(&format!(
                "match: {{component: kas}}\nrole: x\nirsa: {{skipContainers: [{}]}}",
                format!("{},", "c".repeat(63)).repeat(65)
            )),
            "rules[0].irsa.skipContainers: the names have 4159 bytes, at most 4096 are taken",
        ),
        (
            rule(&format!("match: {{namespace: \"{globs}\"}}\nskip: true")),
            "stand for more than 100 patterns or 1024 bytes",
        ),
        (
            rule(&format!("match: {{namespace: \"{}\"}}\nskip: true", "x".repeat(1025))),
            "the glob has 1025 bytes, at most 1024 are taken",
        ),
        (format!("a: &a {{{merged}}}\nb: {{<<: [*a, *a, *a]}}\nrules: []\n"), "unknown key `a`"),
        (rule(&format!("match: {{labels: {{{merged}}}}}\nskip: true")), "at most 64 labels can be asked for"),
        (
            rule(&format!("match: {{namespace: [{}]}}\nskip: true", "x,".repeat(1001))),
            "has 1001 members, at most 1000 are taken",
        ),
        (
            format!("r: &r {{match: {{component: kas}}, skip: true}}\nrules: [{}]\n", "*r,".repeat(20_001)),
            "has 20001 rules, at most 20000 are served",
        ),
    ];
    for (text, want) in cases {
        let found = problems(&text).join("\n");
        assert!(found.contains(want), "wanted {want}, found {}", found.get(..500).unwrap_or(&found));
    }
    // These names are given on purpose to be in the way of those that are made.
    let given: String = (2..4000)
        .map(|n| format!("  - {{name: component=kas#{n}, match: {{component: kas}}, skip: true}}\n"))
        .collect();
    let made = "  - {match: {component: kas}, skip: true}\n".repeat(4000);
    assert_eq!(problems(&format!("rules:\n{given}{made}")), Vec::<String>::new());
}

#[test]
fn problems_end_at_a_hundred_and_the_rest_is_counted() {
    // What stands below the rules is read before them.
    let bad = "  - {match: {component: kaas}, skip: true}\n".repeat(20_000);
    let text = format!("partition: mars\nrules:\n{bad}x: 1\n");
    let problems = mapping::compile(&text, &OperatorPolicy::default()).unwrap_err();
    assert_eq!((problems.first.len(), problems.more, problems.count()), (100, 19_902, 20_002));
    let lines: Vec<u32> = problems.first.iter().map(|problem| problem.at.line).collect();
    assert_eq!(lines, std::iter::once(1).chain(3..102).collect::<Vec<_>>(), "the first in the text");
    let told = problems.to_string();
    assert!(
        told.starts_with("20002 problems\n  1:12: partition") && told.ends_with("\n  and 19902 more"),
        "{told}"
    );
    let all = mapping::compile_file(&text, &OperatorPolicy::default()).unwrap_err();
    assert_eq!((all.first.len(), all.more), (20_002, 0), "on the command line all are told");
    assert_eq!(all.first.last().unwrap().at.line, 20_003);
}

#[test]
fn what_a_problem_quotes_is_cut_in_its_middle() {
    let text =
        rule(&format!("match: {{component: kas}}\nrole: \"{}\\n{}\"", "a".repeat(2000), "b".repeat(2000)));
    let found = problems(&text);
    assert!(found[0].starts_with("4:11: rules[0].role: the role name `aaaa"), "{}", found[0]);
    assert!(found[0].ends_with("IAM allows letters, digits and _+=,.@-"), "{}", found[0]);
    assert!(found[0].contains("aaa…bbb") && found[0].len() < 600, "{}", found[0]);
}

#[test]
fn a_made_name_is_cut_while_it_is_made() {
    // An alias may stand for a long text a thousand times.
    let list = "*l,".repeat(999);
    let text = format!(
        "rules:\n  - {{match: {{component: kas, namespace: [&l {}, {list}]}}, skip: true}}\n",
        "n".repeat(1000)
    );
    let name = format!("component=kas namespace={}…", "n".repeat(38));
    assert_eq!(*ruleset(&text).rules()[0].name, *name);
}

/// Makes a mapping of so many rules. Each looks at what the function returns for its number.
fn mapping_of(count: usize, rule: impl Fn(usize) -> String) -> String {
    let rules: String = (0..count).map(|n| format!("  - {{match: {{{}}}, skip: true}}\n", rule(n))).collect();
    format!("rules:\n{rules}")
}

#[test]
fn lists_and_braces_are_bounded_for_the_mapping_as_a_whole() {
    let braces = |n: usize| format!("namespace: \"{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{n}\"");
    let found = problems(&mapping_of(10_000, braces));
    assert_eq!(found.len(), 1, "one rule goes over");
    assert!(
        found[0].contains(
            "with this rule, which comes to 5512 bytes in memory, the rules come to more than the 8388608 that"
        ),
        "{}",
        found[0]
    );
    assert!(found[0].contains(": rules[15"), "the rule is named: {}", found[0]);
    assert_eq!(problems(&mapping_of(200, braces)), Vec::<String>::new());
    let keys = problems(&mapping_of(300, |n| format!("labels: {{k{n}: a}}")));
    assert_eq!(keys, ["258:5: rules[256]: with this rule the rules look at more than 256 different labels"]);
}

#[test]
fn the_steps_of_one_decision_are_bounded_and_people_never_see_it() {
    let honest = [
        mapping_of(10_000, |n| format!("serviceAccount: \"account-{n}-*\", namespace: \"namespace-{n}*\"")),
        mapping_of(2_000, |n| format!("namespace: \"*-prod-{n}\", serviceAccount: \"*-{n}\"")),
        mapping_of(2_000, |n| format!("namespace: \"*-{n}-*\"")),
    ];
    for text in honest {
        assert_eq!(problems(&text), Vec::<String>::new());
    }
    let hostile = |n: usize| format!("serviceAccount: \"*a?a?a?a?a?a?aN*{n}\"");
    let found = problems(&mapping_of(1_000, hostile));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("whose globs may take 3561 steps, one decision may take more than 1000000"),
        "{}",
        found[0]
    );
    // This mapping takes as many steps as are allowed, for a decision on the value that takes the most.
    let ruleset = ruleset(&mapping_of(260, hostile));
    let mut thing = Thing::service_account("kas");
    thing.service_account = "a".repeat(253);
    let start = Instant::now();
    assert_eq!(thing.decide(&ruleset).outcome(), Outcome::NoRule);
    // An optimised build takes some milliseconds.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn longer_values_than_kubernetes_has_match_nothing() {
    let ruleset = ruleset("rules:\n  - {match: {labels: {team: \"a*\"}}, skip: true}\n");
    for (length, want) in [(63, Outcome::Skipped), (64, Outcome::NoRule)] {
        let thing = Thing::service_account("kas").labelled("team", &"a".repeat(length));
        assert_eq!(thing.decide(&ruleset).outcome(), want, "{length}");
    }
}

#[test]
fn looking_for_covered_rules_ends_and_says_so() {
    let list = |n: usize| (0..999).map(|i| format!("a{n}x{i}")).collect::<Vec<_>>().join(",");
    let mut text = mapping_of(80, |n| format!("namespace: [b,{}]", list(n)));
    text.push_str("  - {match: {namespace: \"^\"}, skip: true}\n");
    let ruleset = ruleset(&text);
    let start = Instant::now();
    let found = lint(&ruleset, text.len());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let kinds: Vec<_> = found.iter().map(|lint| lint.kind).collect();
    assert!(kinds.contains(&LintKind::NotEverything), "{kinds:?}");
    assert!(kinds.contains(&LintKind::NoName), "the other lints still look at all: {kinds:?}");
    let ended = found.iter().find(|lint| lint.kind == LintKind::NotEverything).unwrap();
    assert!(ended.message.starts_with("not everything was looked at"), "{}", ended.message);
}
