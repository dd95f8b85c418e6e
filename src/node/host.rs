//! What every part of one node agent shares: identity, places, clients, caches, limits.

use super::{
    image::Pulls,
    machine::Machine,
    mailbox::Mailbox,
    pause::Pauses,
    pressure::Pressure,
    translate::{Facts, Place, env::Sources},
};
use crate::{
    api::object::Object,
    client::{Cache, Client, EventKind, Recorder, reference},
    config::{ClusterConfig, Layout, NodeConfig},
    net::Network,
    runtime::Runtime,
    task::Tasks,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    sync::{Arc, Mutex, atomic::AtomicBool},
};
use tokio::sync::{Notify, Semaphore};

/// Sandboxes and containers made at the same time.
pub const STARTS_MAX: usize = 16;

pub struct Host {
    pub config: NodeConfig,
    pub cluster: ClusterConfig,
    pub layout: Layout,
    /// Acts as the node.
    pub client: Client,
    pub caches: Caches,
    pub runtime: Arc<dyn Runtime>,
    pub network: Arc<dyn Network>,
    pub recorder: Recorder,
    pub tasks: Tasks,
    pub machine: Machine,
    pub starts: Semaphore,
    pub pulls: Pulls,
    /// By pod uid.
    pub workers: Mutex<HashMap<String, Arc<Mailbox>>>,
    /// The pods that count against the node's resources, by uid.
    pub admitted: Mutex<BTreeMap<String, Arc<Pod>>>,
    /// Rung when `admitted` has changed.
    pub admitted_changed: Notify,
    /// Pods whose wish for more resources waits for room, by uid.
    pub deferred: Mutex<BTreeSet<String>>,
    /// Rung when the node's status may read differently: an image has come.
    pub node_changed: Notify,
    pub worker_ended: Notify,
    /// Rung when a pod was admitted.
    pub pods_came: Notify,
    /// Rung when an image was pulled.
    pub image_came: Notify,
    /// Rung when a mirror pod has come, changed or gone.
    pub mirrors_changed: Notify,
    pub pressure: Pressure,
    /// No new pods are taken up: the daemon is stopping its pods.
    pub is_stopping: AtomicBool,
    pub pauses: Pauses,
}

pub struct Caches {
    pub pods: Cache<Pod>,
    pub nodes: Cache<Node>,
    pub config_maps: Cache<ConfigMap>,
    pub secrets: Cache<Secret>,
    pub services: Cache<Service>,
    pub claims: Cache<PersistentVolumeClaim>,
    pub volumes: Cache<PersistentVolume>,
}

impl Host {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.config.address()
    }

    /// How many pods it takes: as many as it was told to, and has addresses for.
    #[must_use]
    pub fn pods_max(&self) -> u16 {
        self.cluster.kubelet.pods_max().min(self.config.room())
    }

    /// Whether a pod is bound to this node.
    #[must_use]
    pub fn owns(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        spec.and_then(|spec| spec.node_name.as_deref()) == Some(self.name())
    }

    #[must_use]
    pub fn place(&self, pod: &Pod) -> Place {
        let uid = pod.uid();
        let key = pod.key();
        let logs = format!("{}_{}_{uid}", key.namespace, key.name);
        Place {
            cgroup: self.kubepods(),
            log_dir: self.layout.pod_logs().join(logs),
            data_dir: self.layout.pod(uid).join("containers"),
            node: self.name().to_owned(),
        }
    }

    /// The cgroup of all pods of this node.
    #[must_use]
    pub fn kubepods(&self) -> String {
        format!("{}/{}/kubepods", self.cluster.cgroup(), self.name())
    }

    #[must_use]
    pub fn facts(&self, pod: &Pod, pod_ip: Option<Ipv4Addr>) -> Facts {
        let (host, domain) = super::translate::etc::names(pod, &self.cluster.cluster_domain);
        let spec = super::spec::of(pod);
        let hostname = if spec.host_network == Some(true) {
            self.name().to_owned()
        } else {
            super::translate::etc::hostname(&spec, &host, &domain)
        };
        Facts {
            host_ip: self.address(),
            pod_ip,
            cpu_milli: self.machine.cpus * 1000,
            memory_bytes: self.machine.memory_bytes,
            storage_bytes: self.machine.storage_bytes,
            hostname,
        }
    }

    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources {
            config_maps: self.caches.config_maps.snapshot(),
            secrets: self.caches.secrets.snapshot(),
            services: self.caches.services.snapshot(),
            files: BTreeMap::new(),
        }
    }

    /// An event about the pod, or about one of its containers.
    pub fn event(&self, pod: &Pod, field: Option<&str>, kind: EventKind, reason: &str, text: &str) {
        let mut about = reference(pod);
        about.field_path = field.map(str::to_owned);
        self.recorder.event(about, kind, reason, text);
    }

    /// Resources have become free: pods that wait for some ask again.
    pub fn room_made(&self) {
        let waiting = std::mem::take(&mut *self.deferred.lock().expect("no panic while locked"));
        for worker in waiting.iter().filter_map(|uid| self.worker(uid)) {
            worker.tell(|mail| mail.has_room = true);
        }
    }

    /// An event about the node itself.
    pub fn node_event(&self, kind: EventKind, reason: &str, text: &str) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.name().to_owned()),
            // As upstream: the name stands for the uid, which the kubelet may not know yet.
            uid: Some(self.name().to_owned()),
            ..ObjectReference::default()
        };
        self.recorder.event(about, kind, reason, text);
    }

    #[must_use]
    pub fn worker(&self, uid: &str) -> Option<Arc<Mailbox>> {
        let workers = self.workers.lock().expect("no panic while locked");
        workers.get(uid).cloned()
    }
}
