//! The node agent: what Kubernetes calls a kubelet.
//!
//! [`plan`] decides what is to be done for one pod and [`status`] what the API shall read of it; both are pure and
//! work on [`observed::Observed`]. A [`worker`] per pod gathers the facts and carries out the steps. A daemon may host
//! several agents, one per node; they share runtime and caches but nothing else. Nothing here outlives the daemon that
//! could not be rebuilt from the API and the runtime: see [`adopt`].

pub mod observed;
pub mod pause;
pub mod plan;
pub mod qos;
pub mod resize;
pub mod spec;
pub mod status;
pub mod translate;

mod act;
mod admit;
mod adopt;
mod bind;
mod classes;
mod collect;
mod heartbeat;
mod hook;
mod host;
mod image;
mod machine;
mod mailbox;
mod manifest;
mod pressure;
mod probe;
mod sandbox;
mod serve;
mod signal;
mod volume;
mod worker;

use crate::{
    api::object::Object,
    client::{Client, Informers, Recorder},
    config::{ClusterConfig, Layout, NodeConfig},
    net::Network,
    runtime::{
        Runtime,
        model::{RuntimeEvent, SandboxInfo},
    },
    task::{Tasks, clock},
};
use host::{Caches, Host, STARTS_MAX};
use k8s_openapi::api::core::v1::{Node, Pod};
use machine::Machine;
use mailbox::{Ingredient, Mailbox};
use observed::Verdict;
use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};
use tracing::{error, info, warn};
use worker::Worker;

/// What an agent is made of.
pub struct NodeContext {
    pub config: NodeConfig,
    pub cluster: ClusterConfig,
    pub layout: Layout,
    /// Acts as `system:node:<name>`.
    pub client: Client,
    pub informers: Informers,
    pub runtime: Arc<dyn Runtime>,
    pub network: Arc<dyn Network>,
    pub tasks: Tasks,
}

/// One node of the cluster.
pub struct Agent {
    host: Arc<Host>,
    samples: serve::Samples,
}

impl Agent {
    /// Registers the node, adopts what an earlier daemon left, and looks after the pods bound to the node from then on.
    /// Ends with its tasks; pods go on.
    pub async fn start(context: NodeContext) -> anyhow::Result<Arc<Agent>> {
        let NodeContext {
            config,
            cluster,
            layout,
            client,
            informers,
            runtime,
            network,
            tasks,
        } = context;
        let name = Some(config.name.clone());
        let recorder = Recorder::new(client.clone(), &tasks, "kubelet", name);
        let state = layout.state.clone();
        let paused = pause::read(&layout);
        let mut machine = Tasks::blocking(move || Machine::read(&state)).await?;
        (machine.memory_reserve_bytes, machine.storage_reserve_bytes) = pressure::reserve(
            &cluster.kubelet,
            machine.memory_bytes,
            machine.storage_bytes,
        );
        let host = Arc::new(Host {
            machine,
            caches: Caches {
                pods: informers.cache(),
                nodes: informers.cache(),
                config_maps: informers.cache(),
                secrets: informers.cache(),
                services: informers.cache(),
                claims: informers.cache(),
                volumes: informers.cache(),
            },
            config,
            cluster,
            layout,
            client,
            runtime,
            network,
            recorder,
            tasks,
            starts: Semaphore::new(STARTS_MAX),
            pulls: image::Pulls::default(),
            workers: std::sync::Mutex::default(),
            admitted: std::sync::Mutex::default(),
            deferred: std::sync::Mutex::default(),
            admitted_changed: tokio::sync::Notify::new(),
            node_changed: tokio::sync::Notify::new(),
            worker_ended: tokio::sync::Notify::new(),
            pods_came: tokio::sync::Notify::new(),
            image_came: tokio::sync::Notify::new(),
            mirrors_changed: tokio::sync::Notify::new(),
            pressure: pressure::Pressure::default(),
            is_stopping: std::sync::atomic::AtomicBool::new(false),
            pauses: pause::Pauses::new(paused),
        });
        begin(&host);
        Ok(Arc::new(Agent {
            host,
            samples: serve::Samples::default(),
        }))
    }

