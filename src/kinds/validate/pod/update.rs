//! What may change in a pod, through each of its endpoints.

use super::affinity;
use crate::{
    api::error::Cause,
    kinds::{
        UpdateContext,
        defaults::pod::quality_of_service,
        validate::{
            finding::{Field, Findings, difference, same},
            format, resources,
        },
    },
};
use serde_json::Value;

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
    set to 1 if it was previously negative)";

pub fn update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    match context.subresource {
        None => spec_update(&new, &old, &mut found),
        Some("status") => status_update(&new, &old, &mut found),
        Some("ephemeralcontainers") => ephemeral_update(&new, &old, &mut found),
        Some("resize") => resize(&new, &old, &mut found),
        Some(_) => {}
    }
    found.into_causes()
}

fn spec_update(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    annotation_update(new, old, found);
    let (new, old) = (new.child("spec"), old.child("spec"));
    for list in ["containers", "initContainers"] {
        let (new, old) = (new.child(list), old.child(list));
        if new.items().len() != old.items().len() {
            let about = "pod updates may not add or remove containers";
            return found.forbidden(&new.path, about);
        }
    }
    let deadline = new.child("activeDeadlineSeconds");
    match (deadline.int(), old.child("activeDeadlineSeconds").int()) {
        (Some(seconds), Some(before)) if seconds > before => {
            let about = "must be less than or equal to previous value";
            return found.invalid(&deadline.path, &seconds, about);
        }
        (None, Some(_)) => {
            let about = "must not update from a positive integer to nil value";
            found.invalid(&deadline.path, &Value::Null, about);
        }
        _ => {}
    }
    added_tolerations(&new.child("tolerations"), &old.child("tolerations"), found);
    removed_gates(
        &new.child("schedulingGates"),
        &old.child("schedulingGates"),
        found,
    );
    let mut allowed = new.json();
    take_over(&mut allowed, &old.json());
    if !old.child("schedulingGates").is_empty() {
        gated(&mut allowed, &new, &old, found);
    }
    if !same(Some(&allowed), old.value) {
        let lines = difference("spec", old.value, Some(&allowed));
        let about = format!("pod updates may not change fields other than {UPDATABLE}\n{lines}");
        found.forbidden("spec", &about);
    }
}

/// Undoes the changes that are allowed, so that the rest can be compared.
fn take_over(new: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let Some(containers) = new.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (index, container) in containers.iter_mut().enumerate() {
            container["image"] = old[list][index]["image"].clone();
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        new[field] = old[field].clone();
    }
    const GRACE: &str = "terminationGracePeriodSeconds";
    if old[GRACE].as_i64().is_some_and(|seconds| seconds < 0) && new[GRACE] == 1 {
        new[GRACE] = old[GRACE].clone();
    }
}

/// While a pod waits for its gates, the choice of nodes may be narrowed.
fn gated(allowed: &mut Value, new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let selector = new.child("nodeSelector");
    for (key, value) in old.child("nodeSelector").entries() {
        if selector.key(key).text() != value.text() {
            let about =
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            found.invalid(&selector.path, &selector.json(), about);
            break;
        }
    }
    allowed["nodeSelector"] = old.child("nodeSelector").json();
    let affinity = old.at(&["affinity", "nodeAffinity"]).json();
    if allowed["affinity"].is_null() && affinity.is_null() {
        return;
    }
    allowed["affinity"]["nodeAffinity"] = affinity;
}

fn added_tolerations(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let without_seconds = |toleration: &Field<'_>| {
        let mut toleration = toleration.json();
        if let Some(map) = toleration.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        toleration
    };
    let kept: Vec<Value> = new.items().map(|item| without_seconds(&item)).collect();
    let is_kept = |toleration: Field<'_>| kept.contains(&without_seconds(&toleration));
    if !old.items().all(is_kept) {
        let about = "existing toleration can not be modified except its tolerationSeconds";
        return found.forbidden(&new.path, about);
    }
    affinity::tolerations(new, found);
}

fn removed_gates(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    for gate in new.items() {
        let name = gate.child("name");
        if !old
            .items()
            .any(|old| old.child("name").text() == name.text())
        {
            let about = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                name.text()
            );
            found.forbidden(&name.path, &about);
        }
    }
}

