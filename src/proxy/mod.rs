//! Services and NetworkPolicies to one set of packet rules (pure, in `services` and `policies`), applied in one
//! transaction.
//!
//! Level-triggered: whatever changed, its half of the rule set is computed anew from the caches and `net` finds out what
//! is different. A change waits a few milliseconds for its companions: one rollout is a handful of transactions.

mod health;
mod peer;
pub mod policies;
pub mod services;

use crate::{
    client::{Cache, Informers},
    net::{
        PacketRules,
        rules::{Detours, RuleSet, Target},
    },
    task::{Tasks, backoff::Backoff},
};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
    networking::v1::NetworkPolicy,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot, watch},
    time,
};
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
    policies: Cache<NetworkPolicy>,
    pods: Cache<Pod>,
    namespaces: Cache<Namespace>,
}

/// What has changed since it was last looked at.
struct Changes {
    services: AtomicBool,
    fences: AtomicBool,
    any: Notify,
}

/// Keeps the rules in step with the cluster and with detours until `tasks` stop. The rules stay then. The answer resolves when the first
/// rules stand: no pod should get its network before.
pub fn start(
    informers: &Informers,
    network: Arc<dyn PacketRules>,
    detours: watch::Receiver<Detours>,
    tasks: &Tasks,
) -> oneshot::Receiver<()> {
    let caches = Caches {
        services: informers.cache(),
        slices: informers.cache(),
        nodes: informers.cache(),
        policies: informers.cache(),
        pods: informers.cache(),
        namespaces: informers.cache(),
    };
    let mut stop = tasks.stop_signal();
    let listeners = health::Listeners::new(tasks.clone());
    let (standing, stands) = oneshot::channel();
    tasks.spawn("service proxy", async move {
        tokio::select! {
            () = follow(&caches, network.as_ref(), detours, &listeners, standing) => {}
            // Dropping an apply half-way is safe: its transaction runs to its end on its own thread.
            () = stop.stopped() => {}
        }
    });
    stands
}

async fn follow(
    caches: &Caches,
    network: &dyn PacketRules,
    mut detours: watch::Receiver<Detours>,
    listeners: &health::Listeners,
    standing: oneshot::Sender<()>,
) {
    let changes = caches.changes();
    caches.synced().await;
    let mut standing = Some(standing);
    let mut known = RuleSet::default();
    let mut applied: Option<RuleSet> = None;
    let mut failures = 0;
    loop {
        caches.look(&changes, &mut known, listeners);
        let wanted = with(&known, &detours.borrow_and_update());
        if applied.as_ref() != Some(&wanted) {
            match network.apply(wanted.clone()).await {
                Ok(()) => {
                    debug!(frontends = wanted.frontends.len(), "packet rules applied");
                    applied = Some(wanted.clone());
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
        if let Some(standing) = standing.take() {
            // Nobody may be waiting for it.
            let _ = standing.send(());
        }
        tokio::select! {
            () = changes.any.notified() => {}
            changed = detours.changed() => if changed.is_err() {
                // Nobody is left to change them.
                changes.any.notified().await;
            },
        }
        time::sleep(GATHER).await;
    }
}

fn with(known: &RuleSet, detours: &Detours) -> RuleSet {
    let mut wanted = known.clone();
    for (frontend, backend) in detours {
        let target = Target::Backends {
            backends: BTreeSet::from([*backend]),
            affinity: None,
        };
        wanted.frontends.entry(*frontend).or_insert(target);
    }
    wanted
}

impl Changes {
    fn of_services(&self) {
        self.services.store(true, Ordering::Release);
        self.any.notify_one();
    }

    fn of_fences(&self) {
        self.fences.store(true, Ordering::Release);
        self.any.notify_one();
    }
}

impl Caches {
    fn changes(&self) -> Arc<Changes> {
        let changes = Arc::new(Changes {
            services: AtomicBool::new(true),
            fences: AtomicBool::new(true),
            any: Notify::new(),
        });
        let told = Arc::clone(&changes);
        self.services.on_change(move |_, _| told.of_services());
        let told = Arc::clone(&changes);
        self.slices.on_change(move |old, new| {
            told.of_services();
            // The cluster's DNS is told by a slice without a pod.
            let is_dns = |slice: &Arc<EndpointSlice>| peer::is_dns(slice);
            if old.or(new).is_some_and(is_dns) {
                told.of_fences();
            }
        });
        let told = Arc::clone(&changes);
        self.nodes.on_change(move |old, new| {
            // Nodes change with every heartbeat; little of them matters here.
            let seat = |node: Option<&Arc<Node>>| node.and_then(|node| services::seat(node));
            if seat(old) != seat(new) {
                told.of_services();
            }
        });
        let told = Arc::clone(&changes);
        self.policies.on_change(move |_, _| told.of_fences());
        let told = Arc::clone(&changes);
        let policies = self.policies.clone();
        self.pods.on_change(move |old, new| {
            // Addresses are known to the network; of a pod's life only its beginning, its labels and its end matter.
            let facts = |pod: Option<&Arc<Pod>>| {
                pod.map(|pod| (pod.metadata.uid.clone(), pod.metadata.labels.clone()))
            };
            if !policies.snapshot().is_empty() && facts(old) != facts(new) {
                told.of_fences();
            }
        });
        let told = Arc::clone(&changes);
        self.namespaces.on_change(move |old, new| {
            let labels = |namespace: Option<&Arc<Namespace>>| {
                namespace.map(|namespace| namespace.metadata.labels.clone())
            };
            if labels(old) != labels(new) {
                told.of_fences();
            }
        });
        changes
    }

    /// Computes anew what may have changed.
    fn look(&self, changes: &Changes, wanted: &mut RuleSet, listeners: &health::Listeners) {
        if changes.services.swap(false, Ordering::AcqRel) {
            let (services, slices) = (self.services.snapshot(), self.slices.snapshot());
            let nodes = self.nodes.snapshot();
            let rules = services::rules(&services, &slices, &nodes);
            listeners.set(health::checks(&services, &slices, &nodes));
            wanted.frontends = rules.frontends;
            wanted.sources = rules.sources;
        }
        if changes.fences.swap(false, Ordering::AcqRel) {
            let fences = policies::fences(
                &self.policies.snapshot(),
                &self.pods.snapshot(),
                &self.namespaces.snapshot(),
                &self.slices.snapshot(),
            );
            wanted.fences = fences.map(Arc::new);
        }
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.nodes.synced().await;
        self.policies.synced().await;
        self.pods.synced().await;
        self.namespaces.synced().await;
    }
}

#[cfg(test)]
mod tests;
