//! Pods get the number behind their priority class.

use super::{Attempt, Operation};
use crate::{api::ApiError, apiserver::registry::metadata::text};
use serde_json::Value;

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

pub fn complete(attempt: &Attempt<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !attempt.is_creation() {
        return Ok(());
    }
    let registry = attempt.request.registry;
    let name = text(&pod["spec"], "priorityClassName").to_owned();
    let class = if name.is_empty() {
        default_class(registry.read_all(CLASSES, ""))
    } else {
        let class = registry.read(CLASSES, "", &name);
        let missing = || format!("no PriorityClass with name {name} was found");
        Some(class.ok_or_else(|| attempt.forbidden(&missing()))?)
    };
    rank(pod, class.as_ref()).map_err(|why| attempt.forbidden(&why))
}

/// Of several global defaults the least important counts.
fn default_class(classes: Vec<Value>) -> Option<Value> {
    let defaults = classes
        .into_iter()
        .filter(|class| class["globalDefault"] == true);
    defaults.min_by_key(|class| class["value"].as_i64())
}

fn rank(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let null = Value::Null;
    let class = class.unwrap_or(&null);
    let priority = class["value"].as_i64().unwrap_or(0);
    let policy = match text(class, "preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    };
    let spec = &mut pod["spec"];
    if let Some(given) = spec["priority"].as_i64().filter(|&given| given != priority) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    let given = text(spec, "preemptionPolicy");
    if !given.is_empty() && given != policy {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    spec["priority"] = priority.into();
    spec["preemptionPolicy"] = policy.into();
    if text(spec, "priorityClassName").is_empty()
        && let Some(name) = class["metadata"]["name"].as_str()
    {
        spec["priorityClassName"] = name.into();
    }
    Ok(())
}

/// Only one class may be everybody's default.
pub fn check_class(attempt: &Attempt<'_>, class: &Value) -> Result<(), ApiError> {
    if attempt.is(Operation::Delete) || class["globalDefault"] != true {
        return Ok(());
    }
    let name = text(&class["metadata"], "name");
    let others = attempt.request.registry.read_all(CLASSES, "");
    let other = others
        .iter()
        .find(|other| other["globalDefault"] == true && text(&other["metadata"], "name") != name);
    match other {
        None => Ok(()),
        Some(other) => Err(attempt.forbidden(&format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            text(&other["metadata"], "name")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ranks_come_from_classes() {
        let class = json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"});
        let mut pod = json!({"spec": {}});
        rank(&mut pod, Some(&class)).unwrap();
        assert_eq!(
            pod["spec"],
            json!({"priority": 7, "preemptionPolicy": "Never", "priorityClassName": "high"})
        );
        let mut plain = json!({"spec": {}});
        rank(&mut plain, None).unwrap();
        assert_eq!(
            plain["spec"],
            json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"})
        );
        let why = rank(&mut json!({"spec": {"priority": 3}}), None).unwrap_err();
        assert!(
            why.starts_with("the integer value of priority (3) must not"),
            "{why}"
        );
    }
}
