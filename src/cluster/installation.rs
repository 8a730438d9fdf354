//! How is our own installation found in a cluster, and read?
//!
//! Only the webhook configurations tell that there is one: everything else is found from them. What may not
//! be read is noted as such, and ends nothing. Of Secrets only the metadata is asked for.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment as ClusterDeployment;
use k8s_openapi::api::core::v1::{ConfigMap as ClusterConfigMap, Pod as ClusterPod, Secret as ClusterSecret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::GetParams;
use kube::core::{Request, Resource};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::failure::Failure;
use super::inventory::{CollectError, LONGEST_LIST};
use super::pages::{Collection, Pages};
use super::probe::Probe;
use super::{ApiServer, NamespacedName, served_certificate};
use crate::engine::admission::validate::LAST_GOOD_SUFFIX;
use crate::installation::{
    Configuration, Deployment, Installation, MappingText, Reach, Replica, Seen, served,
};

/// The name of the webhook configurations where the chart is installed as its own documents say.
const USUAL: &str = "gitlab-iam-webhook";

/// The most installations that are looked at, and the most whose namespaces are.
const MOST: usize = 10;
const MOST_LISTED: usize = 100;

/// The most Pods of one installation that are looked at, and of how many of them the certificate is.
const MOST_REPLICAS: usize = 100;
const MOST_CERTIFICATES: usize = 5;

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The name of the webhook configurations; without it all of ours are found.
    pub configuration: Option<String>,
    /// Whether the API server is to be asked to reach the webhook, and the Pods for their certificates.
    pub is_deep: bool,
}

/// Finds our installations. `Missing` says that there is definitely none.
///
/// # Errors
/// When the API server does not answer.
pub async fn find(
    api: &ApiServer,
    look: &Look,
    mut progress: impl FnMut(&str),
) -> Result<Seen<Vec<Installation>>, CollectError> {
    progress("webhook configurations");
    let mutating = list::<MutatingWebhookConfiguration>(api, look, "MutatingWebhookConfigurations").await?;
    let validating =
        list::<ValidatingWebhookConfiguration>(api, look, "ValidatingWebhookConfigurations").await?;
    let mut names: Vec<String> = [&mutating.ours, &validating.ours]
        .into_iter()
        .filter_map(Seen::there)
        .flatten()
        .map(|configuration| configuration.metadata.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names.truncate(MOST);
    if names.is_empty() {
        let unread = mutating.ours.unread().or_else(|| validating.ours.unread());
        return Ok(unread.map_or(Seen::Missing, |why| Seen::Unread(why.to_owned())));
    }
    let mut found = Vec::new();
    for name in names {
        let reader = Reader { api, name: &name };
        found.push(reader.read(&mutating, validating.named(&name), look, &mut progress).await?);
    }
    Ok(Seen::There(found))
}

/// The configurations of one kind.
struct Listed {
    /// The only namespaces that any of ours works in, where that is known.
    served: Option<Vec<String>>,
    ours: Seen<Vec<Configuration>>,
    /// The name of that of the EKS webhook.
    eks: Seen<String>,
}

impl Listed {
    fn named(&self, name: &str) -> Seen<Configuration> {
        match &self.ours {
            Seen::There(all) => {
                let found = all.iter().find(|configuration| configuration.metadata.name == name);
                found.cloned().map_or(Seen::Missing, Seen::There)
            }
            Seen::Missing => Seen::Missing,
            Seen::Unread(why) => Seen::Unread(why.clone()),
        }
    }
}

/// Lists the configurations of one kind. Where that is forbidden, the one of the usual name may not be.
async fn list<K: Resource<DynamicType = ()>>(
    api: &ApiServer,
    look: &Look,
    what: &str,
) -> Result<Listed, CollectError> {
    let (mut ours, mut all, mut eks) = (Vec::new(), Vec::new(), Seen::Missing);
    let mut pages = Pages::new(api.clone(), Collection::of::<K>(None));
    let end = Instant::now() + LONGEST_LIST;
    let listed = loop {
        let page = pages.next(|object: &RawValue| {
            let configuration: Configuration = serde_json::from_str(object.get())?;
            if configuration.is_of_eks() {
                eks = Seen::There(configuration.metadata.name.clone());
            }
            let is_wanted = match &look.configuration {
                Some(name) => configuration.metadata.name == *name,
                None => configuration.is_ours(),
            };
            if configuration.is_ours() && all.len() < MOST_LISTED {
                all.push(configuration.clone());
            }
            if is_wanted && ours.len() < MOST {
                ours.push(configuration);
            }
            Ok(())
        });
        match page.await {
            Ok(true) if Instant::now() < end => {}
            Ok(true) => break Err("there are more than this command looks at".to_owned()),
            Ok(false) => break Ok(()),
            Err(failure) => break Err(CollectError::unless_refused(what, failure)?),
        }
    };
    let Err(why) = listed else {
        let ours = if ours.is_empty() { Seen::Missing } else { Seen::There(ours) };
        return Ok(Listed { served: served(&all), ours, eks });
    };
    let name = look.configuration.as_deref().unwrap_or(USUAL);
    let ours = match get::<K, Configuration>(api, None, name, what).await? {
        Seen::There(configuration) if configuration.metadata.name == name => Seen::There(vec![configuration]),
        Seen::There(_) => Seen::Unread(format!("the answer is no {what}")),
        // Another one may be there, which may not be listed.
        Seen::Missing if look.configuration.is_some() => Seen::Missing,
        Seen::Missing | Seen::Unread(_) => Seen::Unread(why.clone()),
    };
    Ok(Listed { served: None, ours, eks: Seen::Unread(why) })
}

async fn get<K: Resource<DynamicType = ()>, T: DeserializeOwned>(
    api: &ApiServer,
    namespace: Option<&str>,
    name: &str,
    what: &str,
) -> Result<Seen<T>, CollectError> {
    let request = Request::new(K::url_path(&(), namespace)).get(name, &GetParams::default());
    seen(api.object_or_none(request).await.and_then(|held| held.map(|held| held.json()).transpose()), what)
}

fn seen<T>(done: Result<Option<T>, Failure>, what: &str) -> Result<Seen<T>, CollectError> {
    Ok(match done {
        Ok(Some(found)) => Seen::There(found),
        Ok(None) => Seen::Missing,
        Err(failure) => Seen::Unread(CollectError::unless_refused(what, failure)?),
    })
}

/// Reads one installation.
struct Reader<'a> {
    api: &'a ApiServer,
    name: &'a str,
}

