//! StatefulSets: pods with a number, a name and storage of their own, made and removed in order.

mod claim;
mod plan;
mod pod;
mod status;

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, matches},
    revision,
    share::{self, Round},
};
use crate::api::object::Object;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec},
    core::v1::{PersistentVolumeClaim, Pod},
};
use std::{collections::BTreeMap, sync::Arc};

pub fn start(ctx: &ControllerContext) {
    framework::start(
        ctx,
        "statefulset-controller",
        "statefulset-controller",
        Sets,
    );
}

struct Sets;

impl Controller for Sets {
    type Primary = StatefulSet;

    fn watches(watches: &mut Watches) {
        watches
            .on_change::<PersistentVolumeClaim>(|old, new, caches| match (old, new) {
                // Pods may wait for a claim of their name to go, and need another when it has gone.
                (Some(gone), None) => {
                    let (all, namespace) = (caches.all::<StatefulSet>(), gone.key().namespace);
                    let sets = all.in_namespace(&namespace);
                    let waiting = sets.filter(|set| claim::is_of(set, gone));
                    waiting.map(|set| set.key()).collect()
                }
                _ => Vec::new(),
            })
            .owned::<Pod, StatefulSet>()
            .owned::<ControllerRevision, StatefulSet>()
            .adopted::<Pod, StatefulSet>(|set, pod| {
                let spec = set.spec.as_ref();
                spec.is_some_and(|spec| matches(&spec.selector, pod.metadata.labels.as_ref()))
            });
    }

    fn reconcile(&self, set: &StatefulSet, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = set.spec.as_ref().filter(|_| !set.is_deleting()) else {
            return decision;
        };
        let collisions = set
            .status
            .as_ref()
            .and_then(|status| status.collision_count);
        let ground = revision::ground(set, &spec.template, collisions, world, |one| {
            matches(&spec.selector, one.metadata.labels.as_ref())
                && pod::ordinal(set, one).is_some()
        });
        let ground = match ground {
            Ok(ground) => ground,
            Err(first) => {
                first.into_iter().for_each(|write| decision.push(write));
                return decision;
            }
        };
        let update = Arc::clone(&ground.update);
        let view = View::new(set, spec, &ground.pods, &ground.known, update);
        plan::next(&view, world, &mut decision);
        let writes = status::report(&view, world, &mut decision);
        decision.actions.extend(writes);
        let live = |one: &ControllerRevision| view.is_live(one);
        let surplus = revision::surplus(&ground.known, spec.revision_history_limit, live);
        surplus.into_iter().for_each(|write| decision.push(write));
        decision
    }
}

/// A set with its pods by number.
struct View<'a> {
    set: &'a StatefulSet,
    spec: &'a StatefulSetSpec,
    pods: BTreeMap<i32, &'a Pod>,
    current: Arc<ControllerRevision>,
    update: Arc<ControllerRevision>,
}

impl<'a> View<'a> {
    fn new(
        set: &'a StatefulSet,
        spec: &'a StatefulSetSpec,
        owned: &'a [Arc<Pod>],
        known: &[Arc<ControllerRevision>],
        update: Arc<ControllerRevision>,
    ) -> View<'a> {
        let name = set
            .status
            .as_ref()
            .and_then(|status| status.current_revision.as_ref());
        let current = known
            .iter()
            .find(|one| one.metadata.name.as_ref() == name)
            .cloned();
        let pods = owned
            .iter()
            .filter_map(|one| Some((pod::ordinal(set, one)?, one.as_ref())));
        View {
            set,
            spec,
            pods: pods.collect(),
            current: current.unwrap_or_else(|| Arc::clone(&update)),
            update,
        }
    }

    fn start(&self) -> i32 {
        self.spec
            .ordinals
            .as_ref()
            .and_then(|ordinals| ordinals.start)
            .unwrap_or_default()
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn wanted(&self) -> std::ops::Range<i32> {
        self.start()..self.start().saturating_add(self.replicas())
    }

    fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
    }

    fn partition(&self) -> i32 {
        let rolling = self
            .spec
            .update_strategy
            .as_ref()
            .and_then(|one| one.rolling_update.as_ref());
        rolling
            .and_then(|rolling| rolling.partition)
            .unwrap_or_default()
    }

    /// At least one, where it is set.
    fn max_unavailable(&self) -> Option<usize> {
        let strategy = self.spec.update_strategy.as_ref()?;
        let most = strategy.rolling_update.as_ref()?.max_unavailable.as_ref()?;
        let most = share::resolve(most, self.replicas(), Round::Down)?;
        Some(usize::try_from(most).unwrap_or_default().max(1))
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or_default()
    }

    /// The revision a pod of this number is made from.
    fn revision_for(&self, ordinal: i32) -> &ControllerRevision {
        let is_kept = self.is_rolling() && ordinal < self.start() + self.partition();
        if is_kept { &self.current } else { &self.update }
    }

    fn is_live(&self, revision: &ControllerRevision) -> bool {
        let name = revision.metadata.name.as_deref();
        let mut used = self.pods.values().map(|one| pod::revision_name(one));
        revision.uid() == self.update.uid()
            || revision.uid() == self.current.uid()
            || used.any(|used| used == name)
    }
}

#[cfg(test)]
mod tests;
