//! The node's own word on a pod that was bound to it: does it fit, may it run here? Pure.
//!
//! The scheduler has asked the same, but somebody may bind pods by hand, and two schedulers may race.

use super::{observed::Verdict, qos, spec};
use crate::api::placement::{self, Site};
use k8s_openapi::api::core::v1::{ContainerPort, Node, Pod, PodSpec};
use std::collections::BTreeMap;

/// Sysctls that belong to the pod's own namespaces.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// What the node offers, in thousandths.
pub type Allocatable = BTreeMap<String, i64>;

/// Why the pod may not run here, next to those admitted before. In upstream's order: of several reasons the first is
/// told.
#[must_use]
pub fn admit(
    pod: &Pod,
    node: &Node,
    allocatable: &Allocatable,
    others: &[&Pod],
) -> Option<Verdict> {
    let spec = spec::of(pod);
    let reject = |(reason, message): (String, String)| Verdict {
        reason,
        message,
        is_rejection: true,
        ..Verdict::default()
    };
    let predicate = |name: &str, why: &str| {
        Some(reject((
            name.to_owned(),
            format!("Predicate {name} failed: {why}"),
        )))
    };
    if let Some(sysctl) = forbidden_sysctl(&spec) {
        let message = format!("forbidden sysctl: \"{sysctl}\" not allowlisted");
        return Some(reject(("SysctlForbidden".to_owned(), message)));
    }
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Some(reject(("PodOSNotSupported".to_owned(), message.to_owned())));
    }
    if let Some((name, message)) = lacks(&spec, allocatable, others) {
        return Some(reject((format!("OutOf{name}"), message)));
    }
    if !selects(&spec, node) {
        let why = "node(s) didn't match Pod's node affinity/selector";
        return predicate("NodeAffinity", why);
    }
    if ports_clash(&spec, others) {
        let why = "node(s) didn't have free ports for the requested pod ports";
        return predicate("NodePorts", why);
    }
    if is_driven_out(&spec, node) {
        let why = "node(s) had taints that the pod didn't tolerate";
        return predicate("TaintToleration", why);
    }
    None
}

/// The first resource that the node has too little of, and the message that says so.
#[must_use]
pub fn lacks(
    spec: &PodSpec,
    allocatable: &Allocatable,
    others: &[&Pod],
) -> Option<(String, String)> {
    const FIRST: &[&str] = &["cpu", "memory", "ephemeral-storage"];
    let lacking = |name: &str, requested: i64, used: i64, capacity: i64| {
        let message = format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        Some((name.to_owned(), message))
    };
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let most = allocatable.get("pods").map(|pods| pods / unit("pods"));
    if let Some(most) = most.filter(|most| count >= *most) {
        return lacking("pods", 1, count, most);
    }
    let others: Vec<_> = others.iter().map(|other| spec::of(other)).collect();
    let known = FIRST.iter().copied();
    let rest = allocatable.keys().map(String::as_str);
    for name in known.chain(rest.filter(|name| !FIRST.contains(name))) {
        let capacity = allocatable.get(name).copied().unwrap_or(0);
        let requested = qos::requests(spec, name);
        let used: i64 = others.iter().map(|other| qos::requests(other, name)).sum();
        if requested > 0 && requested.saturating_add(used) > capacity {
            let unit = unit(name);
            return lacking(name, requested / unit, used / unit, capacity / unit);
        }
    }
    None
}

/// Cores are counted in thousandths, everything else in ones.
fn unit(name: &str) -> i64 {
    if name == "cpu" { 1 } else { 1000 }
}

/// Why the node could not grant this even if it were empty.
#[must_use]
pub fn exceeds(spec: &PodSpec, allocatable: &Allocatable) -> Option<String> {
    ["memory", "cpu"].into_iter().find_map(|name| {
        let requested = qos::requests(spec, name);
        let capacity = allocatable.get(name).copied().unwrap_or(0);
        let unit = unit(name);
        (requested > capacity).then(|| {
            format!(
                "Node didn't have enough capacity: {name}, requested: {}, capacity: {}",
                requested / unit,
                capacity / unit
            )
        })
    })
}

fn forbidden_sysctl(spec: &PodSpec) -> Option<String> {
    let context = spec.security_context.as_ref()?;
    let mut sysctls = context.sysctls.iter().flatten();
    sysctls
        .find(|sysctl| !SAFE_SYSCTLS.contains(&sysctl.name.replace('/', ".").as_str()))
        .map(|sysctl| sysctl.name.clone())
}

/// Node selector and required node affinity.
fn selects(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let site = Site {
        name: node.metadata.name.as_deref().unwrap_or_default(),
        labels: &labels,
    };
    let affinity = spec.affinity.as_ref();
    let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let mut selector = spec.node_selector.iter().flatten();
    selector.all(|(key, value)| labels.get(key) == Some(value))
        && required.is_none_or(|required| placement::selects(required, site))
}

/// Whether the node has a `NoExecute` taint that the pod does not tolerate.
fn is_driven_out(spec: &PodSpec, node: &Node) -> bool {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    taints.into_iter().any(|taint| {
        taint.effect == "NoExecute"
            && !tolerations
                .iter()
                .any(|toleration| placement::tolerates(toleration, taint))
    })
}

