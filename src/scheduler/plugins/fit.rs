//! Room for the pod's requests, and the two marks for how a node would be filled.

use super::{Cycle, MARK_MAX, NodeInfo, Rejection, Verdict};

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    let mut reasons = Vec::new();
    let mut preemption_helps = true;
    let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
    if pods >= node.allocatable.get("pods") {
        reasons.push("Too many pods".to_owned());
        preemption_helps &= node.allocatable.get("pods") > 0;
    }
    for (name, wanted) in cycle.pod.requests.iter() {
        let all = node.allocatable.get(name);
        if wanted > 0 && wanted > all - node.requested.get(name) {
            reasons.push(format!("Insufficient {name}"));
            preemption_helps &= wanted <= all;
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Rejection {
        reasons,
        preemption_helps,
    })
}

/// Of CPU and memory, how much would stay free.
pub fn least_allocated(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mark = |node: &&NodeInfo| {
        let free = filled(cycle, node).map(|(used, all)| {
            if all <= 0 || used > all {
                0
            } else {
                (all - used) * MARK_MAX / all
            }
        });
        free.iter().sum::<i64>() / 2
    };
    nodes.iter().map(mark).collect()
}

/// How alike the used shares of CPU and memory would be.
pub fn balanced(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mark = |node: &&NodeInfo| {
        let shares = filled(cycle, node).map(|(used, all)| match all {
            0 => 1.0,
            all => (used as f64 / all as f64).min(1.0),
        });
        // Of two values the standard deviation is half their distance.
        let deviation = (shares[0] - shares[1]).abs() / 2.0;
        ((1.0 - deviation) * MARK_MAX as f64) as i64
    };
    nodes.iter().map(mark).collect()
}

/// Used and allocatable, with the pod placed: CPU, then memory.
fn filled(cycle: &Cycle<'_>, node: &NodeInfo) -> [(i64, i64); 2] {
    [
        (
            node.weight.0 + cycle.pod.weight.0,
            node.allocatable.get("cpu"),
        ),
        (
            node.weight.1 + cycle.pod.weight.1,
            node.allocatable.get("memory"),
        ),
    ]
}
