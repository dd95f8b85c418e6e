//! An encoder for nftables transactions in family `ip`: tables, chains, sets, elements, rules.
//!
//! Knows the wire format and nothing of Services. Expressions are kept to forms that `nft list ruleset` 1.0.6 can
//! print: every lookup loads its whole key anew, because it aborts on registers that are used twice.

use super::netlink::{self, CREATE, Socket, Writer, attribute, attributes};
use std::io;

const FAMILY_IP: u8 = 2;
const SUBSYSTEM: u16 = 10;

mod message {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DELETE_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const NEW_RULE: u16 = 6;
    pub const NEW_SET: u16 = 9;
    pub const NEW_ELEMENT: u16 = 12;
    pub const GET_ELEMENT: u16 = 13;
    pub const DELETE_ELEMENT: u16 = 14;
}

/// Kept well below 64 KiB, the end of one list of elements.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// The first of the 4-byte registers.
pub const REG: u32 = 8;
const VERDICT_REG: u32 = 0;

/// The types of a set's fields, by nft's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Address = 7,
    Protocol = 12,
    Port = 13,
    /// Any 32-bit number; nft prints it as a packet mark.
    Number = 19,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Keys,
    /// Keys that rules add and that expire by themselves.
    Remembered,
    Verdicts,
    Values(&'static [Field]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Accept,
    Jump(String),
    Goto(String),
}

/// What an element's key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Nothing,
    Verdict(Verdict),
    Bytes(Vec<u8>),
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
    /// Goes on only if the key is (not) there.
    Contains {
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
    /// ICMP port unreachable.
    Reject,
    Verdict(Verdict),
}

/// A transaction: all of it or nothing.
pub struct Batch {
    writer: Writer,
    table: String,
}

impl Batch {
    pub fn new(table: &str) -> Batch {
        let mut writer = Writer::default();
        writer.message(0x10, 0, &header(0, SUBSYSTEM), |_| ());
        Batch {
            writer,
            table: table.to_owned(),
        }
    }

    fn add(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) {
        let table = &self.table;
        let kind = SUBSYSTEM << 8 | kind;
        self.writer
            .message(kind, flags, &header(FAMILY_IP, 0), |writer| {
                writer.text(1, table);
                body(writer);
            });
    }

    pub fn table(&mut self) {
        self.add(message::NEW_TABLE, CREATE, |_| ());
    }

    /// Refused when there is none.
    pub fn delete_table(&mut self) {
        self.add(message::DELETE_TABLE, 0, |_| ());
    }

    pub fn chain(&mut self, name: &str) {
        self.add(message::NEW_CHAIN, CREATE, |writer| writer.text(3, name));
    }

    /// `kind` is `filter` or `nat`.
    pub fn base_chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32) {
        self.add(message::NEW_CHAIN, CREATE, |writer| {
            writer.text(3, name);
            writer.nest(4, |writer| {
                writer.be32(1, hook as u32);
                writer.attr(2, &priority.to_be_bytes());
            });
            writer.text(7, kind);
        });
    }

    pub fn set(&mut self, name: &str, key: &[Field], holds: Holds) {
        let flags = match holds {
            Holds::Keys => 0,
            Holds::Remembered => 0x10 | 0x20,
            Holds::Verdicts | Holds::Values(_) => 0x8,
        };
        self.add(message::NEW_SET, CREATE, |writer| {
            writer.text(2, name);
            writer.be32(3, flags);
            writer.be32(4, type_of(key));
            writer.be32(5, length_of(key));
            match holds {
                Holds::Keys => (),
                Holds::Remembered => writer.nest(9, |writer| writer.be32(1, REMEMBERED_MAX)),
                Holds::Verdicts => writer.be32(6, 0xffff_ff00),
                Holds::Values(fields) => {
                    writer.be32(6, type_of(fields));
                    writer.be32(7, length_of(fields));
                }
            }
            // Only needed to name a set before it is committed, but refused without.
            writer.be32(10, 1);
        });
    }

    pub fn add_elements<'a>(
        &mut self,
        set: &str,
        elements: impl IntoIterator<Item = (&'a [u8], &'a Value)>,
    ) {
        self.elements(message::NEW_ELEMENT, CREATE, set, elements);
    }

    /// Refused when one is not there.
    pub fn delete_elements<'a>(&mut self, set: &str, keys: impl IntoIterator<Item = &'a [u8]>) {
        let keys = keys.into_iter().map(|key| (key, &Value::Nothing));
        self.elements(message::DELETE_ELEMENT, 0, set, keys);
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        set: &str,
        elements: impl IntoIterator<Item = (&'a [u8], &'a Value)>,
    ) {
        let elements: Vec<(&[u8], &Value)> = elements.into_iter().collect();
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.add(kind, flags, |writer| {
                writer.text(2, set);
                writer.nest(3, |writer| {
                    for (key, value) in some {
                        writer.nest(1, |writer| {
                            writer.nest(1, |writer| writer.attr(1, key));
                            put_value(writer, value);
                        });
                    }
                });
            });
        }
    }

    pub fn rule(&mut self, chain: &str, exprs: &[Expr]) {
        self.add(message::NEW_RULE, CREATE | netlink::APPEND, |writer| {
            writer.text(2, chain);
            writer.nest(4, |writer| {
                for expr in exprs {
                    writer.nest(1, |writer| expr.put(writer));
                }
            });
        });
    }

    /// Blocking: waits for the kernel to have done all of it.
    pub fn commit(mut self) -> io::Result<()> {
        self.writer.message(0x11, 0, &header(0, SUBSYSTEM), |_| ());
        Socket::open(netlink::NETFILTER)?.batch(&self.writer)
    }
}

