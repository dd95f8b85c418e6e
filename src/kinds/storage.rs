//! Kinds of storage, node and resource (devices): one row each (API chapter 2.1 to 2.6).

use super::behavior;
use super::kind::{Kind, Scope};

pub const STORAGE: &[Kind] = &[
    Kind {
        scope: Scope::Cluster,
        has_generation: true,
        unconditional_update: false,
        hooks: behavior::CSI_DRIVER,
        ..Kind::row(
            "storage.k8s.io",
            "v1",
            ["CSIDriver", "csidriver", "csidrivers"],
            "io.k8s.api.storage.v1.CSIDriver",
            "csidrivers.storage.k8s.io",
        )
    },
    Kind {
        scope: Scope::Cluster,
        unconditional_update: false,
        ..Kind::row(
            "storage.k8s.io",
            "v1",
            ["CSINode", "csinode", "csinodes"],
            "io.k8s.api.storage.v1.CSINode",
            "csinodes.storage.k8s.io",
        )
    },
    Kind {
        unconditional_update: false,
        ..Kind::row(
            "storage.k8s.io",
            "v1",
            [
                "CSIStorageCapacity",
                "csistoragecapacity",
                "csistoragecapacities",
            ],
            "io.k8s.api.storage.v1.CSIStorageCapacity",
            "csistoragecapacities.storage.k8s.io",
        )
    },
    Kind {
        short: &["sc"],
        scope: Scope::Cluster,
        hooks: behavior::STORAGE_CLASS,
        ..Kind::row(
            "storage.k8s.io",
            "v1",
            ["StorageClass", "storageclass", "storageclasses"],
            "io.k8s.api.storage.v1.StorageClass",
            "storageclasses.storage.k8s.io",
        )
    },
    Kind {
        scope: Scope::Cluster,
        subresources: &["status"],
        unconditional_update: false,
        ..Kind::row(
            "storage.k8s.io",
            "v1",
            ["VolumeAttachment", "volumeattachment", "volumeattachments"],
            "io.k8s.api.storage.v1.VolumeAttachment",
            "volumeattachments.storage.k8s.io",
        )
    },
    Kind {
        short: &["vac"],
        scope: Scope::Cluster,
        ..Kind::row(
            "storage.k8s.io",
            "v1",
            [
                "VolumeAttributesClass",
                "volumeattributesclass",
                "volumeattributesclasses",
            ],
            "io.k8s.api.storage.v1.VolumeAttributesClass",
            "volumeattributesclasses.storage.k8s.io",
        )
    },
];

pub const NODE: &[Kind] = &[Kind {
    scope: Scope::Cluster,
    unconditional_update: false,
    create_on_update: true,
    hooks: behavior::RUNTIME_CLASS,
    ..Kind::row(
        "node.k8s.io",
        "v1",
        ["RuntimeClass", "runtimeclass", "runtimeclasses"],
        "io.k8s.api.node.v1.RuntimeClass",
        "runtimeclasses.node.k8s.io",
    )
}];

pub const RESOURCE: &[Kind] = &[
    Kind {
        scope: Scope::Cluster,
        has_generation: true,
        ..Kind::row(
            "resource.k8s.io",
            "v1",
            ["DeviceClass", "deviceclass", "deviceclasses"],
            "io.k8s.api.resource.v1.DeviceClass",
            "deviceclasses.resource.k8s.io",
        )
    },
    Kind {
        subresources: &["status"],
        ..Kind::row(
            "resource.k8s.io",
            "v1",
            ["ResourceClaim", "resourceclaim", "resourceclaims"],
            "io.k8s.api.resource.v1.ResourceClaim",
            "resourceclaims.resource.k8s.io",
        )
    },
    Kind::row(
        "resource.k8s.io",
        "v1",
        [
            "ResourceClaimTemplate",
            "resourceclaimtemplate",
            "resourceclaimtemplates",
        ],
        "io.k8s.api.resource.v1.ResourceClaimTemplate",
        "resourceclaimtemplates.resource.k8s.io",
    ),
    Kind {
        scope: Scope::Cluster,
        selectable_fields: &["spec.nodeName", "spec.driver"],
        has_generation: true,
        ..Kind::row(
            "resource.k8s.io",
            "v1",
            ["ResourceSlice", "resourceslice", "resourceslices"],
            "io.k8s.api.resource.v1.ResourceSlice",
            "resourceslices.resource.k8s.io",
        )
    },
];
