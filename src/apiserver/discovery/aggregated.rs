//! Aggregated discovery: everything in one document per prefix.

use super::{
    catalog::{Group, Version},
    subresource::{Response, subresources},
};
use crate::kinds::Kind;
use serde_json::{Value, json};

/// The one version that is served.
pub const CONTENT_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api` with the core group alone, or `/apis` with all others.
pub fn document(groups: &[Group], is_core: bool) -> Value {
    let shown = groups
        .iter()
        .filter(|group| group.name.is_empty() == is_core);
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": shown.map(group).collect::<Value>(),
    })
}

fn group(group: &Group) -> Value {
    let mut meta = json!({"creationTimestamp": null});
    if !group.name.is_empty() {
        meta["name"] = group.name.into();
    }
    json!({"metadata": meta, "versions": group.versions.iter().map(version).collect::<Value>()})
}

fn version(version: &Version) -> Value {
    json!({
        "version": version.version, "freshness": "Current",
        "resources": version.kinds.iter().map(|kind| resource(kind)).collect::<Value>(),
    })
}

fn resource(kind: &'static Kind) -> Value {
    let own = Response {
        group: kind.group,
        version: kind.version,
        kind: kind.name,
    };
    let mut entry = json!({
        "resource": kind.plural, "responseKind": response(own),
        "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    if !kind.short.is_empty() {
        entry["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    let subs = subresources(kind);
    if !subs.is_empty() {
        let sub = subs.iter().map(|sub| {
            json!({"subresource": sub.name, "responseKind": response(sub.response), "verbs": sub.verbs})
        });
        entry["subresources"] = sub.collect();
    }
    entry
}

fn response(response: Response) -> Value {
    json!({"group": response.group, "version": response.version, "kind": response.kind})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::discovery::catalog::groups;

    #[test]
    fn the_core_group_stands_alone() {
        let core = document(&groups(), true);
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        assert!(core["items"][0]["metadata"]["name"].is_null());
        let others = document(&groups(), false);
        let apps = others["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|group| group["metadata"]["name"] == "apps");
        let resources = apps.unwrap()["versions"][0]["resources"]
            .as_array()
            .unwrap();
        let deployments = resources
            .iter()
            .find(|entry| entry["resource"] == "deployments")
            .unwrap();
        assert_eq!(deployments["scope"], "Namespaced");
        assert_eq!(
            deployments["subresources"][0]["responseKind"]["kind"],
            "Scale"
        );
    }
}
