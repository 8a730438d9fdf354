//! What does `status` say and exit with, as a person types it, of manifests and of an API server that says
//! what a test wants?

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fake::{Answer, Asked, Fake};
use crate::support::data;

const MAPPING: &str = "account: \"123456789012\"
rules:
  - {match: {component: registry}, role: registry}
";
const IRSA: &str = "eks.amazonaws.com/role-arn";
const ROLE: &str = "arn:aws:iam::123456789012:role/registry";

/// A text that does its worst where it is printed as it is.
const HOSTILE: &str =
    "\"><img src=x onerror=alert(1)><script>alert(2)</script>\u{202e}\u{1b}[2J\u{7}\u{200b}";

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    command.arg("status").args(arguments).env_remove("KUBECONFIG").env("HOME", "/nowhere");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn status(arguments: &[&str], input: &str) -> Said {
    let mut child = command(arguments).spawn().unwrap();
    // A command that refuses its arguments may have ended before it has read anything.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

fn file(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn labels(component: &str) -> Value {
    json!({"app": component, "chart": format!("{component}-9.0.0"), "release": "gitlab"})
}

#[allow(clippy::needless_pass_by_value, reason = "each caller makes it in place")]
fn account(name: &str, annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": name, "namespace": "gitlab", "labels": labels("registry"), "annotations": annotations,
    }})
}

#[test]
fn manifests_are_compared_with_a_mapping_and_drift_is_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = file(&folder, "mapping.yaml", MAPPING);
    let arguments = ["-m", &mapping, "-f", "-"];
    let drift = status(&arguments, &account("gitlab-registry", json!({})).to_string());
    assert_eq!((drift.code, drift.err.as_str()), (1, ""), "{}", drift.out);
    let line = drift.out.lines().find(|line| line.contains("sa/gitlab-registry")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let want = ["drift", "gitlab", "sa/gitlab-registry", "registry", "component=registry", "-", "…/registry"];
    assert_eq!(words, want);
    assert!(
        drift.out.contains("\nroles:      … stands for arn:aws:iam::123456789012:role\n"),
        "{}",
        drift.out
    );
    assert!(drift.out.ends_with("\n1 ServiceAccount, 0 Pods: 1 drift\n"), "{}", drift.out);
    assert!(!drift.out.contains("-n NAMESPACE"), "all of them name their namespace: {}", drift.out);
    assert!(!drift.out.contains("kubectl"), "there is no cluster to ask again: {}", drift.out);

    let good = status(&arguments, &account("gitlab-registry", json!({IRSA: ROLE})).to_string());
    assert_eq!(good.code, 0, "{}", good.out);
    assert!(good.out.contains("\nin-step "), "{}", good.out);
}

#[test]
fn objects_without_a_namespace_count_as_in_default_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = file(&folder, "mapping.yaml", MAPPING);
    let mut placeless = account("gitlab-registry", json!({}));
    placeless["metadata"].as_object_mut().unwrap().remove("namespace");
    let input = placeless.to_string();
    for format in ["text", "html"] {
        let said = status(&["-m", &mapping, "-f", "-", "-o", format], &input).out;
        assert!(said.contains("objects that name no namespace count as in `default`: "), "{said}");
        let said = status(&["-m", &mapping, "-f", "-", "-o", format, "-n", "gitlab"], &input).out;
        assert!(!said.contains("name no namespace"), "{said}");
    }
}

