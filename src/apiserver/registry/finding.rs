//! Entries of a refusal with status 422, worded as Kubernetes words them.

use crate::api::error::Cause;
use serde_json::Value;

fn cause(reason: &str, field: &str, message: String) -> Cause {
    Cause {
        reason: reason.to_owned(),
        message,
        field: field.to_owned(),
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    match detail {
        "" => head.to_owned(),
        detail => format!("{head}: {detail}"),
    }
}

pub fn required(field: &str, detail: &str) -> Cause {
    cause(
        "FieldValueRequired",
        field,
        with_detail("Required value", detail),
    )
}

/// Strings are quoted, numbers and booleans bare, the rest is JSON. What is absent counts as a string in upstream's texts.
pub fn invalid(field: &str, value: &Value, detail: &str) -> Cause {
    let head = match value {
        Value::Null => "Invalid value: \"null\"".to_owned(),
        value => format!("Invalid value: {value}"),
    };
    cause("FieldValueInvalid", field, with_detail(&head, detail))
}

pub fn forbidden(field: &str, detail: &str) -> Cause {
    cause(
        "FieldValueForbidden",
        field,
        with_detail("Forbidden", detail),
    )
}

pub fn unsupported(field: &str, value: &str, supported: &[&str]) -> Cause {
    let list: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
    let message = format!(
        "Unsupported value: {value:?}: supported values: {}",
        list.join(", ")
    );
    cause("FieldValueNotSupported", field, message)
}

pub fn too_long(field: &str, max_bytes: usize) -> Cause {
    let message = format!("Too long: may not be more than {max_bytes} bytes");
    cause("FieldValueTooLong", field, message)
}
