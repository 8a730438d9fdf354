//! How much may each part of a mapping be? Each limit is tried exactly at its value and one beyond.

use gitlab_iam_webhook::engine::mapping::{self, MAX_BYTES};
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;

/// What is said of each problem.
fn problems(text: &str) -> Vec<String> {
    match mapping::compile(text, &OperatorPolicy::default()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.first.iter().map(|problem| problem.message.clone()).collect(),
    }
}

fn rule(matches: &str, beside: &str) -> String {
    format!("account: \"123456789012\"\nrules:\n  - {{match: {{{matches}}}, {beside}}}\n")
}

fn skipping(matches: &str) -> String {
    rule(matches, "skip: true")
}

/// Says that the first text is taken, and that the second one has this one problem.
fn assert_limit(within: &str, beyond: &str, problem: &str) {
    assert_eq!(problems(within), [""; 0]);
    assert_eq!(problems(beyond), [problem]);
}

/// A list of so many numbered members.
fn list(count: usize, member: impl Fn(usize) -> String) -> String {
    (0..count).map(member).collect::<Vec<_>>().join(",")
}

#[test]
fn a_text_may_have_a_mebibyte() {
    let text = |bytes: usize| format!("rules: []\n#{}", "x".repeat(bytes - 11));
    assert_limit(
        &text(MAX_BYTES),
        &text(MAX_BYTES + 1),
        "the mapping has 1048577 bytes, a ConfigMap holds at most 1048576",
    );
}

#[test]
fn the_memory_that_is_set_apart_follows_the_length_of_the_text_up_to_12_mib() {
    const MIB: usize = 1 << 20;
    assert_eq!(mapping::weight(0), MIB + MIB / 4 + 2 * MIB);
    assert_eq!(mapping::weight(64 << 10), 2 * MIB + MIB / 2 + 2 * MIB);
    assert_eq!(mapping::weight(448 << 10), 12 * MIB);
    assert_eq!(mapping::weight((448 << 10) + 1), 12 * MIB);
    assert_eq!(mapping::weight(usize::MAX), 12 * MIB);
}

#[test]
fn a_mapping_may_have_20_000_rules_however_they_are_written() {
    let beyond = "has 20001 rules, at most 20000 are served";
    for (head, member, tail) in [("rules: [", "1,", "]\n"), ("rules:\n", "- 1\n", "")] {
        let rules = format!("{head}LIST{tail}");
        let found = |count: usize| problems(&rules.replace("LIST", &member.repeat(count)));
        assert!(found(20_000).iter().all(|message| !message.contains("at most 20000")), "{rules}");
        assert!(found(20_001).iter().any(|message| message == beyond), "{rules}");
    }
    // Another list of that name is a mistake, and its members are not counted.
    let twice = problems(&format!("rules: [1]\nrules: [{}]\n", "1,".repeat(20_001)));
    assert_eq!(twice, ["must be a mapping, found a number", "the key `rules` stands here twice"]);
}

#[test]
fn the_rules_may_look_at_256_labels_together() {
    let rules = |last: &str| {
        let keys = |rule: usize| list(64, |n| format!("k{rule}-{n}: a"));
        let rules: String =
            (0..4).map(|n| format!("  - {{match: {{labels: {{{}}}}}, skip: true}}\n", keys(n))).collect();
        format!("rules:\n{rules}  - {{match: {{labels: {{{last}: a}}}}, skip: true}}\n")
    };
    let again = format!("{}  - {{match: {{labels: {{k9: a}}}}, skip: true}}\n", rules("k8"));
    let problem = "with this rule the rules look at more than 256 different labels";
    assert_limit(&rules("k0-0"), &rules("k8"), problem);
    assert_eq!(problems(&again), [problem], "it is told once");
}

#[test]
fn the_globs_of_a_mapping_may_take_a_million_steps_together() {
    // Each of these takes the same steps, and 280 of them fit.
    let globs = |count: usize| {
        let globs = list(count, |n| format!("\"*a?a?a?a?a?a?aN*{}\"", 100 + n));
        format!("  - {{match: {{serviceAccount: [{globs}]}}, skip: true}}\n")
    };
    assert_eq!(problems(&format!("rules:\n{}{}", globs(140), globs(140))), [""; 0]);
    let beyond = problems(&format!("rules:\n{}{}{}", globs(140), globs(141), globs(1)));
    assert_eq!(beyond.len(), 1, "it is told once: {beyond:?}");
    assert!(beyond[0].contains("one decision may take more than 1000000"), "{beyond:?}");
}

