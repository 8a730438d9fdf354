//! Does `annotate` put into manifests what the webhook puts into objects, with real Helm and real kustomize?

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::chart::HELMS;
use crate::commands::{gitlab_chart, root, script};
use crate::harness::{Space, eventually};

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
  - {match: {component: [webservice, sidekiq]}, provider: [irsa, kube2iam], role: \"{release}-web\"}
  - {match: {component: toolbox}, role: toolbox}
";
const COMPONENTS: [&str; 4] = ["registry", "webservice", "sidekiq", "kas"];

/// What the chart has beside its ServiceAccounts: a workload, and a ServiceAccount that is a hook.
const MORE: &str = "kind: Deployment
apiVersion: apps/v1
metadata: {name: web}
spec:
  selector: {matchLabels: {app: webservice}}
  template:
    metadata:
      labels: {app: webservice, chart: webservice-9.10.0, release: {{ .Release.Name }}}
    spec:
      serviceAccountName: {{ .Release.Name }}-webservice
      containers: [{name: main, image: none}]
---
kind: ServiceAccount
apiVersion: v1
metadata:
  name: hook
  labels: {app: toolbox, chart: toolbox-9.10.0, release: {{ .Release.Name }}}
  annotations: {helm.sh/hook: pre-install, helm.sh/hook-delete-policy: before-hook-creation}
";

fn chart(space: &Space) {
    let folder = space.folder().join("chart");
    gitlab_chart(&folder, &COMPONENTS);
    fs::write(folder.join("templates/more.yaml"), MORE).unwrap();
    fs::write(space.folder().join("mapping.yaml"), MAPPING).unwrap();
}

/// Runs a command with our binary in the PATH, and a home of its own.
fn shell(space: &Space, command: &str) -> String {
    let ours = Path::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook")).parent().unwrap().display();
    space.shell(&format!("export PATH={ours}:$PATH HOME=$PWD; {command}"))
}

/// The annotations of each ServiceAccount, and of a Pod of the workload, without Helm's own.
fn annotations(space: &Space) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut add = |name: &str, object: &Value| {
        let mut annotations = object["metadata"]["annotations"].clone();
        if let Some(map) = annotations.as_object_mut() {
            map.retain(|key, _| !key.contains("helm.sh"));
        }
        found.push((name.to_owned(), annotations));
    };
    for component in COMPONENTS {
        let name = format!("gitlab-{component}");
        add(&name, &space.get("serviceaccount", &name).unwrap());
    }
    let pod = eventually("the workload's Pod", || {
        let done = space.kubectl(&["get", "pods", "-l", "app=webservice", "-o", "json"]).good();
        let pods: Value = serde_json::from_str(&done.out).unwrap();
        pods["items"].as_array().unwrap().first().cloned()
    });
    add("Pod", &pod);
    found
}

#[test]
fn a_post_renderer_of_either_helm_gives_the_roles_that_the_webhook_gives() {
    let watched = Space::new("annotate-webhook");
    chart(&watched);
    watched.map(MAPPING).good();
    let webhook = watched.webhook("Fail");
    webhook.wait_for("mapping in force");
    eventually("the namespace's own account", || watched.get("serviceaccount", "default"));
    let name = &watched.name;
    let said = shell(&watched, &format!("helm install gitlab chart -n {name}"));
    assert!(said.contains("STATUS: deployed"), "{said}");
    let wanted = annotations(&watched);
    let text = format!("{wanted:?}");
    for role in ["role/registry", "role/gitlab-web", "iam.amazonaws.com/role"] {
        assert!(text.contains(role), "{text}");
    }
    for with in HELMS {
        // No webhook is registered for this one.
        let space = Space::new(&format!("annotate-{with}"));
        eventually("the namespace's own account", || space.get("serviceaccount", "default"));
        chart(&space);
        let name = &space.name;
        let renderer = if with == "helm" {
            let said = shell(
                &space,
                &format!("helm plugin install {}", root().join("deploy/helm-plugin").display()),
            );
            assert!(said.contains("Installed plugin: gitlab-iam-webhook"), "{said}");
            format!(
                "--post-renderer gitlab-iam-webhook --post-renderer-args --mapping=mapping.yaml \
                 --post-renderer-args --namespace={name}"
            )
        } else {
            format!(
                "--post-renderer gitlab-iam-webhook --post-renderer-args annotate \
                 --post-renderer-args --mapping=mapping.yaml --post-renderer-args --namespace={name}"
            )
        };
        for verb in ["install", "upgrade"] {
            let said = shell(&space, &format!("{with} {verb} gitlab chart -n {name} {renderer}"));
            assert!(said.contains("STATUS: deployed"), "{with}: {said}");
            assert_eq!(annotations(&space), wanted, "{with} {verb}");
        }
        // Helm 3 does not show its hooks to a post-renderer.
        let hook = space.annotation("serviceaccount", "hook", crate::harness::ROLE);
        assert_eq!(hook.is_some(), with == "helm", "{with}: {hook:?}");
        // A variable that Helm knows as well says the namespace once.
        let variables = format!("HELM_NAMESPACE={name} GITLAB_IAM_WEBHOOK_MAPPING=mapping.yaml");
        let arguments = if with == "helm" { "" } else { "--post-renderer-args annotate" };
        let command = format!(
            "{variables} {with} template gitlab chart --post-renderer gitlab-iam-webhook {arguments}"
        );
        let rendered = shell(&space, &command);
        let wanted = if with == "helm" { 5 } else { 4 };
        assert_eq!(rendered.matches("gitlab-iam-webhook/applied").count(), wanted, "{rendered}");
        // What annotate cannot do stops Helm.
        let broken = shell(
            &space,
            &format!(
                "{with} upgrade gitlab chart -n {name} --post-renderer gitlab-iam-webhook --post-renderer-args annotate"
            ),
        );
        assert!(broken.contains("Error:"), "{broken}");
    }
}

