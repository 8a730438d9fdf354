//! What does a decision need to know about an object?

pub mod component;
pub mod dns_name;
pub mod manifest;
pub mod metadata;
pub mod owner;
pub mod provider;
pub mod subject;
