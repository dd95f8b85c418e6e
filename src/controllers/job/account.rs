//! Counts finished pods exactly once: note the uid, remove the finalizer, add to the number.

use super::{
    TRACKING, condition, count as as_i32, index,
    survey::{Survey, is_tracked},
};
use crate::{
    api::object::Object,
    client::Snapshot,
    controllers::{framework::Write, pods},
};
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus},
    core::v1::Pod,
};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Uids waiting to become a number; more wait for the next pass.
const UNCOUNTED_MAX: usize = 500;

/// Updates counters in `status`; the writes remove finalizers of pods that are noted already.
pub fn count(survey: &Survey<'_>, status: &mut JobStatus) -> Vec<Write> {
    let tracked: HashMap<&str, &Pod> = survey
        .pods
        .iter()
        .filter(|pod| is_tracked(pod))
        .map(|pod| (pod.uid(), pod.as_ref()))
        .collect();
    let mut strips = Vec::new();
    let held = held(survey, status);
    let mut noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let succeeded = settle(noted.succeeded.take(), &tracked, &mut strips);
    let failed = settle(noted.failed.take(), &tracked, &mut strips);
    status.failed = add(status.failed, failed.done);
    let (mut succeeded_uids, mut failed_uids) = (succeeded.left, failed.left);
    if survey.is_indexed() {
        index_successes(survey, status, &mut strips);
    } else {
        status.succeeded = add(status.succeeded, succeeded.done);
        let fresh = survey.succeeded.iter().filter(|pod| is_tracked(pod));
        note(fresh.map(|pod| pod.uid()), &mut succeeded_uids);
    }
    let failed_pods = survey.failed.iter().filter(|pod| is_tracked(pod));
    for pod in failed_pods.filter(|pod| !held.contains(pod.uid())) {
        // Indexes that are no longer wanted cannot fail.
        if !survey.counts(pod) || survey.is_beyond(pod) {
            strips.push(untrack(pod));
        } else {
            note([pod.uid()].into_iter(), &mut failed_uids);
        }
    }
    let some = |uids: Vec<String>| (!uids.is_empty()).then_some(uids);
    noted.succeeded = some(succeeded_uids);
    noted.failed = some(failed_uids);
    status.uncounted_terminated_pods = Some(noted);
    strips
}

/// The last failed pod of each index that is to be tried again. Only it knows how often the index has failed, so it
/// must not go before its successor, which inherits the number.
fn held<'a>(survey: &Survey<'a>, status: &JobStatus) -> HashSet<&'a str> {
    let is_ending = ["FailureTarget", "SuccessCriteriaMet"]
        .into_iter()
        .any(|type_| condition(status, type_).is_some());
    if survey.spec.backoff_limit_per_index.is_none() || is_ending {
        return HashSet::new();
    }
    let totals = Totals::of(survey, status);
    let mut settled = &totals.completed | &totals.failed_indexes;
    settled.extend(survey.active_indexes());
    let mut last: HashMap<i32, &'a Pod> = HashMap::new();
    for pod in survey.failed.iter().filter(|pod| is_tracked(pod)) {
        let below = survey.completions().unwrap_or_default();
        let index = index::of(pod).filter(|index| *index < below && !settled.contains(index));
        if let Some(index) = index {
            let known = last.entry(index).or_insert(pod);
            if failures_before(pod) > failures_before(known) {
                *known = pod;
            }
        }
    }
    last.into_values().map(Object::uid).collect()
}

/// How often the pod's index had failed when the pod was made.
fn failures_before(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(FAILURE_COUNT));
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Takes the tracking finalizer off a pod.
pub fn untrack(pod: &Pod) -> Write {
    let finalizers = pod.metadata.finalizers.iter().flatten();
    let left: Vec<&String> = finalizers.filter(|one| *one != TRACKING).collect();
    let patch = json!({"metadata": {
        "uid": pod.uid(),
        "resourceVersion": pod.metadata.resource_version,
        "finalizers": left,
    }});
    Write::patch::<Pod>(pod.key(), patch)
}

/// A pod is counted while it belongs to the job: who is adopted gets the finalizer, who is let go loses it. Nobody
/// else would take it off.
pub fn track_claimed(job: &Job, pods: &Snapshot<Pod>, patch: &mut Write) {
    let Some(pod) = pods.get(&patch.key) else {
        return;
    };
    let owners = patch.body["metadata"]["ownerReferences"].as_array();
    let is_adopted = owners.is_some_and(|all| all.iter().any(|one| one["uid"] == job.uid()));
    let old = pod.metadata.finalizers.iter().flatten();
    let mut finalizers: Vec<&str> = old
        .map(String::as_str)
        .filter(|one| *one != TRACKING)
        .collect();
    if is_adopted {
        finalizers.push(TRACKING);
    }
    patch.body["metadata"]["finalizers"] = json!(finalizers);
}