/// Clients remembered per set; the oldest must expire before more are taken.
const REMEMBERED_MAX: u32 = 65_535;

pub fn table_exists(table: &str) -> io::Result<bool> {
    let mut writer = Writer::default();
    let kind = SUBSYSTEM << 8 | message::GET_TABLE;
    writer.message(kind, 0, &header(FAMILY_IP, 0), |writer| {
        writer.text(1, table);
    });
    match Socket::open(netlink::NETFILTER)?.query(&writer, false) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn delete_table(table: &str) -> io::Result<()> {
    if !table_exists(table)? {
        return Ok(());
    }
    let mut batch = Batch::new(table);
    batch.delete_table();
    batch.commit()
}

/// The keys in a set now.
pub fn keys(table: &str, set: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut writer = Writer::default();
    let kind = SUBSYSTEM << 8 | message::GET_ELEMENT;
    writer.message(kind, netlink::DUMP, &header(FAMILY_IP, 0), |writer| {
        writer.text(1, table);
        writer.text(2, set);
    });
    let answers = Socket::open(netlink::NETFILTER)?.query(&writer, true)?;
    let lists = answers
        .iter()
        .filter_map(|(_, body)| attribute(body.get(4..)?, 3));
    let elements = lists.flat_map(attributes).map(|(_, element)| element);
    let keys = elements.filter_map(|element| attribute(attribute(element, 1)?, 1));
    Ok(keys.map(<[u8]>::to_vec).collect())
}

fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn type_of(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |all, &field| all << 6 | field as u32)
}

/// Every field takes a whole register.
fn length_of(fields: &[Field]) -> u32 {
    u32::try_from(fields.len() * 4).expect("sets have a handful of fields")
}

fn put_value(writer: &mut Writer, value: &Value) {
    match value {
        Value::Nothing => (),
        Value::Bytes(bytes) => writer.nest(2, |writer| writer.attr(1, bytes)),
        Value::Verdict(verdict) => writer.nest(2, |writer| verdict.put(writer)),
    }
}

impl Verdict {
    fn put(&self, writer: &mut Writer) {
        let (code, chain): (i32, Option<&String>) = match self {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Goto(chain) => (-4, Some(chain)),
        };
        writer.nest(2, |writer| {
            writer.attr(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                writer.text(2, chain);
            }
        });
    }
}

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

impl Expr {
    fn put(&self, writer: &mut Writer) {
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
            Expr::Contains { set, key } => lookup(writer, set, *key, None),
            Expr::Map { set, key } => lookup(writer, set, *key, Some(*key)),
            Expr::VerdictMap { set, key } => lookup(writer, set, *key, Some(VERDICT_REG)),
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
            Expr::Reject => expression(writer, "reject", |writer| {
                writer.be32(1, 0);
                writer.attr(2, &[3]);
            }),
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

fn lookup(writer: &mut Writer, set: &str, key: u32, to: Option<u32>) {
    expression(writer, "lookup", |writer| {
        writer.text(1, set);
        writer.be32(2, key);
        if let Some(to) = to {
            writer.be32(3, to);
        }
    });
}
