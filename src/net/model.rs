//! The values that pass through the `Network` trait.

use super::rules::Protocol;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("no free address is left in {0}")]
    Exhausted(Ipv4Net),
    #[error("{0}")]
    Failed(String),
}

/// A wish for an `eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The sandbox' id; the lease is named after it.
    pub sandbox: String,
    pub netns: PathBuf,
    /// The node's range, from which the address is taken; its first address is the gateway.
    pub range: Ipv4Net,
    /// The address it had before, if that is to be kept.
    pub address: Option<Ipv4Addr>,
    /// Ports of the node that lead to the pod.
    pub host_ports: Vec<HostPort>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// `None` (or 0.0.0.0): every address of the node.
    pub host_ip: Option<Ipv4Addr>,
    pub protocol: Protocol,
    pub host_port: u16,
    pub container_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    pub sandbox: String,
    pub address: Ipv4Addr,
    /// Name of the link on the host's side.
    pub host_link: String,
}
