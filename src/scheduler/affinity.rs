//! Terms of affinity between pods: which pods, in which namespaces, how near.

use crate::{
    api::{name::Key, selector::LabelSelector},
    client::Snapshot,
};
use k8s_openapi::{
    api::core::v1::{Namespace, Pod, PodAffinityTerm, PodSpec, WeightedPodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::{LabelSelector as Spec, LabelSelectorRequirement},
};

#[derive(Clone, Debug)]
pub struct Term {
    pub topology: String,
    selector: LabelSelector,
    namespaces: Vec<String>,
    namespace_selector: LabelSelector,
}

impl Term {
    pub fn selects(&self, pod: &Pod, namespaces: &Snapshot<Namespace>) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let by_name = self.namespaces.iter().any(|one| one == namespace);
        let is_near = by_name || {
            let found = namespaces.get(&Key::new("", namespace));
            let labels = found.and_then(|found| found.metadata.labels.as_ref());
            self.namespace_selector.matches(&labels)
        };
        is_near && self.selector.matches(&pod.metadata.labels.as_ref())
    }
}

#[derive(Default)]
pub struct Terms {
    pub required: Vec<Term>,
    pub forbidden: Vec<Term>,
    pub preferred: Vec<(i64, Term)>,
}

pub fn terms(pod: &Pod, spec: &PodSpec) -> Terms {
    let Some(affinity) = &spec.affinity else {
        return Terms::default();
    };
    let (near, far) = (&affinity.pod_affinity, &affinity.pod_anti_affinity);
    let required = near.as_ref().and_then(|all| {
        all.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let forbidden = far.as_ref().and_then(|all| {
        all.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let liked = near.as_ref().and_then(|all| {
        all.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let disliked = far.as_ref().and_then(|all| {
        all.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let all = |terms: Option<&Vec<PodAffinityTerm>>| -> Vec<Term> {
        let terms = terms.into_iter().flatten();
        terms.map(|term| term_of(pod, term)).collect()
    };
    let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| -> Vec<(i64, Term)> {
        let terms = terms.into_iter().flatten();
        terms
            .map(|one| {
                (
                    sign * i64::from(one.weight),
                    term_of(pod, &one.pod_affinity_term),
                )
            })
            .collect()
    };
    Terms {
        required: all(required),
        forbidden: all(forbidden),
        preferred: [weighted(liked, 1), weighted(disliked, -1)].concat(),
    }
}

/// No namespaces and no selector of them mean the pod's own.
fn term_of(pod: &Pod, term: &PodAffinityTerm) -> Term {
    let mut namespaces = term.namespaces.clone().unwrap_or_default();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.extend(pod.metadata.namespace.clone());
    }
    let keys = (
        term.match_label_keys.as_deref().unwrap_or_default(),
        term.mismatch_label_keys.as_deref().unwrap_or_default(),
    );
    Term {
        topology: term.topology_key.clone(),
        selector: with_keys(pod, term.label_selector.as_ref(), keys.0, keys.1),
        namespaces,
        namespace_selector: parse(term.namespace_selector.as_ref()),
    }
}

/// The selector, narrowed to pods that share (or do not share) these labels with `pod`.
pub fn with_keys(
    pod: &Pod,
    selector: Option<&Spec>,
    same: &[String],
    different: &[String],
) -> LabelSelector {
    let Some(selector) = selector else {
        return LabelSelector::nothing();
    };
    let mut selector = selector.clone();
    let labels = pod.metadata.labels.as_ref();
    for (keys, operator) in [(same, "In"), (different, "NotIn")] {
        for key in keys {
            if let Some(value) = labels.and_then(|labels| labels.get(key)) {
                let requirement = LabelSelectorRequirement {
                    key: key.clone(),
                    operator: operator.to_owned(),
                    values: Some(vec![value.clone()]),
                };
                let expressions = selector.match_expressions.get_or_insert_default();
                // The API server merges these keys on creation; twice would be the same.
                if !expressions.contains(&requirement) {
                    expressions.push(requirement);
                }
            }
        }
    }
    parse(Some(&selector))
}

/// A malformed selector was refused by the API; it selects nothing.
pub fn parse(selector: Option<&Spec>) -> LabelSelector {
    LabelSelector::from_spec(selector).unwrap_or_else(|_| LabelSelector::nothing())
}
