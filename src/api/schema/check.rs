//! Whether a document's values have the types their fields want, told in the words of upstream's JSON decoder.
//!
//! Null is accepted everywhere: it means absent. Unknown fields are `prune`'s concern.

use super::{Shape, Type, lookup};
use crate::api::{quantity::Quantity, time};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

/// The first value that upstream's decoder would refuse, as its error text.
pub fn check_types(value: &Value, definition: &str) -> Result<(), String> {
    match lookup(definition) {
        Some(root) => check_object(value, root, &mut Place::default()),
        None => Ok(()),
    }
}

/// The same in the words of upstream's converter, which a strategic merge goes through instead of the decoder.
pub fn check_conversion(value: &Value, definition: &str) -> Result<(), String> {
    let mut place = Place {
        is_conversion: true,
        ..Place::default()
    };
    match lookup(definition) {
        Some(root) => check_object(value, root, &mut place),
        None => Ok(()),
    }
}

/// Where the decoder stands. List items and map keys leave no trace in its messages.
#[derive(Default)]
struct Place<'a> {
    /// Name of the innermost definition.
    owner: &'a str,
    path: Vec<&'a str>,
    is_conversion: bool,
}

fn check_object<'a>(value: &Value, schema: &'a Type, place: &mut Place<'a>) -> Result<(), String> {
    let Some(object) = value.as_object() else {
        return mismatch(value, &go_name(schema), place);
    };
    let outer = place.owner;
    for (name, value) in object {
        if let Some(field) = schema.field(name) {
            place.owner = schema.short_name();
            place.path.push(&field.name);
            check(value, &field.shape, place)?;
            place.path.pop();
        }
    }
    place.owner = outer;
    Ok(())
}

fn check<'a>(value: &Value, shape: &'a Shape, place: &mut Place<'a>) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let fits = match shape {
        Shape::String => value.is_string(),
        Shape::Boolean => value.is_boolean(),
        Shape::Double => value.is_number(),
        Shape::Int32 => return check_integer(value, "int32", i32::MIN.into(), place),
        Shape::Int64 => return check_integer(value, "int64", i64::MIN, place),
        Shape::Bytes => return check_bytes(value, place),
        Shape::Time => return check_time(value, time::parse),
        Shape::MicroTime => return check_time(value, time::parse_micro),
        Shape::Quantity => return check_quantity(value),
        Shape::IntOrString => return check_int_or_string(value),
        Shape::Any | Shape::Free => true,
        Shape::List(item) => match value.as_array() {
            Some(items) => return items.iter().try_for_each(|value| check(value, item, place)),
            None => false,
        },
        Shape::Map(item) => match value.as_object() {
            Some(entries) => {
                return entries
                    .values()
                    .try_for_each(|value| check(value, item, place));
            }
            None => false,
        },
        Shape::Object(reference) => return check_object(value, reference.get(), place),
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
            return check_schema(value, shape, place);
        }
    };
    if fits {
        Ok(())
    } else {
        mismatch(value, &go_type(shape), place)
    }
}

fn check_integer(value: &Value, name: &str, min: i64, place: &Place<'_>) -> Result<(), String> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(integer) if integer >= min && integer <= -(min + 1) => Ok(()),
            _ => Err(refuse(&format!("number {number}"), name, place)),
        },
        _ => mismatch(value, name, place),
    }
}

fn check_bytes(value: &Value, place: &Place<'_>) -> Result<(), String> {
    let Some(text) = value.as_str() else {
        return mismatch(value, "[]uint8", place);
    };
    let text = text.replace(['\r', '\n'], "");
    match BASE64_STANDARD.decode(&text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "illegal base64 data at input byte {}",
            base64_offset(&error, text.len())
        )),
    }
}

fn base64_offset(error: &base64::DecodeError, length: usize) -> usize {
    match error {
        base64::DecodeError::InvalidByte(offset, _) => *offset,
        base64::DecodeError::InvalidLastSymbol { offset, .. } => *offset,
        _ => length - length % 4,
    }
}

