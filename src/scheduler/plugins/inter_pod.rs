//! Affinity and anti-affinity between pods, in both directions.

use super::{Cycle, NodeInfo, Rejection, Verdict, stretch};
use crate::scheduler::{affinity::Term, pod::PodInfo, world::World};
use std::collections::{HashMap, HashSet};

/// Key and value of a node's label.
type Place = (String, String);

#[derive(Default)]
pub struct State {
    /// Where pods already there do not want this one.
    unwelcome: HashSet<Place>,
    /// Per term of the pod: where pods are that it wants to be near.
    near: Vec<HashSet<Place>>,
    /// Per term: where pods are that it wants to avoid.
    avoided: Vec<HashSet<Place>>,
    /// The first of a group that wants to be together may start anywhere.
    is_first: bool,
    liked: HashMap<Place, i64>,
}

/// What an existing pod's requirement to be near is worth to the newcomer it selects.
const REQUIRED_WEIGHT: i64 = 1;

impl State {
    pub fn new(pod: &PodInfo, world: &World) -> State {
        let mut state = State {
            near: vec![HashSet::new(); pod.affinity.len()],
            avoided: vec![HashSet::new(); pod.anti_affinity.len()],
            ..State::default()
        };
        for (node, other) in world.pods() {
            state.look_at(pod, world, node, other);
        }
        let nobody = state.near.iter().all(HashSet::is_empty);
        let selects_itself = |term: &Term| term.selects(&pod.pod, &world.namespaces);
        state.is_first = nobody && pod.affinity.iter().all(selects_itself);
        state
    }

    fn look_at(&mut self, pod: &PodInfo, world: &World, node: &NodeInfo, other: &PodInfo) {
        let place = |term: &Term| {
            let value = node.label(&term.topology)?;
            Some((term.topology.clone(), value.to_owned()))
        };
        let wants = |term: &Term| term.selects(&other.pod, &world.namespaces);
        let is_wanted = |term: &Term| term.selects(&pod.pod, &world.namespaces);
        for term in other.anti_affinity.iter().filter(|term| is_wanted(term)) {
            self.unwelcome.extend(place(term));
        }
        // All terms together select a pod, each says how near.
        if !pod.affinity.is_empty() && pod.affinity.iter().all(wants) {
            for (places, term) in self.near.iter_mut().zip(&pod.affinity) {
                places.extend(place(term));
            }
        }
        for (places, term) in self.avoided.iter_mut().zip(&pod.anti_affinity) {
            if wants(term) {
                places.extend(place(term));
            }
        }
        let mine = pod.preferences.iter().filter(|(_, term)| wants(term));
        let theirs = other.preferences.iter();
        let theirs = theirs.filter(|(_, term)| is_wanted(term));
        for (weight, term) in mine.chain(theirs) {
            if let Some(place) = place(term) {
                *self.liked.entry(place).or_default() += weight;
            }
        }
        for term in other.affinity.iter().filter(|term| is_wanted(term)) {
            if let Some(place) = place(term) {
                *self.liked.entry(place).or_default() += REQUIRED_WEIGHT;
            }
        }
    }
}

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    let state = &cycle.neighbors;
    let is_at = |places: &HashSet<Place>, key: &str| {
        let value = node.label(key);
        value.is_some_and(|value| places.contains(&(key.to_owned(), value.to_owned())))
    };
    for (places, term) in state.near.iter().zip(&cycle.pod.affinity) {
        let has_label = node.label(&term.topology).is_some();
        let is_fine = has_label && (state.is_first || is_at(places, &term.topology));
        if !is_fine {
            let reason = "node(s) didn't match pod affinity rules";
            return Err(Rejection::for_good(reason));
        }
    }
    for (places, term) in state.avoided.iter().zip(&cycle.pod.anti_affinity) {
        if is_at(places, &term.topology) {
            let reason = "node(s) didn't match pod anti-affinity rules";
            return Err(Rejection::for_now(reason));
        }
    }
    let mut unwelcome = state.unwelcome.iter();
    if unwelcome.any(|(key, value)| node.label(key) == Some(value)) {
        let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
        return Err(Rejection::for_now(reason));
    }
    Ok(())
}

pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let liked = &cycle.neighbors.liked;
    let sum = |node: &&NodeInfo| {
        let here = liked.iter();
        let here = here.filter(|((key, value), _)| node.label(key) == Some(value));
        here.map(|(_, weight)| weight).sum()
    };
    stretch(&nodes.iter().map(sum).collect::<Vec<i64>>(), false)
}
