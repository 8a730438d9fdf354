//! Where does the process start? It runs the command line, and exits with its status.

use std::process::ExitCode;

/// The image tells it by its environment how long freed memory is kept: see the Dockerfile.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gitlab_iam_webhook::cli::main()
}
