//! Would AWS's Security Token Service (STS) give a role for a token?
//!
//! The only call here is `AssumeRoleWithWebIdentity`, which nobody signs. Of what STS answers, the assumed
//! role or the error is read; the credentials beside it are read past and dropped.

mod answer;
mod endpoint;
mod explain;
pub mod http;
mod role;
mod token;

use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use ::http::{Method, Request};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use answer::Answer;
pub use answer::Refused;
pub use endpoint::{Endpoint, EndpointError, Region};
pub use explain::{About, Explanation, Side, explain};
use http::{Http, HttpError};
pub use role::RoleArn;
pub use token::{Claims, Token, TokenError};

/// How long the credentials would last that are asked for, in seconds: STS takes no shorter time.
const DURATION_SECONDS: &str = "900";

/// How long everything may take until STS has answered, with all tries.
const TIME: Duration = Duration::from_secs(9);

/// How long STS has for one answer.
const ONE_TRY: Duration = Duration::from_secs(8);

/// The pauses before STS is asked again, where it asks for patience.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];

/// The longest answer of STS that is read, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;

/// Where STS is, and the way there.
#[derive(Debug)]
pub struct Sts {
    http: Http,
    endpoint: Option<Endpoint>,
    region: Option<Region>,
}

/// What STS is asked for.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The role.
    pub role: &'a RoleArn,
    /// The token.
    pub token: &'a Token,
    /// The name of the session, which `CloudTrail` shows: 2 to 64 characters of `[\w+=,.@-]`.
    pub session: &'a str,
}

/// Why STS gave no role.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// STS refused it, with one of its errors.
    #[error(transparent)]
    Refused(Refused),
    /// The answer did not come.
    #[error("asking STS at {endpoint}")]
    Http {
        /// Who was asked.
        endpoint: Endpoint,
        /// What went wrong.
        #[source]
        source: HttpError,
    },
    /// The answer is none of STS.
    #[error("{endpoint} answered with status {status} and {what}: is it the endpoint of STS?")]
    Foreign {
        /// Who was asked.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
        /// What the answer is.
        what: &'static str,
    },
    /// The answer is about another role.
    #[error("{endpoint} answered with another role than the one that was asked for: {arn}")]
    OtherRole {
        /// Who was asked.
        endpoint: Endpoint,
        /// The role of the answer.
        arn: String,
    },
}

impl Sts {
    /// STS at this endpoint, or else at the one of the region and of each role's partition.
    #[must_use]
    pub fn new(http: Http, endpoint: Option<Endpoint>, region: Option<Region>) -> Self {
        Self { http, endpoint, region }
    }

    /// Returns the endpoint that is asked for a role.
    ///
    /// # Errors
    /// When the region is missing, or is none of the role's partition.
    pub fn endpoint(&self, role: &RoleArn) -> Result<Endpoint, EndpointError> {
        match &self.endpoint {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Endpoint::of(role.partition(), self.region.as_ref()),
        }
    }

    /// Returns the way that STS is asked, for whoever asks others as well.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Returns the region that was named.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Asks for the role, and returns the ARN of the session that STS would give. Where STS asks for
    /// patience, it is asked again. All of it takes less than 10 seconds.
    ///
    /// # Errors
    /// When STS refuses, or could not be asked.
    pub async fn assume(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<String, AskError> {
        let end = Instant::now() + TIME;
        let mut pauses = PAUSES.into_iter();
        loop {
            let asked = self.ask_once(endpoint, ask, end).await;
            let Err(error) = &asked else { return asked };
            let Some(pause) = pauses.next().filter(|_| error.is_passing()) else { return asked };
            let pause = pause.mul_f64(1.0 + fastrand::f64() / 2.0);
            if Instant::now() + pause >= end {
                return asked;
            }
            sleep(pause).await;
        }
    }

    async fn ask_once(&self, endpoint: &Endpoint, ask: &Ask<'_>, end: Instant) -> Result<String, AskError> {
        let failed = |source| AskError::Http { endpoint: endpoint.clone(), source };
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "AssumeRoleWithWebIdentity")
            .append_pair("Version", "2011-06-15")
            .append_pair("DurationSeconds", DURATION_SECONDS)
            .append_pair("RoleArn", ask.role.as_str())
            .append_pair("RoleSessionName", ask.session)
            .append_pair("WebIdentityToken", ask.token.expose())
            .finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.uri())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .body(Bytes::from(form))
            .map_err(|error| failed(HttpError::Request(error)))?;
        let end = end.min(Instant::now() + ONE_TRY);
        let answered = timeout_at(end, self.http.send(request, LONGEST_ANSWER)).await;
        let (status, body) = answered.map_err(|_| failed(HttpError::TooLate(ONE_TRY)))?.map_err(failed)?;
        let foreign = |what| AskError::Foreign { endpoint: endpoint.clone(), status, what };
        if (300..400).contains(&status) {
            return Err(foreign("a redirect, which is not followed"));
        }
        match answer::read(&body).map_err(foreign)? {
            Answer::Assumed(arn) if status == 200 && ask.role.is_assumed_as(&arn, ask.session) => Ok(arn),
            Answer::Assumed(arn) => {
                Err(AskError::OtherRole { endpoint: endpoint.clone(), arn: ask.token.scrub(&arn) })
            }
            Answer::Refused { code, message } => {
                let message = ask.token.scrub(&message);
                Err(AskError::Refused(Refused { status, code: ask.token.scrub(&code), message }))
            }
        }
    }
}

impl AskError {
    /// Whether it may be over when STS is asked again.
    fn is_passing(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_passing(),
            Self::Foreign { status, .. } => *status == 429 || *status >= 500,
            Self::Http { .. } | Self::OtherRole { .. } => false,
        }
    }

    /// Whether nobody answered, so that asking this endpoint again is no use.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Foreign { .. })
    }
}
