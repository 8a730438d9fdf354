//! Which role does the metadata service name?
//!
//! On a node of EC2 it is the node's; kube2iam and kiam answer in its place with the Pod's. Only the name is
//! asked for, never the credentials that are one path deeper.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri};
use tokio::time::timeout;

use super::sources::Variable;
use crate::sts::http::Http;

/// How long the service has for one answer. It is on the same machine.
const TIME: Duration = Duration::from_secs(1);

/// The longest answer that is read, in bytes.
const LONGEST: usize = 4 << 10;

const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

/// What the metadata service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NodeRole {
    /// It names a role, by this version of its protocol.
    Role { name: String, version: u8 },
    /// It names none.
    NoRole,
    /// The environment says not to ask.
    Disabled,
    /// Nobody knows, for this reason.
    Unknown(String),
}

impl NodeRole {
    /// Asks where the environment says, as SDKs do: version 2 of the protocol first.
    pub(super) async fn ask(http: &Http, variable: Variable<'_>) -> Self {
        if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Self::Disabled;
        }
        let is_v6 = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let usual = if is_v6 { "http://[fd00:ec2::254]" } else { "http://169.254.169.254" };
        let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| usual.to_owned());
        let base = base.trim_end_matches('/');
        if !is_near(base) {
            return Self::Unknown(
                "AWS_EC2_METADATA_SERVICE_ENDPOINT is not asked: it is neither http:// on loopback nor on a \
                 link-local address"
                    .to_owned(),
            );
        }
        let http = http.without_proxies();
        let put = Request::builder()
            .method(Method::PUT)
            .uri(format!("{base}/latest/api/token"))
            .header("x-aws-ec2-metadata-token-ttl-seconds", "60");
        let session = match send(&http, put).await {
            Ok((200, body)) => HeaderValue::from_bytes(&body).ok(),
            Err(Failed::Connection) => return Self::Unknown("nobody answers".to_owned()),
            Ok(_) | Err(Failed::TooLate) => None,
        };
        let version = if session.is_some() { 2 } else { 1 };
        let mut get = Request::builder().uri(format!("{base}{ROLE}"));
        if let Some(session) = session {
            get = get.header("x-aws-ec2-metadata-token", session);
        }
        match send(&http, get).await {
            Ok((200, body)) => match role_name(&body) {
                Some(name) => Self::Role { name, version },
                None => Self::Unknown("its answer is no name of a role".to_owned()),
            },
            Ok((404, _)) => Self::NoRole,
            Ok((status, _)) => Self::Unknown(format!("it answers with status {status}")),
            Err(Failed::Connection | Failed::TooLate) => Self::Unknown("nobody answers".to_owned()),
        }
    }

    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Role { name, version } => format!("role {name} (IMDSv{version})"),
            Self::NoRole => "it names no role".to_owned(),
            Self::Disabled => "not asked: AWS_EC2_METADATA_DISABLED is set".to_owned(),
            Self::Unknown(why) => why.clone(),
        }
    }
}

enum Failed {
    Connection,
    TooLate,
}

async fn send(http: &Http, request: http::request::Builder) -> Result<(u16, Bytes), Failed> {
    let request = request.body(Bytes::new()).map_err(|_| Failed::Connection)?;
    let answered = timeout(TIME, http.send(request, LONGEST)).await.map_err(|_| Failed::TooLate)?;
    answered.map_err(|_| Failed::Connection)
}

/// Returns the name in an answer, where it is one that IAM could give.
fn role_name(body: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(body).ok()?.lines().next()?.trim();
    crate::engine::rules::arn::check_path_and_name(name).is_ok().then(|| name.to_owned())
}

/// Whether this is on the machine itself or on its link.
fn is_near(base: &str) -> bool {
    let Ok(uri) = base.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_near = match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
        Err(_) => host == "localhost",
    };
    uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none() && is_near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_asked() {
        for near in [
            "http://169.254.169.254",
            "http://127.0.0.1:8181",
            "http://[fd00:ec2::254]",
            "http://localhost:1",
        ] {
            assert!(is_near(near), "{near}");
        }
        for far in [
            "http://10.0.0.1",
            "http://a@127.0.0.1",
            "https://169.254.169.254",
            "http://169.254.169.254.a.b",
            "http://127.0.0.1/x",
            "",
            "x",
        ] {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn a_name_is_taken_and_nothing_else() {
        assert_eq!(role_name(b"node-role\n"), Some("node-role".to_owned()));
        for body in [&b"<html>"[..], b"", b"{\"AccessKeyId\": \"planted\"}", b"\xff", b"a b"] {
            assert_eq!(role_name(body), None);
        }
    }
}
