//! Bytes to documents.

use super::{
    DEPTH_MAX, MAGIC, ProtobufError, message,
    special::{self, Special},
    table::{self, Field, Kind, Label, Message},
    wire::{Piece, Reader},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

const MISMATCH: ProtobufError = ProtobufError::Malformed("wrong wireType");

/// `runtime.Unknown`: the type, and the document's own message.
pub fn envelope(
    bytes: &[u8],
    expected: Option<(&str, &str)>,
    depth: usize,
) -> Result<Value, ProtobufError> {
    let mut type_meta = &[][..];
    let mut raw = &[][..];
    let mut reader = Reader(bytes);
    while let Some((number, piece)) = reader.field()? {
        match (number, piece) {
            (1, Piece::Bytes(bytes)) => type_meta = bytes,
            (2, Piece::Bytes(bytes)) => raw = bytes,
            // Content encoding and type: present and empty in what clients send.
            (3 | 4, _) => {}
            _ => {}
        }
    }
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut reader = Reader(type_meta);
    while let Some((number, piece)) = reader.field()? {
        match (number, piece) {
            (1, Piece::Bytes(bytes)) => api_version = text(bytes),
            (2, Piece::Bytes(bytes)) => kind = text(bytes),
            _ => {}
        }
    }
    if let Some((expected_version, expected_kind)) = expected {
        if api_version.is_empty() {
            expected_version.clone_into(&mut api_version);
        }
        if kind.is_empty() {
            expected_kind.clone_into(&mut kind);
        }
    }
    let Some(message) = message(&api_version, &kind) else {
        return Err(ProtobufError::UnknownKind { api_version, kind });
    };
    let mut document = object(raw, message, depth)?;
    document.insert("apiVersion".to_owned(), api_version.into());
    document.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(document))
}

fn object(
    bytes: &[u8],
    message: &Message,
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    let mut object = Map::new();
    fill(&mut object, bytes, message, depth)?;
    Ok(object)
}

fn fill(
    object: &mut Map<String, Value>,
    bytes: &[u8],
    message: &Message,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Malformed("nested too deeply"));
    }
    let mut reader = Reader(bytes);
    while let Some((number, piece)) = reader.field()? {
        if let Some(field) = message.by_number(number) {
            member(object, field, piece, depth)?;
        }
    }
    Ok(())
}

fn member(
    object: &mut Map<String, Value>,
    field: &Field,
    piece: Piece<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if let (true, Kind::Message(index), Piece::Bytes(bytes)) = (field.is_inline, field.kind, piece)
    {
        return fill(object, bytes, table::at(index), depth + 1);
    }
    match field.label {
        Label::One => {
            let decoded = value(field.kind, piece, depth)?;
            if decoded.is_null() || field.is_optional_value && is_zero(&decoded) {
                object.remove(field.name);
            } else {
                object.insert(field.name.to_owned(), decoded);
            }
        }
        Label::Many => {
            let list = object
                .entry(field.name)
                .or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = list else {
                return Err(MISMATCH);
            };
            match (field.kind, piece) {
                (Kind::Int32 | Kind::Int64 | Kind::Bool, Piece::Bytes(packed)) => {
                    let mut reader = Reader(packed);
                    while !reader.0.is_empty() {
                        let piece = Piece::Varint(reader.varint()?);
                        items.push(value(field.kind, piece, depth)?);
                    }
                }
                _ => items.push(value(field.kind, piece, depth)?),
            }
        }
        Label::Map => {
            let Piece::Bytes(entry) = piece else {
                return Err(MISMATCH);
            };
            let (key, item) = map_entry(entry, field.kind, depth)?;
            let map = object
                .entry(field.name)
                .or_insert_with(|| Value::Object(Map::new()));
            map.as_object_mut().ok_or(MISMATCH)?.insert(key, item);
        }
    }
    Ok(())
}

fn map_entry(bytes: &[u8], kind: Kind, depth: usize) -> Result<(String, Value), ProtobufError> {
    let mut key = String::new();
    let mut item = None;
    let mut reader = Reader(bytes);
    while let Some((number, piece)) = reader.field()? {
        match (number, piece) {
            (1, Piece::Bytes(bytes)) => key = text(bytes),
            (2, piece) => item = Some(value(kind, piece, depth)?),
            _ => {}
        }
    }
    let item = match item {
        Some(item) => item,
        None => value(kind, zero(kind), depth)?,
    };
    Ok((key, item))
}

fn zero(kind: Kind) -> Piece<'static> {
    match kind {
        Kind::String | Kind::Bytes | Kind::Message(_) => Piece::Bytes(&[]),
        Kind::Int32 | Kind::Int64 | Kind::Bool => Piece::Varint(0),
        Kind::Double => Piece::Fixed64(0),
    }
}

fn value(kind: Kind, piece: Piece<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (kind, piece) {
        (Kind::String, Piece::Bytes(bytes)) => text(bytes).into(),
        (Kind::Bytes, Piece::Bytes(bytes)) => BASE64_STANDARD.encode(bytes).into(),
        (Kind::Int32, Piece::Varint(number)) => (number as i32).into(),
        (Kind::Int64, Piece::Varint(number)) => (number as i64).into(),
        (Kind::Bool, Piece::Varint(number)) => (number != 0).into(),
        (Kind::Double, Piece::Fixed64(bits)) => f64::from_bits(bits).into(),
        (Kind::Message(index), Piece::Bytes(bytes)) => {
            let message = table::at(index);
            match message.special {
                None => Value::Object(object(bytes, message, depth + 1)?),
                Some(Special::SchemaOrArray | Special::SchemaOrBool | Special::SchemaOrStrings) => {
                    schema_or_other(bytes, message, depth + 1)?
                }
                Some(Special::RawExtension) => raw_extension(bytes, depth + 1)?,
                Some(special) => special::decode(special, bytes)?,
            }
        }
        _ => return Err(MISMATCH),
    })
}

/// A union whose JSON is whichever branch is set.
fn schema_or_other(bytes: &[u8], message: &Message, depth: usize) -> Result<Value, ProtobufError> {
    let mut branches = object(bytes, message, depth)?;
    let schema = branches.remove("schema");
    let list = branches
        .remove("jSONSchemas")
        .or_else(|| branches.remove("property"));
    let other = list.or_else(|| branches.remove("allows"));
    Ok(match message.special {
        Some(Special::SchemaOrBool) => schema.or(other).unwrap_or(Value::Bool(false)),
        _ => other.or(schema).unwrap_or(Value::Null),
    })
}

/// JSON text, or a document in an envelope of its own.
fn raw_extension(bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Malformed("nested too deeply"));
    }
    let raw = special::first_bytes(bytes)?;
    match raw.strip_prefix(MAGIC) {
        Some(body) => envelope(body, None, depth + 1),
        None => special::json(raw),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Empty objects stay: a struct is shown even when nothing in it is set.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
