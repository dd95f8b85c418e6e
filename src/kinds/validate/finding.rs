//! A walk through a document with its path, and the findings made on the way.
//!
//! Texts are upstream's field errors: a type, the value where it helps, and a detail. Paths are written as people read
//! them: `spec.containers[0].resources.limits[cpu]`.

use crate::api::{error::Cause, quantity::Quantity};
use serde_json::Value;

/// A place in a document, which may be empty.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    pub path: String,
    pub value: Option<&'a Value>,
}

impl<'a> Field<'a> {
    pub fn root(value: &'a Value) -> Field<'a> {
        Field {
            path: String::new(),
            value: Some(value),
        }
    }

    pub fn child(&self, name: &str) -> Field<'a> {
        self.child_called(name, name)
    }

    /// For the few places where upstream's path differs from the field's name.
    pub fn child_called(&self, name: &str, shown: &str) -> Field<'a> {
        Field {
            path: self.path_to(shown),
            value: self.value.and_then(|value| value.get(name)),
        }
    }

    pub fn path_to(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    pub fn at(&self, names: &[&str]) -> Field<'a> {
        let start = self.clone();
        names.iter().fold(start, |field, name| field.child(name))
    }

    pub fn key(&self, key: &str) -> Field<'a> {
        Field {
            path: format!("{}[{key}]", self.path),
            value: self.value.and_then(|value| value.get(key)),
        }
    }

    pub fn items(&self) -> impl ExactSizeIterator<Item = Field<'a>> + use<'a> {
        let items = self.value.and_then(Value::as_array);
        let items = items.map(Vec::as_slice).unwrap_or_default();
        let path = self.path.clone();
        items.iter().enumerate().map(move |(index, value)| Field {
            path: format!("{path}[{index}]"),
            value: Some(value),
        })
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> + use<'a> {
        let path = self.path.clone();
        let map = self.value.and_then(Value::as_object);
        map.into_iter().flatten().map(move |(key, value)| {
            let field = Field {
                path: format!("{path}[{key}]"),
                value: Some(value),
            };
            (key.as_str(), field)
        })
    }

    /// Empty when absent or not a string.
    pub fn text(&self) -> &'a str {
        self.value.and_then(Value::as_str).unwrap_or_default()
    }

    pub fn int(&self) -> Option<i64> {
        self.value.and_then(Value::as_i64)
    }

    pub fn is_true(&self) -> bool {
        self.value.and_then(Value::as_bool) == Some(true)
    }

    pub fn is_set(&self) -> bool {
        self.value.is_some_and(|value| !value.is_null())
    }

    /// Absent, or a string, list or map without content.
    pub fn is_empty(&self) -> bool {
        match self.value {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(_) => false,
        }
    }

    /// `None` also for what is no quantity: decoding has refused that already.
    pub fn quantity(&self) -> Option<Quantity> {
        match self.value? {
            Value::String(text) => Quantity::parse(text).ok(),
            Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
            _ => None,
        }
    }

    pub fn json(&self) -> Value {
        self.value.cloned().unwrap_or(Value::Null)
    }
}

/// How a refused value is shown.
pub trait Shown {
    fn shown(&self) -> String;
}

impl Shown for str {
    fn shown(&self) -> String {
        Value::from(self).to_string()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.as_str().shown()
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Quantity {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Value {
    fn shown(&self) -> String {
        match self {
            Value::Null => "\"null\"".to_owned(),
            other => other.to_string(),
        }
    }
}

/// Shown as it is: numbers or percentages.
pub struct Plain<'a>(pub &'a Value);

impl Shown for Plain<'_> {
    fn shown(&self) -> String {
        self.0
            .as_str()
            .map_or_else(|| self.0.to_string(), str::to_owned)
    }
}

#[derive(Debug, Default)]
pub struct Findings(Vec<Cause>);

impl Findings {
    pub fn into_causes(self) -> Vec<Cause> {
        self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, reason: &str, path: &str, body: String, detail: &str) {
        let message = match detail {
            "" => body,
            detail => format!("{body}: {detail}"),
        };
        self.0.push(Cause {
            reason: reason.to_owned(),
            message,
            field: path.to_owned(),
        });
    }

    pub fn required(&mut self, path: &str, detail: &str) {
        let body = "Required value".to_owned();
        self.add("FieldValueRequired", path, body, detail);
    }

    pub fn forbidden(&mut self, path: &str, detail: &str) {
        self.add("FieldValueForbidden", path, "Forbidden".to_owned(), detail);
    }

