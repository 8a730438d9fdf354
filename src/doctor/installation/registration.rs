//! Does the API server send the webhook what it should, and what does it do where nobody answers?

use super::{Checkup, Told, together};
use crate::doctor::Severity;
use crate::doctor::findings::{listed, shown};
use crate::engine::object::provider::Provider;
use crate::engine::object::subject::INJECT;
use crate::installation::configuration::NAME;
use crate::installation::{Configuration, Seen, Selector, Webhook};

/// The end of the names of the chart's entries.
const OURS: &str = ".gitlab-iam-webhook";

/// The longest that the API server should wait for an answer, in seconds.
const LONG: u16 = 10;

const OBSERVE: &str = "docs/operating.md#observing-before-enabling";
const CONNECTING: &str = "docs/serving.md#connecting-it";
const DOWN: &str = "docs/operating.md#when-something-is-down";

pub(super) fn check(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    let unused = match &installation.mutating {
        Seen::Missing => Some("does not exist"),
        Seen::There(configuration) if configuration.webhooks.is_empty() => Some("has no entries"),
        Seen::There(_) | Seen::Unread(_) => None,
    };
    if let Some(what) = unused {
        checkup.problem(Told {
            check: "registration",
            place: place(&installation.name),
            what: format!("it {what}, so neither ServiceAccounts nor Pods are sent to the webhook"),
            fix: again(),
            reference: CONNECTING,
        });
    } else if let Some(configuration) = installation.mutating.there() {
        entries(checkup, configuration);
        selectors(checkup, configuration);
        timeouts(checkup, configuration);
        failure_policy(checkup, configuration);
    }
    let is_judged = match &installation.validating {
        Seen::Missing => false,
        Seen::There(configuration) => !configuration.webhooks.is_empty(),
        Seen::Unread(_) => true,
    };
    if !is_judged {
        checkup.warning(Told {
            check: "registration",
            place: format!("ValidatingWebhookConfiguration {}", installation.name),
            what:
                "it does not exist or has no entries, so a broken mapping is not refused when somebody saves \
                   it"
                .to_owned(),
            fix: again(),
            reference: CONNECTING,
        });
    }
}

fn place(name: &str) -> String {
    format!("MutatingWebhookConfiguration {name}")
}

fn again() -> String {
    "upgrade the release with its chart and values again: helm upgrade".to_owned()
}

/// Which of the chart's entries are missing. A configuration that is not the chart's has names of its own.
fn entries(checkup: &mut Checkup<'_>, configuration: &Configuration) {
    let webhooks = &configuration.webhooks;
    let is_charts = webhooks.iter().any(|webhook| webhook.name.ends_with(OURS));
    if !is_charts {
        return;
    }
    let wants_pods = checkup.ruleset.is_some_and(|ruleset| {
        ruleset.names_provider(Provider::Kube2iam) || ruleset.names_provider(Provider::Kiam)
    });
    for (entry, request, severity, what) in [
        (
            "create.serviceaccounts",
            ("CREATE", "serviceaccounts"),
            Severity::Problem,
            "new ServiceAccounts get no role",
        ),
        (
            "update.serviceaccounts",
            ("UPDATE", "serviceaccounts"),
            Severity::Warning,
            "ServiceAccounts that are changed get no role",
        ),
        (
            "create.pods",
            ("CREATE", "pods"),
            Severity::Problem,
            "Pods get no annotation, although the mapping has roles for kube2iam or kiam",
        ),
    ] {
        let name = format!("{entry}{OURS}");
        if entry == "create.pods" && !wants_pods {
            continue;
        }
        if let Some(webhook) = webhooks.iter().find(|webhook| webhook.name == name) {
            sends(checkup, webhook, request, (severity, what));
            continue;
        }
        let told = Told {
            check: "registration",
            place: place(&configuration.metadata.name),
            what: format!("it has no entry {name}, so {what}"),
            fix: match entry {
                "create.pods" => "upgrade the release with the value webhooks.pods.enabled=true".to_owned(),
                _ => again(),
            },
            reference: CONNECTING,
        };
        checkup.find(severity, told);
    }
}

/// Whether an entry that is there sends anything: its rules and its conditions can hold everything back.
fn sends(
    checkup: &mut Checkup<'_>,
    webhook: &Webhook,
    (operation, resource): (&str, &str),
    (severity, effect): (Severity, &str),
) {
    let conditions = &webhook.match_conditions;
    let others: Vec<String> = conditions
        .iter()
        .filter(|condition| condition.name != "no-mirror-pods")
        .map(|condition| shown(&condition.name))
        .collect();
    let (severity, why) = if !webhook.is_sent(operation, resource) {
        (severity, format!("has no rule for {operation} of {resource}, so {effect}"))
    } else if conditions.iter().any(|condition| condition.expression.trim() == "false") {
        (severity, format!("has the match condition `false`, which nothing passes, so {effect}"))
    } else if !others.is_empty() {
        let names = listed(others.iter().map(String::as_str));
        (
            Severity::Warning,
            format!("has match conditions that are not the chart's ({names}): where they fail, {effect}"),
        )
    } else if webhook.object_selector != Selector::default() {
        (Severity::Warning, format!("has an objectSelector: of objects that it does not select, {effect}"))
    } else {
        return;
    };
    checkup.find(
        severity,
        Told {
            check: "registration",
            place: place(&checkup.installation.name),
            what: format!("the entry {} {why}", webhook.name),
            fix: format!("{}; an objectSelector is the value webhooks.*.objectSelector", again()),
            reference: CONNECTING,
        },
    );
}

