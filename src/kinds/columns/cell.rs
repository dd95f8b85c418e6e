//! What cells are made of: fields, ages, lists and the words for what is missing.

use super::super::kind::{Cell, Column, ColumnType};
use crate::api::{duration, time};
use jiff::Timestamp;
use serde_json::Value;

pub const NONE: &str = "<none>";
pub const UNSET: &str = "<unset>";
pub const UNKNOWN: &str = "<unknown>";

pub const NAME: Column = Column {
    title: "Name",
    column_type: ColumnType::String,
    format: "name",
    wide: false,
    cell: |object, _| field(object, "/metadata/name").into(),
};

pub const AGE: Column = string("Age", |object, now| {
    age(object, "/metadata/creationTimestamp", now).into()
});

pub const fn string(title: &'static str, cell: Cell) -> Column {
    column(title, ColumnType::String, false, cell)
}

pub const fn wide(title: &'static str, cell: Cell) -> Column {
    column(title, ColumnType::String, true, cell)
}

pub const fn integer(title: &'static str, cell: Cell) -> Column {
    column(title, ColumnType::Integer, false, cell)
}

pub const fn boolean(title: &'static str, cell: Cell) -> Column {
    column(title, ColumnType::Boolean, false, cell)
}

const fn column(title: &'static str, column_type: ColumnType, wide: bool, cell: Cell) -> Column {
    Column {
        title,
        column_type,
        format: "",
        wide,
        cell,
    }
}

/// The text at a JSON pointer; empty when there is none.
pub fn field<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The text at a pointer, or the word for nothing.
pub fn text_or(object: &Value, pointer: &str, missing: &str) -> Value {
    match field(object, pointer) {
        "" => missing.into(),
        text => text.into(),
    }
}

pub fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

pub fn flag(object: &Value, pointer: &str) -> bool {
    object
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The elements of a list; none when there is no list.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    let found = object.pointer(pointer).and_then(Value::as_array);
    found.map(Vec::as_slice).unwrap_or_default()
}

pub fn instant(object: &Value, pointer: &str) -> Option<Timestamp> {
    time::parse(field(object, pointer)).ok()
}

/// Since the time at a pointer.
pub fn age(object: &Value, pointer: &str, now: Timestamp) -> String {
    duration::age(instant(object, pointer), now)
}

/// Since the time at a pointer, or the word for nothing when it was never set.
pub fn age_or(object: &Value, pointer: &str, now: Timestamp, missing: &str) -> Value {
    match instant(object, pointer) {
        Some(_) => age(object, pointer, now).into(),
        None => missing.into(),
    }
}

/// An integer or a text, as it stands (`IntOrString`, quantities).
pub fn scalar(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

pub fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// One field of every element.
pub fn each<'a>(elements: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a str> {
    elements
        .iter()
        .filter_map(move |element| element[name].as_str())
}

/// The first three, and how many more.
pub fn first_three(texts: &[String]) -> String {
    match texts.len() {
        0 => UNSET.to_owned(),
        1..=3 => texts.join(","),
        more => format!("{} + {} more...", texts[..3].join(","), more - 3),
    }
}

/// Labels as `a=b,c=d`.
pub fn labels(map: Option<&Value>) -> String {
    let pairs = map.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    match pairs.is_empty() {
        true => NONE.to_owned(),
        false => pairs.join(","),
    }
}

/// A label selector in its query form; an empty one is nothing to show.
pub fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else {
        return NONE.to_owned();
    };
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<(String, String)> = pairs
        .map(|(key, value)| {
            (
                key.clone(),
                format!("{key}={}", value.as_str().unwrap_or_default()),
            )
        })
        .collect();
    for term in list(selector, "/matchExpressions") {
        let key = field(term, "/key").to_owned();
        let mut values: Vec<&str> = list(term, "/values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match field(term, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        };
        parts.push((key, text));
    }
    parts.sort();
    match parts.is_empty() {
        true => NONE.to_owned(),
        false => joined(parts.iter().map(|(_, text)| text.as_str())),
    }
}

/// The condition of this type.
pub fn condition<'a>(object: &'a Value, wanted: &str) -> Option<&'a Value> {
    list(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == wanted)
}

pub fn has_condition(object: &Value, wanted: &str) -> bool {
    condition(object, wanted).is_some_and(|condition| condition["status"] == "True")
}

/// Names and images of a pod template's containers, for the wide columns of workloads.
pub fn container_names(object: &Value, pointer: &str) -> Value {
    joined(each(list(object, pointer), "name")).into()
}

pub fn container_images(object: &Value, pointer: &str) -> Value {
    joined(each(list(object, pointer), "image")).into()
}
