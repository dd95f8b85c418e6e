//! The Node object and its lease: who we are, what we have, that we live.
//!
//! The lease is renewed in a task of its own, so that nothing slow can make the node look dead. The status is written
//! when it changes and every five minutes; [`status`](describe) is pure.

use super::{host::Host, sandbox::HANDLERS, status::RUNTIME_SCHEME};
use crate::{
    api::{
        ApiError,
        call::PatchKind,
        name::Key,
        object::{Object, typed},
        time,
    },
    client::EventKind,
    config::KUBERNETES,
    runtime::{memory::Memory, model::ImageInfo},
    task::{Stop, Tasks, clock},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    apimachinery::pkg::api::resource::Quantity,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tracing::{debug, info, warn};

const LEASE_PERIOD: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
const STATUS_PERIOD: Duration = Duration::from_secs(300);
/// The pause after a refusal: at first start the API may not be complete yet.
const RETRY: Duration = Duration::from_millis(200);
const IMAGES_MAX: usize = 50;

/// What the node offers to pods, in thousandths.
#[must_use]
pub fn allocatable(host: &Host) -> super::admit::Allocatable {
    let machine = &host.machine;
    super::admit::Allocatable::from([
        ("pods".to_owned(), i64::from(host.pods_max()) * 1000),
        ("cpu".to_owned(), machine.cpus * 1000),
        (
            "memory".to_owned(),
            (machine.memory_bytes - machine.memory_reserve_bytes).saturating_mul(1000),
        ),
        (
            "ephemeral-storage".to_owned(),
            (machine.storage_bytes - machine.storage_reserve_bytes).saturating_mul(1000),
        ),
    ])
}

/// Registers the node, then keeps its status true until the daemon stops.
pub async fn keep_status(host: &Host, mut stop: Stop) {
    let mut written: Option<Value> = None;
    loop {
        let refused = match write(host, &mut written).await {
            Ok(()) => false,
            Err(failure) => {
                debug!(node = host.name(), %failure, "write the node's status");
                true
            }
        };
        let pause = if refused { RETRY } else { STATUS_PERIOD };
        tokio::select! {
            () = tokio::time::sleep(pause) => {
                if !refused {
                    // Due although nothing has changed.
                    written = None;
                }
            }
            () = host.node_changed.notified() => {}
            () = stop.stopped() => return,
        }
    }
}

async fn write(host: &Host, written: &mut Option<Value>) -> Result<(), ApiError> {
    let key = Key::new("", host.name());
    let old = match host.client.get::<Node>(&key).await {
        Ok(node) => node,
        Err(failure) if failure.is_not_found() => {
            let node: Node = typed(&object(host)).map_err(ApiError::internal)?;
            let node = host.client.create(&node).await?;
            info!(node = host.name(), "registered the node");
            host.node_event(EventKind::Normal, "Starting", "Starting kubelet.");
            node
        }
        Err(failure) => return Err(failure),
    };
    let images = host.runtime.images().await.unwrap_or_default();
    let now = clock::now();
    let status = describe(host, &images, &old, now);
    // Heartbeat times alone are no change.
    let mut plain = status.clone();
    for condition in plain["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastHeartbeatTime"] = Value::Null;
    }
    if written.as_ref() == Some(&plain) {
        return Ok(());
    }
    let was_ready = condition(&old, "Ready").is_some_and(|ready| ready.0 == "True");
    let patch = json!({"status": status});
    let kind = PatchKind::Strategic;
    host.client
        .patch::<Node>(&key, Some("status"), kind, &patch)
        .await?;
    // The labels and ranges of an object from an earlier start are brought up to date.
    if written.is_none() && !is_registered(&old, host) {
        let object = object(host);
        let patch = json!({"metadata": object["metadata"], "spec": object["spec"]});
        host.client.patch::<Node>(&key, None, kind, &patch).await?;
    }
    tell_strains(host, &old, &host.pressure.conditions());
    *written = Some(plain);
    if !was_ready {
        let text = format!("Node {} status is now: NodeReady", host.name());
        host.node_event(EventKind::Normal, "NodeReady", &text);
    }
    Ok(())
}

fn is_registered(node: &Node, host: &Host) -> bool {
    let wanted = object(host);
    let found = serde_json::to_value(node).unwrap_or_default();
    let labels = wanted["metadata"]["labels"].as_object();
    let mut labels = labels.into_iter().flatten();
    labels.all(|(key, value)| found["metadata"]["labels"][key] == *value)
        && found["spec"]["podCIDR"] == wanted["spec"]["podCIDR"]
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The object at registration.
fn object(host: &Host) -> Value {
    let name = host.name();
    let arch = architecture();
    let range = host.config.pod_cidr.to_string();
    let mut labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": arch,
    });
    if is_first(host) {
        labels["node-role.kubernetes.io/control-plane"] = "".into();
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": range, "podCIDRs": [range], "providerID": format!("kubik://{}/{name}", host.cluster.profile)},
    })
}

