//! What would AWS's STS answer to `AssumeRoleWithWebIdentity`, for roles and OIDC providers that a test made?
//!
//! It believes a token only when its signature matches the JWKS that the issuer publishes, and lets it in
//! only when the role's trust policy does. Its words and XML are those of the AWS STS API Reference, or were seen
//! from the real one. It keeps no token.

#[path = "sts/policy.rs"]
mod policy;
#[path = "sts/token.rs"]
mod token;
#[path = "sts/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;

pub(crate) use policy::{Policy, Request};
pub(crate) use token::Provider;
use token::{audiences, believe};
use wire::{Assumed, Form, Refusal, check, refuse, serve};

/// The credentials of every success. No output may ever show one of them.
pub(crate) const CREDENTIALS: [&str; 3] = [
    "ASIAPLANTEDACCESSKEY",
    "Planted/Secret+AccessKey0123456789abcdef",
    "PlantedSessionToken//////////wEaDPlanted==",
];

/// What was asked of it, and how it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) role: String,
    /// Whose token it was, where it was believed.
    pub(crate) subject: Option<String>,
    /// Whom it was for, where it was believed.
    pub(crate) audiences: Vec<String>,
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

impl Sts {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::default();
        let shared: Arc<Mutex<State>> = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    serve(stream, |posted, form| shared.lock().unwrap().answer(posted, form))
                });
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
    #[track_caller]
    pub(crate) fn role(&self, arn: &str, trust_policy: &Value) {
        let policy = Policy::read(trust_policy).unwrap_or_else(|why| panic!("{arn}: {why}: {trust_policy}"));
        self.state.lock().unwrap().roles.insert(arn.to_owned(), policy);
    }

    /// Its clock is ahead of ours from now on: so tokens are too old.
    pub(crate) fn clock_ahead(&self, by: Duration) {
        self.state.lock().unwrap().ahead = by;
    }

    /// Asks it as a client does, with some parameters changed: the status, and all of the answer.
    pub(crate) fn ask(&self, role: &str, token: &str, changes: &[(&str, &str)]) -> (u16, String) {
        let mut form = BTreeMap::from([
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", "somebody@example.com"),
            ("WebIdentityToken", token),
            ("DurationSeconds", "900"),
        ]);
        form.extend(changes.iter().copied());
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut stream = TcpStream::connect(self.url().trim_start_matches("http://")).unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: sts\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    /// What was asked since the last time.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }
}

impl State {
    fn answer(&mut self, posted: bool, form: &Form) -> (u16, String) {
        let role = form.get("RoleArn").cloned().unwrap_or_default();
        let mut call = Call { role, ..Call::default() };
        let assumed = check(posted, form).and_then(|()| self.assume(form, &mut call));
        assumed.as_ref().map_or_else(|refusal| refusal.code, |_| "ok").clone_into(&mut call.outcome);
        self.calls.push(call);
        match assumed {
            Ok(xml) => (200, xml),
            Err(refusal) => (refusal.status, refusal.xml()),
        }
    }

    fn assume(&self, form: &Form, call: &mut Call) -> Result<String, Refusal> {
        let (arn, token, session) = (&form["RoleArn"], &form["WebIdentityToken"], &form["RoleSessionName"]);
        let mut parts = arn.split(':');
        let (partition, account) = (parts.nth(1).unwrap_or_default(), parts.nth(2).unwrap_or_default());
        let (provider, claims) = believe(&self.providers, account, token, self.now())?;
        let text = |claim: &str| claims[claim].as_str().unwrap_or_default().to_owned();
        (call.subject, call.audiences) = (Some(text("sub")), audiences(&claims));

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
        let (subject, audience) = (&text("sub"), &audiences(&claims).join(","));
        Ok(Assumed { partition, account, name, session, subject, audience, provider: &provider_arn }.xml())
    }

    fn now(&self) -> u64 {
        (SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + self.ahead).as_secs()
    }
}
