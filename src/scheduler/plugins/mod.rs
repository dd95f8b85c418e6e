//! The plug-ins: who may refuse a node, and who prefers which. One line each, in the order they are asked.
//!
//! A pod that names its node bypasses the scheduler, so there is none for node names.

mod fit;
mod image;
mod inter_pod;
mod limits;
mod node_affinity;
mod ports;
mod spread;
mod taints;
mod volumes;

pub use volumes::Plan as VolumePlan;

use super::{
    pod::PodInfo,
    world::{NodeInfo, World},
};

/// What may happen that lets a refused pod fit after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node came, or its labels, taints or room changed.
    Node,
    /// A pod was placed by somebody.
    PodPlaced,
    /// A placed pod changed its labels or wants less.
    PodChanged,
    PodGone,
    /// Claims, volumes, storage classes.
    Storage,
    Namespace,
}

/// Why a node will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reasons: Vec<String>,
    /// Whether removing pods could help.
    pub preemption_helps: bool,
}

impl Rejection {
    /// Nothing that could be removed is in the way.
    pub fn for_good(reason: &str) -> Rejection {
        Rejection {
            reasons: vec![reason.to_owned()],
            preemption_helps: false,
        }
    }

    pub fn for_now(reason: &str) -> Rejection {
        Rejection {
            reasons: vec![reason.to_owned()],
            preemption_helps: true,
        }
    }
}

pub type Verdict = Result<(), Rejection>;

/// One pod against one world, with what plug-ins count once for all nodes.
pub struct Cycle<'a> {
    pub pod: &'a PodInfo,
    pub world: &'a World,
    spread: spread::State,
    neighbors: inter_pod::State,
}

impl<'a> Cycle<'a> {
    pub fn new(pod: &'a PodInfo, world: &'a World) -> Cycle<'a> {
        Cycle {
            pod,
            world,
            spread: spread::State::new(pod, world),
            neighbors: inter_pod::State::new(pod, world),
        }
    }

    /// What binding the pod's claims on this node takes. Only after the node has passed.
    pub fn volume_plan(&self, node: &NodeInfo) -> VolumePlan {
        volumes::plan(self, node).unwrap_or_default()
    }
}

pub struct Plugin {
    pub name: &'static str,
    /// Refuses the pod whatever the node.
    pub check: Option<fn(&Cycle<'_>) -> Verdict>,
    pub filter: Option<fn(&Cycle<'_>, &NodeInfo) -> Verdict>,
    /// Weight, and marks from 0 to 100 for nodes that have passed.
    pub score: Option<(i64, Score)>,
    /// What can make a refusal obsolete.
    pub wakes: &'static [Change],
}

pub type Score = fn(&Cycle<'_>, &[&NodeInfo]) -> Vec<i64>;

impl Plugin {
    const NONE: Plugin = Plugin {
        name: "",
        check: None,
        filter: None,
        score: None,
        wakes: &[],
    };
}

pub const MARK_MAX: i64 = 100;

pub static PLUGINS: [Plugin; 12] = [
    Plugin {
        name: "NodeUnschedulable",
        filter: Some(taints::unschedulable),
        wakes: &[Change::Node],
        ..Plugin::NONE
    },
    Plugin {
        name: "TaintToleration",
        filter: Some(taints::filter),
        score: Some((3, taints::score)),
        wakes: &[Change::Node],
        ..Plugin::NONE
    },
    Plugin {
        name: "NodeAffinity",
        filter: Some(node_affinity::filter),
        score: Some((2, node_affinity::score)),
        wakes: &[Change::Node],
        ..Plugin::NONE
    },
    Plugin {
        name: "NodePorts",
        filter: Some(ports::filter),
        wakes: &[Change::Node, Change::PodGone],
        ..Plugin::NONE
    },
    Plugin {
        name: "NodeResourcesFit",
        filter: Some(fit::filter),
        score: Some((1, fit::least_allocated)),
        wakes: &[Change::Node, Change::PodGone, Change::PodChanged],
        ..Plugin::NONE
    },
    Plugin {
        name: "VolumeRestrictions",
        filter: Some(volumes::filter_exclusive),
        wakes: &[Change::PodGone, Change::Storage],
        ..Plugin::NONE
    },
    Plugin {
        name: "NodeVolumeLimits",
        filter: Some(limits::filter),
        wakes: &[Change::Node, Change::PodGone, Change::Storage],
        ..Plugin::NONE
    },
    Plugin {
        name: "VolumeBinding",
        check: Some(volumes::check),
        filter: Some(volumes::filter),
        wakes: &[Change::Node, Change::Storage],
        ..Plugin::NONE
    },
    Plugin {
        name: "PodTopologySpread",
        filter: Some(spread::filter),
        score: Some((2, spread::score)),
        wakes: &[
            Change::Node,
            Change::PodGone,
            Change::PodPlaced,
            Change::PodChanged,
        ],
        ..Plugin::NONE
    },
    Plugin {
        name: "InterPodAffinity",
        filter: Some(inter_pod::filter),
        score: Some((2, inter_pod::score)),
        wakes: &[
            Change::Node,
            Change::PodGone,
            Change::PodPlaced,
            Change::PodChanged,
            Change::Namespace,
        ],
        ..Plugin::NONE
    },
    Plugin {
        name: "NodeResourcesBalancedAllocation",
        score: Some((1, fit::balanced)),
        ..Plugin::NONE
    },
    Plugin {
        name: "ImageLocality",
        score: Some((1, image::score)),
        ..Plugin::NONE
    },
];

/// Of the plug-ins in a set of bits.
pub fn names(plugins: u32) -> Vec<&'static str> {
    let all = PLUGINS.iter().enumerate();
    all.filter(|(index, _)| plugins & 1 << index != 0)
        .map(|(_, plugin)| plugin.name)
        .collect()
}

/// Marks in proportion to the best; with `reversed`, few is good.
pub(super) fn normalize(counts: &[i64], reversed: bool) -> Vec<i64> {
    let most = counts.iter().copied().max().unwrap_or_default();
    let mark = |&count: &i64| {
        let mark = if most > 0 { count * MARK_MAX / most } else { 0 };
        if reversed { MARK_MAX - mark } else { mark }
    };
    counts.iter().map(mark).collect()
}

/// Marks between the smallest and the largest.
pub(super) fn stretch(counts: &[i64], reversed: bool) -> Vec<i64> {
    let least = counts.iter().copied().min().unwrap_or_default();
    let most = counts.iter().copied().max().unwrap_or_default();
    let mark = |&count: &i64| match most - least {
        0 => 0,
        range => {
            let above = if reversed {
                most - count
            } else {
                count - least
            };
            above * MARK_MAX / range
        }
    };
    counts.iter().map(mark).collect()
}