fn describe(host: &Host, images: &[ImageInfo], old: &Node, now: Timestamp) -> Value {
    let machine = &host.machine;
    let memory = |bytes: i64| format!("{}Ki", bytes / 1024);
    let mut images: Vec<&ImageInfo> = images.iter().collect();
    images.sort_by_key(|image| (std::cmp::Reverse(image.size_bytes), image.id.clone()));
    let images: Vec<Value> = images
        .into_iter()
        .take(IMAGES_MAX)
        .map(|image| {
            let names = image.digests.iter().chain(&image.tags);
            let names: Vec<&String> = names.collect();
            json!({"names": names, "sizeBytes": image.size_bytes})
        })
        .collect();
    let capacity = |storage: i64, memory: String| {
        json!({
            "cpu": machine.cpus.to_string(), "memory": memory, "ephemeral-storage": storage.to_string(),
            "hugepages-1Gi": "0", "hugepages-2Mi": "0", "pods": host.pods_max().to_string(),
        })
    };
    let mut allocatable = capacity(
        machine.storage_bytes - machine.storage_reserve_bytes,
        memory(machine.memory_bytes - machine.memory_reserve_bytes),
    );
    for (name, amount) in foreign_resources(old) {
        allocatable[name] = amount;
    }
    json!({
        "capacity": capacity(machine.storage_bytes, memory(machine.memory_bytes)),
        "allocatable": allocatable,
        "addresses": [
            {"type": "InternalIP", "address": host.address().to_string()},
            {"type": "Hostname", "address": host.name()},
        ],
        "conditions": conditions(old, &host.pressure.conditions(), now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": machine.machine_id, "systemUUID": machine.system_uuid, "bootID": machine.boot_id,
            "kernelVersion": machine.kernel, "osImage": machine.os_image,
            "containerRuntimeVersion": format!("{RUNTIME_SCHEME}://{}", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": format!("{KUBERNETES}-kubik.{}", env!("CARGO_PKG_VERSION")), "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": architecture(), "swap": {"capacity": machine.swap_bytes},
        },
        "images": images,
        "features": {"supplementalGroupsPolicy": true},
        "runtimeHandlers": HANDLERS.iter().map(|name| json!({
            "name": name, "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false},
        })).collect::<Vec<Value>>(),
    })
}

/// What others have said that the node has: all of it can be given to pods. Null for what they have taken back.
fn foreign_resources(node: &Node) -> Vec<(String, Value)> {
    let status = node.status.as_ref();
    let list = |list: Option<&BTreeMap<String, Quantity>>| {
        let foreign = list
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.contains('/'));
        let foreign = foreign.map(|(name, amount)| (name.clone(), amount.0.clone()));
        foreign.collect::<BTreeMap<String, String>>()
    };
    let capacity = list(status.and_then(|status| status.capacity.as_ref()));
    let allocatable = list(status.and_then(|status| status.allocatable.as_ref()));
    let gone = allocatable
        .into_keys()
        .filter(|name| !capacity.contains_key(name));
    let gone: Vec<(String, Value)> = gone.map(|name| (name, Value::Null)).collect();
    capacity
        .into_iter()
        .map(|(name, amount)| (name, amount.into()))
        .chain(gone)
        .collect()
}

/// Whether others have changed what they say that the node has.
pub fn has_news(node: &Node) -> bool {
    let allocatable = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    foreign_resources(node).iter().any(|(name, amount)| {
        let known = allocatable.and_then(|all| all.get(name));
        amount.as_str() != known.map(|known| known.0.as_str())
    })
}

/// Status and transition time of a condition the API has.
fn condition(node: &Node, kind: &str) -> Option<(String, Option<Timestamp>)> {
    let status = node.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|condition| condition.type_ == kind)?;
    let at = found.last_transition_time.as_ref().map(|time| time.0);
    Some((found.status.clone(), at))
}

/// A condition of pressure: its name; reason and message while it stands and while it does not; both events.
struct Strain(&'static str, [&'static str; 3], [&'static str; 3]);

#[rustfmt::skip]
const STRAINS: &[Strain] = &[
    Strain(
        "MemoryPressure",
        ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "NodeHasInsufficientMemory"],
        ["KubeletHasSufficientMemory", "kubelet has sufficient memory available", "NodeHasSufficientMemory"],
    ),
    Strain(
        "DiskPressure",
        ["KubeletHasDiskPressure", "kubelet has disk pressure", "NodeHasDiskPressure"],
        ["KubeletHasNoDiskPressure", "kubelet has no disk pressure", "NodeHasNoDiskPressure"],
    ),
    Strain(
        "PIDPressure",
        ["KubeletHasInsufficientPID", "kubelet has insufficient PID available", "NodeHasInsufficientPID"],
        ["KubeletHasSufficientPID", "kubelet has sufficient PID available", "NodeHasSufficientPID"],
    ),
];

