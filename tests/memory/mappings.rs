//! Does a mapping take no more memory than is set apart for it, however hostile it is?

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gitlab_iam_webhook::cluster::policy_parameter::ROOM;
use gitlab_iam_webhook::engine::mapping::lints;
use gitlab_iam_webhook::engine::mapping::{self, MAX_BYTES, compile};
use gitlab_iam_webhook::engine::policy;
use gitlab_iam_webhook::engine::rules::operator_policy::OperatorPolicy;
use gitlab_iam_webhook::engine::rules::ruleset::Ruleset;

use crate::Alone;

const MIB: usize = 1 << 20;

/// Makes a mapping of ordinary rules, as many of them as fit into a ConfigMap.
fn honest(rules: usize, glob: &str) -> String {
    let mut text = "account: \"123456789012\"\nrules:\n".to_owned();
    for n in 1..=rules {
        let line = format!(
            "  - {{match: {{serviceAccount: \"account-{n}{glob}\", namespace: namespace-{n}}}, role: role-for-account-{n}}}\n"
        );
        if text.len() + line.len() > MAX_BYTES {
            break;
        }
        text += &line;
    }
    text
}

/// Repeats `piece` between a head and a tail, until the text is as long as a ConfigMap holds.
fn full(head: &str, piece: &str, tail: &str) -> String {
    let count = (MAX_BYTES - head.len() - tail.len()) / piece.len();
    format!("{head}{}{tail}", piece.repeat(count))
}

/// Repeats numbered pieces likewise, but no more of them than there may be rules.
fn numbered(head: &str, piece: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for number in 0..20_000 {
        let next = piece(number);
        if text.len() + next.len() + tail.len() > MAX_BYTES {
            break;
        }
        text += &next;
    }
    text + tail
}

#[test]
fn ten_thousand_rules_take_at_most_8_mib_in_force() {
    let alone = Alone::begin();
    for glob in ["", "*"] {
        let text = honest(10_000, glob);
        let (ruleset, peak, held) = alone.peak(|| compile(&text, &OperatorPolicy::default()).unwrap());
        assert!(ruleset.rules().len() > 9_900, "{}", ruleset.rules().len());
        println!(
            "{} bytes: {held} in force, {} by its own account, {peak} at most",
            text.len(),
            ruleset.weight()
        );
        // The allocator needs some bytes for itself, which the weight counts and `held` does not.
        assert!(held <= ruleset.weight() && ruleset.weight() <= 8 * MIB);
        assert!(peak <= mapping::weight(text.len()));
    }
}

#[test]
fn the_room_for_reading_a_mapping_follows_its_length() {
    assert!(mapping::weight(2 << 10) <= 4 * MIB);
    assert_eq!(mapping::weight(MAX_BYTES), 12 * MIB);
    assert_eq!(mapping::weight(usize::MAX / 16), 12 * MIB);
}

