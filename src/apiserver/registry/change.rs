//! `update` and `patch`: one way for both, on the object itself and through subresources.

use super::{
    Request, convert,
    create::{create_object, default, drop_empty},
    finding,
    list::presented,
    metadata::{strings, text},
    ownership, services,
    write::Refusal,
};
use crate::{
    api::{
        ApiError,
        call::{Body, Document, Outcome, PatchKind, Reply, Verb},
        decode, patch,
    },
    apiserver::admission::{self, Attempt, Operation},
    kinds::{Kind, UpdateContext, validate},
    store::{Entry, Expect},
};
use bytes::Bytes;
use serde_json::Value;

/// How often a write without a resource version is tried again when others write in between. Upstream's store goes on
/// until it succeeds.
const TRIES_MAX: usize = 100;

/// Metadata that only the server writes.
const OWN_FIELDS: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
    "selfLink",
];

/// What the client wants the object to become.
enum Wish {
    Replace(Value),
    Patch(PatchKind, Bytes),
}

pub(super) async fn update(
    request: &mut Request<'_>,
    document: Document,
) -> Result<Reply, ApiError> {
    let expected = request.expected();
    let value = request.accept(document, expected)?;
    let named = text(&value["metadata"], "name");
    if named != request.name && !(named.is_empty() && request.subresource.is_some()) {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({named}) does not match the name on the URL ({})",
            request.name
        )));
    }
    change(request, Wish::Replace(value)).await
}

pub(super) async fn patch(request: &mut Request<'_>, body: Body) -> Result<Reply, ApiError> {
    let Body::Patch(kind, bytes) = body else {
        return Err(ApiError::bad_request("the request has no patch"));
    };
    if request.options.force.is_some() && kind != PatchKind::Apply {
        let found = finding::forbidden("force", "may not be specified for non-apply patch");
        return Err(ApiError::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            vec![found],
        ));
    }
    change(request, Wish::Patch(kind, bytes)).await
}

async fn change(request: &mut Request<'_>, wish: Wish) -> Result<Reply, ApiError> {
    let warned = request.warnings.len();
    for _ in 0..TRIES_MAX {
        request.warnings.truncate(warned);
        let Some(entry) = request.registry.store.get(&request.key()) else {
            return make(request, wish).await;
        };
        match change_entry(request, &entry, &wish).await {
            Ok(bytes) => {
                let created = false;
                return Ok(Outcome::Object { bytes, created }.into());
            }
            Err(Refusal::Raced) if is_unconditional(&wish) => {}
            Err(Refusal::Raced) => break,
            Err(Refusal::Failed(error)) => return Err(error),
        }
    }
    Err(ApiError::modified(&request.resource, &request.name))
}

fn is_unconditional(wish: &Wish) -> bool {
    match wish {
        Wish::Replace(value) => text(&value["metadata"], "resourceVersion").is_empty(),
        // One that names a version fails on its own as soon as the version is not current.
        Wish::Patch(..) => true,
    }
}

/// The object does not exist: some kinds are created by a PUT, all by an apply.
async fn make(request: &mut Request<'_>, wish: Wish) -> Result<Reply, ApiError> {
    let object = match wish {
        Wish::Replace(mut value) if request.kind.create_on_update => {
            if !text(&value["metadata"], "uid").is_empty() {
                let why = format!(
                    "Precondition failed: UID in precondition: {}, UID in object meta: ",
                    text(&value["metadata"], "uid")
                );
                return Err(ApiError::conflict(&request.resource, &request.name, &why));
            }
            value["metadata"]["resourceVersion"] = Value::Null;
            value
        }
        Wish::Patch(PatchKind::Apply, bytes) if request.subresource.is_none() => {
            let object = ownership::applied(request, None, &bytes)?;
            let uid = text(&object["metadata"], "uid");
            if !uid.is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(ApiError::conflict(&request.resource, &request.name, &why));
            }
            object
        }
        _ => return Err(request.not_found()),
    };
    if request.subresource.is_some() {
        return Err(request.not_found());
    }
    let creating = super::Attributes {
        verb: Verb::Create.as_str(),
        ..request.attributes()
    };
    request.registry.authorize(request.user, &creating)?;
    let bytes = create_object(request, object).await?;
    let created = true;
    Ok(Outcome::Object { bytes, created }.into())
}

