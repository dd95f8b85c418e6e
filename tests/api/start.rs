//! What a cluster has from its first moment.

use crate::server::Server;
use kubik::{
    api::call::{Options, User},
    apiserver::bootstrap::{Facts, bootstrap},
};

fn facts() -> Facts {
    Facts {
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        service_address: "10.96.0.1".parse().unwrap(),
        address: "10.244.0.1".parse().unwrap(),
        port: 6443,
        ca: "ca".to_owned(),
        provisioner: "example.com/p".to_owned(),
        now: "2026-11-21T05:00:00Z".to_owned(),
    }
}

#[tokio::test]
async fn bootstrapping_is_idempotent_and_follows_the_address() {
    let mut server = Server::new().await;
    bootstrap(&server.registry, &facts()).await.unwrap();
    let all = server
        .list("clusterroles", Options::default())
        .await
        .unwrap();
    assert_eq!(all.items.len(), 74);
    bootstrap(&server.registry, &facts()).await.unwrap();
    let again = server
        .list("clusterroles", Options::default())
        .await
        .unwrap();
    assert_eq!(again.revision, all.revision);

    let moved = Facts {
        address: "10.243.0.1".parse().unwrap(),
        ..facts()
    };
    bootstrap(&server.registry, &moved).await.unwrap();
    let mut call = crate::server::on(kubik::api::call::Verb::Get, "endpointslices", "kubernetes");
    call.namespace = Some("default".to_owned());
    let slice = server.value(call).await.unwrap();
    assert_eq!(slice["endpoints"][0]["addresses"][0], "10.243.0.1");

    server.user = User::component("system:kube-scheduler", &[]);
    server.list("pods", Options::default()).await.unwrap();
    let error = server
        .list("secrets", Options::default())
        .await
        .unwrap_err();
    assert_eq!(error.code, 403);
}
