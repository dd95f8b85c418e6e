//! Empties namespaces that are being deleted: pods first, then everything else, then the namespace itself.
//!
//! What is left is listed live on every pass: the streams of kinds are not in step, and a namespace must not go while
//! something is in it. Passes follow changes inside the namespace; nothing is polled.

use super::{
    ControllerContext,
    framework::stamp,
    inventory::{self, Inventory},
};
use crate::{
    api::{
        ApiError,
        call::{Body, Call, Document, Outcome, Verb},
        name::{Gvr, Key},
        object::Object,
    },
    client::{Cache, Client, WorkQueue},
    kinds::Kind,
    task::clock,
};
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tracing::debug;

const IDENTITY: &str = "namespace-controller";
const FINALIZER: &str = "kubernetes";
/// Namespaces in work at the same time.
const TOGETHER_MAX: usize = 8;
/// Changes inside a namespace are gathered that long before it is looked at again.
const GATHER: Duration = Duration::from_millis(20);

pub fn start(ctx: &ControllerContext) {
    let work = Work {
        client: ctx.client_of(IDENTITY),
        namespaces: ctx.informers.cache(),
        inventory: ctx.inventory.clone(),
        queue: WorkQueue::named("namespace"),
        kinds: inventory::kinds()
            .into_iter()
            .filter(|kind| kind.is_namespaced())
            .collect(),
    };
    let mut stop = ctx.tasks.stop_signal();
    ctx.tasks.spawn(IDENTITY, async move {
        tokio::select! {
            () = work.run() => {}
            // Every write stands alone; the next start finds the rest.
            () = stop.stopped() => {}
        }
    });
}

/// What one kind has in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rest {
    /// `pods.`, `deployments.apps`: as upstream's messages name it.
    resource: String,
    count: usize,
    finalizers: BTreeMap<String, usize>,
}

struct Work {
    client: Client,
    namespaces: Cache<Namespace>,
    inventory: Inventory,
    queue: WorkQueue<String>,
    kinds: Vec<&'static Kind>,
}

