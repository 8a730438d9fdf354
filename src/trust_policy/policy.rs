//! What is a trust policy, and how long is it?

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Issuer;

/// How long the trust policy of a role may be, in characters without white space, unless the quota was
/// raised (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
pub const QUOTA: usize = 2048;

/// How far the quota can be raised.
pub const HIGHEST_QUOTA: usize = 8192;

/// Who is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The tokens of a provider, by its ARN.
    Federated(String),
    /// A role, by its ARN.
    Aws(String),
    /// A service of AWS.
    Service(&'static str),
}

impl Principal {
    /// Returns the type and the name of the principal.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Federated(arn) => ("Federated", arn),
            Self::Aws(arn) => ("AWS", arn),
            Self::Service(name) => ("Service", name),
        }
    }
}

/// One condition of a statement. One of the values must fit, or none of them where the operator says `Not`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The operator, as `StringEquals`.
    pub operator: &'static str,
    /// The key, as `sts:ExternalId`.
    pub key: String,
    /// The values.
    pub values: Vec<String>,
}

/// One statement. All of its conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Who is trusted.
    pub principal: Principal,
    /// What he may do.
    pub actions: &'static [&'static str],
    /// Under which conditions.
    pub conditions: Vec<Condition>,
}

/// The trust policy of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its statements. One that fits is enough.
    pub statements: Vec<Statement>,
}

impl Statement {
    /// Returns the statement as it stands in a policy.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (kind, name) = self.principal.parts();
        let mut operators: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for Condition { operator, key, values } in &self.conditions {
            operators.entry(operator).or_default().insert(key.clone(), one_or_all(values));
        }
        let mut statement = json!({
            "Effect": "Allow",
            "Principal": {kind: name},
            "Action": one_or_all(self.actions),
        });
        if let (false, Some(fields)) = (operators.is_empty(), statement.as_object_mut()) {
            fields.insert("Condition".to_owned(), json!(operators));
        }
        statement
    }
}

impl Policy {
    /// Returns the policy as IAM takes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let statements: Vec<Value> = self.statements.iter().map(Statement::to_json).collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// Counts its characters as IAM does, which does not count white space.
    #[must_use]
    pub fn length(&self) -> usize {
        self.to_json().to_string().chars().filter(|c| !c.is_whitespace()).count()
    }
}

fn one_or_all<T: AsRef<str>>(values: &[T]) -> Value {
    match values {
        [one] => json!(one.as_ref()),
        all => all.iter().map(AsRef::as_ref).collect(),
    }
}

/// Which subjects a token may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// One of these.
    Exactly(Vec<String>),
    /// One that matches a pattern of IAM, and none of the exceptions.
    Like {
        /// The patterns.
        patterns: Vec<String>,
        /// The exceptions, which are patterns too.
        except: Vec<String>,
    },
}

/// Makes the statement that lets tokens of an issuer take a role. It is `None` where the role is no ARN.
#[must_use]
pub fn web_identity(issuer: &Issuer, role: &str, audience: &str, subjects: Subjects) -> Option<Statement> {
    let (partition, account) = partition_and_account(role)?;
    let provider = issuer.provider();
    let condition =
        |operator, key: &str, values| Condition { operator, key: format!("{provider}:{key}"), values };
    let mut conditions = vec![condition("StringEquals", "aud", vec![audience.to_owned()])];
    match subjects {
        Subjects::Exactly(subjects) => conditions.push(condition("StringEquals", "sub", subjects)),
        Subjects::Like { patterns, except } => {
            conditions.push(condition("StringLike", "sub", patterns));
            if !except.is_empty() {
                conditions.push(condition("StringNotLike", "sub", except));
            }
        }
    }
    Some(Statement {
        principal: Principal::Federated(issuer.provider_arn(partition, account)),
        actions: &["sts:AssumeRoleWithWebIdentity"],
        conditions,
    })
}

/// Makes the statement that lets kube2iam or kiam take a role for a Pod, with the role of the node.
#[must_use]
pub fn node(node_role: &str, external_id: Option<&str>) -> Statement {
    let external_id = external_id.map(|id| Condition {
        operator: "StringEquals",
        key: "sts:ExternalId".to_owned(),
        values: vec![id.to_owned()],
    });
    Statement {
        principal: Principal::Aws(node_role.to_owned()),
        actions: &["sts:AssumeRole"],
        conditions: external_id.into_iter().collect(),
    }
}

/// Makes the statement that lets EKS Pod Identity take a role for some accounts of one namespace. The
/// namespaces of two statements cannot be put into one: then each account's name would count in both.
///
/// The tags are those of <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html>.
#[must_use]
pub fn pod_identity(cluster: &str, namespace: &str, accounts: Vec<String>) -> Statement {
    let tag = |name: &str, values| Condition {
        operator: "StringEquals",
        key: format!("aws:RequestTag/{name}"),
        values,
    };
    Statement {
        principal: Principal::Service("pods.eks.amazonaws.com"),
        actions: &["sts:AssumeRole", "sts:TagSession"],
        conditions: vec![
            tag("eks-cluster-name", vec![cluster.to_owned()]),
            tag("kubernetes-namespace", vec![namespace.to_owned()]),
            tag("kubernetes-service-account", accounts),
        ],
    }
}

/// Returns the partition and the account of a role's ARN.
#[must_use]
pub fn partition_and_account(role: &str) -> Option<(&str, &str)> {
    let mut parts = role.split(':');
    match (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?) {
        ("arn", partition, "iam", "", account) => Some((partition, account)),
        _ => None,
    }
}

/// Returns the path and the name of a role, be it an ARN or not. The path begins and ends with `/`.
#[must_use]
pub fn path_and_name(role: &str) -> (String, &str) {
    let resource = role.split_once(":role/").map_or(role, |(_, resource)| resource);
    match resource.rsplit_once('/') {
        Some((path, name)) => (format!("/{path}/"), name),
        None => ("/".to_owned(), resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_for_one_account_is_that_of_the_user_guide() {
        let issuer: Issuer = "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC".parse().unwrap();
        let role = "arn:aws-cn:iam::123456789012:role/a/gitlab";
        let made =
            super::super::statement_for(&issuer, "sts.amazonaws.com", "system:serviceaccount:a:b", role);
        assert_eq!(
            made.unwrap().to_json(),
            json!({
                "Effect": "Allow",
                "Principal": {"Federated":
                    "arn:aws-cn:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {
                    "oidc.eks.eu-west-1.amazonaws.com/id/ABC:aud": "sts.amazonaws.com",
                    "oidc.eks.eu-west-1.amazonaws.com/id/ABC:sub": "system:serviceaccount:a:b",
                }},
            })
        );
        assert_eq!(super::super::statement_for(&issuer, "a", "b", "gitlab"), None);
    }

    #[test]
    fn white_space_does_not_count() {
        let policy = Policy { statements: vec![node("arn:aws:iam::123456789012:role/node", Some("x-1"))] };
        let pretty = format!("{:#}", policy.to_json());
        assert_eq!(policy.length(), pretty.chars().filter(|c| !c.is_whitespace()).count());
        assert!(policy.length() < pretty.len());
    }

    #[test]
    fn a_role_has_a_path_and_a_name() {
        for (role, want) in [
            ("arn:aws:iam::123456789012:role/a/b/c", ("/a/b/".to_owned(), "c")),
            ("arn:aws:iam::123456789012:role/c", ("/".to_owned(), "c")),
            ("b/c", ("/b/".to_owned(), "c")),
        ] {
            assert_eq!(path_and_name(role), want);
        }
    }
}
