//! The events of `start -o json`: one CloudEvent per line, in the form that tools know from minikube. Pure but for the
//! event's id.

use crate::task::uuid;
use serde_json::{Value, json};

const SOURCE: &str = "https://minikube.sigs.k8s.io/";
const STEPS: &str = "19";

/// Our steps by their beginnings, and what minikube calls the same work.
const NAMES: &[(&str, &str, &str)] = &[
    ("starting", "0", "Initial Minikube Setup"),
    ("keys", "12", "Generating certificates"),
    ("roles", "14", "Configuring RBAC rules"),
    ("API server", "13", "Booting control plane"),
    ("default service account", "17", "Verifying Kubernetes"),
    ("ready", "19", "Done"),
];

pub fn step(message: &str) -> String {
    let found = NAMES.iter().find(|(start, ..)| message.starts_with(start));
    let (_, number, name) = found.copied().unwrap_or(("", "11", "Preparing Kubernetes"));
    let data =
        json!({ "currentstep": number, "totalsteps": STEPS, "name": name, "message": message });
    event("step", &data)
}

pub fn info(message: &str) -> String {
    event("info", &json!({ "message": message }))
}

pub fn error(id: &str, code: u8, message: &str, advice: &str) -> String {
    let data = json!({
        "exitcode": code.to_string(), "name": id, "message": message, "advice": advice, "url": "", "issues": "",
    });
    event("error", &data)
}

fn event(kind: &str, data: &Value) -> String {
    json!({
        "specversion": "1.0", "id": uuid(), "source": SOURCE, "type": format!("io.k8s.sigs.minikube.{kind}"),
        "datacontenttype": "application/json", "data": data,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_events_with_known_names() {
        let text = step("ready: API, RBAC, node, DNS");
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["type"], "io.k8s.sigs.minikube.step");
        assert_eq!(event["data"]["name"], "Done");
        assert_eq!(event["id"].as_str().unwrap().len(), 36);
        assert!(!text.contains('\n'));
    }
}
