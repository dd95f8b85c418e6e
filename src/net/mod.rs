//! Links, addresses, packet rules on Linux, by netlink alone. No Kubernetes types.
//!
//! [`Network`] is what the node agent uses and [`PacketRules`] what the service proxy uses; tests fake both.
//! [`linux::LinuxNetwork`] is the real thing behind the two. Nothing is touched that was not made here, except the
//! sysctls named in [`sysctl`], whose old values are put back; rules of ours in chains of others ([`foreign`]) are
//! taken away again.

pub mod inside;
pub mod linux;
pub mod model;
pub mod rules;

mod conntrack;
mod foreign;
mod install;
mod lease;
mod links;
mod netlink;
mod nft;
mod sysctl;

use futures_util::future::BoxFuture;
use model::{Attach, Attached, NetError};
use rules::RuleSet;

/// The pod network of one cluster on this host. Every act is safe to repeat.
pub trait Network: Send + Sync {
    /// Gives a sandbox its `eth0`, address and routes, and brings its loopback up. Its host ports answer from now on.
    fn attach(&self, request: Attach) -> BoxFuture<'_, Result<Attached, NetError>>;

    /// Takes the link away and frees the address. Succeeds when there is nothing (left).
    fn detach<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<(), NetError>>;

    /// What is attached now, read from the kernel and from the leases on disk (adoption after a restart).
    fn attached(&self) -> BoxFuture<'_, Result<Vec<Attached>, NetError>>;
}

/// Where rules for Services go.
pub trait PacketRules: Send + Sync {
    /// Makes these the rules, all at once. New connections follow them when this returns; established ones go on,
    /// except UDP flows to backends that are no longer there.
    fn apply(&self, rules: RuleSet) -> BoxFuture<'_, Result<(), NetError>>;
}
