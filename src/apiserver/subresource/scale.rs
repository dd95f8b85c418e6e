//! `/scale`: the number of replicas of anything that has one, as an `autoscaling/v1 Scale`.

use crate::{
    api::{ApiError, selector::LabelSelector},
    apiserver::registry::finding,
    kinds::Kind,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub fn project(kind: &Kind, object: &Value) -> Result<Value, ApiError> {
    let mut meta = Map::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object["metadata"].get(field) {
            meta.insert(field.to_owned(), value.clone());
        }
    }
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = selector(kind, &object["spec"]["selector"])?;
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    Ok(json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": status,
    }))
}

/// As text, for clients that list pods by it.
fn selector(kind: &Kind, spec: &Value) -> Result<String, ApiError> {
    let selector = if kind.name == "ReplicationController" {
        let labels = BTreeMap::deserialize(spec).unwrap_or_default();
        LabelSelector::from_map(&labels)
    } else {
        let spec = Option::deserialize(spec).map_err(ApiError::internal)?;
        LabelSelector::from_spec(spec.as_ref()).map_err(ApiError::internal)?
    };
    Ok(selector.to_string())
}

pub fn inject(_: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
    let replicas = candidate["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let found = finding::invalid(
            "spec.replicas",
            &replicas.into(),
            "must be greater than or equal to 0",
        );
        let name = old["metadata"]["name"].as_str().unwrap_or_default();
        return Err(ApiError::invalid("autoscaling", "Scale", name, vec![found]));
    }
    let mut new = old.clone();
    new["spec"]["replicas"] = replicas.into();
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn a_scale_shows_and_sets_replicas() {
        let kind = kinds::find("apps", "v1", "deployments").unwrap();
        let deployment = json!({
            "metadata": {"name": "web", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"replicas": 2},
        });
        let scale = project(kind, &deployment).unwrap();
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(
            scale["status"],
            json!({"replicas": 2, "selector": "app=web"})
        );
        assert_eq!(scale["metadata"], json!({"name": "web"}));
        let new = inject(kind, &deployment, &json!({"spec": {"replicas": 5}})).unwrap();
        assert_eq!(new["spec"]["replicas"], 5);
        assert_eq!(new["metadata"], deployment["metadata"]);
        let error = inject(kind, &deployment, &json!({"spec": {"replicas": -1}})).unwrap_err();
        assert_eq!(
            error.message,
            "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
    }
}
