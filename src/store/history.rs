//! The recent writes, newest last, bounded by age and by the memory they hold beyond the live entries.
//!
//! Does not survive a restart: neither does the watch cache of an upstream API server, and writing every value twice
//! would halve the speed of the store.

use super::{Event, Revision, snapshot::Entries};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// What an event costs besides the value it replaced.
const EVENT_COST: usize = 256;

pub(super) struct History {
    events: VecDeque<(Instant, Arc<Event>)>,
    /// Everything after this revision is known.
    floor: Revision,
    bytes: usize,
    age_max: Duration,
    bytes_max: usize,
}

impl History {
    pub fn new(floor: Revision, age_max: Duration, bytes_max: usize) -> History {
        History {
            events: VecDeque::new(),
            floor,
            bytes: 0,
            age_max,
            bytes_max,
        }
    }

    pub fn floor(&self) -> Revision {
        self.floor
    }

    pub fn push(&mut self, event: Arc<Event>, now: Instant) {
        self.bytes += cost(&event);
        self.events.push_back((now, event));
    }

    pub fn trim(&mut self, now: Instant) {
        while let Some((at, event)) = self.events.front() {
            let is_old = now.saturating_duration_since(*at) > self.age_max;
            if !is_old && self.bytes <= self.bytes_max {
                break;
            }
            self.bytes -= cost(event);
            self.floor = event.revision;
            self.events.pop_front();
        }
    }

    /// Writes after the revision, oldest first. The caller has compared it with the floor.
    pub fn after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let start = self
            .events
            .partition_point(|(_, event)| event.revision <= revision);
        self.events.range(start..).map(|(_, event)| event)
    }
}

/// An event shares the new value with the live entries; the old one lives on here only.
fn cost(event: &Event) -> usize {
    let before = event.before.as_ref().map_or(0, |entry| entry.bytes.len());
    EVENT_COST + event.key.len() + before
}

/// Takes writes back, newest first.
pub(super) fn undo<'a>(entries: &mut Entries, newest_first: impl Iterator<Item = &'a Arc<Event>>) {
    for event in newest_first {
        match &event.before {
            Some(before) => {
                entries.insert(Arc::clone(&event.key), Arc::new(before.clone()));
            }
            None => {
                entries.remove(&*event.key);
            }
        }
    }
}
