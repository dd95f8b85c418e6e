//! Follows one resource: lists it, then watches from the list's revision, for ever.
//!
//! ```text
//!             list ok                     watch ended
//!  Listing ------------> Watching(rev) ---------------> Watching(last rev seen)
//!     ^                       |  410 Expired
//!     +-----------------------+
//! ```
//! Bookmarks only move the revision. Every attempt that brought nothing new is followed by a growing pause, so that
//! neither an absent server nor one that closes at once is hammered.

use super::verbs::Client;
use crate::{
    api::{
        ApiError,
        call::{Call, EventType, Outcome, Verb, WatchEvent},
        name::Gvr,
    },
    task::{Stop, backoff::Backoff},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use serde::Deserialize;
use std::time::Duration;
use tracing::{debug, warn};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(20),
    cap: Duration::from_secs(10),
};

/// Failures in a row that are nobody's business: a server that is just starting refuses a few lists.
const QUIET_FAILURES: u32 = 3;

/// Takes what a reflector finds. Called from one task, in revision order; must be quick.
pub trait Sink: Send {
    /// The whole truth as of `revision`: what is not among `items` is gone.
    fn replace(&mut self, items: Vec<Bytes>, revision: u64);
    /// One change; never `Bookmark` or `Error`.
    fn apply(&mut self, event: EventType, object: &Bytes, revision: u64);
    /// Nothing else happened up to `revision`.
    fn advance(&mut self, revision: u64);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listing,
    Watching(u64),
}

/// How a watch came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The stream ended; everything up to this revision was delivered.
    Closed(u64),
    /// The server no longer knows the changes since our revision.
    Expired,
}

fn after_watch(end: End) -> State {
    match end {
        End::Closed(revision) => State::Watching(revision),
        End::Expired => State::Listing,
    }
}

/// Runs until `stop`.
pub async fn follow(client: Client, resource: Gvr, mut sink: impl Sink, mut stop: Stop) {
    let work = async {
        let mut state = State::Listing;
        let mut failures = 0;
        loop {
            let (next, progressed) = match state {
                State::Listing => list(&client, &resource, &mut sink, failures).await,
                State::Watching(from) => watch(&client, &resource, from, &mut sink).await,
            };
            state = next;
            if progressed {
                failures = 0;
            } else {
                failures += 1;
                tokio::time::sleep(BACKOFF.jittered(failures)).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        // Dropping the other branch ends a watch; nothing is half-done, as sinks are synchronous.
        () = stop.stopped() => {}
    }
}

async fn list(
    client: &Client,
    resource: &Gvr,
    sink: &mut impl Sink,
    failures: u32,
) -> (State, bool) {
    let call = Call::new(Verb::List, resource.clone());
    let failure = match client.call(call).await.map(|reply| reply.outcome) {
        Ok(Outcome::List(list)) => {
            sink.replace(list.items, list.revision);
            return (State::Watching(list.revision), true);
        }
        Ok(other) => ApiError::internal(format!("unexpected answer: {other:?}")),
        Err(failure) => failure,
    };
    if failures >= QUIET_FAILURES {
        warn!(%resource, %failure, "list");
    }
    (State::Listing, false)
}

async fn watch(client: &Client, resource: &Gvr, from: u64, sink: &mut impl Sink) -> (State, bool) {
    let mut call = Call::new(Verb::Watch, resource.clone());
    call.options.resource_version = Some(from.to_string());
    call.options.allow_watch_bookmarks = true;
    let end = match client.call(call).await.map(|reply| reply.outcome) {
        Ok(Outcome::Watch(events)) => drain(events, from, sink).await,
        Ok(other) => {
            warn!(%resource, answer = ?other, "watch answered something else");
            End::Closed(from)
        }
        Err(failure) if failure.code == 410 => End::Expired,
        Err(failure) => {
            debug!(%resource, %failure, "watch");
            End::Closed(from)
        }
    };
    // An expired watch is answered by one list at once; if that fails, its own pause follows.
    let progressed = end == End::Expired || matches!(end, End::Closed(last) if last > from);
    (after_watch(end), progressed)
}

async fn drain(mut events: BoxStream<'static, WatchEvent>, from: u64, sink: &mut impl Sink) -> End {
    let mut last = from;
    while let Some(event) = events.next().await {
        match event.event {
            EventType::Bookmark => {
                last = last.max(event.revision);
                sink.advance(last);
            }
            EventType::Error if code_of(&event.object) == 410 => return End::Expired,
            EventType::Error => return End::Closed(last),
            kind => {
                last = last.max(event.revision);
                sink.apply(kind, &event.object, last);
            }
        }
    }
    End::Closed(last)
}

fn code_of(status: &[u8]) -> u16 {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        code: u16,
    }
    serde_json::from_slice::<Status>(status).map_or(0, |status| status.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_expired_watch_lists_again() {
        assert_eq!(after_watch(End::Closed(7)), State::Watching(7));
        assert_eq!(after_watch(End::Expired), State::Listing);
    }

    #[test]
    fn codes_are_read_from_statuses() {
        assert_eq!(code_of(br#"{"kind":"Status","code":410}"#), 410);
        assert_eq!(code_of(b"nonsense"), 0);
    }
}
