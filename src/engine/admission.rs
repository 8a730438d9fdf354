//! How is a request of the API server read and answered?

pub mod mutate;
mod reply;
mod request;
pub mod validate;
mod wire;

pub use request::{Request, parse};
pub use wire::ReviewError;
