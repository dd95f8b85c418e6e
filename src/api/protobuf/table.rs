//! The table of messages: an index made on first use, each message parsed on its own first use.
//!
//! The format is written by `scripts/tables.py`. The file is ours, so malformed lines are bugs and panic.

use super::special::Special;
use std::{
    borrow::Cow,
    sync::{LazyLock, OnceLock},
};

const TEXT: &str = include_str!("../../../assets/proto.tsv");

#[derive(Debug)]
pub struct Message {
    /// Sorted by number.
    pub fields: Vec<Field>,
    /// Set when its JSON is not an object of its fields.
    pub special: Option<Special>,
}

#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// As JSON names it.
    pub name: &'static str,
    pub label: Label,
    pub kind: Kind,
    /// Its members are members of the parent in JSON.
    pub is_inline: bool,
    /// Upstream's JSON leaves it out when it is zero; its protobuf never does.
    pub is_optional_value: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    One,
    Many,
    /// Keys are strings.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    Bytes,
    Int32,
    Int64,
    Bool,
    Double,
    /// A place in the table.
    Message(u16),
}

struct Slot {
    name: &'static str,
    text: &'static str,
    parsed: OnceLock<Message>,
}

/// Sorted by name.
static TABLE: LazyLock<Vec<Slot>> = LazyLock::new(|| {
    let start = TEXT.find("\n@").expect("the table has messages") + 1;
    let mut slots: Vec<Slot> = TEXT[start..]
        .split_inclusive("\n@")
        .map(|text| text.trim_start_matches('@').trim_end_matches('@'))
        .map(|text| Slot {
            name: text.split('\n').next().unwrap_or_default(),
            text,
            parsed: OnceLock::new(),
        })
        .collect();
    slots.sort_unstable_by_key(|slot| slot.name);
    slots
});

impl Message {
    pub fn by_number(&self, number: u32) -> Option<&Field> {
        let found = self
            .fields
            .binary_search_by_key(&number, |field| field.number);
        found.ok().map(|index| &self.fields[index])
    }
}

pub fn lookup(name: &str) -> Option<&'static Message> {
    position(name).map(|index| at(index as u16))
}

pub fn at(index: u16) -> &'static Message {
    let slot = &TABLE[usize::from(index)];
    slot.parsed.get_or_init(|| parse(slot))
}

fn position(name: &str) -> Option<usize> {
    TABLE.binary_search_by(|slot| slot.name.cmp(name)).ok()
}

fn parse(slot: &Slot) -> Message {
    let package = slot
        .name
        .rsplit_once('.')
        .map_or("", |(package, _)| package);
    let lines = slot.text.lines().skip(1).filter(|line| !line.is_empty());
    let mut fields: Vec<Field> = lines.map(|line| field(line, package)).collect();
    fields.sort_unstable_by_key(|field| field.number);
    Message {
        fields,
        special: Special::of(slot.name),
    }
}

fn field(line: &'static str, package: &str) -> Field {
    let mut cells = line.split('\t');
    let mut cell = || cells.next().unwrap_or_default();
    let (number, name, code, flags) = (cell(), cell(), cell(), cell());
    let (label, code) = match code.split_at(1) {
        ("[", code) => (Label::Many, code),
        ("{", code) => (Label::Map, code),
        _ => (Label::One, code),
    };
    Field {
        number: number.parse().expect("a field starts with its number"),
        name,
        label,
        kind: kind(code, package),
        is_inline: flags.contains('i'),
        is_optional_value: flags.contains('v') && flags.contains('z'),
    }
}

fn kind(code: &str, package: &str) -> Kind {
    match code.split_at(1) {
        ("s", "") => Kind::String,
        ("y", "") => Kind::Bytes,
        ("i", "") => Kind::Int32,
        ("l", "") => Kind::Int64,
        ("b", "") => Kind::Bool,
        ("d", "") => Kind::Double,
        ("#", name) => {
            let full = if name.contains('.') {
                Cow::Borrowed(name)
            } else {
                Cow::Owned(format!("{package}.{name}"))
            };
            let index =
                position(&full).unwrap_or_else(|| panic!("{full} is missing from the table"));
            Kind::Message(index as u16)
        }
        _ => panic!("unknown type code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_parses() {
        assert!(TABLE.len() > 500 && TABLE.len() < usize::from(u16::MAX));
        for slot in TABLE.iter() {
            let message = lookup(slot.name).unwrap();
            for field in &message.fields {
                assert_eq!(message.by_number(field.number).unwrap().name, field.name);
            }
        }
    }
}
