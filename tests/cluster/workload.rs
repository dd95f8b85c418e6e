//! Deployments from creation to the last pod.

use crate::plane::Plane;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Pod, ServiceAccount},
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
