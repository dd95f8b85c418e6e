//! Documents seen through their schema: which places have an owner of their own, and what differs between two.
//!
//! Objects are owned field by field, lists by item where the schema says how items are told apart; everything else is
//! owned as a whole. Without a schema every object is granular and every list atomic.

use super::fields::Fields;
use crate::api::schema::{ListKind, Shape, Type};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

/// How a place is owned.
#[derive(Clone, Copy)]
pub enum Nature<'a> {
    /// As a whole: scalars, atomic lists and objects.
    Whole,
    Struct(&'a Type),
    Map(&'a Shape),
    Set,
    Keyed(&'a [Cow<'static, str>], &'a Shape),
    /// Unknown to the schema: told by the value.
    Deduced,
}

impl<'a> Nature<'a> {
    pub fn of_root(schema: Option<&'a Type>) -> Nature<'a> {
        schema.map_or(Nature::Deduced, Nature::Struct)
    }

    fn of(shape: &'a Shape, list: &'a ListKind, is_atomic: Option<bool>) -> Nature<'a> {
        match shape {
            Shape::Object(reference) => {
                let schema = reference.get();
                match is_atomic.unwrap_or(schema.is_atomic) {
                    true => Nature::Whole,
                    false if schema.fields.is_empty() => Nature::Deduced,
                    false => Nature::Struct(schema),
                }
            }
            Shape::Map(_) if is_atomic == Some(true) => Nature::Whole,
            Shape::Map(shape) => Nature::Map(shape),
            Shape::List(shape) => match list {
                ListKind::Atomic => Nature::Whole,
                ListKind::Set => Nature::Set,
                ListKind::Map(keys) => Nature::Keyed(keys, shape),
            },
            Shape::Any
            | Shape::Free
            | Shape::SchemaOrArray
            | Shape::SchemaOrBool
            | Shape::SchemaOrStrings => Nature::Deduced,
            _ => Nature::Whole,
        }
    }

    fn of_element(shape: &'a Shape) -> Nature<'a> {
        Nature::of(shape, &ListKind::Atomic, None)
    }

    /// Of a field of an object; `None` when the schema does not know it.
    pub fn field(self, name: &str) -> Option<Nature<'a>> {
        match self {
            Nature::Struct(schema) => {
                let field = schema.field(name)?;
                Some(Nature::of(&field.shape, &field.list, field.is_atomic))
            }
            Nature::Map(shape) => Some(Nature::of_element(shape)),
            _ => Some(Nature::Deduced),
        }
    }

    pub fn item(self) -> Nature<'a> {
        match self {
            Nature::Keyed(_, shape) => Nature::of_element(shape),
            _ => Nature::Whole,
        }
    }

    /// Fields of a struct exist by their type; keys of a map are there because somebody set them.
    fn owns_keys(self) -> bool {
        !matches!(self, Nature::Struct(_))
    }

    /// Upstream's types have this field even when nothing set it: it never comes into being.
    fn always_has(self, name: &str) -> bool {
        let Nature::Struct(schema) = self else {
            return false;
        };
        let is_plain = |field: &crate::api::schema::Field| {
            let is_struct = field.default.as_ref().is_some_and(Value::is_object);
            is_struct || (field.is_required && !field.omits_zero)
        };
        schema.field(name).is_some_and(is_plain)
    }

    pub fn is_object(self) -> bool {
        matches!(self, Nature::Struct(_) | Nature::Map(_) | Nature::Deduced)
    }

    pub fn is_list(self) -> bool {
        matches!(self, Nature::Set | Nature::Keyed(..))
    }

    /// The written name of a list item; the missing key when it has none.
    pub fn element(self, item: &Value) -> Result<String, String> {
        let Nature::Keyed(keys, shape) = self else {
            return Ok(format!("v:{item}"));
        };
        let mut found = Map::new();
        for key in keys {
            let set = item
                .get(key.as_ref())
                .filter(|value| !value.is_null())
                .cloned();
            let default = || {
                let field = shape.element_type()?.field(key)?;
                field.default.clone()
            };
            let value = set.or_else(default).ok_or_else(|| key.to_string())?;
            found.insert(key.to_string(), value);
        }
        Ok(format!("k:{}", Value::Object(found)))
    }
}

