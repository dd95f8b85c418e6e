//! A running cluster: its components in start order, and their end in the reverse.
//!
//! Independent steps of a start run side by side; each line of progress tells what had to be waited for.

use super::{
    addon::Addons,
    bootstrap::{self, Addresses},
    kubeconfig,
    nodes::Nodes,
    parts::{self, Directory, InProcess},
    progress::{Line, Progress},
};
use crate::{
    api::call::User,
    apiserver::{Server, registry::document},
    client::{Cache, Client, Informers},
    config::{ClusterConfig, Layout, NodeConfig, find_addon},
    controllers::{self, ControllerContext, Settings, inventory::Inventory},
    dashboard::Dashboard,
    dns::{self, Dns, DnsConfig},
    ingress::{self, IngressContext},
    net::{linux::LinuxNetwork, rules::Detours},
    pki::Pki,
    proxy,
    runtime::{
        image::{Images, Options as ImageOptions, Proxies},
        linux::LinuxRuntime,
    },
    scheduler,
    store::Store,
    task::Tasks,
};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Mutex, oneshot, watch},
};
use tracing::info;

/// Pods get their own grace periods; whoever is not gone then is killed.
const STOP_PODS_DEADLINE: Duration = Duration::from_secs(50);
const COMPONENTS_DEADLINE: Duration = Duration::from_secs(5);

pub struct Cluster {
    pub runtime: Arc<LinuxRuntime>,
    pub images: Images,
    pub addons: Addons,
    pub dashboard: Dashboard,
    pub nodes: Nodes,
    pub pods: Cache<Pod>,
    pub layout: Layout,
    /// Listeners and everything that acts.
    tasks: Tasks,
    store: Store,
}

/// What stands on its own, before anything talks to anything.
struct Ground {
    pki: Arc<Pki>,
    store: Store,
    network: LinuxNetwork,
    images: Images,
}

impl Cluster {
    /// Starts every component and returns when API, RBAC, default ServiceAccount, nodes and DNS all answer.
    pub async fn start(
        config: &ClusterConfig,
        layout: &Layout,
        progress: &Progress,
    ) -> Result<Arc<Cluster>> {
        let tasks = Tasks::new();
        let ground = Ground::lay(config, layout, progress).await?;
        let directory = Arc::new(Directory::default());
        let registry = parts::registry(config, &ground.store, &ground.pki, &directory).await?;
        let server = parts::server(config, &ground.pki, &registry)?;
        let client = Client::new(
            Arc::new(InProcess(server.clone())),
            masters("system:apiserver"),
        );
        let node_ip = config
            .nodes
            .first()
            .context("a cluster has a node")?
            .address();
        let informers = Informers::new(
            client.acting_as(masters("system:kubik:informers")),
            tasks.clone(),
        );
        let dns = foundations(config, node_ip, &client, &informers, &tasks).await?;
        progress.step("roles, namespaces and other first objects");

        listen(&server, config, &tasks).await?;
        write_kubeconfig(config, layout, &ground.pki)?;
        progress.step(&format!(
            "API server on https://127.0.0.1:{}",
            config.api_port
        ));

        let rules_stand = act(config, layout, &ground, &client, &informers, &tasks);
        let runtime = Arc::new(LinuxRuntime::new(
            layout,
            ground.images.clone(),
            tasks.clone(),
        ));
        // Before any pod gets its network: no connection slips past a policy after a restart.
        rules_stand.await.context("install packet rules")?;
        let nodes = Nodes {
            config: config.clone(),
            layout: layout.clone(),
            client: client.clone(),
            informers: informers.clone(),
            runtime: Arc::clone(&runtime),
            network: ground.network.clone(),
            directory,
            running: Mutex::default(),
        };
        nodes.start_all().await?;
        let addons = Addons::new(config, layout, &client, &ground.images);
        let (usable, notes) = tokio::join!(
            parts::until_usable(config, &informers, dns),
            addons.start(config)
        );
        usable?;
        progress.step("default service account, nodes and DNS answer");
        for message in notes {
            progress.send(&Line::Note { message });
        }
        server.ready();
        let admin = User::component("kubernetes-admin", &["system:masters"]);
        let handler = server.handler(admin, tasks.clone());
        let memory = layout.dashboard();
        let dashboard = Dashboard::new(&config.profile, handler, tasks.clone(), memory);
        dashboard.resume().await;
        info!(profile = %config.profile, "cluster is ready");
        Ok(Arc::new(Cluster {
            runtime,
            images: ground.images,
            addons,
            dashboard,
            nodes,
            pods: informers.cache(),
            layout: layout.clone(),
            tasks,
            store: ground.store,
        }))
    }

    /// Ends all pods gracefully; their objects stay for the next start.
    pub async fn stop_pods(&self) {
        self.let_all_go().await;
        self.nodes.stop_pods(STOP_PODS_DEADLINE).await;
    }

    /// Ends the components, the store last. Pods that run go on.
    pub async fn stop(&self) {
        self.addons.stop().await;
        self.nodes.shutdown(COMPONENTS_DEADLINE).await;
        self.tasks.shutdown(COMPONENTS_DEADLINE).await;
        self.store.close().await;
        info!("stopped");
    }
}

