//! The entries of `managedFields`: who owns what, since when.

use super::fields::Fields;
use serde_json::{Value, json};

/// More updaters than this are not told apart: the oldest become one.
const UPDATERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    pub time: String,
    pub fields: Fields,
}

impl Entry {
    fn parse(value: &Value) -> Option<Entry> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let operation = match value["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Entry {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: Fields::parse(&value["fieldsV1"]),
        })
    }

    fn to_value(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager, "operation": self.operation.as_str(), "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        if !self.time.is_empty() {
            entry["time"] = self.time.as_str().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.as_str().into();
        }
        entry
    }

    /// Appliers are known by name and subresource, updaters also by version.
    pub fn is_same_manager(&self, other: &Entry) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As conflicts tell it.
    pub fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

pub fn parse(managed: &Value) -> Vec<Entry> {
    let entries = managed.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(Entry::parse).collect()
}

/// Null when nobody owns anything.
pub fn to_value(mut entries: Vec<Entry>) -> Value {
    entries.retain(|entry| !entry.fields.is_empty());
    merge_oldest(&mut entries);
    entries.sort_by(|left, right| {
        let key = |entry: &Entry| {
            (
                entry.operation,
                entry.time.clone(),
                entry.manager.clone(),
                entry.api_version.clone(),
                entry.subresource.clone(),
            )
        };
        key(left).cmp(&key(right))
    });
    match entries.is_empty() {
        true => Value::Null,
        false => entries.iter().map(Entry::to_value).collect(),
    }
}

fn merge_oldest(entries: &mut Vec<Entry>) {
    let updaters = |entries: &[Entry]| {
        let all = entries.iter().enumerate();
        let mut found: Vec<(String, usize)> = all
            .filter(|(_, entry)| {
                entry.operation == Operation::Update && entry.subresource.is_empty()
            })
            .map(|(index, entry)| (entry.time.clone(), index))
            .collect();
        found.sort();
        found
    };
    loop {
        let found = updaters(entries);
        let oldest = found
            .iter()
            .find(|(_, index)| entries[*index].manager != ANCIENT);
        let (true, Some((_, oldest))) = (found.len() > UPDATERS_MAX, oldest) else {
            return;
        };
        let mut moved = entries.remove(*oldest);
        moved.manager = ANCIENT.to_owned();
        match entries
            .iter_mut()
            .find(|entry| entry.is_same_manager(&moved))
        {
            Some(ancient) => {
                ancient.fields.unite(&moved.fields);
                ancient.time = moved.time;
            }
            None => entries.push(moved),
        }
    }
}
