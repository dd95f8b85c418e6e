//! OpenAPI documents: what kubectl's validation, apply and explain, and helm, read of the server (API chapter 1.4, 1.5).
//!
//! Documents follow from the table of fields and from the resources the caller names, built-in or custom; nothing is
//! kept. They tell types, strategies, defaults and operations, those of version 3 also what fields mean. The deprecated
//! watch paths are left out.

mod custom;
mod definition;
mod description;
pub mod gnostic;
mod operation;
mod path;

pub use custom::{definition_name, definitions as custom_definitions};
pub use description::fingerprint;

use super::name::group_version;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// One resource of one group version.
#[derive(Clone, Debug)]
pub struct Resource<'a> {
    pub group: Cow<'a, str>,
    pub version: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    /// `PodList`.
    pub list_kind: Cow<'a, str>,
    pub plural: Cow<'a, str>,
    pub is_namespaced: bool,
    pub verbs: &'a [&'a str],
    /// `io.k8s.api.core.v1.Pod`, or the name under which `extra` holds a custom resource's schema.
    pub definition: Cow<'a, str>,
    /// Custom resources have no strategic merge patch and no protobuf.
    pub is_custom: bool,
    pub subresources: Vec<Subresource<'a>>,
}

#[derive(Clone, Debug)]
pub struct Subresource<'a> {
    pub name: Cow<'a, str>,
    /// What it takes and answers with.
    pub group: Cow<'a, str>,
    pub version: Cow<'a, str>,
    pub kind: Cow<'a, str>,
    pub verbs: &'a [&'a str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    fn reference(self, definition: &str) -> Value {
        let home = match self {
            Dialect::V2 => "#/definitions",
            Dialect::V3 => "#/components/schemas",
        };
        json!({"$ref": format!("{home}/{definition}")})
    }
}

/// `api/v1`, `apis/apps/v1`: a group version's key in the index, and its path without the leading slash.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{}", group_version(group, version))
    }
}

/// `/openapi/v3`: for each path its token, which must change whenever the document does.
pub fn v3_index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let paths: Map<String, Value> = documents
        .into_iter()
        .map(|(path, hash)| {
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path.to_owned(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// One group version. `extra` holds the definitions of custom resources.
pub fn v3_document(resources: &[Resource<'_>], extra: &Map<String, Value>, release: &str) -> Value {
    let paths = path::paths(resources, Dialect::V3);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": release},
        "paths": paths,
        "components": {
            "schemas": definition::closure(resources, extra, Dialect::V3),
            "securitySchemes": {"BearerToken": security()},
        },
    })
}

/// All group versions in one. `extra` holds version 3 definitions; they are narrowed to what version 2 can say.
pub fn v2_document(resources: &[Resource<'_>], extra: &Map<String, Value>, release: &str) -> Value {
    let narrowed = extra
        .iter()
        .map(|(name, schema)| (name.clone(), custom::narrowed(schema)))
        .collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": release},
        "paths": path::paths(resources, Dialect::V2),
        "definitions": definition::closure(resources, &narrowed, Dialect::V2),
        "securityDefinitions": {"BearerToken": security()},
        "security": [{"BearerToken": []}],
    })
}

fn security() -> Value {
    json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"})
}

#[cfg(test)]
mod tests;
