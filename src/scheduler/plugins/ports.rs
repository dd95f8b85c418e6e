//! Ports of the node itself: address, protocol and number together must be free.

use super::{Cycle, NodeInfo, Rejection, Verdict};

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    let is_taken = |port| node.ports().any(|taken| taken.conflicts(port));
    if cycle.pod.ports.iter().any(is_taken) {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Err(Rejection::for_now(reason));
    }
    Ok(())
}
