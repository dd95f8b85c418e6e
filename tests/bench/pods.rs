//! Pods: one by one and by the hundred.

use crate::{
    Settings,
    figure::Figure,
    https::{Access, Connection, Watch, runtime},
    place::Place,
    starts::millis,
};
use http::Method;
use serde_json::{Value, json};
use std::time::Instant;

pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A pod that is ready as soon as its process runs.
pub const SLEEPS: &[&str] = &["/kubik-hello", "sleep"];
/// A pod that has resolved the API's Service name before it is ready.
pub const RESOLVES: &[&str] = &[
    "/kubik-hello",
    "sleep",
    "--resolve",
    "kubernetes.default.svc.cluster.local",
];

pub fn pod(name: &str, command: &[&str]) -> Value {
    let resolves = command.contains(&"--resolve");
    let mut container = json!({
        "name": "main", "image": "kubik/hello", "imagePullPolicy": "IfNotPresent", "command": command,
    });
    if resolves {
        // The file is made once the name has been resolved.
        container["readinessProbe"] = json!({"exec": {"command": ["/kubik-hello", "exists", "/tmp/resolved"]}, "periodSeconds": 1});
    }
    json!({
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub async fn until_ready(connection: &mut Connection, name: &str, command: &[&str]) {
    let created = connection
        .json(Method::POST, PODS, pod(name, command).to_string())
        .await;
    let revision = created["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!(
        "{PODS}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={revision}"
    );
    let mut watch = Watch::open(connection, &path).await;
    while !is_ready(&watch.next().await["object"]) {}
}

pub fn one_by_one(settings: &Settings) -> Vec<Figure> {
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    let (mut ready, mut gone) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        for n in 0..settings.samples + 1 {
            let (mut writer, mut watcher) = (access.connect().await, access.connect().await);
            let name = format!("p{n}");
            let begun = Instant::now();
            until_ready(&mut watcher, &name, SLEEPS).await;
            let took = millis(begun.elapsed());
            let mut watcher = access.connect().await;
            let path = format!("{PODS}?watch=true&fieldSelector=metadata.name%3D{name}");
            let mut watch = Watch::open(&mut watcher, &path).await;
            watch.next().await;
            let begun = Instant::now();
            writer
                .call(Method::DELETE, &format!("{PODS}/{name}"), String::new())
                .await;
            while watch.next().await["type"] != "DELETED" {}
            // The first pod warms caches that every later one finds.
            if n > 0 {
                ready.push(took);
                gone.push(millis(begun.elapsed()));
            }
        }
    });
    vec![
        Figure::new("pod create -> Ready", "ms", "p50 <= 100, p99 <= 250", ready),
        Figure::new("pod delete -> gone", "ms", "p50 <= 150", gone),
    ]
}

pub fn replicas(_settings: &Settings) -> Vec<Figure> {
    const REPLICAS: usize = 100;
    const RUNS: usize = 5;
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    let (mut ready, mut gone) = (Vec::new(), Vec::new());
    runtime().block_on(async {
        for run in 0..RUNS {
            let name = format!("many{run}");
            let template = pod("", SLEEPS);
            let deployment = json!({
                "metadata": {"name": name},
                "spec": {
                    "replicas": REPLICAS,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
                },
            });
            let mut writer = access.connect().await;
            let mut watcher = access.connect().await;
            let begun = Instant::now();
            writer
                .call(Method::POST, DEPLOYMENTS, deployment.to_string())
                .await;
            let path = format!("{DEPLOYMENTS}?watch=true&fieldSelector=metadata.name%3D{name}");
            let mut watch = Watch::open(&mut watcher, &path).await;
            while watch.next().await["object"]["status"]["readyReplicas"] != REPLICAS {}
            ready.push(begun.elapsed().as_secs_f64());
            let mut watcher = access.connect().await;
            let path = format!("{PODS}?watch=true&labelSelector=app%3D{name}");
            let mut watch = Watch::open(&mut watcher, &path).await;
            let begun = Instant::now();
            let options = json!({"propagationPolicy": "Background"}).to_string();
            writer
                .call(Method::DELETE, &format!("{DEPLOYMENTS}/{name}"), options)
                .await;
            let mut left = REPLICAS;
            while left > 0 {
                left -= usize::from(watch.next().await["type"] == "DELETED");
            }
            gone.push(begun.elapsed().as_secs_f64());
        }
    });
    vec![
        Figure::new("100 replicas: all Ready", "s", "<= 5", ready),
        Figure::new("100 replicas: all gone", "s", "<= 5", gone),
    ]
}
