//! What do the values of GitLab's chart do for Pods?

use super::chart::Subchart;
use super::judge::{add_granted, dead_on_pods, granted, of_component};
use super::rule::{Match, Rule};
use super::values::Branch;
use super::version::{Version, version};
use super::{Draft, Fate};
use crate::engine::object::component::Component;
use crate::engine::object::dns_name::is_dns_label;
use crate::engine::object::provider::POD_ROLE;

/// Since when Pods carry the label `chart`, by which a rule knows their component.
const PODS_HAVE_CHART: Version = version(4, 9);

/// Since when `gitlab.migrations.podAnnotations` is read: its template had a typo.
const MIGRATIONS_POD_ANNOTATIONS: Version = version(9, 4);

/// Reads the annotations of a chart's Pods.
pub(super) fn examine(own: &Branch<'_>, chart: &Subchart, version: Version, draft: &mut Draft<'_>) {
    let annotations = own.key("annotations");
    if version < chart.pods_since {
        let why = format!("the chart reads it from version {} on", chart.pods_since);
        return dead_on_pods(&annotations, &why, chart.component, draft);
    }
    let matching = pods_of(own, chart, version, draft);
    let mut layers = vec![annotations];
    if chart.component == Component::Migrations {
        let pods = own.key("podAnnotations");
        if version < MIGRATIONS_POD_ANNOTATIONS {
            let why = "a typo in the chart's template kept it from being read until 9.4.0";
            dead_on_pods(&pods, why, chart.component, draft);
        } else {
            layers.insert(0, pods);
        }
    }
    if chart.component == Component::Webservice && !own.key("deployments").members().is_empty() {
        return deployments(own, &layers, &matching, draft);
    }
    if let Some(granted) = granted(&layers, draft) {
        add_granted(granted, matching, draft);
    }
}

/// Returns what a rule looks at to find the Pods of a chart.
fn pods_of(own: &Branch<'_>, chart: &Subchart, version: Version, draft: &Draft<'_>) -> Match {
    if version >= PODS_HAVE_CHART {
        return of_component(chart.component);
    }
    let app = own.key("nameOverride").filled_text().or_else(|| chart.path.last().copied());
    let release = draft.terms.release.as_deref().unwrap_or("gitlab");
    let labels = [("app", app.unwrap_or_default()), ("release", release)];
    Match { labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(), ..Match::default() }
}

/// A Deployment of webservice inherits the annotations of the chart, and may say others.
fn deployments(own: &Branch<'_>, layers: &[Branch<'_>], matching: &Match, draft: &mut Draft<'_>) {
    let mut found = Vec::new();
    for deployment in own.key("deployments").members() {
        let name = deployment.last().to_owned();
        let annotations = deployment.at(&["pod", "annotations"]);
        if !is_dns_label(&name) && annotations.key(POD_ROLE).has_value() {
            let why = "its Deployment has a name that Kubernetes does not take";
            draft.value(&annotations.key(POD_ROLE), Fate::Stays, why, None);
            continue;
        }
        // An empty value does not take the place of the chart's.
        found.push((name, granted(&[&[annotations], layers].concat(), draft)));
    }
    let action = |rule: &Option<Rule>| rule.as_ref().map(|rule| rule.action.clone());
    let first = found.first().map(|(_, rule)| action(rule));
    let is_same = found.iter().all(|(_, rule)| Some(action(rule)) == first);
    for (name, rule) in found {
        let Some(rule) = rule else { continue };
        let mut matching = matching.clone();
        if !is_same {
            matching.labels.insert("gitlab.com/webservice-name".to_owned(), name);
        }
        add_granted(rule, matching, draft);
    }
}
