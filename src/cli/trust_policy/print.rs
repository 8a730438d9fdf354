//! How are trust policies printed?

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Format, Made, TrustPolicyArgs, texts, visible};
use crate::cli::output;
use crate::shell;
use crate::trust_policy::policy::QUOTA;
use crate::trust_policy::{
    Account, Trust, Trusts, cloudformation, subject, terraform_associations, terraform_document,
    terraform_names,
};

/// Prints all policies in the format that was asked for.
pub(super) fn all(
    args: &TrustPolicyArgs,
    made: &[Made<'_>],
    trusts: &Trusts,
    warnings: &[String],
) -> anyhow::Result<String> {
    let cluster = args.eks_cluster.as_deref();
    let value = || {
        let roles: Vec<Value> = made.iter().map(|made| as_json(made, cluster)).collect();
        json!({
            "roles": roles,
            "missing": texts(&trusts.missing).collect::<Vec<_>>(),
            "unmatched": texts(&trusts.unmatched).collect::<Vec<_>>(),
            "warnings": warnings,
        })
    };
    Ok(match args.output {
        Format::Text => made.iter().map(|made| as_text(made, cluster)).collect::<Vec<_>>().join("\n"),
        Format::Json => output::json(&value()),
        Format::Yaml => output::yaml(&value())?,
        Format::Terraform => as_terraform(made, cluster),
        Format::Cloudformation => as_cloudformation(made, cluster),
    })
}

/// Returns the ServiceAccounts of a role, which are known by name wherever EKS Pod Identity is asked for.
fn accounts<'a>(made: &Made<'a>) -> impl Iterator<Item = &'a Account> {
    made.trust.into_iter().flat_map(Trust::accounts)
}

fn as_text(made: &Made<'_>, cluster: Option<&str>) -> String {
    let mut text = format!("{}\n", visible(made.role));
    if let Some(trust) = made.trust {
        let rules: Vec<&str> = trust.rules.iter().map(String::as_str).collect();
        let _ = writeln!(text, "  by {}", visible(&rules.join(", ")));
    }
    let _ = writeln!(text, "  {} of the {QUOTA} characters that IAM takes", made.policy.length());
    let _ = writeln!(text, "{:#}", made.policy.to_json());
    for Account { namespace, service_account } in accounts(made).filter(|_| cluster.is_some()) {
        let _ = writeln!(
            text,
            "aws eks create-pod-identity-association --cluster-name {} --namespace {} --service-account {} \
             --role-arn {}",
            shell::word(cluster.unwrap_or_default()),
            shell::word(namespace),
            shell::word(service_account),
            shell::word(made.role)
        );
    }
    text
}

fn as_json(made: &Made<'_>, cluster: Option<&str>) -> Value {
    let rules: Vec<&str> = made.trust.iter().flat_map(|trust| &trust.rules).map(String::as_str).collect();
    let globs = made.trust.into_iter().flat_map(|trust| trust.web.values()).flat_map(|web| &web.globs);
    let subjects: Vec<String> =
        accounts(made).map(|account| subject(&account.namespace, &account.service_account)).collect();
    let mut all = json!({
        "role": made.role,
        "rules": rules,
        "subjects": subjects,
        "subjectPatterns": globs.flat_map(|glob| &glob.patterns).collect::<Vec<_>>(),
        "length": made.policy.length(),
        "policy": made.policy.to_json(),
    });
    if let (Some(cluster), Some(fields)) = (cluster, all.as_object_mut()) {
        // Each is what `aws eks create-pod-identity-association --cli-input-json` takes.
        let association = |Account { namespace, service_account }: &Account| {
            json!({
                "clusterName": cluster,
                "namespace": namespace,
                "serviceAccount": service_account,
                "roleArn": made.role,
            })
        };
        fields.insert("associations".to_owned(), accounts(made).map(association).collect());
    }
    all
}

fn as_terraform(made: &[Made<'_>], cluster: Option<&str>) -> String {
    let roles: Vec<&str> = made.iter().map(|made| made.role).collect();
    let mut parts = Vec::new();
    for (name, made) in terraform_names(&roles).iter().zip(made) {
        parts.push(terraform_document(name, &visible(made.role), &made.policy));
        if let Some(cluster) = cluster {
            parts.push(terraform_associations(made.role, cluster, accounts(made)));
        }
    }
    parts.join("\n")
}

fn as_cloudformation(made: &[Made<'_>], cluster: Option<&str>) -> String {
    let roles: Vec<_> = made.iter().map(|made| (made.role, made.policy.clone())).collect();
    let associations: Vec<_> = cluster
        .into_iter()
        .flat_map(|cluster| made.iter().map(move |made| (cluster, made)))
        .flat_map(|(cluster, made)| accounts(made).map(move |account| (made.role, cluster, account)))
        .collect();
    format!("{:#}\n", cloudformation(&roles, &associations))
}
