//! What do people have today, as a mapping?
//!
//! The values of GitLab's charts, the objects of a namespace, or the ConfigMap of the EKS webhook become
//! rules that give the same roles, and never more. What would give more, or cannot be told, is said instead.
//! Nothing in here does I/O.

mod chart;
mod eks_config_map;
mod gitlab;
mod judge;
mod mapping_text;
mod objects;
mod others;
mod pods;
mod role;
mod rule;
mod runner;
mod set;
mod values;
mod version;

use std::collections::BTreeSet;

use crate::engine::mapping;
use crate::engine::object::provider::{IRSA_ROLE, POD_ROLE, Provider};
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::inventory::{Inventory, Listed};
pub use chart::Chart;
pub use mapping_text::mapping_text;
pub use rule::{Action, Match, Options, Rule};
pub use set::SetError;
pub use values::{MAX_BYTES, Values, ValuesError};
pub use version::{NoVersion, Version};

/// The annotations that hold a role.
const ROLE_KEYS: [&str; 2] = [IRSA_ROLE, POD_ROLE];

/// The most remarks, suggestions and notes about values of each kind that are kept.
const MOST_SAID: usize = 1_000;

/// How rules are made.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The namespaces of the rules; none where they are to hold in every opted-in namespace.
    pub namespaces: Vec<String>,
    /// The Helm release, where it is known. Without it, the chart's own documents' `gitlab` is meant, and no
    /// rule names it.
    pub release: Option<String>,
    /// Whether kube2iam or kiam reads the annotation of Pods.
    pub pod_provider: Provider,
    /// What kube2iam or kiam puts before a role without an ARN, where that is known.
    pub base_role_arn: Option<String>,
    /// Whether only what belongs to GitLab is taken, and not every ServiceAccount with a role.
    pub only_gitlab: bool,
}

/// What was made of it.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The rules, in the order in which they have to stand.
    pub rules: Vec<Rule>,
    /// Rules that somebody has to decide on, because they would give more than there was.
    pub suggestions: Vec<Suggestion>,
    /// What becomes of the values that name roles.
    pub values: Vec<ValueNote>,
    /// What else is worth knowing.
    pub remarks: Vec<String>,
    /// What could not be read. Roles may be missing from the rules because of it.
    pub unread: Vec<String>,
}

/// A rule that would give more than there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// Why it is no rule, and what has to be decided.
    pub why: String,
    /// The text of the rule.
    pub rule: String,
}

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueNote {
    /// The path, as `registry.annotations."iam.amazonaws.com/role"`.
    pub path: String,
    /// The keys of the path, one after the other; an index of a list is `[0]`.
    pub steps: Vec<String>,
    /// The place where it stands, as `values.yaml:3:5`.
    pub place: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, in a sentence without a full stop.
    pub why: String,
    /// What to do instead, as an imperative sentence without a full stop.
    pub instead: Option<String>,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// A rule takes its place, so that it can be deleted.
    Imported,
    /// It never did anything, and can be deleted.
    Dead,
    /// It has to stay, because no rule takes its place.
    Stays,
}

/// A value that does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadValue {
    /// The path, as `global.platform.eksRoleArn`.
    pub path: String,
    /// The place where it stands, as `values.yaml:3:5`.
    pub place: String,
    /// Why it does nothing, in a sentence without a full stop.
    pub why: String,
    /// What to do instead, as an imperative sentence without a full stop.
    pub instead: Option<String>,
}

impl Fate {
    /// The word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Dead => "dead",
            Self::Stays => "stays",
        }
    }
}

/// Makes rules of a chart's values.
#[must_use]
pub fn from_values(values: &Values, chart: &Chart, terms: &Terms) -> Import {
    let mut draft = Draft::new(terms);
    for (path, lost, won) in values.overridden() {
        draft.remark(format!("{path} of {lost} counts no more: {won} says something else, and comes later"));
    }
    chart::examine(values, chart, &mut draft);
    let mut import = draft.finish();
    let is_wide = import.rules.iter().any(|rule| !rule.matching.components.is_empty());
    if is_wide && terms.release.is_none() {
        let words = "the rules by component hold for every release of GitLab in the namespace: name the \
            release with --release where there is more than one";
        import.remarks.push(words.to_owned());
    }
    import
}

