//! From an object's bytes to its type.
//!
//! Go's zero time is `null` in JSON, or not there at all: objects without a time of their own are right, but the types
//! demand one. Such an object is not lost to everybody who works with types: it gets the beginning of all times.

use serde::de::DeserializeOwned;
use serde_json::Value;

const BEGINNING: &str = "1970-01-01T00:00:00Z";
/// Lists, or single objects, and the time that each of theirs must have.
const TIMES: [(&str, &str); 2] = [
    ("conditions", "lastTransitionTime"),
    ("series", "lastObservedTime"),
];

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|failure| {
        let mut value: Value = serde_json::from_slice(bytes)?;
        match complete(&mut value) {
            true => serde_json::from_value(value),
            false => Err(failure),
        }
    })
}

/// Whether there was anything to add.
fn complete(value: &mut Value) -> bool {
    let mut is_changed = false;
    match value {
        Value::Array(items) => {
            for item in items {
                is_changed |= complete(item);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if let Some((_, time)) = TIMES.iter().find(|(one, _)| one == name) {
                    is_changed |= date(field, time);
                }
                is_changed |= complete(field);
            }
        }
        _ => {}
    }
    is_changed
}

fn date(field: &mut Value, time: &str) -> bool {
    match field {
        Value::Array(items) => {
            let mut is_changed = false;
            for item in items {
                is_changed |= date(item, time);
            }
            is_changed
        }
        Value::Object(fields) if fields.get(time).is_none_or(Value::is_null) => {
            fields.insert(time.to_owned(), BEGINNING.into());
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;

    #[test]
    fn conditions_without_a_time_hide_nothing() {
        for time in ["", r#","lastTransitionTime":null"#] {
            let text = format!(
                r#"{{"metadata":{{"name":"a"}},"status":{{"conditions":[{{"type":"T","status":"True","reason":"R","message":"M"{time}}}]}}}}"#
            );
            let service: Service = decode(text.as_bytes()).unwrap();
            let conditions = service.status.unwrap().conditions.unwrap();
            assert_eq!(conditions[0].reason, "R", "{text}");
        }
        let wrong = br#"{"metadata":{"name":1}}"#;
        assert!(decode::<Service>(wrong).is_err());
    }
}
