//! The state of the store at one revision: an ordered persistent map, so that a copy costs nothing.

use super::{Entry, Revision};
use imbl::OrdMap;
use std::{ops::Bound, sync::Arc};

/// Entries are behind an `Arc`: a write copies a few nodes of the map, and small slots make that cheap.
pub(super) type Entries = OrdMap<Arc<str>, Arc<Entry>>;

/// Cheap to clone; never changes.
#[derive(Clone)]
pub struct Snapshot {
    pub revision: Revision,
    pub(super) entries: Entries,
}

impl Snapshot {
    pub(super) fn new(revision: Revision, entries: Entries) -> Snapshot {
        Snapshot { revision, entries }
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key).map(AsRef::as_ref)
    }

    /// Entries whose keys begin with `prefix` and lie behind `after`, in the order of their keys.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Entry> + 'a {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<_, str>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry.as_ref())
    }

    #[must_use]
    pub fn count(&self, prefix: &str) -> usize {
        self.range(prefix, None).count()
    }
}
