//! Which values does a YAML text hold, and where do they stand?
//!
//! Mappings and manifests both come through this reader. It makes a tree of nodes that know their line and
//! column, so that every problem in a text can be reported at once. Scalars get the types that kubectl gives
//! them (YAML 1.1: `yes` and `on` are booleans, `0644` is a number), because the user's other tools read the
//! same text so. JSON is read as YAML, too.

mod error;
mod limits;
mod node;
mod tree;

use granit_parser::{ErrorKind, Event, Options, Parser, ScanError};

pub use error::{SyntaxError, SyntaxErrorKind};
use limits::MAX_DEPTH;
pub use limits::{LARGEST_DOCUMENT, Limits};
pub use node::{Node, Position, Scalar, ScalarKind, Value};
use tree::TreeBuilder;

/// Reads every document of a YAML (or JSON) text. An empty document is left out.
///
/// # Errors
/// Returns the first place that is not YAML, or where the text goes beyond this reader's limits.
pub fn read(text: &str) -> Result<Vec<Node<'_>>, SyntaxError> {
    read_apart(text, Limits::MANIFEST, None, &mut |_, _| {})
}

/// Reads as [`read`] does, but for the list under the key `apart` at the top. Its members are given to
/// `member` one after the other, with the list's place, and the list itself is left empty: a long one is
/// never held as a whole.
///
/// # Errors
/// Returns an error as [`read`] does.
pub fn read_apart<'t>(
    text: &'t str,
    limits: Limits,
    apart: Option<&str>,
    member: &mut dyn FnMut(Position, Node<'t>),
) -> Result<Vec<Node<'t>>, SyntaxError> {
    let mut tree = TreeBuilder::new(text, limits, apart, member);
    for event in Parser::new_from_str_with_options(text, options(limits)) {
        let (event, span) = event.map_err(|error| not_yaml(&error))?;
        tree.take(event, span)?;
    }
    Ok(tree.documents)
}

fn options(limits: Limits) -> Options {
    let mut options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        simple_key_max_lookahead: limits.lookahead,
        disallow_directives: !limits.directives,
    };
    options.set_emit_comments(false);
    options
}

/// Reads as [`read`] does, and gives one document after the other to `each`, so that only one is held.
/// Each may be as large as a text may be for [`read`], and hold [`LARGEST_DOCUMENT`] bytes.
///
/// # Errors
/// Returns an error as [`read`] does, or the first one of `each`.
pub fn read_each<'t, E: From<SyntaxError>>(
    text: &'t str,
    mut each: impl FnMut(Node<'t>) -> Result<(), E>,
) -> Result<(), E> {
    let limits = Limits { held: Some(LARGEST_DOCUMENT), ..Limits::MANIFEST };
    let ignore = &mut |_, _| {};
    let mut tree = TreeBuilder::new(text, limits, None, ignore);
    for event in Parser::new_from_str_with_options(text, options(limits)) {
        let (event, span) = event.map_err(|error| not_yaml(&error))?;
        let ends = matches!(event, Event::DocumentEnd);
        tree.take(event, span).map_err(|error| match error.kind {
            SyntaxErrorKind::TooMuchAtOnce(_) => {
                SyntaxError { kind: SyntaxErrorKind::DocumentTooLarge, ..error }
            }
            _ => error,
        })?;
        if ends {
            tree.next_document().map_or(Ok(()), &mut each)?;
        }
    }
    Ok(())
}

