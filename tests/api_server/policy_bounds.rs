//! Is there a bound to what the policy of the API server gives, and to what it costs, whatever its parameter, its
//! allowed roles and the objects say?

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Instant;

use gitlab_iam_webhook::engine::decision::APPLIED;
use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::policy;
use gitlab_iam_webhook::engine::rules::glob::Glob;
use gitlab_iam_webhook::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};
use gitlab_iam_webhook::engine::rules::role_template::is_role;
use serde_json::json;

use crate::policy::Api;
use crate::things::Thing;

/// A rule for each number, all of which have to be tried.
fn one_by_one(count: usize) -> String {
    let rules = (0..count).map(|n| format!("  - {{match: {{namespace: \"*-{n}\"}}, role: role-{n}}}\n"));
    format!("account: \"123456789012\"\nrules:\n{}", rules.collect::<String>())
}

#[test]
fn the_costliest_object_at_the_bound_is_decided_within_the_budgets() {
    let Some(api) = Api::start() else { return };
    let operator = OperatorPolicy {
        allowed_roles: vec!["arn:aws:iam::123456789012:role/*".parse().unwrap()],
        ..OperatorPolicy::default()
    };
    let ruleset = mapping::compile(&one_by_one(5_000), &operator).unwrap();
    let parameter = policy::parameter(&ruleset).unwrap();
    let fitting = 5_000 - parameter.left_out.len();
    assert!(fitting > 1_000, "{fitting}");
    api.install("roles", &operator, "Fail");
    api.bind("bound", &parameter.data);
    let longest = |end: &str| format!("{}-{end}", "n".repeat(62 - end.len()));
    let mut thing = Thing::service_account("webservice").labelled("release", &"r".repeat(63));
    thing.service_account = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
    // The last rule that fits decides; what the rules that are left out would match is left as it is.
    thing.namespace = longest(&(fitting - 1).to_string());
    api.opt_in(&thing.namespace);
    let role = format!("arn:aws:iam::123456789012:role/role-{}", fitting - 1);
    let found = api.admit_when(&thing, "bound", |found| !found.is_empty());
    assert_eq!(found["eks.amazonaws.com/role-arn"], role);
    thing.namespace = longest(&fitting.to_string());
    api.opt_in(&thing.namespace);
    assert_eq!(api.admit(&thing, "bound", true), BTreeMap::new());

    // Rules of labels, of which more are looked at, and as many as can be tried at all.
    let rule =
        |n: usize| format!("  - {{match: {{labels: {{key: '*{}{n}'}}}}, role: role-{n}}}\n", "x".repeat(55));
    let by_label = format!("account: '123456789012'\nrules:\n{}", (0..5_000).map(rule).collect::<String>());
    let parameter = policy::parameter(&mapping::compile(&by_label, &operator).unwrap()).unwrap();
    let last = 5_000 - parameter.left_out.len() - 1;
    assert!(last > 1_000, "{last}");
    api.bind("by-label", &parameter.data);
    let thing = Thing::service_account("webservice").labelled("key", &format!("{}{last}", "x".repeat(55)));
    api.opt_in("gitlab");
    let found = api.admit_when(&thing, "by-label", |found| !found.is_empty());
    assert_eq!(found["eks.amazonaws.com/role-arn"], format!("arn:aws:iam::123456789012:role/role-{last}"));
    let rules = "  - {match: {namespace: '?*'}, role: all}\n".repeat(5_000);
    let text = format!("account: '123456789012'\nrules:\n{rules}");
    let parameter = policy::parameter(&mapping::compile(&text, &operator).unwrap()).unwrap();
    assert_eq!(parameter.left_out, []);
    api.bind("all", &parameter.data);
    assert!(!api.admit_when(&thing, "all", |found| !found.is_empty()).is_empty());
}

