//! The events of `start -o json`: one CloudEvent per line, in the form that tools know from minikube. Pure but for the
//! event's id.

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
        "specversion": "1.0", "id": id(), "source": SOURCE, "type": format!("io.k8s.sigs.minikube.{kind}"),
        "datacontenttype": "application/json", "data": data,
    })
    .to_string()
}

/// A random UUID (version 4).
fn id() -> String {
    let mut bytes = [0u8; 16];
    // An id that is not random is still an id.
    let _ = getrandom::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
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
