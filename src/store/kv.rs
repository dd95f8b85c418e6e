//! The only file that names sled: an atomic, durable, ordered set of entries on disk.
//!
//! sled 0.34 is used with its weaknesses in mind. Its `flush` does not reach the disk's own cache, so every commit
//! ends with `sync_data` on the log file. Left-over or torn snapshot files make its `open` fail, so they are removed
//! first; the log has everything. Its file never shrinks, so a bloated one is replaced by a copy at start. Pages
//! above a quarter of a segment go to files that it never syncs, so segments are large and long values are cut into
//! chunks. After a failed write it refuses all others, so it is opened anew; and as a full disk can even hang it, the
//! free space is looked at before each commit.

use super::{Entry, Revision, snapshot::Entries};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tracing::{info, warn};

const CACHE_BYTES: u64 = 16 << 20;
/// How long a database that was just closed may keep its lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// With leaves of up to some twenty values of [`CHUNK_BYTES`], a page stays below a quarter of this.
const SEGMENT_BYTES: usize = 2 << 20;
const CHUNK_BYTES: usize = 20 << 10;

/// Below this the disk counts as full: a commit may start a segment, and the log needs room to move pages.
const FREE_BYTES_MIN: u64 = 4 * SEGMENT_BYTES as u64;

/// Groups of at most so many bytes may use half of what is kept free: on a full disk people delete, and nodes evict.
const SMALL_BYTES: u64 = 64 << 10;

/// A file is copied at start when it is larger than this and than `BLOAT` times what lives in it.
const COMPACT_BYTES_MIN: u64 = 64 << 20;
const BLOAT: u64 = 4;

