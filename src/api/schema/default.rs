//! Static defaults: what upstream's OpenAPI says a field of a present object has when it is absent.
//!
//! Defaults that depend on other fields are the kinds' hooks.

use super::{Shape, Type, lookup};
use serde_json::Value;

/// Fills absent and null fields, into every object that is present or was just filled in.
pub fn default(value: &mut Value, definition: &str) {
    if let Some(root) = lookup(definition) {
        default_object(value, root);
    }
}

fn default_object(value: &mut Value, schema: &Type) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    for field in &schema.fields {
        let is_absent = object.get(field.name.as_ref()).is_none_or(Value::is_null);
        if let (true, Some(default)) = (is_absent, &field.default) {
            object.insert(field.name.to_string(), default.clone());
        }
        if let Some(value) = object.get_mut(field.name.as_ref()) {
            default_shape(value, &field.shape);
        }
    }
}

fn default_shape(value: &mut Value, shape: &Shape) {
    match (shape, value) {
        (Shape::Object(reference), value) => default_object(value, reference.get()),
        (Shape::List(item), Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|value| default_shape(value, item));
        }
        (Shape::Map(item), Value::Object(entries)) => {
            entries
                .values_mut()
                .for_each(|value| default_shape(value, item));
        }
        _ => {}
    }
}
