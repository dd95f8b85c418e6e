//! Columns of the core group's kinds besides pods, and of events in both their groups.

use super::cell::{
    AGE, NAME, NONE, UNKNOWN, UNSET, each, field, first_three, has_condition, integer, joined,
    labels, list, number, scalar, string, text_or, wide,
};
use crate::{
    api::duration,
    kinds::{Column, ColumnType},
};
use jiff::Timestamp;
use serde_json::Value;

pub const SERVICE: &[Column] = &[
    NAME,
    string("Type", |service, _| field(service, "/spec/type").into()),
    string("Cluster-IP", |service, _| {
        text_or(service, "/spec/clusterIP", NONE)
    }),
    string("External-IP", |service, _| external_ip(service).into()),
    string("Port(s)", |service, _| service_ports(service).into()),
    AGE,
    wide("Selector", |service, _| {
        labels(service.pointer("/spec/selector")).into()
    }),
];

pub const ENDPOINTS: &[Column] = &[
    NAME,
    string("Endpoints", |endpoints, _| addresses(endpoints).into()),
    AGE,
];

pub const NODE: &[Column] = &[
    NAME,
    string("Status", |node, _| node_status(node).into()),
    string("Roles", |node, _| roles(node).into()),
    AGE,
    string("Version", |node, _| {
        field(node, "/status/nodeInfo/kubeletVersion").into()
    }),
    wide("Internal-IP", |node, _| {
        node_address(node, "InternalIP").into()
    }),
    wide("External-IP", |node, _| {
        node_address(node, "ExternalIP").into()
    }),
    wide("OS-Image", |node, _| {
        text_or(node, "/status/nodeInfo/osImage", UNKNOWN)
    }),
    wide("Kernel-Version", |node, _| {
        let kernel = field(node, "/status/nodeInfo/kernelVersion");
        match (kernel, field(node, "/status/nodeInfo/architecture")) {
            ("", _) => UNKNOWN.into(),
            (kernel, "") => kernel.into(),
            (kernel, architecture) => format!("{kernel} ({architecture})").into(),
        }
    }),
    wide("Container-Runtime", |node, _| {
        text_or(node, "/status/nodeInfo/containerRuntimeVersion", UNKNOWN)
    }),
];

pub const NAMESPACE: &[Column] = &[
    NAME,
    string("Status", |namespace, _| {
        field(namespace, "/status/phase").into()
    }),
    AGE,
];

pub const SECRET: &[Column] = &[
    NAME,
    string("Type", |secret, _| field(secret, "/type").into()),
    integer("Data", |secret, _| members(secret, "/data").into()),
    AGE,
];

pub const CONFIG_MAP: &[Column] = &[
    NAME,
    integer("Data", |map, _| {
        (members(map, "/data") + members(map, "/binaryData")).into()
    }),
    AGE,
];

pub const NAME_AND_AGE: &[Column] = &[NAME, AGE];

pub const PERSISTENT_VOLUME: &[Column] = &[
    NAME,
    string("Capacity", |volume, _| {
        field(volume, "/spec/capacity/storage").into()
    }),
    string("Access Modes", |volume, _| {
        access_modes(volume, "/spec/accessModes").into()
    }),
    string("Reclaim Policy", |volume, _| {
        field(volume, "/spec/persistentVolumeReclaimPolicy").into()
    }),
    string("Status", |volume, _| phase(volume).into()),
    string("Claim", |volume, _| {
        match field(volume, "/spec/claimRef/name") {
            "" => "".into(),
            name => format!("{}/{name}", field(volume, "/spec/claimRef/namespace")).into(),
        }
    }),
    string("StorageClass", |volume, _| storage_class(volume).into()),
    string("VolumeAttributesClass", |volume, _| {
        text_or(volume, "/spec/volumeAttributesClassName", UNSET)
    }),
    string("Reason", |volume, _| field(volume, "/status/reason").into()),
    AGE,
    wide("VolumeMode", |volume, _| {
        text_or(volume, "/spec/volumeMode", UNSET)
    }),
];

