//! Does one rule match one object, and if not, why not?

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use crate::engine::object::component::{Component, ComponentSet};
use crate::engine::object::provider::{ProviderSet, RoleOption};
use crate::engine::object::subject::{Kind, MAX_LABEL, MAX_NAME, Requester, Subject, value_of};
use crate::engine::rules::cost::Steps;
use crate::engine::rules::facts::Facts;
use crate::engine::rules::glob::Glob;
use crate::engine::rules::role_template::Role;
use crate::engine::yaml::Position;

/// One rule of a mapping.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name, which no other rule of the mapping has.
    pub name: Box<str>,
    /// The place where it stands in the mapping.
    pub at: Position,
    /// What it looks at in an object.
    pub criteria: Criteria,
    /// The providers that it decides for.
    pub providers: ProviderSet,
    /// What it does to an object that it matches.
    pub action: Action,
}

/// What a rule does with what it matches.
#[derive(Clone, Debug)]
pub enum Action {
    /// It gives a role.
    Role(Box<Grant>),
    /// It leaves the object alone.
    Skip,
    /// It takes the provider's annotations off, whoever set them.
    Remove,
}

/// A role and what goes with it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The role, whose placeholders each object fills.
    pub role: Role,
    /// `onConflict` as the rule says it. Where it is `None` the mapping's default holds, and `replace` for
    /// the Pods of jobs.
    pub on_conflict: Option<OnConflict>,
    /// The options of irsa.
    pub irsa: Rare<IrsaOptions>,
    /// The options of kube2iam and kiam.
    pub pod: Rare<PodOptions>,
}

impl Grant {
    /// Returns the value that the rule gives an option, as the annotation carries it, or `None` where the
    /// rule does not set the option.
    #[must_use]
    pub fn option(&self, option: RoleOption) -> Option<Cow<'_, str>> {
        fn text(value: Option<&str>) -> Option<Cow<'_, str>> {
            value.map(Cow::Borrowed)
        }
        match option {
            RoleOption::IrsaAudience => text(self.irsa.audience.as_deref()),
            RoleOption::IrsaStsRegionalEndpoints => {
                self.irsa.sts_regional_endpoints.map(|on| if on { "true" } else { "false" }.into())
            }
            RoleOption::IrsaTokenExpiration => {
                self.irsa.token_expiration.map(|seconds| seconds.to_string().into())
            }
            RoleOption::IrsaSkipContainers => text(self.irsa.skip_containers.as_deref()),
            RoleOption::PodExternalId => text(self.pod.external_id.as_deref()),
            RoleOption::PodSessionName => text(self.pod.session_name.as_deref()),
        }
    }
}

/// A part that few rules have. Where it has only default values it takes no memory on the heap.
#[derive(Clone, Debug, Default)]
pub struct Rare<T>(pub(super) Option<Box<T>>);

impl<T: Default + PartialEq> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self((value != T::default()).then(|| Box::new(value)))
    }
}

impl Deref for Rare<IrsaOptions> {
    type Target = IrsaOptions;

    fn deref(&self) -> &IrsaOptions {
        static NONE: IrsaOptions = IrsaOptions {
            audience: None,
            sts_regional_endpoints: None,
            token_expiration: None,
            annotate_pods: None,
            skip_containers: None,
        };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl Deref for Rare<PodOptions> {
    type Target = PodOptions;

    fn deref(&self) -> &PodOptions {
        static NONE: PodOptions = PodOptions { external_id: None, session_name: None };
        self.0.as_deref().unwrap_or(&NONE)
    }
}

/// What happens to a role on an object that differs from the rule's and is not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The role stays, with a warning.
    #[default]
    Keep,
    /// The rule's role takes its place, with a warning, and `gitlab-iam-webhook/was` keeps it.
    Replace,
}

/// What happens to our own values when no rule wins any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNoRule {
    /// Our values stay, and the object counts as an orphan.
    #[default]
    Keep,
    /// Our values come off, and the role that `replace` put away comes back.
    Remove,
}

/// The options of irsa.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IrsaOptions {
    /// The audience of the token.
    pub audience: Option<Box<str>>,
    /// Whether the SDK uses the endpoint of STS in its own region.
    pub sts_regional_endpoints: Option<bool>,
    /// How long a token is valid, in seconds from 600 to 86400.
    pub token_expiration: Option<u32>,
    /// Whether the role is written on Pods as well.
    pub annotate_pods: Option<bool>,
    /// The names of the containers that get no credentials, joined by commas.
    pub skip_containers: Option<Box<str>>,
}

