//! How does STS read a request, and how does it write its answers?

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::CREDENTIALS;

/// The parameters of a request.
pub(super) type Form = BTreeMap<String, String>;

/// An error as STS has it.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    message: String,
}

pub(super) fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status: if code == "AccessDenied" { 403 } else { 400 }, code, message: message.into() }
}

/// Reads one request and writes its answer. Whoever hangs up early gets none.
pub(super) fn serve(stream: TcpStream, answer: impl FnOnce(bool, &Form) -> (u16, String)) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let posted = line.starts_with("POST / ");
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut body).ok()?;
    let form: Form = form_urlencoded::parse(&body).into_owned().collect();
    let (status, body) = answer(posted, &form);
    let head = format!("HTTP/1.1 {status} \r\nContent-Type: text/xml\r\nContent-Length: {}\r\n", body.len());
    write!(reader.get_mut(), "{head}Connection: close\r\n\r\n{body}").ok()
}

/// What STS looks at before it looks at the token.
pub(super) fn check(posted: bool, form: &Form) -> Result<(), Refusal> {
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    if !posted || get("Action") != "AssumeRoleWithWebIdentity" || get("Version") != "2011-06-15" {
        return Err(refuse("InvalidAction", format!("Could not find operation {}", get("Action"))));
    }
    let known = ["Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds"];
    if let Some(name) = form.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(refuse("MalformedQueryString", format!("unexpected: {name}")));
    }
    // AWS repeats the value, also where it is a token.
    let bad = |name: &str, value: &str| {
        let message =
            format!("1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint");
        Err(refuse("ValidationError", message))
    };
    let session = get("RoleSessionName");
    let in_session = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if !(2..=64).contains(&session.len()) || !session.chars().all(in_session) {
        return bad("roleSessionName", get("RoleSessionName"));
    }
    if !(20..=2048).contains(&get("RoleArn").len()) || !get("RoleArn").starts_with("arn:") {
        return bad("roleArn", get("RoleArn"));
    }
    if !(4..=20_000).contains(&get("WebIdentityToken").len()) {
        return bad("webIdentityToken", get("WebIdentityToken"));
    }
    match get("DurationSeconds").parse::<u32>() {
        Ok(900..=3600) => Ok(()),
        _ => bad("durationSeconds", get("DurationSeconds")),
    }
}

/// Whom STS let in.
pub(super) struct Assumed<'a> {
    pub(super) partition: &'a str,
    pub(super) account: &'a str,
    pub(super) name: &'a str,
    pub(super) session: &'a str,
    pub(super) subject: &'a str,
    pub(super) audience: &'a str,
    pub(super) provider: &'a str,
}

impl Assumed<'_> {
    pub(super) fn xml(&self) -> String {
        let Self { partition, account, name, session, .. } = self;
        let [access_key, secret, session_token] = CREDENTIALS;
        let [subject, audience, provider] = [self.subject, self.audience, self.provider].map(escape);
        format!(
            r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>{subject}</SubjectFromWebIdentityToken>
    <Audience>{audience}</Audience>
    <AssumedRoleUser>
      <Arn>arn:{partition}:sts::{account}:assumed-role/{name}/{session}</Arn>
      <AssumedRoleId>AROACLQCS2K3EXAMPLE01:{session}</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>{session_token}</SessionToken>
      <SecretAccessKey>{secret}</SecretAccessKey>
      <Expiration>2030-01-01T00:00:00Z</Expiration>
      <AccessKeyId>{access_key}</AccessKeyId>
    </Credentials>
    <Provider>{provider}</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata>
    <RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId>
  </ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
"#
        )
    }
}

impl Refusal {
    pub(super) fn xml(&self) -> String {
        let (code, message) = (self.code, escape(&self.message));
        format!(
            r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error>
    <Type>Sender</Type>
    <Code>{code}</Code>
    <Message>{message}</Message>
  </Error>
  <RequestId>4fc2b3c5-0d6b-4c3f-8c1a-0a1b2c3d4e5f</RequestId>
</ErrorResponse>
"#
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
