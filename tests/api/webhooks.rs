//! Webhooks that are really called, over TLS on loopback.

use crate::server::{Server, body, config, on};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kubik::{
    api::call::{PatchKind, Verb},
    pki::{AltName, Pki, ServerNames, tls},
    task::clock,
};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// A server of webhooks: its path says what it answers.
struct Hooks {
    url: String,
    authority: String,
    /// Every question: its path and the request in it.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _serving: JoinSet<()>,
}

impl Hooks {
    async fn start() -> Hooks {
        let folder = tempfile::tempdir().unwrap();
        let now = clock::now();
        let pki = Pki::load_or_create(folder.path(), &ServerNames::default(), now).unwrap();
        let names = vec![AltName::Ip([127, 0, 0, 1].into())];
        let day = Duration::from_secs(86400);
        let identity = pki.issue_server("hooks", names, day, now).unwrap();
        let acceptor = TlsAcceptor::from(tls::server(&identity, pki.ca_pem()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| respond(request, Arc::clone(&heard)));
                    let io = TokioIo::new(stream);
                    let _ = http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        Hooks {
            url,
            authority: BASE64_STANDARD.encode(pki.ca_pem()),
            asked,
            _serving: serving,
        }
    }

    fn webhook(&self, path: &str, more: &Value) -> Value {
        let mut webhook = json!({
            "name": format!("{path}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("{}/{path}", self.url), "caBundle": self.authority},
            "rules": [{
                "operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps", "pods/eviction"],
            }],
        });
        kubik::api::patch::merge(&mut webhook, more);
        webhook
    }

    fn paths(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, _)| path.clone()).collect()
    }
}

async fn respond(
    request: Request<Incoming>,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&bytes).unwrap();
    let asked = review["request"].clone();
    let uid = asked["uid"].clone();
    heard.lock().unwrap().push((path.clone(), asked.clone()));
    let patch = |patch: Value| {
        let patch = BASE64_STANDARD.encode(patch.to_string());
        json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch})
    };
    let response = match path.as_str() {
        "deny" => json!({
            "uid": uid, "allowed": false, "status": {"code": 403, "message": "not today"},
        }),
        "warn" => json!({"uid": uid, "allowed": true, "warnings": ["mind the gap"]}),
        "label" => patch(json!([{"op": "add", "path": "/data/label", "value": "yes"}])),
        // Counts what is there already.
        "count" => {
            let count = asked["object"]["data"]
                .as_object()
                .map_or(0, serde_json::Map::len);
            patch(json!([{"op": "add", "path": "/data/count", "value": count.to_string()}]))
        }
        "broken" => {
            let answer = Response::builder().status(500);
            return Ok(answer.body(Full::from("oh no")).unwrap());
        }
        "slow" => std::future::pending().await,
        "other" => json!({"uid": "not yours", "allowed": true}),
        _ => json!({"uid": uid, "allowed": true}),
    };
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
    });
    Ok(Response::new(Full::from(answer.to_string())))
}

async fn configure(server: &Server, kind: &str, name: &str, webhooks: Vec<Value>) {
    let object = json!({"metadata": {"name": name}, "webhooks": webhooks});
    server.create(kind, object).await.unwrap();
}

const VALIDATING: &str = "validatingwebhookconfigurations";
const MUTATING: &str = "mutatingwebhookconfigurations";

