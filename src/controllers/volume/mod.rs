//! Persistent volumes: binding claims, making and removing volumes of the built-in provisioner, protecting what is
//! in use, claims of ephemeral volumes.

mod claims;
mod fit;
mod growth;
mod protection;
mod recycle;
mod volumes;

pub use claims::start as start_claims;
pub use protection::{
    start_claims as start_claim_protection, start_ephemeral,
    start_volumes as start_volume_protection,
};
pub use volumes::start as start_volumes;

use crate::api::{name::Key, object::Object};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use std::path::{Path, PathBuf};

pub const PROVISIONER: &str = "kubik.io/hostpath";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

const BINDER: &str = "persistent-volume-binder";
const COMPONENT: &str = "persistentvolume-controller";

/// Whether the volume is meant for exactly this claim.
fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref());
    reference.is_some_and(|reference| {
        let key = Key::new(
            reference.namespace.clone().unwrap_or_default(),
            reference.name.clone().unwrap_or_default(),
        );
        let uid = reference.uid.as_deref().unwrap_or_default();
        key == claim.key() && (uid.is_empty() || uid == claim.uid())
    })
}

fn is_ours(volume: &PersistentVolume) -> bool {
    let annotations = volume.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(PROVISIONED_BY))
        .map(String::as_str)
        == Some(PROVISIONER)
}

/// Where the data of a volume of ours lies: derived from its name alone, never from what its spec says.
fn directory(root: &Path, volume: &str) -> PathBuf {
    root.join(volume)
}

fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    let spec = claim.spec.as_ref()?;
    spec.volume_name.as_deref().filter(|name| !name.is_empty())
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    let status = claim.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
