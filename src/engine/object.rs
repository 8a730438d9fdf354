//! What is an object, as far as a decision needs to know it?

pub mod component;
pub mod manifest;
pub mod metadata;
pub mod provider;
pub mod subject;
