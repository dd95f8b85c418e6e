//! The way into the store, and what the server itself learns from each write.

use super::{
    Registry, convert,
    document::{Index, Template, storage_kind},
    expiry, place,
};
use crate::{
    api::ApiError,
    kinds::Kind,
    store::{Durability, Entry, Expect, Note, Write, WriteError, Written},
    task::clock,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

const ROLES: &str = "roles.rbac.authorization.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const SERVICES: &str = "services";
const SERVICE_CIDRS: &str = "servicecidrs.networking.k8s.io";
const EVENTS: &str = "events";

/// Kinds whose objects the server keeps an index of.
const OBSERVED: &[&str] = &[
    ROLES,
    CLUSTER_ROLES,
    BINDINGS,
    CLUSTER_BINDINGS,
    SERVICES,
    SERVICE_CIDRS,
    EVENTS,
];

/// What a write met.
#[derive(Debug)]
pub(in crate::apiserver) enum Refusal {
    /// Somebody else wrote in between; look again.
    Raced,
    Failed(ApiError),
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Refusal {
        match error {
            WriteError::Unavailable(why) => Refusal::Failed(ApiError::internal(why)),
            _ => Refusal::Raced,
        }
    }
}

impl Registry {
    /// Writes a whole object of `kind`, in its stored version.
    pub(in crate::apiserver) async fn put(
        &self,
        kind: &Kind,
        key: &str,
        expect: Expect,
        document: &Value,
    ) -> Result<Written, Refusal> {
        let stored = storage_kind(kind.storage).unwrap_or(kind);
        let (template, index) = if convert::is_view(kind) {
            let mut converted = document.clone();
            convert::to_stored(&mut converted, kind, stored);
            encode(&converted, stored)
        } else {
            encode(document, stored)
        };
        let durability = match kind.storage {
            // A heartbeat need not wake the disk.
            "leases.coordination.k8s.io" => Durability::Lazy,
            _ => Durability::Durable,
        };
        let written = self.store.write(Write {
            key: key.into(),
            expect,
            encode: Some(Box::new(move |revision| {
                (template.stamped(revision), Arc::new(index) as Note)
            })),
            durability,
        });
        let written = written.await?;
        self.observe(kind.storage, key);
        Ok(written)
    }

    /// Removes an object that was last written at `modified`.
    pub(in crate::apiserver) async fn remove(
        &self,
        kind: &Kind,
        key: &str,
        modified: u64,
    ) -> Result<Written, Refusal> {
        let written = self.store.write(Write {
            key: key.into(),
            expect: Expect::Modified(modified),
            encode: None,
            durability: Durability::Durable,
        });
        let written = written.await?;
        self.observe(kind.storage, key);
        Ok(written)
    }

    /// Changes a stored object on the server's own account: no admission, no validation. `missing` is the error when
    /// there is none; a refusal of `change` is passed on. Answers the object as it is now.
    pub(in crate::apiserver) async fn edit(
        &self,
        kind: &Kind,
        key: &str,
        missing: ApiError,
        change: impl Fn(&mut Value) -> Result<(), ApiError>,
    ) -> Result<Value, ApiError> {
        loop {
            let Some(entry) = self.store.get(key) else {
                return Err(missing);
            };
            let old = convert::parse(&entry.bytes, kind)?;
            let mut new = old.clone();
            change(&mut new)?;
            if new == old {
                return Ok(old);
            }
            let expect = Expect::Modified(entry.modified);
            match self.put(kind, key, expect, &new).await {
                Ok(written) => return convert::parse(&written.entry.bytes, kind),
                Err(Refusal::Raced) => {}
                Err(Refusal::Failed(error)) => return Err(error),
            }
        }
    }

    /// Stores an object of the server's own. That somebody was quicker is no failure.
    pub(in crate::apiserver) async fn seed(
        &self,
        kind: &Kind,
        key: &str,
        expect: Expect,
        object: &Value,
    ) -> Result<(), ApiError> {
        match self.put(kind, key, expect, object).await {
            Ok(_) | Err(Refusal::Raced) => Ok(()),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    /// A stored document, in its stored version.
    pub(in crate::apiserver) fn read(
        &self,
        storage: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Value> {
        let key = match namespace {
            "" => format!("/{storage}/{name}"),
            namespace => format!("/{storage}/{namespace}/{name}"),
        };
        let entry = self.store.get(&key)?;
        serde_json::from_slice(&entry.bytes).ok()
    }

    /// All documents of a namespace (empty: of the cluster).
    pub(in crate::apiserver) fn read_all(&self, storage: &str, namespace: &str) -> Vec<Value> {
        let prefix = match namespace {
            "" => format!("/{storage}/"),
            namespace => format!("/{storage}/{namespace}/"),
        };
        let snapshot = self.store.snapshot();
        snapshot
            .range(&prefix, None)
            .filter_map(|entry| serde_json::from_slice(&entry.bytes).ok())
            .collect()
    }

    /// How many objects are stored, by where they lie (`deployments.apps`).
    pub(in crate::apiserver) fn object_counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for entry in self.store.snapshot().range("/", None) {
            let storage = entry.key.split('/').nth(1).unwrap_or_default();
            match counts.get_mut(storage) {
                Some(count) => *count += 1,
                None => drop(counts.insert(storage.to_owned(), 1)),
            }
        }
        counts
    }

    /// Brings the server's own indexes up to date with a key. Reads the newest state under the index's lock, so that
    /// the order in which concurrent writers come here does not matter.
    fn observe(&self, storage: &str, key: &str) {
        if !OBSERVED.contains(&storage) {
            return;
        }
        let newest = || -> Option<Value> {
            let entry = self.store.get(key)?;
            serde_json::from_slice(&entry.bytes).ok()
        };
        if storage == EVENTS {
            if let Some(entry) = self.store.get(key) {
                let deadline = clock::now() + expiry::LIFE;
                let mut expiry = self.expiry.lock().expect("no panic while locked");
                expiry.push(deadline, key, entry.modified);
            }
            return;
        }
        if storage == SERVICES {
            let mut services = self.services.lock().expect("no panic while locked");
            services.observe(key, newest().as_ref());
            return;
        }
        if storage == SERVICE_CIDRS {
            let mut services = self.services.lock().expect("no panic while locked");
            services.observe_ranges(key, newest().as_ref());
            return;
        }
        let mut access = self.access.write().expect("no panic while locked");
        let document = newest();
        let (namespace, name) = place::parts(key);
        match storage {
            ROLES | CLUSTER_ROLES => access.set_role(namespace, name, document.as_ref()),
            _ => access.set_binding(namespace, name, document.as_ref()),
        }
    }

    /// One that an earlier process wrote.
    fn observe_old_event(&self, entry: &Entry) {
        let event = serde_json::from_slice(&entry.bytes).ok();
        let deadline = expiry::deadline(event.as_ref(), clock::now());
        let mut expiry = self.expiry.lock().expect("no panic while locked");
        expiry.push(deadline, &entry.key, entry.modified);
    }

    pub(super) fn observe_all(&self) {
        let snapshot = self.store.snapshot();
        for storage in OBSERVED {
            for entry in snapshot.range(&format!("/{storage}/"), None) {
                match *storage {
                    EVENTS => self.observe_old_event(entry),
                    storage => self.observe(storage, &entry.key),
                }
            }
        }
    }
}

fn encode(document: &Value, stored: &Kind) -> (Template, Index) {
    let template = Template::new(document);
    let index = Index::of(document, stored, template.revision_at());
    (template, index)
}
