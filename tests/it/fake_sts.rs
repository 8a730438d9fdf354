//! What STS answers, byte by byte as AWS documents it, and tokens to send to it.

use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::fake::{Answer, Asked};

/// What must never be seen stands in every credential of these tests.
pub(crate) const PLANTED: &str = "PLANTED";

pub(crate) const ISSUER: &str = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC";

/// A token of a ServiceAccount in the namespace gitlab. Nobody here verifies it.
pub(crate) fn token(name: &str, audiences: &Value) -> String {
    let piece = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": ISSUER, "sub": format!("system:serviceaccount:gitlab:{name}"), "aud": audiences,
        "iat": 1_795_290_000_u32, "exp": 4_102_444_800_u32,
    });
    format!("{}.{}.{PLANTED}-signature-of-the-token", piece(&json!({"alg": "RS256"})), piece(&claims))
}

/// The value of a field of the form that STS was sent.
pub(crate) fn field(asked: &Asked, name: &str) -> String {
    let found = form_urlencoded::parse(asked.body.as_bytes()).find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// STS gives the role that it is asked for.
pub(crate) fn given(asked: &Asked) -> Answer {
    let role = field(asked, "RoleArn");
    let (account, name) = (role.split(':').nth(4).unwrap(), role.rsplit('/').next().unwrap());
    let session = field(asked, "RoleSessionName");
    given_as(&format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"))
}

/// STS gives a role.
pub(crate) fn given_as(arn: &str) -> Answer {
    Answer::Whole(
        200,
        format!(
            r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>amzn1.account.AF6RHO7KZU5XRVQJGXK6HB56KR2A</SubjectFromWebIdentityToken>
    <Audience>client.5498841531868486423.1548@apps.example.com</Audience>
    <AssumedRoleUser>
      <Arn>{arn}</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:app1</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>{PLANTED}AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE</SessionToken>
      <SecretAccessKey>{PLANTED}wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
      <Expiration>2014-10-24T23:00:23Z</Expiration>
      <AccessKeyId>{PLANTED}ASgeIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
    <SourceIdentity>SourceIdentityValue</SourceIdentity>
    <Provider>www.amazon.com</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata>
    <RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId>
  </ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
"#
        ),
    )
}

/// STS refuses.
pub(crate) fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer::Whole(
        status,
        format!(
            r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error>
    <Type>Sender</Type>
    <Code>{code}</Code>
    <Message>{message}</Message>
  </Error>
  <RequestId>4b4f9c4e-0000-0000-0000-EXAMPLE00000</RequestId>
</ErrorResponse>
"#
        ),
    )
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the real binary with these variables and none of AWS beside them. Whatever is said, no credential is
/// in it.
pub(crate) fn said(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gitlab-iam-webhook"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    let said = Said { code: output.status.code().unwrap(), out, err };
    for secret in [PLANTED, "eyJ"] {
        assert!(!format!("{said:?}").contains(secret), "{said:?}");
    }
    said
}
