//! What does each webhook or policy add to a request at a real API server?

mod burst;
mod goals;
mod pairs;
pub(crate) mod peer;
mod variants;

pub(crate) use variants::mapping;

use serde_json::Value;

use crate::progress;
use crate::reviews;
use crate::section::{Axis, Plot, Point, Section, Series, Table};
use crate::stage::{Extra, Stage};
use crate::statistics::{Figure, figure, quantile};
use pairs::{Measured, Plan};
use peer::Peer;
use variants::{FLOOR, Makers, OURS, OURS_MANY, POLICY, POLICY_MORE, Variant};

/// How many clients ask at once, how often each asks one variant in a row, and how many rounds there are: 1,600
/// requests to each variant, or more.
const PLANS: [Plan; 3] = [
    Plan { clients: 1, in_a_row: 1, rounds: 1_600 },
    Plan { clients: 8, in_a_row: 2, rounds: 100 },
    Plan { clients: 32, in_a_row: 2, rounds: 30 },
];

/// What is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ServiceAccount,
    Pod,
}

impl Kind {
    const BOTH: [Self; 2] = [Self::ServiceAccount, Self::Pod];

    fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Pod => "Pod",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::ServiceAccount => "serviceaccounts",
            Self::Pod => "pods",
        }
    }

    /// The review of the other sections, about an object of this namespace.
    pub(crate) fn review(self, namespace: &str) -> Value {
        let [account, pod] = reviews::all().map(|(_, review)| review);
        let text = if self == Self::Pod { pod } else { account };
        let mut review: Value = serde_json::from_slice(&text).unwrap();
        review["request"]["namespace"] = namespace.into();
        review["request"]["object"]["metadata"]["namespace"] = namespace.into();
        review
    }

    /// The object that this review is about, as it is sent to be created.
    fn object(self, namespace: &str) -> Value {
        let mut object = self.review(namespace)["request"]["object"].take();
        object["metadata"].as_object_mut().unwrap().remove("managedFields");
        if self == Self::ServiceAccount {
            // The one without this ending is there.
            object["metadata"]["name"] = "gitlab-webservice-new".into();
        }
        object
    }
}

/// What was measured of one kind with so many clients: of each variant in the order of `variants`.
struct Column {
    kind: Kind,
    clients: usize,
    measured: Vec<Measured>,
}

pub(crate) fn measure() -> Section {
    progress("cluster: the API server starts");
    let more = "--kube-api-qps 1000 --kube-api-burst 1000";
    let stage = Stage::start(Extra { controller_manager: more, ..Extra::default() });
    let makers = Makers::new(&stage);
    let mut variants = vec![
        makers.nothing(),
        makers.floor(),
        makers.ours(OURS, "ours", 10),
        makers.ours(OURS_MANY, "ours-many", 10_000),
        makers.policy(POLICY, "policy", 10),
        makers.policy(POLICY_MORE, "policy-more", 100),
    ];
    variants.extend(Peer::given().map(|peer| makers.peer(&peer)));
    let mut columns = Vec::new();
    for kind in Kind::BOTH {
        let asked: Vec<&Variant> =
            variants.iter().filter(|variant| variant.is_for_both || kind == Kind::Pod).collect();
        pairs::check(&stage, kind, &asked);
        for plan in PLANS {
            progress(&format!("cluster: {}s by {} clients", kind.name(), plan.clients));
            columns.push(Column { kind, clients: plan.clients, measured: plan.run(&stage, kind, &asked) });
        }
    }
    let bursts = burst::measure(&stage, &variants);
    let mut text = text();
    text.extend(beside_peer(&columns));
    Section {
        name: "cluster".into(),
        title: "Through the API server".into(),
        text,
        tables: columns.iter().map(Column::table).chain([bursts.table()]).collect(),
        plots: vec![plot(&columns)],
        goals: goals::all(&columns),
        summary: Some(summary(&columns)),
    }
}

fn text() -> Vec<String> {
    let paragraphs = [
        "A client creates ServiceAccounts and Pods at a real API server as dry runs, over a connection that it \
         keeps. The objects are those of GitLab's webservice: its ServiceAccount, and its Pod with 9 kB. Every variant has a namespace \
         of its own and all are registered at once, so that they are asked in turns, which chance orders anew in \
         each round: one request each, or two by each client where there are several. Each variant is asked at least 1,600 times in each \
         table, and the same number of times in a namespace that nothing is registered for. Before, each variant \
         is checked to change the object.",
        "Ours logs each request as JSON into a pipe that is read, as under a container runtime. The floor is the \
         same stack of libraries with a constant answer, which is the one that ours gave. Both are registered as \
         the chart does it, but with the failure policy `Fail`. The policy is what `gitlab-iam-webhook policy` \
         makes of the same mapping. The last rule matches always.",
        "Webhooks are reached by their Service. No kube-proxy runs here, so that the Service is of the type \
         `ExternalName` and leads to loopback: what a network between nodes costs is not in these figures. It is \
         the same for every webhook, and a policy has none.",
        "What a variant adds is the difference of the medians with it and without it. Brackets are 95 % confidence \
         intervals (bootstrap over rounds).",
        "What ours adds above the floor is its decision, its log and its limits, as [Where the time \
         goes](#where-the-time-goes) shows: of a ServiceAccount, for which the floor adds least, that is the \
         largest part. `PEER` puts another webhook into the same tables; `benches/report/cluster/peer.rs` tells \
         the variables.",
    ];
    paragraphs.map(str::to_owned).into()
}

