//! A registry and short ways to talk to it as some user.

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use kubik::{
    api::{
        ApiError,
        call::{
            Body, Call, Document, EventType, List, Options, Outcome, PatchKind, Reply, User, Verb,
            WatchEvent,
        },
        name::Gvr,
    },
    apiserver::registry::{Registry, testing},
    kinds,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// A cluster's API as an administrator sees it, with the namespace `ns`.
pub struct Server {
    pub registry: Arc<Registry>,
    pub user: User,
}

impl Server {
    pub async fn new() -> Server {
        let server = Server {
            registry: testing::registry(),
            user: User::component("admin", &["system:masters"]),
        };
        let namespace = json!({"metadata": {"name": "ns"}});
        server.create("namespaces", namespace).await.unwrap();
        server
    }

    pub async fn call(&self, call: Call) -> Result<Reply, ApiError> {
        self.registry.call(&self.user, call).await
    }

    pub async fn value(&self, call: Call) -> Result<Value, ApiError> {
        match self.call(call).await?.outcome {
            Outcome::Object { bytes, .. } | Outcome::Status { bytes, .. } => {
                Ok(serde_json::from_slice(&bytes).unwrap())
            }
            other => panic!("no object: {other:?}"),
        }
    }

    pub async fn create(&self, plural: &str, object: Value) -> Result<Value, ApiError> {
        let mut call = on(Verb::Create, plural, "");
        call.body = body(object);
        self.value(call).await
    }

    pub async fn get(&self, plural: &str, name: &str) -> Result<Value, ApiError> {
        self.value(on(Verb::Get, plural, name)).await
    }

    pub async fn update(&self, plural: &str, object: Value) -> Result<Value, ApiError> {
        let (plural, subresource) = apart(plural);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let mut call = on(Verb::Update, plural, name);
        call.subresource = subresource;
        call.body = body(object);
        self.value(call).await
    }

    pub async fn patch(
        &self,
        plural: &str,
        name: &str,
        kind: PatchKind,
        patch: Value,
    ) -> Result<Value, ApiError> {
        let (plural, subresource) = apart(plural);
        let mut call = on(Verb::Patch, plural, name);
        call.subresource = subresource;
        call.body = Body::Patch(kind, patch.to_string().into());
        self.value(call).await
    }

    pub async fn delete(&self, plural: &str, name: &str) -> Result<Value, ApiError> {
        self.value(on(Verb::Delete, plural, name)).await
    }

    pub async fn list(&self, plural: &str, options: Options) -> Result<List, ApiError> {
        let mut call = on(Verb::List, plural, "");
        call.options = options;
        match self.call(call).await?.outcome {
            Outcome::List(list) => Ok(list),
            other => panic!("no list: {other:?}"),
        }
    }

    pub async fn watch(&self, plural: &str, options: Options) -> Result<Events, ApiError> {
        let mut call = on(Verb::Watch, plural, "");
        call.options = options;
        match self.call(call).await?.outcome {
            Outcome::Watch(events) => Ok(Events(events)),
            other => panic!("no watch: {other:?}"),
        }
    }
}

pub struct Events(BoxStream<'static, WatchEvent>);

impl Events {
    pub async fn next(&mut self) -> Option<(EventType, Value)> {
        let event = self.0.next().await?;
        Some((event.event, serde_json::from_slice(&event.object).unwrap()))
    }

    /// What is there already, as `ADDED a`.
    pub fn ready(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(Some((event, object))) = self.next().now_or_never() {
            let name = object["metadata"]["name"].as_str().unwrap_or("-");
            texts.push(format!("{} {name}", event.as_str()));
        }
        texts
    }
}

/// A call on a kind in namespace `ns` (or cluster scope). Kinds are found by plural alone; the first group wins.
pub fn on(verb: Verb, plural: &str, name: &str) -> Call {
    let mut kinds = kinds::all().iter();
    let kind = kinds.find(|kind| kind.plural == plural).unwrap();
    let gvr = Gvr::new(kind.group, kind.version, kind.plural);
    let namespace = if kind.is_namespaced() { "ns" } else { "" };
    Call::new(verb, gvr).named(namespace, name)
}

pub fn body(value: Value) -> Body {
    Body::Document(Document {
        value,
        duplicates: Vec::new(),
    })
}

fn apart(plural: &str) -> (&str, Option<String>) {
    match plural.split_once('/') {
        None => (plural, None),
        Some((plural, sub)) => (plural, Some(sub.to_owned())),
    }
}

pub fn config(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

pub fn names(list: &List) -> Vec<String> {
    let parse = |bytes| -> Value { serde_json::from_slice(bytes).unwrap() };
    let name = |object: Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    list.items.iter().map(|item| name(parse(item))).collect()
}
