//! A queue of keys: each waits at most once, is worked on by one worker at a time, and may be put off.
//!
//! ```text
//!   add ---> ready ---next---> in work ---done---> (out), or ready again if it was added meanwhile
//!   add_after / retry ---> delayed --time--> ready
//! ```
//! Nothing polls: a worker in [`WorkQueue::next`] sleeps until it is notified or the earliest delay ends.

use crate::task::{backoff::Backoff, meter};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// As upstream's rate limiter, but capped at a pause a person would wait for.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(5),
    cap: Duration::from_secs(300),
};

pub struct WorkQueue<K>(Arc<Inner<K>>);

struct Inner<K> {
    state: Mutex<State<K>>,
    /// As metrics print it; `None` for a queue nobody measures.
    labels: Option<String>,
    added: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// The keys of `ready`.
    waiting: HashSet<K>,
    in_work: HashSet<K>,
    /// Added while in work: to be looked at again.
    stale: HashSet<K>,
    /// The number keeps apart keys that are due at the same instant.
    delayed: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    count: u64,
    failures: HashMap<K, u32>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> WorkQueue<K> {
        WorkQueue(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Default for WorkQueue<K> {
    fn default() -> WorkQueue<K> {
        WorkQueue::new()
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> WorkQueue<K> {
    #[must_use]
    pub fn new() -> WorkQueue<K> {
        WorkQueue::made(None)
    }

    /// A queue that metrics show under this name.
    #[must_use]
    pub fn named(name: &str) -> WorkQueue<K> {
        WorkQueue::made(Some(format!("name=\"{name}\"")))
    }

    fn made(labels: Option<String>) -> WorkQueue<K> {
        WorkQueue(Arc::new(Inner {
            labels,
            state: Mutex::new(State {
                ready: VecDeque::new(),
                waiting: HashSet::new(),
                in_work: HashSet::new(),
                stale: HashSet::new(),
                delayed: BTreeMap::new(),
                due: HashMap::new(),
                count: 0,
                failures: HashMap::new(),
            }),
            added: Notify::new(),
        }))
    }

    pub fn add(&self, key: K) {
        let depth = self.with(|state| {
            state.add(key);
            state.ready.len()
        });
        if let Some(labels) = &self.0.labels {
            meter::QUEUE_ADDS.add(labels, 1);
            self.measure(labels, depth);
        }
        self.0.added.notify_one();
    }

    /// Of several delays for one key the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.with(|state| state.put_off(key, Instant::now() + delay));
        self.0.added.notify_one();
    }

    /// Adds the key after a pause that grows with each call until [`WorkQueue::forget`].
    pub fn retry(&self, key: K) {
        let failures = self.with(|state| {
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        });
        if let Some(labels) = &self.0.labels {
            meter::QUEUE_RETRIES.add(labels, 1);
        }
        self.add_after(key, BACKOFF.jittered(failures));
    }

    /// Forgets past failures of the key.
    pub fn forget(&self, key: &K) {
        self.with(|state| state.failures.remove(key));
    }

    /// The next key; the caller owes a [`WorkQueue::done`] for it. Cancel-safe: a key is taken only when returned.
    pub async fn next(&self) -> K {
        loop {
            // Made before looking, so that an addition in between is not missed.
            let added = self.0.added.notified();
            let (popped, depth) = self.with(|state| (state.pop(), state.ready.len()));
            let earliest = match popped {
                Ok((key, more)) => {
                    if let Some(labels) = &self.0.labels {
                        self.measure(labels, depth);
                    }
                    if more {
                        self.0.added.notify_one();
                    }
                    return key;
                }
                Err(earliest) => earliest,
            };
            match earliest {
                None => added.await,
                Some(at) => tokio::select! {
                    () = added => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    pub fn done(&self, key: &K) {
        let again = self.with(|state| {
            state.in_work.remove(key);
            state.stale.remove(key) && {
                state.add(key.clone());
                true
            }
        });
        if again {
            self.0.added.notify_one();
        }
    }

    fn measure(&self, labels: &str, depth: usize) {
        meter::QUEUE_DEPTH.set(labels, i64::try_from(depth).unwrap_or(i64::MAX));
    }

    fn with<R>(&self, work: impl FnOnce(&mut State<K>) -> R) -> R {
        work(&mut self.0.state.lock().expect("no panic while locked"))
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        if self.in_work.contains(&key) {
            self.stale.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn put_off(&mut self, key: K, at: Instant) {
        if let Some(slot) = self.due.get(&key) {
            if slot.0 <= at {
                return;
            }
            self.delayed.remove(slot);
        }
        self.count += 1;
        let slot = (at, self.count);
        self.delayed.insert(slot, key.clone());
        self.due.insert(key, slot);
    }

    /// A key and whether others are ready, or the instant to look again.
    fn pop(&mut self) -> Result<(K, bool), Option<Instant>> {
        let now = Instant::now();
        while let Some(first) = self.delayed.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            self.due.remove(&key);
            self.add(key);
        }
        match self.ready.pop_front() {
            Some(key) => {
                self.waiting.remove(&key);
                self.in_work.insert(key.clone());
                Ok((key, !self.ready.is_empty()))
            }
            None => Err(self.delayed.first_key_value().map(|(slot, _)| slot.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn ready(queue: &WorkQueue<&'static str>) -> Option<&'static str> {
        queue.next().now_or_never()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_worked_on_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(ready(&queue), Some("a"));
        queue.add("a");
        assert_eq!(ready(&queue), Some("b"));
        assert_eq!(ready(&queue), None);
        queue.done(&"a");
        assert_eq!(ready(&queue), Some("a"));
        queue.done(&"a");
        queue.done(&"b");
        assert_eq!(ready(&queue), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(9));
        queue.add_after("a", Duration::from_secs(2));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("b", Duration::from_secs(1));
        assert_eq!(queue.next().await, "b");
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 2);
        queue.done(&"a");
        assert!(
            tokio::time::timeout(Duration::from_secs(60), queue.next())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn retries_wait_longer_until_forgotten() {
        let queue = WorkQueue::new();
        let mut pauses = Vec::new();
        for round in 0..4 {
            if round == 3 {
                queue.forget(&"a");
            }
            let start = Instant::now();
            queue.retry("a");
            queue.next().await;
            queue.done(&"a");
            pauses.push(start.elapsed());
        }
        assert!(pauses[0] < pauses[1] && pauses[1] < pauses[2], "{pauses:?}");
        assert!(pauses[3] < pauses[1], "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_sleeping_worker_gets_its_key() {
        let queue = WorkQueue::new();
        let (one, two) = (queue.clone(), queue.clone());
        let adder = queue.clone();
        let (first, second, ()) = tokio::join!(one.next(), two.next(), async move {
            tokio::task::yield_now().await;
            adder.add("a");
            adder.add("b");
        });
        assert_eq!([first, second], ["a", "b"]);
    }
}
