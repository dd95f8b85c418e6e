//! Messages whose JSON is not an object of their fields: times, quantities, free-form values.

use super::{
    ProtobufError,
    wire::{Piece, Reader, Writer},
};
use crate::api::{decode, duration, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// Field 1 holds JSON text.
    Json,
    /// Field 1 holds JSON text or an enveloped document.
    RawExtension,
    /// Field 1 holds strings; JSON shows the bare list.
    Strings,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
}

const SPECIALS: &[(&str, Special)] = &[
    (".meta.v1.Time", Special::Time),
    (".meta.v1.MicroTime", Special::MicroTime),
    (".meta.v1.Duration", Special::Duration),
    (".meta.v1.FieldsV1", Special::Json),
    (".meta.v1.Verbs", Special::Strings),
    (".v1.ExtraValue", Special::Strings),
    (".resource.Quantity", Special::Quantity),
    (".intstr.IntOrString", Special::IntOrString),
    (".runtime.RawExtension", Special::RawExtension),
    (".apiextensions.v1.JSON", Special::Json),
    (
        ".apiextensions.v1.JSONSchemaPropsOrArray",
        Special::SchemaOrArray,
    ),
    (
        ".apiextensions.v1.JSONSchemaPropsOrBool",
        Special::SchemaOrBool,
    ),
    (
        ".apiextensions.v1.JSONSchemaPropsOrStringArray",
        Special::SchemaOrStrings,
    ),
];

impl Special {
    pub fn of(message: &str) -> Option<Special> {
        let found = SPECIALS.iter().find(|(name, _)| message.ends_with(name));
        found.map(|(_, special)| *special)
    }
}

/// The unions of schemas and raw extensions contain messages and are decoded elsewhere.
pub fn decode(special: Special, bytes: &[u8]) -> Result<Value, ProtobufError> {
    Ok(match special {
        Special::Time => timestamp(bytes)?.map(time::format).into(),
        Special::MicroTime => timestamp(bytes)?.map(time::format_micro).into(),
        Special::Duration => {
            let (nanos, _) = integers(bytes)?;
            duration::go(SignedDuration::from_nanos(nanos)).into()
        }
        Special::Quantity => match first_bytes(bytes)? {
            [] => "0".into(),
            text => String::from_utf8_lossy(text).into(),
        },
        Special::IntOrString => int_or_string(bytes)?,
        Special::Json => json(first_bytes(bytes)?)?,
        Special::Strings => strings(bytes)?.into(),
        Special::RawExtension
        | Special::SchemaOrArray
        | Special::SchemaOrBool
        | Special::SchemaOrStrings => Value::Null,
    })
}

/// Null for no text at all.
pub fn json(text: &[u8]) -> Result<Value, ProtobufError> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let document = decode::json(text);
    document
        .map(|document| document.value)
        .map_err(|_| ProtobufError::Malformed("embedded value is not JSON"))
}

/// Field 1.
pub fn first_bytes(bytes: &[u8]) -> Result<&[u8], ProtobufError> {
    let mut found = &[][..];
    let mut reader = Reader(bytes);
    while let Some((number, piece)) = reader.field()? {
        if let (1, Piece::Bytes(bytes)) = (number, piece) {
            found = bytes;
        }
    }
    Ok(found)
}

/// Fields 1 and 2.
fn integers(bytes: &[u8]) -> Result<(i64, i64), ProtobufError> {
    let mut found = (0, 0);
    let mut reader = Reader(bytes);
    while let Some((number, piece)) = reader.field()? {
        match (number, piece) {
            (1, Piece::Varint(value)) => found.0 = value as i64,
            (2, Piece::Varint(value)) => found.1 = value as i64,
            _ => {}
        }
    }
    Ok(found)
}

/// `None` for the time that was never set: Go writes it as an empty message, or as the first second of year one.
fn timestamp(bytes: &[u8]) -> Result<Option<Timestamp>, ProtobufError> {
    const YEAR_ONE: i64 = -62_135_596_800;
    let (seconds, nanos) = integers(bytes)?;
    if bytes.is_empty() || seconds == YEAR_ONE {
        return Ok(None);
    }
    let nanos = i32::try_from(nanos).unwrap_or_default();
    Timestamp::new(seconds, nanos)
        .map(Some)
        .map_err(|_| ProtobufError::Malformed("time out of range"))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut integer, mut text) = (false, 0, &[][..]);
    let mut reader = Reader(bytes);
    while let Some((number, piece)) = reader.field()? {
        match (number, piece) {
            (1, Piece::Varint(value)) => is_text = value == 1,
            (2, Piece::Varint(value)) => integer = value as i32,
            (3, Piece::Bytes(bytes)) => text = bytes,
            _ => {}
        }
    }
    Ok(if is_text {
        String::from_utf8_lossy(text).into()
    } else {
        integer.into()
    })
}

fn strings(bytes: &[u8]) -> Result<Vec<String>, ProtobufError> {
    let mut list = Vec::new();
    let mut reader = Reader(bytes);
    while let Some((number, piece)) = reader.field()? {
        if let (1, Piece::Bytes(bytes)) = (number, piece) {
            list.push(String::from_utf8_lossy(bytes).into_owned());
        }
    }
    Ok(list)
}

/// The message's bytes; `None` when the value does not fit, and for the unions of schemas.
pub fn encode(special: Special, value: &Value) -> Option<Vec<u8>> {
    let mut writer = Writer::default();
    match special {
        Special::Time => seconds(
            &mut writer,
            time::parse(value.as_str()?).ok()?,
            1_000_000_000,
        ),
        Special::MicroTime => {
            seconds(&mut writer, time::parse_micro(value.as_str()?).ok()?, 1_000);
        }
        Special::Duration => {
            let nanos = duration::parse_go(value.as_str()?)?.as_nanos();
            writer.varint(1, i64::try_from(nanos).ok()? as u64);
        }
        Special::Quantity => match value {
            Value::String(text) => writer.bytes(1, text.as_bytes()),
            Value::Number(number) => writer.bytes(1, number.to_string().as_bytes()),
            _ => return None,
        },
        Special::IntOrString => match value {
            Value::String(text) => {
                writer.varint(1, 1);
                writer.bytes(3, text.as_bytes());
            }
            _ => {
                let integer = i32::try_from(value.as_i64()?).ok()?;
                writer.varint(1, 0);
                writer.varint(2, i64::from(integer) as u64);
            }
        },
        Special::Json | Special::RawExtension => {
            writer.bytes(1, value.to_string().as_bytes());
        }
        Special::Strings => {
            for item in value.as_array()? {
                writer.bytes(1, item.as_str()?.as_bytes());
            }
        }
        Special::SchemaOrArray | Special::SchemaOrBool | Special::SchemaOrStrings => return None,
    }
    Some(writer.0)
}

/// Nanoseconds are cut to multiples of `step`.
fn seconds(writer: &mut Writer, time: Timestamp, step: i32) {
    // Go counts nanoseconds forward from the second before.
    let nanos = time.subsec_nanosecond();
    let (seconds, nanos) = if nanos < 0 {
        (time.as_second() - 1, nanos + 1_000_000_000)
    } else {
        (time.as_second(), nanos)
    };
    writer.varint(1, seconds as u64);
    writer.varint(2, (nanos / step * step) as u64);
}
