//! From `helm install` to `helm uninstall`, as people, Helm 3, Helm 4, kubectl and `GitOps` controllers do
//! it.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use gitlab_iam_webhook::tls::{Pair, issue};
use serde_json::{Value, json};

use crate::harness::{OURS, ROLE, Stage, arn, eventually, eventually_within, fault_seconds, mapping, root};

const HELMS: [&str; 2] = ["helm", "helm3"];

fn installed_then_gitlab(stage: &Stage, helm: &str) {
    stage.chart(helm, "install", &[]).good();
    // From here on nothing is missed. Helm 3 does not wait for minReadySeconds: the first of the next steps
    // that it prints does.
    if helm == "helm3" {
        stage.wait_until_rolled_out();
    }
    stage.opt_in("gitlab", "enabled");
    let told = stage.map(&mapping("gitlab-", "first"));
    assert!(told.contains("of 1 ServiceAccounts") || told.contains("of 0 ServiceAccounts"), "{told}");
    eventually("the edit is in force", || {
        let trial =
            ["create", "serviceaccount", "gitlab-trial", "-n", "gitlab", "--dry-run=server", "-o", "json"];
        stage.kubectl(&trial).good().out.contains(ROLE).then_some(())
    });
    let chart = stage.gitlab(&["registry", "webservice"]);
    stage.run(helm, &["install", "gitlab", &chart, "--namespace", "gitlab"]).good();
    for account in ["gitlab-registry", "gitlab-webservice"] {
        assert_eq!(stage.role("gitlab", account), Some(arn("first")), "{helm}");
    }
}

#[test]
fn installed_labelled_mapped_then_gitlab_is_annotated() {
    let stage = Stage::new();
    installed_then_gitlab(&stage, "helm");
    let seen = stage.metric("gitlab_iam_webhook_repairs_total{result=\"repaired\"}");
    assert!(seen <= 1, "the webhook did it, and repair nothing: {seen}");
}

#[test]
fn gitlab_first_is_repaired_and_a_later_upgrade_with_a_role_meets_no_conflict() {
    for helm in HELMS {
        let stage = Stage::new();
        stage.opt_in("gitlab", "enabled");
        let chart = stage.gitlab(&["registry", "webservice"]);
        stage.run(helm, &["install", "gitlab", &chart, "--namespace", "gitlab"]).good();
        assert_eq!(stage.role("gitlab", "gitlab-registry"), None);
        stage.chart(helm, "install", &[]).good();
        stage.map(&mapping("gitlab-", "repaired"));
        let edited = Instant::now();
        for account in ["gitlab-registry", "gitlab-webservice"] {
            eventually("it is repaired", || {
                (stage.role("gitlab", account) == Some(arn("repaired"))).then_some(())
            });
        }
        println!("{helm}: repaired at most {:?} after the edit", edited.elapsed());

        let by_hand = "arn:aws:iam::111122223333:role/by-hand";
        let value = format!("annotations.registry.eks\\.amazonaws\\.com/role-arn={by_hand}");
        let done =
            stage.run(helm, &["upgrade", "gitlab", &chart, "--namespace", "gitlab", "--set", &value]).good();
        assert_eq!(stage.role("gitlab", "gitlab-registry").as_deref(), Some(by_hand), "{helm}: kept");
        let warned =
            done.err.contains("gitlab-iam-webhook: ") || stage.log().contains("\"outcome\":\"kept\"");
        assert!(warned, "{helm}: {}", done.err);
        assert_eq!(stage.role("gitlab", "gitlab-webservice"), Some(arn("repaired")));
    }
}

fn entries(stage: &Stage) -> Vec<(String, Value)> {
    let configuration = stage.json(&["get", "mutatingwebhookconfiguration", OURS]);
    let webhooks = configuration["webhooks"].as_array().unwrap();
    let entry = |webhook: &Value| {
        (webhook["name"].as_str().unwrap().to_owned(), webhook["clientConfig"]["caBundle"].clone())
    };
    webhooks.iter().map(entry).collect()
}

fn certificate(stage: &Stage) -> Value {
    stage.json(&["get", "secret", &format!("{OURS}-tls"), "--namespace", OURS])["data"]["tls.crt"].clone()
}

/// Every entry has the certificate of the Secret for its bundle.
fn settled(stage: &Stage, count: usize) {
    let certificate = certificate(stage);
    assert!(certificate.is_string());
    eventually("every entry trusts the certificate", || {
        let entries = entries(stage);
        (entries.len() == count && entries.iter().all(|(_, bundle)| *bundle == certificate)).then_some(())
    });
}

