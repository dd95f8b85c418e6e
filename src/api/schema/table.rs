//! The table of definitions: an index made on first use, each definition parsed on its own first use.
//!
//! The format is written by `scripts/tables.py`. The file is ours, so malformed lines are bugs and panic.

use super::{Field, ListKind, PatchStrategy, Shape, Type};
use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, LazyLock, OnceLock},
};

const TEXT: &str = include_str!("../../../assets/schema.tsv");

struct Slot {
    name: &'static str,
    /// The definition's lines, from its `@`.
    text: &'static str,
    parsed: OnceLock<Type>,
}

/// Sorted by name.
static TABLE: LazyLock<Vec<Slot>> = LazyLock::new(|| {
    let start = TEXT.find("\n@").expect("the table has definitions") + 1;
    let mut slots: Vec<Slot> = TEXT[start..]
        .split_inclusive("\n@")
        .map(|text| text.trim_start_matches('@').trim_end_matches('@'))
        .map(|text| Slot {
            name: text.split(['\t', '\n']).next().unwrap_or_default(),
            text,
            parsed: OnceLock::new(),
        })
        .collect();
    slots.sort_unstable_by_key(|slot| slot.name);
    slots
});

/// A type that a field refers to.
#[derive(Clone)]
pub enum TypeRef {
    /// A place in the table.
    Table(u16),
    Own(Arc<Type>),
}

impl TypeRef {
    pub fn get(&self) -> &Type {
        match self {
            TypeRef::Table(index) => parsed(*index as usize),
            TypeRef::Own(own) => own,
        }
    }
}

impl fmt::Debug for TypeRef {
    /// The name alone: types refer to themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.get().name)
    }
}

/// `None` for definitions that are not built in.
pub fn lookup(definition: &str) -> Option<&'static Type> {
    position(definition).map(parsed)
}

/// Names of all definitions, sorted.
pub fn definitions() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|slot| slot.name)
}

/// Changes whenever the table or `seed` does: for tokens of documents that are made from the table (FNV-1a).
pub fn fingerprint(seed: &[u8]) -> u64 {
    static TABLE_HASH: LazyLock<u64> =
        LazyLock::new(|| mix(0xCBF2_9CE4_8422_2325, TEXT.as_bytes()));
    mix(*TABLE_HASH, seed)
}

fn mix(start: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
    bytes.iter().fold(start, step)
}

fn position(definition: &str) -> Option<usize> {
    TABLE
        .binary_search_by(|slot| slot.name.cmp(definition))
        .ok()
}

fn parsed(index: usize) -> &'static Type {
    let slot = &TABLE[index];
    slot.parsed.get_or_init(|| parse(slot.text))
}

fn parse(text: &'static str) -> Type {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let mut head = lines.next().unwrap_or_default().split('\t');
    let name = head.next().unwrap_or_default();
    let is_atomic = head.next() == Some("atomic");
    let kinds = head.next().unwrap_or_default();
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    let mut fields: Vec<Field> = lines.map(|line| field(line, package)).collect();
    fields.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Type {
        name: Cow::Borrowed(name),
        fields,
        is_atomic,
        kinds: parts(kinds).collect(),
    }
}

fn field(line: &'static str, package: &str) -> Field {
    let mut cells = line.split('\t');
    let mut cell = || cells.next().unwrap_or_default();
    let (name, shape, flags, default) = (cell(), cell(), cell(), cell());
    let (patch, list) = (cell(), cell());
    let default = (!default.is_empty())
        .then(|| serde_json::from_str(default).expect("a default in the table is JSON"));
    let is_atomic = match (flags.contains('A'), flags.contains('G')) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    Field {
        name: Cow::Borrowed(name),
        shape: self::shape(shape, package),
        is_required: flags.contains('R'),
        omits_zero: flags.contains('z'),
        default,
        patch: patch_strategy(patch),
        list: list_kind(list),
        is_atomic,
    }
}

fn shape(code: &str, package: &str) -> Shape {
    match code.split_at(1) {
        ("s", "") => Shape::String,
        ("y", "") => Shape::Bytes,
        ("i", "") => Shape::Int32,
        ("l", "") => Shape::Int64,
        ("d", "") => Shape::Double,
        ("b", "") => Shape::Boolean,
        ("t", "") => Shape::Time,
        ("u", "") => Shape::MicroTime,
        ("q", "") => Shape::Quantity,
        ("x", "") => Shape::IntOrString,
        ("j", "") => Shape::Any,
        ("o", "") => Shape::Free,
        ("A", "") => Shape::SchemaOrArray,
        ("B", "") => Shape::SchemaOrBool,
        ("S", "") => Shape::SchemaOrStrings,
        ("[", item) => Shape::List(Box::new(shape(item, package))),
        ("{", item) => Shape::Map(Box::new(shape(item, package))),
        ("#", name) => Shape::Object(reference(name, package)),
        _ => panic!("unknown type code {code}"),
    }
}

fn reference(name: &str, package: &str) -> TypeRef {
    let full = if name.contains('.') {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{package}.{name}"))
    };
    let index = position(&full).unwrap_or_else(|| panic!("{full} is missing from the table"));
    TypeRef::Table(u16::try_from(index).expect("the table has fewer than 65,536 definitions"))
}

fn patch_strategy(cell: &'static str) -> PatchStrategy {
    let (strategies, key) = cell.split_once(':').unwrap_or((cell, ""));
    let has = |wanted| strategies.split(',').any(|strategy| strategy == wanted);
    PatchStrategy {
        merge: has("merge"),
        replace: has("replace"),
        retain_keys: has("retainKeys"),
        merge_key: (!key.is_empty()).then_some(Cow::Borrowed(key)),
    }
}

fn list_kind(cell: &'static str) -> ListKind {
    match cell.split_once(':') {
        Some((_, keys)) => ListKind::Map(parts(keys).collect()),
        None if cell == "set" => ListKind::Set,
        None => ListKind::Atomic,
    }
}

fn parts(cell: &'static str) -> impl Iterator<Item = Cow<'static, str>> {
    cell.split(',')
        .filter(|part| !part.is_empty())
        .map(Cow::Borrowed)
}
