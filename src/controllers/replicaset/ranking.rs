//! Which pods go first when there are too many.

use crate::{api::object::Object, controllers::pods};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::{cmp::Ordering, collections::HashMap, sync::Arc};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `surplus` pods whose loss hurts least.
pub fn victims<'a>(
    active: &'a [Arc<Pod>],
    related: &[Arc<Pod>],
    surplus: usize,
    now: Timestamp,
) -> Vec<&'a Pod> {
    if surplus == 0 {
        return Vec::new();
    }
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *crowd.entry(node(pod)).or_default() += 1;
    }
    let mut order: Vec<&Pod> = active.iter().map(AsRef::as_ref).collect();
    // When all go, their order does not matter.
    if surplus < order.len() {
        order.sort_by(|a, b| compare(a, b, &crowd, now));
    }
    order.truncate(surplus);
    order
}

/// Less means: goes earlier.
fn compare(a: &Pod, b: &Pod, crowd: &HashMap<&str, usize>, now: Timestamp) -> Ordering {
    let neighbors = |pod: &Pod| crowd.get(node(pod)).copied().unwrap_or_default();
    node(b)
        .is_empty()
        .cmp(&node(a).is_empty())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| neighbors(b).cmp(&neighbors(a)))
        .then_with(|| age(pods::ready_since(a), now).cmp(&age(pods::ready_since(b), now)))
        .then_with(|| pods::restarts(b).cmp(&pods::restarts(a)))
        .then_with(|| age(created(a), now).cmp(&age(created(b), now)))
        .then_with(|| a.uid().cmp(b.uid()))
}

/// Younger goes first, but only when the ages differ by a power of two; among ages alike the uid decides, last of all:
/// an order that asked for it in between would contradict itself.
fn age(since: Option<Timestamp>, now: Timestamp) -> Option<i32> {
    since.map(|since| magnitude(since, now))
}

/// The logarithm of an age; -1 for the future.
fn magnitude(since: Timestamp, now: Timestamp) -> i32 {
    let age = now.duration_since(since).as_nanos();
    match u128::try_from(age) {
        Ok(0) | Err(_) => -1,
        Ok(age) => age.ilog2().cast_signed(),
    }
}

fn node(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        "Running" => 2,
        // A pod that was never given a phase has just been created.
        _ => 0,
    }
}

fn cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(DELETION_COST));
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The better one stays, so the other is the victim, whatever their order.
    fn check(goes: &Value, stays: &Value) {
        let pod = |value: &Value, name: &str| {
            let mut value = value.clone();
            value["metadata"]["name"] = name.into();
            value["metadata"]["uid"] = name.into();
            Arc::new(serde_json::from_value::<Pod>(value).unwrap())
        };
        let now: Timestamp = "2026-11-21T05:00:00Z".parse().unwrap();
        let pods = [pod(stays, "stays"), pod(goes, "goes")];
        for all in [pods.to_vec(), pods.iter().rev().cloned().collect()] {
            let names: Vec<String> = victims(&all, &all, 1, now)
                .iter()
                .map(|pod| pod.key().name)
                .collect();
            assert_eq!(names, ["goes"], "{goes} before {stays}");
        }
    }

    fn ready(at: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"nodeName": "n", "containers": []}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}]}})
    }

    fn with(mut pod: Value, path: &str, value: Value) -> Value {
        *pod.pointer_mut(path).unwrap() = value;
        pod
    }

    #[test]
    fn the_order_of_many_does_not_contradict_itself() {
        let now: Timestamp = "2026-11-21T05:00:00Z".parse().unwrap();
        let pods: Vec<Arc<Pod>> = (0..60)
            .map(|number: usize| {
                let mut pod = ready(&format!("2026-11-21T04:00:{:02}Z", number % 7));
                pod["metadata"]["uid"] = format!("{:02}", number * 37 % 60).into();
                pod["status"]["containerStatuses"] = json!([{"name": "c", "restartCount": number % 3, "ready": true, "image": "", "imageID": ""}]);
                Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
            })
            .collect();
        let backwards: Vec<Arc<Pod>> = pods.iter().rev().cloned().collect();
        let uids = |pods: &[Arc<Pod>]| -> Vec<String> {
            let victims = victims(pods, pods, 30, now);
            victims.iter().map(|pod| pod.uid().to_owned()).collect()
        };
        assert_eq!(uids(&pods), uids(&backwards));
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let old = ready("2026-11-21T01:00:00Z");
        let young = ready("2026-11-21T04:59:00Z");
        let unready = with(old.clone(), "/status/conditions/0/status", json!("False"));
        let pending = with(unready.clone(), "/status/phase", json!("Pending"));
        let unassigned = with(pending.clone(), "/spec", json!({"containers": []}));
        let cheap = with(
            old.clone(),
            "/metadata",
            json!({"annotations": {DELETION_COST: "-5"}}),
        );
        check(&unassigned, &pending);
        check(&pending, &unready);
        check(&unready, &young);
        check(&young, &old);
        check(&cheap, &young);
        let mut restarted = old.clone();
        restarted["status"]["containerStatuses"] =
            json!([{"name": "c", "restartCount": 3, "ready": true, "image": "", "imageID": ""}]);
        check(&restarted, &old);
    }
}
