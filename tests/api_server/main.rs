//! What holds against a real API server, real controllers and real Helm. `tests/kube/build` builds them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints' own exception for tests does not reach the helpers of a test crate"
)]

mod acting_as;
mod annotate;
#[path = "../sts.rs"]
mod aws_sts;
mod behaviour;
mod certificates;
mod chain;
mod chart;
#[path = "../kube/commands.rs"]
mod commands;
#[path = "../kube/control_plane.rs"]
mod control_plane;
mod doctor;
mod explain;
#[path = "../gitlab_chart.rs"]
mod gitlab_chart;
mod harness;
mod import;
mod install;
mod mapping;
mod observe;
#[expect(dead_code, reason = "the other tests look at more of a page")]
#[path = "../page.rs"]
mod page;
mod plugin;
mod pods;
mod policy;
mod policy_bounds;
mod policy_in_step;
mod probe;
mod releases;
mod repair;
mod rights;
mod session;
#[path = "../session_picture.rs"]
mod session_picture;
mod status;
#[path = "../things.rs"]
mod things;
#[path = "../transcript.rs"]
mod transcript;
mod transcripts;
mod values;
