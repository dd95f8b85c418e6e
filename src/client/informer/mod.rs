//! Shared caches: one reflector and one decoded copy per kind and process.
//!
//! A change is published in this order: the snapshot, then `seen`, then the handlers. Whoever was told of a key finds
//! the change in the cache. Handlers run under a lock in revision order: they must only enqueue keys.

use super::{
    decode,
    reflector::{self, Sink},
    snapshot::Snapshot,
    verbs::Client,
};
use crate::{
    api::{call::EventType, name::Key, object::Object},
    task::Tasks,
};
use bytes::Bytes;
use serde::Deserialize;
use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};
use tokio::sync::watch;
use tracing::warn;

/// All caches of the process. Cheap to clone.
#[derive(Clone)]
pub struct Informers(Arc<Shared>);

struct Shared {
    client: Client,
    tasks: Tasks,
    caches: Mutex<HashMap<TypeId, Started>>,
}

struct Started {
    cache: Box<dyn Any + Send + Sync>,
    synced: watch::Receiver<bool>,
}

impl Informers {
    /// `client` reads under the identity whose rights all users of the caches share.
    pub fn new(client: Client, tasks: Tasks) -> Informers {
        Informers(Arc::new(Shared {
            client,
            tasks,
            caches: Mutex::default(),
        }))
    }

    /// The cache of a kind; its first use starts the reflector.
    pub fn cache<T: Object>(&self) -> Cache<T> {
        let mut caches = self.0.caches.lock().expect("no panic while locked");
        let started = caches.entry(TypeId::of::<T>()).or_insert_with(|| {
            let cache = Cache::<T>::new();
            let work = reflector::follow(
                self.0.client.clone(),
                T::gvr(),
                cache.clone(),
                self.0.tasks.stop_signal(),
            );
            self.0.tasks.spawn(format!("reflect {}", T::gvr()), work);
            Started {
                synced: cache.0.synced.subscribe(),
                cache: Box::new(cache),
            }
        });
        let cache = started.cache.downcast_ref::<Cache<T>>();
        cache.expect("stored under its own type").clone()
    }

    /// Until every cache that was asked for so far holds its first full list.
    pub async fn synced(&self) {
        let all: Vec<_> = {
            let caches = self.0.caches.lock().expect("no panic while locked");
            caches.values().map(|one| one.synced.clone()).collect()
        };
        for mut one in all {
            // An error means that the cache is gone with the process' informers: nobody waits for it any more.
            let _ = one.wait_for(|&synced| synced).await;
        }
    }
}

/// Old and new state of one object.
type Change<T> = (Option<Arc<T>>, Option<Arc<T>>);

type Handler<T> = Box<dyn Fn(Option<&Arc<T>>, Option<&Arc<T>>) + Send + Sync>;

/// Everything of one kind, as last seen. Cheap to clone; the clones are the same cache.
pub struct Cache<T>(Arc<Inner<T>>);

struct Inner<T> {
    state: watch::Sender<Snapshot<T>>,
    synced: watch::Sender<bool>,
    /// Held while a change is applied and told, so that a new handler misses nothing and sees nothing twice.
    handlers: Mutex<Vec<Handler<T>>>,
}

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Cache<T> {
        Cache(Arc::clone(&self.0))
    }
}

impl<T: Object> Cache<T> {
    fn new() -> Cache<T> {
        Cache(Arc::new(Inner {
            state: watch::Sender::new(Snapshot::default()),
            synced: watch::Sender::new(false),
            handlers: Mutex::default(),
        }))
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot<T> {
        self.0.state.borrow().clone()
    }

    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.0.state.borrow().get(key).cloned()
    }

    /// Until the first full list is in.
    pub async fn synced(&self) {
        let mut synced = self.0.synced.subscribe();
        let _ = synced.wait_for(|&synced| synced).await;
    }

    /// Until the cache has seen this revision or a later one.
    pub async fn seen(&self, revision: u64) {
        self.until(|snapshot| snapshot.seen >= revision).await;
    }

