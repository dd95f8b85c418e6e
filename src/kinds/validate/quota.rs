//! LimitRanges and ResourceQuotas.

use super::{
    finding::{Field, Findings, same},
    format, resources,
};
use crate::{
    api::{error::Cause, quantity::Quantity},
    kinds::UpdateContext,
};
use serde_json::Value;
use std::collections::BTreeSet;

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// What pods that request nothing can still be counted by.
const FOR_BEST_EFFORT: &[&str] = &["pods"];
const FOR_PODS: &[&str] = &[
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

pub fn limit_range(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let mut types = BTreeSet::new();
    for limit in Field::root(object).at(&["spec", "limits"]).items() {
        let kind = limit.child("type");
        let before = found.len();
        found.invalid_each(&kind.path, kind.text(), format::qualified_name(kind.text()));
        let standard = ["Pod", "Container", "PersistentVolumeClaim"];
        if found.len() == before && !kind.text().contains('/') && !standard.contains(&kind.text()) {
            let about = "must be a standard limit type or fully qualified";
            found.invalid(&kind.path, kind.text(), about);
        }
        if !types.insert(kind.text()) {
            found.duplicate(&kind.path, kind.text());
        }
        limit_item(&limit, kind.text(), &mut found);
    }
    found.into_causes()
}

fn limit_item(limit: &Field<'_>, kind: &str, found: &mut Findings) {
    let mut names = BTreeSet::new();
    for list in [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ] {
        let field = limit.child(list);
        if kind == "Pod" && list.starts_with("default") {
            if !field.is_empty() {
                found.forbidden(&field.path, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, quantity) in field.entries() {
            match kind {
                "Pod" | "Container" => resources::container_name(&quantity, name, found),
                _ => {
                    resources::name(&quantity, name, found);
                }
            }
            names.insert(name);
        }
    }
    let has_storage = |list: &str| limit.child(list).key("storage").is_set();
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let about = "either minimum or maximum storage value is required, but neither was provided";
        found.required(&limit.path_to("limits"), about);
    }
    for name in names {
        bounds(limit, name, found);
    }
}

fn bounds(limit: &Field<'_>, name: &str, found: &mut Findings) {
    let get = |list: &str| limit.child(list).key(name).quantity();
    let path = |list: &str| limit.child(list).key(name).path;
    let (min, max, ratio) = (get("min"), get("max"), get("maxLimitRequestRatio"));
    let (most, request) = (get("default"), get("defaultRequest"));
    // Lower, higher, where it is shown, which of them is shown, and what they are called.
    let table = [
        (min, max, "min", min, ["min value", "max value"]),
        (
            min,
            request,
            "defaultRequest",
            request,
            ["min value", "default request value"],
        ),
        (
            request,
            max,
            "defaultRequest",
            request,
            ["default request value", "max value"],
        ),
        (
            request,
            most,
            "defaultRequest",
            request,
            ["default request value", "default limit value"],
        ),
        (min, most, "default", min, ["min value", "default value"]),
        (most, max, "default", max, ["default value", "max value"]),
    ];
    for (lower, higher, list, shown, [low, high]) in table {
        if let (Some(lower), Some(higher), Some(shown)) = (lower, higher, shown)
            && lower > higher
        {
            let about = format!("{low} {lower} is greater than {high} {higher}");
            found.invalid(&path(list), &shown, &about);
        }
    }
    let Some(ratio) = ratio else { return };
    let ratio_path = path("maxLimitRequestRatio");
    if ratio < Quantity::from_units(1) {
        found.invalid(
            &ratio_path,
            &ratio,
            &format!("ratio {ratio} is less than 1"),
        );
    }
    if let (Some(min), Some(max)) = (min, max) {
        let widest = max.as_f64() / min.as_f64();
        if ratio.as_f64() > widest {
            let about = format!("ratio {ratio} is greater than max/min = {widest:.6}");
            found.invalid(&ratio_path, &ratio, &about);
        }
    }
}

pub fn resource_quota(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    for list in ["spec.hard", "status.hard", "status.used"] {
        let (top, list) = list.split_once('.').unwrap_or_default();
        for (name, quantity) in root.at(&[top, list]).entries() {
            resources::quota_name(&quantity, name, &mut found);
            resources::amount(&quantity, name, &mut found);
        }
    }
    let spec = root.child("spec");
    let scopes = spec.child("scopes");
    let mut chosen = Vec::new();
    for scope in scopes.items() {
        if !SCOPES.contains(&scope.text()) {
            found.invalid(&scopes.path, &scopes.json(), "unsupported scope");
        }
        if !covers(scope.text(), &spec) {
            let about = "unsupported scope applied to resource";
            found.invalid(&scopes.path, &scopes.json(), about);
        }
        chosen.push(scope.text());
    }
    conflicting(&chosen, &scopes, &mut found);
    scope_selector(&spec, &scopes, &mut found);
    found.into_causes()
}

/// Whether the scope makes sense for every resource the quota limits.
fn covers(scope: &str, spec: &Field<'_>) -> bool {
    let allowed = match scope {
        "BestEffort" => FOR_BEST_EFFORT,
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => FOR_PODS,
        _ => return true,
    };
    let mut limited = spec.child("hard").entries();
    limited.all(|(name, _)| {
        let rest = name.strip_prefix("requests.").unwrap_or(name);
        allowed.contains(&name)
            || !resources::is_standard_for_quota(name)
            || (allowed == FOR_PODS && resources::is_huge_pages(rest))
    })
}

fn conflicting(chosen: &[&str], shown: &Field<'_>, found: &mut Findings) {
    for pair in [
        ["BestEffort", "NotBestEffort"],
        ["Terminating", "NotTerminating"],
    ] {
        if pair.iter().all(|scope| chosen.contains(scope)) {
            found.invalid(&shown.path, &shown.json(), "conflicting scopes");
        }
    }
}

fn scope_selector(spec: &Field<'_>, scopes: &Field<'_>, found: &mut Findings) {
    let selector = spec.child("scopeSelector");
    let path = selector.path_to("matchExpressions");
    let mut chosen = Vec::new();
    for requirement in selector.child("matchExpressions").items() {
        let at = Field {
            path: path.clone(),
            ..requirement
        };
        let (scope, operator) = (at.child("scopeName"), at.child("operator"));
        if !SCOPES.contains(&scope.text()) {
            found.invalid(&scope.path, scope.text(), "unsupported scope");
        }
        if !covers(scope.text(), spec) {
            let about = "unsupported scope applied to resource";
            found.invalid(&path, &selector.json(), about);
        }
        let takes_values = ["PriorityClass", "VolumeAttributesClass"].contains(&scope.text());
        if !takes_values && SCOPES.contains(&scope.text()) && operator.text() != "Exists" {
            let about = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                ResourceQuotaScopeCrossNamespacePodAffinity";
            found.invalid(&operator.path, operator.text(), about);
        }
        let values = at.child("values");
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                let about = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                found.required(&values.path, about);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let about = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                found.invalid(&values.path, &values.json(), about);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => found.invalid(&operator.path, other, "not a valid selector operator"),
        }
        chosen.push(scope.text());
    }
    conflicting(
        &chosen,
        &Field {
            path,
            ..scopes.clone()
        },
        found,
    );
}

pub fn resource_quota_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let path = ["spec", "scopes"];
    let (new, old) = (
        Field::root(object).at(&path),
        Field::root(context.old).at(&path),
    );
    let sorted = |field: &Field<'_>| {
        let mut values: Vec<Value> = field.items().map(|item| item.json()).collect();
        values.sort_by_key(Value::to_string);
        Value::Array(values)
    };
    if !same(Some(&sorted(&new)), Some(&sorted(&old))) {
        found.invalid(&new.path, &new.json(), "field is immutable");
    }
    found.into_causes()
}
