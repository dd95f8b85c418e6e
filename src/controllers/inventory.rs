//! The metadata of everything: who owns whom, what is being deleted, what lies in a namespace.
//!
//! One reflector per kind keeps only the few fields below, whatever the size of the objects. The garbage collector
//! and the namespace controller are told of every change; both check with the API before they act on what is absent
//! here, since the kinds' streams are not in step with each other. Events are left out: nobody owns through them.

use crate::{
    api::{
        call::EventType,
        name::{Gvr, Key},
    },
    client::{Client, Sink, follow},
    kinds::{self, Kind},
    task::Tasks,
};
use bytes::Bytes;
use serde::Deserialize;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};
use tokio::sync::watch;

/// Kinds that come and go by the thousand, own nothing and are owned by nobody.
const LEFT_OUT: &[&str] = &["events"];

/// What is known of one object.
#[derive(Clone)]
pub struct Item {
    pub kind: &'static Kind,
    pub key: Key,
    pub uid: String,
    pub revision: String,
    pub is_deleting: bool,
    pub finalizers: Vec<String>,
    pub owners: Vec<Owner>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(default)]
    pub controller: Option<bool>,
    #[serde(default)]
    pub block_owner_deletion: Option<bool>,
}

impl Item {
    pub fn resource(&self) -> Gvr {
        resource(self.kind)
    }

    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|one| one == name)
    }
}

pub fn resource(kind: &Kind) -> Gvr {
    Gvr {
        group: kind.group.to_owned().into(),
        version: kind.version.to_owned().into(),
        resource: kind.plural.to_owned().into(),
    }
}

/// One version of every kind whose objects can be listed and deleted.
pub fn kinds() -> Vec<&'static Kind> {
    let mut stores = HashSet::new();
    let can = |kind: &Kind, verb: &str| kind.verbs.contains(&verb);
    let useful = kinds::all().iter().copied().filter(|kind| {
        can(kind, "list")
            && can(kind, "watch")
            && can(kind, "delete")
            && stores.insert(kind.storage)
    });
    useful.collect()
}

/// Old and new state of one object.
pub type Handler = Box<dyn Fn(Option<&Item>, Option<&Item>) + Send + Sync>;

/// Cheap to clone; the clones are the same inventory.
#[derive(Clone)]
pub struct Inventory(Arc<Shared>);

struct Shared {
    graph: Mutex<Graph>,
    handlers: Mutex<Vec<Handler>>,
    /// Kinds whose first list is still to come.
    missing: watch::Sender<usize>,
}

#[derive(Default)]
struct Graph {
    items: HashMap<String, Arc<Item>>,
    /// Uids of those that name the key as an owner.
    dependents: HashMap<String, HashSet<String>>,
    /// Per storage of a kind: the uid behind a name.
    names: HashMap<&'static str, HashMap<Key, String>>,
}

impl Inventory {
    /// Starts following every kind.
    pub fn start(client: &Client, tasks: &Tasks) -> Inventory {
        let kinds: Vec<&Kind> = kinds();
        let kinds: Vec<&'static Kind> = kinds
            .into_iter()
            .filter(|kind| !LEFT_OUT.contains(&kind.plural))
            .collect();
        let inventory = Inventory(Arc::new(Shared {
            graph: Mutex::default(),
            handlers: Mutex::default(),
            missing: watch::Sender::new(kinds.len()),
        }));
        for kind in kinds {
            let sink = OneKind {
                inventory: inventory.clone(),
                kind,
                is_synced: false,
            };
            let work = follow(client.clone(), resource(kind), sink, tasks.stop_signal());
            tasks.spawn(format!("inventory of {}", resource(kind)), work);
        }
        inventory
    }

    /// Until every kind has been listed once.
    pub async fn synced(&self) {
        let mut missing = self.0.missing.subscribe();
        let _ = missing.wait_for(|&missing| missing == 0).await;
    }

    /// Handlers are told of changes from now on; they must be quick and may read the inventory.
    pub fn on_change(&self, handler: Handler) {
        self.0
            .handlers
            .lock()
            .expect("no panic while locked")
            .push(handler);
    }

    pub fn all(&self) -> Vec<Arc<Item>> {
        self.with(|graph| graph.items.values().cloned().collect())
    }

    pub fn get(&self, uid: &str) -> Option<Arc<Item>> {
        self.with(|graph| graph.items.get(uid).cloned())
    }

    /// Everything that names `uid` as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Arc<Item>> {
        self.with(|graph| {
            let uids = graph.dependents.get(uid).into_iter().flatten();
            uids.filter_map(|uid| graph.items.get(uid).cloned())
                .collect()
        })
    }

    fn with<R>(&self, work: impl FnOnce(&mut Graph) -> R) -> R {
        work(&mut self.0.graph.lock().expect("no panic while locked"))
    }

    fn put(&self, item: Item) {
        let item = Arc::new(item);
        let (replaced, old) = self.with(|graph| graph.put(&item));
        // Another object of that name: it died while nobody watched.
        if let Some(gone) = replaced {
            self.tell(Some(&gone), None);
        }
        self.tell(old.as_deref(), Some(&item));
    }

    fn take(&self, kind: &'static Kind, key: &Key) {
        if let Some(gone) = self.with(|graph| graph.take(kind, key)) {
            self.tell(Some(&gone), None);
        }
    }

    fn tell(&self, old: Option<&Item>, new: Option<&Item>) {
        for handler in &*self.0.handlers.lock().expect("no panic while locked") {
            handler(old, new);
        }
    }
}

