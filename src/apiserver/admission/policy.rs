//! Webhooks and CEL policies are stored but not called yet: a write that one of them would judge is answered as when
//! it could not be asked, by its `failurePolicy`.

use super::{Attempt, Operation};
use crate::{
    api::{
        ApiError,
        selector::{LabelSelector, Labels},
    },
    apiserver::registry::{
        document::{Index, index},
        metadata::{strings, text},
    },
};
use serde::Deserialize;
use serde_json::Value;

const GROUP: &str = "admissionregistration.k8s.io";
const WEBHOOKS: &[&str] = &[
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
];
/// Kind, where its policies lie, where their bindings lie.
const POLICIES: &[(&str, &str, &str)] = &[
    (
        "MutatingAdmissionPolicy",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    ),
    (
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    ),
];

pub fn check(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    // They cannot lock themselves in.
    if attempt.kind().group == GROUP {
        return Ok(());
    }
    let registry = attempt.request.registry;
    for storage in WEBHOOKS {
        for configuration in registry.read_all(storage, "") {
            for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
                if webhook["failurePolicy"] != "Ignore"
                    && is_meant(attempt, object, webhook, &webhook["rules"])
                {
                    let name = text(webhook, "name");
                    return Err(ApiError::internal(format!(
                        "failed calling webhook {name:?}: failed to call webhook: calling webhooks is not implemented by kubik yet"
                    )));
                }
            }
        }
    }
    for (kind, policies, bindings) in POLICIES {
        for binding in registry.read_all(bindings, "") {
            let name = text(&binding["spec"], "policyName");
            let Some(policy) = registry.read(policies, "", name) else {
                continue;
            };
            let constraints = &policy["spec"]["matchConstraints"];
            let narrowed = &binding["spec"]["matchResources"];
            let is_narrow = narrowed.is_null()
                || narrowed["resourceRules"].is_null()
                || is_meant(attempt, object, narrowed, &narrowed["resourceRules"]);
            if policy["spec"]["failurePolicy"] != "Ignore"
                && is_narrow
                && is_meant(attempt, object, constraints, &constraints["resourceRules"])
            {
                return Err(attempt.forbidden(&format!(
                    "{kind} '{name}' with binding '{}' denied request: evaluating expressions is not implemented by kubik yet",
                    text(&binding["metadata"], "name")
                )));
            }
        }
    }
    Ok(())
}

fn is_meant(attempt: &Attempt<'_>, object: &Value, selectors: &Value, rules: &Value) -> bool {
    let request = attempt.request;
    let operation = match attempt.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
    };
    let resource = match attempt.subresource() {
        "" => request.resource.resource.to_string(),
        sub => format!("{}/{sub}", request.resource.resource),
    };
    let rules = rules.as_array().into_iter().flatten();
    let scope = if attempt.kind().is_namespaced() {
        "Namespaced"
    } else {
        "Cluster"
    };
    let is_ruled = rules.into_iter().any(|rule| {
        has(&rule["operations"], operation)
            && has(&rule["apiGroups"], &request.resource.group)
            && has(&rule["apiVersions"], &request.resource.version)
            && strings(&rule["resources"])
                .iter()
                .any(|rule| covers(rule, &resource))
            && ["", "*", scope].contains(&text(rule, "scope"))
    });
    if !is_ruled
        || !selects(
            &selectors["objectSelector"],
            &object["metadata"]["labels"].as_object(),
        )
    {
        return false;
    }
    let namespace = match attempt.kind().storage {
        "namespaces" => &request.name,
        _ => &request.namespace,
    };
    let entry = request
        .registry
        .store
        .get(&format!("/namespaces/{namespace}"));
    let none = Index::default();
    let labels = entry.as_ref().map_or(&none, |entry| index(&entry.note));
    namespace.is_empty() || selects(&selectors["namespaceSelector"], labels)
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
