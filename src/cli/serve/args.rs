//! Which options does `serve` have?

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::cli::OperatorPolicyArgs;
use crate::cluster::NamespacedName;
use crate::server::Limits;
use crate::telemetry::duration_in_words;
use crate::tls::rotation::RotationPolicy;

const EXAMPLES: &str = "Examples:
  On this machine, with a certificate made for this run, and requests to try:
    gitlab-iam-webhook serve --mapping mapping.yaml
  With a certificate from a Secret volume, renewed without a restart:
    gitlab-iam-webhook serve --mapping mapping.yaml \\
      --tls-cert /tls/tls.crt --tls-key /tls/tls.key
  In a Pod, as the chart does it, where the Service and the configurations are named hook:
    gitlab-iam-webhook serve --mapping-config-map NS/role-mapping --starter-mapping \\
      --certificate-secret NS/hook-tls --certificate-name hook.NS.svc \\
      --webhook-configuration hook --repair

A DURATION has a unit: 500ms, 5s, 2m, 90d.
Every option can also be given as an environment variable.
SIGTERM drains and stops; a second one stops at once.";

/// Serve the admission webhook over HTTPS.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("source").required(true).args(["mapping", "mapping_config_map"])
)]
pub(crate) struct ServeArgs {
    /// The file that holds the role mapping. It is read again when its content changes; beside a broken one
    /// the last good one stays in force.
    #[arg(long, short, value_name = "FILE", env = "GITLAB_IAM_WEBHOOK_MAPPING")]
    pub(super) mapping: Option<PathBuf>,

    /// The ConfigMap whose key `mapping.yaml` holds the role mapping, instead of a file; it is watched.
    ///
    /// The cluster is reached with KUBECONFIG or the Pod's own credentials. The last good text is kept in
    /// NAME-last-good, and is used at the start where the mapping broke meanwhile.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "GITLAB_IAM_WEBHOOK_MAPPING_CONFIG_MAP")]
    pub(super) mapping_config_map: Option<NamespacedName>,

    /// Create that ConfigMap where there is none, with comments that teach and no rules. It is never written
    /// again.
    #[arg(long, env = "GITLAB_IAM_WEBHOOK_STARTER_MAPPING", conflicts_with = "mapping")]
    pub(super) starter_mapping: bool,

    /// Keep the parameter of the chart's MutatingAdmissionPolicy, the ConfigMap NAME-policy, equal to the
    /// mapping in force, so that the API server gives roles also while no replica answers.
    ///
    /// A mapping that the policy cannot express as a whole is told in the log and the metrics.
    #[arg(long, env = "GITLAB_IAM_WEBHOOK_POLICY_PARAMETER", conflicts_with = "mapping")]
    pub(super) policy_parameter: bool,

    /// Where the API server reaches POST /mutate, /observe and /validate, in HTTPS.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "GITLAB_IAM_WEBHOOK_LISTEN",
        default_value = "[::]:8443",
        value_parser = address
    )]
    pub(super) listen: SocketAddr,

    /// Where /livez, /readyz and /metrics are, in plain HTTP.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "GITLAB_IAM_WEBHOOK_ADMIN_LISTEN",
        default_value = "[::]:8080",
        value_parser = address
    )]
    pub(super) admin_listen: SocketAddr,

    /// The file that holds the certificate chain in PEM, the leaf first. It is read again every 2 seconds.
    /// Without it and without --certificate-secret a certificate for localhost is made.
    #[arg(long, value_name = "FILE", env = "GITLAB_IAM_WEBHOOK_TLS_CERT", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,

    /// The file that holds the private key in PEM.
    #[arg(long, value_name = "FILE", env = "GITLAB_IAM_WEBHOOK_TLS_KEY", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,

    #[command(flatten)]
    pub(super) certificate: CertificateArgs,

    #[command(flatten)]
    pub(super) repair: RepairArgs,

    #[command(flatten)]
    pub(super) bounds: OperatorPolicyArgs,

    /// The form of log lines on standard error.
    #[arg(
        long,
        value_enum,
        env = "GITLAB_IAM_WEBHOOK_LOG_FORMAT",
        default_value_t = LogFormat::Text,
        help_heading = "Log"
    )]
    pub(super) log_format: LogFormat,

    /// What is logged: a level, or a filter such as `warn,gitlab_iam_webhook=debug`.
    #[arg(
        long,
        value_name = "FILTER",
        env = "GITLAB_IAM_WEBHOOK_LOG",
        default_value = "info,kube_client=off",
        value_parser = log_filter,
        help_heading = "Log"
    )]
    pub(super) log: Targets,

    #[command(flatten)]
    pub(super) limits: LimitArgs,

    /// How long the webhook goes on answering after SIGTERM while it is not ready, so that no endpoint leads
    /// to it when it stops.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_SHUTDOWN_DELAY",
        default_value = "0s",
        help_heading = "Stopping",
        value_parser = humantime::parse_duration
    )]
    pub(super) shutdown_delay: Duration,

    /// How long requests that are under way may take after that.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_DRAIN_TIMEOUT",
        default_value = "15s",
        help_heading = "Stopping",
        value_parser = humantime::parse_duration
    )]
    pub(super) drain_timeout: Duration,
}