pub const PERSISTENT_VOLUME_CLAIM: &[Column] = &[
    NAME,
    string("Status", |claim, _| phase(claim).into()),
    string("Volume", |claim, _| field(claim, "/spec/volumeName").into()),
    string("Capacity", |claim, _| {
        match field(claim, "/spec/volumeName") {
            "" => "".into(),
            _ => field(claim, "/status/capacity/storage").into(),
        }
    }),
    string("Access Modes", |claim, _| {
        match field(claim, "/spec/volumeName") {
            "" => "".into(),
            _ => access_modes(claim, "/status/accessModes").into(),
        }
    }),
    string("StorageClass", |claim, _| storage_class(claim).into()),
    string("VolumeAttributesClass", |claim, _| {
        text_or(claim, "/spec/volumeAttributesClassName", UNSET)
    }),
    AGE,
    wide("VolumeMode", |claim, _| {
        text_or(claim, "/spec/volumeMode", UNSET)
    }),
];

pub const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    string("Request", |quota, _| usage(quota, false).into()),
    string("Limit", |quota, _| usage(quota, true).into()),
    AGE,
];

pub const COMPONENT_STATUS: &[Column] = &[
    NAME,
    string("Status", |component, _| match healthy(component) {
        Some(condition) if condition["status"] == "True" => "Healthy".into(),
        Some(_) => "Unhealthy".into(),
        None => "Unknown".into(),
    }),
    string("Message", |component, _| {
        healthy(component)
            .map_or("", |found| field(found, "/message"))
            .into()
    }),
    string("Error", |component, _| {
        healthy(component)
            .map_or("", |found| field(found, "/error"))
            .into()
    }),
];

/// Of `v1`.
pub const EVENT: &[Column] = &[
    string("Last Seen", |event, now| {
        last_seen(event, "/lastTimestamp", now)
    }),
    string("Type", |event, _| field(event, "/type").into()),
    string("Reason", |event, _| field(event, "/reason").into()),
    string("Object", |event, _| about(event, "/involvedObject").into()),
    wide("Subobject", |event, _| {
        field(event, "/involvedObject/fieldPath").into()
    }),
    wide("Source", |event, _| {
        source(event, "/source", "/reportingComponent").into()
    }),
    string("Message", |event, _| field(event, "/message").trim().into()),
    wide("First Seen", |event, now| {
        first_seen(event, "/firstTimestamp", now)
    }),
    wide("Count", |event, _| {
        count(event, "/count").to_string().into()
    }),
    EVENT_NAME,
];

/// Of `events.k8s.io/v1`.
pub const EVENT_V1: &[Column] = &[
    string("Last Seen", |event, now| {
        last_seen(event, "/deprecatedLastTimestamp", now)
    }),
    EVENT[1],
    EVENT[2],
    string("Object", |event, _| about(event, "/regarding").into()),
    wide("Subobject", |event, _| {
        field(event, "/regarding/fieldPath").into()
    }),
    wide("Source", |event, _| {
        source(event, "/deprecatedSource", "/reportingController").into()
    }),
    string("Message", |event, _| field(event, "/note").trim().into()),
    wide("First Seen", |event, now| {
        first_seen(event, "/deprecatedFirstTimestamp", now)
    }),
    wide("Count", |event, _| {
        count(event, "/deprecatedCount").to_string().into()
    }),
    EVENT_NAME,
];

const EVENT_NAME: Column = Column {
    title: "Name",
    column_type: ColumnType::String,
    format: "name",
    wide: true,
    cell: NAME.cell,
};

