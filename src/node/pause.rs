//! Pausing: the containers of chosen namespaces are frozen where they are, and go on later as if nothing had been.
//!
//! Which namespaces are paused is kept in the cluster's run directory, because the frozen groups outlive the daemon as
//! well; both are gone after a reboot. Probes of paused pods wait. A pod that is ended while it is paused is let go
//! first: it must be able to hear its signal. Pods made meanwhile run.

use super::{Agent, host::Host, translate};
use crate::{api::object::Object, config::Layout, runtime::cgroup, task::Tasks};
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeSet, fs};
use tokio::sync::watch;

/// Stands for every namespace.
pub const ALL: &str = "*";

/// Names of namespaces, or [`ALL`].
pub type Namespaces = BTreeSet<String>;

/// What is paused. Cheap to ask.
pub struct Pauses(watch::Sender<Namespaces>);

impl Pauses {
    pub fn new(paused: Namespaces) -> Pauses {
        Pauses(watch::Sender::new(paused))
    }

    pub fn is_paused(&self, namespace: &str) -> bool {
        includes(&self.0.borrow(), namespace)
    }

    /// Resolves while the namespace is not paused; true if that had to be waited for.
    pub async fn until_running(&self, namespace: &str) -> bool {
        if !self.is_paused(namespace) {
            return false;
        }
        let mut changes = self.0.subscribe();
        // The sender is ours: it cannot be gone.
        let _ = changes
            .wait_for(|paused| !includes(paused, namespace))
            .await;
        true
    }
}

fn includes(paused: &Namespaces, namespace: &str) -> bool {
    paused.contains(namespace) || paused.contains(ALL)
}

/// What is paused after `namespaces` (all, if empty) are paused or unpaused; `known` are those that exist. Pure.
#[must_use]
pub fn change(
    before: &Namespaces,
    namespaces: &[String],
    pause: bool,
    known: &Namespaces,
) -> Namespaces {
    if namespaces.is_empty() {
        return if pause {
            Namespaces::from([ALL.to_owned()])
        } else {
            Namespaces::new()
        };
    }
    let named = namespaces.iter().cloned();
    if pause {
        return if before.contains(ALL) {
            before.clone()
        } else {
            before.iter().cloned().chain(named).collect()
        };
    }
    let left = if before.contains(ALL) { known } else { before };
    let named: Namespaces = named.collect();
    left.difference(&named).cloned().collect()
}

/// What the file says; nothing is paused without one.
#[must_use]
pub fn read(layout: &Layout) -> Namespaces {
    let bytes = fs::read(layout.paused()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Blocking.
pub fn write(layout: &Layout, paused: &Namespaces) -> Result<()> {
    let path = layout.paused();
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(paused)?)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("write {}", path.display()))
}

impl Agent {
    /// Freezes and lets go until exactly the pods of these namespaces are frozen. Answers how many changed.
    pub async fn set_paused(&self, paused: &Namespaces) -> Result<usize> {
        let host = self.host();
        let before = host.pauses.0.borrow().clone();
        // No probe may start between a freeze and the news of it, nor before the last container goes on.
        host.pauses
            .0
            .send_replace(before.union(paused).cloned().collect());
        let pods = host.caches.pods.snapshot();
        let changed: Vec<(String, bool)> = pods
            .iter()
            .filter(|(_, pod)| host.owns(pod))
            .filter_map(|(key, pod)| {
                let namespace = &key.namespace;
                let (was, will) = (includes(&before, namespace), includes(paused, namespace));
                (was != will || will).then(|| (group(host, pod), will))
            })
            .collect();
        let count = changed.len();
        let done = Tasks::blocking(move || {
            let groups = cgroup::host();
            changed.into_iter().try_for_each(|(group, frozen)| {
                let verb = if frozen { "freeze" } else { "thaw" };
                groups
                    .freeze(&group, frozen)
                    .with_context(|| format!("{verb} {group}"))
            })
        });
        let done = done.await?;
        host.pauses.0.send_replace(paused.clone());
        done.map(|()| count)
    }
}

/// Lets a pod go that is about to be ended.
pub async fn let_go(host: &Host, pod: &Pod) {
    if host.pauses.is_paused(&pod.key().namespace) {
        let group = group(host, pod);
        let _ = Tasks::blocking(move || cgroup::host().freeze(&group, false)).await;
    }
}

fn group(host: &Host, pod: &Pod) -> String {
    translate::sandbox(pod, &host.place(pod), "").cgroup
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Namespaces {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn pauses_add_up_and_end_one_by_one() {
        let known = set(&["a", "b", "c"]);
        type Names = &'static [&'static str];
        let cases: [(Names, Names, bool, Names); 7] = [
            (&[], &[], true, &["*"]),
            (&[], &["a"], true, &["a"]),
            (&["a"], &["b"], true, &["a", "b"]),
            (&["*"], &["b"], true, &["*"]),
            (&["*"], &["b"], false, &["a", "c"]),
            (&["a", "b"], &["b"], false, &["a"]),
            (&["a"], &[], false, &[]),
        ];
        for (before, names, pause, after) in cases {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let found = change(&set(before), &names, pause, &known);
            assert_eq!(found, set(after), "{before:?} {names:?} {pause}");
        }
    }

    #[tokio::test]
    async fn probes_wait_for_the_end_of_a_pause() {
        let pauses = Pauses::new(set(&["a"]));
        assert!(!pauses.until_running("b").await);
        let (waited, ()) = tokio::join!(pauses.until_running("a"), async {
            pauses.0.send_replace(Namespaces::new());
        });
        assert!(waited && !pauses.is_paused("a"));
    }
}