#[test]
fn a_template_is_no_pod_and_no_file_counts_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = file(&folder, "mapping.yaml", MAPPING);
    let template = json!({"metadata": {"labels": labels("registry")},
        "spec": {"serviceAccountName": "gitlab-registry", "containers": [{"name": "a"}]}});
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "d", "namespace": "gitlab"},
        "spec": {"template": template}});
    let objects = format!("{}\n---\n{deployment}", account("gitlab-registry", json!({IRSA: ROLE})));
    let objects = file(&folder, "objects.yaml", objects);
    let said = status(&["-m", &mapping, "-f", &objects], "");
    assert!(said.out.ends_with("\n1 ServiceAccount, 0 Pods, 1 Pod template: 2 in-step\n"), "{}", said.out);
    let json = status(&["-m", &mapping, "-f", &objects, "-o", "json"], "").out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["counts"]["pods"], &json["counts"]["podTemplates"]), (&json!(0), &json!(1)));
    for (arguments, name) in [
        (["-m", &mapping, "-f", &objects, "-f", &objects], &*objects),
        (["-m", "-", "-f", "-", "-f", &objects], "standard input"),
    ] {
        let said = status(&arguments, MAPPING);
        assert!(said.code == 2 && said.err.contains(&format!("{name} is named twice")), "{}", said.err);
    }
}

#[test]
fn programs_get_the_same_in_json_and_yaml() {
    let objects = data("gitlab-objects.yaml").display().to_string();
    let mapping = data("one-rule-per-component.yaml").display().to_string();
    let arguments = ["-n", "gitlab", "-m", &mapping, "-f", &objects];
    let few = status(&arguments, "");
    let text = status(&[&arguments[..], &["--all"]].concat(), "");
    let states = |said: &Said| -> Vec<String> {
        let lines = said.out.lines().filter(|line| line.contains(" sa/") || line.contains(" pod/"));
        lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    // Whoever looks for trouble has it first, and what no rule is about only on demand.
    let mut without: Vec<String> = states(&text);
    without.retain(|state| state != "no-rule");
    assert!(without.len() < states(&text).len() && states(&few) == without, "{}", few.out);
    assert_eq!(states(&few).first().map(String::as_str), Some("drift"), "{}", few.out);
    assert!(few.out.ends_with(" no-rule (listed with --all)\n"), "{}", few.out);
    let said = status(&[&arguments[..], &["-o", "json"]].concat(), "");
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let all: Value = serde_json::from_str(&said.out).unwrap();
    let objects = all["objects"].as_array().unwrap();
    let shown = text.out.lines().filter(|line| line.contains(" sa/") || line.contains(" pod/")).count();
    assert_eq!(objects.len(), shown);
    for (state, count) in all["counts"]["states"].as_object().unwrap() {
        let of_state = objects.iter().filter(|object| object["state"] == **state).count();
        assert_eq!(count, of_state, "{state}");
        assert!(text.out.contains(&format!("{count} {state}")), "{state}");
    }
    assert_eq!(all["hasDrift"], true);
    let yaml = status(&[&arguments[..], &["-o", "yaml"]].concat(), "");
    assert!(yaml.code == 1 && yaml.out.contains("\nhasDrift: true\n"), "{}", yaml.out);
}

#[test]
fn no_text_of_others_steers_a_terminal_or_leaves_its_place_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = file(&folder, "mapping.yaml", MAPPING);
    let mut planted = account(&format!("a{HOSTILE}"), json!({IRSA: HOSTILE}));
    planted["metadata"]["namespace"] = json!(format!("n{HOSTILE}"));
    planted["metadata"]["labels"]["release"] = json!(HOSTILE);
    let objects = planted.to_string();
    let steers = |text: &str| {
        text.chars().find(|c| c.is_control() && *c != '\n' || matches!(c, '\u{202a}'..='\u{202e}'))
    };
    for format in ["text", "json", "yaml", "html"] {
        let said = status(&["-m", &mapping, "-f", "-", "-o", format], &objects);
        assert_eq!((said.err.as_str(), steers(&said.out)), ("", None), "{format}: {}", said.out);
        assert!(said.out.contains("onerror=alert(1)"), "it is shown: {format}");
        if format == "html" {
            assert!(!said.out.contains("<script") && !said.out.contains("<img"), "{}", said.out);
            assert!(!said.out.contains(" onerror=alert(1)>"), "{}", said.out);
        }
    }
    let page = status(&["-m", &mapping, "-f", "-", "-o", "html"], &objects).out;
    let policy = "content=\"default-src 'none'; style-src 'sha256-";
    assert!(page.contains(policy) && !page.contains("unsafe-inline"), "{page}");
    assert_eq!(page.matches("<style>").count(), 1);
    for outside in ["http://", "https://", "url(", "src=", "href=", " style=", "<link"] {
        let own = page.replace("src=x onerror", "");
        assert!(!own.contains(outside), "{outside}");
    }
}