fn conditions(old: &Node, strains: &BTreeSet<&'static str>, now: Timestamp) -> Vec<Value> {
    let mut rows: Vec<(&str, &str, &str, &str)> = Vec::new();
    for Strain(kind, yes, no) in STRAINS {
        let (status, [reason, message, _]) = if strains.contains(kind) {
            ("True", yes)
        } else {
            ("False", no)
        };
        rows.push((kind, status, reason, message));
    }
    let ready = "kubelet is posting ready status";
    rows.push(("Ready", "True", "KubeletReady", ready));
    let row = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        let before = condition(old, kind).filter(|(before, _)| before == status);
        let changed_at = before.and_then(|(_, at)| at).unwrap_or(now);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time::format(now), "lastTransitionTime": time::format(changed_at),
        })
    };
    rows.into_iter().map(row).collect()
}

/// The events of conditions that read differently from what the API has.
fn tell_strains(host: &Host, old: &Node, strains: &BTreeSet<&'static str>) {
    for Strain(kind, yes, no) in STRAINS {
        let stands = strains.contains(kind);
        let Some((before, _)) = condition(old, kind) else {
            continue;
        };
        if (before == "True") != stands {
            let reason = if stands { yes[2] } else { no[2] };
            let text = format!("Node {} status is now: {reason}", host.name());
            host.node_event(EventKind::Normal, reason, &text);
        }
    }
}

/// Renews the lease until the daemon stops.
pub async fn keep_lease(host: &Host, mut stop: Stop) {
    let mut failures = 0_u32;
    let mut memory = Memory::default();
    loop {
        let pause = match renew(host).await {
            Ok(()) => {
                failures = 0;
                LEASE_PERIOD
            }
            Err(failure) => {
                failures += 1;
                if failures > 20 {
                    warn!(node = host.name(), %failure, "renew the node's lease");
                }
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.stopped() => return,
        }
        // We are awake anyhow. One node of the process is enough.
        if is_first(host) {
            let mut eased = std::mem::take(&mut memory);
            let work = Tasks::blocking(move || {
                eased.ease();
                eased
            });
            memory = work.await.unwrap_or_default();
        }
    }
}

fn is_first(host: &Host) -> bool {
    let first = host.cluster.nodes.first();
    first.is_some_and(|node| node.name == host.name())
}

async fn renew(host: &Host) -> Result<(), ApiError> {
    let key = Key::new("kube-node-lease", host.name());
    let now = time::format_micro(clock::now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": host.name()}});
    let renewed = host
        .client
        .patch::<Lease>(&key, None, PatchKind::Merge, &patch)
        .await;
    match renewed {
        Err(failure) if failure.is_not_found() => {}
        other => return other.map(drop),
    }
    // Owned by the node: it goes when the node goes.
    let node = host.client.get::<Node>(&Key::new("", host.name())).await?;
    let lease = json!({
        "metadata": {
            "namespace": key.namespace, "name": key.name,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": host.name(), "uid": node.uid()}],
        },
        "spec": {"holderIdentity": host.name(), "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
    });
    let lease: Lease = typed(&lease).map_err(ApiError::internal)?;
    host.client.create(&lease).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_add_to_a_node_can_be_given_to_pods() {
        let node = |capacity: Value, allocatable: Value| -> Node {
            let status = json!({"capacity": capacity, "allocatable": allocatable});
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": status})).unwrap()
        };
        let seats = || json!({"cpu": "2", "example.com/seat": "3"});
        let added = node(seats(), json!({"cpu": "2"}));
        assert!(has_news(&added));
        assert_eq!(
            foreign_resources(&added),
            [("example.com/seat".to_owned(), json!("3"))]
        );
        assert!(!has_news(&node(seats(), seats())));
        let removed = node(json!({"cpu": "2"}), seats());
        assert!(has_news(&removed));
        assert_eq!(
            foreign_resources(&removed),
            [("example.com/seat".to_owned(), Value::Null)]
        );
    }

    #[test]
    fn conditions_keep_their_transition_times() {
        let old = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:07Z"},
            {"type": "DiskPressure", "status": "True", "lastTransitionTime": "1970-01-01T00:00:07Z"}]}});
        let old: Node = serde_json::from_value(old).unwrap();
        let strains = BTreeSet::from(["PIDPressure"]);
        let found = conditions(&old, &strains, Timestamp::from_second(9).unwrap());
        let found: Vec<String> = found
            .iter()
            .map(|one| {
                format!(
                    "{}={} {}",
                    one["type"], one["status"], one["lastTransitionTime"]
                )
                .replace('"', "")
            })
            .collect();
        assert_eq!(
            found,
            [
                "MemoryPressure=False 1970-01-01T00:00:09Z",
                "DiskPressure=False 1970-01-01T00:00:09Z",
                "PIDPressure=True 1970-01-01T00:00:09Z",
                "Ready=True 1970-01-01T00:00:07Z",
            ]
        );
    }
}
