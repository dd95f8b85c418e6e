//! Which volume suits a claim.

use super::is_for;
use crate::{
    api::{
        placement::{self, Site},
        quantity::Quantity,
    },
    controllers::framework::matches,
};
use k8s_openapi::{
    api::core::v1::{
        Node, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
        PersistentVolumeSpec,
    },
    apimachinery::pkg::api::resource::Quantity as Text,
};
use std::{collections::BTreeMap, sync::Arc};

/// A volume bound to the claim beforehand, or else the smallest free one that satisfies it.
pub fn best<'a>(
    claim: &PersistentVolumeClaim,
    volumes: impl Iterator<Item = &'a Arc<PersistentVolume>>,
    node: Option<&Node>,
) -> Option<&'a Arc<PersistentVolume>> {
    let spec = claim.spec.as_ref()?;
    let mut smallest: Option<(Quantity, &Arc<PersistentVolume>)> = None;
    for volume in volumes.filter(|volume| volume.metadata.deletion_timestamp.is_none()) {
        let Some(offer) = &volume.spec else { continue };
        if is_for(volume, claim) && has_room(offer, spec) {
            return Some(volume);
        }
        let phase = volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let is_free = offer.claim_ref.is_none() && phase == Some("Available");
        if !is_free || !suits(offer, spec, volume.metadata.labels.as_ref()) || !reaches(offer, node)
        {
            continue;
        }
        let Some(size) = storage(offer.capacity.as_ref()) else {
            continue;
        };
        if smallest.as_ref().is_none_or(|(other, _)| size < *other) {
            smallest = Some((size, volume));
        }
    }
    smallest.map(|(_, volume)| volume)
}

fn suits(
    offer: &PersistentVolumeSpec,
    wish: &PersistentVolumeClaimSpec,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let modes = offer.access_modes.as_deref().unwrap_or_default();
    let mut wanted = wish.access_modes.iter().flatten();
    class(offer.storage_class_name.as_ref()) == class(wish.storage_class_name.as_ref())
        && mode(offer.volume_mode.as_ref()) == mode(wish.volume_mode.as_ref())
        && wanted.all(|mode| modes.contains(mode))
        && wish
            .selector
            .as_ref()
            .is_none_or(|selector| matches(selector, labels))
        && has_room(offer, wish)
}

/// Why a volume that a claim asks for by name cannot be its, in upstream's words.
pub fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let (Some(offer), Some(wish)) = (&volume.spec, &claim.spec) else {
        return None;
    };
    let modes = offer.access_modes.as_deref().unwrap_or_default();
    let mut wanted = wish.access_modes.iter().flatten();
    if !has_room(offer, wish) {
        Some("requested PV is too small")
    } else if class(offer.storage_class_name.as_ref()) != class(wish.storage_class_name.as_ref()) {
        Some("storageClassName does not match")
    } else if mode(offer.volume_mode.as_ref()) != mode(wish.volume_mode.as_ref()) {
        Some("incompatible volumeMode")
    } else if !wanted.all(|mode| modes.contains(mode)) {
        Some("incompatible accessMode")
    } else {
        None
    }
}

fn has_room(offer: &PersistentVolumeSpec, wish: &PersistentVolumeClaimSpec) -> bool {
    match (storage(offer.capacity.as_ref()), request(wish)) {
        (Some(size), Some(wanted)) => size >= wanted,
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

/// Whether the volume can be used on the node, if one was chosen.
fn reaches(offer: &PersistentVolumeSpec, node: Option<&Node>) -> bool {
    let required = offer
        .node_affinity
        .as_ref()
        .and_then(|affinity| affinity.required.as_ref());
    let (Some(required), Some(node)) = (required, node) else {
        return true;
    };
    placement::selects(required, Site::of(node))
}

pub fn storage(amounts: Option<&BTreeMap<String, Text>>) -> Option<Quantity> {
    Quantity::parse(&amounts?.get("storage")?.0).ok()
}

pub fn request(wish: &PersistentVolumeClaimSpec) -> Option<Quantity> {
    storage(wish.resources.as_ref()?.requests.as_ref())
}

/// None and empty are one: no class.
pub fn class(name: Option<&String>) -> &str {
    name.map_or("", String::as_str)
}

fn mode(mode: Option<&String>) -> &str {
    mode.map_or("Filesystem", String::as_str)
}
