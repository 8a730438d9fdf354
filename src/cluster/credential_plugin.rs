//! How is the credential plugin of a kubeconfig run, in bounded time and memory?
//!
//! kube would run it without an end, hold all that it prints, panic where its token has a line break, and
//! quote it in errors. So it is run here first, and what it gives is taken
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::credential_fault::{UNSENDABLE, Unusable};
use crate::telemetry::duration_in_words;

/// How long a plugin may take. A person may have to log in meanwhile.
const TIME: Duration = Duration::from_mins(1);

/// The same for a plugin that asks nobody.
const TIME_ALONE: Duration = Duration::from_secs(20);

/// The longest output, in bytes.
const LONGEST: usize = 256 << 10;

/// How long credentials are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A command ends before they do.
    Once,
    /// They are got again before they expire, which kube does.
    Lasting,
}

#[derive(Deserialize)]
struct Printed {
    status: Option<Given>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    token: Option<String>,
    expiration_timestamp: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs the plugin, where the user of the kubeconfig has nothing else, and takes what it gives.
///
/// # Errors
/// When it fails, prints too much, or takes too long.
pub(super) async fn run(user: &mut AuthInfo, lasts: Use) -> Result<(), Unusable> {
    let has_password = user.username.is_some() && user.password.is_some();
    if user.auth_provider.is_some() || has_password || user.token.is_some() || user.token_file.is_some() {
        return Ok(());
    }
    let Some(exec) = &user.exec else { return Ok(()) };
    let printed = output(exec).await?;
    // kube also takes YAML, which no plugin is known to print.
    let Ok(printed) = serde_json::from_slice::<Printed>(&printed) else {
        return Err(fault(exec, "printed no ExecCredential in JSON"));
    };
    let Some(given) = printed.status else { return Err(fault(exec, "printed no credentials")) };
    if let Some(token) = &given.token {
        must_be_sendable(token)?;
    }
    match given {
        Given { client_certificate_data: Some(certificate), client_key_data: Some(key), .. } => {
            user.client_certificate_data = Some(STANDARD.encode(certificate));
            user.client_key_data = Some(STANDARD.encode(key).into());
        }
        Given { expiration_timestamp: Some(_), .. } if lasts == Use::Lasting => return Ok(()),
        Given { token: Some(token), .. } => user.token = Some(token.into()),
        _ => return Err(fault(exec, "printed no credentials")),
    }
    user.exec = None;
    Ok(())
}

/// Makes sure that the token of the kubeconfig can be sent: kube panics otherwise.
///
/// # Errors
/// When it cannot.
pub(super) fn must_fit_a_header(user: &AuthInfo) -> Result<(), Unusable> {
    // SecretString is only shown by a method of a crate that is not ours: its JSON has it.
    let shown =
        user.token.as_ref().map(|_| json!(AuthInfo { token: user.token.clone(), ..AuthInfo::default() }));
    let provided = user.auth_provider.iter().flat_map(|provider| &provider.config);
    let tokens =
        provided.filter(|(key, _)| matches!(&***key, "id-token" | "access-token")).map(|(_, token)| &**token);
    let own = shown.as_ref().and_then(|user| user.get("token")?.as_str());
    tokens.chain(own).try_for_each(must_be_sendable)
}

fn must_be_sendable(token: &str) -> Result<(), Unusable> {
    HeaderValue::try_from(token).map(drop).map_err(|_| Unusable(UNSENDABLE.to_owned()))
}

async fn output(exec: &ExecConfig) -> Result<Vec<u8>, Unusable> {
    let Some(command) = &exec.command else {
        return Err(Unusable("the credential plugin has no command".to_owned()));
    };
    let may_ask = exec.interactive_mode != Some(ExecInteractiveMode::Never);
    let stdio = || if may_ask { Stdio::inherit() } else { Stdio::null() };
    let mut spec = json!({"interactive": may_ask});
    if let (true, Some(spec)) = (exec.provide_cluster_info, spec.as_object_mut()) {
        spec.insert("cluster".to_owned(), json!(exec.cluster));
    }
    let asked = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    let environment = exec.env.iter().flatten().filter_map(|one| Some((one.get("name")?, one.get("value")?)));
    let mut child = Command::new(command)
        .args(exec.args.iter().flatten())
        .envs(environment)
        .env("KUBERNETES_EXEC_INFO", asked.to_string())
        .stdin(stdio())
        .stderr(stdio())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fault(exec, &format!("cannot be run: {error}")))?;
    let mut printed = Vec::new();
    let time = if may_ask { TIME } else { TIME_ALONE };
    let ended = timeout(time, async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LONGEST as u64 + 1).read_to_end(&mut printed).await?;
        }
        if printed.len() > LONGEST { Ok(None) } else { child.wait().await.map(Some) }
    });
    match ended.await {
        Err(_) => Err(fault(exec, &format!("gave no credentials within {}", duration_in_words(time)))),
        Ok(Err(error)) => Err(fault(exec, &format!("cannot be read: {error}"))),
        Ok(Ok(None)) => Err(fault(exec, &format!("printed more than {LONGEST} bytes"))),
        Ok(Ok(Some(status))) if status.success() => Ok(printed),
        Ok(Ok(Some(status))) => Err(fault(exec, &format!("ended with {status}"))),
    }
}

