//! What nodes, pods and containers use: as node agents measure it, and as metrics.k8s.io shows it.

use super::{duration, quantity::Quantity, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const API_VERSION: &str = "metrics.k8s.io/v1beta1";

/// A measurement of one node.
#[derive(Clone, Debug)]
pub struct NodeUsage {
    pub at: Timestamp,
    /// The time over which CPU was averaged.
    pub window: SignedDuration,
    pub node: Amounts,
    /// The node's own labels are not part of it: only pods carry theirs.
    pub pods: Vec<PodUsage>,
}

#[derive(Clone, Debug)]
pub struct PodUsage {
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Running containers in the order of the pod's specification.
    pub containers: Vec<(String, Amounts)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Billionths of a core.
    pub cpu_nanocores: u64,
    /// The working set.
    pub memory_bytes: u64,
}

impl Amounts {
    fn document(self) -> Value {
        let bytes = i64::try_from(self.memory_bytes).unwrap_or(i64::MAX);
        json!({"cpu": cores(self.cpu_nanocores), "memory": Quantity::from_bytes(bytes).to_string()})
    }
}

/// In the largest unit that leaves no fraction.
fn cores(nanos: u64) -> String {
    let units = [(1_000_000_000, ""), (1_000_000, "m"), (1_000, "u")];
    let whole = units.iter().find(|(unit, _)| nanos.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => format!("{nanos}n"),
    }
}

impl NodeUsage {
    pub fn node_document(&self, name: &str, labels: &BTreeMap<String, String>) -> Value {
        let mut document = self.frame("NodeMetrics", json!({ "name": name }), labels);
        document["usage"] = self.node.document();
        document
    }

    pub fn pod_document(&self, pod: &PodUsage) -> Value {
        let meta = json!({"name": pod.name, "namespace": pod.namespace});
        let mut document = self.frame("PodMetrics", meta, &pod.labels);
        let containers = pod.containers.iter();
        document["containers"] = containers
            .map(|(name, amounts)| json!({"name": name, "usage": amounts.document()}))
            .collect();
        document
    }

    fn frame(&self, kind: &str, mut meta: Value, labels: &BTreeMap<String, String>) -> Value {
        let at = time::format(self.at);
        meta["creationTimestamp"] = json!(at);
        if !labels.is_empty() {
            meta["labels"] = json!(labels);
        }
        json!({
            "kind": kind, "apiVersion": API_VERSION, "metadata": meta, "timestamp": at,
            "window": duration::go(self.window),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_printed_as_upstream_prints_them() {
        let table = [
            (0, 0, "0", "0"),
            (2_000_000_000, 5 << 20, "2", "5Mi"),
            (250_000_000, 132 * 1024, "250m", "132Ki"),
            (1_500_000, 1001, "1500u", "1001"),
            (123_456_789, 4096, "123456789n", "4Ki"),
        ];
        for (cpu_nanocores, memory_bytes, cpu, memory) in table {
            let amounts = Amounts {
                cpu_nanocores,
                memory_bytes,
            };
            assert_eq!(amounts.document(), json!({"cpu": cpu, "memory": memory}));
        }
    }

    #[test]
    fn documents_have_upstreams_shape() {
        let pod = PodUsage {
            namespace: "a".to_owned(),
            name: "p".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            containers: vec![("c".to_owned(), Amounts::default())],
        };
        let usage = NodeUsage {
            at: "2026-11-21T05:00:00.25Z".parse().unwrap(),
            window: SignedDuration::from_millis(15_250),
            node: Amounts::default(),
            pods: Vec::new(),
        };
        assert_eq!(
            usage.pod_document(&pod),
            json!({
                "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {"name": "p", "namespace": "a", "labels": {"app": "web"}, "creationTimestamp": "2026-11-21T05:00:00Z"},
                "timestamp": "2026-11-21T05:00:00Z", "window": "15.25s",
                "containers": [{"name": "c", "usage": {"cpu": "0", "memory": "0"}}],
            })
        );
    }
}