impl Reader<'_> {
    async fn read(
        &self,
        listed: &Listed,
        validating: Seen<Configuration>,
        look: &Look,
        progress: &mut impl FnMut(&str),
    ) -> Result<Installation, CollectError> {
        let mutating = listed.named(self.name);
        let (namespace, service) = self.place(&[&mutating, &validating]);
        let mut installation = Installation {
            name: self.name.to_owned(),
            namespace,
            service,
            mutating,
            validating,
            served_namespaces: listed.served.clone(),
            eks_webhook: listed.eks.clone(),
            deployment: Seen::Missing,
            endpoints: Seen::Missing,
            replicas: Seen::Missing,
            certificate_secret: Seen::Missing,
            reach: not_asked(),
            mapping: Seen::Missing,
            last_good: Seen::Missing,
        };
        if installation.namespace.is_empty() {
            let why =
                || "the webhook is called by a URL, and nothing says in which namespace it runs".to_owned();
            installation.deployment = Seen::Unread(why());
            installation.endpoints = Seen::Unread(why());
            installation.replicas = Seen::Unread(why());
            installation.certificate_secret = Seen::Unread(why());
            installation.mapping = Seen::Unread(why());
            installation.last_good = Seen::Unread(why());
            return Ok(installation);
        }
        progress(&format!("the installation in the namespace {}", installation.namespace));
        self.workload(&mut installation).await?;
        self.mapping(&mut installation).await?;
        if look.is_deep {
            progress("whether the API server reaches the webhook");
            self.reach(&mut installation).await;
            progress("the certificates that the webhook serves");
            self.certificates(&mut installation).await;
        }
        Ok(installation)
    }

    /// The namespace and the name of the Service. Helm writes the namespace on each object, so that it is
    /// known also where the webhook is called by a URL.
    fn place(&self, configurations: &[&Seen<Configuration>]) -> (String, String) {
        let there = || configurations.iter().filter_map(|seen| seen.there());
        if let Some((namespace, name)) = there().find_map(Configuration::service) {
            return (namespace.to_owned(), name.to_owned());
        }
        let written = there().find_map(|held| held.metadata.annotation("meta.helm.sh/release-namespace"));
        (written.unwrap_or_default().to_owned(), self.name.to_owned())
    }

    async fn workload(&self, installation: &mut Installation) -> Result<(), CollectError> {
        let (namespace, service) = (installation.namespace.clone(), installation.service.clone());
        let within = Some(namespace.as_str());
        let deployment: Seen<Deployment> =
            get::<ClusterDeployment, _>(self.api, within, &service, "Deployment").await?;
        let slices =
            Collection::of::<EndpointSlice>(within).labelled(format!("kubernetes.io/service-name={service}"));
        installation.endpoints = self
            .list(slices, "EndpointSlices")
            .await?
            .map(|slices: Vec<Slice>| slices.iter().map(Slice::ready).sum());
        installation.replicas = match &deployment {
            Seen::There(deployment) if !deployment.selector.is_empty() => {
                let pods = Collection::of::<ClusterPod>(within).labelled(deployment.selector.clone());
                let pods: Seen<Vec<Pod>> = self.list(pods, "Pods").await?;
                pods.map(|pods| pods.into_iter().filter_map(Pod::replica).collect())
            }
            Seen::There(_) | Seen::Missing => Seen::There(Vec::new()),
            Seen::Unread(why) => Seen::Unread(why.clone()),
        };
        installation.certificate_secret = match &deployment {
            Seen::There(deployment) => match certificate_secret(deployment) {
                Some(name) => self.secret(&namespace, &name).await?,
                None => Seen::Missing,
            },
            Seen::Missing => Seen::Missing,
            Seen::Unread(why) => Seen::Unread(why.clone()),
        };
        installation.deployment = deployment;
        Ok(())
    }

    /// Whether the Secret is there. Its values are not asked for.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Seen<()>, CollectError> {
        let request = Request::new(ClusterSecret::url_path(&(), Some(namespace)));
        let request = request.get_metadata(name, &GetParams::default());
        let done = self.api.object_or_none(request).await.map(|held| held.map(drop));
        seen(done, "Secret of the certificate")
    }

    async fn mapping(&self, installation: &mut Installation) -> Result<(), CollectError> {
        let unknown = |why: &str| (Seen::Unread(why.to_owned()), Seen::Unread(why.to_owned()));
        let named = match &installation.deployment {
            Seen::There(deployment) => deployment.options.mapping_config_map.clone(),
            Seen::Missing => {
                (installation.mapping, installation.last_good) =
                    unknown("there is no Deployment that names it: give the mapping with --mapping");
                return Ok(());
            }
            Seen::Unread(why) => {
                let why = format!("the Deployment, which names it, could not be read: {why}");
                (installation.mapping, installation.last_good) = unknown(&why);
                return Ok(());
            }
        };
        let Some(name) = named.as_deref().and_then(|name| name.parse::<NamespacedName>().ok()) else {
            (installation.mapping, installation.last_good) =
                unknown("the Deployment names no ConfigMap: give the mapping with --mapping");
            return Ok(());
        };
        let last_good = NamespacedName {
            namespace: name.namespace.clone(),
            name: format!("{}{LAST_GOOD_SUFFIX}", name.name),
        };
        installation.mapping = self.text(&name).await?;
        installation.last_good = self.text(&last_good).await?;
        Ok(())
    }

    async fn text(&self, name: &NamespacedName) -> Result<Seen<MappingText>, CollectError> {
        #[derive(Deserialize)]
        struct Held {
            #[serde(default)]
            data: Option<Data>,
        }
        #[derive(Deserialize)]
        struct Data {
            #[serde(default, rename = "mapping.yaml")]
            text: Option<String>,
        }
        let held: Seen<Held> =
            get::<ClusterConfigMap, _>(self.api, Some(&name.namespace), &name.name, "ConfigMap").await?;
        Ok(held.map(|held| MappingText {
            config_map: name.to_string(),
            text: held.data.and_then(|data| data.text),
        }))
    }

    async fn reach(&self, installation: &mut Installation) {
        let named = installation.options().mapping_config_map;
        let Some(mapping) = named.and_then(|name| name.parse::<NamespacedName>().ok()) else {
            let why = "nothing says which ConfigMap holds the mapping: ask with the command probe";
            installation.reach = Seen::Unread(why.to_owned());
            return;
        };
        let outcome = Probe::new(self.api.clone(), &mapping, self.name).ask().await;
        installation.reach = match outcome.reach().is_reached() {
            Some(is_reached) => Seen::There(Reach { is_reached, text: outcome.to_string() }),
            None => Seen::Unread(outcome.to_string()),
        };
    }

    /// Asks some of the Pods that are ready which certificate they serve.
    async fn certificates(&self, installation: &mut Installation) {
        let port = installation.deployment.there().map_or(8443, |deployment| deployment.port);
        let (namespace, service) = (installation.namespace.clone(), installation.service.clone());
        let Seen::There(replicas) = &mut installation.replicas else { return };
        let host = format!("{service}.{namespace}.svc");
        let mut asked = 0;
        for replica in replicas {
            replica.served = if !replica.is_ready {
                Seen::Unread("the Pod is not ready".to_owned())
            } else if asked == MOST_CERTIFICATES {
                Seen::Unread(format!("{MOST_CERTIFICATES} other Pods were asked"))
            } else {
                asked += 1;
                match served_certificate::served(self.api, &namespace, &replica.name, port, &host).await {
                    Ok(chain) => Seen::There(chain),
                    Err(why) => Seen::Unread(why),
                }
            };
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        all: Collection,
        what: &str,
    ) -> Result<Seen<Vec<T>>, CollectError> {
        let (mut pages, mut found) = (Pages::new(self.api.clone(), all), Vec::new());
        loop {
            let page = pages.next(|object: &RawValue| {
                if found.len() < MOST_REPLICAS {
                    found.push(serde_json::from_str(object.get())?);
                }
                Ok(())
            });
            match page.await {
                Ok(true) if found.len() < MOST_REPLICAS => {}
                Ok(_) => return Ok(Seen::There(found)),
                Err(failure) => return Ok(Seen::Unread(CollectError::unless_refused(what, failure)?)),
            }
        }
    }
}

