//! Volumes: their phase, and what becomes of them when their claim is gone.

use super::{BINDER, BOUND_BY_CONTROLLER, COMPONENT, directory, is_for, is_ours, volume_name};
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Disk, Notice, Watches, World, Write},
    },
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};
use std::path::{Path, PathBuf};

pub fn start(ctx: &ControllerContext) {
    let root = ctx.settings.volumes.clone();
    framework::start(ctx, BINDER, COMPONENT, Volumes { root });
}

pub(super) struct Volumes {
    pub root: PathBuf,
}

impl Controller for Volumes {
    type Primary = PersistentVolume;

    fn watches(watches: &mut Watches) {
        watches.on::<PersistentVolumeClaim>(|claim, caches| {
            let mut keys: Vec<Key> = volume_name(claim)
                .map(|name| Key::new("", name))
                .into_iter()
                .collect();
            let all = caches.all::<PersistentVolume>();
            keys.extend(
                all.values()
                    .filter(|volume| is_for(volume, claim))
                    .map(|volume| volume.key()),
            );
            keys
        });
    }

    fn reconcile(&self, volume: &PersistentVolume, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = &volume.spec else {
            return decision;
        };
        let Some(reference) = &spec.claim_ref else {
            let _ = set_phase(volume, "Available", &mut decision);
            return decision;
        };
        let uid = reference.uid.as_deref().unwrap_or_default();
        if uid.is_empty() {
            // Reserved by a person for a claim that is still to come.
            let _ = set_phase(volume, "Available", &mut decision);
            return decision;
        }
        let key = Key::new(
            reference.namespace.clone().unwrap_or_default(),
            reference.name.clone().unwrap_or_default(),
        );
        let claim = world.all::<PersistentVolumeClaim>().get(&key);
        match claim.filter(|claim| claim.uid() == uid) {
            None => self.release(volume, spec, &mut decision),
            Some(claim) => match volume_name(claim) {
                Some(name) if name == volume.key().name => {
                    let _ = set_phase(volume, "Bound", &mut decision);
                }
                Some(_) => self.lose(volume, spec, &mut decision),
                // The claim is about to be bound.
                None => {}
            },
        }
        decision
    }
}

impl Volumes {
    /// The claim is gone.
    fn release(
        &self,
        volume: &PersistentVolume,
        spec: &PersistentVolumeSpec,
        decision: &mut Decision,
    ) {
        if volume.is_deleting() || phase(volume) == "Failed" {
            return;
        }
        if !set_phase(volume, "Released", decision) {
            return;
        }
        match spec.persistent_volume_reclaim_policy.as_deref() {
            Some("Delete") if is_ours(volume) => self.remove(volume, decision),
            Some("Delete") if spec.host_path.is_some() => {
                let text =
                    "deleting a host path that was not provisioned here is left to its owner";
                fail(volume, "VolumeFailedDelete", text, decision);
            }
            Some("Recycle") => match spec
                .host_path
                .as_ref()
                .map(|source| Path::new(&source.path))
            {
                Some(path) if is_deep(path) => {
                    decision.push(Disk::Empty(path.to_owned()));
                    decision.push(unbind(volume));
                    decision.push(Notice::normal(volume, "VolumeRecycled", "Volume recycled"));
                }
                _ => fail(
                    volume,
                    "VolumeFailedRecycle",
                    "No recycler plugin found for the volume!",
                    decision,
                ),
            },
            _ => {}
        }
    }

    /// The claim took another volume.
    fn lose(
        &self,
        volume: &PersistentVolume,
        spec: &PersistentVolumeSpec,
        decision: &mut Decision,
    ) {
        let is_deletable = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
        if is_ours(volume) && is_deletable {
            self.remove(volume, decision);
        } else if !volume.is_deleting() {
            decision.push(unbind(volume));
        }
    }

    /// Data first: a volume object without data is found again, data without an object is not.
    fn remove(&self, volume: &PersistentVolume, decision: &mut Decision) {
        decision.push(Disk::Remove(directory(&self.root, &volume.key().name)));
        decision.push(Write::delete(volume));
    }
}

fn unbind(volume: &PersistentVolume) -> Write {
    let mut volume = volume.clone();
    volume.spec.get_or_insert_default().claim_ref = None;
    if let Some(annotations) = &mut volume.metadata.annotations {
        annotations.remove(BOUND_BY_CONTROLLER);
    }
    Write::update(&volume)
}

fn phase(volume: &PersistentVolume) -> &str {
    let status = volume.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Whether it has the phase already.
fn set_phase(volume: &PersistentVolume, wanted: &str, decision: &mut Decision) -> bool {
    let has = phase(volume) == wanted;
    if !has {
        decision.push(with_phase(volume, wanted, None));
    }
    has
}

fn fail(volume: &PersistentVolume, reason: &str, text: &str, decision: &mut Decision) {
    decision.push(with_phase(volume, "Failed", Some(text.to_owned())));
    decision.push(Notice::warning(volume, reason, text));
}

fn with_phase(volume: &PersistentVolume, phase: &str, message: Option<String>) -> Write {
    let mut volume = volume.clone();
    let status = volume.status.get_or_insert_default();
    status.phase = Some(phase.to_owned());
    status.message = message;
    Write::update_status(&volume)
}

/// Not the root of a file system or a top-level directory: whoever wrote that did not mean it.
fn is_deep(path: &Path) -> bool {
    let is_plain = path
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    path.is_absolute() && is_plain && path.components().count() > 2
}