#[tokio::test]
async fn refusals_and_failures_are_told() {
    let hooks = Hooks::start().await;
    let server = Server::new().await;
    let url = &hooks.url;
    let failed = |path: &str, why: &str| {
        format!("Internal error occurred: failed calling webhook \"{path}.example.com\": {why}")
    };
    let none = json!({});
    let post = |path: &str, why: &str| {
        let seconds = if path == "slow" { 1 } else { 10 };
        failed(
            path,
            &format!("failed to call webhook: Post \"{url}/{path}?timeout={seconds}s\": {why}"),
        )
    };
    let cases = [
        (
            hooks.webhook("deny", &none),
            403,
            "admission webhook \"deny.example.com\" denied the request: not today".to_owned(),
        ),
        (
            hooks.webhook("broken", &none),
            500,
            failed("broken", "failed to call webhook: an error on the server (\"oh no\") has prevented the request from succeeding"),
        ),
        (
            hooks.webhook("slow", &json!({"timeoutSeconds": 1})),
            500,
            post("slow", "context deadline exceeded"),
        ),
        (
            hooks.webhook("strange", &json!({"clientConfig": {"caBundle": null}})),
            500,
            post("strange", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        ),
        (
            hooks.webhook("away", &json!({"clientConfig": {"url": "https://127.0.0.1:1/"}})),
            500,
            failed("away", "failed to call webhook: Post \"https://127.0.0.1:1/?timeout=10s\": dial tcp 127.0.0.1:1: connect: connection refused"),
        ),
        (
            hooks.webhook("lost", &json!({"clientConfig": {"url": null, "service": {"namespace": "ns", "name": "s"}}})),
            500,
            failed("lost", "failed to call webhook: Post \"https://s.ns.svc:443/?timeout=10s\": service \"s\" not found"),
        ),
    ];
    for (webhook, code, expected) in cases {
        configure(&server, VALIDATING, "v", vec![webhook.clone()]).await;
        let error = server.create("configmaps", config("a")).await.unwrap_err();
        assert_eq!((error.code, error.message), (code, expected));
        server.delete(VALIDATING, "v").await.unwrap();
        let mut ignored = webhook;
        ignored["failurePolicy"] = "Ignore".into();
        configure(&server, VALIDATING, "v", vec![ignored]).await;
        let made = server.create("configmaps", config("a")).await;
        // A refusal is no failure.
        assert_eq!(made.is_err(), code == 403);
        server.delete(VALIDATING, "v").await.unwrap();
        let _ = server.delete("configmaps", "a").await;
    }
    configure(
        &server,
        VALIDATING,
        "v",
        vec![hooks.webhook("other", &none)],
    )
    .await;
    let error = server.create("configmaps", config("a")).await.unwrap_err();
    assert!(
        error.message.contains("received invalid webhook response"),
        "{error}"
    );
}

#[tokio::test]
async fn objects_are_changed_in_order() {
    let hooks = Hooks::start().await;
    let server = Server::new().await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let webhooks = vec![
        hooks.webhook("count", &again),
        hooks.webhook("label", &json!({})),
    ];
    configure(&server, MUTATING, "m", webhooks).await;
    let made = server.create("configmaps", config("a")).await.unwrap();
    assert_eq!(
        made["data"],
        json!({"k": "v", "label": "yes", "count": "3"})
    );
    assert_eq!(hooks.paths(), ["count", "label", "count"]);
    {
        let asked = hooks.asked.lock().unwrap();
        let first = &asked[0].1;
        assert_eq!(first["operation"], "CREATE");
        assert_eq!(
            first["kind"],
            json!({"group": "", "version": "v1", "kind": "ConfigMap"})
        );
        assert_eq!(first["object"]["kind"], "ConfigMap");
        assert_eq!(first["oldObject"], Value::Null);
        assert_eq!(first["userInfo"]["username"], "admin");
        assert_eq!(
            (&first["name"], &first["namespace"]),
            (&json!("a"), &json!("ns"))
        );
    }
    let error = server.delete("configmaps", "a").await.unwrap_err();
    assert!(
        error.message.ends_with(
            "admission webhook \"count.example.com\" attempted to modify the object, which is not supported for this operation"
        ),
        "{error}"
    );
    server.delete(MUTATING, "m").await.unwrap();
    let watching = vec![hooks.webhook("allow", &json!({}))];
    configure(&server, MUTATING, "w", watching).await;
    server.delete("configmaps", "a").await.unwrap();
    let asked = hooks.asked.lock().unwrap();
    let last = &asked.last().unwrap().1;
    assert_eq!(last["operation"], "DELETE");
    assert_eq!(last["object"], Value::Null);
    assert_eq!(last["oldObject"]["data"]["count"], "3");
}

#[tokio::test]
async fn only_what_is_meant_is_asked() {
    let hooks = Hooks::start().await;
    let server = Server::new().await;
    let mut webhook = hooks.webhook(
        "warn",
        &json!({"objectSelector": {"matchLabels": {"watched": "yes"}}}),
    );
    configure(&server, VALIDATING, "v", vec![webhook.clone()]).await;
    server.create("configmaps", config("a")).await.unwrap();
    assert_eq!(hooks.paths().len(), 0);
    let mut watched = config("b");
    watched["metadata"]["labels"] = json!({"watched": "yes"});
    let mut call = on(Verb::Create, "configmaps", "");
    call.body = body(watched.clone());
    let reply = server.call(call).await.unwrap();
    assert_eq!(reply.warnings, ["mind the gap"]);
    // A change of nothing is no write.
    let patch = json!({"data": {"k": "v"}});
    server
        .patch("configmaps", "b", PatchKind::Merge, patch)
        .await
        .unwrap();
    assert_eq!(hooks.paths().len(), 1);
    server.delete(VALIDATING, "v").await.unwrap();

    webhook["namespaceSelector"] = json!({"matchLabels": {"other": "yes"}});
    configure(&server, VALIDATING, "v", vec![webhook]).await;
    server.delete("configmaps", "b").await.unwrap();
    assert_eq!(hooks.paths().len(), 1);
}

#[tokio::test]
async fn webhooks_that_would_act_twice_are_not_tried() {
    let hooks = Hooks::start().await;
    let server = Server::new().await;
    let webhook = hooks.webhook("allow", &json!({"sideEffects": "NoneOnDryRun"}));
    configure(&server, VALIDATING, "v", vec![webhook]).await;
    let mut call = on(Verb::Create, "configmaps", "");
    call.body = body(config("a"));
    call.options.dry_run = true;
    server.call(call).await.unwrap();
    assert_eq!(hooks.asked.lock().unwrap()[0].1["dryRun"], true);
    let wrong = hooks.webhook(
        "x",
        &json!({"sideEffects": "Some", "matchConditions": [{"name": "c", "expression": "true"}]}),
    );
    let object = json!({"metadata": {"name": "w"}, "webhooks": [wrong]});
    let error = server.create(VALIDATING, object).await.unwrap_err();
    assert!(
        error
            .message
            .contains("supported values: \"None\", \"NoneOnDryRun\""),
        "{error}"
    );
    assert!(
        error.message.contains("expressions are not implemented"),
        "{error}"
    );
}
