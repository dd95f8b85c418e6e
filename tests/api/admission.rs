//! What is added to writes and what is refused.

use crate::{
    server::{Server, body, config, on},
    subresources::pod,
};
use kubik::api::call::{PatchKind, User, Verb};
use serde_json::{Value, json};

async fn with_account(server: &Server) {
    let account = json!({"metadata": {"name": "default"}});
    server.create("serviceaccounts", account).await.unwrap();
}

#[tokio::test]
async fn namespaces_must_exist_and_last() {
    let server = Server::new().await;
    let mut call = on(Verb::Create, "configmaps", "");
    call.namespace = Some("nowhere".to_owned());
    call.body = body(config("a"));
    let error = server.value(call).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (404, "namespaces \"nowhere\" not found")
    );

    let mut namespace = server.get("namespaces", "ns").await.unwrap();
    namespace["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.update("namespaces", namespace).await.unwrap();
    server.delete("namespaces", "ns").await.unwrap();
    let error = server.create("configmaps", config("a")).await.unwrap_err();
    assert_eq!(
        error.message,
        "configmaps \"a\" is forbidden: unable to create new content in namespace ns because it is being terminated"
    );
    assert_eq!(
        error.details.unwrap().causes[0].reason,
        "NamespaceTerminating"
    );
    let error = server
        .delete("namespaces", "kube-system")
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    );
}

#[tokio::test(start_paused = true)]
async fn pods_need_an_account() {
    let server = Server::new().await;
    let error = server.create("pods", pod("p")).await.unwrap_err();
    assert_eq!(
        error.message,
        "pods \"p\" is forbidden: error looking up service account ns/default: serviceaccount \"default\" not found"
    );
    with_account(&server).await;
    let made = server.create("pods", pod("p")).await.unwrap();
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-"), "{volume}");
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
}

#[tokio::test]
async fn services_get_addresses() {
    let server = Server::new().await;
    let service = |name: &str, spec: Value| {
        let mut whole = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        kubik::api::patch::merge(&mut whole["spec"], &spec);
        whole
    };
    let first = server
        .create("services", service("a", json!({})))
        .await
        .unwrap();
    let address = first["spec"]["clusterIP"].clone();
    assert_eq!(first["spec"]["clusterIPs"], json!([address]));
    let error = server
        .create("services", service("b", json!({"clusterIP": address})))
        .await
        .unwrap_err();
    assert_eq!(error.code, 422);
    assert!(
        error.message.contains("provided IP is already allocated"),
        "{error}"
    );
    server.delete("services", "a").await.unwrap();
    server
        .create("services", service("b", json!({"clusterIP": address})))
        .await
        .unwrap();
    let patch = json!({"spec": {"type": "NodePort"}});
    let patched = server
        .patch("services", "b", PatchKind::Merge, patch)
        .await
        .unwrap();
    let port = patched["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&port), "{port}");
    assert_eq!(patched["spec"]["clusterIP"], address);
}

#[tokio::test]
async fn quotas_bound_a_namespace() {
    let server = Server::new().await;
    let quota = json!({
        "metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "2"}},
    });
    server.create("resourcequotas", quota).await.unwrap();
    let (one, two, three) = tokio::join!(
        server.create("configmaps", config("a")),
        server.create("configmaps", config("b")),
        server.create("configmaps", config("c")),
    );
    let results = [one, two, three];
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2);
    let error = results.into_iter().find_map(Result::err).unwrap();
    assert_eq!(
        error.message,
        "configmaps \"c\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=2, limited: count/configmaps=2"
    );
    // Of two that are exceeded one tells.
    let quota = json!({"metadata": {"name": "r"}, "spec": {"hard": {"configmaps": "1"}}});
    server.create("resourcequotas", quota).await.unwrap();
    let error = server.create("configmaps", config("d")).await.unwrap_err();
    assert_eq!(
        error.message,
        "configmaps \"d\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=2, limited: count/configmaps=2"
    );
    server.delete("resourcequotas", "r").await.unwrap();
    let quota = server.get("resourcequotas", "q").await.unwrap();
    assert_eq!(quota["status"]["used"]["count/configmaps"], "2");
    server.delete("configmaps", "a").await.unwrap();
    let quota = server.get("resourcequotas", "q").await.unwrap();
    assert_eq!(quota["status"]["used"]["count/configmaps"], "1");
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let mut server = Server::new().await;
    let role = |verbs: Value| {
        json!({
            "metadata": {"name": "r"},
            "rules": [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": verbs}],
        })
    };
    server
        .create("roles", role(json!(["create", "delete"])))
        .await
        .unwrap();
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    server.create("rolebindings", binding).await.unwrap();
    server.user = User::component("jane", &[]);
    let mut more = role(json!(["create", "get"]));
    more["metadata"]["name"] = "more".into();
    let error = server.create("roles", more).await.unwrap_err();
    assert_eq!(
        error.message,
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"rbac.authorization.k8s.io\"], Resources:[\"roles\"], Verbs:[\"get\"]}"
    );
    let mut same = role(json!(["create"]));
    same["metadata"]["name"] = "same".into();
    server.create("roles", same).await.unwrap();
}

#[tokio::test]
async fn reviews_answer() {
    let server = Server::new().await;
    let review = json!({"spec": {
        "user": "jane",
        "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "ns"},
    }});
    let answer = server.create("subjectaccessreviews", review).await.unwrap();
    assert_eq!(answer["status"]["allowed"], false);
    let me = server
        .create("selfsubjectreviews", json!({}))
        .await
        .unwrap();
    assert_eq!(me["status"]["userInfo"]["username"], "admin");
    let nobody = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let error = server.create("subjectaccessreviews", nobody).await;
    assert_eq!(
        error.unwrap_err().message,
        "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must be specified"
    );
    let error = server.create("tokenreviews", json!({"spec": {}})).await;
    assert_eq!(
        error.unwrap_err().message,
        "token is required for TokenReview in authentication"
    );
    let token = json!({"spec": {"token": "nonsense"}});
    let answer = server.create("tokenreviews", token).await.unwrap();
    assert!(answer["status"]["error"].is_string(), "{answer}");
    let components = server
        .list("componentstatuses", kubik::api::call::Options::default())
        .await
        .unwrap();
    assert_eq!(components.items.len(), 3);
}

#[tokio::test]
async fn webhooks_that_cannot_be_asked_fail_as_they_wish() {
    let server = Server::new().await;
    let webhooks = |policy: &str| {
        json!({
            "metadata": {"name": "w"},
            "webhooks": [{
                "name": "w.example.com", "failurePolicy": policy, "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://example.com"},
                "rules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["*"],
                    "resources": ["configmaps"],
                }],
            }],
        })
    };
    let plural = "validatingwebhookconfigurations";
    server.create(plural, webhooks("Fail")).await.unwrap();
    let error = server.create("configmaps", config("a")).await.unwrap_err();
    assert_eq!(error.code, 500);
    assert!(
        error
            .message
            .contains("failed calling webhook \"w.example.com\""),
        "{error}"
    );
    let patch = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    server
        .patch(plural, "w", PatchKind::Json, patch)
        .await
        .unwrap();
    server.create("configmaps", config("a")).await.unwrap();
}
