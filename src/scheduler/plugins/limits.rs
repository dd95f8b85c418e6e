//! How many volumes of a driver a node can take, as its CSINode says.

use super::{
    Cycle, NodeInfo, Rejection, Verdict,
    volumes::{class_name, find, volume_name},
};
use crate::{
    api::name::Key,
    scheduler::pod::{Claim, PodInfo},
};
use std::collections::{HashMap, HashSet};

const REASON: &str = "node(s) exceed max volume count";

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    if cycle.pod.claims.is_empty() {
        return Ok(());
    }
    let drivers = cycle.world.drivers.get(&Key::new("", &*node.name));
    let drivers = drivers.into_iter().flat_map(|node| &node.spec.drivers);
    let limits: HashMap<&str, i32> = drivers
        .filter_map(|driver| Some((driver.name.as_str(), driver.allocatable.as_ref()?.count?)))
        .collect();
    if limits.is_empty() {
        return Ok(());
    }
    let others = node.pods.iter().filter(|other| other.key != cycle.pod.key);
    let attached: HashSet<(String, String)> =
        others.flat_map(|other| volumes(cycle, other)).collect();
    let wanted: HashSet<(String, String)> = volumes(cycle, cycle.pod).collect();
    for (driver, limit) in limits {
        let of =
            |all: &HashSet<(String, String)>| all.iter().filter(|(name, _)| name == driver).count();
        let new = wanted
            .iter()
            .filter(|one| one.0 == driver && !attached.contains(*one))
            .count();
        let limit = usize::try_from(limit).unwrap_or_default();
        if new > 0 && of(&attached) + new > limit {
            return Err(Rejection::for_now(REASON));
        }
    }
    Ok(())
}

/// Driver and handle of each volume of a pod; a volume that is yet to be made is known by its claim.
fn volumes(cycle: &Cycle<'_>, pod: &PodInfo) -> impl Iterator<Item = (String, String)> {
    let namespace = &pod.key.namespace;
    pod.claims
        .iter()
        .filter_map(move |claim| volume(cycle, namespace, claim))
}

fn volume(cycle: &Cycle<'_>, namespace: &str, claim: &Claim) -> Option<(String, String)> {
    let found = find(cycle, namespace, claim)?;
    match volume_name(found) {
        Some(name) => {
            let volume = cycle.world.volumes.get(&Key::new("", name))?;
            let csi = volume.spec.as_ref()?.csi.as_ref()?;
            Some((csi.driver.clone(), csi.volume_handle.clone()))
        }
        None => {
            let class = cycle.world.classes.get(&Key::new("", class_name(found)))?;
            Some((
                class.provisioner.clone(),
                format!("{namespace}/{}", claim.name),
            ))
        }
    }
}
