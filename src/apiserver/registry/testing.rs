//! A real registry over a store in memory, for tests of everything that talks to one.

use super::{Registry, RegistryConfig, document};
use crate::{
    pki::TokenKey,
    store::{Options, Store},
};
use std::sync::Arc;

/// Empty, or nearly so: bootstrap objects are not made.
#[must_use]
pub fn registry() -> Arc<Registry> {
    let store = Store::open(Options {
        annotate: document::annotate,
        ..Options::default()
    });
    Registry::new(RegistryConfig {
        store: store.expect("a store in memory opens"),
        token_key: Arc::new(TokenKey::generate().expect("the kernel has random bytes")),
        service_cidr: "10.96.0.0/16".parse().expect("a range"),
        issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
    })
}
