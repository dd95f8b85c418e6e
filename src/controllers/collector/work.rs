//! Finds out about owners, decides, acts; several objects at once.

use super::decide::{FOREGROUND, Fate, ORPHAN, Step, of_deleting, of_living};
use crate::{
    api::{
        ApiError,
        call::{Body, Call, Outcome, PatchKind, Propagation, Verb},
        name::{Key, split_api_version},
    },
    client::{Client, WorkQueue},
    controllers::{
        ControllerContext,
        inventory::{self, Inventory, Item, Owner},
    },
    kinds::{self, Kind},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tracing::debug;

const IDENTITY: &str = "generic-garbage-collector";
/// Objects in work at the same time.
const TOGETHER_MAX: usize = 32;
/// Owners known to be gone for good; the oldest are forgotten first.
const ABSENT_MAX: usize = 500;
/// Until the inventory has caught up with the write that was in the way.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

pub fn start(ctx: &ControllerContext) {
    let collector = Collector {
        client: ctx.client_of(IDENTITY),
        inventory: ctx.inventory.clone(),
        queue: WorkQueue::named("garbage_collector"),
        absent: Mutex::default(),
    };
    let mut stop = ctx.tasks.stop_signal();
    ctx.tasks.spawn(IDENTITY, async move {
        tokio::select! {
            () = collector.run() => {}
            // Every write stands alone; the next start finds the rest.
            () = stop.stopped() => {}
        }
    });
}

struct Collector {
    client: Client,
    inventory: Inventory,
    queue: WorkQueue<String>,
    absent: Mutex<Absent>,
}

#[derive(Default)]
struct Absent {
    uids: HashSet<String>,
    order: VecDeque<String>,
}

impl Collector {
    async fn run(&self) {
        self.inventory.synced().await;
        let (queue, inventory) = (self.queue.clone(), self.inventory.clone());
        self.inventory.on_change(Box::new(move |old, new| {
            for uid in concerned(&inventory, old, new) {
                queue.add(uid);
            }
        }));
        for item in self.inventory.all() {
            if is_of_interest(&item) {
                self.queue.add(item.uid.clone());
            }
        }
        let mut in_work = FuturesUnordered::new();
        loop {
            tokio::select! {
                uid = self.queue.next(), if in_work.len() < TOGETHER_MAX => in_work.push(self.pass(uid)),
                Some(()) = in_work.next() => {}
            }
        }
    }

    async fn pass(&self, uid: String) {
        let result = match self.inventory.get(&uid) {
            Some(item) => self.look_at(&item).await,
            None => Ok(()),
        };
        self.queue.done(&uid);
        match result {
            Ok(()) => self.queue.forget(&uid),
            Err(failure) if failure.is_conflict() => self.queue.add_after(uid, CONFLICT_PAUSE),
            Err(failure) => {
                debug!(%uid, %failure, "collect");
                self.queue.retry(uid);
            }
        }
    }

    async fn look_at(&self, item: &Item) -> Result<(), ApiError> {
        let dependents = self.inventory.dependents(&item.uid);
        let dependents: Vec<&Item> = dependents.iter().map(AsRef::as_ref).collect();
        let step = if item.is_deleting {
            of_deleting(item, &dependents)
        } else {
            let mut fates = Vec::new();
            for owner in &item.owners {
                fates.push(self.fate(item, owner).await?);
            }
            of_living(item, &fates, &dependents)
        };
        match step {
            Step::Keep => Ok(()),
            Step::Trim(owners) => self.set_owners(item, &owners).await,
            Step::Delete(propagation) => self.delete(item, propagation).await,
            Step::UnblockAndDelete => {
                let mut owners = item.owners.clone();
                for owner in &mut owners {
                    owner.block_owner_deletion = Some(false);
                }
                self.set_owners(item, &owners).await?;
                // The revision has moved: the delete goes by uid alone.
                let mut item = item.clone();
                item.revision.clear();
                self.delete(&item, Propagation::Foreground).await
            }
            Step::Orphan => {
                for dependent in &dependents {
                    let mut owners = dependent.owners.clone();
                    owners.retain(|owner| owner.uid != item.uid);
                    self.set_owners(dependent, &owners).await?;
                }
                self.drop_finalizer(item, ORPHAN).await
            }
            Step::Foreground(uids) if uids.is_empty() => {
                self.drop_finalizer(item, FOREGROUND).await
            }
            Step::Foreground(uids) => {
                uids.into_iter().for_each(|uid| self.queue.add(uid));
                Ok(())
            }
        }
    }

    async fn fate(&self, item: &Item, owner: &Owner) -> Result<Fate, ApiError> {
        let Some(kind) = kind_of(owner) else {
            return Ok(Fate::Invalid);
        };
        if kind.is_namespaced() && item.key.namespace.is_empty() {
            return Ok(Fate::Invalid);
        }
        let namespace = if kind.is_namespaced() {
            item.key.namespace.as_str()
        } else {
            ""
        };
        let key = Key::new(namespace, owner.name.clone());
        let fate = |is_deleting: bool, is_foreground: bool| match is_deleting && is_foreground {
            true => Fate::Waiting,
            false => Fate::Solid,
        };
        if let Some(known) = self.inventory.get(&owner.uid)
            && known.key == key
            && known.kind.storage == kind.storage
        {
            return Ok(fate(known.is_deleting, known.has_finalizer(FOREGROUND)));
        }
        if self.is_known_absent(&owner.uid) {
            return Ok(Fate::Absent);
        }
        match self.read(kind, &key).await? {
            Some(live) if live.uid == owner.uid => {
                let is_foreground = live.finalizers.iter().any(|one| one == FOREGROUND);
                Ok(fate(live.deletion_timestamp.is_some(), is_foreground))
            }
            _ => {
                self.remember_absent(&owner.uid);
                Ok(Fate::Absent)
            }
        }
    }

    async fn read(&self, kind: &Kind, key: &Key) -> Result<Option<Live>, ApiError> {
        let call = Call::new(Verb::Get, inventory::resource(kind)).named(&key.namespace, &key.name);
        match self.client.call(call).await {
            Ok(reply) => match reply.outcome {
                Outcome::Object { bytes, .. } => {
                    let object: Object =
                        serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
                    Ok(Some(object.metadata))
                }
                other => Err(ApiError::internal(format!("unexpected answer: {other:?}"))),
            },
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn set_owners(&self, item: &Item, owners: &[Owner]) -> Result<(), ApiError> {
        let owners: Vec<Value> = owners.iter().map(to_value).collect();
        self.patch(item, json!({"ownerReferences": owners})).await
    }

    async fn drop_finalizer(&self, item: &Item, name: &str) -> Result<(), ApiError> {
        let left: Vec<&String> = item.finalizers.iter().filter(|one| *one != name).collect();
        self.patch(item, json!({"finalizers": left})).await
    }

    /// Lists are replaced as a whole, so the patch names the revision they were read at.
    async fn patch(&self, item: &Item, mut meta: Value) -> Result<(), ApiError> {
        meta["uid"] = item.uid.as_str().into();
        meta["resourceVersion"] = item.revision.as_str().into();
        let patch = Bytes::from(json!({"metadata": meta}).to_string());
        let mut call =
            Call::new(Verb::Patch, item.resource()).named(&item.key.namespace, &item.key.name);
        call.body = Body::Patch(PatchKind::Merge, patch);
        gone_is_fine(self.client.call(call).await.map(drop))
    }

    async fn delete(&self, item: &Item, propagation: Propagation) -> Result<(), ApiError> {
        let mut call =
            Call::new(Verb::Delete, item.resource()).named(&item.key.namespace, &item.key.name);
        call.options.delete.uid = Some(item.uid.clone());
        call.options.delete.resource_version =
            Some(item.revision.clone()).filter(|text| !text.is_empty());
        call.options.delete.propagation = Some(propagation);
        gone_is_fine(self.client.call(call).await.map(drop))
    }

    fn is_known_absent(&self, uid: &str) -> bool {
        self.absent
            .lock()
            .expect("no panic while locked")
            .uids
            .contains(uid)
    }

    /// A uid never comes back.
    fn remember_absent(&self, uid: &str) {
        let mut absent = self.absent.lock().expect("no panic while locked");
        if absent.uids.insert(uid.to_owned()) {
            absent.order.push_back(uid.to_owned());
        }
        if absent.order.len() > ABSENT_MAX
            && let Some(oldest) = absent.order.pop_front()
        {
            absent.uids.remove(&oldest);
        }
    }
}

/// Whom a change concerns: the object itself; its dependents when it went or began to wait for them; its owners when
/// they may be waiting for it.
fn concerned(inventory: &Inventory, old: Option<&Item>, new: Option<&Item>) -> Vec<String> {
    let mut uids = Vec::new();
    match (old, new) {
        (_, Some(new)) => {
            if is_of_interest(new) {
                uids.push(new.uid.clone());
            }
            // Blocking may have ended without the object going.
            if old.is_some_and(|old| old.owners != new.owners) {
                uids.extend(waiting_owners(inventory, old.into_iter().chain([new])));
            }
        }
        (Some(old), None) => {
            let dependents = inventory.dependents(&old.uid);
            uids.extend(dependents.iter().map(|one| one.uid.clone()));
            uids.extend(waiting_owners(inventory, [old].into_iter()));
        }
        (None, None) => {}
    }
    uids
}

fn waiting_owners<'a>(
    inventory: &'a Inventory,
    items: impl Iterator<Item = &'a Item> + 'a,
) -> impl Iterator<Item = String> + 'a {
    let owners = items.flat_map(|item| &item.owners);
    let known = owners.filter_map(|owner| inventory.get(&owner.uid));
    known
        .filter(|owner: &Arc<Item>| owner.is_deleting)
        .map(|owner| owner.uid.clone())
}

fn is_of_interest(item: &Item) -> bool {
    if item.is_deleting {
        item.has_finalizer(FOREGROUND) || item.has_finalizer(ORPHAN)
    } else {
        !item.owners.is_empty()
    }
}

fn kind_of(owner: &Owner) -> Option<&'static Kind> {
    let (group, version) = split_api_version(&owner.api_version);
    kinds::find_kind(group, version, &owner.kind)
}

fn to_value(owner: &Owner) -> Value {
    let mut value = json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
    });
    if let Some(controller) = owner.controller {
        value["controller"] = controller.into();
    }
    if let Some(blocks) = owner.block_owner_deletion {
        value["blockOwnerDeletion"] = blocks.into();
    }
    value
}

fn gone_is_fine(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(failure) if failure.is_not_found() => Ok(()),
        other => other,
    }
}

#[derive(Deserialize)]
struct Object {
    metadata: Live,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Live {
    uid: String,
    deletion_timestamp: Option<String>,
    #[serde(default)]
    finalizers: Vec<String>,
}
