//! Watches and the table of who watches what.
//!
//! A watch holds a bounded queue of shared events. Who falls behind is cut off instead of slowing the writer down or
//! missing an event silently. Watchers are found by the first path segment of a key, so that a watch costs nothing
//! to writes elsewhere.

use super::{Event, Revision, hub::Hub};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events a watcher may be behind.
const BEHIND_MAX: usize = 10_000;

/// Writes under a prefix. Dropping it ends it.
pub struct Watch {
    hub: Arc<Hub>,
    id: Id,
    missed: VecDeque<Arc<Event>>,
    live: Receiver<Arc<Event>>,
}

impl Watch {
    pub(super) fn new(
        hub: Arc<Hub>,
        id: Id,
        missed: VecDeque<Arc<Event>>,
        live: Receiver<Arc<Event>>,
    ) -> Watch {
        Watch {
            hub,
            id,
            missed,
            live,
        }
    }

    /// The next write. `None`: this watch fell too far behind, or the store was closed; list again. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.missed.pop_front() {
            return Some(Event::clone(&event));
        }
        self.live.recv().await.map(|event| Event::clone(&event))
    }

    /// The next write if it is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = match self.missed.pop_front() {
            Some(event) => event,
            None => self.live.try_recv().ok()?,
        };
        Some(Event::clone(&event))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.forget_watch(&self.id);
    }
}

#[derive(Clone)]
pub(super) struct Id {
    /// `None` for a prefix that does not fix the first segment.
    segment: Option<Box<str>>,
    number: u64,
}

struct Watcher {
    number: u64,
    prefix: Box<str>,
    after: Revision,
    queue: Sender<Arc<Event>>,
}

#[derive(Default)]
pub(super) struct Watchers {
    by_segment: HashMap<Option<Box<str>>, Vec<Watcher>>,
    last: u64,
}

impl Watchers {
    pub fn add(&mut self, prefix: &str, after: Revision) -> (Id, Receiver<Arc<Event>>) {
        let (queue, live) = channel(BEHIND_MAX);
        self.last += 1;
        let segment = first_segment(prefix).map(Box::from);
        let watchers = self.by_segment.entry(segment.clone()).or_default();
        watchers.push(Watcher {
            number: self.last,
            prefix: prefix.into(),
            after,
            queue,
        });
        let number = self.last;
        (Id { segment, number }, live)
    }

    pub fn remove(&mut self, id: &Id) {
        if let Some(watchers) = self.by_segment.get_mut(&id.segment) {
            watchers.retain(|watcher| watcher.number != id.number);
            if watchers.is_empty() {
                self.by_segment.remove(&id.segment);
            }
        }
    }

    pub fn tell(&mut self, event: &Arc<Event>) {
        let segment = first_segment(&event.key).map(Box::from);
        for group in [segment, None] {
            if let Some(watchers) = self.by_segment.get_mut(&group) {
                watchers.retain(|watcher| watcher.tell(event));
            }
        }
    }
}

impl Watcher {
    /// False when the watcher is to be cut off: its queue ends after what it holds.
    fn tell(&self, event: &Arc<Event>) -> bool {
        let is_meant = event.revision > self.after && event.key.starts_with(&*self.prefix);
        !is_meant || self.queue.try_send(Arc::clone(event)).is_ok()
    }
}

/// `pods` of `/pods/default/x`; `None` unless the segment is complete.
fn first_segment(key: &str) -> Option<&str> {
    key.strip_prefix('/')?
        .split_once('/')
        .map(|(segment, _)| segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_counts_when_it_is_complete() {
        let table = [
            ("/pods/default/x", Some("pods")),
            ("/pods/", Some("pods")),
            ("/pods", None),
            ("/", None),
            ("", None),
        ];
        for (key, segment) in table {
            assert_eq!(first_segment(key), segment, "{key}");
        }
    }
}
