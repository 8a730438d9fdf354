//! How is it said what brings objects in step, as commands to paste?

use std::fmt::Write as _;

use super::report::Report;
use crate::cli::plain::plain;
use crate::shell::word;

/// The most lines of one kind. The rest is counted.
const MOST: usize = 200;

/// Says what is to be done, in the order in which it is to be done; nothing where nothing is.
pub(super) fn text(report: &Report) -> String {
    let mending = report.status.mending();
    let mut text = String::new();
    let flags = &report.flags;
    section(
        &mut text,
        "These ServiceAccounts are changed back again and again: find what else sets their roles, and stop \
         it, or give\nthem the label gitlab-iam-webhook/inject=disabled:",
        mending.settle.iter().map(|(namespace, name)| format!("sa/{name} -n {namespace}")),
    );
    section(
        &mut text,
        "Have the webhook decide on these ServiceAccounts again. With repair.enabled in its chart's values \
         it does so itself:",
        mending.readmit.iter().map(|(namespace, name)| {
            format!(
                "kubectl patch serviceaccount {} -n {} --type merge --patch '{{}}'{flags}",
                word(name),
                word(namespace)
            )
        }),
    );
    let restart = |(namespace, resource, name): &(&str, &str, &str)| {
        format!("kubectl rollout restart {resource}/{} -n {}{flags}", word(name), word(namespace))
    };
    section(
        &mut text,
        "Restart these workloads: their Pods take the role when they start. A StatefulSet is interrupted \
         by it:",
        mending.restart.iter().map(restart),
    );
    section(
        &mut text,
        "Once their ServiceAccounts are in step, restart these as well:",
        mending.restart_later.iter().map(restart),
    );
    let mut by_hand = mending.by_hand.iter().peekable();
    while let Some((what, ..)) = by_hand.peek().copied() {
        let objects = std::iter::from_fn(|| by_hand.next_if(|(other, ..)| other == what));
        let named = objects.map(|(_, namespace, kind, name)| {
            format!("{} {}/{}", plain(kind), plain(namespace), plain(name))
        });
        section(&mut text, &format!("For these, {what}:"), named);
    }
    text
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for line in lines.by_ref().take(MOST) {
        let _ = writeln!(text, "  {line}");
    }
    let more = lines.count();
    if more > 0 {
        let _ = writeln!(text, "  and {more} more, which --output json names");
    }
    text.push('\n');
}
