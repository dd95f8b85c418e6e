//! What holds for the metadata of every object, built-in or custom.
//!
//! The registry calls [`metadata`] on every write and [`metadata_update`] besides it on changes; the findings about
//! metadata come before those of the kind.

use super::{
    finding::{Field, Findings, Plain, same},
    format, labels,
};
use crate::{
    api::error::Cause,
    kinds::{Kind, Scope},
};
use serde_json::Value;

const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
const MANAGER_BYTES_MAX: usize = 128;

const FIXED: [&str; 6] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Findings about the metadata as such. The name has been generated already.
pub fn metadata(kind: &Kind, object: &Value) -> Vec<Cause> {
    let meta = Field::root(object).child("metadata");
    let mut found = Findings::default();
    let (name, prefix) = (meta.child("name"), meta.child("generateName"));
    if !prefix.is_empty() {
        // A suffix will follow the dash.
        let base = prefix.text().trim_end_matches('-');
        let padded = format!("{base}a");
        let shown = if base.len() == prefix.text().len() {
            base
        } else {
            &padded
        };
        found.invalid_each(&prefix.path, prefix.text(), name_complaints(kind, shown));
    }
    if name.is_empty() {
        found.required(&name.path, "name or generateName is required");
    } else {
        found.invalid_each(&name.path, name.text(), name_complaints(kind, name.text()));
    }
    namespace(kind, &meta.child("namespace"), &mut found);
    found.non_negative(&meta.child("generation"));
    common(kind, &meta, &mut found);
    found.into_causes()
}

/// Findings about the change of metadata.
pub fn metadata_update(kind: &Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let (new, old) = (
        Field::root(new).child("metadata"),
        Field::root(old).child("metadata"),
    );
    let mut found = Findings::default();
    if old.child("deletionTimestamp").is_set() {
        no_new_finalizers(
            &new.child("finalizers"),
            &old.child("finalizers"),
            &mut found,
        );
    }
    let version = new.child("resourceVersion");
    if version.is_empty() {
        // Upstream compares numbers and shows this one in hexadecimal.
        let zero = Value::from("0x0");
        found.invalid(
            &version.path,
            &Plain(&zero),
            "must be specified for an update",
        );
    }
    let generation = |meta: &Field<'_>| meta.child("generation").int().unwrap_or(0);
    if generation(&new) < generation(&old) {
        let path = new.path_to("generation");
        found.invalid(&path, &generation(&new), "must not be decremented");
    }
    for name in FIXED {
        found.immutable(&new.child(name), &old.child(name));
    }
    common(kind, &new, &mut found);
    found.into_causes()
}

/// Whether the name fits the kind.
pub fn name_complaints(kind: &Kind, name: &str) -> format::Complaints {
    const RBAC: &str = "rbac.authorization.k8s.io";
    match (kind.group, kind.name) {
        (RBAC, _) => format::path_segment(name),
        ("", "Namespace" | "Service") => format::dns_label(name),
        ("batch", "CronJob") if name.len() > 52 => {
            let mut found = format::dns_subdomain(name);
            found.push("must be no more than 52 characters".to_owned());
            found
        }
        ("networking.k8s.io", "IPAddress") => format::ip(name),
        ("certificates.k8s.io", "ClusterTrustBundle") => {
            format::dns_subdomain(&name.replace(':', "."))
        }
        _ => format::dns_subdomain(name),
    }
}

fn namespace(kind: &Kind, field: &Field<'_>, found: &mut Findings) {
    match (kind.scope, field.text()) {
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => found.forbidden(&field.path, "not allowed on this type"),
        (Scope::Namespaced, "") => found.required(&field.path, ""),
        (Scope::Namespaced, name) => {
            found.invalid_each(&field.path, name, format::dns_label(name));
        }
    }
}

