//! Which part of GitLab is this object?
//!
//! A component is known by the label `chart`, which holds the sub-chart's own name and version: no value of a
//! chart renames it. The label `app` follows `nameOverride`, and `app.kubernetes.io/name` is the release on
//! GitLab's Pods. ServiceAccounts have carried `chart` since chart 4.0, Pods since 4.9 (the Pod of minio's
//! bucket Job since 4.13). An older Pod carries only `app` and `release`, which many charts write. It is no
//! component, and is only said to look like one. `tests/data/gitlab-objects.yaml` holds the objects of the
//! charts.

use std::borrow::Cow;

use crate::engine::json::find_either;
use crate::engine::object::subject::{Kind, Pair};

/// A part of GitLab that a mapping can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table below says what each of them is")]
pub enum Component {
    Webservice,
    Sidekiq,
    Toolbox,
    Registry,
    RegistryMigrations,
    Gitaly,
    Praefect,
    GitlabShell,
    GitlabPages,
    Kas,
    Migrations,
    Mailroom,
    GitlabExporter,
    GeoLogcursor,
    Spamcheck,
    Zoekt,
    Openbao,
    Minio,
    Runner,
    RunnerJob,
}

/// Who makes the component's objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// GitLab's own charts make it. They are what `"*"` stands for.
    Gitlab,
    /// A chart of another project makes it, which GitLab's chart includes.
    Vendored,
    /// GitLab Runner makes it, without a chart.
    Runner,
}

struct Row {
    component: Component,
    name: &'static str,
    /// The names of the sub-charts that make it, the newest first.
    charts: &'static [&'static str],
    origin: Origin,
    /// Only Pods are this component, never ServiceAccounts.
    pods_only: bool,
}

const fn row(
    component: Component,
    name: &'static str,
    charts: &'static [&'static str],
    origin: Origin,
    pods_only: bool,
) -> Row {
    Row { component, name, charts, origin, pods_only }
}

/// One row for each component, in the order of [`Component`]: `rows_stand_in_the_order_of_the_enum` checks
/// it.
const TABLE: [Row; 20] = [
    row(Component::Webservice, "webservice", &["webservice"], Origin::Gitlab, false),
    row(Component::Sidekiq, "sidekiq", &["sidekiq"], Origin::Gitlab, false),
    // Chart 5.5.0 renamed task-runner to toolbox.
    row(Component::Toolbox, "toolbox", &["toolbox", "task-runner"], Origin::Gitlab, false),
    row(Component::Registry, "registry", &["registry"], Origin::Gitlab, false),
    // These are the Jobs of the registry chart, which `recognise` tells apart.
    row(Component::RegistryMigrations, "registry-migrations", &[], Origin::Gitlab, true),
    row(Component::Gitaly, "gitaly", &["gitaly"], Origin::Gitlab, false),
    row(Component::Praefect, "praefect", &["praefect"], Origin::Gitlab, false),
    row(Component::GitlabShell, "gitlab-shell", &["gitlab-shell"], Origin::Gitlab, false),
    row(Component::GitlabPages, "gitlab-pages", &["gitlab-pages"], Origin::Gitlab, false),
    row(Component::Kas, "kas", &["kas"], Origin::Gitlab, false),
    row(Component::Migrations, "migrations", &["migrations"], Origin::Gitlab, false),
    row(Component::Mailroom, "mailroom", &["mailroom"], Origin::Gitlab, false),
    row(Component::GitlabExporter, "gitlab-exporter", &["gitlab-exporter"], Origin::Gitlab, false),
    row(Component::GeoLogcursor, "geo-logcursor", &["geo-logcursor"], Origin::Gitlab, false),
    row(Component::Spamcheck, "spamcheck", &["spamcheck"], Origin::Gitlab, false),
    row(Component::Zoekt, "zoekt", &["gitlab-zoekt"], Origin::Vendored, false),
    row(Component::Openbao, "openbao", &["openbao"], Origin::Vendored, false),
    // GitLab's chart repository has its own minio, which always runs as `default`.
    row(Component::Minio, "minio", &["minio"], Origin::Gitlab, true),
    row(Component::Runner, "runner", &["gitlab-runner"], Origin::Vendored, false),
    row(Component::RunnerJob, "runner-job", &[], Origin::Runner, true),
];

