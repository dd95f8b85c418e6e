//! Who owns which field: server-side apply, and the bookkeeping that every other write leaves behind.

use super::{Request, body, finding, metadata};
use crate::{
    api::{
        ApiError, decode,
        name::group_version,
        patch::apply::{Manager, apply, track_update},
        schema, time,
    },
    task::clock,
};
use serde_json::{Value, json};

/// The object after an apply, `managedFields` included. `old` is `None` when there is no object yet.
pub(super) fn applied(
    request: &mut Request<'_>,
    old: Option<&Value>,
    text: &[u8],
) -> Result<Value, ApiError> {
    if request
        .options
        .field_manager
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        let found = finding::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            vec![found],
        ));
    }
    let document = decode::yaml(text)
        .map_err(|why| ApiError::bad_request(format!("error decoding YAML: {why}")))?;
    let mut config = document.value;
    let expected = request.expected();
    check_version(&config, expected)?;
    body::identify(&mut config, expected)?;
    let doubled = document.duplicates.iter();
    let strict = doubled
        .map(|path| format!("duplicate field \"{path}\""))
        .collect();
    request.report(strict, |all| {
        ApiError::bad_request(format!("error strict decoding YAML: {all}"))
    })?;
    let meta = &mut config["metadata"];
    let listed = meta["managedFields"].as_array();
    if listed.is_some_and(|listed| !listed.is_empty()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if meta["name"].is_null() {
        meta["name"] = request.name.as_str().into();
    }
    if meta["namespace"].is_null() && !request.namespace.is_empty() {
        meta["namespace"] = request.namespace.as_str().into();
    }
    if meta["name"] != request.name.as_str() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            meta["name"].as_str().unwrap_or_default(),
            request.name
        )));
    }
    schema::check_types(&config, expected.definition).map_err(ApiError::bad_request)?;
    if request.subresource.as_deref() == Some("scale") {
        config = scaled(request, &config);
    }
    let force = request.options.force == Some(true);
    let definition = request.kind.definition;
    let now = time::format(clock::now());
    let (name, version) = identity(request);
    let manager = manager(request, &name, &version, &now);
    Ok(apply(old, &config, definition, &manager, force)?)
}

/// An apply says of which version its fields are.
fn check_version(config: &Value, expected: body::Expected) -> Result<(), ApiError> {
    let theirs = metadata::text(config, "apiVersion");
    let ours = group_version(expected.group, expected.version);
    if theirs == ours {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "Incorrect version specified in apply patch. Specified patch version: {theirs}, expected: {ours}"
    )))
}

/// Brings the owners of a written object up to date. An apply has done so itself: `owners` are what it left.
pub(super) fn track(
    request: &Request<'_>,
    old: Option<&Value>,
    new: &mut Value,
    owners: Option<Value>,
) {
    if let Some(owners) = owners {
        new["metadata"]["managedFields"] = owners;
        return;
    }
    let now = time::format(clock::now());
    let (name, version) = identity(request);
    let manager = manager(request, &name, &version, &now);
    *new = track_update(old, new, request.kind.definition, &manager);
}

/// What an applied Scale says of the object itself.
fn scaled(request: &Request<'_>, config: &Value) -> Value {
    let (_, version) = identity(request);
    json!({
        "apiVersion": version, "kind": request.kind.name,
        "metadata": {"name": request.name, "namespace": request.namespace},
        "spec": {"replicas": config["spec"]["replicas"]},
    })
}

/// The manager's name and the version written through.
fn identity(request: &Request<'_>) -> (String, String) {
    let kind = request.kind;
    let version = match kind.group {
        "" => kind.version.to_owned(),
        group => format!("{group}/{}", kind.version),
    };
    let name = request.options.field_manager.as_deref().unwrap_or_default();
    let name = match name {
        // In process there is no program that calls: its user stands for it.
        "" => request.user.name.rsplit(':').next().unwrap_or_default(),
        name => name,
    };
    (name.to_owned(), version)
}

fn manager<'a>(
    request: &'a Request<'_>,
    name: &'a str,
    version: &'a str,
    now: &'a str,
) -> Manager<'a> {
    Manager {
        name,
        subresource: request.subresource.as_deref(),
        api_version: version,
        now,
    }
}