/// The answer's bytes.
async fn change_entry(
    request: &mut Request<'_>,
    entry: &Entry,
    wish: &Wish,
) -> Result<Bytes, Refusal> {
    let kind = request.kind;
    let old = convert::parse(&entry.bytes, kind).map_err(Refusal::Failed)?;
    let mut new = wanted(request, entry, &old, wish)
        .await
        .map_err(Refusal::Failed)?;
    let registry = request.registry;
    if new != old {
        let attempt = Attempt::new(request, Operation::Update, Some(&old));
        let reviewed = admission::review(&attempt, &new).await;
        reviewed.map_err(Refusal::Failed)?;
        let told = attempt.into_warnings();
        request.warnings.extend(told);
    }
    // Held until the object is stored: what the namespace has left is judged and used in one go.
    let _turn = registry.quota_turn(&request.namespace).await;
    let reserved = (kind.storage == "services" && request.subresource.is_none())
        .then(|| registry.reserve(request, &mut new))
        .transpose();
    let _reserved = reserved.map_err(Refusal::Failed)?;
    let attempt = Attempt::new(request, Operation::Update, Some(&old));
    admission::validate(&attempt, &new).map_err(Refusal::Failed)?;
    let told = attempt.into_warnings();
    request.warnings.extend(told);
    let view = request.view();
    let shown = |bytes: Bytes, document: &Value| -> Result<Bytes, Refusal> {
        match view {
            Some(view) if view.document.is_some() => {
                let shown = view.project(kind, document).map_err(Refusal::Failed)?;
                Ok(shown.to_string().into())
            }
            _ => Ok(bytes),
        }
    };
    if new == old {
        let bytes = presented(entry, kind).map_err(Refusal::Failed)?;
        return shown(bytes, &old);
    }
    let is_last = is_ready_to_go(kind, &new);
    if request.options.dry_run {
        return shown(new.to_string().into(), &new);
    }
    if is_last {
        registry.remove(kind, &entry.key, entry.modified).await?;
        return shown(new.to_string().into(), &new);
    }
    let expect = Expect::Modified(entry.modified);
    let written = registry.put(kind, &entry.key, expect, &new).await?;
    let bytes = presented(&written.entry, kind).map_err(Refusal::Failed)?;
    if view.is_some_and(|view| view.document.is_some()) {
        let document = convert::parse(&written.entry.bytes, kind).map_err(Refusal::Failed)?;
        return shown(bytes, &document);
    }
    Ok(bytes)
}

/// The whole new object, judged; it keeps the old resource version, so that it equals `old` when nothing changed.
async fn wanted(
    request: &mut Request<'_>,
    entry: &Entry,
    old: &Value,
    wish: &Wish,
) -> Result<Value, ApiError> {
    let kind = request.kind;
    let view = request.view();
    let mut owners = None;
    let candidate = match wish {
        Wish::Replace(value) => value.clone(),
        Wish::Patch(PatchKind::Apply, bytes) => {
            let applied = ownership::applied(request, Some(old), bytes)?;
            owners = Some(applied["metadata"]["managedFields"].clone());
            applied
        }
        Wish::Patch(patch, bytes) => {
            let shown = match view {
                Some(view) => view.project(kind, old)?,
                None => old.clone(),
            };
            patched(request, *patch, bytes, shown)?
        }
    };
    check_identity(request, entry, &candidate, old)?;
    let mut new = match view {
        // An apply to a scale has been made one to the object.
        Some(view) if owners.is_none() || view.document.is_none() => {
            view.inject(kind, old, &candidate)?
        }
        Some(_) => candidate,
        None => keep_status(kind, old, candidate),
    };
    keep_own_metadata(&mut new, old);
    default(kind, &mut new);
    let attempt = Attempt::new(request, Operation::Update, Some(old));
    admission::mutate(&attempt, &mut new).await?;
    let told = attempt.into_warnings();
    request.warnings.extend(told);
    let context = UpdateContext {
        old,
        subresource: request.subresource.as_deref(),
    };
    if let Some(prepare) = kind.hooks.prepare_update {
        prepare(&mut new, context);
    }
    if kind.storage == "services" && request.subresource.is_none() {
        services::prepare(&mut new, Some(old));
    }
    if kind.has_generation {
        bump_generation(kind, &mut new, old);
    }
    ownership::track(request, Some(old), &mut new, owners);
    let mut found = validate::metadata_update(kind, &new, old);
    if let Some(validate) = kind.hooks.validate {
        found.extend(validate(&new));
    }
    if let Some(validate) = kind.hooks.validate_update {
        found.extend(validate(&new, context));
    }
    if !found.is_empty() {
        return Err(ApiError::invalid(
            kind.group,
            kind.name,
            &request.name,
            found,
        ));
    }
    if let Some(warn) = kind.hooks.warn {
        request.warnings.extend(warn(&new));
    }
    Ok(new)
}