impl Work {
    async fn run(&self) {
        self.namespaces.synced().await;
        let queue = self.queue.clone();
        self.namespaces.on_change(move |_, new| {
            if let Some(new) = new.filter(|new| new.is_deleting()) {
                queue.add(new.key().name);
            }
        });
        let (queue, namespaces) = (self.queue.clone(), self.namespaces.clone());
        self.inventory.on_change(Box::new(move |old, new| {
            let Some(item) = old.or(new) else { return };
            let namespace = namespaces.get(&Key::new("", item.key.namespace.clone()));
            if namespace.is_some_and(|namespace| namespace.is_deleting()) {
                queue.add_after(item.key.namespace.clone(), GATHER);
            }
        }));
        let mut in_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                name = self.queue.next(), if in_work.len() < TOGETHER_MAX => in_work.push(self.pass(name)),
                Some(()) = in_work.next() => {}
            }
        }
    }

    async fn pass(&self, name: String) {
        let namespace = self.namespaces.get(&Key::new("", name.clone()));
        let result = match namespace.filter(|namespace| namespace.is_deleting()) {
            Some(namespace) => self.empty(&namespace).await,
            None => Ok(false),
        };
        self.queue.done(&name);
        match result {
            Ok(again) => {
                self.queue.forget(&name);
                if again {
                    self.queue.add_after(name, GATHER);
                }
            }
            Err(failure) => {
                debug!(namespace = name, %failure, "empty a namespace");
                self.queue.retry(name);
            }
        }
    }

    /// Whether to look again although nothing may change.
    async fn empty(&self, namespace: &Namespace) -> Result<bool, ApiError> {
        let name = namespace.key().name;
        let finalizers = namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.clone())
            .unwrap_or_default();
        if !finalizers.iter().any(|one| one == FINALIZER) {
            return Ok(false);
        }
        let found = self.survey(&name).await?;
        let goals = goals(&found);
        let deletions = goals
            .iter()
            .map(|resource| self.delete_all(&name, resource));
        let failures: Vec<String> = join_all(deletions).await.into_iter().flatten().collect();
        let left = if goals.is_empty() {
            found
        } else {
            self.survey(&name).await?
        };
        let rests: Vec<Rest> = left
            .into_iter()
            .map(|(_, rest)| rest)
            .filter(|rest| rest.count > 0)
            .collect();
        if rests.is_empty() && failures.is_empty() {
            self.finalize(namespace, &finalizers).await?;
            return Ok(false);
        }
        self.report(namespace, &rests, &failures).await?;
        // Pods that went at once let the rest go at once.
        let pods_went =
            goals.iter().any(is_pods) && !rests.iter().any(|rest| rest.resource == "pods.");
        if !failures.is_empty() {
            return Err(ApiError::internal(failures.join("; ")));
        }
        Ok(pods_went)
    }

    /// What each kind has in the namespace.
    async fn survey(&self, name: &str) -> Result<Vec<(Gvr, Rest)>, ApiError> {
        let surveys = self.kinds.iter().map(|kind| async move {
            let resource = inventory::resource(kind);
            let call = Call::new(Verb::List, resource.clone()).named(name, "");
            match self.client.call(call).await?.outcome {
                Outcome::List(list) => Ok((resource.clone(), rest(&resource, &list.items))),
                other => Err(ApiError::internal(format!("unexpected answer: {other:?}"))),
            }
        });
        join_all(surveys).await.into_iter().collect()
    }

    /// The failure, if there is one.
    async fn delete_all(&self, namespace: &str, resource: &Gvr) -> Option<String> {
        let call = Call::new(Verb::DeleteCollection, resource.clone()).named(namespace, "");
        self.client
            .call(call)
            .await
            .err()
            .map(|failure| failure.message)
    }

    async fn report(
        &self,
        namespace: &Namespace,
        rests: &[Rest],
        failures: &[String],
    ) -> Result<(), ApiError> {
        let old = namespace.status.clone().unwrap_or_default();
        let conditions = conditions(&old, rests, failures, clock::now());
        let status = NamespaceStatus {
            phase: Some("Terminating".to_owned()),
            conditions: Some(conditions),
        };
        if status == old {
            return Ok(());
        }
        let status = Some(status);
        let written = self
            .client
            .update_status(&Namespace {
                status,
                ..namespace.clone()
            })
            .await;
        match written {
            // Whoever changed it wakes us again.
            Err(failure) if failure.is_conflict() || failure.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    async fn finalize(&self, namespace: &Namespace, finalizers: &[String]) -> Result<(), ApiError> {
        let left: Vec<&String> = finalizers.iter().filter(|one| *one != FINALIZER).collect();
        let mut body = serde_json::to_value(namespace).map_err(ApiError::internal)?;
        body["spec"]["finalizers"] = json!(left);
        let mut call = Call::new(Verb::Update, Namespace::gvr()).named("", &namespace.key().name);
        call.subresource = Some("finalize".to_owned());
        call.body = Body::Document(Document {
            value: body,
            duplicates: Vec::new(),
        });
        match self.client.call(call).await {
            Err(failure) if !failure.is_not_found() => Err(failure),
            _ => Ok(()),
        }
    }
}

fn is_pods(resource: &Gvr) -> bool {
    resource.group.is_empty() && resource.resource == "pods"
}

/// What to delete now: pods alone while there are any, since they may need the rest while they end.
fn goals(found: &[(Gvr, Rest)]) -> Vec<Gvr> {
    let present = found
        .iter()
        .filter(|(_, rest)| rest.count > 0)
        .map(|(resource, _)| resource);
    let all: Vec<Gvr> = present.cloned().collect();
    match all.iter().find(|resource| is_pods(resource)) {
        Some(pods) => vec![pods.clone()],
        None => all,
    }
}

fn rest(resource: &Gvr, items: &[Bytes]) -> Rest {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        finalizers: Option<Vec<String>>,
    }
    let mut rest = Rest {
        resource: format!("{}.{}", resource.resource, resource.group),
        count: items.len(),
        finalizers: BTreeMap::new(),
    };
    let objects = items
        .iter()
        .filter_map(|item| serde_json::from_slice::<Object>(item).ok());
    for finalizer in objects.flat_map(|object| object.metadata.finalizers.unwrap_or_default()) {
        *rest.finalizers.entry(finalizer).or_default() += 1;
    }
    rest
}

