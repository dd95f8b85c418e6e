//! What `kubectl get` shows of every built-in kind: titles and cells as upstream prints them (API chapter 2.9).
//!
//! Cells are pure functions of the stored document and the time.

mod cell;
mod core;
mod pod;
mod rest;
mod workloads;

use super::kind::{Column, ColumnType, Kind};

/// What upstream shows of kinds that have no columns of their own.
const DEFAULT: &[Column] = &[cell::NAME, CREATED_AT];

const CREATED_AT: Column = Column {
    title: "Created At",
    column_type: ColumnType::Date,
    format: "",
    wide: false,
    cell: |object, _| object["metadata"]["creationTimestamp"].clone(),
};

/// Group, kind, columns. A version stands where two versions of a kind differ.
const TABLES: &[(&str, &str, &str, &[Column])] = &[
    ("", "", "ComponentStatus", core::COMPONENT_STATUS),
    ("", "", "ConfigMap", core::CONFIG_MAP),
    ("", "", "Endpoints", core::ENDPOINTS),
    ("", "", "Event", core::EVENT),
    ("", "", "LimitRange", DEFAULT),
    ("", "", "Namespace", core::NAMESPACE),
    ("", "", "Node", core::NODE),
    ("", "", "PersistentVolume", core::PERSISTENT_VOLUME),
    (
        "",
        "",
        "PersistentVolumeClaim",
        core::PERSISTENT_VOLUME_CLAIM,
    ),
    ("", "", "Pod", pod::POD),
    ("", "", "PodTemplate", workloads::POD_TEMPLATE),
    (
        "",
        "",
        "ReplicationController",
        workloads::REPLICATION_CONTROLLER,
    ),
    ("", "", "ResourceQuota", core::RESOURCE_QUOTA),
    ("", "", "Secret", core::SECRET),
    ("", "", "Service", core::SERVICE),
    ("", "", "ServiceAccount", core::NAME_AND_AGE),
    (
        "admissionregistration.k8s.io",
        "",
        "MutatingAdmissionPolicy",
        rest::MUTATING_ADMISSION_POLICY,
    ),
    (
        "admissionregistration.k8s.io",
        "",
        "MutatingAdmissionPolicyBinding",
        rest::ADMISSION_POLICY_BINDING,
    ),
    (
        "admissionregistration.k8s.io",
        "",
        "MutatingWebhookConfiguration",
        rest::WEBHOOKS,
    ),
    (
        "admissionregistration.k8s.io",
        "",
        "ValidatingAdmissionPolicy",
        rest::VALIDATING_ADMISSION_POLICY,
    ),
    (
        "admissionregistration.k8s.io",
        "",
        "ValidatingAdmissionPolicyBinding",
        rest::ADMISSION_POLICY_BINDING,
    ),
    (
        "admissionregistration.k8s.io",
        "",
        "ValidatingWebhookConfiguration",
        rest::WEBHOOKS,
    ),
    (
        "apiregistration.k8s.io",
        "",
        "APIService",
        rest::API_SERVICE,
    ),
    (
        "apps",
        "",
        "ControllerRevision",
        workloads::CONTROLLER_REVISION,
    ),
    ("apps", "", "DaemonSet", workloads::DAEMON_SET),
    ("apps", "", "Deployment", workloads::DEPLOYMENT),
    ("apps", "", "ReplicaSet", workloads::REPLICA_SET),
    ("apps", "", "StatefulSet", workloads::STATEFUL_SET),
    (
        "autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        workloads::HORIZONTAL_POD_AUTOSCALER_V1,
    ),
    (
        "autoscaling",
        "",
        "HorizontalPodAutoscaler",
        workloads::HORIZONTAL_POD_AUTOSCALER,
    ),
    ("batch", "", "CronJob", workloads::CRON_JOB),
    ("batch", "", "Job", workloads::JOB),
    (
        "certificates.k8s.io",
        "",
        "CertificateSigningRequest",
        rest::CERTIFICATE_SIGNING_REQUEST,
    ),
    ("coordination.k8s.io", "", "Lease", rest::LEASE),
    (
        "discovery.k8s.io",
        "",
        "EndpointSlice",
        rest::ENDPOINT_SLICE,
    ),
    ("events.k8s.io", "", "Event", core::EVENT_V1),
    (
        "flowcontrol.apiserver.k8s.io",
        "",
        "FlowSchema",
        rest::FLOW_SCHEMA,
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "",
        "PriorityLevelConfiguration",
        rest::PRIORITY_LEVEL,
    ),
    ("networking.k8s.io", "", "IPAddress", rest::IP_ADDRESS),
    ("networking.k8s.io", "", "Ingress", rest::INGRESS),
    ("networking.k8s.io", "", "IngressClass", rest::INGRESS_CLASS),
    ("metrics.k8s.io", "", "NodeMetrics", workloads::NODE_METRICS),
    ("metrics.k8s.io", "", "PodMetrics", workloads::POD_METRICS),
    (
        "networking.k8s.io",
        "",
        "NetworkPolicy",
        rest::NETWORK_POLICY,
    ),
    ("networking.k8s.io", "", "ServiceCIDR", rest::SERVICE_CIDR),
    ("node.k8s.io", "", "RuntimeClass", rest::RUNTIME_CLASS),
    (
        "policy",
        "",
        "PodDisruptionBudget",
        workloads::POD_DISRUPTION_BUDGET,
    ),
    (
        "rbac.authorization.k8s.io",
        "",
        "ClusterRoleBinding",
        rest::ROLE_BINDING,
    ),
    (
        "rbac.authorization.k8s.io",
        "",
        "RoleBinding",
        rest::ROLE_BINDING,
    ),
    ("resource.k8s.io", "", "DeviceClass", core::NAME_AND_AGE),
    ("resource.k8s.io", "", "ResourceClaim", rest::RESOURCE_CLAIM),
    (
        "resource.k8s.io",
        "",
        "ResourceClaimTemplate",
        core::NAME_AND_AGE,
    ),
    ("resource.k8s.io", "", "ResourceSlice", rest::RESOURCE_SLICE),
    (
        "scheduling.k8s.io",
        "",
        "PriorityClass",
        workloads::PRIORITY_CLASS,
    ),
    ("storage.k8s.io", "", "CSIDriver", rest::CSI_DRIVER),
    ("storage.k8s.io", "", "CSINode", rest::CSI_NODE),
    (
        "storage.k8s.io",
        "",
        "CSIStorageCapacity",
        rest::CSI_STORAGE_CAPACITY,
    ),
    ("storage.k8s.io", "", "StorageClass", rest::STORAGE_CLASS),
    (
        "storage.k8s.io",
        "",
        "VolumeAttachment",
        rest::VOLUME_ATTACHMENT,
    ),
    (
        "storage.k8s.io",
        "",
        "VolumeAttributesClass",
        rest::VOLUME_ATTRIBUTES_CLASS,
    ),
];

