//! How are roles with their trust policies, and associations of EKS Pod Identity, written for `CloudFormation`?

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::policy::{Policy, partition_and_account, path_and_name};
use super::trusts::Account;

/// Makes a template of these roles. Roles of several accounts get a condition on the account, so that the
/// template can be deployed in each. `associations` are the role, the cluster and the account of each.
#[must_use]
pub fn template(roles: &[(&str, Policy)], associations: &[(&str, &str, &Account)]) -> Value {
    let account_of = |role: &str| partition_and_account(role).map(|(_, account)| account.to_owned());
    let accounts: BTreeSet<String> = roles.iter().filter_map(|(role, _)| account_of(role)).collect();
    let in_account = |role: &str, mut resource: Value| {
        let account = account_of(role).filter(|_| accounts.len() > 1);
        if let (Some(account), Some(fields)) = (account, resource.as_object_mut()) {
            fields.insert("Condition".to_owned(), json!(format!("InAccount{account}")));
        }
        resource
    };
    let mut resources = Map::new();
    for (role, policy) in roles {
        let (path, name) = path_and_name(role);
        let resource = json!({
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": name,
                "Path": path,
                "AssumeRolePolicyDocument": policy.to_json(),
            },
        });
        insert(&mut resources, &format!("Role{name}"), in_account(role, resource));
    }
    for (role, cluster, Account { namespace, service_account }) in associations {
        let resource = json!({
            "Type": "AWS::EKS::PodIdentityAssociation",
            "Properties": {
                "ClusterName": cluster,
                "Namespace": namespace,
                "ServiceAccount": service_account,
                "RoleArn": role,
            },
        });
        let name = format!("Association{namespace}{service_account}");
        insert(&mut resources, &name, in_account(role, resource));
    }
    let mut template = json!({"AWSTemplateFormatVersion": "2010-09-09"});
    if let Some(fields) = template.as_object_mut() {
        if accounts.len() > 1 {
            let is_account = |account: &String| {
                let equals = json!({"Fn::Equals": [{"Ref": "AWS::AccountId"}, account]});
                (format!("InAccount{account}"), equals)
            };
            fields.insert("Conditions".to_owned(), Value::Object(accounts.iter().map(is_account).collect()));
        }
        fields.insert("Resources".to_owned(), Value::Object(resources));
    }
    template
}

/// Puts a resource under a name of letters and digits that is not there yet.
fn insert(resources: &mut Map<String, Value>, name: &str, resource: Value) {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let numbered = (2..).map(|number| format!("{plain}x{number}"));
    let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !resources.contains_key(name));
    resources.insert(free.unwrap_or(plain), resource);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_two_accounts_are_told_apart_in_one_template() {
        let one = "arn:aws:iam::123456789012:role/a/x-y";
        let other = "arn:aws:iam::210987654321:role/xy";
        let account = Account { namespace: "ns".to_owned(), service_account: "sa".to_owned() };
        let template =
            template(&[(one, Policy::default()), (other, Policy::default())], &[(one, "blue", &account)]);
        let resources = template["Resources"].as_object().unwrap();
        assert_eq!(resources.keys().collect::<Vec<_>>(), ["Rolexy", "Rolexyx2", "Associationnssa"]);
        assert_eq!(resources["Rolexy"]["Properties"]["Path"], "/a/");
        assert_eq!(resources["Rolexyx2"]["Condition"], "InAccount210987654321");
        assert_eq!(template["Conditions"].as_object().unwrap().len(), 2);
    }
}
