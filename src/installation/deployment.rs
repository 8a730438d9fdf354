//! What is judged of the webhook's Deployment, and which options does it give to `serve`?

use serde::{Deserialize, Deserializer};

use super::Selector;

/// The beginning of the names of the environment variables that hold options.
const VARIABLE: &str = "GITLAB_IAM_WEBHOOK_";

/// What is read of the Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// How many replicas are asked for.
    pub replicas: u32,
    /// The image of the container.
    pub image: String,
    /// The labels of its Pods, as a label selector.
    pub selector: String,
    /// The options of `serve`.
    pub options: ServeOptions,
    /// The port of the container for HTTPS.
    pub port: u16,
    /// The Secret that is mounted for the certificate.
    pub mounted_secret: Option<String>,
}

/// The options of `serve` that others need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// `--mapping-config-map`, as `NAMESPACE/NAME`
    pub mapping_config_map: Option<String>,
    /// `--certificate-secret`, as `NAMESPACE/NAME`
    pub certificate_secret: Option<String>,
    /// `--watch-namespace`
    pub watch_namespaces: Vec<String>,
    /// `--allowed-role`
    pub allowed_roles: Vec<String>,
    /// `--workload-controller`
    pub workload_controllers: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: Option<u32>,
    selector: Selector,
    template: Template,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
    volumes: Option<Vec<Volume>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    image: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    ports: Option<Vec<Port>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    /// Only an option's value is used; others may be credentials.
    value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    name: String,
    container_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Volume {
    name: String,
    secret: Option<SecretVolume>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecretVolume {
    secret_name: String,
}

impl<'de> Deserialize<'de> for Deployment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Object { spec: Spec { replicas, selector, template } } = Object::deserialize(from)?;
        let volumes = template.spec.volumes.unwrap_or_default();
        let container = template.spec.containers.into_iter().next().unwrap_or_default();
        let ports = container.ports.unwrap_or_default();
        let selector = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        Ok(Self {
            replicas: replicas.unwrap_or(1),
            image: container.image,
            selector: selector.collect::<Vec<_>>().join(","),
            options: ServeOptions::read(
                &container.args.unwrap_or_default(),
                &container.env.unwrap_or_default(),
            ),
            port: ports.iter().find(|port| port.name == "webhook").map_or(8443, |port| port.container_port),
            mounted_secret: volumes
                .into_iter()
                .find(|volume| volume.name == "tls")
                .and_then(|volume| volume.secret)
                .map(|secret| secret.secret_name),
        })
    }
}

impl ServeOptions {
    /// Reads them as `serve` does: an environment variable counts where there is no such argument.
    fn read(arguments: &[String], variables: &[Variable]) -> Self {
        let all = |option: &str, variable: &str| -> Vec<String> {
            let given = values_of(option, arguments);
            if !given.is_empty() {
                return given;
            }
            let name = format!("{VARIABLE}{variable}");
            let held = variables.iter().rev().find(|variable| variable.name == name);
            let text = held.and_then(|variable| variable.value.as_deref()).unwrap_or_default();
            text.split(' ').filter(|value| !value.is_empty()).map(str::to_owned).collect()
        };
        Self {
            mapping_config_map: all("mapping-config-map", "MAPPING_CONFIG_MAP").pop(),
            certificate_secret: all("certificate-secret", "CERTIFICATE_SECRET").pop(),
            watch_namespaces: all("watch-namespace", "WATCH_NAMESPACES"),
            allowed_roles: all("allowed-role", "ALLOWED_ROLES"),
            workload_controllers: all("workload-controller", "WORKLOAD_CONTROLLERS"),
        }
    }
}

/// Returns the values of `--option=VALUE` and `--option VALUE`. Where values may hold spaces, none does: no
/// name in Kubernetes and no ARN has one.
fn values_of(option: &str, arguments: &[String]) -> Vec<String> {
    let long = format!("--{option}");
    let mut values = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix(&long) {
            Some("") => arguments.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        values.extend(value.into_iter().flat_map(|text| text.split(' ')).map(str::to_owned));
    }
    values
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(args: &[&str], env: &[(&str, &str)]) -> Deployment {
        let env: Vec<_> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let container = json!({
            "image": "hook:1", "args": args, "env": env,
            "ports": [{"name": "metrics", "containerPort": 1}, {"name": "webhook", "containerPort": 9443}],
        });
        let volumes =
            json!([{"name": "x", "emptyDir": {}}, {"name": "tls", "secret": {"secretName": "cert"}}]);
        serde_json::from_value(json!({"spec": {
            "replicas": 3, "selector": {"matchLabels": {"b": "2", "a": "1"}},
            "template": {"spec": {"containers": [container], "volumes": volumes}},
        }}))
        .unwrap()
    }

    #[test]
    fn the_options_are_read_as_serve_reads_them() {
        let args = [
            "serve",
            "--mapping-config-map=ns/role-mapping",
            "--watch-namespace=a",
            "--watch-namespace",
            "b",
            "--watch-namespaces-of-others=c",
            "--allowed-role=gitlab=arn:aws:iam::*:role/x",
        ];
        let env = [
            ("GITLAB_IAM_WEBHOOK_WATCH_NAMESPACES", "ignored"),
            ("GITLAB_IAM_WEBHOOK_WORKLOAD_CONTROLLERS", "one two"),
            ("AWS_SECRET_ACCESS_KEY", "planted"),
        ];
        let deployment = read(&args, &env);
        assert!(!format!("{deployment:?}").contains("planted"));
        let Deployment { replicas, image, selector, options, port, mounted_secret } = deployment;
        assert_eq!((replicas, &*image, &*selector, port), (3, "hook:1", "a=1,b=2", 9443));
        assert_eq!(mounted_secret.as_deref(), Some("cert"));
        assert_eq!(options.mapping_config_map.as_deref(), Some("ns/role-mapping"));
        assert_eq!(options.watch_namespaces, ["a", "b"]);
        assert_eq!(options.allowed_roles, ["gitlab=arn:aws:iam::*:role/x"]);
        assert_eq!(options.workload_controllers, ["one", "two"]);
        assert_eq!(options.certificate_secret, None);
        assert_eq!(serde_json::from_value::<Deployment>(json!({})).unwrap().replicas, 1);
    }
}