/// Set on pods that a node made from its own files.
fn mirror_mark<'a>(pod: &Field<'a>) -> Field<'a> {
    let annotations = pod.at(&["metadata", "annotations"]);
    annotations.key("kubernetes.io/config.mirror")
}

fn annotation_update(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let (new, old) = (mirror_mark(new), mirror_mark(old));
    if old.is_set() && new.value != old.value {
        found.forbidden(&new.path, "may not remove or update mirror pod annotation");
    } else if new.is_set() && !old.is_set() {
        found.forbidden(&new.path, "may not add mirror pod annotation");
    }
}

fn status_update(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    annotation_update(new, old, found);
    for condition in new.at(&["status", "conditions"]).items() {
        let text = condition.child("type").text();
        let index = condition.path.trim_start_matches("status.conditions");
        let path = format!("metadata.conditions{index}.Type");
        found.invalid_each(&path, text, format::qualified_name(text));
    }
    let status = new.child("status");
    if !same(
        new.at(&["spec", "nodeName"]).value,
        old.at(&["spec", "nodeName"]).value,
    ) {
        found.forbidden(&status.path_to("nodeName"), "may not be changed directly");
    }
    let nominated = status.child("nominatedNodeName");
    if !nominated.is_empty() {
        let wrong = format::dns_subdomain(nominated.text());
        found.invalid_each(&nominated.path, nominated.text(), wrong);
    }
    let old_status = old.child("status");
    let class = old_status.child("qosClass");
    if class.is_set() {
        found.immutable(&status.child("qosClass"), &class);
    }
    let policy = match old.child("spec") {
        // One container may make all others run again.
        spec if restarts_all(&spec) => "Always",
        spec => spec.child("restartPolicy").text(),
    };
    for (list, policy, containers) in [
        ("containerStatuses", policy, "containers"),
        ("initContainerStatuses", policy, "initContainers"),
        ("ephemeralContainerStatuses", "Never", "ephemeralContainers"),
    ] {
        let (now, before) = (status.child(list), old_status.child(list));
        let containers = old.at(&["spec", containers]);
        stay_terminated(&now, &before, policy, &containers, found);
    }
    for address in status.child("podIPs").items() {
        let text = address.child("ip").text();
        found.invalid_each(&address.path, text, format::ip(text));
    }
}

fn stay_terminated(
    new: &Field<'_>,
    old: &Field<'_>,
    policy: &str,
    containers: &Field<'_>,
    found: &mut Findings,
) {
    if policy == "Always" {
        return;
    }
    for before in old.items() {
        let ended = before.at(&["state", "terminated"]);
        let name = before.child("name").text();
        let code = ended.child("exitCode").int().unwrap_or_default();
        let container = containers
            .items()
            .find(|container| container.child("name").text() == name);
        if !ended.is_set() || may_run_again(container.as_ref(), policy, code) {
            continue;
        }
        let now = new
            .items()
            .find(|status| status.child("name").text() == name);
        if now.is_some_and(|status| !status.at(&["state", "terminated"]).is_set()) {
            let index = before.path.strip_prefix(&old.path).unwrap_or_default();
            let path = format!("{}{index}.state", new.path);
            found.forbidden(&path, "may not be transitioned to non-terminated state");
        }
    }
}

fn restarts_all(spec: &Field<'_>) -> bool {
    let is_all = |rule: Field<'_>| rule.child("action").text() == "RestartAllContainers";
    ["containers", "initContainers"].iter().any(|list| {
        let containers = spec.child(list);
        let mut rules = containers.items().flat_map(|container| {
            container
                .child("restartPolicyRules")
                .items()
                .collect::<Vec<_>>()
        });
        rules.any(is_all)
    })
}

/// Whether a container that ended with this code may restart, by its own rules and policy or the pod's.
fn may_run_again(container: Option<&Field<'_>>, policy: &str, code: i64) -> bool {
    let may_retry = policy == "OnFailure" && code != 0;
    let Some(container) = container else {
        return may_retry;
    };
    let restarts = container.child("restartPolicyRules").items().any(|rule| {
        let codes = rule.child("exitCodes");
        let is_listed = codes
            .child("values")
            .items()
            .any(|value| value.int() == Some(code));
        match codes.child("operator").text() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            _ => false,
        }
    });
    restarts
        || match container.child("restartPolicy").text() {
            "" => may_retry,
            "OnFailure" => code != 0,
            own => own == "Always",
        }
}

