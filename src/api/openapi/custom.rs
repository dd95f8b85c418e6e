//! Definitions of custom resources, from the schemas their CustomResourceDefinitions carry.

use super::definition::META;
use serde_json::{Map, Value, json};

/// `com.example.stable.v1.CronTab` for the group `stable.example.com`.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let mut labels: Vec<&str> = group.split('.').collect();
    labels.reverse();
    format!("{}.{version}.{kind}", labels.join("."))
}

/// The definitions of a custom kind and of its lists, by name. `schema` is its `openAPIV3Schema`.
pub fn definitions(
    group: &str,
    version: &str,
    kind: &str,
    list_kind: &str,
    schema: Option<&Value>,
) -> Vec<(String, Value)> {
    let mut own = match schema {
        Some(Value::Object(schema)) => schema.clone(),
        _ => Map::new(),
    };
    own.insert("type".to_owned(), "object".into());
    own.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!([{"group": group, "version": version, "kind": kind}]),
    );
    // A schema that keeps unknown fields and names none says nothing about its properties.
    let is_open = own.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if !is_open || own.contains_key("properties") {
        let properties = own.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            let text = || json!({"type": "string"});
            properties.insert("apiVersion".to_owned(), text());
            properties.insert("kind".to_owned(), text());
            let metadata = json!({"allOf": [{"$ref": format!("{META}.ObjectMeta")}]});
            properties.insert("metadata".to_owned(), metadata);
        }
    }
    let name = definition_name(group, version, kind);
    let list = json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": format!("{META}.ListMeta")}]},
            "items": {"type": "array", "items": {"$ref": name}},
        },
        "x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": list_kind}],
    });
    let list_name = definition_name(group, version, list_kind);
    vec![(name, Value::Object(own)), (list_name, list)]
}

/// Version 2 has no alternatives and no nulls; what cannot be said is left open.
const ONLY_V3: &[&str] = &["allOf", "anyOf", "oneOf", "not", "nullable"];

pub fn narrowed(schema: &Value) -> Value {
    let Value::Object(object) = schema else {
        return schema.clone();
    };
    // The wrapping of a reference.
    if let Some([only]) = object
        .get("allOf")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        && only.get("$ref").is_some()
    {
        return only.clone();
    }
    let is_set = |name: &str| object.get(name) == Some(&Value::Bool(true));
    // Clients of version 2 would drop fields that are not named.
    let is_open = is_set("x-kubernetes-preserve-unknown-fields");
    let is_either = is_set("x-kubernetes-int-or-string");
    let mut narrow = Map::new();
    for (name, value) in object {
        let is_dropped = ONLY_V3.contains(&name.as_str())
            || is_open
                && ["properties", "items", "additionalProperties", "required"]
                    .contains(&name.as_str());
        if is_dropped {
            continue;
        }
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(members)) => {
                let members = members.iter();
                members
                    .map(|(name, schema)| (name.clone(), narrowed(schema)))
                    .collect()
            }
            ("items" | "additionalProperties", schema) => narrowed(schema),
            _ => value.clone(),
        };
        narrow.insert(name.clone(), value);
    }
    if is_either {
        narrow.remove("type");
    }
    Value::Object(narrow)
}
