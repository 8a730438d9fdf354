//! Does a command with `--as` see what that user may see in a real cluster, and no more?

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{POD_ROLE, ROLE, Space, eventually};

/// Lets a user or a group of this test list these in the namespace, and nothing else.
fn may_list(space: &Space, resource: &str, subject: &str) {
    let role = subject.trim_start_matches('-').replace(['=', ':'], "-");
    let resource = format!("--resource={resource}");
    space.kubectl(&["create", "role", &role, "--verb=list", &resource]).good();
    space.kubectl(&["create", "rolebinding", &role, "--role", &role, subject]).good();
}

#[test]
fn a_command_sees_what_the_user_may_see_whom_it_acts_as_and_no_more() {
    let space = Space::new("acting-as");
    let role = "arn:aws:iam::123456789012:role/gitlab";
    space.apply(&json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "made-by-hand", "annotations": {ROLE: role}},
    }));
    eventually("the namespace's own account", || space.get("serviceaccount", "default"));
    let labels = json!({"app": "registry", "chart": "registry-9.10.0", "release": "gitlab"});
    space.apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "gitlab-registry-0", "labels": labels, "annotations": {POD_ROLE: "of-a-pod"}},
        "spec": {"containers": [{"name": "registry", "image": "x"}]},
    }));
    let [user, group] = ["user", "group"].map(|kind| format!("{}-{kind}", space.name));
    may_list(&space, "serviceaccounts", &format!("--user={user}"));
    may_list(&space, "pods", &format!("--group={group}"));
    // The rights of whoever acts as somebody are not lent to him: neither those of the kubeconfig's user, nor
    // those of another user whom it acts as.
    let view = space.run_anywhere("kubectl", &["config", "view", "--raw", "-o", "json"], "").good().out;
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"]["as"] = "an-admin".into();
    config["users"][0]["user"]["as-groups"] = json!(["system:masters"]);
    let an_admin = space.folder().join("an-admin");
    fs::write(&an_admin, config.to_string()).unwrap();

    let import = |kubeconfig: Option<&Path>, who: &[&str]| {
        Space::ours(kubeconfig, &[&["import", "-n", &space.name], who].concat())
    };
    // No rule is made of the Pod, which nothing tells apart, but it is named.
    let the_pod = format!("Pod {}/gitlab-registry-0", space.name);
    let sees_the_pod = |out: &str, err: &str| out.contains(&the_pod) || err.contains(&the_pod);
    let no_pods = format!("not looked at: Pods of the namespace {}", space.name);
    for kubeconfig in [None, Some(an_admin.as_path())] {
        let (code, out, err) = import(kubeconfig, &[]);
        assert!(code == 0 && out.contains("made-by-hand") && sees_the_pod(&out, &err), "{out}{err}");
        let (code, out, err) = eventually("the user may list ServiceAccounts", || {
            let ran = import(kubeconfig, &["--as", &user]);
            ran.1.contains("made-by-hand").then_some(ran)
        });
        assert_eq!(code, 2, "{err}");
        assert!(
            !sees_the_pod(&out, &err) && err.contains(&no_pods) && err.contains("orbidden"),
            "{out}{err}"
        );
        let both = ["--as", &user, "--as-group", &group];
        let (_, out, err) = eventually("the group may list Pods", || {
            let ran = import(kubeconfig, &both);
            sees_the_pod(&ran.1, &ran.2).then_some(ran)
        });
        assert!(out.contains("made-by-hand") && !err.contains(&no_pods), "{out}{err}");
        let (code, out, err) =
            Space::ours(kubeconfig, &["doctor", "-n", &space.name, "--as", "nobody-at-all"]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("nothing may be read: ") && err.contains(r#"User "nobody-at-all""#), "{err}");
    }
}

#[test]
fn who_may_not_act_as_somebody_else_is_told_so_in_one_sentence_by_every_command() {
    let space = Space::new("not-acting-as");
    space.kubectl(&["create", "serviceaccount", "viewer"]).good();
    may_list(&space, "serviceaccounts", &format!("--serviceaccount={}:viewer", space.name));
    let token = space.kubectl(&["create", "token", "viewer"]).good().out;
    let viewer = space.kubeconfig_with(token.trim());
    let mapping = space.folder().join("mapping.yaml");
    fs::write(&mapping, "account: \"123456789012\"\nrules: [{match: {component: registry}, role: r}]\n")
        .unwrap();
    let mapping = mapping.display().to_string();
    for command in [&["doctor"][..], &["import"], &["verify"], &["trust-policy", "-m", &mapping]] {
        let acting = ["-n", &space.name, "--as", "somebody"];
        let (code, out, err) = Space::ours(Some(&viewer), &[command, &acting].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
        let [line] = err.lines().filter(|line| line.contains("error: ")).collect::<Vec<_>>()[..] else {
            panic!("{command:?}: {err}");
        };
        assert!(line.contains("connecting to the cluster: https://127.0.0.1:"), "{line}");
        let who = " lets nobody act as somebody else with these credentials: ";
        // Which right is missing is said in other words from Kubernetes 1.36 on.
        let whose = format!(r#"User "system:serviceaccount:{}:viewer" cannot impersonate"#, space.name);
        assert!(line.contains(who) && line.contains(&whose), "{command:?}: {line}");
        assert_eq!(line.matches("cannot impersonate").count(), 1, "{line}");
        assert!(!err.contains(token.trim()), "{err}");
    }
}
