//! A node agent over a runtime in memory: pods from their binding to their end.

use crate::plane::Plane;
use futures_util::{FutureExt, future::BoxFuture};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Node, Pod},
};
use kubik::{
    api::{
        call::{Call, PatchKind, Verb},
        name::Key,
        object::Object,
        stream::{LogOptions, NodeApi, SessionEnd, SessionOptions},
    },
    config::{ClusterConfig, IngressConfig, KubeletConfig, Layout, NodeConfig},
    net::{
        Network,
        model::{Attach, Attached, NetError},
    },
    node::{Agent, NodeContext},
    runtime::fake::{Behavior, ExecResult, FakeRuntime},
    task::Tasks,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

#[derive(Clone, Default)]
struct FakeNetwork(Arc<Mutex<BTreeMap<String, Ipv4Addr>>>);

impl Network for FakeNetwork {
    fn attach(&self, request: Attach) -> BoxFuture<'_, Result<Attached, NetError>> {
        let mut leases = self.0.lock().unwrap();
        let next = Ipv4Addr::new(10, 244, 0, u8::try_from(leases.len() + 2).unwrap());
        let address = *leases.entry(request.sandbox.clone()).or_insert(next);
        let attached = Attached {
            sandbox: request.sandbox,
            address,
            host_link: "veth0".to_owned(),
        };
        async move { Ok(attached) }.boxed()
    }

    fn detach<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<(), NetError>> {
        self.0.lock().unwrap().remove(sandbox);
        async { Ok(()) }.boxed()
    }

    fn attached(&self) -> BoxFuture<'_, Result<Vec<Attached>, NetError>> {
        let leases = self.0.lock().unwrap().clone();
        let attached = leases.into_iter().map(|(sandbox, address)| Attached {
            sandbox,
            address,
            host_link: "veth0".to_owned(),
        });
        let attached = attached.collect();
        async move { Ok(attached) }.boxed()
    }
}

/// A plane and what outlives its agents.
struct World {
    plane: Plane,
    runtime: FakeRuntime,
    network: FakeNetwork,
    home: tempfile::TempDir,
}

impl World {
    async fn new() -> World {
        let plane = Plane::start().await;
        let runtime = FakeRuntime::new();
        runtime.add_image("docker.io/library/app:1");
        World {
            plane,
            runtime,
            network: FakeNetwork::default(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    async fn agent(&self) -> (Arc<Agent>, Tasks) {
        let tasks = Tasks::new();
        let node = NodeConfig {
            name: "n1".to_owned(),
            stopped: false,
            pod_cidr: "10.244.0.0/24".parse().unwrap(),
        };
        let agent = Agent::start(NodeContext {
            config: node.clone(),
            cluster: ClusterConfig {
                ingress: IngressConfig::default(),
                kubelet: KubeletConfig::default(),
                profile: "test".to_owned(),
                host_name: "test".to_owned(),
                slot: 0,
                api_port: 6443,
                pod_cidr: "10.244.0.0/16".parse().unwrap(),
                service_cidr: "10.96.0.0/16".parse().unwrap(),
                cluster_domain: "cluster.local".to_owned(),
                ephemeral: true,
                nodes: vec![node],
                insecure_registries: Default::default(),
                registry_authorities: Vec::new(),
                registry_port: 0,
                addons: Default::default(),
                registry_mirrors: Default::default(),
            },
            layout: self.layout(),
            client: self.plane.client.clone(),
            informers: self.plane.informers.clone(),
            runtime: Arc::new(self.runtime.clone()),
            network: Arc::new(self.network.clone()),
            tasks: tasks.clone(),
        });
        (agent.await.unwrap(), tasks)
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.home.path().join("state"), Path::new("/run"), "test")
    }

    async fn pod(&self, name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["nodeName"] = "n1".into();
        spec["automountServiceAccountToken"] = false.into();
        self.plane
            .create::<Pod>(json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec}))
            .await
    }

    async fn until_pod(&self, what: &str, name: &str, holds: impl Fn(&Value) -> bool) {
        self.plane
            .until::<Pod>(what, |pods| {
                let pod = pods.iter().find(|pod| pod.key().name == name);
                pod.is_some_and(|pod| holds(&serde_json::to_value(&pod.status).unwrap()))
            })
            .await;
    }

    async fn until_event(&self, reason: &str, text: &str) {
        let what = format!("an event {reason}: {text}");
        self.plane
            .until::<Event>(&what, |events| {
                events.iter().any(|event| {
                    event.reason.as_deref() == Some(reason)
                        && event
                            .message
                            .as_deref()
                            .is_some_and(|message| message.contains(text))
                })
            })
            .await;
    }

    async fn delete(&self, name: &str) {
        let call = Call::new(Verb::Delete, Pod::gvr()).named("ns", name);
        self.plane.client.call(call).await.unwrap();
    }

    async fn until_gone(&self, name: &str) {
        self.plane
            .until::<Pod>("the pod is gone", |pods| {
                pods.iter().all(|pod| pod.key().name != name)
            })
            .await;
    }
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    })
}

