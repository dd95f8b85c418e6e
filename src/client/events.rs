//! Events for people: recorded without waiting, gathered, counted and limited as client-go does.
//!
//! Same event again: its count is patched. More than ten texts for one reason within ten minutes: one combined event.
//! More than 25 events about one object: one more per five minutes. Losing an event is never an error: when the
//! channel is full or the server refuses, it is dropped.

use super::{
    correlate::{Correlator, Occurrence, Step},
    verbs::Client,
};
use crate::{
    api::{ApiError, call::PatchKind, name::Key, object::Object},
    task::{Tasks, clock},
};
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::debug;

/// Events waiting to be written; beyond it they are dropped.
const BUFFER: usize = 1024;
/// Longer texts are cut: the API refuses them in `events.k8s.io`.
const MESSAGE_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    Normal,
    Warning,
}

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        }
    }
}

/// How events name an object.
pub fn reference<T: Object>(object: &T) -> ObjectReference {
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(T::API_VERSION.to_owned()),
        kind: Some(T::KIND.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// Writes events in the name of one component. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    occurrences: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// `host` is set by node agents.
    pub fn new(
        client: Client,
        tasks: &Tasks,
        component: &'static str,
        host: Option<String>,
    ) -> Recorder {
        let (occurrences, inbox) = mpsc::channel(BUFFER);
        let correlator = Correlator::new(component, host);
        let mut stop = tasks.stop_signal();
        tasks.spawn(format!("events of {component}"), async move {
            tokio::select! {
                () = write_all(&client, correlator, inbox) => {}
                // Events that are still waiting are dropped with the cluster's control plane.
                () = stop.stopped() => {}
            }
        });
        Recorder { occurrences }
    }

    /// Never waits.
    pub fn event(&self, about: ObjectReference, kind: EventKind, reason: &str, message: &str) {
        let occurrence = Occurrence {
            about,
            kind,
            reason: reason.to_owned(),
            message: cut(message, MESSAGE_MAX).to_owned(),
            at: clock::now(),
        };
        if self.occurrences.try_send(occurrence).is_err() {
            debug!(reason, "event dropped");
        }
    }
}

async fn write_all(
    client: &Client,
    mut correlator: Correlator,
    mut inbox: mpsc::Receiver<Occurrence>,
) {
    while let Some(occurrence) = inbox.recv().await {
        let step = correlator.observe(occurrence);
        if let Err(failure) = write(client, step).await {
            debug!(%failure, "write an event");
        }
    }
}

async fn write(client: &Client, step: Step) -> Result<(), ApiError> {
    match step {
        Step::Drop => Ok(()),
        Step::Create(event) => client.create(&*event).await.map(drop),
        Step::Count(event) => {
            let patch = json!({
                "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
            });
            let key: Key = event.key();
            let patched = client
                .patch::<Event>(&key, None, PatchKind::Merge, &patch)
                .await;
            match patched {
                // It was deleted or has expired: tell it anew, with the count it has reached.
                Err(failure) if failure.is_not_found() => client.create(&*event).await.map(drop),
                other => other.map(drop),
            }
        }
    }
}

/// The longest start of `text` within `max` bytes that ends between characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Script, object};
    use std::time::Duration;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("가나다", 7), "가나");
        assert_eq!(cut("short", 7), "short");
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_event_is_counted_and_an_expired_one_told_anew() {
        let script = Script::new();
        let stored = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x"}, "involvedObject": {}});
        script.answer(object(&stored));
        script.answer(object(&stored));
        script.fail(ApiError::not_found(&Event::gvr(), "x"));
        script.answer(object(&stored));
        let tasks = Tasks::new();
        let recorder = Recorder::new(script.client(), &tasks, "tester", None);
        for _ in 0..3 {
            let about = ObjectReference {
                name: Some("web".into()),
                ..ObjectReference::default()
            };
            recorder.event(about, EventKind::Normal, "Done", "It is done");
        }
        while script.asked().len() < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(
            script.asked(),
            [
                "create events",
                "patch events",
                "patch events",
                "create events"
            ]
        );
        let counts: Vec<_> = script
            .bodies()
            .iter()
            .map(|body| body["count"].clone())
            .collect();
        assert_eq!(counts, [1, 2, 3, 3]);
        assert_eq!(script.bodies()[0]["metadata"]["namespace"], "default");
        tasks.shutdown(Duration::from_secs(1)).await;
    }
}
