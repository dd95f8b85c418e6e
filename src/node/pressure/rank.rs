//! Who has to go first, and what it is told. Pure.

use super::threshold::{INODES, MEMORY, Met, PIDS, STORAGE};
use crate::{
    api::quantity::Quantity,
    node::{qos, spec},
};
use k8s_openapi::api::core::v1::Pod;
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// What one container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerUse {
    pub memory_bytes: i64,
    /// Its writable layer and its logs.
    pub storage_bytes: i64,
}

/// What a pod uses, as far as it was measured.
#[derive(Clone, Debug, Default)]
pub struct PodUse {
    pub memory_bytes: i64,
    /// Containers and empty directories.
    pub storage_bytes: i64,
    pub inodes: i64,
    pub processes: i64,
    /// By name.
    pub containers: BTreeMap<String, ContainerUse>,
    /// Bytes of empty directories, by volume.
    pub empty_dirs: BTreeMap<String, i64>,
}

pub struct Candidate {
    pub pod: Arc<Pod>,
    pub used: PodUse,
}

/// The first one goes first: above its requests, of low priority, far above its requests.
pub fn rank(candidates: &mut [Candidate], resource: &str) {
    candidates.sort_by_cached_key(|candidate| {
        let spec = spec::of(&candidate.pod);
        let used = &candidate.used;
        let priority = spec.priority.unwrap_or(0);
        let (excess, exceeds) = match resource {
            MEMORY | STORAGE => {
                let request = qos::requests(&spec, resource) / 1000;
                let used = match resource {
                    MEMORY => used.memory_bytes,
                    _ => used.storage_bytes,
                };
                (used - request, used > request)
            }
            INODES => (used.inodes, false),
            _ => (used.processes, false),
        };
        (Reverse(exceeds), priority, Reverse(excess))
    });
}

/// System-critical pods and those of the node itself are left alone.
#[must_use]
pub fn is_critical(pod: &Pod) -> bool {
    const SYSTEM_CRITICAL: i32 = 2_000_000_000;
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    let annotations = pod.metadata.annotations.as_ref();
    let source = annotations.and_then(|all| all.get("kubernetes.io/config.source"));
    priority.is_some_and(|priority| priority >= SYSTEM_CRITICAL)
        || source.is_some_and(|source| source != "api")
}

/// What the status of an evicted pod says.
#[must_use]
pub fn message(met: &Met, candidate: &Candidate) -> String {
    let resource = met.signal.resource;
    let amount = |value: i64| match resource {
        MEMORY | STORAGE => Quantity::from_bytes(value).to_string(),
        _ => Quantity::from_units(value).to_string(),
    };
    let (threshold, available) = (amount(met.threshold), amount(met.available));
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {available}. "
    );
    if [INODES, PIDS].contains(&resource) {
        return text;
    }
    let spec = spec::of(&candidate.pod);
    for wanted in spec::containers(&spec) {
        let Some(used) = candidate.used.containers.get(wanted.name()) else {
            continue;
        };
        let used = match resource {
            MEMORY => used.memory_bytes,
            _ => used.storage_bytes,
        };
        let resources = wanted.container.resources.as_ref();
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        let request = requests.and_then(|requests| requests.get(resource));
        let request = request.and_then(|request| Quantity::parse(&request.0).ok());
        let request = request.unwrap_or(Quantity::ZERO);
        if used > request.units() {
            let (name, used) = (wanted.name(), amount(used));
            text.push_str(&format!(
                "Container {name} was using {used}, request is {request}, has larger consumption of {resource}. "
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::threshold::SIGNALS;
    use super::*;
    use serde_json::json;

    fn candidate(name: &str, request: &str, priority: i32, memory: i64) -> Candidate {
        let pod = json!({"metadata": {"name": name}, "spec": {"priority": priority, "containers": [
            {"name": "c", "resources": {"requests": {"memory": request}}}]}});
        Candidate {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            used: PodUse {
                memory_bytes: memory << 20,
                processes: memory,
                containers: BTreeMap::from([(
                    "c".to_owned(),
                    ContainerUse {
                        memory_bytes: memory << 20,
                        storage_bytes: 0,
                    },
                )]),
                ..PodUse::default()
            },
        }
    }

    fn names(mut candidates: Vec<Candidate>, resource: &str) -> Vec<String> {
        rank(&mut candidates, resource);
        let names = candidates.into_iter();
        names
            .map(|one| one.pod.metadata.name.clone().unwrap())
            .collect()
    }

    #[test]
    fn usage_over_requests_then_priority_then_usage() {
        let all = || {
            vec![
                candidate("within", "100Mi", 0, 90),
                candidate("important", "10Mi", 1000, 500),
                candidate("little", "10Mi", 0, 20),
                candidate("much", "10Mi", 0, 50),
            ]
        };
        assert_eq!(
            names(all(), MEMORY),
            ["much", "little", "important", "within"]
        );
        assert_eq!(
            names(all(), PIDS),
            ["within", "much", "little", "important"]
        );
    }

    #[test]
    fn the_message_is_upstreams() {
        let met = Met {
            signal: &SIGNALS[0],
            threshold: 100 << 20,
            available: 50 << 20,
        };
        assert_eq!(
            message(&met, &candidate("p", "0", 0, 200)),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 200Mi, request is 0, has larger consumption of memory. "
        );
        assert_eq!(
            message(&met, &candidate("p", "1Gi", 0, 200)),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        );
    }

    #[test]
    fn critical_pods() {
        let of = |value| is_critical(&serde_json::from_value(value).unwrap());
        assert!(of(
            json!({"spec": {"containers": [], "priority": 2_000_001_000}})
        ));
        assert!(of(
            json!({"metadata": {"annotations": {"kubernetes.io/config.source": "file"}}})
        ));
        assert!(!of(
            json!({"spec": {"containers": [], "priority": 1_000_000_000}})
        ));
    }
}
