//! `certificatesigningrequests/approval` and `/status`: two parties write the same list of conditions, each its own.

use crate::{
    api::{ApiError, time},
    kinds::Kind,
    task::clock,
};
use serde_json::Value;

pub fn put_approval(_: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    new["metadata"] = candidate["metadata"].clone();
    new["status"]["conditions"] = candidate["status"]["conditions"].clone();
    stamp(&mut new, old, &time::format(clock::now()));
    Ok(new)
}

/// Signers report through `/status`; whether a request is approved is not theirs to say.
pub fn keep_approval(new: &mut Value, old: &Value) {
    let conditions = |object: &Value| object["status"]["conditions"].as_array().cloned();
    let verdicts = conditions(old)
        .unwrap_or_default()
        .into_iter()
        .filter(is_verdict);
    let reports = conditions(new).unwrap_or_default();
    let reports = reports
        .into_iter()
        .filter(|condition| !is_verdict(condition));
    let merged: Vec<Value> = verdicts.chain(reports).collect();
    if !merged.is_empty() {
        new["status"]["conditions"] = merged.into();
    }
}

fn is_verdict(condition: &Value) -> bool {
    condition["type"] == "Approved" || condition["type"] == "Denied"
}

/// Gives conditions the times they come without; one that was there before keeps the time of its last change.
pub fn stamp(new: &mut Value, old: &Value, now: &str) {
    let before = old["status"]["conditions"].as_array();
    let Some(conditions) = new["status"]["conditions"].as_array_mut() else {
        return;
    };
    for condition in conditions {
        let same = before
            .into_iter()
            .flatten()
            .find(|one| one["type"] == condition["type"] && one["status"] == condition["status"]);
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.into();
        }
        if condition["lastTransitionTime"].is_null() {
            let known = same.map(|one| one["lastTransitionTime"].clone());
            let known = known.filter(|time| !time.is_null());
            condition["lastTransitionTime"] = known.unwrap_or_else(|| now.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_get_the_times_they_lack() {
        let old = json!({"status": {"conditions": [
            {"type": "Approved", "status": "True", "lastUpdateTime": "a", "lastTransitionTime": "a"},
        ]}});
        let mut new = json!({"status": {"conditions": [
            {"type": "Approved", "status": "True"},
            {"type": "Failed", "status": "True", "lastUpdateTime": "x"},
        ]}});
        stamp(&mut new, &old, "now");
        let expected = json!([
            {"type": "Approved", "status": "True", "lastUpdateTime": "now", "lastTransitionTime": "a"},
            {"type": "Failed", "status": "True", "lastUpdateTime": "x", "lastTransitionTime": "now"},
        ]);
        assert_eq!(new["status"]["conditions"], expected);
    }
}
