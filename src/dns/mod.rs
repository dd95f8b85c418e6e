//! Cluster DNS: records (pure), answers (pure), forwarding, the listener.
//!
//! Runs in the host's namespace on the address of the first node; the Service `kube-system/kube-dns` leads to it. The
//! zone is kept up to date one Service at a time, in step with the caches. People set it up by a Corefile in the
//! ConfigMap `kube-system/coredns`: a change is in force at once, a mistake is told as an event and changes nothing.

pub mod answer;
pub mod corefile;
pub mod forward;
pub mod hosts;
pub mod records;
pub mod rewrite;
pub mod server;
pub mod zone;

use crate::{
    api::name::Key,
    client::{Cache, Client, EventKind, Informers, Recorder, WorkQueue, reference},
    task::Tasks,
};
use corefile::Corefile;
use forward::{Forwarder, Servers};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Service},
    discovery::v1::EndpointSlice,
};
use server::Server;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};
use zone::Zone;

const PORT: u16 = 53;
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// Where people set the server up.
const CONFIG_MAP: (&str, &str) = ("kube-system", "coredns");
const COREFILE: &str = "Corefile";
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

/// A running server.
pub struct Dns {
    /// Port 53, or another if that is taken on this address. UDP and TCP have the same port.
    pub address: SocketAddr,
    /// Resolves when all names of the cluster are known.
    pub is_complete: oneshot::Receiver<()>,
}

/// Serves until `tasks` stop.
pub async fn start(
    config: &DnsConfig,
    client: &Client,
    informers: &Informers,
    tasks: &Tasks,
) -> io::Result<Dns> {
    let (udp, tcp) = server::bind((config.listen, PORT).into()).await?;
    let address = udp.local_addr()?;
    let own = vec![config.listen, config.service_ip];
    let servers = Servers::file(PathBuf::from(RESOLV_CONF));
    let forwarder = Forwarder::new(servers, PathBuf::from(HOSTS), own);
    let zone = Zone::new(&config.domain, config.service_ip);
    let (setup, _) = corefile::parse(corefile::DEFAULT).map_err(io::Error::other)?;
    let server = Arc::new(Server::new(zone, setup, forwarder));
    let recorder = Recorder::new(client.clone(), tasks, "coredns", None);
    let config_maps: Cache<ConfigMap> = informers.cache();
    let caches = Caches {
        services: informers.cache(),
        slices: informers.cache(),
    };
    let mut stop = tasks.stop_signal();
    let (complete, is_complete) = oneshot::channel();
    tasks.spawn("dns", async move {
        // Nothing is lost by dropping these half-way: clients ask again.
        tokio::select! {
            () = follow(&caches, &server, complete) => {}
            () = obey(&config_maps, &server, &recorder) => {}
            () = server::serve_udp(Arc::clone(&server), udp) => {}
            () = server::serve_tcp(Arc::clone(&server), tcp) => {}
            () = stop.stopped() => {}
        }
    });
    info!(%address, "dns listens");
    Ok(Dns {
        address,
        is_complete,
    })
}

/// Keeps the setup in step with the ConfigMap. Without one the default is in force.
async fn obey(config_maps: &Cache<ConfigMap>, server: &Server, recorder: &Recorder) {
    let changed = Arc::new(Notify::new());
    let told = Arc::clone(&changed);
    let key = Key::new(CONFIG_MAP.0, CONFIG_MAP.1);
    let wanted = key.clone();
    config_maps.on_change(move |old, new| {
        let map = new.or(old);
        if map.is_some_and(|map| crate::api::object::Object::key(map.as_ref()) == wanted) {
            told.notify_one();
        }
    });
    config_maps.synced().await;
    let mut seen = corefile::DEFAULT.to_owned();
    loop {
        let map = config_maps.get(&key);
        let text = map
            .as_ref()
            .and_then(|map| map.data.as_ref()?.get(COREFILE));
        let text = text.map_or(corefile::DEFAULT, String::as_str);
        if text != seen {
            text.clone_into(&mut seen);
            let about = map.as_deref().map(reference);
            let tell = |kind, reason: &str, message: &str| {
                if let Some(about) = &about {
                    recorder.event(about.clone(), kind, reason, message);
                }
            };
            reload(text, server, tell);
        }
        changed.notified().await;
    }
}

fn reload(text: &str, server: &Server, tell: impl Fn(EventKind, &str, &str)) {
    let (setup, mut complaints) = match corefile::parse(text) {
        Ok(parsed) => parsed,
        Err(mistake) => {
            warn!(mistake, "read the Corefile");
            let message = format!("{mistake}; what was in force before stays so");
            return tell(EventKind::Warning, "InvalidCorefile", &message);
        }
    };
    let setup = with_cluster(setup);
    let domain = server.domain();
    if setup.block(&domain).is_none_or(|block| !block.has_cluster) {
        let domain = domain.join(".");
        let text = format!(
            "names of {domain} are not the cluster's any more: the server block for them has no kubernetes"
        );
        complaints.push(text);
    }
    server.set_up(setup);
    info!(complaints = complaints.len(), "Corefile is in force");
    tell(EventKind::Normal, "Reloaded", "Corefile is in force");
    if !complaints.is_empty() {
        let message = complaints.join("; ");
        tell(EventKind::Warning, "UnsupportedDirective", &message);
    }
}

/// The cluster cannot do without its own names, whatever else is wished for.
fn with_cluster(mut setup: Corefile) -> Corefile {
    if !setup.blocks.iter().any(|block| block.has_cluster)
        && let Some(block) = setup.blocks.first_mut()
    {
        block.has_cluster = true;
    }
    setup
}

/// Keeps the zone in step with Services and their endpoints.
async fn follow(caches: &Caches, server: &Server, complete: oneshot::Sender<()>) {
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
    // Nobody may be waiting for it.
    let _ = complete.send(());
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