impl Component {
    /// Returns every component.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.component)
    }

    /// How many components there are. `component as usize` is less than that.
    pub const COUNT: usize = TABLE.len();

    /// Returns the name that a mapping uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.get(self as usize).map_or("", |row| row.name)
    }

    /// Returns the component that a mapping calls so. `task-runner` is taken for toolbox.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "task-runner" { "toolbox" } else { name };
        TABLE.iter().find(|row| row.name == name).map(|row| row.component)
    }

    /// Whether only Pods are this component, never ServiceAccounts: runner-job, registry-migrations, minio.
    #[must_use]
    pub fn is_pods_only(self) -> bool {
        TABLE.get(self as usize).is_some_and(|row| row.pods_only)
    }

    /// Returns what is said of a Pod that looks like this component, but lacks the `chart` label.
    #[must_use]
    pub fn resemblance(self) -> String {
        let labelled_since = if self == Self::Minio { "4.13" } else { "4.9" };
        format!("looks like {} of a chart before {labelled_since}: match it by its labels", self.name())
    }

    /// Returns what gives the component's Pods a ServiceAccount of their own. It is `None` where no value of
    /// a chart does: minio always runs as `default`, and the runner chooses the account of a job.
    #[must_use]
    pub fn account_advice(self) -> Option<&'static str> {
        let origin = TABLE.get(self as usize).map(|row| row.origin)?;
        match origin {
            Origin::Gitlab if self == Self::Minio => None,
            Origin::Gitlab => Some("set global.serviceAccount.enabled=true in the values of GitLab's chart"),
            Origin::Vendored => Some("give it a ServiceAccount in the values of its own chart"),
            Origin::Runner => None,
        }
    }

    fn from_chart(chart: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.charts.contains(&chart)).map(|row| row.component)
    }
}

/// A set of components, such as those that a rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComponentSet(u32);

impl ComponentSet {
    /// Returns what `"*"` stands for: every component that GitLab's own charts make.
    #[must_use]
    pub fn gitlab() -> Self {
        TABLE
            .iter()
            .filter(|row| row.origin == Origin::Gitlab)
            .fold(Self::default(), |set, row| set.with(row.component))
    }

    /// Adds a component. With `registry` come its migration Jobs, which share its ServiceAccount.
    #[must_use]
    pub fn with(self, component: Component) -> Self {
        let migrations =
            if component == Component::Registry { 1 << Component::RegistryMigrations as u32 } else { 0 };
        Self(self.0 | 1 << component as u32 | migrations)
    }

    /// Adds all components of another set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set holds this component.
    #[must_use]
    pub fn contains(self, component: Component) -> bool {
        self.0 & 1 << component as u32 != 0
    }

    /// Whether the set holds all components of another.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether the set holds no component.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the components one after the other.
    pub fn iter(self) -> impl Iterator<Item = Component> {
        Component::all().filter(move |component| self.contains(*component))
    }
}

/// What an object's labels claim about it. Whether that is believed is for `rules::facts` to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims<'a> {
    /// The component. It is never runner-job, which no label proves.
    pub component: Option<Component>,
    /// The component that a Pod looks like, where it has none but carries the labels that Pods of charts
    /// before 4.9 have.
    pub resembles: Option<Component>,
    /// The Helm release. It is the label `release`, or `app.kubernetes.io/instance` for charts that do not
    /// write that.
    pub release: Option<&'a str>,
    /// The GitLab project that `project.runner.gitlab.com/id` names.
    pub project: Option<&'a str>,
    /// Whether it carries labels that GitLab Runner writes on the Pods of jobs, or the annotation that it
    /// wrote before version 17.9.
    pub runner_labels: bool,
}

