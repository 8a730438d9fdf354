//! The decision, pure: bytes and text in, bytes and text out.
//!
//! Nothing in here does I/O, reads a clock, waits, logs or knows kube's types; `tests/it/architecture.rs` holds it to
//! that. The line through it:
//!
//! ```text
//! mapping text --yaml--> Node --mapping--> Ruleset        (once for each mapping)
//! review bytes --review--> Subject --decision--> Decision --patch--> review bytes
//! manifest     --manifest--> Subject --decision--> Decision --explain--> a trace for people
//! ```

pub mod advice;
pub mod arn;
pub mod bounds;
pub mod component;
pub mod cost;
pub mod decision;
pub mod effect;
pub mod explain;
pub mod first;
pub mod glob;
pub mod json;
pub mod manifest;
pub mod mapping;
pub mod metadata;
pub mod patch;
pub mod provider;
pub mod review;
pub mod role;
pub mod rule;
pub mod ruleset;
pub mod subject;
pub mod validation;
pub mod yaml;