#[test]
fn a_rendered_chart_is_annotated_in_a_pipe() {
    let space = Space::new("annotate-pipe");
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    chart(&space);
    let name = &space.name;
    let render = format!("helm template gitlab chart -n {name} --no-hooks");
    let annotate = format!("gitlab-iam-webhook annotate -m mapping.yaml -n {name}");
    let said = shell(&space, &format!("{render} | {annotate} 2>/dev/null | kubectl apply -n {name} -f -"));
    assert!(said.contains("serviceaccount/gitlab-registry created"), "{said}");
    let role = space.annotation("serviceaccount", "gitlab-registry", crate::harness::ROLE).unwrap();
    assert!(role.ends_with(":role/registry"), "{role}");
    let again =
        shell(&space, &format!("{render} | {annotate} 2>/dev/null | {annotate} --diff; echo exit $?"));
    assert!(again.contains("0 of 5") && again.ends_with("exit 0\n"), "{again}");
    // Nothing is applied where something cannot be read.
    let broken =
        format!("({render}; echo '---'; echo 'kind: [') | {annotate} | kubectl apply -n {name} -f -");
    let said = shell(&space, &broken);
    assert!(said.contains("not YAML") && said.contains("no objects passed to apply"), "{said}");
}

#[test]
fn kustomize_calls_annotate_as_a_function() {
    let space = Space::new("annotate-kustomize");
    chart(&space);
    let write = |name: &str, text: &str| fs::write(space.folder().join(name), text).unwrap();
    write("kustomization.yaml", "namespace: gitlab\nresources: [all.yaml]\ntransformers: [roles.yaml]\n");
    let ours = env!("CARGO_BIN_EXE_gitlab-iam-webhook");
    let function = |mapping: &str| {
        format!(
            "apiVersion: v1
kind: ConfigMap
metadata:
  name: roles
  annotations:
    config.kubernetes.io/function: |
      exec:
        path: {ours}
        args: [annotate]
data:
  mapping.yaml: |
    {}
",
            mapping.trim_end().replace('\n', "\n    ")
        )
    };
    write("roles.yaml", &function(MAPPING));
    shell(&space, "helm template gitlab chart >all.yaml");
    script("tests/kustomize/build", &[]);
    let kustomize = root().join("target/kustomize/kustomize");
    let build = &format!("{} build --enable-alpha-plugins --enable-exec .", kustomize.display());
    let built = shell(&space, &format!("{build} 2>/dev/null"));
    assert_eq!(
        built.matches("eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/").count(),
        4,
        "{built}"
    );
    assert!(built.contains("iam.amazonaws.com/role: arn:aws:iam::123456789012:role/gitlab-web\n"), "{built}");
    assert!(!built.contains("config.kubernetes.io") && !built.contains("name: roles"), "{built}");
    // As the webhook has it, and as annotate has it without kustomize.
    write("built.yaml", &built);
    let again = shell(&space, "gitlab-iam-webhook annotate -m mapping.yaml --diff built.yaml; echo exit $?");
    assert!(again.contains("0 of 6") && again.ends_with("exit 0\n"), "{again}");

    write("roles.yaml", &function("rules:\n  - {match: {component: registri}, role: x}\n"));
    let refused = shell(&space, build);
    assert!(refused.contains("unknown component `registri`; did you mean `registry`?"), "{refused}");
    assert!(!refused.contains("kind: ServiceAccount"), "{refused}");
}
