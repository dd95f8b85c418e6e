//! HTTP(S) routes (pure, in `compile`) and the proxy that serves them: what ingress-nginx is elsewhere.
//!
//! Nothing listens and nothing is compiled while no Ingress is ours; the last one to go closes the ports. Objects become
//! one immutable [`table`], replaced as a whole; a request takes the current one and needs no lock to find its route.
//!
//! # Where it listens
//!
//! On ports 80 and 443 (configurable) of every node's own address: these stand on the cluster's bridge, belong to the
//! cluster alone and leave the host's other addresses to the host. They are what `kubectl get ingress` shows. On
//! `127.0.0.1` as well, so that `curl localhost` and names in `/etc/hosts` work, unless another program has the port or
//! the configuration says otherwise; that is no mistake and only logged. A program of the host that has the port on *all*
//! addresses has it on the node's too: then we listen on another port there, and packets to the node's are led to it.
//!
//! # Where it differs from ingress-nginx
//!
//! Requests are streamed, not gathered on disk first. No HSTS header is sent: on a laptop it makes browsers refuse a
//! host for a year. Requests that no path of their host matches go to the default backend of an Ingress if there is
//! one. An annotation that would keep somebody out and is not offered here closes its routes. Not offered: snippets,
//! ModSecurity, `ExternalName` backends. Over plain HTTP a host that wants client certificates admits nobody.

mod affinity;
mod answer;
mod body;
mod certificate;
mod class;
mod compile;
mod credential;
mod endpoint;
mod external;
mod forward;
mod header;
mod limit;
mod listen;
mod option;
mod password;
mod path;
mod policy;
mod report;
mod rewrite;
mod serve;
mod table;
mod tunnel;
mod upstream;

pub use class::CONTROLLER;

