//! Pods without a node, and when each is looked at next. Pure: `now` comes in.
//!
//! ```text
//!            +-------------- wake, and the pause is over --------------+
//!            v                                                         |
//!   put -> active --pop--> in a cycle --failed--> unschedulable --wake--> pausing --time--> active
//!    |       ^                 |                                                  ^
//!    v       |                 +--retry-------------------------------------------+
//!   gated ---+ (gates removed)
//! ```
//! Nothing polls: what is unschedulable waits for a change that one of its refusers cares about, at most five minutes.

use super::{
    plugins::{Change, PLUGINS},
    pod::PodInfo,
};
use crate::{api::name::Key, task::backoff::Backoff};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

const PAUSE: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(10),
};

/// A change may have been missed; look again anyway.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct Queue {
    waiting: HashMap<Key, Waiting>,
    /// The more important first, then the earlier.
    active: BTreeSet<(Reverse<i32>, u64, Key)>,
    timers: BTreeSet<(Instant, Key)>,
    count: u64,
}

struct Waiting {
    pod: Arc<PodInfo>,
    state: State,
    /// Order of arrival.
    number: u64,
    attempts: u32,
    /// The end of the pause after the last attempt.
    pause_ends: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Gated,
    Active,
    InCycle,
    Pausing(Instant),
    Unschedulable { plugins: u32, until: Instant },
}

impl Queue {
    /// A new pod, or another version of a known one.
    pub fn put(&mut self, pod: PodInfo, now: Instant) {
        let pod = Arc::new(pod);
        let key = pod.key.clone();
        match self.waiting.get_mut(&key) {
            Some(known) if known.pod.uid() == pod.uid() => {
                let is_other = is_other(&known.pod, &pod);
                let state = known.state;
                // Its place in the order depends on the version that is replaced.
                self.leave(&key);
                if let Some(known) = self.waiting.get_mut(&key) {
                    known.pod = pod;
                }
                match state {
                    State::Gated => self.admit(&key),
                    State::Unschedulable { .. } if is_other => self.rouse(&key, now),
                    state => self.enter(&key, state),
                }
            }
            _ => {
                self.remove(&key);
                self.count += 1;
                let waiting = Waiting {
                    pod,
                    state: State::Gated,
                    number: self.count,
                    attempts: 0,
                    pause_ends: None,
                };
                self.waiting.insert(key.clone(), waiting);
                self.admit(&key);
            }
        }
    }

    /// Deleted, placed by somebody else, or bound.
    pub fn remove(&mut self, key: &Key) {
        self.leave(key);
        self.waiting.remove(key);
    }

    /// The next pod to be decided about; the caller owes a `remove`, `failed` or `retry` for it.
    pub fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        while let Some((at, key)) = self.timers.first().cloned() {
            if at > now {
                break;
            }
            self.leave(&key);
            self.enter(&key, State::Active);
        }
        let (_, _, key) = self.active.first().cloned()?;
        self.leave(&key);
        self.enter(&key, State::InCycle);
        let waiting = self.waiting.get_mut(&key)?;
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.pause_ends = Some(now + PAUSE.delay(waiting.attempts));
        Some(Arc::clone(&waiting.pod))
    }

    /// No node would do; `plugins` are the ones that refused.
    pub fn failed(&mut self, key: &Key, plugins: u32, now: Instant) {
        self.leave(key);
        let until = now + UNSCHEDULABLE_MAX;
        self.enter(key, State::Unschedulable { plugins, until });
    }

    /// Something else went wrong: again after the pause.
    pub fn retry(&mut self, key: &Key, now: Instant) {
        self.leave(key);
        self.rouse(key, now);
    }

    /// Something happened that may let refused pods fit.
    pub fn wake(&mut self, change: Change, now: Instant) {
        let caring = PLUGINS
            .iter()
            .enumerate()
            .filter(|(_, plugin)| plugin.wakes.contains(&change))
            .fold(0u32, |all, (index, _)| all | 1 << index);
        let roused: Vec<Key> = self
            .waiting
            .iter()
            .filter(|(_, one)| {
                matches!(one.state, State::Unschedulable { plugins, .. } if plugins & caring != 0)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in roused {
            self.leave(&key);
            self.rouse(&key, now);
        }
    }

    /// When `pop` may have something although nothing happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn admit(&mut self, key: &Key) {
        let spec = self.waiting.get(key).and_then(|one| one.pod.spec());
        let gates = spec.and_then(|spec| spec.scheduling_gates.as_ref());
        let is_gated = gates.is_some_and(|gates| !gates.is_empty());
        let state = if is_gated {
            State::Gated
        } else {
            State::Active
        };
        self.enter(key, state);
    }

    fn rouse(&mut self, key: &Key, now: Instant) {
        let ends = self.waiting.get(key).and_then(|one| one.pause_ends);
        let state = match ends {
            Some(ends) if ends > now => State::Pausing(ends),
            _ => State::Active,
        };
        self.enter(key, state);
    }

    fn enter(&mut self, key: &Key, state: State) {
        let Some(waiting) = self.waiting.get_mut(key) else {
            return;
        };
        waiting.state = state;
        match state {
            State::Active => drop(self.active.insert(waiting.order())),
            State::Pausing(until) | State::Unschedulable { until, .. } => {
                self.timers.insert((until, key.clone()));
            }
            State::Gated | State::InCycle => {}
        }
    }

    fn leave(&mut self, key: &Key) {
        let Some(waiting) = self.waiting.get(key) else {
            return;
        };
        match waiting.state {
            State::Active => drop(self.active.remove(&waiting.order())),
            State::Pausing(until) | State::Unschedulable { until, .. } => {
                self.timers.remove(&(until, key.clone()));
            }
            State::Gated | State::InCycle => {}
        }
    }
}

