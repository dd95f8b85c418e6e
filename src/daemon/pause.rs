//! Pausing a cluster: what is to be frozen is decided and kept here, each node freezes its own pods.

use super::boot::Cluster;
use crate::node::pause;
use anyhow::Result;
use std::collections::BTreeSet;
use tracing::warn;

impl Cluster {
    /// Freezes the containers of namespaces (all, if none is named) or lets them go. Answers how many pods that were.
    pub async fn pause(&self, namespaces: &[String], pause: bool) -> Result<usize> {
        let before = pause::read(&self.layout);
        let pods = self.pods.snapshot();
        let known = pods.iter().map(|(key, _)| key.namespace.clone()).collect();
        let after = pause::change(&before, namespaces, pause, &known);
        // Both at first: a daemon that dies in between leaves probes waiting rather than killing what is frozen.
        let both: BTreeSet<String> = before.union(&after).cloned().collect();
        pause::write(&self.layout, &both)?;
        let mut count = 0;
        for agent in self.nodes.agents().await {
            count += agent.set_paused(&after).await?;
        }
        pause::write(&self.layout, &after)?;
        Ok(count)
    }

    /// Before pods are ended: the frozen hear no signal.
    pub async fn let_all_go(&self) {
        let is_paused = !pause::read(&self.layout).is_empty();
        if is_paused && let Err(error) = self.pause(&[], false).await {
            warn!("let paused pods go: {error:#}");
        }
    }
}
