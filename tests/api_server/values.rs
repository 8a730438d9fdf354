//! Which values does the chart refuse?
//!
//! What the schema refuses, `helm lint` refuses with its path. What the templates refuse, because values must be
//! compared, `helm lint` only mentions, and `helm template` and `helm install` refuse.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gitlab_iam_webhook::engine::mapping;
use gitlab_iam_webhook::engine::rules::operator_policy::{AllowedRole, OperatorPolicy};
use gitlab_iam_webhook::engine::yaml::{self, Node};
use serde_json::{Value, json};

use crate::chart::{HELMS, helm};
use crate::commands::{Done, root};
use crate::harness::Space;

const CHART: &str = "charts/gitlab-iam-webhook";

/// Runs `helm lint` or `helm template` with the text of a values file.
fn with_values(with: &str, command: &[&str], values: &str) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    fs::write(&file, values).unwrap();
    let file = file.display().to_string();
    let rest = [CHART, "--namespace", "ours", "--kube-version", "1.30.0", "--values", &file];
    helm(with, &[command, &rest].concat())
}

fn template(with: &str, values: &str) -> Done {
    with_values(with, &["template", "release"], values)
}

/// Values files that the schema refuses, and the path that the refusal names.
const BY_THE_SCHEMA: [(&str, &str); 70] = [
    // An edit of it would be taken for one of a last good mapping, and warn of nothing.
    ("mappingConfigMap: {name: a-last-good}", "mappingConfigMap/name"),
    ("replicaCont: 3", "replicaCont"),
    ("replicaCount: two", "replicaCount"),
    ("replicaCount: -1", "replicaCount"),
    ("replicaCount: 1.5", "replicaCount"),
    ("nameOverride: Upper", "nameOverride"),
    ("fullnameOverride: 1a", "fullnameOverride"),
    ("commonLabels: {a: 1}", "commonLabels"),
    ("commonAnnotations: [a]", "commonAnnotations"),
    ("image: {tagg: x}", "tagg"),
    ("image: {tag: 1.0}", "image/tag"),
    ("image: {tag: 'a b'}", "image/tag"),
    ("image: {digest: 'sha256:12'}", "image/digest"),
    ("image: {registry: 'https://mirror'}", "image/registry"),
    ("image: {repository: 'a@sha256:12'}", "image/repository"),
    ("image: {pullPolicy: Sometimes}", "image/pullPolicy"),
    ("imagePullSecrets: one", "imagePullSecrets"),
    ("imagePullSecrets: [{nme: one}]", "imagePullSecrets/0"),
    ("mapping: [a]", "mapping"),
    ("mapping: {rules: none}", "mapping/rules"),
    ("mapping: {ruls: []}", "ruls"),
    ("mapping: {account: '1', rules: []}", "mapping/account"),
    ("mapping: {account: 012345678901, rules: []}", "mapping/account"),
    ("mapping: {provider: irs, rules: []}", "mapping/provider"),
    ("mapping: {partition: aws-x, rules: []}", "mapping/partition"),
    ("mapping: {onConflict: overwrite, rules: []}", "mapping/onConflict"),
    ("mapping: {irsa: {tokenExpiration: 5}, rules: []}", "mapping/irsa/tokenExpiration"),
    ("mapping: {kube2iam: {skipContainer: a}, rules: []}", "mapping/kube2iam"),
    ("mapping: {rules: [{role: web}]}", "mapping/rules/0"),
    ("mapping: {rules: [{match: {component: webservicee}, role: web}]}", "mapping/rules/0/match/component"),
    ("mapping: {rules: [{match: {componnt: webservice}, role: web}]}", "mapping/rules/0/match"),
    ("mapping: {rules: [{match: {component: webservice}, role: a b}]}", "mapping/rules/0/role"),
    ("mapping: {rules: [{match: {component: webservice}, role: 5}]}", "mapping/rules/0/role"),
    ("mapping: {rules: [{match: {component: webservice}}]}", "mapping/rules/0"),
    ("mappingConfigMap: {name: Upper}", "mappingConfigMap/name"),
    ("mappingConfigMap: {name: a..b}", "mappingConfigMap/name"),
    ("mappingConfigMap: {overwrite: 'yes'}", "mappingConfigMap/overwrite"),
    ("allowedRoles: 'arn:*'", "allowedRoles"),
    ("allowedRoles: [foo]", "allowedRoles/0"),
    ("allowedRoles: ['arn:*', 'ci-*=role/ci']", "allowedRoles/1"),
    ("allowedRoles: ['arn:aws:iam::*:role/a b']", "allowedRoles/0"),
    ("workloadControllers: ['']", "workloadControllers/0"),
    ("workloadControllers: ['a b']", "workloadControllers/0"),
    ("namespaces: [GitLab]", "namespaces/0"),
    ("namespaces: [a, a]", "namespaces"),
    ("refuseOverlap: 1", "refuseOverlap"),
    ("repair: false", "repair"),
    ("webhooks: {timeoutSeconds: 31}", "webhooks/timeoutSeconds"),
    ("webhooks: {annotations: {a: 1}}", "webhooks/annotations"),
    ("webhooks: {serviceAccounts: {failurePolicy: {create: fail}}}", "failurePolicy/create"),
    ("webhooks: {serviceAccounts: {objectSelector: {labels: {a: b}}}}", "objectSelector"),
    ("webhooks: {pods: {objectSelector: {matchLabels: {a: b}}}}", "webhooks/pods"),
    (
        "webhooks: {namespaceSelector: {matchExpressions: [{key: a, operator: Is}]}}",
        "matchExpressions/0/operator",
    ),
    ("webhooks: {namespaceSelector: {matchLabels: {a: b}}}", "webhooks/namespaceSelector"),
    ("certificates: {mode: magic}", "certificates/mode"),
    ("certificates: {life: 90}", "certificates/life"),
    ("certificates: {life: 90 days}", "certificates/life"),
    ("certificates: {caBundle: '-----BEGIN'}", "certificates/caBundle"),
    ("log: {format: yaml}", "log/format"),
    ("log: {filter: inof}", "log/filter"),
    ("log: {filter: 'warn, kube_client=off'}", "log/filter"),
    ("extraArgs: --log=debug", "extraArgs"),
    ("extraEnv: [{nme: A}]", "extraEnv/0"),
    ("extraVolumeMounts: [{name: a}]", "extraVolumeMounts/0"),
    ("resources: {limits: {memory: 64 MB}}", "resources/limits/memory"),
    ("podDisruptionBudget: {minAvailable: half}", "podDisruptionBudget/minAvailable"),
    ("readinessProbe: {periodSeconds: 0}", "readinessProbe/periodSeconds"),
    ("strategy: {type: Rolling}", "strategy/type"),
    ("shutdownDelay: 5", "shutdownDelay"),
    ("containerPorts: {webhook: 70000}", "containerPorts/webhook"),
];

