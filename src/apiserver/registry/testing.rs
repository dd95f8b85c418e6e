//! A real registry over a store in memory, for tests of everything that talks to one.

use super::{Registry, RegistryConfig, document};
use crate::{
    apiserver::bootstrap,
    pki::TokenKey,
    store::{Options, Store},
};
use futures_util::FutureExt;
use std::sync::Arc;

/// With the four namespaces of every cluster, and nothing else.
#[must_use]
pub fn registry() -> Arc<Registry> {
    let store = Store::open(Options {
        annotate: document::annotate,
        ..Options::default()
    });
    let registry = Registry::new(RegistryConfig {
        store: store.expect("a store in memory opens"),
        token_key: Arc::new(TokenKey::generate().expect("the kernel has random bytes")),
        service_cidr: "10.96.0.0/16".parse().expect("a range"),
        issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
    });
    bootstrap::namespaces(&registry)
        .now_or_never()
        .expect("a store in memory does not wait")
        .expect("a store in memory takes everything");
    registry
}