#[test]
fn bad_input_is_one_sentence_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = file(&folder, "mapping.yaml", MAPPING);
    let broken = file(&folder, "broken.yaml", "ruels: []\n");
    let binary = file(&folder, "binary", [0xff, 0xfe, 0]);
    for (arguments, input, words) in [
        (&["-f", "-"][..], "", "--mapping"),
        (&["-m", &broken, "-f", "-"], "kind: Pod\n", "unknown key `ruels`"),
        (&["-m", "/nowhere", "-f", "-"], "", "reading /nowhere"),
        (&["-m", &mapping, "-f", &binary], "", "not text in UTF-8"),
        (&["-m", &mapping, "-f", "-"], "a: [", "reading standard input"),
        (&["-m", &mapping, "-f", "-"], "kind: Service\n", "no ServiceAccount, Pod or workload"),
        (&["-m", &mapping, "-f", "-", "-A"], "", "cannot be used with"),
        (&["-m", &mapping, "-f", "-", "--watch"], "", "cannot be used with"),
        (&["--watch", "-o", "json"], "", "--watch prints text only"),
        (&["--watch", "-m", "-"], "", "save it to a file"),
        (&["-n", "No Name"], "", "a namespace's name"),
        (&["--kubeconfig", "/nowhere"], "", "/nowhere"),
    ] {
        let said = status(arguments, input);
        assert!(said.code == 2 && said.err.contains(words), "{arguments:?}: {} {}", said.code, said.err);
        assert_eq!(said.out, "");
    }
}

/// An API server with an installation, one opted-in namespace, and what it holds.
struct Cluster {
    api: Fake,
    folder: TempDir,
}

fn list(items: &[Value]) -> Answer {
    Answer::Whole(200, json!({"metadata": {"resourceVersion": "1"}, "items": items}).to_string())
}

fn refused(code: u16, message: &str) -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": code,
        "message": message});
    Answer::Whole(code, status.to_string())
}

const OURS: &str = "gitlab-iam-webhook";

/// What a sound cluster answers, with these lists for the namespace gitlab.
fn sound(asked: &Asked, accounts: &[Value], pods: &[Value], events: &[Value]) -> Answer {
    let path = asked.line.split_once(' ').unwrap().1.split('?').next().unwrap();
    let configuration = |name: &str, entry: &str| {
        json!({"metadata": {"name": name}, "webhooks": [{
            "name": entry, "clientConfig": {"service": {"name": OURS, "namespace": OURS}},
        }]})
    };
    let within = "/api/v1/namespaces/gitlab-iam-webhook/configmaps/role-mapping";
    match path {
        "/version" => Answer::Whole(200, json!({"gitVersion": "v1.36.0"}).to_string()),
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations" => list(&[
            configuration(OURS, "serviceaccounts.create.gitlab-iam-webhook"),
            configuration("pod-identity-webhook", "iam-for-pods.amazonaws.com"),
        ]),
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations" => {
            list(&[configuration(OURS, "mapping.gitlab-iam-webhook")])
        }
        "/apis/apps/v1/namespaces/gitlab-iam-webhook/deployments/gitlab-iam-webhook" => {
            let arguments = ["serve", "--mapping-config-map=gitlab-iam-webhook/role-mapping"];
            let container = json!({"name": "webhook", "image": "x", "args": arguments});
            Answer::Whole(
                200,
                json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string(),
            )
        }
        path if path == within => Answer::Whole(200, json!({"data": {"mapping.yaml": MAPPING}}).to_string()),
        "/api/v1/namespaces" => {
            let named = asked.line.split("fieldSelector=metadata.name%3D").nth(1);
            let named = named.map(|rest| rest.split('&').next().unwrap());
            let labelled = |name: &str, value: &str| {
                let labels = json!({"gitlab-iam-webhook/inject": value});
                json!({"metadata": {"name": name, "labels": labels}})
            };
            let all = [labelled("gitlab", "enabled"), labelled(OURS, "enabled"), labelled("off", "disabled")];
            let is_asked = |one: &&Value| named.is_none_or(|name| one["metadata"]["name"] == name);
            list(&all.iter().filter(is_asked).cloned().collect::<Vec<_>>())
        }
        "/api/v1/namespaces/gitlab/serviceaccounts" => list(accounts),
        "/api/v1/namespaces/gitlab/pods" => list(pods),
        "/apis/events.k8s.io/v1/namespaces/gitlab/events" => list(events),
        path if path.contains("/endpointslices") => list(&[]),
        _ => refused(404, "not found"),
    }
}

