//! The pod network of one cluster on this Linux host: the real [`Network`] and [`PacketRules`].
//!
//! Owns the bridge, the leases and the nftables table of the cluster. Whatever it does can be repeated after a crash
//! half-way; [`destroy`] works from names alone. Kernel work runs on blocking threads.

use super::{
    Network, PacketRules, foreign,
    install::{self, Installed},
    lease::{Lease, Leases},
    links,
    model::{Attach, Attached, NetError},
    nft,
    rules::{Backend, Frontend, Place, RuleSet, Target, chains::Surroundings, fence::Addresses},
    sysctl,
};
use crate::task::Tasks;
use futures_util::future::BoxFuture;
use ipnet::Ipv4Net;
use std::{
    io,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};
use tracing::warn;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// At most 8 bytes: pods' links are named after it.
    pub bridge: String,
    /// All pods of the cluster.
    pub pod_cidr: Ipv4Net,
    /// One range per node. The first address of each is the gateway of its pods and stands on the bridge.
    pub node_ranges: Vec<Ipv4Net>,
    /// ClusterIPs, and addresses of load balancers: routed to the bridge, and answered by packet rules alone.
    pub service_ranges: Vec<Ipv4Net>,
    /// The nftables table in family `ip`.
    pub table: String,
    /// Leases lie here; below the run directory, because links do not survive a reboot either.
    pub directory: PathBuf,
    /// Whose the bridge is: clusters that do not know of each other may choose the same one.
    pub owner: String,
}

impl NetConfig {
    #[must_use]
    pub fn traces(&self) -> Traces {
        Traces {
            bridge: Some(self.bridge.clone()),
            table: self.table.clone(),
            directory: self.directory.clone(),
            owner: self.owner.clone(),
        }
    }
}

/// What a cluster leaves on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// `None` when its name is lost: then bridges that say they are the owner's are meant.
    pub bridge: Option<String>,
    pub table: String,
    pub directory: PathBuf,
    pub owner: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct LinuxNetwork(Arc<Inner>);

struct Inner {
    config: NetConfig,
    bridge: u32,
    mtu: u32,
    leases: Mutex<Leases>,
    rules: Mutex<Rules>,
}

/// What was asked for, and what of it the kernel has.
#[derive(Default)]
struct Rules {
    services: RuleSet,
    /// `None`: a table of an earlier daemon stands until the first rules come.
    installed: Option<Installed>,
}

impl LinuxNetwork {
    /// Makes bridge, addresses, routes and rules, or takes over those of an earlier daemon. Blocking.
    pub fn open(config: NetConfig) -> Result<LinuxNetwork, NetError> {
        let leases = Leases::open(&config.directory).map_err(|e| failed("read leases", &e))?;
        let (bridge, mtu) = ensure_bridge(&config).map_err(|e| failed("make the bridge", &e))?;
        let inner = Inner {
            config,
            bridge,
            mtu,
            leases: Mutex::new(leases),
            rules: Mutex::default(),
        };
        inner.pass_firewalls();
        inner
            .drop_stale_leases()
            .map_err(|e| failed("compare leases with links", &e))?;
        let is_adopted = nft::table_exists(&inner.config.table)
            .map_err(|e| failed("look for packet rules", &e))?;
        if !is_adopted {
            inner.install()?;
        }
        Ok(LinuxNetwork(Arc::new(inner)))
    }

