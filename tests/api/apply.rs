//! Server-side apply, and the owners that other writes leave.

use crate::server::{Server, on};
use kubik::api::{
    ApiError,
    call::{Body, PatchKind, Verb},
};
use serde_json::{Value, json};

async fn apply(
    server: &Server,
    manager: &str,
    target: &str,
    config: &Value,
    force: bool,
) -> Result<Value, ApiError> {
    let (plural, subresource) = match target.split_once('/') {
        Some((plural, subresource)) => (plural, Some(subresource.to_owned())),
        None => (target, None),
    };
    let mut call = on(
        Verb::Patch,
        plural,
        config["metadata"]["name"].as_str().unwrap(),
    );
    call.subresource = subresource;
    call.options.field_manager = Some(manager.to_owned());
    call.options.force = Some(force);
    // YAML on purpose: that is what the content type says.
    let text = serde_yaml_ng::to_string(config).unwrap();
    call.body = Body::Patch(PatchKind::Apply, text.into());
    server.value(call).await
}

fn deployment(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
}

fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    let told = |entry| {
        format!(
            "{} {} {}",
            text(entry, "operation"),
            text(entry, "manager"),
            text(entry, "subresource")
        )
    };
    entries.iter().map(told).collect()
}

#[tokio::test]
async fn apply_creates_then_changes_nothing_twice() {
    let server = Server::new().await;
    let made = apply(&server, "me", "deployments", &deployment(3), false)
        .await
        .unwrap();
    assert_eq!(owners(&made), ["Apply me -"]);
    assert_eq!(
        made["spec"]["strategy"]["type"], "RollingUpdate",
        "defaults are filled in"
    );
    let fields = &made["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(
        fields["f:spec"]["f:strategy"],
        Value::Null,
        "and belong to nobody"
    );
    let again = apply(&server, "me", "deployments", &deployment(3), false)
        .await
        .unwrap();
    assert_eq!(again, made);
}

#[tokio::test]
async fn conflicts_are_refused_unless_forced() {
    let server = Server::new().await;
    apply(&server, "me", "deployments", &deployment(3), false)
        .await
        .unwrap();
    let error = apply(&server, "you", "deployments", &deployment(5), false)
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas"
    );
    assert!(error.is_conflict());
    let forced = apply(&server, "you", "deployments", &deployment(5), true)
        .await
        .unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(forced["metadata"]["generation"], 2);
}

#[tokio::test]
async fn scaling_takes_the_replicas() {
    let server = Server::new().await;
    apply(&server, "me", "deployments", &deployment(3), false)
        .await
        .unwrap();
    let scale = json!({"spec": {"replicas": 4}});
    server
        .patch("deployments/scale", "web", PatchKind::Merge, scale)
        .await
        .unwrap();
    let scaled = server.get("deployments", "web").await.unwrap();
    assert_eq!(owners(&scaled), ["Apply me -", "Update admin scale"]);
    let error = apply(&server, "me", "deployments", &deployment(3), false)
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"admin\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 6},
    });
    let answer = apply(&server, "hpa", "deployments/scale", &scale, true)
        .await
        .unwrap();
    assert_eq!(
        (&answer["kind"], &answer["spec"]["replicas"]),
        (&json!("Scale"), &json!(6))
    );
    let scaled = server.get("deployments", "web").await.unwrap();
    assert_eq!(owners(&scaled), ["Apply hpa scale", "Apply me -"]);
}

#[tokio::test]
async fn status_has_owners_of_its_own() {
    let server = Server::new().await;
    apply(&server, "me", "deployments", &deployment(3), false)
        .await
        .unwrap();
    let mut status = deployment(9);
    status["status"] = json!({"replicas": 1});
    let answer = apply(&server, "reporter", "deployments/status", &status, false)
        .await
        .unwrap();
    assert_eq!(
        (&answer["spec"]["replicas"], &answer["status"]["replicas"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(owners(&answer), ["Apply me -", "Apply reporter status"]);
    let kept = apply(&server, "me", "deployments", &status, false)
        .await
        .unwrap();
    assert_eq!(
        (&kept["spec"]["replicas"], &kept["status"]["replicas"]),
        (&json!(9), &json!(1))
    );
}

#[tokio::test]
async fn creates_and_updates_are_remembered() {
    let server = Server::new().await;
    let config_map = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    let made = server.create("configmaps", config_map).await.unwrap();
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(entry["fieldsV1"], json!({"f:data": {".": {}, "f:a": {}}}));
    assert_eq!(
        (&entry["operation"], &entry["apiVersion"]),
        (&json!("Update"), &json!("v1"))
    );
    let same = server.update("configmaps", made.clone()).await.unwrap();
    assert_eq!(same, made, "no change, no revision");
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"},
    });
    let both = apply(&server, "me", "configmaps", &config, false)
        .await
        .unwrap();
    assert_eq!(owners(&both), ["Apply me -", "Update admin -"]);
    let mut wrong = config;
    wrong["datas"] = json!({});
    let error = apply(&server, "me", "configmaps", &wrong, false)
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "failed to create typed patch object (ns/c; v1, Kind=ConfigMap): .datas: field not declared in schema"
    );
}

#[tokio::test]
async fn an_apply_says_what_it_means() {
    let server = Server::new().await;
    let mut config = deployment(1);
    config["apiVersion"] = "apps/v2".into();
    let error = apply(&server, "a", "deployments", &config, false).await;
    assert_eq!(
        error.unwrap_err().message,
        "Incorrect version specified in apply patch. Specified patch version: apps/v2, expected: apps/v1"
    );
    let mut config = deployment(1);
    config["metadata"]["uid"] = "x".into();
    let error = apply(&server, "a", "deployments", &config, false).await;
    assert_eq!(
        error.unwrap_err().message,
        "Operation cannot be fulfilled on deployments.apps \"web\": uid mismatch: the provided object specified uid x, and no existing object was found"
    );
}
