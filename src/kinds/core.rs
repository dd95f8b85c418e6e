//! Kinds of the core group: one row each (API chapter 2.1 to 2.6).
//!
//! Binding and ComponentStatus are not stored: the first is an action, the second is computed.

use super::behavior;
use super::kind::{Grace, Kind, Scope};
use crate::api::call::Propagation;

pub const CORE: &[Kind] = &[
    Kind {
        verbs: &["create"],
        ..Kind::row(
            "",
            "v1",
            ["Binding", "binding", "bindings"],
            "io.k8s.api.core.v1.Binding",
            "",
        )
    },
    Kind {
        short: &["cs"],
        scope: Scope::Cluster,
        verbs: &["get", "list"],
        ..Kind::row(
            "",
            "v1",
            ["ComponentStatus", "componentstatus", "componentstatuses"],
            "io.k8s.api.core.v1.ComponentStatus",
            "",
        )
    },
    Kind {
        short: &["cm"],
        hooks: behavior::CONFIG_MAP,
        ..Kind::row(
            "",
            "v1",
            ["ConfigMap", "configmap", "configmaps"],
            "io.k8s.api.core.v1.ConfigMap",
            "configmaps",
        )
    },
    Kind {
        short: &["ep"],
        create_on_update: true,
        hooks: behavior::ENDPOINTS,
        ..Kind::row(
            "",
            "v1",
            ["Endpoints", "endpoints", "endpoints"],
            "io.k8s.api.core.v1.Endpoints",
            "endpoints",
        )
    },
    Kind {
        short: &["ev"],
        selectable_fields: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        create_on_update: true,
        hooks: behavior::EVENT,
        ..Kind::row(
            "",
            "v1",
            ["Event", "event", "events"],
            "io.k8s.api.core.v1.Event",
            "events",
        )
    },
    Kind {
        short: &["limits"],
        create_on_update: true,
        hooks: behavior::LIMIT_RANGE,
        ..Kind::row(
            "",
            "v1",
            ["LimitRange", "limitrange", "limitranges"],
            "io.k8s.api.core.v1.LimitRange",
            "limitranges",
        )
    },
    Kind {
        short: &["ns"],
        scope: Scope::Cluster,
        verbs: &[
            "create", "delete", "get", "list", "patch", "update", "watch",
        ],
        subresources: &["finalize", "status"],
        selectable_fields: &["status.phase"],
        hooks: behavior::NAMESPACE,
        ..Kind::row(
            "",
            "v1",
            ["Namespace", "namespace", "namespaces"],
            "io.k8s.api.core.v1.Namespace",
            "namespaces",
        )
    },
    Kind {
        short: &["no"],
        scope: Scope::Cluster,
        subresources: &["proxy", "status"],
        selectable_fields: &["spec.unschedulable"],
        hooks: behavior::NODE,
        ..Kind::row(
            "",
            "v1",
            ["Node", "node", "nodes"],
            "io.k8s.api.core.v1.Node",
            "nodes",
        )
    },
    Kind {
        short: &["pvc"],
        subresources: &["status"],
        hooks: behavior::PERSISTENT_VOLUME_CLAIM,
        ..Kind::row(
            "",
            "v1",
            [
                "PersistentVolumeClaim",
                "persistentvolumeclaim",
                "persistentvolumeclaims",
            ],
            "io.k8s.api.core.v1.PersistentVolumeClaim",
            "persistentvolumeclaims",
        )
    },
    Kind {
        short: &["pv"],
        scope: Scope::Cluster,
        subresources: &["status"],
        hooks: behavior::PERSISTENT_VOLUME,
        ..Kind::row(
            "",
            "v1",
            ["PersistentVolume", "persistentvolume", "persistentvolumes"],
            "io.k8s.api.core.v1.PersistentVolume",
            "persistentvolumes",
        )
    },
    Kind {
        short: &["po"],
        categories: &["all"],
        subresources: &[
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
            "status",
        ],
        selectable_fields: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        has_generation: true,
        grace: Grace::Pod,
        hooks: behavior::POD,
        ..Kind::row(
            "",
            "v1",
            ["Pod", "pod", "pods"],
            "io.k8s.api.core.v1.Pod",
            "pods",
        )
    },
    Kind {
        has_generation: true,
        hooks: behavior::POD_TEMPLATE,
        ..Kind::row(
            "",
            "v1",
            ["PodTemplate", "podtemplate", "podtemplates"],
            "io.k8s.api.core.v1.PodTemplate",
            "podtemplates",
        )
    },
    Kind {
        short: &["rc"],
        categories: &["all"],
        subresources: &["scale", "status"],
        selectable_fields: &["status.replicas"],
        has_generation: true,
        default_propagation: Propagation::Orphan,
        hooks: behavior::REPLICATION_CONTROLLER,
        ..Kind::row(
            "",
            "v1",
            [
                "ReplicationController",
                "replicationcontroller",
                "replicationcontrollers",
            ],
            "io.k8s.api.core.v1.ReplicationController",
            "replicationcontrollers",
        )
    },
    Kind {
        short: &["quota"],
        subresources: &["status"],
        hooks: behavior::RESOURCE_QUOTA,
        ..Kind::row(
            "",
            "v1",
            ["ResourceQuota", "resourcequota", "resourcequotas"],
            "io.k8s.api.core.v1.ResourceQuota",
            "resourcequotas",
        )
    },
    Kind {
        selectable_fields: &["type"],
        hooks: behavior::SECRET,
        ..Kind::row(
            "",
            "v1",
            ["Secret", "secret", "secrets"],
            "io.k8s.api.core.v1.Secret",
            "secrets",
        )
    },
    Kind {
        short: &["sa"],
        subresources: &["token"],
        ..Kind::row(
            "",
            "v1",
            ["ServiceAccount", "serviceaccount", "serviceaccounts"],
            "io.k8s.api.core.v1.ServiceAccount",
            "serviceaccounts",
        )
    },
    Kind {
        short: &["svc"],
        categories: &["all"],
        subresources: &["proxy", "status"],
        selectable_fields: &["spec.clusterIP", "spec.type"],
        create_on_update: true,
        hooks: behavior::SERVICE,
        ..Kind::row(
            "",
            "v1",
            ["Service", "service", "services"],
            "io.k8s.api.core.v1.Service",
            "services",
        )
    },
];