    /// Until `holds` is true of the cache's content; it is asked again after every change.
    pub async fn until(&self, holds: impl FnMut(&Snapshot<T>) -> bool) {
        let mut state = self.0.state.subscribe();
        let _ = state.wait_for(holds).await;
    }

    /// Calls `handler` with (old, new) after each change, and now with (None, Some) for everything present.
    /// Handlers must be quick, must not block and must not register handlers.
    pub fn on_change(
        &self,
        handler: impl Fn(Option<&Arc<T>>, Option<&Arc<T>>) + Send + Sync + 'static,
    ) {
        let mut handlers = self.0.handlers.lock().expect("no panic while locked");
        for object in self.snapshot().values() {
            handler(None, Some(object));
        }
        handlers.push(Box::new(handler));
    }

    fn publish(&self, changes: &[Change<T>], handlers: &[Handler<T>]) {
        for (old, new) in changes {
            for handler in handlers {
                handler(old.as_ref(), new.as_ref());
            }
        }
    }
}

impl<T: Object> Sink for Cache<T> {
    fn replace(&mut self, items: Vec<Bytes>, revision: u64) {
        let objects: Vec<Arc<T>> = items.iter().filter_map(decode).map(Arc::new).collect();
        let handlers = self.0.handlers.lock().expect("no panic while locked");
        let mut changes = Vec::new();
        self.0.state.send_modify(|snapshot| {
            let present: HashSet<Key> = objects.iter().map(|object| object.key()).collect();
            let gone: Vec<Key> = snapshot
                .keys()
                .filter(|key| !present.contains(key))
                .cloned()
                .collect();
            for key in gone {
                changes.push((snapshot.take(&key), None));
            }
            for object in objects {
                let old = snapshot.put(Arc::clone(&object));
                let same = old
                    .as_ref()
                    .is_some_and(|old| is_same(old.as_ref(), object.as_ref()));
                if !same {
                    changes.push((old, Some(object)));
                }
            }
            snapshot.seen = revision;
        });
        self.publish(&changes, &handlers);
        self.0.synced.send_replace(true);
    }

    fn apply(&mut self, event: EventType, object: &Bytes, revision: u64) {
        let new = match event {
            EventType::Deleted => None,
            _ => decode::<T>(object).map(Arc::new),
        };
        let handlers = self.0.handlers.lock().expect("no panic while locked");
        let mut change = None;
        self.0.state.send_modify(|snapshot| {
            change = match (&new, event) {
                (Some(object), _) => Some((snapshot.put(Arc::clone(object)), new.clone())),
                // The last state of a deleted object may no longer fit the type; its name is enough.
                (None, EventType::Deleted) => key_of(object)
                    .and_then(|key| snapshot.take(&key))
                    .map(|old| (Some(old), None)),
                (None, _) => None,
            };
            snapshot.seen = revision;
        });
        if let Some(change) = change {
            self.publish(&[change], &handlers);
        }
    }

    fn advance(&mut self, revision: u64) {
        self.0.state.send_if_modified(|snapshot| {
            let newer = revision > snapshot.seen;
            snapshot.seen = snapshot.seen.max(revision);
            newer
        });
    }
}

fn is_same<T: Object>(old: &T, new: &T) -> bool {
    old.uid() == new.uid() && old.revision() == new.revision()
}

/// An object that does not fit its type is left out: the server must not have stored it, and one bad object must not
/// blind everybody to the others.
fn decode<T: Object>(bytes: &Bytes) -> Option<T> {
    decode::decode(bytes)
        .inspect_err(|failure| warn!(kind = T::KIND, %failure, "decode an object"))
        .ok()
}

fn key_of(bytes: &Bytes) -> Option<Key> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Names,
    }
    #[derive(Deserialize)]
    struct Names {
        #[serde(default)]
        namespace: String,
        name: String,
    }
    let named: Named = serde_json::from_slice(bytes).ok()?;
    Some(Key::new(named.metadata.namespace, named.metadata.name))
}

#[cfg(test)]
mod tests;
