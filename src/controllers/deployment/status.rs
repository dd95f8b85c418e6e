//! What a deployment says of itself: counts, conditions, its revision, and when a rollout counts as stuck.

use super::{
    plan::{Found, Outcome},
    sets::{REVISION, Rollout, actual, available, replicas, revision},
};
use crate::{
    api::object::Object,
    controllers::framework::{Decision, World, Write},
};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetStatus,
};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";

/// Adds the status write, if the status changes, and the deadline of the rollout.
pub fn report(rollout: &Rollout<'_>, outcome: &Outcome, world: &World, decision: &mut Decision) {
    let deployment = rollout.deployment;
    if let Some(write) = rollout.new.and_then(|new| revision_write(rollout, new)) {
        // The status follows in the next pass: both would be writes of the same revision.
        return decision.push(write);
    }
    let old = deployment.status.clone().unwrap_or_default();
    let mut status = counts(rollout);
    if outcome.found == Found::Collision {
        status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
    }
    let mut conditions = Conditions {
        list: old.conditions.clone().unwrap_or_default(),
        world,
    };
    conditions.availability(rollout, &status);
    conditions.progress(rollout, outcome, &old, &status);
    conditions.failure(rollout);
    if let Some(after) = conditions.deadline(rollout, &status) {
        decision.again(after);
    }
    let mut list = conditions.list;
    list.sort_by_key(|condition| condition.type_ != AVAILABLE);
    status.conditions = (!list.is_empty()).then_some(list);
    if status != old {
        let status = Some(status);
        decision.push(Write::update_status(&Deployment {
            status,
            ..deployment.clone()
        }));
    }
}

/// All replicas are of the new template and available.
pub fn is_complete(rollout: &Rollout<'_>) -> bool {
    completes(rollout, &counts(rollout))
}

fn completes(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let wanted = rollout.replicas();
    let has = |count: Option<i32>| count.unwrap_or_default() == wanted;
    has(status.updated_replicas) && has(status.replicas) && has(status.available_replicas)
}

/// The deployment bears the revision of its new set.
fn revision_write(rollout: &Rollout<'_>, new: &ReplicaSet) -> Option<Write> {
    let text = revision(new).to_string();
    let annotations = rollout.deployment.metadata.annotations.as_ref();
    let is_told = annotations.and_then(|all| all.get(REVISION)) == Some(&text);
    if revision(new) == 0 || is_told || rollout.deployment.is_deleting() {
        return None;
    }
    let mut deployment = rollout.deployment.clone();
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(REVISION.to_owned(), text);
    Some(Write::update(&deployment))
}

fn counts(rollout: &Rollout<'_>) -> DeploymentStatus {
    let nonzero = |count: i32| (count != 0).then_some(count);
    let sum = |count: fn(&ReplicaSetStatus) -> Option<i32>| -> i32 {
        let statuses = rollout.all().filter_map(|set| set.status.as_ref());
        statuses.filter_map(count).sum()
    };
    let available: i32 = rollout.all().map(available).sum();
    let wanted: i32 = rollout.all().map(replicas).sum();
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: nonzero(sum(|status| Some(status.replicas))),
        updated_replicas: nonzero(rollout.new.map_or(0, actual)),
        ready_replicas: nonzero(sum(|status| status.ready_replicas)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((wanted - available).max(0)),
        terminating_replicas: Some(sum(|status| status.terminating_replicas)),
        collision_count: rollout
            .deployment
            .status
            .as_ref()
            .and_then(|old| old.collision_count),
        conditions: None,
    }
}

struct Conditions<'a> {
    list: Vec<DeploymentCondition>,
    world: &'a World,
}

