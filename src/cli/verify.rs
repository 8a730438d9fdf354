//! Does AWS give each ServiceAccount the role that it has? The command `verify` asks STS itself.

mod cases;
pub(super) mod report;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{StreamExt, stream};

use super::cluster_args::{self, ClusterArgs, NamespacesArgs};
use super::progress::Progress;
use super::sts_args::StsArgs;
use super::{OperatorPolicyArgs, OutputFormat, input, output};
use crate::cluster::inventory::{Wanted, collect, must_exist};
use crate::cluster::tokens::Tokens;
use crate::cluster::{ApiServer, NamespacedName};
use crate::engine::mapping;
use crate::engine::object::dns_name::is_dns_name;
use crate::engine::rules::ruleset::Ruleset;
use crate::inventory::{Listed, ServiceAccount, Unread};
use crate::sts::{About, Ask, AskError, Claims, Endpoint, RoleArn, Sts, Token, explain};
use crate::telemetry::causes;
use cases::Case;
use report::{Outcome, Report, Verdict};

const EXAMPLES: &str = "Examples:
  Prove the roles that the ServiceAccounts of GitLab's namespace carry:
    gitlab-iam-webhook verify -n gitlab --region eu-west-1
  Prove one of them:
    gitlab-iam-webhook verify sa/gitlab-registry -n gitlab
  Prove the roles that a mapping would give, before it is applied:
    gitlab-iam-webhook verify -n gitlab -m mapping.yaml

For each ServiceAccount, the API server is asked for a token that it does not take itself, and
STS for the role. Your own rights are used: list serviceaccounts, and create
serviceaccounts/token. Tokens and credentials are never printed and never stored.
Without -n and -A, the namespace is that of the kubeconfig's context.

Exit status: 0 when STS gives every role; 1 when it refuses one, when a ServiceAccount
carries something that is no role, or when none has a role; 2 when none was refused,
and something could not be asked.";

/// The most calls to STS at once.
const AT_ONCE: usize = 4;

/// The name of the session, which `CloudTrail` shows.
const SESSION: &str = "gitlab-iam-webhook-verify";

/// The arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// One ServiceAccount, as sa/gitlab-registry. Without it, each one of the namespace that has a role is
    /// proved.
    #[arg(value_name = "sa/NAME")]
    service_account: Option<AccountName>,

    /// The file with the mapping whose roles are asked for. Without this option, the roles are those of the
    /// annotations in the cluster.
    #[arg(long, short, value_name = "FILE")]
    mapping: Option<PathBuf>,

    /// The audience of the tokens. Without this option it is the one that the mapping names for a
    /// ServiceAccount, or else sts.amazonaws.com. An audience that an annotation names is never used.
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,

    /// The format of what is printed.
    #[arg(long, short, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,

    #[command(flatten)]
    sts: StsArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    namespaces: NamespacesArgs,

    #[command(flatten)]
    policy: OperatorPolicyArgs,
}

/// The name of a ServiceAccount, as kubectl takes it.
#[derive(Clone, Debug)]
struct AccountName(String);

