//! Where does the process start? It runs the command line, and exits with its status.

use std::process::ExitCode;

fn main() -> ExitCode {
    gitlab_iam_webhook::cli::main()
}