/// Of the command only its name is shown: its arguments and its environment may be credentials.
fn fault(exec: &ExecConfig, what: &str) -> Unusable {
    let name = exec.command.as_deref().and_then(|command| Path::new(command).file_name()).unwrap_or_default();
    let name: String = name.to_string_lossy().replace(char::is_control, "?").chars().take(100).collect();
    Unusable(format!("the credential plugin {name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn user(script: &str, lasts: Use) -> Result<AuthInfo, String> {
        let exec = json!({"exec": {"command": "/bin/sh", "args": ["-c", script], "interactiveMode": "Never",
            "env": [{"name": "S", "value": "PLANTED"}]}});
        let mut user = serde_json::from_value(exec).unwrap();
        run(&mut user, lasts).await.map(|()| user).map_err(|error| format!("{error}"))
    }

    #[tokio::test]
    async fn what_a_plugin_gives_is_taken() {
        let token = r#"echo '{"status": {"token": "t", "expirationTimestamp": "2030-01-01T00:00:00Z"}}'"#;
        let taken = user(token, Use::Once).await.unwrap();
        assert!(taken.exec.is_none());
        assert_eq!(json!(taken).get("token"), Some(&json!("t")));
        // kube gets it again before it expires.
        assert!(user(token, Use::Lasting).await.unwrap().exec.is_some());
    }

    #[tokio::test]
    async fn a_plugin_that_fails_is_told_without_a_word_of_its_own() {
        for (script, want) in [
            ("echo PLANTED; echo PLANTED >&2; exit 3", "the credential plugin sh ended with exit status: 3"),
            ("echo 'status: [PLANTED'", "the credential plugin sh printed no ExecCredential in JSON"),
            (r#"echo '{"status": "PLANTED"}'"#, "the credential plugin sh printed no ExecCredential in JSON"),
            ("exec yes PLANTED", "the credential plugin sh printed more than 262144 bytes"),
            (r#"printf '{"status": {"token": "PLAN\\nTED"}}'"#, UNSENDABLE),
        ] {
            assert_eq!(user(script, Use::Once).await.unwrap_err(), want);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_plugin_that_hangs_is_not_waited_for() {
        let want = "the credential plugin sh gave no credentials within 20s";
        assert_eq!(user("exec sleep 300", Use::Once).await.unwrap_err(), want);
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_an_error() {
        let user = |token: &str| serde_json::from_value::<AuthInfo>(json!({"token": token})).unwrap();
        assert!(must_fit_a_header(&user("eyJ.x.y")).is_ok());
        assert_eq!(must_fit_a_header(&user("PLAN\nTED")).unwrap_err().to_string(), UNSENDABLE);
    }
}
