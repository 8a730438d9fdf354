//! What would AWS's STS answer to AssumeRoleWithWebIdentity, for roles and OIDC providers that a test made?
//!
//! It believes a token only when its signature matches the JWKS that the issuer publishes, and lets it in only
//! when the role's trust policy does. Its words and XML are those of the AWS STS API Reference, or were seen
//! from the real one. It keeps no token.

#[path = "sts/policy.rs"]
mod policy;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

pub(crate) use policy::{Policy, Request};

/// The credentials of every success. No output may ever show one of them.
pub(crate) const CREDENTIALS: [&str; 3] = [
    "ASIAPLANTEDACCESSKEY",
    "Planted/Secret+AccessKey0123456789abcdef",
    "PlantedSessionToken//////////wEaDPlanted==",
];

/// What an issuer serves under a path, or nothing where it cannot be reached.
pub(crate) type Fetch = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// An OIDC provider of IAM: an account believes the tokens of this issuer for these client ids.
pub(crate) struct Provider {
    pub(crate) account: String,
    pub(crate) issuer: String,
    pub(crate) client_ids: Vec<String>,
    pub(crate) fetch: Fetch,
}

/// What was asked of it, and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) role: String,
    /// Whose token it was, where it was believed.
    pub(crate) subject: Option<String>,
    /// `ok`, or the code of the error.
    pub(crate) outcome: String,
}

#[derive(Default)]
struct State {
    providers: Vec<Provider>,
    roles: BTreeMap<String, Policy>,
    calls: Vec<Call>,
    ahead: Duration,
}

/// It serves in plain HTTP on loopback, and ends with the test's process.
pub(crate) struct Sts {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// An error as STS has it.
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

type Form = BTreeMap<String, String>;

fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status: if code == "AccessDenied" { 403 } else { 400 }, code, message: message.into() }
}

impl Sts {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::default();
        let shared: Arc<Mutex<State>> = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                // Whoever hangs up early gets no answer.
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As `aws iam create-open-id-connect-provider` does.
    pub(crate) fn provide(&self, provider: Provider) {
        self.state.lock().unwrap().providers.push(provider);
    }

    /// As `aws iam create-role` does, or `update-assume-role-policy`.
    pub(crate) fn role(&self, arn: &str, trust_policy: &Value) -> Result<(), String> {
        let policy = Policy::read(trust_policy)?;
        self.state.lock().unwrap().roles.insert(arn.to_owned(), policy);
        Ok(())
    }

    /// Its clock is ahead of ours from now on: so tokens are too old.
    pub(crate) fn clock_ahead(&self, by: Duration) {
        self.state.lock().unwrap().ahead = by;
    }

    /// What was asked since the last time.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
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
                length = value.trim().parse().ok()?
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut body).ok()?;
    let form: Form = form_urlencoded::parse(&body).into_owned().collect();
    let (status, body) = state.lock().unwrap().answer(posted, &form);
    let head = format!("HTTP/1.1 {status} \r\nContent-Type: text/xml\r\nContent-Length: {}\r\n", body.len());
    write!(reader.get_mut(), "{head}Connection: close\r\n\r\n{body}").ok()
}

impl State {
    fn answer(&mut self, posted: bool, form: &Form) -> (u16, String) {
        let mut subject = None;
        let assumed = check(posted, form).and_then(|()| self.assume(form, &mut subject));
        let outcome = assumed.as_ref().map_or_else(|refusal| refusal.code, |_| "ok").to_owned();
        let role = form.get("RoleArn").cloned().unwrap_or_default();
        self.calls.push(Call { role, subject, outcome });
        match assumed {
            Ok(xml) => (200, xml),
            Err(Refusal { status, code, message }) => {
                let message = escape(&message);
                let xml = format!(
                    r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error>
    <Type>Sender</Type>
    <Code>{code}</Code>
    <Message>{message}</Message>
  </Error>
  <RequestId>4fc2b3c5-0d6b-4c3f-8c1a-0a1b2c3d4e5f</RequestId>
</ErrorResponse>
"#
                );
                (status, xml)
            }
        }
    }

    fn assume(&self, form: &Form, subject: &mut Option<String>) -> Result<String, Refusal> {
        let (arn, token, session) = (&form["RoleArn"], &form["WebIdentityToken"], &form["RoleSessionName"]);
        let mut parts = arn.split(':');
        let (partition, account) = (parts.nth(1).unwrap_or_default(), parts.nth(2).unwrap_or_default());
        let (provider, claims) = self.believe(account, token)?;
        let text = |claim: &str| claims[claim].as_str().unwrap_or_default().to_owned();
        *subject = Some(text("sub"));

        let key = |name: &str| format!("{}:{name}", provider.host());
        let provider_arn = format!("arn:{partition}:iam::{account}:oidc-provider/{}", provider.host());
        let request = Request {
            provider: &provider_arn,
            action: "sts:AssumeRoleWithWebIdentity",
            keys: [(key("aud"), audiences(&claims)), (key("sub"), vec![text("sub")])].into(),
        };
        // A role that is not there is not told apart from one that nobody lets in.
        if !self.roles.get(arn).is_some_and(|role| role.lets_in(&request)) {
            return Err(refuse("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"));
        }
        let name = arn.rsplit('/').next().unwrap_or_default();
        let [access_key, secret, session_token] = CREDENTIALS;
        Ok(format!(
            r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>{}</SubjectFromWebIdentityToken>
    <Audience>{}</Audience>
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
    <Provider>{}</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata>
    <RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId>
  </ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>
"#,
            escape(&text("sub")),
            escape(&audiences(&claims).join(",")),
            escape(&provider_arn),
        ))
    }

