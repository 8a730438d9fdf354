//! Which keys does the profile hold that an SDK would use of the shared files?
//!
//! Only the names of keys are kept.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::sources::Variable;

/// The most bytes of a file that are read.
const LONGEST: u64 = 1 << 20;

/// The keys with which a profile gives credentials.
const KEYS: [&str; 6] =
    ["aws_access_key_id", "role_arn", "credential_process", "sso_session", "sso_start_url", "login_session"];

/// What is known of the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// Whether it would give credentials.
    pub(super) is_there: bool,
    /// What it holds, or that there is none.
    pub(super) words: String,
    /// The profile of `AWS_PROFILE`, where no file has it.
    pub(super) missing: Option<String>,
}

/// Reads both files.
pub(super) fn read(variable: Variable<'_>) -> Profile {
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    let home = variable("HOME").map(|home| Path::new(&home).join(".aws"));
    let path = |name: &str, file: &str| {
        variable(name).map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(file)))
    };
    let files = [
        (path("AWS_SHARED_CREDENTIALS_FILE", "credentials"), profile.clone()),
        (
            path("AWS_CONFIG_FILE", "config"),
            if profile == "default" { profile.clone() } else { format!("profile {profile}") },
        ),
    ];
    let (mut words, mut is_there, mut may_be_missing) = (Vec::new(), false, profile != "default");
    for (path, section) in files {
        let Some(path) = path else { continue };
        let name = path.display();
        match text(&path) {
            Ok(None) => {}
            Ok(Some(text)) => {
                let Section { is_there: has_section, keys } = section_of(&text, &section);
                may_be_missing &= !has_section;
                if !keys.is_empty() {
                    is_there = true;
                    let keys: Vec<&str> = keys.into_iter().collect();
                    words.push(format!("{name} has {} in [{section}]", keys.join(", ")));
                }
            }
            Err(error) => {
                may_be_missing = false;
                words.push(format!("{name} cannot be read ({error})"));
            }
        }
    }
    if may_be_missing {
        words.push(format!("AWS_PROFILE names the profile {profile}, which no file has"));
    }
    let words = if words.is_empty() { "none".to_owned() } else { words.join("; ") };
    Profile { is_there, words, missing: may_be_missing.then_some(profile) }
}

/// Reads the beginning of a file; `None` where there is none.
fn text(path: &Path) -> std::io::Result<Option<String>> {
    match bounded(path, LONGEST) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Reads so many bytes of a file as text. What is no file is not opened: nobody may ever write into a pipe.
pub(super) fn bounded(path: &Path, most: u64) -> std::io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a file says of a profile.
struct Section {
    is_there: bool,
    /// The keys that give credentials.
    keys: BTreeSet<&'static str>,
}

fn section_of(text: &str, section: &str) -> Section {
    let mut found = Section { is_there: false, keys: BTreeSet::new() };
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(heading) = line.trim().strip_prefix('[').and_then(|line| line.split(']').next()) {
            let words: Vec<&str> = heading.split_whitespace().collect();
            is_inside = words.join(" ") == section || words.join(" ") == format!("profile {section}");
            found.is_there |= is_inside;
        } else if is_inside && let Some((key, value)) = line.split_once('=') {
            let key = key.trim().to_ascii_lowercase();
            let known = KEYS.iter().find(|known| **known == key && !value.trim().is_empty());
            found.keys.extend(known.copied());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_profile_are_told_without_their_values() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        let config = folder.path().join("config");
        std::fs::write(
            &credentials,
            "[default]\naws_access_key_id = planted\naws_secret_access_key=planted\n",
        )
        .unwrap();
        std::fs::write(&config, "[profile  ci]\nrole_arn = planted\nregion=a\n[x]\nsso_session=planted\n")
            .unwrap();
        let of = |profile: Option<&str>| {
            read(&|name| match name {
                "AWS_PROFILE" => profile.map(str::to_owned),
                "AWS_SHARED_CREDENTIALS_FILE" => Some(credentials.display().to_string()),
                "AWS_CONFIG_FILE" => Some(config.display().to_string()),
                _ => None,
            })
        };
        let found = of(None);
        assert!(found.is_there && found.words.ends_with("has aws_access_key_id in [default]"), "{found:?}");
        let found = of(Some("ci"));
        assert!(found.is_there && found.words.ends_with("has role_arn in [profile ci]"), "{found:?}");
        assert_eq!(found.missing, None);
        let found = of(Some("other"));
        assert_eq!((found.is_there, found.missing.as_deref()), (false, Some("other")));
        assert_eq!(found.words, "AWS_PROFILE names the profile other, which no file has");
        assert_eq!(of(Some("x")).missing.as_deref(), Some("x"));
        assert!(!format!("{:?}{:?}", of(None), of(Some("ci"))).contains("planted"));
    }

    #[test]
    fn without_files_there_is_none() {
        assert!(!read(&|_| None).is_there);
        let found = read(&|name| (name == "HOME").then(|| "/nonexistent".to_owned()));
        assert_eq!(found, Profile { is_there: false, words: "none".to_owned(), missing: None });
    }
}
