//! Workloads: everything that makes pods from a template.

use super::{items, part, pod, put, text};
use serde_json::{Value, json};

fn template(spec: &mut Value) {
    if let Some(template) = part(spec, "template") {
        pod::template(template);
    }
}

pub fn replication_controller(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        let is_empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        if is_empty(&object["spec"]["selector"]) {
            object["spec"]["selector"] = labels.clone();
        }
        if is_empty(&object["metadata"]["labels"]) {
            object["metadata"]["labels"] = labels;
        }
    }
    replica_set(object);
}

pub fn replica_set(object: &mut Value) {
    if let Some(spec) = part(object, "spec") {
        put(spec, "replicas", 1);
        template(spec);
    }
}

/// The status of a new set counts from zero, as upstream shows it.
pub fn new_replica_set(object: &mut Value) {
    object["status"] = json!({"replicas": 0});
}

pub fn deployment(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "replicas", 1);
    put(spec, "revisionHistoryLimit", 10);
    put(spec, "progressDeadlineSeconds", 600);
    put(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    put(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        put(strategy, "rollingUpdate", json!({}));
        put(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
        put(&mut strategy["rollingUpdate"], "maxSurge", "25%");
    }
    template(spec);
}

pub fn stateful_set(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "replicas", 1);
    put(spec, "podManagementPolicy", "OrderedReady");
    put(spec, "revisionHistoryLimit", 10);
    put(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    put(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        put(strategy, "rollingUpdate", json!({}));
        put(&mut strategy["rollingUpdate"], "partition", 0);
    }
    const RETENTION: &str = "persistentVolumeClaimRetentionPolicy";
    put(spec, RETENTION, json!({}));
    put(&mut spec[RETENTION], "whenDeleted", "Retain");
    put(&mut spec[RETENTION], "whenScaled", "Retain");
    for claim in items(spec, "volumeClaimTemplates") {
        put(claim, "apiVersion", "v1");
        put(claim, "kind", "PersistentVolumeClaim");
        put(claim, "status", json!({}));
        put(&mut claim["status"], "phase", "Pending");
        if let Some(claim) = part(claim, "spec") {
            put(claim, "volumeMode", "Filesystem");
        }
    }
    template(spec);
}

pub fn new_stateful_set(object: &mut Value) {
    object["status"] = json!({"availableReplicas": 0, "replicas": 0});
}

pub fn daemon_set(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "revisionHistoryLimit", 10);
    put(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    put(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        put(strategy, "rollingUpdate", json!({}));
        put(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
        put(&mut strategy["rollingUpdate"], "maxSurge", 0);
    }
    template(spec);
}

pub fn new_daemon_set(object: &mut Value) {
    object["status"] = json!({
        "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
    });
}

pub fn job(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    let has_none = object["metadata"]["labels"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty);
    if has_none && labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        object["metadata"]["labels"] = labels;
    }
    if let Some(spec) = part(object, "spec") {
        job_spec(spec);
    }
}

fn job_spec(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        put(spec, "completions", 1);
    }
    put(spec, "parallelism", 1);
    let retries = match spec["backoffLimitPerIndex"].is_null() {
        true => 6,
        false => i32::MAX,
    };
    put(spec, "backoffLimit", retries);
    put(spec, "completionMode", "NonIndexed");
    put(spec, "suspend", false);
    put(spec, "manualSelector", false);
    let replacement = match spec["podFailurePolicy"].is_null() {
        true => "TerminatingOrFailed",
        false => "Failed",
    };
    put(spec, "podReplacementPolicy", replacement);
    for rule in spec
        .pointer_mut("/podFailurePolicy/rules")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for condition in items(rule, "onPodConditions") {
            // The schema's own default is the empty string.
            if text(condition, "status").is_empty() {
                condition["status"] = "True".into();
            }
        }
    }
    template(spec);
}

/// Ties the pods to this job by its uid, unless the user wants to choose them.
pub fn new_job(object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let uid = text(&object["metadata"], "uid").to_owned();
    let name = text(&object["metadata"], "name").to_owned();
    let labels = &mut object["spec"]["template"]["metadata"]["labels"];
    if labels.is_null() {
        *labels = json!({});
    }
    for (key, value) in [
        ("controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        put(labels, key, value.as_str());
    }
    let selector = &mut object["spec"]["selector"];
    if selector.is_null() {
        *selector = json!({});
    }
    if selector["matchLabels"].is_null() {
        selector["matchLabels"] = json!({});
    }
    let wanted = &mut selector["matchLabels"];
    put(wanted, "batch.kubernetes.io/controller-uid", uid);
}

pub fn cron_job(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "concurrencyPolicy", "Allow");
    put(spec, "suspend", false);
    put(spec, "successfulJobsHistoryLimit", 3);
    put(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = part(spec, "jobTemplate").and_then(|job| part(job, "spec")) {
        cron_job_spec(job);
    }
}

/// Upstream leaves the numbers of a template's job to the job itself.
fn cron_job_spec(spec: &mut Value) {
    template(spec);
}