impl Cluster {
    fn answering(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let api = Fake::start(answer);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config"), api.kubeconfig()).unwrap();
        Self { api, folder }
    }

    fn arguments<'a>(&self, config: &'a mut String, arguments: &[&'a str]) -> Vec<&'a str> {
        *config = self.folder.path().join("config").display().to_string();
        [&["--kubeconfig", config.as_str()], arguments].concat()
    }

    fn status(&self, arguments: &[&str]) -> Said {
        let config = self.folder.path().join("config").display().to_string();
        status(&[&["--kubeconfig", &config], arguments].concat(), "")
    }
}

fn running(name: &str, role: Option<&str>) -> Value {
    let env: Vec<Value> =
        role.map(|role| json!({"name": "AWS_ROLE_ARN", "value": role})).into_iter().collect();
    let token = json!({"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/t"});
    let env: Vec<Value> = env.iter().cloned().chain(role.map(|_| token)).collect();
    let volume = json!({"serviceAccountToken": {"audience": "sts.amazonaws.com"}});
    let volume = json!({"name": "t", "projected": {"sources": [volume]}});
    let mut labels = labels("registry");
    labels["pod-template-hash"] = json!("5f7c");
    json!({
        "metadata": {"name": name, "namespace": "gitlab", "labels": labels,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": "gitlab-registry-5f7c",
                "uid": "u", "controller": true}]},
        "spec": {"serviceAccountName": "gitlab-registry", "volumes": [volume],
            "containers": [{"name": "r", "env": env}]},
        "status": {"phase": "Running"},
    })
}

fn changed_back(name: &str, by: &str) -> Value {
    json!({"metadata": {"name": "e", "namespace": "gitlab"}, "reason": "RoleChangedBack",
        "reportingController": by,
        "regarding": {"kind": "ServiceAccount", "namespace": "gitlab", "name": name}})
}

