//! Links, addresses, packet rules on Linux, by netlink alone. No Kubernetes types.
//!
//! [`Network`] is what the node agent uses and what tests fake; rules for Services enter through [`rules`].

pub mod model;

use futures_util::future::BoxFuture;
use model::{Attach, Attached, NetError};

/// The pod network of one cluster on this host. Every act is safe to repeat.
pub trait Network: Send + Sync {
    /// Gives a sandbox its `eth0`, address and routes, and brings its loopback up.
    fn attach(&self, request: Attach) -> BoxFuture<'_, Result<Attached, NetError>>;

    /// Takes the link away and frees the address. Succeeds when there is nothing (left).
    fn detach<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<(), NetError>>;

    /// What is attached now, read from the kernel and from the leases on disk (adoption after a restart).
    fn attached(&self) -> BoxFuture<'_, Result<Vec<Attached>, NetError>>;
}
