//! How does a command say where STS is asked?

use std::env;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::sts::http::Http;
use crate::sts::{Endpoint, Region, Sts};

/// Where STS is asked, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "AWS's STS")]
pub(super) struct StsArgs {
    /// The region whose STS is asked.
    ///
    /// Without this option it is that of `AWS_REGION` or `AWS_DEFAULT_REGION`, and without them the global
    /// endpoint is asked, which only the partition `aws` has.
    #[arg(long, value_name = "REGION")]
    region: Option<Region>,

    /// The URL of STS, as that of a VPC endpoint: https://, or http:// on loopback.
    ///
    /// Without this option it is that of `AWS_ENDPOINT_URL_STS`, or else AWS's own for the region and the
    /// role's partition.
    #[arg(long, value_name = "URL")]
    sts_endpoint: Option<Endpoint>,

    /// A file of CA certificates in PEM, for a proxy that opens TLS.
    ///
    /// Without this option it is that of `AWS_CA_BUNDLE`, or else the system's certificates are trusted, and
    /// Mozilla's where there are none. The proxy is that of `HTTPS_PROXY` and `NO_PROXY`.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl StsArgs {
    /// Makes the way to STS. Nothing is asked yet.
    pub(super) fn sts(&self) -> anyhow::Result<Sts> {
        let region = match &self.region {
            Some(region) => Some(region.clone()),
            None => read("AWS_REGION")?.or(read("AWS_DEFAULT_REGION")?),
        };
        let endpoint = match &self.sts_endpoint {
            Some(endpoint) => Some(endpoint.clone()),
            None => read("AWS_ENDPOINT_URL_STS")?,
        };
        let ca_file = self.ca_file.clone().or_else(|| variable("AWS_CA_BUNDLE").map(PathBuf::from));
        let http = Http::new(ca_file.as_deref()).context("getting ready to ask STS")?;
        Ok(Sts::new(http, endpoint, region))
    }
}

/// Returns the value of a variable. An empty one counts as not set, as for AWS's SDKs.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn read<T>(name: &str) -> anyhow::Result<Option<T>>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let read = variable(name).map(|value| value.parse()).transpose();
    read.with_context(|| format!("reading the variable {name}"))
}
