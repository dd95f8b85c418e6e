//! `delete` and `deletecollection`.
//!
//! [`fate`] decides, purely, whether an object goes at once, is marked and stays for a while, or stays as it is.

use super::{
    Request, convert,
    list::presented,
    metadata::{strings, text},
    selection::Selection,
    write::Refusal,
};
use crate::{
    api::{
        ApiError,
        call::{Body, DeleteOptions, List, Options, Outcome, Propagation, Reply, Verb},
        name::group_version,
        time,
    },
    apiserver::admission::{self, Attempt, Operation},
    kinds::{Grace, Kind},
    store::{Entry, Expect},
    task::clock,
};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Deletions of one collection that are under way at a time: enough to share a flush of the disk.
const PARALLEL: usize = 64;
const NAMESPACE_BUSY: &str = "The system is ensuring all content is removed from this namespace.  Upon completion, this namespace will automatically be purged by the system.";

/// Kinds whose last state is the answer to their deletion; others answer a `Status`.
const ANSWERED_WHOLE: &[&str] = &[
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "volumeattributesclasses.storage.k8s.io",
    "deviceclasses.resource.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "resourceslices.resource.k8s.io",
];

/// What a DELETE does to an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fate {
    Remove,
    /// Write this and wait for finalizers, the node, or the namespace controller.
    Mark(Value),
    /// It is being deleted already and nothing changes.
    Stay,
}

/// `now` is in whole seconds.
pub(super) fn fate(
    kind: &Kind,
    old: &Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<Fate, &'static str> {
    let mut new = old.clone();
    if kind.storage == "namespaces" {
        return namespace_fate(old, new, now);
    }
    let is_dying = !old["metadata"]["deletionTimestamp"].is_null();
    let pending = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let grace = grace_seconds(kind, old, options);
    let is_graceful = kind.grace == Grace::Pod && !(is_dying && pending.is_none());
    if is_graceful && is_dying {
        // A second request may only shorten the time.
        let pending = pending.unwrap_or(0);
        match options.grace_period_seconds.map(|_| grace) {
            Some(grace) if grace < pending => {
                let shorter = SignedDuration::from_secs(pending - grace);
                let deadline = text(&old["metadata"], "deletionTimestamp")
                    .parse()
                    .unwrap_or(now);
                let deadline: Timestamp = deadline - shorter;
                new["metadata"]["deletionTimestamp"] = time::format(deadline).into();
                new["metadata"]["deletionGracePeriodSeconds"] = grace.into();
            }
            _ => return Ok(Fate::Stay),
        }
    }
    let finalizers = finalizers_after(kind, old, options);
    if finalizers.is_empty() && (!is_graceful || grace == 0) {
        return Ok(Fate::Remove);
    }
    let meta = &mut new["metadata"];
    if !is_dying {
        let deadline = now + SignedDuration::from_secs(grace);
        meta["deletionTimestamp"] = time::format(deadline).into();
        meta["deletionGracePeriodSeconds"] = grace.into();
        if let Some(generation) = meta["generation"].as_i64().filter(|&n| n > 0) {
            meta["generation"] = (generation + 1).into();
        }
    }
    match (finalizers.is_empty(), meta.as_object_mut()) {
        (true, Some(meta)) => drop(meta.remove("finalizers")),
        _ => meta["finalizers"] = finalizers.into(),
    }
    Ok(if new == *old {
        Fate::Stay
    } else {
        Fate::Mark(new)
    })
}

fn namespace_fate(old: &Value, mut new: Value, now: Timestamp) -> Result<Fate, &'static str> {
    let is_held = !strings(&old["spec"]["finalizers"]).is_empty();
    if !old["metadata"]["deletionTimestamp"].is_null() {
        let is_finalized = strings(&old["metadata"]["finalizers"]).is_empty();
        return match (is_held, is_finalized) {
            (true, _) => Err(NAMESPACE_BUSY),
            (false, true) => Ok(Fate::Remove),
            (false, false) => Ok(Fate::Stay),
        };
    }
    if !is_held && strings(&old["metadata"]["finalizers"]).is_empty() {
        return Ok(Fate::Remove);
    }
    new["metadata"]["deletionTimestamp"] = time::format(now).into();
    new["status"]["phase"] = "Terminating".into();
    Ok(Fate::Mark(new))
}

