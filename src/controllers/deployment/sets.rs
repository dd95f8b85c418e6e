//! A deployment and its sets, sorted out: which is new, what they add up to, what is written on them.

use crate::{
    api::object::Object,
    controllers::{
        framework::controller_ref,
        hash,
        share::{self, Round},
    },
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use std::{collections::BTreeMap, sync::Arc};

pub const HASH_LABEL: &str = "pod-template-hash";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Longer histories lose their oldest entries.
const HISTORY_MAX: usize = 2000;

/// Annotations of a deployment that are not copied to its sets.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// A deployment with its sets.
pub struct Rollout<'a> {
    pub deployment: &'a Deployment,
    pub spec: &'a DeploymentSpec,
    /// The set of the current template, if there is one.
    pub new: Option<&'a ReplicaSet>,
    /// All others, oldest first.
    pub old: Vec<&'a ReplicaSet>,
}

impl<'a> Rollout<'a> {
    pub fn new(
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        owned: &'a [Arc<ReplicaSet>],
    ) -> Rollout<'a> {
        let mut sets: Vec<&ReplicaSet> = owned.iter().map(AsRef::as_ref).collect();
        sets.sort_by_key(|set| (created(set), set.key()));
        let wanted = without_hash(&spec.template);
        let is_new =
            |set: &&ReplicaSet| template(set).is_some_and(|one| without_hash(one) == wanted);
        let new = sets.iter().copied().find(is_new);
        let uid = new.map(Object::uid);
        sets.retain(|set| Some(set.uid()) != uid);
        Rollout {
            deployment,
            spec,
            new,
            old: sets,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.old.iter().copied().chain(self.new)
    }

    pub fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    pub fn is_rolling(&self) -> bool {
        let strategy = self.spec.strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
    }

    pub fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    /// `maxSurge` and `maxUnavailable` as counts; never both zero.
    fn margins(&self) -> (i32, i32) {
        let rolling = self
            .spec
            .strategy
            .as_ref()
            .and_then(|one| one.rolling_update.as_ref());
        let count = |value: Option<&IntOrString>, round| {
            let value = value.and_then(|value| share::resolve(value, self.replicas(), round));
            value.unwrap_or_default()
        };
        let surge = count(rolling.and_then(|one| one.max_surge.as_ref()), Round::Up);
        let unavailable = count(
            rolling.and_then(|one| one.max_unavailable.as_ref()),
            Round::Down,
        );
        // Both may become zero by rounding; then nothing could ever move.
        let unavailable = if surge == 0 && unavailable == 0 {
            1
        } else {
            unavailable
        };
        (surge, unavailable)
    }

    pub fn max_surge(&self) -> i32 {
        if self.is_rolling() {
            self.margins().0
        } else {
            0
        }
    }

    pub fn max_unavailable(&self) -> i32 {
        if !self.is_rolling() || self.replicas() == 0 {
            return 0;
        }
        self.margins().1.min(self.replicas())
    }

    /// Replicas that the new set should have now when it may only grow.
    pub fn new_replicas(&self) -> i32 {
        let have = self.new.map_or(0, replicas);
        if !self.is_rolling() {
            return self.replicas();
        }
        let total: i32 = self.all().map(replicas).sum();
        let room = self.replicas() + self.max_surge() - total;
        have + room.min(self.replicas() - have).max(0)
    }

    /// The revision the new set should bear.
    fn revision(&self) -> i64 {
        self.old
            .iter()
            .map(|set| revision(set))
            .max()
            .unwrap_or_default()
            + 1
    }

    pub fn hash(&self) -> String {
        let collisions = self
            .deployment
            .status
            .as_ref()
            .and_then(|status| status.collision_count);
        hash::of_template(&self.spec.template, collisions)
    }

