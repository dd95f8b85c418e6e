//! Kinds of admission registration, API extension, API registration and flow control: one row each (API chapter 2.1 to 2.6).

use super::behavior;
use super::kind::{Kind, Scope};

pub const ADMISSIONREGISTRATION: &[Kind] = &[
    Kind {
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        has_generation: true,
        unconditional_update: false,
        hooks: behavior::MUTATING_ADMISSION_POLICY,
        ..Kind::row(
            "admissionregistration.k8s.io",
            "v1",
            [
                "MutatingAdmissionPolicy",
                "mutatingadmissionpolicy",
                "mutatingadmissionpolicies",
            ],
            "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
            "mutatingadmissionpolicies.admissionregistration.k8s.io",
        )
    },
    Kind {
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        has_generation: true,
        unconditional_update: false,
        hooks: behavior::MUTATING_ADMISSION_POLICY_BINDING,
        ..Kind::row(
            "admissionregistration.k8s.io",
            "v1",
            [
                "MutatingAdmissionPolicyBinding",
                "mutatingadmissionpolicybinding",
                "mutatingadmissionpolicybindings",
            ],
            "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        )
    },
    Kind {
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        has_generation: true,
        unconditional_update: false,
        hooks: behavior::MUTATING_WEBHOOK_CONFIGURATION,
        ..Kind::row(
            "admissionregistration.k8s.io",
            "v1",
            [
                "MutatingWebhookConfiguration",
                "mutatingwebhookconfiguration",
                "mutatingwebhookconfigurations",
            ],
            "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        )
    },
    Kind {
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        subresources: &["status"],
        has_generation: true,
        unconditional_update: false,
        hooks: behavior::VALIDATING_ADMISSION_POLICY,
        ..Kind::row(
            "admissionregistration.k8s.io",
            "v1",
            [
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicy",
                "validatingadmissionpolicies",
            ],
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
            "validatingadmissionpolicies.admissionregistration.k8s.io",
        )
    },
    Kind {
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        has_generation: true,
        unconditional_update: false,
        hooks: behavior::VALIDATING_ADMISSION_POLICY_BINDING,
        ..Kind::row(
            "admissionregistration.k8s.io",
            "v1",
            [
                "ValidatingAdmissionPolicyBinding",
                "validatingadmissionpolicybinding",
                "validatingadmissionpolicybindings",
            ],
            "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        )
    },
    Kind {
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        has_generation: true,
        unconditional_update: false,
        hooks: behavior::VALIDATING_WEBHOOK_CONFIGURATION,
        ..Kind::row(
            "admissionregistration.k8s.io",
            "v1",
            [
                "ValidatingWebhookConfiguration",
                "validatingwebhookconfiguration",
                "validatingwebhookconfigurations",
            ],
            "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
        )
    },
];

pub const APIEXTENSIONS: &[Kind] = &[Kind {
    short: &["crd", "crds"],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    subresources: &["status"],
    has_generation: true,
    unconditional_update: false,
    ..Kind::row(
        "apiextensions.k8s.io",
        "v1",
        [
            "CustomResourceDefinition",
            "customresourcedefinition",
            "customresourcedefinitions",
        ],
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        "customresourcedefinitions.apiextensions.k8s.io",
    )
}];

pub const APIREGISTRATION: &[Kind] = &[Kind {
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    subresources: &["status"],
    unconditional_update: false,
    ..Kind::row(
        "apiregistration.k8s.io",
        "v1",
        ["APIService", "apiservice", "apiservices"],
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        "apiservices.apiregistration.k8s.io",
    )
}];

pub const FLOWCONTROL: &[Kind] = &[
    Kind {
        scope: Scope::Cluster,
        subresources: &["status"],
        has_generation: true,
        ..Kind::row(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            ["FlowSchema", "flowschema", "flowschemas"],
            "io.k8s.api.flowcontrol.v1.FlowSchema",
            "flowschemas.flowcontrol.apiserver.k8s.io",
        )
    },
    Kind {
        scope: Scope::Cluster,
        subresources: &["status"],
        has_generation: true,
        ..Kind::row(
            "flowcontrol.apiserver.k8s.io",
            "v1",
            [
                "PriorityLevelConfiguration",
                "prioritylevelconfiguration",
                "prioritylevelconfigurations",
            ],
            "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
            "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        )
    },
];
