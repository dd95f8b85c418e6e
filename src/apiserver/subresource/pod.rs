//! `pods/ephemeralcontainers` and `pods/resize`: the parts of a pod that may change while it runs.

use crate::{
    api::{ApiError, error::Cause},
    apiserver::registry::{finding, metadata::text},
    kinds::Kind,
};
use serde_json::Value;

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

/// Changes the resources of the pod and of its containers. Lists of other containers are left for validation to refuse.
pub fn put_resources(_: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    take_field(&mut new["spec"], &candidate["spec"], "resources");
    for group in ["containers", "initContainers"] {
        let wanted = list(candidate, group);
        let known = list(old, group);
        let name = |container: &Value| text(container, "name").to_owned();
        let is_same =
            wanted.len() == known.len() && wanted.iter().map(name).eq(known.iter().map(name));
        if !is_same {
            new["spec"][group] = candidate["spec"][group].clone();
            continue;
        }
        for (index, other) in wanted.iter().enumerate() {
            let container = &mut new["spec"][group][index];
            for field in ["resources", "resizePolicy"] {
                take_field(container, other, field);
            }
        }
    }
    Ok(new)
}

fn take_field(map: &mut Value, other: &Value, field: &str) {
    match (other.get(field), map.as_object_mut()) {
        (Some(value), _) if !value.is_null() => map[field] = value.clone(),
        (_, Some(map)) => drop(map.remove(field)),
        (_, None) => {}
    }
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
