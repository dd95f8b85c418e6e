//! Preemption: whom to remove, and where, so that a more important pod fits. Pure.
//!
//! On each node all less important pods are taken away in thought; those that the pod can live with are put back,
//! the most important first. Of the nodes that is chosen where the least harm is done.

use super::{
    cycle::{Rejections, passes_with_nominated, unavailable},
    plugins::Cycle,
    pod::PodInfo,
    world::World,
};
use crate::{
    api::{object::Object, selector::LabelSelector},
    scheduler::affinity::parse,
};
use jiff::Timestamp;
use std::{cmp::Reverse, sync::Arc};

#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
}

const USELESS: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Why nobody is removed. The text follows `preemption: ` in the message.
#[derive(Debug)]
pub enum Refrain {
    /// The pod must not, or not yet: a place that is kept for it stays kept.
    NotEligible(&'static str),
    /// There is no such place, whatever was thought before.
    Hopeless(String),
}

pub fn preempt(cycle: &Cycle<'_>, rejections: &Rejections) -> Result<Preemption, Refrain> {
    let spec = cycle.pod.spec();
    let policy = spec.and_then(|spec| spec.preemption_policy.as_deref());
    if policy == Some("Never") {
        let why = "not eligible due to preemptionPolicy=Never.";
        return Err(Refrain::NotEligible(why));
    }
    if is_waiting_for_victims(cycle, rejections) {
        let why = "not eligible due to a terminating pod on the nominated node.";
        return Err(Refrain::NotEligible(why));
    }
    let mut reasons = Vec::new();
    let mut candidates = Vec::new();
    for (node, (_, rejection)) in rejections {
        if !rejection.preemption_helps {
            reasons.push(USELESS.to_owned());
            continue;
        }
        match on_node(cycle, node) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => reasons.extend(why),
        }
    }
    let best = candidates.into_iter().min_by_key(Candidate::harm);
    match best {
        Some(best) => Ok(Preemption {
            node: best.node,
            victims: best.victims,
        }),
        None => {
            let why = unavailable(cycle.world.nodes.len(), reasons.iter());
            Err(Refrain::Hopeless(why))
        }
    }
}

fn is_waiting_for_victims(cycle: &Cycle<'_>, rejections: &Rejections) -> bool {
    let Some(name) = cycle.pod.nominated_node() else {
        return false;
    };
    let could_help = rejections
        .get(name)
        .is_some_and(|(_, rejection)| rejection.preemption_helps);
    let node = cycle.world.nodes.get(name).filter(|_| could_help);
    node.is_some_and(|node| {
        let mut pods = node.pods.iter();
        pods.any(|pod| pod.pod.is_deleting() && pod.priority < cycle.pod.priority)
    })
}

struct Candidate {
    node: String,
    /// The most important first.
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

impl Candidate {
    /// Smaller is better: broken budgets, the highest priority hit, all priorities, victims, and how long the most
    /// important ones have run.
    fn harm(&self) -> (usize, i32, i64, usize, Reverse<Option<Timestamp>>) {
        let highest = self.victims.iter().map(|pod| pod.priority).max();
        let highest = highest.unwrap_or(i32::MIN);
        // Shifted, so that more victims of negative priority are not better.
        let sum = self
            .victims
            .iter()
            .map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1)
            .sum();
        let starts = self.victims.iter().filter(|pod| pod.priority == highest);
        let earliest = starts.filter_map(|pod| start(pod)).min();
        (
            self.violations,
            highest,
            sum,
            self.victims.len(),
            Reverse(earliest),
        )
    }
}

fn on_node(cycle: &Cycle<'_>, node: &str) -> Result<Candidate, Vec<String>> {
    let mut world = cycle.world.clone();
    let present = world.nodes.get(node).map(|info| info.pods.clone());
    let mut lesser: Vec<Arc<PodInfo>> = present
        .into_iter()
        .flatten()
        .filter(|pod| pod.priority < cycle.pod.priority)
        .collect();
    if lesser.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    for pod in &lesser {
        world.remove(&pod.key);
    }
    fits(cycle.pod, &world, node)?;
    lesser.sort_by_key(|pod| (Reverse(pod.priority), start(pod)));
    let (breaking, harmless) = by_budget(&lesser, &world);
    let mut candidate = Candidate {
        node: node.to_owned(),
        victims: Vec::new(),
        violations: 0,
    };
    for (pods, is_violation) in [(breaking, true), (harmless, false)] {
        for pod in pods {
            world.place(node, pod.clone());
            if fits(cycle.pod, &world, node).is_err() {
                world.remove(&pod.key);
                candidate.victims.push(pod);
                candidate.violations += usize::from(is_violation);
            }
        }
    }
    candidate
        .victims
        .sort_by_key(|pod| (Reverse(pod.priority), start(pod)));
    Ok(candidate)
}

fn fits(pod: &PodInfo, world: &World, node: &str) -> Result<(), Vec<String>> {
    let cycle = Cycle::new(pod, world);
    let node = world.nodes.get(node).ok_or_else(Vec::new)?;
    // Room that is kept for others, who are more important, is no room.
    passes_with_nominated(&cycle, node).map_err(|(_, rejection)| rejection.reasons)
}

type Pods = Vec<Arc<PodInfo>>;

/// Pods whose removal would break a disruption budget, and the others. Each removal uses up what a budget allows.
fn by_budget(pods: &[Arc<PodInfo>], world: &World) -> (Pods, Pods) {
    let mut budgets: Vec<(String, LabelSelector, i32, Vec<String>)> = world
        .budgets
        .iter()
        .filter_map(|(key, budget)| {
            let selector = parse(budget.spec.as_ref()?.selector.as_ref());
            let status = budget.status.as_ref();
            let allowed = status
                .and_then(|status| status.disruptions_allowed)
                .unwrap_or_default();
            let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
            let disrupted = disrupted
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone());
            Some((
                key.namespace.clone(),
                selector,
                allowed,
                disrupted.collect(),
            ))
        })
        .collect();
    let mut breaks = |pod: &Arc<PodInfo>| {
        let labels = pod.pod.metadata.labels.as_ref();
        let mut is_broken = false;
        for (namespace, selector, allowed, disrupted) in &mut budgets {
            let applies = *namespace == pod.key.namespace
                && labels.is_some_and(|labels| !labels.is_empty())
                && selector.matches(&labels)
                && !disrupted.contains(&pod.key.name);
            if applies {
                *allowed -= 1;
                is_broken |= *allowed < 0;
            }
        }
        is_broken
    };
    pods.iter().cloned().partition(|pod| breaks(pod))
}

fn start(pod: &PodInfo) -> Option<Timestamp> {
    let status = pod.pod.status.as_ref();
    let start = status.and_then(|status| status.start_time.as_ref());
    let created = pod.pod.metadata.creation_timestamp.as_ref();
    start.or(created).map(|time| time.0)
}
