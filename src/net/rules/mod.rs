//! What packets should meet, without a word of Kubernetes: frontends and what stands behind them, and fences.
//!
//! [`RuleSet`] is the whole wish; `elements` turns it into set elements (pure), `chains` knows the constant chains
//! that read them. Installing is `net::install`'s.

mod cells;
pub(super) mod chains;
pub(super) mod elements;
pub mod fence;

use fence::Fences;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Address(Ipv4Addr),
    /// The same for clients in a range only. Wins over the address alone.
    From(Ipv4Net, Ipv4Addr),
    /// Every address of this host, loopback included, now and later. An exact address wins over it.
    Host,
}

impl Place {
    #[must_use]
    pub fn address(self) -> Option<Ipv4Addr> {
        match self {
            Place::Address(address) | Place::From(_, address) => Some(address),
            Place::Host => None,
        }
    }
}

/// What clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    pub place: Place,
    pub protocol: Protocol,
    pub port: u16,
}

/// Where a connection ends up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    pub address: Ipv4Addr,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One of them, at random; with `affinity` the one that the client's address had before, if it was there within
    /// that time. Never empty: that is [`Target::Reject`] or [`Target::Drop`].
    Backends {
        backends: BTreeSet<Backend>,
        affinity: Option<Duration>,
    },
    Reject,
    Drop,
}

/// Frontends that no Service asks for: ports of ours that another program has, and where we are instead.
pub type Detours = BTreeMap<Frontend, Backend>;

/// All rules. Addresses inside the service ranges that no frontend names are dropped; other ports of addresses that
/// are named are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    pub frontends: BTreeMap<Frontend, Target>,
    /// Frontends at an address that are open to these sources only; all others are dropped.
    pub sources: BTreeMap<Frontend, Vec<Ipv4Net>>,
    /// `None`: everybody may talk to everybody, and no packet is looked at for it.
    pub fences: Option<Arc<Fences>>,
}
