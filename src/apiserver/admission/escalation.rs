//! Nobody grants what they do not hold.

use super::{Attempt, Operation};
use crate::{
    api::ApiError,
    apiserver::{
        authorize::{Attributes, MASTERS, Rule, compact, missing, quoted},
        registry::metadata::text,
    },
};
use serde::Deserialize;
use serde_json::Value;

pub const STORAGE: &[&str] = &[
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

pub fn check(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    let request = attempt.request;
    if attempt.is(Operation::Delete) || request.user.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    let granted = match attempt.kind().name {
        "Role" | "ClusterRole" => {
            if may(attempt, "escalate", attempt.kind().plural, &request.name) {
                return Ok(());
            }
            if attempt
                .old
                .is_some_and(|old| old["rules"] == object["rules"])
            {
                return Ok(());
            }
            Vec::deserialize(&object["rules"]).unwrap_or_default()
        }
        _ => {
            let role = &object["roleRef"];
            let (kind, name) = (text(role, "kind"), text(role, "name"));
            let plural = if kind == "ClusterRole" {
                "clusterroles"
            } else {
                "roles"
            };
            if may(attempt, "bind", plural, name) {
                return Ok(());
            }
            let unchanged =
                |old: &Value| old["roleRef"] == *role && old["subjects"] == object["subjects"];
            if attempt.old.is_some_and(unchanged) {
                return Ok(());
            }
            let rules = request.registry.role_rules(&request.namespace, kind, name);
            let Some(rules) = rules else {
                let kind = kind.to_lowercase();
                return Err(attempt.forbidden(&format!(
                    "{kind}.rbac.authorization.k8s.io {name:?} not found"
                )));
            };
            rules.to_vec()
        }
    };
    refuse(attempt, &granted)
}

fn may(attempt: &Attempt<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let request = attempt.request;
    let wanted = Attributes {
        verb,
        group: "rbac.authorization.k8s.io",
        version: "*",
        resource,
        namespace: &request.namespace,
        name,
        ..Attributes::default()
    };
    request.registry.authorize(request.user, &wanted).is_ok()
}

fn refuse(attempt: &Attempt<'_>, granted: &[Rule]) -> Result<(), ApiError> {
    let request = attempt.request;
    let user = request.user;
    let (held, problems) = request.registry.rules(user, &request.namespace);
    let lacking = compact(missing(&held, granted));
    if lacking.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    let problems = match problems.as_slice() {
        [] => String::new(),
        problems => format!("; resolution errors: [{}]", problems.join(", ")),
    };
    Err(attempt.forbidden(&format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}{problems}",
        user.name,
        quoted(&user.groups),
        lines.join("\n"),
    )))
}