    /// The address of a node that joins. Repeating it does nothing.
    pub async fn add_range(&self, range: Ipv4Net) -> Result<(), NetError> {
        self.blocking(move |inner| {
            let gateways = [(gateway(range), range.prefix_len())];
            let added = links::run(None, async |handle| {
                links::equip_bridge(handle, inner.bridge, &gateways, &[]).await
            });
            added.map_err(|e| failed(&format!("add the address of {range}"), &e))
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, NetError> + Send + 'static,
    ) -> Result<T, NetError> {
        let inner = Arc::clone(&self.0);
        let done = Tasks::blocking(move || work(&inner)).await;
        done.unwrap_or_else(|error| Err(NetError::Failed(error.to_string())))
    }
}

impl Network for LinuxNetwork {
    fn attach(&self, request: Attach) -> BoxFuture<'_, Result<Attached, NetError>> {
        Box::pin(self.blocking(move |inner| inner.attach(&request)))
    }

    fn detach<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<(), NetError>> {
        let sandbox = sandbox.to_owned();
        Box::pin(self.blocking(move |inner| inner.detach(&sandbox)))
    }

    fn attached(&self) -> BoxFuture<'_, Result<Vec<Attached>, NetError>> {
        Box::pin(self.blocking(|inner| {
            let leases = inner.leases();
            Ok(leases.iter().map(|lease| lease.attached.clone()).collect())
        }))
    }
}

impl PacketRules for LinuxNetwork {
    fn apply(&self, rules: RuleSet) -> BoxFuture<'_, Result<(), NetError>> {
        Box::pin(self.blocking(move |inner| {
            inner.rules().services = rules;
            inner.install()
        }))
    }
}

impl Inner {
    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().expect("no panic while locked")
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("no panic while locked")
    }

    fn attach(&self, request: &Attach) -> Result<Attached, NetError> {
        let lease = self.lease(request)?;
        // Before the sandbox can send or receive anything.
        if self.has_fences() {
            self.install()?;
        }
        self.connect(request, &lease.attached)
            .map_err(|e| failed(&format!("connect sandbox {}", request.sandbox), &e))?;
        self.pass_firewalls();
        if !lease.host_ports.is_empty() {
            self.update_host_ports()?;
        }
        Ok(lease.attached)
    }

    fn lease(&self, request: &Attach) -> Result<Lease, NetError> {
        let mut leases = self.leases();
        let address = match leases.get(&request.sandbox) {
            Some(lease) => lease.attached.address,
            None => leases.choose(request.range, request.address)?,
        };
        let lease = Lease {
            attached: Attached {
                sandbox: request.sandbox.clone(),
                address,
                host_link: host_link(&self.config.bridge, address),
            },
            range: request.range,
            host_ports: request.host_ports.clone(),
        };
        // On disk before the link is made: what is found later by name has an owner.
        leases
            .put(lease.clone())
            .map_err(|e| failed("write lease", &e))?;
        Ok(lease)
    }

    fn connect(&self, request: &Attach, attached: &Attached) -> io::Result<()> {
        let name = &attached.host_link;
        let netns = Some(request.netns.as_path());
        let was_there = links::run(None, async |handle| {
            Ok(links::named(handle, name).await?.is_some())
        })?;
        if !was_there || !links::run(netns, links::has_pod_link)? {
            links::run(None, async |handle| {
                // A link of this name belongs to a namespace that is going away, or to a crash half-way.
                links::delete(handle, name).await?;
                let pair = links::Pair {
                    bridge: self.bridge,
                    name,
                    netns: &request.netns,
                    address: attached.address,
                    mtu: self.mtu,
                };
                links::add_pair(handle, &pair).await
            })?;
        }
        links::run(None, async |handle| links::set_hairpin(handle, name).await)?;
        links::run(netns, async |handle| {
            links::equip_pod(handle, attached.address, gateway(request.range)).await
        })?;
        links::run(None, async |handle| {
            // The port first: its carrier is what gives the bridge one.
            links::await_up(handle, &[name, &self.config.bridge]).await
        })
    }

    fn detach(&self, sandbox: &str) -> Result<(), NetError> {
        let Some(lease) = self.leases().get(sandbox).cloned() else {
            return Ok(());
        };
        let link = &lease.attached.host_link;
        let deleted = links::run(None, async |handle| links::delete(handle, link).await);
        deleted.map_err(|e| failed(&format!("delete link of sandbox {sandbox}"), &e))?;
        // The address is free only when nothing answers for it any more.
        self.leases()
            .remove(sandbox)
            .map_err(|e| failed("remove lease", &e))?;
        // Fences keep an address that is nobody's until the next change: whoever gets it is fenced anew first.
        if !lease.host_ports.is_empty() {
            self.update_host_ports()?;
        }
        Ok(())
    }

    fn has_fences(&self) -> bool {
        self.rules().services.fences.is_some()
    }

    /// Firewalls may come after us: this is repeated with every pod. Without it packets are dropped, which is for
    /// people to solve, and no reason to have no pods.
    fn pass_firewalls(&self) {
        if let Err(error) = foreign::ensure(&self.config.bridge) {
            warn!(%error, "let pods through the host's firewall");
        }
    }

    /// Links die with the host or with the pod's namespace; their leases must not hold addresses for ever.
    fn drop_stale_leases(&self) -> io::Result<()> {
        let links = links::run(None, links::list)?;
        let mut leases = self.leases();
        let is_there = |name: &str| links.iter().any(|link| link.name == name);
        let stale: Vec<String> = leases
            .iter()
            .filter(|lease| !is_there(&lease.attached.host_link))
            .map(|lease| lease.attached.sandbox.clone())
            .collect();
        stale.iter().try_for_each(|sandbox| leases.remove(sandbox))
    }

    /// Rules of an earlier daemon are left alone until the first rules for Services come, which bring these along.
    fn update_host_ports(&self) -> Result<(), NetError> {
        if self.rules().installed.is_none() {
            return Ok(());
        }
        self.install()
    }

    fn install(&self) -> Result<(), NetError> {
        let mut rules = self.rules();
        let mut wanted = rules.services.clone();
        for (frontend, target) in host_ports(self.leases().iter()) {
            wanted.frontends.entry(frontend).or_insert(target);
        }
        let around = Surroundings {
            bridge: &self.config.bridge,
            pod_range: self.config.pod_cidr,
            service_ranges: &self.config.service_ranges,
        };
        let addresses: Addresses = self
            .leases()
            .iter()
            .map(|lease| {
                (
                    lease.attached.sandbox.as_str().into(),
                    lease.attached.address,
                )
            })
            .collect();
        let before = rules.installed.take();
        let table = &self.config.table;
        let installed = install::install(table, &around, wanted, &addresses, before);
        rules.installed = Some(installed.map_err(|e| failed("install packet rules", &e))?);
        Ok(())
    }
}

