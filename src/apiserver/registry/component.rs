//! `componentstatuses`: computed, not stored. All of a cluster's parts live in this process.

use super::Request;
use crate::api::{
    ApiError,
    call::{List, Outcome, Reply, Verb},
};
use serde_json::{Value, json};

const COMPONENTS: &[&str] = &["controller-manager", "etcd-0", "scheduler"];
const DEPRECATED: &str = "v1 ComponentStatus is deprecated in v1.19+";

pub fn read(request: &mut Request<'_>) -> Result<Reply, ApiError> {
    request.warnings.push(DEPRECATED.to_owned());
    if request.verb == Verb::List {
        let items = COMPONENTS
            .iter()
            .map(|name| status(name).to_string().into());
        return Ok(Outcome::List(List {
            api_version: "v1".to_owned(),
            kind: "ComponentStatusList".to_owned(),
            revision: request.registry.store.revision(),
            items: items.collect(),
            ..List::default()
        })
        .into());
    }
    if !COMPONENTS.contains(&request.name.as_str()) {
        return Err(request.not_found());
    }
    Ok(Outcome::Object {
        bytes: status(&request.name).to_string().into(),
        created: false,
    }
    .into())
}

fn status(name: &str) -> Value {
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1",
        "metadata": {"name": name, "creationTimestamp": null},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    })
}
