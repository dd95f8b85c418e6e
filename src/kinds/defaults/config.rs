//! Namespaces and secrets.

use super::{part, put, text};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Every namespace carries its name as a label, so that selectors can find it.
pub fn namespace(object: &mut Value) {
    let name = text(&object["metadata"], "name").to_owned();
    if !name.is_empty() {
        let meta = &mut object["metadata"];
        put(meta, "labels", json!({}));
        meta["labels"]["kubernetes.io/metadata.name"] = name.into();
    }
}

pub fn new_namespace(object: &mut Value) {
    put(object, "spec", json!({}));
    let finalizers = &mut object["spec"]["finalizers"];
    let list = finalizers.as_array().cloned().unwrap_or_default();
    if !list.contains(&Value::from("kubernetes")) {
        let mut list = list;
        list.push("kubernetes".into());
        *finalizers = list.into();
    }
    object["status"] = json!({"phase": "Active"});
}

/// Plain text is taken over into `data` and not kept.
pub fn secret(object: &mut Value) {
    if object["type"] == "" {
        object["type"] = Value::Null;
    }
    put(object, "type", "Opaque");
    let plain = part(object, "stringData").map(Value::take);
    let Some(Value::Object(plain)) = plain else {
        return;
    };
    if let Some(map) = object.as_object_mut() {
        map.remove("stringData");
    }
    if plain.is_empty() {
        return;
    }
    put(object, "data", json!({}));
    for (key, value) in plain {
        object["data"][key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
    }
}