fn a_life_with(helm: &str) {
    let stage = Stage::new();
    installed_then_gitlab(&stage, helm);
    settled(&stage, 6);
    let first = certificate(&stage);
    stage.chart(helm, "upgrade", &["webhooks.pods.enabled=false"]).good();
    settled(&stage, 4);
    stage.chart(helm, "upgrade", &["webhooks.pods.enabled=true"]).good();
    settled(&stage, 6);
    stage.run(helm, &["rollback", OURS, "2", "--namespace", OURS, "--wait", "--timeout", "2m"]).good();
    settled(&stage, 4);
    stage.run(helm, &["rollback", OURS, "1", "--namespace", OURS, "--wait", "--timeout", "2m"]).good();
    settled(&stage, 6);
    assert_eq!(certificate(&stage), first, "{helm}: the certificate outlives upgrades");
    let text = |stage: &Stage| {
        stage.json(&["get", "configmap", "role-mapping", "--namespace", OURS])["data"]["mapping.yaml"].clone()
    };
    let mine = text(&stage);

    stage.run(helm, &["uninstall", OURS, "--namespace", OURS, "--wait"]).good();
    for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        assert!(!stage.kubectl(&["get", kind, OURS]).ok, "{helm}: {kind} is left");
    }
    assert_eq!(stage.role("gitlab", "gitlab-registry"), Some(arn("first")), "the roles stay");
    assert_eq!(text(&stage), mine, "and so does the mapping");
    // Without us nothing is in anybody's way.
    stage.kubectl(&["create", "serviceaccount", "gitlab-late", "-n", "gitlab"]).good();

    stage.chart(helm, "install", &[]).good();
    assert_eq!(text(&stage), mine, "an installation goes on with it");
    eventually("what came in between is repaired", || {
        (stage.role("gitlab", "gitlab-late") == Some(arn("first"))).then_some(())
    });
    settled(&stage, 6);

    // A mapping of the chart's own, in its place.
    let mapping = stage.folder().join("mapping.yaml");
    let rule = r#"{match: {serviceAccount: "gitlab-*"}, role: chart}"#;
    fs::write(&mapping, format!("mapping:\n  account: \"123456789012\"\n  rules: [{rule}]\n")).unwrap();
    let chart = root().join("charts/gitlab-iam-webhook").display().to_string();
    let mapping = mapping.display().to_string();
    let done = stage
        .run(
            helm,
            &[
                "upgrade",
                OURS,
                &chart,
                "--namespace",
                OURS,
                "--reuse-values",
                "--wait",
                "--values",
                &mapping,
                "--set",
                "mappingConfigMap.name=of-the-chart",
            ],
        )
        .good();
    assert!(done.out.contains("The mapping is the value `mapping`"), "{}", done.out);
    eventually("the chart's mapping is in force for what exists", || {
        (stage.role("gitlab", "gitlab-registry") == Some(arn("chart"))).then_some(())
    });
}

#[test]
fn upgrades_rollbacks_uninstall_and_reinstall_keep_certificate_roles_and_mapping_with_helm_4() {
    a_life_with("helm");
}

#[test]
fn upgrades_rollbacks_uninstall_and_reinstall_keep_certificate_roles_and_mapping_with_helm_3() {
    a_life_with("helm3");
}

/// deploy/ with the image of this run.
fn overlay(stage: &Stage) -> String {
    let folder = stage.folder().join("overlay");
    fs::create_dir_all(folder.join("deploy")).unwrap();
    for entry in fs::read_dir(root().join("deploy")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            fs::copy(&path, folder.join("deploy").join(path.file_name().unwrap())).unwrap();
        }
    }
    let (repository, tag) = Stage::image();
    let image = json!({"name": "ghcr.io/gitlab-iam-webhook/gitlab-iam-webhook", "newName": repository, "newTag": tag});
    let kustomization = json!({"resources": ["deploy"], "images": [image]});
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).unwrap();
    folder.display().to_string()
}

