//! Links, addresses and routes: one bridge per cluster, one veth pair per pod.
//!
//! A pod's address is a /32 with an on-link gateway, and its port on the bridge may send back to where a packet came
//! from: that works with br_netfilter on, off or absent. Every function may be repeated. The functions are to be
//! called within [`run`], which decides whose links they see.

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::{
    address::AddressAttribute,
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage, State},
    route::{RouteAttribute, RouteMessage, RouteScope},
};
use nix::sched::{CloneFlags, setns};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec, RouteMessageBuilder};
use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd,
    path::Path,
    pin::pin,
    thread,
    time::Duration,
};
use tokio::time::Instant;

const LOOPBACK: u32 = 1;
const POD_LINK: &str = "eth0";
/// For hosts whose way out says nothing else.
const MTU_DEFAULT: u32 = 1500;

const UP_TIMEOUT: Duration = Duration::from_secs(3);
const UP_INTERVAL: Duration = Duration::from_millis(2);

/// Runs work with a connection to the kernel: in the caller's network namespace, or in another. The thread made for
/// it enters that namespace, does this and ends. Blocking.
pub fn run<T: Send>(
    netns: Option<&Path>,
    work: impl AsyncFnOnce(&Handle) -> io::Result<T> + Send,
) -> io::Result<T> {
    let inside = move || {
        if let Some(netns) = netns {
            setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            // The connection moves the messages and ends with the work.
            tokio::select! {
                done = work(&handle) => done,
                () = pin!(connection) => Err(io::ErrorKind::ConnectionAborted.into()),
            }
        })
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netlink".to_owned());
        let ended = thread.spawn_scoped(scope, inside)?.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the netlink thread has panicked")))
    })
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub alias: String,
    pub mtu: u32,
    /// Packets pass.
    pub is_up: bool,
}

pub async fn list(handle: &Handle) -> io::Result<Vec<Link>> {
    let links = handle.link().get().execute();
    let links: Vec<LinkMessage> = links.try_collect().await.map_err(reason)?;
    Ok(links.iter().map(link).collect())
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias.clone_from(alias),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::OperState(state) => link.is_up = *state == State::Up,
            _ => {}
        }
    }
    link
}

pub async fn named(handle: &Handle, name: &str) -> io::Result<Option<Link>> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    match found.try_next().await.map_err(reason) {
        Ok(found) => Ok(found.as_ref().map(link)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`named`], where there must be one.
async fn index(handle: &Handle, name: &str) -> io::Result<u32> {
    let found = named(handle, name).await?;
    Ok(found.ok_or(io::ErrorKind::NotFound)?.index)
}

/// `address` is any of the cluster. A bridge without a hardware address of its own takes one of its ports' and changes
/// it when that port goes; pods would send to the old one until their neighbor entries expire.
pub async fn add_bridge(
    handle: &Handle,
    name: &str,
    address: Ipv4Addr,
    mtu: u32,
) -> io::Result<()> {
    let message = LinkBridge::new(name).address(hardware_address(address));
    let message = message.mtu(mtu).up().build();
    handle.link().add(message).execute().await.map_err(reason)
}

/// A link does not take its alias at birth.
pub async fn set_alias(handle: &Handle, link: u32, alias: &str) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(link).alias(alias).build();
    handle.link().set(message).execute().await.map_err(reason)
}

/// The node's gateways on the bridge, and the ways to Services: without them a host with no default route has nowhere
/// to send a packet to a ClusterIP, and there would be nothing to translate.
pub async fn equip_bridge(
    handle: &Handle,
    bridge: u32,
    gateways: &[(Ipv4Addr, u8)],
    services: &[Ipv4Net],
) -> io::Result<()> {
    set_up(handle, bridge).await?;
    for (address, prefix) in gateways {
        add_address(handle, bridge, *address, *prefix).await?;
    }
    for range in services {
        let mut route = on_link(*range, bridge);
        if let Some((source, _)) = gateways.first() {
            route = route.pref_source(*source);
        }
        add_route(handle, route.build()).await?;
    }
    Ok(())
}

/// What a pair is made from.
pub struct Pair<'a> {
    pub bridge: u32,
    /// Of the outer end.
    pub name: &'a str,
    pub netns: &'a Path,
    pub address: Ipv4Addr,
    pub mtu: u32,
}

