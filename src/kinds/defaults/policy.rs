//! Autoscalers, limits, priorities, roles' bindings, webhooks and policies.

use super::{items, part, put, text};
use serde_json::{Value, json};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

pub fn autoscaler(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "minReplicas", 1);
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
        }}]);
    }
    let Some(behavior) = part(spec, "behavior") else {
        return;
    };
    let table = [
        (
            "scaleUp",
            json!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]),
        ),
        (
            "scaleDown",
            json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
        ),
    ];
    for (direction, policies) in table {
        put(behavior, direction, json!({}));
        let rules = &mut behavior[direction];
        put(rules, "selectPolicy", "Max");
        put(rules, "policies", policies);
        if direction == "scaleUp" {
            put(rules, "stabilizationWindowSeconds", 0);
        }
    }
}

/// A container's default follows its maximum, its default request follows the default.
pub fn limit_range(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    for limit in items(spec, "limits").filter(|limit| limit["type"] == "Container") {
        for (from, to) in [
            ("max", "default"),
            ("default", "defaultRequest"),
            ("min", "defaultRequest"),
        ] {
            let Some(values) = limit[from].as_object().cloned() else {
                continue;
            };
            put(limit, to, json!({}));
            for (name, value) in values {
                put(&mut limit[to], &name, value);
            }
        }
    }
}

pub fn priority_class(object: &mut Value) {
    put(object, "preemptionPolicy", "PreemptLowerPriority");
}

pub fn binding(object: &mut Value) {
    if let Some(role) = part(object, "roleRef") {
        if role["apiGroup"] == "" {
            role["apiGroup"] = Value::Null;
        }
        put(role, "apiGroup", RBAC_GROUP);
    }
    for subject in items(object, "subjects") {
        if text(subject, "apiGroup").is_empty()
            && ["User", "Group"].contains(&text(subject, "kind"))
        {
            subject["apiGroup"] = RBAC_GROUP.into();
        }
    }
}

pub fn mutating_webhooks(object: &mut Value) {
    webhooks(object);
    for webhook in items(object, "webhooks") {
        put(webhook, "reinvocationPolicy", "Never");
    }
}

pub fn webhooks(object: &mut Value) {
    for webhook in items(object, "webhooks") {
        put(webhook, "failurePolicy", "Fail");
        put(webhook, "matchPolicy", "Equivalent");
        put(webhook, "namespaceSelector", json!({}));
        put(webhook, "objectSelector", json!({}));
        put(webhook, "timeoutSeconds", 10);
        for rule in items(webhook, "rules") {
            put(rule, "scope", "*");
        }
        if let Some(service) =
            part(webhook, "clientConfig").and_then(|config| part(config, "service"))
        {
            put(service, "port", 443);
        }
    }
}

/// Validating and mutating admission policies.
pub fn admission_policy(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "failurePolicy", "Fail");
    for constraints in ["matchConstraints"] {
        if let Some(constraints) = part(spec, constraints) {
            match_resources(constraints);
        }
    }
}

pub fn admission_binding(object: &mut Value) {
    if let Some(resources) = part(object, "spec").and_then(|spec| part(spec, "matchResources")) {
        match_resources(resources);
    }
}

fn match_resources(resources: &mut Value) {
    put(resources, "matchPolicy", "Equivalent");
    put(resources, "namespaceSelector", json!({}));
    put(resources, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in items(resources, list) {
            put(rule, "scope", "*");
        }
    }
}