#[test]
fn a_rule_may_look_at_64_labels() {
    let labels = |count: usize| skipping(&format!("labels: {{{}}}", list(count, |n| format!("k{n}: a"))));
    assert_limit(&labels(64), &labels(65), "at most 64 labels can be asked for");
}

#[test]
fn a_list_may_have_a_thousand_members() {
    let members = |count: usize| skipping(&format!("release: [{}]", list(count, |n| format!("r{n}"))));
    assert_limit(&members(1000), &members(1001), "has 1001 members, at most 1000 are taken");
}

#[test]
fn a_key_may_be_as_long_as_a_labels() {
    let key = |bytes: usize| skipping(&format!("labels: {{a: b, {}: c}}", "k".repeat(bytes)));
    assert_limit(&key(317), &key(318), "the key has 318 bytes, at most 317 are taken");
}

#[test]
fn a_text_of_a_mapping_may_have_4096_bytes() {
    let role = |bytes: usize| problems(&rule("component: kas", &format!("role: {}", "r".repeat(bytes))));
    let within = role(4096);
    assert!(within[0].ends_with("has 4096 characters, IAM allows 64"), "{within:?}");
    assert_eq!(role(4097), ["has 4097 bytes, at most 4096 are taken"]);
}

#[test]
fn a_glob_may_have_1024_bytes() {
    let glob = |bytes: usize| skipping(&format!("release: {}", "g".repeat(bytes)));
    assert_limit(&glob(1024), &glob(1025), "the glob has 1025 bytes, at most 1024 are taken");
}

#[test]
fn a_name_may_have_63_characters() {
    let name = |name: &str| rule("component: kas", &format!("name: \"{name}\", skip: true"));
    let problem = "must be 1 to 63 characters";
    assert_limit(&name(&"ä".repeat(63)), &name(&"ä".repeat(64)), problem);
    assert_limit(&name("x"), &name(""), problem);
    assert_eq!(problems(&name("a\\tb")), [problem]);
}

#[test]
fn a_name_that_is_made_is_cut_to_63_characters() {
    let made = |matches: &str| {
        let ruleset = mapping::compile(&skipping(matches), &OperatorPolicy::default()).unwrap();
        ruleset.rules()[0].name.to_string()
    };
    // `release=` has 8 characters.
    assert_eq!(made(&format!("release: {}", "r".repeat(55))), format!("release={}", "r".repeat(55)));
    assert_eq!(made(&format!("release: {}", "r".repeat(56))), format!("release={}…", "r".repeat(54)));
    assert_eq!(made(&format!("release: {}", "r".repeat(99))), format!("release={}…", "r".repeat(54)));
    assert_eq!(made("release: [a, b], labels: {c: d, e: f}"), "release=a,b c=d e=f");
    let long = "x".repeat(40);
    assert_eq!(
        made(&format!("release: [{long}, {long}, {long}]")),
        format!("release={long},{}…", "x".repeat(13))
    );
    assert_eq!(
        made(&format!("release: {long}, labels: {{{long}: a}}")),
        format!("release={long} {}…", "x".repeat(13))
    );
}

#[test]
fn a_word_of_at_most_64_bytes_is_likened_to_those_that_are_known() {
    let unknown = |bytes: usize| {
        let key = format!("stsRegionalEndpoints{}", "x".repeat(bytes - 20));
        problems(&format!("irsa: {{{key}: true}}\nrules: []\n")).concat()
    };
    assert!(unknown(64).ends_with("; did you mean `stsRegionalEndpoints`?"), "{}", unknown(64));
    assert!(unknown(65).contains("; known are stsRegionalEndpoints, tokenExpiration"), "{}", unknown(65));
}

