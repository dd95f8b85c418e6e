//! Node selectors and node affinity.

use super::{Cycle, NodeInfo, Rejection, Verdict, normalize};
use crate::api::placement::{self, Site};

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    if wants(cycle, node) {
        return Ok(());
    }
    let reason = "node(s) didn't match Pod's node affinity/selector";
    Err(Rejection::for_good(reason))
}

/// Selector and required affinity; also for plug-ins that leave unwanted nodes out of their counts.
pub fn wants(cycle: &Cycle<'_>, node: &NodeInfo) -> bool {
    let spec = cycle.pod.spec();
    spec.is_none_or(|spec| placement::wants(spec, Site::of(&node.node)))
}

pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let affinity = cycle.pod.spec().and_then(|spec| spec.affinity.as_ref());
    let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|all| {
        all.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let preferred: Vec<_> = preferred.into_iter().flatten().collect();
    let weight = |node: &&NodeInfo| {
        let site = Site::of(&node.node);
        let fitting = preferred
            .iter()
            .filter(|one| placement::fits(&one.preference, site));
        fitting.map(|one| i64::from(one.weight)).sum()
    };
    normalize(&nodes.iter().map(weight).collect::<Vec<i64>>(), false)
}
