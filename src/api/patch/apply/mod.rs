//! Server-side apply, and the ownership of fields that it and all other writes leave behind (API chapter 2.12).
//!
//! Pure: documents in, documents out. What defaults and admission add after an apply belongs to nobody.

mod fields;
mod manager;
mod merge;
mod tree;

use super::super::{
    ApiError,
    error::{Cause, Details},
    schema,
};
use fields::Fields;
use manager::{Entry, Operation};
use serde_json::Value;
use tree::Nature;

/// The applier that may take over what client-side apply owned.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const BEFORE_FIRST: &str = "before-first-apply";

/// Who writes, where, and when.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    pub name: &'a str,
    /// `status`, `scale` …
    pub subresource: Option<&'a str>,
    /// Of the request.
    pub api_version: &'a str,
    /// RFC 3339 with seconds.
    pub now: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Manager as people read it, and the path of the field.
    Conflicts(Vec<(String, String)>),
    /// The configuration does not fit the schema.
    Untyped(String),
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> ApiError {
        match error {
            ApplyError::Untyped(text) => ApiError::new(500, "", text),
            ApplyError::Conflicts(conflicts) => {
                let cause = |(manager, path): &(String, String)| Cause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: format!("conflict with {manager}"),
                    field: path.clone(),
                };
                let details = Details {
                    causes: conflicts.iter().map(cause).collect(),
                    ..Details::default()
                };
                ApiError::new(409, "Conflict", conflict_text(&conflicts)).with_details(details)
            }
        }
    }
}

