//! Status, scale, binding, eviction and tokens.

use crate::server::{Server, body, on};
use base64::{Engine, prelude::BASE64_STANDARD};
use kubik::api::call::{PatchKind, Verb};
use serde_json::{Value, json};

pub fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "i"}],
        },
    })
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
}

async fn act(
    server: &Server,
    plural: &str,
    name: &str,
    sub: &str,
    value: Value,
) -> Result<Value, kubik::api::ApiError> {
    let mut call = on(Verb::Create, plural, name);
    call.subresource = Some(sub.to_owned());
    call.body = body(value);
    server.value(call).await
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let server = Server::new().await;
    let made = server.create("deployments", deployment()).await.unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    let mut both = made.clone();
    both["status"] = json!({"replicas": 2});
    both["spec"]["replicas"] = 5.into();
    let reported = server
        .update("deployments/status", both.clone())
        .await
        .unwrap();
    assert_eq!(reported["spec"]["replicas"], 3);
    assert_eq!(reported["status"]["replicas"], 2);
    assert_eq!(reported["metadata"]["generation"], 1);
    both["metadata"]["resourceVersion"] = Value::Null;
    both["status"] = json!({"replicas": 9});
    let scaled = server.update("deployments", both).await.unwrap();
    assert_eq!(scaled["spec"]["replicas"], 5);
    assert_eq!(scaled["status"]["replicas"], 2);
    assert_eq!(scaled["metadata"]["generation"], 2);
}

#[tokio::test]
async fn scale_moves_replicas() {
    let server = Server::new().await;
    server.create("deployments", deployment()).await.unwrap();
    let patch = json!({"spec": {"replicas": 7}});
    let scale = server
        .patch("deployments/scale", "web", PatchKind::Merge, patch)
        .await
        .unwrap();
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 7);
    assert_eq!(scale["status"]["selector"], "app=web");
    let mut call = on(Verb::Get, "deployments", "web");
    call.subresource = Some("scale".to_owned());
    let scale = server.value(call).await.unwrap();
    assert_eq!(scale["spec"]["replicas"], 7);
}

#[tokio::test]
async fn the_three_patches_change_a_deployment() {
    let server = Server::new().await;
    server.create("deployments", deployment()).await.unwrap();
    let strategic = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "c", "image": "j"}, {"name": "d", "image": "k"},
    ]}}}});
    let patched = server
        .patch("deployments", "web", PatchKind::Strategic, strategic)
        .await
        .unwrap();
    let containers = &patched["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["image"], "j");
    assert_eq!(containers[1]["name"], "d");
    let operations = json!([{"op": "replace", "path": "/spec/replicas", "value": 1}]);
    let patched = server
        .patch("deployments", "web", PatchKind::Json, operations)
        .await
        .unwrap();
    assert_eq!(patched["spec"]["replicas"], 1);
    let renamed = json!({"metadata": {"name": "other"}});
    let error = server
        .patch("deployments", "web", PatchKind::Merge, renamed)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            400,
            "the name of the object (other) does not match the name on the URL (web)"
        )
    );
    let stale = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 2}});
    let error = server
        .patch("deployments", "web", PatchKind::Merge, stale)
        .await
        .unwrap_err();
    assert_eq!((error.code, error.reason), (409, "Conflict"));
}

async fn with_account(server: &Server) {
    let account = json!({"metadata": {"name": "default"}});
    server.create("serviceaccounts", account).await.unwrap();
}

#[tokio::test]
async fn a_binding_places_a_pod() {
    let server = Server::new().await;
    with_account(&server).await;
    server.create("pods", pod("p")).await.unwrap();
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let status = act(&server, "pods", "p", "binding", binding.clone())
        .await
        .unwrap();
    assert_eq!(status["status"], "Success");
    let bound = server.get("pods", "p").await.unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n");
    assert_eq!(bound["metadata"]["generation"], 1);
    let error = act(&server, "pods", "p", "binding", binding)
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n\""
    );
}