/// The options of kube2iam and kiam.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodOptions {
    /// The external id for STS.
    pub external_id: Option<Box<str>>,
    /// The session name for STS.
    pub session_name: Option<Box<str>>,
}

/// The key of a label, and the globs of which its value must match one.
pub type LabelCriterion = (Box<str>, Box<[Glob]>);

/// What a rule looks at. An empty list stands for a criterion that the rule does not have.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// The components of `component`.
    pub components: ComponentSet,
    /// The globs of `namespace`.
    pub namespaces: Box<[Glob]>,
    /// The globs of `serviceAccount`.
    pub service_accounts: Box<[Glob]>,
    /// The globs of `release`.
    pub releases: Box<[Glob]>,
    /// The labels of `labels`.
    pub labels: Box<[LabelCriterion]>,
    /// The project ids of `project`.
    pub projects: Box<[Box<str>]>,
    /// The runners of `runner` as usernames, which are `system:serviceaccount:NAMESPACE:NAME`.
    pub runners: Box<[Box<str>]>,
    /// Whether the rule can match the Pods of CI jobs, because it names runner-job or only removes
    /// annotations.
    pub reaches_jobs: bool,
}

/// Why a rule does not match an object. It is the first criterion that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// The object is the Pod of a job, and the rule does not name runner-job.
    RunnerJob,
    /// The rule is about the Pods of jobs, and the object is none.
    NotAJob,
    /// The object is the ServiceAccount `default`, and the rule does not name it literally.
    DefaultAccount,
    /// The object is another component, or none.
    Component(Option<Component>),
    /// The object is in another namespace.
    Namespace(&'a str),
    /// The object has another ServiceAccount.
    ServiceAccount(&'a str),
    /// The object is of another release, or of none.
    Release(Option<&'a str>),
    /// The object's label of this key has another value, or is missing.
    Label(&'a str, Option<&'a str>),
    /// The job is of another project, or of none that is known.
    Project(Option<&'a str>),
    /// Somebody else requests the object, or nobody who is known.
    Runner(Option<&'a str>),
}

impl Criteria {
    /// Whether the rule is about the Pods of CI jobs. Only such rules, and those that say `remove`, ever
    /// match one.
    #[must_use]
    pub fn names_runner_job(&self) -> bool {
        self.components.contains(Component::RunnerJob) || self.needs_runner_job()
    }

    /// Whether the rule names the account `default` literally. Only such rules match that ServiceAccount.
    #[must_use]
    pub fn names_default_account(&self) -> bool {
        self.service_accounts.iter().any(|glob| glob.names("default"))
    }

    /// Whether the criteria can hold for nothing but the Pod of a CI job.
    fn needs_runner_job(&self) -> bool {
        !self.projects.is_empty() || !self.runners.is_empty()
    }

    /// Whether the criteria can hold for the ServiceAccount `default`, as Kubernetes makes it: it is no
    /// component, and has no labels.
    #[must_use]
    pub fn reach_default_account(&self) -> bool {
        self.names_default_account()
            && self.components.is_empty()
            && self.releases.is_empty()
            && self.labels.is_empty()
            && !self.needs_runner_job()
    }

    /// Returns the first criterion that does not hold, in the order in which people read them.
    #[must_use]
    pub fn mismatch<'a>(&'a self, subject: &Subject<'a>, facts: &Facts<'a>) -> Option<Mismatch<'a>> {
        if facts.is_job && !self.reaches_jobs {
            return Some(Mismatch::RunnerJob);
        }
        if !facts.is_job && self.needs_runner_job() {
            return Some(Mismatch::NotAJob);
        }
        let is_default = subject.kind == Kind::ServiceAccount && subject.service_account == "default";
        if is_default && !self.names_default_account() {
            return Some(Mismatch::DefaultAccount);
        }
        if !self.components.is_empty() && !facts.component.is_some_and(|c| self.components.contains(c)) {
            return Some(Mismatch::Component(facts.component));
        }
        if !holds(&self.namespaces, Some(subject.namespace), MAX_LABEL) {
            return Some(Mismatch::Namespace(subject.namespace));
        }
        if !holds(&self.service_accounts, Some(subject.service_account), MAX_NAME) {
            return Some(Mismatch::ServiceAccount(subject.service_account));
        }
        if !holds(&self.releases, facts.release, MAX_LABEL) {
            return Some(Mismatch::Release(facts.release));
        }
        for (key, globs) in &*self.labels {
            let value = value_of(subject.labels, key);
            if !holds(globs, value, MAX_LABEL) {
                return Some(Mismatch::Label(key, value));
            }
        }
        if !self.projects.is_empty()
            && !facts.project.is_some_and(|project| self.projects.iter().any(|p| **p == *project))
        {
            return Some(Mismatch::Project(facts.project));
        }
        let user = match subject.requester {
            Requester::User(user) => Some(user),
            Requester::Assumed | Requester::Unbelieved => None,
        };
        if !self.runners.is_empty() && !user.is_some_and(|user| self.runners.iter().any(|r| **r == *user)) {
            return Some(Mismatch::Runner(user));
        }
        None
    }

    /// Whether these criteria hold wherever those of `other` hold. In doubt the answer is no, and so it is
    /// where the steps are used up.
    #[must_use]
    pub fn covers(&self, other: &Self, steps: &mut Steps) -> bool {
        // A glob that is no literal matches Pods that run as `default`, but not the ServiceAccount.
        let default = !other.names_default_account() || self.names_default_account();
        default && self.covers_on_pods(other, steps)
    }

    /// Whether these criteria hold for every Pod for which those of `other` hold. In doubt the answer is no,
    /// and so it is where the steps are used up.
    #[must_use]
    pub fn covers_on_pods(&self, other: &Self, steps: &mut Steps) -> bool {
        let components = self.components.is_empty()
            || (!other.components.is_empty() && self.components.covers(other.components));
        // A rule that does not reach jobs does not cover one that does.
        let jobs = self.reaches_jobs || !other.reaches_jobs;
        if !components || !jobs || !steps.take(1 + self.labels.len() * other.labels.len()) {
            return false;
        }
        let mut globs = |wide: &[Glob], narrow: &[Glob]| covers(wide, narrow, |a, b| a.covers(b, steps));
        globs(&self.namespaces, &other.namespaces)
            && globs(&self.service_accounts, &other.service_accounts)
            && globs(&self.releases, &other.releases)
            && self.labels.iter().all(|(key, wide)| {
                other.labels.iter().any(|(other_key, narrow)| key == other_key && globs(wide, narrow))
            })
            && [(&self.projects, &other.projects), (&self.runners, &other.runners)]
                .into_iter()
                .all(|(wide, narrow)| covers(wide, narrow, |a, b| steps.take(1) && a == b))
    }
}

/// Whether each of `narrow` is covered by one of `wide`. Where `wide` is empty it covers everything.
fn covers<T>(wide: &[T], narrow: &[T], mut covers: impl FnMut(&T, &T) -> bool) -> bool {
    wide.is_empty()
        || (!narrow.is_empty() && narrow.iter().all(|narrow| wide.iter().any(|wide| covers(wide, narrow))))
}

/// Whether one of the globs matches, or there is none. A value longer than `longest` matches nothing:
/// Kubernetes has no such value, and the steps that matching takes are counted for that length.
fn holds(globs: &[Glob], value: Option<&str>, longest: usize) -> bool {
    globs.is_empty()
        || value.is_some_and(|value| value.len() <= longest && globs.iter().any(|glob| glob.matches(value)))
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn quoted(value: Option<&str>) -> String {
            value.map_or_else(|| "none".to_owned(), |value| format!("`{value}`"))
        }
        match self {
            Self::RunnerJob => {
                f.write_str("a rule that does not name runner-job writes nothing on the Pod of a CI job")
            }
            Self::NotAJob => f.write_str("it is about the Pods of CI jobs, and this is none"),
            Self::DefaultAccount => {
                f.write_str("the ServiceAccount `default` is matched only by rules that name it literally")
            }
            Self::Component(component) => {
                write!(f, "component: the object's is {}", quoted(component.map(Component::name)))
            }
            Self::Namespace(namespace) => write!(f, "namespace: the object's is `{namespace}`"),
            Self::ServiceAccount(name) => write!(f, "serviceAccount: the object's is `{name}`"),
            Self::Release(release) => write!(f, "release: the object's is {}", quoted(*release)),
            Self::Label(key, value) => write!(f, "labels.{key}: the object's is {}", quoted(*value)),
            Self::Project(project) => write!(f, "project: the job's is {}", quoted(*project)),
            Self::Runner(Some(user)) => write!(f, "runner: requested by `{user}`"),
            Self::Runner(None) => f.write_str("runner: the requester is not known here"),
        }
    }
}
