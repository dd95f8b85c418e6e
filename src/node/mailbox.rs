//! What others tell a pod's worker: latest values and a bell, so that telling never waits and nothing piles up.

use super::observed::Verdict;
use crate::runtime::model::ContainerInfo;
use k8s_openapi::api::core::v1::Pod;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Mail {
    /// The newest state of the object.
    pub pod: Option<Arc<Pod>>,
    pub gone: bool,
    /// Bounded by the number of containers: the newest exit of each.
    pub exits: Vec<ContainerInfo>,
    pub probes: Vec<ProbeReport>,
    /// The runtime lost events, or the sandbox: look at everything again.
    pub look_again: bool,
    /// An object the pod is made of has changed.
    pub objects_changed: bool,
    /// Resources of the node have become free.
    pub has_room: bool,
    pub shutdown: Option<i64>,
    pub verdict: Option<Verdict>,
}

/// A change of a probe's result.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeReport {
    pub container: String,
    /// The container's id: results of an earlier attempt are worthless.
    pub id: String,
    pub kind: super::probe::Kind,
    pub success: bool,
    pub grace_seconds: Option<i64>,
}

pub struct Mailbox {
    mail: Mutex<Mail>,
    bell: Notify,
    namespace: String,
    names: Names,
}

/// The objects a pod is made of.
#[derive(Default)]
struct Names {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
    claims: BTreeSet<String>,
}

/// A kind of object that pods are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingredient {
    ConfigMap,
    Secret,
    Claim,
}

impl Mailbox {
    #[must_use]
    pub fn new(pod: &Pod) -> Mailbox {
        Mailbox {
            mail: Mutex::default(),
            bell: Notify::new(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            names: names(pod),
        }
    }

    pub fn tell(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock().expect("no panic while locked"));
        self.bell.notify_one();
    }

    /// Takes everything told since the last time.
    #[must_use]
    pub fn take(&self) -> Mail {
        std::mem::take(&mut self.mail.lock().expect("no panic while locked"))
    }

    /// Resolves when something was told since the last time. Cancel-safe.
    pub async fn told(&self) {
        self.bell.notified().await;
    }

    /// Whether the pod is made of this object.
    #[must_use]
    pub fn uses(&self, kind: Ingredient, namespace: &str, name: &str) -> bool {
        let names = match kind {
            Ingredient::ConfigMap => &self.names.config_maps,
            Ingredient::Secret => &self.names.secrets,
            Ingredient::Claim => &self.names.claims,
        };
        self.namespace == namespace && names.contains(name)
    }
}

impl Mail {
    pub fn exit(&mut self, info: ContainerInfo) {
        self.exits.retain(|old| old.id != info.id);
        self.exits.push(info);
    }

    pub fn probe(&mut self, report: ProbeReport) {
        self.probes
            .retain(|old| old.id != report.id || old.kind != report.kind);
        self.probes.push(report);
    }
}

fn names(pod: &Pod) -> Names {
    let mut names = Names::default();
    let Some(spec) = &pod.spec else { return names };
    for volume in spec.volumes.iter().flatten() {
        if let Some(source) = &volume.config_map {
            names.config_maps.insert(source.name.clone());
        }
        if let Some(source) = &volume.secret {
            names.secrets.extend(source.secret_name.clone());
        }
        names.claims.extend(super::volume::claim_name(pod, volume));
        let projected = volume.projected.iter();
        for source in projected.flat_map(|projected| projected.sources.iter().flatten()) {
            let map = source.config_map.as_ref().map(|map| map.name.clone());
            names.config_maps.extend(map);
            let secret = source.secret.as_ref().map(|secret| secret.name.clone());
            names.secrets.extend(secret);
        }
    }
    for wanted in super::spec::containers(spec) {
        for from in wanted.container.env_from.iter().flatten() {
            names
                .config_maps
                .extend(from.config_map_ref.as_ref().map(|map| map.name.clone()));
            names
                .secrets
                .extend(from.secret_ref.as_ref().map(|secret| secret.name.clone()));
        }
        let variables = wanted.container.env.iter().flatten();
        for from in variables.filter_map(|variable| variable.value_from.as_ref()) {
            names
                .config_maps
                .extend(from.config_map_key_ref.as_ref().map(|map| map.name.clone()));
            names.secrets.extend(
                from.secret_key_ref
                    .as_ref()
                    .map(|secret| secret.name.clone()),
            );
        }
    }
    names
}
