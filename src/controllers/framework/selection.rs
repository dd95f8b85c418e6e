//! Typed label selectors, as they stand in specs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Whether the labels satisfy the selector. An empty selector matches everything; an operator nobody knows matches
/// nothing.
pub fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let empty = Labels::new();
    let labels = labels.unwrap_or(&empty);
    let exact = selector.match_labels.iter().flatten();
    let mut rules = selector.match_expressions.iter().flatten();
    exact
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && rules.all(|rule| {
            let value = labels.get(&rule.key);
            let listed = || {
                let values = rule.values.as_deref().unwrap_or_default();
                value.is_some_and(|value| values.contains(value))
            };
            match rule.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// The selector of a plain map, as services and replication controllers have it.
pub fn selector_of(labels: &Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels.clone()),
        match_expressions: None,
    }
}

/// As Go prints a pointer to it, which upstream's messages do.
pub fn go_text(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "nil".to_owned();
    };
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels
        .map(|(key, value)| format!("{key}: {value},"))
        .collect();
    let rules = selector.match_expressions.iter().flatten();
    let rules: String = rules
        .map(|rule| {
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                rule.key,
                rule.operator,
                rule.values.as_deref().unwrap_or_default().join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"
    )
}

/// Whether a selector is so empty that it matches everything.
pub fn everything(selector: &LabelSelector) -> bool {
    selector
        .match_labels
        .as_ref()
        .is_none_or(BTreeMap::is_empty)
        && selector
            .match_expressions
            .as_ref()
            .is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn selectors_match_as_documented() {
        let cases = [
            (json!({}), json!({"a": "1"}), true),
            (
                json!({"matchLabels": {"a": "1"}}),
                json!({"a": "1", "b": "2"}),
                true,
            ),
            (json!({"matchLabels": {"a": "1"}}), json!({"a": "2"}), false),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}),
                json!({"a": "2"}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}),
                json!({}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}),
                json!({}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}),
                json!({"a": "1"}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
                json!({"a": ""}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
                json!({"a": ""}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
                json!({"a": ""}),
                false,
            ),
        ];
        for (selector, labels, expected) in cases {
            let labels: Labels = from_value(labels).unwrap();
            let typed = from_value(selector.clone()).unwrap();
            assert_eq!(
                matches(&typed, Some(&labels)),
                expected,
                "{selector} {labels:?}"
            );
        }
    }
}
