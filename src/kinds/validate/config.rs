//! ConfigMaps, Secrets, Namespaces.

use super::{
    finding::{Field, Findings, same},
    format, metadata,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

const BYTES_MAX: usize = 1 << 20;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

pub fn config_map(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let (data, binary) = (root.child("data"), root.child("binaryData"));
    let mut bytes = 0;
    for (key, value) in data.entries() {
        found.invalid_each(&value.path, key, format::config_key(key));
        if binary.key(key).is_set() {
            found.invalid(&value.path, key, "duplicate of key present in binaryData");
        }
        bytes += value.text().len();
    }
    for (key, value) in binary.entries() {
        found.invalid_each(&value.path, key, format::config_key(key));
        bytes += decoded_length(value.text());
    }
    if bytes > BYTES_MAX {
        // Upstream's path without a name.
        found.too_long("[]", BYTES_MAX);
    }
    found.into_causes()
}

pub fn config_map_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    immutable(object, context.old, &["data", "binaryData"]).into_causes()
}

fn immutable(new: &Value, old: &Value, names: &[&str]) -> Findings {
    let mut found = Findings::default();
    if old["immutable"] != true {
        return found;
    }
    if new["immutable"] != true {
        found.forbidden("immutable", IMMUTABLE);
    }
    for name in names {
        if !same(new.get(name), old.get(name)) {
            found.forbidden(name, IMMUTABLE);
        }
    }
    found
}

/// Of base64, without decoding it.
fn decoded_length(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

pub fn secret(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let data = root.child("data");
    let mut bytes = 0;
    for (key, value) in data.entries() {
        found.invalid_each(&value.path, key, format::config_key(key));
        bytes += decoded_length(value.text());
    }
    if bytes > BYTES_MAX {
        found.too_long(&data.path, BYTES_MAX);
    }
    let require = |keys: &[&str], found: &mut Findings| {
        for key in keys {
            let value = data.key(key);
            if value.value.is_none() {
                found.required(&value.path, "");
            }
        }
    };
    match root.child("type").text() {
        "kubernetes.io/service-account-token" => {
            let annotations = root.at(&["metadata", "annotations"]);
            let name = annotations.key("kubernetes.io/service-account.name");
            found.required_text(&name);
        }
        "kubernetes.io/dockercfg" => json(&data.key(".dockercfg"), &mut found),
        "kubernetes.io/dockerconfigjson" => json(&data.key(".dockerconfigjson"), &mut found),
        "kubernetes.io/basic-auth" => {
            let keys = ["username", "password"];
            if keys.iter().all(|key| data.key(key).value.is_none()) {
                require(&keys, &mut found);
            }
        }
        "kubernetes.io/ssh-auth" => found.required_text(&data.key("ssh-privatekey")),
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"], &mut found),
        _ => {}
    }
    found.into_causes()
}

/// A value that must be a JSON object; it is never shown.
fn json(field: &Field<'_>, found: &mut Findings) {
    if field.value.is_none() {
        return found.required(&field.path, "");
    }
    let bytes = STANDARD.decode(field.text()).unwrap_or_default();
    let parsed: Result<serde_json::Map<String, Value>, _> = serde_json::from_slice(&bytes);
    if parsed.is_err() {
        let about = match bytes.is_empty() {
            true => "unexpected end of JSON input",
            false => "invalid JSON",
        };
        found.invalid(&field.path, "<secret contents redacted>", about);
    }
}

pub fn secret_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = immutable(object, context.old, &["data"]);
    let (new, old) = (Field::root(object), Field::root(context.old));
    found.immutable(&new.child("type"), &old.child("type"));
    found.into_causes()
}

pub fn namespace(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let finalizers = Field::root(object).at(&["spec", "finalizers"]);
    for item in finalizers.items() {
        let shared = Field {
            path: finalizers.path.clone(),
            ..item
        };
        let wrong = format::qualified_name(shared.text());
        found.invalid_each(&shared.path, shared.text(), wrong);
        metadata::standard_finalizer(&shared, &mut found);
    }
    found.into_causes()
}

pub fn namespace_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    if context.subresource == Some("status") {
        let phase = Field::root(object).at(&["status", "phase"]);
        let is_deleted = !object["metadata"]["deletionTimestamp"].is_null();
        let (expected, about) = match is_deleted {
            true => (
                "Terminating",
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            ),
            false => (
                "Active",
                "may only be 'Active' if `deletionTimestamp` is empty",
            ),
        };
        if phase.text() != expected {
            found.invalid("status.Phase", phase.text(), about);
        }
    }
    found.into_causes()
}
