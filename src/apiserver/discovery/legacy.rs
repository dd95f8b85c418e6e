//! Discovery documents as they were before aggregation; some clients still read nothing else.

use super::{
    catalog::{Group, Version},
    subresource::subresources,
};
use crate::{api::name::group_version, kinds::Kind};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// `/api`.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub fn group_list(groups: &[Group]) -> Value {
    let named = groups.iter().filter(|group| !group.name.is_empty());
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named.map(entry).collect::<Value>()})
}

/// `/apis/<group>`.
pub fn group(group: &Group) -> Value {
    let mut document = entry(group);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    document
}

fn entry(group: &Group) -> Value {
    let version = |version: &Version| {
        json!({
            "groupVersion": group_version(group.name, version.version), "version": version.version,
        })
    };
    json!({
        "name": group.name,
        "versions": group.versions.iter().map(version).collect::<Value>(),
        "preferredVersion": group.versions.first().map(version),
    })
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub fn resource_list(group: &Group, version: &Version) -> Value {
    let mut resources: Vec<Value> = Vec::new();
    for kind in &version.kinds {
        resources.push(resource(kind));
        resources.extend(subresources(kind).iter().map(|sub| {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
                "namespaced": kind.is_namespaced(), "kind": sub.response.kind, "verbs": sub.verbs,
            });
            if (sub.response.group, sub.response.version) != (kind.group, kind.version) {
                entry["group"] = sub.response.group.into();
                entry["version"] = sub.response.version.into();
            }
            entry
        }));
    }
    json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": group_version(group.name, version.version), "resources": resources,
    })
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.is_namespaced(),
        "kind": kind.name, "verbs": kind.verbs,
    });
    if !kind.short.is_empty() {
        entry["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if kind.is_stored() {
        entry["storageVersionHash"] = storage_hash(kind).into();
    }
    entry
}

fn storage_hash(kind: &Kind) -> String {
    let name = format!("{}/{}/{}", kind.group, kind.version, kind.name);
    STANDARD.encode(&Sha256::digest(name.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apiserver::discovery::catalog::groups, kinds};

    #[test]
    fn storage_hashes_are_upstreams() {
        let config_map = kinds::find("", "v1", "configmaps").unwrap();
        assert_eq!(storage_hash(config_map), "qFsyl6wFWjQ=");
    }

    #[test]
    fn subresources_follow_their_resource() {
        let groups = groups();
        let apps = groups.iter().find(|group| group.name == "apps").unwrap();
        let list = resource_list(apps, &apps.versions[0]);
        let entries = list["resources"].as_array().unwrap();
        let at = entries
            .iter()
            .position(|entry| entry["name"] == "deployments")
            .unwrap();
        assert_eq!(entries[at]["shortNames"], json!(["deploy"]));
        assert_eq!(entries[at + 1]["name"], "deployments/scale");
        assert_eq!(entries[at + 1]["group"], "autoscaling");
        assert_eq!(entries[at + 2]["name"], "deployments/status");
        assert!(entries[at + 2]["group"].is_null());
    }
}
