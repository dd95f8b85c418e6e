//! Which writes a webhook or a policy is meant for: rules, and selectors of the object and of its namespace.

use super::super::{Attempt, Operation};
use crate::{
    api::selector::{LabelSelector, Labels},
    apiserver::registry::{
        document::{Index, index},
        metadata::{strings, text},
    },
};
use serde::Deserialize;
use serde_json::Value;

pub const GROUP: &str = "admissionregistration.k8s.io";

/// `selectors` holds `namespaceSelector` and `objectSelector`.
pub fn is_meant(attempt: &Attempt<'_>, object: &Value, selectors: &Value, rules: &Value) -> bool {
    let request = attempt.request;
    let operation = operation(attempt.operation);
    let resource = match attempt.subresource() {
        "" => request.resource.resource.to_string(),
        sub => format!("{}/{sub}", request.resource.resource),
    };
    let scope = if attempt.kind().is_namespaced() {
        "Namespaced"
    } else {
        "Cluster"
    };
    let mut rules = rules.as_array().into_iter().flatten();
    let is_ruled = rules.any(|rule| {
        has(&rule["operations"], operation)
            && has(&rule["apiGroups"], &request.resource.group)
            && has(&rule["apiVersions"], &request.resource.version)
            && strings(&rule["resources"])
                .iter()
                .any(|rule| covers(rule, &resource))
            && ["", "*", scope].contains(&text(rule, "scope"))
    });
    is_ruled && is_selected(attempt, object, selectors)
}

pub fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn is_selected(attempt: &Attempt<'_>, object: &Value, selectors: &Value) -> bool {
    let of_object = &selectors["objectSelector"];
    let documents = [Some(object), attempt.old];
    let mut labels = documents.into_iter().flatten().map(labels_of);
    if !labels.any(|labels| selects(of_object, &labels)) {
        return false;
    }
    let of_namespace = &selectors["namespaceSelector"];
    if attempt.kind().storage == "namespaces" {
        // A namespace is judged by its own labels.
        let own = if object.is_null() {
            attempt.old
        } else {
            Some(object)
        };
        return selects(of_namespace, &own.and_then(labels_of));
    }
    let request = attempt.request;
    if request.namespace.is_empty() {
        return true;
    }
    let key = format!("/namespaces/{}", request.namespace);
    let entry = request.registry.store.get(&key);
    let none = Index::default();
    let labels = entry.as_ref().map_or(&none, |entry| index(&entry.note));
    selects(of_namespace, labels)
}

fn labels_of(object: &Value) -> Option<&serde_json::Map<String, Value>> {
    object["metadata"]["labels"].as_object()
}

fn has(list: &Value, wanted: &str) -> bool {
    strings(list)
        .iter()
        .any(|one| *one == "*" || *one == wanted)
}

/// `pods`, `pods/*`, `*`, `*/*`, `*/scale` …
fn covers(rule: &str, resource: &str) -> bool {
    let (main, sub) = resource.split_once('/').unwrap_or((resource, ""));
    match rule.split_once('/') {
        None => sub.is_empty() && (rule == "*" || rule == main),
        Some((rule_main, rule_sub)) => {
            (rule_main == "*" || rule_main == main) && (rule_sub == "*" || rule_sub == sub)
        }
    }
}

/// An absent selector selects everything here.
fn selects(selector: &Value, labels: &impl Labels) -> bool {
    let Ok(Some(selector)) = Option::deserialize(selector) else {
        return true;
    };
    LabelSelector::from_spec(Some(&selector)).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_cover_resources_and_their_parts() {
        let cases = [
            ("pods", "pods", true),
            ("pods", "pods/status", false),
            ("pods/*", "pods/status", true),
            ("pods/*", "pods", true),
            ("*", "pods", true),
            ("*", "pods/status", false),
            ("*/*", "pods", true),
            ("*/scale", "deployments/scale", true),
            ("*/scale", "deployments", false),
        ];
        for (rule, resource, expected) in cases {
            assert_eq!(covers(rule, resource), expected, "{rule} {resource}");
        }
    }
}