#[test]
fn a_pod_of_very_many_labels_is_taken_for_a_jobs_and_costs_little() {
    let Some(api) = Api::start() else { return };
    let operator = OperatorPolicy {
        allowed_roles: vec!["arn:aws:iam::123456789012:role/*".parse().unwrap()],
        ..OperatorPolicy::default()
    };
    let text = "
account: '123456789012'
rules:
  - {match: {component: runner-job, runner: ci/gitlab-runner, project: 42}, role: x, provider: kube2iam}
  - {match: {component: runner-job}, remove: true, provider: [irsa, kube2iam]}
  - {match: {namespace: labels}, role: plain, provider: kube2iam}
";
    let ruleset = mapping::compile(text, &operator).unwrap();
    api.install("roles", &operator, "Fail");
    api.bind("labels", &policy::parameter(&ruleset).unwrap().data);
    for namespace in ["labels", "ci"] {
        api.opt_in(namespace);
    }
    api.make("/api/v1/namespaces", &json!({"metadata": {"name": "out"}}));
    for (namespace, account) in
        [("labels", "gitlab-webservice"), ("out", "gitlab-webservice"), ("ci", "gitlab-jobs")]
    {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        api.make(&path, &json!({"metadata": {"name": account}}));
    }
    let mut pod = Thing::pod("webservice");
    "labels".clone_into(&mut pod.namespace);
    let key = "iam.amazonaws.com/role";
    api.admit_when(&pod, "labels", |found| found.contains_key(key));
    let many = |pod: &Thing, count: usize| {
        let mut pod = pod.clone();
        // With the label that picks the mapping.
        pod.labels
            .extend((pod.labels.len() + 1..count).map(|n| (format!("{n}-of-many-labels"), String::new())));
        pod
    };
    let role = |pod: &Thing, count: usize| api.admit(&many(pod, count), "labels", true).get(key).cloned();
    let arn = |name: &str| Some(format!("arn:aws:iam::123456789012:role/{name}"));
    assert_eq!(role(&pod, 500), arn("plain"));
    let of_its_author = pod.clone().annotated(key, "mine");
    for count in [501, 20_000] {
        assert_eq!(role(&of_its_author, count), None, "{count}");
    }
    let job = Thing::job("42").annotated(key, "mine");
    assert_eq!(role(&job, 20_000), arn("x"), "what a job's labels say is looked up");
    assert_eq!(role(&Thing::job("7").annotated(key, "mine"), 20_000), None);
    let mut past_the_capture = std::io::stderr();
    for count in [10, 500, 20_000, 49_000] {
        let took = |namespace: &str| {
            let mut pod = many(&pod, count);
            namespace.clone_into(&mut pod.namespace);
            let times = (0..3).map(|_| {
                let start = Instant::now();
                api.admit(&pod, "labels", true);
                start.elapsed()
            });
            times.min().unwrap()
        };
        let (with, without) = (took("labels"), took("out"));
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        writeln!(
            past_the_capture,
            "{count} labels: {with:?} with the policy, {without:?} without, ratio {ratio:.1}"
        )
        .unwrap();
    }
}

