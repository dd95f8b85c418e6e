//! Deployments: roll out a template by creating a ReplicaSet per template and shifting replicas between them.
//!
//! One pass takes one step (make the new set, scale something, clean up) and derives the status from what the sets
//! report; the next pass follows when the caches show the step. Pods are looked at by `Recreate` only.

mod plan;
mod scale;
mod sets;
mod status;

use super::{
    ControllerContext,
    framework::{
        self, Caches, Controller, Decision, Notice, Watches, World, claim, controller_of,
        everything, matches,
    },
};
use crate::api::{name::Key, object::Object};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};

pub fn start(ctx: &ControllerContext) {
    let identity = "deployment-controller";
    framework::start(ctx, identity, identity, Deployments);
}

struct Deployments;

impl Controller for Deployments {
    type Primary = Deployment;

    fn watches(watches: &mut Watches) {
        watches
            .owned::<ReplicaSet, Deployment>()
            .adopted::<ReplicaSet, Deployment>(|deployment, set| {
                let spec = deployment.spec.as_ref();
                spec.is_some_and(|spec| matches(&spec.selector, set.metadata.labels.as_ref()))
            })
            .on_change::<Pod>(|old, new, caches| match (old, new) {
                // `Recreate` waits for the last old pod.
                (Some(gone), None) => of_pod(gone, caches).into_iter().collect(),
                _ => Vec::new(),
            });
    }

    fn reconcile(&self, deployment: &Deployment, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = &deployment.spec else {
            return decision;
        };
        if everything(&spec.selector) {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            decision.push(Notice::warning(deployment, "SelectingAll", text));
            return decision;
        }
        let all = world.all::<ReplicaSet>();
        let namespace = deployment.key().namespace;
        let claims = claim(
            deployment,
            all.controlled_by(&namespace, deployment.uid()).cloned(),
            all.uncontrolled(&namespace).cloned(),
            |set: &ReplicaSet| matches(&spec.selector, set.metadata.labels.as_ref()),
        );
        if !claims.patches.is_empty() {
            claims
                .patches
                .into_iter()
                .for_each(|patch| decision.push(patch));
            return decision;
        }
        let rollout = sets::Rollout::new(deployment, spec, &claims.owned);
        let outcome = if deployment.is_deleting() {
            plan::Outcome::default()
        } else {
            plan::next(&rollout, world)
        };
        status::report(&rollout, &outcome, world, &mut decision);
        outcome
            .writes
            .into_iter()
            .for_each(|write| decision.push(write));
        decision
    }
}

fn of_pod(pod: &Pod, caches: &Caches) -> Option<Key> {
    let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")?;
    let namespace = pod.key().namespace;
    let sets = caches.all::<ReplicaSet>();
    let set = sets.get(&Key::new(namespace.clone(), owner.name.clone()))?;
    let deployment = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment")?;
    Some(Key::new(namespace, deployment.name.clone()))
}

#[cfg(test)]
mod tests;
