//! The vocabulary of the store: entries, events, writes.

use bytes::Bytes;
use std::{any::Any, fmt, sync::Arc};

/// One global, strictly increasing number per write.
pub type Revision = u64;

/// What the user of the store keeps in memory beside an entry's bytes, for example an index of labels.
pub type Note = Arc<dyn Any + Send + Sync>;

/// A live key. Cheap to clone.
#[derive(Clone)]
pub struct Entry {
    pub key: Arc<str>,
    pub bytes: Bytes,
    pub created: Revision,
    pub modified: Revision,
    pub note: Note,
}

/// One committed write.
#[derive(Clone)]
pub struct Event {
    pub revision: Revision,
    pub key: Arc<str>,
    /// `None` when the key was deleted.
    pub now: Option<Entry>,
    /// `None` when the key was created.
    pub before: Option<Entry>,
}

/// What must hold of the key at the moment of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    /// Present, last written at this revision.
    Modified(Revision),
}

/// Makes the bytes (and the note) once the revision is known. Runs on the writer's thread: it must be quick.
pub type Encode = Box<dyn FnOnce(Revision) -> (Bytes, Note) + Send>;

pub struct Write {
    pub key: Arc<str>,
    pub expect: Expect,
    /// `None` deletes.
    pub encode: Option<Encode>,
    pub durability: Durability,
}

/// When a write must have reached the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged.
    #[default]
    Durable,
    /// Along with the next durable write, or when the store is closed; a crash before that loses it. For heartbeats,
    /// so that an idle cluster leaves the disk alone. Revisions never go back even then.
    Lazy,
}

/// A durable write.
#[derive(Clone, Debug)]
pub struct Written {
    pub revision: Revision,
    /// The new entry, or the last one for a delete.
    pub entry: Entry,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the key exists")]
    Exists,
    #[error("the key does not exist")]
    Missing,
    #[error("the key was written at revision {modified}")]
    Changed { modified: Revision },
    /// Disk full, read-only, or the store was closed. Nothing was written.
    #[error("write to the store: {0}")]
    Unavailable(String),
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.modified)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} {:?}", self.key, self.revision, self.now)
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} if {:?}", self.key, self.expect)
    }
}
