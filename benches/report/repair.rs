//! How long does it take until all ServiceAccounts have their new role after an edit of the mapping, and what does that
//! cost the API server?

mod calls;
mod edits;

use crate::progress;
use crate::rounds::raised;
use crate::section::{Axis, Goal, Plot, Point, Section, Series, Table};
use edits::{Cluster, Edit};

/// How many ServiceAccounts there are, and how often their role is changed with one replica and with two, in turns.
const SIZES: [(usize, usize); 3] = [(500, 2), (5_000, 2), (20_000, 1)];

/// The one that the goals are about.
const GOAL_SIZE: usize = 5_000;

pub(crate) fn measure() -> Section {
    progress("repair: the API server starts");
    let mut cluster = Cluster::start();
    let mut edits = Vec::new();
    let mut there = 0;
    for (objects, times) in SIZES {
        progress(&format!("repair: up to {objects} ServiceAccounts are made"));
        let first = cluster.replica(0);
        cluster.make(there..objects);
        drop(first);
        there = objects;
        for time in 1..=times {
            for replicas in [1, 2] {
                progress(&format!("repair: {objects} by {replicas} replicas, {time} of {times}"));
                edits.push(cluster.edit(objects, replicas));
            }
        }
    }
    Section {
        name: "repair".into(),
        title: "Repair of what exists".into(),
        text: text(),
        tables: vec![table(&edits), others(&edits)],
        plots: vec![plot(&edits)],
        goals: goals(&edits),
        summary: None,
    }
}

fn text() -> Vec<String> {
    let paragraphs = [
        "An edit of the mapping gives all ServiceAccounts of a namespace another role. The time goes from the moment \
         at which the edit is sent until a watch has seen the last one with its new role. Replicas have the account, \
         the rights and the registration of the chart, and repair with its arguments. With two replicas both repair, \
         and the first one answers the API server's reviews.",
        "The calls are those in the API server's audit log by our account, until none came for 2 seconds. A replica \
         sends at most 4 patches at once (`IN_FLIGHT` in `src/cluster/repair/queue.rs`). The log notes the end of a \
         call after its answer was sent, so that it may show one more that had been answered already.",
        "Each of two replicas works in an order of its own, and leaves out what a watch has shown to be done. What \
         both take within the time that a watch needs is patched twice, which changes nothing. A replica remembers \
         at most 5,000 ServiceAccounts: where more are to be repaired it lists the namespace again each time half of \
         them are done, which are the lists of 20,000, and a part of its longer time for each.",
        "etcd writes without fsync here, so that a cluster with a slow disk takes longer. A patch takes as long as \
         the API server, etcd and the replicas need on the cores that they share here.",
        "Memory is that of the replica that holds most. It is at rest 3 seconds after its start, where no \
         ServiceAccount is to be repaired, and at its peak during the repair.",
    ];
    paragraphs.map(str::to_owned).into()
}

fn table(edits: &[Edit]) -> Table {
    let rows = edits.iter().map(|edit| {
        vec![
            edit.objects.to_string(),
            edit.replicas.to_string(),
            format!("{:.2}", edit.seconds),
            format!("{:.2}", edit.milliseconds_of_each()),
            edit.calls.patches.to_string(),
            raised(edit.patches_of_each()),
            edit.calls.others.values().sum::<usize>().to_string(),
            edit.calls.too_many.to_string(),
            edit.calls.most_at_once.to_string(),
            format!("{:.1}", edit.rest),
            format!("{:.1}", edit.peak),
        ]
    });
    let columns = [
        "objects",
        "replicas",
        "seconds",
        "ms for each",
        "PATCHes",
        "for each",
        "other calls",
        "answers 429",
        "PATCHes at once",
        "MiB at rest",
        "MiB at peak",
    ];
    Table {
        caption: "Each edit that changed all of them".into(),
        columns: columns.map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

/// Which calls were no patches.
fn others(edits: &[Edit]) -> Table {
    let rows = edits.iter().map(|edit| {
        let calls = edit.calls.others.iter().map(|(call, count)| format!("{count} {call}"));
        let calls = calls.collect::<Vec<_>>().join(", ");
        vec![edit.objects.to_string(), edit.replicas.to_string(), calls]
    });
    Table {
        caption: "The other calls until all had settled".into(),
        columns: ["objects", "replicas", "calls"].map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

fn plot(edits: &[Edit]) -> Plot {
    let series = [1, 2].map(|replicas| {
        let points = SIZES.map(|(objects, _)| {
            let of = edits.iter().filter(|edit| (edit.objects, edit.replicas) == (objects, replicas));
            let mut seconds: Vec<f64> = of.map(|edit| edit.seconds).collect();
            seconds.sort_by(f64::total_cmp);
            let (low, high) = (seconds[0], seconds[seconds.len() - 1]);
            let x = objects as f64;
            Point { x, y: high, spread: Some((low, high)) }
        });
        let name = if replicas == 1 { "1 replica" } else { "2 replicas" };
        Series { name: name.to_owned(), points: points.into() }
    });
    let axis = |label: &str| Axis { label: label.into(), is_logarithmic: true, names: Vec::new() };
    Plot {
        name: "repair-growth".into(),
        title: "Seconds until all ServiceAccounts have their new role: the slowest edit, and the fastest"
            .into(),
        x: axis("ServiceAccounts"),
        y: axis("seconds"),
        series: series.into(),
    }
}

fn goals(edits: &[Edit]) -> Vec<Goal> {
    let most = |of: &dyn Fn(&Edit) -> f64, which: &dyn Fn(&Edit) -> bool| {
        edits.iter().filter(|edit| which(edit)).map(of).fold(f64::MIN, f64::max)
    };
    let goal = |what: &str, goal: f64, seen: f64| Goal {
        what: what.into(),
        goal: format!("at most {goal}"),
        seen: Some(if seen.fract() == 0.0 { seen.to_string() } else { raised(seen) }),
        is_reached: seen <= goal,
    };
    let (large, _) = SIZES[SIZES.len() - 1];
    let patches =
        |objects: usize| most(&Edit::patches_of_each, &|edit| (edit.objects, edit.replicas) == (objects, 2));
    let each = |objects: usize| most(&Edit::milliseconds_of_each, &|edit| edit.objects == objects);
    let at_once = most(&|edit| edit.calls.most_at_once as f64, &|_| true);
    vec![
        goal(
            "seconds until 5,000 have their new role, the slowest edit",
            10.0,
            most(&|edit| edit.seconds, &|edit| edit.objects == GOAL_SIZE),
        ),
        goal("PATCHes for each of 5,000 with two replicas, the worst edit", 1.02, patches(GOAL_SIZE)),
        goal("PATCHes for each of 20,000 with two replicas", 1.02, patches(large)),
        goal("PATCHes of one replica at once", 4.0, at_once),
        goal("time for each of 20,000, over that for each of 5,000", 1.1, each(large) / each(GOAL_SIZE)),
        goal("MiB of a replica at most: half of the chart's limit", 32.0, most(&|edit| edit.peak, &|_| true)),
    ]
}
