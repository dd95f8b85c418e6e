//! Who set what, in words: `pod and containers "a", "b"`.

use super::Pod;
use crate::apiserver::registry::metadata::text;
use serde_json::Value;

/// `"a", "b"`.
pub fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("\"{}\"", name.as_ref()))
        .collect();
    names.join(", ")
}

pub fn plural(one: &'static str, many: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
pub fn containers<T: AsRef<str>>(names: &[T]) -> String {
    let word = plural("container", "containers", names.len());
    format!("{word} {}", quoted(names))
}

/// The names of the containers for which it holds.
pub fn names(pod: &Pod<'_>, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    pod.containers()
        .filter(|container| holds(container))
        .map(|container| text(container, "name").to_owned())
        .collect()
}

/// Those who hold a bad value in their security context, and the bad values.
#[derive(Default)]
pub struct Setters {
    pub who: Vec<String>,
    pub values: Vec<String>,
}

impl Setters {
    /// Looks at the pod's security context, then at every container's. `bad` answers the bad values of one.
    pub fn find(pod: &Pod<'_>, bad: impl Fn(&Value) -> Vec<String>) -> Setters {
        let mut found = Setters::default();
        let own = bad(&pod.spec["securityContext"]);
        if !own.is_empty() {
            found.who.push("pod".to_owned());
            found.values.extend(own);
        }
        let mut bad_containers = Vec::new();
        for container in pod.containers() {
            let values = bad(&container["securityContext"]);
            if !values.is_empty() {
                bad_containers.push(text(container, "name"));
                found.values.extend(values);
            }
        }
        if !bad_containers.is_empty() {
            found.who.push(containers(&bad_containers));
        }
        found.values.sort();
        found.values.dedup();
        found
    }

    pub fn is_empty(&self) -> bool {
        self.who.is_empty()
    }

    pub fn who(&self) -> String {
        self.who.join(" and ")
    }
}

/// The text, when it is not one of the allowed; an absent one is allowed.
pub fn unless(value: &Value, allowed: &[&str]) -> Vec<String> {
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() || allowed.contains(&text) {
        return Vec::new();
    }
    vec![text.to_owned()]
}
