//! The order of a merged list: what the patch says first, then what the server had.

use serde_json::Value;
use std::collections::HashMap;

/// Identifies an item: the text of its merge key, or of the whole scalar.
pub fn identity(item: &Value, merge_key: Option<&str>) -> Option<String> {
    match merge_key {
        Some(key) => item.get(key).map(Value::to_string),
        None => Some(item.to_string()),
    }
}

/// Where each item stands. Of items with one identity the first counts.
pub struct Positions(HashMap<String, usize>);

impl Positions {
    pub fn of(items: &[Value], merge_key: Option<&str>) -> Positions {
        let mut positions = HashMap::new();
        for (position, item) in items.iter().enumerate() {
            if let Some(identity) = identity(item, merge_key) {
                positions.entry(identity).or_insert(position);
            }
        }
        Positions(positions)
    }

    pub fn get(&self, identity: &str) -> Option<usize> {
        self.0.get(identity).copied()
    }

    fn of_item(&self, item: &Value, merge_key: Option<&str>) -> Option<usize> {
        self.get(&identity(item, merge_key)?)
    }
}

/// Items named by `wanted` stand in its order. The others keep the order they have in `server`, and each is placed
/// before the first wanted item that it preceded there.
pub fn arrange(
    merged: Vec<Value>,
    wanted: &Positions,
    server: &Positions,
    merge_key: Option<&str>,
) -> Vec<Value> {
    let (mut patched, mut kept): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| wanted.of_item(item, merge_key).is_some());
    patched.sort_by_key(|item| wanted.of_item(item, merge_key));
    kept.sort_by_key(|item| server.of_item(item, merge_key).unwrap_or(usize::MAX));

    let mut arranged = Vec::with_capacity(patched.len() + kept.len());
    let mut kept = kept.into_iter().peekable();
    for item in patched {
        let place = server.of_item(&item, merge_key);
        while let Some(next) = kept.peek() {
            match (server.of_item(next, merge_key), place) {
                (Some(left), Some(right)) if left < right => arranged.extend(kept.next()),
                _ => break,
            }
        }
        arranged.push(item);
    }
    arranged.extend(kept);
    arranged
}
