//! An immutable picture of one kind as a cache last saw it.
//!
//! A snapshot is O(1) to take and never changes. Besides the map by key it carries an index by controlling owner,
//! because every controller asks "which objects are mine" on each pass and must not walk all pods for it.

use crate::api::{name::Key, object::Object};
use std::{ops::Deref, sync::Arc};

/// Where an object stands in the index of owners.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    /// The controlling owner's uid; empty: nobody controls it.
    owner: String,
    key: Key,
}

pub struct Snapshot<T> {
    items: imbl::OrdMap<Key, Arc<T>>,
    /// Keys only: with objects in it the index would be compiled once for every kind.
    owned: imbl::OrdSet<Owned>,
    /// The revision up to which every change of this kind is in here.
    pub seen: u64,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Snapshot<T> {
        Snapshot {
            items: self.items.clone(),
            owned: self.owned.clone(),
            seen: self.seen,
        }
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Snapshot<T> {
        Snapshot {
            items: imbl::OrdMap::new(),
            owned: imbl::OrdSet::new(),
            seen: 0,
        }
    }
}

impl<T> Deref for Snapshot<T> {
    type Target = imbl::OrdMap<Key, Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.items
    }
}

impl<T: Object> FromIterator<T> for Snapshot<T> {
    fn from_iter<I: IntoIterator<Item = T>>(objects: I) -> Snapshot<T> {
        let mut snapshot = Snapshot::default();
        for object in objects {
            snapshot.put(Arc::new(object));
        }
        snapshot
    }
}

impl<T: Object> Snapshot<T> {
    /// Objects of one namespace in name order.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        let start = Key::new(namespace, "");
        self.items
            .range(start..)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// Objects whose controlling owner has this uid, in name order.
    pub fn controlled_by<'a>(
        &'a self,
        namespace: &'a str,
        uid: &'a str,
    ) -> impl Iterator<Item = &'a Arc<T>> {
        let start = Owned {
            owner: uid.to_owned(),
            key: Key::new(namespace, ""),
        };
        self.owned
            .range(start..)
            .take_while(move |owned| owned.owner == uid && owned.key.namespace == namespace)
            .filter_map(|owned| self.items.get(&owned.key))
    }

    /// Objects of a namespace that no controller owns: candidates for adoption.
    pub fn uncontrolled<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        self.controlled_by(namespace, "")
    }

    pub(super) fn put(&mut self, object: Arc<T>) -> Option<Arc<T>> {
        let owned = owned(&*object);
        let old = self.items.insert(owned.key.clone(), object);
        if let Some(old) = &old {
            self.owned.remove(&self::owned(&**old));
        }
        self.owned.insert(owned);
        old
    }

    pub(super) fn take(&mut self, key: &Key) -> Option<Arc<T>> {
        let old = self.items.remove(key)?;
        self.owned.remove(&owned(&*old));
        Some(old)
    }
}

fn owned(object: &impl Object) -> Owned {
    let owners = object.metadata().owner_references.iter().flatten();
    let owner = owners
        .filter(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.clone())
        .next();
    Owned {
        owner: owner.unwrap_or_default(),
        key: object.key(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{
        api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta,
        apimachinery::pkg::apis::meta::v1::OwnerReference,
    };

    fn pod(namespace: &str, name: &str, owner: Option<&str>) -> Pod {
        let owner = owner.map(|uid| OwnerReference {
            uid: uid.into(),
            controller: Some(true),
            ..OwnerReference::default()
        });
        Pod {
            metadata: ObjectMeta {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    fn names<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<String> {
        pods.map(|pod| pod.key().name).collect()
    }

    #[test]
    fn answers_by_namespace_and_owner() {
        let mut pods: Snapshot<Pod> = [
            pod("a", "x", Some("u1")),
            pod("a", "y", None),
            pod("b", "x", Some("u1")),
            pod("a", "w", Some("u1")),
        ]
        .into_iter()
        .collect();
        assert_eq!(names(pods.in_namespace("a")), ["w", "x", "y"]);
        assert_eq!(names(pods.controlled_by("a", "u1")), ["w", "x"]);
        assert_eq!(names(pods.uncontrolled("a")), ["y"]);

        pods.put(Arc::new(pod("a", "y", Some("u2"))));
        assert_eq!(names(pods.controlled_by("a", "u2")), ["y"]);
        assert_eq!(names(pods.uncontrolled("a")), Vec::<String>::new());

        pods.take(&Key::new("a", "x"));
        assert_eq!(names(pods.controlled_by("a", "u1")), ["w"]);
    }
}