/// The columns of a kind: its row's own, or those of the table above.
pub fn of(kind: &Kind) -> &'static [Column] {
    if !kind.columns.is_empty() {
        return kind.columns;
    }
    let found = TABLES.iter().find(|(group, version, name, _)| {
        *group == kind.group
            && *name == kind.name
            && (version.is_empty() || *version == kind.version)
    });
    found.map_or(DEFAULT, |(_, _, _, columns)| columns)
}

#[cfg(test)]
mod testing {
    use super::Column;
    use serde_json::Value;

    /// The cells of an object, joined by bars; it is 10 o'clock on 2026-11-21.
    pub fn row(columns: &[Column], object: &Value) -> String {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let cells = columns
            .iter()
            .map(|column| match (column.cell)(object, now) {
                Value::String(text) => text,
                other => other.to_string(),
            });
        cells.collect::<Vec<_>>().join("|")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn every_table_belongs_to_a_kind_and_bears_an_empty_object() {
        for (group, version, name, _) in TABLES {
            let known = |kind: &&&Kind| kind.group == *group && kind.name == *name;
            let kind = kinds::all().iter().find(known);
            assert!(kind.is_some(), "{group}/{version} {name}");
        }
        for kind in kinds::all() {
            for column in of(kind) {
                (column.cell)(&json!({}), Timestamp::UNIX_EPOCH);
            }
        }
    }
}