    pub fn invalid(&mut self, path: &str, bad: &(impl Shown + ?Sized), detail: &str) {
        let body = format!("Invalid value: {}", bad.shown());
        self.add("FieldValueInvalid", path, body, detail);
    }

    /// One finding per text.
    pub fn invalid_each(
        &mut self,
        path: &str,
        bad: &(impl Shown + ?Sized),
        details: impl IntoIterator<Item = String>,
    ) {
        for detail in details {
            self.invalid(path, bad, &detail);
        }
    }

    pub fn duplicate(&mut self, path: &str, bad: &(impl Shown + ?Sized)) {
        self.duplicate_because(path, bad, "");
    }

    pub fn duplicate_because(&mut self, path: &str, bad: &(impl Shown + ?Sized), detail: &str) {
        let body = format!("Duplicate value: {}", bad.shown());
        self.add("FieldValueDuplicate", path, body, detail);
    }

    pub fn not_found(&mut self, path: &str, bad: &(impl Shown + ?Sized)) {
        let body = format!("Not found: {}", bad.shown());
        self.add("FieldValueNotFound", path, body, "");
    }

    pub fn not_supported(&mut self, path: &str, bad: &(impl Shown + ?Sized), supported: &[&str]) {
        let body = format!("Unsupported value: {}", bad.shown());
        let quoted: Vec<String> = supported.iter().map(|value| value.shown()).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.add("FieldValueNotSupported", path, body, &detail);
    }

    pub fn too_long(&mut self, path: &str, bytes: usize) {
        let detail = format!("may not be more than {bytes} bytes");
        self.add("FieldValueTooLong", path, "Too long".to_owned(), &detail);
    }

    pub fn too_many(&mut self, path: &str, found: usize, most: usize) {
        let body = format!("Too many: {found}");
        let detail = format!("must have at most {most} items");
        self.add("FieldValueTooMany", path, body, &detail);
    }

    // Checks that occur everywhere.

    pub fn non_negative(&mut self, field: &Field<'_>) {
        if let Some(number) = field.int().filter(|number| *number < 0) {
            self.invalid(&field.path, &number, "must be greater than or equal to 0");
        }
    }

    pub fn required_text(&mut self, field: &Field<'_>) {
        if field.text().is_empty() {
            self.required(&field.path, "");
        }
    }

    /// An enumeration whose absence is an error of its own.
    pub fn one_of(&mut self, field: &Field<'_>, supported: &[&str]) {
        match field.text() {
            "" => self.required(&field.path, ""),
            text if supported.contains(&text) => {}
            text => self.not_supported(&field.path, text, supported),
        }
    }

    /// An enumeration that may be absent.
    pub fn one_of_if_set(&mut self, field: &Field<'_>, supported: &[&str]) {
        if field.is_set() && !supported.contains(&field.text()) {
            self.not_supported(&field.path, field.text(), supported);
        }
    }

    pub fn immutable(&mut self, new: &Field<'_>, old: &Field<'_>) {
        if !same(new.value, old.value) {
            self.invalid(&new.path, &new.json(), "field is immutable");
        }
    }
}

/// Equality as upstream sees it: absent, null and empty are the same.
pub fn same(left: Option<&Value>, right: Option<&Value>) -> bool {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match (
        left.filter(|value| !is_nothing(value)),
        right.filter(|value| !is_nothing(value)),
    ) {
        (None, None) => true,
        (Some(Value::Object(left)), Some(Value::Object(right))) => left
            .keys()
            .chain(right.keys())
            .all(|key| same(left.get(key), right.get(key))),
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(Some(left), Some(right)))
        }
        (left, right) => left == right,
    }
}

/// What differs, one line per value, for people: `- path: old`, `+ path: new`.
pub fn difference(path: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    if same(old, new) {
        return String::new();
    }
    match (old, new) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort();
            keys.dedup();
            let below = |key: &&String| {
                difference(&format!("{path}.{key}"), left.get(*key), right.get(*key))
            };
            keys.iter().map(below).collect()
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            let longest = left.len().max(right.len());
            let below = |index| {
                difference(
                    &format!("{path}[{index}]"),
                    left.get(index),
                    right.get(index),
                )
            };
            (0..longest).map(below).collect()
        }
        _ => {
            let line = |sign: char, value: Option<&Value>| {
                value.map_or_else(String::new, |value| format!("{sign} {path}: {value}\n"))
            };
            line('-', old) + &line('+', new)
        }
    }
}
