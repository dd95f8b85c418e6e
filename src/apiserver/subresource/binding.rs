//! `pods/binding` and `bindings`: gives a pod its node.

use crate::{
    api::{
        ApiError,
        call::{Outcome, Reply},
        error::Cause,
        name::Gvr,
        time,
    },
    apiserver::registry::{Request, finding, metadata::text, place},
    kinds,
    task::clock,
};
use serde_json::{Value, json};

/// Labels of a node that its pods inherit.
const TOPOLOGY: &[&str] = &[
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

pub async fn create(request: &Request<'_>, binding: &Value) -> Result<Reply, ApiError> {
    let name = match request.name.as_str() {
        "" => text(&binding["metadata"], "name"),
        name => name,
    };
    check(name, binding)?;
    let kind = kinds::find("", "v1", "pods").expect("pods are a built-in kind");
    let node = request
        .registry
        .read("nodes", "", text(&binding["target"], "name"));
    let labels = topology(node.as_ref());
    let key = place::key(kind, &request.namespace, name);
    let missing = ApiError::not_found(&Gvr::new("", "v1", "pods"), name);
    let now = time::format(clock::now());
    if !request.options.dry_run {
        let bound = |pod: &mut Value| bind(pod, binding, &labels, &now);
        request.registry.edit(kind, &key, missing, bound).await?;
    }
    Ok(created())
}

/// The answer to actions that make no object of their own.
pub fn created() -> Reply {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    Outcome::Status {
        code: 201,
        bytes: status.to_string().into(),
    }
    .into()
}

fn check(name: &str, binding: &Value) -> Result<(), ApiError> {
    let target = &binding["target"];
    let mut found: Vec<Cause> = Vec::new();
    if !matches!(text(target, "kind"), "" | "Node") {
        let kind = text(target, "kind");
        found.push(finding::unsupported(
            "target.kind",
            kind,
            &["Node", "<empty>"],
        ));
    }
    if text(target, "name").is_empty() {
        found.push(finding::required("target.name", ""));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("", "Binding", name, found))
}

fn topology(node: Option<&Value>) -> Vec<(&'static str, Value)> {
    let labels = node.map_or(&Value::Null, |node| &node["metadata"]["labels"]);
    TOPOLOGY
        .iter()
        .filter_map(|&key| Some((key, labels.get(key)?.clone())))
        .collect()
}

fn bind(
    pod: &mut Value,
    binding: &Value,
    labels: &[(&'static str, Value)],
    now: &str,
) -> Result<(), ApiError> {
    let meta = &pod["metadata"];
    let name = text(meta, "name").to_owned();
    let conflict = |why: &str| {
        let resource = Gvr::new("", "v1", "pods/binding");
        Err(ApiError::conflict(&resource, &name, why))
    };
    for (field, what) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (wanted, found) = (text(&binding["metadata"], field), text(meta, field));
        if !wanted.is_empty() && wanted != found {
            return conflict(&format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            ));
        }
    }
    if !meta["deletionTimestamp"].is_null() {
        return conflict(&format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let node = text(&pod["spec"], "nodeName");
    if !node.is_empty() {
        return conflict(&format!("pod {name} is already assigned to node {node:?}"));
    }
    let has_gates = pod["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|g| !g.is_empty());
    if has_gates {
        return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = text(&binding["target"], "name").into();
    for field in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][field].as_object().into_iter().flatten() {
            pod["metadata"][field][key] = value.clone();
        }
    }
    for (key, value) in labels {
        pod["metadata"]["labels"][*key] = value.clone();
    }
    // Where a pod runs is no wish of its user: its generation stays.
    let generation = pod["metadata"]["generation"].clone();
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now, "observedGeneration": generation,
    });
    set_condition(&mut pod["status"], condition);
    Ok(())
}

/// Puts a condition in the place of the one of its type; the time of a transition stays when there was none.
pub fn set_condition(status: &mut Value, mut condition: Value) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    match conditions
        .iter_mut()
        .find(|old| old["type"] == condition["type"])
    {
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bind(mut pod: Value, binding: &Value, expected: Result<&str, &str>) {
        let result = bind(&mut pod, binding, &[], "2026-11-21T05:00:00Z");
        match expected {
            Ok(node) => {
                result.unwrap();
                assert_eq!(pod["spec"]["nodeName"], node);
                assert_eq!(pod["metadata"]["generation"], 1);
                assert_eq!(pod["status"]["conditions"][0]["status"], "True");
                assert_eq!(pod["metadata"]["annotations"], json!({"a": "b"}));
            }
            Err(why) => {
                let message = format!("Operation cannot be fulfilled on pods/binding \"p\": {why}");
                assert_eq!(result.unwrap_err().message, message);
            }
        }
    }

    #[test]
    fn a_pod_is_bound_once() {
        let binding = json!({
            "metadata": {"name": "p", "annotations": {"a": "b"}},
            "target": {"kind": "Node", "name": "n"},
        });
        let pod = |spec: Value, more: Value| {
            let mut meta = json!({"name": "p", "uid": "u", "generation": 1});
            crate::api::patch::merge(&mut meta, &more);
            json!({"metadata": meta, "spec": spec, "status": {}})
        };
        check_bind(pod(json!({}), json!({})), &binding, Ok("n"));
        check_bind(
            pod(json!({"nodeName": "m"}), json!({})),
            &binding,
            Err("pod p is already assigned to node \"m\""),
        );
        check_bind(
            pod(
                json!({}),
                json!({"deletionTimestamp": "2026-11-21T05:00:00Z"}),
            ),
            &binding,
            Err("pod p is being deleted, cannot be assigned to a host"),
        );
        check_bind(
            pod(json!({"schedulingGates": [{"name": "g"}]}), json!({})),
            &binding,
            Err("pod p has non-empty .spec.schedulingGates"),
        );
        let mut other = binding;
        other["metadata"]["uid"] = "x".into();
        check_bind(
            pod(json!({}), json!({})),
            &other,
            Err("Precondition failed: UID in precondition: x, UID in object meta: u"),
        );
    }
}