fn ports_clash(spec: &PodSpec, others: &[&Pod]) -> bool {
    let mine = host_ports(spec);
    !mine.is_empty()
        && others.iter().any(|other| {
            let theirs = host_ports(&spec::of(other));
            mine.iter()
                .any(|one| theirs.iter().any(|two| same(one, two)))
        })
}

/// Address, protocol and port.
type HostPort = (String, String, i32);

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let containers = spec::containers(spec);
    let ports = containers
        .iter()
        .flat_map(|wanted| wanted.container.ports.clone().unwrap_or_default());
    let host_port = |port: ContainerPort| {
        let number = port.host_port.filter(|&number| number > 0)?;
        let any = || "0.0.0.0".to_owned();
        Some((
            port.host_ip.filter(|ip| !ip.is_empty()).unwrap_or_else(any),
            port.protocol.unwrap_or_else(|| "TCP".to_owned()),
            number,
        ))
    };
    ports.filter_map(host_port).collect()
}

fn same(one: &HostPort, two: &HostPort) -> bool {
    let any = |address: &str| address == "0.0.0.0" || address == "::";
    one.1 == two.1 && one.2 == two.2 && (one.0 == two.0 || any(&one.0) || any(&two.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: &Value) -> Pod {
        let mut spec = spec.clone();
        if spec["containers"].is_null() {
            spec["containers"] = json!([]);
        }
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    fn cpu(amount: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
    }

    fn port(address: &str, protocol: &str) -> Value {
        let port =
            json!({"containerPort": 80, "hostPort": 80, "hostIP": address, "protocol": protocol});
        json!({"containers": [{"name": "c", "ports": [port]}]})
    }

    #[test]
    fn pods_are_admitted_or_told_why_not() {
        let node = json!({"metadata": {"name": "n", "labels": {"disk": "ssd"}},
            "spec": {"taints": [{"key": "quiet", "effect": "NoSchedule"}]}});
        let node: Node = serde_json::from_value(node).unwrap();
        let allocatable = Allocatable::from([
            ("cpu".to_owned(), 2000),
            ("memory".to_owned(), 1_048_576_000),
        ]);
        let affinity = |value: &str| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": [value]}]}]}}}})
        };
        let sysctl =
            |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        #[rustfmt::skip]
        let cases = [
            (cpu("1"), cpu("1"), ""),
            (cpu("1500m"), cpu("1"), "OutOfcpu: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"),
            (json!({"nodeSelector": {"disk": "ssd"}}), cpu("1"), ""),
            (json!({"nodeSelector": {"disk": "hdd"}}), cpu("1"), "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"),
            (affinity("ssd"), cpu("1"), ""),
            (affinity("hdd"), cpu("1"), "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"),
            (json!({"os": {"name": "windows"}}), cpu("1"), "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"),
            (port("", "TCP"), port("127.0.0.1", "TCP"), "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"),
            (port("127.0.0.1", "TCP"), port("127.0.0.2", "TCP"), ""),
            (port("", "UDP"), port("", "TCP"), ""),
            (sysctl("kernel.shm_rmid_forced"), cpu("1"), ""),
            (sysctl("kernel.msgmax"), cpu("1"), "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted"),
        ];
        for (mine, other, expected) in cases {
            let other = pod(&other);
            let verdict = admit(&pod(&mine), &node, &allocatable, &[&other]);
            let text = verdict.map(|verdict| format!("{}: {}", verdict.reason, verdict.message));
            assert_eq!(text.unwrap_or_default(), expected, "{mine}");
        }
    }

    #[test]
    fn taints_drive_out_who_does_not_tolerate_them() {
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}});
        let node: Node = serde_json::from_value(node).unwrap();
        let verdict = |spec: &Value| admit(&pod(spec), &node, &Allocatable::new(), &[]);
        let refused = verdict(&json!({})).unwrap();
        assert_eq!(refused.reason, "TaintToleration");
        assert_eq!(
            refused.message,
            "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
        );
        let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
        assert_eq!(verdict(&tolerant), None);
    }

    #[test]
    fn a_node_is_full_with_its_pods() {
        let other = pod(&json!({}));
        let others = vec![&other; 110];
        let allocatable = Allocatable::from([("pods".to_owned(), 110_000)]);
        let (name, message) = lacks(&spec::of(&other), &allocatable, &others).unwrap();
        assert_eq!(name, "pods");
        assert_eq!(
            message,
            "Node didn't have enough resource: pods, requested: 1, used: 110, capacity: 110"
        );
        assert_eq!(lacks(&spec::of(&other), &allocatable, &others[1..]), None);
    }

    #[test]
    fn what_even_an_empty_node_cannot_grant() {
        let allocatable =
            Allocatable::from([("cpu".to_owned(), 2000), ("memory".to_owned(), 1000)]);
        let asked = |amount: &str| exceeds(&spec::of(&pod(&cpu(amount))), &allocatable);
        assert_eq!(asked("2"), None);
        assert_eq!(
            asked("3").as_deref(),
            Some("Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000")
        );
    }
}