use crate::{
    api::name::Key,
    client::{Cache, Client, Informers, Recorder, Snapshot},
    config::IngressConfig,
    net::rules::{Backend, Detours, Frontend, Place, Protocol},
    pki::{AltName, Pki},
    task::{Tasks, backoff::Backoff, clock},
};
use anyhow::{Context, Result};
use certificate::{Certificates, Resolver};
use compile::{Finding, Objects};
use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};
use report::Reporter;
use rustls::server::ResolvesServerCert;
use std::{
    collections::{BTreeMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use table::Table;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    time,
};
use tracing::{info, warn};

/// How long the first change waits for more.
const GATHER: Duration = Duration::from_millis(5);
/// How long requests under way have when the last Ingress goes.
const CLOSING: Duration = Duration::from_secs(5);
const DEFAULT_CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

pub type Resolve = fn(&str) -> io::Result<Vec<IpAddr>>;

pub struct IngressContext {
    pub config: IngressConfig,
    /// The nodes' own addresses; the first is the one that people are told.
    pub nodes: Vec<Ipv4Addr>,
    /// Writes as `system:kubik:ingress`.
    pub client: Client,
    pub informers: Informers,
    pub pki: Arc<Pki>,
    /// Names outside the cluster.
    pub resolve: Resolve,
    /// How packets get to us where another program has the port.
    pub detours: watch::Sender<Detours>,
    pub tasks: Tasks,
}

/// Serves the Ingresses that are ours until the tasks stop.
pub fn start(context: IngressContext) {
    let tasks = context.tasks.clone();
    let mut stop = tasks.stop_signal();
    tasks.spawn("ingress", async move {
        let mut controller = Controller::new(context);
        tokio::select! {
            () = controller.run() => {}
            () = stop.stopped() => {}
        }
        if let Some(connections) = controller.connections.take() {
            connections.shutdown(CLOSING).await;
        }
    });
}

/// What is watched only once there is something to serve.
struct Watched {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    secrets: Option<Cache<Secret>>,
}

struct Controller {
    context: IngressContext,
    ingresses: Cache<Ingress>,
    classes: Cache<IngressClass>,
    watched: Option<Watched>,
    changed: Arc<Notify>,
    reporter: Reporter,
    /// Listeners and connections while there are any.
    connections: Option<Tasks>,
}

/// The proxy while it runs.
struct Running {
    tables: watch::Sender<Arc<Table>>,
    certificates: watch::Sender<Arc<Certificates>>,
    front: Arc<serve::Front>,
    tls: listen::Tls,
    /// Listening so far.
    open: HashSet<SocketAddr>,
    /// Why not, for the others.
    closed: BTreeMap<SocketAddr, String>,
}

impl Controller {
    fn new(context: IngressContext) -> Controller {
        let changed = Arc::new(Notify::new());
        let (ingresses, classes) = (context.informers.cache(), context.informers.cache());
        follow::<Ingress>(&ingresses, &changed);
        follow::<IngressClass>(&classes, &changed);
        let recorder = Recorder::new(
            context.client.clone(),
            &context.tasks,
            "nginx-ingress-controller",
            None,
        );
        let reporter = Reporter::new(context.client.clone(), recorder);
        Controller {
            context,
            ingresses,
            classes,
            watched: None,
            changed,
            reporter,
            connections: None,
        }
    }

    async fn run(&mut self) {
        self.ingresses.synced().await;
        self.classes.synced().await;
        let mut failures = 0;
        loop {
            if self.served().is_empty() {
                self.changed.notified().await;
                continue;
            }
            match self.serve().await {
                Ok(()) => failures = 0,
                Err(failure) => {
                    failures += 1;
                    warn!("serve ingresses: {failure:#}");
                    time::sleep(RETRY.jittered(failures)).await;
                }
            }
        }
    }

    fn served(&self) -> Vec<Arc<Ingress>> {
        compile::served(&self.ingresses.snapshot(), &self.classes.snapshot())
    }

    /// Listens and follows every change until no Ingress is left.
    async fn serve(&mut self) -> Result<()> {
        let connections = Tasks::new();
        self.connections = Some(connections.clone());
        let mut running = self.begin(&connections).context("begin")?;
        let mut failures = 0;
        loop {
            let served = self.served();
            if served.is_empty() {
                break;
            }
            let objects = self.objects(&served).await;
            let before = Arc::clone(&running.certificates.borrow());
            let (certificates, mut findings) =
                Certificates::collect(&served, &objects.secrets, &before);
            let compiled = compile::compile(&served, &objects);
            findings.extend(compiled.findings);
            let known: HashSet<SocketAddr> = compiled.table.addresses().collect();
            running.certificates.send_replace(Arc::new(certificates));
            running.tables.send_replace(Arc::new(compiled.table));
            running.front.pool.retain(|address| known.contains(address));
            running.listen(&self.context, &connections).await;
            let unheard = running.unheard(&self.context, &served);
            findings.extend(unheard.iter().cloned());
            self.reporter.announce(&served, &findings);
            self.reporter
                .publish(&served, &running.shown(&self.context))
                .await;
            failures = if unheard.is_empty() { 0 } else { failures + 1 };
            let again = async {
                match failures {
                    0 => std::future::pending().await,
                    failures => time::sleep(RETRY.jittered(failures)).await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => time::sleep(GATHER).await,
                () = again => {}
            }
        }
        self.reporter.announce(&[], &[]);
        info!("no ingress is left: the ports are closed");
        self.context.detours.send_modify(Detours::clear);
        connections.shutdown(CLOSING).await;
        self.connections = None;
        Ok(())
    }

    fn begin(&self, connections: &Tasks) -> Result<Running> {
        let name = "Kubernetes Ingress Controller Fake Certificate";
        let names = vec![AltName::Dns("ingress.local".to_owned())];
        let identity =
            self.context
                .pki
                .issue_server(name, names, DEFAULT_CERTIFICATE_LIFE, clock::now())?;
        let fallback =
            certificate::certified(identity.certificate.as_bytes(), identity.key.as_bytes())?;
        let certificates = watch::Sender::new(Arc::default());
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(Resolver {
            current: certificates.subscribe(),
            fallback: Arc::new(fallback),
        });
        let tls = listen::Tls::new(&resolver)?;
        let config = &self.context.config;
        let own = self.context.nodes.first().map(|node| {
            let at = |port| SocketAddr::from((*node, port));
            (at(config.http_port), at(config.https_port))
        });
        let tables = watch::Sender::new(Arc::default());
        let front = serve::Front {
            tables: tables.subscribe(),
            pool: upstream::Pool::new(connections)?,
            limits: limit::Limits::default(),
            tasks: connections.clone(),
            https_port: config.https_port,
            own,
            resolve: self.context.resolve,
        };
        Ok(Running {
            tables,
            certificates,
            front: Arc::new(front),
            tls,
            open: HashSet::new(),
            closed: BTreeMap::new(),
        })
    }

    async fn objects(&mut self, served: &[Arc<Ingress>]) -> Objects {
        let (informers, changed) = (&self.context.informers, &self.changed);
        let watched = self.watched.get_or_insert_with(|| {
            let (services, slices) = (informers.cache(), informers.cache());
            follow::<Service>(&services, changed);
            follow::<EndpointSlice>(&slices, changed);
            Watched {
                services,
                slices,
                secrets: None,
            }
        });
        if watched.secrets.is_none() && compile::wants_secrets(served) {
            let secrets = informers.cache();
            follow::<Secret>(&secrets, changed);
            watched.secrets = Some(secrets);
        }
        watched.services.synced().await;
        watched.slices.synced().await;
        let secrets = match &watched.secrets {
            Some(secrets) => {
                secrets.synced().await;
                secrets.snapshot()
            }
            None => Snapshot::default(),
        };
        Objects {
            services: watched.services.snapshot(),
            slices: watched.slices.snapshot(),
            secrets,
        }
    }
}

/// Tells of every change of a kind.
fn follow<T: crate::api::object::Object>(cache: &Cache<T>, changed: &Arc<Notify>) {
    let changed = Arc::clone(changed);
    cache.on_change(move |_, _| changed.notify_one());
}

impl Running {
    /// Opens what is not open yet.
    async fn listen(&mut self, context: &IngressContext, connections: &Tasks) {
        let config = &context.config;
        for address in addresses(context) {
            for (port, tls) in [
                (config.http_port, None),
                (config.https_port, Some(&self.tls)),
            ] {
                let place = SocketAddr::new(address, port);
                if self.open.contains(&place) {
                    continue;
                }
                match bind(context, place).await {
                    Ok(listener) => {
                        info!(%place, "ingress listens");
                        self.open.insert(place);
                        self.closed.remove(&place);
                        let front = Arc::clone(&self.front);
                        let work = listen::run(front, listener, port, tls.cloned());
                        connections.spawn(format!("ingress {place}"), work);
                    }
                    Err(error) => {
                        if self.closed.insert(place, error.to_string()).is_none() {
                            info!(%place, %error, "ingress cannot listen");
                        }
                    }
                }
            }
        }
    }

    /// Says on every Ingress which ports of the nodes could not be had.
    fn unheard(&self, context: &IngressContext, served: &[Arc<Ingress>]) -> Vec<Finding> {
        let is_node = |place: &SocketAddr| {
            context
                .nodes
                .iter()
                .any(|node| IpAddr::from(*node) == place.ip())
        };
        let closed: Vec<_> = self
            .closed
            .iter()
            .filter(|(place, _)| is_node(place))
            .collect();
        let about = served.iter().flat_map(|ingress| {
            let key = crate::api::object::Object::key(ingress.as_ref());
            closed.iter().map(move |entry| (key.clone(), entry))
        });
        about
            .map(|(ingress, (place, error)): (Key, _)| Finding {
                ingress,
                message: format!(
                    "cannot listen on {place}: {error}: another program of this host has the port"
                ),
            })
            .collect()
    }

    /// The address that people are told: of the first node, or else another one that is open.
    fn shown(&self, context: &IngressContext) -> Vec<IpAddr> {
        let port = context.config.http_port;
        let mut open = addresses(context).into_iter();
        open.find(|address| self.open.contains(&SocketAddr::new(*address, port)))
            .into_iter()
            .collect()
    }
}

/// A program of the host that listens on all addresses has our port too, on an address that is the cluster's alone: then
/// we listen on another port, and packets are led there.
async fn bind(context: &IngressContext, place: SocketAddr) -> io::Result<TcpListener> {
    let node = context.nodes.iter().find(|node| place.ip() == **node);
    match (TcpListener::bind(place).await, node) {
        (Err(error), Some(node)) if error.kind() == io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind((*node, 0)).await?;
            let elsewhere = listener.local_addr()?;
            info!(%place, %elsewhere, "another program has the port of the ingress");
            let frontend = Frontend {
                place: Place::Address(*node),
                protocol: Protocol::Tcp,
                port: place.port(),
            };
            let backend = Backend {
                address: *node,
                port: elsewhere.port(),
            };
            context.detours.send_modify(|all| {
                all.insert(frontend, backend);
            });
            Ok(listener)
        }
        (bound, _) => bound,
    }
}

fn addresses(context: &IngressContext) -> Vec<IpAddr> {
    let nodes = context.nodes.iter().copied().map(IpAddr::from);
    nodes.chain(context.config.listen.iter().copied()).collect()
}

#[cfg(test)]
mod tests;
