//! The one spelling of a document: what upstream's encoder would write after decoding it.
//!
//! Two documents that mean the same become equal, so that writes that change nothing are seen as such.

use super::{Shape, Type, lookup};
use crate::api::{quantity::Quantity, time};
use serde_json::{Map, Value};

/// Quantities become canonical, times UTC, base64 loses its line breaks, and fields that upstream leaves out when they
/// are zero or empty go. Expects a document that passed `check_types` and `prune`; whatever does not fit stays.
pub fn normalize(value: &mut Value, definition: &str) {
    if let Some(root) = lookup(definition) {
        normalize_object(value, root);
    }
}

fn normalize_object(value: &mut Value, schema: &Type) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    object.retain(|name, value| {
        let Some(field) = schema.field(name) else {
            return true;
        };
        normalize_shape(value, &field.shape);
        !(field.omits_zero && is_zero(value))
    });
}

fn normalize_shape(value: &mut Value, shape: &Shape) {
    match (shape, &mut *value) {
        (Shape::Object(reference), _) => normalize_object(value, reference.get()),
        (Shape::List(item), Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|value| normalize_shape(value, item));
        }
        (Shape::Map(item), Value::Object(entries)) => normalize_entries(entries, item),
        (Shape::SchemaOrArray, Value::Array(items)) => items.iter_mut().for_each(|value| {
            if let Some(schema) = shape.element_type() {
                normalize_object(value, schema);
            }
        }),
        (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, Value::Object(_)) => {
            if let Some(schema) = shape.element_type() {
                normalize_object(value, schema);
            }
        }
        (Shape::Quantity, _) => rewrite(value, |text| canonical(text, |quantity| quantity)),
        (Shape::Time, _) => rewrite(value, |text| time::parse(text).ok().map(time::format)),
        (Shape::MicroTime, _) => rewrite(value, |text| {
            time::parse_micro(text).ok().map(time::format_micro)
        }),
        (Shape::Bytes, Value::String(text)) => text.retain(|c| c != '\n' && c != '\r'),
        _ => {}
    }
}

/// Lists of resources have no digits beyond the thousandths.
fn normalize_entries(entries: &mut Map<String, Value>, item: &Shape) {
    for value in entries.values_mut() {
        if matches!(item, Shape::Quantity) {
            rewrite(value, |text| canonical(text, Quantity::rounded_to_milli));
        } else {
            normalize_shape(value, item);
        }
    }
}

fn canonical(text: &str, round: fn(Quantity) -> Quantity) -> Option<String> {
    let quantity = Quantity::parse(text).ok()?;
    Some(round(quantity).to_string())
}

fn rewrite(value: &mut Value, new: impl Fn(&str) -> Option<String>) {
    let text = match &*value {
        Value::String(text) => new(text),
        Value::Number(number) => new(&number.to_string()),
        _ => None,
    };
    if let Some(text) = text {
        *value = Value::String(text);
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}
