//! What goes when something is deleted.

use crate::{
    plane::Plane,
    workload::{deployment, is_available},
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{ConfigMap, Namespace, Pod},
};
use kubik::api::{
    call::{Call, Propagation, Verb},
    name::Key,
    object::Object,
};
use serde_json::json;

async fn delete_deployment(plane: &Plane, propagation: Propagation) {
    let mut call = Call::new(Verb::Delete, Deployment::gvr()).named("ns", "web");
    call.options.delete.propagation = Some(propagation);
    plane.client.call(call).await.unwrap();
}

async fn running(replicas: i32) -> Plane {
    let plane = Plane::start().await;
    plane.run_pods();
    plane.create::<Deployment>(deployment(replicas)).await;
    plane
        .until::<Deployment>("it is available", |all| is_available(all, replicas))
        .await;
    plane
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_deployment_takes_its_pods_along() {
    let plane = running(20).await;
    delete_deployment(&plane, Propagation::Background).await;
    plane
        .until::<Deployment>("the deployment is gone", |all| all.is_empty())
        .await;
    plane
        .until::<ReplicaSet>("its sets are gone", |all| all.is_empty())
        .await;
    plane
        .until::<Pod>("its pods are gone", |all| all.is_empty())
        .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground_deletion_ends_with_the_owner() {
    let plane = running(3).await;
    delete_deployment(&plane, Propagation::Foreground).await;
    plane
        .until::<Deployment>("the deployment is gone", |all| all.is_empty())
        .await;
    let sets = plane.client.get::<ReplicaSet>(&Key::new("ns", "web")).await;
    assert!(sets.is_err());
    plane
        .until::<Pod>("its pods are gone", |all| all.is_empty())
        .await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_stay() {
    let plane = running(2).await;
    delete_deployment(&plane, Propagation::Orphan).await;
    plane
        .until::<Deployment>("the deployment is gone", |all| all.is_empty())
        .await;
    plane
        .until::<ReplicaSet>("its set has no owner", |all| {
            all.len() == 1
                && all[0]
                    .metadata
                    .owner_references
                    .as_ref()
                    .is_none_or(Vec::is_empty)
        })
        .await;
    assert_eq!(
        plane
            .informers
            .cache::<Pod>()
            .snapshot()
            .in_namespace("ns")
            .count(),
        2
    );
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_when_it_is_empty() {
    let plane = running(5).await;
    let held = json!({"metadata": {"namespace": "ns", "name": "held", "finalizers": ["example.com/hold"]}});
    plane.create::<ConfigMap>(held).await;
    let namespace: Namespace = plane.client.get(&Key::new("", "ns")).await.unwrap();
    plane
        .client
        .delete::<Namespace>(&Key::new("", "ns"), namespace.uid())
        .await
        .unwrap();
    let remaining = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
    let cache = plane.informers.cache::<Namespace>();
    let key = Key::new("", "ns");
    tokio::time::timeout(
        std::time::Duration::from_secs(20),
        cache.until(|all| {
            let status = all
                .get(&key)
                .and_then(|one| one.status.clone())
                .unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            conditions.any(|one| one.message.as_deref() == Some(remaining))
        }),
    )
    .await
    .unwrap_or_else(|_| panic!("the finalizer is not told: {:#?}", cache.get(&key)));
    plane
        .until::<Pod>("pods are gone", |all| all.is_empty())
        .await;
    plane
        .edit::<ConfigMap>("held", |map| map.metadata.finalizers = None)
        .await;
    let gone = cache.until(|all| !all.contains_key(&key));
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the namespace goes");
    plane.stop().await;
}