    /// The set to create for the current template.
    pub fn make_new(&self) -> ReplicaSet {
        let key = self.deployment.key();
        let hash = self.hash();
        let mut template = self.spec.template.clone();
        let meta = template.metadata.get_or_insert_default();
        let labels = meta.labels.get_or_insert_default();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = self.spec.selector.clone();
        let exact = selector.match_labels.get_or_insert_default();
        exact.insert(HASH_LABEL.to_owned(), hash.clone());
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                namespace: Some(key.namespace),
                name: Some(format!("{}-{hash}", key.name)),
                labels: Some(labels),
                owner_references: Some(vec![controller_ref(self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(self.new_replicas()),
                min_ready_seconds: self.spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        self.annotate_new(&mut set);
        self.annotate_size(&mut set);
        set
    }

    /// The new set with current annotations and `minReadySeconds`; equal to the old when nothing changed.
    pub fn refreshed_new(&self, set: &ReplicaSet) -> ReplicaSet {
        let mut set = set.clone();
        self.annotate_new(&mut set);
        if let Some(spec) = &mut set.spec {
            let nonzero = |seconds: Option<i32>| seconds.filter(|&seconds| seconds != 0);
            if nonzero(spec.min_ready_seconds) != nonzero(self.spec.min_ready_seconds) {
                spec.min_ready_seconds = self.spec.min_ready_seconds;
            }
        }
        set
    }

    fn annotate_new(&self, set: &mut ReplicaSet) {
        let wanted = self.revision();
        let had = revision(set);
        let was_annotated = annotation(set, REVISION).is_some();
        let annotations = set.metadata.annotations.get_or_insert_default();
        let own = self.deployment.metadata.annotations.iter().flatten();
        for (name, value) in own.filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())) {
            annotations.insert(name.clone(), value.clone());
        }
        if had < wanted {
            annotations.insert(REVISION.to_owned(), wanted.to_string());
            if was_annotated {
                let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
                remember(history, had);
            }
        }
    }

    /// Writes on a set what it was scaled for: proportional scaling starts from it.
    pub fn annotate_size(&self, set: &mut ReplicaSet) {
        let annotations = set.metadata.annotations.get_or_insert_default();
        annotations.insert(DESIRED.to_owned(), self.replicas().to_string());
        let max = self.replicas() + self.max_surge();
        annotations.insert(MAX.to_owned(), max.to_string());
    }

    /// Whether `spec.replicas` was changed since the sets were last scaled.
    pub fn was_scaled(&self) -> bool {
        let active = self.all().filter(|set| replicas(set) > 0);
        let mut desired = active.filter_map(|set| number(set, DESIRED));
        desired.any(|desired| desired != i64::from(self.replicas()))
    }
}

fn remember(history: &mut String, revision: i64) {
    let text = revision.to_string();
    while !history.is_empty() && history.len() + text.len() + 1 > HISTORY_MAX {
        *history = history
            .split_once(',')
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default();
    }
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(&text);
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        let is_empty =
            |map: &Option<BTreeMap<String, String>>| map.as_ref().is_some_and(BTreeMap::is_empty);
        if is_empty(&meta.labels) {
            meta.labels = None;
        }
        if is_empty(&meta.annotations) {
            meta.annotations = None;
        }
    }
    template
}

fn template(set: &ReplicaSet) -> Option<&PodTemplateSpec> {
    set.spec.as_ref()?.template.as_ref()
}

fn created(set: &ReplicaSet) -> Option<jiff::Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a String> {
    set.metadata.annotations.as_ref()?.get(name)
}

fn number(set: &ReplicaSet, name: &str) -> Option<i64> {
    annotation(set, name)?.parse().ok()
}

pub fn revision(set: &ReplicaSet) -> i64 {
    number(set, REVISION).unwrap_or_default()
}

pub fn max_before(set: &ReplicaSet) -> Option<i64> {
    number(set, MAX).filter(|&max| max > 0)
}

/// As wanted.
pub fn replicas(set: &ReplicaSet) -> i32 {
    let spec = set.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// As seen.
pub fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

pub fn available(set: &ReplicaSet) -> i32 {
    let status = set.status.as_ref();
    status
        .and_then(|status| status.available_replicas)
        .unwrap_or_default()
}