/// Zero for everything but pods that run on a node.
fn grace_seconds(kind: &Kind, old: &Value, options: &DeleteOptions) -> i64 {
    if kind.grace != Grace::Pod {
        return 0;
    }
    let is_over = matches!(text(&old["status"], "phase"), "Succeeded" | "Failed");
    if text(&old["spec"], "nodeName").is_empty() || is_over {
        return 0;
    }
    let own = old["spec"]["terminationGracePeriodSeconds"].as_i64();
    match options.grace_period_seconds.or(own).unwrap_or(30) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// The finalizers with those of the garbage collector set as the request wants.
fn finalizers_after(kind: &Kind, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let held = strings(&old["metadata"]["finalizers"]);
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(policy)) => (
            policy == Propagation::Orphan,
            policy == Propagation::Foreground,
        ),
        (None, None) if held.contains(&ORPHAN) => (true, false),
        (None, None) if held.contains(&FOREGROUND) => (false, true),
        (None, None) => (kind.default_propagation == Propagation::Orphan, false),
    };
    let mut finalizers: Vec<String> = held
        .into_iter()
        .filter(|one| ![ORPHAN, FOREGROUND].contains(one))
        .map(str::to_owned)
        .collect();
    // Events own nothing.
    if kind.storage != "events" {
        finalizers.extend(orphan.then(|| ORPHAN.to_owned()));
        finalizers.extend(foreground.then(|| FOREGROUND.to_owned()));
    }
    finalizers
}

pub(super) async fn delete(request: &mut Request<'_>) -> Result<Reply, ApiError> {
    check_options(&request.options.delete)?;
    loop {
        let entry = request.entry()?;
        match delete_entry(request, &entry).await {
            Ok(reply) => return Ok(reply),
            Err(Refusal::Raced) => {}
            Err(Refusal::Failed(error)) => return Err(error),
        }
    }
}

fn check_options(options: &DeleteOptions) -> Result<(), ApiError> {
    let (Some(_), Some(policy)) = (options.orphan_dependents, options.propagation) else {
        return Ok(());
    };
    let found = super::finding::invalid(
        "propagationPolicy",
        &format!("{policy:?}").into(),
        "orphanDependents and deletionPropagation cannot be both set",
    );
    Err(ApiError::invalid("", "DeleteOptions", "", vec![found]))
}

async fn delete_entry(request: &Request<'_>, entry: &Entry) -> Result<Reply, Refusal> {
    let kind = request.kind;
    let old = convert::parse(&entry.bytes, kind).map_err(Refusal::Failed)?;
    check_preconditions(request, &old).map_err(Refusal::Failed)?;
    let attempt = Attempt::new(request, Operation::Delete, Some(&old));
    let mut seen = Value::Null;
    let judged = async {
        admission::mutate(&attempt, &mut seen).await?;
        admission::review(&attempt, &Value::Null).await?;
        admission::validate(&attempt, &old)
    };
    judged.await.map_err(Refusal::Failed)?;
    let now = clock::now();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let fate = fate(kind, &old, &request.options.delete, now).map_err(|why| {
        Refusal::Failed(ApiError::conflict(&request.resource, &request.name, why))
    })?;
    let registry = request.registry;
    let is_dry = request.options.dry_run;
    match fate {
        Fate::Stay => whole(presented(entry, kind)),
        Fate::Mark(new) if is_dry => whole(Ok(new.to_string().into())),
        Fate::Mark(new) => {
            let expect = Expect::Modified(entry.modified);
            let written = registry.put(kind, &entry.key, expect, &new).await?;
            whole(presented(&written.entry, kind))
        }
        Fate::Remove => {
            if !is_dry {
                registry.remove(kind, &entry.key, entry.modified).await?;
            }
            if ANSWERED_WHOLE.contains(&kind.storage) {
                return whole(presented(entry, kind));
            }
            Ok(success(request, &old))
        }
    }
}

