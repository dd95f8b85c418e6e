//! HorizontalPodAutoscalers and PodDisruptionBudgets.

use super::{
    finding::{Field, Findings, Plain},
    format, labels,
};
use crate::api::error::Cause;
use serde_json::Value;

pub fn autoscaler(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let (low, high) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if let Some(number) = low.int().filter(|number| *number < 1) {
        found.invalid(&low.path, &number, "must be greater than or equal to 1");
    }
    let most = high.int().unwrap_or(0);
    if most < 1 {
        found.invalid(&high.path, &most, "must be greater than 0");
    }
    if low.int().is_some_and(|least| most < least) {
        let about = "must be greater than or equal to `minReplicas`";
        found.invalid(&high.path, &most, about);
    }
    let target = spec.child("scaleTargetRef");
    for name in ["kind", "name"] {
        let part = target.child(name);
        match part.text() {
            "" => found.required(&part.path, ""),
            text => found.invalid_each(&part.path, text, format::path_segment(text)),
        }
    }
    for metric in spec.child("metrics").items() {
        self::metric(&metric, &mut found);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.at(&["behavior", direction]);
        if rules.is_set() {
            scaling_rules(&rules, &mut found);
        }
    }
    found.into_causes()
}

fn metric(metric: &Field<'_>, found: &mut Findings) {
    const TYPES: [(&str, &str); 5] = [
        ("ContainerResource", "containerResource"),
        ("External", "external"),
        ("Object", "object"),
        ("Pods", "pods"),
        ("Resource", "resource"),
    ];
    let kind = metric.child("type");
    let Some((_, source)) = TYPES.iter().find(|(name, _)| *name == kind.text()) else {
        return match kind.text() {
            "" => found.required(&kind.path, "must specify a metric source type"),
            other => found.not_supported(&kind.path, other, &TYPES.map(|(name, _)| name)),
        };
    };
    let source = metric.child(source);
    if !source.is_set() {
        let about = "must populate information for the given metric source";
        return found.required(&source.path, about);
    }
    match kind.text() {
        "Resource" | "ContainerResource" => {
            found_name(&source.child("name"), "must specify a resource name", found);
            if kind.text() == "ContainerResource" {
                let container = source.child("container");
                found_name(&container, "must specify a container", found);
            }
        }
        _ => found.required_text(&source.at(&["metric", "name"])),
    }
    let target = source.child("target");
    const TARGETS: &[&str] = &["AverageValue", "Utilization", "Value"];
    match target.child("type").text() {
        "" => {
            let path = target.path_to("type");
            found.required(&path, "must specify a metric target type");
        }
        text if TARGETS.contains(&text) => {}
        text => found.not_supported(&target.path_to("type"), text, TARGETS),
    }
    let utilization = target.child("averageUtilization");
    if let Some(percent) = utilization.int().filter(|percent| *percent < 1) {
        found.invalid(&utilization.path, &percent, "must be greater than 0");
    }
    for name in ["value", "averageValue"] {
        let value = target.child(name);
        if let Some(quantity) = value
            .quantity()
            .filter(|value| value.is_zero() || value.is_negative())
        {
            found.invalid(&value.path, &quantity, "must be positive");
        }
    }
    if kind.text().ends_with("Resource") {
        let average = target.child("averageValue");
        match (utilization.is_set(), average.is_set()) {
            (false, false) => {
                let about = "must set either a target raw value or a target utilization";
                found.required(&utilization.path, about);
            }
            (true, true) => {
                let about = "may not set both a target raw value and a target utilization";
                found.forbidden(&average.path, about);
            }
            _ => {}
        }
    }
}

fn found_name(field: &Field<'_>, about: &str, found: &mut Findings) {
    if field.is_empty() {
        found.required(&field.path, about);
    }
}

fn scaling_rules(rules: &Field<'_>, found: &mut Findings) {
    let window = rules.child("stabilizationWindowSeconds");
    if let Some(seconds) = window.int() {
        if seconds < 0 {
            found.invalid(
                &window.path,
                &seconds,
                "must be greater than or equal to zero",
            );
        }
        if seconds > 3600 {
            found.invalid(&window.path, &seconds, "must be less than or equal to 3600");
        }
    }
    found.one_of_if_set(&rules.child("selectPolicy"), &["Disabled", "Max", "Min"]);
    let policies = rules.child("policies");
    if policies.is_set() && policies.is_empty() {
        found.required(&policies.path, "must specify at least one Policy");
    }
    for policy in policies.items() {
        let kind = policy.child("type");
        if !["Pods", "Percent"].contains(&kind.text()) {
            found.not_supported(&kind.path, kind.text(), &["Percent", "Pods"]);
        }
        for name in ["value", "periodSeconds"] {
            let field = policy.child(name);
            let number = field.int().unwrap_or(0);
            if number <= 0 {
                found.invalid(&field.path, &number, "must be greater than zero");
            }
            if name == "periodSeconds" && number > 1800 {
                found.invalid(&field.path, &number, "must be less than or equal to 1800");
            }
        }
    }
}

pub fn disruption_budget(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let (least, most) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if least.is_set() && most.is_set() {
        let about = "minAvailable and maxUnavailable cannot be both set";
        found.invalid(&spec.path, &spec.json(), about);
    }
    for field in [&least, &most] {
        let Some(value) = field.value.filter(|value| !value.is_null()) else {
            continue;
        };
        match value.as_str() {
            None => found.non_negative(field),
            Some(text) => {
                let wrong = format::percent(text);
                let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
                if wrong.is_empty() && percent > 100 {
                    found.invalid(&field.path, &Plain(value), "must not be greater than 100%");
                }
                found.invalid_each(&field.path, &Plain(value), wrong);
            }
        }
    }
    labels::label_selector(&spec.child("selector"), &mut found);
    let policy = spec.child("unhealthyPodEvictionPolicy");
    found.one_of_if_set(&policy, &["AlwaysAllow", "IfHealthyBudget"]);
    found.into_causes()
}
