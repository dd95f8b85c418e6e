//! Nodes, the pods on them and whatever else decisions are made from. Plain values: a decision may try things out on
//! a copy.

use super::pod::{Amounts, HostPort, PodInfo};
use crate::{api::name::Key, client::Snapshot};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service,
    },
    policy::v1::PodDisruptionBudget,
    storage::v1::{CSINode, StorageClass},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

#[derive(Clone)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    pub name: String,
    pub allocatable: Amounts,
    pub requested: Amounts,
    /// CPU and memory, for scoring.
    pub weight: (i64, i64),
    pub pods: Vec<Arc<PodInfo>>,
}

impl NodeInfo {
    pub fn new(node: Arc<Node>) -> NodeInfo {
        let status = node.status.as_ref();
        NodeInfo {
            name: node.metadata.name.clone().unwrap_or_default(),
            allocatable: Amounts::of(status.and_then(|status| status.allocatable.as_ref())),
            requested: Amounts::default(),
            weight: (0, 0),
            pods: Vec::new(),
            node,
        }
    }

    /// Another version of the same node, with the same pods.
    pub fn replace(&mut self, node: Arc<Node>) {
        let pods = std::mem::take(&mut self.pods);
        *self = NodeInfo::new(node);
        for pod in pods {
            self.add(pod);
        }
    }

    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.weight.0 += pod.weight.0;
        self.weight.1 += pod.weight.1;
        self.pods.push(pod);
    }

    pub fn remove(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.key == *key)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.requests);
        self.weight.0 -= pod.weight.0;
        self.weight.1 -= pod.weight.1;
        Some(pod)
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        let labels = self.node.metadata.labels.as_ref()?;
        labels.get(key).map(String::as_str)
    }

    pub fn ports(&self) -> impl Iterator<Item = &HostPort> {
        self.pods.iter().flat_map(|pod| &pod.ports)
    }
}

#[derive(Clone, Default)]
pub struct World {
    pub nodes: BTreeMap<String, NodeInfo>,
    /// Where each pod on a node is, by its key.
    places: HashMap<Key, String>,
    /// Pods waiting for their victims to leave: node and pod.
    pub nominated: BTreeMap<Key, (String, Arc<PodInfo>)>,
    /// Volumes promised to a claim by a binding under way.
    pub promised: BTreeMap<String, Key>,
    pub namespaces: Snapshot<Namespace>,
    pub claims: Snapshot<PersistentVolumeClaim>,
    pub volumes: Snapshot<PersistentVolume>,
    pub classes: Snapshot<StorageClass>,
    pub drivers: Snapshot<CSINode>,
    pub budgets: Snapshot<PodDisruptionBudget>,
    pub services: Snapshot<Service>,
    pub elders: Snapshot<ReplicationController>,
    pub sets: Snapshot<ReplicaSet>,
    pub stateful_sets: Snapshot<StatefulSet>,
}

impl World {
    /// A node that is not known (yet) is known by its pods from now on.
    pub fn place(&mut self, node: &str, pod: Arc<PodInfo>) {
        self.remove(&pod.key);
        self.places.insert(pod.key.clone(), node.to_owned());
        if let Some(node) = self.nodes.get_mut(node) {
            node.add(pod);
        }
    }

    pub fn remove(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        let node = self.places.remove(key)?;
        self.nodes.get_mut(&node)?.remove(key)
    }

    pub fn placed(&self, key: &Key) -> Option<&Arc<PodInfo>> {
        let node = self.nodes.get(self.places.get(key)?)?;
        node.pods.iter().find(|pod| pod.key == *key)
    }

    pub fn pods(&self) -> impl Iterator<Item = (&NodeInfo, &Arc<PodInfo>)> {
        let nodes = self.nodes.values();
        nodes.flat_map(|node| node.pods.iter().map(move |pod| (node, pod)))
    }
}
