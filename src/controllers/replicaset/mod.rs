//! Keeps the number of pods of a ReplicaSet or a ReplicationController at `spec.replicas`.
//!
//! Pods that ended or are being deleted do not count. What to create or delete is decided here for both kinds; they
//! differ only in their types.

mod controller;
mod ranking;
mod set;

pub use controller::start as start_replication_controllers;
pub use set::start as start_replica_sets;

use super::{
    framework::{Decision, Notice, World, Write, claim, controller_ref, is_controlled_by, matches},
    pods,
};
use crate::api::{call::Verb, object::Object};
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Pods created or deleted in one pass.
const BURST: usize = 500;

/// What both kinds are about.
struct Wanted<'a, O> {
    owner: &'a O,
    replicas: i32,
    min_ready_seconds: i32,
    template: &'a PodTemplateSpec,
}

/// What is seen of the pods.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    replicas: i32,
    fully_labeled: i32,
    ready: i32,
    available: i32,
    terminating: i32,
    /// When the next ready pod becomes available.
    next_available: Option<Duration>,
}

impl<O: Object> Wanted<'_, O> {
    /// One pass: claims pods, makes or removes some, and returns what is to be reported. `related` names all pods that
    /// belong to the same application, given those of the owner.
    fn keep(
        &self,
        selector: &LabelSelector,
        related: impl FnOnce(&[Arc<Pod>]) -> Vec<Arc<Pod>>,
        old: &ReplicaSetStatus,
        world: &World,
        decision: &mut Decision,
    ) -> ReplicaSetStatus {
        let all = world.all::<Pod>();
        let (namespace, uid) = (self.owner.key().namespace, self.owner.uid());
        // What has ended is neither adopted nor let go.
        let mine = all.controlled_by(&namespace, uid);
        let orphans = all.uncontrolled(&namespace);
        let claims = claim(
            self.owner,
            mine.cloned(),
            orphans.filter(|pod| pods::is_active(pod)).cloned(),
            |pod: &Pod| {
                let has_ended = !pods::is_active(pod) && is_controlled_by(&pod.metadata, uid);
                has_ended || matches(selector, pod.metadata.labels.as_ref())
            },
        );
        let is_settled = claims.patches.is_empty();
        claims
            .patches
            .into_iter()
            .for_each(|patch| decision.push(patch));
        // What is about to be adopted counts in the next pass; until then no pod is made in its place.
        if is_settled && !self.owner.is_deleting() {
            let related = related(&claims.owned);
            for write in self.adjust(&claims.owned, &related, world) {
                decision.push(write);
            }
        }
        self.status(old, &claims.owned, world, decision)
    }

    fn count(&self, owned: &[Arc<Pod>], world: &World) -> Counts {
        let mut counts = Counts::default();
        let template = pods::labels_of(self.template);
        for pod in owned {
            if !pods::is_active(pod) {
                counts.terminating += i32::from(!pods::is_terminal(pod));
                continue;
            }
            counts.replicas += 1;
            counts.fully_labeled += i32::from(has_all(pod.metadata.labels.as_ref(), &template));
            counts.ready += i32::from(pods::is_ready(pod));
            match pods::available_at(pod, self.min_ready_seconds) {
                Some(at) if at <= world.now => counts.available += 1,
                Some(at) => {
                    let left = at.duration_since(world.now).unsigned_abs();
                    let earlier = counts.next_available.is_none_or(|other| left < other);
                    if earlier {
                        counts.next_available = Some(left);
                    }
                }
                None => {}
            }
        }
        counts
    }

    /// What is to be reported; asks to look again when a ready pod will become available.
    fn status(
        &self,
        old: &ReplicaSetStatus,
        owned: &[Arc<Pod>],
        world: &World,
        decision: &mut Decision,
    ) -> ReplicaSetStatus {
        let counts = self.count(owned, world);
        if let Some(after) = counts.next_available {
            decision.again(after);
        }
        ReplicaSetStatus {
            replicas: counts.replicas,
            fully_labeled_replicas: nonzero(counts.fully_labeled),
            ready_replicas: nonzero(counts.ready),
            available_replicas: nonzero(counts.available),
            terminating_replicas: Some(counts.terminating),
            observed_generation: self.owner.metadata().generation,
            conditions: conditions(old, world),
        }
    }

    /// Creations or deletions of pods. `related` are all pods that belong to the same application.
    fn adjust(&self, owned: &[Arc<Pod>], related: &[Arc<Pod>], world: &World) -> Vec<Write> {
        let active: Vec<Arc<Pod>> = owned
            .iter()
            .filter(|pod| pods::is_active(pod))
            .cloned()
            .collect();
        let wanted = usize::try_from(self.replicas).unwrap_or_default();
        if active.len() < wanted {
            let missing = (wanted - active.len()).min(BURST);
            return vec![self.creation(); missing];
        }
        let surplus = (active.len() - wanted).min(BURST);
        ranking::victims(&active, related, surplus, world.now)
            .into_iter()
            .map(|pod| self.deletion(pod))
            .collect()
    }

    fn creation(&self) -> Write {
        let key = self.owner.key();
        let owner = controller_ref(self.owner);
        let pod = pods::from_template(self.template, &key.namespace, &key.name, owner);
        Write::create(&pod)
            .told(Notice::normal(
                self.owner,
                "SuccessfulCreate",
                "Created pod: ",
            ))
            .lamented(Notice::warning(
                self.owner,
                "FailedCreate",
                "Error creating: ",
            ))
    }

    fn deletion(&self, pod: &Pod) -> Write {
        let told = format!("Deleted pod: {}", pod.key().name);
        Write::delete(pod)
            .told(Notice::normal(self.owner, "SuccessfulDelete", told))
            .lamented(Notice::warning(
                self.owner,
                "FailedDelete",
                "Error deleting: ",
            ))
    }
}

/// Reason and message of the condition `ReplicaFailure`, if pods could not be made or removed.
fn failure(world: &World) -> Option<(&'static str, String)> {
    let failure = world.failure.as_ref()?;
    let reason = match failure.verb {
        Verb::Create => "FailedCreate",
        Verb::Delete => "FailedDelete",
        _ => return None,
    };
    Some((reason, failure.message.clone()))
}

fn conditions(old: &ReplicaSetStatus, world: &World) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let is_failure = |one: &ReplicaSetCondition| one.type_ == "ReplicaFailure";
    match failure(world) {
        Some((reason, message)) if !conditions.iter().any(is_failure) => {
            conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".to_owned(),
                status: "True".to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(world.stamp()),
            });
        }
        Some(_) => {}
        None => conditions.retain(|one| !is_failure(one)),
    }
    (!conditions.is_empty()).then_some(conditions)
}

fn has_all(labels: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    let has = |(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value));
    wanted.iter().all(has)
}

/// Zero is left out, as upstream's encoder does.
fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