/// Sorts before chunks (`\x01`), and those before entries (`/`).
const REVISION_KEY: &[u8] = b"\0revision";
const CHUNK_MARK: u8 = 1;
/// created, modified, number of further chunks.
const HEADER_BYTES: usize = 8 + 8 + 4;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open the store in {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the store in {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("compact the store: {0}")]
    Compact(String),
    #[error("start the store's writer")]
    Thread(#[source] io::Error),
}

pub(super) struct Kv {
    path: PathBuf,
    /// `None` after a failure; the next commit opens it again.
    open: Option<Open>,
    /// Keys that may have chunks on disk, and how many at most.
    chunked: HashMap<Arc<str>, u32>,
}

struct Open {
    db: sled::Db,
    log: File,
}

impl Kv {
    /// Hands every entry over, without its note, and tells the revision to go on from.
    pub fn open(path: &Path, load: &mut dyn FnMut(Entry)) -> Result<(Kv, Revision), OpenError> {
        let open_error = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        finish_swap(path).map_err(open_error)?;
        let open = Open::new(path).map_err(open_error)?;
        let mut kv = Kv {
            path: path.to_owned(),
            open: None,
            chunked: HashMap::new(),
        };
        let revision =
            read_all(&open.db, &mut kv.chunked, load).map_err(|what| OpenError::Damaged {
                path: path.to_owned(),
                what,
            })?;
        kv.open = Some(open);
        Ok((kv, revision))
    }

    /// Makes a group durable as a whole, together with the revision. An error leaves open whether the disk has it.
    /// `entries` is everything, for the case that the files turn out to be beyond repair.
    pub fn commit(
        &mut self,
        group: &BTreeMap<Arc<str>, Option<Entry>>,
        revision: Revision,
        entries: &Entries,
    ) -> Result<(), String> {
        let bytes: u64 = group
            .values()
            .flatten()
            .map(|entry| entry.bytes.len() as u64)
            .sum();
        require_space(&self.path, kept_free(bytes) + 2 * bytes)?;
        self.reopen(revision, entries)?;
        let batch = self.batch(group, revision);
        let Some(open) = &self.open else {
            return Err("the database is not open".to_owned());
        };
        // sled panics on some input and output errors.
        let done = catch_unwind(AssertUnwindSafe(|| open.apply(batch)));
        let done = done.unwrap_or_else(|_| Err("the database panicked".to_owned()));
        if done.is_err() {
            self.shut();
        }
        done
    }

    fn reopen(&mut self, revision: Revision, entries: &Entries) -> Result<(), String> {
        if self.open.is_some() {
            return Ok(());
        }
        match Open::new(&self.path) {
            Ok(open) => {
                info!("the store is open again");
                self.open = Some(open);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                warn!(%error, "the store's files are damaged and written anew from memory");
                self.rebuild(entries, revision)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn batch(
        &mut self,
        group: &BTreeMap<Arc<str>, Option<Entry>>,
        revision: Revision,
    ) -> sled::Batch {
        let mut batch = sled::Batch::default();
        batch.insert(REVISION_KEY, &revision.to_be_bytes());
        for (key, entry) in group {
            let chunks = match entry {
                Some(entry) => insert(&mut batch, entry),
                None => {
                    batch.remove(key.as_bytes());
                    0
                }
            };
            let old = self.chunked.get(key).copied().unwrap_or(0);
            for index in chunks..old {
                batch.remove(chunk_key(key, index));
            }
            // The number never shrinks: this batch may fail, and to remove what is not there does no harm.
            if chunks > old {
                self.chunked.insert(Arc::clone(key), chunks);
            }
        }
        batch
    }

    /// Replaces the files by a copy of what lives when they have grown out of proportion.
    pub fn compact_if_bloated(
        &mut self,
        entries: &Entries,
        revision: Revision,
    ) -> Result<(), OpenError> {
        let size = fs::metadata(self.path.join("db")).map_or(0, |meta| meta.len());
        let live: u64 = entries
            .values()
            .map(|entry| (entry.bytes.len() + entry.key.len() + HEADER_BYTES) as u64)
            .sum();
        let needed = FREE_BYTES_MIN + 2 * live;
        let is_bloated = size > COMPACT_BYTES_MIN && size > BLOAT * live;
        if !is_bloated || require_space(&self.path, needed).is_err() {
            return Ok(());
        }
        info!(size, live, "compacting the store");
        self.rebuild(entries, revision).map_err(OpenError::Compact)
    }

    fn rebuild(&mut self, entries: &Entries, revision: Revision) -> Result<(), String> {
        let copy = sibling(&self.path, "new");
        remove_dir(&copy).map_err(|error| error.to_string())?;
        let open = Open::new(&copy).map_err(|error| error.to_string())?;
        let mut group = BTreeMap::new();
        let mut bytes = 0;
        for entry in entries.values() {
            bytes += entry.bytes.len();
            group.insert(Arc::clone(&entry.key), Some(Entry::clone(entry)));
            if bytes > SEGMENT_BYTES || group.len() > 1000 {
                let batch = self.batch(&std::mem::take(&mut group), revision);
                open.db
                    .apply_batch(batch)
                    .map_err(|error| error.to_string())?;
                bytes = 0;
            }
        }
        let batch = self.batch(&group, revision);
        open.apply(batch)?;
        drop(open);
        self.shut();
        swap(&self.path, &copy).map_err(|error| error.to_string())?;
        self.open = Some(Open::new(&self.path).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Lets go of the files, so that they can be opened again.
    fn shut(&mut self) {
        let open = self.open.take();
        // After an input or output error the destructor may panic; there is nothing left to save then.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
    }

    pub fn close(mut self) {
        self.shut();
    }
}

/// sled reports a held lock as an error of its own making that only its text tells apart.
fn is_locked(opened: &thread::Result<sled::Result<sled::Db>>) -> bool {
    match opened {
        Ok(Err(sled::Error::Io(error))) => error.to_string().contains("could not acquire lock"),
        _ => false,
    }
}

impl Open {
    /// `InvalidData` means damage that the removal of snapshots did not repair.
    fn new(path: &Path) -> io::Result<Open> {
        fs::create_dir_all(path)?;
        remove_snapshots(path, |name| name.ends_with(".generating"))?;
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(None);
        let open = || catch_unwind(AssertUnwindSafe(|| config.open()));
        let mut opened = open();
        // A database that was just let go of keeps its lock until sled's threads have seen it.
        let begun = Instant::now();
        while is_locked(&opened) && begun.elapsed() < LOCK_PATIENCE {
            thread::sleep(LOCK_PAUSE);
            opened = open();
        }
        if matches!(opened, Err(_) | Ok(Err(sled::Error::Corruption { .. }))) {
            warn!(path = %path.display(), "dropping the store's snapshots; its log is replayed");
            remove_snapshots(path, |_| true)?;
            opened = open();
        }
        let db = match opened {
            Ok(Ok(db)) => db,
            Ok(Err(sled::Error::Io(error))) => return Err(error),
            Ok(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "sled panicked")),
        };
        let log = File::open(path.join("db"))?;
        sync_dir(path)?;
        if let Some(parent) = path.parent() {
            sync_dir(parent)?;
        }
        Ok(Open { db, log })
    }

    fn apply(&self, batch: sled::Batch) -> Result<(), String> {
        self.db
            .apply_batch(batch)
            .map_err(|error| error.to_string())?;
        self.db.flush().map_err(|error| error.to_string())?;
        self.log.sync_data().map_err(|error| error.to_string())
    }
}

fn read_all(
    db: &sled::Db,
    chunked: &mut HashMap<Arc<str>, u32>,
    load: &mut dyn FnMut(Entry),
) -> Result<Revision, String> {
    let mut revision = 0;
    let mut chunks: HashMap<Arc<str>, Vec<u8>> = HashMap::new();
    for pair in db.iter() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let damaged = || format!("entry {}", String::from_utf8_lossy(&key));
        if &*key == REVISION_KEY {
            revision = number(&value).ok_or_else(damaged)?;
            continue;
        }
        if key.first() == Some(&CHUNK_MARK) {
            let owner = key.get(1..key.len() - 4).ok_or_else(damaged)?;
            let owner: Arc<str> = str::from_utf8(owner).map_err(|_| damaged())?.into();
            *chunked.entry(Arc::clone(&owner)).or_default() += 1;
            chunks.entry(owner).or_default().extend_from_slice(&value);
            continue;
        }
        let key: Arc<str> = str::from_utf8(&key).map_err(|_| damaged())?.into();
        let rest = chunks.remove(&key).unwrap_or_default();
        let entry = decode(&key, &value, &rest).ok_or_else(damaged)?;
        revision = revision.max(entry.modified);
        load(entry);
    }
    Ok(revision)
}

fn insert(batch: &mut sled::Batch, entry: &Entry) -> u32 {
    let (first, rest) = entry.bytes.split_at(entry.bytes.len().min(CHUNK_BYTES));
    let mut chunks = 0;
    for chunk in rest.chunks(CHUNK_BYTES) {
        batch.insert(chunk_key(&entry.key, chunks), chunk);
        chunks += 1;
    }
    let mut value = Vec::with_capacity(HEADER_BYTES + first.len());
    value.extend_from_slice(&entry.created.to_be_bytes());
    value.extend_from_slice(&entry.modified.to_be_bytes());
    value.extend_from_slice(&chunks.to_be_bytes());
    value.extend_from_slice(first);
    batch.insert(entry.key.as_bytes(), value);
    chunks
}

fn decode(key: &Arc<str>, value: &[u8], rest: &[u8]) -> Option<Entry> {
    let created = number(value.get(..8)?)?;
    let modified = number(value.get(8..16)?)?;
    let chunks = u32::from_be_bytes(value.get(16..HEADER_BYTES)?.try_into().ok()?);
    let first = value.get(HEADER_BYTES..)?;
    if rest.len().div_ceil(CHUNK_BYTES) != chunks as usize {
        return None;
    }
    let bytes = if rest.is_empty() {
        Bytes::copy_from_slice(first)
    } else {
        [first, rest].concat().into()
    };
    Some(Entry {
        key: Arc::clone(key),
        bytes,
        created,
        modified,
        note: Arc::new(()),
    })
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn chunk_key(key: &str, index: u32) -> Vec<u8> {
    let mut chunk = vec![CHUNK_MARK];
    chunk.extend_from_slice(key.as_bytes());
    chunk.extend_from_slice(&index.to_be_bytes());
    chunk
}

fn kept_free(bytes: u64) -> u64 {
    if bytes <= SMALL_BYTES {
        FREE_BYTES_MIN / 2
    } else {
        FREE_BYTES_MIN
    }
}

/// Fails when the disk has less than this.
fn require_space(path: &Path, bytes: u64) -> Result<(), String> {
    // The directory may be about to be made.
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else {
        return Ok(());
    };
    let free = stat.blocks_available() * stat.fragment_size();
    if free < bytes {
        return Err(format!("no space left on device ({} KiB free)", free >> 10));
    }
    Ok(())
}

fn remove_snapshots(path: &Path, is_meant: impl Fn(&str) -> bool) -> io::Result<()> {
    for file in fs::read_dir(path)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && is_meant(&name) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

fn sibling(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    path.with_file_name(name)
}

/// Puts a complete copy in the place of the original. [`finish_swap`] ends what a crash interrupts.
fn swap(path: &Path, copy: &Path) -> io::Result<()> {
    let old = sibling(path, "old");
    remove_dir(&old)?;
    fs::rename(path, &old)?;
    fs::rename(copy, path)?;
    if let Some(parent) = path.parent() {
        sync_dir(parent)?;
    }
    remove_dir(&old)
}

fn finish_swap(path: &Path) -> io::Result<()> {
    let (copy, old) = (sibling(path, "new"), sibling(path, "old"));
    if !path.exists() && old.exists() {
        // The original moves away only once its copy is complete.
        let source = if copy.exists() { &copy } else { &old };
        fs::rename(source, path)?;
    }
    remove_dir(&copy)?;
    remove_dir(&old)
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}