impl Graph {
    /// What else had this name, and what was known of this object.
    fn put(&mut self, item: &Arc<Item>) -> (Option<Arc<Item>>, Option<Arc<Item>>) {
        let names = self.names.entry(item.kind.storage).or_default();
        let before = names.insert(item.key.clone(), item.uid.clone());
        let replaced = before.filter(|uid| *uid != item.uid);
        let replaced = replaced.and_then(|uid| self.forget(&uid));
        let old = self.forget(&item.uid);
        for owner in &item.owners {
            let dependents = self.dependents.entry(owner.uid.clone()).or_default();
            dependents.insert(item.uid.clone());
        }
        self.items.insert(item.uid.clone(), Arc::clone(item));
        (replaced, old)
    }

    fn take(&mut self, kind: &Kind, key: &Key) -> Option<Arc<Item>> {
        let uid = self.names.get_mut(kind.storage)?.remove(key)?;
        self.forget(&uid)
    }

    fn forget(&mut self, uid: &str) -> Option<Arc<Item>> {
        let item = self.items.remove(uid)?;
        for owner in &item.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(item)
    }
}

struct OneKind {
    inventory: Inventory,
    kind: &'static Kind,
    is_synced: bool,
}

impl Sink for OneKind {
    fn replace(&mut self, items: Vec<Bytes>, _: u64) {
        let items: Vec<Item> = items
            .iter()
            .filter_map(|bytes| read(self.kind, bytes))
            .collect();
        let present: HashSet<&Key> = items.iter().map(|item| &item.key).collect();
        let known: Vec<Key> = self.inventory.with(|graph| {
            let names = graph.names.get(self.kind.storage).into_iter().flatten();
            names.map(|(key, _)| key.clone()).collect()
        });
        for key in known.iter().filter(|key| !present.contains(key)) {
            self.inventory.take(self.kind, key);
        }
        items.into_iter().for_each(|item| self.inventory.put(item));
        if !std::mem::replace(&mut self.is_synced, true) {
            self.inventory
                .0
                .missing
                .send_modify(|missing| *missing -= 1);
        }
    }

    fn apply(&mut self, event: EventType, object: &Bytes, _: u64) {
        let Some(item) = read(self.kind, object) else {
            return;
        };
        match event {
            EventType::Deleted => self.inventory.take(self.kind, &item.key),
            _ => self.inventory.put(item),
        }
    }

    fn advance(&mut self, _: u64) {}
}

fn read(kind: &'static Kind, bytes: &[u8]) -> Option<Item> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        #[serde(default)]
        namespace: String,
        name: String,
        uid: String,
        #[serde(default)]
        resource_version: String,
        deletion_timestamp: Option<String>,
        finalizers: Option<Vec<String>>,
        owner_references: Option<Vec<Owner>>,
    }
    let meta = serde_json::from_slice::<Object>(bytes).ok()?.metadata;
    Some(Item {
        kind,
        key: Key::new(meta.namespace, meta.name),
        uid: meta.uid,
        revision: meta.resource_version,
        is_deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.unwrap_or_default(),
        owners: meta.owner_references.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_followed_in_one_version() {
        let kinds = kinds();
        let names: HashSet<&str> = kinds.iter().map(|kind| kind.plural).collect();
        for expected in ["pods", "deployments", "jobs", "namespaces", "events"] {
            assert!(
                names.contains(expected),
                "{expected} is missing of {names:?}"
            );
        }
        let stores: HashSet<&str> = kinds.iter().map(|kind| kind.storage).collect();
        assert_eq!(stores.len(), kinds.len());
    }

    #[test]
    fn dependents_follow_their_owners_uid() {
        let kind = kinds::find("", "v1", "pods").unwrap();
        let item = |name: &str, uid: &str, owner: &str| {
            Arc::new(Item {
                kind,
                key: Key::new("a", name),
                uid: uid.into(),
                revision: String::new(),
                is_deleting: false,
                finalizers: Vec::new(),
                owners: vec![Owner {
                    uid: owner.into(),
                    ..Owner::default()
                }],
            })
        };
        let mut graph = Graph::default();
        graph.put(&item("x", "1", "o"));
        graph.put(&item("y", "2", "o"));
        assert_eq!(graph.dependents["o"].len(), 2);
        let (replaced, old) = graph.put(&item("x", "3", "p"));
        assert_eq!((replaced.unwrap().uid.as_str(), old.is_none()), ("1", true));
        assert_eq!(graph.dependents["o"].len(), 1);
        graph.take(kind, &Key::new("a", "y"));
        assert!(!graph.dependents.contains_key("o"));
    }
}