/// The five conditions of a namespace that does not go, in upstream's words.
fn conditions(
    old: &NamespaceStatus,
    rests: &[Rest],
    failures: &[String],
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let remaining: Vec<String> = rests
        .iter()
        .map(|rest| format!("{} has {} resource instances", rest.resource, rest.count))
        .collect();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, count) in rests.iter().flat_map(|rest| &rest.finalizers) {
        *finalizers.entry(name).or_default() += count;
    }
    let held: Vec<String> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let all = CONDITIONS.iter().map(|row| match row.type_ {
        "NamespaceDeletionContentFailure" if !failures.is_empty() => {
            let texts = failures.join(", ");
            let count = failures.len();
            (
                row,
                Some(format!(
                    "Failed to delete all resource types, {count} remaining: {texts}"
                )),
            )
        }
        "NamespaceContentRemaining" if !remaining.is_empty() => (
            row,
            Some(format!(
                "Some resources are remaining: {}",
                remaining.join(", ")
            )),
        ),
        "NamespaceFinalizersRemaining" if !held.is_empty() => {
            let texts = held.join(", ");
            (
                row,
                Some(format!(
                    "Some content in the namespace has finalizers remaining: {texts}"
                )),
            )
        }
        _ => (row, None),
    });
    let known = old.conditions.as_deref().unwrap_or_default();
    all.map(|(row, problem)| {
        let status = if problem.is_some() { "True" } else { "False" };
        let reason = if problem.is_some() { row.bad } else { row.good };
        let same = known
            .iter()
            .find(|one| one.type_ == row.type_ && one.status == status);
        NamespaceCondition {
            type_: row.type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(problem.unwrap_or_else(|| row.message.to_owned())),
            last_transition_time: same
                .and_then(|one| one.last_transition_time.clone())
                .or_else(|| Some(stamp(now))),
        }
    })
    .collect()
}

/// One condition of a namespace that is going: its reasons, and the text when there is no problem.
struct Row {
    type_: &'static str,
    good: &'static str,
    bad: &'static str,
    message: &'static str,
}

const CONDITIONS: &[Row] = &[
    Row {
        type_: "NamespaceDeletionDiscoveryFailure",
        good: "ResourcesDiscovered",
        bad: "DiscoveryFailed",
        message: "All resources successfully discovered",
    },
    Row {
        type_: "NamespaceDeletionGroupVersionParsingFailure",
        good: "ParsedGroupVersions",
        bad: "GroupVersionParsingFailed",
        message: "All legacy kube types successfully parsed",
    },
    Row {
        type_: "NamespaceDeletionContentFailure",
        good: "ContentDeleted",
        bad: "ContentDeletionFailed",
        message: "All content successfully deleted, may be waiting on finalization",
    },
    Row {
        type_: "NamespaceContentRemaining",
        good: "ContentRemoved",
        bad: "SomeResourcesRemain",
        message: "All content successfully removed",
    },
    Row {
        type_: "NamespaceFinalizersRemaining",
        good: "ContentHasNoFinalizers",
        bad: "SomeFinalizersRemain",
        message: "All content-preserving finalizers finished",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(counts: &[(&'static str, usize)]) -> Vec<(Gvr, Rest)> {
        let one = |(plural, count): &(&'static str, usize)| {
            let rest = Rest {
                resource: format!("{plural}."),
                count: *count,
                ..Rest::default()
            };
            (Gvr::new("", "v1", plural), rest)
        };
        counts.iter().map(one).collect()
    }

    #[test]
    fn pods_go_before_everything_else() {
        let names = |counts: &[(&'static str, usize)]| -> Vec<String> {
            goals(&found(counts))
                .iter()
                .map(|resource| resource.resource.to_string())
                .collect()
        };
        assert_eq!(
            names(&[("configmaps", 1), ("pods", 2), ("secrets", 0)]),
            ["pods"]
        );
        assert_eq!(
            names(&[("configmaps", 1), ("pods", 0), ("secrets", 3)]),
            ["configmaps", "secrets"]
        );
    }

    #[test]
    fn what_remains_is_told_in_upstreams_words() {
        let items = [Bytes::from_static(
            br#"{"metadata":{"finalizers":["example.com/hold"]}}"#,
        )];
        let rests = [rest(&Gvr::new("", "v1", "pods"), &items)];
        let all = conditions(
            &NamespaceStatus::default(),
            &rests,
            &[],
            Timestamp::UNIX_EPOCH,
        );
        let told = |n: usize| {
            (
                all[n].status.as_str(),
                all[n].reason.clone().unwrap(),
                all[n].message.clone().unwrap(),
            )
        };
        assert_eq!(
            told(3),
            (
                "True",
                "SomeResourcesRemain".into(),
                "Some resources are remaining: pods. has 1 resource instances".into()
            )
        );
        assert_eq!(
            told(4).2,
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        assert_eq!(
            told(0),
            (
                "False",
                "ResourcesDiscovered".into(),
                "All resources successfully discovered".into()
            )
        );
    }
}