#[test]
fn the_options_of_irsa_have_limits() {
    let irsa = |option: &str| format!("irsa: {{{option}}}\nrules: []\n");
    let seconds = |seconds: u32| irsa(&format!("tokenExpiration: {seconds}"));
    let problem = "must be a whole number of seconds from 600 to 86400";
    assert_limit(&seconds(600), &seconds(599), problem);
    assert_limit(&seconds(86_400), &seconds(86_401), problem);
    assert_eq!(problems(&irsa("tokenExpiration: \"3600\"")), [""; 0], "it may be written in quotes");
    let audience = |bytes: usize| irsa(&format!("audience: {}", "a".repeat(bytes)));
    assert_limit(&audience(255), &audience(256), "has 256 bytes, IAM allows 255");
    for bad in ["", " ", "a b", "a\\tb", "\\u0007"] {
        let found = problems(&irsa(&format!("audience: \"{bad}\"")));
        assert_eq!(found, ["an audience is a word without spaces, as sts.amazonaws.com"], "{bad:?}");
    }
    // 64 commas stand between 65 names.
    let containers = |last: usize| {
        let names = format!(
            "{}{},{}",
            "c,".replace('c', &"c".repeat(63)).repeat(63),
            "c".repeat(62),
            "c".repeat(last)
        );
        irsa(&format!("skipContainers: [{names}]"))
    };
    assert_limit(&containers(1), &containers(2), "the names have 4097 bytes, at most 4096 are taken");
}

#[test]
fn the_options_of_kube2iam_have_limits() {
    let option = |key: &str, value: &str| format!("kube2iam: {{{key}: \"{value}\"}}\nrules: []\n");
    for (key, longest, extra) in [("externalId", 1224, ":/"), ("sessionName", 64, "")] {
        let problem = format!("must be 2 to {longest} letters, digits or characters of _+=,.@-{extra}");
        let bytes = |bytes: usize| option(key, &"x".repeat(bytes));
        assert_limit(&bytes(2), &bytes(1), &problem);
        assert_limit(&bytes(longest), &bytes(longest + 1), &problem);
        assert_limit(&option(key, "aZ9_+=,.@-"), &option(key, "a b"), &problem);
        assert_eq!(problems(&option(key, "a:/b")).is_empty(), !extra.is_empty());
    }
}

#[test]
fn a_project_has_a_number_of_at_most_19_digits() {
    let project = |id: &str| skipping(&format!("component: runner-job, runner: ci/runner, project: {id}"));
    let problem = "must be the id of a GitLab project, a whole number";
    assert_limit(&project(&"9".repeat(19)), &project(&"9".repeat(20)), problem);
    assert_limit(&project("10"), &project("01"), problem);
    assert_limit(&project("\"7\""), &project("\"\""), problem);
    for bad in ["7a", "-7", "7.0", "true", "[[7]]"] {
        assert_eq!(problems(&project(bad)), [problem], "{bad}");
    }
}

#[test]
fn a_runner_is_a_namespace_and_an_account_as_kubernetes_takes_them() {
    let runner = |name: &str| skipping(&format!("component: runner-job, runner: \"{name}\""));
    let problem = "must be NAMESPACE/NAME of the runner manager's ServiceAccount, without wildcards";
    let label = |length: usize| "n".repeat(length);
    assert_limit(&runner(&format!("{}/a", label(63))), &runner(&format!("{}/a", label(64))), problem);
    assert_limit(&runner("a-9/b-9.c-9"), &runner("a.b/c"), problem);
    let name = |last: usize| format!("ci/{0}.{0}.{0}.{1}", label(63), label(last));
    assert_limit(&runner(&name(61)), &runner(&name(62)), problem);
    for bad in
        ["ci", "/a", "ci/", "-a/b", "a-/b", "ci/-a", "ci/a-", "ci/a..b", "ci/A", "C/a", "ci/a_b", "C/default"]
    {
        assert_eq!(problems(&runner(bad)), [problem], "{bad}");
    }
}

