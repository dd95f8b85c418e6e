//! HorizontalPodAutoscalers of autoscaling/v1 and v2: one object in two shapes.
//!
//! v1 knows one CPU percentage. What it cannot say travels in annotations, in the forms upstream gives them: metrics in
//! the older shape of the v1 types, the behavior with Go's own field names. Unreadable annotations are ignored.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What v1 means when it names no metric at all.
const CPU_DEFAULT: i64 = 80;

type Object = Map<String, Value>;

/// Into the stored shape.
pub fn to_v2(document: &mut Value) {
    let notes = take_notes(document);
    let note = |name: &str| {
        let text = notes.get(name).and_then(Value::as_str)?;
        serde_json::from_str::<Value>(text).ok()
    };
    if let Some(spec) = document.get_mut("spec").and_then(Value::as_object_mut) {
        let cpu = spec.remove("targetCPUUtilizationPercentage");
        let cpu = cpu.filter(Value::is_number);
        let mut metrics = converted(note(METRICS), |metric| Metric::TARGET.to_v2(metric));
        if let Some(percentage) = cpu.or_else(|| metrics.is_empty().then(|| CPU_DEFAULT.into())) {
            metrics.push(cpu_metric(&percentage));
        }
        spec.insert("metrics".to_owned(), metrics.into());
        if let Some(behavior) = note(BEHAVIOR) {
            spec.insert("behavior".to_owned(), renamed(&behavior, lower_first));
        }
    }
    if let Some(status) = document.get_mut("status").and_then(Value::as_object_mut) {
        let cpu = status.remove("currentCPUUtilizationPercentage");
        let mut metrics = converted(note(CURRENT_METRICS), |metric| {
            Metric::CURRENT.to_v2(metric)
        });
        if let (true, Some(percentage)) = (metrics.is_empty(), cpu.filter(Value::is_number)) {
            metrics.push(json!({"type": "Resource", "resource": {
                "name": "cpu", "current": {"averageUtilization": percentage},
            }}));
        }
        insert_list(status, "currentMetrics", metrics);
        if let Some(conditions) = note(CONDITIONS).filter(Value::is_array) {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

/// Out of the stored shape.
pub fn to_v1(document: &mut Value) {
    take_notes(document);
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = document.get_mut("spec").and_then(Value::as_object_mut) {
        let (cpu, others): (Vec<Value>, Vec<Value>) = take_list(spec, "metrics")
            .into_iter()
            .partition(|metric| cpu_percentage(metric, "target").is_some());
        if let Some(percentage) = cpu
            .first()
            .and_then(|metric| cpu_percentage(metric, "target"))
        {
            spec.insert(
                "targetCPUUtilizationPercentage".to_owned(),
                percentage.clone(),
            );
        }
        let others: Vec<Value> = others
            .iter()
            .map(|metric| Metric::TARGET.to_v1(metric))
            .collect();
        if !others.is_empty() {
            notes.push((METRICS, others.into()));
        }
        if let Some(behavior) = spec.remove("behavior") {
            notes.push((BEHAVIOR, renamed(&behavior, upper_first)));
        }
    }
    if let Some(status) = document.get_mut("status").and_then(Value::as_object_mut) {
        let metrics = take_list(status, "currentMetrics");
        let cpu = metrics
            .iter()
            .find_map(|metric| cpu_percentage(metric, "current"));
        if let Some(percentage) = cpu {
            status.insert(
                "currentCPUUtilizationPercentage".to_owned(),
                percentage.clone(),
            );
        }
        // The CPU's status stays in the annotation as well: its raw value fits nowhere else.
        let metrics: Vec<Value> = metrics
            .iter()
            .map(|metric| Metric::CURRENT.to_v1(metric))
            .collect();
        if !metrics.is_empty() {
            notes.push((CURRENT_METRICS, metrics.into()));
        }
        let conditions = take_list(status, "conditions");
        if !conditions.is_empty() {
            notes.push((CONDITIONS, conditions.into()));
        }
    }
    for (name, value) in notes {
        document["metadata"]["annotations"][name] = value.to_string().into();
    }
}

/// How targets and current values of metrics are spelled in v1: `targetValue`, `currentAverageValue` …
struct Metric {
    /// The member of v2 that holds the values.
    holder: &'static str,
    /// Members of v2's holder, and their names in v1 for resources, pods and external metrics.
    values: &'static [(&'static str, &'static str)],
}

impl Metric {
    const TARGET: Metric = Metric {
        holder: "target",
        values: &[
            ("averageUtilization", "targetAverageUtilization"),
            ("averageValue", "targetAverageValue"),
            ("value", "targetValue"),
        ],
    };
    const CURRENT: Metric = Metric {
        holder: "current",
        values: &[
            ("averageUtilization", "currentAverageUtilization"),
            ("averageValue", "currentAverageValue"),
            ("value", "currentValue"),
        ],
    };

    /// A source of this kind has its average under a shorter name.
    fn name_in_v1(value: &str, name: &'static str, source: &str) -> &'static str {
        if source == "object" && value == "averageValue" {
            "averageValue"
        } else {
            name
        }
    }

    fn to_v1(&self, metric: &Value) -> Value {
        let mut result = json!({"type": metric["type"]});
        for (source, old) in sources(metric) {
            let mut new = Object::new();
            copy(old, "name", &mut new, "name");
            copy(old, "container", &mut new, "container");
            copy(old, "describedObject", &mut new, "target");
            if let Some(identifier) = old.get("metric").and_then(Value::as_object) {
                let selector = if source == "external" {
                    "metricSelector"
                } else {
                    "selector"
                };
                copy(identifier, "name", &mut new, "metricName");
                copy(identifier, "selector", &mut new, selector);
            }
            if let Some(values) = old.get(self.holder).and_then(Value::as_object) {
                for (value, name) in self.values {
                    copy(
                        values,
                        value,
                        &mut new,
                        Metric::name_in_v1(value, name, source),
                    );
                }
            }
            result[source] = new.into();
        }
        result
    }

    fn to_v2(&self, metric: &Value) -> Value {
        let mut result = json!({"type": metric["type"]});
        for (source, old) in sources(metric) {
            let mut new = Object::new();
            let mut values = Object::new();
            for (value, name) in self.values {
                copy(
                    old,
                    Metric::name_in_v1(value, name, source),
                    &mut values,
                    value,
                );
            }
            if self.holder == "target" {
                let kind = ["averageUtilization", "averageValue", "value"]
                    .into_iter()
                    .find(|name| values.contains_key(*name));
                let kind = match kind {
                    Some("averageUtilization") => "Utilization",
                    Some("averageValue") => "AverageValue",
                    _ => "Value",
                };
                values.insert("type".to_owned(), kind.into());
            }
            new.insert(self.holder.to_owned(), values.into());
            copy(old, "name", &mut new, "name");
            copy(old, "container", &mut new, "container");
            copy(old, "target", &mut new, "describedObject");
            let mut identifier = Object::new();
            copy(old, "metricName", &mut identifier, "name");
            copy(old, "selector", &mut identifier, "selector");
            copy(old, "metricSelector", &mut identifier, "selector");
            if !identifier.is_empty() {
                new.insert("metric".to_owned(), identifier.into());
            }
            result[source] = new.into();
        }
        result
    }
}

fn sources(metric: &Value) -> impl Iterator<Item = (&str, &Object)> {
    let members = metric.as_object().into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.as_str(), value.as_object()?)))
}

fn copy(from: &Object, name: &str, to: &mut Object, new_name: &str) {
    if let Some(value) = from.get(name).filter(|value| !value.is_null()) {
        to.insert(new_name.to_owned(), value.clone());
    }
}

fn cpu_metric(percentage: &Value) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percentage},
    }})
}

