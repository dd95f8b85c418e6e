//! What a cluster was started with.

use super::KubeletConfig;
use super::addon::{Addon, Switch};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

/// Written once by the first `start` and kept for all later ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfig {
    pub profile: String,
    /// What the cluster is called where all clusters of the host meet: cgroups and packet rules. Empty in clusters made
    /// before there were such names: the profile.
    #[serde(default)]
    pub host_name: String,
    /// Tells clusters on one host apart: subnets and names of links are derived from it.
    pub slot: u8,
    /// The API listens here on loopback and on the node's address.
    pub api_port: u16,
    pub pod_cidr: Ipv4Net,
    pub service_cidr: Ipv4Net,
    pub cluster_domain: String,
    pub ephemeral: bool,
    pub nodes: Vec<NodeConfig>,
    /// Base addresses asked before a registry itself: `docker.io` → `http://127.0.0.1:5000`.
    #[serde(default)]
    pub registry_mirrors: BTreeMap<String, Vec<String>>,
    /// Registries whose certificates are not verified and that may speak plain HTTP.
    #[serde(default)]
    pub insecure_registries: BTreeSet<String>,
    /// Certificates, as PEM, that registries may be vouched for by, beside the host's own.
    #[serde(default)]
    pub registry_authorities: Vec<String>,
    /// The cluster's own registry listens here on loopback. Zero in clusters made before there was one; the next start
    /// chooses.
    #[serde(default)]
    pub registry_port: u16,
    /// Addons that were turned on or off by the user; the others are as [`super::ADDONS`] has them.
    #[serde(default)]
    pub addons: BTreeMap<String, bool>,
    #[serde(default)]
    pub ingress: IngressConfig,
    #[serde(default)]
    pub kubelet: KubeletConfig,
}

/// Where the ingress proxy listens, besides the nodes' own addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressConfig {
    pub http_port: u16,
    pub https_port: u16,
    pub listen: BTreeSet<IpAddr>,
}

impl Default for IngressConfig {
    fn default() -> IngressConfig {
        IngressConfig {
            http_port: 80,
            https_port: 443,
            listen: BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfig {
    pub name: String,
    /// The node's address is the first of its range and stands on the bridge: it works offline and never changes.
    pub pod_cidr: Ipv4Net,
    /// Stopped by the user, until it is started again: also at later starts of the cluster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
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
        cgroup(self.host_name())
    }

    /// The name of the nftables table, in family `ip`.
    #[must_use]
    pub fn nft_table(&self) -> String {
        nft_table(self.host_name())
    }

    fn host_name(&self) -> &str {
        match self.host_name.as_str() {
            "" => &self.profile,
            name => name,
        }
    }

    #[must_use]
    pub fn is_enabled(&self, addon: &Addon) -> bool {
        let chosen = self.addons.get(addon.name).copied();
        match addon.switch {
            Switch::Always(_) => true,
            Switch::Live { by_default } => chosen.unwrap_or(by_default),
        }
    }

    /// One more node, at the first place that is free; `None` when there is none.
    #[must_use]
    pub fn next_node(&self) -> Option<NodeConfig> {
        let prefix = match self.kubelet.pods_max() {
            0..=250 => 24,
            251..=500 => 23,
            501.. => 22,
        };
        (0..NODES_MAX >> (24 - prefix))
            .map(|index| plan_node(&self.profile, self.slot, index, prefix))
            .find(|new| {
                let clashes = |old: &NodeConfig| {
                    let (new, old) = (new.pod_cidr, old.pod_cidr);
                    new.contains(&old) || old.contains(&new)
                };
                let mut nodes = self.nodes.iter();
                !nodes.any(|old| old.name == new.name || clashes(old))
            })
    }

    /// Gives a new cluster its nodes; to be called when it is known how many pods they take.
    pub fn add_nodes(&mut self, count: u8) {
        for _ in 0..count {
            self.nodes.extend(self.next_node());
        }
    }

    /// `kubernetes.default`: the first address of the service range.
    #[must_use]
    pub fn api_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 1)
    }

    /// Addresses of Services of type LoadBalancer: the last 1,024 of the pods' range, which no node has.
    #[must_use]
    pub fn load_balancer_range(&self) -> Ipv4Net {
        const PREFIX: u8 = 22;
        let size = 1 << (32 - PREFIX);
        let first = u32::from(self.pod_cidr.broadcast()) + 1 - size;
        Ipv4Net::new_assert(Ipv4Addr::from(first), PREFIX)
    }

    /// `kube-dns.kube-system`: the tenth address of the service range.
    #[must_use]
    pub fn dns_service_ip(&self) -> Ipv4Addr {
        nth(self.service_cidr, 10)
    }
}

impl NodeConfig {
    /// How many pods have an address in its range: all but the network's, the gateway's and the broadcast address.
    #[must_use]
    pub fn room(&self) -> u16 {
        let size = 1_u32 << (32 - self.pod_cidr.prefix_len());
        u16::try_from(size - 3).unwrap_or(u16::MAX)
    }

    /// The node's `InternalIP` and its pods' gateway.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        nth(self.pod_cidr, 1)
    }
}

