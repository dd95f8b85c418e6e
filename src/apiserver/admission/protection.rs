//! Volumes and claims in use outlive their deletion: a finalizer sees to it.

use super::Attempt;
use crate::{api::ApiError, apiserver::registry::metadata::strings};
use serde_json::Value;

pub fn complete(attempt: &Attempt<'_>, object: &mut Value) -> Result<(), ApiError> {
    if !attempt.is_creation() {
        return Ok(());
    }
    let finalizer = match attempt.kind().name {
        "PersistentVolume" => "kubernetes.io/pv-protection",
        _ => "kubernetes.io/pvc-protection",
    };
    let mut finalizers: Vec<String> = strings(&object["metadata"]["finalizers"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    if !finalizers.iter().any(|one| one == finalizer) {
        finalizers.push(finalizer.to_owned());
        object["metadata"]["finalizers"] = finalizers.into();
    }
    Ok(())
}
