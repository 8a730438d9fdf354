//! Where does the process start? It runs the command line, and exits with its status.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// musl's own allocator has one lock for all threads, and gives memory back to the kernel again and again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gitlab_iam_webhook::cli::main()
}
