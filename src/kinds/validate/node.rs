//! Nodes, Leases, PriorityClasses, RuntimeClasses.

use super::{
    finding::{Field, Findings},
    format,
    labels::label_name,
    resources,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use serde_json::Value;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const PRIORITY_MAX: i64 = 1_000_000_000;

pub fn node(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let spec = root.child("spec");
    // Upstream shows taints as a part of the metadata.
    let taints = Field {
        path: "metadata.taints".to_owned(),
        ..spec.child("taints")
    };
    self::taints(&taints, &mut found);
    for list in ["capacity", "allocatable"] {
        for (name, quantity) in root.at(&["status", list]).entries() {
            let path = format!("status.{list}.{name}");
            resources::amount(&Field { path, ..quantity }, name, &mut found);
        }
    }
    let ranges = spec.child("podCIDRs");
    for range in ranges.items() {
        found.invalid_each(&range.path, range.text(), format::cidr(range.text()));
    }
    if ranges.items().len() > 2 {
        let about = "may specify no more than one CIDR for each IP family";
        found.invalid(&ranges.path, &ranges.json(), about);
    }
    found.into_causes()
}

fn taints(field: &Field<'_>, found: &mut Findings) {
    let mut seen = Vec::new();
    for taint in field.items() {
        let (key, value) = (taint.child("key"), taint.child("value"));
        label_name(&key, found);
        let wrong = format::label_value(value.text());
        if !wrong.is_empty() {
            found.invalid(&value.path, value.text(), &wrong.join(";"));
        }
        let effect = taint.child("effect");
        found.one_of(&effect, EFFECTS);
        let whole = (key.text(), effect.text());
        if seen.contains(&whole) {
            let about = "taints must be unique by key and effect pair";
            found.duplicate_because(&taint.path, &taint.json(), about);
        }
        seen.push(whole);
    }
}

pub fn node_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    let mut addresses = Vec::new();
    for address in new.at(&["status", "addresses"]).items() {
        let value = address.json();
        if addresses.contains(&value) {
            found.duplicate(&address.path, &value);
        }
        addresses.push(value);
    }
    let (new, old) = (new.child("spec"), old.child("spec"));
    let ranges = old.child("podCIDRs");
    if !ranges.is_empty() && ranges.value != new.child("podCIDRs").value {
        let about = "node updates may not change podCIDR except from \"\" to valid";
        found.forbidden(&ranges.path, about);
    }
    let provider = old.child("providerID");
    if !provider.is_empty() && provider.value != new.child("providerID").value {
        let about = "node updates may not change providerID except from \"\" to valid";
        found.forbidden(&provider.path, about);
    }
    found.into_causes()
}

pub fn lease(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let duration = spec.child("leaseDurationSeconds");
    if let Some(seconds) = duration.int().filter(|seconds| *seconds <= 0) {
        found.invalid(&duration.path, &seconds, "must be greater than 0");
    }
    let transitions = spec.child("leaseTransitions");
    if let Some(number) = transitions.int().filter(|number| *number < 0) {
        found.invalid(
            &transitions.path,
            &number,
            "must be greater than or equal to 0",
        );
    }
    found.into_causes()
}

pub fn priority_class(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let (name, value) = (root.at(&["metadata", "name"]), root.child("value"));
    let number = value.int().unwrap_or(0);
    if name.text().starts_with("system-") {
        let known = [
            ("system-node-critical", 2_000_001_000),
            ("system-cluster-critical", 2_000_000_000),
        ];
        if !known.contains(&(name.text(), number)) {
            let about = "priority class names with 'system-' prefix are reserved for system use only. error: ";
            let about = match known.iter().find(|(known, _)| *known == name.text()) {
                Some((known, most)) => {
                    format!("{about}value of {known} PriorityClass must be {most}")
                }
                None => format!(
                    "{about}{} is not a known system priority class",
                    name.text()
                ),
            };
            found.forbidden(&name.path, &about);
        }
    } else if number > PRIORITY_MAX {
        let about = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        found.forbidden(&value.path, &about);
    }
    let policy = root.child("preemptionPolicy");
    if policy.is_set() {
        found.one_of(&policy, &["PreemptLowerPriority", "Never"]);
    }
    found.into_causes()
}

pub fn priority_class_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    let number = |root: &Field<'_>| root.child("value").int().unwrap_or(0);
    if number(&new) != number(&old) {
        found.forbidden("value", "may not be changed in an update.");
    }
    found.immutable(
        &new.child("preemptionPolicy"),
        &old.child("preemptionPolicy"),
    );
    found.into_causes()
}

pub fn runtime_class(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let handler = Field::root(object).child("handler");
    found.invalid_each(
        &handler.path,
        handler.text(),
        format::dns_label(handler.text()),
    );
    found.into_causes()
}

pub fn runtime_class_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    found.immutable(&new.child("handler"), &old.child("handler"));
    found.into_causes()
}