impl FromStr for AccountName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text.split_once('/') {
            Some(("sa" | "serviceaccount" | "serviceaccounts", name)) => name,
            Some(_) => return Err("write sa/NAME, and name the namespace with -n"),
            None => text,
        };
        if !is_dns_name(name) {
            return Err("a ServiceAccount's name has up to 253 of the letters a to z, digits, - and ., and \
                        begins and ends with a letter or a digit");
        }
        Ok(Self(name.to_owned()))
    }
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    if args.service_account.is_some()
        && (args.namespaces.all_namespaces || args.namespaces.namespaces.len() > 1)
    {
        bail!("one ServiceAccount is in one namespace: name it with -n NAMESPACE");
    }
    let ruleset = args.mapping.as_ref().map(|path| read_mapping(path, &args.policy)).transpose()?;
    let sts = args.sts.sts()?;
    let report = cluster_args::block_on(ask(args, ruleset.as_ref(), &sts))?;
    output::print(&output::formatted(args.output, || report.as_text(), || report.as_json())?)?;
    if report.refused() > 0 {
        return Ok(ExitCode::from(1));
    }
    if let Some(what) = report.unknown_in_words() {
        bail!("verifying the roles: {what}");
    }
    if report.verdicts.is_empty() {
        output::error(&nothing_to_ask(args, &report));
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why no role was asked for, and what to do next.
fn nothing_to_ask(args: &VerifyArgs, report: &Report) -> String {
    match (&report.only, &args.mapping) {
        (Some(account), None) => format!(
            "{account} carries no eks.amazonaws.com/role-arn: `doctor -n {}` says why, and `verify -m \
             mapping.yaml` asks for the role that the mapping gives",
            account.namespace
        ),
        (Some(account), Some(_)) => {
            format!("the mapping gives {account} no role by IRSA, and it carries none: `explain` says why")
        }
        (None, _) => {
            "no ServiceAccount that was looked at has a role: name the namespaces with -n, or -A".to_owned()
        }
    }
}

fn read_mapping(path: &std::path::Path, policy: &OperatorPolicyArgs) -> anyhow::Result<Ruleset> {
    let mapping = input::read(path)?;
    mapping::compile_file(&mapping.text, &policy.into())
        .with_context(|| format!("loading the mapping {mapping}"))
}

async fn ask(args: &VerifyArgs, ruleset: Option<&Ruleset>, sts: &Sts) -> anyhow::Result<Report> {
    let mut progress = Progress::new();
    progress.tell("connecting to the cluster");
    let api = args.cluster.connect().await?;
    let tokens = Tokens::new(api.clone());
    let (accounts, unread): (Vec<ServiceAccount>, _) = match &args.service_account {
        Some(name) => (vec![one(args, &api, &tokens, name).await?], Vec::new()),
        None => all(args, &api, &mut progress).await?,
    };
    let cases: Vec<Case> =
        accounts.iter().filter_map(|account| Case::of(account, ruleset, args.audience.as_deref())).collect();
    let only = accounts.first().filter(|_| args.service_account.is_some()).map(|account| NamespacedName {
        namespace: account.metadata.namespace.clone(),
        name: account.metadata.name.clone(),
    });
    let asker = Asker { tokens, sts, unreachable: Mutex::default() };
    let count = cases.len();
    let mut answers = stream::iter(cases).map(|case| asker.ask(case)).buffered(AT_ONCE);
    let mut verdicts = Vec::with_capacity(count);
    while let Some(verdict) = answers.next().await {
        verdicts.push(verdict);
        progress.tell(&format!("asking STS: {} of {count}", verdicts.len()));
    }
    Ok(Report { verdicts, unread, only })
}

/// Reads the one ServiceAccount that was named.
async fn one(
    args: &VerifyArgs,
    api: &ApiServer,
    tokens: &Tokens,
    name: &AccountName,
) -> anyhow::Result<ServiceAccount> {
    let namespace =
        args.namespaces.namespaces.first().map_or_else(|| api.default_namespace(), String::as_str);
    let account = NamespacedName { namespace: namespace.to_owned(), name: name.0.clone() };
    let found = tokens.service_account(&account).await?;
    if found.is_none() {
        must_exist(api, namespace).await?;
    }
    found.with_context(|| format!("there is no ServiceAccount {account}: name its namespace with -n"))
}

/// Reads the ServiceAccounts of the namespaces that were named.
async fn all(
    args: &VerifyArgs,
    api: &ApiServer,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<ServiceAccount>, Vec<Unread>)> {
    let namespaces = match args.namespaces.namespaces.as_slice() {
        _ if args.namespaces.all_namespaces => Vec::new(),
        [] => vec![api.default_namespace().to_owned()],
        some => some.to_vec(),
    };
    let wanted = Wanted { namespaces, ..Wanted::default() };
    let inventory = collect(api, &wanted, |what| progress.tell(&format!("reading {what}"))).await?;
    let mut unread = inventory.unread;
    // Nothing here looks at the Namespaces themselves.
    unread.retain(|unread| unread.kind != Listed::Namespaces);
    Ok((inventory.service_accounts, unread))
}

/// Asks the API server for tokens, and STS for roles.
struct Asker<'a> {
    tokens: Tokens,
    sts: &'a Sts,
    /// Why an endpoint cannot be reached. It is asked no second time.
    unreachable: Mutex<HashMap<String, String>>,
}

impl Asker<'_> {
    async fn ask(&self, case: Case) -> Verdict {
        let (claims, outcome) = match RoleArn::new(&case.role) {
            Ok(role) => self.ask_for(&role, &case).await,
            Err(error) => (None, Outcome::NoRole(error.to_string())),
        };
        Verdict { case, claims, outcome }
    }

    async fn ask_for(&self, role: &RoleArn, case: &Case) -> (Option<Claims>, Outcome) {
        let unknown = |why: String| (None, Outcome::Unknown(why));
        let endpoint = match self.sts.endpoint(role) {
            Ok(endpoint) => endpoint,
            Err(error) => return unknown(error.to_string()),
        };
        if let Some(why) = self.is_unreachable(&endpoint) {
            return unknown(why);
        }
        let token = match self.tokens.token(&case.account, &case.audience).await {
            Ok(text) => text,
            Err(error) => return unknown(causes(&error)),
        };
        let token = Token::new(token.expose()).and_then(|token| Ok((token.claims()?, token)));
        let (claims, token) = match token {
            Ok(read) => read,
            Err(error) => return unknown(format!("reading the token of the API server: {error}")),
        };
        if claims.audiences.as_slice() != [case.audience.as_str()] {
            return unknown("the token is for others too, and is not sent to anybody".to_owned());
        }
        let ask = Ask { role, token: &token, session: SESSION };
        let outcome = match self.sts.assume(&endpoint, &ask).await {
            Ok(arn) => Outcome::Verified(arn),
            Err(AskError::Refused(refused)) => {
                let about = About { role, claims: &claims, region: self.sts.region() };
                let explanation = explain(&refused, &about);
                if refused.is_no_verdict() {
                    let why = explanation.causes.join(", or ");
                    return (Some(claims), Outcome::Unknown(format!("STS says {refused}: {why}")));
                }
                Outcome::Refused { refused, explanation }
            }
            Err(error) => {
                let why = causes(&error);
                if error.is_unreachable() {
                    let mut known = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
                    known.insert(endpoint.to_string(), why.clone());
                }
                Outcome::Unknown(why)
            }
        };
        (Some(claims), outcome)
    }

    fn is_unreachable(&self, endpoint: &Endpoint) -> Option<String> {
        let known = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&endpoint.to_string()).cloned()
    }
}