impl Waiting {
    fn order(&self) -> (Reverse<i32>, u64, Key) {
        (
            Reverse(self.pod.priority),
            self.number,
            self.pod.key.clone(),
        )
    }
}

/// Whether the pod asks for something else now. Its status is written by ourselves.
fn is_other(old: &PodInfo, new: &PodInfo) -> bool {
    old.pod.spec != new.pod.spec || old.pod.metadata.labels != new.pod.metadata.labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, priority: i32, more: &Value) -> PodInfo {
        let mut spec = json!({"containers": [], "priority": priority});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let pod =
            json!({"metadata": {"namespace": "default", "name": name, "uid": name}, "spec": spec});
        PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
    }

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    fn popped(queue: &mut Queue, now: Instant) -> Vec<String> {
        let pods = std::iter::from_fn(|| queue.pop(now));
        pods.map(|pod| pod.key.name.clone()).collect()
    }

    const FIT: u32 = 1 << 4;

    #[tokio::test]
    async fn the_more_important_then_the_earlier() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("late", 0), ("first", 10), ("later", 0), ("second", 10)] {
            queue.put(pod(name, priority, &json!({})), now);
        }
        assert_eq!(
            popped(&mut queue, now),
            ["first", "second", "late", "later"]
        );
    }

    #[tokio::test]
    async fn refused_pods_wait_for_a_change_their_refuser_cares_about() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("big", 0, &json!({})), now);
        assert_eq!(popped(&mut queue, now), ["big"]);
        queue.failed(&key("big"), FIT, now);
        queue.wake(Change::Storage, now);
        let later = now + Duration::from_secs(2);
        assert!(popped(&mut queue, later).is_empty());
        queue.wake(Change::PodGone, now);
        assert!(popped(&mut queue, now).is_empty(), "it pauses first");
        assert_eq!(queue.next_deadline(), Some(now + Duration::from_secs(1)));
        assert_eq!(popped(&mut queue, later), ["big"]);
        queue.failed(&key("big"), FIT, later);
        assert_eq!(queue.next_deadline(), Some(later + UNSCHEDULABLE_MAX));
        assert_eq!(popped(&mut queue, later + UNSCHEDULABLE_MAX), ["big"]);
    }

    #[tokio::test]
    async fn a_changed_pod_is_looked_at_again_but_not_for_its_status() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("big", 0, &json!({})), now);
        queue.pop(now).unwrap();
        queue.failed(&key("big"), FIT, now);
        let later = now + Duration::from_secs(5);
        queue.put(pod("big", 0, &json!({})), later);
        assert!(popped(&mut queue, later).is_empty());
        queue.put(pod("big", 0, &json!({"nodeSelector": {"a": "b"}})), later);
        assert_eq!(popped(&mut queue, later), ["big"]);
    }

    #[tokio::test]
    async fn gates_hold_until_they_are_removed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let gated = json!({"schedulingGates": [{"name": "wait"}]});
        queue.put(pod("gated", 0, &gated), now);
        assert!(popped(&mut queue, now).is_empty());
        queue.put(pod("gated", 0, &json!({})), now);
        assert_eq!(popped(&mut queue, now), ["gated"]);
    }

    #[tokio::test]
    async fn what_left_comes_back_as_new() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(pod("pod", 0, &json!({})), now);
        queue.put(pod("pod", 5, &json!({})), now);
        queue.remove(&key("pod"));
        assert!(popped(&mut queue, now).is_empty());
        assert_eq!(queue.next_deadline(), None);
        queue.put(pod("pod", 0, &json!({})), now);
        assert_eq!(popped(&mut queue, now), ["pod"]);
        queue.retry(&key("pod"), now);
        assert!(popped(&mut queue, now).is_empty());
        assert_eq!(popped(&mut queue, now + Duration::from_secs(1)), ["pod"]);
    }
}
