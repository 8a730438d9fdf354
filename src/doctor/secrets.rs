//! What does the text of a Secret hold?
//!
//! Nothing of a text leaves this module but which keys it has, and whether they have values.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::engine::yaml::{self, Limits, Node, ScalarKind};
use crate::inventory::{Hidden, Secret};

/// The most bytes of a text: the API server stores no Secret that is larger.
const MAX_BYTES: usize = 1 << 20;

/// How much of the YAML in a Secret is read. What GitLab's documentation shows has ten values.
const LIMITS: Limits =
    Limits { nodes: 10_000, held: Some(1 << 20), anchors: Some(100), lookahead: 1024, directives: false };

/// What a text is, as far as it is about AWS.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A connection of GitLab's object storage, which Fog and Workhorse read.
    ObjectStorage(Keys),
    /// The storage of the registry; the keys are those of its S3 driver.
    Registry(Keys),
    /// A configuration of s3cmd.
    S3cmd(Keys),
    /// Something else.
    Other,
    /// It should be one of these, and cannot be read.
    Unreadable,
}

/// The keys of a text, with what little is told of their values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(BTreeMap<String, Holds>);

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    False,
    /// The text `AWS`, in whatever case.
    Aws,
    Something,
}

impl Keys {
    /// Whether the key is there, even with nothing.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether the key has a value.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|holds| *holds != Holds::Nothing)
    }

    /// Whether the key is there and says false.
    pub(super) fn is_false(&self, key: &str) -> bool {
        self.0.get(key) == Some(&Holds::False)
    }

    /// Whether the key has a value that is not false.
    pub(super) fn is_true(&self, key: &str) -> bool {
        self.is_set(key) && !self.is_false(key)
    }

    /// Whether the key has the value AWS.
    pub(super) fn is_aws(&self, key: &str) -> bool {
        self.0.get(key) == Some(&Holds::Aws)
    }
}

/// Returns the keys of a Secret.
pub(super) fn keys(secret: &Secret) -> BTreeSet<&str> {
    secret.data.keys().chain(secret.string_data.keys()).map(String::as_str).collect()
}

/// Whether a Secret has a value under a key.
pub(super) fn has_value(secret: &Secret, key: &str) -> bool {
    let found = secret.string_data.get(key).or_else(|| secret.data.get(key));
    found.is_some_and(|value| !value.expose().is_empty())
}

/// Reads what stands under a key.
pub(super) fn content(secret: &Secret, key: &str) -> Content {
    // stringData is written over data.
    let text = match (secret.string_data.get(key), secret.data.get(key)) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(data)) => decoded(data),
        (None, None) => return Content::Other,
    };
    let Some(text) = text.filter(|text| text.expose().len() <= MAX_BYTES) else {
        // A certificate or an archive is no text, and nothing that is looked for.
        return if key == "connection" { Content::Unreadable } else { Content::Other };
    };
    let text = text.expose();
    if let Some(keys) = s3cmd(text) {
        return Content::S3cmd(keys);
    }
    let looks_like = ["provider", "s3", "aws_access_key_id"].iter().any(|word| text.contains(word));
    if key != "connection" && !(looks_like && text.contains(':')) {
        return Content::Other;
    }
    match yaml::read_apart(text, LIMITS, None, &mut |_, _| {}).as_deref() {
        Ok([document]) => classified(document),
        Ok(_) if key != "connection" => Content::Other,
        Err(_) if !["connection", "config"].contains(&key) => Content::Other,
        _ => Content::Unreadable,
    }
}

fn decoded(data: &Hidden) -> Option<Hidden> {
    let data = data.expose();
    if data.len() > 2 * MAX_BYTES {
        return None;
    }
    String::from_utf8(STANDARD.decode(data).ok()?).ok().map(Hidden::new)
}

fn classified(document: &Node<'_>) -> Content {
    let driver = ["s3", "s3_v2"]
        .iter()
        .find_map(|driver| document.get(driver).or_else(|| document.at_path(&["storage", driver])));
    if let Some(driver) = driver.filter(|driver| driver.as_mapping().is_some()) {
        return Content::Registry(keys_of(driver));
    }
    let is_connection = ["provider", "use_iam_profile", "aws_access_key_id"];
    if is_connection
        .iter()
        .any(|key| document.get(key).or_else(|| document.get(&format!(":{key}"))).is_some())
    {
        return Content::ObjectStorage(keys_of(document));
    }
    Content::Other
}

