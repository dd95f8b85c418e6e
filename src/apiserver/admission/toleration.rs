//! Pods bear a sick node for five minutes.

use super::{Attempt, Operation};
use crate::api::ApiError;
use serde_json::{Value, json};

const SECONDS: i64 = 300;
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

pub fn complete(attempt: &Attempt<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if !attempt.is(Operation::Delete) && attempt.subresource().is_empty() {
        tolerate(&mut pod["spec"]);
    }
    Ok(())
}

fn tolerate(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Some(tolerations) = spec["tolerations"].as_array_mut() else {
        return;
    };
    for key in [NOT_READY, UNREACHABLE] {
        let bears = |toleration: &Value| {
            let own = toleration["key"].as_str().unwrap_or_default();
            let effect = toleration["effect"].as_str().unwrap_or_default();
            (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
        };
        if !tolerations.iter().any(bears) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": SECONDS,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_tolerations_win() {
        let mut spec = json!({"tolerations": [
            {"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"},
        ]});
        tolerate(&mut spec);
        tolerate(&mut spec);
        let keys: Vec<&Value> = spec["tolerations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| &t["key"])
            .collect();
        assert_eq!(keys, [NOT_READY, UNREACHABLE]);
        let mut all = json!({"tolerations": [{"operator": "Exists"}]});
        tolerate(&mut all);
        assert_eq!(all["tolerations"].as_array().unwrap().len(), 1);
    }
}
