//! Claims: find or make a volume, bind, notice losses, grow.

use super::{
    BIND_COMPLETED, BINDER, BOUND_BY_CONTROLLER, COMPONENT, PROVISIONED_BY, PROVISIONER, directory,
    fit, growth, is_for, is_ours, phase, volume_name,
};
use crate::{
    api::{name::Key, object::Object},
    client::reference,
    controllers::{
        ControllerContext,
        framework::{self, Caches, Controller, Decision, Disk, Notice, Watches, World, Write},
    },
};
use k8s_openapi::{
    api::{
        core::v1::{
            HostPathVolumeSource, Node, PersistentVolume, PersistentVolumeClaim,
            PersistentVolumeClaimSpec, PersistentVolumeSpec,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const STORAGE_PROVISIONER: &[&str] = &[
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];

pub fn start(ctx: &ControllerContext) {
    let root = ctx.settings.volumes.clone();
    framework::start(ctx, BINDER, COMPONENT, Claims { root });
}

pub(super) struct Claims {
    pub root: PathBuf,
}

impl Controller for Claims {
    type Primary = PersistentVolumeClaim;

    fn watches(watches: &mut Watches) {
        watches
            .read::<Node>()
            .on::<PersistentVolume>(concerned)
            .on::<StorageClass>(|_, caches| pending(caches));
    }

    fn reconcile(&self, claim: &PersistentVolumeClaim, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = claim.spec.as_ref().filter(|_| !claim.is_deleting()) else {
            return decision;
        };
        let is_bound = annotation(claim, BIND_COMPLETED).is_some();
        match (is_bound, volume_name(claim)) {
            (false, None) => self.find(claim, spec, world, &mut decision),
            (false, Some(name)) => to_named(claim, name, world, &mut decision),
            (true, name) => check(claim, spec, name, world, &mut decision),
        }
        decision
    }
}

impl Claims {
    fn find(
        &self,
        claim: &PersistentVolumeClaim,
        spec: &PersistentVolumeClaimSpec,
        world: &World,
        decision: &mut Decision,
    ) {
        if spec.storage_class_name.is_none()
            && let Some(name) = default_class(world)
        {
            let mut claim = claim.clone();
            claim.spec.get_or_insert_default().storage_class_name = Some(name);
            return decision.push(Write::update(&claim));
        }
        let class_name = fit::class(spec.storage_class_name.as_ref());
        let class = world.all::<StorageClass>().get(&Key::new("", class_name));
        let chosen = annotation(claim, SELECTED_NODE);
        let waits = class.is_some_and(|class| {
            class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
        });
        let volumes = world.all::<PersistentVolume>();
        if waits && chosen.is_none() && !volumes.values().any(|volume| is_for(volume, claim)) {
            set_pending(claim, decision);
            let text = "waiting for first consumer to be created before binding";
            return decision.push(Notice::normal(claim, "WaitForFirstConsumer", text));
        }
        let node = chosen.and_then(|name| world.all::<Node>().get(&Key::new("", name.clone())));
        if let Some(volume) = fit::best(claim, volumes.values(), node.map(AsRef::as_ref)) {
            return bind(claim, volume, decision);
        }
        set_pending(claim, decision);
        match class {
            Some(class) => self.provision(claim, spec, class, decision),
            None if class_name.is_empty() => {
                let text =
                    "no persistent volumes available for this claim and no storage class is set";
                decision.push(Notice::normal(claim, "FailedBinding", text));
            }
            None => {
                let text = format!("storageclass.storage.k8s.io \"{class_name}\" not found");
                decision.push(Notice::warning(claim, "ProvisioningFailed", text));
            }
        }
    }

    fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        spec: &PersistentVolumeClaimSpec,
        class: &StorageClass,
        decision: &mut Decision,
    ) {
        let provisioner = &class.provisioner;
        if STORAGE_PROVISIONER
            .iter()
            .any(|name| annotation(claim, name) != Some(provisioner))
        {
            let mut claim = claim.clone();
            let annotations = claim.metadata.annotations.get_or_insert_default();
            for name in STORAGE_PROVISIONER {
                annotations.insert((*name).to_owned(), provisioner.clone());
            }
            return decision.push(Write::update(&claim));
        }
        if provisioner != PROVISIONER {
            if provisioner.starts_with("kubernetes.io/") {
                let text = format!("no volume plugin matched name: {provisioner}");
                decision.push(Notice::warning(claim, "ProvisioningFailed", text));
            } else {
                let text = format!(
                    "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
                );
                decision.push(Notice::normal(claim, "ExternalProvisioning", text));
            }
            return;
        }
        if let Some(wish) = unmet(spec) {
            let text = format!("{PROVISIONER} does not support {wish}");
            return decision.push(Notice::warning(claim, "ProvisioningFailed", text));
        }
        let name = format!("pvc-{}", claim.uid());
        let path = directory(&self.root, &name);
        let text = format!("Successfully provisioned volume {name}");
        decision.push(Disk::Make(path.clone()));
        let volume = PersistentVolume {
            metadata: ObjectMeta {
                name: Some(name),
                annotations: Some(BTreeMap::from([(
                    PROVISIONED_BY.to_owned(),
                    PROVISIONER.to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            spec: Some(PersistentVolumeSpec {
                capacity: spec
                    .resources
                    .as_ref()
                    .and_then(|resources| resources.requests.clone()),
                access_modes: spec.access_modes.clone(),
                claim_ref: Some(reference(claim)),
                persistent_volume_reclaim_policy: Some(
                    class
                        .reclaim_policy
                        .clone()
                        .unwrap_or_else(|| "Delete".to_owned()),
                ),
                storage_class_name: spec.storage_class_name.clone(),
                volume_mode: spec.volume_mode.clone(),
                mount_options: class.mount_options.clone(),
                host_path: Some(HostPathVolumeSource {
                    path: path.to_string_lossy().into_owned(),
                    type_: Some(String::new()),
                }),
                ..PersistentVolumeSpec::default()
            }),
            status: None,
        };
        let write = Write::create(&volume)
            .told(Notice::normal(claim, "ProvisioningSucceeded", text))
            .lamented(Notice::warning(
                claim,
                "ProvisioningFailed",
                "failed to provision volume: ",
            ));
        decision.push(write);
    }
}

/// What a directory of ours cannot be. An empty one in place of a copy would be worse than none.
fn unmet(spec: &PersistentVolumeClaimSpec) -> Option<&'static str> {
    if spec.volume_mode.as_deref() == Some("Block") {
        Some("block volume provisioning")
    } else if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        Some("volumes made from a data source")
    } else {
        None
    }
}

/// The volume first: whoever wins its `claimRef` has it. Then the claim; its status follows.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume, decision: &mut Decision) {
    let mut new = volume.clone();
    let spec = new.spec.get_or_insert_default();
    let uid = spec
        .claim_ref
        .as_ref()
        .and_then(|reference| reference.uid.clone());
    if uid.as_deref() != Some(claim.uid()) {
        if spec.claim_ref.is_none() {
            let annotations = new.metadata.annotations.get_or_insert_default();
            annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
        }
        spec.claim_ref = Some(reference(claim));
        decision.push(Write::update(&new));
    }
    let mut new = claim.clone();
    let spec = new.spec.get_or_insert_default();
    let was_named = spec
        .volume_name
        .as_ref()
        .is_some_and(|name| !name.is_empty());
    spec.volume_name.clone_from(&volume.metadata.name);
    let annotations = new.metadata.annotations.get_or_insert_default();
    if !was_named {
        annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    annotations.insert(BIND_COMPLETED.to_owned(), "yes".to_owned());
    decision.push(Write::update(&new));
}

/// The claim asks for one volume by name.
fn to_named(claim: &PersistentVolumeClaim, name: &str, world: &World, decision: &mut Decision) {
    let volume = world.all::<PersistentVolume>().get(&Key::new("", name));
    let Some(volume) = volume else {
        return set_pending(claim, decision);
    };
    let is_free = volume
        .spec
        .as_ref()
        .is_none_or(|spec| spec.claim_ref.is_none());
    let mismatch = fit::mismatch(volume, claim);
    if is_for(volume, claim) || (is_free && mismatch.is_none()) {
        return bind(claim, volume, decision);
    }
    set_pending(claim, decision);
    if let Some(why) = mismatch.filter(|_| is_free) {
        let text = format!("Cannot bind to requested volume \"{name}\": {why}");
        return decision.push(Notice::warning(claim, "VolumeMismatch", text));
    }
    let text = format!("volume \"{name}\" already bound to a different claim.");
    decision.push(Notice::warning(claim, "FailedBinding", text));
}

/// A bound claim: report it, grow it, or find that its volume is lost.
fn check(
    claim: &PersistentVolumeClaim,
    spec: &PersistentVolumeClaimSpec,
    name: Option<&str>,
    world: &World,
    decision: &mut Decision,
) {
    let lost = |reason: &str, text: &str, decision: &mut Decision| {
        if phase(claim) != "Lost" {
            decision.push(with_phase(claim, "Lost"));
            decision.push(Notice::warning(claim, reason, text));
        }
    };
    let Some(name) = name else {
        let text =
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", text, decision);
    };
    let Some(volume) = world.all::<PersistentVolume>().get(&Key::new("", name)) else {
        let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", text, decision);
    };
    let Some(offer) = &volume.spec else { return };
    if offer.claim_ref.is_none() {
        return bind(claim, volume, decision);
    }
    if !is_for(volume, claim) {
        let text = "Two claims are bound to the same volume, this one is bound incorrectly";
        return lost("ClaimMisbound", text, decision);
    }
    if growth::grow(claim, spec, volume, world, decision) {
        return;
    }
    let old = claim.status.clone().unwrap_or_default();
    let has_grown = is_ours(volume) && growth::is_resizing(claim);
    let is_told = phase(claim) == "Bound"
        && old.capacity == offer.capacity
        && old.access_modes == offer.access_modes;
    if !is_told || has_grown {
        let mut bound = claim.clone();
        let status = bound.status.get_or_insert_default();
        status.phase = Some("Bound".to_owned());
        status.access_modes.clone_from(&offer.access_modes);
        status.capacity.clone_from(&offer.capacity);
        if has_grown {
            growth::end(status);
        }
        decision.push(Write::update_status(&bound));
    }
    if has_grown {
        let text = "Resize volume succeeded";
        decision.push(Notice::normal(claim, "VolumeResizeSuccessful", text));
    }
}

fn set_pending(claim: &PersistentVolumeClaim, decision: &mut Decision) {
    if phase(claim) != "Pending" {
        decision.push(with_phase(claim, "Pending"));
    }
}

fn with_phase(claim: &PersistentVolumeClaim, phase: &str) -> Write {
    let mut claim = claim.clone();
    claim.status.get_or_insert_default().phase = Some(phase.to_owned());
    Write::update_status(&claim)
}

fn annotation<'a>(claim: &'a PersistentVolumeClaim, name: &str) -> Option<&'a String> {
    claim.metadata.annotations.as_ref()?.get(name)
}

/// The youngest class that is marked as default.
fn default_class(world: &World) -> Option<String> {
    let classes = world.all::<StorageClass>().values();
    let marked = classes.filter(|class| {
        let annotations = class.metadata.annotations.as_ref();
        annotations
            .and_then(|all| all.get(DEFAULT_CLASS))
            .is_some_and(|value| value == "true")
    });
    let youngest = marked.max_by_key(|class| {
        class
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0)
    });
    youngest.map(|class| class.key().name)
}

/// A bound volume concerns its claim; a free one all claims that still look for one.
fn concerned(volume: &PersistentVolume, caches: &Caches) -> Vec<Key> {
    match volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref())
    {
        Some(claim) => vec![Key::new(
            claim.namespace.clone().unwrap_or_default(),
            claim.name.clone().unwrap_or_default(),
        )],
        None => pending(caches),
    }
}

fn pending(caches: &Caches) -> Vec<Key> {
    let claims = caches.all::<PersistentVolumeClaim>();
    let unbound = |claim: &&Arc<PersistentVolumeClaim>| phase(claim) != "Bound";
    claims
        .values()
        .filter(unbound)
        .map(|claim| claim.key())
        .collect()
}
