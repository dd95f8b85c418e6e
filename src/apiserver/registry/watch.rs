//! `watch`: what happens to a selection, as a stream.
//!
//! The store's events carry the entry before and after, so leaving and entering a selection is decided from two
//! indexes without parsing. All watchers share the stored bytes.

use super::{
    Request,
    document::{index, restamped},
    list::{catch_up, presented},
    options::{Beginning, watch_beginning},
    selection::Selection,
};
use crate::{
    api::{
        ApiError,
        call::{EventType, Outcome, Reply, WatchEvent},
        name::group_version,
    },
    kinds::Kind,
    store::{self, Entry, Store},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::Instant;

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the end.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// A watch without `timeoutSeconds` lasts between once and twice this.
const TIMEOUT_MIN: u64 = 1800;

pub(super) async fn watch(request: &Request<'_>) -> Result<Reply, ApiError> {
    let options = &request.options;
    let kind = request.kind;
    let beginning = watch_beginning(options)?;
    let mut selection = Selection::parse(kind, &request.namespace, options)?;
    if !request.name.is_empty() {
        selection = selection.only(&request.name);
    }
    let store = &request.registry.store;
    let mut pending = VecDeque::new();
    let after = match beginning {
        Beginning::After(revision) => revision,
        Beginning::Now => store.revision(),
        Beginning::Initial(revision) => {
            catch_up(request, revision).await?;
            let snapshot = store.snapshot();
            let prefix = selection.prefix(kind);
            for entry in snapshot
                .range(&prefix, None)
                .filter(|entry| selection.matches(entry))
            {
                pending.push_back(WatchEvent {
                    event: EventType::Added,
                    object: presented(entry, kind)?,
                    revision: entry.modified,
                });
            }
            if options.send_initial_events == Some(true) && options.allow_watch_bookmarks {
                pending.push_back(bookmark(kind, snapshot.revision, true));
            }
            snapshot.revision
        }
    };
    let Ok(events) = store.watch(&selection.prefix(kind), after) else {
        return Ok(expired(after, store.revision()));
    };
    let lifetime = options.timeout.unwrap_or_else(lifetime);
    let end = Instant::now() + lifetime;
    let watching = Watching {
        store: store.clone(),
        events,
        kind,
        selection: Arc::new(selection),
        pending,
        end,
        next_bookmark: options
            .allow_watch_bookmarks
            .then(|| first_bookmark(Instant::now(), end)),
    };
    let stream = stream::unfold(watching, |mut watching| async {
        let event = watching.next().await?;
        Some((event, watching))
    });
    Ok(Outcome::Watch(stream.boxed()).into())
}

fn lifetime() -> Duration {
    let mut bytes = [0u8; 2];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    Duration::from_secs(TIMEOUT_MIN + u64::from(u16::from_le_bytes(bytes)) % TIMEOUT_MIN)
}

fn first_bookmark(now: Instant, end: Instant) -> Instant {
    let last = end.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(now);
    (now + BOOKMARK_EVERY).min(last.max(now))
}

/// One client's watch.
struct Watching {
    store: Store,
    events: store::Watch,
    kind: &'static Kind,
    selection: Arc<Selection>,
    /// To be delivered before anything new.
    pending: VecDeque<WatchEvent>,
    end: Instant,
    /// `None`: bookmarks were not asked for, or the last one was sent.
    next_bookmark: Option<Instant>,
}

impl Watching {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            let wake = self.next_bookmark.unwrap_or(self.end);
            // `next` is cancel-safe, and so is sleeping until a fixed moment.
            tokio::select! {
                biased;
                event = self.events.next() => {
                    let event = event?;
                    self.pending.extend(delivered(&event, &self.selection, self.kind));
                }
                () = tokio::time::sleep_until(wake) => {
                    self.next_bookmark?;
                    self.mark();
                }
            }
        }
    }

    /// Queues a bookmark behind every event it covers.
    fn mark(&mut self) {
        let revision = self.store.revision();
        // A revision can be read a moment before its watchers are told; looking into the past waits for that.
        let _ = self.store.snapshot_at(revision);
        while let Some(event) = self.events.try_next() {
            self.pending
                .extend(delivered(&event, &self.selection, self.kind));
        }
        self.pending.push_back(bookmark(self.kind, revision, false));
        let now = Instant::now();
        let next = first_bookmark(now, self.end);
        self.next_bookmark = (next > now).then_some(next);
    }
}

/// What a watcher of the selection hears of a write.
fn delivered(event: &store::Event, selection: &Selection, kind: &Kind) -> Option<WatchEvent> {
    let selected = |entry: &&Entry| selection.matches(entry);
    let before = event.before.as_ref().filter(selected);
    let now = event.now.as_ref().filter(selected);
    let (event_type, object) = match (before, now) {
        (None, None) => return None,
        (None, Some(now)) => (EventType::Added, presented(now, kind)),
        (Some(_), Some(now)) => (EventType::Modified, presented(now, kind)),
        (Some(before), None) => {
            let bytes = restamped(&before.bytes, index(&before.note), event.revision);
            let last = Entry {
                bytes,
                ..before.clone()
            };
            (EventType::Deleted, presented(&last, kind))
        }
    };
    Some(match object {
        Ok(object) => WatchEvent {
            event: event_type,
            object,
            revision: event.revision,
        },
        Err(error) => failure(&error),
    })
}

fn failure(error: &ApiError) -> WatchEvent {
    WatchEvent {
        event: EventType::Error,
        object: Bytes::from(error.to_status().to_string()),
        revision: 0,
    }
}

fn expired(after: u64, current: u64) -> Reply {
    let message = format!("too old resource version: {after} ({current})");
    let event = failure(&ApiError::expired(message));
    Outcome::Watch(stream::iter([event]).boxed()).into()
}

/// `ends_initial`: everything that was there has been sent.
fn bookmark(kind: &Kind, revision: u64, ends_initial: bool) -> WatchEvent {
    let mut object = json!({
        "kind": kind.name,
        "apiVersion": group_version(kind.group, kind.version),
        "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
    });
    if ends_initial {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    WatchEvent {
        event: EventType::Bookmark,
        object: Bytes::from(object.to_string()),
        revision,
    }
}