impl ServeArgs {
    /// Where the mapping comes from, for the log.
    pub(super) fn mapping_source(&self) -> String {
        match (&self.mapping, &self.mapping_config_map) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(place)) => format!("ConfigMap {place}"),
            (None, None) => String::new(),
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write IP:PORT, as in 127.0.0.1:8443 or [::]:8443".to_owned())
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number from 1 on, bytes without a unit: 8388608".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Reads a log filter. `Targets` would take a word that is no level for a target, under which nothing logs,
/// nothing at all for `error`, and spaces for a part of a target.
fn log_filter(text: &str) -> Result<Targets, String> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let is_known = |part: &&str| match part.split_once('=') {
        Some((target, level)) => {
            let is_path = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
            !target.is_empty() && target.chars().all(is_path) && is_level(level)
        }
        None => is_level(part),
    };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let filter = parts.join(",").parse().ok();
    filter.filter(|_| parts.iter().all(is_known)).ok_or_else(|| {
        "write off, error, warn, info, debug or trace, or TARGET=LEVEL, \
         as in warn,gitlab_iam_webhook=debug"
            .to_owned()
    })
}

/// How the API server comes to trust the certificate.
#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates that look after themselves")]
pub(super) struct CertificateArgs {
    /// The Secret that replicas share: a self-signed certificate is made in it, served, and replaced before
    /// it ends.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        env = "GITLAB_IAM_WEBHOOK_CERTIFICATE_SECRET",
        conflicts_with = "tls_cert",
        requires_all = ["certificate_names", "webhook_configuration"]
    )]
    pub(super) certificate_secret: Option<NamespacedName>,

    /// A name in that certificate: SERVICE.NAMESPACE.svc; may be repeated (in the environment: separated by
    /// spaces).
    #[arg(
        long = "certificate-name",
        value_name = "NAME",
        env = "GITLAB_IAM_WEBHOOK_CERTIFICATE_NAMES",
        value_delimiter = ' '
    )]
    pub(super) certificate_names: Vec<String>,

    /// How long a certificate is valid. The next one is made when a third of that is left.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_CERTIFICATE_LIFE",
        default_value = "90d",
        value_parser = humantime::parse_duration
    )]
    pub(super) certificate_life: Duration,

    /// How long the next certificate is trusted before it is served, and the one before it stays trusted
    /// after that. It is at most a fifth of --certificate-life.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_CERTIFICATE_ROLL_WAIT",
        default_value = "5m",
        value_parser = humantime::parse_duration
    )]
    pub(super) certificate_roll_wait: Duration,

    /// The name of both webhook configurations. Ready means that the mutating one trusts the certificate.
    ///
    /// With --certificate-secret their caBundle is written; with --tls-cert it is only read.
    #[arg(long, value_name = "NAME", env = "GITLAB_IAM_WEBHOOK_WEBHOOK_CONFIGURATION")]
    pub(super) webhook_configuration: Option<String>,
}

/// What becomes of ServiceAccounts that exist already.
#[derive(Debug, Args)]
#[command(next_help_heading = "What exists already")]
pub(super) struct RepairArgs {
    /// Re-admit ServiceAccounts that are not as decided, in namespaces labelled
    /// `gitlab-iam-webhook/inject=enabled`.
    ///
    /// The API server gets an empty patch, and asks the webhook. A ServiceAccount that is changed back 3
    /// times in 10 minutes is left alone.
    #[arg(long, env = "GITLAB_IAM_WEBHOOK_REPAIR", conflicts_with = "mapping")]
    pub(super) repair: bool,

