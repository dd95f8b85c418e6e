//! What a controller declares: the kinds it reads, and whom their changes concern.

use super::{action::Failure, ownership::controller_of, world::World};
use crate::{
    api::{
        name::{Gvr, Key},
        object::Object,
    },
    client::{Cache, Informers, Snapshot, WorkQueue},
    task::clock,
};
use futures_util::future::BoxFuture;
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};

type Subscribe = Box<dyn FnOnce(&Arc<Caches>, &WorkQueue<Key>) + Send>;

pub struct Declared {
    pub(super) kind: TypeId,
    pub(super) open: fn(&Informers) -> Box<dyn AnyCache>,
    #[cfg(test)]
    pub(super) picture: fn(&super::testing::Objects) -> Box<dyn Any + Send + Sync>,
}

/// Filled by [`super::Controller::watches`].
#[derive(Default)]
pub struct Watches {
    pub(super) declared: Vec<Declared>,
    pub(super) subscriptions: Vec<Subscribe>,
}

impl Watches {
    /// The kind is looked at, but its changes wake nobody.
    pub fn read<T: Object>(&mut self) -> &mut Watches {
        let kind = TypeId::of::<T>();
        if self.declared.iter().all(|declared| declared.kind != kind) {
            self.declared.push(Declared {
                kind,
                open: |informers| Box::new(informers.cache::<T>()),
                #[cfg(test)]
                picture: |objects| Box::new(objects.snapshot::<T>()),
            });
        }
        self
    }

    /// A change of an object of this kind, before or after, wakes the keys that `concerns` names.
    pub fn on<T: Object>(
        &mut self,
        concerns: impl Fn(&T, &Caches) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Watches {
        self.on_change::<T>(move |old, new, caches| {
            let mut keys = old.map(|old| concerns(old, caches)).unwrap_or_default();
            keys.extend(new.into_iter().flat_map(|new| concerns(new, caches)));
            keys
        })
    }

    /// Like [`Watches::on`] for those who tell old and new apart.
    pub fn on_change<T: Object>(
        &mut self,
        concerns: impl Fn(Option<&T>, Option<&T>, &Caches) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Watches {
        self.read::<T>();
        self.subscriptions.push(Box::new(move |caches, queue| {
            let (cache, queue) = (caches.cache::<T>(), queue.clone());
            let caches = Arc::clone(caches);
            cache.on_change(move |old, new| {
                let (old, new) = (old.map(AsRef::as_ref), new.map(AsRef::as_ref));
                for key in concerns(old, new, &caches) {
                    queue.add(key);
                }
            });
        }));
        self
    }

    /// An object that nobody controls wakes those who would adopt it.
    pub fn adopted<T: Object, P: Object>(
        &mut self,
        would_adopt: fn(&P, &T) -> bool,
    ) -> &mut Watches {
        self.on::<T>(move |object, caches| {
            if controller_of(object.metadata()).is_some() {
                return Vec::new();
            }
            let all = caches.all::<P>();
            let near = all.in_namespace(object.metadata().namespace.as_deref().unwrap_or_default());
            near.filter(|one| would_adopt(one, object))
                .map(|one| one.key())
                .collect()
        })
    }

    /// A change of an object wakes its controlling owner, if that is a `P`.
    pub fn owned<T: Object, P: Object>(&mut self) -> &mut Watches {
        self.on::<T>(|object, _| controlling_key::<T, P>(object).into_iter().collect())
    }
}

/// The key of the controlling owner, if that is a `P`.
fn controlling_key<T: Object, P: Object>(object: &T) -> Option<Key> {
    let owner = controller_of(object.metadata())?;
    let is_p = owner.kind == P::KIND && owner.api_version == P::API_VERSION;
    is_p.then(|| {
        Key::new(
            object.metadata().namespace.clone().unwrap_or_default(),
            owner.name.clone(),
        )
    })
}

/// A cache whose kind is known at run time only.
pub trait AnyCache: Send + Sync {
    fn resource(&self) -> Gvr;
    fn as_any(&self) -> &dyn Any;
    fn picture(&self) -> Box<dyn Any + Send + Sync>;
    fn synced(&self) -> BoxFuture<'_, ()>;
    fn seen(&self, revision: u64) -> BoxFuture<'_, ()>;
    /// Until the object with this uid is gone or marked for deletion.
    fn gone(&self, key: Key, uid: String) -> BoxFuture<'_, ()>;
}

impl<T: Object> AnyCache for Cache<T> {
    fn resource(&self) -> Gvr {
        T::gvr()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn picture(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(self.snapshot())
    }

    fn synced(&self) -> BoxFuture<'_, ()> {
        Box::pin(Cache::synced(self))
    }

    fn seen(&self, revision: u64) -> BoxFuture<'_, ()> {
        Box::pin(Cache::seen(self, revision))
    }

    fn gone(&self, key: Key, uid: String) -> BoxFuture<'_, ()> {
        Box::pin(self.until(move |snapshot| {
            let there = snapshot.get(&key);
            there.is_none_or(|object| object.uid() != uid || object.is_deleting())
        }))
    }
}

/// The open caches of one controller.
pub struct Caches(HashMap<TypeId, Box<dyn AnyCache>>);

impl Caches {
    pub(super) fn open(declared: &[Declared], informers: &Informers) -> Caches {
        let open = declared.iter().map(|one| (one.kind, (one.open)(informers)));
        Caches(open.collect())
    }

    pub(super) fn cache<T: Object>(&self) -> Cache<T> {
        let cache = self.0.get(&TypeId::of::<T>());
        let cache = cache.and_then(|cache| cache.as_any().downcast_ref::<Cache<T>>());
        cache
            .expect("the controller declared the kind in `watches`")
            .clone()
    }

    pub fn all<T: Object>(&self) -> Snapshot<T> {
        self.cache::<T>().snapshot()
    }

    pub(super) fn of(&self, resource: &Gvr) -> Option<&dyn AnyCache> {
        let cache = self.0.values().find(|one| one.resource() == *resource);
        cache.map(AsRef::as_ref)
    }

    pub(super) async fn synced(&self) {
        for cache in self.0.values() {
            cache.synced().await;
        }
    }

    pub(super) fn world(&self, failure: Option<Failure>) -> World {
        let pictures = self.0.iter().map(|(kind, cache)| (*kind, cache.picture()));
        World::new(clock::now(), failure, pictures.collect())
    }
}
