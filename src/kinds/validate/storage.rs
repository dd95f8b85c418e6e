//! PersistentVolumes, PersistentVolumeClaims, StorageClasses.

use super::{
    finding::{Field, Findings, difference, same},
    format, labels, pod, resources,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use serde_json::Value;

const ACCESS_MODES: &[&str] = &[
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// The kinds of volume a PersistentVolume may be.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn access_modes(field: &Field<'_>, about: &str, found: &mut Findings) {
    if field.is_empty() {
        found.required(&field.path, about);
    }
    let (mut exclusive, mut shared) = (false, false);
    for mode in field.items() {
        match mode.text() {
            "ReadWriteOncePod" => exclusive = true,
            text if ACCESS_MODES.contains(&text) => shared = true,
            text => found.not_supported(&field.path, text, ACCESS_MODES),
        }
    }
    if exclusive && shared {
        let about = "may not use ReadWriteOncePod with other access modes";
        found.forbidden(&field.path, about);
    }
}

fn class_name(field: &Field<'_>, found: &mut Findings) {
    if !field.is_empty() {
        found.invalid_each(
            &field.path,
            field.text(),
            format::dns_subdomain(field.text()),
        );
    }
}

pub fn volume(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    access_modes(&spec.child("accessModes"), "", &mut found);
    let capacity = spec.child("capacity");
    if capacity.is_empty() {
        found.required(&capacity.path, "");
    }
    let names: Vec<&str> = capacity.entries().map(|(name, _)| name).collect();
    if names != ["storage"] {
        found.not_supported(&capacity.path, &capacity.json(), &["storage"]);
    }
    for (_, quantity) in capacity.entries() {
        resources::positive(&quantity, &mut found);
    }
    let reclaim = spec.child("persistentVolumeReclaimPolicy");
    found.one_of_if_set(&reclaim, &["Delete", "Recycle", "Retain"]);
    let affinity = spec.child("nodeAffinity");
    if affinity.is_set() {
        let required = affinity.child("required");
        match required.is_set() {
            true => labels::node_selector(&required, &mut found),
            false => {
                let about = "must specify required node constraints";
                found.required(&required.path, about);
            }
        }
    }
    volume_source(&spec, affinity.is_set(), &mut found);
    let path = spec.at(&["hostPath", "path"]);
    let is_root = !path.is_empty() && path.text().trim_matches('/').is_empty();
    if is_root && reclaim.text() == "Recycle" {
        let about = "may not be 'recycle' for a hostPath mount of '/'";
        found.forbidden(&reclaim.path, about);
    }
    class_name(&spec.child("storageClassName"), &mut found);
    found.one_of_if_set(&spec.child("volumeMode"), VOLUME_MODES);
    let attributes = spec.child("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            found.required(&attributes.path, "an empty string is disallowed");
        }
        class_name(&attributes, &mut found);
        let csi = spec.child("csi");
        if !csi.is_set() {
            let about = "has to be specified when using volumeAttributesClassName";
            found.required(&csi.path, about);
        }
    }
    found.into_causes()
}

fn volume_source(spec: &Field<'_>, has_affinity: bool, found: &mut Findings) {
    let mut count = 0;
    for name in SOURCES {
        let source = spec.child(name);
        if !source.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            let about = "may not specify more than 1 volume type";
            found.forbidden(&source.path, about);
            continue;
        }
        match *name {
            "hostPath" => pod::host_path(&source, found),
            "nfs" => pod::nfs(&source, found),
            "local" => {
                let path = source.child("path");
                found.required_text(&path);
                pod::no_backsteps(&path, found);
                if !has_affinity {
                    let path = spec.path_to("nodeAffinity");
                    found.required(&path, "Local volume requires node affinity");
                }
            }
            "csi" => {
                pod::driver_name(&source.child("driver"), found);
                found.required_text(&source.child("volumeHandle"));
            }
            _ => {}
        }
    }
    if count == 0 {
        found.required(&spec.path, "must specify a volume type");
    }
}

pub fn volume_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    if context.subresource == Some("status") {
        return found.into_causes();
    }
    let (new, old) = (
        Field::root(object).child("spec"),
        Field::root(context.old).child("spec"),
    );
    let mut lines = String::new();
    for name in SOURCES {
        let (mut now, before) = (new.child(name).json(), old.child(name).json());
        // A secret for expansion may be added later.
        const EXPAND: &str = "controllerExpandSecretRef";
        if before.is_object()
            && before[EXPAND].is_null()
            && let Some(map) = now.as_object_mut()
        {
            map.remove(EXPAND);
        }
        lines += &difference(&old.path_to(name), Some(&before), Some(&now));
    }
    if !lines.is_empty() {
        let about = format!("spec.persistentvolumesource is immutable after creation\n{lines}");
        found.forbidden("spec.persistentvolumesource", &about);
    }
    let top = |field: Field<'_>, path: &str, found: &mut Findings, old: Field<'_>| {
        if !same(field.value, old.value) {
            found.invalid(path, &field.json(), "field is immutable");
        }
    };
    top(
        new.child("volumeMode"),
        "volumeMode",
        &mut found,
        old.child("volumeMode"),
    );
    if old.child("nodeAffinity").is_set() {
        top(
            new.child("nodeAffinity"),
            "nodeAffinity",
            &mut found,
            old.child("nodeAffinity"),
        );
    }
    attributes_class(&new, &old, &mut found);
    found.into_causes()
}

