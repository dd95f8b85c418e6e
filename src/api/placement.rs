//! Whether a node suits a pod: node selectors over labels and names, tolerations over taints.
//!
//! Pure. Which of them a caller asks about, and in what order, is the caller's business.

use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint,
    Toleration,
};
use std::collections::BTreeMap;

/// A node as selectors see it.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    pub name: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

impl<'a> Site<'a> {
    #[must_use]
    pub fn of(node: &'a Node) -> Site<'a> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        Site {
            name: node.metadata.name.as_deref().unwrap_or_default(),
            labels: node.metadata.labels.as_ref().unwrap_or(&NONE),
        }
    }
}

/// Whether the pod's node selector and its required node affinity allow the node.
#[must_use]
pub fn wants(spec: &PodSpec, site: Site<'_>) -> bool {
    let mut labels = spec.node_selector.iter().flatten();
    labels.all(|(key, value)| site.labels.get(key) == Some(value))
        && required(spec.affinity.as_ref()).is_none_or(|selector| selects(selector, site))
}

/// The node affinity a pod insists on.
#[must_use]
pub fn required(affinity: Option<&Affinity>) -> Option<&NodeSelector> {
    let node = affinity?.node_affinity.as_ref()?;
    node.required_during_scheduling_ignored_during_execution
        .as_ref()
}

/// One term is enough; none selects nothing.
#[must_use]
pub fn selects(selector: &NodeSelector, site: Site<'_>) -> bool {
    let mut terms = selector.node_selector_terms.iter();
    terms.any(|term| fits(term, site))
}

/// Everything in a term must hold; an empty term fits nothing.
#[must_use]
pub fn fits(term: &NodeSelectorTerm, site: Site<'_>) -> bool {
    let mut labels = term.match_expressions.iter().flatten();
    let mut fields = term.match_fields.iter().flatten();
    let is_empty = labels.clone().next().is_none() && fields.clone().next().is_none();
    let label = |key: &str| site.labels.get(key).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(site.name);
    !is_empty
        && labels.all(|rule| holds(rule, label(&rule.key)))
        && fields.all(|rule| holds(rule, field(&rule.key)))
}

fn holds(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let limit = number(values.first().map(String::as_str));
    let pair = number(value).zip(limit);
    match rule.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => pair.is_some_and(|(value, limit)| value > limit),
        "Lt" => pair.is_some_and(|(value, limit)| value < limit),
        _ => false,
    }
}

#[must_use]
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    let fits_effect = effect.is_empty() || effect == taint.effect;
    let fits_key = key.is_empty() || key == taint.key;
    let fits_value = match toleration.operator.as_deref() {
        Some("Exists") => true,
        Some("Equal" | "") | None => {
            !key.is_empty() && text(&toleration.value) == text(&taint.value)
        }
        Some(_) => false,
    };
    fits_effect && fits_key && fits_value
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn terms_are_alternatives_and_rules_are_not() {
        let labels = BTreeMap::from([
            ("disk".to_owned(), "ssd".to_owned()),
            ("gen".into(), "7".into()),
        ]);
        let site = Site {
            name: "n1",
            labels: &labels,
        };
        let rule = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let by_label = |rules: &[Value]| json!({"matchExpressions": rules});
        let by_name = |name: &str| json!({"matchFields": [rule("metadata.name", "In", &[name])]});
        #[rustfmt::skip]
        let cases = [
            (vec![], false),
            (vec![json!({})], false),
            (vec![by_label(&[rule("disk", "In", &["ssd", "nvme"])])], true),
            (vec![by_label(&[rule("disk", "NotIn", &["ssd"])])], false),
            (vec![by_label(&[rule("none", "NotIn", &["ssd"])])], true),
            (vec![by_label(&[rule("disk", "Exists", &[]), rule("none", "Exists", &[])])], false),
            (vec![by_label(&[rule("none", "DoesNotExist", &[])])], true),
            (vec![by_label(&[rule("gen", "Gt", &["6"])])], true),
            (vec![by_label(&[rule("gen", "Lt", &["7"])])], false),
            (vec![by_label(&[rule("disk", "Gt", &["6"])])], false),
            (vec![by_label(&[rule("disk", "In", &["hdd"])]), by_name("n1")], true),
            (vec![by_name("n2")], false),
        ];
        for (terms, expected) in cases {
            let selector: NodeSelector =
                serde_json::from_value(json!({"nodeSelectorTerms": terms})).unwrap();
            assert_eq!(selects(&selector, site), expected, "{terms:?}");
        }
    }

    #[test]
    fn tolerations_match_key_value_and_effect() {
        let taint = json!({"key": "k", "value": "v", "effect": "NoExecute"});
        let taint: Taint = serde_json::from_value(taint).unwrap();
        #[rustfmt::skip]
        let cases = [
            (json!({"operator": "Exists"}), true),
            (json!({}), false),
            (json!({"key": "k", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), true),
            (json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}), false),
        ];
        for (toleration, expected) in cases {
            let found: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&found, &taint), expected, "{toleration}");
        }
    }
}
