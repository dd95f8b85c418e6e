//! What a cluster was started with.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Written once by the first `start` and kept for all later ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfig {
    pub profile: String,
    /// Tells clusters on one host apart: subnets and names of links are derived from it.
    pub slot: u8,
    /// The API listens here on loopback and on the node's address.
    pub api_port: u16,
    pub pod_cidr: Ipv4Net,
    pub service_cidr: Ipv4Net,
    pub cluster_domain: String,
    pub ephemeral: bool,
    pub nodes: Vec<NodeConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfig {
    pub name: String,
    /// The node's address is the first of its range and stands on the bridge: it works offline and never changes.
    pub pod_cidr: Ipv4Net,
}

impl ClusterConfig {
    /// The bridge of the cluster; at most 15 bytes (IFNAMSIZ).
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("kubik{}", self.slot)
    }

    /// The cgroup below which all pods of the cluster live.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("/kubik-{}", self.profile)
    }

    /// The name of the nftables table, in family `ip`.
    #[must_use]
    pub fn nft_table(&self) -> String {
        format!("kubik-{}", self.profile)
    }

    /// `kubernetes.default`: the first address of the service range.
    #[must_use]
    pub fn api_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 1)
    }

    /// `kube-dns.kube-system`: the tenth address of the service range.
    #[must_use]
    pub fn dns_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 10)
    }
}

impl NodeConfig {
    /// The node's `InternalIP` and its pods' gateway.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        nth(self.pod_cidr, 1)
    }
}

fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + n)
}