/// Makes texts that take much memory, each with a word for what it does.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn hostile() -> Vec<(&'static str, String)> {
    let rules = "account: \"123456789012\"\nrules:\n";
    let rule = |matches: &str| format!("  - {{match: {{{matches}}}, role: r}}\n");
    let mut texts = vec![
        (
            "braces",
            numbered(
                rules,
                |n| rule(&format!("namespace: \"{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{n}\"")),
                "",
            ),
        ),
        ("unknown keys", full("rules: []\n", "k: 1\n", "")),
        (
            "some unknown keys",
            numbered("rules: []\n", |n| if n < 5000 { format!("k{n}: 1\n") } else { "#\n".to_owned() }, ""),
        ),
        (
            "unknown keys in a rule",
            numbered("rules:\n  - match: {component: kas}\n", |n| format!("    k{n}: 1\n"), ""),
        ),
        (
            "bad rules",
            numbered("rules:\n", |n| format!("  - {{match: {{component: kaas}}, role: b{n}!}}\n"), ""),
        ),
        (
            "bad rules with long names",
            numbered("rules:\n", |n| format!("- {{\"{n}{}\": 1}}\n", "k".repeat(40)), ""),
        ),
        ("bad rules, short", full("rules:\n", "- 1\n", "")),
        ("no rules at all", full("rules:\n", "- {}\n", "")),
        (
            "names",
            numbered(
                "rules:\n",
                |n| format!("- {{name: \"{n}{}\", match: {{component: kas}}, skip: true}}\n", "ä".repeat(56)),
                "",
            ),
        ),
        ("too many rules", full("rules:\n", "- {match: {component: kas}, skip: true}\n", "")),
        ("short rules", numbered("rules:\n", |_| "- {match: {component: kas}, skip: true}\n".to_owned(), "")),
        (
            "rules of every component",
            numbered("rules:\n", |_| "- {match: {component: \"*\"}, skip: true}\n".to_owned(), ""),
        ),
        (
            "labels",
            numbered(
                "rules:\n",
                |n| format!("- {{match: {{labels: {{a{}: b}}}}, skip: true}}\n", n % 256),
                "",
            ),
        ),
        (
            "different labels",
            numbered("rules:\n", |n| format!("- {{match: {{labels: {{a{n}: b}}}}, skip: true}}\n"), ""),
        ),
        (
            "long labels",
            numbered(
                "rules:\n",
                |n| format!("- {{match: {{labels: {{\"{n}{}\": b}}}}, skip: true}}\n", "k".repeat(300)),
                "",
            ),
        ),
        ("stars", numbered(rules, |n| rule(&format!("labels: {{a: \"*a*a*a{n}\"}}")), "")),
        ("prefixes", numbered(rules, |n| rule(&format!("namespace: [\"{n}*\", \"a{n}*\", \"b{n}*\"]")), "")),
        ("a list of all", full("rules:\n- {skip: true, match: {namespace: [", "a,", "]}}\n")),
        (
            "lists",
            full(
                "rules:\n",
                &format!("- {{skip: true, match: {{namespace: [{}]}}}}\n", "a,".repeat(900)),
                "",
            ),
        ),
        ("containers", full("irsa: {skipContainers: [", "a,", "]}\nrules: []\n")),
        ("empty lists", full("rules: [", "[],", "]\n")),
        ("empty lists beside the rules", full("rules: []\naccount: [", "[],", "]\n")),
        ("empty mappings", full("rules: [", "{},", "]\n")),
        ("empty mappings in one", full("rules: [[", "{},", "]]\n")),
        ("keys without values", full("rules: [{", "a: ,", "}]\n")),
        ("list items", full("", "- ", "")),
        ("list items, each in its line", full("", "- \n", "")),
        ("mappings in mappings", full("", "a: ", "")),
        ("question marks", full("", "? ", "")),
        ("question marks, each in its line", full("", "? \n", "")),
        ("colons", full("", ": \n", "")),
        ("brackets", full("", "[", "")),
        ("braces alone", full("", "{", "")),
        ("commas", full("[", "a,", "]")),
        ("pairs in a list", full("[", "a: b,", "]")),
        ("anchors", numbered("", |n| format!("- &a{n} x\n"), "")),
        ("anchors of one name", full("", "- &a x\n", "")),
        ("anchors in a rule", numbered("rules: [[", |n| format!("&a{n} x,"), "]]\n")),
        (
            "aliases of a rule",
            full(
                "account: \"123456789012\"\nirsa: &r {match: {component: kas}, role: r}\nrules: [",
                "*r,",
                "]\n",
            ),
        ),
        (
            "aliases of a list",
            full("account: &l [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z]\nrules: [", "*l,", "]\n"),
        ),
        (
            "aliases of a text",
            full(&format!("account: &l \"{}\\n\"\nrules: [[", "x".repeat(8000)), "*l,", "]]\n"),
        ),
        (
            "aliases of a text in rules",
            full(
                &format!("account: &l {}\nrules: [", "x".repeat(400_000)),
                "{match: {namespace: [*l]}},",
                "]\n",
            ),
        ),
        (
            "merges",
            numbered("account: &m {a: 1, b: 2, c: 3, d: 4}\nrules: [", |_| "{<<: *m},".to_owned(), "]\n"),
        ),
        ("merges in one", full("account: &m {a: 1}\nrules: [{<<: [", "*m,", "]}]\n")),
        (
            "anchored rules",
            numbered("rules:\n", |n| format!("- &a{n} {{match: {{component: kas}}, skip: true}}\n"), ""),
        ),
        ("tags", full("rules: [", "!t a,", "]\n")),
        ("long tags", full("rules: [", &format!("!<{}> a,", "t".repeat(500)), "]\n")),
        ("directives", numbered("", |n| format!("%TAG !t{n}! tag:x\n"), "--- \nrules: []\n")),
        ("other directives", numbered("", |n| format!("%FOO{n} bar\n"), "--- \nrules: []\n")),
        ("documents", full("", "---\n", "")),
        ("documents with something in them", full("", "---\na\n", "")),
        ("comments", full("rules: []\n", "#\n", "")),
        ("one comment", full("rules: []\n#", "x", "\n")),
        ("empty lines", full("rules: []\n", "\n", "")),
        ("a text with escapes", full("account: \"", "\\n", "\"\nrules: []\n")),
        ("a text that grows", full("account: \"", "\\L", "\"\nrules: []\n")),
        ("a key", full("\"", "k", "\": 1\nrules: []\n")),
        ("a long role", full("rules: [{match: {component: kas}, role: \"", "r/", "r\"}]\n")),
        ("a long account", full("account: ", "1", "\nrules: []\n")),
        ("a literal block", full("account: |\n", " x\n", "rules: []\n")),
        ("a folded block", full("account: >\n", " x\n", "rules: []\n")),
        ("a plain text over many lines", full("account: a\n", "  x\n", "rules: []\n")),
        ("quotes", full("rules: [", "\"a\",", "]\n")),
        ("two lists of rules", full("rules: []\nrules: [", "{},", "]\n")),
        ("rules by a merge", full("<<: {rules: [", "{},", "]}\n")),
        ("no YAML", full("", "\u{1}", "")),
        ("wide characters", full("account: \"", "𝄞", "\"\nrules: []\n")),
    ];
    let runners = format!(
        "provider: kube2iam\nirsa: &r [{}]\nrules: [",
        (0..1000).fold(String::new(), |mut list, n| {
            write!(list, "namespace-{n}/runner,").unwrap();
            list
        })
    );
    texts.push((
        "aliases of runners",
        full(&runners, "{match: {runner: *r}, role: \"arn:aws:iam::123456789012:role/r\"},", "]\n"),
    ));
    let nested = format!("{}x{}", "[".repeat(190), "]".repeat(190));
    texts.push(("deep lists", full("rules: [", &format!("{nested},"), "]\n")));
    let anchors: String = (0..150).fold(String::new(), |mut open, n| {
        write!(open, "&a{n} [").unwrap();
        open
    });
    texts.push(("anchors within anchors", format!("{anchors}{}{}", "x,".repeat(50_000), "]".repeat(150))));
    // These texts are short and stand for much.
    let braces: String = (0..1000).fold(String::new(), |mut list, n| {
        write!(list, "\"{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{n}\",").unwrap();
        list
    });
    texts.push((
        "aliases of braces",
        format!(
            "rules:\n- {{skip: true, match: {{namespace: &l [{braces}]}}}}\n{}",
            "- {skip: true, match: {namespace: *l}}\n".repeat(1000)
        ),
    ));
    texts
}

