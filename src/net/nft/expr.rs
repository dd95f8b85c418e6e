//! Expressions of rules, and how they go over the wire.

use super::{FAMILY_IP, VERDICT_REG, Verdict};
use crate::net::netlink::Writer;

/// What conntrack knows of a packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuple {
    /// Address of who began it.
    Client,
    /// Address that answers, behind all translations.
    Server,
    Protocol,
    ServerPort,
}

#[derive(Clone, Debug)]
pub enum Expr {
    SourceAddress(u32),
    DestinationAddress(u32),
    /// The first byte of the destination address: enough for 127.0.0.0/8.
    DestinationFirstByte(u32),
    DestinationPort(u32),
    IcmpType(u32),
    L4Protocol(u32),
    InputLink(u32),
    OutputLink(u32),
    /// `RTN_LOCAL` and its like for the destination address.
    DestinationKind(u32),
    ConnectionState(u32),
    /// Something that conntrack knows of the packet's connection.
    Connection(u32, Tuple),
    Random {
        modulus: u32,
        register: u32,
    },
    And {
        register: u32,
        mask: [u8; 4],
    },
    Equal(u32, Vec<u8>),
    NotEqual(u32, Vec<u8>),
    /// This and [`Expr::Lacks`] go on only if the key is, or is not, there.
    Contains {
        set: String,
        key: u32,
    },
    Lacks {
        set: String,
        key: u32,
    },
    /// Replaces the key by its value.
    Map {
        set: String,
        key: u32,
    },
    VerdictMap {
        set: String,
        key: u32,
    },
    /// Adds the key or renews its time.
    Remember {
        set: String,
        key: u32,
        timeout_seconds: u32,
    },
    /// Address and port stand in neighboring registers.
    Dnat(u32),
    Masquerade,
    Counter,
    /// ICMP port unreachable. The kernel sends few of them to one address in a second.
    Reject,
    /// For TCP: its own refusal.
    Reset,
    Verdict(Verdict),
}

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

impl Expr {
    pub(super) fn put(&self, writer: &mut Writer) {
        match self {
            Expr::SourceAddress(to) => payload(writer, *to, NETWORK_HEADER, 12, 4),
            Expr::DestinationAddress(to) => payload(writer, *to, NETWORK_HEADER, 16, 4),
            Expr::DestinationFirstByte(to) => payload(writer, *to, NETWORK_HEADER, 16, 1),
            Expr::DestinationPort(to) => payload(writer, *to, TRANSPORT_HEADER, 2, 2),
            Expr::IcmpType(to) => payload(writer, *to, TRANSPORT_HEADER, 0, 1),
            Expr::InputLink(to) => meta(writer, *to, 6),
            Expr::OutputLink(to) => meta(writer, *to, 7),
            Expr::L4Protocol(to) => meta(writer, *to, 16),
            Expr::DestinationKind(to) => numbers(writer, "fib", &[(1, *to), (2, 3), (3, 2)]),
            Expr::ConnectionState(to) => numbers(writer, "ct", &[(1, *to), (2, 0)]),
            Expr::Connection(to, what) => {
                const ORIGINAL: u8 = 0;
                const REPLY: u8 = 1;
                let (key, direction) = match what {
                    Tuple::Client => (19, ORIGINAL),
                    Tuple::Server => (19, REPLY),
                    Tuple::Protocol => (10, ORIGINAL),
                    Tuple::ServerPort => (11, REPLY),
                };
                expression(writer, "ct", |writer| {
                    writer.be32(1, *to);
                    writer.be32(2, key);
                    writer.attr(3, &[direction]);
                });
            }
            Expr::Random { modulus, register } => {
                let fields = [(1, *register), (2, *modulus), (3, 1), (4, 0)];
                numbers(writer, "numgen", &fields);
            }
            Expr::And { register, mask } => expression(writer, "bitwise", |writer| {
                writer.be32(1, *register);
                writer.be32(2, *register);
                writer.be32(3, 4);
                writer.nest(4, |writer| writer.attr(1, mask));
                writer.nest(5, |writer| writer.attr(1, &[0; 4]));
            }),
            Expr::Equal(register, value) => compare(writer, *register, 0, value),
            Expr::NotEqual(register, value) => compare(writer, *register, 1, value),
            Expr::Contains { set, key } => lookup(writer, set, *key, None, 0),
            Expr::Lacks { set, key } => lookup(writer, set, *key, None, 1),
            Expr::Map { set, key } => lookup(writer, set, *key, Some(*key), 0),
            Expr::VerdictMap { set, key } => lookup(writer, set, *key, Some(VERDICT_REG), 0),
            Expr::Remember {
                set,
                key,
                timeout_seconds,
            } => expression(writer, "dynset", |writer| {
                writer.text(1, set);
                writer.be32(3, 1);
                writer.be32(4, *key);
                writer.be64(6, u64::from(*timeout_seconds) * 1000);
            }),
            Expr::Dnat(from) => {
                let fields = [
                    (1, 1),
                    (2, u32::from(FAMILY_IP)),
                    (3, *from),
                    (5, *from + 1),
                ];
                numbers(writer, "nat", &fields);
            }
            Expr::Masquerade => numbers(writer, "masq", &[(1, 0x10)]),
            Expr::Counter => expression(writer, "counter", |_| ()),
            Expr::Reject => expression(writer, "reject", |writer| {
                writer.be32(1, 0);
                writer.attr(2, &[3]);
            }),
            Expr::Reset => expression(writer, "reject", |writer| writer.be32(1, 1)),
            Expr::Verdict(verdict) => expression(writer, "immediate", |writer| {
                writer.be32(1, VERDICT_REG);
                writer.nest(2, |writer| verdict.put(writer));
            }),
        }
    }
}

fn expression(writer: &mut Writer, name: &str, body: impl FnOnce(&mut Writer)) {
    writer.text(1, name);
    writer.nest(2, body);
}

fn numbers(writer: &mut Writer, name: &str, fields: &[(u16, u32)]) {
    expression(writer, name, |writer| {
        for (kind, value) in fields {
            writer.be32(*kind, *value);
        }
    });
}

fn payload(writer: &mut Writer, register: u32, base: u32, offset: u32, length: u32) {
    let fields = [(1, register), (2, base), (3, offset), (4, length)];
    numbers(writer, "payload", &fields);
}

fn meta(writer: &mut Writer, register: u32, key: u32) {
    numbers(writer, "meta", &[(1, register), (2, key)]);
}

fn compare(writer: &mut Writer, register: u32, operation: u32, value: &[u8]) {
    expression(writer, "cmp", |writer| {
        writer.be32(1, register);
        writer.be32(2, operation);
        writer.nest(3, |writer| writer.attr(1, value));
    });
}

/// Flag 1 inverts.
fn lookup(writer: &mut Writer, set: &str, key: u32, to: Option<u32>, flags: u32) {
    expression(writer, "lookup", |writer| {
        writer.text(1, set);
        writer.be32(2, key);
        if let Some(to) = to {
            writer.be32(3, to);
        }
        if flags != 0 {
            writer.be32(5, flags);
        }
    });
}
