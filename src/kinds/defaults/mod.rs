//! Defaults that depend on other fields, and what the server itself puts into new objects (API chapter 2.15).
//!
//! Functions named after kinds run on every write after the schema's own defaults; those that begin with `new_` run
//! once, on creation, when uid and creation time are known. All of them leave set fields alone and may run again.

pub mod config;
pub mod network;
pub mod pod;
pub mod policy;
pub mod storage;
pub mod workload;

use super::UpdateContext;
use serde_json::Value;

/// The spec is written once: an update leaves it as it is.
pub fn keep_spec(object: &mut Value, context: UpdateContext<'_>) {
    object["spec"] = context.old["spec"].clone();
}

/// Sets a field that is absent or null.
fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if object.is_object() && object[name].is_null() {
        object[name] = value.into();
    }
}

/// The items of a list, none when there is no such list.
fn items<'a>(object: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    let list = object.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

/// The field, when it is set.
fn part<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    object.get_mut(name).filter(|value| !value.is_null())
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
