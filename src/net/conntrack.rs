//! Forgets connections, so that UDP flows follow the rules of now.
//!
//! TCP connections to a backend that is gone end by themselves; a UDP client that keeps its socket would send to the
//! old address for ever. The kernel filters (Linux 5.8 and later); nothing is listed here.

use super::{
    netlink::{self, ACK, Socket, Writer},
    rules::{Backend, Frontend},
};
use std::io;

const DELETE: u16 = 1 << 8 | 2;
const FAMILY_IP: u8 = 2;

const SOURCE_ADDRESS: u32 = 1;
const DESTINATION_ADDRESS: u32 = 1 << 1;
const PROTOCOL: u32 = 1 << 3;
const SOURCE_PORT: u32 = 1 << 4;
const DESTINATION_PORT: u32 = 1 << 5;

/// Forgets every flow to the frontend, or only those that go to one backend.
pub fn forget(frontend: &Frontend, backend: Option<&Backend>) -> io::Result<()> {
    let mut flags = (PROTOCOL | DESTINATION_PORT, 0);
    let mut writer = Writer::default();
    writer.message(DELETE, ACK, &[FAMILY_IP, 0, 0, 0], |writer| {
        let protocol = frontend.protocol.number();
        writer.nest(1, |writer| {
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
            writer.nest(2, |writer| {
                writer.nest(1, |writer| writer.attr(1, &backend.address.octets()));
                writer.nest(2, |writer| {
                    writer.attr(1, &[protocol]);
                    writer.attr(2, &backend.port.to_be_bytes());
                });
            });
        }
        writer.nest(25, |writer| {
            writer.attr(1, &flags.0.to_ne_bytes());
            writer.attr(2, &flags.1.to_ne_bytes());
        });
    });
    match Socket::open(netlink::NETFILTER)?.request(&writer) {
        // Nothing was tracked yet, or the kernel tracks nothing at all.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}
