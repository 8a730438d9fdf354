//! Which manifests are named on the command line, and are they more than can be taken?

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, anyhow, bail};

use crate::cli::input::{self, Input};
use crate::engine::annotate::MAX_BYTES;

/// Reads the files, and those of the folders, and never more than so many bytes in all.
pub(super) fn all(files: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    let mut left = MAX_BYTES;
    for path in files {
        for file in expanded(path)? {
            let input = input::read_at_most(&file, left).map_err(|error| too_long(&file, error))?;
            left -= input.text.len();
            inputs.push(input);
        }
    }
    Ok(inputs)
}

/// Says of a file that is too long that it is too long together with the others.
fn too_long(file: &Path, error: anyhow::Error) -> anyhow::Error {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    if cause.is_none_or(|cause| cause.kind() != io::ErrorKind::FileTooLarge) {
        return error;
    }
    let (file, most) = (input::name(file), MAX_BYTES >> 20);
    anyhow!("reading {file}: the manifests have more than {most} MiB in all: annotate fewer at a time")
}

/// Returns the manifests of a folder in the order of their names, and a file as it is.
fn expanded(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let reading = || format!("reading the folder {}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(reading)? {
        let file = entry.with_context(reading)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if file.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("reading the folder {}: it has no .yaml, .yml or .json file", path.display());
    }
    files.sort();
    Ok(files)
}