#[test]
fn plain_manifests_do_the_same_job_client_side_and_server_side() {
    for how in [&["apply", "-k"][..], &["apply", "--server-side", "-k"]] {
        let stage = Stage::new();
        let overlay = overlay(&stage);
        let apply = || stage.kubectl(&[how, &[&overlay]].concat()).good();
        apply();
        stage.wait_until_rolled_out();
        stage.opt_in("gitlab", "enabled");
        stage.map(&mapping("gitlab-", "plain"));
        stage.kubectl(&["create", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
        eventually("it has its role", || {
            (stage.role("gitlab", "gitlab-kas") == Some(arn("plain"))).then_some(())
        });
        settled(&stage, 6);
        apply();
        settled(&stage, 6);
        stage.kubectl(&["delete", "-k", &overlay, "--wait=false"]).good();
        eventually("it is gone", || (!stage.kubectl(&["get", "namespace", OURS]).ok).then_some(()));
    }
}

/// What a controller compares: the versions of all that it applies, and of what the webhook writes beside it.
fn versions(stage: &Stage) -> String {
    let kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,clusterroles";
    let columns = "custom-columns=KIND:.kind,NAME:.metadata.name,VERSION:.metadata.resourceVersion,GENERATION:.metadata.generation";
    let ours =
        ["get", kinds, "-l", "app.kubernetes.io/name=gitlab-iam-webhook", "-o", columns, "--no-headers"];
    let beside =
        ["get", "secrets,configmaps,services,serviceaccounts", "-n", OURS, "-o", columns, "--no-headers"];
    let generation = ["get", "deployments", "-n", OURS, "-o", "jsonpath={.items[*].metadata.generation}"];
    [&ours[..], &beside, &generation].map(|arguments| stage.kubectl(arguments).good().out).join("\n")
}

#[test]
fn a_gitops_controller_that_applies_by_force_again_and_again_and_prunes_causes_no_write() {
    let stage = Stage::new();
    let overlay = overlay(&stage);
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager", "gitops", "-k", &overlay];
    stage.kubectl(&apply).good();
    stage.wait_until_rolled_out();
    stage.opt_in("gitlab", "enabled");
    stage.map(&mapping("gitlab-", "steady"));
    stage.kubectl(&["create", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
    eventually("it has its role", || {
        (stage.role("gitlab", "gitlab-kas") == Some(arn("steady"))).then_some(())
    });
    settled(&stage, 6);
    let prune = [&apply[..], &["--prune", "--applyset", "configmap/gitops", "--namespace", OURS]].concat();
    // The first rounds: what was applied is labelled as one set.
    stage.kubectl(&prune).good();
    settled(&stage, 6);
    stage.kubectl(&prune).good();
    let (before, start) = (versions(&stage), Instant::now());
    let mut rounds = 0;
    while start.elapsed() < fault_seconds() {
        stage.kubectl(&prune).good();
        std::thread::park_timeout(Duration::from_secs(2));
        rounds += 1;
    }
    assert_eq!(versions(&stage), before, "after the first round nothing is written");
    println!("{rounds} rounds in {:?} without a write", start.elapsed());
}

#[test]
fn observe_writes_nothing_and_reports_and_enabled_repairs() {
    let stage = Stage::new();
    stage.install(&[]);
    stage.map(&mapping("gitlab-", "watched"));
    stage.opt_in("gitlab", "observe");
    eventually("it is rehearsed", || {
        let created = stage.kubectl(&["create", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
        let warned =
            created.err.contains("observed, not written: role arn:aws:iam::123456789012:role/watched");
        stage.kubectl(&["delete", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
        warned.then_some(())
    });
    stage.kubectl(&["create", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
    assert_eq!(stage.role("gitlab", "gitlab-kas"), None);
    let observed = "gitlab_iam_webhook_reviews_total{mode=\"observe\",kind=\"ServiceAccount\",operation=\"CREATE\",outcome=\"set\"}";
    assert!(stage.metric(observed) >= 1);
    assert!(stage.log().contains("\"mode\":\"observe\""));

    stage.opt_in("gitlab", "enabled");
    eventually("it is repaired", || {
        (stage.role("gitlab", "gitlab-kas") == Some(arn("watched"))).then_some(())
    });

    // A typo under the default onNoRule: nobody loses a role.
    let told = stage.map(&mapping("gitlba-", "watched"));
    assert!(told.contains("orphans 1 of"), "{told}");
    eventually("the typo is in force", || {
        (stage.metric("gitlab_iam_webhook_mapping_generation") >= 6).then_some(())
    });
    stage.kubectl(&["label", "serviceaccount", "gitlab-kas", "-n", "gitlab", "touched=once"]).good();
    assert_eq!(stage.role("gitlab", "gitlab-kas"), Some(arn("watched")));
    let orphaned = "gitlab_iam_webhook_reviews_total{mode=\"mutate\",kind=\"ServiceAccount\",operation=\"UPDATE\",outcome=\"orphaned\"}";
    assert!(stage.metric(orphaned) >= 1);
}

#[test]
fn a_certificate_of_ones_own_is_served_and_renewed_without_a_restart() {
    let stage = Stage::new();
    let pair = || {
        let names = [format!("{OURS}.{OURS}.svc")];
        issue::self_signed(&names, SystemTime::now(), Duration::from_hours(1)).unwrap()
    };
    let (first, second) = (pair(), pair());
    let secret = |pair: &Pair| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "own", "namespace": OURS},
            "stringData": {"tls.crt": text(&pair.certificate), "tls.key": text(&pair.key)},
        }));
    };
    secret(&first);
    let both = [&*first.certificate, &second.certificate].concat();
    let bundle = format!("certificates.caBundle={}", base64::engine::general_purpose::STANDARD.encode(both));
    stage.install(&["certificates.mode=existing", "certificates.existingSecret=own", &bundle]);
    stage.opt_in("gitlab", "enabled");
    stage.map(&mapping("gitlab-", "owned"));
    stage.kubectl(&["create", "serviceaccount", "gitlab-kas", "-n", "gitlab"]).good();
    eventually("it has its role", || {
        (stage.role("gitlab", "gitlab-kas") == Some(arn("owned"))).then_some(())
    });
    let asked = stage.as_the_webhook(&["auth", "can-i", "get", "secrets", "-n", OURS]);
    assert_eq!(asked.out.trim(), "no", "what it does not write it cannot read either");

    secret(&second);
    // The kubelet brings it within its sync period.
    eventually_within(Duration::from_mins(3), "both replicas serve it", || {
        (stage.log().matches("new certificate served").count() >= 2).then_some(())
    });
    stage.kubectl(&["create", "serviceaccount", "gitlab-pages", "-n", "gitlab"]).good();
    assert_eq!(stage.role("gitlab", "gitlab-pages"), Some(arn("owned")));
}