#[test]
fn of_a_cluster_the_mapping_in_force_is_taken_and_what_mends_is_a_line_each() {
    let cluster = Cluster::answering(|asked| {
        let accounts = [
            account("gitlab-registry", json!({IRSA: ROLE})),
            account("fought", json!({})),
            account("late", json!({})),
        ];
        let pods = [running("gitlab-registry-5f7c-a", None), running("gitlab-registry-5f7c-b", Some(ROLE))];
        let events = [changed_back("fought", OURS), changed_back("late", "somebody-else")];
        sound(asked, &accounts, &pods, &events)
    });
    let said = cluster.status(&[]);
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);
    let state = |object: &str| {
        let line = said.out.lines().find(|line| line.contains(object));
        let line = line.unwrap_or_else(|| panic!("{object}: {}", said.out));
        line.split_whitespace().next().unwrap().to_owned()
    };
    for (object, want) in [
        ("sa/gitlab-registry", "in-step"),
        ("sa/fought", "contested"),
        ("sa/late", "drift"),
        ("pod/gitlab-registry-5f7c-a", "stale"),
        ("pod/gitlab-registry-5f7c-b", "in-step"),
    ] {
        assert_eq!(state(object), want, "{}", said.out);
    }
    let config = cluster.folder.path().join("config").display().to_string();
    let restart =
        format!("  kubectl rollout restart deployment/gitlab-registry -n gitlab --kubeconfig {config}\n");
    assert_eq!(said.out.matches("rollout restart").count(), 1, "{}", said.out);
    assert!(said.out.contains(&restart), "{}", said.out);
    assert!(
        said.out.contains("  kubectl patch serviceaccount late -n gitlab --type merge --patch '{}'"),
        "{}",
        said.out
    );
    assert!(said.out.contains("  sa/fought -n gitlab\n"), "{}", said.out);
    assert!(
        said.out.starts_with(
            "mapping:    ConfigMap gitlab-iam-webhook/role-mapping, 1 rule\nnamespaces: gitlab\n"
        ),
        "{}",
        said.out
    );
    // Its own namespace and one that opted out are not looked into.
    let asked = cluster.api.lines();
    assert!(
        !asked
            .iter()
            .any(|line| line.contains("gitlab-iam-webhook/serviceaccounts") || line.contains("/off/"))
    );
    let events = asked.iter().find(|line| line.contains("/events?")).unwrap();
    assert!(
        events.contains("reason%3DRoleChangedBack%2CreportingController%3Dgitlab-iam-webhook"),
        "{events}"
    );
    assert!(!said.out.contains('\u{1b}'), "no terminal, no colours");
}