/// Values files that the templates refuse, and what the refusal says.
const BY_THE_TEMPLATES: [(&str, &str); 40] = [
    ("namespaces: [kube-system]", "namespaces: kube-system is never sent to the webhook"),
    ("namespaces: [ours]", "namespaces: ours is never sent to the webhook"),
    (
        "allowedRoles: ['*=foo']",
        "allowedRoles[0]: *=foo: the glob is over whole ARNs: write arn:aws:iam::*:role/foo",
    ),
    ("allowedRoles: ['arn:[a']", "allowedRoles[0]: arn:[a is no glob"),
    ("allowedRoles: ['arn:{a']", "allowedRoles[0]: arn:{a is no glob"),
    ("allowedRoles: ['a{=arn:*']", "allowedRoles[0]: a{=arn:*: what stands before `=` is no glob"),
    ("certificates: {life: 1m}", "certificates.rollWait: 5m is more than a fifth of certificates.life"),
    ("certificates: {life: 24m 59s}", "certificates.rollWait: 5m is more than a fifth of certificates.life"),
    ("certificates: {life: 9s 999ms, rollWait: 0s}", "certificates.life: 9s 999ms must be from 10s to 3650d"),
    ("certificates: {life: 3651d}", "certificates.life: 3651d must be from 10s to 3650d"),
    ("certificates: {mode: existing}", "certificates.existingSecret"),
    ("certificates: {existingSecret: a}", "certificates.mode existing; the mode is self-managed"),
    ("certificates: {certManager: {issuerRef: {name: a}}}", "certificates.mode cert-manager; the mode is"),
    (
        "terminationGracePeriodSeconds: 20",
        "terminationGracePeriodSeconds: 20 must be more than shutdownDelay",
    ),
    ("shutdownDelay: 1h", "terminationGracePeriodSeconds: 30 must be more than shutdownDelay"),
    ("containerPorts: {webhook: 8080}", "containerPorts: webhook and metrics need a port each"),
    ("service: {port: 8080}", "service: port and metricsPort must differ"),
    ("podDisruptionBudget: {minAvailable: 1, maxUnavailable: 1}", "podDisruptionBudget: minAvailable and"),
    ("strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}", "strategy.rollingUpdate belongs to"),
    ("extraVolumes: [{name: tls, emptyDir: {}}]", "extraVolumes: the chart's own volume is called tls"),
    ("extraArgs: [--log=debug]", "extraArgs: --log is set by the value log.filter"),
    (
        "extraEnv: [{name: GITLAB_IAM_WEBHOOK_MAPPING, value: /a}]",
        "extraEnv: GITLAB_IAM_WEBHOOK_MAPPING is set by",
    ),
    ("extraEnv: [{name: GITLAB_IAM_WEBHOOK_ALLOWED_ROLES, value: a}]", "is set by the value allowedRoles"),
    (
        "webhooks: {namespaceSelector: {matchExpressions: [{key: a, operator: In}]}}",
        "webhooks.namespaceSelector.matchExpressions[0]: the operator In needs values",
    ),
    (
        "webhooks: {serviceAccounts: {objectSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}}",
        "webhooks.serviceAccounts.objectSelector.matchExpressions[0]: the operator Exists takes no values",
    ),
    ("serviceAccount: {create: false}", "serviceAccount.name"),
    (
        "webhooks: {namespaceSelector: {matchExpressions: [{key: gitlab-iam-webhook/inject, operator: Exists}]}}",
        "webhooks.namespaceSelector.matchExpressions[0]: the chart itself looks at the label",
    ),
    ("mapping: 'ruls: []'", "mapping.ruls: a mapping has no such key"),
    ("mapping: '# nothing yet'", "mapping: this text has no list `rules`"),
    ("mapping: 'account: \"123456789012\"'", "mapping: this text has no list `rules`"),
    ("mapping: 'rules:'", "mapping: this text has no list `rules`"),
    ("mapping: 'rules: {}'", "mapping: this text has no list `rules`"),
    ("mapping: ' '", "mapping: this text has no list `rules`"),
    ("mapping: \"\\n\"", "mapping: this text has no list `rules`"),
    ("mapping: '- a'", "mapping: this text is YAML, but no mapping"),
    ("mapping: '123'", "mapping: this text is YAML, but no mapping"),
    ("mapping: 'rules: ['", "mapping: this text is not YAML: error converting YAML to JSON: yaml: line 1"),
    ("mapping: 'rules: [{match: {component: *}}]'", "mapping: this text is not YAML"),
    (
        "mapping: \"rules:\\n\\t- match: {}\\n\"",
        "mapping: this text is not YAML: line 2 is indented by a tab",
    ),
    ("mapping: \"a: b\\n   \\n\\t\\n  c: d\\n\"", "mapping: this text is not YAML"),
];

