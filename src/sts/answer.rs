//! What did STS answer?
//!
//! Four texts are read of the answer, by the path at which they stand. All others are read past, so that the
//! credentials in an answer never become a value.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// The most elements within each other.
const DEEPEST: usize = 16;

/// The most characters of an element's name that are looked at.
const LONGEST_NAME: usize = 64;

/// The most characters of a text that is kept.
const LONGEST_TEXT: usize = 2_048;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// STS would give the role: the ARN of the session.
    Assumed(String),
    /// STS refused.
    Refused { code: String, message: String },
}

/// An error that STS answered with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The code, as `AccessDenied`.
    pub code: String,
    /// The message.
    pub message: String,
}

impl Refused {
    /// Whether STS asks for patience, or could not do its work just now.
    pub(super) fn is_passing(&self) -> bool {
        self.is_throttling() || self.status >= 500 || self.code == "IDPCommunicationError"
    }

    /// Whether STS said nothing of the role: it took no more calls, or could not do its work.
    #[must_use]
    pub fn is_no_verdict(&self) -> bool {
        self.is_throttling() || self.status >= 500
    }

    /// Whether too many calls were made.
    pub(super) fn is_throttling(&self) -> bool {
        // The names that AWS's SDKs take for it.
        const CODES: [&str; 6] = [
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "TooManyRequestsException",
        ];
        self.status == 429 || CODES.contains(&self.code.as_str())
    }
}

/// Reads an answer. An error says what the answer is instead.
pub(super) fn read(body: &[u8]) -> Result<Answer, &'static str> {
    const FOREIGN: &str = "a body that is not STS's XML";
    let text = std::str::from_utf8(body).map_err(|_| FOREIGN)?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let (mut code, mut message, mut arn) = (None, None, None);
    loop {
        let event = reader.read_event().map_err(|_| FOREIGN)?;
        let piece = match event {
            Event::Start(start) => {
                if path.len() == DEEPEST {
                    return Err(FOREIGN);
                }
                path.push(start.local_name().as_ref().chars().take(LONGEST_NAME).collect());
                continue;
            }
            Event::End(_) => {
                path.pop();
                continue;
            }
            Event::Eof if path.is_empty() => break,
            // Nothing that STS answers declares entities.
            Event::Eof | Event::DocType(_) => return Err(FOREIGN),
            Event::Text(text) => text.xml10_content().into_owned(),
            Event::CData(text) => text.xml10_content().into_owned(),
            Event::GeneralRef(entity) => match entity.resolve_char_ref() {
                Ok(Some(c)) => c.to_string(),
                _ => resolve_predefined_entity(&entity.xml10_content()).unwrap_or("?").to_owned(),
            },
            _ => continue,
        };
        let at: Vec<&str> = path.iter().map(String::as_str).collect();
        let kept: &mut Option<String> = match at.as_slice() {
            ["ErrorResponse", "Error", "Code"] => &mut code,
            ["ErrorResponse", "Error", "Message"] => &mut message,
            [
                "AssumeRoleWithWebIdentityResponse",
                "AssumeRoleWithWebIdentityResult",
                "AssumedRoleUser",
                "Arn",
            ] => &mut arn,
            _ => continue,
        };
        let kept = kept.get_or_insert_default();
        let left = LONGEST_TEXT.saturating_sub(kept.chars().count());
        kept.extend(piece.chars().take(left));
    }
    let tidy = |text: String| text.trim().to_owned();
    match (code.map(tidy), arn.map(tidy)) {
        (Some(code), None) if !code.is_empty() => {
            Ok(Answer::Refused { code, message: message.map(tidy).unwrap_or_default() })
        }
        (None, Some(arn)) => Ok(Answer::Assumed(arn)),
        _ => Err(FOREIGN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As AWS documents it.
    const TAKEN: &str = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>amzn1.account.AF6RHO7KZU5XRVQJGXK6HB56KR2A</SubjectFromWebIdentityToken>
    <Audience>client.5498841531868486423.1548@apps.example.com</Audience>
    <AssumedRoleUser>
      <Arn>arn:aws:sts::123456789012:assumed-role/FederatedWebIdentityRole/app1</Arn>
      <AssumedRoleId>AROACLKWSDQRAOEXAMPLE:app1</AssumedRoleId>
    </AssumedRoleUser>
    <Credentials>
      <SessionToken>PLANTEDAQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE</SessionToken>
      <SecretAccessKey>PLANTEDwJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
      <Expiration>2014-10-24T23:00:23Z</Expiration>
      <AccessKeyId>PLANTEDASgeIAIOSFODNN7EXAMPLE</AccessKeyId>
    </Credentials>
    <SourceIdentity>SourceIdentityValue</SourceIdentity>
    <Provider>www.amazon.com</Provider>
  </AssumeRoleWithWebIdentityResult>
  <ResponseMetadata><RequestId>ad4156e9-bce1-11e2-82e6-6b6efEXAMPLE</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>"#;

    #[test]
    fn of_an_answer_that_gives_the_role_only_its_session_is_read() {
        let arn = "arn:aws:sts::123456789012:assumed-role/FederatedWebIdentityRole/app1";
        assert_eq!(read(TAKEN.as_bytes()), Ok(Answer::Assumed(arn.to_owned())));
    }

    #[test]
    fn an_error_is_read_with_its_escapes() {
        let text =
            "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
  <Error>
    <Type>Sender</Type>
    <Code>InvalidIdentityToken</Code>
    <Message>Couldn&apos;t retrieve &lt;a&gt; &#x6b;ey, <![CDATA[please & wait]]></Message>
  </Error>
  <RequestId>a</RequestId>
</ErrorResponse>
";
        let want = Answer::Refused {
            code: "InvalidIdentityToken".to_owned(),
            message: "Couldn't retrieve <a> key, please & wait".to_owned(),
        };
        assert_eq!(read(text.as_bytes()), Ok(want));
    }

    #[test]
    fn what_is_not_stss_is_refused_and_what_is_long_is_cut() {
        let deep = format!("{}{}", "<a>".repeat(1_000), "</a>".repeat(1_000));
        let entity =
            "<!DOCTYPE a [<!ENTITY b \"c\">]><ErrorResponse><Error><Code>&b;</Code></Error></ErrorResponse>";
        let both = format!("<a>{TAKEN}</a>");
        for text in [
            "",
            "no",
            "{}",
            "<a",
            "<a></b>",
            "<a>",
            "<html><body>Blocked</body></html>",
            &deep,
            entity,
            &both,
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(b"\xff").is_err());
        let long =
            format!("<ErrorResponse><Error><Code>{}</Code></Error></ErrorResponse>", "x".repeat(9_000));
        let Ok(Answer::Refused { code, .. }) = read(long.as_bytes()) else { panic!() };
        assert_eq!(code.len(), LONGEST_TEXT);
    }
}