fn cpu_percentage<'a>(metric: &'a Value, holder: &str) -> Option<&'a Value> {
    let resource = metric.get("resource")?;
    let is_cpu = metric["type"] == "Resource" && resource["name"] == "cpu";
    let percentage = resource.get(holder)?.get("averageUtilization")?;
    (is_cpu && percentage.is_number()).then_some(percentage)
}

fn converted(list: Option<Value>, convert: impl Fn(&Value) -> Value) -> Vec<Value> {
    match list {
        Some(Value::Array(items)) => items.iter().map(convert).collect(),
        _ => Vec::new(),
    }
}

fn take_list(object: &mut Object, name: &str) -> Vec<Value> {
    match object.remove(name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn insert_list(object: &mut Object, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object.insert(name.to_owned(), list.into());
    }
}

/// Annotations of ours are only ever what the last conversion made.
fn take_notes(document: &mut Value) -> Object {
    let mut notes = Object::new();
    let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else {
        return notes;
    };
    let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    else {
        return notes;
    };
    for name in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR] {
        if let Some(text) = annotations.remove(name) {
            notes.insert(name.to_owned(), text);
        }
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    notes
}

/// All member names changed, nulls dropped.
fn renamed(value: &Value, rename: fn(&str) -> String) -> Value {
    match value {
        Value::Object(object) => {
            let members = object.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                members
                    .map(|(name, value)| (rename(name), renamed(value, rename)))
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, rename)).collect(),
        scalar => scalar.clone(),
    }
}