#[test]
fn the_policy_allows_what_the_operators_globs_allow() {
    let Some(api) = Api::start() else { return };
    let globs = [
        "role/*",
        "*",
        "?ole/a",
        "{role/a,b}",
        "role/a,b",
        "role/a|b",
        "role/{a,}",
        "ci-*=*",
        "{ci-a,ci-b}=role/?",
        "ci-?=r*e/{a,b}",
        "ci-a=role/a.b",
        "role/a+b",
        "role/(a)",
        "role/^a$",
        "=role/a",
    ];
    let allowed = |glob: &str| AllowedRole {
        namespace: glob
            .split_once('=')
            .filter(|(start, _)| !start.is_empty())
            .map(|(start, _)| Glob::new(start).unwrap()),
        role: Glob::new(glob.split_once('=').map_or(glob, |(_, role)| role)).unwrap(),
    };
    let roles = [
        "role/a",
        "role/b",
        "role/a,b",
        "role/a.b",
        "role/axb",
        "role/a+b",
        "role/aab",
        "role/",
        "b",
        "a=role/a",
        "role/(a)/a",
        "ci-a=role/a",
        "q/role/a",
    ];
    for namespace in ["ci-a", "ci-b", "ci-ab"] {
        api.opt_in(namespace);
        api.make(
            &format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            &json!({"metadata": {"name": "some"}}),
        );
    }
    // The parameter says whatever it likes: the bound is the policy's.
    let data = |role: &str| {
        BTreeMap::from([
            ("format".to_owned(), "1".to_owned()),
            ("pod.index".to_owned(), "always\t0\tpod.always".to_owned()),
            ("pod.always".to_owned(), "\n\t0\tirsa pod\t".to_owned()),
            ("rules".to_owned(), format!("\n0\trole\tr\t{role}\tkeep\treplace\t")),
        ])
    };
    for (number, glob) in globs.iter().enumerate() {
        let operator = OperatorPolicy { allowed_roles: vec![allowed(glob)], ..OperatorPolicy::default() };
        api.install(&format!("glob-{number}"), &operator, "Fail");
        for (which, role) in roles.iter().enumerate() {
            api.bind_to(&format!("glob-{number}"), &format!("{number}-{which}"), &data(role));
        }
    }
    api.install(
        "roles",
        &OperatorPolicy { allowed_roles: vec![allowed("*")], ..OperatorPolicy::default() },
        "Fail",
    );
    api.bind("last", &data("role/a"));
    let mut pod = Thing::pod("webservice").by("admin");
    (pod.namespace, pod.service_account) = ("ci-a".to_owned(), "some".to_owned());
    api.admit_when(&pod, "last", |found| !found.is_empty());
    let mut granted = 0;
    for (number, glob) in globs.iter().enumerate() {
        for (which, role) in roles.iter().enumerate() {
            for namespace in ["ci-a", "ci-b", "ci-ab"] {
                namespace.clone_into(&mut pod.namespace);
                let operator =
                    OperatorPolicy { allowed_roles: vec![allowed(glob)], ..OperatorPolicy::default() };
                let wanted = operator.allows(namespace, role) && is_role(role);
                let found = api.admit(&pod, &format!("{number}-{which}"), true);
                assert_eq!(found.contains_key("iam.amazonaws.com/role"), wanted, "{glob} {namespace} {role}");
                granted += usize::from(wanted);
            }
        }
    }
    assert!(granted > 50, "{granted}");
}

#[test]
fn as_many_roles_as_can_be_allowed_are_compared_within_the_budgets() {
    let Some(api) = Api::start() else { return };
    // Each of these is written with a backslash, or with a dot.
    let role = |n: usize| format!("arn:aws:iam::123456789012:role/gitlabs-{n:03}-{}*", ".+".repeat(18));
    let allowed: Vec<AllowedRole> = (0..100).map(|n| role(n).parse().unwrap()).collect();
    assert_eq!(allowed.iter().map(|role| role.to_string().len()).sum::<usize>(), 8_000);
    let operator = OperatorPolicy { allowed_roles: allowed, ..OperatorPolicy::default() };
    api.install("roles", &operator, "Fail");
    let namespace = "n".repeat(63);
    api.opt_in(&namespace);
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    api.make(&path, &json!({"metadata": {"name": "gitlab-webservice"}}));
    // The longest roles that IAM takes, for both providers and in `was`.
    let long =
        |end: char| format!("arn:aws:iam::123456789012:role/{}/{}{end}", "p".repeat(509), "r".repeat(63));
    let data = |role: &str| {
        BTreeMap::from([
            ("format".to_owned(), "1".to_owned()),
            ("pod.index".to_owned(), "always\t0\tpod.always".to_owned()),
            ("pod.always".to_owned(), "\n\t0\tirsa pod\t".to_owned()),
            ("rules".to_owned(), format!("\n0\trole\tr\t{role}\treplace\treplace\tannotatePods")),
        ])
    };
    api.bind("long", &data(&long('a')));
    let last = role(99).replace('*', "x");
    api.bind("last", &data(&last));
    let mut pod = Thing::pod("webservice").annotated("gitlab-iam-webhook/was", &long('b'));
    namespace.clone_into(&mut pod.namespace);
    let found = api.admit_when(&pod, "last", |found| found.len() > 1);
    assert_eq!(found.get("iam.amazonaws.com/role"), Some(&last));
    assert_eq!(api.admit(&pod, "long", true).get("iam.amazonaws.com/role"), None);
}