/// Every place of a document that can have an owner.
pub fn fields_of(value: &Value, nature: Nature<'_>, fields: &mut Fields) {
    match (nature, value) {
        (nature, Value::Object(map)) if nature.is_object() => {
            for (name, value) in map {
                let child = fields.child(format!("f:{name}"));
                let below = nature.field(name).unwrap_or(Nature::Deduced);
                fields_of(value, below, child);
                let is_bare = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                child.owned |= is_bare || nature.owns_keys();
            }
        }
        (nature, Value::Array(items)) if nature.is_list() => {
            for item in items {
                if let Ok(name) = nature.element(item) {
                    let child = fields.child(name);
                    fields_of(item, nature.item(), child);
                    child.owned = true;
                }
            }
        }
        // An empty place of the other kind: nobody's yet.
        (nature, Value::Null) if nature.is_object() || nature.is_list() => {}
        _ => fields.owned = true,
    }
}

/// What `new` adds to `old` or has different. What comes into being is owned with all its containers.
pub fn changed(old: &Value, new: &Value, nature: Nature<'_>, fields: &mut Fields) {
    match (nature, old, new) {
        (nature, Value::Object(old), Value::Object(new)) if nature.is_object() => {
            for (name, value) in new {
                let below = nature.field(name).unwrap_or(Nature::Deduced);
                let child = fields.child(format!("f:{name}"));
                match old.get(name) {
                    Some(before) => changed(before, value, below, child),
                    None if nature.always_has(name) && below.is_object() => {
                        changed(&Value::Object(Map::new()), value, below, child);
                    }
                    None if nature.always_has(name) && below.is_list() => {
                        changed(&Value::Array(Vec::new()), value, below, child);
                    }
                    None => {
                        fields_of(value, below, child);
                        child.own_all();
                    }
                }
            }
        }
        (nature, Value::Array(old), Value::Array(new)) if nature.is_list() => {
            let before = by_name(old, nature);
            for item in new {
                let Ok(name) = nature.element(item) else {
                    continue;
                };
                let known = before.get(&name).copied();
                let child = fields.child(name);
                match known {
                    Some(before) => changed(before, item, nature.item(), child),
                    None => {
                        fields_of(item, nature.item(), child);
                        child.own_all();
                    }
                }
            }
        }
        (_, old, new) if old == new => {}
        _ => fields_of(new, nature, fields),
    }
}

pub fn by_name<'a>(items: &'a [Value], nature: Nature<'_>) -> HashMap<String, &'a Value> {
    let named = |item: &'a Value| Some((nature.element(item).ok()?, item));
    items.iter().filter_map(named).collect()
}

/// Takes members away whose place is no longer in the document.
pub fn keep_existing(fields: &mut Fields, value: &Value, nature: Nature<'_>) {
    // Named once for all children: lists may have thousands of items.
    let items = match value.as_array() {
        Some(items) if !fields.children.is_empty() => by_name(items, nature),
        _ => HashMap::new(),
    };
    fields.children.retain(|name, child| {
        let found = match name.strip_prefix("f:") {
            Some(field) => {
                let below = nature.field(field).unwrap_or(Nature::Deduced);
                value.get(field).map(|value| (value, below))
            }
            None => items.get(name).map(|item| (*item, nature.item())),
        };
        let Some((below, nature)) = found else {
            return false;
        };
        keep_existing(child, below, nature);
        !child.is_empty()
    });
}

/// Complaints about a configuration that does not fit the schema.
pub fn complaints(value: &Value, nature: Nature<'_>, path: &str, found: &mut Vec<String>) {
    match (nature, value) {
        (nature, Value::Object(map)) if nature.is_object() => {
            for (name, value) in map {
                let path = format!("{path}.{name}");
                match nature.field(name) {
                    Some(below) => complaints(value, below, &path, found),
                    None => found.push(format!("{path}: field not declared in schema")),
                }
            }
        }
        (nature, Value::Array(items)) if nature.is_list() => {
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                match nature.element(item) {
                    Err(key) => found.push(format!(
                        "{path}: element {index}: associative list with keys has an element that omits key field \
                         {key:?} (and doesn't have default value)"
                    )),
                    Ok(name) => {
                        let step = super::fields::shown(&name);
                        if seen.contains(&name) {
                            found.push(format!("{path}: duplicate entries for key {step}"));
                        }
                        complaints(item, nature.item(), &format!("{path}{step}"), found);
                        seen.insert(name);
                    }
                }
            }
        }
        (Nature::Struct(_) | Nature::Map(_), value) if !value.is_null() => {
            found.push(format!("{path}: expected map, got &{{{value}}}"));
        }
        (nature, value) if nature.is_list() && !value.is_null() => {
            found.push(format!("{path}: expected list, got &{{{value}}}"));
        }
        _ => {}
    }
}
