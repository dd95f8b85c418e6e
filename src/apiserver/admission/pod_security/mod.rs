//! Pod security standards: what a namespace's labels forbid its pods.
//!
//! `enforce` refuses pods; `warn` tells who writes pods or what makes pods. `audit` would only reach an audit log, which
//! this server does not keep. The levels are tables of checks: [`baseline`] and [`restricted`].

mod baseline;
mod policy;
mod restricted;
mod setters;

use super::{Attempt, Operation};
use crate::{
    api::{ApiError, error::Cause},
    apiserver::registry::{finding, metadata::text},
};
use policy::{ENFORCE, Level, Policy, Standard};
use serde_json::Value;
use std::collections::BTreeMap;

pub const STORAGE: &[&str] = &[
    "namespaces",
    "pods",
    "replicationcontrollers",
    "podtemplates",
    "replicasets.apps",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
];

/// Parts of pods that cannot change what a pod may do.
const HARMLESS_PARTS: &[&str] = &["binding", "eviction", "status"];
/// A namespace with more pods is judged by its first ones.
const PODS_MAX: usize = 3000;

/// One rule of a level. Their order is the order in which people are told, those of the lower level first.
struct Check {
    /// The minor version that brought it.
    since: u32,
    /// The rule of the restricted level that takes its place, and since when.
    replaced: Option<u32>,
    run: fn(&Pod<'_>, u32) -> Option<Violation>,
}

/// What a rule found: what is wrong, and where.
struct Violation {
    reason: String,
    detail: String,
}

impl Violation {
    fn new(reason: &str, detail: String) -> Option<Violation> {
        let reason = reason.to_owned();
        Some(Violation { reason, detail })
    }
}

/// A pod, or the template of one.
struct Pod<'a> {
    annotations: &'a Value,
    spec: &'a Value,
}

impl<'a> Pod<'a> {
    fn of(object: &'a Value) -> Pod<'a> {
        Pod {
            annotations: &object["metadata"]["annotations"],
            spec: &object["spec"],
        }
    }

    fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .filter_map(move |group| spec[group].as_array())
            .flatten()
    }

    fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Its users are not the host's.
    fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }
}

pub fn check(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    if attempt.is(Operation::Delete) {
        return Ok(());
    }
    match (attempt.kind().storage, attempt.subresource()) {
        ("namespaces", "") => check_namespace(attempt, object),
        ("namespaces", _) => Ok(()),
        ("pods", part) if HARMLESS_PARTS.contains(&part) => Ok(()),
        ("pods", _) => check_pod(attempt, object),
        (_, "") => {
            let template = match attempt.kind().name {
                "PodTemplate" => &object["template"],
                "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
                _ => &object["spec"]["template"],
            };
            if !template.is_null() {
                warn(attempt, &Pod::of(template), &policy_here(attempt));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn policy_here(attempt: &Attempt<'_>) -> Policy {
    let request = attempt.request;
    let namespace = request.registry.read("namespaces", "", &request.namespace);
    let namespace = namespace.unwrap_or_default();
    Policy::parse(&namespace["metadata"]["labels"]).0
}

fn check_pod(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    if let Some(old) = attempt.old
        && !is_significant(object, old)
    {
        return Ok(());
    }
    let policy = policy_here(attempt);
    let pod = Pod::of(object);
    let violations = violations(&pod, policy.enforce);
    if !violations.is_empty() {
        return Err(attempt.forbidden(&format!(
            "violates PodSecurity \"{}\": {}",
            policy.enforce,
            details(&violations)
        )));
    }
    warn(attempt, &pod, &policy);
    Ok(())
}

fn warn(attempt: &Attempt<'_>, pod: &Pod<'_>, policy: &Policy) {
    let violations = violations(pod, policy.warn);
    if !violations.is_empty() {
        let details = details(&violations);
        attempt.warn(format!(
            "would violate PodSecurity \"{}\": {details}",
            policy.warn
        ));
    }
}

/// Whether the update changes something that a rule may look at.
fn is_significant(new: &Value, old: &Value) -> bool {
    let shape = |pod: &Value| -> Vec<(String, String)> {
        let containers = Pod::of(pod).containers();
        containers
            .map(|one| (text(one, "name").to_owned(), text(one, "image").to_owned()))
            .collect()
    };
    shape(new) != shape(old)
}

fn violations(pod: &Pod<'_>, standard: Standard) -> Vec<Violation> {
    let Standard { level, minor } = standard;
    let is_restricted = level == Level::Restricted;
    let base = baseline::CHECKS.iter().filter(|check| {
        let replaced = check.replaced.is_some_and(|since| minor >= since);
        level != Level::Privileged && !(is_restricted && replaced)
    });
    let more = restricted::CHECKS.iter().filter(|_| is_restricted);
    base.chain(more)
        .filter(|check| minor >= check.since)
        .filter_map(|check| (check.run)(pod, minor))
        .collect()
}

fn details(violations: &[Violation]) -> String {
    let texts: Vec<String> = violations
        .iter()
        .map(|found| match found.detail.as_str() {
            "" => found.reason.clone(),
            detail => format!("{} ({detail})", found.reason),
        })
        .collect();
    texts.join(", ")
}

fn check_namespace(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    let (policy, wrong) = Policy::parse(&object["metadata"]["labels"]);
    let none = Value::Null;
    let old = attempt.old.unwrap_or(&none);
    let (before, was_wrong) = Policy::parse(&old["metadata"]["labels"]);
    if !wrong.is_empty() && wrong != was_wrong {
        let causes: Vec<Cause> = wrong
            .iter()
            .map(|(label, value, why)| {
                let field = format!("metadata.labels[{label}]");
                finding::invalid(&field, &value.as_str().into(), why)
            })
            .collect();
        let name = &attempt.request.name;
        return Err(ApiError::invalid("", "Namespace", name, causes));
    }
    let (new, old) = (policy.enforce, before.enforce);
    let is_stricter = new != old
        && new.level != Level::Privileged
        && !(new.minor == old.minor && new.level <= old.level);
    if attempt.is(Operation::Update) && is_stricter {
        let request = attempt.request;
        let pods = request.registry.read_all("pods", &request.name);
        for warning in judged_again(&request.name, &pods, new) {
            attempt.warn(warning);
        }
    }
    Ok(())
}

/// What the pods that are there would be told; equal ones are told once.
fn judged_again(namespace: &str, pods: &[Value], enforce: Standard) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let violations = violations(&Pod::of(pod), enforce);
        let reasons: Vec<&str> = violations.iter().map(|one| one.reason.as_str()).collect();
        if !reasons.is_empty() {
            let names = found.entry(reasons.join(", ")).or_default();
            names.push(text(&pod["metadata"], "name"));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity {ENFORCE} level \"{enforce}\""
        ));
    }
    let mut lines: Vec<String> = found
        .iter()
        .map(|(reasons, names)| {
            let first = names.iter().min().copied().unwrap_or_default();
            match names.len() {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                many => format!("{first} (and {} other pods): {reasons}", many - 1),
            }
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

#[cfg(test)]
mod tests;