/// Makes rules of what the objects of a cluster or of manifests carry. Every ConfigMap among them is taken as
/// one that the EKS webhook reads.
#[must_use]
pub fn from_objects(inventory: &Inventory, terms: &Terms) -> Import {
    let mut draft = Draft::new(terms);
    for unread in &inventory.unread {
        let words = format!("{unread} ({})", unread.why);
        draft.remark(format!("not looked at: {words}"));
        // Labels of Namespaces are not needed here.
        if unread.kind != Listed::Namespaces {
            draft.unread.push(words);
        }
    }
    eks_config_map::examine(inventory, &mut draft);
    objects::examine(inventory, &mut draft);
    draft.finish()
}

/// Tells which values do nothing, and why.
#[must_use]
pub fn dead_values(values: &Values, chart: &Chart) -> Vec<DeadValue> {
    let terms = Terms {
        namespaces: Vec::new(),
        release: None,
        pod_provider: Provider::Kube2iam,
        base_role_arn: None,
        only_gitlab: false,
    };
    let notes = from_values(values, chart, &terms).values.into_iter();
    notes
        .filter(|note| note.fate == Fate::Dead)
        .map(|ValueNote { path, place, why, instead, .. }| DeadValue { path, place, why, instead })
        .collect()
}

/// An import while it is made.
struct Draft<'t> {
    terms: &'t Terms,
    rules: Vec<Rule>,
    suggested: Vec<(String, Rule)>,
    suggestions: Vec<Suggestion>,
    values: Vec<ValueNote>,
    /// The values of which something was said.
    judged: BTreeSet<Vec<String>>,
    remarks: Vec<String>,
    unread: Vec<String>,
}

impl<'t> Draft<'t> {
    fn new(terms: &'t Terms) -> Self {
        Self {
            terms,
            rules: Vec::new(),
            suggested: Vec::new(),
            suggestions: Vec::new(),
            values: Vec::new(),
            judged: BTreeSet::new(),
            remarks: Vec::new(),
            unread: Vec::new(),
        }
    }

