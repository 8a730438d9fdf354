//! What holds on a real node: the image of the real Dockerfile, the chart, real Helm, a real kubelet.
//!
//! `tests/node/up` makes this machine the node. With KUBECONFIG and IMAGE the tests run on a cluster of your
//! own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "the lints' own exception for tests does not reach the helpers of a test crate"
)]

#[path = "../kube/commands.rs"]
mod commands;
mod faults;
mod harness;
mod hostile;
mod install;
mod load;
#[path = "../page.rs"]
mod page;
mod pages;
mod policy;
mod probe;
mod rights;
mod scale;
