//! What does a decision need to know about an object?

pub mod component;
pub mod manifest;
pub mod metadata;
pub mod provider;
pub mod subject;