#[test]
fn what_the_schema_refuses_is_refused_with_its_path_by_lint_and_template_of_both_helms() {
    Space::tools();
    for (values, path) in BY_THE_SCHEMA {
        for with in HELMS {
            for command in [&["lint"][..], &["template", "release"]] {
                let refused = with_values(with, command, values);
                let said = format!("{}{}", refused.out, refused.err);
                assert!(!refused.ok && said.contains(path), "{with} {command:?} {values}: {said}");
            }
        }
    }
}

#[test]
fn what_the_templates_refuse_is_refused_in_words_by_both_helms() {
    Space::tools();
    for (values, words) in BY_THE_TEMPLATES {
        for with in HELMS {
            let refused = template(with, values);
            assert!(!refused.ok && refused.err.contains(words), "{with} {values}: {}", refused.err);
            // Lint takes a template's refusal for a remark.
            let linted = with_values(with, &["lint"], values);
            let said = format!("{}{}", linted.out, linted.err).replace('\\', "");
            assert!(said.contains(&words.replace('\\', "")), "{with} {values}: {said}");
        }
    }
}

#[test]
fn values_at_the_edge_of_what_is_refused_are_taken() {
    Space::tools();
    for values in [
        "certificates: {life: 25m}",
        "certificates: {life: 10s, rollWait: 2s}",
        "certificates: {life: 3650d, rollWait: 0s}",
        "certificates: {mode: cert-manager, life: 1m}",
        "terminationGracePeriodSeconds: 21",
        "{shutdownDelay: 09s, drainTimeout: 20s 999ms}",
        "log: {filter: 'DEBUG,kube_client=off,a::b=3'}",
        "extraArgs: [--request-timeout=5s, --except-namespace=a]",
        "extraEnv: [{name: GITLAB_IAM_WEBHOOK_REQUEST_TIMEOUT, value: 5s}]",
        "{env: [], extraEnvs: null, resources: {limit: {}}}",
        "podDisruptionBudget: {minAvailable: 0}",
        "podDisruptionBudget: {maxUnavailable: 50%}",
        "nodeSelector: {kubernetes.io/os: null}",
        "priorityClassName: ''",
        "mapping: ''",
        "mapping: \"# nothing yet\\nrules: []\"",
    ] {
        for with in HELMS {
            template(with, values).good();
        }
    }
}

