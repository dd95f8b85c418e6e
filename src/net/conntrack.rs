//! Forgets connections, so that UDP flows follow the rules of now.
//!
//! TCP connections to a backend that is gone end by themselves; a UDP client that keeps its socket would send to the
//! old address for ever. The kernel picks the flows (Linux 5.8 and later) and tells them, and each is deleted by its
//! name: only since Linux 6.8 could it delete what it picks, and before that it takes such a wish for one flow's name
//! and finds nothing.

use super::{
    netlink::{self, ACK, DUMP, Socket, Writer, attribute},
    rules::{Backend, Frontend},
};
use std::io;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// Family, version, and a resource id that nothing has.
const HEADER: [u8; 4] = [2, 0, 0, 0];

const TUPLE: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

const SOURCE_ADDRESS: u32 = 1;
const DESTINATION_ADDRESS: u32 = 1 << 1;
const PROTOCOL: u32 = 1 << 3;
const SOURCE_PORT: u32 = 1 << 4;
const DESTINATION_PORT: u32 = 1 << 5;

/// Forgets every flow to the frontend, or only those that go to one backend.
pub fn forget(frontend: &Frontend, backend: Option<&Backend>) -> io::Result<()> {
    let socket = Socket::open(netlink::NETFILTER)?;
    let flows = match socket.query(&question(frontend, backend), true) {
        // The kernel tracks nothing at all.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        flows => flows?,
    };
    for (_, flow) in flows {
        let Some(deletion) = flow.get(HEADER.len()..).and_then(deletion) else {
            continue;
        };
        match socket.request(&deletion) {
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            answer => answer?,
        }
    }
    Ok(())
}

/// Asks for these flows.
fn question(frontend: &Frontend, backend: Option<&Backend>) -> Writer {
    let mut flags = (PROTOCOL | DESTINATION_PORT, 0);
    let mut writer = Writer::default();
    writer.message(GET, DUMP, &HEADER, |writer| {
        let protocol = frontend.protocol.number();
        writer.nest(TUPLE, |writer| {
            if let Some(address) = frontend.place.address() {
                flags.0 |= DESTINATION_ADDRESS;
                writer.nest(1, |writer| writer.attr(2, &address.octets()));
            }
            writer.nest(2, |writer| {
                writer.attr(1, &[protocol]);
                writer.attr(3, &frontend.port.to_be_bytes());
            });
        });
        if let Some(backend) = backend {
            flags.1 = SOURCE_ADDRESS | PROTOCOL | SOURCE_PORT;
            writer.nest(REPLY, |writer| {
                writer.nest(1, |writer| writer.attr(1, &backend.address.octets()));
                writer.nest(2, |writer| {
                    writer.attr(1, &[protocol]);
                    writer.attr(2, &backend.port.to_be_bytes());
                });
            });
        }
        writer.nest(FILTER, |writer| {
            writer.attr(1, &flags.0.to_ne_bytes());
            writer.attr(2, &flags.1.to_ne_bytes());
        });
    });
    writer
}

/// Deletes the flow of these attributes. By its id too: another may have got its addresses and ports meanwhile.
fn deletion(flow: &[u8]) -> Option<Writer> {
    let tuple = attribute(flow, TUPLE)?;
    let mut writer = Writer::default();
    writer.message(DELETE, ACK, &HEADER, |writer| {
        writer.nest(TUPLE, |writer| writer.raw(tuple));
        for kind in [ID, ZONE] {
            if let Some(value) = attribute(flow, kind) {
                writer.attr(kind, value);
            }
        }
    });
    Some(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netlink::attributes;

    #[test]
    fn a_flow_is_deleted_by_its_whole_name() {
        let mut flow = Writer::default();
        flow.nest(TUPLE, |writer| {
            writer.nest(1, |writer| writer.attr(1, &[10, 0, 0, 1]));
            writer.nest(2, |writer| writer.attr(1, &[17]));
        });
        flow.nest(REPLY, |writer| writer.attr(1, &[1]));
        flow.be32(ID, 7);
        let written = deletion(flow.bytes()).unwrap();
        // After netlink's header and netfilter's.
        let told: Vec<(u16, &[u8])> = attributes(&written.bytes()[20..]).collect();
        let tuple = attribute(flow.bytes(), TUPLE).unwrap();
        assert_eq!(told, [(TUPLE, tuple), (ID, &[0, 0, 0, 7][..])]);
        assert!(deletion(&[]).is_none());
    }
}