/// Removes everything that bears the cluster's names: links, rules, leases; and puts the sysctls back. A bridge of
/// another owner is left alone. Goes on past failures and reports the first. Blocking.
pub fn destroy(traces: &Traces) -> Result<(), NetError> {
    let bridges = bridges(traces).map_err(|e| failed("look for links", &e));
    let mut outcomes =
        vec![nft::delete_table(&traces.table).map_err(|e| failed("delete packet rules", &e))];
    for bridge in bridges.as_ref().into_iter().flatten() {
        outcomes.push(foreign::remove(bridge).map_err(|e| failed("leave the host's firewall", &e)));
        outcomes.push(delete_links(bridge).map_err(|e| failed("delete links", &e)));
    }
    outcomes.push(bridges.map(drop));
    outcomes.push(match std::fs::remove_dir_all(&traces.directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove leases", &error))
        }
        _ => Ok(()),
    });
    outcomes.into_iter().collect()
}

/// The bridges to delete. A name that is known counts also when its link is gone: others are named after it.
fn bridges(traces: &Traces) -> io::Result<Vec<String>> {
    let links = links::run(None, links::list)?;
    let owner = |name: &str| {
        let link = links.iter().find(|link| link.name == name);
        link.and_then(|link| sysctl::owner(&link.alias))
    };
    Ok(match &traces.bridge {
        Some(name) if owner(name).is_none_or(|owner| owner == traces.owner) => vec![name.clone()],
        Some(_) => Vec::new(),
        None => links
            .iter()
            .filter(|link| sysctl::owner(&link.alias) == Some(&traces.owner))
            .map(|link| link.name.clone())
            .collect(),
    })
}

