//! Which role should each ServiceAccount and Pod have, which one has it, and what brings the two together?
//!
//! Objects are shown to a [`Survey`] one after the other, the ServiceAccounts of a namespace before its
//! Pods, and none of them is kept: of each there stays a [`Row`]. What is wanted is what
//! [`decide`](crate::engine::decision::decide) decides.

mod account;
mod apart;
mod mending;
mod pod;
mod row;
mod state;
mod survey;
#[cfg(test)]
mod tests;

pub use apart::kept_apart;
pub use mending::Mending;
pub use row::{Mend, Row};
pub use state::State;
pub use survey::{Counts, Effect, Place, Rules, Status, Survey};
