//! Binds pods to nodes: queue, world, cycle, plug-ins.
//!
//! One task owns the state: it takes in what changed, decides about one pod after the other (pure, in `cycle`), and
//! leaves the writing to tasks of its own. A decided pod counts on its node at once, so that the next decision need
//! not wait for the API. Everything is rebuilt from the caches after a restart.

mod affinity;
mod alike;
mod bind;
mod cycle;
mod plugins;
mod pod;
mod preempt;
mod queue;
mod run;
mod world;

use crate::{
    client::{Cache, Client, Informers, Recorder},
    task::Tasks,
};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
        Service,
    },
    policy::v1::PodDisruptionBudget,
    storage::v1::{CSINode, StorageClass},
};

/// Pods that name another scheduler are left to it.
pub const NAME: &str = "default-scheduler";

#[derive(Clone)]
struct Caches {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    namespaces: Cache<Namespace>,
    claims: Cache<PersistentVolumeClaim>,
    volumes: Cache<PersistentVolume>,
    classes: Cache<StorageClass>,
    drivers: Cache<CSINode>,
    budgets: Cache<PodDisruptionBudget>,
    services: Cache<Service>,
    elders: Cache<ReplicationController>,
    sets: Cache<ReplicaSet>,
    stateful_sets: Cache<StatefulSet>,
}

/// `client` writes as `system:kube-scheduler`.
pub fn start(client: &Client, informers: &Informers, tasks: &Tasks) {
    let caches = Caches {
        pods: informers.cache(),
        nodes: informers.cache(),
        namespaces: informers.cache(),
        claims: informers.cache(),
        volumes: informers.cache(),
        classes: informers.cache(),
        drivers: informers.cache(),
        budgets: informers.cache(),
        services: informers.cache(),
        elders: informers.cache(),
        sets: informers.cache(),
        stateful_sets: informers.cache(),
    };
    let recorder = Recorder::new(client.clone(), tasks, NAME, None);
    let scheduler = run::Scheduler::new(client.clone(), caches, recorder);
    let mut stop = tasks.stop_signal();
    tasks.spawn("scheduler", async move {
        tokio::select! {
            () = scheduler.run() => {}
            // Bindings under way are dropped with it: each is one write, done or not.
            () = stop.stopped() => {}
        }
    });
}

#[cfg(test)]
mod tests;
