//! Everything that can be shown without a cluster: the engine, the server over real TLS, the command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "the lints' own exception for tests does not reach the helpers of a test crate"
)]

mod admission;
mod annotate;
mod annotate_properties;
mod architecture;
#[path = "../sts.rs"]
mod aws_sts;
mod certificates;
mod cli;
mod cluster;
mod crowds;
mod decisions;
mod docs;
mod doctor;
mod edges;
mod events;
mod explain;
mod fake;
mod fake_sts;
#[path = "../gitlab_chart.rs"]
mod gitlab_chart;
mod greeting;
mod help;
mod hostile;
mod http;
mod import;
mod judges;
mod krew;
mod limits;
mod live;
mod log;
mod mapping_watch;
mod objects;
mod observe;
#[path = "../page.rs"]
mod page;
mod plugin;
mod policy;
mod policy_parameter;
mod probe;
mod problems;
mod properties;
mod recipes;
mod repair;
mod reviews;
mod schema;
mod scripted_api;
mod session;
#[path = "../session_picture.rs"]
mod session_picture;
mod status;
mod sts;
mod support;
#[path = "../things.rs"]
mod things;
#[path = "../transcript.rs"]
mod transcript;
mod transcripts;
mod troubleshooting;
mod trust;
mod trust_policy;
mod trust_policy_properties;
mod verify;
mod whoami;
mod written_yaml;
