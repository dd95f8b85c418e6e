//! Rules for `metadata` that hold for every kind.

use super::finding::{forbidden, invalid, required, too_long};
use crate::{
    api::{error::Cause, label},
    kinds::Kind,
};
use serde_json::{Map, Value};

const ANNOTATIONS_MAX: usize = 256 << 10;
const LABEL_MAX: usize = 63;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

/// Which texts may be the name of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NameRule {
    Label,
    Subdomain,
    /// Anything that can stand between two slashes of a path.
    Segment,
}

fn name_rule(kind: &Kind) -> NameRule {
    match (kind.group, kind.name) {
        ("", "Namespace" | "Service") => NameRule::Label,
        ("rbac.authorization.k8s.io", _) => NameRule::Segment,
        ("networking.k8s.io", "IPAddress") => NameRule::Segment,
        ("apiregistration.k8s.io", "APIService") => NameRule::Segment,
        _ => NameRule::Subdomain,
    }
}

/// Everything wrong with the metadata of a new or changed object.
pub fn findings(kind: &Kind, meta: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    name_findings(kind, meta, &mut found);
    if !kind.is_namespaced() && !text(meta, "namespace").is_empty() {
        found.push(forbidden("metadata.namespace", "not allowed on this type"));
    }
    let empty = Map::new();
    let map = |field: &str| meta[field].as_object().unwrap_or(&empty);
    label_findings("metadata.labels", map("labels"), &mut found);
    annotation_findings(map("annotations"), &mut found);
    owner_findings(meta, &mut found);
    finalizer_findings(meta, &mut found);
    found
}

/// Everything wrong with a change of metadata, besides what [`findings`] says about the new state.
pub fn update_findings(new: &Value, old: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    if !old["deletionTimestamp"].is_null() {
        let known = strings(&old["finalizers"]);
        let added: Vec<&str> = strings(&new["finalizers"])
            .into_iter()
            .filter(|one| !known.contains(one))
            .collect();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|one| format!("{one:?}")).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            found.push(forbidden("metadata.finalizers", &detail));
        }
    }
    found
}

fn name_findings(kind: &Kind, meta: &Value, found: &mut Vec<Cause>) {
    let name = text(meta, "name");
    if name.is_empty() {
        found.push(required(
            "metadata.name",
            "name or generateName is required",
        ));
        return;
    }
    let field = "metadata.name";
    let mut complain = |detail: &str| found.push(invalid(field, &name.into(), detail));
    match name_rule(kind) {
        NameRule::Label => {
            if name.len() > LABEL_MAX {
                complain("must be no more than 63 bytes");
            }
            if !is_label(name) {
                complain(LABEL_TEXT);
            }
        }
        NameRule::Subdomain => {
            for detail in label::check_subdomain(name) {
                complain(&detail);
            }
        }
        NameRule::Segment => {
            if matches!(name, "." | "..") {
                complain(&format!("may not be '{name}'"));
            }
            for bad in ['/', '%'].into_iter().filter(|&bad| name.contains(bad)) {
                complain(&format!("may not contain '{bad}'"));
            }
        }
    }
}

/// Also for selectors and templates inside other objects.
pub fn label_findings(field: &str, labels: &Map<String, Value>, found: &mut Vec<Cause>) {
    for (key, value) in labels {
        for detail in label::check_key(key) {
            found.push(invalid(field, &key.as_str().into(), &detail));
        }
        let value = value.as_str().unwrap_or_default();
        for detail in label::check_value(value) {
            found.push(invalid(field, &value.into(), &detail));
        }
    }
}

fn annotation_findings(annotations: &Map<String, Value>, found: &mut Vec<Cause>) {
    let field = "metadata.annotations";
    let mut size = 0;
    for (key, value) in annotations {
        size += key.len() + value.as_str().unwrap_or_default().len();
        for detail in label::check_key(&key.to_lowercase()) {
            found.push(invalid(field, &key.as_str().into(), &detail));
        }
    }
    if size > ANNOTATIONS_MAX {
        found.push(too_long(field, ANNOTATIONS_MAX));
    }
}

