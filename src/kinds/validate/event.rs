//! Events, in both their shapes.
//!
//! What was written through the core group is judged leniently, as ever; `events.k8s.io` wants the whole new event, and
//! lets only its series move. Paths are the core group's in both cases: upstream judges one internal type.

use super::{
    finding::{Field, Findings, same},
    format,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use serde_json::Value;

const NAME_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;

/// Names of fields in the core group and in `events.k8s.io`.
struct Names {
    about: &'static str,
    reporter: &'static str,
    message: &'static str,
}

const CORE: Names = Names {
    about: "involvedObject",
    reporter: "reportingComponent",
    message: "message",
};
const NEW: Names = Names {
    about: "regarding",
    reporter: "reportingController",
    message: "note",
};

/// Fields that are for the old way of counting, as `events.k8s.io` calls them, and what upstream calls them.
const OLD_FIELDS: &[(&str, &str)] = &[
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// What an update through `events.k8s.io` leaves alone, in upstream's order.
const FIXED_FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("reason", "reason"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

pub fn core_event(object: &Value) -> Vec<Cause> {
    judge(object, &CORE).into_causes()
}

pub fn new_event(object: &Value) -> Vec<Cause> {
    let mut found = judge(object, &NEW);
    let root = Field::root(object);
    // Only a new event has no version yet: one of the old kind may be updated as it is.
    if root.at(&["metadata", "resourceVersion"]).is_empty() {
        series(&root, &mut found);
        if root.child("eventTime").is_empty() {
            found.required("eventTime", "");
        }
        let class = root.child("type").text();
        if !matches!(class, "Normal" | "Warning") {
            found.invalid("type", "", &format!("has invalid value: {class}"));
        }
        for (name, shown) in OLD_FIELDS {
            let field = root.child(name);
            if !field.is_empty() && field.int() != Some(0) {
                found.invalid(shown, "", "needs to be unset");
            }
        }
        let source = root.child("deprecatedSource");
        if !source.child("component").is_empty() || !source.child("host").is_empty() {
            found.invalid("source", "", "needs to be unset");
        }
    }
    found.into_causes()
}

pub fn new_event_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    if !same(object.get("series"), context.old.get("series")) {
        series(&new, &mut found);
    }
    for (name, shown) in FIXED_FIELDS {
        found.immutable(&new.child_called(name, shown), &old.child(name));
    }
    found.into_causes()
}

fn judge(object: &Value, names: &Names) -> Findings {
    let mut found = Findings::default();
    let root = Field::root(object);
    let namespace = root.at(&["metadata", "namespace"]).text();
    let about = root.at(&[names.about, "namespace"]).text();
    let is_new = !root.child("eventTime").is_empty();
    let is_placed = match (about, is_new) {
        // Of what lies in no namespace.
        ("", false) => namespace == "default",
        ("", true) => matches!(namespace, "default" | "kube-system"),
        (about, false) => about == namespace,
        (_, true) => true,
    };
    if !is_placed {
        let why = "does not match event.namespace";
        found.invalid("involvedObject.namespace", about, why);
    }
    if is_new {
        let reporter = root.child_called(names.reporter, "reportingController");
        found.required_text(&reporter);
        let complaints = format::qualified_name(reporter.text());
        found.invalid_each(&reporter.path, reporter.text(), complaints);
        for name in ["reportingInstance", "action", "reason"] {
            let field = root.child(name);
            found.required_text(&field);
            at_most(&field, NAME_MAX, &mut found);
        }
        let message = root.child_called(names.message, "message");
        at_most(&message, MESSAGE_MAX, &mut found);
    }
    found
}

fn at_most(field: &Field<'_>, bytes: usize, found: &mut Findings) {
    if field.text().len() > bytes {
        let why = format!("can have at most {bytes} characters");
        found.invalid(&field.path, "", &why);
    }
}

fn series(event: &Field<'_>, found: &mut Findings) {
    let series = event.child("series");
    if !series.is_set() {
        return;
    }
    if series.child("count").int().unwrap_or(0) < 2 {
        found.invalid("series.count", "", "should be at least 2");
    }
    found.required_text(&series.child("lastObservedTime"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(causes: &[Cause]) -> Vec<String> {
        let line = |cause: &Cause| format!("{}: {}", cause.field, cause.message);
        causes.iter().map(line).collect()
    }

    fn with(changes: &Value) -> Value {
        let mut event = json!({
            "metadata": {"name": "e", "namespace": "a"}, "regarding": {"namespace": "a"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "x.y/z",
            "reportingInstance": "i", "action": "Do", "reason": "Why", "type": "Normal",
        });
        for (key, value) in changes.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    }

    #[test]
    fn core_events_must_lie_beside_what_they_are_about() {
        let place =
            "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace";
        let cases = [
            (
                json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}}),
                vec![],
            ),
            (
                json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}),
                vec![place],
            ),
            (
                json!({"metadata": {"namespace": "default"}, "involvedObject": {"name": "node"}}),
                vec![],
            ),
            (
                json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"},
                    "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c",
                    "reportingInstance": "i", "action": "a"}),
                vec!["reason: Required value"],
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(told(&core_event(&event)), expected, "{event}");
        }
    }

    #[test]
    fn new_events_are_whole() {
        let cases = [
            (json!({}), vec![]),
            (
                json!({"eventTime": null}),
                vec!["eventTime: Required value"],
            ),
            (
                json!({"type": "Odd", "series": {"count": 1}}),
                vec![
                    "series.count: Invalid value: \"\": should be at least 2",
                    "series.lastObservedTime: Required value",
                    "type: Invalid value: \"\": has invalid value: Odd",
                ],
            ),
            (
                json!({"deprecatedCount": 2}),
                vec!["count: Invalid value: \"\": needs to be unset"],
            ),
            (
                json!({"note": "x".repeat(1025)}),
                vec!["message: Invalid value: \"\": can have at most 1024 characters"],
            ),
        ];
        for (changes, expected) in cases {
            assert_eq!(told(&new_event(&with(&changes))), expected, "{changes}");
        }
    }

    #[test]
    fn only_the_series_of_an_event_moves() {
        let old = with(&json!({"metadata": {"namespace": "a", "resourceVersion": "1"}}));
        let context = UpdateContext {
            old: &old,
            subresource: None,
        };
        let time = "2026-01-01T00:00:00.000000Z";
        let series = with(&json!({"series": {"count": 2, "lastObservedTime": time}}));
        assert_eq!(told(&new_event_update(&series, context)), [""; 0]);
        let other = with(&json!({"note": "x"}));
        assert_eq!(
            told(&new_event_update(&other, context)),
            ["message: Invalid value: \"x\": field is immutable"]
        );
    }
}
