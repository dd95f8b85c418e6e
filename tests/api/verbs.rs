//! Create, get, list, update and delete.

use crate::server::{Server, body, config, names, on};
use kubik::api::call::{Options, PatchKind, Verb};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

#[tokio::test]
async fn an_object_lives_and_dies() {
    let server = Server::new().await;
    let made = server.create("configmaps", config("a")).await.unwrap();
    let meta = &made["metadata"];
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["apiVersion"], "v1");
    assert_eq!(meta["namespace"], "ns");
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert!(meta["resourceVersion"].is_string(), "{meta}");
    assert!(meta.get("generation").is_none(), "{meta}");
    assert_eq!(server.get("configmaps", "a").await.unwrap(), made);

    let error = server.create("configmaps", config("a")).await.unwrap_err();
    assert_eq!((error.code, error.reason), (409, "AlreadyExists"));
    assert_eq!(error.message, "configmaps \"a\" already exists");

    let status = server.delete("configmaps", "a").await.unwrap();
    assert_eq!(
        status["details"],
        json!({"name": "a", "kind": "configmaps", "uid": meta["uid"]})
    );
    let error = server.get("configmaps", "a").await.unwrap_err();
    assert_eq!((error.code, error.reason), (404, "NotFound"));
    assert_eq!(error.message, "configmaps \"a\" not found");
}

#[tokio::test]
async fn names_are_generated() {
    let server = Server::new().await;
    let object = json!({"metadata": {"generateName": "web-"}});
    let made = server.create("configmaps", object).await.unwrap();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    let error = server.create("configmaps", json!({})).await.unwrap_err();
    assert_eq!(
        error.message,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
}

#[tokio::test]
async fn bodies_must_fit_the_endpoint() {
    let server = Server::new().await;
    let cases = [
        (
            json!({"apiVersion": "apps/v1", "metadata": {"name": "a"}}),
            "the API version in the data (apps/v1) does not match the expected API version (v1)",
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "other"}}),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ];
    for (object, expected) in cases {
        let error = server.create("configmaps", object).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (400, expected));
    }
}

