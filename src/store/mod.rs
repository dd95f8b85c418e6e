//! A revisioned, watchable map from keys to bytes. Has never heard of Kubernetes.
//!
//! All live entries are in memory in a persistent ordered map: reads, snapshots and watches never touch the disk.
//! One writer gives every write its revision, commits many at once, and acknowledges what is durable. Past states
//! are kept in memory for a while: watches resume from them and snapshots of them can be taken; older revisions,
//! and those before the last start, answer [`Compacted`].
//!
//! Keys start with `/`; the first path segment groups keys that are watched together.

mod history;
mod hub;
mod kinds_of_write;
mod kv;
mod snapshot;
mod watch;
mod writer;

pub use hub::Compacted;
pub use kinds_of_write::{
    Durability, Entry, Event, Expect, Note, Revision, Write, WriteError, Written,
};
pub use kv::OpenError;
pub use snapshot::Snapshot;
pub use watch::Watch;

use hub::Hub;
use kv::Kv;
use snapshot::Entries;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use writer::{Job, Order, Writer};

/// Writes waiting for the writer; further callers wait to be admitted.
const QUEUE_MAX: usize = 1024;

#[derive(Clone)]
pub struct Options {
    /// The directory of the database. `None`: everything stays in memory and ends with the process.
    pub path: Option<PathBuf>,
    /// Makes the notes of entries read back from disk.
    pub annotate: fn(&str, &[u8]) -> Note,
    /// How long past states stay available …
    pub history_age: Duration,
    /// … unless they hold more memory than this.
    pub history_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            path: None,
            annotate: |_, _| Arc::new(()),
            history_age: Duration::from_secs(300),
            history_bytes: 64 << 20,
        }
    }
}

/// Cheap to clone; the clones are the same store.
#[derive(Clone)]
pub struct Store {
    hub: Arc<Hub>,
    lane: Lane,
}

/// The way to the writer.
#[derive(Clone)]
enum Lane {
    /// Without a disk there is nothing to wait for: the caller's thread does the writer's work. Nothing then depends
    /// on a second thread, which tests with a paused clock need.
    Inline(Arc<Mutex<Writer>>),
    Thread(mpsc::Sender<Order>),
}

impl Store {
    /// Reads everything back from disk. Blocks.
    pub fn open(options: Options) -> Result<Store, OpenError> {
        let hub = |snapshot| {
            let (age, bytes) = (options.history_age, options.history_bytes);
            Arc::new(Hub::new(snapshot, age, bytes))
        };
        let mut entries = Entries::new();
        let Some(path) = options.path else {
            let hub = hub(Snapshot::new(0, entries));
            let writer = Writer::new(Arc::clone(&hub), None);
            let lane = Lane::Inline(Arc::new(Mutex::new(writer)));
            return Ok(Store { hub, lane });
        };
        let (mut kv, revision) = Kv::open(&path, &mut |entry| {
            let note = (options.annotate)(&entry.key, &entry.bytes);
            let entry = Entry { note, ..entry };
            entries.insert(Arc::clone(&entry.key), Arc::new(entry));
        })?;
        kv.compact_if_bloated(&entries, revision)?;
        let hub = hub(Snapshot::new(revision, entries));
        let writer = Writer::new(Arc::clone(&hub), Some(kv));
        let (tx, rx) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.serve(rx))
            .map_err(OpenError::Thread)?;
        Ok(Store {
            hub,
            lane: Lane::Thread(tx),
        })
    }

    /// Of the last write.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.hub.revision()
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.hub.snapshot().get(key).cloned()
    }

    /// All entries as they are now. O(1).
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.hub.snapshot()
    }

    /// The exact state after the write with that revision. Costs one step per write since then. A revision that has
    /// not been reached yet gives the present.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Compacted> {
        self.hub.snapshot_at(revision)
    }

    /// Resolves when the write is durable and visible. Dropping the future does not undo the write.
    pub async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let (answer, result) = oneshot::channel();
        let job = Job { write, answer };
        match &self.lane {
            Lane::Inline(writer) => {
                let mut writer = writer.lock().expect("the writer does not panic");
                writer.run(vec![job]);
            }
            Lane::Thread(queue) => {
                let sent = queue.send(Order::Write(job)).await;
                sent.map_err(|_| WriteError::closed())?;
            }
        }
        result.await.map_err(|_| WriteError::closed())?
    }

    /// Every write under `prefix` after the revision, in order, without gaps.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Compacted> {
        Hub::watch(&self.hub, prefix, after)
    }

    /// Finishes the queued writes, brings everything to disk, ends all watches and releases the files. Later writes
    /// are refused; reads go on.
    pub async fn close(&self) {
        match &self.lane {
            Lane::Inline(writer) => writer.lock().expect("the writer does not panic").close(),
            Lane::Thread(queue) => {
                let (answer, closed) = oneshot::channel();
                // An error means that it is closed already.
                let _ = queue.send(Order::Close(answer)).await;
                let _ = closed.await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
