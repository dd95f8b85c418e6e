//! Events live for an hour. They go when the next request about events comes: an idle cluster runs no timer for them.

use super::Registry;
use crate::{api::time, kinds, task::clock};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::VecDeque;

pub const LIFE: SignedDuration = SignedDuration::from_hours(1);
/// Events removed on one occasion, so that no request waits long.
const BATCH: usize = 256;
const PARALLEL: usize = 64;

/// Events by the time of their last write. An event that was written again stands there twice; the older entry names
/// a revision that is no longer current and removes nothing.
#[derive(Debug, Default)]
pub struct Expiry {
    queue: VecDeque<(Timestamp, String, u64)>,
}

impl Expiry {
    pub fn push(&mut self, deadline: Timestamp, key: &str, revision: u64) {
        let at = self.queue.partition_point(|(other, ..)| *other <= deadline);
        self.queue.insert(at, (deadline, key.to_owned(), revision));
    }

    fn due(&mut self, now: Timestamp) -> Vec<(String, u64)> {
        let mut due = Vec::new();
        while due.len() < BATCH && self.queue.front().is_some_and(|(at, ..)| *at <= now) {
            due.extend(
                self.queue
                    .pop_front()
                    .map(|(_, key, revision)| (key, revision)),
            );
        }
        due
    }
}

/// When an event that was read back from disk is to go.
pub fn deadline(event: Option<&Value>, now: Timestamp) -> Timestamp {
    let read = |text: &Value| time::parse(text.as_str()?).ok();
    let last = event.and_then(|event| {
        read(&event["lastTimestamp"])
            .or_else(|| read(&event["eventTime"]))
            .or_else(|| read(&event["metadata"]["creationTimestamp"]))
    });
    last.unwrap_or(now).min(now) + LIFE
}

impl Registry {
    /// Removes the events whose hour is over.
    pub(super) async fn expire_events(&self) {
        let due = {
            let mut expiry = self.expiry.lock().expect("no panic while locked");
            expiry.due(clock::now())
        };
        if due.is_empty() {
            return;
        }
        let kind = kinds::find("", "v1", "events").expect("events are a built-in kind");
        stream::iter(due)
            .map(|(key, revision)| async move {
                // One that was written again meanwhile has a later entry.
                let _ = self.remove(kind, &key, revision).await;
            })
            .buffer_unordered(PARALLEL)
            .collect::<()>()
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_go_in_the_order_of_their_deadlines() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut expiry = Expiry::default();
        expiry.push(at(20), "b", 2);
        expiry.push(at(10), "a", 1);
        assert_eq!(expiry.due(at(9)), []);
        assert_eq!(expiry.due(at(15)), [("a".to_owned(), 1)]);
        assert_eq!(expiry.due(at(30)), [("b".to_owned(), 2)]);
    }

    #[test]
    fn an_hour_after_it_was_last_seen() {
        let now = Timestamp::from_second(10_000).unwrap();
        let event = json!({"lastTimestamp": "1970-01-01T00:16:40Z"});
        assert_eq!(deadline(Some(&event), now).as_second(), 4600);
        assert_eq!(deadline(None, now).as_second(), 13_600);
    }
}