fn delete_links(bridge: &str) -> io::Result<()> {
    let _alone = sysctl::lock()?;
    links::run(None, async |handle| {
        let links = links::list(handle).await?;
        let prefix = format!("{bridge}-");
        let mut outcome = Ok(());
        for link in links.iter().filter(|link| link.name.starts_with(&prefix)) {
            outcome = outcome.and(links::delete(handle, &link.name).await);
        }
        if let Some(bridge) = links.iter().find(|link| link.name == bridge) {
            let others = links.iter().filter(|link| link.index != bridge.index);
            let restored = sysctl::restore(&bridge.alias, others.map(|link| link.alias.as_str()));
            outcome = outcome.and(restored);
            outcome = outcome.and(links::delete(handle, &bridge.name).await);
        }
        outcome
    })
}

/// Answers the bridge's index and MTU.
fn ensure_bridge(config: &NetConfig) -> io::Result<(u32, u32)> {
    let _alone = sysctl::lock()?;
    links::run(None, async |handle| {
        if links::named(handle, &config.bridge).await?.is_none() {
            let mtu = links::way_out_mtu(handle).await?;
            let address = config.pod_cidr.network();
            links::add_bridge(handle, &config.bridge, address, mtu).await?;
        }
        let all = links::list(handle).await?;
        let bridge = all.iter().find(|link| link.name == config.bridge);
        let bridge = bridge.ok_or(io::ErrorKind::NotFound)?;
        let owner = sysctl::owner(&bridge.alias);
        if let Some(other) = owner.filter(|owner| *owner != config.owner) {
            let why = format!(
                "{} and its addresses belong to the cluster in {other}, of another KUBIK_HOME; one of the two must be deleted",
                config.bridge
            );
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        if owner.is_none() {
            let aliases = all.iter().map(|link| link.alias.as_str());
            let alias = sysctl::alias(aliases, &config.owner);
            links::set_alias(handle, bridge.index, &alias).await?;
        }
        sysctl::set(&config.bridge)?;
        let ranges = config.node_ranges.iter();
        let gateways: Vec<(Ipv4Addr, u8)> = ranges
            .map(|range| (gateway(*range), range.prefix_len()))
            .collect();
        links::equip_bridge(handle, bridge.index, &gateways, &config.service_ranges).await?;
        Ok((bridge.index, bridge.mtu))
    })
}

/// The node's own address and the host's others. Of two nodes that want the same port of the host, the one with the
/// lower address has the host's other addresses.
fn host_ports<'a>(
    leases: impl Iterator<Item = &'a Lease>,
) -> impl Iterator<Item = (Frontend, Target)> {
    let mut leases: Vec<&Lease> = leases.collect();
    leases.sort_by_key(|lease| lease.range);
    let mut found = std::collections::BTreeMap::new();
    for lease in leases {
        for port in &lease.host_ports {
            let any = port.host_ip.is_none_or(|ip| ip.is_unspecified());
            let places = match port.host_ip {
                Some(ip) if !any => vec![Place::Address(ip)],
                _ => vec![Place::Address(gateway(lease.range)), Place::Host],
            };
            for place in places {
                let frontend = Frontend {
                    place,
                    protocol: port.protocol,
                    port: port.host_port,
                };
                found.entry(frontend).or_insert_with(|| Target::Backends {
                    backends: [Backend {
                        address: lease.attached.address,
                        port: port.container_port,
                    }]
                    .into(),
                    affinity: None,
                });
            }
        }
    }
    found.into_iter()
}

fn gateway(range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()) + 1)
}

/// Unique while the lease is, and at most 15 bytes: `kubik0-f40002`.
fn host_link(bridge: &str, address: Ipv4Addr) -> String {
    let [_, b, c, d] = address.octets();
    format!("{bridge}-{b:02x}{c:02x}{d:02x}")
}

fn failed(what: &str, error: &io::Error) -> NetError {
    NetError::Failed(format!("{what}: {error}"))
}