/// See [`ClusterConfig::cgroup`]; for a cluster whose configuration is lost.
#[must_use]
pub fn cgroup(host_name: &str) -> String {
    format!("/kubik-{host_name}")
}

/// See [`ClusterConfig::nft_table`]; for a cluster whose configuration is lost.
#[must_use]
pub fn nft_table(host_name: &str) -> String {
    format!("kubik-{host_name}")
}

fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + n)
}

/// The rest of the pods' range is for load balancers.
const NODES_MAX: u8 = 252;

/// The shape of a new cluster. Slot `n` owns pods `10.(244-n).0.0/16` and services `10.(96+n).0.0/16`; slots end at
/// 63, before the two would meet. Node `i` owns the `i`th range of it, a `/24` unless its pods need more; there are 252
/// nodes at most.
#[must_use]
pub fn plan_cluster(profile: &str, slot: u8, api_port: u16, ephemeral: bool) -> ClusterConfig {
    let net = |second: u8, third: u8, prefix: u8| {
        Ipv4Net::new_assert(Ipv4Addr::new(10, second, third, 0), prefix)
    };
    let pods = 244 - slot;
    ClusterConfig {
        profile: profile.to_owned(),
        host_name: String::new(),
        slot,
        api_port,
        pod_cidr: net(pods, 0, 16),
        service_cidr: net(96 + slot, 0, 16),
        cluster_domain: "cluster.local".to_owned(),
        ephemeral,
        nodes: Vec::new(),
        registry_mirrors: BTreeMap::new(),
        insecure_registries: BTreeSet::new(),
        registry_authorities: Vec::new(),
        registry_port: 0,
        addons: BTreeMap::new(),
        ingress: IngressConfig::default(),
        kubelet: KubeletConfig::default(),
    }
}

fn plan_node(profile: &str, slot: u8, index: u8, prefix: u8) -> NodeConfig {
    let range = Ipv4Addr::new(10, 244 - slot, index << (24 - prefix), 0);
    NodeConfig {
        name: match index {
            0 => profile.to_owned(),
            other => format!("{profile}-m{:02}", u16::from(other) + 1),
        },
        pod_cidr: Ipv4Net::new_assert(range, prefix),
        stopped: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_take_the_first_free_place() {
        let mut config = plan_cluster("kubik", 1, 8443, false);
        config.add_nodes(3);
        assert_eq!(config.next_node().unwrap().name, "kubik-m04");
        config.nodes.remove(1);
        let next = config.next_node().unwrap();
        assert_eq!(
            (next.name.as_str(), next.address().to_string()),
            ("kubik-m02", "10.243.1.1".to_owned())
        );
    }

    #[test]
    fn nodes_have_addresses_for_their_pods() {
        let ranges = |config: &ClusterConfig| -> Vec<String> {
            let nodes = config.nodes.iter();
            nodes
                .map(|node| format!("{} {}", node.name, node.pod_cidr))
                .collect()
        };
        for (pods, range, room) in [
            (110, "k-m02 10.244.1.0/24", 253),
            (251, "k-m02 10.244.2.0/23", 509),
            (1000, "k-m02 10.244.4.0/22", 1021),
        ] {
            let mut config = plan_cluster("k", 0, 1, false);
            config.kubelet.max_pods = Some(pods);
            config.add_nodes(2);
            assert_eq!(ranges(&config)[1], range);
            assert_eq!(config.nodes[1].room(), room);
        }
        // Somebody changed the number later: ranges that are given stay, and none meets another.
        let mut config = plan_cluster("k", 0, 1, false);
        config.add_nodes(3);
        config.kubelet.max_pods = Some(500);
        config.add_nodes(1);
        assert_eq!(ranges(&config)[3], "k-m04 10.244.6.0/23");
        config.add_nodes(255);
        let last = config.nodes.last().unwrap().pod_cidr;
        assert!(!config.load_balancer_range().contains(&last), "{last}");
    }

    #[test]
    fn the_first_cluster_has_the_addresses_people_know() {
        let mut config = plan_cluster("kubik", 0, 8443, false);
        config.add_nodes(2);
        assert_eq!(config.api_service_ip().to_string(), "10.96.0.1");
        assert_eq!(config.dns_service_ip().to_string(), "10.96.0.10");
        assert_eq!(config.nodes[0].address().to_string(), "10.244.0.1");
        assert_eq!(config.nodes[1].name, "kubik-m02");
        assert_eq!(config.nodes[1].address().to_string(), "10.244.1.1");
        assert_eq!(config.load_balancer_range().to_string(), "10.244.252.0/22");
    }

    #[test]
    fn slots_never_share_an_address() {
        let plans: Vec<ClusterConfig> = (0..64).map(|n| plan_cluster("x", n, 1, false)).collect();
        let nets: Vec<Ipv4Net> = plans
            .iter()
            .flat_map(|p| [p.pod_cidr, p.service_cidr])
            .collect();
        let distinct: std::collections::HashSet<&Ipv4Net> = nets.iter().collect();
        assert_eq!(distinct.len(), nets.len());
    }
}
