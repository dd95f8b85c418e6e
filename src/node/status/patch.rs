//! The difference between two statuses as a strategic merge patch.

use super::condition::{RESIZE_IN_PROGRESS, RESIZE_PENDING};
use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// The fields the node owns. Others (`nominatedNodeName`, claims) are left to their owners.
const OWNED: &[&str] = &[
    "phase",
    "conditions",
    "message",
    "reason",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "qosClass",
    "observedGeneration",
    "resources",
    "allocatedResources",
];

/// A patch of `pods/status` that leads from `old` to `new`; `None` when they say the same.
#[must_use]
pub fn patch(uid: &str, old: &PodStatus, new: &PodStatus) -> Option<Value> {
    let old = serde_json::to_value(old).unwrap_or_default();
    let new = serde_json::to_value(new).unwrap_or_default();
    let mut status = Map::new();
    for &field in OWNED {
        let (before, after) = (&old[field], &new[field]);
        let change = match field {
            "conditions" => changed_conditions(before, after),
            "podIPs" | "hostIPs" => addresses(before, after),
            _ => (before != after).then(|| after.clone()),
        };
        if let Some(change) = change {
            status.insert(field.to_owned(), change);
        }
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

/// Conditions are merged by type: only those that differ are sent, so that nobody else's is overwritten.
fn changed_conditions(before: &Value, after: &Value) -> Option<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let before = list(before);
    let mut changed = list(after);
    changed.retain(|condition| !before.contains(condition));
    for condition in &mut changed {
        // A field that was there before and is not any more must be taken away by name.
        let old = before.iter().find(|old| old["type"] == condition["type"]);
        for field in ["reason", "message"] {
            if old.is_some_and(|old| !old[field].is_null()) && condition[field].is_null() {
                condition[field] = Value::Null;
            }
        }
    }
    let stays = |kind: &str| {
        list(after)
            .iter()
            .any(|condition| condition["type"] == kind)
    };
    for kind in [RESIZE_PENDING, RESIZE_IN_PROGRESS] {
        if before.iter().any(|old| old["type"] == kind) && !stays(kind) {
            changed.push(json!({"type": kind, "$patch": "delete"}));
        }
    }
    (!changed.is_empty()).then_some(Value::Array(changed))
}

/// Addresses are merged by `ip`, so that old ones have to be deleted by name.
fn addresses(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let mut list = after.as_array().cloned().unwrap_or_default();
    let old = before.as_array().cloned().unwrap_or_default();
    let gone = old.into_iter().filter(|ip| !list.contains(ip));
    let gone: Vec<Value> = gone
        .map(|ip| json!({"ip": ip["ip"], "$patch": "delete"}))
        .collect();
    list.extend(gone);
    Some(Value::Array(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn equal_statuses_need_no_patch() {
        let same = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let foreign = json!({"phase": "Running", "nominatedNodeName": "n", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "example.com/gate", "status": "True"}]});
        assert_eq!(
            patch("u", &status(same.clone()), &status(same.clone())),
            None
        );
        assert_eq!(patch("u", &status(foreign), &status(same)), None);
    }

    #[test]
    fn a_resize_that_is_over_is_taken_away() {
        let old = json!({"conditions": [{"type": "PodResizePending", "status": "True"}, {"type": "other", "status": "True"}]});
        let expected = json!([{"type": "PodResizePending", "$patch": "delete"}]);
        let patch = patch("u", &status(old), &PodStatus::default()).unwrap();
        assert_eq!(patch["status"]["conditions"], expected);
    }

    #[test]
    fn only_what_differs_is_sent() {
        let old = json!({"phase": "Pending", "reason": "x", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [
            {"type": "Ready", "status": "False", "reason": "r", "message": "m"},
            {"type": "PodScheduled", "status": "True"}]});
        let new = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.2"}], "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]});
        let expected = json!({"metadata": {"uid": "u"}, "status": {
            "phase": "Running", "reason": null,
            "podIPs": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1", "$patch": "delete"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null, "message": null}]}});
        let patch = patch("u", &status(old), &status(new));
        assert_eq!(patch, Some(expected));
    }
}
