//! `pods/ephemeralcontainers` and `pods/resize`: the parts of a pod that may change while it runs.

use crate::{
    api::{ApiError, error::Cause},
    apiserver::registry::{finding, metadata::text},
    kinds::Kind,
};
use serde_json::{Value, json};

/// Adds containers for debugging; those that are there stay as they are.
pub fn put_ephemeral(_: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
    const FIELD: &str = "spec.ephemeralContainers";
    let known = list(old, "ephemeralContainers");
    let wanted = list(candidate, "ephemeralContainers");
    let mut found: Vec<Cause> = Vec::new();
    for container in known {
        let name = text(container, "name");
        match wanted.iter().find(|other| text(other, "name") == name) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                found.push(finding::forbidden(FIELD, &why));
            }
            Some(other) if other != container => {
                let why = format!("existing ephemeral containers {name:?} may not be changed\n");
                found.push(finding::forbidden(FIELD, &why));
            }
            Some(_) => {}
        }
    }
    if !old["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        found.push(finding::forbidden(
            "",
            "static pods do not support ephemeral containers",
        ));
    }
    refuse(old, found)?;
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = candidate["spec"]["ephemeralContainers"].clone();
    Ok(new)
}

/// Changes cpu and memory of containers that are there.
pub fn put_resources(_: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    for group in ["containers", "initContainers"] {
        let wanted = list(candidate, group).to_vec();
        // Not by index, which would add what is missing.
        let containers = new["spec"].get_mut(group).and_then(Value::as_array_mut);
        let Some(containers) = containers else {
            continue;
        };
        for container in containers {
            let name = text(container, "name").to_owned();
            let Some(other) = wanted.iter().find(|other| text(other, "name") == name) else {
                let found = finding::forbidden("spec", "only cpu and memory resources are mutable");
                return refuse(old, vec![found]).map(|()| Value::Null);
            };
            for field in ["resources", "resizePolicy"] {
                match other.get(field) {
                    Some(value) => container[field] = value.clone(),
                    None => container[field] = json!(null),
                }
            }
            if let Some(container) = container.as_object_mut() {
                container.retain(|_, value| !value.is_null());
            }
        }
    }
    Ok(new)
}

fn list<'a>(pod: &'a Value, field: &str) -> &'a [Value] {
    pod["spec"][field]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn refuse(pod: &Value, found: Vec<Cause>) -> Result<(), ApiError> {
    if found.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        "",
        "Pod",
        text(&pod["metadata"], "name"),
        found,
    ))
}
