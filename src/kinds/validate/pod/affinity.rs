//! Where a pod may run: affinity, tolerations, spreading.

use crate::kinds::validate::{
    finding::{Field, Findings},
    format,
    labels::{self, label_name, label_selector},
};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn affinity(field: &Field<'_>, found: &mut Findings) {
    let node = field.child("nodeAffinity");
    let required = node.child(REQUIRED);
    if required.is_set() {
        labels::node_selector(&required, found);
    }
    for term in node.child(PREFERRED).items() {
        weight(&term, found);
        labels::node_selector_term(&term.child("preference"), false, found);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pod = field.child(kind);
        for term in pod.child(REQUIRED).items() {
            pod_term(&term, found);
        }
        for term in pod.child(PREFERRED).items() {
            weight(&term, found);
            pod_term(&term.child("podAffinityTerm"), found);
        }
    }
}

fn weight(term: &Field<'_>, found: &mut Findings) {
    let weight = term.child("weight");
    let number = weight.int().unwrap_or(0);
    if !(1..=100).contains(&number) {
        found.invalid(&weight.path, &number, "must be in the range 1-100");
    }
}

fn pod_term(term: &Field<'_>, found: &mut Findings) {
    let selector = term.child("labelSelector");
    label_selector(&selector, found);
    label_selector(&term.child("namespaceSelector"), found);
    for name in term.child("namespaces").items() {
        let path = term.path_to("namespace");
        found.invalid_each(&path, name.text(), format::dns_label(name.text()));
    }
    let mismatched = term.child("mismatchLabelKeys");
    for keys in [&term.child("matchLabelKeys"), &mismatched] {
        if keys.is_empty() {
            continue;
        }
        if !selector.is_set() {
            let about = "must not be specified when labelSelector is not set";
            found.forbidden(&keys.path, about);
            continue;
        }
        for key in keys.items() {
            label_name(&key, found);
            let is_twice = keys.path != mismatched.path
                && mismatched.items().any(|other| other.text() == key.text());
            if is_twice {
                let about = "exists in both matchLabelKeys and mismatchLabelKeys";
                found.invalid(&key.path, key.text(), about);
            }
        }
    }
    let topology = term.child("topologyKey");
    if topology.is_empty() {
        found.required(&topology.path, "can not be empty");
    }
    label_name(&topology, found);
}

pub fn tolerations(field: &Field<'_>, found: &mut Findings) {
    for toleration in field.items() {
        let (key, operator) = (toleration.child("key"), toleration.child("operator"));
        let (value, effect) = (toleration.child("value"), toleration.child("effect"));
        if !key.is_empty() {
            label_name(&key, found);
        } else if operator.text() != "Exists" {
            let about = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            found.invalid(&operator.path, operator.text(), about);
        }
        if toleration.child("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            let about = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            found.invalid(&effect.path, effect.text(), about);
        }
        match operator.text() {
            "" | "Equal" => {
                let wrong = format::label_value(value.text());
                if !wrong.is_empty() {
                    found.invalid(&operator.path, value.text(), &wrong.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let about = "value must be empty when `operator` is 'Exists'";
                    found.invalid(&operator.path, value.text(), about);
                }
            }
            other => found.not_supported(&operator.path, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect.text()) {
            found.not_supported(&effect.path, effect.text(), EFFECTS);
        }
    }
}

pub fn topology_spread(field: &Field<'_>, found: &mut Findings) {
    let constraints: Vec<Field<'_>> = field.items().collect();
    for (index, constraint) in constraints.iter().enumerate() {
        let skew = constraint.child("maxSkew");
        let number = skew.int().unwrap_or(0);
        if number <= 0 {
            found.invalid(&skew.path, &number, "must be greater than zero");
        }
        let (key, action) = (
            constraint.child("topologyKey"),
            constraint.child("whenUnsatisfiable"),
        );
        if key.is_empty() {
            found.required(&key.path, "can not be empty");
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action.text()) {
            let values = &["DoNotSchedule", "ScheduleAnyway"];
            found.not_supported(&action.path, action.text(), values);
        }
        let is_repeated = constraints[index + 1..].iter().any(|other| {
            other.child("topologyKey").text() == key.text()
                && other.child("whenUnsatisfiable").text() == action.text()
        });
        if is_repeated {
            let path = constraint.path_to("{topologyKey, whenUnsatisfiable}");
            let pair = format!("{{{}, {}}}", key.text(), action.text());
            found.duplicate(&path, &pair);
        }
        let domains = constraint.child("minDomains");
        if let Some(number) = domains.int() {
            if number <= 0 {
                found.invalid(&domains.path, &number, "must be greater than zero");
            }
            if action.text() != "DoNotSchedule" {
                let about = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                    action.text()
                );
                found.invalid(&domains.path, &number, &about);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            found.one_of_if_set(&constraint.child(policy), &["Honor", "Ignore"]);
        }
        spread_keys(constraint, found);
        label_selector(&constraint.child("labelSelector"), found);
    }
}

fn spread_keys(constraint: &Field<'_>, found: &mut Findings) {
    let (keys, selector) = (
        constraint.child("matchLabelKeys"),
        constraint.child("labelSelector"),
    );
    if keys.is_empty() {
        return;
    }
    if !selector.is_set() {
        let about = "must not be specified when labelSelector is not set";
        found.forbidden(&keys.path, about);
    }
    for key in keys.items() {
        label_name(&key, found);
        let mut expressions = selector.child("matchExpressions").items();
        let is_selected = selector.child("matchLabels").key(key.text()).is_set()
            || expressions.any(|expression| expression.child("key").text() == key.text());
        if is_selected {
            let about = "exists in both matchLabelKeys and labelSelector";
            found.invalid(&key.path, key.text(), about);
        }
    }
}