impl Conditions<'_> {
    fn find(&self, type_: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|one| one.type_ == type_)
    }

    fn remove(&mut self, type_: &str) {
        self.list.retain(|one| one.type_ != type_);
    }

    /// Nothing changes while status and reason stay the same.
    fn set(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let old = self.find(type_);
        if old.is_some_and(|old| old.status == status && old.reason.as_deref() == Some(reason)) {
            return;
        }
        self.renew(type_, status, reason, message);
    }

    fn renew(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let now = self.world.stamp();
        let same_status = self.find(type_).filter(|old| old.status == status);
        let since = same_status.and_then(|old| old.last_transition_time.clone());
        let condition = DeploymentCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
            last_update_time: Some(now),
        };
        self.remove(type_);
        self.list.push(condition);
    }

    fn availability(&mut self, rollout: &Rollout<'_>, status: &DeploymentStatus) {
        let enough = rollout.replicas() - rollout.max_unavailable();
        if status.available_replicas.unwrap_or_default() >= enough {
            let text = "Deployment has minimum availability.";
            self.set(AVAILABLE, "True", "MinimumReplicasAvailable", text);
        } else {
            let text = "Deployment does not have minimum availability.";
            self.set(AVAILABLE, "False", "MinimumReplicasUnavailable", text);
        }
    }

    fn progress(
        &mut self,
        rollout: &Rollout<'_>,
        outcome: &Outcome,
        old: &DeploymentStatus,
        status: &DeploymentStatus,
    ) {
        if deadline_seconds(rollout).is_none() {
            return self.remove(PROGRESSING);
        }
        let reason = self
            .find(PROGRESSING)
            .and_then(|one| one.reason.clone())
            .unwrap_or_default();
        if rollout.is_paused() {
            if reason != TIMED_OUT {
                self.set(
                    PROGRESSING,
                    "Unknown",
                    "DeploymentPaused",
                    "Deployment is paused",
                );
            }
            return;
        }
        if reason == "DeploymentPaused" {
            self.set(
                PROGRESSING,
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed",
            );
        }
        if self.of_new_set(rollout, outcome) {
            return;
        }
        let subject = match rollout.new {
            Some(new) => format!("ReplicaSet \"{}\"", new.key().name),
            None => format!("Deployment \"{}\"", rollout.deployment.key().name),
        };
        let is_finished = status.replicas == status.updated_replicas && reason == NEW_AVAILABLE;
        if is_finished {
            return;
        }
        if completes(rollout, status) {
            let text = format!("{subject} has successfully progressed.");
            self.set(PROGRESSING, "True", NEW_AVAILABLE, &text);
        } else if progresses(old, status) {
            let text = format!("{subject} is progressing.");
            self.renew(PROGRESSING, "True", "ReplicaSetUpdated", &text);
        } else if self.is_late(rollout) {
            let text = format!("{subject} has timed out progressing.");
            self.set(PROGRESSING, "False", TIMED_OUT, &text);
        }
    }

    /// What became of the new set in this pass, if that is the news.
    fn of_new_set(&mut self, rollout: &Rollout<'_>, outcome: &Outcome) -> bool {
        match (&outcome.found, rollout.new) {
            (Found::Created, _) => {
                let name = format!("{}-{}", rollout.deployment.key().name, rollout.hash());
                let text = format!("Created new replica set \"{name}\"");
                self.set(PROGRESSING, "True", "NewReplicaSetCreated", &text);
                true
            }
            (Found::Refused(why), _) => {
                let name = format!("{}-{}", rollout.deployment.key().name, rollout.hash());
                let text = format!("Failed to create new replica set \"{name}\": {why}");
                self.set(PROGRESSING, "False", "ReplicaSetCreateError", &text);
                true
            }
            (_, Some(new)) if self.find(PROGRESSING).is_none() => {
                let text = format!("Found new replica set \"{}\"", new.key().name);
                self.set(PROGRESSING, "True", "FoundNewReplicaSet", &text);
                true
            }
            _ => false,
        }
    }

    fn is_late(&self, rollout: &Rollout<'_>) -> bool {
        let Some(progressing) = self.find(PROGRESSING) else {
            return false;
        };
        match progressing.reason.as_deref() {
            Some(NEW_AVAILABLE) => false,
            Some(TIMED_OUT) => true,
            _ => self.time_left(rollout).is_none(),
        }
    }

    /// `None` when the deadline has passed.
    fn time_left(&self, rollout: &Rollout<'_>) -> Option<std::time::Duration> {
        let since = self.find(PROGRESSING)?.last_update_time.as_ref()?.0;
        let seconds = i64::from(deadline_seconds(rollout)?);
        self.world.until(since, SignedDuration::from_secs(seconds))
    }

    fn deadline(
        &self,
        rollout: &Rollout<'_>,
        status: &DeploymentStatus,
    ) -> Option<std::time::Duration> {
        let reason = self.find(PROGRESSING)?.reason.as_deref();
        let is_over = matches!(reason, Some(TIMED_OUT | NEW_AVAILABLE));
        if is_over || rollout.is_paused() || completes(rollout, status) {
            return None;
        }
        self.time_left(rollout)
    }

    /// Copied from the sets: the new one's first.
    fn failure(&mut self, rollout: &Rollout<'_>) {
        let mut sets = rollout.new.into_iter().chain(rollout.old.iter().copied());
        let failure = sets.find_map(|set| {
            let conditions = set.status.as_ref()?.conditions.as_ref()?;
            conditions
                .iter()
                .find(|one| one.type_ == REPLICA_FAILURE && one.status == "True")
        });
        match failure {
            None => self.remove(REPLICA_FAILURE),
            Some(failure) => {
                let reason = failure.reason.clone().unwrap_or_default();
                let message = failure.message.clone().unwrap_or_default();
                self.set(REPLICA_FAILURE, "True", &reason, &message);
            }
        }
    }
}

/// The largest number means: never.
fn deadline_seconds(rollout: &Rollout<'_>) -> Option<i32> {
    let seconds = rollout.spec.progress_deadline_seconds;
    seconds.filter(|&seconds| seconds != i32::MAX)
}

fn progresses(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or_default();
    let outdated = |one: &DeploymentStatus| count(one.replicas) - count(one.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}
