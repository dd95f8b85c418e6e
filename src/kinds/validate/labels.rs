//! Labels and the selectors over labels and nodes.

use super::{
    finding::{Field, Findings},
    format,
};
use serde_json::Value;

pub fn labels(field: &Field<'_>, found: &mut Findings) {
    for (key, value) in field.entries() {
        found.invalid_each(&field.path, key, format::qualified_name(key));
        found.invalid_each(&field.path, value.text(), format::label_value(value.text()));
    }
}

pub fn label_name(field: &Field<'_>, found: &mut Findings) {
    found.invalid_each(
        &field.path,
        field.text(),
        format::qualified_name(field.text()),
    );
}

pub fn label_selector(field: &Field<'_>, found: &mut Findings) {
    labels(&field.child("matchLabels"), found);
    for requirement in field.child("matchExpressions").items() {
        let (operator, values) = (requirement.child("operator"), requirement.child("values"));
        operator_and_values(&operator, &values, false, found);
        label_name(&requirement.child("key"), found);
        for value in values.items() {
            found.invalid_each(&value.path, value.text(), format::label_value(value.text()));
        }
    }
}

fn operator_and_values(
    operator: &Field<'_>,
    values: &Field<'_>,
    for_nodes: bool,
    found: &mut Findings,
) {
    match operator.text() {
        "In" | "NotIn" => {
            if values.is_empty() {
                let about = "must be specified when `operator` is 'In' or 'NotIn'";
                found.required(&values.path, about);
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                let about = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                found.forbidden(&values.path, about);
            }
        }
        "Gt" | "Lt" if for_nodes => {
            if values.items().len() != 1 {
                let about = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                found.required(&values.path, about);
            }
        }
        other => found.invalid(&operator.path, other, "not a valid selector operator"),
    }
}

/// Whether a LabelSelector is there and matches the labels. An empty selector matches everything.
pub fn matches(selector: &Field<'_>, labels: &Field<'_>) -> bool {
    let label = |key: &str| {
        labels
            .value
            .and_then(|labels| labels.get(key))
            .and_then(Value::as_str)
    };
    let equal = selector
        .child("matchLabels")
        .entries()
        .all(|(key, value)| label(key) == Some(value.text()));
    let expressions = selector
        .child("matchExpressions")
        .items()
        .all(|requirement| {
            let found = label(requirement.child("key").text());
            let is_listed = || {
                let mut values = requirement.child("values").items();
                values.any(|value| Some(value.text()) == found)
            };
            match requirement.child("operator").text() {
                "In" => found.is_some() && is_listed(),
                "NotIn" => found.is_none() || !is_listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        });
    selector.is_set() && equal && expressions
}

pub fn node_selector(field: &Field<'_>, found: &mut Findings) {
    let terms = field.child("nodeSelectorTerms");
    if terms.is_empty() {
        let about = "must have at least one node selector term";
        return found.required(&terms.path, about);
    }
    for term in terms.items() {
        node_selector_term(&term, true, found);
    }
}

/// Preferred terms may hold values that are no labels.
pub fn node_selector_term(term: &Field<'_>, strict_values: bool, found: &mut Findings) {
    for requirement in term.child("matchExpressions").items() {
        let values = requirement.child("values");
        operator_and_values(&requirement.child("operator"), &values, true, found);
        label_name(&requirement.child("key"), found);
        for value in values.items().filter(|_| strict_values) {
            found.invalid_each(&value.path, value.text(), format::label_value(value.text()));
        }
    }
    for requirement in term.child("matchFields").items() {
        field_requirement(&requirement, found);
    }
}

fn field_requirement(requirement: &Field<'_>, found: &mut Findings) {
    let (operator, values) = (requirement.child("operator"), requirement.child("values"));
    match operator.text() {
        "In" | "NotIn" => {
            if values.items().len() != 1 {
                let about = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                found.required(&values.path, about);
            }
        }
        other => found.invalid(&operator.path, other, "not a valid selector operator"),
    }
    let key = requirement.child("key");
    if key.text() != "metadata.name" {
        return found.invalid(&key.path, key.text(), "not a valid field selector key");
    }
    for value in values.items() {
        found.invalid_each(
            &value.path,
            value.text(),
            format::dns_subdomain(value.text()),
        );
    }
}