#[test]
fn beyond_a_hundred_problems_the_rest_is_counted() {
    let found = |count: usize| {
        let keys: String = (0..count).map(|n| format!("k{n}: 1\n")).collect();
        mapping::compile(&format!("rules: []\n{keys}"), &OperatorPolicy::default()).unwrap_err()
    };
    for (count, kept, rest) in [
        (1, 1, None),
        (99, 99, None),
        (100, 100, None),
        (101, 100, Some("and 1 more")),
        (250, 100, Some("and 150 more")),
    ] {
        let problems = found(count);
        assert_eq!((problems.count(), problems.first.len(), problems.more), (count, kept, count - kept));
        assert_eq!(problems.rest().as_deref(), rest);
        let told = problems.to_string();
        assert!(
            told.starts_with(&format!("{count} problem{}\n", if count == 1 { "" } else { "s" })),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1 + kept + usize::from(rest.is_some()));
        assert_eq!(rest.is_some_and(|rest| told.ends_with(&format!("\n  {rest}"))), rest.is_some());
    }
}

#[test]
fn what_is_no_text_is_told_by_what_it_is() {
    let role = |value: &str| problems(&rule("component: kas", &format!("role: {value}"))).concat();
    assert_eq!(role("~"), "must be text, found nothing");
    assert_eq!(role("7"), "must be text, but YAML reads 7 as a number: write it in quotes");
    assert_eq!(role("[a]"), "must be text, found a list");
    assert_eq!(role("{}"), "must be text, found a mapping");
    assert_eq!(role("{a: b, c: d}"), "must be text, found a mapping");
    assert!(role("{a}").starts_with("must be text, found a mapping: a placeholder"), "{}", role("{a}"));
}

#[test]
fn a_manifest_where_a_mapping_belongs_is_told_by_its_kind() {
    let config_map = "apiVersion: v1\nkind: ConfigMap\ndata: {mapping.yaml: \"rules: []\"}\n";
    assert!(problems(config_map).concat().starts_with("this is the manifest of a ConfigMap"), "{config_map}");
    let other = "apiVersion: v1\nkind: Secret\n";
    assert!(problems(other).concat().starts_with("this is a Secret: expected a mapping"), "{other}");
    for key in ["apiVersion: v1", "kind: Secret", "kind: ConfigMap"] {
        let found = problems(&format!("{key}\nrules: []\n")).concat();
        assert!(found.starts_with("unknown key `"), "{key}: {found}");
    }
}

#[test]
fn beside_skip_and_remove_nothing_else_is_read() {
    for action in ["skip: true", "provider: irsa, remove: true"] {
        let found = problems(&rule("component: kas", &format!("{action}, role: a b, irsa: {{x: y}}")));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("cannot stand beside") && found[1].starts_with("has no effect"),
            "{found:?}"
        );
    }
}

#[test]
fn a_role_for_jobs_wants_a_provider_that_reads_pods() {
    for matches in ["runner: ci/runner", "runner: ci/runner, project: 7", "component: minio"] {
        let found = problems(&rule(matches, "role: r"));
        assert!(
            found.iter().any(|message| message.starts_with("irsa reads ServiceAccounts")),
            "{matches}: {found:?}"
        );
        let both = problems(&rule(matches, "role: r, provider: [irsa, kube2iam]"));
        assert!(
            !both.iter().any(|message| message.starts_with("irsa reads ServiceAccounts")),
            "{matches}: {both:?}"
        );
    }
    assert_eq!(problems(&rule("component: [minio, registry]", "role: r")), [""; 0]);
    assert_eq!(problems(&rule("namespace: a", "role: r")), [""; 0]);
}

#[test]
fn forty_million_steps_of_reading_end_a_mapping() {
    // Each alias stands for a text that takes 4016 steps, and is too long for a glob.
    let release = format!("  - {{match: {{release: [{}]}}, skip: true}}\n", list(1000, |_| "*l".to_owned()));
    let text = format!("account: &l \"{}\"\nrules:\n{}", "x".repeat(4000), release.repeat(11));
    let problems = mapping::compile_file(&text, &OperatorPolicy::default()).unwrap_err().first;
    let too_long = problems.iter().filter(|problem| problem.message.starts_with("the glob has 4000 bytes"));
    assert_eq!(too_long.count(), 40_000_000 / 4016);
    let end: Vec<_> =
        problems.iter().filter(|problem| problem.message.contains("takes too long to read")).collect();
    assert_eq!(end.len(), 1);
    assert_eq!(end[0].path, "rules[9].match.release[960]");
}
