//! How is a trust policy, or an association of EKS Pod Identity, written for Terraform?

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::policy::{Policy, path_and_name};
use super::trusts::Account;

/// Writes the policy of a role as a data source of this name.
#[must_use]
pub fn document(name: &str, role: &str, policy: &Policy) -> String {
    let name = identifier(name);
    let mut text = format!(
        "# The trust policy of {role}:\n#   assume_role_policy = data.aws_iam_policy_document.{name}.json\n\
         data \"aws_iam_policy_document\" \"{name}\" {{\n"
    );
    for (index, statement) in policy.statements.iter().enumerate() {
        let (kind, principal) = statement.principal.parts();
        let actions: Vec<String> = statement.actions.iter().map(|action| quoted(action)).collect();
        let gap = if index == 0 { "" } else { "\n" };
        let _ = write!(
            text,
            "{gap}  statement {{\n    effect  = \"Allow\"\n    actions = [{}]\n\n    principals {{\n      \
             type        = {}\n      identifiers = [{}]\n    }}\n",
            actions.join(", "),
            quoted(kind),
            quoted(principal)
        );
        for condition in &statement.conditions {
            let values: Vec<String> = condition.values.iter().map(|value| quoted(value)).collect();
            let _ = write!(
                text,
                "\n    condition {{\n      test     = {}\n      variable = {}\n      values   = \
                 [{}]\n    }}\n",
                quoted(condition.operator),
                quoted(&condition.key),
                values.join(", ")
            );
        }
        text.push_str("  }\n");
    }
    text.push_str("}\n");
    text
}

/// Writes the associations of a role with these accounts.
#[must_use]
pub fn associations<'a>(
    role: &str,
    cluster: &str,
    accounts: impl IntoIterator<Item = &'a Account>,
) -> String {
    accounts
        .into_iter()
        .map(|Account { namespace, service_account }| {
            // An underscore parts both names, as neither can hold one.
            let name = format!("{}_{}", namespace, service_account.replace('.', "__"));
            format!(
                "resource \"aws_eks_pod_identity_association\" \"{}\" {{\n  cluster_name    = {}\n  \
                 namespace       \
                 = {}\n  service_account = {}\n  role_arn        = {}\n}}\n",
                identifier(&name),
                quoted(cluster),
                quoted(namespace),
                quoted(service_account),
                quoted(role)
            )
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns names for the data sources of these roles, each once.
#[must_use]
pub fn names(roles: &[&str]) -> Vec<String> {
    let (mut names, mut taken) = (Vec::new(), HashSet::new());
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for role in roles {
        let plain = identifier(path_and_name(role).1);
        let number = numbers.entry(plain.clone()).or_insert(1);
        let mut name = plain.clone();
        while !taken.insert(name.clone()) {
            *number += 1;
            name = format!("{plain}_{number}");
        }
        names.push(name);
    }
    names
}

/// Writes a text as a string of HCL. JSON's escapes are HCL's, for what stands in a policy; only the
/// beginning of a template must be told apart.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace("${", "$${").replace("%{", "%%{")
}

/// Makes an identifier of Terraform: it begins with a letter or `_`, and has letters, digits, `_` and `-`.
fn identifier(text: &str) -> String {
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' }).collect();
    let begins_well = plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins_well { plain } else { format!("_{plain}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust_policy::policy::node;

    #[test]
    fn each_role_has_a_name_of_its_own() {
        let roles = [
            "arn:aws:iam::123456789012:role/a/x",
            "arn:aws:iam::210987654321:role/x",
            "arn:aws:iam::123456789012:role/7@y",
        ];
        assert_eq!(names(&roles), ["x", "x_2", "_7_y"]);
    }

    #[test]
    fn templates_of_terraform_do_not_slip_in() {
        assert_eq!(quoted("a${b}\"%{c}\\"), r#""a$${b}\"%%{c}\\""#);
    }

    #[test]
    fn a_document_has_the_blocks_of_its_statements() {
        let policy = Policy { statements: vec![node("arn:aws:iam::123456789012:role/node", Some("x-1"))] };
        assert_eq!(
            document("ci", "ci", &policy),
            r#"# The trust policy of ci:
#   assume_role_policy = data.aws_iam_policy_document.ci.json
data "aws_iam_policy_document" "ci" {
  statement {
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::123456789012:role/node"]
    }

    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = ["x-1"]
    }
  }
}
"#
        );
    }
}
