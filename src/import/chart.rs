//! Which charts are known, and since which version does each of them read which values?
//!
//! This is what the templates of GitLab's chart 4 to 9.10 do, and not what their documents say.

use std::collections::BTreeSet;

use super::gitlab::Gitlab;
use super::values::Values;
use super::version::{Version, version};
use super::{Draft, others, runner};
use crate::engine::object::component::Component;

/// The chart whose values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chart {
    /// Whether it is the chart of the runner alone.
    pub is_runner: bool,
    /// Its version.
    pub version: Version,
}

/// The keys at the top of the runner's own values, and those at the top of GitLab's.
const OF_RUNNER: [&str; 7] = [
    "gitlabUrl",
    "podAnnotations",
    "rbac",
    "runnerRegistrationToken",
    "runnerToken",
    "runners",
    "serviceAccount",
];
const OF_GITLAB: [&str; 4] = ["gitlab", "gitlab-runner", "global", "registry"];

impl Chart {
    /// Tells from the values which chart they are for; without a version, its newest one is meant.
    #[must_use]
    pub fn detect(values: &Values, version: Option<Version>) -> Self {
        let top = values.top();
        let has = |keys: &[&str]| keys.iter().any(|key| top.key(key).is_there());
        let is_runner = has(&OF_RUNNER) && !has(&OF_GITLAB);
        Self::new(is_runner, version)
    }

    /// Makes one whose kind is known.
    #[must_use]
    pub fn new(is_runner: bool, version: Option<Version>) -> Self {
        let newest = Version { major: if is_runner { 0 } else { 9 }, minor: u32::MAX };
        Self { is_runner, version: version.unwrap_or(newest) }
    }
}

/// A chart within GitLab's chart that GitLab writes itself.
#[derive(Debug)]
pub(super) struct Subchart {
    pub(super) component: Component,
    pub(super) path: &'static [&'static str],
    /// Since when it puts `annotations` on its Pods.
    pub(super) pods_since: Version,
    /// Since when it takes annotations for its ServiceAccount.
    pub(super) accounts_since: Version,
}

const fn row(
    component: Component,
    path: &'static [&'static str],
    pods_since: (u32, u32),
    accounts_since: (u32, u32),
) -> Subchart {
    Subchart {
        component,
        path,
        pods_since: version(pods_since.0, pods_since.1),
        accounts_since: version(accounts_since.0, accounts_since.1),
    }
}

pub(super) const SUBCHARTS: [Subchart; 14] = [
    row(Component::Webservice, &["gitlab", "webservice"], (4, 0), (4, 1)),
    row(Component::Sidekiq, &["gitlab", "sidekiq"], (1, 4), (4, 1)),
    row(Component::Toolbox, &["gitlab", "toolbox"], (5, 5), (5, 5)),
    row(Component::Registry, &["registry"], (1, 4), (4, 5)),
    row(Component::Gitaly, &["gitlab", "gitaly"], (1, 4), (4, 1)),
    row(Component::Praefect, &["gitlab", "praefect"], (4, 4), (5, 9)),
    row(Component::GitlabShell, &["gitlab", "gitlab-shell"], (1, 4), (4, 1)),
    row(Component::GitlabPages, &["gitlab", "gitlab-pages"], (4, 8), (4, 8)),
    row(Component::Kas, &["gitlab", "kas"], (4, 4), (4, 4)),
    row(Component::Migrations, &["gitlab", "migrations"], (4, 2), (4, 1)),
    row(Component::Mailroom, &["gitlab", "mailroom"], (8, 6), (4, 1)),
    row(Component::GitlabExporter, &["gitlab", "gitlab-exporter"], (5, 8), (4, 1)),
    row(Component::GeoLogcursor, &["gitlab", "geo-logcursor"], (2, 6), (4, 1)),
    row(Component::Spamcheck, &["gitlab", "spamcheck"], (5, 9), (5, 9)),
];

/// The chart that toolbox was before it was renamed.
pub(super) const TASK_RUNNER: Subchart = row(Component::Toolbox, &["gitlab", "task-runner"], (1, 4), (4, 1));
pub(super) const TASK_RUNNER_UNTIL: Version = version(5, 5);

/// Returns the components that GitLab's own charts make a ServiceAccount for.
pub(super) fn own_components() -> BTreeSet<Component> {
    SUBCHARTS.iter().map(|chart| chart.component).collect()
}

/// Reads the values of a chart.
pub(super) fn examine(values: &Values, chart: &Chart, draft: &mut Draft<'_>) {
    let top = values.top();
    if chart.is_runner {
        runner::examine(&top, runner::Setting::standalone(chart.version), draft);
    } else {
        Gitlab::new(&top, chart.version).examine(draft);
    }
    others::examine(&top, draft);
}
