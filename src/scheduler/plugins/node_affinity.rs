//! Node selectors and node affinity.

use super::{Cycle, NodeInfo, Rejection, Verdict, normalize};
use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};

pub fn filter(cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    if wants(cycle, node) {
        return Ok(());
    }
    let reason = "node(s) didn't match Pod's node affinity/selector";
    Err(Rejection::for_good(reason))
}

/// Selector and required affinity; also for plug-ins that leave unwanted nodes out of their counts.
pub fn wants(cycle: &Cycle<'_>, node: &NodeInfo) -> bool {
    let spec = cycle.pod.spec();
    let selector = spec.and_then(|spec| spec.node_selector.as_ref());
    let mut labels = selector.into_iter().flatten();
    if !labels.all(|(key, value)| node.label(key) == Some(value)) {
        return false;
    }
    let affinity = affinity(cycle);
    let required = affinity.and_then(|all| {
        all.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    required.is_none_or(|selector| selects(selector, node))
}

pub fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
    let affinity = affinity(cycle);
    let preferred = affinity.and_then(|all| {
        all.preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let preferred: Vec<_> = preferred.into_iter().flatten().collect();
    let weight = |node: &&NodeInfo| {
        let fitting = preferred.iter().filter(|one| fits(&one.preference, node));
        fitting.map(|one| i64::from(one.weight)).sum()
    };
    normalize(&nodes.iter().map(weight).collect::<Vec<i64>>(), false)
}

fn affinity<'a>(cycle: &'a Cycle<'_>) -> Option<&'a NodeAffinity> {
    cycle.pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()
}

/// One term is enough.
pub fn selects(selector: &NodeSelector, node: &NodeInfo) -> bool {
    let mut terms = selector.node_selector_terms.iter();
    terms.any(|term| fits(term, node))
}

/// An empty term fits nothing.
fn fits(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let labels: Vec<_> = term.match_expressions.iter().flatten().collect();
    let fields: Vec<_> = term.match_fields.iter().flatten().collect();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let field = |one: &NodeSelectorRequirement| match one.key.as_str() {
        "metadata.name" => Some(node.name.as_str()),
        _ => None,
    };
    labels.iter().all(|one| holds(one, node.label(&one.key)))
        && fields.iter().all(|one| holds(one, field(one)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let limit = number(values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => matches!((number(value), limit), (Some(value), Some(limit)) if value > limit),
        "Lt" => matches!((number(value), limit), (Some(value), Some(limit)) if value < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_hold_as_documented() {
        let cases = [
            ("In", &["a", "b"][..], Some("a"), true),
            ("In", &["b"], Some("a"), false),
            ("In", &["b"], None, false),
            ("NotIn", &["b"], Some("a"), true),
            ("NotIn", &["b"], None, true),
            ("Exists", &[], Some(""), true),
            ("DoesNotExist", &[], None, true),
            ("Gt", &["5"], Some("6"), true),
            ("Gt", &["5"], Some("5"), false),
            ("Lt", &["5"], Some("4"), true),
            ("Lt", &["5"], Some("x"), false),
            ("Like", &["5"], Some("5"), false),
        ];
        for (operator, values, value, expected) in cases {
            let requirement = NodeSelectorRequirement {
                key: String::new(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|&value| value.to_owned()).collect()),
            };
            let found = holds(&requirement, value);
            assert_eq!(found, expected, "{operator} {values:?} {value:?}");
        }
    }
}
