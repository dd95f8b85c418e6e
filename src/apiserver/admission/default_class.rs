//! Claims and ingresses that name no class get the default one.

use super::Attempt;
use crate::{api::ApiError, apiserver::registry::metadata::text};
use serde_json::Value;

const STORAGE: &[&str] = &[
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const INGRESS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];

fn is_default(class: &Value, marks: &[&str]) -> bool {
    let annotations = &class["metadata"]["annotations"];
    marks.iter().any(|mark| annotations[*mark] == "true")
}

pub fn storage(attempt: &Attempt<'_>, claim: &mut Value) -> Result<(), ApiError> {
    let named = !claim["spec"]["storageClassName"].is_null()
        || !claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].is_null();
    if !attempt.is_creation() || named {
        return Ok(());
    }
    let classes = attempt
        .request
        .registry
        .read_all("storageclasses.storage.k8s.io", "");
    if let Some(name) = newest(&classes) {
        claim["spec"]["storageClassName"] = name.into();
    }
    Ok(())
}

/// The youngest default; of equally young ones the first by name.
fn newest(classes: &[Value]) -> Option<&str> {
    let defaults = classes.iter().filter(|class| is_default(class, STORAGE));
    let newest = defaults.min_by(|left, right| {
        let time = |class: &Value| text(&class["metadata"], "creationTimestamp").to_owned();
        let name = |class: &Value| text(&class["metadata"], "name").to_owned();
        time(right)
            .cmp(&time(left))
            .then(name(left).cmp(&name(right)))
    });
    newest.map(|class| text(&class["metadata"], "name"))
}

pub fn ingress(attempt: &Attempt<'_>, ingress: &mut Value) -> Result<(), ApiError> {
    let named = !ingress["spec"]["ingressClassName"].is_null()
        || !ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_null();
    if !attempt.is_creation() || named {
        return Ok(());
    }
    let classes = attempt
        .request
        .registry
        .read_all("ingressclasses.networking.k8s.io", "");
    let defaults: Vec<&Value> = classes
        .iter()
        .filter(|class| is_default(class, INGRESS))
        .collect();
    match defaults.as_slice() {
        [] => Ok(()),
        [class] => {
            ingress["spec"]["ingressClassName"] = text(&class["metadata"], "name").into();
            Ok(())
        }
        many => Err(attempt.forbidden(&format!(
            "{} default IngressClasses were found, only 1 allowed",
            many.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_default_wins() {
        let class = |name: &str, time: &str, default: &str| {
            json!({"metadata": {
                "name": name, "creationTimestamp": time,
                "annotations": {"storageclass.kubernetes.io/is-default-class": default},
            }})
        };
        let classes = [
            class("a", "2026-01-01T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("c", "2026-01-03T00:00:00Z", "false"),
        ];
        assert_eq!(newest(&classes), Some("b"));
        assert_eq!(newest(&classes[2..]), None);
    }
}