fn keys_of(node: &Node<'_>) -> Keys {
    let entries = node.as_mapping().unwrap_or_default();
    let entry = |(key, value): &(Node<'_>, Node<'_>)| {
        // Ruby reads `:provider` as the symbol that GitLab looks for.
        let key = key.as_scalar()?.text.trim_start_matches(':').to_owned();
        let holds = value.as_scalar().map_or(Holds::Something, |scalar| match scalar.kind {
            ScalarKind::Null => Holds::Nothing,
            ScalarKind::Boolean(false) => Holds::False,
            _ => holds(&scalar.text),
        });
        Some((key, holds))
    };
    Keys(entries.iter().filter_map(entry).collect())
}

fn holds(value: &str) -> Holds {
    match value.trim() {
        "" => Holds::Nothing,
        value if value.eq_ignore_ascii_case("aws") => Holds::Aws,
        _ => Holds::Something,
    }
}

/// Reads s3cmd's configuration: a line for each key. The section `[default]` may be missing where there are
/// keys of access, so that nothing else is taken for it.
fn s3cmd(text: &str) -> Option<Keys> {
    const KNOWN: [&str; 6] =
        ["access_key", "secret_key", "bucket_location", "host_base", "host_bucket", "use_https"];
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        .peekable();
    let has_section = lines.peek()?.starts_with('[');
    let lines = lines.filter_map(|line| match line.split_once('=') {
        None if has_section => line.split_once(':'),
        found => found,
    });
    let keys: BTreeMap<_, _> = lines
        .map(|(key, value)| (key.trim(), value))
        .filter(|(key, _)| KNOWN.contains(key))
        .map(|(key, value)| (key.to_owned(), holds(value)))
        .collect();
    let is_s3cmd = has_section || ["access_key", "secret_key"].iter().any(|key| keys.contains_key(*key));
    (is_s3cmd && !keys.is_empty()).then_some(Keys(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, text: &str) -> Content {
        let mut secret = Secret::default();
        secret.data.insert(key.to_owned(), Hidden::new(STANDARD.encode(text)));
        content(&secret, key)
    }

    #[test]
    fn what_a_secret_is_for_shows_in_its_text() {
        let Content::ObjectStorage(keys) =
            read("connection", "provider: AWS\nregion: x\nuse_iam_profile: true\n")
        else {
            panic!("no connection")
        };
        assert!(keys.is_aws("provider") && keys.is_true("use_iam_profile") && !keys.has("endpoint"));
        assert!(matches!(read("config", "s3:\n  bucket: x\n"), Content::Registry(_)));
        assert!(matches!(read("config", "storage: {s3_v2: {bucket: x}}\n"), Content::Registry(_)));
        assert!(matches!(read("config", "# c\n\n[default]\naccess_key = x\n"), Content::S3cmd(_)));
        for text in ["\u{feff}[default]\naccess_key = x\n", "access_key = x\n", "[default]\naccess_key: x\n"]
        {
            assert!(
                matches!(read("config", text), Content::S3cmd(keys) if keys.is_set("access_key")),
                "{text}"
            );
        }
        let symbols = read("connection", ":provider: AWS\n:aws_access_key_id: x\n");
        assert!(matches!(symbols, Content::ObjectStorage(keys) if keys.has("aws_access_key_id")));
        assert_eq!(read("config", "[remote]\ntype = s3\n"), Content::Other);
        assert_eq!(read("password", "s3cr3t provider"), Content::Other);
        assert_eq!(read("tls.crt", "-----BEGIN"), Content::Other);
    }

    #[test]
    fn what_is_deep_huge_or_no_text_is_unreadable_and_not_fine() {
        let deep = "[".repeat(100_000);
        let many = format!("provider: [{}]", "1,".repeat(20_000));
        let huge = format!("provider: AWS # {}", "x".repeat(MAX_BYTES));
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c \
             [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\nprovider: \
              [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        for text in [deep.as_str(), &many, &huge, laughs, "provider: {", "a: 1\n---\nb: 1\n"] {
            assert_eq!(read("connection", text), Content::Unreadable, "{text:.40}");
        }
        let mut secret = Secret::default();
        secret.data.insert("connection".to_owned(), Hidden::new("no base64!".to_owned()));
        assert_eq!(content(&secret, "connection"), Content::Unreadable);
    }
}
