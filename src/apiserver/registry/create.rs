//! `create`.

use super::{
    Request, body::Expected, identity, metadata::text, ownership, services, write::Refusal,
};
use crate::{
    api::{
        ApiError,
        call::{Document, Outcome, Reply, Verb},
        schema, time,
    },
    apiserver::admission::{self, Attempt, Operation},
    kinds::{Kind, validate},
    store::Expect,
    task::{clock, uuid},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// How often a generated name that is taken is replaced by another.
const NAME_TRIES: usize = 8;

pub(super) async fn create(
    request: &mut Request<'_>,
    document: Document,
) -> Result<Reply, ApiError> {
    let expected: Expected = request.expected();
    let object = request.accept(document, expected)?;
    let bytes = create_object(request, object).await?;
    Ok(Outcome::Object {
        bytes,
        created: true,
    }
    .into())
}

/// Stores an accepted document as a new object.
pub(super) async fn create_object(
    request: &mut Request<'_>,
    mut object: Value,
) -> Result<Bytes, ApiError> {
    place_in_namespace(request, &mut object)?;
    if !matches!(text(&object["metadata"], "resourceVersion"), "" | "0") {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::new(500, "", message));
    }
    if request.kind.storage == "pods" {
        admission::wait_for_default(request, &object).await;
    }
    let is_generated = text(&object["metadata"], "name").is_empty()
        && !text(&object["metadata"], "generateName").is_empty();
    let tries = if is_generated { NAME_TRIES } else { 1 };
    for _ in 0..tries {
        let mut attempt = object.clone();
        if is_generated {
            let base = text(&object["metadata"], "generateName");
            attempt["metadata"]["name"] = identity::generated_name(base).into();
        }
        text(&attempt["metadata"], "name").clone_into(&mut request.name);
        match store_new(request, attempt).await {
            Ok(bytes) => return Ok(bytes),
            Err(Refusal::Raced) => {}
            Err(Refusal::Failed(error)) => return Err(error),
        }
    }
    let mut error = ApiError::already_exists(&request.resource, &request.name);
    if is_generated {
        error.message += ", the server was not able to generate a unique name for the object";
        error.details.get_or_insert_default().retry_after_seconds = 1;
    }
    Err(error)
}

/// The namespace of the request, which the body may repeat.
pub(super) fn place_in_namespace(
    request: &Request<'_>,
    object: &mut Value,
) -> Result<(), ApiError> {
    if !request.kind.is_namespaced() {
        return Ok(());
    }
    let meta = &mut object["metadata"];
    let theirs = text(meta, "namespace");
    if request.namespace.is_empty() {
        return Err(ApiError::bad_request(
            "an empty namespace may not be set during creation",
        ));
    }
    if !theirs.is_empty() && theirs != request.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta["namespace"] = request.namespace.as_str().into();
    Ok(())
}

async fn store_new(request: &mut Request<'_>, mut object: Value) -> Result<Bytes, Refusal> {
    let kind = request.kind;
    let registry = request.registry;
    let warnings = complete(request, &mut object)
        .await
        .map_err(Refusal::Failed)?;
    let reviewed = attempt(request);
    admission::review(&reviewed, &object)
        .await
        .map_err(Refusal::Failed)?;
    let told = reviewed.into_warnings();
    request.warnings.extend(told);
    // Held until the object is stored: what the namespace has left is judged and used in one go.
    let _turn = registry.quota_turn(&request.namespace).await;
    let reserved = (kind.storage == "services")
        .then(|| registry.reserve(request, &mut object))
        .transpose();
    let _reserved = reserved.map_err(Refusal::Failed)?;
    let attempt = attempt(request);
    admission::validate(&attempt, &object).map_err(Refusal::Failed)?;
    let told = attempt.into_warnings();
    request.warnings.extend(warnings.into_iter().chain(told));
    let key = request.key();
    if request.options.dry_run {
        if registry.store.get(&key).is_some() {
            return Err(Refusal::Raced);
        }
        return Ok(object.to_string().into());
    }
    let written = registry.put(kind, &key, Expect::Absent, &object).await?;
    super::list::presented(&written.entry, kind).map_err(Refusal::Failed)
}

fn attempt<'a>(request: &'a Request<'a>) -> Attempt<'a> {
    Attempt::new(request, Operation::Create, None)
}

/// Defaults, mutating admission, the server's own fields, validation. Answers warnings.
async fn complete(request: &Request<'_>, object: &mut Value) -> Result<Vec<String>, ApiError> {
    let kind = request.kind;
    default(kind, object);
    let attempt = attempt(request);
    admission::mutate(&attempt, object).await?;
    let mut warnings = attempt.into_warnings();
    own_metadata(kind, object, &time::format(clock::now()));
    drop_status(kind, object);
    if let Some(prepare) = kind.hooks.prepare_create {
        prepare(object);
    }
    own_request(request, object);
    if kind.storage == "services" {
        services::prepare(object, None);
    }
    // A PATCH that creates is an apply, which has written its owners.
    if request.verb != Verb::Patch {
        ownership::track(request, None, object, None);
    }
    let mut found = validate::metadata(kind, object);
    if let Some(validate) = kind.hooks.validate {
        found.extend(validate(object));
    }
    if !found.is_empty() {
        return Err(ApiError::invalid(
            kind.group,
            kind.name,
            &request.name,
            found,
        ));
    }
    warnings.extend(kind.hooks.warn.map(|warn| warn(object)).unwrap_or_default());
    Ok(warnings)
}

pub(in crate::apiserver) fn default(kind: &Kind, object: &mut Value) {
    schema::default(object, kind.definition);
    if let Some(default) = kind.hooks.default {
        default(object);
    }
}

/// A certificate request bears its maker.
fn own_request(request: &Request<'_>, object: &mut Value) {
    if request.kind.name != "CertificateSigningRequest" {
        return;
    }
    let user = request.user;
    let spec = &mut object["spec"];
    spec["username"] = user.name.as_str().into();
    spec["groups"] = json!(user.groups);
    for (field, value) in [("uid", json!(user.uid)), ("extra", json!(user.extra))] {
        if let Some(spec) = spec.as_object_mut() {
            match value.as_str() == Some("") || value == json!({}) {
                true => drop(spec.remove(field)),
                false => drop(spec.insert(field.to_owned(), value)),
            }
        }
    }
}

/// Sets what only the server knows of a new object.
fn own_metadata(kind: &Kind, object: &mut Value, now: &str) {
    let Some(meta) = object["metadata"].as_object_mut() else {
        return;
    };
    for field in [
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
    ] {
        meta.remove(field);
    }
    meta.insert("uid".to_owned(), uuid().into());
    meta.insert("creationTimestamp".to_owned(), now.into());
    if kind.has_generation {
        meta.insert("generation".to_owned(), 1.into());
    }
    drop_empty(meta);
}

/// Empty maps and lists of metadata are not stored.
pub(super) fn drop_empty(meta: &mut Map<String, Value>) {
    meta.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

/// A status is what controllers report later; a client's is ignored. Nodes bring theirs when they register.
fn drop_status(kind: &Kind, object: &mut Value) {
    if kind.subresources.contains(&"status") && kind.storage != "nodes" {
        object["status"] = json!({});
    }
}
