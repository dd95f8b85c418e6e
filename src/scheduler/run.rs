//! The driver: takes in changes, asks for decisions, sets their consequences going.

use super::{
    Caches, NAME, bind,
    cycle::{Outcome, Refusal, decide},
    plugins::{self, Change, VolumePlan},
    pod::PodInfo,
    queue::Queue,
    world::{NodeInfo, World},
};
use crate::{
    api::{name::Key, object::Object},
    client::{Client, EventKind, Recorder, WorkQueue, reference},
    task::{clock, meter},
};
use futures_util::FutureExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

/// Writes under way at the same time.
const WRITES_MAX: usize = 32;
/// Decisions in a row before others may run.
const BURST: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Pod(Key),
    Node(Key),
    Storage,
    Namespace,
}

pub struct Scheduler {
    client: Client,
    caches: Caches,
    recorder: Recorder,
    changes: WorkQueue<Item>,
    queue: Queue,
    world: World,
    /// Placed by us, not yet seen in the cache: key and uid.
    assumed: HashMap<Key, String>,
    writes: JoinSet<Option<Bound>>,
    permits: Arc<Semaphore>,
    turn: usize,
}

/// The end of a binding.
struct Bound {
    pod: Arc<PodInfo>,
    node: String,
    outcome: Result<(), bind::BindError>,
}

/// One attempt to place a pod has ended so.
fn count(result: &str) {
    let labels = format!("profile=\"default-scheduler\",result=\"{result}\"");
    meter::SCHEDULE_ATTEMPTS.add(&labels, 1);
}

