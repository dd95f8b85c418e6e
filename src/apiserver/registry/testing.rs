//! A real registry over a store in memory, for tests of everything that talks to one.

use super::{Registry, RegistryConfig, document};
use crate::{
    api::stream::NodeApi,
    apiserver::{bootstrap, stream::NodeDirectory},
    pki::TokenKey,
    store::{Options, Store},
};
use futures_util::FutureExt;
use std::sync::Arc;

struct NoNodes;

impl NodeDirectory for NoNodes {
    fn node(&self, _: &str) -> Option<Arc<dyn NodeApi>> {
        None
    }

    fn all(&self) -> Vec<(String, Arc<dyn NodeApi>)> {
        Vec::new()
    }
}

/// With the four namespaces of every cluster, and nothing else.
#[must_use]
pub fn registry() -> Arc<Registry> {
    registry_over(Arc::new(NoNodes))
}

/// The same over nodes of the test's own.
#[must_use]
pub fn registry_over(nodes: Arc<dyn NodeDirectory>) -> Arc<Registry> {
    let store = Store::open(Options {
        annotate: document::annotate,
        ..Options::default()
    });
    let registry = Registry::new(RegistryConfig {
        store: store.expect("a store in memory opens"),
        token_key: Arc::new(TokenKey::generate().expect("the kernel has random bytes")),
        resolve: |_| Err(std::io::ErrorKind::NotFound.into()),
        service_cidr: "10.96.0.0/16".parse().expect("a range"),
        nodes,
        issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
    });
    bootstrap::namespaces(&registry)
        .now_or_never()
        .expect("a store in memory does not wait")
        .expect("a store in memory takes everything");
    registry
}
