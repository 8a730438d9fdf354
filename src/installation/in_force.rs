//! What does an installation decide by: which mapping, within what its operator allows, and where?

use super::{Configuration, Installation, Seen, served};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;

/// The mapping by which is decided.
#[derive(Debug)]
pub struct InForce {
    /// The ConfigMap that holds it, as `NAMESPACE/NAME`.
    pub config_map: String,
    /// Its text.
    pub text: String,
    /// The same, compiled within what the operator allows.
    pub ruleset: Ruleset,
    /// Whether it is the last good one, as the mapping itself cannot be used.
    pub is_last_good: bool,
}

impl Installation {
    /// Returns what the operator allows, and whom he believes as a workload controller. Without it nobody
    /// may say which role an object gets: a mapping alone could give any.
    #[must_use]
    pub fn policy_in_force(&self) -> Seen<OperatorPolicy> {
        match &self.deployment {
            Seen::There(_) => self.operator_policy().map_or_else(
                |why| Seen::Unread(format!("an option of the Deployment cannot be used: {why}")),
                Seen::There,
            ),
            Seen::Missing => Seen::Missing,
            Seen::Unread(why) => Seen::Unread(format!("the Deployment, which says it, was not read: {why}")),
        }
    }

    /// Returns the mapping by which is decided: the mapping, or the last good one where that cannot be used.
    /// `Missing` says that there is neither.
    #[must_use]
    pub fn in_force(&self) -> Seen<InForce> {
        let policy = match self.policy_in_force() {
            Seen::There(policy) => policy,
            Seen::Missing => return Seen::Unread("there is no Deployment that names it".to_owned()),
            Seen::Unread(why) => return Seen::Unread(why),
        };
        let mut is_broken = false;
        for (held, is_last_good) in [(&self.mapping, false), (&self.last_good, true)] {
            let held = match held {
                Seen::There(held) => held,
                Seen::Missing => continue,
                // What could not be read may be good, and then the other one does not decide.
                Seen::Unread(why) => return Seen::Unread(why.clone()),
            };
            match (held.text.clone(), held.compile(&policy)) {
                (Some(text), Some(Ok(ruleset))) => {
                    let config_map = held.config_map.clone();
                    return Seen::There(InForce { config_map, text, ruleset, is_last_good });
                }
                (_, compiled) => is_broken |= compiled.is_some(),
            }
        }
        if is_broken {
            return Seen::Unread("the mapping cannot be used, and there is no last good one".to_owned());
        }
        Seen::Missing
    }

    /// Returns the only namespaces whose objects the API server sends to this installation; `None` where
    /// those of every namespace that is opted in are sent, or it is not known.
    #[must_use]
    pub fn own_namespaces(&self) -> Option<Vec<String>> {
        served(std::slice::from_ref(self.mutating.there()?))
    }

    /// Whether it may decide on objects of this namespace, which must have opted in beside. It never does in
    /// its own.
    #[must_use]
    pub fn works_in(&self, namespace: &str) -> bool {
        namespace != self.namespace
            && self.own_namespaces().is_none_or(|own| own.iter().any(|name| name == namespace))
    }

    /// Returns its version, as the chart writes it, or else the tag of the image.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        let labelled = |seen: &'_ Configuration| seen.metadata.label("app.kubernetes.io/version").is_some();
        let written =
            [&self.mutating, &self.validating].into_iter().filter_map(Seen::there).find(|it| labelled(it));
        let image = || {
            let name = self.deployment.there()?.image.split('@').next()?.rsplit('/').next()?;
            Some(name.split_once(':')?.1)
        };
        written.and_then(|it| it.metadata.label("app.kubernetes.io/version")).or_else(image)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::installation::{Deployment, MappingText};

    const GOOD: &str = "rules: [{match: {component: registry}, role: 'arn:aws:iam::123456789012:role/r'}]\n";

    fn text(name: &str, text: &str) -> Seen<MappingText> {
        Seen::There(MappingText { config_map: format!("ours/{name}"), text: Some(text.to_owned()) })
    }

