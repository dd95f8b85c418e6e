//! Cluster DNS: records (pure), answers (pure), forwarding, the listener.
//!
//! Runs in the host's namespace on the address of the first node; the Service `kube-system/kube-dns` leads to it. The
//! zone is kept up to date one Service at a time, in step with the caches.

pub mod answer;
pub mod forward;
pub mod records;
pub mod server;
pub mod zone;

use crate::{
    api::name::Key,
    client::{Cache, Informers, WorkQueue},
    task::Tasks,
};
use forward::{Forwarder, Servers};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use server::Server;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};
use tracing::info;
use zone::Zone;

const PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Names the Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// `cluster.local`.
    pub domain: String,
    /// The ClusterIP of `kube-system/kube-dns`.
    pub service_ip: Ipv4Addr,
    /// The first node's address.
    pub listen: Ipv4Addr,
}

#[derive(Clone)]
struct Caches {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
}

/// Answers where it listens: port 53, or another if that is taken on this address. UDP and TCP have the same port.
pub async fn start(
    config: &DnsConfig,
    informers: &Informers,
    tasks: &Tasks,
) -> io::Result<SocketAddr> {
    let (udp, tcp) = server::bind((config.listen, PORT).into()).await?;
    let address = udp.local_addr()?;
    let own = vec![config.listen, config.service_ip];
    let forwarder = Forwarder::new(Servers::file(PathBuf::from(RESOLV_CONF)), own);
    let zone = Zone::new(&config.domain, config.service_ip);
    let server = Arc::new(Server::new(zone, forwarder));
    let caches = Caches {
        services: informers.cache(),
        slices: informers.cache(),
    };
    let mut stop = tasks.stop_signal();
    tasks.spawn("dns", async move {
        // Nothing is lost by dropping these half-way: clients ask again.
        tokio::select! {
            () = follow(&caches, &server) => {}
            () = server::serve_udp(Arc::clone(&server), udp) => {}
            () = server::serve_tcp(Arc::clone(&server), tcp) => {}
            () = stop.stopped() => {}
        }
    });
    info!(%address, "dns listens");
    Ok(address)
}

/// Keeps the zone in step with Services and their endpoints.
async fn follow(caches: &Caches, server: &Server) {
    let queue = WorkQueue::new();
    caches.enqueue_changes(&queue);
    caches.services.synced().await;
    caches.slices.synced().await;
    for key in caches.services.snapshot().keys() {
        caches.update(key, server);
    }
    server
        .zone
        .write()
        .expect("no panic while locked")
        .is_complete = true;
    loop {
        let key: Key = queue.next().await;
        caches.update(&key, server);
        queue.done(&key);
    }
}

impl Caches {
    fn enqueue_changes(&self, queue: &WorkQueue<Key>) {
        let changed = queue.clone();
        self.services.on_change(move |old, new| {
            if let Some(service) = new.or(old) {
                changed.add(crate::api::object::Object::key(service.as_ref()));
            }
        });
        let changed = queue.clone();
        self.slices.on_change(move |old, new| {
            for slice in old.into_iter().chain(new) {
                if let Some(service) = service_of(slice) {
                    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
                    changed.add(Key::new(namespace, service));
                }
            }
        });
    }

    fn update(&self, key: &Key, server: &Server) {
        let slices = self.slices.snapshot();
        let own = slices
            .in_namespace(&key.namespace)
            .filter(|slice| service_of(slice) == Some(key.name.as_str()));
        let service = self.services.get(key);
        let entry = service.and_then(|service| records::entry(&service, own));
        let mut zone = server.zone.write().expect("no panic while locked");
        zone.set((key.namespace.clone(), key.name.clone()), entry);
    }
}

fn service_of(slice: &EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    labels.get(SERVICE_NAME).map(String::as_str)
}