fn conflict_text(conflicts: &[(String, String)]) -> String {
    if let [(manager, path)] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let mut lines = Vec::new();
    let mut last = "";
    for (manager, path) in conflicts {
        if manager != last {
            lines.push(format!("conflicts with {manager}:"));
            last = manager;
        }
        lines.push(format!("- {path}"));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

/// The new object, `managedFields` included. Equal to `live` when nothing changed.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    definition: &str,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    let nature = Nature::of_root(schema::lookup(definition));
    let config = relevant(config, manager.subresource);
    check(&config, nature)?;
    let empty = Value::Object(serde_json::Map::new());
    let (live, is_new) = (live.unwrap_or(&empty), live.is_none());
    let before = without_managed(live);
    let mut entries = manager::parse(&live["metadata"]["managedFields"]);
    if entries.is_empty() && !is_new {
        entries.push(Entry {
            manager: BEFORE_FIRST.to_owned(),
            operation: Operation::Update,
            api_version: manager.api_version.to_owned(),
            subresource: String::new(),
            time: manager.now.to_owned(),
            fields: tracked(&before, nature, None),
        });
    }
    let mut own = Entry {
        manager: manager.name.to_owned(),
        operation: Operation::Apply,
        api_version: manager.api_version.to_owned(),
        subresource: manager.subresource.unwrap_or_default().to_owned(),
        time: manager.now.to_owned(),
        fields: tracked(&config, nature, manager.subresource),
    };
    let position = entries.iter().position(|entry| entry.is_same_manager(&own));
    let last = position.map(|position| entries.remove(position));
    let mut merged = merge::merge(&before, &config, nature);
    if let Some(last) = &last {
        let mut owned = own.fields.clone();
        entries.iter().for_each(|entry| owned.unite(&entry.fields));
        merge::prune(&mut merged, &last.fields, &owned, nature);
    }
    let changes = differences(&before, &merged, nature, manager.subresource);
    let conflicts = conflicts(&entries, &changes);
    if !force && !conflicts.is_empty() {
        let allowed = handed_over(live, nature, manager);
        let left: Vec<_> = conflicts
            .into_iter()
            .filter(|(_, path)| !allowed.contains(path))
            .collect();
        if !left.is_empty() {
            return Err(ApplyError::Conflicts(left));
        }
    }
    for entry in &mut entries {
        entry.fields.subtract(&changes);
        tree::keep_existing(&mut entry.fields, &merged, nature);
    }
    if let Some(last) = last.filter(|_| merged == before) {
        own.time = last.time;
    }
    entries.push(own);
    if manager.name == KUBECTL {
        refresh_last_applied(&mut merged, &config);
    }
    Ok(with_managed(merged, entries))
}

/// The new object with `managedFields` brought up to date after any write but an apply. `old` is `None` on creation.
pub fn track_update(
    old: Option<&Value>,
    new: &Value,
    definition: &str,
    manager: &Manager<'_>,
) -> Value {
    let nature = Nature::of_root(schema::lookup(definition));
    let given = &new["metadata"]["managedFields"];
    let object = without_managed(new);
    // A single empty entry asks to forget all owners.
    let is_reset = given.as_array().is_some_and(|list| {
        matches!(list.as_slice(), [only] if only.as_object().is_some_and(serde_json::Map::is_empty))
    });
    if is_reset {
        return object;
    }
    let mut entries = manager::parse(given);
    if entries.is_empty() {
        entries = manager::parse(&old.unwrap_or(&Value::Null)["metadata"]["managedFields"]);
    }
    // Objects without owners stay without until the first apply.
    if entries.is_empty() && old.is_some() {
        return object;
    }
    let empty = Value::Object(serde_json::Map::new());
    let before = old.map_or(empty, without_managed);
    let changes = differences(&before, &object, nature, manager.subresource);
    let mut own = Entry {
        manager: manager.name.to_owned(),
        operation: Operation::Update,
        api_version: manager.api_version.to_owned(),
        subresource: manager.subresource.unwrap_or_default().to_owned(),
        time: manager.now.to_owned(),
        fields: changes.clone(),
    };
    let position = entries.iter().position(|entry| entry.is_same_manager(&own));
    if let Some(previous) = position.map(|position| entries.remove(position)) {
        own.fields.unite(&previous.fields);
        if changes.is_empty() {
            own.time = previous.time;
        }
    }
    for entry in &mut entries {
        entry.fields.subtract(&changes);
    }
    entries.push(own);
    for entry in &mut entries {
        tree::keep_existing(&mut entry.fields, &object, nature);
    }
    with_managed(object, entries)
}

/// What of a configuration counts at the endpoint.
fn relevant(config: &Value, subresource: Option<&str>) -> Value {
    let mut config = without_managed(config);
    if let Some(map) = config.as_object_mut() {
        match subresource {
            Some("status") => {
                map.retain(|name, _| {
                    ["apiVersion", "kind", "metadata", "status"].contains(&name.as_str())
                });
            }
            _ => drop(map.remove("status")),
        }
    }
    config
}

fn check(config: &Value, nature: Nature<'_>) -> Result<(), ApplyError> {
    let mut found = Vec::new();
    tree::complaints(config, nature, "", &mut found);
    let list = match found.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &config["metadata"];
    let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
    let (version, kind) = (text(&config["apiVersion"]), text(&config["kind"]));
    Err(ApplyError::Untyped(format!(
        "failed to create typed patch object ({namespace}/{name}; {version}, Kind={kind}): {list}"
    )))
}

/// The places of a document that have owners: the server's own fields have none.
fn tracked(value: &Value, nature: Nature<'_>, subresource: Option<&str>) -> Fields {
    let mut fields = Fields::default();
    tree::fields_of(value, nature, &mut fields);
    strip(&mut fields, subresource);
    fields
}

fn differences(old: &Value, new: &Value, nature: Nature<'_>, subresource: Option<&str>) -> Fields {
    let mut fields = Fields::default();
    tree::changed(old, new, nature, &mut fields);
    strip(&mut fields, subresource);
    fields
}

fn strip(fields: &mut Fields, subresource: Option<&str>) {
    for name in ["f:apiVersion", "f:kind"] {
        fields.remove(&[name]);
    }
    for name in [
        "f:name",
        "f:namespace",
        "f:creationTimestamp",
        "f:selfLink",
        "f:uid",
        "f:generation",
        "f:managedFields",
        "f:resourceVersion",
        "f:deletionTimestamp",
        "f:deletionGracePeriodSeconds",
    ] {
        fields.remove(&["f:metadata", name]);
    }
    if let Some(meta) = fields.children.get_mut("f:metadata") {
        meta.owned = false;
    }
    match subresource {
        None => fields.remove(&["f:status"]),
        Some("status") => fields.remove(&["f:spec"]),
        Some(_) => {}
    }
    fields.children.retain(|_, child| !child.is_empty());
}

/// By manager, then by path.
fn conflicts(entries: &[Entry], changes: &Fields) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in entries {
        let paths = entry.fields.intersection(changes).paths();
        found.extend(paths.into_iter().map(|path| (entry.shown(), path)));
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    found
}

/// What kubectl applied from its own side before, and nobody changed since: it may go on from the server's side.
fn handed_over(live: &Value, nature: Nature<'_>, manager: &Manager<'_>) -> Vec<String> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let last: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    let (Some(last), KUBECTL) = (last, manager.name) else {
        return Vec::new();
    };
    let mut fields = tracked(&last, nature, manager.subresource);
    fields.subtract(&differences(live, &last, nature, manager.subresource));
    fields.paths()
}

/// Keeps client-side apply usable: its annotation follows, where it is.
fn refresh_last_applied(object: &mut Value, config: &Value) {
    if let Some(annotation) = object
        .pointer_mut("/metadata/annotations")
        .and_then(|all| all.get_mut(LAST_APPLIED))
    {
        *annotation = format!("{config}\n").into();
    }
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    object
}

fn with_managed(mut object: Value, entries: Vec<Entry>) -> Value {
    let managed = manager::to_value(entries);
    if !managed.is_null() {
        object["metadata"]["managedFields"] = managed;
    }
    object
}

#[cfg(test)]
mod tests;
