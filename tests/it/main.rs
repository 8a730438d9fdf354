//! Everything that can be shown without a cluster: the engine, the server over real TLS, the command line.

mod architecture;
mod cli;
mod decisions;
mod http;
mod live;
mod objects;
mod problems;
mod properties;
mod reviews;
mod support;
mod trust;
