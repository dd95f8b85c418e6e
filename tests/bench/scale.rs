//! Many pods: a rollout that clients must not notice, a stateful set one after the other, a crowd on one machine.

use crate::{
    Settings,
    figure::Figure,
    https::{Access, Connection, Watch, runtime},
    machine::{descendants, pss_mb},
    place::Place,
    pods::{self, DEPLOYMENTS, PODS, SLEEPS},
    starts::millis,
    traffic::fetch,
};
use http::Method;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A web server that has left its Service before it ends.
fn server(version: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [{
            "name": "web", "image": "kubik/hello", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "VERSION", "value": version}],
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
        }]},
    })
}

async fn until(access: &Access, path: &str, name: &str, done: impl Fn(&Value) -> bool) {
    let mut connection = access.connect().await;
    let path = format!("{path}?watch=true&fieldSelector=metadata.name%3D{name}");
    let mut watch = Watch::open(&mut connection, &path).await;
    while !done(&watch.next().await["object"]) {}
}

/// Fifty replicas replaced while a client asks as fast as it can.
pub fn rollout(settings: &Settings) -> Vec<Figure> {
    const REPLICAS: u64 = 50;
    let runs = if settings.is_quick { 1 } else { 5 };
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    let (mut times, mut lost, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    runtime().block_on(async {
        let mut writer = access.connect().await;
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
        let service = writer.json(Method::POST, SERVICES, service.to_string()).await;
        let address = format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap());
        let mut deployment = json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}, "template": server("0")},
        });
        writer.call(Method::POST, DEPLOYMENTS, deployment.to_string()).await;
        until(&access, DEPLOYMENTS, "web", |d| d["status"]["availableReplicas"] == REPLICAS).await;
        for run in 1..=runs {
            let load = Load::start(&address);
            let begun = Instant::now();
            deployment["spec"]["template"] = server(&run.to_string());
            let path = format!("{DEPLOYMENTS}/web");
            writer.call(Method::PUT, &path, deployment.to_string()).await;
            until(&access, DEPLOYMENTS, "web", |d| {
                let status = &d["status"];
                status["observedGeneration"] == d["metadata"]["generation"]
                    && ["updatedReplicas", "availableReplicas", "replicas"].iter().all(|field| status[field] == REPLICAS)
            })
            .await;
            times.push(begun.elapsed().as_secs_f64());
            let (good, bad) = load.end();
            lost.push(bad as f64);
            rates.push(good as f64 / times.last().unwrap());
        }
    });
    vec![
        Figure::new("rollout of 50 replicas under load", "s", "-", times),
        Figure::new("requests lost meanwhile", "", "0", lost),
        Figure::new("requests answered meanwhile", "1/s", "-", rates),
    ]
}

/// A client with a connection per request, until it is ended.
struct Load {
    ends: Arc<AtomicBool>,
    good: Arc<AtomicUsize>,
    bad: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn start(address: &str) -> Load {
        let (ends, good, bad) = (
            Arc::<AtomicBool>::default(),
            Arc::<AtomicUsize>::default(),
            Arc::<AtomicUsize>::default(),
        );
        let thread = {
            let (ends, good, bad, address) = (
                Arc::clone(&ends),
                Arc::clone(&good),
                Arc::clone(&bad),
                address.to_owned(),
            );
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let count = if fetch(&address).is_ok() { &good } else { &bad };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        Load {
            ends,
            good,
            bad,
            thread,
        }
    }

    fn end(self) -> (usize, usize) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        (
            self.good.load(Ordering::Relaxed),
            self.bad.load(Ordering::Relaxed),
        )
    }
}

pub fn stateful(settings: &Settings) -> Vec<Figure> {
    const REPLICAS: u64 = 20;
    let runs = if settings.is_quick { 1 } else { 5 };
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    let mut times = Vec::new();
    runtime().block_on(async {
        let mut writer = access.connect().await;
        for run in 0..runs {
            let name = format!("set{run}");
            let labels = json!({"set": name});
            let mut template = pods::pod("", SLEEPS);
            template["metadata"] = json!({"labels": labels});
            let set = json!({
                "metadata": {"name": name},
                "spec": {"serviceName": "none", "replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template},
            });
            let begun = Instant::now();
            writer.call(Method::POST, STATEFUL_SETS, set.to_string()).await;
            until(&access, STATEFUL_SETS, &name, |s| s["status"]["readyReplicas"] == REPLICAS).await;
            times.push(begun.elapsed().as_secs_f64());
            writer.call(Method::DELETE, &format!("{STATEFUL_SETS}/{name}"), String::new()).await;
        }
    });
    vec![Figure::new(
        "StatefulSet of 20, one after the other",
        "s",
        "-",
        times,
    )]
}

/// On one node, which is told to take so many.
pub fn crowd(settings: &Settings) -> Vec<Figure> {
    let count = if settings.is_quick { 100 } else { 500 };
    let place = Place::new();
    place.start_with(&["--extra-config", "kubelet.max-pods=500"]);
    let access = Access::read(&place.kubeconfig());
    let pid = place.daemon_pid();
    let empty = pss_mb(pid);
    let (mut latencies, mut took) = (Vec::new(), Duration::ZERO);
    runtime().block_on(async {
        let template = pods::pod("", SLEEPS);
        let deployment = json!({
            "metadata": {"name": "crowd"},
            "spec": {"replicas": count, "selector": {"matchLabels": {"app": "crowd"}},
                "template": {"metadata": {"labels": {"app": "crowd"}}, "spec": template["spec"]}},
        });
        let mut writer = access.connect().await;
        let begun = Instant::now();
        writer
            .call(Method::POST, DEPLOYMENTS, deployment.to_string())
            .await;
        until(&access, DEPLOYMENTS, "crowd", |d| {
            d["status"]["readyReplicas"] == count
        })
        .await;
        took = begun.elapsed();
        latencies = latency(&mut writer, settings.samples * 20).await;
    });
    let daemon = pss_mb(pid);
    let all: f64 = descendants(pid).into_iter().map(pss_mb).sum();
    let names: [&'static str; 4] = if settings.is_quick {
        [
            "100 pods: all Ready",
            "100 pods: daemon's memory (PSS)",
            "100 pods: memory per pod",
            "100 pods: get of one",
        ]
    } else {
        [
            "500 pods on one node: all Ready",
            "500 pods: daemon's memory (PSS)",
            "500 pods: memory per pod",
            "500 pods: get of one",
        ]
    };
    vec![
        Figure::new(names[0], "s", "-", vec![took.as_secs_f64()]),
        Figure::new(names[1], "MB", "-", vec![daemon]),
        Figure::new(
            names[2],
            "MB",
            "<= 1.5",
            vec![(daemon - empty + all) / f64::from(count)],
        ),
        Figure::new(names[3], "ms", "-", latencies),
    ]
}

async fn latency(connection: &mut Connection, samples: usize) -> Vec<f64> {
    let list = connection
        .json(Method::GET, &format!("{PODS}?limit=50"), String::new())
        .await;
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    let mut times = Vec::new();
    for n in 0..samples {
        let path = format!("{PODS}/{}", names[n % names.len()]);
        let begun = Instant::now();
        connection.call(Method::GET, &path, String::new()).await;
        times.push(millis(begun.elapsed()));
    }
    times
}
