//! The objects a cluster has from its first moment.
//!
//! [`bootstrap`] makes what is missing, in one batch, at every start; what people changed stays, except roles and
//! bindings, which get back what they lack (unless `autoupdate` is `false`), and the API's own endpoints, which
//! follow its address.

mod flow;
mod objects;
mod rbac;

use super::registry::{Registry, document, place};
use crate::{
    api::{ApiError, schema, time},
    kinds::{self, Kind},
    store::{Entry, Expect},
    task::clock,
};
use futures_util::future::try_join_all;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What the bootstrap objects say about this cluster.
pub struct Facts {
    pub service_cidr: Ipv4Net,
    /// The ClusterIP of `kubernetes.default`.
    pub service_address: Ipv4Addr,
    /// Where the server listens for pods.
    pub address: Ipv4Addr,
    pub port: u16,
    /// The certificate authority of clients, PEM.
    pub ca: String,
    /// Of the default StorageClass `standard`.
    pub provisioner: String,
    /// As in `metadata.creationTimestamp`.
    pub now: String,
}

/// One object of a built-in kind, without what the server adds.
pub struct Seed {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub namespace: String,
    pub object: Value,
}

/// Brings the cluster's own objects in order. Safe to repeat.
pub async fn bootstrap(registry: &Registry, facts: &Facts) -> Result<(), ApiError> {
    let mut seeds = objects::namespaces();
    seeds.extend(rbac::seeds());
    seeds.extend(objects::classes());
    seeds.push(objects::storage_class(&facts.provisioner));
    seeds.extend(objects::api_service(facts));
    seeds.push(objects::authentication(&facts.ca));
    seeds.extend(flow::seeds());
    seeds.extend(objects::api_services(facts));
    let following = objects::api_endpoints(facts);
    let ensured = seeds
        .into_iter()
        .map(|seed| ensure(registry, seed, keep_or_complete));
    let followed = following
        .into_iter()
        .map(|seed| ensure(registry, seed, follow));
    // All at once: the store commits them together.
    tokio::try_join!(try_join_all(ensured), try_join_all(followed))?;
    Ok(())
}

/// The namespaces alone, for tests that need no more.
pub async fn namespaces(registry: &Registry) -> Result<(), ApiError> {
    let seeds = objects::namespaces().into_iter();
    try_join_all(seeds.map(|seed| ensure(registry, seed, keep_or_complete)))
        .await
        .map(drop)
}

/// Says what a stored object should become; `None`: it stays.
type Merge = fn(old: &Value, seed: &Value) -> Option<Value>;

async fn ensure(registry: &Registry, seed: Seed, merge: Merge) -> Result<(), ApiError> {
    let kind = kinds::find(seed.group, seed.version, seed.plural)
        .expect("bootstrap objects are of built-in kinds");
    let name = seed.object["metadata"]["name"].as_str().unwrap_or_default();
    let key = place::key(kind, &seed.namespace, name);
    match registry.store.get(&key) {
        None => {
            let object = whole(kind, &seed);
            registry.seed(kind, &key, Expect::Absent, &object).await
        }
        Some(entry) => {
            let Some(new) = merged(&entry, &seed.object, merge) else {
                return Ok(());
            };
            registry
                .seed(kind, &key, Expect::Modified(entry.modified), &new)
                .await
        }
    }
}

fn merged(entry: &Entry, seed: &Value, merge: Merge) -> Option<Value> {
    if document::index(&entry.note).is_deleting {
        return None;
    }
    let old: Value = serde_json::from_slice(&entry.bytes).ok()?;
    merge(&old, seed)
}

/// A new object as the server would make it.
fn whole(kind: &Kind, seed: &Seed) -> Value {
    let mut object = seed.object.clone();
    object["kind"] = kind.name.into();
    object["apiVersion"] = crate::api::name::group_version(kind.group, kind.version).into();
    if kind.is_namespaced() {
        object["metadata"]["namespace"] = seed.namespace.as_str().into();
    }
    object["metadata"]["uid"] = crate::task::uuid().into();
    object["metadata"]["creationTimestamp"] = time::format(clock::now()).into();
    if kind.has_generation {
        object["metadata"]["generation"] = 1.into();
    }
    schema::default(&mut object, kind.definition);
    object
}

/// Roles and bindings get back what they lack; everything else is left to its owner.
fn keep_or_complete(old: &Value, seed: &Value) -> Option<Value> {
    if old["metadata"]["annotations"][AUTOUPDATE] != "true" || !old["aggregationRule"].is_null() {
        return None;
    }
    let mut new = old.clone();
    for field in ["rules", "subjects"] {
        for item in seed[field].as_array().into_iter().flatten() {
            let held = old[field].as_array();
            if held.is_some_and(|held| held.contains(item)) {
                continue;
            }
            if !new[field].is_array() {
                new[field] = json!([]);
            }
            if let Some(items) = new[field].as_array_mut() {
                items.push(item.clone());
            }
        }
    }
    (new != *old).then_some(new)
}

/// The content becomes the seed's.
fn follow(old: &Value, seed: &Value) -> Option<Value> {
    let mut new = old.clone();
    for (field, value) in seed.as_object().into_iter().flatten() {
        if field != "metadata" {
            new[field] = value.clone();
        }
    }
    (new != *old).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_get_back_what_they_lack() {
        let mark = json!({"annotations": {AUTOUPDATE: "true"}});
        let seed = json!({"rules": [1, 2]});
        let old = json!({"metadata": mark, "rules": [2, 3]});
        let new = keep_or_complete(&old, &seed).unwrap();
        assert_eq!(new["rules"], json!([2, 3, 1]));
        assert_eq!(keep_or_complete(&new, &seed), None);
        let off = json!({"metadata": {"annotations": {AUTOUPDATE: "false"}}, "rules": []});
        assert_eq!(keep_or_complete(&off, &seed), None);
        let plain = json!({"metadata": {}, "spec": {}});
        assert_eq!(keep_or_complete(&plain, &json!({"spec": {"a": 1}})), None);
    }
}
