//! Mounts and devices of a container: which volume appears where.

use super::volume::{Volumes, descending_path, no_backsteps};
use crate::kinds::validate::finding::{Field, Findings};
use std::collections::HashSet;

pub fn mounts(container: &Field<'_>, volumes: &Volumes<'_>, found: &mut Findings) {
    let list = container.child("volumeMounts");
    let devices = container.child("volumeDevices");
    let mut paths = HashSet::new();
    for mount in list.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        found.required_text(&name);
        if volumes.find(name.text()).is_none() {
            found.not_found(&name.path, name.text());
        }
        found.required_text(&path);
        if !paths.insert(path.text()) {
            found.invalid(&path.path, path.text(), "must be unique");
        }
        for device in devices.items() {
            if device.child("name").text() == name.text() {
                let about = "must not already exist in volumeDevices";
                found.invalid(&name.path, name.text(), about);
            }
            if device.child("devicePath").text() == path.text() {
                let about = "must not already exist as a path in volumeDevices";
                found.invalid(&path.path, path.text(), about);
            }
        }
        mount_options(&list, &mount, container, found);
    }
}

fn mount_options(list: &Field<'_>, mount: &Field<'_>, container: &Field<'_>, found: &mut Findings) {
    let (sub, expression) = (mount.child("subPath"), mount.child("subPathExpr"));
    // Upstream leaves the index out of the following paths.
    if !sub.is_empty() {
        descending_path(
            &Field {
                path: list.path_to("subPath"),
                ..sub.clone()
            },
            found,
        );
    }
    if !expression.is_empty() {
        if !sub.is_empty() {
            let about = "subPathExpr and subPath are mutually exclusive";
            found.invalid(&expression.path, expression.text(), about);
        }
        descending_path(
            &Field {
                path: list.path_to("subPathExpr"),
                ..expression
            },
            found,
        );
    }
    let propagation = mount.child("mountPropagation");
    if propagation.is_set() {
        let path = list.path_to("mountPropagation");
        const MODES: &[&str] = &["Bidirectional", "HostToContainer", "None"];
        if !MODES.contains(&propagation.text()) {
            found.not_supported(&path, propagation.text(), MODES);
        }
        let privileged = container.at(&["securityContext", "privileged"]).is_true();
        if propagation.text() == "Bidirectional" && !privileged {
            let about =
                "Bidirectional mount propagation is available only to privileged containers";
            found.forbidden(&path, about);
        }
    }
    let recursive = mount.child("recursiveReadOnly");
    if recursive.is_set() {
        let path = list.path_to("recursiveReadOnly");
        match recursive.text() {
            "Disabled" => {}
            "Enabled" | "IfPossible" => {
                if !mount.child("readOnly").is_true() {
                    found.forbidden(&path, "may only be specified when readOnly is true");
                }
                if !["", "None"].contains(&propagation.text()) {
                    let about =
                        "may only be specified when mountPropagation is None or not specified";
                    found.forbidden(&path, about);
                }
            }
            other => found.not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
        }
    }
}

pub fn devices(container: &Field<'_>, volumes: &Volumes<'_>, found: &mut Findings) {
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for device in container.child("volumeDevices").items() {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        found.required_text(&name);
        if !names.insert(name.text()) {
            found.invalid(&name.path, name.text(), "must be unique");
        }
        match volumes.find(name.text()) {
            None => found.not_found(&name.path, name.text()),
            Some(volume) => {
                let sources = ["persistentVolumeClaim", "ephemeral"];
                if !sources.iter().any(|source| volume.child(source).is_set()) {
                    let about = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    found.invalid(&name.path, name.text(), about);
                }
            }
        }
        found.required_text(&path);
        if !paths.insert(path.text()) {
            found.invalid(&path.path, path.text(), "must be unique");
        }
        let mut scratch = Findings::default();
        no_backsteps(&path, &mut scratch);
        if !scratch.is_empty() {
            found.invalid(&path.path, path.text(), "can not contain backsteps ('..')");
        }
    }
}
