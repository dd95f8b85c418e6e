//! Keeps claims and volumes while they are used, and makes the claims of ephemeral volumes.

use crate::{
    api::{name::Key, object::Object},
    controllers::{
        ControllerContext,
        framework::{
            self, Controller, Decision, Notice, Watches, World, Write, controller_ref,
            is_controlled_by,
        },
        pods,
    },
};
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

pub fn start_claims(ctx: &ControllerContext) {
    let identity = "pvc-protection-controller";
    framework::start(ctx, identity, identity, Claims);
}

pub fn start_volumes(ctx: &ControllerContext) {
    let identity = "pv-protection-controller";
    framework::start(ctx, identity, identity, Volumes);
}

pub fn start_ephemeral(ctx: &ControllerContext) {
    let identity = "ephemeral-volume-controller";
    framework::start(ctx, identity, identity, Ephemeral);
}

pub(super) struct Claims;

impl Controller for Claims {
    type Primary = PersistentVolumeClaim;

    fn watches(watches: &mut Watches) {
        watches.on_change::<Pod>(|old, new, _| match (old, new) {
            (Some(gone), None) => claims_of(gone),
            _ => Vec::new(),
        });
    }

    fn reconcile(&self, claim: &PersistentVolumeClaim, world: &World) -> Decision {
        let key = claim.key();
        let is_used = || {
            let mut pods = world.all::<Pod>().in_namespace(&key.namespace);
            // A pod without a node will not be started with a claim that is going.
            pods.any(|pod| has_node(pod) && claims_of(pod).contains(&key))
        };
        guard(claim, CLAIM_FINALIZER, is_used)
    }
}

pub(super) struct Volumes;

impl Controller for Volumes {
    type Primary = PersistentVolume;

    fn watches(_: &mut Watches) {}

    fn reconcile(&self, volume: &PersistentVolume, _: &World) -> Decision {
        let phase = volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        guard(volume, VOLUME_FINALIZER, || phase == Some("Bound"))
    }
}

fn guard<T: Object>(object: &T, finalizer: &str, is_used: impl Fn() -> bool) -> Decision {
    let mut decision = Decision::default();
    let mut all = object.metadata().finalizers.clone().unwrap_or_default();
    let has = all.iter().any(|one| one == finalizer);
    match (object.is_deleting(), has) {
        (false, false) => all.push(finalizer.to_owned()),
        (true, true) if !is_used() => all.retain(|one| one != finalizer),
        _ => return decision,
    }
    let mut object = object.clone();
    object.metadata_mut().finalizers = Some(all);
    decision.push(Write::update(&object));
    decision
}

fn has_node(pod: &Pod) -> bool {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    name.is_some_and(|name| !name.is_empty())
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
}

fn claims_of(pod: &Pod) -> Vec<Key> {
    let key = pod.key();
    let names = volumes(pod).filter_map(|volume| {
        match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name.clone()),
            (None, Some(_)) => Some(format!("{}-{}", key.name, volume.name)),
            (None, None) => None,
        }
    });
    names
        .map(|name| Key::new(key.namespace.clone(), name))
        .collect()
}

pub(super) struct Ephemeral;

impl Controller for Ephemeral {
    type Primary = Pod;

    fn watches(watches: &mut Watches) {
        watches.read::<PersistentVolumeClaim>();
    }

    fn reconcile(&self, pod: &Pod, world: &World) -> Decision {
        let mut decision = Decision::default();
        if !pods::is_active(pod) {
            return decision;
        }
        let key = pod.key();
        for volume in volumes(pod) {
            let template = volume
                .ephemeral
                .as_ref()
                .and_then(|source| source.volume_claim_template.as_ref());
            let Some(template) = template else { continue };
            let name = format!("{}-{}", key.name, volume.name);
            let found = world
                .all::<PersistentVolumeClaim>()
                .get(&Key::new(key.namespace.clone(), name.clone()));
            match found {
                Some(found) if is_controlled_by(&found.metadata, pod.uid()) => {}
                Some(_) => {
                    let text = format!(
                        "ephemeral volume {}: PVC {}/{name} was not created for pod {key} (pod is not owner)",
                        volume.name, key.namespace
                    );
                    decision.push(Notice::warning(pod, "FailedBinding", text));
                }
                None => {
                    let meta = template.metadata.clone().unwrap_or_default();
                    decision.push(Write::create(&PersistentVolumeClaim {
                        metadata: ObjectMeta {
                            namespace: Some(key.namespace.clone()),
                            name: Some(name),
                            labels: meta.labels,
                            annotations: meta.annotations,
                            owner_references: Some(vec![controller_ref(pod)]),
                            ..ObjectMeta::default()
                        },
                        spec: Some(template.spec.clone()),
                        status: None,
                    }));
                }
            }
        }
        decision
    }
}