/// A role that is allowed in the tests below.
const ROLE: &str = "arn:aws:iam::123456789012:role/gitlab-x";

/// A parameter that gives it to every ServiceAccount, with these changes.
fn data(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let rules = rule(&format!("role\tr\t{ROLE}\tkeep\treplace\t"));
    let mut data = BTreeMap::from([
        ("format", "1"),
        ("account.index", "always\t0\taccount.always"),
        ("account.always", "\n\t0\tirsa\t"),
        ("rules", &*rules),
    ]);
    data.extend(changes.iter().copied());
    data.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
}

fn rule(record: &str) -> String {
    format!("\n0\t{record}")
}

fn with_options(options: &str) -> BTreeMap<String, String> {
    data(&[("rules", &rule(&format!("role\tr\t{ROLE}\tkeep\treplace\t\t{options}")))])
}

/// Parameters that nobody should write, and whether the role is given under each.
fn under(cases: &[(BTreeMap<String, String>, bool)]) {
    let Some(api) = Api::start() else { return };
    let operator = OperatorPolicy {
        allowed_roles: vec!["arn:aws:iam::123456789012:role/gitlab-*".parse().unwrap()],
        ..OperatorPolicy::default()
    };
    api.install("roles", &operator, "Ignore");
    api.opt_in("gitlab");
    for (number, (data, _)) in cases.iter().enumerate() {
        api.bind(&number.to_string(), data);
    }
    api.wait_for_bindings("gitlab-b");
    let thing = Thing::service_account("webservice");
    let mut took = Vec::new();
    for (number, (data, gives)) in cases.iter().enumerate() {
        let start = Instant::now();
        let found = api.admit(&thing, &number.to_string(), true);
        took.push((start.elapsed(), number));
        let keys: Vec<&str> = found.keys().map(String::as_str).collect();
        let wanted: &[&str] = if *gives { &["eks.amazonaws.com/role-arn", APPLIED] } else { &[] };
        let data = format!("{data:?}");
        assert_eq!(keys, wanted, "{number}: {}", data.chars().take(1_000).collect::<String>());
        let role = found.get("eks.amazonaws.com/role-arn").map(String::as_str);
        assert!(matches!(role, None | Some(ROLE)), "{role:?}");
    }
    let mut past_the_capture = std::io::stderr();
    let honest = took[0].0;
    took.sort();
    for (one, number) in took.iter().rev().take(3) {
        let ratio = one.as_secs_f64() / honest.as_secs_f64();
        writeln!(past_the_capture, "parameter {number}: {one:?}, {ratio:.0} times as long as an honest one")
            .unwrap();
    }
}

