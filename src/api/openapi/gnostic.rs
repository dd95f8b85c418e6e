//! The version 2 document in the protobuf form that kubectl reads when it checks documents itself, as it does for
//! `kind: List`. Numbers are those of gnostic's `OpenAPIv2.proto`.
//!
//! Only what describes documents is written: `info` and `definitions`. Paths, parameters and security are left out;
//! clients that want them ask for JSON.

use crate::api::protobuf::wire::Writer;
use serde_json::{Map, Value};

pub const MEDIA: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// What clients ask with; it is no media type by RFC 9110, so that answers never carry it.
pub const MEDIA_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Fields of `Schema` that are texts.
const TEXTS: &[(&str, u32)] = &[
    ("$ref", 1),
    ("format", 2),
    ("title", 3),
    ("description", 4),
    ("pattern", 17),
];

pub fn encode(document: &Value) -> Vec<u8> {
    let mut whole = Writer::default();
    text(&mut whole, 1, &document["swagger"]);
    message(&mut whole, 2, |info| {
        text(info, 1, &document["info"]["title"]);
        text(info, 2, &document["info"]["version"]);
    });
    if let Some(definitions) = document["definitions"].as_object() {
        message(&mut whole, 9, |list| named_schemas(list, definitions));
    }
    whole.0
}

fn message(into: &mut Writer, number: u32, fill: impl FnOnce(&mut Writer)) {
    let mut inner = Writer::default();
    fill(&mut inner);
    into.bytes(number, &inner.0);
}

fn text(into: &mut Writer, number: u32, value: &Value) {
    if let Some(value) = value.as_str() {
        into.bytes(number, value.as_bytes());
    }
}

/// `Definitions` and `Properties`: names with their schemas.
fn named_schemas(into: &mut Writer, schemas: &Map<String, Value>) {
    for (name, value) in schemas {
        message(into, 1, |named| {
            named.bytes(1, name.as_bytes());
            message(named, 2, |into| schema(into, value));
        });
    }
}

fn schema(into: &mut Writer, value: &Value) {
    for (name, number) in TEXTS {
        text(into, *number, &value[name]);
    }
    if let Some(default) = value.get("default") {
        message(into, 5, |any| yaml(any, default));
    }
    for name in list(&value["required"]) {
        text(into, 19, name);
    }
    for allowed in list(&value["enum"]) {
        message(into, 20, |any| yaml(any, allowed));
    }
    match &value["additionalProperties"] {
        Value::Bool(allowed) => message(into, 21, |item| item.varint(2, u64::from(*allowed))),
        Value::Object(_) => message(into, 21, |item| {
            message(item, 1, |into| schema(into, &value["additionalProperties"]));
        }),
        _ => {}
    }
    match &value["type"] {
        Value::String(_) => message(into, 22, |item| text(item, 1, &value["type"])),
        Value::Array(types) => message(into, 22, |item| {
            types.iter().for_each(|one| text(item, 1, one));
        }),
        _ => {}
    }
    if value["items"].is_object() {
        message(into, 23, |items| {
            message(items, 1, |into| schema(into, &value["items"]));
        });
    }
    if let Some(properties) = value["properties"].as_object() {
        message(into, 25, |list| named_schemas(list, properties));
    }
    let all = value.as_object().into_iter().flatten();
    for (name, extension) in all.filter(|(name, _)| name.starts_with("x-")) {
        message(into, 31, |named| {
            named.bytes(1, name.as_bytes());
            message(named, 2, |any| yaml(any, extension));
        });
    }
}

/// `Any`, whose readers take its text; JSON is YAML.
fn yaml(into: &mut Writer, value: &Value) {
    into.bytes(2, value.to_string().as_bytes());
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_has_its_numbers() {
        let document = json!({
            "swagger": "2.0", "info": {"title": "K", "version": "v1"}, "paths": {},
            "definitions": {"A": {
                "type": "object", "required": ["b"],
                "properties": {"b": {"$ref": "#/B"}},
                "x-kind": "A",
            }},
        });
        let expected: &[&[u8]] = &[
            b"\x0a\x032.0",                                      // swagger
            b"\x12\x07\x0a\x01K\x12\x02v1",                      // info
            b"\x4a\x37\x0a\x35\x0a\x01A\x12\x30", // definitions, their one entry, its name, its schema
            b"\x9a\x01\x01b",                     // required
            b"\xb2\x01\x08\x0a\x06object",        // type
            b"\xca\x01\x0c\x0a\x0a\x0a\x01b\x12\x05\x0a\x03#/B", // properties
            b"\xfa\x01\x0f\x0a\x06x-kind\x12\x05\x12\x03\"A\"", // extension
        ];
        assert_eq!(encode(&document), expected.concat());
    }
}