/// Returns what the rule with a number looks at.
type Rule = Box<dyn Fn(usize) -> String>;

#[test]
fn the_largest_mappings_that_are_taken_take_no_more_than_is_set_apart() {
    let alone = Alone::begin();
    let letters = "a,b,c,d,e,f,g,h,".repeat(125);
    let all: [(&str, usize, Rule); 5] = [
        (
            "braces",
            1480,
            Box::new(|n| format!("namespace: \"{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{{a,b}}{n}\"")),
        ),
        ("prefixes", 13_300, Box::new(|n| format!("namespace: [\"{n}*\", \"a{n}*\", \"b{n}*\"]"))),
        ("lists", 102, Box::new(move |_| format!("namespace: [{letters}]"))),
        ("labels", 15_600, Box::new(|n| format!("labels: {{a{}: [b,{n}a]}}", n % 256))),
        ("components", 11_000, Box::new(|n| format!("component: \"*\", release: r{n}"))),
    ];
    for (what, most, rule) in all {
        let rules = (0..most).map(|n| format!("- {{match: {{{}}}, skip: true}}\n", rule(n)));
        let text = format!("rules:\n{}#", rules.collect::<String>());
        // A longer text may take more.
        let text = format!("{text}{}", "x".repeat(MAX_BYTES - text.len()));
        assert_eq!(text.len(), MAX_BYTES);
        let (ruleset, peak, held) = alone.peak(|| compile(&text, &OperatorPolicy::default()).unwrap());
        println!(
            "{what}: {} bytes, {} by its own account, {held} held, {peak} at most",
            text.len(),
            ruleset.weight()
        );
        assert!(held <= ruleset.weight() && ruleset.weight() <= 8 * MIB, "{what}");
        assert!(peak <= mapping::weight(text.len()), "{what}: {peak}");
    }
}