fn whole(bytes: Result<bytes::Bytes, ApiError>) -> Result<Reply, Refusal> {
    let bytes = bytes.map_err(Refusal::Failed)?;
    Ok(Outcome::Object {
        bytes,
        created: false,
    }
    .into())
}

fn check_preconditions(request: &Request<'_>, old: &Value) -> Result<(), ApiError> {
    let options = &request.options.delete;
    let meta = &old["metadata"];
    for (what, wanted, field) in [
        ("UID", &options.uid, "uid"),
        (
            "ResourceVersion",
            &options.resource_version,
            "resourceVersion",
        ),
    ] {
        let found = text(meta, field);
        if let Some(wanted) = wanted.as_deref().filter(|&wanted| wanted != found) {
            let why = match what {
                "UID" => format!(
                    "the UID in the precondition ({wanted}) does not match the UID in record ({found}). The object might have been deleted and then recreated"
                ),
                _ => format!(
                    "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({found}). The object might have been modified"
                ),
            };
            return Err(ApiError::conflict(&request.resource, &request.name, &why));
        }
    }
    Ok(())
}

fn success(request: &Request<'_>, old: &Value) -> Reply {
    let mut details = json!({
        "name": request.name,
        "kind": request.resource.resource,
        "uid": old["metadata"]["uid"],
    });
    if !request.resource.group.is_empty() {
        details["group"] = request.resource.group.as_ref().into();
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    });
    Outcome::Status {
        code: 200,
        bytes: status.to_string().into(),
    }
    .into()
}

/// Every object for itself: what vanishes meanwhile is passed over.
pub(super) async fn delete_collection(request: &mut Request<'_>) -> Result<Reply, ApiError> {
    check_options(&request.options.delete)?;
    let kind = request.kind;
    let selection = Selection::parse(kind, &request.namespace, &request.options)?;
    let snapshot = request.registry.store.snapshot();
    let prefix = selection.prefix(kind);
    let limit = request.options.limit.filter(|&limit| limit > 0);
    let limit = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let victims: Vec<Entry> = snapshot
        .range(&prefix, None)
        .filter(|entry| selection.matches(entry))
        .take(limit)
        .cloned()
        .collect();
    // Not a buffered stream: its closure would keep the future from being `Send` for all lifetimes.
    for some in victims.chunks(PARALLEL) {
        let results = join_all(some.iter().map(|victim| delete_one(request, victim))).await;
        results.into_iter().collect::<Result<(), ApiError>>()?;
    }
    let items: Result<Vec<_>, ApiError> =
        victims.iter().map(|entry| presented(entry, kind)).collect();
    Ok(Outcome::List(List {
        api_version: group_version(kind.group, kind.version),
        kind: format!("{}List", kind.name),
        revision: request.registry.store.revision(),
        items: items?,
        ..List::default()
    })
    .into())
}

async fn delete_one(request: &Request<'_>, victim: &Entry) -> Result<(), ApiError> {
    let (namespace, name) = super::place::parts(&victim.key);
    let options = request.options.delete.clone();
    match delete_named(request, namespace, name, options).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Deletes an object of the request's kind on behalf of the same user.
async fn delete_named(
    request: &Request<'_>,
    namespace: &str,
    name: &str,
    options: DeleteOptions,
) -> Result<Reply, ApiError> {
    let mut one = Request {
        registry: request.registry,
        user: request.user,
        verb: Verb::Delete,
        kind: request.kind,
        resource: request.resource.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: None,
        body: Body::None,
        options: Options {
            delete: options,
            dry_run: request.options.dry_run,
            ..Options::default()
        },
        warnings: Vec::new(),
    };
    delete(&mut one).await
}

impl Request<'_> {
    /// Deletes the request's object: what an eviction comes to.
    pub async fn delete_again(&self, options: DeleteOptions) -> Result<Reply, ApiError> {
        delete_named(self, &self.namespace, &self.name, options).await
    }
}
