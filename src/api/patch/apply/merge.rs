//! Bringing a configuration into a live object, and taking out what its manager no longer asks for.

use super::{
    fields::Fields,
    tree::{Nature, by_name},
};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// The live object with everything the configuration says.
pub fn merge(live: &Value, config: &Value, nature: Nature<'_>) -> Value {
    match (nature, live, config) {
        (nature, Value::Object(live), Value::Object(config)) if nature.is_object() => {
            let mut merged = live.clone();
            for (name, value) in config {
                let below = nature.field(name).unwrap_or(Nature::Deduced);
                match (live.get(name), value) {
                    // Null means absent; it is owned all the same.
                    (_, Value::Null) => drop(merged.remove(name)),
                    (Some(before), value) => {
                        merged.insert(name.clone(), merge(before, value, below));
                    }
                    (None, value) => {
                        merged.insert(name.clone(), without_nulls(value, below));
                    }
                }
            }
            Value::Object(merged)
        }
        (nature, Value::Array(live), Value::Array(config)) if nature.is_list() => {
            Value::Array(merge_lists(live, config, nature))
        }
        _ => without_nulls(config, nature),
    }
}

fn without_nulls(value: &Value, nature: Nature<'_>) -> Value {
    match value {
        Value::Object(map) if nature.is_object() => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            let clean = |(name, value): (&String, &Value)| {
                let below = nature.field(name).unwrap_or(Nature::Deduced);
                (name.clone(), without_nulls(value, below))
            };
            Value::Object(kept.map(clean).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// Keeps the order of the configuration; items only the live list has stay where they were among the others.
fn merge_lists(live: &[Value], config: &[Value], nature: Nature<'_>) -> Vec<Value> {
    let name = |item: &Value| nature.element(item).unwrap_or_default();
    let (before, wanted) = (by_name(live, nature), by_name(config, nature));
    let mut merged = Vec::new();
    let mut done: HashSet<String> = HashSet::new();
    let (mut left, mut right) = (live.iter().peekable(), config.iter().peekable());
    loop {
        if let Some(item) = left.peek() {
            let name = name(item);
            if !wanted.contains_key(&name) {
                merged.push((*item).clone());
                left.next();
                continue;
            }
            if done.contains(&name) {
                left.next();
                continue;
            }
        }
        let Some(item) = right.next() else {
            break;
        };
        let name = name(item);
        merged.push(match before.get(&name) {
            Some(live) => merge(live, item, nature.item()),
            None => without_nulls(item, nature.item()),
        });
        done.insert(name);
    }
    merged
}

/// Removes what `last` names and nobody owns any more. Containers of owned places stay; what only defaults put into a
/// removed list item goes with it.
pub fn prune(value: &mut Value, last: &Fields, owned: &Fields, nature: Nature<'_>) {
    let nobody = Fields::default();
    let places: HashMap<String, usize> = match value.as_array() {
        Some(items) => {
            let named = |(index, item)| Some((nature.element(item).ok()?, index));
            items.iter().enumerate().filter_map(named).collect()
        }
        None => HashMap::new(),
    };
    let mut gone = HashSet::new();
    for (name, child) in &last.children {
        let still = owned.children.get(name).filter(|still| !still.is_empty());
        match name.strip_prefix("f:") {
            Some(field) => {
                let Some(map) = value.as_object_mut() else {
                    return;
                };
                let Some(below) = map.get_mut(field) else {
                    continue;
                };
                if still.is_none() && child.owned {
                    map.remove(field);
                    continue;
                }
                let was_empty = is_empty(below);
                let kind = nature.field(field).unwrap_or(Nature::Deduced);
                prune(below, child, still.unwrap_or(&nobody), kind);
                if still.is_none() && is_empty(below) && !was_empty {
                    map.remove(field);
                }
            }
            None => {
                let Some(items) = value.as_array_mut() else {
                    return;
                };
                let Some(&index) = places.get(name) else {
                    continue;
                };
                if still.is_none() && child.owned {
                    gone.insert(index);
                } else {
                    let item = &mut items[index];
                    prune(item, child, still.unwrap_or(&nobody), nature.item());
                }
            }
        }
    }
    if let Some(items) = value.as_array_mut().filter(|_| !gone.is_empty()) {
        let mut index = 0;
        items.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
