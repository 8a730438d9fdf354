//! How is the comparison with the policy that a role has told?

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{Format, TrustPolicyArgs, missing, texts, visible};
use crate::cli::{input, output};
use crate::trust_policy::comparison::{Checked, Comparison, compare};
use crate::trust_policy::evaluation::Judgement;
use crate::trust_policy::existing::{self, MAX_BYTES};
use crate::trust_policy::{Issuer, Trust, Trusts};

/// Compares the policy in a file with whom the mapping gives the role.
pub(super) fn run(
    args: &TrustPolicyArgs,
    path: &Path,
    mut trusts: Trusts,
    issuers: &[Issuer],
) -> anyhow::Result<ExitCode> {
    if !matches!(args.output, Format::Text | Format::Json | Format::Yaml) {
        bail!("--verify prints no templates: use --output text, json or yaml");
    }
    let input = input::read_at_most(path, MAX_BYTES)?;
    let existing = existing::read(&input.text).with_context(|| format!("reading {input}"))?;
    let role = match (&existing.role, &args.role) {
        (Some(found), Some(asked)) if found != asked => {
            bail!("{input} has the policy of {}, and --role asks for {}", visible(found), visible(asked))
        }
        (Some(role), _) | (None, Some(role)) => role.clone(),
        (None, None) => match trusts.roles.as_slice() {
            [only] => only.role.clone(),
            _ => bail!("{input} does not say whose policy it is: name the role with --role ARN"),
        },
    };
    trusts.retain(&role);
    if !trusts.missing.is_empty() {
        bail!("{}", missing(&trusts));
    }
    for warning in trusts.warnings.iter().chain(texts(&trusts.unmatched)) {
        output::error(&format!("warning: {}", visible(warning)));
    }
    let nobody = Trust { role: role.clone(), ..Trust::default() };
    let trust = trusts.roles.first().unwrap_or(&nobody);
    if !trust.nodes.is_empty() && args.node_role.is_none() {
        bail!("kube2iam or kiam gives {}: name the role of the nodes with --node-role ARN", visible(&role));
    }
    let comparison = compare(&existing.policy, trust, issuers, args.node_role.as_deref());
    output::print(&match args.output {
        Format::Json => output::json(&as_json(&role, &comparison)),
        Format::Yaml => output::yaml(&as_json(&role, &comparison))?,
        _ => as_text(&role, &comparison),
    })?;
    Ok(ExitCode::from(u8::from(!comparison.is_good())))
}

fn word(judgement: &Judgement) -> (&'static str, &[String]) {
    match judgement {
        Judgement::Allowed => ("allowed", &[]),
        Judgement::Refused(why) => ("refused", why),
        Judgement::Unknown(why) => ("unknown", why),
    }
}

fn as_text(role: &str, comparison: &Comparison) -> String {
    let mut text = format!("{}\n", visible(role));
    if comparison.checked.is_empty() {
        text.push_str("  the mapping gives it to nobody\n");
    }
    for Checked { who, issuer, judgement } in &comparison.checked {
        let (word, reasons) = word(judgement);
        let from = issuer.as_ref().map(|issuer| format!(" of {issuer}")).unwrap_or_default();
        let _ = writeln!(text, "  {word}  {}{}", visible(who), visible(&from));
        for reason in reasons {
            let _ = writeln!(text, "           {}", visible(reason));
        }
    }
    for stranger in &comparison.strangers {
        let _ = writeln!(text, "  stranger {}", visible(stranger));
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "  note     {}", visible(note));
    }
    if comparison.checked.iter().any(|checked| matches!(checked.judgement, Judgement::Refused(_))) {
        text.push_str("without --verify, this command prints the policy that lets them in\n");
    }
    text
}

fn as_json(role: &str, comparison: &Comparison) -> Value {
    let checked: Vec<Value> = comparison
        .checked
        .iter()
        .map(|Checked { who, issuer, judgement }| {
            let (word, reasons) = word(judgement);
            json!({"subject": who, "issuer": issuer, "judgement": word, "reasons": reasons})
        })
        .collect();
    json!({
        "role": role,
        "checked": checked,
        "strangers": comparison.strangers,
        "notes": comparison.notes,
    })
}
