//! What does a person want to have explained: objects of the cluster, or those of a file?

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};

use crate::cluster::named_object::{Kind, NameError, NamedObject};

/// What is to be explained.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The objects of a file; only those that are named, where some are.
    Manifests { path: PathBuf, only: Vec<NamedObject> },
    /// Objects of the cluster.
    Cluster(Vec<NamedObject>),
}

/// By what stands on the command line.
pub(super) fn of(what: &[PathBuf], file: Option<&Path>) -> anyhow::Result<Target> {
    if let Some(path) = file {
        let only = what.iter().map(|word| named(word)).collect::<anyhow::Result<_>>()?;
        return Ok(Target::Manifests { path: path.to_owned(), only });
    }
    let mut objects = Vec::new();
    let mut files = Vec::new();
    for word in what {
        match is_object(word)? {
            Some(object) => objects.push(object),
            None => files.push(word),
        }
    }
    // kubectl takes `deploy NAME` as well.
    if let Some((kind, rest)) = files.split_first()
        && let Some(kind) = kind.to_str().filter(|kind| is_kind(kind))
        && !Path::new(kind).is_file()
    {
        let name = rest.first().map_or_else(|| "NAME".into(), |name| name.to_string_lossy());
        bail!("{kind} is a kind of object, and no file here: write {kind}/{name}");
    }
    match (objects.as_slice(), files.as_slice()) {
        ([], []) => Ok(Target::Manifests { path: "-".into(), only: Vec::new() }),
        ([], [file]) => Ok(Target::Manifests { path: (*file).clone(), only: Vec::new() }),
        (_, []) => Ok(Target::Cluster(objects)),
        ([], [first, second, ..]) => bail!(
            "reading {} and {}: name one file, or pipe several in (cat A B | ... -)",
            first.display(),
            second.display()
        ),
        ([object, ..], [file, ..]) => bail!(
            "{object} is an object of the cluster, and {} a file: write -f {0} to look for the object there",
            file.display()
        ),
    }
}

/// With `-f`, only objects are named.
fn named(word: &Path) -> anyhow::Result<NamedObject> {
    let text = word.to_str().context("reading the name of an object: it is not text in UTF-8")?;
    text.parse().with_context(|| format!("looking for {text} in the file that -f names"))
}

/// Whether a word names an object of the cluster and no file.
fn is_object(word: &Path) -> anyhow::Result<Option<NamedObject>> {
    let Some(text) = word.to_str() else { return Ok(None) };
    let named = text.parse::<NamedObject>();
    let is_named_as_manifests = word.extension().is_some_and(is_of_manifests);
    // No folder is explained, so that one with the name of a kind is not meant.
    match (named, word.exists() && !word.is_dir()) {
        (Ok(object), false) => Ok(Some(object)),
        (Ok(object), true) => {
            let other = object.kind.names().into_iter().map(|name| format!("{name}/{}", object.name));
            let other = other.into_iter().find(|other| !Path::new(other).exists());
            bail!(
                "{text} is a file here, and may be an object of the cluster: write ./{text} for the file, or \
                 {} for the object",
                other.unwrap_or_else(|| text.to_owned())
            )
        }
        (Err(_), true) => Ok(None),
        // Both are meant by nobody who names a file with an extension.
        (Err(_), false) if is_named_as_manifests => Ok(None),
        (Err(NameError::Form), false) => match text.split_once('/') {
            Some((kind, "")) if is_kind(kind) => bail!("{text} names no object: write {kind}/NAME"),
            Some((kind, _)) if is_kind(kind) => {
                bail!(
                    "{text} is no file here, and no object, which has the form KIND/NAME: write {kind}/NAME"
                )
            }
            _ => Ok(None),
        },
        (Err(error), false) => Err(error).with_context(|| format!("{text} is no file here")),
    }
}

/// Whether a word is a kind of object, by any name that kubectl takes.
fn is_kind(word: &str) -> bool {
    format!("{word}/name").parse::<NamedObject>().is_ok()
}

fn is_of_manifests(extension: &OsStr) -> bool {
    ["yaml", "yml", "json"].iter().any(|known| extension == *known)
}

/// What can be typed: files, and the kinds of objects. A folder may have the name of a kind.
pub(super) fn complete(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = PathCompleter::file().complete(typed);
    for kind in Kind::usual_names().map(|name| format!("{name}/")) {
        let is_file = found.iter().any(|file| *file.get_value() == *kind);
        if kind.starts_with(&*typed.to_string_lossy()) && !is_file {
            found.push(CompletionCandidate::new(kind).help(Some("An object of the cluster".into())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn target(words: &[&str], file: Option<&str>) -> Result<Target, String> {
        let words: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
        of(&words, file.map(Path::new)).map_err(|error| format!("{error:#}"))
    }

    fn object(text: &str) -> NamedObject {
        text.parse().unwrap()
    }

    #[test]
    fn a_kind_with_a_name_is_an_object_and_all_else_a_file() {
        let manifests = |path: &str| Ok(Target::Manifests { path: path.into(), only: Vec::new() });
        for (words, wanted) in [
            (&[][..], manifests("-")),
            (&["-"], manifests("-")),
            (&["objects.yaml"], manifests("objects.yaml")),
            (&["charts/objects.yaml"], manifests("charts/objects.yaml")),
            (&["./sa/a"], manifests("./sa/a")),
            (&["/sa/a"], manifests("/sa/a")),
            (&["sa/a", "deployments.apps/b"], Ok(Target::Cluster(vec![object("sa/a"), object("deploy/b")]))),
        ] {
            assert_eq!(target(words, None), wanted, "{words:?}");
        }
        for (words, wanted) in [(&["deploy", "b"][..], "deploy/b"), (&["pods"], "pods/NAME")] {
            let error = target(words, None).unwrap_err();
            assert!(error.ends_with(&format!("no file here: write {wanted}")), "{error}");
        }
        let only = vec![object("sa/a")];
        assert_eq!(target(&["sa/a"], Some("x")), Ok(Target::Manifests { path: "x".into(), only }));
    }

    #[test]
    fn what_is_neither_is_an_error_that_says_what_to_write() {
        for (words, file, said) in [
            (&["svc/a"][..], None, "svc/a is no file here: svc is no kind that gets a role: name a sa, pod,"),
            (&["sa/A"], None, "sa/A is no file here: no object has the name A: "),
            (&["pods/"], None, "pods/ names no object: write pods/NAME"),
            (
                &["sa/a/b"],
                None,
                "sa/a/b is no file here, and no object, which has the form KIND/NAME: write sa/",
            ),
            (
                &["deploy/../../x"],
                None,
                "deploy/../../x is no file here, and no object, which has the form KIND",
            ),
            // A folder is neither.
            (&["deploy/", "a.yaml"], None, "deploy/ names no object: write deploy/NAME"),
            (&["a.yaml", "b.yaml"], None, "reading a.yaml and b.yaml: name one file, or pipe several in"),
            (
                &["sa/a", "b.yaml"],
                None,
                "ServiceAccount/a is an object of the cluster, and b.yaml a file: write -f b.yaml",
            ),
            (
                &["a.yaml"],
                Some("b"),
                "looking for a.yaml in the file that -f names: it has not the form KIND/NAME",
            ),
        ] {
            let error = target(words, file).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_named_as_an_object_must_be_told_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let within = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(within("sa")).unwrap();
        fs::write(within("sa/a"), "").unwrap();
        // The folder of a test's process cannot be changed, so the path is absolute and no object's.
        assert!(matches!(target(&[&within("sa/a")], None), Ok(Target::Manifests { .. })));
    }
}