    /// The claims of a token that an account has a provider for, and that is what it says.
    fn believe(&self, account: &str, token: &str) -> Result<(&Provider, Value), Refusal> {
        let invalid = |message: &str| refuse("InvalidIdentityToken", message);
        let not_a_token = || {
            invalid(
                "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
            )
        };
        let claimed: Value = insecure_decode(token).map_err(|_| not_a_token())?.claims;
        let issuer = claimed["iss"].as_str().unwrap_or_default();
        let of_account = |provider: &&Provider| provider.account == account && provider.issuer == issuer;
        let Some(provider) = self.providers.iter().find(of_account) else {
            let message = format!("No OpenIDConnect provider found in your account for {issuer}");
            return Err(invalid(&message));
        };
        if !audiences(&claimed).iter().any(|audience| provider.client_ids.contains(audience)) {
            return Err(invalid("Incorrect token audience"));
        }
        let no_key = || {
            invalid(
                "Couldn't retrieve verification key from your identity provider,  please reference \
                 AssumeRoleWithWebIdentity documentation for requirements",
            )
        };
        let header = decode_header(token).map_err(|_| not_a_token())?;
        let keys = provider.keys()?;
        let key = header.kid.and_then(|id| keys.find(&id).cloned()).ok_or_else(no_key)?;
        let key = DecodingKey::from_jwk(&key).map_err(|_| no_key())?;
        let mut validation = Validation::new(header.alg);
        if ![Algorithm::ES256, Algorithm::RS256].contains(&header.alg) {
            return Err(no_key());
        }
        // The time is looked at below, by this STS's own clock, and the audience was above.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let claims: Value = decode(token, &key, &validation)
            .map_err(|_| invalid("The signature of the token is invalid"))?
            .claims;
        self.check_time(&claims)?;
        Ok((provider, claims))
    }

    fn check_time(&self, claims: &Value) -> Result<(), Refusal> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + self.ahead;
        let Some(end) = claims["exp"].as_u64() else {
            return Err(refuse("InvalidIdentityToken", "Missing a required claim: exp"));
        };
        let now = now.as_secs();
        if end > now {
            return Ok(());
        }
        let message =
            format!("Token expired: current date/time {now} must be before the expiration date/time {end}");
        Err(refuse("ExpiredTokenException", message))
    }
}

impl Provider {
    /// What IAM knows it by.
    fn host(&self) -> &str {
        self.issuer.trim_start_matches("https://")
    }

    /// The keys that the issuer publishes, by its discovery document.
    fn keys(&self) -> Result<JwkSet, Refusal> {
        let silent = || {
            refuse(
                "IDPCommunicationError",
                "An error occurred while communicating with the identity provider",
            )
        };
        let document = (self.fetch)("/.well-known/openid-configuration").ok_or_else(silent)?;
        let document: Value = serde_json::from_str(&document).map_err(|_| silent())?;
        let keys = document["jwks_uri"].as_str().filter(|_| document["issuer"] == self.issuer);
        // https://HOST:PORT/PATH
        let path = keys.and_then(|url| url.splitn(4, '/').nth(3)).ok_or_else(silent)?;
        let keys = (self.fetch)(&format!("/{path}")).ok_or_else(silent)?;
        serde_json::from_str(&keys).map_err(|_| silent())
    }
}

/// What STS looks at before it looks at the token.
fn check(posted: bool, form: &Form) -> Result<(), Refusal> {
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    if !posted || get("Action") != "AssumeRoleWithWebIdentity" || get("Version") != "2011-06-15" {
        return Err(refuse("InvalidAction", format!("Could not find operation {}", get("Action"))));
    }
    let known = ["Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds"];
    if let Some(name) = form.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(refuse("MalformedQueryString", format!("unexpected: {name}")));
    }
    let bad = |name: &str| {
        let message = format!("1 validation error detected: Value at '{name}' failed to satisfy constraint");
        Err(refuse("ValidationError", message))
    };
    let session = get("RoleSessionName");
    let in_session = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if !(2..=64).contains(&session.len()) || !session.chars().all(in_session) {
        return bad("roleSessionName");
    }
    if !(20..=2048).contains(&get("RoleArn").len()) || !get("RoleArn").starts_with("arn:") {
        return bad("roleArn");
    }
    if !(4..=20_000).contains(&get("WebIdentityToken").len()) {
        return bad("webIdentityToken");
    }
    match get("DurationSeconds").parse::<u32>() {
        Ok(900..=3600) => Ok(()),
        _ => bad("durationSeconds"),
    }
}

fn audiences(claims: &Value) -> Vec<String> {
    let texts = |all: &Vec<Value>| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => texts(all),
        _ => Vec::new(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
