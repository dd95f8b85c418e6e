//! Kinds that are another view of objects stored in a different version.
//!
//! Most versions of a kind differ in `apiVersion` only. The few that do not have a pair of pure functions here.

use crate::{
    api::{ApiError, name::group_version},
    kinds::Kind,
};
use serde_json::{Map, Value, json};

struct View {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    /// Renames of selectable fields: as the view calls them, as they are stored.
    fields: &'static [(&'static str, &'static str)],
    to_stored: fn(&mut Value),
    from_stored: fn(&mut Value),
}

const VIEWS: &[View] = &[
    View {
        group: "events.k8s.io",
        version: "v1",
        plural: "events",
        fields: &[
            ("regarding", "involvedObject"),
            ("reportingController", "reportingComponent"),
        ],
        to_stored: |event| rename(event, EVENT_FIELDS, false),
        from_stored: |event| rename(event, EVENT_FIELDS, true),
    },
    View {
        group: "autoscaling",
        version: "v1",
        plural: "horizontalpodautoscalers",
        fields: &[],
        to_stored: autoscaler_to_v2,
        from_stored: autoscaler_to_v1,
    },
];

fn view(kind: &Kind) -> Option<&'static View> {
    VIEWS.iter().find(|view| {
        view.group == kind.group && view.version == kind.version && view.plural == kind.plural
    })
}

/// Whether objects of this kind are stored in another kind's version.
pub fn is_view(kind: &Kind) -> bool {
    view(kind).is_some()
}

/// What the stored form calls a selectable field of this kind.
pub fn stored_field(kind: &Kind, field: &str) -> String {
    let renames = view(kind).map_or(&[][..], |view| view.fields);
    for (ours, stored) in renames {
        match field.strip_prefix(ours) {
            Some("") => return (*stored).to_owned(),
            Some(rest) if rest.starts_with('.') => return format!("{stored}{rest}"),
            _ => {}
        }
    }
    field.to_owned()
}

/// From this kind's version to the stored one.
pub fn to_stored(document: &mut Value, kind: &Kind, stored: &Kind) {
    if let Some(view) = view(kind) {
        (view.to_stored)(document);
    }
    document["apiVersion"] = group_version(stored.group, stored.version).into();
}

/// From the stored version to this kind's.
pub fn from_stored(document: &mut Value, kind: &Kind) {
    if let Some(view) = view(kind) {
        (view.from_stored)(document);
    }
    document["apiVersion"] = group_version(kind.group, kind.version).into();
}

/// Parses stored bytes into this kind's version.
pub fn parse(bytes: &[u8], kind: &Kind) -> Result<Value, ApiError> {
    let mut document: Value = serde_json::from_slice(bytes).map_err(ApiError::internal)?;
    if is_view(kind) {
        from_stored(&mut document, kind);
    }
    Ok(document)
}

/// core/v1 and events.k8s.io/v1.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

fn rename(document: &mut Value, fields: &[(&str, &str)], forward: bool) {
    let Some(object) = document.as_object_mut() else {
        return;
    };
    for (left, right) in fields {
        let (from, to) = if forward {
            (left, right)
        } else {
            (right, left)
        };
        if let Some(value) = object.remove(*from) {
            object.insert((*to).to_owned(), value);
        }
    }
}

/// What v1 cannot say is kept in annotations.
const AUTOSCALER_NOTES: &[(&str, &str, &str)] = &[
    ("spec", "metrics", "autoscaling.alpha.kubernetes.io/metrics"),
    (
        "spec",
        "behavior",
        "autoscaling.alpha.kubernetes.io/behavior",
    ),
    (
        "status",
        "conditions",
        "autoscaling.alpha.kubernetes.io/conditions",
    ),
    (
        "status",
        "currentMetrics",
        "autoscaling.alpha.kubernetes.io/current-metrics",
    ),
];

fn cpu_metric(target: &Value) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": target},
    }})
}

fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && (metric["resource"]["target"]["averageUtilization"].is_number()
            || metric["resource"]["current"]["averageUtilization"].is_number())
}

fn autoscaler_to_v2(document: &mut Value) {
    let mut notes = Map::new();
    if let Some(annotations) = document["metadata"]["annotations"].as_object_mut() {
        for (_, _, note) in AUTOSCALER_NOTES {
            if let Some(text) = annotations.remove(*note) {
                notes.insert((*note).to_owned(), text);
            }
        }
    }
    for (part, field, note) in AUTOSCALER_NOTES {
        let text = notes.get(*note).and_then(Value::as_str).unwrap_or_default();
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            document[*part][*field] = value;
        }
    }
    for (part, old, list, wrap) in [
        (
            "spec",
            "targetCPUUtilizationPercentage",
            "metrics",
            cpu_metric as fn(&Value) -> Value,
        ),
        (
            "status",
            "currentCPUUtilizationPercentage",
            "currentMetrics",
            |current| {
                json!({"type": "Resource", "resource": {
                    "name": "cpu", "current": {"averageUtilization": current},
                }})
            },
        ),
    ] {
        let Some(object) = document.get_mut(part).and_then(Value::as_object_mut) else {
            continue;
        };
        if let Some(percentage) = object.remove(old).filter(Value::is_number) {
            let metrics = object.entry(list).or_insert_with(|| json!([]));
            if let Some(metrics) = metrics.as_array_mut() {
                metrics.insert(0, wrap(&percentage));
            }
        }
    }
}

fn autoscaler_to_v1(document: &mut Value) {
    for (part, list, of, field) in [
        (
            "spec",
            "metrics",
            "target",
            "targetCPUUtilizationPercentage",
        ),
        (
            "status",
            "currentMetrics",
            "current",
            "currentCPUUtilizationPercentage",
        ),
    ] {
        let Some(object) = document.get_mut(part).and_then(Value::as_object_mut) else {
            continue;
        };
        let Some(metrics) = object.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        if let Some(at) = metrics.iter().position(is_cpu) {
            let percentage = metrics.remove(at)["resource"][of]["averageUtilization"].take();
            if metrics.is_empty() {
                object.remove(list);
            }
            object.insert(field.to_owned(), percentage);
        }
    }
    for (part, field, note) in AUTOSCALER_NOTES {
        let value = document
            .get_mut(*part)
            .and_then(Value::as_object_mut)
            .and_then(|object| object.remove(*field));
        if let Some(value) = value {
            document["metadata"]["annotations"][*note] = value.to_string().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autoscalers_survive_the_way_through_v1() {
        let v2 = json!({
            "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "metrics": [cpu_metric(&json!(50)), {"type": "Pods"}]},
        });
        let mut v1 = v2.clone();
        autoscaler_to_v1(&mut v1);
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(
            v1["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"],
            r#"[{"type":"Pods"}]"#
        );
        autoscaler_to_v2(&mut v1);
        v1["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
        assert_eq!(v1, v2);
    }

    #[test]
    fn events_have_two_sets_of_names() {
        let core = json!({"message": "m", "involvedObject": {"kind": "Pod"}, "count": 2});
        let mut new = core.clone();
        rename(&mut new, EVENT_FIELDS, true);
        assert_eq!(
            new,
            json!({"note": "m", "regarding": {"kind": "Pod"}, "deprecatedCount": 2})
        );
        rename(&mut new, EVENT_FIELDS, false);
        assert_eq!(new, core);
    }
}