/// Reads what the labels claim.
#[must_use]
pub fn recognise<'a>(kind: Kind, labels: &'a [Pair<'a>], annotations: &'a [Pair<'a>]) -> Claims<'a> {
    let mut chart = None;
    let mut helm_chart = None;
    let mut app = None;
    let mut release = None;
    let mut instance = None;
    let mut name = None;
    let mut part = None;
    let mut by_operator = false;
    let mut of_job = false;
    let mut project = None;
    let mut runner_labels = false;
    for (key, value) in labels {
        let value: &'a Cow<'a, str> = value;
        let slot = match key.as_ref() {
            "chart" => &mut chart,
            "helm.sh/chart" => &mut helm_chart,
            "app" => &mut app,
            "release" => &mut release,
            "app.kubernetes.io/instance" => &mut instance,
            "app.kubernetes.io/name" => &mut name,
            "app.kubernetes.io/component" => &mut part,
            "app.kubernetes.io/managed-by" => {
                by_operator = value == "gitlab-operator";
                continue;
            }
            "job-name" | "batch.kubernetes.io/job-name" => {
                of_job = true;
                continue;
            }
            "project.runner.gitlab.com/id" => {
                runner_labels = true;
                &mut project
            }
            key => {
                runner_labels |= is_runner_key(key.as_bytes());
                continue;
            }
        };
        *slot = Some(value.as_ref());
    }
    // Runners before 17.9 set no labels of their own. They set only this annotation.
    runner_labels |= annotations.iter().any(|(key, _)| key == "job.runner.gitlab.com/id");

    let by_chart = || {
        // GitLab's charts, minio and the runner carry all three.
        let (Some(chart), Some(_), Some(_)) = (chart, app, release) else {
            return None;
        };
        Component::from_chart(chart_name(chart)?)
    };
    let vendored = || {
        // The Pods of zoekt and openbao have no `app`, `chart` or `release`.
        instance?;
        let chart = helm_chart.and_then(chart_name).or(name)?;
        Component::from_chart(chart)
            .filter(|component| matches!(component, Component::Zoekt | Component::Openbao))
    };
    let operator = || {
        let component = Component::from_name(part.filter(|_| by_operator)?)?;
        (component != Component::RunnerJob).then_some(component)
    };
    let component = by_chart().or_else(vendored).or_else(operator);
    let component = match component {
        // Up to chart 8.3.0 the migration Job says `app: registry`; the registry chart makes no other Job.
        Some(Component::Registry) if kind == Kind::Pod && of_job => Some(Component::RegistryMigrations),
        // `helm test` makes a bare Pod that carries the labels of webservice.
        Some(_) if kind == Kind::Pod && is_helm_test(annotations) => None,
        component => component,
    };
    let resembles = || {
        let component = Component::from_chart(app.filter(|_| chart.is_none() && release.is_some())?)?;
        let is_old = ComponentSet::gitlab().contains(component) && !is_helm_test(annotations);
        is_old.then_some(component)
    };
    let resembles = if kind == Kind::Pod && component.is_none() { resembles() } else { None };
    Claims { component, resembles, release: release.or(instance), project, runner_labels }
}

/// Returns the name of a chart from the value of its label: `webservice` of `webservice-9.10.0`.
fn chart_name(label: &str) -> Option<&str> {
    label
        .match_indices('-')
        .find(|(dash, _)| label.as_bytes().get(dash + 1).is_some_and(u8::is_ascii_digit))
        .and_then(|(dash, _)| label.get(..dash))
}

/// Whether a label belongs to GitLab Runner, because its domain is `runner.gitlab.com` or ends with that.
pub(super) fn is_runner_key(key: &[u8]) -> bool {
    let domain = find_either(key, b'/', b'/').and_then(|slash| key.get(..slash));
    let start = domain.and_then(|domain| domain.strip_suffix(b"runner.gitlab.com"));
    start.is_some_and(|start| start.last().is_none_or(|last| *last == b'.'))
}

/// Whether the object is the Pod of `helm test`.
fn is_helm_test(annotations: &[Pair<'_>]) -> bool {
    annotations.iter().any(|(key, value)| {
        key == "helm.sh/hook" && value.split(',').any(|hook| hook.trim().starts_with("test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<Pair<'a>> {
        pairs.iter().map(|(key, value)| (Cow::Borrowed(*key), Cow::Borrowed(*value))).collect()
    }

    fn of(kind: Kind, labels: &[(&str, &str)]) -> Option<Component> {
        recognise(kind, &pairs(labels), &[]).component
    }

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.component as usize, index);
            assert_eq!(Component::from_name(row.name), Some(row.component));
        }
    }

    #[test]
    fn the_star_is_gitlabs_own_charts() {
        let star = ComponentSet::gitlab();
        for name in ["runner", "runner-job", "zoekt", "openbao"] {
            assert!(!star.contains(Component::from_name(name).unwrap()), "{name}");
        }
        assert_eq!(star.iter().count(), 16);
    }

    #[test]
    fn name_override_does_not_hide_a_component() {
        let labels = [("app", "web"), ("chart", "webservice-9.10.0"), ("release", "prod")];
        assert_eq!(of(Kind::ServiceAccount, &labels), Some(Component::Webservice));
        let labels = [("app", "x"), ("chart", "geo-logcursor-9.10.0-beta.1"), ("release", "prod")];
        assert_eq!(of(Kind::Pod, &labels), Some(Component::GeoLogcursor));
    }

    #[test]
    fn objects_without_the_charts_labels_are_no_component() {
        assert_eq!(of(Kind::Pod, &[("app", "webservice")]), None);
        assert_eq!(of(Kind::Pod, &[("app", "webservice"), ("release", "gitlab")]), None);
        assert_eq!(of(Kind::Pod, &[("app", "webservice"), ("chart", "webservice"), ("release", "x")]), None);
        assert_eq!(of(Kind::Pod, &[("app", "x"), ("chart", "webservices-1.0"), ("release", "x")]), None);
        // Only zoekt and openbao are known by `app.kubernetes.io/name`.
        let labels = [("app.kubernetes.io/name", "registry"), ("app.kubernetes.io/instance", "x")];
        assert_eq!(of(Kind::Pod, &labels), None);
    }

    #[test]
    fn a_pod_of_an_old_chart_is_no_component_and_looks_like_one() {
        let looks_like = |kind, labels: &[(&str, &str)], annotations: &[(&str, &str)]| {
            let (labels, annotations) = (pairs(labels), pairs(annotations));
            let claims = recognise(kind, &labels, &annotations);
            assert_eq!(claims.component, None);
            claims.resembles.map(Component::resemblance)
        };
        let sidekiq = [("app", "sidekiq"), ("release", "prod"), ("pod-template-hash", "5d6f7c9b8b")];
        assert_eq!(
            looks_like(Kind::Pod, &sidekiq, &[]).unwrap(),
            "looks like sidekiq of a chart before 4.9: match it by its labels"
        );
        let task_runner = [("app", "task-runner"), ("release", "prod"), ("job-name", "backup")];
        assert!(looks_like(Kind::Pod, &task_runner, &[]).unwrap().starts_with("looks like toolbox of"));
        let buckets = [("app", "minio"), ("release", "prod"), ("job-name", "create-buckets")];
        assert!(looks_like(Kind::Pod, &buckets, &[]).unwrap().contains("before 4.13"));
        // Each of these looks like no component, for a reason of its own.
        assert_eq!(looks_like(Kind::ServiceAccount, &sidekiq, &[]), None);
        assert_eq!(looks_like(Kind::Pod, &sidekiq[..1], &[]), None);
        assert_eq!(looks_like(Kind::Pod, &sidekiq[1..], &[]), None);
        assert_eq!(looks_like(Kind::Pod, &sidekiq, &[("helm.sh/hook", "test")]), None);
        for (app, chart) in
            [("sidekiq", "other-1.0.0"), ("other", ""), ("gitlab-zoekt", ""), ("gitlab-runner", "")]
        {
            let labels = [("app", app), ("release", "prod"), ("chart", chart)];
            let labels = if chart.is_empty() { &labels[..2] } else { &labels };
            assert_eq!(looks_like(Kind::Pod, labels, &[]), None, "{app}");
        }
    }

    #[test]
    fn zoekts_gateway_and_zoekt_under_another_name_are_no_component() {
        for name in ["gitlab-zoekt-gateway", "search", "search-gateway"] {
            let labels = [("app.kubernetes.io/name", name), ("app.kubernetes.io/instance", "gitlab")];
            assert_eq!(of(Kind::Pod, &labels), None, "{name}");
        }
        // Its ServiceAccount names its chart, so it is known under any name.
        let labels = [
            ("helm.sh/chart", "gitlab-zoekt-3.8.2"),
            ("app.kubernetes.io/name", "search"),
            ("app.kubernetes.io/instance", "gitlab"),
        ];
        assert_eq!(of(Kind::ServiceAccount, &labels), Some(Component::Zoekt));
    }

    #[test]
    fn the_registrys_migration_job_is_told_apart_in_old_and_new_charts() {
        let base = [("app", "registry"), ("chart", "registry-0.7.0"), ("release", "gitlab")];
        assert_eq!(of(Kind::Pod, &base), Some(Component::Registry));
        let job = [base[0], base[1], base[2], ("job-name", "gitlab-registry-migrations-2d46d25")];
        assert_eq!(of(Kind::Pod, &job), Some(Component::RegistryMigrations));
        assert_eq!(of(Kind::ServiceAccount, &job), Some(Component::Registry));
    }

    #[test]
    fn the_operators_labels_are_enough() {
        let labels = [
            ("app.kubernetes.io/component", "sidekiq"),
            ("app.kubernetes.io/instance", "gitlab-sidekiq"),
            ("app.kubernetes.io/managed-by", "gitlab-operator"),
        ];
        assert_eq!(of(Kind::Pod, &labels), Some(Component::Sidekiq));
        assert_eq!(of(Kind::Pod, &labels[..2]), None);
    }

    #[test]
    fn runner_keys_are_those_of_the_runners_domain() {
        for key in
            ["project.runner.gitlab.com/id", "runner.gitlab.com/pause-pod", "manager.runner.gitlab.com/name"]
        {
            assert!(is_runner_key(key.as_bytes()), "{key}");
        }
        for key in
            ["runner.gitlab.com", "evilrunner.gitlab.com/id", "project.runner.gitlab.com.evil/id", "app"]
        {
            assert!(!is_runner_key(key.as_bytes()), "{key}");
        }
    }
}
