//! The decision, pure: bytes and text in, bytes and text out.
//!
//! Nothing in here does I/O, reads a clock, waits, logs or knows kube's types. A folder may use those that
//! stand below it, and no file may use another in a circle. `tests/it/architecture.rs` holds all of this:
//!
//! ```text
//! admission annotate  how a request of the API server, or a text of manifests, is read, judged and answered
//! mapping   decision  how text becomes rules; what an object's annotations should be, and why
//! policy              how the API server itself decides by the rules
//! rules               what the rules are, and which of them wins for an object
//! object              what an object is: its kind, names, labels, annotations, and its component
//! yaml  json          the two readers of text from outside
//! ```

pub mod admission;
pub mod annotate;
pub mod decision;
pub mod json;
pub mod mapping;
pub mod object;
pub mod policy;
pub mod rules;
pub mod yaml;
