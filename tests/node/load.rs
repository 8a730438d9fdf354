//! ServiceAccounts created at a steady pace, as a busy cluster does, while something goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::harness::{ROLE, Stage};

const A_SECOND: u64 = 20;

/// What became of it.
pub(crate) struct Report {
    pub(crate) created: usize,
    pub(crate) failed: Vec<String>,
}

pub(crate) struct Load {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) async fn client() -> Client {
    let kubeconfig = Kubeconfig::read_from(Stage::kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    // A call that fails is to be seen.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

pub(crate) fn account(name: &str) -> ServiceAccount {
    serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).unwrap()
}

impl Load {
    /// 20 a second in this namespace, named load-1, load-2, ..., until it is stopped.
    pub(crate) fn start(namespace: &str) -> Self {
        let (namespace, enough) = (namespace.to_owned(), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&enough);
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let api: Api<ServiceAccount> = Api::namespaced(client().await, &namespace);
                let mut calls = JoinSet::new();
                let mut ticks = tokio::time::interval(Duration::from_millis(1000 / A_SECOND));
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    count += 1;
                    let api = api.clone();
                    let name = format!("load-{count}");
                    calls.spawn(async move {
                        let created = api.create(&PostParams::default(), &account(&name)).await;
                        created.map(drop).map_err(|error| format!("{name}: {error}"))
                    });
                }
                let done = calls.join_all().await;
                let failed: Vec<String> = done.into_iter().filter_map(Result::err).collect();
                Report { created: count - failed.len(), failed }
            })
        });
        Self { enough, thread }
    }

    pub(crate) fn stop(self) -> Report {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// How many accounts of a namespace that begin with `prefix` have this role, and how many do not.
pub(crate) fn count(namespace: &str, prefix: &str, role: &str) -> (usize, usize) {
    runtime().block_on(async {
        let api: Api<ServiceAccount> = Api::namespaced(client().await, namespace);
        let all = api.list_metadata(&ListParams::default()).await.unwrap();
        let ours = all.items.iter().map(|account| &account.metadata);
        let ours = ours.filter(|metadata| metadata.name.as_ref().unwrap().starts_with(prefix));
        let (with, without): (Vec<_>, Vec<_>) = ours.partition(|metadata| {
            metadata.annotations.as_ref().and_then(|all| all.get(ROLE)).is_some_and(|value| value == role)
        });
        (with.len(), without.len())
    })
}
