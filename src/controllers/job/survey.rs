//! The pods of a job, sorted by what has become of them.

use super::{TRACKING, index, policy};
use crate::{api::object::Object, controllers::pods};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::Pod,
};
use std::sync::Arc;

pub struct Survey<'a> {
    pub job: &'a Job,
    pub spec: &'a JobSpec,
    pub pods: &'a [Arc<Pod>],
    pub active: Vec<&'a Pod>,
    /// Being deleted and still running.
    pub terminating: usize,
    pub succeeded: Vec<&'a Pod>,
    pub failed: Vec<&'a Pod>,
}

impl<'a> Survey<'a> {
    pub fn new(job: &'a Job, spec: &'a JobSpec, pods: &'a [Arc<Pod>]) -> Survey<'a> {
        let mut survey = Survey {
            job,
            spec,
            pods,
            active: Vec::new(),
            terminating: 0,
            succeeded: Vec::new(),
            failed: Vec::new(),
        };
        for pod in pods.iter().map(AsRef::as_ref) {
            if pods::is_active(pod) {
                survey.active.push(pod);
            }
            if pod.is_deleting() && !pods::is_terminal(pod) {
                survey.terminating += 1;
            }
            if pods::phase(pod) == "Succeeded" {
                survey.succeeded.push(pod);
            } else if survey.has_failed(pod) {
                survey.failed.push(pod);
            }
        }
        survey
    }

    /// A pod that is being deleted has failed, unless only really failed pods are replaced, or it was withdrawn.
    fn has_failed(&self, pod: &Pod) -> bool {
        let is_lost = pod.is_deleting() && is_tracked(pod);
        pods::phase(pod) == "Failed" || (is_lost && !self.replaces_failed_only())
    }

    pub fn replaces_failed_only(&self) -> bool {
        match self.spec.pod_replacement_policy.as_deref() {
            Some(policy) => policy == "Failed",
            None => self.spec.pod_failure_policy.is_some(),
        }
    }

    pub fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    pub fn completions(&self) -> Option<i32> {
        self.spec.completions
    }

    /// Whether the pod's end makes the job's failures one more.
    pub fn counts(&self, pod: &Pod) -> bool {
        policy::verdict(self.spec, pod).is_counted()
    }

    /// Whether the pod works on an index that the job does not have (any more).
    pub fn is_beyond(&self, pod: &Pod) -> bool {
        let below = self.completions().unwrap_or_default();
        self.is_indexed() && index::of(pod).is_none_or(|index| index >= below)
    }

    /// Indexes within `completions` whose pods are active.
    pub fn active_indexes(&self) -> Vec<i32> {
        self.active
            .iter()
            .filter_map(|pod| index::of(pod))
            .collect()
    }
}

pub fn is_tracked(pod: &Pod) -> bool {
    let finalizers = pod.metadata.finalizers.iter().flatten();
    finalizers.into_iter().any(|one| one == TRACKING)
}

/// When the pod ended, as well as it is known.
pub fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref();
    let containers = status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten();
    let finished = containers.filter_map(|one| {
        let terminated = one.state.as_ref()?.terminated.as_ref()?;
        terminated.finished_at.as_ref().map(|time| time.0)
    });
    let unready =
        pods::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    finished
        .max()
        .or(unready.map(|time| time.0))
        .or(pod.metadata.deletion_timestamp.as_ref().map(|time| time.0))
        .or(pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}