#[test]
fn what_may_not_be_read_narrows_the_report_and_with_strict_it_counts() {
    let cluster = Cluster::answering(|asked| {
        if asked.line.contains("/pods") || asked.line.contains("/events") {
            return refused(403, "pods is forbidden\u{1b}[2J");
        }
        sound(asked, &[account("gitlab-registry", json!({IRSA: ROLE}))], &[], &[])
    });
    let said = cluster.status(&[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for what in ["Pods of the namespace gitlab", "Events of the namespace gitlab"] {
        assert!(said.out.contains(&format!("not looked at: {what}: pods is forbidden")), "{}", said.out);
    }
    assert!(!said.out.contains('\u{1b}'));
    assert_eq!(cluster.status(&["--strict"]).code, 1);
    // Nobody may read anything: that is no report.
    let blind = Cluster::answering(|asked| match asked.line.as_str() {
        line if line.contains("/version") => sound(asked, &[], &[], &[]),
        _ => refused(403, "it is forbidden"),
    });
    let said = blind.status(&[]);
    assert!(said.code == 2 && said.err.contains("give a mapping with -m FILE"), "{}", said.err);
    let mapping = file(&blind.folder, "mapping.yaml", MAPPING);
    let said = blind.status(&["-m", &mapping]);
    assert!(said.code == 2 && said.err.contains("name them with -n"), "{}", said.err);
    let said = blind.status(&["-m", &mapping, "-n", "gitlab"]);
    let words = "nothing may be read: ServiceAccounts of the namespace gitlab: ";
    assert!(said.code == 2 && said.err.contains(words), "{}", said.err);
}

#[test]
fn whatever_may_not_be_read_is_said_and_never_passed_over() {
    for (path, said_of, code) in [
        ("/mutatingwebhookconfigurations", "MutatingWebhookConfigurations", 0),
        ("/deployments/", "Deployment", 2),
        ("/configmaps/", "the mapping of gitlab-iam-webhook/gitlab-iam-webhook", 2),
        ("/namespaces?", "Namespaces", 2),
        ("/events", "Events of the namespace gitlab", 0),
        ("/serviceaccounts", "ServiceAccounts of the namespace gitlab", 0),
        ("/pods", "Pods of the namespace gitlab", 0),
    ] {
        let cluster = Cluster::answering(move |asked| {
            if asked.line.contains(path) {
                return refused(403, "it is forbidden");
            }
            let accounts = [account("gitlab-registry", json!({IRSA: ROLE}))];
            sound(asked, &accounts, &[running("gitlab-registry-5f7c-b", Some(ROLE))], &[])
        });
        let said = cluster.status(&[]);
        let told = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, code, "{path}: {told}");
        assert!(told.contains(said_of) && told.contains("it is forbidden"), "{path}: {told}");
        assert_eq!(cluster.status(&["--strict"]).code, code.max(1), "{path}");
    }
}

#[test]
fn a_namespace_that_was_named_and_is_not_looked_at_is_no_success() {
    let sound = |asked: &Asked| sound(asked, &[account("gitlab-registry", json!({IRSA: ROLE}))], &[], &[]);
    let cluster = Cluster::answering(sound);
    for (name, why) in [
        ("off", "off (it has neither the label gitlab-iam-webhook/inject=enabled nor"),
        ("gone", "gone (the API server lists no namespace of this name)"),
        (OURS, "gitlab-iam-webhook (it runs there itself"),
    ] {
        let said = cluster.status(&["-n", name]);
        assert!(said.code == 2 && said.out.is_empty() && said.err.contains(why), "{}", said.err);
        // The other one is there, so that there is something to tell.
        let said = cluster.status(&["-n", name, "-n", "gitlab"]);
        assert!(said.code == 0 && said.out.contains(&format!("not looked at: the namespace {name}: ")));
    }
    let said = cluster.status(&["-n", "off", "-n", "gone"]);
    assert!(said.code == 2 && said.err.contains("), nor in gone ("), "{}", said.err);
}

#[test]
fn only_the_namespaces_of_the_chart_are_looked_at_and_one_that_is_not_there_ends_nothing() {
    let cluster = Cluster::answering(|asked| {
        if asked.line.contains("/deployments/") {
            let arguments = [
                "serve",
                "--mapping-config-map=gitlab-iam-webhook/role-mapping",
                "--watch-namespace=gitlab",
                "--watch-namespace=later",
            ];
            let container = json!({"name": "webhook", "image": "x", "args": arguments});
            let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
            return Answer::Whole(200, template.to_string());
        }
        sound(asked, &[account("gitlab-registry", json!({IRSA: ROLE}))], &[], &[])
    });
    let said = cluster.status(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(said.out.contains("not looked at: the namespace later: "), "{}", said.out);
    let said = cluster.status(&["-n", "off"]);
    let why = "off (it is not one of its `namespaces` (values of the chart))";
    assert!(said.code == 2 && said.err.contains(why), "{}", said.err);
}

#[test]
fn without_an_installation_it_is_said_which_one_was_looked_for() {
    let cluster = Cluster::answering(|asked| match asked.line.as_str() {
        line if line.contains("/admissionregistration") => list(&[]),
        _ => sound(asked, &[], &[], &[]),
    });
    let said = cluster.status(&["--webhook-configuration", "nope"]);
    assert!(said.code == 2 && said.err.contains("no webhook configurations named nope"), "{}", said.err);
    let said = cluster.status(&[]);
    let want = "error: looking for the mapping in force: the installation of gitlab-iam-webhook is not known \
                (no webhook configuration in this cluster is of it, so nothing gives roles here); give a \
                mapping with -m FILE\n";
    assert_eq!((said.code, said.err.as_str()), (2, want));
}

#[test]
fn a_cluster_that_never_comes_to_an_end_is_left() {
    for path in ["/serviceaccounts?", "/pods?", "/events?", "webhookconfigurations?"] {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let cluster = Cluster::answering(move |request| {
            if !request.line.contains(path) {
                return sound(request, &[account("gitlab-registry", json!({IRSA: ROLE}))], &[], &[]);
            }
            let count = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // A page without objects that says there is another one.
            let page =
                json!({"metadata": {"resourceVersion": "1", "continue": count.to_string()}, "items": []});
            Answer::Whole(200, page.to_string())
        });
        let begun = Instant::now();
        let said = cluster.status(&[]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{path}: {:?}", begun.elapsed());
        assert!(
            format!("{}{}", said.out, said.err).contains("does not end"),
            "{path}: {}{}",
            said.out,
            said.err
        );
    }
}

#[test]
fn a_candidate_tells_before_and_after_of_each_object_that_it_touches() {
    let cluster = Cluster::answering(|asked| {
        let accounts = [account("gitlab-registry", json!({IRSA: ROLE})), account("late", json!({}))];
        sound(asked, &accounts, &[running("gitlab-registry-5f7c-a", Some(ROLE))], &[])
    });
    let other = MAPPING
        .replace("role: registry}", "role: other}")
        .replace("component: registry", "serviceAccount: late");
    let mapping = file(&cluster.folder, "mapping.yaml", &other);
    let said = cluster.status(&["-m", &mapping]);
    assert_eq!((said.code, said.err.as_str()), (1, ""), "{}", said.out);
    assert!(said.out.contains("\nin force:   ConfigMap gitlab-iam-webhook/role-mapping\n"), "{}", said.out);
    assert!(said.out.contains("\nchanges 1, orphans 0 of 2 ServiceAccounts\n"), "{}", said.out);
    assert!(said.out.contains("\nnewly covered 0 ServiceAccounts\n"), "both mappings cover it: {}", said.out);
    assert!(said.out.contains("sa/late") && !said.out.contains("sa/gitlab-registry "), "{}", said.out);
    let json = cluster.status(&["-m", &mapping, "-o", "json"]);
    let all: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(all["impact"]["enabled"], json!({"serviceAccounts": 2, "changes": 1, "orphans": 0}));
    assert_eq!(all["lookedAt"]["candidate"], *mapping);
    let same = file(&cluster.folder, "same.yaml", MAPPING);
    // The page has the same numbers, and never a rule of the candidate beside a role of today.
    let page = cluster.status(&["-m", &mapping, "-o", "html"]).out;
    for line in ["changes 1, orphans 0 of 2 ServiceAccounts", "newly covered 0 ServiceAccounts"] {
        assert!(page.contains(&format!("<p>{line}</p>")), "{page}");
    }
    let part = |from: &str| page.split_once(from).unwrap().1.split("<h2>").next().unwrap().to_owned();
    let (now, then) = (part("<h2>By role, as it is now</h2>"), part("<h2>By role, with the candidate</h2>"));
    let other = ROLE.replace("registry", "other");
    assert!(now.contains(ROLE) && !now.contains(&other) && !now.contains("<th>Rule</th>"), "{now}");
    assert!(then.contains(&other) && then.contains("<th>Rule</th>"), "{then}");
    // Nor does a rule stand beside a role that it does not give.
    let said = cluster.status(&["-o", "html"]).out;
    let registry = said.split_once(&format!("<h3>{ROLE}</h3>")).unwrap().1;
    assert!(registry.split("<h3>").next().unwrap().contains("component=registry"), "{said}");
    let hand = file(&cluster.folder, "hand.yaml", account("hand", json!({IRSA: "hand"})).to_string());
    let said = status(&["-m", &same, "-f", &hand, "-o", "html"], "").out;
    let by_hand = said.split_once("<h3>hand</h3>").unwrap().1.split("<h2>").next().unwrap();
    assert!(by_hand.contains(">conflict<") && !by_hand.contains("component=registry"), "{by_hand}");
    assert!(part("<h2>By component</h2>").contains("<th>Role with the candidate</th>"), "{page}");
    // The mapping that is in force changes nothing more than what is not in step.
    assert!(cluster.status(&["-m", &same]).out.contains("\nchanges 1, orphans 0 of 2"));
}

#[test]
fn the_mapping_in_force_as_a_candidate_changes_nothing_whatever_runs() {
    let mut on_default = running("gitlab-registry-5f7c-c", None);
    on_default["spec"]["serviceAccountName"] = json!("default");
    let cluster = Cluster::answering(move |asked| {
        let record = format!(r#"{{"annotations":{{"{IRSA}":"{ROLE}"}},"rule":"component=registry"}}"#);
        let ours = json!({IRSA: ROLE, "gitlab-iam-webhook/applied": record});
        let kept = json!({IRSA: "arn:aws:iam::1:role/x"});
        let accounts = [account("gitlab-registry", ours), account("kept", kept)];
        let mut by_hand = running("gitlab-registry-5f7c-b", Some("arn:aws:iam::1:role/old"));
        by_hand["spec"]["volumes"] = json!([]);
        let pods = [running("gitlab-registry-5f7c-a", None), by_hand, on_default.clone()];
        sound(asked, &accounts, &pods, &[])
    });
    assert_eq!(cluster.status(&[]).code, 1);
    let same = file(&cluster.folder, "same.yaml", MAPPING);
    let said = cluster.status(&["-m", &same]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    assert!(!said.out.contains("STATE") && !said.out.contains("kubectl"), "no row: {}", said.out);
    assert!(said.out.contains("\nchanges 0, orphans 0 of 2 ServiceAccounts\n"), "{}", said.out);
    let last = "\n2 ServiceAccounts, 3 Pods: 5 not touched (listed with --all)\n";
    assert!(said.out.ends_with(last), "{}", said.out);
    let all = cluster.status(&["-m", &same, "--all"]).out;
    for (state, pod) in [("stale", "-a"), ("conflict", "-b"), ("on-default", "-c")] {
        let mut lines = all.lines();
        let is_it = |line: &str| line.starts_with(state) && line.contains(&format!("5f7c{pod} "));
        assert!(lines.any(is_it), "{state}: {all}");
    }
    let json = cluster.status(&["-m", &same, "-o", "json"]).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["hasDrift"] == false && json["objects"].as_array().unwrap().len() == 5, "{json}");
    // Another role is news for the Pod that would take it, and for no other.
    let other = file(&cluster.folder, "other.yaml", MAPPING.replace("role: registry}", "role: other}"));
    let said = cluster.status(&["-m", &other]);
    let pods = said.out.lines().filter(|line| line.contains(" pod/")).count();
    assert!(said.code == 1 && pods == 1, "{}", said.out);
}

#[test]
fn what_the_operator_allows_is_tried_on_a_candidate_and_never_ignored() {
    let cluster = Cluster::answering(|asked| sound(asked, &[], &[], &[]));
    let mapping = file(&cluster.folder, "mapping.yaml", MAPPING);
    let bound = ["--allowed-role", "arn:aws:iam::1:role/nothing"];
    let said = cluster.status(&[&["-m", &mapping][..], &bound].concat());
    assert!(said.code == 2 && said.err.contains("outside what the operator allows"), "{}", said.err);
    let said = cluster.status(&bound);
    assert!(said.code == 2 && said.err.contains("go with -m FILE only"), "{}", said.err);
}

#[test]
fn following_prints_what_changes_as_lines_and_ends_with_its_reader() {
    let begin = Instant::now();
    let cluster = Cluster::answering(move |asked| {
        let is_late = begin.elapsed() > Duration::from_secs(3);
        let annotations = if is_late { json!({IRSA: ROLE}) } else { json!({}) };
        sound(asked, &[account("gitlab-registry", annotations)], &[], &[])
    });
    let mut config = String::new();
    let mut child = command(&cluster.arguments(&mut config, &["--watch"])).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let found = lines.by_ref().map(Result::unwrap).find(|line| line.contains(" -> "));
    let line = found.unwrap();
    assert!(
        line.ends_with(&format!(
            "ServiceAccount gitlab/gitlab-registry: drift with no role -> in-step with {ROLE}"
        )),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
