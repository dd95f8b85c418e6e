//! The scheduler against a server that holds pods and nodes and binds what it is told to bind.

use super::*;
use crate::api::{
    ApiError,
    call::{Body, Call, EventType, List, Outcome, Reply, User, Verb, WatchEvent},
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

type Watchers = Vec<(String, mpsc::UnboundedSender<WatchEvent>)>;

#[derive(Default)]
struct FakeServer {
    /// Resource and name.
    objects: Mutex<BTreeMap<(String, String), Value>>,
    revision: Mutex<u64>,
    watchers: Mutex<Watchers>,
    /// Messages of events.
    told: watch::Sender<Vec<String>>,
    /// Pods with their nodes.
    bound: watch::Sender<BTreeMap<String, String>>,
}

impl FakeServer {
    fn put(&self, resource: &str, mut object: Value) {
        let revision = {
            let mut revision = self.revision.lock().unwrap();
            *revision += 1;
            *revision
        };
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let mut objects = self.objects.lock().unwrap();
        objects.insert((resource.to_owned(), name), object.clone());
        self.tell(resource, EventType::Modified, &object, revision);
    }

    fn remove(&self, resource: &str, name: &str) {
        let key = (resource.to_owned(), name.to_owned());
        if let Some(object) = self.objects.lock().unwrap().remove(&key) {
            *self.revision.lock().unwrap() += 1;
            let revision = *self.revision.lock().unwrap();
            self.tell(resource, EventType::Deleted, &object, revision);
        }
    }

    fn tell(&self, resource: &str, event: EventType, object: &Value, revision: u64) {
        for (watched, watcher) in self.watchers.lock().unwrap().iter() {
            if watched == resource {
                let object = Bytes::from(object.to_string());
                let _ = watcher.send(WatchEvent {
                    event,
                    object,
                    revision,
                });
            }
        }
    }

    fn get(&self, resource: &str, name: &str) -> Value {
        let key = (resource.to_owned(), name.to_owned());
        self.objects.lock().unwrap()[&key].clone()
    }

    fn answer(&self, call: &Call) -> Outcome {
        let resource = call.resource.resource.to_string();
        let name = call.name.clone().unwrap_or_default();
        let object = |value: &Value| Outcome::Object {
            bytes: Bytes::from(value.to_string()),
            created: false,
        };
        match (call.verb, call.subresource.as_deref(), &call.body) {
            (Verb::List, ..) => {
                let objects = self.objects.lock().unwrap();
                let items = objects.iter().filter(|((of, _), _)| *of == resource);
                Outcome::List(List {
                    revision: *self.revision.lock().unwrap(),
                    items: items
                        .map(|(_, item)| Bytes::from(item.to_string()))
                        .collect(),
                    ..List::default()
                })
            }
            (Verb::Watch, ..) => {
                let (tx, rx) = mpsc::unbounded_channel();
                self.watchers.lock().unwrap().push((resource, tx));
                let events =
                    stream::unfold(rx, |mut rx| async move { Some((rx.recv().await?, rx)) });
                Outcome::Watch(events.boxed())
            }
            (_, Some("binding"), Body::Document(document)) => {
                let node = document.value["target"]["name"].as_str().unwrap();
                let mut pod = self.get("pods", &name);
                pod["spec"]["nodeName"] = node.into();
                self.put("pods", pod);
                self.bound
                    .send_modify(|all| drop(all.insert(name.clone(), node.to_owned())));
                object(&json!({}))
            }
            (Verb::Create, None, Body::Document(document)) => {
                let text = document.value["message"].as_str().unwrap_or_default();
                self.told.send_modify(|all| all.push(text.to_owned()));
                object(&document.value)
            }
            (Verb::Patch, Some("status"), Body::Patch(_, patch)) if resource == "pods" => {
                let patch: Value = serde_json::from_slice(patch).unwrap();
                let mut pod = self.get("pods", &name);
                let status = patch["status"].as_object().unwrap();
                for (field, value) in status {
                    pod["status"][field] = value.clone();
                }
                self.put("pods", pod.clone());
                object(&pod)
            }
            (Verb::Delete, ..) => {
                self.remove(&resource, &name);
                object(&json!({}))
            }
            _ => object(&json!({"metadata": {}})),
        }
    }
}

struct Shared(Arc<FakeServer>);

impl crate::client::Transport for Shared {
    fn call<'a>(&'a self, _: &'a User, call: Call) -> BoxFuture<'a, Result<Reply, ApiError>> {
        let answer = self.0.answer(&call);
        async { Ok(Reply::from(answer)) }.boxed()
    }
}

fn node(cpu: &str) -> Value {
    json!({"metadata": {"name": "one"}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}})
}

fn pod(name: &str, cpu: &str, priority: i32) -> Value {
    let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    json!({"metadata": {"namespace": "default", "name": name, "uid": name},
        "spec": {"containers": [container], "priority": priority}, "status": {}})
}

fn started(server: &Arc<FakeServer>) -> Tasks {
    let tasks = Tasks::new();
    let client = Client::new(Arc::new(Shared(Arc::clone(server))), User::default());
    let informers = Informers::new(client.clone(), tasks.clone());
    start(&client, &informers, &tasks);
    tasks
}

async fn told(server: &FakeServer, message: &str) {
    let mut told = server.told.subscribe();
    let found = told.wait_for(|all| all.iter().any(|one| one == message));
    let found = tokio::time::timeout(Duration::from_secs(600), found).await;
    assert!(
        found.is_ok(),
        "`{message}` is not among {:?}",
        server.told.borrow()
    );
}

async fn bound(server: &FakeServer, count: usize) {
    let mut bound = server.bound.subscribe();
    bound.wait_for(|all| all.len() >= count).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_pod_gets_a_node_before_and_after_the_start() {
    let server = Arc::new(FakeServer::default());
    server.put("nodes", node("64"));
    for number in 0..50 {
        server.put("pods", pod(&format!("early-{number}"), "10m", 0));
    }
    let mut foreign = pod("foreign", "10m", 0);
    foreign["spec"]["schedulerName"] = "other".into();
    server.put("pods", foreign);
    let tasks = started(&server);
    bound(&server, 50).await;
    for number in 0..50 {
        server.put("pods", pod(&format!("late-{number}"), "10m", 0));
    }
    bound(&server, 100).await;
    told(&server, "Successfully assigned default/late-49 to one").await;
    assert!(!server.bound.borrow().contains_key("foreign"));
    tasks.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_fit_is_told_so_and_tried_again_when_room_comes() {
    let server = Arc::new(FakeServer::default());
    server.put("nodes", node("1"));
    server.put("pods", pod("big", "2", 0));
    let tasks = started(&server);
    let message = "0/1 nodes are available: 1 Insufficient cpu. \
        preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    told(&server, message).await;
    server.put("nodes", node("4"));
    bound(&server, 1).await;
    let condition = server.get("pods", "big")["status"]["conditions"][0].clone();
    assert_eq!(condition["reason"], "Unschedulable");
    assert_eq!(condition["message"], message);
    tasks.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_more_important_pod_takes_the_place_of_a_lesser() {
    let server = Arc::new(FakeServer::default());
    server.put("nodes", node("1"));
    server.put("pods", pod("lesser", "1", 0));
    let tasks = started(&server);
    bound(&server, 1).await;
    server.put("pods", pod("greater", "1", 100));
    bound(&server, 2).await;
    told(&server, "Preempted by pod greater on node one").await;
    assert_eq!(
        server.get("pods", "greater")["status"]["nominatedNodeName"],
        "one"
    );
    tasks.shutdown(Duration::from_secs(1)).await;
}