struct Settled {
    left: Vec<String>,
    done: usize,
}

/// Uids whose pods have lost the finalizer, or are gone, are done; the others shall lose it.
fn settle(
    uids: Option<Vec<String>>,
    tracked: &HashMap<&str, &Pod>,
    strips: &mut Vec<Write>,
) -> Settled {
    let uids = uids.unwrap_or_default();
    let total = uids.len();
    let left: Vec<String> = uids
        .into_iter()
        .filter(|uid| tracked.contains_key(uid.as_str()))
        .collect();
    strips.extend(left.iter().map(|uid| untrack(tracked[uid.as_str()])));
    Settled {
        done: total - left.len(),
        left,
    }
}

fn note<'a>(fresh: impl Iterator<Item = &'a str>, uids: &mut Vec<String>) {
    for uid in fresh {
        if uids.len() < UNCOUNTED_MAX && !uids.iter().any(|one| one == uid) {
            uids.push(uid.to_owned());
        }
    }
}

/// Indexes are their own record: once an index is listed, its pod may go.
fn index_successes(survey: &Survey<'_>, status: &mut JobStatus, strips: &mut Vec<Write>) {
    let below = survey.completions().unwrap_or_default();
    let mut done = index::parse(status.completed_indexes.as_deref(), below);
    for pod in survey.succeeded.iter().filter(|pod| is_tracked(pod)) {
        match index::of(pod).filter(|&index| index < below) {
            Some(index) if done.contains(&index) => strips.push(untrack(pod)),
            Some(index) => drop(done.insert(index)),
            None => strips.push(untrack(pod)),
        }
    }
    status.completed_indexes = index::format(&done);
    status.succeeded = add(None, done.len());
}

fn add(before: Option<i32>, more: usize) -> Option<i32> {
    let sum = before.unwrap_or_default().saturating_add(as_i32(more));
    (sum != 0).then_some(sum)
}

/// Counted and noted together: what decisions go by.
pub struct Totals {
    pub succeeded: i32,
    pub failed: i32,
    /// Of an indexed job.
    pub completed: BTreeSet<i32>,
    pub failed_indexes: BTreeSet<i32>,
    /// Failures of each index so far, where they matter.
    pub index_failures: HashMap<i32, i32>,
}

pub const FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";

impl Totals {
    pub fn of(survey: &Survey<'_>, status: &JobStatus) -> Totals {
        let noted = status.uncounted_terminated_pods.as_ref();
        let length = |uids: Option<&Vec<String>>| as_i32(uids.map_or(0, Vec::len));
        let below = survey.completions().unwrap_or_default();
        let mut totals = Totals {
            succeeded: status.succeeded.unwrap_or_default()
                + length(noted.and_then(|noted| noted.succeeded.as_ref())),
            failed: status.failed.unwrap_or_default()
                + length(noted.and_then(|noted| noted.failed.as_ref())),
            completed: BTreeSet::new(),
            failed_indexes: BTreeSet::new(),
            index_failures: HashMap::new(),
        };
        if survey.is_indexed() {
            totals.completed = index::parse(status.completed_indexes.as_deref(), below);
            totals.failed_indexes = index::parse(status.failed_indexes.as_deref(), below);
            totals.find_failed_indexes(survey, below);
        }
        totals
    }

    fn find_failed_indexes(&mut self, survey: &Survey<'_>, below: i32) {
        let Some(limit) = survey.spec.backoff_limit_per_index else {
            return;
        };
        for pod in survey
            .failed
            .iter()
            .filter(|pod| survey.counts(pod) && pods::is_terminal(pod))
        {
            let Some(index) = index::of(pod).filter(|&index| index < below) else {
                continue;
            };
            let failures = self.index_failures.entry(index).or_default();
            *failures = (*failures).max(failures_before(pod).saturating_add(1));
            let fails_at_once =
                super::policy::verdict(survey.spec, pod) == super::policy::Verdict::FailIndex;
            if *failures > limit || fails_at_once {
                self.failed_indexes.insert(index);
            }
        }
        self.failed_indexes = &self.failed_indexes - &self.completed;
    }
}
