//! JSON merge patch (RFC 7386): objects merge, null deletes, everything else replaces.

use serde_json::{Map, Value};

pub fn apply(document: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Some(object) = document.as_object_mut() else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            object.remove(name);
        } else {
            // A new value is merged into nothing, which drops the nulls inside it.
            apply(object.entry(name.as_str()).or_insert(Value::Null), change);
        }
    }
}
