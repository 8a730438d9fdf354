//! Which parts does gitlab-iam-webhook have, and which of them may use which?
//!
//! GitLab's ServiceAccounts and Pods get their AWS IAM roles from one role mapping. This is the map of the
//! parts. Arrows point inward: what stands further down never imports what stands above it.
//! `docs/architecture.md` tells how a review, a mapping, a certificate and a ServiceAccount travel through
//! them.
//!
//! ```text
//! main          runs the command line
//!  └ cli        has one file for each command: check, explain, annotate, status, doctor, verify, whoami,
//!     │         import, policy, trust-policy, schema, serve, probe, completions
//!     ├ server   answers the API server over HTTPS, probes and scrapes over HTTP
//!     ├ cluster  watches and writes what the cluster holds: the mapping's ConfigMap, the certificate's
//!     │          Secret, the caBundle of the webhook configurations, ServiceAccounts to be re-admitted;
//!     │          and reads what commands look at
//!     ├ mapping_file  follows a mapping on disk
//!     ├ sts      asks AWS's STS whether it gives a role for a token
//!     ╰─ all four use
//!        ├ doctor        finds what is wrong in what was read: it is pure, as the next four are
//!        ├ status        compares what each object has with what it should have
//!        ├ import        makes rules of the roles that people have given
//!        ├ trust_policy  makes and judges IAM's trust policies
//!        ├ installation  holds what is read of our own installation, and what it decides by
//!        ├ inventory     holds what a command looks at, from a cluster or from manifests
//!        ├ tls   makes, loads, rotates, serves and checks certificates
//!        ├ mapping_loader  puts a mapping in force, wherever it comes from
//!        ├ tasks, log, shutdown  run, log and end the process
//!        ├ telemetry  tells errors, durations and times in words
//!        ├ live, health, metrics  hold the mapping in force, readiness and what is counted
//!        ├ shell    quotes words of commands that are told
//!        ├ memory   is the pool of memory that transient work shares
//!        └ engine   decides: it is pure, without I/O, clock or async
//! ```

pub mod cli;
pub mod cluster;
pub mod doctor;
pub mod engine;
pub mod health;
pub mod import;
pub mod installation;
pub mod inventory;
pub mod live;
pub mod log;
pub mod mapping_file;
pub mod mapping_loader;
pub mod memory;
pub mod metrics;
pub mod server;
pub mod shell;
pub mod shutdown;
pub mod status;
pub mod sts;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod trust_policy;
