//! What are the rules, and which of them wins for an object?

pub mod arn;
pub mod cost;
pub mod facts;
pub mod glob;
mod index;
pub mod operator_policy;
pub mod role_template;
pub mod rule;
pub mod ruleset;
mod weight;