fn attributes_class(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let (now, before) = (
        new.child("volumeAttributesClassName"),
        old.child("volumeAttributesClassName"),
    );
    if before.is_set() && !now.is_set() {
        found.forbidden(&now.path, "update from non-nil value to nil is forbidden");
    } else if !before.is_empty() && now.is_empty() {
        let about = "update from non-nil value to an empty string is forbidden";
        found.forbidden(&now.path, about);
    }
}

pub fn claim(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    claim_spec(&Field::root(object).child("spec"), &mut found);
    found.into_causes()
}

pub fn claim_spec(spec: &Field<'_>, found: &mut Findings) {
    access_modes(
        &spec.child("accessModes"),
        "at least 1 access mode is required",
        found,
    );
    labels::label_selector(&spec.child("selector"), found);
    let storage = Field {
        path: format!("{}[storage]", spec.path_to("resources")),
        ..spec.at(&["resources", "requests"]).key("storage")
    };
    match storage.is_set() {
        true => resources::positive(&storage, found),
        false => found.required(&storage.path, ""),
    }
    class_name(&spec.child("storageClassName"), found);
    found.one_of_if_set(&spec.child("volumeMode"), VOLUME_MODES);
    for name in ["dataSource", "dataSourceRef"] {
        let source = spec.child(name);
        if !source.is_set() {
            continue;
        }
        found.required_text(&source.child("name"));
        let kind = source.child("kind");
        found.required_text(&kind);
        let group = source.child("apiGroup");
        if group.is_empty() && kind.text() != "PersistentVolumeClaim" {
            let about = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            found.invalid(&source.path, kind.text(), about);
        }
        if !group.is_empty() {
            let wrong = format::dns_subdomain(group.text());
            found.invalid_each(&group.path, group.text(), wrong);
        }
    }
    class_name(&spec.child("volumeAttributesClassName"), found);
}

pub fn claim_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    if context.subresource == Some("status") {
        return found.into_causes();
    }
    let (root, old_root) = (Field::root(object), Field::root(context.old));
    let (new, old) = (root.child("spec"), old_root.child("spec"));
    let (mut now, mut before) = (new.json(), old.json());
    if old.child("volumeName").is_empty() {
        before["volumeName"] = now["volumeName"].clone();
    }
    if !old.child("storageClassName").is_set() {
        before["storageClassName"] = now["storageClassName"].clone();
    }
    if root.at(&["status", "phase"]).text() == "Bound" {
        now["resources"]["requests"]["storage"] = requested(&old).json();
        if !now["volumeAttributesClassName"].is_null() {
            now["volumeAttributesClassName"] = before["volumeAttributesClassName"].clone();
        }
    }
    if !same(Some(&now), Some(&before)) {
        let lines = difference("spec", Some(&before), Some(&now));
        let about = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims\n{lines}"
        );
        found.forbidden("spec", &about);
    }
    if let (Some(wanted), Some(had)) = (requested(&new).quantity(), requested(&old).quantity()) {
        let capacity = old_root
            .at(&["status", "capacity"])
            .key("storage")
            .quantity();
        let is_recovery = capacity.is_none_or(|capacity| wanted > capacity);
        if wanted < had && !is_recovery {
            let path = "spec.resources.requests.storage";
            found.forbidden(path, "field can not be less than status.capacity");
        }
    }
    if !same(new.child("volumeMode").value, old.child("volumeMode").value) {
        found.invalid(
            "volumeMode",
            &new.child("volumeMode").json(),
            "field is immutable",
        );
    }
    attributes_class(&new, &old, &mut found);
    found.into_causes()
}

fn requested<'a>(spec: &Field<'a>) -> Field<'a> {
    spec.at(&["resources", "requests"]).key("storage")
}

pub fn class(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let provisioner = root.child("provisioner");
    match provisioner.text() {
        "" => found.required(&provisioner.path, ""),
        text => {
            let wrong = format::qualified_name(&text.to_lowercase());
            found.invalid_each(&provisioner.path, text, wrong);
        }
    }
    let parameters = root.child("parameters");
    for (key, _) in parameters.entries() {
        if key.is_empty() {
            found.invalid(&parameters.path, key, "field can not be empty.");
        }
    }
    found.one_of_if_set(&root.child("reclaimPolicy"), &["Delete", "Retain"]);
    found.one_of(
        &root.child("volumeBindingMode"),
        &["Immediate", "WaitForFirstConsumer"],
    );
    found.into_causes()
}

pub fn class_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    for name in ["parameters", "provisioner"] {
        if !same(new.child(name).value, old.child(name).value) {
            let about = format!("updates to {name} are forbidden.");
            found.forbidden(name, &about);
        }
    }
    if !same(
        new.child("reclaimPolicy").value,
        old.child("reclaimPolicy").value,
    ) {
        found.forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.");
    }
    found.immutable(
        &new.child("volumeBindingMode"),
        &old.child("volumeBindingMode"),
    );
    found.into_causes()
}
