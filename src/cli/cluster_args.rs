//! How does a command say which cluster it is about, and which namespaces?

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::cluster::{self, Access, ApiServer};
use crate::engine::object::dns_name::is_dns_label;
use crate::memory::{self, Pool};

/// Which cluster, and how it is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "The cluster")]
pub(super) struct ClusterArgs {
    /// The kubeconfig. Without this option, it is the one that KUBECONFIG names, ~/.kube/config, or the
    /// Pod's own credentials.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig. Without this option, it is the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Which namespaces of the cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "The cluster")]
pub(super) struct NamespacesArgs {
    /// A namespace to look into. The option can be repeated. Objects of a manifest that name no namespace
    /// count as in the first.
    #[arg(long = "namespace", short, value_name = "NAMESPACE", value_parser = namespace)]
    pub(super) namespaces: Vec<String>,

    /// Look into every namespace.
    #[arg(long, short = 'A', conflicts_with = "namespaces")]
    pub(super) all_namespaces: bool,
}

impl ClusterArgs {
    /// Whether the command line says which cluster.
    pub(super) fn is_named(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Connects to the cluster. Nothing is asked of it yet.
    pub(super) async fn connect(&self) -> anyhow::Result<ApiServer> {
        let Self { kubeconfig, context } = self;
        let access = Access { kubeconfig: kubeconfig.clone(), context: context.clone() };
        cluster::connect_with(&access, Pool::new(memory::POOL)).await.context("connecting to the cluster")
    }
}

/// An empty name would mean all namespaces to the API server, as where a shell's variable is not set.
pub(super) fn namespace(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("it is empty: name a namespace, or say -A for all of them");
    }
    if !is_dns_label(text) {
        return Err(
            "a namespace's name has up to 63 of the letters a to z, digits and -, and neither begins \
                    nor ends with -: repeat -n for each namespace",
        );
    }
    Ok(text.to_owned())
}

/// Runs what asks a cluster or the network, on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let done = runtime.block_on(work);
    // Nobody waits for a name server that does not answer.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_one_that_kubernetes_could_have() {
        assert_eq!(namespace("gitlab-2").as_deref(), Ok("gitlab-2"));
        for bad in ["", " ", "GitLab", "gitlab,b", "a/b", "-a", "../x", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }
}