fn common(kind: &Kind, meta: &Field<'_>, found: &mut Findings) {
    labels::labels(&meta.child("labels"), found);
    annotations(&meta.child("annotations"), found);
    owner_references(&meta.child("ownerReferences"), found);
    let is_built_in = kind.definition.starts_with("io.k8s.");
    finalizers(&meta.child("finalizers"), is_built_in, found);
    managed_fields(&meta.child("managedFields"), found);
}

pub fn annotations(field: &Field<'_>, found: &mut Findings) {
    let mut bytes = 0;
    for (key, value) in field.entries() {
        let wrong = format::qualified_name(&key.to_lowercase());
        found.invalid_each(&field.path, key, wrong);
        bytes += key.len() + value.text().len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        found.too_long(&field.path, ANNOTATIONS_BYTES_MAX);
    }
}

fn owner_references(field: &Field<'_>, found: &mut Findings) {
    let mut controller: Option<String> = None;
    for owner in field.items() {
        let shared = Field {
            path: field.path.clone(),
            ..owner.clone()
        };
        let version = shared.child("apiVersion");
        if version.text().is_empty() || version.text().ends_with('/') {
            found.invalid(&version.path, version.text(), "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            let part = shared.child(name);
            if part.is_empty() {
                found.invalid(&part.path, part.text(), "must not be empty");
            }
        }
        if (version.text(), owner.child("kind").text()) == ("v1", "Event") {
            let about = "/v1, Kind=Event is disallowed from being an owner";
            found.invalid(&field.path, &owner.json(), about);
        }
        if owner.child("controller").is_true() {
            let named = format!(
                "{}/{}",
                owner.child("kind").text(),
                owner.child("name").text()
            );
            match &controller {
                None => controller = Some(named),
                Some(first) => {
                    let about = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for \
                         {first} and {named}"
                    );
                    found.invalid(&field.path, &field.json(), &about);
                }
            }
        }
    }
}

fn finalizers(field: &Field<'_>, is_built_in: bool, found: &mut Findings) {
    let names: Vec<&str> = field
        .items()
        .map(|item| item.value.and_then(Value::as_str).unwrap_or_default())
        .collect();
    for name in &names {
        found.invalid_each(&field.path, *name, format::qualified_name(name));
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        let about = "finalizer orphan and foregroundDeletion cannot be both set";
        found.invalid(&field.path, &field.json(), about);
    }
    if is_built_in {
        for item in field.items() {
            standard_finalizer(&item, found);
        }
    }
}

/// A finalizer without a domain must be one of the old names.
pub fn standard_finalizer(field: &Field<'_>, found: &mut Findings) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let name = field.text();
    if !name.contains('/') && !STANDARD.contains(&name) {
        let about = "name is neither a standard finalizer name nor is it fully qualified";
        found.invalid(&field.path, name, about);
    }
}

fn no_new_finalizers(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let known: Vec<Value> = old.items().map(|item| item.json()).collect();
    let mut extra: Vec<String> = new
        .items()
        .filter(|item| !known.iter().any(|known| same(Some(known), item.value)))
        .map(|item| item.json().to_string())
        .collect();
    extra.sort();
    if !extra.is_empty() {
        let extra = extra.join(", ");
        let about = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{extra}}}"
        );
        found.forbidden(&new.path, &about);
    }
}

fn managed_fields(field: &Field<'_>, found: &mut Findings) {
    for entry in field.items() {
        let operation = entry.child("operation");
        if !["Apply", "Update"].contains(&operation.text()) {
            let about = "must be `Apply` or `Update`";
            found.invalid(&operation.path, operation.text(), about);
        }
        let fields_type = entry.child("fieldsType");
        if !["", "FieldsV1"].contains(&fields_type.text()) {
            found.invalid(&fields_type.path, fields_type.text(), "must be `FieldsV1`");
        }
        let manager = entry.child("manager");
        if manager.text().len() > MANAGER_BYTES_MAX {
            found.too_long(&manager.path, MANAGER_BYTES_MAX);
        }
    }
}