/// Makes the pair with its inner end right in the pod's namespace, the outer one up and on the bridge.
pub async fn add_pair(handle: &Handle, pair: &Pair<'_>) -> io::Result<()> {
    let netns = File::open(pair.netns)?;
    // The inner end is not up yet: it has no other end until this message is done.
    let mut inner = LinkMessage::default();
    inner.attributes = vec![
        LinkAttribute::IfName(POD_LINK.to_owned()),
        LinkAttribute::Mtu(pair.mtu),
        LinkAttribute::Address(hardware_address(pair.address)),
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
    ];
    let outer = LinkUnspec::new_with_name(pair.name).controller(pair.bridge);
    let mut outer = outer.mtu(pair.mtu).up().build();
    outer.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inner))),
    ]));
    handle.link().add(outer).execute().await.map_err(reason)
}

/// Lets a port send a frame back where it came from: a pod that reaches itself through a Service. Ports are not isolated
/// from each other: with br_netfilter a packet for a Service goes straight from port to port once it is translated.
pub async fn set_hairpin(handle: &Handle, name: &str) -> io::Result<()> {
    let port = index(handle, name).await?;
    let message = LinkBridgePort::new(port).hairpin(true).build();
    let request = handle.link().set_port(message);
    request.execute().await.map_err(reason)
}

/// Inside the pod: loopback, address, the gateway on the link and everything else through it.
pub async fn equip_pod(handle: &Handle, address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    let pod = index(handle, POD_LINK).await?;
    set_up(handle, LOOPBACK).await?;
    set_up(handle, pod).await?;
    add_address(handle, pod, address, 32).await?;
    let to_gateway = on_link(Ipv4Net::from(gateway), pod);
    add_route(handle, to_gateway.build()).await?;
    let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway);
    add_route(handle, default.output_interface(pod).build()).await
}

/// Until packets pass through these links. The kernel notices a carrier in work of its own, which may lag behind by a
/// second; a port forwards, and a bridge sends, only then. Since Linux 6.8 asking for a link does that work at once.
pub async fn await_up(handle: &Handle, names: &[&str]) -> io::Result<()> {
    let deadline = Instant::now() + UP_TIMEOUT;
    for name in names {
        while !named(handle, name).await?.is_some_and(|link| link.is_up) {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::time::sleep(UP_INTERVAL).await;
        }
    }
    Ok(())
}

/// Whether the pod's namespace has its link already.
pub async fn has_pod_link(handle: &Handle) -> io::Result<bool> {
    Ok(named(handle, POD_LINK).await?.is_some())
}

/// Succeeds when it is gone already.
pub async fn delete(handle: &Handle, name: &str) -> io::Result<()> {
    let Some(link) = named(handle, name).await? else {
        return Ok(());
    };
    match handle
        .link()
        .del(link.index)
        .execute()
        .await
        .map_err(reason)
    {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        answer => answer,
    }
}

/// Of the link that leads out of this host.
pub async fn way_out_mtu(handle: &Handle) -> io::Result<u32> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes = handle.route().get(all).execute();
    let routes: Vec<RouteMessage> = routes.try_collect().await.map_err(reason)?;
    let out = routes.iter().find_map(|route| {
        let attributes = &route.attributes;
        let has_gateway = attributes
            .iter()
            .any(|one| matches!(one, RouteAttribute::Gateway(_)));
        let is_default = route.header.destination_prefix_length == 0 && has_gateway;
        attributes.iter().find_map(|one| match one {
            RouteAttribute::Oif(link) if is_default => Some(*link),
            _ => None,
        })
    });
    let links = list(handle).await?;
    let out = links.iter().find(|link| Some(link.index) == out);
    Ok(out.map_or(MTU_DEFAULT, |link| link.mtu.clamp(576, 9000)))
}

/// The same for the same address: neighbors that remember the last pod with it need not learn anew.
fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    [&[0x0a, 0x58], &address.octets()[..]].concat()
}

async fn set_up(handle: &Handle, link: u32) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(link).up().build();
    handle.link().set(message).execute().await.map_err(reason)
}

async fn add_address(handle: &Handle, link: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut request = handle.address().add(link, IpAddr::V4(address), prefix);
    // The broadcast address of a /32 would be the address itself.
    let attributes = &mut request.message_mut().attributes;
    attributes.retain(|one| !matches!(one, AddressAttribute::Broadcast(_)));
    request.replace().execute().await.map_err(reason)
}

fn on_link(to: Ipv4Net, link: u32) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .output_interface(link)
        .scope(RouteScope::Link)
}

async fn add_route(handle: &Handle, route: RouteMessage) -> io::Result<()> {
    let request = handle.route().add(route).replace();
    request.execute().await.map_err(reason)
}

/// The kernel's own error where there is one: callers look at its number.
fn reason(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(answer) => answer.to_io(),
        other => io::Error::other(other),
    }
}
