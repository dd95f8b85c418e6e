//! Reading fields of documents. What may stand in metadata is `kinds::validate::metadata`.

use serde_json::Value;

/// A text field; empty when it is absent or no text.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The texts of a list; empty when it is absent.
pub fn strings(list: &Value) -> Vec<&str> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect()
}