fn app() -> Value {
    json!({"containers": [{"name": "c", "image": "docker.io/library/app:1"}], "terminationGracePeriodSeconds": 5})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_and_goes() {
    let world = World::new().await;
    let (_agent, tasks) = world.agent().await;
    let begin = Instant::now();
    let pod = world.pod("p", app()).await;
    world.until_pod("ready", "p", is_ready).await;
    let ready = begin.elapsed();
    let spec = world.runtime.container_spec(pod.uid(), "c").unwrap();
    let mounts: Vec<String> = spec
        .mounts
        .iter()
        .map(|mount| mount.destination.display().to_string())
        .collect();
    let managed = [
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/dev/termination-log",
    ];
    assert_eq!(mounts, managed);
    world.until_event("Started", "Container started").await;
    let begin = Instant::now();
    world.delete("p").await;
    world.until_gone("p").await;
    println!("ready after {ready:?}, gone after {:?}", begin.elapsed());
    assert!(!world.layout().pod(pod.uid()).exists());
    assert!(world.network.0.lock().unwrap().is_empty());
    let node: Node = world.plane.client.get(&Key::new("", "n1")).await.unwrap();
    assert_eq!(
        node.spec.unwrap().pod_cidr.as_deref(),
        Some("10.244.0.0/24")
    );
    let leases = world.plane.informers.cache::<Lease>();
    let key = Key::new("kube-node-lease", "n1");
    let renewed = leases.until(|leases| leases.contains_key(&key));
    tokio::time::timeout(Duration::from_secs(20), renewed)
        .await
        .unwrap();
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_crashes_backs_off() {
    let world = World::new().await;
    world.runtime.on_start(|_| Behavior::Exit(3));
    let (_agent, tasks) = world.agent().await;
    world.pod("p", app()).await;
    world
        .until_pod("in back-off", "p", |status| {
            let status = &status["containerStatuses"][0];
            status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && status["lastState"]["terminated"]["exitCode"] == 3
                && status["restartCount"] == 1
        })
        .await;
    let text = "Back-off restarting failed container c in pod p_ns(";
    world.until_event("BackOff", text).await;
    world.delete("p").await;
    world.until_gone("p").await;
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_like_pod_ends_in_order() {
    let world = World::new().await;
    let side = "s";
    world.runtime.on_start(move |spec| {
        if spec.name == side {
            Behavior::Run
        } else {
            Behavior::Exit(0)
        }
    });
    let (_agent, tasks) = world.agent().await;
    let image = "docker.io/library/app:1";
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": image}, {"name": side, "image": image, "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": image}],
    });
    world.pod("p", spec).await;
    world
        .until_pod("succeeded", "p", |status| {
            status["phase"] == "Succeeded"
                && status["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
        })
        .await;
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_wait_for_their_objects_and_follow_them() {
    let world = World::new().await;
    let (_agent, tasks) = world.agent().await;
    let mut spec = app();
    spec["volumes"] = json!([{"name": "v", "configMap": {"name": "m"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let pod = world.pod("p", spec).await;
    let text = "MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found";
    world.until_event("FailedMount", text).await;
    let map =
        |value: &str| json!({"metadata": {"namespace": "ns", "name": "m"}, "data": {"k": value}});
    world.plane.create::<ConfigMap>(map("1")).await;
    world.until_pod("ready", "p", is_ready).await;
    let file = world.layout().pod(pod.uid());
    let file = file.join("volumes/kubernetes.io~configmap/v/k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
    let mut watch = kubik::runtime::follow::Follow::new(&file).unwrap();
    world
        .plane
        .edit::<ConfigMap>("m", |map| {
            map.data = Some([("k".to_owned(), "2".to_owned())].into());
        })
        .await;
    let followed = async {
        while std::fs::read_to_string(&file).unwrap_or_default() != "2" {
            watch.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), followed)
        .await
        .unwrap();
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_the_probe() {
    let world = World::new().await;
    let code = Arc::new(Mutex::new(1));
    let answer = Arc::clone(&code);
    world.runtime.on_exec(move |_, _| ExecResult {
        code: *answer.lock().unwrap(),
        ..ExecResult::default()
    });
    let (agent, tasks) = world.agent().await;
    let mut spec = app();
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    spec["containers"][0]["readinessProbe"] = probe;
    world.pod("p", spec).await;
    world
        .until_pod("running and not ready", "p", |status| {
            status["phase"] == "Running" && !is_ready(status)
        })
        .await;
    *code.lock().unwrap() = 0;
    world.until_pod("ready", "p", is_ready).await;

    let options = SessionOptions {
        command: vec!["true".to_owned()],
        stdout: true,
        ..SessionOptions::default()
    };
    let key = Key::new("ns", "p");
    let session = agent.exec(key.clone(), "c".to_owned(), options).await;
    assert_eq!(session.unwrap().end.await, Ok(SessionEnd::Exited(0)));
    let missing = agent.logs(key, "x".to_owned(), LogOptions::default()).await;
    let text = "container x is not valid for pod p";
    assert_eq!(missing.unwrap_err().message, text);
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_outlive_the_daemon_and_come_back_after_a_stop() {
    let world = World::new().await;
    let (_agent, tasks) = world.agent().await;
    world.pod("p", app()).await;
    world.until_pod("ready", "p", is_ready).await;
    let of = |pod: &Pod| {
        let status = serde_json::to_value(&pod.status).unwrap();
        let status = &status["containerStatuses"][0];
        (
            status["containerID"].clone(),
            status["restartCount"].clone(),
        )
    };
    let before = of(&world.plane.get::<Pod>("p").await);
    tasks.shutdown(Duration::from_secs(5)).await;

    let (agent, tasks) = world.agent().await;
    // Something that takes a full round trip through the new agent.
    world.pod("q", app()).await;
    world.until_pod("ready", "q", is_ready).await;
    let adopted = of(&world.plane.get::<Pod>("p").await);
    assert_eq!(adopted, before, "the same container goes on");

    agent.stop_all(Duration::from_secs(5)).await;
    tasks.shutdown(Duration::from_secs(5)).await;
    let stopped = world.plane.get::<Pod>("p").await;
    assert!(!stopped.is_deleting());
    let (_agent, tasks) = world.agent().await;
    world
        .until_pod("ready again", "p", |status| {
            is_ready(status) && status["containerStatuses"][0]["restartCount"] == 1
        })
        .await;
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_rejected() {
    let world = World::new().await;
    let (_agent, tasks) = world.agent().await;
    let mut spec = app();
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "100k"}});
    world.pod("p", spec).await;
    world
        .until_pod("rejected", "p", |status| {
            let message = status["message"].as_str().unwrap_or_default();
            status["phase"] == "Failed"
                && status["reason"] == "OutOfcpu"
                && message.starts_with("Pod was rejected: Node didn't have enough resource: cpu")
        })
        .await;
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

fn sized(cpu: &str, memory: &str) -> Value {
    let mut spec = app();
    spec["containers"][0]["resources"] = json!({"limits": {"cpu": cpu, "memory": memory}});
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_pod_is_resized() {
    let world = World::new().await;
    let (_agent, tasks) = world.agent().await;
    let pod = world.pod("p", sized("100m", "64Mi")).await;
    world.until_pod("ready", "p", is_ready).await;
    let resize = |cpu: &'static str| {
        let resources = json!({"limits": {"cpu": cpu}, "requests": {"cpu": cpu}});
        let patch = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        let client = world.plane.client.clone();
        async move {
            let key = Key::new("ns", "p");
            let kind = PatchKind::Strategic;
            let patched = client.patch::<Pod>(&key, Some("resize"), kind, &patch);
            patched.await.unwrap();
        }
    };
    resize("200m").await;
    world
        .until_pod("resized", "p", |status| {
            let conditions = status["conditions"].to_string();
            let container = &status["containerStatuses"][0];
            container["resources"]["limits"]["cpu"] == "200m"
                && container["allocatedResources"]["cpu"] == "200m"
                && container["restartCount"] == 0
                && !conditions.contains("PodResize")
        })
        .await;
    world
        .until_event("ResizeCompleted", "\"cpu\":\"200m\"")
        .await;
    let spec = world.runtime.container_spec(pod.uid(), "c").unwrap();
    assert_eq!(spec.resources.cpu_quota_us, 20_000);
    let sandbox = world.runtime.sandbox_spec(pod.uid()).unwrap();
    assert_eq!(sandbox.resources.cpu_quota_us, 20_000);
    resize("1000k").await;
    world
        .until_pod("infeasible", "p", |status| {
            let conditions = status["conditions"].to_string();
            conditions.contains("Infeasible")
                && conditions.contains("Node didn't have enough capacity: cpu, requested: ")
                && status["containerStatuses"][0]["resources"]["limits"]["cpu"] == "200m"
        })
        .await;
    world.delete("p").await;
    world.until_gone("p").await;
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_tells_the_true_exit_codes() {
    let world = World::new().await;
    let (agent, tasks) = world.agent().await;
    world.pod("p", app()).await;
    world.until_pod("ready", "p", is_ready).await;
    agent.stop_all(Duration::from_secs(5)).await;
    world
        .until_pod("ended", "p", |status| {
            let ended = &status["containerStatuses"][0]["state"]["terminated"];
            ended["exitCode"] == 143 && status["phase"] == "Running"
        })
        .await;
    tasks.shutdown(Duration::from_secs(5)).await;
    let (_agent, tasks) = world.agent().await;
    world
        .until_pod("runs again", "p", |status| {
            let container = &status["containerStatuses"][0];
            is_ready(status)
                && container["restartCount"] == 1
                && container["lastState"]["terminated"]["exitCode"] == 143
        })
        .await;
    tasks.shutdown(Duration::from_secs(5)).await;
    world.plane.stop().await;
}
