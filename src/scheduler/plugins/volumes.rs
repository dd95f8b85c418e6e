//! Claims: bound ones tie a pod to where their volume is, unbound ones may wait for the pod's node.
//!
//! What binding takes is a [`Plan`]; carrying it out is the binding's business.

use super::{Cycle, NodeInfo, Rejection, Verdict};
use crate::{
    api::{
        name::Key,
        object::Object,
        placement::{self, Site},
        quantity::Quantity,
    },
    scheduler::{affinity::parse, pod::Claim},
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const NOTHING_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SUCH_VOLUME: &str =
    "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const IN_USE: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

/// What must happen to the pod's claims before it can be bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Claims to be bound to volumes that exist, by the volume's name.
    pub bind: BTreeMap<Key, String>,
    /// Claims for which a volume is to be made on the chosen node.
    pub provision: BTreeSet<Key>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty()
    }
}

pub fn check(cycle: &Cycle<'_>) -> Verdict {
    for claim in &cycle.pod.claims {
        let name = &claim.name;
        let Some(found) = find(cycle, &cycle.pod.key.namespace, claim) else {
            let reason = if claim.is_ephemeral {
                format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                )
            } else {
                format!("persistentvolumeclaim \"{name}\" not found")
            };
            return Err(Rejection::for_good(&reason));
        };
        if found.is_deleting() {
            let reason = format!("persistentvolumeclaim \"{name}\" is being deleted");
            return Err(Rejection::for_good(&reason));
        }
        let status = found.status.as_ref();
        if status.and_then(|status| status.phase.as_deref()) == Some("Lost") {
            let volume = volume_name(found).unwrap_or_default();
            let reason = format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            );
            return Err(Rejection::for_good(&reason));
        }
        if !is_bound(found) && !waits(cycle, found) {
            let reason = "pod has unbound immediate PersistentVolumeClaims";
            return Err(Rejection::for_good(reason));
        }
    }
    Ok(())
}

/// `ReadWriteOncePod` means one pod in the whole cluster.
pub fn filter_exclusive(cycle: &Cycle<'_>, _: &NodeInfo) -> Verdict {
    let exclusive: Vec<&Claim> = cycle
        .pod
        .claims
        .iter()
        .filter(|claim| {
            find(cycle, &cycle.pod.key.namespace, claim).is_some_and(|found| is_exclusive(found))
        })
        .collect();
    if exclusive.is_empty() {
        return Ok(());
    }
    let namespace = &cycle.pod.key.namespace;
    let mut others = cycle.world.pods().map(|(_, pod)| pod);
    let uses = |name: &str, claims: &[Claim]| claims.iter().any(|claim| claim.name == name);
    let is_used = others.any(|other| {
        other.key.namespace == *namespace
            && other.key != cycle.pod.key
            && exclusive
                .iter()
                .any(|claim| uses(&claim.name, &other.claims))
    });
    if is_used {
        return Err(Rejection::for_now(IN_USE));
    }
    Ok(())
}

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    plan(cycle, node).map(drop)
}

pub fn plan(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<Plan, Rejection> {
    let mut plan = Plan::default();
    for claim in &cycle.pod.claims {
        let Some(claim) = find(cycle, &cycle.pod.key.namespace, claim) else {
            continue;
        };
        if let Some(name) = volume_name(claim).filter(|_| is_bound(claim)) {
            let volume = cycle.world.volumes.get(&Key::new("", name));
            let volume = volume.ok_or_else(|| Rejection::for_good(NO_SUCH_VOLUME))?;
            if !is_reachable(volume, node) {
                return Err(Rejection::for_good(CONFLICT));
            }
            continue;
        }
        if let Some(volume) = matching(cycle, claim, node, &plan) {
            plan.bind.insert(claim.key(), volume);
        } else if can_provision(cycle, claim, node) {
            plan.provision.insert(claim.key());
        } else {
            return Err(Rejection::for_good(NOTHING_TO_BIND));
        }
    }
    Ok(plan)
}

pub(super) fn find<'a>(
    cycle: &'a Cycle<'_>,
    namespace: &str,
    claim: &Claim,
) -> Option<&'a Arc<PersistentVolumeClaim>> {
    let key = Key::new(namespace, &*claim.name);
    cycle.world.claims.get(&key)
}

pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    let name = claim.spec.as_ref()?.volume_name.as_deref()?;
    (!name.is_empty()).then_some(name)
}

/// A name alone is a wish; the annotation says that it was granted.
fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let annotations = claim.metadata.annotations.as_ref();
    let completed =
        annotations.is_some_and(|all| all.contains_key("pv.kubernetes.io/bind-completed"));
    let status = claim.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    volume_name(claim).is_some() && (completed || phase == Some("Bound"))
}

fn is_exclusive(claim: &PersistentVolumeClaim) -> bool {
    let modes = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.access_modes.as_ref());
    modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
}

pub(super) fn class_name(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref();
    let name = spec.and_then(|spec| spec.storage_class_name.as_deref());
    name.unwrap_or_default()
}

fn waits(cycle: &Cycle<'_>, claim: &PersistentVolumeClaim) -> bool {
    let class = cycle.world.classes.get(&Key::new("", class_name(claim)));
    let mode = class.and_then(|class| class.volume_binding_mode.as_deref());
    mode == Some("WaitForFirstConsumer")
}

fn is_reachable(volume: &PersistentVolume, node: &NodeInfo) -> bool {
    let affinity = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|selector| placement::selects(selector, Site::of(&node.node)))
}

/// The smallest volume that is free, large enough and reachable from the node.
fn matching(
    cycle: &Cycle<'_>,
    claim: &PersistentVolumeClaim,
    node: &NodeInfo,
    plan: &Plan,
) -> Option<String> {
    let volumes = cycle.world.volumes.iter();
    let fitting = volumes.filter_map(|(key, volume)| {
        let promised = cycle.world.promised.get(&key.name);
        let is_taken = promised.is_some_and(|to| *to != claim.key())
            || plan.bind.values().any(|taken| *taken == key.name);
        let size = size(volume.spec.as_ref()?.capacity.as_ref())?;
        (!is_taken && fits(claim, volume, size) && is_reachable(volume, node))
            .then(|| (size, key.name.clone()))
    });
    fitting.min().map(|(_, name)| name)
}

fn fits(claim: &PersistentVolumeClaim, volume: &PersistentVolume, volume_size: Quantity) -> bool {
    let (Some(wish), Some(offer)) = (claim.spec.as_ref(), volume.spec.as_ref()) else {
        return false;
    };
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let is_ours = offer.claim_ref.as_ref().is_none_or(|to| {
        let same_uid = to
            .uid
            .as_deref()
            .is_none_or(|uid| uid.is_empty() || uid == claim.uid());
        to.name == claim.metadata.name && to.namespace == claim.metadata.namespace && same_uid
    });
    let is_free = !volume.is_deleting() && !matches!(phase, Some("Released" | "Failed"));
    let modes = offer.access_modes.as_deref().unwrap_or_default();
    let mut wanted = wish.access_modes.iter().flatten();
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let requests = wish
        .resources
        .as_ref()
        .and_then(|all| all.requests.as_ref());
    let selector = wish.selector.as_ref().map(|selector| parse(Some(selector)));
    is_ours
        && is_free
        && offer.storage_class_name.as_deref().unwrap_or_default() == class_name(claim)
        && wanted.all(|mode| modes.contains(mode))
        && mode(&wish.volume_mode) == mode(&offer.volume_mode)
        && size(requests).is_none_or(|wanted| wanted <= volume_size)
        && selector.is_none_or(|one| one.matches(&volume.metadata.labels.as_ref()))
}

fn size(
    list: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
) -> Option<Quantity> {
    Quantity::parse(&list?.get("storage")?.0).ok()
}

fn can_provision(cycle: &Cycle<'_>, claim: &PersistentVolumeClaim, node: &NodeInfo) -> bool {
    let class = cycle.world.classes.get(&Key::new("", class_name(claim)));
    let Some(class) = class.filter(|class| class.provisioner != NO_PROVISIONER) else {
        return false;
    };
    let Some(topologies) = class
        .allowed_topologies
        .as_ref()
        .filter(|all| !all.is_empty())
    else {
        return true;
    };
    topologies.iter().any(|term| {
        let mut expressions = term.match_label_expressions.iter().flatten();
        expressions.all(|one| {
            let value = node.label(&one.key);
            value.is_some_and(|value| one.values.iter().any(|wanted| wanted == value))
        })
    })
}
