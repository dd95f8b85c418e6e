//! ReplicationControllers, ReplicaSets, Deployments, StatefulSets, DaemonSets.

use super::{
    finding::{Field, Findings, Plain, same},
    format, labels, pod,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use serde_json::Value;

pub fn replication_controller(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    found.non_negative(&spec.child("minReadySeconds"));
    let selector = spec.child("selector");
    if selector.is_empty() {
        found.required(&selector.path, "");
    }
    found.non_negative(&spec.child("replicas"));
    let template = spec.child("template");
    if !template.is_set() {
        found.required(&template.path, "");
        return found.into_causes();
    }
    let labels = template.at(&["metadata", "labels"]);
    let is_match = |(key, value): (&str, Field<'_>)| labels.key(key).text() == value.text();
    if !selector.entries().all(is_match) {
        mismatch(&labels, &mut found);
    }
    always_restarting(&template, "ReplicationController", &mut found);
    found.into_causes()
}

pub fn replica_set(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    found.non_negative(&spec.child("replicas"));
    found.non_negative(&spec.child("minReadySeconds"));
    selector(&spec, "replicaset", &mut found);
    selected_template(&spec, "ReplicaSet", &mut found);
    found.into_causes()
}

pub fn deployment(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    found.non_negative(&spec.child("replicas"));
    selector(&spec, "deployment", &mut found);
    selected_template(&spec, "ReplicaSet", &mut found);
    deployment_strategy(&spec.child("strategy"), &mut found);
    found.non_negative(&spec.child("minReadySeconds"));
    found.non_negative(&spec.child("revisionHistoryLimit"));
    let deadline = spec.child("progressDeadlineSeconds");
    found.non_negative(&deadline);
    if let Some(seconds) = deadline.int()
        && seconds <= spec.child("minReadySeconds").int().unwrap_or(0)
    {
        let about = "must be greater than minReadySeconds";
        found.invalid(&deadline.path, &seconds, about);
    }
    found.into_causes()
}

fn deployment_strategy(strategy: &Field<'_>, found: &mut Findings) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "Recreate" => {
            if rolling.is_set() {
                let about = "may not be specified when strategy `type` is 'Recreate'";
                found.forbidden(&rolling.path, about);
            }
        }
        "RollingUpdate" => {
            if !rolling.is_set() {
                let about = "this should be defaulted and never be nil";
                return found.required(&rolling.path, about);
            }
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            int_or_percent(&unavailable, found);
            int_or_percent(&surge, found);
            if amount(&unavailable) == 0 && amount(&surge) == 0 {
                let zero = Value::from(0);
                let shown = Plain(unavailable.value.unwrap_or(&zero));
                found.invalid(
                    &unavailable.path,
                    &shown,
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            at_most_all(&unavailable, found);
        }
        _ => {
            let values = &["Recreate", "RollingUpdate"];
            found.not_supported(&strategy.path, &strategy.json(), values);
        }
    }
}

pub fn stateful_set(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let policy = spec.child("podManagementPolicy");
    match policy.text() {
        "" => found.required(&policy.path, ""),
        "OrderedReady" | "Parallel" => {}
        other => found.invalid(&policy.path, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    stateful_strategy(&spec.child("updateStrategy"), &mut found);
    let retention = spec.child("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for name in ["whenDeleted", "whenScaled"] {
            let policy = retention.child(name);
            if !["Retain", "Delete"].contains(&policy.text()) {
                found.not_supported(&policy.path, policy.text(), &["Retain", "Delete"]);
            }
        }
    }
    found.non_negative(&spec.child("replicas"));
    found.non_negative(&spec.child("minReadySeconds"));
    found.non_negative(&spec.at(&["ordinals", "start"]));
    found.non_negative(&spec.child("revisionHistoryLimit"));
    selector(&spec, "statefulset", &mut found);
    // Mounts may refer to volumes that come from the claim templates: the pods are judged when they are created.
    let template = spec.child("template");
    let list = template.at(&["metadata", "labels"]);
    if !labels::matches(&spec.child("selector"), &list) {
        mismatch(&list, &mut found);
    }
    let shown = Field {
        path: template.path_to("labels"),
        ..list
    };
    labels::labels(&shown, &mut found);
    super::metadata::annotations(
        &Field {
            path: template.path_to("annotations"),
            ..template.at(&["metadata", "annotations"])
        },
        &mut found,
    );
    restart_always(&template, "StatefulSet", &mut found);
    found.into_causes()
}

fn stateful_strategy(strategy: &Field<'_>, found: &mut Findings) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "" => found.required(&strategy.path, ""),
        "OnDelete" => {
            if rolling.is_set() {
                let about = "only allowed for updateStrategy 'RollingUpdate'";
                found.invalid(&rolling.path, &rolling.json(), about);
            }
        }
        "RollingUpdate" => {
            found.non_negative(&rolling.child("partition"));
            let unavailable = rolling.child("maxUnavailable");
            if let Some(value) = unavailable.value.filter(|value| !value.is_null()) {
                int_or_percent(&unavailable, found);
                if amount(&unavailable) == 0 {
                    found.invalid(&unavailable.path, &Plain(value), "cannot be 0");
                }
                at_most_all(&unavailable, found);
            }
        }
        _ => {
            let about = "must be 'RollingUpdate' or 'OnDelete'";
            found.invalid(&strategy.path, &strategy.json(), about);
        }
    }
}

pub fn daemon_set(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    selected_template(&spec, "DaemonSet", &mut found);
    let chosen = spec.child("selector");
    labels::label_selector(&chosen, &mut found);
    if chosen.child("matchLabels").is_empty() && chosen.child("matchExpressions").is_empty() {
        let about = "empty selector is invalid for daemonset";
        found.invalid(&chosen.path, &chosen.json(), about);
    }
    found.non_negative(&spec.child("minReadySeconds"));
    found.non_negative(&spec.child("revisionHistoryLimit"));
    let strategy = spec.child("updateStrategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => found.required(&rolling.path, ""),
        "RollingUpdate" => daemon_rolling(&rolling, &mut found),
        _ => {
            let values = &["RollingUpdate", "OnDelete"];
            found.not_supported(&strategy.path, &strategy.json(), values);
        }
    }
    found.into_causes()
}

fn daemon_rolling(rolling: &Field<'_>, found: &mut Findings) {
    let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
    for field in [&unavailable, &surge] {
        int_or_percent(field, found);
        at_most_all(field, found);
    }
    match (amount(&unavailable) != 0, amount(&surge) != 0) {
        (true, true) => {
            let zero = Value::from(0);
            let shown = Plain(surge.value.unwrap_or(&zero));
            let about = "may not be set when maxUnavailable is non-zero";
            found.invalid(&surge.path, &shown, about);
        }
        (false, false) => {
            found.required(&unavailable.path, "cannot be 0 when maxSurge is 0");
        }
        _ => {}
    }
}

pub fn controller_revision(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    if !root.child("data").is_set() {
        found.required("data", "data is mandatory");
    }
    found.non_negative(&root.child("revision"));
    found.into_causes()
}

pub fn controller_revision_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    found.immutable(&new.child("data"), &old.child("data"));
    found.into_causes()
}

/// For the kinds whose selector may not change.
pub fn fixed_selector(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    match context.subresource {
        Some("status") => counters(&new.child("status"), &mut found),
        _ => found.immutable(
            &new.at(&["spec", "selector"]),
            &old.at(&["spec", "selector"]),
        ),
    }
    found.into_causes()
}

pub fn stateful_set_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    const FREE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let mut found = Findings::default();
    if context.subresource == Some("status") {
        counters(&Field::root(object).child("status"), &mut found);
        return found.into_causes();
    }
    let (mut new, mut old) = (object["spec"].clone(), context.old["spec"].clone());
    for spec in [&mut new, &mut old] {
        if let Some(map) = spec.as_object_mut() {
            map.retain(|name, _| !FREE.contains(&name.as_str()));
        }
    }
    if !same(Some(&new), Some(&old)) {
        let about = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
            'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
            are forbidden";
        found.forbidden("spec", about);
    }
    found.into_causes()
}

