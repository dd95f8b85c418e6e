//! Namespaces, priority classes, the default storage class, the `kubernetes` Service and what announces the API.

use super::{Facts, Seed};
use crate::kinds;
use serde_json::{Value, json};

const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

fn seed(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    namespace: &str,
    object: Value,
) -> Seed {
    Seed {
        group,
        version,
        plural,
        namespace: namespace.to_owned(),
        object,
    }
}

pub fn namespaces() -> Vec<Seed> {
    let namespace = |name: &&str| {
        let object = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        seed("", "v1", "namespaces", "", object)
    };
    NAMESPACES.iter().map(namespace).collect()
}

pub fn classes() -> Vec<Seed> {
    let priority = |name: &str, value: i64, what: &str| {
        let object = json!({
            "metadata": {"name": name},
            "value": value, "description": what, "preemptionPolicy": "PreemptLowerPriority",
        });
        seed("scheduling.k8s.io", "v1", "priorityclasses", "", object)
    };
    vec![
        priority(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        priority(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
}

/// Where claims that name no class get their volumes.
pub fn storage_class(provisioner: &str) -> Seed {
    let object = json!({
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": provisioner,
        "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", "allowVolumeExpansion": true,
    });
    seed("storage.k8s.io", "v1", "storageclasses", "", object)
}

/// How pods find the API.
pub fn api_service(facts: &Facts) -> Vec<Seed> {
    let range = facts.service_cidr.to_string();
    vec![
        seed(
            "",
            "v1",
            "services",
            "default",
            json!({
                "metadata": {
                    "name": "kubernetes",
                    "labels": {"component": "apiserver", "provider": "kubernetes"},
                },
                "spec": {
                    "type": "ClusterIP", "clusterIP": facts.service_address.to_string(),
                    "clusterIPs": [facts.service_address.to_string()],
                    "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                    "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
                    "ports": [{
                        "name": "https", "port": 443, "protocol": "TCP", "targetPort": facts.port,
                    }],
                },
                "status": {"loadBalancer": {}},
            }),
        ),
        seed(
            "networking.k8s.io",
            "v1",
            "servicecidrs",
            "",
            json!({
                "metadata": {
                    "name": "kubernetes",
                    "finalizers": ["networking.k8s.io/service-cidr-finalizer"],
                },
                "spec": {"cidrs": [range]},
                "status": {"conditions": [{
                    "type": "Ready", "status": "True", "reason": "", "message":
                    "Kubernetes Service CIDR is ready", "lastTransitionTime": facts.now,
                }]},
            }),
        ),
    ]
}

/// Where the API is reached; follows the server's address from start to start.
pub fn api_endpoints(facts: &Facts) -> Vec<Seed> {
    let address = facts.address.to_string();
    vec![
        seed(
            "",
            "v1",
            "endpoints",
            "default",
            json!({
                "metadata": {
                    "name": "kubernetes",
                    "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
                },
                "subsets": [{
                    "addresses": [{"ip": address}],
                    "ports": [{"name": "https", "port": facts.port, "protocol": "TCP"}],
                }],
            }),
        ),
        seed(
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            "default",
            json!({
                "metadata": {
                    "name": "kubernetes",
                    "labels": {"kubernetes.io/service-name": "kubernetes"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
                "ports": [{"name": "https", "port": facts.port, "protocol": "TCP"}],
            }),
        ),
    ]
}

/// What aggregated servers need to believe the front proxy.
pub fn authentication(ca: &str) -> Seed {
    let object = json!({
        "metadata": {"name": "extension-apiserver-authentication"},
        "data": {"client-ca-file": ca},
    });
    seed("", "v1", "configmaps", "kube-system", object)
}

/// Group, and what its groupPriorityMinimum is.
const PRIORITIES: &[(&str, u32)] = &[
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("metrics.k8s.io", 100),
];

/// One for each group version that this server serves itself.
pub fn api_services(facts: &Facts) -> Vec<Seed> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for kind in kinds::all() {
        let known = (kind.group, kind.version);
        if !seen.contains(&known) && kind.group != "apiregistration.k8s.io" {
            seen.push(known);
        }
    }
    let service = |(group, version): (&'static str, &'static str)| {
        let minimum = PRIORITIES
            .iter()
            .find(|(name, _)| *name == group)
            .map_or(1000, |row| row.1);
        let priority = match (group, version) {
            ("", _) => 1,
            ("autoscaling", "v2") => 30,
            ("metrics.k8s.io", _) => 100,
            ("resource.k8s.io" | "flowcontrol.apiserver.k8s.io", _) => 21,
            _ => 15,
        };
        let object = json!({
            "metadata": {
                "name": format!("{version}.{group}"),
                "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
            },
            "spec": {
                "group": group, "version": version,
                "groupPriorityMinimum": minimum, "versionPriority": priority,
            },
            "status": {"conditions": [{
                "type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available",
                "lastTransitionTime": facts.now,
            }]},
        });
        seed("apiregistration.k8s.io", "v1", "apiservices", "", object)
    };
    seen.into_iter().map(service).collect()
}
