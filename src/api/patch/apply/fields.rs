//! Sets of fields, as `managedFields` writes them (FieldsV1).
//!
//! Names of children are the written form itself: `f:name` for a field, `k:{"name":"x"}` for a list item found by its
//! keys, `v:"x"` for a member of a set, `i:0` for a position.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The place itself is in the set, not only places below.
    pub owned: bool,
    pub children: BTreeMap<String, Fields>,
}

impl Fields {
    pub fn is_empty(&self) -> bool {
        !self.owned && self.children.values().all(Fields::is_empty)
    }

    /// Makes the child when it is not there.
    pub fn child(&mut self, name: String) -> &mut Fields {
        self.children.entry(name).or_default()
    }

    /// Makes every place in the set a member.
    pub fn own_all(&mut self) {
        self.owned = true;
        self.children.values_mut().for_each(Fields::own_all);
    }

    /// Ignores what it does not understand.
    pub fn parse(value: &Value) -> Fields {
        let mut fields = Fields::default();
        for (name, below) in value.as_object().into_iter().flatten() {
            if name == "." {
                fields.owned = true;
                continue;
            }
            let mut child = Fields::parse(below);
            // A leaf is written without the dot.
            child.owned |= child.children.is_empty();
            fields.children.insert(name.clone(), child);
        }
        fields
    }

    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (name, child) in self.children.iter().filter(|(_, child)| !child.is_empty()) {
            let mut below = child.to_value();
            let has_children = below.as_object().is_some_and(|below| !below.is_empty());
            if child.owned && has_children {
                below["."] = Value::Object(Map::new());
            }
            map.insert(name.clone(), below);
        }
        Value::Object(map)
    }

    pub fn unite(&mut self, other: &Fields) {
        self.owned |= other.owned;
        for (name, child) in &other.children {
            self.child(name.clone()).unite(child);
        }
    }

    /// Takes the members of `other` away.
    pub fn subtract(&mut self, other: &Fields) {
        self.owned &= !other.owned;
        for (name, child) in &other.children {
            if let Some(own) = self.children.get_mut(name) {
                own.subtract(child);
            }
        }
        self.children.retain(|_, child| !child.is_empty());
    }

    #[must_use]
    pub fn intersection(&self, other: &Fields) -> Fields {
        let both = |(name, child): (&String, &Fields)| {
            let found = child.intersection(other.children.get(name)?);
            (!found.is_empty()).then(|| (name.clone(), found))
        };
        Fields {
            owned: self.owned && other.owned,
            children: self.children.iter().filter_map(both).collect(),
        }
    }

    /// Takes a place and all below away.
    pub fn remove(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => drop(self.children.remove(*last)),
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.remove(rest);
                }
            }
        }
        self.children.retain(|_, child| !child.is_empty());
    }

    /// Every member, as people read paths: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect(&self, path: &str, found: &mut Vec<String>) {
        if self.owned {
            found.push(path.to_owned());
        }
        for (name, child) in &self.children {
            child.collect(&format!("{path}{}", shown(name)), found);
        }
    }
}

/// One step of a path.
pub fn shown(name: &str) -> String {
    let Some((kind, rest)) = name.split_once(':') else {
        return format!(".{name}");
    };
    match kind {
        "f" => format!(".{rest}"),
        "v" => format!("[={rest}]"),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{rest}]"),
    }
}
