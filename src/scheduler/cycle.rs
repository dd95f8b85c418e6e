//! One decision: which node, or why none. Pure.

use super::{
    plugins::{Cycle, PLUGINS, Rejection, VolumePlan},
    pod::PodInfo,
    preempt::{self, Preemption, Refrain},
    world::{NodeInfo, World},
};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub enum Outcome {
    Place { node: String, volumes: VolumePlan },
    Refused(Refusal),
}

#[derive(Clone, Debug)]
pub struct Refusal {
    pub message: String,
    /// Plug-ins that refused: bit n for row n of the table.
    pub plugins: u32,
    pub preemption: Option<Preemption>,
    /// No node is to be kept for the pod.
    pub is_hopeless: bool,
}

/// Per node: who refused, and why.
pub type Rejections = BTreeMap<String, (usize, Rejection)>;

/// `turn` chooses among equals.
pub fn decide(pod: &PodInfo, world: &World, turn: usize) -> Outcome {
    if world.nodes.is_empty() {
        return Outcome::Refused(Refusal {
            message: "no nodes available to schedule pods".to_owned(),
            plugins: u32::MAX,
            preemption: None,
            is_hopeless: true,
        });
    }
    let cycle = Cycle::new(pod, world);
    for (index, plugin) in PLUGINS.iter().enumerate() {
        if let Some(Err(rejection)) = plugin.check.map(|check| check(&cycle)) {
            let reasons = rejection.reasons.join(", ");
            let head = format!("0/{} nodes are available: {reasons}.", world.nodes.len());
            let useless = Rejection {
                reasons: Vec::new(),
                preemption_helps: false,
            };
            let everywhere = world.nodes.keys();
            let everywhere = everywhere.map(|name| (name.clone(), (index, useless.clone())));
            return refuse(&cycle, head, &everywhere.collect());
        }
    }
    let mut rejections = Rejections::new();
    let mut fitting = Vec::new();
    for node in world.nodes.values() {
        match passes_with_nominated(&cycle, node) {
            Ok(()) => fitting.push(node),
            Err(rejection) => drop(rejections.insert(node.name.clone(), rejection)),
        }
    }
    match choose(&cycle, &fitting, turn) {
        Some(node) => Outcome::Place {
            node: node.name.clone(),
            volumes: cycle.volume_plan(node),
        },
        None => {
            let reasons = rejections.values().map(|(_, rejection)| rejection);
            let head = unavailable(world.nodes.len(), reasons.flat_map(|one| &one.reasons));
            refuse(&cycle, head, &rejections)
        }
    }
}

fn refuse(cycle: &Cycle<'_>, head: String, rejections: &Rejections) -> Outcome {
    let plugins = rejections
        .values()
        .fold(0, |all, (plugin, _)| all | 1 << plugin);
    let mut refusal = Refusal {
        message: head,
        plugins,
        preemption: None,
        is_hopeless: false,
    };
    match preempt::preempt(cycle, rejections) {
        Ok(preemption) => refusal.preemption = Some(preemption),
        Err(Refrain::NotEligible(why)) => refusal.message += &format!(" preemption: {why}"),
        Err(Refrain::Hopeless(why)) => {
            refusal.message += &format!(" preemption: {why}");
            refusal.is_hopeless = true;
        }
    }
    Outcome::Refused(refusal)
}

/// `0/2 nodes are available: 1 Insufficient cpu, 1 Too many pods.`
pub fn unavailable<'a>(nodes: usize, reasons: impl Iterator<Item = &'a String>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut texts: Vec<String> = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    // As text: "10 …" comes before "2 …", as upstream has it.
    texts.sort();
    format!("0/{nodes} nodes are available: {}.", texts.join(", "))
}

/// Also with the pods that will come here once their victims are gone, unless this one is more important.
pub fn passes_with_nominated(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), (usize, Rejection)> {
    let nominated = cycle.world.nominated.iter().filter(|(key, (to, pod))| {
        *to == node.name && **key != cycle.pod.key && pod.priority >= cycle.pod.priority
    });
    let mut fuller: Option<NodeInfo> = None;
    for (_, (_, pod)) in nominated {
        let fuller = fuller.get_or_insert_with(|| node.clone());
        fuller.add(pod.clone());
    }
    if let Some(fuller) = fuller {
        passes(cycle, &fuller)?;
    }
    passes(cycle, node)
}

/// The first plug-in that refuses speaks for all.
pub fn passes(cycle: &Cycle<'_>, node: &NodeInfo) -> Result<(), (usize, Rejection)> {
    for (index, plugin) in PLUGINS.iter().enumerate() {
        if let Some(filter) = plugin.filter {
            filter(cycle, node).map_err(|rejection| (index, rejection))?;
        }
    }
    Ok(())
}

fn choose<'a>(cycle: &Cycle<'_>, fitting: &[&'a NodeInfo], turn: usize) -> Option<&'a NodeInfo> {
    // The place that was freed for this pod, whatever the marks say.
    let nominated = cycle.pod.nominated_node();
    let reserved = fitting
        .iter()
        .find(|node| Some(node.name.as_str()) == nominated);
    if let ([_], _) | (_, Some(_)) = (fitting, reserved) {
        return reserved.or(fitting.first()).copied();
    }
    let mut marks = vec![0; fitting.len()];
    for plugin in &PLUGINS {
        if let Some((weight, score)) = plugin.score {
            for (mark, added) in marks.iter_mut().zip(score(cycle, fitting)) {
                *mark += weight * added;
            }
        }
    }
    let best = marks.iter().max()?;
    let equals: Vec<&&NodeInfo> = fitting
        .iter()
        .zip(&marks)
        .filter(|(_, mark)| *mark == best)
        .map(|(node, _)| node)
        .collect();
    equals.get(turn % equals.len().max(1)).map(|node| **node)
}

#[cfg(test)]
#[path = "cycle_tests.rs"]
mod tests;