    fn configuration(namespaces: &[&str]) -> Seen<Configuration> {
        let selector = if namespaces.is_empty() {
            json!({})
        } else {
            json!({"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}
            ]})
        };
        let value = json!({"metadata": {"name": "hook"}, "webhooks": [{"namespaceSelector": selector}]});
        Seen::There(serde_json::from_value(value).unwrap())
    }

    fn deployment(arguments: &[&str]) -> Seen<Deployment> {
        let container = json!({"image": "r:5000/hook:1.2.3@sha256:00", "args": arguments});
        let value = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        Seen::There(serde_json::from_value(value).unwrap())
    }

    fn installation() -> Installation {
        Installation {
            name: "hook".to_owned(),
            namespace: "ours".to_owned(),
            service: "hook".to_owned(),
            mutating: configuration(&["gitlab"]),
            validating: Seen::Missing,
            served_namespaces: None,
            eks_webhook: Seen::Missing,
            deployment: deployment(&["--allowed-role=arn:aws:iam::123456789012:role/*"]),
            endpoints: Seen::Missing,
            replicas: Seen::Missing,
            certificate_secret: Seen::Missing,
            reach: Seen::Missing,
            mapping: text("m", GOOD),
            last_good: Seen::Missing,
        }
    }

    /// The ConfigMap whose mapping decides; or why it is not known, or `none`.
    fn decides(installation: &Installation) -> String {
        match installation.in_force() {
            Seen::There(held) => format!("{} {}", held.config_map, held.is_last_good),
            Seen::Missing => "none".to_owned(),
            Seen::Unread(why) => why,
        }
    }

    #[test]
    fn the_mapping_decides_or_the_last_good_one_and_in_doubt_nobody_knows() {
        let broken = || text("m", "rules: [{}]\n");
        let unread = || Seen::Unread("forbidden".to_owned());
        let last_good = || text("m-last-good", GOOD);
        for (mapping, last, want) in [
            (text("m", GOOD), unread(), "ours/m false"),
            (broken(), last_good(), "ours/m-last-good true"),
            (Seen::Missing, last_good(), "ours/m-last-good true"),
            (unread(), last_good(), "forbidden"),
            (broken(), unread(), "forbidden"),
            (broken(), Seen::Missing, "the mapping cannot be used, and there is no last good one"),
            (Seen::Missing, Seen::Missing, "none"),
        ] {
            assert_eq!(decides(&Installation { mapping, last_good: last, ..installation() }), want);
        }
    }

    #[test]
    fn without_what_the_operator_allows_no_mapping_is_told() {
        let held = installation();
        let in_force = held.in_force();
        let policy = in_force.there().unwrap().ruleset.operator_policy();
        assert!(!policy.allows("gitlab", "arn:aws:iam::210987654321:role/x"));
        for (deployment, want) in [
            (Seen::Unread("forbidden".to_owned()), "was not read: forbidden"),
            (Seen::Missing, "there is no Deployment"),
            (deployment(&["--allowed-role=x"]), "an option of the Deployment cannot be used: "),
        ] {
            let held = Installation { deployment, ..installation() };
            assert!(decides(&held).contains(want) && held.policy_in_force().there().is_none(), "{want}");
        }
    }

    #[test]
    fn an_installation_works_in_the_namespaces_that_are_sent_to_it_but_never_in_its_own() {
        let everywhere = Installation { mutating: configuration(&[]), ..installation() };
        let own = Installation { mutating: configuration(&["gitlab", "ours"]), ..installation() };
        let works = |held: &Installation| ["gitlab", "ci", "ours"].map(|name| held.works_in(name));
        assert_eq!(works(&installation()), [true, false, false]);
        assert_eq!(works(&everywhere), [true, true, false]);
        assert_eq!(works(&own), [true, false, false]);
        assert_eq!(installation().version(), Some("1.2.3"));
    }
}
