//! A control plane to talk to, and a node that only exists in the status of pods.

use futures_util::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kubik::{
    api::{
        ApiError,
        call::{Call, Reply, User},
        name::Key,
        object::Object,
    },
    apiserver::{
        bootstrap::{self, Facts},
        registry::{Registry, testing},
    },
    client::{Cache, Client, Informers, Transport},
    controllers::{self, ControllerContext, Settings, inventory::Inventory},
    task::Tasks,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Longer than anything takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Controllers have exactly the rights of their bootstrap roles.
struct InProcess(Arc<Registry>);

impl Transport for InProcess {
    fn call<'a>(&'a self, user: &'a User, call: Call) -> BoxFuture<'a, Result<Reply, ApiError>> {
        async move { self.0.call(user, call).await }.boxed()
    }
}

pub struct Plane {
    pub client: Client,
    pub informers: Informers,
    tasks: Tasks,
    /// Where provisioned volumes lie.
    pub disk: tempfile::TempDir,
}

impl Plane {
    pub async fn start() -> Plane {
        let registry = testing::registry();
        bootstrap::bootstrap(&registry, &facts()).await.unwrap();
        let transport = Arc::new(InProcess(registry));
        let client = Client::new(transport, User::component("admin", &["system:masters"]));
        let tasks = Tasks::new();
        let informers = Informers::new(client.clone(), tasks.clone());
        let plane = Plane {
            client: client.clone(),
            informers: informers.clone(),
            tasks: tasks.clone(),
            disk: tempfile::tempdir().unwrap(),
        };
        plane
            .create::<Namespace>(
                json!({"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}}),
            )
            .await;
        controllers::start(&ControllerContext {
            inventory: Inventory::start(&client, &tasks),
            client,
            informers,
            tasks,
            settings: Arc::new(Settings {
                root_ca: "PEM".to_owned(),
                volumes: plane.disk.path().to_owned(),
                ..Settings::default()
            }),
        });
        plane
    }

    pub async fn stop(self) {
        self.tasks.shutdown(Duration::from_secs(5)).await;
    }

    pub async fn create<T: Object>(&self, mut value: Value) -> T {
        value["apiVersion"] = T::API_VERSION.into();
        value["kind"] = T::KIND.into();
        let typed: T = serde_json::from_value(value).unwrap();
        self.client.create(&typed).await.unwrap()
    }

    pub async fn get<T: Object>(&self, name: &str) -> T {
        self.client.get(&Key::new("ns", name)).await.unwrap()
    }

    /// Reads, changes, writes, waits for the cache; again when somebody else was faster.
    pub async fn edit<T: Object>(&self, name: &str, change: impl Fn(&mut T)) {
        loop {
            let mut object = self.get::<T>(name).await;
            change(&mut object);
            match self.client.update(&object).await {
                Err(failure) if failure.is_conflict() => {}
                other => {
                    break self
                        .informers
                        .cache::<T>()
                        .seen(other.unwrap().revision())
                        .await;
                }
            }
        }
    }

    /// Until the objects of a kind in `ns` satisfy the condition.
    pub async fn until<T: Object>(&self, what: &str, holds: impl Fn(&[Arc<T>]) -> bool) {
        let cache: Cache<T> = self.informers.cache();
        let seen = cache.until(|snapshot| {
            let all: Vec<Arc<T>> = snapshot.in_namespace("ns").cloned().collect();
            holds(&all)
        });
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            let all: Vec<Arc<T>> = cache.snapshot().in_namespace("ns").cloned().collect();
            panic!("waited in vain until {what}: {all:#?}");
        }
    }

    /// From now on every pod is bound, runs and is ready, and goes when it is deleted: what a node would do.
    pub fn run_pods(&self) {
        let queue = kubik::client::WorkQueue::new();
        let cache: Cache<Pod> = self.informers.cache();
        let adder = queue.clone();
        cache.on_change(move |_, new| {
            if let Some(pod) = new {
                adder.add(pod.key());
            }
        });
        let client = self.client.clone();
        let mut stop = self.tasks.stop_signal();
        self.tasks.spawn("node", async move {
            let work = async {
                loop {
                    let key: Key = queue.next().await;
                    if let Some(pod) = cache.get(&key) {
                        act(&client, &pod).await;
                    }
                    queue.done(&key);
                }
            };
            tokio::select! {
                () = work => {}
                () = stop.stopped() => {}
            }
        });
    }
}

fn facts() -> Facts {
    Facts {
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        service_address: "10.96.0.1".parse().unwrap(),
        address: "10.244.0.1".parse().unwrap(),
        port: 6443,
        ca: "PEM".to_owned(),
        provisioner: "kubik.io/hostpath".to_owned(),
        now: "2026-11-21T05:00:00Z".to_owned(),
    }
}

async fn act(client: &Client, pod: &Pod) {
    use kubik::api::call::{PatchKind, Verb};
    let key = pod.key();
    if pod.is_deleting() {
        let mut call = Call::new(Verb::Delete, Pod::gvr()).named(&key.namespace, &key.name);
        call.options.delete.grace_period_seconds = Some(0);
        let _ = client.call(call).await;
        return;
    }
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if phase.is_none_or(|phase| phase == "Pending") {
        let ends = pod
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key("ends"));
        let status = if ends {
            json!({"phase": "Succeeded"})
        } else {
            json!({"phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}], "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T05:00:00Z"}]})
        };
        let _ = client
            .patch::<Pod>(
                &key,
                Some("status"),
                PatchKind::Merge,
                &json!({"status": status}),
            )
            .await;
    }
}