fn owner_findings(meta: &Value, found: &mut Vec<Cause>) {
    let Some(owners) = meta["ownerReferences"].as_array() else {
        return;
    };
    for (i, owner) in owners.iter().enumerate() {
        let at = format!("metadata.ownerReferences[{i}]");
        if text(owner, "apiVersion").is_empty() {
            found.push(invalid(
                &format!("{at}.apiVersion"),
                &"".into(),
                "version must not be empty",
            ));
        }
        for (part, detail) in [
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, part).is_empty() {
                found.push(invalid(&format!("{at}.{part}"), &"".into(), detail));
            }
        }
        if text(owner, "kind") == "Event" {
            let detail = format!(
                "{}, Kind=Event is disallowed from being an owner",
                text(owner, "apiVersion")
            );
            found.push(invalid(&at, owner, &detail));
        }
    }
    let controllers: Vec<&str> = owners
        .iter()
        .filter(|owner| owner["controller"] == true)
        .map(|owner| text(owner, "name"))
        .collect();
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        found.push(invalid(
            "metadata.ownerReferences",
            &meta["ownerReferences"],
            &detail,
        ));
    }
}

fn finalizer_findings(meta: &Value, found: &mut Vec<Cause>) {
    let field = "metadata.finalizers";
    let finalizers = strings(&meta["finalizers"]);
    for (i, finalizer) in finalizers.iter().enumerate() {
        for detail in label::check_key(finalizer) {
            found.push(invalid(field, &(*finalizer).into(), &detail));
        }
        let is_standard = ["foregroundDeletion", "orphan", "kubernetes"].contains(finalizer);
        if !finalizer.contains('/') && !is_standard {
            found.push(invalid(
                &format!("{field}[{i}]"),
                &(*finalizer).into(),
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        found.push(invalid(
            field,
            &meta["finalizers"],
            "finalizer orphan and foregroundDeletion cannot be both set",
        ));
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    inner(first) && inner(last) && bytes.iter().all(|&c| inner(c) || c == b'-')
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use serde_json::json;

    fn check(plural: &str, meta: &Value, expected: &[&str]) {
        let kind = kinds::all().iter().find(|kind| kind.plural == plural);
        let texts: Vec<String> = findings(kind.unwrap(), meta)
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        assert_eq!(texts.len(), expected.len(), "{meta}: {texts:?}");
        for (text, expected) in texts.iter().zip(expected) {
            assert!(text.starts_with(expected), "{text} / {expected}");
        }
    }

    #[test]
    fn metadata_rules() {
        let cases: &[(&str, Value, &[&str])] = &[
            ("configmaps", json!({"name": "a.b-c"}), &[]),
            (
                "configmaps",
                json!({}),
                &["metadata.name: Required value: name or generateName is required"],
            ),
            (
                "configmaps",
                json!({"name": "A"}),
                &["metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"],
            ),
            (
                "namespaces",
                json!({"name": "a.b"}),
                &["metadata.name: Invalid value: \"a.b\": a lowercase RFC 1123 label"],
            ),
            ("clusterroles", json!({"name": "system:node"}), &[]),
            (
                "configmaps",
                json!({"name": "a", "labels": {"x/y/z": "v", "k": "-v"}}),
                &[
                    "metadata.labels: Invalid value: \"-v\": a valid label must be",
                    "metadata.labels: Invalid value: \"x/y/z\": a qualified name must consist of",
                ],
            ),
            (
                "configmaps",
                json!({"name": "a", "finalizers": ["mine"]}),
                &["metadata.finalizers[0]: Invalid value: \"mine\": name is neither"],
            ),
        ];
        for (plural, meta, expected) in cases {
            check(plural, meta, expected);
        }
    }

    #[test]
    fn a_dying_object_gets_no_new_finalizers() {
        let old = json!({"deletionTimestamp": "2026-11-21T05:00:00Z", "finalizers": ["a/b"]});
        let new = json!({"finalizers": ["a/b", "c/d"]});
        let found = update_findings(&new, &old);
        assert_eq!(
            found[0].message,
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"c/d\"}"
        );
    }
}
