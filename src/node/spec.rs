//! One view of a pod's containers, whatever list of the spec they stand in, and the policies that hold for each.
//!
//! Pure. Does not know what is running.

use crate::api::object::typed;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::borrow::Cow;

/// Grace of a pod that names none.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one begins.
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    Main,
    /// Added by `kubectl debug`; never restarted, never waited for.
    Ephemeral,
}

/// A container of the spec with its place in the pod.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub role: Role,
    pub container: Cow<'a, Container>,
    /// The container whose processes an ephemeral container wants to see.
    pub target: Option<&'a str>,
}

impl Wanted<'_> {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.container.name
    }

    /// The path of the container's field in events: `spec.initContainers{a}`.
    #[must_use]
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.name())
    }

    /// What the first of its own rules for this code asks for: `Restart` or `RestartAllContainers`.
    #[must_use]
    pub fn rule_for(&self, code: i32) -> Option<&str> {
        let mut rules = self.container.restart_policy_rules.iter().flatten();
        let rule = rules.find(|rule| {
            rule.exit_codes.as_ref().is_some_and(|codes| {
                let listed = codes.values.iter().flatten().any(|&value| value == code);
                listed == (codes.operator == "In")
            })
        });
        rule.map(|rule| rule.action.as_str())
    }

    /// Whether its end with this code starts all containers of the pod anew.
    #[must_use]
    pub fn restarts_all(&self, code: i32) -> bool {
        self.rule_for(code) == Some("RestartAllContainers")
    }

    /// Whether it runs again after it ended with this code.
    #[must_use]
    pub fn restarts_after(&self, spec: &PodSpec, code: i32) -> bool {
        if self.role == Role::Ephemeral {
            return false;
        }
        if self.rule_for(code).is_some() {
            return true;
        }
        let policy = self.container.restart_policy.as_deref();
        match (self.role, policy.unwrap_or_else(|| restart_policy(spec))) {
            (Role::Sidecar, _) => true,
            (_, "Never") => false,
            (Role::Init, _) | (_, "OnFailure") => code != 0,
            _ => true,
        }
    }
}

#[must_use]
pub fn restart_policy(spec: &PodSpec) -> &str {
    spec.restart_policy.as_deref().unwrap_or("Always")
}

/// Every container: init containers (with sidecars) in order, then main ones, then ephemeral ones.
#[must_use]
pub fn containers(spec: &PodSpec) -> Vec<Wanted<'_>> {
    let init = spec.init_containers.iter().flatten().map(|container| {
        let is_sidecar = container.restart_policy.as_deref() == Some("Always");
        let role = if is_sidecar {
            Role::Sidecar
        } else {
            Role::Init
        };
        Wanted {
            role,
            container: Cow::Borrowed(container),
            target: None,
        }
    });
    let main = spec.containers.iter().map(|container| Wanted {
        role: Role::Main,
        container: Cow::Borrowed(container),
        target: None,
    });
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .filter_map(|debug| {
            // The two types have the same fields but for the target.
            let value = serde_json::to_value(debug).ok()?;
            Some(Wanted {
                role: Role::Ephemeral,
                container: Cow::Owned(typed(&value).ok()?),
                target: debug.target_container_name.as_deref(),
            })
        });
    init.chain(main).chain(ephemeral).collect()
}

/// The container of that name, if the pod has it.
#[must_use]
pub fn container<'a>(spec: &'a PodSpec, name: &str) -> Option<Wanted<'a>> {
    containers(spec)
        .into_iter()
        .find(|wanted| wanted.name() == name)
}

/// The spec; an object from the API always has one.
#[must_use]
pub fn of(pod: &Pod) -> Cow<'_, PodSpec> {
    pod.spec
        .as_ref()
        .map_or_else(|| Cow::Owned(PodSpec::default()), Cow::Borrowed)
}

/// The grace the spec asks for.
#[must_use]
pub fn grace_seconds(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn restart_follows_the_policy_of_the_nearest_level() {
        let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        #[rustfmt::skip]
        let cases = [
            ("Always", "m", 0, true), ("Always", "m", 1, true),
            ("OnFailure", "m", 0, false), ("OnFailure", "m", 1, true),
            ("Never", "m", 1, false),
            ("Always", "i", 0, false), ("Always", "i", 1, true), ("Never", "i", 1, false),
            ("Never", "s", 0, true), ("Never", "s", 1, true),
            ("Never", "own", 1, true),
            ("Never", "rules", 42, true), ("Never", "rules", 1, false),
        ];
        for (policy, name, code, expected) in cases {
            let spec = spec(json!({
                "restartPolicy": policy,
                "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
                "containers": [
                    {"name": "m"}, {"name": "own", "restartPolicy": "OnFailure"},
                    {"name": "rules", "restartPolicy": "Never", "restartPolicyRules": rules},
                ],
            }));
            let wanted = container(&spec, name).unwrap();
            let restarts = wanted.restarts_after(&spec, code);
            assert_eq!(restarts, expected, "{policy} {name} {code}");
        }
    }
}
