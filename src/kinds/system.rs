//! Kinds of coordination, events and metrics: one row each (API chapter 2.1 to 2.6).
//!
//! `events.k8s.io` shares its storage with the core group's events; `api::convert` turns one shape into the other.

use super::behavior;
use super::kind::{Kind, Scope};

pub const COORDINATION: &[Kind] = &[Kind {
    unconditional_update: false,
    create_on_update: true,
    hooks: behavior::LEASE,
    ..Kind::row(
        "coordination.k8s.io",
        "v1",
        ["Lease", "lease", "leases"],
        "io.k8s.api.coordination.v1.Lease",
        "leases.coordination.k8s.io",
    )
}];

pub const EVENTS: &[Kind] = &[Kind {
    short: &["ev"],
    selectable_fields: &[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ],
    create_on_update: true,
    hooks: behavior::NEW_EVENT,
    ..Kind::row(
        "events.k8s.io",
        "v1",
        ["Event", "event", "events"],
        "io.k8s.api.events.v1.Event",
        "events",
    )
}];

/// What nodes and pods use, measured when asked. Upstream an add-on serves them.
pub const METRICS: &[Kind] = &[
    Kind {
        scope: Scope::Cluster,
        verbs: &["get", "list"],
        ..Kind::row(
            "metrics.k8s.io",
            "v1beta1",
            ["NodeMetrics", "", "nodes"],
            "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
            "",
        )
    },
    Kind {
        verbs: &["get", "list"],
        ..Kind::row(
            "metrics.k8s.io",
            "v1beta1",
            ["PodMetrics", "", "pods"],
            "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
            "",
        )
    },
];
