//! The cluster's own registry: what is pushed to `localhost:PORT` is an image of the cluster at once.
//!
//! It speaks the OCI distribution specification 1.1 (push, pull, discovery, deletion) on loopback only, without TLS and
//! without a password, as clients expect of loopback. Blobs are kept as they came, so that digests stay true and images
//! can be pulled out again; a tagged image is unpacked into the image store while its manifest is put. Everything
//! is bounded, and nothing is believed before its digest was computed here.
//! It knows neither Kubernetes nor other registries.

mod answer;
mod blob;
mod list;
mod manifest;
mod range;
mod route;
mod serve;
mod store;
mod sweep;
mod upload;

use crate::{
    runtime::image::Images,
    task::{Tasks, clock},
};
use anyhow::{Context, Result};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};
use store::Store;
use tokio::net::TcpListener;
use tracing::{info, warn};
use upload::Uploads;

/// What all requests share. Cheap to clone.
#[derive(Clone)]
struct Registry(Arc<Inner>);

struct Inner {
    store: Store,
    uploads: Uploads,
    images: Images,
    /// `localhost:5000`: the domain of every image that is pushed here.
    domain: String,
}

/// Listens on `127.0.0.1:port` until `tasks` are stopped. What is pushed lies below `folder`.
pub async fn start(folder: &Path, port: u16, images: &Images, tasks: &Tasks) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let registry = Registry(Arc::new(Inner {
        store: Store::new(folder),
        uploads: Uploads::new(folder),
        images: images.clone(),
        domain: format!("localhost:{port}"),
    }));
    let group = tasks.clone();
    tasks.spawn("registry", async move {
        // Clients that come meanwhile wait in the kernel's queue.
        let (store, uploads) = (registry.0.store.clone(), registry.0.uploads.clone());
        let now = clock::now();
        let swept = Tasks::blocking(move || {
            uploads.clear();
            sweep::sweep(&store, now)
        });
        match swept.await {
            Ok(Ok(0)) => {}
            Ok(Ok(bytes)) => info!(bytes, "removed what no tag of the registry leads to"),
            Ok(Err(error)) => warn!(%error, "sweep the registry"),
            Err(error) => warn!(%error, "sweep the registry"),
        }
        serve::accept(registry, listener, group).await;
    });
    Ok(())
}
