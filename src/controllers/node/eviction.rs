//! Deletes pods that do not, or no longer, tolerate the `NoExecute` taints of their node.

use super::{NO_EXECUTE, disrupted, latest, taints};
use crate::{
    api::{name::Key, object::Object, placement},
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Notice, Watches, World, Write},
        pods,
    },
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

pub fn start(ctx: &ControllerContext) {
    framework::start(
        ctx,
        "node-controller",
        "taint-eviction-controller",
        Eviction,
    );
}

pub(super) struct Eviction;

impl Controller for Eviction {
    type Primary = Pod;

    fn watches(watches: &mut Watches) {
        watches.on_change::<Node>(|old, new, caches| {
            let of = |node: Option<&Node>| -> Vec<Taint> {
                let all = node.map(taints).unwrap_or_default().iter();
                all.filter(|taint| taint.effect == NO_EXECUTE)
                    .cloned()
                    .collect()
            };
            let Some(node) = new.filter(|_| of(old) != of(new)) else {
                return Vec::new();
            };
            let name = node.key().name;
            let all = caches.all::<Pod>();
            let its = all.values().filter(|pod| node_name(pod) == Some(&name));
            its.map(|pod| pod.key()).collect()
        });
    }

    fn reconcile(&self, pod: &Pod, world: &World) -> Decision {
        let mut decision = Decision::default();
        let node =
            node_name(pod).and_then(|name| world.all::<Node>().get(&Key::new("", name.clone())));
        let Some(node) = node.filter(|_| !pod.is_deleting() && !pods::is_terminal(pod)) else {
            return decision;
        };
        let evicting: Vec<&Taint> = taints(node)
            .iter()
            .filter(|taint| taint.effect == NO_EXECUTE)
            .collect();
        match patience(pod, &evicting) {
            Patience::Forever => return decision,
            Patience::Seconds(seconds) => {
                let since = latest(
                    evicting
                        .iter()
                        .map(|taint| taint.time_added.as_ref().map(|time| time.0)),
                );
                let after = SignedDuration::from_secs(seconds.max(0));
                if let Some(left) = world.until(since.unwrap_or(world.now), after) {
                    decision.again(left);
                    return decision;
                }
            }
            Patience::None => {}
        }
        let text = "Taint manager: deleting due to NoExecute taint";
        if let Some(marked) = disrupted(pod, "DeletionByTaintManager", text, world) {
            decision.push(Write::update_status(&marked));
        }
        let told = format!("Marking for deletion Pod {}", pod.key());
        decision.push(Write::delete(pod).told(Notice::normal(pod, "TaintManagerEviction", told)));
        decision
    }
}

fn node_name(pod: &Pod) -> Option<&String> {
    pod.spec.as_ref()?.node_name.as_ref()
}

enum Patience {
    None,
    /// Since the last taint was added.
    Seconds(i64),
    Forever,
}

fn patience(pod: &Pod, evicting: &[&Taint]) -> Patience {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let mut shortest: Option<i64> = None;
    for taint in evicting {
        let matching: Vec<&Toleration> = tolerations
            .iter()
            .filter(|one| placement::tolerates(one, taint))
            .collect();
        if matching.is_empty() {
            return Patience::None;
        }
        for seconds in matching.iter().filter_map(|one| one.toleration_seconds) {
            shortest = Some(shortest.map_or(seconds, |other| other.min(seconds)));
        }
    }
    shortest.map_or(Patience::Forever, Patience::Seconds)
}