/// What the schema lets through so that the template can answer it: the wrong name, and ours.
fn renamed(schema: &Value, path: &str, found: &mut Vec<(String, String)>) {
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value["description"].as_str().and_then(|text| text.strip_prefix("The value is called ")) {
            Some(right) => found.push((path, right.to_owned())),
            None => renamed(value, &path, found),
        }
    }
}

/// The value of this path, in the values of a file.
fn at(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |inner, key| json!({key: inner}))
}

fn schema() -> Value {
    let text = fs::read_to_string(root().join(CHART).join("values.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn names_that_other_charts_have_are_answered_with_ours() {
    Space::tools();
    let schema = schema();
    let mut names = Vec::new();
    renamed(&schema, "", &mut names);
    for wrong in [
        "env",
        "extraEnvs",
        "serviceMonitor.additionalLabels",
        "replicas",
        "image.pullSecrets",
        "resources.limit",
        "objectSelector",
    ] {
        assert!(names.iter().any(|(name, _)| name == wrong), "{wrong}");
    }
    for (wrong, right) in &names {
        let pointer = format!("/properties/{}", right.replace('.', "/properties/"));
        assert!(schema.pointer(&pointer).is_some() || right.starts_with("mapping."), "there is no {right}");
        for with in HELMS {
            let refused = template(with, &at(wrong, &json!(["x"])).to_string());
            let words = format!("{wrong}: this value is called {right}");
            assert!(!refused.ok && refused.err.contains(&words), "{with} {wrong}: {}", refused.err);
        }
    }
}

#[test]
fn every_option_that_a_value_sets_is_refused_among_the_extra_ones() {
    Space::tools();
    let everything = json!({
        "namespaces": ["a"], "allowedRoles": ["*"], "workloadControllers": ["a"],
        "webhooks": {
            "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
            "serviceAccounts": {"objectSelector": {"matchLabels": {"a": "b"}}},
        },
    });
    let existing = json!({"certificates": {"mode": "cert-manager"}});
    let mut options = BTreeSet::new();
    for values in [&everything, &existing] {
        let rendered = template("helm", &values.to_string()).good().out;
        let documents = yaml::read(&rendered).unwrap();
        let args = documents.iter().find_map(|document| {
            let containers = document.at_path(&["spec", "template", "spec", "containers"])?;
            containers.as_sequence()?.first()?.get("args")?.as_sequence()
        });
        let args = args.unwrap().iter().filter_map(Node::as_text);
        options.extend(args.filter_map(|text| Some(text.strip_prefix("--")?.split('=').next()?.to_owned())));
    }
    // It may be given again and again, and no value has it.
    assert!(options.remove("except-namespace") && options.len() >= 20, "{options:?}");
    for option in options {
        for given in [format!("--{option}"), format!("--{option}=x")] {
            let refused = template("helm", &json!({"extraArgs": [given]}).to_string());
            assert!(
                refused.err.contains(&format!("--{option} is set by the value")),
                "{option}: {}",
                refused.err
            );
        }
        let variable = format!("GITLAB_IAM_WEBHOOK_{}", option.replace('-', "_").to_uppercase());
        let refused = template("helm", &json!({"extraEnv": [{"name": variable}]}).to_string());
        assert!(refused.err.contains("is set by the value"), "{option}: {}", refused.err);
    }
}

/// A role that both take or both refuse, but for what the chart's README lists: a range that runs backwards,
/// and braces that stand for too much.
#[test]
fn the_chart_and_the_server_take_the_same_roles() {
    Space::tools();
    for role in [
        "arn:*",
        "*",
        "?",
        "a=arn:*",
        "ci-*=arn:aws:iam::*:role/ci-*",
        "{a,b}=arn:x",
        "arn:{a,b{c,d}}",
        "{arn:a,arn:b}",
        "[a]rn:*",
        "*:role/a=b",
        "arn:aws:iam::1:role/a=b",
        "arn:[!a]",
        "arn:]",
        "arn:{}",
        "arn:{[}],a}",
        "arn:[a-z]*",
        "foo",
        "",
        "=arn:*",
        "a=",
        "A:b=arn:*",
        "arn:[",
        "arn:[]",
        "arn:[!]",
        "arn:{",
        "arn:}",
        "arn:{a}}",
        "arn:\\*",
        "a/b",
        "a=b=arn:*",
        "role/*",
    ] {
        let server = role.parse::<AllowedRole>();
        let chart = template("helm", &json!({"allowedRoles": [role]}).to_string());
        assert_eq!(server.is_ok(), chart.ok, "{role}: {server:?} {}", chart.err);
    }
}

/// Small steps from one text to another that may or may not be a mapping, always the same ones.
fn mutations(texts: &[&str], count: usize) -> Vec<String> {
    const PARTS: [&str; 36] = [
        "\t", " ", "\n", "#", "# c", "---", "...", "&a ", "*a", "!!str ", "<<: ", "? ", ": ", "- ", "'",
        "\"", "\\", "|", ">", "{", "}", "[", "]", ",", "\r", "\r\n", "\u{85}", "\u{2028}", "\u{feff}",
        "\u{a0}", "!x ", "~", "@", "%", ":", "?",
    ];
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut made = Vec::new();
    while made.len() < count {
        let mut text: Vec<char> = texts[random(texts.len())].chars().collect();
        for _ in 0..=random(2) {
            let place = random(text.len());
            let end = place + random(2);
            text.splice(place..end, PARTS[random(PARTS.len())].chars().take(random(8)));
        }
        made.push(text.into_iter().collect());
    }
    made
}

#[test]
fn the_template_refuses_no_text_that_the_webhook_takes() {
    Space::tools();
    let rule = "account: \"123456789012\"\nrules:\n  - {match: {component: webservice}, role: web}\n";
    let texts = [
        rule,
        "rules: []\n",
        "{\"rules\": [], \"account\": \"123456789012\"}",
        "# c\n---\naccount: '123456789012'\nrules:\n- &a\n  match:\n    component: webservice\n  role: web\n- <<: *a\n  \
         name: other\n  match: {component: [sidekiq, registry]}\n...\n",
        "onConflict: replace\nirsa: {audience: sts.amazonaws.com}\nrules:\n - match:\n     namespace: 'ci-*'\n   role: >-\n     \
         arn:aws:iam::123456789012:role/x\n",
    ];
    let chosen = [
        "\trules: []\n",
        "rules: []\n\t",
        "rules: []\r",
        "rules: []\n\u{2028}",
        "rules: &r[]\n",
        "rules: !!seq []\n",
        "%YAML 1.1\n---\nrules: []\n",
        "\u{feff}rules: []\n",
        "rules: []\naccount: !<tag:yaml.org,2002:str> 123456789012\n",
        "{\"rules\"\n:[]}",
        "rules:\n \t- {match: {component: webservice}, role: arn:aws:iam::123456789012:role/x}\n",
        "account: '123456789012'\nrules: [{match: {labels: {a: b?c}}, role: x}]\n",
        "account: '123456789012'\nrules: [{match: {labels: {a: :b}}, role: x}]\n",
    ];
    let policy = OperatorPolicy::default();
    let made = mutations(&texts, 20_000);
    let all = texts.iter().chain(&chosen).map(|text| (*text).to_owned()).chain(made);
    let taken: Vec<String> = all.filter(|text| mapping::compile(text, &policy).is_ok()).collect();
    assert!(taken.len() > 1000, "{} texts are mappings", taken.len());
    // A chart of its own asks for all of them at once.
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| fs::write(folder.path().join(path), text).unwrap();
    fs::create_dir(folder.path().join("templates")).unwrap();
    write("Chart.yaml", "{apiVersion: v2, name: ask, version: 1.0.0}");
    write("values.yaml", &json!({"texts": taken}).to_string());
    let checks = fs::read_to_string(Path::new(&root()).join(CHART).join("templates/_checks.tpl")).unwrap();
    write("templates/_checks.tpl", &checks);
    let ask = "{{ range .Values.texts }}{{ with include \"webhook.mappingProblem\" . }}\n- {{ . | quote }}\n{{- end }}{{ end }}";
    write("templates/ask.yaml", ask);
    for with in HELMS {
        let asked = helm(with, &["template", "one", &folder.path().display().to_string()]).good();
        let problems: Vec<&str> = asked.out.lines().filter(|line| line.starts_with("- ")).collect();
        assert!(problems.is_empty(), "{with}: {problems:#?}");
    }
}

/// The paths of the chart's values, as its schema has them. Those of a mapping and other charts' names are not.
fn paths(schema: &Value, before: &str) -> Vec<String> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let own = properties.filter(|(_, schema)| {
        !schema["description"].as_str().unwrap_or_default().starts_with("The value is called")
    });
    own.flat_map(|(name, schema)| {
        let path = format!("{before}{name}");
        let below = paths(schema, &format!("{path}."));
        [path].into_iter().chain(below)
    })
    .collect()
}

#[test]
fn a_value_that_is_missing_is_named_or_not_needed() {
    Space::tools();
    let schema = fs::read_to_string(root().join(CHART).join("values.schema.json")).unwrap();
    let all = paths(&serde_json::from_str(&schema).unwrap(), "");
    assert!(all.len() > 90, "{all:?}");
    let without = |with: &str, path: &str| {
        let null = format!("{path}=null");
        helm(with, &["template", "r", CHART, "--namespace", "ours", "--kube-version=1.30.0", "--set", &null])
    };
    for path in &all {
        let done = without("helm", path);
        // Helm takes `null` for absent where the chart has a default, and gives it to the schema elsewhere.
        let is_named = done.err.contains(": this value is missing. After --reuse-values, use --reset-then-")
            || done.err.contains("values don't meet the specifications of the schema");
        let is_whole = !["<nil>", "<no value>", "Port: null", "Policy: null", "port: null", "Seconds: null"]
            .iter()
            .any(|odd| done.out.contains(odd));
        assert!(if done.ok { is_whole } else { is_named }, "{path}: {}{}", done.out, done.err);
    }
    // These are new, so that `--reuse-values` leaves them out.
    for path in [
        "livenessProbe",
        "readinessProbe",
        "refuseOverlap",
        "strategy",
        "webhooks.namespaceSelector",
        "webhooks.serviceAccounts.objectSelector",
    ] {
        for with in HELMS {
            let refused = without(with, path);
            assert!(
                !refused.ok && refused.err.contains(&format!("{path}: this value is missing")),
                "{}",
                refused.err
            );
        }
    }
}
