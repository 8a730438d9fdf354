//! The command `gitlab-iam-webhook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    gitlab_iam_webhook::cli::main()
}