    /// Look for labelled namespaces among these alone; may be repeated (in the environment: separated by
    /// spaces). Without it they are looked for among all.
    #[arg(
        long = "watch-namespace",
        value_name = "NAME",
        env = "GITLAB_IAM_WEBHOOK_WATCH_NAMESPACES",
        value_delimiter = ' '
    )]
    pub(super) watch_namespaces: Vec<String>,

    /// Look at nothing in this namespace, whatever its label; may be repeated (in the environment: separated
    /// by spaces). An Event on the namespace tells that its label has no effect.
    #[arg(
        long = "except-namespace",
        value_name = "NAME",
        env = "GITLAB_IAM_WEBHOOK_EXCEPT_NAMESPACES",
        value_delimiter = ' '
    )]
    pub(super) except_namespaces: Vec<String>,

    /// Look for opted-in namespaces only among those that this label selector selects, because the webhook
    /// configurations send no others: `env in (prod),!legacy`.
    #[arg(
        long,
        value_name = "SELECTOR",
        env = "GITLAB_IAM_WEBHOOK_NAMESPACE_SELECTOR",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub(super) namespace_selector: Option<String>,

    /// Look only at the ServiceAccounts that this label selector selects, because the webhook configurations
    /// send no others: `release=gitlab`.
    #[arg(
        long,
        value_name = "SELECTOR",
        env = "GITLAB_IAM_WEBHOOK_SERVICE_ACCOUNT_SELECTOR",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub(super) service_account_selector: Option<String>,
}

impl CertificateArgs {
    /// The Secret and the policy of self-managed certificates; none where certificates are not self-managed.
    pub(super) fn policy(&self) -> anyhow::Result<Option<(NamespacedName, RotationPolicy)>> {
        let Some(place) = self.certificate_secret.clone() else { return Ok(None) };
        let (life, wait) = (self.certificate_life, self.certificate_roll_wait);
        let longest = Duration::from_hours(10 * 365 * 24);
        // The wait before and the one after must fit well into the third that is left when a rotation begins.
        anyhow::ensure!(
            wait <= life / 5 && (Duration::from_secs(10)..=longest).contains(&life),
            "--certificate-life {} must be from 10s to 10 years, and at least five times \
             --certificate-roll-wait {}",
            duration_in_words(life),
            duration_in_words(wait)
        );
        Ok(Some((
            place,
            RotationPolicy { names: self.certificate_names.clone(), lifetime: life, propagation: wait },
        )))
    }
}

/// How long peers may take, and how much memory they may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// How long a TLS handshake may take.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_HANDSHAKE_TIMEOUT",
        default_value = "5s",
        value_parser = humantime::parse_duration
    )]
    pub(super) handshake_timeout: Duration,

    /// How long the head of a request may take, from its first byte on.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_HEADER_TIMEOUT",
        default_value = "2s",
        value_parser = humantime::parse_duration
    )]
    pub(super) header_timeout: Duration,

    /// How long a request may take from its head to its answer, and how long its peer may take to read the
    /// answer.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_REQUEST_TIMEOUT",
        default_value = "10s",
        value_parser = humantime::parse_duration
    )]
    pub(super) request_timeout: Duration,

    /// How long a connection may be idle between two requests, or before the first one. API servers close it
    /// themselves after 90 seconds, so this is longer.
    #[arg(
        long,
        value_name = "DURATION",
        env = "GITLAB_IAM_WEBHOOK_IDLE_TIMEOUT",
        default_value = "2m",
        value_parser = humantime::parse_duration
    )]
    pub(super) idle_timeout: Duration,

    /// How many connections may be open at once. For one more, a connection that never finished a request is
    /// evicted, then one that is idle.
    #[arg(
        long,
        value_name = "COUNT",
        env = "GITLAB_IAM_WEBHOOK_MAX_CONNECTIONS",
        default_value_t = 128,
        value_parser = count
    )]
    pub(super) max_connections: usize,

    /// How many of these connections one peer address may have.
    #[arg(
        long,
        value_name = "COUNT",
        env = "GITLAB_IAM_WEBHOOK_MAX_CONNECTIONS_PER_PEER",
        default_value_t = 64,
        value_parser = count
    )]
    pub(super) max_connections_per_peer: usize,

    /// How many bytes of request bodies are in memory at once. Bodies of up to 16 KiB do not count.
    #[arg(
        long,
        value_name = "BYTES",
        env = "GITLAB_IAM_WEBHOOK_MAX_BODY_BYTES",
        default_value_t = 10 << 20,
        value_parser = count
    )]
    pub(super) max_body_bytes: usize,

    /// How many of these bytes one peer address may have; the longest body is 8 MiB.
    #[arg(
        long,
        value_name = "BYTES",
        env = "GITLAB_IAM_WEBHOOK_MAX_BODY_BYTES_PER_PEER",
        default_value_t = 8 << 20,
        value_parser = count
    )]
    pub(super) max_body_bytes_per_peer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            handshake: args.handshake_timeout,
            header: args.header_timeout,
            request: args.request_timeout,
            idle: args.idle_timeout,
            connections: args.max_connections,
            connections_per_peer: args.max_connections_per_peer,
            body_bytes: args.max_body_bytes,
            body_bytes_per_peer: args.max_body_bytes_per_peer,
        }
    }
}
