//! Nothing is made in a namespace that is missing or going; some namespaces never go.

use super::{Attempt, Operation};
use crate::{
    api::{ApiError, name::Gvr},
    apiserver::registry::document::index,
};
use serde_json::Value;

/// The cluster cannot do without these.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

pub fn admit(attempt: &Attempt<'_>, _: &mut Value) -> Result<(), ApiError> {
    let request = attempt.request;
    if attempt.kind().storage == "namespaces" {
        if attempt.is(Operation::Delete) && IMMORTAL.contains(&request.name.as_str()) {
            return Err(attempt.forbidden("this namespace may not be deleted"));
        }
        return Ok(());
    }
    if !attempt.kind().is_namespaced() || !attempt.is(Operation::Create) {
        return Ok(());
    }
    let namespace = &request.namespace;
    let Some(entry) = request
        .registry
        .store
        .get(&format!("/namespaces/{namespace}"))
    else {
        return Err(ApiError::not_found(
            &Gvr::new("", "v1", "namespaces"),
            namespace,
        ));
    };
    let index = index(&entry.note);
    let is_terminating = index.fields.iter().any(|phase| &**phase == "Terminating");
    if !index.is_deleting && !is_terminating {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let cause = format!("namespace {namespace} is being terminated");
    Err(attempt
        .forbidden(&why)
        .with_cause("NamespaceTerminating", &cause, "metadata.namespace"))
}
