//! Prefers nodes that have the pod's images, the larger ones more, unless only few nodes have them: one node that
//! once pulled an image must not draw every pod.

use super::{Cycle, MARK_MAX, NodeInfo};
use std::collections::HashMap;

const SIZE_MIN: i64 = 23 << 20;
const CONTAINER_SIZE_MAX: i64 = 1000 << 20;

pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let spec = cycle.pod.spec();
    let containers = spec.into_iter().flat_map(|spec| {
        let first = spec.init_containers.iter().flatten();
        first.chain(&spec.containers)
    });
    let wanted: Vec<String> = containers
        .filter_map(|container| container.image.as_deref().map(full))
        .collect();
    let sizes: Vec<HashMap<String, i64>> = nodes.iter().map(|node| images(node)).collect();
    let everywhere = |image: &String| {
        let owners = cycle
            .world
            .nodes
            .values()
            .filter(|node| images(node).contains_key(image));
        owners.count() as f64 / cycle.world.nodes.len().max(1) as f64
    };
    let spread: Vec<f64> = wanted.iter().map(everywhere).collect();
    let size_max = CONTAINER_SIZE_MAX * i64::try_from(wanted.len().max(1)).unwrap_or(i64::MAX);
    let mark = |sizes: &HashMap<String, i64>| {
        let parts = wanted.iter().zip(&spread).map(|(image, spread)| {
            let size = sizes.get(image).copied().unwrap_or_default();
            (size as f64 * spread) as i64
        });
        let sum = parts.sum::<i64>().clamp(SIZE_MIN, size_max);
        MARK_MAX * (sum - SIZE_MIN) / (size_max - SIZE_MIN)
    };
    sizes.iter().map(mark).collect()
}

/// Sizes by full name.
fn images(node: &NodeInfo) -> HashMap<String, i64> {
    let status = node.node.status.as_ref();
    let images = status
        .into_iter()
        .flat_map(|status| status.images.iter().flatten());
    let named = images.flat_map(|image| {
        let size = image.size_bytes.unwrap_or_default();
        let names = image.names.iter().flatten();
        names.map(move |name| (full(name), size))
    });
    named.collect()
}

/// With registry and tag, as nodes list it.
fn full(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let path = match (first, is_host) {
        (_, true) => image.to_owned(),
        ("", false) => format!("docker.io/library/{rest}"),
        (_, false) => format!("docker.io/{image}"),
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.contains([':', '@']) {
        return path;
    }
    format!("{path}:latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.17", "docker.io/library/nginx:1.17"),
            ("prom/node-exporter", "docker.io/prom/node-exporter:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("quay.io/a/b@sha256:12", "quay.io/a/b@sha256:12"),
        ];
        for (short, long) in cases {
            assert_eq!(full(short), long);
        }
    }
}