    fn remark(&mut self, text: String) {
        if self.remarks.len() < MOST_SAID && !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// Says what becomes of a value. What was said of it first counts.
    fn value(&mut self, branch: &values::Branch<'_>, fate: Fate, why: &str, instead: Option<&str>) {
        if self.values.len() >= MOST_SAID || !self.judged.insert(branch.steps().to_vec()) {
            return;
        }
        self.values.push(ValueNote {
            path: branch.path(),
            steps: branch.steps().to_vec(),
            place: branch.place(),
            fate,
            why: why.to_owned(),
            instead: instead.map(str::to_owned),
        });
    }

    /// Suggests a rule that gives more than there was.
    fn suggest(&mut self, why: &str, rule: Rule) {
        self.suggested.push((why.to_owned(), rule));
    }

    /// Tries each rule by itself, so that none is given that `check` refuses, and puts them in order.
    fn finish(mut self) -> Import {
        self.rules.retain(|rule| match problem_of(rule) {
            None => true,
            Some(problem) => {
                let what = rule.from.iter().next().map_or("a role", String::as_str);
                self.remarks.push(format!("{what} became no rule: {problem}"));
                false
            }
        });
        let rules = rule::grouped(self.rules);
        let mut suggestions = self.suggestions;
        for (why, rule) in rule::grouped_by(self.suggested) {
            // Where the same is given already, there is nothing to decide.
            let is_given = rules.iter().any(|given| given.gives_as(&rule));
            if !is_given && problem_of(&rule).is_none() && suggestions.len() < MOST_SAID {
                suggestions.push(Suggestion { why, rule: mapping_text::rule_text(&rule) });
            }
        }
        self.values.sort_by(|a, b| (a.fate, &a.steps).cmp(&(b.fate, &b.steps)));
        Import { rules, suggestions, values: self.values, remarks: self.remarks, unread: self.unread }
    }
}

/// Returns what `check` would say against a rule. One that looks at nothing yet is tried as one that does.
fn problem_of(rule: &Rule) -> Option<String> {
    let mut rule = rule.clone();
    if rule.matching == Match::default() {
        rule.matching.service_accounts.insert("any".to_owned());
    }
    let text = format!("rules:\n{}", mapping_text::rule_text(&rule));
    match mapping::compile(&text, &OperatorPolicy::default()) {
        Ok(_) => None,
        Err(problems) => problems.first.first().map(|problem| problem.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn terms() -> Terms {
        Terms {
            namespaces: vec!["gitlab".to_owned()],
            release: None,
            pod_provider: Provider::Kube2iam,
            base_role_arn: None,
            only_gitlab: false,
        }
    }

    pub(super) fn import(text: &str, sets: &[&str]) -> Import {
        let mut values = Values::default();
        values.merge("values.yaml", text).unwrap();
        for set in sets {
            values.set(set, false).unwrap();
        }
        from_values(&values, &Chart::detect(&values, None), &terms())
    }

    const ARN: &str = "arn:aws:iam::123456789012:role/r";

    /// The values that are dead, with a word of why each of them is.
    fn dead(text: &str, version: Option<&str>) -> Vec<(String, String)> {
        let mut values = Values::default();
        values.merge("values.yaml", &text.replace("ARN", ARN)).unwrap();
        let chart = Chart::detect(&values, version.map(|version| version.parse().unwrap()));
        dead_values(&values, &chart).into_iter().map(|dead| (dead.path, dead.why)).collect()
    }

    #[test]
    fn a_value_is_dead_where_it_does_nothing_and_only_there() {
        let irsa = "annotations: {eks.amazonaws.com/role-arn: ARN}";
        let pods = "annotations: {iam.amazonaws.com/role: r}";
        let enabled = "global: {serviceAccount: {enabled: true}}";
        // The values, the version, and what the reason says; `None` where nothing is dead.
        let cases = [
            ("global: {platform: {eksRoleArn: 'ARN'}}".to_owned(), None, Some("4.11 and 4.12 only")),
            (
                "global: {platform: {eksRoleArn: 'ARN'}}".to_owned(),
                Some("4.12"),
                Some("reads ServiceAccounts"),
            ),
            (format!("gitlab: {{task-runner: {{{pods}}}}}"), None, Some("renamed task-runner")),
            (format!("gitlab: {{task-runner: {{{pods}}}}}"), Some("5.4"), None),
            (format!("gitlab: {{toolbox: {{{pods}}}}}"), Some("5.4"), Some("from version 5.5 on")),
            (format!("gitlab: {{toolbox: {{{pods}}}}}"), None, None),
            (format!("gitlab: {{mailroom: {{{pods}}}}}"), Some("8.5"), Some("from version 8.6 on")),
            (
                format!("gitlab: {{sidekiq: {{pods: [{{{pods}}}]}}}}"),
                None,
                Some("does not read annotations here"),
            ),
            (format!("global: {{deployment: {{{pods}}}}}"), None, Some("on the Deployment itself")),
            (format!("registry: {{{irsa}}}"), None, Some("nothing reads it on Pods")),
            (format!("registry: {{serviceAccount: {{{irsa}}}}}"), None, Some("`serviceAccount.enabled`")),
            (format!("registry: {{serviceAccount: {{enabled: true, {irsa}}}}}"), None, None),
            (format!("{enabled}\nregistry: {{serviceAccount: {{{irsa}}}}}"), None, None),
            (
                format!("{enabled}\nregistry: {{serviceAccount: {{{pods}}}}}"),
                None,
                Some("kube2iam and kiam read Pods"),
            ),
            (
                format!("{enabled}\nregistry: {{serviceAccount: {{create: false, name: r}}}}"),
                None,
                Some("all the same"),
            ),
            (
                "registry: {serviceAccount: {create: false, name: r}}".to_owned(),
                None,
                Some("run as `default`"),
            ),
            ("global: {serviceAccount: {enabled: true, create: false, name: r}}".to_owned(), None, None),
            ("global: {serviceAccount: {create: false, name: r}}".to_owned(), None, Some("run as `default`")),
            (
                format!(
                    "global: {{serviceAccount: {{enabled: true, {irsa}}}}}\nregistry: {{serviceAccount: {{{irsa}}}}}"
                ),
                None,
                Some("takes the place of every chart's own"),
            ),
            (
                "gitlab: {migrations: {podAnnotations: {iam.amazonaws.com/role: r}}}".to_owned(),
                Some("9.3"),
                Some("typo"),
            ),
            ("gitlab: {migrations: {podAnnotations: {iam.amazonaws.com/role: r}}}".to_owned(), None, None),
            ("runners: {serviceAccountName: x}".to_owned(), None, Some("0.53.0")),
            ("runners: {podAnnotations: {iam.amazonaws.com/role: r}}".to_owned(), Some("0.52.0"), None),
            ("gitlab-runner: {runners: {serviceAccountName: x}}".to_owned(), None, Some("0.53.0")),
            (
                "rbac: {serviceAccountAnnotations: {eks.amazonaws.com/role-arn: ARN}}".to_owned(),
                None,
                Some("makes no"),
            ),
            (
                "rbac: {create: true, serviceAccountAnnotations: {eks.amazonaws.com/role-arn: ARN}}"
                    .to_owned(),
                None,
                None,
            ),
            (
                "rbac: {create: true, serviceAccountName: x}".to_owned(),
                None,
                Some("only where it makes none"),
            ),
            (
                "gitlab-runner: {rbac: {serviceAccountAnnotations: {eks.amazonaws.com/role-arn: ARN}}}"
                    .to_owned(),
                None,
                None,
            ),
            (
                format!("gitlab-runner: {{serviceAccount: {{create: true, {irsa}}}}}"),
                Some("8.0"),
                Some("from 0.66.0 on"),
            ),
            (format!("certmanager: {{serviceAccount: {{{irsa}}}}}"), None, None),
        ];
        for (text, version, why) in cases {
            let found = dead(&text, version);
            match why {
                None => assert_eq!(found, [], "{text}"),
                Some(why) => assert!(found.len() == 1 && found[0].1.contains(why), "{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn set_is_read_as_helm_reads_it() {
        let values = |sets: &[&str]| {
            let mut values = Values::default();
            for set in sets {
                values.set(set, false).unwrap();
            }
            values
        };
        let read = values(&[r"a.b\.c=x\,y,l={1,z},n[1].k=v,t=true,e=,z=007", "n[0]=w"]);
        let text = |path: &[&str]| read.top().at(path).text().map(str::to_owned);
        assert_eq!(text(&["a", "b.c"]).as_deref(), Some("x,y"));
        assert_eq!((text(&["e"]).as_deref(), text(&["z"]).as_deref()), (Some(""), Some("007")));
        assert!(read.top().key("t").is_true());
        let members = |key: &str| -> Vec<String> {
            let members = read.top().key(key).members();
            members
                .iter()
                .map(|member| member.key("k").text().or_else(|| member.text()).unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            (members("l"), members("n")),
            (vec!["1".to_owned(), "z".to_owned()], vec!["w".to_owned(), "v".to_owned()])
        );
        // `null` takes a default away, and text is true to a template even where it says false.
        let nulled = values(&["global.serviceAccount.create=null"]);
        assert!(!nulled.top().at(&["global", "serviceAccount", "create"]).is_true_or(true));
        let mut as_text = Values::default();
        as_text.set("a=false", true).unwrap();
        assert!(as_text.top().key("a").is_true());
        let deep = format!("{}a=1", "a.".repeat(40));
        let mut refused = Values::default();
        for bad in ["=1", "a..b=1", "a[1=2", "a[-1]=2", &deep, "a[60000]=1,b[60000]=1"] {
            assert!(refused.set(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_beginning_of_what_others_wrote_is_shown_and_values_never_are() {
        let made = import(
            "global: {psql: {password: planted}}\nregistry: {annotations: {iam.amazonaws.com/role: x y}}",
            &[],
        );
        assert_eq!(made.rules, []);
        assert_eq!(made.values[0].fate, Fate::Dead);
        assert!(!format!("{made:?}").contains("planted"));
    }
}
