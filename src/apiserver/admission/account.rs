//! Gives pods their service account, its token and its pull secrets.

use super::Attempt;
use crate::{
    api::ApiError,
    apiserver::registry::{Request, identity, metadata::text},
};
use serde_json::{Value, json};
use std::time::Duration;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
const INJECTED_SECONDS: i64 = 3607;
/// A new namespace gets its default account a moment after it is made.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits a moment for the `default` account of a namespace that was just made.
pub async fn wait_for_default(request: &Request<'_>, pod: &Value) {
    if !matches!(text(&pod["spec"], "serviceAccountName"), "" | "default") {
        return;
    }
    let key = format!("/serviceaccounts/{}/default", request.namespace);
    let store = &request.registry.store;
    let revision = store.revision();
    let has_namespace = store
        .get(&format!("/namespaces/{}", request.namespace))
        .is_some();
    if store.get(&key).is_some() || !has_namespace {
        return;
    }
    let Ok(mut watch) = store.watch(&key, revision) else {
        return;
    };
    // Whether it came is seen by the step itself.
    let _ = tokio::time::timeout(PATIENCE, watch.next()).await;
}

pub fn complete(attempt: &Attempt<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !attempt.is_creation() || !pod["metadata"]["annotations"][MIRROR].is_null() {
        return Ok(());
    }
    if text(&pod["spec"], "serviceAccountName").is_empty() {
        pod["spec"]["serviceAccountName"] = "default".into();
    }
    let name = text(&pod["spec"], "serviceAccountName").to_owned();
    pod["spec"]["serviceAccount"] = name.as_str().into();
    let namespace = &attempt.request.namespace;
    let account = attempt
        .request
        .registry
        .read("serviceaccounts", namespace, &name);
    let Some(account) = account else {
        return Err(attempt.forbidden(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        )));
    };
    let volume = format!("{PREFIX}{}", identity::suffix());
    inject(pod, &account, &volume);
    Ok(())
}

fn inject(pod: &mut Value, account: &Value, volume: &str) {
    let has_secrets = pod["spec"]["imagePullSecrets"]
        .as_array()
        .is_some_and(|s| !s.is_empty());
    if !has_secrets
        && account["imagePullSecrets"]
            .as_array()
            .is_some_and(|s| !s.is_empty())
    {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    let wish = pod["spec"]["automountServiceAccountToken"].as_bool();
    let wish = wish.or(account["automountServiceAccountToken"].as_bool());
    if wish == Some(false) {
        return;
    }
    // A pod that was copied from a live one brings the volume along.
    let volumes = pod["spec"]["volumes"].as_array();
    let brought = volumes
        .into_iter()
        .flatten()
        .map(|volume| text(volume, "name"));
    let brought = brought
        .filter(|name| name.starts_with(PREFIX))
        .map(str::to_owned)
        .next();
    let name = brought.clone().unwrap_or_else(|| volume.to_owned());
    let mut is_needed = false;
    for group in ["initContainers", "containers"] {
        // An index would make the list: a `null` that upstream never shows.
        let containers = pod["spec"].get_mut(group).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            is_needed |= mount(container, &name);
        }
    }
    if is_needed && brought.is_none() {
        if !pod["spec"]["volumes"].is_array() {
            pod["spec"]["volumes"] = json!([]);
        }
        if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
            volumes.push(token_volume(&name));
        }
    }
}

/// False when something of the user's is mounted there.
fn mount(container: &mut Value, volume: &str) -> bool {
    if !container["volumeMounts"].is_array() {
        container["volumeMounts"] = json!([]);
    }
    let Some(mounts) = container["volumeMounts"].as_array_mut() else {
        return false;
    };
    if mounts.iter().any(|mount| mount["mountPath"] == MOUNT) {
        return false;
    }
    mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT}));
    true
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": INJECTED_SECONDS, "path": "token"}},
            {"configMap": {
                "name": "kube-root-ca.crt",
                "items": [{"key": "ca.crt", "path": "ca.crt"}],
            }},
            {"downwardAPI": {"items": [{
                "path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
            }]}},
        ],
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_mounted_where_nothing_else_is() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "mine", "mountPath": MOUNT}]},
        ]}});
        let account = json!({"imagePullSecrets": [{"name": "s"}]});
        inject(&mut pod, &account, "kube-api-access-abcde");
        let spec = &pod["spec"];
        assert_eq!(spec.get("initContainers"), None);
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
        assert_eq!(
            spec["volumes"],
            json!([token_volume("kube-api-access-abcde")])
        );
        let mounts = &spec["containers"][0]["volumeMounts"];
        assert_eq!(mounts[0]["name"], "kube-api-access-abcde");
        assert_eq!(
            spec["containers"][1]["volumeMounts"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn the_pod_decides_before_the_account() {
        for (pod, account, expected) in [
            (json!(null), json!(false), false),
            (json!(true), json!(false), true),
            (json!(false), json!(null), false),
        ] {
            let mut pod = json!({"spec": {
                "automountServiceAccountToken": pod, "containers": [{"name": "a"}],
            }});
            let account = json!({"automountServiceAccountToken": account});
            inject(&mut pod, &account, "v");
            assert_eq!(pod["spec"]["volumes"].is_array(), expected, "{account}");
        }
    }
}
