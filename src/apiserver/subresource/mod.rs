//! Subresources: other ways to see or to move one object.
//!
//! A [`View`] shows a part of the object (or another document made of it) and puts a changed part back; `get`,
//! `update` and `patch` work through it as on the object itself.

use super::registry::body::Expected;
use crate::{api::ApiError, kinds::Kind};
use serde_json::Value;

pub struct View {
    pub name: &'static str,
    /// What the view's documents are; `None`: objects of the kind itself.
    pub document: Option<Expected>,
    project: fn(&Kind, &Value) -> Result<Value, ApiError>,
    inject: fn(&Kind, &Value, Value) -> Result<Value, ApiError>,
}

const VIEWS: &[View] = &[View {
    name: "status",
    document: None,
    project: whole,
    inject: put_status,
}];

#[must_use]
pub fn view(subresource: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name == subresource)
}

impl View {
    pub fn project(&self, kind: &Kind, object: &Value) -> Result<Value, ApiError> {
        (self.project)(kind, object)
    }

    /// The whole object with what the changed document says.
    pub fn inject(&self, kind: &Kind, old: &Value, candidate: Value) -> Result<Value, ApiError> {
        (self.inject)(kind, old, candidate)
    }
}

fn whole(_: &Kind, object: &Value) -> Result<Value, ApiError> {
    Ok(object.clone())
}

/// Kinds whose metadata does not change through `/status`.
const STATUS_KEEPS_METADATA: &[&str] = &[
    "apiservices.apiregistration.k8s.io",
    "certificatesigningrequests.certificates.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "resourceclaims.resource.k8s.io",
    "servicecidrs.networking.k8s.io",
    "volumeattachments.storage.k8s.io",
];

fn put_status(kind: &Kind, old: &Value, mut candidate: Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    new["status"] = candidate["status"].take();
    if new["status"].is_null() {
        new["status"] = serde_json::json!({});
    }
    if STATUS_KEEPS_METADATA.contains(&kind.storage) {
        return Ok(new);
    }
    let mut meta = candidate["metadata"].take();
    if kind.name == "Deployment" {
        meta["labels"] = old["metadata"]["labels"].clone();
    }
    if kind.name == "Pod" {
        meta["ownerReferences"] = old["metadata"]["ownerReferences"].clone();
    }
    new["metadata"] = meta;
    Ok(new)
}
