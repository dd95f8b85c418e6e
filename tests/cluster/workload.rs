//! Deployments from creation to the last pod.

use crate::plane::Plane;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::Job,
    core::v1::{
        ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service, ServiceAccount,
    },
    discovery::v1::EndpointSlice,
};
use kubik::api::{name::Key, object::Object};
use serde_json::{Value, json};
use std::sync::Arc;

pub fn deployment(replicas: i32) -> Value {
    json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}}})
}

pub fn is_available(all: &[Arc<Deployment>], replicas: i32) -> bool {
    let Some(deployment) = all.first() else {
        return false;
    };
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(replicas)
            && status.available_replicas == Some(replicas)
            && status.replicas == Some(replicas)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_becomes_available_and_rolls() {
    let plane = Plane::start().await;
    plane.run_pods();
    plane.create::<Deployment>(deployment(100)).await;
    let begin = std::time::Instant::now();
    plane
        .until::<Deployment>("all replicas are available", |all| is_available(all, 100))
        .await;
    println!("100 replicas available after {:?}", begin.elapsed());
    assert_eq!(plane.informers.cache::<Pod>().snapshot().len(), 100);

    plane
        .edit::<Deployment>("web", |web| {
            web.spec
                .as_mut()
                .unwrap()
                .template
                .spec
                .as_mut()
                .unwrap()
                .containers[0]
                .image = Some("v2".to_owned());
        })
        .await;
    plane
        .until::<Deployment>("the new template is rolled out", |all| {
            is_available(all, 100)
        })
        .await;
    plane
        .until::<Pod>("the old pods are gone", |all| all.len() == 100)
        .await;
    println!("rolled after {:?}", begin.elapsed());
    let sets = plane.informers.cache::<ReplicaSet>().snapshot();
    assert_eq!(sets.len(), 2);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_its_account_and_certificate() {
    let plane = Plane::start().await;
    plane
        .until::<ServiceAccount>("the account is there", |all| all.len() == 1)
        .await;
    plane
        .until::<ConfigMap>("the certificate is there", |all| all.len() == 1)
        .await;
    let key = Key::new("ns", "default");
    let account: ServiceAccount = plane.client.get(&key).await.unwrap();
    plane
        .client
        .delete::<ServiceAccount>(&key, account.uid())
        .await
        .unwrap();
    plane
        .until::<ServiceAccount>("the account is back", |all| {
            all.first().is_some_and(|one| one.uid() != account.uid())
        })
        .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_completes_and_its_pods_are_let_go() {
    let plane = Plane::start().await;
    plane.run_pods();
    plane
        .create::<Job>(json!({"metadata": {"namespace": "ns", "name": "sum"}, "spec": {"completions": 3, "parallelism": 2,
            "template": {"metadata": {"labels": {"ends": "true"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}))
        .await;
    plane
        .until::<Job>("the job is complete", |all| {
            let conditions = all
                .iter()
                .filter_map(|job| job.status.as_ref()?.conditions.as_ref());
            conditions.flatten().any(|one| one.type_ == "Complete")
        })
        .await;
    let job: Job = plane.get("sum").await;
    assert_eq!(job.status.unwrap().succeeded, Some(3));
    plane
        .until::<Pod>("no pod is tracked", |all| {
            all.len() == 3
                && all
                    .iter()
                    .all(|pod| pod.metadata.finalizers.as_ref().is_none_or(Vec::is_empty))
        })
        .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_gets_a_directory_that_goes_with_it() {
    let plane = Plane::start().await;
    plane
        .create::<PersistentVolumeClaim>(json!({"metadata": {"namespace": "ns", "name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "standard", "resources": {"requests": {"storage": "1Gi"}}}}))
        .await;
    plane
        .until::<PersistentVolumeClaim>("the claim is bound", |all| {
            let status = all.first().and_then(|claim| claim.status.as_ref());
            status.is_some_and(|status| status.phase.as_deref() == Some("Bound"))
        })
        .await;
    let claim: PersistentVolumeClaim = plane.get("data").await;
    let name = claim.spec.as_ref().unwrap().volume_name.clone().unwrap();
    assert!(plane.disk.path().join(&name).is_dir());
    plane
        .client
        .delete::<PersistentVolumeClaim>(&claim.key(), claim.uid())
        .await
        .unwrap();
    let gone = plane.informers.cache::<PersistentVolume>();
    let gone = gone.until(|all| all.is_empty());
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the volume goes");
    assert!(!plane.disk.path().join(&name).exists());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_show_the_pods_of_every_kind_of_set() {
    let plane = Plane::start().await;
    plane.run_pods();
    plane
        .create::<Node>(json!({"metadata": {"name": "n1"}}))
        .await;
    let template = json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let selector = json!({"matchLabels": {"app": "db"}});
    plane
        .create::<Service>(
            json!({"metadata": {"namespace": "ns", "name": "db"}, "spec": {
            "clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": "db"}, "ports": [{"port": 80}]}}),
        )
        .await;
    plane
        .create::<StatefulSet>(
            json!({"metadata": {"namespace": "ns", "name": "db"}, "spec": {
            "replicas": 3, "serviceName": "db", "selector": selector, "template": template}}),
        )
        .await;
    plane
        .until::<EndpointSlice>("three pods are ready", |all| {
            let endpoints = all
                .iter()
                .flat_map(|slice| slice.endpoints.iter().flatten());
            endpoints
                .filter(|one| one.conditions.as_ref().and_then(|one| one.ready) == Some(true))
                .count()
                == 3
        })
        .await;
    let names: Vec<String> = {
        let cache = plane.informers.cache::<Pod>().snapshot();
        cache.keys().map(|key| key.name.clone()).collect()
    };
    assert_eq!(names, ["db-0", "db-1", "db-2"]);
    plane
        .create::<DaemonSet>(json!({"metadata": {"namespace": "ns", "name": "log"}, "spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}))
        .await;
    plane
        .until::<DaemonSet>("the daemon is available", |all| {
            let status = all.first().and_then(|set| set.status.as_ref());
            status.is_some_and(|status| status.number_available == Some(1))
        })
        .await;
    plane.stop().await;
}