#[tokio::test]
async fn a_running_pod_dies_gracefully() {
    let server = Server::new().await;
    with_account(&server).await;
    server.create("pods", pod("p")).await.unwrap();
    let binding = json!({"target": {"kind": "Node", "name": "n"}});
    act(&server, "pods", "p", "binding", binding).await.unwrap();
    let dying = server.delete("pods", "p").await.unwrap();
    assert_eq!(dying["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(dying["metadata"]["generation"], 2);
    let mut call = on(Verb::Delete, "pods", "p");
    call.options.delete.grace_period_seconds = Some(0);
    server.call(call).await.unwrap();
    assert_eq!(server.get("pods", "p").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn an_eviction_asks_the_budget() {
    let server = Server::new().await;
    with_account(&server).await;
    server.create("pods", pod("p")).await.unwrap();
    let status = json!({"status": {
        "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
    }});
    server
        .patch("pods/status", "p", PatchKind::Merge, status)
        .await
        .unwrap();
    let budget = json!({
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    server.create("poddisruptionbudgets", budget).await.unwrap();
    let eviction = json!({"metadata": {"name": "p"}});
    let error = act(&server, "pods", "p", "eviction", eviction.clone())
        .await
        .unwrap_err();
    assert_eq!(error.code, 429);
    let report = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2,
        "desiredHealthy": 1, "expectedPods": 2,
    }});
    let sub = "poddisruptionbudgets/status";
    server
        .patch(sub, "b", PatchKind::Merge, report)
        .await
        .unwrap();
    act(&server, "pods", "p", "eviction", eviction)
        .await
        .unwrap();
    assert_eq!(server.get("pods", "p").await.unwrap_err().code, 404);
    let budget = server.get("poddisruptionbudgets", "b").await.unwrap();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
}

#[tokio::test]
async fn tokens_are_good_while_their_pod_lives() {
    let server = Server::new().await;
    with_account(&server).await;
    let made = server.create("pods", pod("p")).await.unwrap();
    let request = json!({"spec": {
        "expirationSeconds": 3607,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]},
    }});
    let answer = act(&server, "serviceaccounts", "default", "token", request)
        .await
        .unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    let user = server.registry.verify_token(token).unwrap();
    assert_eq!(user.name, "system:serviceaccount:ns:default");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    server.delete("pods", "p").await.unwrap();
    assert_eq!(server.registry.verify_token(token).unwrap_err().code, 401);

    let short = json!({"spec": {"expirationSeconds": 10}});
    let error = act(&server, "serviceaccounts", "default", "token", short)
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "TokenRequest.authentication.k8s.io \"default\" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes"
    );
}

#[tokio::test]
async fn unknown_fields_are_refused_or_told() {
    use kubik::api::call::FieldValidation;
    let server = Server::new().await;
    let mut object = deployment();
    object["spec"]["foo"] = 1.into();
    let mut call = on(Verb::Create, "deployments", "");
    call.body = body(object);
    let reply = server.call(call.clone()).await.unwrap();
    assert_eq!(reply.warnings, ["unknown field \"spec.foo\""]);
    call.options.field_validation = FieldValidation::Strict;
    let error = server.call(call).await.unwrap_err();
    assert_eq!(
        error.message,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\""
    );
}

#[tokio::test]
async fn both_parties_of_a_certificate_request_leave_notes() {
    let server = Server::new().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key);
    let request = BASE64_STANDARD.encode(request.unwrap().pem().unwrap());
    let request = json!({
        "metadata": {"name": "jane"},
        "spec": {"request": request, "signerName": "example.com/x", "usages": ["client auth"]},
    });
    let plural = "certificatesigningrequests";
    server.create(plural, request).await.unwrap();
    for part in ["approval", "status"] {
        let patch = json!({
            "metadata": {"annotations": {part: "yes"}},
            "status": {"conditions": [{"type": part, "status": "True", "reason": "Test"}]},
        });
        let target = format!("{plural}/{part}");
        let patched = server.patch(&target, "jane", PatchKind::Merge, patch);
        let patched = patched.await.unwrap();
        assert_eq!(patched["metadata"]["annotations"][part], "yes");
        assert_eq!(patched["status"]["conditions"][0]["type"], part);
    }
}