impl Ground {
    /// Keys, store, links and images do not need each other: they are made side by side.
    async fn lay(config: &ClusterConfig, layout: &Layout, progress: &Progress) -> Result<Ground> {
        let keys = {
            let (config, layout) = (config.clone(), layout.clone());
            blocking(move || parts::keys(&config, &layout))
        };
        let store = {
            let path = (!config.ephemeral).then(|| layout.store());
            blocking(move || {
                let options = crate::store::Options {
                    path,
                    annotate: document::annotate,
                    ..crate::store::Options::default()
                };
                Store::open(options).context("open the store")
            })
        };
        let network = {
            let config = parts::network(config, layout);
            blocking(move || LinuxNetwork::open(config).context("set up the network"))
        };
        let images = {
            let folder = layout.images();
            let options = ImageOptions {
                mirrors: config.registry_mirrors.clone(),
                insecure: config.insecure_registries.clone(),
                authorities: config.registry_authorities.clone(),
                proxies: Proxies::read(|name| std::env::var(name).ok()),
            };
            blocking(move || Images::open(&folder, options))
        };
        let (pki, store, network, images) = tokio::try_join!(keys, store, network, images)?;
        progress.step("keys, store, network, images");
        Ok(Ground {
            pki: Arc::new(pki),
            store,
            network,
            images,
        })
    }
}

/// DNS listens, then the first objects are made: they name its port.
async fn foundations(
    config: &ClusterConfig,
    node_ip: Ipv4Addr,
    client: &Client,
    informers: &Informers,
    tasks: &Tasks,
) -> Result<Dns> {
    let settings = DnsConfig {
        domain: config.cluster_domain.clone(),
        service_ip: config.dns_service_ip(),
        listen: node_ip,
    };
    let own = client.acting_as(masters("system:kubik:dns"));
    let dns = dns::start(&settings, &own, informers, tasks)
        .await
        .context("start DNS")?;
    let addresses = Addresses {
        dns_service_ip: config.dns_service_ip(),
        dns_port: dns.address.port(),
        node_ip,
    };
    let has_ingress = find_addon("ingress").is_some_and(|addon| config.is_enabled(addon));
    bootstrap::objects(client, &addresses, has_ingress).await?;
    Ok(dns)
}

/// Controllers, scheduler, service and ingress proxy: all of them clients of the API. Resolves when packet rules stand.
fn act(
    config: &ClusterConfig,
    layout: &Layout,
    ground: &Ground,
    client: &Client,
    informers: &Informers,
    tasks: &Tasks,
) -> oneshot::Receiver<()> {
    controllers::start(&ControllerContext {
        inventory: Inventory::start(client, tasks),
        client: client.clone(),
        informers: informers.clone(),
        tasks: tasks.clone(),
        settings: Arc::new(Settings {
            root_ca: ground.pki.ca_pem().to_owned(),
            volumes: layout.volumes(),
            keys: Some(Arc::clone(&ground.pki)),
            load_balancers: Some(config.load_balancer_range()),
        }),
    });
    scheduler::start(
        &client.acting_as(User::component("system:kube-scheduler", &[])),
        informers,
        tasks,
    );
    let detours = watch::Sender::default();
    let known = detours.subscribe();
    route(config, ground, client, informers, detours, tasks);
    proxy::start(informers, Arc::new(ground.network.clone()), known, tasks)
}

/// The ingress proxy; idle until there is an Ingress.
fn route(
    config: &ClusterConfig,
    ground: &Ground,
    client: &Client,
    informers: &Informers,
    detours: watch::Sender<Detours>,
    tasks: &Tasks,
) {
    ingress::start(IngressContext {
        config: config.ingress.clone(),
        nodes: config.nodes.iter().map(NodeConfig::address).collect(),
        client: client.acting_as(User::component("system:kubik:ingress", &[])),
        informers: informers.clone(),
        pki: Arc::clone(&ground.pki),
        resolve: crate::runtime::resolve::lookup,
        detours,
        tasks: tasks.clone(),
    });
}

/// A component of ours with all rights: the roles of upstream's components do not cover every shortcut we take yet.
fn masters(name: &str) -> User {
    User::component(name, &["system:masters"])
}

/// On loopback for people, on the first node's address for pods.
async fn listen(server: &Server, config: &ClusterConfig, tasks: &Tasks) -> Result<()> {
    let node = config.nodes.first().map(|node| node.address());
    for address in [Some(Ipv4Addr::LOCALHOST), node].into_iter().flatten() {
        let place = (address, config.api_port);
        let listener = TcpListener::bind(place)
            .await
            .with_context(|| format!("listen on {address}:{}", config.api_port))?;
        let (server, group) = (server.clone(), tasks.clone());
        tasks.spawn(format!("listen {address}"), async move {
            server.serve(listener, group).await;
        });
    }
    Ok(())
}

fn write_kubeconfig(config: &ClusterConfig, layout: &Layout, pki: &Pki) -> Result<()> {
    let server = format!("https://127.0.0.1:{}", config.api_port);
    let admin = pki.admin();
    let path = layout.state.join("kubeconfig");
    kubeconfig::write(
        &path,
        &config.profile,
        &server,
        pki.ca_pem(),
        &admin.certificate,
        &admin.key,
    )
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    Tasks::blocking(work)
        .await
        .context("a step of the start panicked")?
}