fn not_asked<T>() -> Seen<T> {
    Seen::Unread("it was not asked for".to_owned())
}

/// The Secret of the certificate: the one that is mounted, or the one that the replicas share.
fn certificate_secret(deployment: &Deployment) -> Option<String> {
    let shared = || Some(deployment.options.certificate_secret.as_ref()?.split_once('/')?.1.to_owned());
    deployment.mounted_secret.clone().or_else(shared)
}

#[derive(Deserialize)]
struct Slice {
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

impl Slice {
    /// How many endpoints are ready. One that does not say is.
    fn ready(&self) -> usize {
        let endpoints = self.endpoints.as_deref().unwrap_or_default();
        endpoints.iter().filter(|endpoint| endpoint.conditions.ready != Some(false)).count()
    }
}

#[derive(Deserialize)]
struct Pod {
    metadata: PodMetadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodMetadata {
    name: String,
    #[serde(default)]
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    image: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
    conditions: Option<Vec<Condition>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

impl Pod {
    /// The Pod as a replica; none where it has ended or is about to.
    fn replica(self) -> Option<Replica> {
        let Self { metadata, spec, status } = self;
        if metadata.deletion_timestamp.is_some() || matches!(status.phase.as_str(), "Succeeded" | "Failed") {
            return None;
        }
        let conditions = status.conditions.unwrap_or_default();
        Some(Replica {
            name: metadata.name,
            image: spec.containers.into_iter().next().map(|container| container.image).unwrap_or_default(),
            is_ready: conditions.iter().any(|held| held.r#type == "Ready" && held.status == "True"),
            served: not_asked(),
        })
    }
}
