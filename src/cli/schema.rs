//! What does an editor, or Helm, need to check a mapping? The command `schema` prints it.

use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::engine::mapping;

const EXAMPLES: &str = "Examples:
  gitlab-iam-webhook schema >mapping.schema.json

Editors that use yaml-language-server check and complete a mapping whose first line is:
  # yaml-language-server: $schema=./mapping.schema.json

What needs more than one place of a mapping to be seen, only `check` finds.";

/// The arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SchemaArgs {}

pub(super) fn run(_: &SchemaArgs) -> anyhow::Result<ExitCode> {
    output::print(&format!("{:#}\n", mapping::schema()))?;
    Ok(ExitCode::SUCCESS)
}
