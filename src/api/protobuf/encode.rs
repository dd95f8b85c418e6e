//! Documents to bytes.

use super::{
    DEPTH_MAX, MAGIC, ProtobufError, message,
    special::{self, Special},
    table::{self, Field, Kind, Label, Message},
    wire::Writer,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

/// The document in its envelope. It must name its apiVersion and kind, and have the types its kind wants; members its
/// kind does not know are left out.
pub fn encode(document: &Value) -> Result<Vec<u8>, ProtobufError> {
    let text = |name: &str| {
        document
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (Some(message), Some(object)) = (message(api_version, kind), document.as_object()) else {
        return Err(ProtobufError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        });
    };
    let mut type_meta = Writer::default();
    type_meta.bytes(1, api_version.as_bytes());
    type_meta.bytes(2, kind.as_bytes());
    let mut raw = Writer::default();
    members(&mut raw, object, message, 0)?;
    let mut envelope = Writer(MAGIC.to_vec());
    envelope.bytes(1, &type_meta.0);
    envelope.bytes(2, &raw.0);
    envelope.bytes(3, b"");
    envelope.bytes(4, b"");
    Ok(envelope.0)
}

/// One frame of a watch: its length, then a bare `WatchEvent` that carries the enveloped object.
pub fn watch_event(event: &str, object: &Value) -> Result<Vec<u8>, ProtobufError> {
    let mut raw = Writer::default();
    raw.bytes(1, &encode(object)?);
    let mut body = Writer::default();
    body.bytes(1, event.as_bytes());
    body.bytes(2, &raw.0);
    let length = u32::try_from(body.0.len())
        .map_err(|_| ProtobufError::Unencodable("an event of 4 GiB".to_owned()))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.append(&mut body.0);
    Ok(frame)
}

fn members(
    writer: &mut Writer,
    object: &Map<String, Value>,
    message: &Message,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Unencodable(
            "a value nested too deeply".to_owned(),
        ));
    }
    for field in &message.fields {
        if let (true, Kind::Message(index)) = (field.is_inline, field.kind) {
            let mut inner = Writer::default();
            members(&mut inner, object, table::at(index), depth + 1)?;
            writer.bytes(field.number, &inner.0);
            continue;
        }
        if let Some(value) = object.get(field.name).filter(|value| !value.is_null()) {
            member(writer, field, value, depth)?;
        }
    }
    Ok(())
}

fn member(
    writer: &mut Writer,
    field: &Field,
    value: &Value,
    depth: usize,
) -> Result<(), ProtobufError> {
    let misfit = || ProtobufError::Unencodable(format!("field {}", field.name));
    match field.label {
        Label::One => single(writer, field.number, field.kind, value, depth)?.ok_or_else(misfit),
        Label::Many => {
            for item in value.as_array().ok_or_else(misfit)? {
                single(writer, field.number, field.kind, item, depth)?.ok_or_else(misfit)?;
            }
            Ok(())
        }
        Label::Map => {
            for (key, item) in value.as_object().ok_or_else(misfit)? {
                let mut entry = Writer::default();
                entry.bytes(1, key.as_bytes());
                single(&mut entry, 2, field.kind, item, depth)?.ok_or_else(misfit)?;
                writer.bytes(field.number, &entry.0);
            }
            Ok(())
        }
    }
}

/// `None` when the value is not of this kind.
fn single(
    writer: &mut Writer,
    number: u32,
    kind: Kind,
    value: &Value,
    depth: usize,
) -> Result<Option<()>, ProtobufError> {
    let Kind::Message(index) = kind else {
        return Ok(scalar(writer, number, kind, value));
    };
    let message = table::at(index);
    let encoded = match (message.special, value) {
        // An item or a map's value that was never set.
        (_, Value::Null) => Some(Vec::new()),
        (None, Value::Object(object)) => {
            let mut inner = Writer::default();
            members(&mut inner, object, message, depth + 1)?;
            Some(inner.0)
        }
        (None, _) => None,
        (Some(Special::SchemaOrArray | Special::SchemaOrBool | Special::SchemaOrStrings), _) => {
            let mut inner = Writer::default();
            members(&mut inner, &branch(value), message, depth + 1)?;
            Some(inner.0)
        }
        (Some(special), value) => special::encode(special, value),
    };
    Ok(encoded.map(|bytes| writer.bytes(number, &bytes)))
}

/// Names the branch of a union of schemas by what its value looks like.
fn branch(value: &Value) -> Map<String, Value> {
    let mut branches = Map::new();
    match value {
        Value::Array(items) if items.iter().all(Value::is_string) => {
            branches.insert("property".to_owned(), value.clone());
        }
        Value::Array(_) => {
            branches.insert("jSONSchemas".to_owned(), value.clone());
        }
        Value::Bool(_) => {
            branches.insert("allows".to_owned(), value.clone());
        }
        schema => {
            // Beside a schema, additional members are allowed by definition.
            branches.insert("allows".to_owned(), Value::Bool(true));
            branches.insert("schema".to_owned(), schema.clone());
        }
    }
    branches
}

fn scalar(writer: &mut Writer, number: u32, kind: Kind, value: &Value) -> Option<()> {
    match kind {
        Kind::String => writer.bytes(number, value.as_str()?.as_bytes()),
        Kind::Bytes => {
            let bytes = BASE64_STANDARD.decode(value.as_str()?).ok()?;
            writer.bytes(number, &bytes);
        }
        Kind::Int32 => {
            let integer = i32::try_from(value.as_i64()?).ok()?;
            writer.varint(number, i64::from(integer) as u64);
        }
        Kind::Int64 => writer.varint(number, value.as_i64()? as u64),
        Kind::Bool => writer.varint(number, u64::from(value.as_bool()?)),
        Kind::Double => writer.double(number, value.as_f64()?),
        Kind::Message(_) => return None,
    }
    Some(())
}
