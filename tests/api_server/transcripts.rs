//! Are the transcripts of docs/cli.md that need a cluster what is printed?

use std::fs;

use serde_json::json;

use crate::chain::Aws;
use crate::commands::{gitlab_chart, path_of};
use crate::doctor::Installed;
use crate::harness::{Cluster, Space, eventually};
use crate::page;
use crate::transcript::{PAGE, Terminal};

/// The file of the page of this name.
fn file(name: &str) -> String {
    let block = page::blocks(PAGE).into_iter().find(|block| block.file() == Some(name));
    block.unwrap_or_else(|| panic!("{PAGE} has no {name}")).text
}

#[test]
fn what_needs_a_cluster_prints_what_the_page_shows() {
    // The names of the page are free in a cluster of its own, in which nothing else is found.
    let cluster = Cluster::of_its_own();
    let ours = Space::within(cluster, "gitlab-iam-webhook", &json!({}));
    let gitlab = Space::within(cluster, "gitlab", &json!({"gitlab-iam-webhook/inject": "enabled"}));
    let installed = Installed::within(ours, gitlab, &file("mapping.yaml"), &[]);
    let gitlab = &installed.gitlab;
    let chart = gitlab_chart(&gitlab.folder().join("gitlab"), &["registry", "webservice", "sidekiq"]);
    gitlab.run("helm", &["install", "gitlab", &chart], "").good();
    let workloads = file("chart.yaml");
    let workloads: Vec<&str> =
        workloads.split("---\n").filter(|object| object.contains("Deployment")).collect();
    gitlab.run("kubectl", &["apply", "-f", "-"], &workloads.join("---\n")).good();
    eventually("the accounts are there", || gitlab.get("serviceaccount", "gitlab-sidekiq"));

    let aws = Aws::of(cluster);
    let mapping = gitlab.folder().join("mapping.yaml");
    fs::write(&mapping, file("mapping.yaml")).unwrap();
    let roles = aws.make_roles(gitlab, &mapping, &[]);
    assert_eq!(roles.len(), 2, "{roles:?}");
    let (kubeconfig, sts) = (cluster.kubeconfig.display().to_string(), aws.url());
    let tools = path_of("kubectl").parent().unwrap().display().to_string();
    let variables = [
        ("COLUMNS", "100"),
        ("KUBECONFIG", kubeconfig.as_str()),
        ("AWS_ENDPOINT_URL_STS", &sts),
        // No metadata service answers there.
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"),
    ];
    Terminal::new(gitlab.folder(), &tools, &variables).compares("console cluster");
}
