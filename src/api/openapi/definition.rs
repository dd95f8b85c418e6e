//! Definitions: the table's types as schemas, and all that a set of resources refers to.

use super::{Dialect, Resource, description::Descriptions};
use crate::api::schema::{self, Field, ListKind, Shape, Type};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Definitions every document needs for its operations.
const COMMON: &[&str] = &[
    "APIResourceList",
    "DeleteOptions",
    "Patch",
    "Status",
    "WatchEvent",
];

/// Types that are no objects of fields: name, and schema in both dialects.
const SCALARS: &[(&str, &str, &str)] = &[
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        r#"{"type":"string","format":"date-time"}"#,
        r#"{"type":"string","format":"date-time"}"#,
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        r#"{"type":"string","format":"date-time"}"#,
        r#"{"type":"string","format":"date-time"}"#,
    ),
    (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        r#"{"type":"string"}"#,
        r#"{"oneOf":[{"type":"string"},{"type":"number"}]}"#,
    ),
    (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        r#"{"type":"string","format":"int-or-string"}"#,
        r#"{"format":"int-or-string","oneOf":[{"type":"integer"},{"type":"string"}]}"#,
    ),
];

/// The schemas of the resources, of their lists, of what operations take and answer, and of everything within.
pub fn closure(resources: &[Resource<'_>], extra: &Map<String, Value>, dialect: Dialect) -> Value {
    let mut wanted: Vec<String> = COMMON.iter().map(|name| format!("{META}.{name}")).collect();
    for resource in resources {
        wanted.push(resource.definition.to_string());
        wanted.extend(list_definition(resource));
        let others = resource.subresources.iter();
        wanted.extend(others.filter_map(|sub| of_kind(&sub.group, &sub.version, &sub.kind)));
    }
    // Version 2 is one document of everything for old clients, who validate with it: they are spared the texts.
    let texts = (dialect == Dialect::V3).then(Descriptions::unpack);
    let mut seen = BTreeSet::new();
    let mut schemas = Map::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let mut schema = match (
            scalar(&name, dialect),
            extra.get(&name),
            schema::lookup(&name),
        ) {
            (Some(scalar), _, _) => scalar,
            (_, Some(custom), _) => qualified(custom, dialect),
            (_, _, Some(known)) => object(known, dialect),
            _ => continue,
        };
        references(&schema, &mut wanted);
        if let Some(texts) = &texts {
            texts.describe(&name, &mut schema);
        }
        schemas.insert(name, schema);
    }
    Value::Object(schemas)
}

/// The definition of a resource's lists, when it has lists.
pub fn list_definition(resource: &Resource<'_>) -> Option<String> {
    let (package, _) = resource.definition.rsplit_once('.')?;
    resource
        .verbs
        .contains(&"list")
        .then(|| format!("{package}.{}", resource.list_kind))
}

/// The definition of a built-in kind.
pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<String> {
    let wanted = format!("{group}/{version}/{kind}");
    let suffix = format!(".{kind}");
    let named = schema::definitions().filter(|name| name.ends_with(&suffix));
    named
        .into_iter()
        .find(|name| {
            schema::lookup(name).is_some_and(|known| known.kinds.iter().any(|kind| *kind == wanted))
        })
        .map(str::to_owned)
}

fn scalar(name: &str, dialect: Dialect) -> Option<Value> {
    let (_, v2, v3) = SCALARS.iter().find(|(scalar, _, _)| *scalar == name)?;
    let text = if dialect == Dialect::V2 { v2 } else { v3 };
    Some(serde_json::from_str(text).expect("the table of scalars is JSON"))
}

/// Custom definitions name what they refer to by definition alone.
fn qualified(schema: &Value, dialect: Dialect) -> Value {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(name)) = object.get("$ref")
                && !name.starts_with('#')
            {
                return dialect.reference(name);
            }
            let members = object.iter();
            let members = members.map(|(name, value)| (name.clone(), qualified(value, dialect)));
            Value::Object(members.collect())
        }
        Value::Array(items) => items.iter().map(|item| qualified(item, dialect)).collect(),
        scalar => scalar.clone(),
    }
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.extend(reference.rsplit('/').next().map(str::to_owned));
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn object(known: &Type, dialect: Dialect) -> Value {
    let mut schema = json!({"type": "object"});
    let mut properties = Map::new();
    for field in &known.fields {
        properties.insert(field.name.to_string(), property(field, dialect));
    }
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    let required: Vec<&str> = known
        .fields
        .iter()
        .filter(|field| field.is_required)
        .map(|field| field.name.as_ref())
        .collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if known.is_atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if !known.kinds.is_empty() {
        schema["x-kubernetes-group-version-kind"] =
            known.kinds.iter().map(|kind| gvk(kind)).collect();
    }
    schema
}

/// Of `group/version/Kind`.
fn gvk(kind: &str) -> Value {
    let mut parts = kind.splitn(3, '/');
    let mut part = || parts.next().unwrap_or_default();
    json!({"group": part(), "version": part(), "kind": part()})
}

fn property(field: &Field, dialect: Dialect) -> Value {
    let mut schema = shape(&field.shape, dialect);
    let is_reference = schema.get("$ref").is_some();
    // Members beside a `$ref` are ignored, so it is wrapped where the dialect can.
    if is_reference && dialect == Dialect::V3 {
        schema = json!({"allOf": [schema]});
    }
    if let Some(default) = &field.default
        && (dialect == Dialect::V3 || !is_reference)
    {
        schema["default"] = default.clone();
    }
    let patch = &field.patch;
    let strategies = [
        (patch.merge, "merge"),
        (patch.retain_keys, "retainKeys"),
        (patch.replace, "replace"),
    ];
    let strategies: Vec<&str> = strategies
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
    if !strategies.is_empty() {
        schema["x-kubernetes-patch-strategy"] = strategies.join(",").into();
    }
    if let Some(key) = &patch.merge_key {
        schema["x-kubernetes-patch-merge-key"] = key.as_ref().into();
    }
    match &field.list {
        ListKind::Map(keys) => {
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] = json!(keys);
        }
        ListKind::Set => schema["x-kubernetes-list-type"] = "set".into(),
        ListKind::Atomic if matches!(field.shape, Shape::List(_)) => {
            schema["x-kubernetes-list-type"] = "atomic".into();
        }
        ListKind::Atomic => {}
    }
    if let Some(is_atomic) = field.is_atomic {
        let map_type = if is_atomic { "atomic" } else { "granular" };
        schema["x-kubernetes-map-type"] = map_type.into();
    }
    schema
}

fn shape(shape: &Shape, dialect: Dialect) -> Value {
    match shape {
        Shape::String => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Double => json!({"type": "number", "format": "double"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Time => dialect.reference(SCALARS[0].0),
        Shape::MicroTime => dialect.reference(SCALARS[1].0),
        Shape::Quantity => dialect.reference(SCALARS[2].0),
        Shape::IntOrString => dialect.reference(SCALARS[3].0),
        Shape::Free => json!({"type": "object"}),
        Shape::Any | Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
            json!({})
        }
        Shape::List(item) => json!({"type": "array", "items": self::shape(item, dialect)}),
        Shape::Map(item) => {
            json!({"type": "object", "additionalProperties": self::shape(item, dialect)})
        }
        Shape::Object(reference) => dialect.reference(&reference.get().name),
    }
}
