//! Volumes, claims, storage classes, CSI drivers.

use super::{part, put};
use serde_json::{Value, json};

pub fn volume(object: &mut Value) {
    if let Some(spec) = part(object, "spec") {
        put(spec, "persistentVolumeReclaimPolicy", "Retain");
        put(spec, "volumeMode", "Filesystem");
        if let Some(path) = part(spec, "hostPath") {
            put(path, "type", "");
        }
    }
}

/// Volumes and claims begin unbound.
pub fn new_unbound(object: &mut Value) {
    object["status"] = json!({"phase": "Pending"});
}

pub fn claim(object: &mut Value) {
    if let Some(spec) = part(object, "spec") {
        put(spec, "volumeMode", "Filesystem");
        // The newer and the older way to name a source are kept equal.
        let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
        if reference["namespace"].is_null() {
            if !source.is_null() {
                put(spec, "dataSourceRef", source);
            } else if !reference.is_null() {
                put(spec, "dataSource", reference);
            }
        }
    }
}

pub fn class(object: &mut Value) {
    put(object, "reclaimPolicy", "Delete");
    put(object, "volumeBindingMode", "Immediate");
}

pub fn driver(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "attachRequired", true);
    put(spec, "podInfoOnMount", false);
    put(spec, "storageCapacity", false);
    put(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    put(spec, "requiresRepublish", false);
    put(spec, "seLinuxMount", false);
    put(spec, "volumeLifecycleModes", json!(["Persistent"]));
}