impl Scheduler {
    pub fn new(client: Client, caches: Caches, recorder: Recorder) -> Scheduler {
        Scheduler {
            client,
            caches,
            recorder,
            changes: WorkQueue::new(),
            queue: Queue::default(),
            world: World::default(),
            assumed: HashMap::new(),
            writes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(WRITES_MAX)),
            turn: 0,
        }
    }

    pub async fn run(mut self) {
        self.caches.enqueue_changes(&self.changes);
        self.caches.synced().await;
        loop {
            // Everything that is known before anything is decided.
            while let Some(item) = self.changes.next().now_or_never() {
                self.take_in(&item);
            }
            self.schedule().await;
            let deadline = self.queue.next_deadline();
            // All three may be dropped and asked again: nothing is taken before they return.
            tokio::select! {
                item = self.changes.next() => self.take_in(&item),
                Some(ended) = self.writes.join_next(), if !self.writes.is_empty() => match ended {
                    Ok(Some(bound)) => self.bound(bound),
                    Ok(None) => {}
                    Err(failure) => warn!(%failure, "a write panicked"),
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }

    fn take_in(&mut self, item: &Item) {
        let now = Instant::now();
        match item {
            Item::Pod(key) => self.pod_changed(key, now),
            Item::Node(key) => self.node_changed(key, now),
            Item::Storage => self.queue.wake(Change::Storage, now),
            Item::Namespace => self.queue.wake(Change::Namespace, now),
        }
        self.changes.done(item);
    }

    fn pod_changed(&mut self, key: &Key, now: Instant) {
        let Some(pod) = self.caches.pods.get(key) else {
            self.forget(key, now);
            return;
        };
        let is_other = |known: &Arc<PodInfo>| known.uid() != pod.uid();
        if self.world.placed(key).is_some_and(is_other) {
            self.forget(key, now);
        }
        let is_finished = is_finished(&pod);
        match node_of(&pod) {
            Some(_) if is_finished => self.forget(key, now),
            Some(node) => {
                let node = node.to_owned();
                self.placed(&node, PodInfo::new(pod), now);
            }
            None if is_finished || pod.is_deleting() || !is_ours(&pod) => self.forget(key, now),
            // Our binding is under way.
            None if self.assumed.contains_key(key) => {}
            None => {
                let pod = PodInfo::new(pod);
                if let Some(node) = pod.nominated_node() {
                    let place = (node.to_owned(), Arc::new(pod.clone()));
                    self.world.nominated.insert(key.clone(), place);
                }
                self.queue.put(pod, now);
            }
        }
    }

    fn forget(&mut self, key: &Key, now: Instant) {
        self.queue.remove(key);
        self.assumed.remove(key);
        self.world.nominated.remove(key);
        if self.world.remove(key).is_some() {
            self.queue.wake(Change::PodGone, now);
        }
    }

    fn placed(&mut self, node: &str, pod: PodInfo, now: Instant) {
        self.queue.remove(&pod.key);
        self.assumed.remove(&pod.key);
        self.world.nominated.remove(&pod.key);
        let old = self.world.placed(&pod.key).cloned();
        let labels = |pod: &PodInfo| pod.pod.metadata.labels.clone();
        let change = match &old {
            None => Some(Change::PodPlaced),
            Some(old) if labels(old) != labels(&pod) || old.requests != pod.requests => {
                Some(Change::PodChanged)
            }
            Some(_) => None,
        };
        self.world.place(node, Arc::new(pod));
        if let Some(change) = change {
            self.queue.wake(change, now);
        }
    }

    fn node_changed(&mut self, key: &Key, now: Instant) {
        let Some(node) = self.caches.nodes.get(key) else {
            self.world.nodes.remove(&key.name);
            return;
        };
        match self.world.nodes.get_mut(&key.name) {
            Some(known) => known.replace(node),
            None => {
                self.world
                    .nodes
                    .insert(key.name.clone(), NodeInfo::new(node));
                // Pods may have been seen before their node.
                for pod in self.caches.pods.snapshot().values() {
                    if node_of(pod) == Some(&key.name) && !is_finished(pod) {
                        let pod = Arc::new(PodInfo::new(Arc::clone(pod)));
                        self.world.place(&key.name, pod);
                    }
                }
            }
        }
        self.queue.wake(Change::Node, now);
    }

    async fn schedule(&mut self) {
        self.world.namespaces = self.caches.namespaces.snapshot();
        self.world.claims = self.caches.claims.snapshot();
        self.world.volumes = self.caches.volumes.snapshot();
        self.world.classes = self.caches.classes.snapshot();
        self.world.drivers = self.caches.drivers.snapshot();
        self.world.budgets = self.caches.budgets.snapshot();
        self.world.services = self.caches.services.snapshot();
        self.world.elders = self.caches.elders.snapshot();
        self.world.sets = self.caches.sets.snapshot();
        self.world.stateful_sets = self.caches.stateful_sets.snapshot();
        let mut decided = 0;
        while let Some(pod) = self.queue.pop(Instant::now()) {
            self.turn = self.turn.wrapping_add(1);
            match decide(&pod, &self.world, self.turn) {
                Outcome::Place { node, volumes } => self.place(pod, node, volumes),
                Outcome::Refused(refusal) => {
                    count("unschedulable");
                    self.refused(pod, refusal);
                }
            }
            decided += 1;
            if decided % BURST == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: String, plan: VolumePlan) {
        self.assumed.insert(pod.key.clone(), pod.uid().to_owned());
        self.world.nominated.remove(&pod.key);
        self.world.place(&node, Arc::clone(&pod));
        for (claim, volume) in &plan.bind {
            self.world.promised.insert(volume.clone(), claim.clone());
        }
        let (client, caches) = (self.client.clone(), self.caches.clone());
        let permits = Arc::clone(&self.permits);
        self.writes.spawn(async move {
            // Waiting for volumes may take minutes and must not hold up others.
            let _permit = match plan.is_empty() {
                true => permits.acquire().await.ok(),
                false => None,
            };
            let outcome = bind::bind(&client, &caches, &pod, &node, &plan).await;
            Some(Bound { pod, node, outcome })
        });
    }

    fn bound(&mut self, bound: Bound) {
        let Bound { pod, node, outcome } = bound;
        let claims: Vec<Key> = pod
            .claims
            .iter()
            .map(|claim| Key::new(&*pod.key.namespace, &*claim.name))
            .collect();
        self.world
            .promised
            .retain(|_, claim| !claims.contains(claim));
        let Err(failure) = outcome else {
            count("scheduled");
            let message = format!("Successfully assigned {} to {node}", pod.key);
            let about = reference(pod.pod.as_ref());
            self.recorder
                .event(about, EventKind::Normal, "Scheduled", &message);
            self.queue.remove(&pod.key);
            return;
        };
        // Another pod of this name may have taken its place meanwhile.
        if self.assumed.get(&pod.key).map(String::as_str) != Some(pod.uid()) {
            return;
        }
        count("error");
        self.assumed.remove(&pod.key);
        self.world.remove(&pod.key);
        let now = Instant::now();
        self.queue.wake(Change::PodGone, now);
        if matches!(&failure, bind::BindError::Refused(refused) if refused.is_not_found()) {
            self.queue.remove(&pod.key);
            return;
        }
        debug!(pod = %pod.key, %failure, "binding failed");
        self.queue.retry(&pod.key, now);
        self.report(pod, "SchedulerError", failure.to_string(), None);
    }

    fn refused(&mut self, pod: Arc<PodInfo>, refusal: Refusal) {
        let by = plugins::names(refusal.plugins);
        debug!(pod = %pod.key, ?by, message = refusal.message, "no node fits");
        self.queue.failed(&pod.key, refusal.plugins, Instant::now());
        let Some(preemption) = refusal.preemption else {
            // Room that was kept for it and will not do is room for others again.
            let was_kept = self.world.nominated.contains_key(&pod.key);
            let withdrawn = (refusal.is_hopeless && was_kept).then(String::new);
            if withdrawn.is_some() {
                self.world.nominated.remove(&pod.key);
                self.queue.wake(Change::PodGone, Instant::now());
            }
            self.report(pod, "Unschedulable", refusal.message, withdrawn);
            return;
        };
        let node = preemption.node.clone();
        let place = (node.clone(), Arc::clone(&pod));
        self.world.nominated.insert(pod.key.clone(), place);
        self.report(
            Arc::clone(&pod),
            "Unschedulable",
            refusal.message,
            Some(node),
        );
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        self.writes.spawn(async move {
            bind::evict(&client, &recorder, &pod, &preemption, clock::now()).await;
            None
        });
    }

    fn report(
        &mut self,
        pod: Arc<PodInfo>,
        reason: &'static str,
        message: String,
        nominated: Option<String>,
    ) {
        let about = reference(pod.pod.as_ref());
        self.recorder
            .event(about, EventKind::Warning, "FailedScheduling", &message);
        let client = self.client.clone();
        let permits = Arc::clone(&self.permits);
        self.writes.spawn(async move {
            let _permit = permits.acquire().await.ok();
            let now = clock::now();
            bind::report(&client, &pod, reason, &message, nominated.as_deref(), now).await;
            None
        });
    }
}

impl Caches {
    fn enqueue_changes(&self, changes: &WorkQueue<Item>) {
        let queue = changes.clone();
        self.pods.on_change(move |old, new| {
            if let Some(pod) = new.or(old) {
                queue.add(Item::Pod(pod.key()));
            }
        });
        let queue = changes.clone();
        self.nodes.on_change(move |old, new| {
            if let Some(node) = new.or(old).filter(|_| matters(old, new)) {
                queue.add(Item::Node(node.key()));
            }
        });
        let queue = changes.clone();
        self.claims.on_change(move |_, _| queue.add(Item::Storage));
        let queue = changes.clone();
        self.volumes.on_change(move |_, _| queue.add(Item::Storage));
        let queue = changes.clone();
        self.classes.on_change(move |_, _| queue.add(Item::Storage));
        let queue = changes.clone();
        self.drivers.on_change(move |_, _| queue.add(Item::Storage));
        let queue = changes.clone();
        self.namespaces
            .on_change(move |_, _| queue.add(Item::Namespace));
    }

    async fn synced(&self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        self.namespaces.synced().await;
        self.claims.synced().await;
        self.volumes.synced().await;
        self.classes.synced().await;
        self.drivers.synced().await;
        self.budgets.synced().await;
        self.services.synced().await;
        self.elders.synced().await;
        self.sets.synced().await;
        self.stateful_sets.synced().await;
    }
}

/// Heartbeats and conditions do not move pods.
fn matters(old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return true;
    };
    let room = |node: &Node| {
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.clone())
    };
    let images = |node: &Node| {
        node.status
            .as_ref()
            .and_then(|status| status.images.clone())
    };
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || room(old) != room(new)
        || images(old) != images(new)
}

fn node_of(pod: &Pod) -> Option<&str> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    (!node.is_empty()).then_some(node)
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_ours(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref());
    matches!(scheduler, None | Some("" | NAME))
}