impl Column {
    fn of(&self, name: &str) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.name == name)
    }

    /// What a variant adds to the median.
    fn added(&self, variant: &Measured) -> Figure {
        let nothing = &self.measured[0].rounds;
        figure(&[nothing, &variant.rounds], |samples| added(samples, 0, 1))
    }

    /// What one variant adds, over what another adds.
    fn ratio(&self, of: &Measured, to: &Measured) -> Figure {
        let nothing = &self.measured[0].rounds;
        figure(&[nothing, &of.rounds, &to.rounds], |samples| added(samples, 0, 1) / added(samples, 0, 2))
    }

    fn table(&self) -> Table {
        let floor = self.of(FLOOR).unwrap();
        let rows = self.measured.iter().enumerate().map(|(n, variant)| {
            let of = |part| figure(&[&variant.rounds], |samples| quantile(&mut samples[0], part));
            let (added, ratio) = match n {
                0 => (String::new(), String::new()),
                _ => (self.added(variant).words(), self.ratio(variant, floor).words()),
            };
            let is_floor = variant.name == FLOOR;
            let ratio = if is_floor { "1".to_owned() } else { ratio };
            vec![variant.name.clone(), format!("{:.2}", of(0.5).value), added, ratio, of(0.99).words()]
        });
        let clients = if self.clients == 1 { "client" } else { "clients" };
        Table {
            caption: format!("{}, {} {clients}, milliseconds", self.kind.name(), self.clients),
            columns: ["", "p50", "adds to p50", "over what the floor adds", "p99"].map(str::to_owned).into(),
            rows: rows.collect(),
        }
    }
}

/// How near to another webhook any answer on this stack can come.
fn beside_peer(columns: &[Column]) -> Option<String> {
    let pods = columns.iter().find(|column| column.kind == Kind::Pod && column.clients == 1)?;
    let peer = pods.measured.iter().find(|variant| !variants::KNOWN.contains(&variant.name.as_str()))?;
    let floor = pods.ratio(pods.of(FLOOR)?, peer).words();
    Some(format!(
        "The floor adds {floor} of what `{}` adds to a Pod with one client. No webhook on this stack can add less.",
        peer.name
    ))
}

/// What each adds with one client.
fn summary(columns: &[Column]) -> Table {
    let alone = Kind::BOTH
        .map(|kind| columns.iter().find(|column| column.kind == kind && column.clients == 1).unwrap());
    // Every variant is asked about Pods.
    let rows = alone[1].measured.iter().map(|variant| {
        let cells = alone.map(|column| match column.of(&variant.name) {
            None => "-".to_owned(),
            Some(of) if of.name == variants::NOTHING => {
                format!("{:.2}", figure(&[&of.rounds], |samples| quantile(&mut samples[0], 0.5)).value)
            }
            Some(of) => format!("+{:.2}", column.added(of).value),
        });
        let [account, pod] = cells;
        vec![variant.name.clone(), account, pod]
    });
    Table {
        caption:
            "The median of a create in milliseconds where nothing is registered, and what each adds to it, \
                  with one client at a real API server ([all of it](#through-the-api-server)):"
                .into(),
        columns: ["", Kind::ServiceAccount.name(), "Pod of 9 kB"].map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

/// The difference of the medians of two variants.
fn added(samples: &mut [Vec<f64>], nothing: usize, variant: usize) -> f64 {
    quantile(&mut samples[variant], 0.5) - quantile(&mut samples[nothing], 0.5)
}

/// What each adds with one client.
fn plot(columns: &[Column]) -> Plot {
    let alone: Vec<&Column> = columns.iter().filter(|column| column.clients == 1).collect();
    // Every variant is asked about Pods.
    let names: Vec<String> =
        alone.last().unwrap().measured[1..].iter().map(|variant| variant.name.clone()).collect();
    let series = alone.iter().map(|column| {
        let points = column.measured[1..].iter().map(|variant| {
            let added = column.added(variant);
            let x = names.iter().position(|name| *name == variant.name).unwrap();
            Point { x: x as f64, y: added.value, spread: Some((added.low, added.high)) }
        });
        Series { name: column.kind.name().into(), points: points.collect() }
    });
    Plot {
        name: "cluster-added".into(),
        title: "What each adds to the median of a create, one client, with its 95 % confidence interval"
            .into(),
        x: Axis { label: String::new(), is_logarithmic: false, names: names.clone() },
        y: Axis { label: "milliseconds".into(), is_logarithmic: false, names: Vec::new() },
        series: series.collect(),
    }
}
