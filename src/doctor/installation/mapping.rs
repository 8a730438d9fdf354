//! Is there a mapping in force, and does its work reach the Pods?

use super::{Checkup, Told};
use crate::engine::mapping::{CONFIG_MAP_KEY, Problems};
use crate::engine::object::provider::Provider;
use crate::installation::{MappingText, Seen};

const EDITING: &str = "docs/operating.md#editing-the-mapping";

pub(super) fn check(checkup: &mut Checkup<'_>) {
    in_force(checkup);
    eks_webhook(checkup);
}

/// Whether the mapping can be used, and what decides where it cannot.
fn in_force(checkup: &mut Checkup<'_>) {
    let installation = checkup.installation;
    let policy = match installation.operator_policy() {
        Ok(policy) => policy,
        Err(why) => {
            return checkup.problem(Told {
                check: "mapping",
                place: checkup.deployment(),
                what: format!("an option --allowed-role cannot be used, so no replica starts: {why}"),
                fix: "mend the value allowedRoles, and upgrade the release".to_owned(),
                reference: EDITING,
            });
        }
    };
    let named = installation.options().mapping_config_map;
    let (place, what) = match &installation.mapping {
        Seen::Unread(_) => return,
        Seen::Missing => {
            let name = named.unwrap_or_default();
            (format!("ConfigMap {name}"), "it does not exist".to_owned())
        }
        Seen::There(MappingText { config_map, text: None }) => {
            (format!("ConfigMap {config_map}"), format!("it has no key {CONFIG_MAP_KEY}"))
        }
        Seen::There(held) => match held.compile(&policy) {
            Some(Err(problems)) => (held.place(), broken(&problems)),
            _ => return,
        },
    };
    let kept = match installation.in_force() {
        Seen::There(kept) => format!("the last good mapping decides ({})", kept.config_map),
        _ if installation.last_good.unread().is_some() => {
            "the last good mapping decides where there is one".to_owned()
        }
        _ => "no role is given, because there is no last good mapping either".to_owned(),
    };
    let name = place.strip_prefix("ConfigMap ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let (namespace, name) = name.split_once('/').unwrap_or_default();
    let fix = if installation.mapping == Seen::Missing {
        format!("make it: kubectl -n {namespace} create configmap {name} --from-file={CONFIG_MAP_KEY}")
    } else {
        format!(
            "mend it: kubectl -n {namespace} edit configmap {name}; gitlab-iam-webhook check FILE tells \
             every problem"
        )
    };
    let last_good = match &installation.last_good {
        Seen::There(MappingText { config_map, text: Some(_) }) => {
            format!("; {config_map} holds the last good text")
        }
        _ => String::new(),
    };
    let fix = format!("{fix}{last_good}");
    checkup.problem(Told {
        check: "mapping",
        place,
        what: format!("{what}; {kept}"),
        fix,
        reference: EDITING,
    });
}

fn broken(problems: &Problems) -> String {
    let first = problems.first.first().map(ToString::to_string).unwrap_or_default();
    match problems.count() {
        1 => format!("it cannot be used: {first}"),
        count => format!("it cannot be used, with {count} problems, of which this is the first: {first}"),
    }
}

/// A role for irsa is an annotation on a ServiceAccount, of which only the EKS webhook makes something in
/// Pods.
fn eks_webhook(checkup: &mut Checkup<'_>) {
    let uses_irsa = checkup.ruleset.is_some_and(|ruleset| ruleset.names_provider(Provider::Irsa));
    if !uses_irsa || checkup.installation.eks_webhook != Seen::Missing {
        return;
    }
    checkup.warning(Told {
        check: "eks-webhook",
        place: "MutatingWebhookConfigurations".to_owned(),
        what:
            "the mapping has roles for irsa, and no webhook of EKS is seen (pod-identity-webhook), without \
               which Pods get neither token nor AWS_ROLE_ARN from the annotation"
                .to_owned(),
        fix: "outside EKS, install amazon-eks-pod-identity-webhook; on EKS, look whether a new Pod has \
              AWS_ROLE_ARN: EKS may keep the webhook under another name"
            .to_owned(),
        reference: "https://github.com/aws/amazon-eks-pod-identity-webhook",
    });
}
