//! Kinds of networking and discovery: one row each (API chapter 2.1 to 2.6).

use super::behavior;
use super::kind::{Kind, Scope};

pub const NETWORKING: &[Kind] = &[
    Kind {
        scope: Scope::Cluster,
        has_generation: true,
        hooks: behavior::INGRESS_CLASS,
        ..Kind::row(
            "networking.k8s.io",
            "v1",
            ["IngressClass", "ingressclass", "ingressclasses"],
            "io.k8s.api.networking.v1.IngressClass",
            "ingressclasses.networking.k8s.io",
        )
    },
    Kind {
        short: &["ing"],
        subresources: &["status"],
        has_generation: true,
        hooks: behavior::INGRESS,
        ..Kind::row(
            "networking.k8s.io",
            "v1",
            ["Ingress", "ingress", "ingresses"],
            "io.k8s.api.networking.v1.Ingress",
            "ingresses.networking.k8s.io",
        )
    },
    Kind {
        short: &["ip"],
        scope: Scope::Cluster,
        hooks: behavior::IP_ADDRESS,
        ..Kind::row(
            "networking.k8s.io",
            "v1",
            ["IPAddress", "ipaddress", "ipaddresses"],
            "io.k8s.api.networking.v1.IPAddress",
            "ipaddresses.networking.k8s.io",
        )
    },
    Kind {
        short: &["netpol"],
        has_generation: true,
        hooks: behavior::NETWORK_POLICY,
        ..Kind::row(
            "networking.k8s.io",
            "v1",
            ["NetworkPolicy", "networkpolicy", "networkpolicies"],
            "io.k8s.api.networking.v1.NetworkPolicy",
            "networkpolicies.networking.k8s.io",
        )
    },
    Kind {
        scope: Scope::Cluster,
        subresources: &["status"],
        hooks: behavior::SERVICE_CIDR,
        ..Kind::row(
            "networking.k8s.io",
            "v1",
            ["ServiceCIDR", "servicecidr", "servicecidrs"],
            "io.k8s.api.networking.v1.ServiceCIDR",
            "servicecidrs.networking.k8s.io",
        )
    },
];

pub const DISCOVERY: &[Kind] = &[Kind {
    has_generation: true,
    hooks: behavior::ENDPOINT_SLICE,
    ..Kind::row(
        "discovery.k8s.io",
        "v1",
        ["EndpointSlice", "endpointslice", "endpointslices"],
        "io.k8s.api.discovery.v1.EndpointSlice",
        "endpointslices.discovery.k8s.io",
    )
}];
