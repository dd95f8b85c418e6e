//! The pieces that join components which do not know each other.

use crate::{
    api::{
        ApiError,
        call::{Call, Reply, User},
        name::Key,
        stream::NodeApi,
        time,
    },
    apiserver::{
        NodeDirectory, Server, ServerConfig,
        bootstrap::{Facts, bootstrap},
        registry::{Registry, RegistryConfig},
    },
    client::{Informers, Transport},
    config::{self, ClusterConfig, Layout},
    controllers::volume::PROVISIONER,
    dns::Dns,
    net::linux::{NetConfig, Traces},
    pki::{self, Pki, ServerNames},
    store::Store,
    task::clock,
};
use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

/// How long a start may wait for its own components.
const USABLE_PATIENCE: Duration = Duration::from_secs(30);

/// Calls go straight to the registry, without HTTP or JSON text between.
pub struct InProcess(pub Server);

impl Transport for InProcess {
    fn call<'a>(&'a self, user: &'a User, call: Call) -> BoxFuture<'a, Result<Reply, ApiError>> {
        Box::pin(self.0.call(user, call))
    }
}

/// Node agents by node name, for logs, exec and the like.
#[derive(Default)]
pub struct Directory(RwLock<HashMap<String, Arc<dyn NodeApi>>>);

impl Directory {
    pub fn add(&self, name: &str, agent: Arc<dyn NodeApi>) {
        let mut agents = self.0.write().expect("no panic while locked");
        agents.insert(name.to_owned(), agent);
    }

    pub fn remove(&self, name: &str) {
        let mut agents = self.0.write().expect("no panic while locked");
        agents.remove(name);
    }
}

impl NodeDirectory for Directory {
    fn node(&self, name: &str) -> Option<Arc<dyn NodeApi>> {
        self.0
            .read()
            .expect("no panic while locked")
            .get(name)
            .cloned()
    }

    fn all(&self) -> Vec<(String, Arc<dyn NodeApi>)> {
        let agents = self.0.read().expect("no panic while locked");
        let all = agents.iter();
        all.map(|(name, agent)| (name.clone(), Arc::clone(agent)))
            .collect()
    }
}

pub fn keys(config: &ClusterConfig, layout: &Layout) -> Result<Pki> {
    let mut ips: Vec<IpAddr> = vec![config.api_service_ip().into()];
    ips.extend(config.nodes.iter().map(|node| IpAddr::from(node.address())));
    let names = ServerNames {
        cluster_domain: config.cluster_domain.clone(),
        dns: config.nodes.iter().map(|node| node.name.clone()).collect(),
        ips,
    };
    Pki::load_or_create(&layout.pki(), &names, clock::now()).context("make keys and certificates")
}

pub fn network(config: &ClusterConfig, layout: &Layout) -> NetConfig {
    NetConfig {
        bridge: config.bridge(),
        pod_cidr: config.pod_cidr,
        node_ranges: config.nodes.iter().map(|node| node.pod_cidr).collect(),
        service_ranges: vec![config.service_cidr, config.load_balancer_range()],
        table: config.nft_table(),
        directory: leases(layout),
        owner: owner(layout),
    }
}

/// What is to be looked for on the host when the cluster goes; its configuration may be lost.
pub fn traces(host_name: &str, layout: &Layout, config: Option<&ClusterConfig>) -> Traces {
    match config {
        Some(config) => network(config, layout).traces(),
        None => Traces {
            bridge: None,
            table: config::nft_table(host_name),
            directory: leases(layout),
            owner: owner(layout),
        },
    }
}

fn leases(layout: &Layout) -> PathBuf {
    layout.run.join("network")
}

/// Tells people, and clusters of other homes, whose a link is. The kernel keeps some 250 bytes beside it.
fn owner(layout: &Layout) -> String {
    const LENGTH_MAX: usize = 160;
    let path = layout.state.to_string_lossy();
    let skipped = path.len().saturating_sub(LENGTH_MAX);
    let start = (skipped..=path.len()).find(|&at| path.is_char_boundary(at));
    path[start.unwrap_or_default()..].to_owned()
}

/// The registry with the objects that every cluster begins with.
pub async fn registry(
    config: &ClusterConfig,
    store: &Store,
    pki: &Pki,
    directory: &Arc<Directory>,
) -> Result<Arc<Registry>> {
    let registry = Registry::new(RegistryConfig {
        nodes: Arc::<Directory>::clone(directory),
        store: store.clone(),
        token_key: Arc::clone(pki.token_key()),
        issuer: issuer(config),
        service_cidr: config.service_cidr,
        resolve: crate::runtime::resolve::lookup,
    });
    let node = config.nodes.first().context("a cluster has a node")?;
    let facts = Facts {
        service_cidr: config.service_cidr,
        service_address: config.api_service_ip(),
        address: node.address(),
        port: config.api_port,
        ca: pki.ca_pem().to_owned(),
        provisioner: PROVISIONER.to_owned(),
        now: time::format(clock::now()),
    };
    bootstrap(&registry, &facts)
        .await
        .context("make the first objects")?;
    Ok(registry)
}

fn issuer(config: &ClusterConfig) -> String {
    format!("https://kubernetes.default.svc.{}", config.cluster_domain)
}

pub fn server(config: &ClusterConfig, pki: &Pki, registry: &Arc<Registry>) -> Result<Server> {
    let node = config.nodes.first().context("a cluster has a node")?;
    Ok(Server::new(ServerConfig {
        registry: Arc::clone(registry),
        tls: pki::tls::server(pki.server(), pki.ca_pem())?,
        address: format!("{}:{}", node.address(), config.api_port),
        issuer: issuer(config),
        token_keys: vec![pki.token_key().jwk()],
    }))
}

/// Resolves when the default ServiceAccount exists, every node is ready and DNS answers.
pub async fn until_usable(config: &ClusterConfig, informers: &Informers, dns: Dns) -> Result<()> {
    let accounts = informers.cache::<ServiceAccount>();
    let nodes = informers.cache::<Node>();
    let account = Key::new("default", "default");
    let waiting = async {
        accounts.until(|all| all.get(&account).is_some()).await;
        let names: Vec<Key> = config
            .nodes
            .iter()
            .filter(|node| !node.stopped)
            .map(|node| Key::new("", &node.name))
            .collect();
        nodes
            .until(|all| {
                names
                    .iter()
                    .all(|name| all.get(name).is_some_and(|node| is_ready(node)))
            })
            .await;
        answers(dns).await
    };
    let waited = tokio::time::timeout(USABLE_PATIENCE, waiting).await;
    waited.with_context(|| format!("the cluster was not usable after {USABLE_PATIENCE:?}"))?
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Waits until our DNS knows the cluster's names, and asks it something. Not for a name: what it answers to those is
/// people's to say, by their Corefile.
async fn answers(dns: Dns) -> Result<()> {
    use hickory_proto::op::{Message, MessageType, OpCode};
    const PATIENCE: Duration = Duration::from_millis(200);
    dns.is_complete.await.context("fill DNS")?;
    let dns = dns.address;
    let query = Message::new(1, MessageType::Query, OpCode::Status).to_vec()?;
    let socket = tokio::net::UdpSocket::bind((dns.ip(), 0))
        .await
        .context("ask DNS")?;
    socket.connect(dns).await.context("ask DNS")?;
    let mut buffer = [0u8; 512];
    loop {
        socket.send(&query).await.context("ask DNS")?;
        // Lost when nobody listened yet.
        if let Ok(received) = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await {
            received.context("ask DNS")?;
            return Ok(());
        }
    }
}
