//! Services to one set of packet rules (pure, in `services`), applied in one transaction.
//!
//! Level-triggered: whatever changed, the whole rule set is computed anew from the caches and `net` finds out what is
//! different. A change waits a few milliseconds for its companions: one rollout is a handful of transactions.

pub mod services;

use crate::{
    client::{Cache, Informers},
    net::{PacketRules, rules::RuleSet},
    task::{Tasks, backoff::Backoff},
};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time};
use tracing::{debug, warn};

/// How long the first change waits for more.
const GATHER: Duration = Duration::from_millis(5);

const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    cap: Duration::from_secs(10),
};

#[derive(Clone)]
struct Caches {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    nodes: Cache<Node>,
}

/// Keeps the rules in step with Services, their endpoints and the nodes until `tasks` stop. The rules stay then.
pub fn start(informers: &Informers, network: Arc<dyn PacketRules>, tasks: &Tasks) {
    let caches = Caches {
        services: informers.cache(),
        slices: informers.cache(),
        nodes: informers.cache(),
    };
    let mut stop = tasks.stop_signal();
    tasks.spawn("service proxy", async move {
        tokio::select! {
            () = follow(&caches, network.as_ref()) => {}
            // Dropping an apply half-way is safe: its transaction runs to its end on its own thread.
            () = stop.stopped() => {}
        }
    });
}

async fn follow(caches: &Caches, network: &dyn PacketRules) {
    let changed = caches.changes();
    caches.synced().await;
    let mut applied: Option<RuleSet> = None;
    let mut failures = 0;
    loop {
        let wanted = services::rules(
            &caches.services.snapshot(),
            &caches.slices.snapshot(),
            &caches.nodes.snapshot(),
        );
        if applied.as_ref() != Some(&wanted) {
            match network.apply(wanted.clone()).await {
                Ok(()) => {
                    debug!(frontends = wanted.frontends.len(), "packet rules applied");
                    applied = Some(wanted);
                    failures = 0;
                }
                Err(error) => {
                    failures += 1;
                    warn!(%error, failures, "apply packet rules");
                    time::sleep(RETRY.jittered(failures)).await;
                    continue;
                }
            }
        }
        changed.notified().await;
        time::sleep(GATHER).await;
    }
}

impl Caches {
    fn changes(&self) -> Arc<Notify> {
        let changed = Arc::new(Notify::new());
        let notify = |changed: &Arc<Notify>| {
            let changed = Arc::clone(changed);
            move || changed.notify_one()
        };
        let services = notify(&changed);
        self.services.on_change(move |_, _| services());
        let slices = notify(&changed);
        self.slices.on_change(move |_, _| slices());
        let nodes = notify(&changed);
        self.nodes.on_change(move |old, new| {
            // Nodes change with every heartbeat; only their addresses matter here.
            let addresses =
                |node: Option<&Arc<Node>>| node.and_then(|node| services::address(node));
            if addresses(old) != addresses(new) {
                nodes();
            }
        });
        changed
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.nodes.synced().await;
    }
}

#[cfg(test)]
mod tests;