fn check_time(
    value: &Value,
    parse: fn(&str) -> Result<jiff::Timestamp, String>,
) -> Result<(), String> {
    match value.as_str() {
        Some(text) => parse(text).map(|_| ()),
        None => Err(format!(
            "json: cannot unmarshal {} into Go value of type string",
            json_kind(value)
        )),
    }
}

fn check_quantity(value: &Value) -> Result<(), String> {
    let parsed = match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        other => Quantity::parse(&other.to_string()),
    };
    parsed.map(|_| ()).map_err(|error| error.to_string())
}

fn check_int_or_string(value: &Value) -> Result<(), String> {
    let is_int32 = value
        .as_i64()
        .is_some_and(|number| i32::try_from(number).is_ok());
    if value.is_string() || is_int32 {
        return Ok(());
    }
    let what = match value {
        Value::Number(number) => format!("number {number}"),
        other => json_kind(other).to_owned(),
    };
    Err(format!(
        "json: cannot unmarshal {what} into Go value of type int32"
    ))
}

fn check_schema<'a>(value: &Value, shape: &'a Shape, place: &mut Place<'a>) -> Result<(), String> {
    let Some(schema) = shape.element_type() else {
        return Ok(());
    };
    match (shape, value) {
        (_, Value::Object(_)) => check_object(value, schema, place),
        (Shape::SchemaOrBool, Value::Bool(_)) => Ok(()),
        (Shape::SchemaOrBool, _) => Err("boolean or JSON schema expected".to_owned()),
        (Shape::SchemaOrArray, Value::Array(items)) => items
            .iter()
            .try_for_each(|item| check_object(item, schema, place)),
        (Shape::SchemaOrStrings, Value::Array(items)) => items
            .iter()
            .filter(|item| !item.is_string())
            .try_for_each(|item| mismatch(item, "string", place)),
        _ => mismatch(value, &go_name(schema), place),
    }
}

fn mismatch(value: &Value, wanted: &str, place: &Place<'_>) -> Result<(), String> {
    if place.is_conversion {
        return Err(not_restored(value, wanted));
    }
    Err(refuse(json_kind(value), wanted, place))
}

/// A converter knows Go's kinds of values, not where it stands.
fn not_restored(value: &Value, wanted: &str) -> String {
    let kind = match value {
        Value::Null => "interface",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    };
    if wanted.starts_with("[]") {
        return format!("cannot restore slice from {kind}");
    }
    if wanted.starts_with("map[") || wanted == "v1.ResourceList" {
        return format!("cannot restore map from {kind}");
    }
    match wanted.contains('.') {
        true => format!("cannot restore struct from: {kind}"),
        false => format!("unrecognized type: {wanted}"),
    }
}

fn refuse(what: &str, wanted: &str, place: &Place<'_>) -> String {
    if place.path.is_empty() {
        return format!("json: cannot unmarshal {what} into Go value of type {wanted}");
    }
    format!(
        "json: cannot unmarshal {what} into Go struct field {}.{} of type {wanted}",
        place.owner,
        place.path.join(".")
    )
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `v1.PodSpec`.
fn go_name(schema: &Type) -> String {
    let mut parts = schema.name.rsplit('.');
    let name = parts.next().unwrap_or_default();
    format!("{}.{name}", parts.next().unwrap_or_default())
}

fn go_type(shape: &Shape) -> String {
    match shape {
        Shape::String => "string".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Double => "float64".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Time => "v1.Time".to_owned(),
        Shape::MicroTime => "v1.MicroTime".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::IntOrString => "intstr.IntOrString".to_owned(),
        Shape::Any => "v1.JSON".to_owned(),
        Shape::Free => "runtime.RawExtension".to_owned(),
        Shape::SchemaOrArray => "v1.JSONSchemaPropsOrArray".to_owned(),
        Shape::SchemaOrBool => "v1.JSONSchemaPropsOrBool".to_owned(),
        Shape::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray".to_owned(),
        Shape::List(item) => format!("[]{}", go_type(item)),
        // Upstream names this one map.
        Shape::Map(item) if matches!(**item, Shape::Quantity) => "v1.ResourceList".to_owned(),
        Shape::Map(item) => format!("map[string]{}", go_type(item)),
        Shape::Object(reference) => go_name(reference.get()),
    }
}