#[test]
fn whoever_writes_the_parameter_gives_allowed_roles_and_nothing_else() {
    let outside = |role: &str| rule(&format!("role\tr\t{role}\tkeep\treplace\t"));
    under(&[
        (data(&[]), true),
        (data(&[("format", "2")]), false),
        (data(&[("rules", &outside("arn:aws:iam::123456789012:role/admin"))]), false),
        (data(&[("rules", &outside("arn:aws:iam::123456789012:role/gitlab-x/../admin x"))]), false),
        (data(&[("rules", &outside("arn:aws:iam::123456789012:role/gitlab-x\u{2028}"))]), false),
        (
            data(&[(
                "rules",
                &outside(&format!("arn:aws:iam::123456789012:role/gitlab-{}", "x".repeat(58))),
            )]),
            false,
        ),
        (data(&[("rules", "")]), false),
        (data(&[("rules", &rule("grant\tr"))]), false),
        (data(&[("rules", &rule("role"))]), false),
        (data(&[("account.always", "\n\t0\tirsa\t(")]), false),
        (data(&[("account.always", "\n\tx\tirsa\t")]), false),
        (data(&[("account.index", "always")]), false),
        (data(&[("account.index", "always\t-1\taccount.always")]), false),
        (with_options("example.com/evil=1"), true),
        (with_options("eks.amazonaws.com/role-arn=arn:aws:iam::123456789012:role/admin"), true),
        (with_options("gitlab-iam-webhook/was=x\tiam.amazonaws.com/role=y"), true),
        (with_options("eks.amazonaws.com/audience=a b\teks.amazonaws.com/token-expiration=x"), true),
    ]);
}

#[test]
fn whoever_writes_the_parameter_has_no_object_refused_and_takes_little_time() {
    let named = |name: &str| data(&[("rules", &rule(&format!("role\t{name}\t{ROLE}\tkeep\treplace\t")))]);
    let tried = |expression: &str| data(&[("account.always", &format!("\n\t0\tirsa\t{expression}"))]);
    let tried_label = |expression: &str| tried(&format!("\tapp\t{expression}"));
    under(&[
        (data(&[]), true),
        // What would be written beside the role is bounded, and can be read again.
        (named(&"n".repeat(270_000)), false),
        (named(&"n".repeat(200)), true),
        (named(r#"x","evil":"y"#), false),
        (named(r#"\"\\"#), true),
        (named(r"x\"), false),
        (named(r"\u0000"), false),
        (with_options(&"eks.amazonaws.com/audience=x\t".repeat(8)), false),
        (with_options(&format!("eks.amazonaws.com/audience={}", "\u{e9}".repeat(8_192))), false),
        // So is what the API server has to do.
        (tried("^webservice\\ngitlab\\n.*-[^\\na-c]ebservice\\n(?:|=).*\\n"), true),
        (tried(r"^\x{77}ebservice"), true),
        (tried(r"^w[\{\?]*"), false),
        (tried("^w.{2}"), false),
        (tried(r"^w.\x{62}{1}"), false),
        (tried("^w(?:[a-z]{9}){0}"), false),
        (tried(r"^(?:|\\{3})w"), false),
        (tried(r"^\Q\\E{0}w"), false),
        (tried("(?i)W"), false),
        (tried("^(?:(?i)W)"), false),
        (tried(r"^\pL"), false),
        (tried(r"^\w"), false),
        (tried("^w+"), false),
        (tried("^w(?:e)*"), false),
        (tried("^(w)"), false),
        (tried(&format!("^w.*(?:|{})", "x".repeat(199_000))), true),
        (tried(&format!("^w.*(?:|{})", "x".repeat(200_000))), false),
        (tried_label("^w.*$"), true),
        (tried_label("^w.{9}$"), false),
        (data(&[("account.always", &"\n\t0\tirsa\t".repeat(5_000))]), true),
        (data(&[("account.always", &"\n\t0\tirsa\t".repeat(5_001))]), false),
        (data(&[("account.index", &["always\t0\taccount.always"; 500].join("\n"))]), true),
        (data(&[("account.index", &["always\t0\taccount.always"; 501].join("\n"))]), false),
        (data(&[("account.always", &"\n\t".repeat(450_000))]), false),
        (data(&[("account.index", &"always\t0\tx\n".repeat(80_000))]), false),
        (data(&[("account.always", &format!("\n\t0\tirsa\t{}", "\t".repeat(900_000)))]), false),
        (data(&[("rules", &"\n0\t".repeat(300_000))]), false),
        (tried(&format!("^(?:{}z)\\nq", ".*a.*r.*|".repeat(21_000))), false),
        (tried(&format!("(?i){}", r"[\x{42}-\x{1e942}]".repeat(20_000))), false),
    ]);
}