    /// Ends all pods of the node gracefully and keeps their objects: they come back with the next start. Gives up
    /// waiting a little after the grace.
    pub async fn stop_all(&self, grace: Duration) {
        const MARGIN: Duration = Duration::from_secs(5);
        self.host.is_stopping.store(true, Ordering::SeqCst);
        let seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        for mailbox in self.workers() {
            mailbox.tell(|mail| mail.shutdown = Some(seconds));
        }
        let all_ended = async {
            loop {
                let ended = self.host.worker_ended.notified();
                if self.workers().is_empty() {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(grace + MARGIN, all_ended)
            .await
            .is_err()
        {
            let left = self.workers().len();
            warn!(node = self.host.name(), left, "pods did not end in time");
        }
    }

    fn workers(&self) -> Vec<Arc<Mailbox>> {
        let workers = self.host.workers.lock().expect("no panic while locked");
        workers.values().cloned().collect()
    }

    fn host(&self) -> &Arc<Host> {
        &self.host
    }

    fn samples(&self) -> &serve::Samples {
        &self.samples
    }
}

/// Starts the tasks of an agent.
fn begin(host: &Arc<Host>) {
    let name = host.name();
    let (status, lease, pods) = (Arc::clone(host), Arc::clone(host), Arc::clone(host));
    let stop = || host.tasks.stop_signal();
    let signal = stop();
    host.tasks.spawn(format!("node {name} status"), async move {
        heartbeat::keep_status(&status, signal).await;
    });
    let (classes, signal) = (Arc::clone(host), stop());
    host.tasks
        .spawn(format!("node {name} classes"), async move {
            classes::keep(&classes, signal).await;
        });
    let signal = stop();
    host.tasks.spawn(format!("node {name} lease"), async move {
        heartbeat::keep_lease(&lease, signal).await;
    });
    let (statics, signal) = (Arc::clone(host), stop());
    host.tasks
        .spawn(format!("node {name} manifests"), async move {
            statics.caches.pods.synced().await;
            manifest::keep(&statics, signal).await;
        });
    let (watched, signal) = (Arc::clone(host), stop());
    host.tasks
        .spawn(format!("node {name} pressure"), async move {
            pressure::watch(&watched, signal).await;
        });
    let mut signal = stop();
    host.tasks.spawn(format!("node {name} pods"), async move {
        tokio::select! {
            () = look_after(&pods) => {}
            () = signal.stopped() => {}
        }
    });
}

/// Adopts, then turns changes of objects and events of the runtime into mail for workers.
async fn look_after(host: &Arc<Host>) {
    // Subscribed before anything is read, so that no exit falls in between.
    let events = host.runtime.events();
    let caches = &host.caches;
    tokio::join!(
        caches.pods.synced(),
        caches.config_maps.synced(),
        caches.secrets.synced(),
        caches.services.synced(),
        caches.claims.synced(),
        caches.volumes.synced(),
    );
    adopt_all(host).await;
    follow_objects(host);
    info!(node = host.name(), "the node looks after its pods");
    follow_runtime(host, events).await;
}

async fn adopt_all(host: &Arc<Host>) {
    let directories = pod_directories(host);
    let sandboxes = host.runtime.sandboxes().await.unwrap_or_else(|failure| {
        error!(node = host.name(), %failure, "list sandboxes");
        Vec::new()
    });
    let attached = host.network.attached().await.unwrap_or_else(|failure| {
        error!(node = host.name(), %failure, "list attached sandboxes");
        Vec::new()
    });
    let addresses: HashMap<String, Ipv4Addr> = attached
        .into_iter()
        .map(|attached| (attached.sandbox, attached.address))
        .collect();
    let mine = |sandbox: &&SandboxInfo| {
        let node = sandbox.labels.get(translate::LABEL_NODE);
        node.is_none_or(|node| node == host.name())
    };
    let pods = host.caches.pods.snapshot();
    for pod in pods.values().filter(|pod| host.owns(pod)) {
        let sandbox = sandboxes.iter().find(|sandbox| sandbox.id == pod.uid());
        let found = sandbox.map(|sandbox| {
            let address = if sandbox.netns.as_os_str().is_empty() {
                Some(host.address())
            } else {
                addresses.get(&sandbox.id).copied()
            };
            (sandbox, address)
        });
        let observed = adopt::observe(pod, found, clock::now());
        if observed.started_at.is_some() && observed.terminal_phase().is_none() {
            let mut admitted = host.admitted.lock().expect("no panic while locked");
            let granted = resize::granted(pod, &observed.allocation.granted);
            admitted.insert(pod.uid().to_owned(), granted);
            host.admitted_changed.notify_one();
        }
        employ(host, pod, observed);
    }
    let known: HashSet<&str> = pods.values().map(|pod| pod.uid()).collect();
    let orphans = sandboxes.iter().filter(mine);
    let orphans = orphans.map(|sandbox| sandbox.id.clone());
    let orphans: HashSet<String> = orphans
        .chain(directories)
        .filter(|uid| !known.contains(uid.as_str()))
        .collect();
    for uid in orphans {
        info!(node = host.name(), uid, "remove what is left of a pod");
        let host = Arc::clone(host);
        let tasks = host.tasks.clone();
        tasks.spawn(format!("remove {uid}"), async move {
            if let Err(failure) = sandbox::remove(&host, &uid).await {
                warn!(uid, ?failure, "remove an orphaned sandbox");
            }
            if let Err(failure) = volume::tear_down(&host, &uid, false).await {
                warn!(uid, %failure, "remove an orphaned pod's directory");
            }
        });
    }
}

/// The uids that have a directory on the disk.
fn pod_directories(host: &Host) -> Vec<String> {
    let example = host.layout.pod("x");
    let root: PathBuf = example.parent().map(PathBuf::from).unwrap_or_default();
    let entries = std::fs::read_dir(root).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// Starts a worker for a pod.
fn employ(host: &Arc<Host>, pod: &Arc<Pod>, observed: observed::Observed) {
    if host.is_stopping.load(Ordering::SeqCst) {
        return;
    }
    let mailbox = Arc::new(Mailbox::new(pod));
    let mut workers = host.workers.lock().expect("no panic while locked");
    workers.insert(pod.uid().to_owned(), Arc::clone(&mailbox));
    drop(workers);
    let worker = Worker::new(Arc::clone(host), mailbox, Arc::clone(pod), observed);
    host.tasks.spawn(format!("pod {}", pod.key()), worker.run());
}

fn follow_objects(host: &Arc<Host>) {
    let of = Arc::clone(host);
    host.caches.pods.on_change(move |old, new| {
        if [old, new]
            .into_iter()
            .flatten()
            .any(|pod| manifest::is_mirror(pod))
        {
            of.mirrors_changed.notify_one();
        }
        let is_same = |one: &Pod, two: &Pod| one.uid() == two.uid();
        if let Some(old) = old
            && of.owns(old)
            && new.is_none_or(|new| !is_same(old, new))
            && let Some(worker) = of.worker(old.uid())
        {
            worker.tell(|mail| mail.gone = true);
        }
        if let Some(new) = new.filter(|new| of.owns(new)) {
            match of.worker(new.uid()) {
                Some(worker) => worker.tell(|mail| mail.pod = Some(Arc::clone(new))),
                None => employ(&of, new, adopt::observe(new, None, clock::now())),
            }
        }
    });
    let of = Arc::clone(host);
    host.caches.nodes.on_change(move |_, new| {
        let mine = new.filter(|node| node.key().name == of.name());
        if mine.is_some_and(|node| heartbeat::has_news(node)) {
            of.node_changed.notify_one();
        }
    });
    follow(host, &host.caches.config_maps, Ingredient::ConfigMap);
    follow(host, &host.caches.secrets, Ingredient::Secret);
    follow(host, &host.caches.claims, Ingredient::Claim);
}

/// Tells the workers whose pods are made of an object that has changed.
fn follow<T: Object>(host: &Arc<Host>, cache: &crate::client::Cache<T>, kind: Ingredient) {
    let host = Arc::clone(host);
    cache.on_change(move |old, new| {
        let Some(object) = new.or(old) else { return };
        let key = object.key();
        let workers = host.workers.lock().expect("no panic while locked");
        for worker in workers.values() {
            if worker.uses(kind, &key.namespace, &key.name) {
                worker.tell(|mail| mail.objects_changed = true);
            }
        }
    });
}

async fn follow_runtime(host: &Arc<Host>, mut events: mpsc::Receiver<RuntimeEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            RuntimeEvent::ContainerExited { sandbox, container } => {
                if let Some(worker) = host.worker(&sandbox) {
                    worker.tell(|mail| mail.exit(*container));
                }
            }
            RuntimeEvent::SandboxDied { sandbox } => {
                if let Some(worker) = host.worker(&sandbox) {
                    worker.tell(|mail| mail.look_again = true);
                }
            }
            RuntimeEvent::Overflow => {
                let workers = host.workers.lock().expect("no panic while locked");
                for worker in workers.values() {
                    worker.tell(|mail| mail.look_again = true);
                }
            }
        }
    }
}

/// Admits a pod that is new on the node, or says why not.
fn admission(host: &Host, pod: &Arc<Pod>) -> Option<Verdict> {
    let name = crate::api::name::Key::new("", host.name());
    let node = host.caches.nodes.get(&name);
    let node: Arc<Node> = node.unwrap_or_default();
    let allocatable = heartbeat::allocatable(host);
    let mut admitted = host.admitted.lock().expect("no panic while locked");
    let others: Vec<&Pod> = admitted.values().map(AsRef::as_ref).collect();
    let verdict = pressure::admit(&host.pressure.conditions(), pod);
    let verdict = verdict.or_else(|| admit::admit(pod, &node, &allocatable, &others));
    if verdict.is_none() {
        admitted.insert(pod.uid().to_owned(), Arc::clone(pod));
        host.admitted_changed.notify_one();
        host.pods_came.notify_one();
    }
    verdict
}

/// Grants a running pod the resources its spec wishes for, or says why not: reason and message.
fn grant(host: &Host, pod: &Arc<Pod>) -> Result<(), (&'static str, String)> {
    let spec = spec::of(pod);
    let allocatable = heartbeat::allocatable(host);
    if let Some(message) = admit::exceeds(&spec, &allocatable) {
        return Err((resize::INFEASIBLE, message));
    }
    let mut admitted = host.admitted.lock().expect("no panic while locked");
    let others = admitted.iter().filter(|(uid, _)| *uid != pod.uid());
    let others: Vec<&Pod> = others.map(|(_, other)| other.as_ref()).collect();
    if let Some((_, message)) = admit::lacks(&spec, &allocatable, &others) {
        return Err((resize::DEFERRED, message));
    }
    admitted.insert(pod.uid().to_owned(), Arc::clone(pod));
    host.admitted_changed.notify_one();
    Ok(())
}