/// The document after the patch, judged like a body. `shown` is what the client sees of the object.
fn patched(
    request: &mut Request<'_>,
    kind: PatchKind,
    text: &[u8],
    mut shown: Value,
) -> Result<Value, ApiError> {
    let expected = request.expected();
    let mut strict = Vec::new();
    let mut patch_as_sent = None;
    match kind {
        PatchKind::Json => {
            strict = patch::json_unknown_fields(text);
            shown = patch::json(&shown, text)?;
        }
        PatchKind::Merge | PatchKind::Strategic => {
            let refused = |why: String| {
                let start = match kind {
                    PatchKind::Merge => "error decoding patch: ",
                    _ => "",
                };
                ApiError::bad_request(format!("{start}{why}"))
            };
            let Document { value, duplicates } = decode::json(text).map_err(refused)?;
            if let Some(what) = no_object(&value) {
                return Err(refused(format!(
                    "json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
                )));
            }
            let doubled = |path: &String| format!("duplicate field \"{path}\"");
            strict.extend(duplicates.iter().map(doubled));
            if kind == PatchKind::Merge {
                patch::merge(&mut shown, &value);
            } else {
                patch::strategic(&mut shown, &value, expected.definition)?;
                patch_as_sent = Some(value);
            }
        }
        PatchKind::Apply => return Err(ApiError::internal("an apply has a way of its own")),
    }
    request.accept_patched(shown, strict, expected, patch_as_sent.as_ref())
}

/// What the value is instead, in the words of Go's decoder.
fn no_object(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Array(_) => Some("array"),
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("bool"),
    }
}

/// The candidate must speak of this object, and of the state it has.
fn check_identity(
    request: &Request<'_>,
    entry: &Entry,
    candidate: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    let meta = &candidate["metadata"];
    let namespace = text(meta, "namespace");
    if request.kind.is_namespaced() && !namespace.is_empty() && namespace != request.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let uid = text(meta, "uid");
    let old_uid = text(&old["metadata"], "uid");
    if !uid.is_empty() && uid != old_uid {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}"
        );
        return Err(ApiError::conflict(&request.resource, &request.name, &why));
    }
    match text(meta, "resourceVersion") {
        "" | "0" if request.kind.unconditional_update || request.subresource.is_some() => Ok(()),
        "" | "0" => {
            let found = finding::invalid(
                "metadata.resourceVersion",
                &Value::Null,
                "must be specified for an update",
            );
            let found = crate::api::error::Cause {
                message: found.message.replace("\"null\"", "0x0"),
                ..found
            };
            let kind = request.kind;
            Err(ApiError::invalid(
                kind.group,
                kind.name,
                &request.name,
                vec![found],
            ))
        }
        version if version == entry.modified.to_string() => Ok(()),
        _ => Err(ApiError::modified(&request.resource, &request.name)),
    }
}

/// Where status is a subresource, a write to the object leaves it alone.
fn keep_status(kind: &Kind, old: &Value, mut candidate: Value) -> Value {
    if kind.subresources.contains(&"status")
        && let Some(object) = candidate.as_object_mut()
    {
        match old.get("status") {
            Some(status) => drop(object.insert("status".to_owned(), status.clone())),
            None => drop(object.remove("status")),
        }
    }
    candidate
}

fn keep_own_metadata(new: &mut Value, old: &Value) {
    let Some(meta) = new["metadata"].as_object_mut() else {
        return;
    };
    for field in OWN_FIELDS
        .iter()
        .chain(&["resourceVersion", "namespace", "name"])
    {
        match old["metadata"].get(*field) {
            Some(value) => drop(meta.insert((*field).to_owned(), value.clone())),
            None => drop(meta.remove(*field)),
        }
    }
    drop_empty(meta);
}

/// Moves the generation when what the user wants has changed.
fn bump_generation(kind: &Kind, new: &mut Value, old: &Value) {
    if !content_differs(kind, new, old) {
        return;
    }
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
    new["metadata"]["generation"] = (generation + 1).into();
}

fn content_differs(kind: &Kind, new: &Value, old: &Value) -> bool {
    let meta_differs = |fields: &[&str]| {
        fields
            .iter()
            .any(|field| new["metadata"].get(*field) != old["metadata"].get(*field))
    };
    let more = match kind.name {
        "Deployment" => meta_differs(&["annotations"]),
        "EndpointSlice" => meta_differs(&["labels", "annotations"]),
        _ => false,
    };
    if more {
        return true;
    }
    if new.get("spec").is_some() || old.get("spec").is_some() {
        return new.get("spec") != old.get("spec");
    }
    let content = |object: &Value| -> Vec<(String, Value)> {
        let fields = object.as_object().into_iter().flatten();
        fields
            .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    content(new) != content(old)
}

/// An object that was marked goes with its last finalizer.
fn is_ready_to_go(kind: &Kind, new: &Value) -> bool {
    let meta = &new["metadata"];
    let is_held = kind.storage == "namespaces" && !strings(&new["spec"]["finalizers"]).is_empty();
    !meta["deletionTimestamp"].is_null()
        && strings(&meta["finalizers"]).is_empty()
        && matches!(meta["deletionGracePeriodSeconds"].as_i64(), None | Some(0))
        && !is_held
}