fn members(object: &Value, pointer: &str) -> usize {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

fn external_ip(service: &Value) -> String {
    let external = || {
        joined(
            list(service, "/spec/externalIPs")
                .iter()
                .filter_map(Value::as_str),
        )
    };
    let or_none = |text: String| {
        if text.is_empty() {
            NONE.to_owned()
        } else {
            text
        }
    };
    match field(service, "/spec/type") {
        "ClusterIP" | "NodePort" => or_none(external()),
        "LoadBalancer" => {
            let ingress = list(service, "/status/loadBalancer/ingress");
            let given = ingress.iter().map(|one| match field(one, "/ip") {
                "" => field(one, "/hostname"),
                ip => ip,
            });
            let all: Vec<&str> = given
                .chain(
                    list(service, "/spec/externalIPs")
                        .iter()
                        .filter_map(Value::as_str),
                )
                .collect();
            match all.is_empty() {
                true => "<pending>".to_owned(),
                false => all.join(","),
            }
        }
        "ExternalName" => field(service, "/spec/externalName").to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

fn service_ports(service: &Value) -> String {
    let ports = list(service, "/spec/ports").iter().map(|port| {
        let protocol = field(port, "/protocol");
        match number(port, "/nodePort") {
            0 => format!("{}/{protocol}", number(port, "/port")),
            node => format!("{}:{node}/{protocol}", number(port, "/port")),
        }
    });
    let ports: Vec<String> = ports.collect();
    match ports.is_empty() {
        true => NONE.to_owned(),
        false => ports.join(","),
    }
}

/// The first three addresses with their ports.
fn addresses(endpoints: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(endpoints, "/subsets") {
        let ports = list(subset, "/ports");
        for ip in each(list(subset, "/addresses"), "ip") {
            match ports {
                [] => all.push(ip.to_owned()),
                ports => all.extend(ports.iter().map(|port| match ip.contains(':') {
                    true => format!("[{ip}]:{}", number(port, "/port")),
                    false => format!("{ip}:{}", number(port, "/port")),
                })),
            }
        }
    }
    match all.is_empty() {
        true => NONE.to_owned(),
        false => first_three(&all),
    }
}

fn node_status(node: &Value) -> String {
    let ready = super::cell::condition(node, "Ready");
    let mut status = match ready {
        Some(_) if has_condition(node, "Ready") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let labels = node
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None => value.as_str().filter(|_| key == "kubernetes.io/role"),
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    match roles.is_empty() {
        true => NONE.to_owned(),
        false => roles.join(","),
    }
}

fn node_address(node: &Value, kind: &str) -> String {
    let found = list(node, "/status/addresses")
        .iter()
        .find(|address| address["type"] == kind);
    found
        .map_or(NONE, |address| field(address, "/address"))
        .to_owned()
}

fn phase(object: &Value) -> &str {
    match object.pointer("/metadata/deletionTimestamp") {
        Some(_) => "Terminating",
        None => field(object, "/status/phase"),
    }
}

fn storage_class(object: &Value) -> &str {
    match field(
        object,
        "/metadata/annotations/volume.beta.kubernetes.io~1storage-class",
    ) {
        "" => field(object, "/spec/storageClassName"),
        old => old,
    }
}

fn access_modes(object: &Value, pointer: &str) -> String {
    const SHORT: &[(&str, &str)] = &[
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes: Vec<&str> = list(object, pointer)
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let known = SHORT.iter().filter(|(long, _)| modes.contains(long));
    joined(known.map(|(_, short)| *short))
}

/// `res: used/hard` of the limits, or of everything else.
fn usage(quota: &Value, of_limits: bool) -> String {
    let hard = quota
        .pointer("/status/hard")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let texts = hard
        .filter(|(name, _)| name.starts_with("limits.") == of_limits)
        .map(|(name, hard)| {
            let used = scalar(quota["status"]["used"].get(name)).unwrap_or_else(|| "0".to_owned());
            format!("{name}: {used}/{}", scalar(Some(hard)).unwrap_or_default())
        });
    texts.collect::<Vec<_>>().join(", ")
}

fn healthy(component: &Value) -> Option<&Value> {
    list(component, "/conditions")
        .iter()
        .find(|condition| condition["type"] == "Healthy")
}

/// `pod/x`.
fn about(event: &Value, pointer: &str) -> String {
    let Some(about) = event.pointer(pointer) else {
        return String::new();
    };
    let kind = field(about, "/kind").to_lowercase();
    match field(about, "/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value, pointer: &str, reporting: &str) -> String {
    let source = event.pointer(pointer).unwrap_or(&Value::Null);
    let component = match field(source, "/component") {
        "" => field(event, reporting),
        component => component,
    };
    let host = match field(source, "/host") {
        "" => field(event, "/reportingInstance"),
        host => host,
    };
    match host {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

/// Series and new events keep their times elsewhere.
fn last_seen(event: &Value, pointer: &str, now: Timestamp) -> Value {
    let places = ["/series/lastObservedTime", pointer, "/eventTime"];
    seen(event, &places, now)
}

fn first_seen(event: &Value, pointer: &str, now: Timestamp) -> Value {
    seen(event, &[pointer, "/eventTime"], now)
}

fn seen(event: &Value, places: &[&str], now: Timestamp) -> Value {
    let times = places
        .iter()
        .filter_map(|place| field(event, place).parse::<Timestamp>().ok());
    let time = times.into_iter().next();
    duration::age(time, now).into()
}

fn count(event: &Value, pointer: &str) -> i64 {
    match (number(event, "/series/count"), number(event, pointer)) {
        (0, 0) => 1,
        (0, count) => count,
        (series, _) => series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::columns::testing::row;
    use serde_json::json;

    #[test]
    fn core_kinds() {
        let service = json!({
            "metadata": {"name": "s"},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.9", "selector": {"a": "b"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            },
        });
        assert_eq!(
            row(SERVICE, &service),
            "s|LoadBalancer|10.96.0.9|<pending>|80:30080/TCP,53/UDP|<unknown>|a=b"
        );
        let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{
            "addresses": [{"ip": "1.1.1.1"}, {"ip": "2.2.2.2"}], "ports": [{"port": 1}, {"port": 2}],
        }]});
        assert_eq!(
            row(ENDPOINTS, &endpoints),
            "e|1.1.1.1:1,1.1.1.1:2,2.2.2.2:1 + 1 more...|<unknown>"
        );
        let node = json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "Unknown"}],
                "nodeInfo": {"kubeletVersion": "v1.36.2", "kernelVersion": "6.1", "architecture": "amd64"},
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            },
        });
        assert_eq!(
            row(NODE, &node),
            "n|NotReady,SchedulingDisabled|control-plane,x|<unknown>|v1.36.2|10.0.0.1|<none>|<unknown>|6.1 (amd64)|<unknown>"
        );
        let event = json!({
            "metadata": {"name": "e.1"}, "type": "Warning", "reason": "BackOff", "message": " again\n",
            "involvedObject": {"kind": "Pod", "name": "p"}, "count": 4, "lastTimestamp": "2026-11-21T09:59:55Z",
            "source": {"component": "kubelet", "host": "n"},
        });
        assert_eq!(
            row(EVENT, &event),
            "5s|Warning|BackOff|pod/p||kubelet, n|again|<unknown>|4|e.1"
        );
        let claim = json!({
            "metadata": {"name": "c"}, "spec": {"volumeName": "v", "storageClassName": "standard"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
        });
        assert_eq!(
            row(PERSISTENT_VOLUME_CLAIM, &claim),
            "c|Bound|v|1Gi|RWO|standard|<unset>|<unknown>|<unset>"
        );
        let quota = json!({
            "metadata": {"name": "q"},
            "status": {"hard": {"limits.cpu": "2", "pods": "4"}, "used": {"pods": "1"}},
        });
        assert_eq!(
            row(RESOURCE_QUOTA, &quota),
            "q|pods: 1/4|limits.cpu: 0/2|<unknown>"
        );
    }
}
