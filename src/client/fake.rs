//! A server that answers from a script, for the tests of this module.

use super::verbs::{Client, Transport};
use crate::api::{
    ApiError,
    call::{Body, Call, EventType, List, Outcome, Reply, User, WatchEvent},
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::sync::mpsc;

#[derive(Clone, Default)]
pub struct Script(Arc<Inner>);

#[derive(Default)]
struct Inner {
    answers: Mutex<VecDeque<Result<Outcome, ApiError>>>,
    asked: Mutex<Vec<String>>,
    bodies: Mutex<Vec<Value>>,
}

impl Script {
    pub fn new() -> Script {
        Script::default()
    }

    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()), User::default())
    }

    pub fn answer(&self, outcome: Outcome) {
        self.0.answers.lock().unwrap().push_back(Ok(outcome));
    }

    pub fn refuse(&self) {
        self.fail(ApiError::internal("not yet"));
    }

    pub fn fail(&self, failure: ApiError) {
        self.0.answers.lock().unwrap().push_back(Err(failure));
    }

    /// The watch ends when the sender is dropped.
    pub fn answer_watch(&self) -> mpsc::UnboundedSender<WatchEvent> {
        let (tx, rx) = mpsc::unbounded_channel();
        let events = stream::unfold(rx, |mut rx| async move { Some((rx.recv().await?, rx)) });
        self.answer(Outcome::Watch(events.boxed()));
        tx
    }

    /// Verb, resource and the revision asked for, of each call.
    pub fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }

    /// The documents and patches sent.
    pub fn bodies(&self) -> Vec<Value> {
        self.0.bodies.lock().unwrap().clone()
    }
}

impl Transport for Script {
    fn call<'a>(&'a self, _: &'a User, call: Call) -> BoxFuture<'a, Result<Reply, ApiError>> {
        let revision = call.options.resource_version.unwrap_or_default();
        let asked = format!(
            "{} {} {revision}",
            call.verb.as_str(),
            call.resource.resource
        );
        self.0
            .asked
            .lock()
            .unwrap()
            .push(asked.trim_end().to_owned());
        match &call.body {
            Body::None => {}
            Body::Document(document) => self.0.bodies.lock().unwrap().push(document.value.clone()),
            Body::Patch(_, text) => {
                self.0
                    .bodies
                    .lock()
                    .unwrap()
                    .push(serde_json::from_slice(text).unwrap());
            }
        }
        let answer = self.0.answers.lock().unwrap().pop_front();
        async move {
            match answer {
                Some(answer) => answer.map(Reply::from),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }
}

pub fn config_map(name: &str, revision: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "default", "name": name, "uid": name, "resourceVersion": revision.to_string()}})
}

pub fn list(revision: u64, items: &[Value]) -> Outcome {
    let items = items
        .iter()
        .map(|item| Bytes::from(item.to_string()))
        .collect();
    Outcome::List(List {
        revision,
        items,
        ..List::default()
    })
}

pub fn object(value: &Value) -> Outcome {
    Outcome::Object {
        bytes: Bytes::from(value.to_string()),
        created: true,
    }
}

pub fn event(kind: &str, object: &Value, revision: u64) -> WatchEvent {
    let kinds = [
        EventType::Added,
        EventType::Modified,
        EventType::Deleted,
        EventType::Bookmark,
        EventType::Error,
    ];
    let event = *kinds.iter().find(|one| one.as_str() == kind).unwrap();
    WatchEvent {
        event,
        object: Bytes::from(object.to_string()),
        revision,
    }
}
