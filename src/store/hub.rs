//! Where the writer publishes and everybody else reads: the live snapshot, the history, the watchers.
//!
//! Two locks, both held briefly. `state` orders publications, watches and looks into the past; `live` alone serves
//! reads, and is only written under `state`, so that under `state` it always agrees with the history.

use super::{
    Event, Revision, Snapshot, Watch,
    history::{self, History},
    watch::Watchers,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, RwLock},
    time::{Duration, Instant},
};

/// The revision is too old: what happened after it is no longer known completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history begins after revision {oldest}")]
pub struct Compacted {
    /// The oldest revision that would have been answered.
    pub oldest: Revision,
}

pub(super) struct Hub {
    live: RwLock<Snapshot>,
    state: Mutex<State>,
}

struct State {
    history: History,
    watchers: Watchers,
}

impl Hub {
    pub fn new(live: Snapshot, history_age: Duration, history_bytes: usize) -> Hub {
        let history = History::new(live.revision, history_age, history_bytes);
        Hub {
            live: RwLock::new(live),
            state: Mutex::new(State {
                history,
                watchers: Watchers::default(),
            }),
        }
    }

    pub fn revision(&self) -> Revision {
        self.live.read().expect("no panic while locked").revision
    }

    pub fn snapshot(&self) -> Snapshot {
        self.live.read().expect("no panic while locked").clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// Makes writes visible: first to readers, then to watchers, so that whoever hears of a write can read it.
    pub fn publish(&self, live: Snapshot, events: Vec<Event>) {
        let now = Instant::now();
        let mut state = self.state();
        *self.live.write().expect("no panic while locked") = live;
        for event in events {
            let event = Arc::new(event);
            state.watchers.tell(&event);
            state.history.push(event, now);
        }
        state.history.trim(now);
    }

    pub fn watch(hub: &Arc<Hub>, prefix: &str, after: Revision) -> Result<Watch, Compacted> {
        let mut state = hub.state();
        let oldest = state.history.floor();
        if after < oldest {
            return Err(Compacted { oldest });
        }
        let missed = state
            .history
            .after(after)
            .filter(|event| event.key.starts_with(prefix))
            .cloned()
            .collect();
        let (id, live) = state.watchers.add(prefix, after);
        Ok(Watch::new(Arc::clone(hub), id, missed, live))
    }

    pub fn forget_watch(&self, id: &super::watch::Id) {
        self.state().watchers.remove(id);
    }

    pub fn end_watches(&self) {
        self.state().watchers = Watchers::default();
    }

    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Compacted> {
        let (mut snapshot, events) = {
            let state = self.state();
            let oldest = state.history.floor();
            if revision < oldest {
                return Err(Compacted { oldest });
            }
            let events: Vec<Arc<Event>> = state.history.after(revision).rev().cloned().collect();
            (self.snapshot(), events)
        };
        history::undo(&mut snapshot.entries, events.iter());
        snapshot.revision = snapshot.revision.min(revision);
        Ok(snapshot)
    }
}