fn not_yaml(error: &ScanError) -> SyntaxError {
    let kind = match error.kind() {
        ErrorKind::MissingAnchorOrAliasName => SyntaxErrorKind::AliasWithoutName(error.info()),
        _ => SyntaxErrorKind::NotYaml(error.info()),
    };
    SyntaxError { at: Position::of(*error.marker()), kind }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn scalars_are_typed_as_kubectl_types_them() {
        use ScalarKind::{Boolean, Null, Number, Text};
        let cases = [
            ("gitlab", Text),
            ("'yes'", Text),
            ("\"42\"", Text),
            ("!!str 42", Text),
            ("yes", Boolean(true)),
            ("off", Boolean(false)),
            ("42", Number),
            ("012345678901", Number),
            ("0x1F", Number),
            ("1_000", Number),
            ("1.5e3", Number),
            (".inf", Number),
            ("1.2.3", Text),
            ("arn:aws:iam::123456789012:role/x", Text),
            ("2026-01-02", Text),
            ("~", Null),
            ("null", Null),
            ("infinity", Text),
            (".", Text),
        ];
        for (source, want) in cases {
            let text = format!("key: {source}\n");
            let documents = read(&text).unwrap();
            assert_eq!(documents[0].get("key").unwrap().as_scalar().unwrap().kind, want, "{source}");
        }
    }

    #[test]
    fn nodes_know_their_line_column_and_bytes() {
        let text = "a: 1\nb:\n  - föö\n  - {c: \"d e\"}\n";
        let documents = read(text).unwrap();
        let list = documents[0].get("b").unwrap().as_sequence().unwrap();
        assert_eq!(list[0].at, Position { line: 3, column: 5 });
        assert_eq!(text.get(list[0].span()), Some("föö"));
        let inner = list[1].get("c").unwrap();
        assert_eq!(inner.at, Position { line: 4, column: 9 });
        assert_eq!(text.get(inner.span()), Some("\"d e\""));
    }

    #[test]
    fn empty_documents_are_left_out() {
        assert_eq!(read("").unwrap().len(), 0);
        assert_eq!(read("# only a comment\n").unwrap().len(), 0);
        assert_eq!(read("---\na: 1\n---\n# nothing\n---\nb: 2\n").unwrap().len(), 2);
    }

    #[test]
    fn a_document_that_is_written_as_null_is_not_left_out() {
        for text in ["~", "null", "---\n~\n", "\"\""] {
            assert_eq!(read(text).unwrap().len(), 1, "{text}");
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_followed() {
        let documents = read("base: &b {x: 1, z: 2}\nuse: {<<: *b, z: 3}\nsame: *b\n").unwrap();
        let merged = documents[0].get("use").unwrap();
        assert_eq!(merged.get("x").unwrap().as_scalar().unwrap().text, "1");
        assert_eq!(merged.get("z").unwrap().as_scalar().unwrap().text, "3");
        assert!(documents[0].get("same").unwrap().as_mapping().is_some());
        assert_eq!(read("a: {<<: 3}\n").unwrap_err().kind, SyntaxErrorKind::MergeOfNoMapping);
    }

    #[test]
    fn a_merge_key_in_quotes_is_a_key_like_any_other() {
        for key in ["'<<'", "\"<<\"", "!!str <<", "? |-\n    <<\n "] {
            let text = format!("a:\n {key}: {{x: 1}}\n");
            let documents = read(&text).unwrap();
            let map = documents[0].get("a").unwrap();
            assert!(map.get("x").is_none() && map.at_path(&["<<", "x"]).is_some(), "{text}");
        }
        for key in ["<<", "!!merge <<", "!!merge '<<'"] {
            let text = format!("a:\n  {key}: {{x: 1}}\n");
            assert!(read(&text).unwrap()[0].at_path(&["a", "x"]).is_some(), "{text}");
        }
    }

    #[test]
    fn a_few_aliases_cannot_grow_without_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let previous = level - 1;
            let list = vec![format!("*a{previous}"); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{list}]").unwrap();
        }
        assert!(matches!(read(&text).unwrap_err().kind, SyntaxErrorKind::TooManyValues(_)));
    }

    #[test]
    fn chained_aliases_cannot_nest_without_bound() {
        let mut text = "a0: &a0 [x]\n".to_owned();
        for level in 1..400 {
            writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
        }
        assert_eq!(read(&text).unwrap_err().kind, SyntaxErrorKind::TooDeep);
        assert!(read(&"[".repeat(100_000)).is_err());
        assert_eq!(read("a: &a [*a]\n").unwrap_err().kind, SyntaxErrorKind::AliasOfItself);
    }

    #[test]
    fn a_syntax_error_has_its_place() {
        let error = read("rules:\n  - match: {component: registry\n").unwrap_err();
        assert_eq!(error.to_string(), "2:12: not YAML: unclosed bracket '{'");
    }

    /// Reads a text within limits, the list under the key `apart` member by member. Returns how many members
    /// and documents there are.
    fn within(text: &str, limits: Limits, apart: Option<&str>) -> Result<(usize, usize), SyntaxErrorKind> {
        let mut members = 0;
        let documents = read_apart(text, limits, apart, &mut |_, _| members += 1);
        documents.map(|documents| (members, documents.len())).map_err(|error| error.kind)
    }

    const NODE: usize = size_of::<Node<'_>>();

    #[test]
    fn each_value_counts_and_those_that_an_anchor_names_count_again() {
        for (text, want) in [
            ("a", 1),
            ("[a, a]", 3),
            ("{a: b}", 3),
            // The value counts, its copy does, and the alias counts with what it stands for.
            ("[&x a]", 1 + 1 + 1),
            ("[&x a, *x]", 1 + 1 + 2 + 1),
            ("[&x [a], *x]", 1 + 1 + 2 + 3 + 1),
            ("[&x {a: b}, *x, *x]", 3 + 3 + 4 + 4 + 1),
        ] {
            let limits = |nodes| Limits { nodes, ..Limits::MANIFEST };
            assert_eq!(within(text, limits(want), None), Ok((0, 1)), "{text}");
            assert_eq!(
                within(text, limits(want - 1), None),
                Err(SyntaxErrorKind::TooManyValues(want - 1)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_held_is_counted_in_bytes_and_the_members_of_a_list_apart_are_not_held() {
        for (text, apart, want) in [
            ("[a, a]", None, 3),
            ("[&x a, *x]", None, 1 + 1 + 2 + 1),
            ("[&x [a], *x]", None, 2 + 2 + 3 + 1),
            ("[&x {a: b}, *x]", None, 3 + 3 + 4 + 1),
            ("rules: [[a, a], [a, a], [a, a]]", None, 1 + 9 + 2),
            // There are the key, and one member.
            ("rules: [[a, a], [a, a], [a, a]]", Some("rules"), 1 + 3),
            ("rules: [a, a, a, a]", Some("rules"), 3),
            ("rules: [[a, a], [a, a], [a, a]]", Some("other"), 1 + 9 + 2),
        ] {
            let limits = |bytes| Limits { held: Some(bytes), ..Limits::MANIFEST };
            assert!(within(text, limits(want * NODE), apart).is_ok(), "{text}");
            let beyond = within(text, limits(want * NODE - 1), apart);
            assert_eq!(beyond, Err(SyntaxErrorKind::TooMuchAtOnce(want - 1)), "{text}");
        }
        // A text that was unescaped is held beside its value.
        let unescaped = |bytes| within("[\"a\\nb\"]", Limits { held: Some(bytes), ..Limits::MANIFEST }, None);
        assert!(unescaped(2 * NODE + 2).is_err() && unescaped(2 * NODE + 64).is_ok());
    }

    #[test]
    fn only_the_list_under_that_key_at_the_top_is_read_apart() {
        for (text, apart, members) in [
            ("rules: [a, [b], {c: d}]", Some("rules"), 3),
            ("rules:\n- a\n- b\n", Some("rules"), 2),
            ("rules: [a]\nrules: [b]\n", Some("rules"), 2),
            ("rules: [a, b]", None, 0),
            ("rules: {a: b}", Some("rules"), 0),
            ("x: {rules: [a]}", Some("rules"), 0),
            ("x: [a]\nrules: 1\n", Some("rules"), 0),
            ("[rules, [a]]", Some("rules"), 0),
            ("[[a]]", None, 0),
        ] {
            assert_eq!(within(text, Limits::MANIFEST, apart), Ok((members, 1)), "{text}");
        }
        assert_eq!(read("[[a]]").unwrap()[0].as_sequence().unwrap()[0].as_sequence().unwrap().len(), 1);
    }

    #[test]
    fn anchors_and_depth_have_limits() {
        let limits = Limits { anchors: Some(2), ..Limits::MANIFEST };
        assert!(within("[&a x, &b x]", limits, None).is_ok());
        let beyond = within("[&a x, &b x, &c x]", limits, None);
        assert_eq!(beyond, Err(SyntaxErrorKind::TooManyAnchors(2)));
        // An alias stands in a list of this many lists, in the list at the top, and has 100 levels itself.
        let nested =
            |text: &str, levels: usize| format!("{}{text}{}", "[".repeat(levels), "]".repeat(levels));
        let alias = |levels| format!("- &a {}\n- {}\n", nested("", 100), nested("*a", levels));
        assert!(read(&alias(MAX_DEPTH - 101)).is_ok());
        assert_eq!(read(&alias(MAX_DEPTH - 100)).unwrap_err().kind, SyntaxErrorKind::TooDeep);
        assert!(read(&nested("a", MAX_DEPTH)).is_ok());
        assert!(read(&nested("a", MAX_DEPTH + 1)).is_err());
        // Keys have levels as well.
        let key = |levels| format!("- &a {{? {} : x}}\n- {}\n", nested("", 99), nested("*a", levels));
        assert!(read(&key(MAX_DEPTH - 101)).is_ok());
        assert_eq!(read(&key(MAX_DEPTH - 100)).unwrap_err().kind, SyntaxErrorKind::TooDeep);
    }

    #[test]
    fn numbers_are_those_of_yaml_1_1() {
        for (number, other) in [
            ("0", "a0"),
            ("+1", "+"),
            ("-1", "--1"),
            ("1.", "."),
            (".5", ".."),
            ("1e3", "1e"),
            ("1_0", "_10"),
            ("0x1f", "0x1g"),
            ("0XF", "0x"),
            ("0o17", "0o18"),
            ("0O7", "0o"),
            ("0b101", "0b102"),
            ("0B1", "0b"),
            ("-0x1F", "x1F"),
            ("+.inf", "+.nan"),
            (".INF", ".iNf"),
            (".NaN", "nan"),
        ] {
            for (text, kind) in [(number, ScalarKind::Number), (other, ScalarKind::Text)] {
                let list = format!("[{text}]");
                let documents = read(&list).unwrap();
                let found = documents[0].as_sequence().unwrap()[0].as_scalar().unwrap().kind;
                assert_eq!(found, kind, "{text}");
            }
        }
    }

    #[test]
    fn a_merge_key_takes_what_is_not_written_out_and_the_first_of_several() {
        let text = "a: &a {j: 1, k: 1}\nb: &b {j: 2, k: 2, l: 2}\nc: {k: 3, <<: [*a, *b]}\n";
        let documents = read(text).unwrap();
        let merged = documents[0].get("c").unwrap();
        let of = |key: &str| merged.get(key).unwrap().as_scalar().unwrap().text.as_ref();
        assert_eq!((of("j"), of("k"), of("l")), ("1", "3", "2"));
        assert_eq!(merged.as_mapping().unwrap().len(), 3);
        for bad in ["{<<: []}", "{<<: [a]}", "{<<: [{}, 1]}", "{<<: a}"] {
            assert_eq!(read(bad).unwrap_err().kind, SyntaxErrorKind::MergeOfNoMapping, "{bad}");
        }
    }
}