#[test]
fn no_text_takes_more_to_read_than_is_set_apart_for_it() {
    let alone = Alone::begin();
    let mut wrong = Vec::new();
    for (what, text) in hostile() {
        assert!(text.len() <= MAX_BYTES, "{what}: {} bytes", text.len());
        let start = Instant::now();
        let (read, peak, held) = alone.peak(|| compile(&text, &OperatorPolicy::default()));
        let most = mapping::weight(text.len());
        let outcome = match &read {
            Ok(ruleset) => format!("ok, {} by its own account", ruleset.weight()),
            Err(problems) => problems.to_string(),
        };
        let told = outcome.get(..outcome.floor_char_boundary(150)).unwrap_or_default();
        println!("{what}: {peak} of {most}, {held} held, {:?}: {told}", start.elapsed());
        let account = read.as_ref().map_or(512 << 10, Ruleset::weight);
        if peak > most || held > account || start.elapsed() > Duration::from_secs(10) {
            wrong.push(what);
        }
        if let Err(problems) = &read {
            assert!(problems.first.len() <= mapping::MAX_PROBLEMS);
            assert!(outcome.len() <= 128 << 10, "{what}: {} bytes", outcome.len());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn lints_are_told_one_after_the_other() {
    let alone = Alone::begin();
    let text = honest(10_000, "^");
    let ruleset = compile(&text, &OperatorPolicy::default()).unwrap();
    let mut count = 0;
    let ((), peak, _) = alone.peak(|| lints::each(&ruleset, text.len(), &mut |_| count += 1));
    assert!(count > 9_000);
    assert!(peak < 64 << 10, "{peak}");
}

#[test]
fn the_parameter_of_a_policy_takes_no_more_to_make_and_to_send_than_is_set_apart_for_it() {
    let alone = Alone::begin();
    let mut texts = vec![("honest", honest(10_000, "")), ("honest globs", honest(10_000, "*"))];
    let rules = "account: \"123456789012\"\nrules:\n";
    let names = |n: usize, count: usize| {
        let names: Vec<String> = (0..count).map(|m| format!("n{n}-{m}")).collect();
        format!("  - {{match: {{namespace: [{}]}}, role: r}}\n", names.join(","))
    };
    for (what, count, each) in [("a thousand names", 16, 1_000), ("fifty names", 320, 50)] {
        let text: String = (0..count).map(|n| names(n, each)).collect();
        texts.push((what, format!("{rules}{text}")));
    }
    let long = |n: usize| {
        format!("  - {{name: \"{n}{}\", match: {{namespace: \"*{n}*\"}}, skip: true}}\n", "n".repeat(50))
    };
    texts.push(("long names without a beginning", numbered(rules, long, "")));
    texts.extend(hostile());
    let mut made = 0;
    for (what, text) in texts {
        let Ok(ruleset) = compile(&text, &OperatorPolicy::default()) else { continue };
        let start = Instant::now();
        let ((left_out, sent), peak, _) = alone.peak(|| {
            let parameter = policy::parameter(&ruleset).unwrap();
            let sent = serde_json::to_vec(&parameter.data).unwrap();
            (parameter.left_out.len(), sent.len())
        });
        let rules = ruleset.rules().len();
        println!(
            "{what}: {left_out} of {rules} left out, {sent} bytes sent, {peak} at most, {:?}",
            start.elapsed()
        );
        assert!(peak <= ROOM, "{what}: {peak} of {ROOM}");
        made += 1;
    }
    assert!(made >= 10, "{made} mappings");
}