fn upper_first(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn lower_first(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2() -> Value {
        json!({
            "metadata": {"name": "a", "annotations": {"mine": "x"}},
            "spec": {
                "maxReplicas": 5,
                "metrics": [
                    {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "i"}, "metric": {"name": "rps", "selector": {}},
                        "target": {"type": "AverageValue", "averageValue": "10"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 40}}},
                    {"type": "External", "external": {"metric": {"name": "e", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "Value", "value": "3"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                ],
                "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}], "selectPolicy": "Max"}},
            },
            "status": {
                "currentReplicas": 1,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20, "averageValue": "100m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        })
    }

    #[test]
    fn nothing_is_lost_on_the_way_through_v1() {
        let mut document = v2();
        to_v1(&mut document);
        assert_eq!(document["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(document["status"]["currentCPUUtilizationPercentage"], 20);
        let keys: Vec<_> = document["spec"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["maxReplicas", "targetCPUUtilizationPercentage"]);
        to_v2(&mut document);
        assert_eq!(document, v2());
    }

    #[test]
    fn annotations_have_upstreams_forms() {
        let mut document = v2();
        to_v1(&mut document);
        let note = |name: &str| -> Value {
            serde_json::from_str(document["metadata"]["annotations"][name].as_str().unwrap())
                .unwrap()
        };
        let metrics = note(METRICS);
        assert_eq!(
            metrics[0],
            json!({"type": "Object", "object": {"target": {"kind": "Ingress", "name": "i"}, "metricName": "rps", "selector": {}, "averageValue": "10"}})
        );
        assert_eq!(
            metrics[1],
            json!({"type": "Pods", "pods": {"metricName": "q", "targetAverageValue": "1k"}})
        );
        assert_eq!(
            metrics[4],
            json!({"type": "External", "external": {"metricName": "e", "metricSelector": {"matchLabels": {"a": "b"}}, "targetValue": "3"}})
        );
        assert_eq!(
            note(CURRENT_METRICS)[0],
            json!({"type": "Resource", "resource": {"name": "cpu", "currentAverageUtilization": 20, "currentAverageValue": "100m"}})
        );
        assert_eq!(
            note(BEHAVIOR),
            json!({"ScaleDown": {"Policies": [{"Type": "Pods", "Value": 4, "PeriodSeconds": 60}], "SelectPolicy": "Max"}})
        );
    }

    #[test]
    fn v1_without_a_metric_means_eighty_percent() {
        let mut document = json!({"spec": {"maxReplicas": 3}});
        to_v2(&mut document);
        assert_eq!(document["spec"]["metrics"], json!([cpu_metric(&json!(80))]));
        let mut broken = json!({"metadata": {"annotations": {METRICS: "{"}}, "spec": {"targetCPUUtilizationPercentage": 60}});
        to_v2(&mut broken);
        assert_eq!(
            broken,
            json!({"metadata": {}, "spec": {"metrics": [cpu_metric(&json!(60))]}})
        );
    }
}
