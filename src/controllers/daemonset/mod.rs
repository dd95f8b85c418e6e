//! DaemonSets: one pod on every node that fits.

mod node;
mod pauses;
mod plan;
mod status;

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, matches},
    revision,
};
use crate::api::object::Object;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec},
    core::v1::{Node, Pod},
};
use pauses::Pauses;
use std::{collections::BTreeMap, sync::Arc};

pub fn start(ctx: &ControllerContext) {
    framework::start(
        ctx,
        "daemon-set-controller",
        "daemonset-controller",
        Sets::default(),
    );
}

#[derive(Default)]
struct Sets {
    pauses: Pauses,
}

impl Controller for Sets {
    type Primary = DaemonSet;

    fn watches(watches: &mut Watches) {
        watches
            .owned::<Pod, DaemonSet>()
            .adopted::<Pod, DaemonSet>(|set, pod| {
                let spec = set.spec.as_ref();
                spec.is_some_and(|spec| matches(&spec.selector, pod.metadata.labels.as_ref()))
            })
            .owned::<ControllerRevision, DaemonSet>()
            .on_change::<Node>(|old, new, caches| {
                if let (Some(old), Some(new)) = (old, new)
                    && node::is_alike(old, new)
                {
                    return Vec::new();
                }
                caches.all::<DaemonSet>().keys().cloned().collect()
            });
    }

    fn reconcile(&self, set: &DaemonSet, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = set.spec.as_ref().filter(|_| !set.is_deleting()) else {
            return decision;
        };
        let collisions = set
            .status
            .as_ref()
            .and_then(|status| status.collision_count);
        let ground = revision::ground(set, &spec.template, collisions, world, |pod| {
            matches(&spec.selector, pod.metadata.labels.as_ref())
        });
        let ground = match ground {
            Ok(ground) => ground,
            Err(first) => {
                first.into_iter().for_each(|write| decision.push(write));
                return decision;
            }
        };
        let hash = revision::hash_of(&ground.update);
        let view = View::new(set, spec, &ground.pods, hash, world);
        plan::next(&view, &self.pauses, world, &mut decision);
        status::report(&view, world, &mut decision);
        let used = |one: &ControllerRevision| {
            let hash = revision::hash_of(one);
            hash == view.hash
                || ground
                    .pods
                    .iter()
                    .any(|pod| hash_of(pod) == Some(hash.as_str()))
        };
        let surplus = revision::surplus(&ground.known, spec.revision_history_limit, used);
        surplus.into_iter().for_each(|write| decision.push(write));
        decision
    }
}

/// A set with its pods by node.
struct View<'a> {
    set: &'a DaemonSet,
    spec: &'a DaemonSetSpec,
    /// Of the current template.
    hash: String,
    by_node: BTreeMap<String, Vec<&'a Arc<Pod>>>,
    nodes: Vec<(&'a Arc<Node>, node::Verdict)>,
}

impl<'a> View<'a> {
    fn new(
        set: &'a DaemonSet,
        spec: &'a DaemonSetSpec,
        owned: &'a [Arc<Pod>],
        hash: String,
        world: &'a World,
    ) -> View<'a> {
        let mut by_node: BTreeMap<String, Vec<&Arc<Pod>>> = BTreeMap::new();
        for pod in owned {
            by_node.entry(node::target(pod)).or_default().push(pod);
        }
        let nodes = world.all::<Node>().values();
        let nodes = nodes.map(|node| (node, node::verdict(node, &spec.template)));
        View {
            set,
            spec,
            hash,
            by_node,
            nodes: nodes.collect(),
        }
    }

    fn pods_on(&self, node: &Node) -> &[&'a Arc<Pod>] {
        self.by_node
            .get(&node.key().name)
            .map_or(&[], Vec::as_slice)
    }

    fn is_current(&self, pod: &Pod) -> bool {
        hash_of(pod) == Some(self.hash.as_str())
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or_default()
    }
}

fn hash_of(pod: &Pod) -> Option<&str> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get(revision::HASH_LABEL).map(String::as_str)
}

#[cfg(test)]
mod tests;
