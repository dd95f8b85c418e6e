//! Volumes: their phase, and what becomes of them when their claim is gone.

use super::{
    BINDER, BOUND_BY_CONTROLLER, COMPONENT, PROVISIONED_BY, directory, is_for, is_ours, recycle,
    volume_name,
};
use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Disk, Notice, Watches, World, Write},
    },
};
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::path::{Component, Path, PathBuf};

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
        watches.on::<Pod>(|pod, _| recycle::volume_of(pod).into_iter().collect());
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
            let _ = set_phase(volume, "Available", world, &mut decision);
            return decision;
        };
        let uid = reference.uid.as_deref().unwrap_or_default();
        if uid.is_empty() {
            // Reserved by a person for a claim that is still to come.
            let _ = set_phase(volume, "Available", world, &mut decision);
            return decision;
        }
        let key = Key::new(
            reference.namespace.clone().unwrap_or_default(),
            reference.name.clone().unwrap_or_default(),
        );
        let claim = world.all::<PersistentVolumeClaim>().get(&key);
        match claim.filter(|claim| claim.uid() == uid) {
            None => self.release(volume, spec, world, &mut decision),
            Some(claim) => match volume_name(claim) {
                Some(name) if name == volume.key().name => {
                    let _ = set_phase(volume, "Bound", world, &mut decision);
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
        world: &World,
        decision: &mut Decision,
    ) {
        if phase(volume) == "Failed" {
            return;
        }
        if volume.is_deleting() {
            // The object goes as soon as it is released, and nobody would know of the data any more.
            let is_deletable = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
            if phase(volume) != "Released" && is_deletable && is_ours(volume) {
                decision.push(Disk::Remove(directory(&self.root, &volume.key().name)));
            }
            let _ = set_phase(volume, "Released", world, decision);
            return;
        }
        if !set_phase(volume, "Released", world, decision) {
            return;
        }
        match spec.persistent_volume_reclaim_policy.as_deref() {
            Some("Delete") if is_ours(volume) => self.remove(volume, decision),
            Some("Delete") if is_foreign(volume) => {}
            Some("Delete") => self.delete(volume, spec, world, decision),
            Some("Recycle") => recycle::recycle(volume, spec, world, decision),
            _ => {}
        }
    }

    /// A volume that a person made. Of those only host paths can be deleted, and only temporary ones.
    fn delete(
        &self,
        volume: &PersistentVolume,
        spec: &PersistentVolumeSpec,
        world: &World,
        decision: &mut Decision,
    ) {
        let failed = |text: &str, decision: &mut Decision| {
            fail(volume, "VolumeFailedDelete", text, world, decision);
        };
        let Some(host) = &spec.host_path else {
            let name = volume.key().name;
            let text = format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            );
            return failed(&text, decision);
        };
        if !is_temporary(Path::new(&host.path)) {
            let path = &host.path;
            let text =
                format!("host_path deleter only supports /tmp/.+ but received provided {path}");
            return failed(&text, decision);
        }
        decision.push(Disk::Remove(PathBuf::from(&host.path)));
        decision.push(Write::delete(volume));
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

/// Whether a provisioner outside of the cluster's own parts looks after it.
fn is_foreign(volume: &PersistentVolume) -> bool {
    let annotations = volume.metadata.annotations.as_ref();
    let provisioner = annotations.and_then(|all| all.get(PROVISIONED_BY));
    provisioner.is_some_and(|name| !name.starts_with("kubernetes.io/"))
        || volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some())
}

pub(super) fn unbind(volume: &PersistentVolume) -> Write {
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
fn set_phase(
    volume: &PersistentVolume,
    wanted: &str,
    world: &World,
    decision: &mut Decision,
) -> bool {
    let has = phase(volume) == wanted;
    if !has {
        decision.push(with_phase(volume, wanted, None, world.stamp()));
    }
    has
}

pub(super) fn fail(
    volume: &PersistentVolume,
    reason: &str,
    text: &str,
    world: &World,
    decision: &mut Decision,
) {
    let message = Some(text.to_owned());
    decision.push(with_phase(volume, "Failed", message, world.stamp()));
    decision.push(Notice::warning(volume, reason, text));
}

fn with_phase(volume: &PersistentVolume, phase: &str, message: Option<String>, now: Time) -> Write {
    let mut volume = volume.clone();
    let status = volume.status.get_or_insert_default();
    status.phase = Some(phase.to_owned());
    status.last_phase_transition_time = Some(now);
    status.message = message;
    Write::update_status(&volume)
}

fn is_temporary(path: &Path) -> bool {
    let mut parts = path.components();
    let is_plain = parts.all(|part| part != Component::ParentDir);
    is_plain && path.starts_with("/tmp") && path.components().count() > 2
}