/// Whether the entries get the objects of opted-in namespaces, and of no others.
fn selectors(checkup: &mut Checkup<'_>, configuration: &Configuration) {
    let installation = checkup.installation;
    let webhooks = &configuration.webhooks;
    let open = |webhook: &Webhook| {
        let is_open = !is_opted_in(&webhook.namespace_selector);
        is_open.then(|| {
            format!("does not ask for the label {INJECT}, so namespaces that nobody opted in are changed")
        })
    };
    // Where a failure policy is `Fail`, nothing that the webhook itself needs may wait for it.
    let own = installation.namespace.as_str();
    let circular = |webhook: &Webhook| {
        let let_in =
            ["kube-system", own].into_iter().filter(|name| !is_excepted(&webhook.namespace_selector, name));
        let let_in: Vec<&str> = let_in.collect();
        let names = let_in.join(" and ");
        (!names.is_empty())
            .then(|| format!("lets {names} in, so what the webhook itself needs may wait for the webhook"))
    };
    let watched = installation.deployment.there().map(|deployment| {
        let mut names = deployment.options.watch_namespaces.clone();
        names.sort();
        names
    });
    let elsewhere = |webhook: &Webhook| {
        let (watched, mut sent) = (watched.as_ref()?, webhook.namespace_selector.only_namespaces());
        sent.sort();
        let words = |names: &[String]| match names {
            [] => "all namespaces that are opted in".to_owned(),
            names => names.join(", "),
        };
        (sent != *watched)
            .then(|| format!("selects {}, and the Deployment repairs in {}", words(&sent), words(watched)))
    };
    let both = "set the value namespaces of the chart, which sets both, and upgrade the release";
    for (severity, faults, fix) in [
        (Severity::Problem, together(webhooks, open), again()),
        (Severity::Warning, together(webhooks, circular), again()),
        (Severity::Warning, together(webhooks, elsewhere), both.to_owned()),
    ] {
        for (what, entries) in faults {
            let told = Told {
                check: "namespace-selector",
                place: place(&installation.name),
                what: format!("the namespaceSelector of {entries} {what}"),
                fix: fix.clone(),
                reference: OBSERVE,
            };
            checkup.find(severity, told);
        }
    }
}

/// Whether a namespace needs our label.
fn is_opted_in(selector: &Selector) -> bool {
    selector.match_labels.contains_key(INJECT)
        || selector.match_expressions.iter().any(|requirement| {
            requirement.key == INJECT && matches!(requirement.operator.as_str(), "In" | "Exists")
        })
}

/// Whether the namespace of this name is left out.
fn is_excepted(selector: &Selector, namespace: &str) -> bool {
    let holds = |values: &[String]| values.iter().any(|value| value == namespace);
    selector.match_labels.get(NAME).is_some_and(|name| name != namespace)
        || selector.match_expressions.iter().any(|requirement| {
            requirement.key == NAME
                && match requirement.operator.as_str() {
                    "In" => !holds(&requirement.values),
                    "NotIn" => holds(&requirement.values),
                    _ => false,
                }
        })
}

fn timeouts(checkup: &mut Checkup<'_>, configuration: &Configuration) {
    let long = |webhook: &Webhook| {
        let seconds = webhook.timeout_seconds;
        (seconds > LONG).then(|| format!("{seconds} seconds"))
    };
    for (seconds, entries) in together(&configuration.webhooks, long) {
        let told = Told {
            check: "timeout",
            place: place(&checkup.installation.name),
            what: format!(
                "the API server waits {seconds} for an answer to {entries}, so that everybody's requests \
                 take so long while the webhook cannot be reached"
            ),
            fix: "set the value webhooks.timeoutSeconds to 2, and upgrade the release".to_owned(),
            reference: DOWN,
        };
        checkup.warning(told);
    }
}

/// What happens in opted-in namespaces while nobody answers.
fn failure_policy(checkup: &mut Checkup<'_>, configuration: &Configuration) {
    let policy = |entry: &str| {
        let name = format!("{entry}{OURS}");
        let webhook = configuration.webhooks.iter().find(|webhook| webhook.name == name);
        webhook.map(|webhook| webhook.failure_policy.as_str())
    };
    let replicas = checkup.installation.deployment.there().map(|deployment| deployment.replicas);
    let fails: Vec<&str> = configuration
        .webhooks
        .iter()
        // What this entry refuses comes only from our own account.
        .filter(|webhook| webhook.failure_policy == "Fail" && !webhook.name.starts_with("own."))
        .map(|webhook| webhook.name.as_str())
        .collect();
    let mut told = Vec::new();
    if policy("create.serviceaccounts") == Some("Ignore") {
        told.push((
            "a ServiceAccount that is created while the webhook cannot be reached gets no role, and its Pods \
             start with the role of the node"
                .to_owned(),
            "set the value webhooks.serviceAccounts.failurePolicy.create to Fail, and upgrade the release",
        ));
    }
    if policy("create.pods") == Some("Fail") {
        told.push((
            "no Pod starts in an opted-in namespace while the webhook cannot be reached".to_owned(),
            "set the value webhooks.pods.failurePolicy.create to Ignore, and upgrade the release",
        ));
    }
    if replicas == Some(1) && !fails.is_empty() {
        told.push((
            format!(
                "the failure policy is Fail ({}) and there is one replica: while its node is replaced, \
                 requests are refused",
                fails.join(", ")
            ),
            "set the value replicaCount to 2, and upgrade the release",
        ));
    }
    for (what, fix) in told {
        let place = place(&checkup.installation.name);
        checkup.warning(Told { check: "failure-policy", place, what, fix: fix.to_owned(), reference: DOWN });
    }
}
