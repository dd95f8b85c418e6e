//! Kinds of apps, batch, autoscaling, policy and scheduling: one row each (API chapter 2.1 to 2.6).
//!
//! Both autoscaling versions lie in one place; `api::convert` turns one shape into the other.

use super::behavior;
use super::kind::{Kind, Scope};
use crate::api::call::Propagation;

pub const APPS: &[Kind] = &[
    Kind {
        hooks: behavior::CONTROLLER_REVISION,
        ..Kind::row(
            "apps",
            "v1",
            [
                "ControllerRevision",
                "controllerrevision",
                "controllerrevisions",
            ],
            "io.k8s.api.apps.v1.ControllerRevision",
            "controllerrevisions.apps",
        )
    },
    Kind {
        short: &["ds"],
        categories: &["all"],
        subresources: &["status"],
        has_generation: true,
        hooks: behavior::DAEMON_SET,
        ..Kind::row(
            "apps",
            "v1",
            ["DaemonSet", "daemonset", "daemonsets"],
            "io.k8s.api.apps.v1.DaemonSet",
            "daemonsets.apps",
        )
    },
    Kind {
        short: &["deploy"],
        categories: &["all"],
        subresources: &["scale", "status"],
        has_generation: true,
        hooks: behavior::DEPLOYMENT,
        ..Kind::row(
            "apps",
            "v1",
            ["Deployment", "deployment", "deployments"],
            "io.k8s.api.apps.v1.Deployment",
            "deployments.apps",
        )
    },
    Kind {
        short: &["rs"],
        categories: &["all"],
        subresources: &["scale", "status"],
        selectable_fields: &["status.replicas"],
        has_generation: true,
        hooks: behavior::REPLICA_SET,
        ..Kind::row(
            "apps",
            "v1",
            ["ReplicaSet", "replicaset", "replicasets"],
            "io.k8s.api.apps.v1.ReplicaSet",
            "replicasets.apps",
        )
    },
    Kind {
        short: &["sts"],
        categories: &["all"],
        subresources: &["scale", "status"],
        has_generation: true,
        hooks: behavior::STATEFUL_SET,
        ..Kind::row(
            "apps",
            "v1",
            ["StatefulSet", "statefulset", "statefulsets"],
            "io.k8s.api.apps.v1.StatefulSet",
            "statefulsets.apps",
        )
    },
];

pub const BATCH: &[Kind] = &[
    Kind {
        short: &["cj"],
        categories: &["all"],
        subresources: &["status"],
        has_generation: true,
        hooks: behavior::CRON_JOB,
        ..Kind::row(
            "batch",
            "v1",
            ["CronJob", "cronjob", "cronjobs"],
            "io.k8s.api.batch.v1.CronJob",
            "cronjobs.batch",
        )
    },
    Kind {
        categories: &["all"],
        subresources: &["status"],
        selectable_fields: &["status.successful"],
        has_generation: true,
        default_propagation: Propagation::Orphan,
        hooks: behavior::JOB,
        ..Kind::row(
            "batch",
            "v1",
            ["Job", "job", "jobs"],
            "io.k8s.api.batch.v1.Job",
            "jobs.batch",
        )
    },
];

pub const AUTOSCALING: &[Kind] = &[Kind {
    short: &["hpa"],
    categories: &["all"],
    subresources: &["status"],
    ..Kind::row(
        "autoscaling",
        "v1",
        [
            "HorizontalPodAutoscaler",
            "horizontalpodautoscaler",
            "horizontalpodautoscalers",
        ],
        "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
        "horizontalpodautoscalers.autoscaling",
    )
}];

pub const AUTOSCALING_V2: &[Kind] = &[Kind {
    short: &["hpa"],
    categories: &["all"],
    subresources: &["status"],
    hooks: behavior::HORIZONTAL_POD_AUTOSCALER,
    ..Kind::row(
        "autoscaling",
        "v2",
        [
            "HorizontalPodAutoscaler",
            "horizontalpodautoscaler",
            "horizontalpodautoscalers",
        ],
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
        "horizontalpodautoscalers.autoscaling",
    )
}];

pub const POLICY: &[Kind] = &[Kind {
    short: &["pdb"],
    subresources: &["status"],
    has_generation: true,
    unconditional_update: false,
    hooks: behavior::POD_DISRUPTION_BUDGET,
    ..Kind::row(
        "policy",
        "v1",
        [
            "PodDisruptionBudget",
            "poddisruptionbudget",
            "poddisruptionbudgets",
        ],
        "io.k8s.api.policy.v1.PodDisruptionBudget",
        "poddisruptionbudgets.policy",
    )
}];

pub const SCHEDULING: &[Kind] = &[Kind {
    short: &["pc"],
    scope: Scope::Cluster,
    has_generation: true,
    hooks: behavior::PRIORITY_CLASS,
    ..Kind::row(
        "scheduling.k8s.io",
        "v1",
        ["PriorityClass", "priorityclass", "priorityclasses"],
        "io.k8s.api.scheduling.v1.PriorityClass",
        "priorityclasses.scheduling.k8s.io",
    )
}];
