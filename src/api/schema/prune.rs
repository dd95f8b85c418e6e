//! Drops what a definition does not know, and nulls, which mean absent.

use super::{Shape, Type, lookup};
use serde_json::{Value, json};

/// Removes unknown fields and returns their paths: `spec.template.spec.containers[0].foo`. Nulls go as well: a null
/// field is removed, a null item or map value becomes the zero value of its type, as Go's decoder has it.
/// The insides of free-form values are left alone.
pub fn prune(value: &mut Value, definition: &str) -> Vec<String> {
    let mut dropped = Vec::new();
    if let Some(root) = lookup(definition) {
        prune_object(value, root, &mut String::new(), &mut dropped);
    }
    dropped
}

fn prune_object(value: &mut Value, schema: &Type, path: &mut String, dropped: &mut Vec<String>) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    object.retain(|name, value| {
        let start = path.len();
        if start > 0 {
            path.push('.');
        }
        path.push_str(name);
        let field = schema.field(name);
        match field {
            Some(field) if !value.is_null() => prune_shape(value, &field.shape, path, dropped),
            Some(_) => {}
            None => dropped.push(path.clone()),
        }
        path.truncate(start);
        field.is_some() && !value.is_null()
    });
}

fn prune_shape(value: &mut Value, shape: &Shape, path: &mut String, dropped: &mut Vec<String>) {
    match (shape, &mut *value) {
        (Shape::Object(reference), _) => prune_object(value, reference.get(), path, dropped),
        (Shape::List(item), Value::Array(items)) => prune_items(items, item, path, dropped),
        (Shape::Map(item), Value::Object(entries)) => {
            for (key, value) in entries {
                fill_null(value, item);
                let start = path.len();
                path.push('.');
                path.push_str(key);
                prune_shape(value, item, path, dropped);
                path.truncate(start);
            }
        }
        (Shape::SchemaOrArray, Value::Array(items)) => {
            items.iter_mut().enumerate().for_each(|(index, value)| {
                at_index(path, index, |path| {
                    if let Some(schema) = shape.element_type() {
                        prune_object(value, schema, path, dropped);
                    }
                });
            });
        }
        (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, Value::Object(_)) => {
            if let Some(schema) = shape.element_type() {
                prune_object(value, schema, path, dropped);
            }
        }
        _ => {}
    }
}

fn prune_items(items: &mut [Value], item: &Shape, path: &mut String, dropped: &mut Vec<String>) {
    for (index, value) in items.iter_mut().enumerate() {
        fill_null(value, item);
        at_index(path, index, |path| prune_shape(value, item, path, dropped));
    }
}

fn at_index(path: &mut String, index: usize, visit: impl FnOnce(&mut String)) {
    let start = path.len();
    path.push_str(&format!("[{index}]"));
    visit(path);
    path.truncate(start);
}

fn fill_null(value: &mut Value, shape: &Shape) {
    if !value.is_null() {
        return;
    }
    *value = match shape {
        Shape::String | Shape::Bytes => json!(""),
        Shape::Int32 | Shape::Int64 | Shape::IntOrString => json!(0),
        Shape::Double => json!(0.0),
        Shape::Boolean => json!(false),
        Shape::Quantity => json!("0"),
        Shape::List(_) => json!([]),
        Shape::Map(_) | Shape::Object(_) => json!({}),
        _ => Value::Null,
    };
}
