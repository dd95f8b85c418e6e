//! An encoder for nftables transactions in family `ip`: tables, chains, sets, elements, rules.
//!
//! Knows the wire format and nothing of Services. Expressions are kept to forms that `nft list ruleset` 1.0.6 can
//! print: every lookup loads its whole key anew, because it aborts on registers that are used twice.

use super::netlink::{self, CREATE, Socket, Writer, attribute, attributes};
use std::io;

mod expr;

pub use expr::{Expr, Tuple};

const FAMILY_IP: u8 = 2;
const SUBSYSTEM: u16 = 10;

mod message {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DELETE_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const GET_CHAIN: u16 = 4;
    pub const DELETE_CHAIN: u16 = 5;
    pub const NEW_RULE: u16 = 6;
    pub const GET_RULE: u16 = 7;
    pub const DELETE_RULE: u16 = 8;
    pub const NEW_SET: u16 = 9;
    pub const DELETE_SET: u16 = 11;
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
    /// Lower and upper ends of all fields, one after the other; no two may overlap.
    Ranges,
    Values(&'static [Field]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

impl Hook {
    pub fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Accept,
    /// To the rule after the jump.
    Return,
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

    /// With its rules. Refused when anything leads to it.
    pub fn delete_chain(&mut self, name: &str) {
        self.add(message::DELETE_CHAIN, 0, |writer| writer.text(3, name));
    }

    /// With its elements. Refused when a rule reads it.
    pub fn delete_set(&mut self, name: &str) {
        self.add(message::DELETE_SET, 0, |writer| writer.text(2, name));
    }

    pub fn set(&mut self, name: &str, key: &[Field], holds: Holds) {
        let flags = match holds {
            Holds::Keys => 0,
            Holds::Remembered => 0x10 | 0x20,
            Holds::Verdicts | Holds::Values(_) => 0x8,
            Holds::Ranges => 0x4 | 0x80,
        };
        self.add(message::NEW_SET, CREATE, |writer| {
            writer.text(2, name);
            writer.be32(3, flags);
            writer.be32(4, type_of(key));
            writer.be32(5, length_of(key));
            match holds {
                Holds::Keys => (),
                Holds::Ranges => put_field_lengths(writer, key),
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
        self.elements(message::NEW_ELEMENT, CREATE, set, Ends::One, elements);
    }

    /// Of a set that [`Holds::Ranges`].
    pub fn add_ranges<'a>(&mut self, set: &str, keys: impl IntoIterator<Item = &'a [u8]>) {
        let keys = keys.into_iter().map(|key| (key, &Value::Nothing));
        self.elements(message::NEW_ELEMENT, CREATE, set, Ends::Two, keys);
    }

    /// Refused when one is not there.
    pub fn delete_ranges<'a>(&mut self, set: &str, keys: impl IntoIterator<Item = &'a [u8]>) {
        let keys = keys.into_iter().map(|key| (key, &Value::Nothing));
        self.elements(message::DELETE_ELEMENT, 0, set, Ends::Two, keys);
    }

    /// Refused when one is not there.
    pub fn delete_elements<'a>(&mut self, set: &str, keys: impl IntoIterator<Item = &'a [u8]>) {
        let keys = keys.into_iter().map(|key| (key, &Value::Nothing));
        self.elements(message::DELETE_ELEMENT, 0, set, Ends::One, keys);
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        set: &str,
        ends: Ends,
        elements: impl IntoIterator<Item = (&'a [u8], &'a Value)>,
    ) {
        let elements: Vec<(&[u8], &Value)> = elements.into_iter().collect();
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.add(kind, flags, |writer| {
                writer.text(2, set);
                writer.nest(3, |writer| {
                    for (key, value) in some {
                        writer.nest(1, |writer| {
                            put_key(writer, key, ends);
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
            put_expressions(writer, exprs);
        });
    }

    /// Before all others of the chain. The comment is at most 250 bytes.
    pub fn insert_rule(&mut self, chain: &str, exprs: &[Expr], comment: &str) {
        let length = u8::try_from(comment.len() + 1).expect("comments are short");
        let data = [&[COMMENT, length], comment.as_bytes(), &[0]].concat();
        self.add(message::NEW_RULE, CREATE, |writer| {
            writer.text(2, chain);
            put_expressions(writer, exprs);
            writer.attr(7, &data);
        });
    }

    pub fn delete_rule(&mut self, chain: &str, handle: u64) {
        self.add(message::DELETE_RULE, 0, |writer| {
            writer.text(2, chain);
            writer.be64(3, handle);
        });
    }

    /// Blocking: waits for the kernel to have done all of it.
    pub fn commit(mut self) -> io::Result<()> {
        self.writer.message(0x11, 0, &header(0, SUBSYSTEM), |_| ());
        Socket::open(netlink::NETFILTER)?.batch(&self.writer)
    }
}

/// How many ends the key of an element has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    One,
    Two,
}

/// The kind of a comment in a rule's user data.
const COMMENT: u8 = 0;

/// Clients remembered per set; the oldest must expire before more are taken.
const REMEMBERED_MAX: u32 = 65_535;

pub fn table_exists(table: &str) -> io::Result<bool> {
    Ok(!ask(message::GET_TABLE, 0, |writer| writer.text(1, table))?.is_empty())
}

/// Whether a base chain's policy is to drop; `None` when there is no such chain.
pub fn drops(table: &str, chain: &str) -> io::Result<Option<bool>> {
    let answers = ask(message::GET_CHAIN, 0, |writer| {
        writer.text(1, table);
        writer.text(3, chain);
    })?;
    let policy = |body: &Vec<u8>| Some(attribute(body.get(4..)?, 5)? == [0; 4]);
    Ok(answers.first().and_then(policy))
}

pub struct Rule {
    pub handle: u64,
    /// Empty when it has none.
    pub comment: String,
}

/// The rules of a chain; none when there is no such chain.
pub fn rules(table: &str, chain: &str) -> io::Result<Vec<Rule>> {
    let answers = ask(message::GET_RULE, netlink::DUMP, |writer| {
        writer.text(1, table);
        writer.text(2, chain);
    })?;
    let rule = |body: &Vec<u8>| {
        let attributes = body.get(4..)?;
        // A dump of old kernels does not filter.
        let is_named = |kind, name: &str| {
            let value = attribute(attributes, kind);
            value.is_some_and(|value| value.strip_suffix(&[0]) == Some(name.as_bytes()))
        };
        if !is_named(1, table) || !is_named(2, chain) {
            return None;
        }
        Some(Rule {
            handle: u64::from_be_bytes(attribute(attributes, 3)?.try_into().ok()?),
            comment: attribute(attributes, 7)
                .and_then(comment)
                .unwrap_or_default(),
        })
    };
    Ok(answers.iter().filter_map(rule).collect())
}

/// Of a rule's user data: a list of kind, length, value.
fn comment(mut data: &[u8]) -> Option<String> {
    loop {
        let (kind, length) = (*data.first()?, usize::from(*data.get(1)?));
        let value = data.get(2..2 + length)?;
        if kind == COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        data = &data[2 + length..];
    }
}

/// The bodies of the answers; none when there is no such thing.
fn ask(kind: u16, flags: u16, body: impl FnOnce(&mut Writer)) -> io::Result<Vec<Vec<u8>>> {
    let mut writer = Writer::default();
    let kind = SUBSYSTEM << 8 | kind;
    writer.message(kind, flags, &header(FAMILY_IP, 0), body);
    let answers = Socket::open(netlink::NETFILTER)?.query(&writer, flags == netlink::DUMP);
    match answers {
        Ok(answers) => Ok(answers.into_iter().map(|(_, body)| body).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
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
    let answers = ask(message::GET_ELEMENT, netlink::DUMP, |writer| {
        writer.text(1, table);
        writer.text(2, set);
    })?;
    let lists = answers
        .iter()
        .filter_map(|body| attribute(body.get(4..)?, 3));
    let elements = lists.flat_map(attributes).map(|(_, element)| element);
    let keys = elements.filter_map(|element| attribute(attribute(element, 1)?, 1));
    Ok(keys.map(<[u8]>::to_vec).collect())
}

/// A link's name as the kernel compares it.
pub fn link(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
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

/// The kernel splits a key of ranges by the true lengths of its fields.
fn put_field_lengths(writer: &mut Writer, fields: &[Field]) {
    writer.nest(9, |writer| {
        writer.nest(2, |writer| {
            for field in fields {
                let length = match field {
                    Field::Protocol => 1,
                    Field::Port => 2,
                    Field::Address | Field::Number => 4,
                };
                writer.nest(1, |writer| writer.be32(1, length));
            }
        });
    });
}

fn put_key(writer: &mut Writer, key: &[u8], ends: Ends) {
    match ends {
        Ends::One => writer.nest(1, |writer| writer.attr(1, key)),
        Ends::Two => {
            let (first, last) = key.split_at(key.len() / 2);
            writer.nest(1, |writer| writer.attr(1, first));
            writer.nest(10, |writer| writer.attr(1, last));
        }
    }
}

fn put_expressions(writer: &mut Writer, exprs: &[Expr]) {
    writer.nest(4, |writer| {
        for expr in exprs {
            writer.nest(1, |writer| expr.put(writer));
        }
    });
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
            Verdict::Return => (-5, None),
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
