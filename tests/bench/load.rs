//! The API under load: durable writes, reads, lists, watches.

use crate::{
    Settings,
    figure::Figure,
    https::{Access, Watch, runtime},
    place::Place,
    starts::millis,
};
use http::Method;
use serde_json::json;
use std::{
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const CLIENTS: usize = 16;
const ROUNDS: usize = 5;
const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> String {
    let data = "x".repeat(500);
    json!({"metadata": {"name": name}, "data": {"value": data}}).to_string()
}

pub fn measure(settings: &Settings) -> Vec<Figure> {
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    runtime().block_on(async {
        let mut figures = vec![watch_latency(&access, settings.samples * 10).await];
        figures.extend(lists(&access, settings.samples).await);
        let length = Duration::from_millis(settings.seconds * 1000 / ROUNDS as u64);
        let (mut creates, mut gets) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            creates.push(rate(&access, length, round, true).await);
            gets.push(rate(&access, length, round, false).await);
        }
        figures.push(Figure::new(
            "durable ConfigMap creates, 16 clients",
            "1/s",
            ">= 5000",
            creates,
        ));
        figures.push(Figure::new(
            "ConfigMap gets, 16 clients",
            "1/s",
            ">= 12000",
            gets,
        ));
        figures
    })
}

/// Requests per second of all clients together.
async fn rate(access: &Access, length: Duration, round: usize, create: bool) -> f64 {
    let done = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(access.connect().await);
    }
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for (client, mut connection) in connections.into_iter().enumerate() {
        let done = Arc::clone(&done);
        clients.spawn(async move {
            let mut n = 0;
            while begun.elapsed() < length {
                if create {
                    let body = config_map(&format!("r{round}-{client}-{n}"));
                    connection.call(Method::POST, CONFIGMAPS, body).await;
                } else {
                    connection
                        .call(
                            Method::GET,
                            &format!("{CONFIGMAPS}/list-{n}"),
                            String::new(),
                        )
                        .await;
                }
                n = (n + 1) % if create { usize::MAX } else { 2000 };
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    clients.join_all().await;
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

async fn lists(access: &Access, samples: usize) -> Vec<Figure> {
    let mut connection = access.connect().await;
    for n in 0..2000 {
        connection
            .call(Method::POST, CONFIGMAPS, config_map(&format!("list-{n}")))
            .await;
    }
    let (mut times, mut speeds) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let begun = Instant::now();
        let bytes = connection
            .call(Method::GET, CONFIGMAPS, String::new())
            .await
            .len();
        let took = begun.elapsed();
        times.push(millis(took));
        speeds.push(bytes as f64 / 1e6 / took.as_secs_f64());
    }
    vec![
        Figure::new("list of 2,000 ConfigMaps", "ms", "<= 5", times),
        Figure::new("list throughput", "MB/s", ">= 500", speeds),
    ]
}

async fn watch_latency(access: &Access, samples: usize) -> Figure {
    let (mut writer, mut watcher) = (access.connect().await, access.connect().await);
    let list = writer.json(Method::GET, CONFIGMAPS, String::new()).await;
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = Watch::open(
        &mut watcher,
        &format!("{CONFIGMAPS}?watch=true&resourceVersion={revision}"),
    )
    .await;
    let mut times = Vec::new();
    for n in 0..samples {
        let name = format!("watched-{n}");
        let begun = Instant::now();
        let (_, took) = tokio::join!(
            writer.call(Method::POST, CONFIGMAPS, config_map(&name)),
            async {
                while watch.next().await["object"]["metadata"]["name"] != name {}
                begun.elapsed()
            }
        );
        times.push(millis(took));
    }
    Figure::new("create -> watch event", "ms", "p99 <= 5", times)
}