fn ephemeral_update(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    if mirror_mark(old).is_set() {
        let about = "static pods do not support ephemeral containers";
        return found.forbidden("", about);
    }
    let list = new.at(&["spec", "ephemeralContainers"]);
    for before in old.at(&["spec", "ephemeralContainers"]).items() {
        let name = before.child("name").text();
        let shown = Value::from(name);
        match list
            .items()
            .find(|container| container.child("name").text() == name)
        {
            None => {
                let about = format!("existing ephemeral containers {shown} may not be removed\n");
                found.forbidden(&list.path, &about);
            }
            Some(now) if !same(now.value, before.value) => {
                let lines = difference(&before.path, before.value, now.value);
                let about =
                    format!("existing ephemeral containers {shown} may not be changed\n{lines}");
                found.forbidden(&list.path, &about);
            }
            Some(_) => {}
        }
    }
}

fn resize(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    if mirror_mark(old).is_set() {
        return found.forbidden("", "static pods cannot be resized");
    }
    for list in ["containers", "initContainers"] {
        same_containers(&new.at(&["spec", list]), &old.at(&["spec", list]), found);
    }
    if !found.is_empty() {
        return;
    }
    let mut rest = new.child("spec").json();
    let (pod, before) = (new.child("spec"), old.child("spec"));
    resize_one(&pod, &before, found);
    undo_resize(&mut rest, &before);
    for list in ["containers", "initContainers"] {
        let olds: Vec<Field<'_>> = before.child(list).items().collect();
        for (index, now) in pod.child(list).items().enumerate() {
            let Some(before) = olds.get(index) else { break };
            resize_one(&now, before, found);
            undo_resize(&mut rest[list][index], before);
        }
    }
    let class = old.at(&["status", "qosClass"]);
    if quality_of_service(&new.child("spec").json()) != class.text() {
        let about = "Pod QOS Class may not change as a result of resizing";
        found.invalid("spec", class.text(), about);
    }
    if found.is_empty() && !same(Some(&rest), old.child("spec").value) {
        found.forbidden("spec", "only cpu and memory resources are mutable");
    }
}

fn same_containers(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    if new.items().len() != old.items().len() {
        let about = "containers may not be added or removed on resize";
        return found.forbidden(&new.path, about);
    }
    for (now, before) in new.items().zip(old.items()) {
        let name = now.child("name");
        if name.text() != before.child("name").text() {
            let about = "containers may not be renamed or reordered on resize";
            found.forbidden(&name.path, about);
        }
    }
}

/// Makes cpu and memory what they were, so that the rest can be compared.
fn undo_resize(new: &mut Value, old: &Field<'_>) {
    let mut resources = new["resources"].clone();
    for kind in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            let value = old.at(&["resources", kind, name]).json();
            set_or_remove(&mut resources[kind], name, value);
        }
    }
    if let Some(map) = resources.as_object_mut() {
        map.retain(|_, list| {
            list.as_object().is_some_and(|list| !list.is_empty()) || list.is_array()
        });
    }
    new["resources"] = resources;
}

fn set_or_remove(map: &mut Value, name: &str, value: Value) {
    match (value, map.as_object_mut()) {
        (Value::Null, Some(map)) => drop(map.remove(name)),
        (Value::Null, None) => {}
        (value, _) => map[name] = value,
    }
}

/// Of a container, or of the pod as a whole.
fn resize_one(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let resources = new.child("resources");
    for kind in ["requests", "limits"] {
        let list = resources.child(kind);
        let mut before = old.at(&["resources", kind]).entries();
        if before.any(|(name, _)| !list.key(name).is_set()) {
            let about = format!("resource {kind} cannot be removed");
            found.forbidden(&list.path, &about);
        }
        for (name, quantity) in list.entries() {
            resources::amount(&quantity, name, found);
        }
    }
}
