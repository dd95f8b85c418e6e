//! Links, addresses and routes: one bridge per cluster, one veth pair per pod.
//!
//! A pod's address is a /32 with an on-link gateway, and its port on the bridge may send back to where a packet came
//! from: that works with br_netfilter on, off or absent. Every function may be repeated.

use super::netlink::{
    self, ACK, CREATE, DUMP, EXCL, REPLACE, Socket, Writer, attribute, attributes,
};
use ipnet::Ipv4Net;
use std::{fs::File, io, net::Ipv4Addr, os::fd::AsRawFd, path::Path};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const FAMILY_IP: u8 = 2;
const FAMILY_BRIDGE: u8 = 7;
const UP: u32 = 1;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;

const LOOPBACK: u32 = 1;
const POD_LINK: &str = "eth0";
/// For hosts whose way out says nothing else.
const MTU_DEFAULT: u32 = 1500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub alias: String,
    pub master: Option<u32>,
    pub mtu: u32,
}

/// Every link of the socket's namespace.
pub fn list(socket: &Socket) -> io::Result<Vec<Link>> {
    let mut writer = Writer::default();
    writer.message(GET_LINK, DUMP, &header(0, 0, 0), |_| ());
    let answers = socket.query(&writer, true)?;
    Ok(answers.iter().filter_map(|(_, body)| parse(body)).collect())
}

fn parse(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: number(body.get(4..8)?)?,
        name: String::new(),
        alias: String::new(),
        master: None,
        mtu: 0,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = netlink::text(value),
            IFLA_IFALIAS => link.alias = netlink::text(value),
            IFLA_MASTER => link.master = number(value),
            IFLA_MTU => link.mtu = number(value)?,
            _ => (),
        }
    }
    Some(link)
}

pub fn named<'a>(links: &'a [Link], name: &str) -> Option<&'a Link> {
    links.iter().find(|link| link.name == name)
}

pub fn add_bridge(socket: &Socket, name: &str, mtu: u32) -> io::Result<()> {
    let mut writer = Writer::default();
    writer.message(NEW_LINK, ACK | CREATE | EXCL, &header(0, 0, UP), |writer| {
        writer.text(IFLA_IFNAME, name);
        writer.attr(IFLA_MTU, &mtu.to_ne_bytes());
        writer.nest(IFLA_LINKINFO, |writer| writer.text(1, "bridge"));
    });
    socket.request(&writer)
}

/// A link does not take its alias at birth.
pub fn set_alias(socket: &Socket, link: u32, alias: &str) -> io::Result<()> {
    let mut writer = Writer::default();
    writer.message(NEW_LINK, ACK, &header(0, link, 0), |writer| {
        writer.text(IFLA_IFALIAS, alias);
    });
    socket.request(&writer)
}

/// The node's gateways on the bridge, and the way to Services: without it a host with no default route has nowhere
/// to send a packet to a ClusterIP, and there would be nothing to translate.
pub fn equip_bridge(
    socket: &Socket,
    bridge: u32,
    gateways: &[(Ipv4Addr, u8)],
    services: Ipv4Net,
) -> io::Result<()> {
    let mut writer = Writer::default();
    writer.message(NEW_LINK, ACK, &header(0, bridge, UP), |_| ());
    for (address, prefix) in gateways {
        put_address(&mut writer, bridge, *address, *prefix);
    }
    put_route(&mut writer, Some(services), bridge, |writer| {
        if let Some((source, _)) = gateways.first() {
            writer.attr(7, &source.octets());
        }
    });
    socket.exchange(&writer)?.into_iter().collect()
}

