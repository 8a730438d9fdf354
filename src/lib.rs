//! gitlab-iam-webhook: GitLab's ServiceAccounts and Pods get their AWS IAM roles from one role mapping.
//!
//! The map of the code. Arrows point inward: what stands further down never imports what stands above it.
//!
//! ```text
//! main          parse, run, print one error
//!  └ cli        one file for each command: serve, check, explain
//!     ├ server   HTTPS for the API server, plain HTTP for probes and metrics
//!     ├ cluster  what is watched and written in the cluster: the mapping's ConfigMap, the certificate's Secret,
//!     │          the webhook configurations' caBundle, and ServiceAccounts that are to be re-admitted
//!     └ mapping_file  a mapping on disk, followed
//!        └ tls   certificates: made, loaded, rolled, served, trusted
//!           └ mapping_loader  the one way in for a mapping, wherever it comes from
//!              └ live, health, metrics, tasks, telemetry, shutdown
//!                 └ memory   the room that transient work shares
//!                    └ engine   the decision: pure, no I/O, no clock, no async
//! ```

pub mod cli;
pub mod cluster;
pub mod engine;
pub mod health;
pub mod live;
pub mod mapping_file;
pub mod mapping_loader;
pub mod memory;
pub mod metrics;
pub mod server;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;
