//! How is it told what STS said of each ServiceAccount?

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::counted;
use super::cases::Case;
use crate::cli::output::in_a_line;
use crate::cluster::NamespacedName;
use crate::inventory::Unread;
use crate::sts::{Claims, Explanation, Refused};

/// What came of everything.
pub(super) struct Report {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) unread: Vec<Unread>,
    /// The one ServiceAccount that was named on the command line.
    pub(super) only: Option<NamespacedName>,
}

/// What came of one ServiceAccount.
pub(super) struct Verdict {
    pub(super) case: Case,
    /// What its token says, where there is one.
    pub(super) claims: Option<Claims>,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    /// STS would give the role, in a session of this ARN.
    Verified(String),
    /// STS refuses it.
    Refused { refused: Refused, explanation: Explanation },
    /// What the ServiceAccount carries is no role. STS need not be asked.
    NoRole(String),
    /// Nobody knows, for this reason.
    Unknown(String),
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Verified(_) => "verified",
            Self::Refused { .. } | Self::NoRole(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Report {
    fn count(&self, name: &str) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.outcome.name() == name).count()
    }

    pub(super) fn refused(&self) -> usize {
        self.count("refused")
    }

    fn unknown(&self) -> usize {
        self.count("unknown")
    }

    /// Says in short what nobody knows; `None` where everything is known.
    pub(super) fn unknown_in_words(&self) -> Option<String> {
        let accounts = Some(self.unknown()).filter(|count| *count > 0);
        let accounts = accounts
            .map(|count| format!("STS could not be asked about {}", counted(count, "ServiceAccount")));
        let unread = self.unread.iter().map(|unread| format!("{unread} could not be read"));
        let all: Vec<String> = accounts.into_iter().chain(unread).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    pub(super) fn as_text(&self) -> String {
        let mut text = String::new();
        // Others write names, annotations and answers: they must not begin lines of their own, nor send
        // commands to the terminal.
        let mut line = |indent: usize, words: &str| {
            let _ = writeln!(text, "{:indent$}{}", "", in_a_line(words));
        };
        for Verdict { case, outcome, .. } in &self.verdicts {
            let Case { account, role, audience, ignored_audience, not_asked } = case;
            match outcome {
                Outcome::Verified(arn) => {
                    line(0, &format!("ok       {account}: {role}"));
                    line(2, &format!("STS gives it as {arn}"));
                }
                Outcome::Refused { refused, explanation } => {
                    line(0, &format!("refused  {account}: {role}"));
                    line(2, &format!("STS says {refused}"));
                    tell(explanation, &mut line);
                }
                Outcome::NoRole(why) => {
                    line(0, &format!("refused  {account}: it carries no role that AWS could give"));
                    line(2, why);
                }
                Outcome::Unknown(why) => {
                    line(0, &format!("unknown  {account}: {role}"));
                    line(2, why);
                }
            }
            if let Some(mapped) = not_asked {
                line(2, &format!("kept (onConflict: keep); the mapping says {mapped}, which was not asked"));
            }
            if let Some(ignored) = ignored_audience {
                line(
                    2,
                    &format!(
                        "its annotation eks.amazonaws.com/audience says {ignored}, and the token was for \
                         {audience}: to use the other one, say --audience or name it in the mapping"
                    ),
                );
            }
        }
        for unread in &self.unread {
            line(0, &format!("not read: {unread}: {}", unread.why));
        }
        if !self.verdicts.is_empty() {
            let all = counted(self.verdicts.len(), "ServiceAccount");
            let (ok, refused, unknown) = (self.count("verified"), self.refused(), self.unknown());
            line(0, &format!("{all}: {ok} ok, {refused} refused, {unknown} unknown"));
        }
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let verdicts: Vec<Value> = self.verdicts.iter().map(Verdict::as_json).collect();
        let unread: Vec<Value> =
            self.unread.iter().map(|one| json!({"what": one.to_string(), "why": one.why})).collect();
        json!({"serviceAccounts": verdicts, "unread": unread})
    }
}

/// Tells an explanation, as `whoami` does too.
pub(in crate::cli) fn tell(explanation: &Explanation, line: &mut impl FnMut(usize, &str)) {
    let Explanation { side, causes, statement } = explanation;
    match causes.as_slice() {
        [cause] => line(2, &format!("{}: {cause}", side.in_words())),
        causes => {
            line(2, &format!("{}; one of these is so:", side.in_words()));
            for cause in causes {
                line(4, &format!("- {cause}"));
            }
        }
    }
    if let Some(statement) = statement {
        line(2, "the statement that would allow it:");
        for words in format!("{statement:#}").lines() {
            line(4, words);
        }
    }
}

/// Makes JSON of a refusal and its explanation, as `whoami` does too.
pub(in crate::cli) fn refusal_as_json(refused: &Refused, explanation: &Explanation) -> Value {
    json!({
        "code": refused.code,
        "message": refused.message,
        "side": explanation.side.name(),
        "causes": explanation.causes,
        "statement": explanation.statement,
    })
}

impl Verdict {
    fn as_json(&self) -> Value {
        let Case { account, role, audience, ignored_audience, not_asked } = &self.case;
        let claims = self.claims.as_ref();
        let (assumed, error, why) = match &self.outcome {
            Outcome::Verified(arn) => (Some(arn), None, None),
            Outcome::Refused { refused, explanation } => {
                (None, Some(refusal_as_json(refused, explanation)), None)
            }
            Outcome::NoRole(why) | Outcome::Unknown(why) => (None, None, Some(why)),
        };
        json!({
            "namespace": account.namespace,
            "name": account.name,
            "role": role,
            "outcome": self.outcome.name(),
            "assumedRole": assumed,
            "audience": audience,
            "ignoredAudience": ignored_audience,
            "mappingRoleNotAsked": not_asked,
            "issuer": claims.map(|claims| &claims.issuer),
            "subject": claims.map(|claims| &claims.subject),
            "error": error,
            "why": why,
        })
    }
}
