//! CEL policies are stored but not evaluated yet: a write that one of them would judge is answered as when it could
//! not be evaluated, by its `failurePolicy`.

use super::{
    Attempt,
    webhook::{GROUP, is_meant},
};
use crate::{api::ApiError, apiserver::registry::metadata::text};
use serde_json::Value;

/// Kind, where its policies lie, where their bindings lie.
const POLICIES: &[(&str, &str, &str)] = &[
    (
        "MutatingAdmissionPolicy",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    ),
    (
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    ),
];

pub fn check(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    // They cannot lock themselves in.
    if attempt.kind().group == GROUP {
        return Ok(());
    }
    let registry = attempt.request.registry;
    for (kind, policies, bindings) in POLICIES {
        for binding in registry.read_all(bindings, "") {
            let name = text(&binding["spec"], "policyName");
            let Some(policy) = registry.read(policies, "", name) else {
                continue;
            };
            let constraints = &policy["spec"]["matchConstraints"];
            let narrowed = &binding["spec"]["matchResources"];
            let is_narrow = narrowed.is_null()
                || narrowed["resourceRules"].is_null()
                || is_meant(attempt, object, narrowed, &narrowed["resourceRules"]);
            if policy["spec"]["failurePolicy"] != "Ignore"
                && is_narrow
                && is_meant(attempt, object, constraints, &constraints["resourceRules"])
            {
                return Err(attempt.forbidden(&format!(
                    "{kind} '{name}' with binding '{}' denied request: evaluating expressions is not implemented by kubik yet",
                    text(&binding["metadata"], "name")
                )));
            }
        }
    }
    Ok(())
}
