//! A claim grows only when its class allows it.

use super::{Attempt, Operation};
use crate::{
    api::{ApiError, quantity::Quantity},
    apiserver::registry::metadata::text,
};
use serde_json::Value;

const REFUSED: &str = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";

pub fn check(attempt: &Attempt<'_>, claim: &Value) -> Result<(), ApiError> {
    let Some(old) = attempt.old else {
        return Ok(());
    };
    if !attempt.is(Operation::Update) || !attempt.subresource().is_empty() {
        return Ok(());
    }
    let (Some(before), Some(after)) = (storage(old), storage(claim)) else {
        return Ok(());
    };
    if after <= before {
        return Ok(());
    }
    if text(&old["status"], "phase") != "Bound" {
        return Err(attempt.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let name = text(&claim["spec"], "storageClassName");
    let class = attempt
        .request
        .registry
        .read("storageclasses.storage.k8s.io", "", name);
    if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    Err(attempt.forbidden(REFUSED))
}

fn storage(claim: &Value) -> Option<Quantity> {
    let text = claim["spec"]["resources"]["requests"]["storage"].as_str()?;
    Quantity::parse(text).ok()
}