#[tokio::test]
async fn updates_are_guarded_by_the_resource_version() {
    let server = Server::new().await;
    let first = server.create("configmaps", config("a")).await.unwrap();
    let mut second = first.clone();
    second["data"]["k"] = "w".into();
    let second = server.update("configmaps", second).await.unwrap();
    assert_ne!(
        first["metadata"]["resourceVersion"],
        second["metadata"]["resourceVersion"]
    );
    let error = server
        .update("configmaps", first.clone())
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // Writing what is there already makes no revision.
    let again = server.update("configmaps", second.clone()).await.unwrap();
    assert_eq!(again, second);

    let mut unconditional = config("a");
    unconditional["data"]["k"] = "x".into();
    let third = server.update("configmaps", unconditional).await.unwrap();
    assert_eq!(third["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(
        third["metadata"]["creationTimestamp"],
        first["metadata"]["creationTimestamp"]
    );

    let mut foreign = config("a");
    foreign["metadata"]["uid"] = "u".into();
    let error = server.update("configmaps", foreign).await.unwrap_err();
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    let error = server.update("configmaps", config("b")).await.unwrap_err();
    assert_eq!(error.code, 404);
}

#[tokio::test]
async fn pages_show_one_moment() {
    let server = Server::new().await;
    for name in ["a", "b", "c"] {
        server.create("configmaps", config(name)).await.unwrap();
    }
    let limit = |limit, token| Options {
        limit: Some(limit),
        continue_token: token,
        ..Options::default()
    };
    let first = server.list("configmaps", limit(2, None)).await.unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.remaining, Some(1));
    server.create("configmaps", config("d")).await.unwrap();
    server.delete("configmaps", "c").await.unwrap();
    let token = first.continue_token.clone();
    assert!(token.is_some());
    let second = server.list("configmaps", limit(2, token)).await.unwrap();
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second.revision, first.revision);
    assert_eq!((second.continue_token, second.remaining), (None, None));

    let past = Options {
        resource_version: Some(first.revision.to_string()),
        resource_version_match: Some("Exact".to_owned()),
        ..Options::default()
    };
    let past = server.list("configmaps", past).await.unwrap();
    assert_eq!(names(&past), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn the_future_is_refused_after_a_while() {
    let server = Server::new().await;
    let options = Options {
        resource_version: Some("1000".to_owned()),
        ..Options::default()
    };
    let error = server.list("configmaps", options).await.unwrap_err();
    assert_eq!(error.code, 504);
    assert!(
        error
            .message
            .starts_with("Timeout: Too large resource version: 1000, current: "),
        "{error}"
    );
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let server = Server::new().await;
    let mut object = config("a");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.create("configmaps", object).await.unwrap();
    let mut marked = server.delete("configmaps", "a").await.unwrap();
    assert!(
        marked["metadata"]["deletionTimestamp"].is_string(),
        "{marked}"
    );
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    marked["metadata"]["finalizers"] = json!([]);
    let last = server.update("configmaps", marked).await.unwrap();
    assert!(last["metadata"].get("finalizers").is_none(), "{last}");
    assert_eq!(server.get("configmaps", "a").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn preconditions_guard_a_deletion() {
    let server = Server::new().await;
    server.create("configmaps", config("a")).await.unwrap();
    let mut call = on(Verb::Delete, "configmaps", "a");
    call.options.delete.uid = Some("other".to_owned());
    let error = server.call(call).await.unwrap_err();
    assert_eq!((error.code, error.reason), (409, "Conflict"));
    assert!(
        error
            .message
            .contains("the UID in the precondition (other) does not match"),
        "{error}"
    );
}

#[tokio::test]
async fn a_collection_goes_at_once() {
    let server = Server::new().await;
    for name in ["a", "b", "c"] {
        server.create("configmaps", config(name)).await.unwrap();
    }
    let call = on(Verb::DeleteCollection, "configmaps", "");
    server.call(call).await.unwrap();
    let left = server.list("configmaps", Options::default()).await.unwrap();
    assert!(left.items.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let server = Server::new().await;
    let mut call = on(Verb::Create, "configmaps", "");
    call.body = body(config("a"));
    call.options.dry_run = true;
    let shown = server.value(call).await.unwrap();
    assert_eq!(shown["metadata"]["name"], "a");
    assert_eq!(server.get("configmaps", "a").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn strangers_may_nothing() {
    let mut server = Server::new().await;
    server.user = kubik::api::call::User::component("jane", &[]);
    let error = server.get("configmaps", "a").await.unwrap_err();
    assert_eq!(
        error.message,
        "configmaps \"a\" is forbidden: User \"jane\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"ns\""
    );
}

#[tokio::test]
async fn a_merge_patch_changes_what_it_names() {
    let server = Server::new().await;
    server.create("configmaps", config("a")).await.unwrap();
    let patch = json!({"data": {"k": null, "x": "y"}});
    let patched = server
        .patch("configmaps", "a", PatchKind::Merge, patch)
        .await
        .unwrap();
    assert_eq!(patched["data"], json!({"x": "y"}));
}

#[tokio::test]
async fn a_right_to_one_object_is_enough_to_list_it() {
    let mut server = Server::new().await;
    server.create("configmaps", config("a")).await.unwrap();
    let role = json!({
        "metadata": {"name": "r"},
        "rules": [{
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"], "verbs": ["list", "watch"],
        }],
    });
    server.create("roles", role).await.unwrap();
    let binding = json!({
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    server.create("rolebindings", binding).await.unwrap();
    server.user = kubik::api::call::User::component("jane", &[]);
    let cases = [
        ("metadata.name=a", true),
        ("metadata.name==a", true),
        ("metadata.namespace=ns,metadata.name=a", true),
        ("metadata.name=b", false),
        ("metadata.name!=a", false),
        ("", false),
    ];
    for (selector, is_allowed) in cases {
        let options = Options {
            field_selector: Some(selector.to_owned()),
            ..Options::default()
        };
        let listed = server.list("configmaps", options).await;
        assert_eq!(listed.is_ok(), is_allowed, "{selector}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn patches_at_the_same_time_all_succeed() {
    let server = Arc::new(Server::new().await);
    server.create("configmaps", config("a")).await.unwrap();
    let mut patches = JoinSet::new();
    for number in 0..200 {
        let server = Arc::clone(&server);
        patches.spawn(async move {
            let patch = json!({"data": {format!("k{number}"): "v"}});
            let patched = server.patch("configmaps", "a", PatchKind::Merge, patch);
            patched.await.unwrap();
        });
    }
    patches.join_all().await;
    let object = server.get("configmaps", "a").await.unwrap();
    assert_eq!(object["data"].as_object().unwrap().len(), 201);
}
