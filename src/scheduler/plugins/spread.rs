//! Topology spread constraints: how unevenly a pod's like may be distributed over zones, hosts …
//!
//! Pods that say nothing are spread too, as far as other preferences leave room.

use super::{Cycle, NodeInfo, Rejection, Verdict, node_affinity, stretch, taints};
use crate::{
    api::{object::Object, selector::LabelSelector},
    scheduler::{affinity::with_keys, alike::alike, pod::PodInfo, world::World},
};
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use std::collections::HashMap;

/// Key and skew of the constraints of pods that have none.
const BY_DEFAULT: &[(&str, i32)] = &[
    ("kubernetes.io/hostname", 3),
    ("topology.kubernetes.io/zone", 5),
];

const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";

#[derive(Default)]
pub struct State {
    constraints: Vec<Constraint>,
    /// Whether nodes without all of the keys are looked at nevertheless.
    by_default: bool,
}

struct Constraint {
    key: String,
    is_hard: bool,
    skew_max: i64,
    domains_min: i64,
    /// Whether the pod itself counts.
    own: i64,
    honors_affinity: bool,
    honors_taints: bool,
    selector: LabelSelector,
    /// Matching pods per value of the key.
    counts: HashMap<String, i64>,
}

impl State {
    pub fn new(pod: &PodInfo, world: &World) -> State {
        let spec = pod.spec();
        let wanted = spec.and_then(|spec| spec.topology_spread_constraints.as_ref());
        let own = wanted.filter(|wanted| !wanted.is_empty());
        let wanted = own.cloned().unwrap_or_else(|| by_default(pod, world));
        if wanted.is_empty() {
            return State::default();
        }
        let mut state = State {
            constraints: wanted.iter().map(|one| Constraint::new(pod, one)).collect(),
            by_default: own.is_none(),
        };
        // Affinity and taints are judged as of the pod alone.
        let alone = Cycle {
            pod,
            world,
            spread: State::default(),
            neighbors: super::inter_pod::State::default(),
        };
        for is_hard in [true, false] {
            state.count(&alone, is_hard);
        }
        state
    }

    /// A node counts only if it has the keys of all constraints of its sort.
    fn count(&mut self, alone: &Cycle<'_>, is_hard: bool) {
        let of_sort = |one: &&Constraint| one.is_hard == is_hard;
        let keys: Vec<String> = self
            .constraints
            .iter()
            .filter(of_sort)
            .map(|one| one.key.clone())
            .collect();
        let by_default = self.by_default;
        let counts =
            |node: &&NodeInfo| by_default || keys.iter().all(|key| node.label(key).is_some());
        for node in alone.world.nodes.values().filter(counts) {
            let wanted = node_affinity::wants(alone, node);
            let tainted = taints::has_untolerated(alone, node, &["NoSchedule", "NoExecute"]);
            for one in self
                .constraints
                .iter_mut()
                .filter(|one| one.is_hard == is_hard)
            {
                if (one.honors_affinity && !wanted) || (one.honors_taints && tainted) {
                    continue;
                }
                let Some(value) = node.label(&one.key) else {
                    continue;
                };
                let like = |other: &PodInfo| {
                    other.key.namespace == alone.pod.key.namespace
                        && !other.pod.is_deleting()
                        && one.selector.matches(&other.pod.metadata.labels.as_ref())
                };
                let found = node.pods.iter().filter(|other| like(other)).count();
                let count = one.counts.entry(value.to_owned()).or_default();
                *count += i64::try_from(found).unwrap_or(i64::MAX);
            }
        }
    }
}

/// For pods of a service or a controller, where there is a choice.
fn by_default(pod: &PodInfo, world: &World) -> Vec<TopologySpreadConstraint> {
    if world.nodes.len() < 2 {
        return Vec::new();
    }
    let Some(selector) = alike(&pod.pod, world) else {
        return Vec::new();
    };
    let constraint = |(key, skew): &(&str, i32)| TopologySpreadConstraint {
        max_skew: *skew,
        topology_key: (*key).to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector.clone()),
        ..TopologySpreadConstraint::default()
    };
    BY_DEFAULT.iter().map(constraint).collect()
}

impl Constraint {
    fn new(pod: &PodInfo, constraint: &TopologySpreadConstraint) -> Constraint {
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        let selector = with_keys(&pod.pod, constraint.label_selector.as_ref(), keys, &[]);
        Constraint {
            key: constraint.topology_key.clone(),
            is_hard: constraint.when_unsatisfiable == "DoNotSchedule",
            skew_max: constraint.max_skew.into(),
            domains_min: constraint.min_domains.unwrap_or(1).into(),
            own: selector.matches(&pod.pod.metadata.labels.as_ref()).into(),
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            selector,
            counts: HashMap::new(),
        }
    }

    fn fewest(&self) -> i64 {
        let domains = i64::try_from(self.counts.len()).unwrap_or(i64::MAX);
        if domains < self.domains_min {
            return 0;
        }
        self.counts.values().copied().min().unwrap_or_default()
    }
}

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    let constraints = cycle.spread.constraints.iter();
    for one in constraints.filter(|one| one.is_hard) {
        let Some(value) = node.label(&one.key) else {
            let reason = format!("{UNEVEN} (missing required label)");
            return Err(Rejection::for_good(&reason));
        };
        let here = one.counts.get(value).copied().unwrap_or_default();
        if here + one.own - one.fewest() > one.skew_max {
            return Err(Rejection::for_now(UNEVEN));
        }
    }
    Ok(())
}

/// Fewer of its like is better; nodes without the label come last.
pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let constraints = cycle.spread.constraints.iter();
    let soft: Vec<&Constraint> = constraints.filter(|one| !one.is_hard).collect();
    if soft.is_empty() {
        return vec![0; nodes.len()];
    }
    let crowd = |node: &NodeInfo| -> Option<f64> {
        let mut sum = 0.0;
        for one in &soft {
            let here = match node.label(&one.key) {
                Some(value) => one.counts.get(value).copied(),
                None if cycle.spread.by_default => continue,
                None => return None,
            };
            // Many small domains weigh more than few large ones.
            let weight = (one.counts.len() as f64 + 2.0).ln();
            sum += here.unwrap_or_default() as f64 * weight + (one.skew_max - 1) as f64;
        }
        Some(sum)
    };
    let crowds: Vec<Option<f64>> = nodes.iter().map(|node| crowd(node)).collect();
    let most = crowds.iter().flatten().copied().fold(0.0, f64::max);
    let counts: Vec<i64> = crowds
        .iter()
        .map(|crowd| (crowd.unwrap_or(most + 1.0) * 1000.0) as i64)
        .collect();
    stretch(&counts, true)
}
