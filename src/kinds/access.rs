//! Kinds of authentication, authorization, certificates and RBAC: one row each (API chapter 2.1 to 2.6).
//!
//! Reviews are answered, never stored.

use super::behavior;
use super::kind::{Kind, Scope};

pub const AUTHENTICATION: &[Kind] = &[
    Kind {
        scope: Scope::Cluster,
        verbs: &["create"],
        ..Kind::row(
            "authentication.k8s.io",
            "v1",
            [
                "SelfSubjectReview",
                "selfsubjectreview",
                "selfsubjectreviews",
            ],
            "io.k8s.api.authentication.v1.SelfSubjectReview",
            "",
        )
    },
    Kind {
        scope: Scope::Cluster,
        verbs: &["create"],
        ..Kind::row(
            "authentication.k8s.io",
            "v1",
            ["TokenReview", "tokenreview", "tokenreviews"],
            "io.k8s.api.authentication.v1.TokenReview",
            "",
        )
    },
];

pub const AUTHORIZATION: &[Kind] = &[
    Kind {
        verbs: &["create"],
        ..Kind::row(
            "authorization.k8s.io",
            "v1",
            [
                "LocalSubjectAccessReview",
                "localsubjectaccessreview",
                "localsubjectaccessreviews",
            ],
            "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
            "",
        )
    },
    Kind {
        scope: Scope::Cluster,
        verbs: &["create"],
        ..Kind::row(
            "authorization.k8s.io",
            "v1",
            [
                "SelfSubjectAccessReview",
                "selfsubjectaccessreview",
                "selfsubjectaccessreviews",
            ],
            "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
            "",
        )
    },
    Kind {
        scope: Scope::Cluster,
        verbs: &["create"],
        ..Kind::row(
            "authorization.k8s.io",
            "v1",
            [
                "SelfSubjectRulesReview",
                "selfsubjectrulesreview",
                "selfsubjectrulesreviews",
            ],
            "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
            "",
        )
    },
    Kind {
        scope: Scope::Cluster,
        verbs: &["create"],
        ..Kind::row(
            "authorization.k8s.io",
            "v1",
            [
                "SubjectAccessReview",
                "subjectaccessreview",
                "subjectaccessreviews",
            ],
            "io.k8s.api.authorization.v1.SubjectAccessReview",
            "",
        )
    },
];

pub const RBAC: &[Kind] = &[
    Kind {
        scope: Scope::Cluster,
        create_on_update: true,
        hooks: behavior::CLUSTER_ROLE_BINDING,
        ..Kind::row(
            "rbac.authorization.k8s.io",
            "v1",
            [
                "ClusterRoleBinding",
                "clusterrolebinding",
                "clusterrolebindings",
            ],
            "io.k8s.api.rbac.v1.ClusterRoleBinding",
            "clusterrolebindings.rbac.authorization.k8s.io",
        )
    },
    Kind {
        scope: Scope::Cluster,
        create_on_update: true,
        hooks: behavior::CLUSTER_ROLE,
        ..Kind::row(
            "rbac.authorization.k8s.io",
            "v1",
            ["ClusterRole", "clusterrole", "clusterroles"],
            "io.k8s.api.rbac.v1.ClusterRole",
            "clusterroles.rbac.authorization.k8s.io",
        )
    },
    Kind {
        create_on_update: true,
        hooks: behavior::ROLE_BINDING,
        ..Kind::row(
            "rbac.authorization.k8s.io",
            "v1",
            ["RoleBinding", "rolebinding", "rolebindings"],
            "io.k8s.api.rbac.v1.RoleBinding",
            "rolebindings.rbac.authorization.k8s.io",
        )
    },
    Kind {
        create_on_update: true,
        hooks: behavior::ROLE,
        ..Kind::row(
            "rbac.authorization.k8s.io",
            "v1",
            ["Role", "role", "roles"],
            "io.k8s.api.rbac.v1.Role",
            "roles.rbac.authorization.k8s.io",
        )
    },
];

pub const CERTIFICATES: &[Kind] = &[Kind {
    short: &["csr"],
    scope: Scope::Cluster,
    subresources: &["approval", "status"],
    selectable_fields: &["spec.signerName"],
    hooks: behavior::CERTIFICATE_SIGNING_REQUEST,
    ..Kind::row(
        "certificates.k8s.io",
        "v1",
        [
            "CertificateSigningRequest",
            "certificatesigningrequest",
            "certificatesigningrequests",
        ],
        "io.k8s.api.certificates.v1.CertificateSigningRequest",
        "certificatesigningrequests.certificates.k8s.io",
    )
}];
