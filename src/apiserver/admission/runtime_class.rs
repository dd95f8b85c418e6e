//! A pod's runtime class must exist; what it costs and where it runs is added to the pod.

use super::Attempt;
use crate::{api::ApiError, apiserver::registry::metadata::text};
use serde_json::{Value, json};

pub fn complete(attempt: &Attempt<'_>, pod: &mut Value) -> Result<(), ApiError> {
    let name = text(&pod["spec"], "runtimeClassName").to_owned();
    if !attempt.is_creation() {
        return Ok(());
    }
    if name.is_empty() {
        if !pod["spec"]["overhead"].is_null() {
            return Err(attempt.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ));
        }
        return Ok(());
    }
    let class = attempt
        .request
        .registry
        .read("runtimeclasses.node.k8s.io", "", &name);
    let Some(class) = class else {
        let why = format!("pod rejected: RuntimeClass \"{name}\" not found");
        return Err(attempt.forbidden(&why));
    };
    apply(&mut pod["spec"], &class).map_err(|why| attempt.forbidden(&why))
}

fn apply(spec: &mut Value, class: &Value) -> Result<(), String> {
    let overhead = &class["overhead"]["podFixed"];
    if !spec["overhead"].is_null() && spec["overhead"] != *overhead {
        return Err(
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned(),
        );
    }
    if !overhead.is_null() {
        spec["overhead"] = overhead.clone();
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let own = &spec["nodeSelector"][key];
        if !own.is_null() && own != value {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                value.as_str().unwrap_or_default(),
                own.as_str().unwrap_or_default()
            ));
        }
        spec["nodeSelector"][key] = value.clone();
    }
    let added = scheduling["tolerations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !added.is_empty() {
        let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
        let new: Vec<Value> = added
            .into_iter()
            .filter(|one| !tolerations.contains(one))
            .collect();
        tolerations.extend(new);
        spec["tolerations"] = json!(tolerations);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_adds_its_cost_and_place() {
        let class = json!({
            "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm"}]},
        });
        let mut spec = json!({"runtimeClassName": "vm"});
        apply(&mut spec, &class).unwrap();
        apply(&mut spec, &class).unwrap();
        assert_eq!(spec["overhead"], json!({"cpu": "10m"}));
        assert_eq!(spec["nodeSelector"], json!({"vm": "yes"}));
        assert_eq!(spec["tolerations"], json!([{"key": "vm"}]));
        let mut other = json!({"nodeSelector": {"vm": "no"}});
        assert!(apply(&mut other, &class).is_err());
    }
}