/// Makes the pair with its inner end right in the pod's namespace, the outer one up and on the bridge.
pub fn add_pair(
    socket: &Socket,
    bridge: u32,
    name: &str,
    netns: &Path,
    mtu: u32,
) -> io::Result<()> {
    let netns = File::open(netns)?;
    let mut writer = Writer::default();
    writer.message(NEW_LINK, ACK | CREATE | EXCL, &header(0, 0, UP), |writer| {
        writer.text(IFLA_IFNAME, name);
        writer.attr(IFLA_MTU, &mtu.to_ne_bytes());
        writer.attr(IFLA_MASTER, &bridge.to_ne_bytes());
        writer.nest(IFLA_LINKINFO, |writer| {
            writer.text(1, "veth");
            writer.nest(2, |writer| {
                writer.nest(1, |writer| {
                    // Not up yet: it has no other end until this message is done.
                    writer.raw(&header(0, 0, 0));
                    writer.text(IFLA_IFNAME, POD_LINK);
                    writer.attr(IFLA_MTU, &mtu.to_ne_bytes());
                    writer.attr(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
                });
            });
        });
    });
    socket.request(&writer)
}

/// Lets a port send a frame back where it came from: a pod that reaches itself through a Service.
pub fn set_hairpin(socket: &Socket, port: u32) -> io::Result<()> {
    let mut writer = Writer::default();
    let header = header(FAMILY_BRIDGE, port, 0);
    writer.message(19, ACK, &header, |writer| {
        writer.nest(IFLA_PROTINFO, |writer| writer.attr(4, &[1]));
    });
    socket.request(&writer)
}

/// Inside the pod: loopback, address, the gateway on the link and everything else through it.
pub fn equip_pod(inside: &Socket, address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    let links = list(inside)?;
    let pod = named(&links, POD_LINK)
        .ok_or(io::ErrorKind::NotFound)?
        .index;
    let mut writer = Writer::default();
    writer.message(NEW_LINK, ACK, &header(0, LOOPBACK, UP), |_| ());
    writer.message(NEW_LINK, ACK, &header(0, pod, UP), |_| ());
    put_address(&mut writer, pod, address, 32);
    put_route(&mut writer, Some(Ipv4Net::from(gateway)), pod, |_| ());
    put_route(&mut writer, None, pod, |writer| {
        writer.attr(5, &gateway.octets());
    });
    inside.exchange(&writer)?.into_iter().collect()
}

/// Whether the pod's namespace has its link already.
pub fn has_pod_link(inside: &Socket) -> io::Result<bool> {
    Ok(named(&list(inside)?, POD_LINK).is_some())
}

/// Succeeds when it is gone already.
pub fn delete(socket: &Socket, name: &str) -> io::Result<()> {
    let mut writer = Writer::default();
    writer.message(DELETE_LINK, ACK, &header(0, 0, 0), |writer| {
        writer.text(IFLA_IFNAME, name);
    });
    match socket.request(&writer) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        answer => answer,
    }
}

/// Of the link that leads out of this host.
pub fn way_out_mtu(socket: &Socket) -> io::Result<u32> {
    let mut writer = Writer::default();
    let route = [FAMILY_IP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    writer.message(GET_ROUTE, DUMP, &route, |_| ());
    let routes = socket.query(&writer, true)?;
    let default = routes.iter().find_map(|(_, body)| {
        let is_default = body.get(1) == Some(&0) && attribute(body.get(12..)?, 5).is_some();
        is_default.then(|| number(attribute(body.get(12..)?, 4)?))?
    });
    let links = list(socket)?;
    let mtu = links
        .iter()
        .find(|link| Some(link.index) == default)
        .map(|link| link.mtu);
    Ok(mtu.map_or(MTU_DEFAULT, |mtu| mtu.clamp(576, 9000)))
}

fn put_address(writer: &mut Writer, link: u32, address: Ipv4Addr, prefix: u8) {
    let [a, b, c, d] = link.to_ne_bytes();
    let header = [FAMILY_IP, prefix, 0, 0, a, b, c, d];
    writer.message(NEW_ADDRESS, ACK | CREATE | REPLACE, &header, |writer| {
        writer.attr(1, &address.octets());
        writer.attr(2, &address.octets());
    });
}

/// A route of the main table through `link`; `None` is the default route.
fn put_route(writer: &mut Writer, to: Option<Ipv4Net>, link: u32, more: impl FnOnce(&mut Writer)) {
    const MAIN: u8 = 254;
    const BOOT: u8 = 3;
    const UNIVERSE: u8 = 0;
    const ON_LINK: u8 = 253;
    const UNICAST: u8 = 1;
    let prefix = to.map_or(0, |to| to.prefix_len());
    let scope = if to.is_some() { ON_LINK } else { UNIVERSE };
    let header = [
        FAMILY_IP, prefix, 0, 0, MAIN, BOOT, scope, UNICAST, 0, 0, 0, 0,
    ];
    writer.message(NEW_ROUTE, ACK | CREATE | REPLACE, &header, |writer| {
        if let Some(to) = to {
            writer.attr(1, &to.network().octets());
        }
        writer.attr(4, &link.to_ne_bytes());
        more(writer);
    });
}

/// `flags` are both the value and the mask of what changes.
fn header(family: u8, index: u32, flags: u32) -> Vec<u8> {
    let mut bytes = vec![family, 0, 0, 0];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.try_into().ok().map(u32::from_ne_bytes)
}
