//! The one writer: judges the queued writes in order, makes one group durable at a time, publishes, answers.
//!
//! What is acknowledged is durable (lazy writes aside) and visible. When the disk refuses a group, nothing of it is
//! visible: memory returns to the state before, every write of the group fails, and the keys are written again with
//! the next group, because the disk may have kept a part that only it knows.

use super::{
    Durability, Entry, Event, Expect, Note, Revision, Snapshot, Write, WriteError, Written,
    hub::Hub, kv::Kv, snapshot::Entries,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio::sync::{mpsc::Receiver, oneshot};
use tracing::{error, warn};

/// Writes committed together. One flush costs about as much as ten writes.
const GROUP_MAX: usize = 512;

/// Revisions set aside on disk for lazy writes: after a crash the count goes on behind them.
const RESERVE: Revision = 1000;

pub(super) type Answer = oneshot::Sender<Result<Written, WriteError>>;

pub(super) struct Job {
    pub write: Write,
    pub answer: Answer,
}

pub(super) enum Order {
    Write(Job),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    hub: Arc<Hub>,
    entries: Entries,
    revision: Revision,
    disk: Option<Disk>,
    is_closed: bool,
}

impl Writer {
    pub fn new(hub: Arc<Hub>, kv: Option<Kv>) -> Writer {
        let Snapshot { revision, entries } = hub.snapshot();
        let disk = kv.map(|kv| Disk {
            kv,
            behind: BTreeMap::new(),
            reserved: revision,
        });
        Writer {
            hub,
            entries,
            revision,
            disk,
            is_closed: false,
        }
    }

    /// Works until it is closed or the last sender is gone.
    pub fn serve(mut self, mut queue: Receiver<Order>) {
        let mut orders = Vec::new();
        while queue.blocking_recv_many(&mut orders, GROUP_MAX) > 0 {
            let mut group = Vec::new();
            let mut closing = Vec::new();
            for order in orders.drain(..) {
                match order {
                    Order::Write(job) => group.push(job),
                    Order::Close(answer) => closing.push(answer),
                }
            }
            self.run(group);
            if !closing.is_empty() {
                self.close();
                for answer in closing {
                    let _ = answer.send(());
                }
                return;
            }
        }
        self.close();
    }

    pub fn run(&mut self, group: Vec<Job>) {
        if self.is_closed {
            for job in group {
                let _ = job.answer.send(Err(WriteError::closed()));
            }
            return;
        }
        let before = (self.entries.clone(), self.revision);
        let mut events = Vec::new();
        let mut answers = Vec::new();
        let mut durability = Durability::Lazy;
        for Job { write, answer } in group {
            if write.durability == Durability::Durable {
                durability = Durability::Durable;
            }
            answers.push((answer, self.apply(write, &mut events)));
        }
        match self.commit(&events, durability) {
            Ok(()) if events.is_empty() => {}
            Ok(()) => {
                let live = Snapshot::new(self.revision, self.entries.clone());
                self.hub.publish(live, events);
            }
            Err(reason) => {
                warn!(%reason, writes = answers.len(), "the store refused writes");
                (self.entries, self.revision) = before;
                for (_, outcome) in &mut answers {
                    *outcome = Err(WriteError::Unavailable(reason.clone()));
                }
            }
        }
        for (answer, outcome) in answers {
            // Whoever asked may have gone away meanwhile.
            let _ = answer.send(outcome);
        }
    }

    /// Judges one write by the writes before it.
    fn apply(&mut self, write: Write, events: &mut Vec<Event>) -> Result<Written, WriteError> {
        let before = self
            .entries
            .get(&*write.key)
            .map(|entry| Entry::clone(entry));
        match (write.expect, &before) {
            (Expect::Absent, Some(_)) => return Err(WriteError::Exists),
            (Expect::Modified(_), None) => return Err(WriteError::Missing),
            (Expect::Modified(expected), Some(found)) if found.modified != expected => {
                let modified = found.modified;
                return Err(WriteError::Changed { modified });
            }
            _ => {}
        }
        let revision = self.revision + 1;
        let now = match write.encode {
            None => None,
            Some(encode) => {
                // A defect in the encoding of one object must not end the writer for all others.
                let encoded: Result<(Bytes, Note), _> =
                    catch_unwind(AssertUnwindSafe(|| encode(revision)));
                let Ok((bytes, note)) = encoded else {
                    return Err(WriteError::Unavailable("the encoding panicked".to_owned()));
                };
                Some(Entry {
                    key: Arc::clone(&write.key),
                    bytes,
                    created: before.as_ref().map_or(revision, |before| before.created),
                    modified: revision,
                    note,
                })
            }
        };
        let Some(entry) = now.clone().or_else(|| before.clone()) else {
            return Err(WriteError::Missing);
        };
        match &now {
            Some(entry) => {
                let entry = Arc::new(entry.clone());
                self.entries.insert(Arc::clone(&write.key), entry);
            }
            None => {
                self.entries.remove(&*write.key);
            }
        }
        self.revision = revision;
        events.push(Event {
            revision,
            key: write.key,
            now,
            before,
        });
        Ok(Written { revision, entry })
    }

    fn commit(&mut self, events: &[Event], durability: Durability) -> Result<(), String> {
        match &mut self.disk {
            Some(disk) if !events.is_empty() => {
                disk.commit(events, self.revision, durability, &self.entries)
            }
            _ => Ok(()),
        }
    }

    pub fn close(&mut self) {
        self.is_closed = true;
        self.hub.end_watches();
        if let Some(disk) = self.disk.take() {
            disk.close(self.revision, &self.entries);
        }
    }
}

impl WriteError {
    pub(super) fn closed() -> WriteError {
        WriteError::Unavailable("the store is closed".to_owned())
    }
}

/// The durable side and how far it lags.
struct Disk {
    kv: Kv,
    /// What the disk should hold where it may hold something else: lazy writes, and the keys of refused groups.
    behind: BTreeMap<Arc<str>, Option<Entry>>,
    /// The revision that a start after a crash would go on from.
    reserved: Revision,
}

impl Disk {
    fn commit(
        &mut self,
        events: &[Event],
        revision: Revision,
        durability: Durability,
        entries: &Entries,
    ) -> Result<(), String> {
        let changes = events
            .iter()
            .map(|event| (Arc::clone(&event.key), event.now.clone()));
        if durability == Durability::Lazy && revision <= self.reserved {
            self.behind.extend(changes);
            return Ok(());
        }
        let reserved = match durability {
            Durability::Durable => self.reserved.max(revision),
            Durability::Lazy => revision + RESERVE,
        };
        let mut group = self.behind.clone();
        group.extend(changes);
        match self.kv.commit(&group, reserved, entries) {
            Ok(()) => {
                self.behind.clear();
                self.reserved = reserved;
                Ok(())
            }
            Err(reason) => {
                for event in events {
                    let key = Arc::clone(&event.key);
                    self.behind.entry(key).or_insert(event.before.clone());
                }
                Err(reason)
            }
        }
    }

    /// Leaves the exact revision behind, so that only a crash makes a gap.
    fn close(mut self, revision: Revision, entries: &Entries) {
        if !self.behind.is_empty() || self.reserved != revision {
            let group = std::mem::take(&mut self.behind);
            if let Err(reason) = self.kv.commit(&group, revision, entries) {
                error!(%reason, "lazy writes are lost at the end");
            }
        }
        self.kv.close();
    }
}