/// The numbers in the status of everything that has replicas.
fn counters(status: &Field<'_>, found: &mut Findings) {
    const NAMES: [&str; 9] = [
        "observedGeneration",
        "replicas",
        "fullyLabeledReplicas",
        "updatedReplicas",
        "currentReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ];
    for name in NAMES {
        found.non_negative(&status.child(name));
    }
    let number = |name: &str| status.child(name).int().unwrap_or(0);
    if !status.child("replicas").is_set() {
        return;
    }
    for name in &NAMES[2..7] {
        if number(name) > number("replicas") {
            let about = "cannot be greater than status.replicas";
            found.invalid(&status.path_to(name), &number(name), about);
        }
    }
    if number("availableReplicas") > number("readyReplicas") {
        let path = status.path_to("availableReplicas");
        let about = "cannot be greater than readyReplicas";
        found.invalid(&path, &number("availableReplicas"), about);
    }
}

fn selector(spec: &Field<'_>, kind: &str, found: &mut Findings) {
    let selector = spec.child("selector");
    if !selector.is_set() {
        return found.required(&selector.path, "");
    }
    labels::label_selector(&selector, found);
    if selector.child("matchLabels").is_empty() && selector.child("matchExpressions").is_empty() {
        let about = format!("empty selector is invalid for {kind}");
        found.invalid(&selector.path, &selector.json(), &about);
    }
}

fn selected_template(spec: &Field<'_>, kind: &str, found: &mut Findings) {
    let template = spec.child("template");
    let labels = template.at(&["metadata", "labels"]);
    let selector = spec.child("selector");
    if !labels::matches(&selector, &labels) {
        mismatch(&labels, found);
    }
    always_restarting(&template, kind, found);
}

fn always_restarting(template: &Field<'_>, kind: &str, found: &mut Findings) {
    pod::template(template, found);
    restart_always(template, kind, found);
}

fn restart_always(template: &Field<'_>, kind: &str, found: &mut Findings) {
    let spec = template.child("spec");
    let policy = spec.child("restartPolicy");
    if policy.text() != "Always" {
        found.not_supported(&policy.path, policy.text(), &["Always"]);
    }
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.is_set() {
        let about = format!("activeDeadlineSeconds in {kind} is not Supported");
        found.forbidden(&deadline.path, &about);
    }
}

pub fn mismatch(labels: &Field<'_>, found: &mut Findings) {
    let about = "`selector` does not match template `labels`";
    found.invalid(&labels.path, &labels.json(), about);
}

fn int_or_percent(field: &Field<'_>, found: &mut Findings) {
    match field.value {
        Some(value @ Value::String(text)) => {
            found.invalid_each(&field.path, &Plain(value), format::percent(text));
        }
        _ => found.non_negative(field),
    }
}

/// The number, or the number of percent.
fn amount(field: &Field<'_>) -> i64 {
    match field.value {
        Some(Value::String(text)) => text.trim_end_matches('%').parse().unwrap_or(0),
        _ => field.int().unwrap_or(0),
    }
}

fn at_most_all(field: &Field<'_>, found: &mut Findings) {
    if let Some(value @ Value::String(text)) = field.value
        && format::percent(text).is_empty()
        && amount(field) > 100
    {
        found.invalid(&field.path, &Plain(value), "must not be greater than 100%");
    }
}
