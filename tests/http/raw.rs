//! Requests as clients other than kubectl send them.

use crate::server::{TestServer, get, post};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> String {
    json!({"metadata": {"name": name}, "data": {"a": "b"}}).to_string()
}

#[test]
fn who_asks_decides() {
    let server = TestServer::start();
    let listed = server.ask(get(MAPS));
    assert_eq!(listed.code, 200, "{}", listed.text());
    assert_eq!(listed.json()["kind"], "ConfigMapList");
    let anonymous = server.ask_as(None, get(MAPS));
    assert_eq!(anonymous.code, 403);
    assert_eq!(
        anonymous.json()["message"],
        "configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let bad = Request::get(MAPS).header("authorization", "Bearer nonsense");
    let bad = server.ask_as(None, bad.body(Full::default()).unwrap());
    assert_eq!(
        (bad.code, bad.json()["reason"].as_str()),
        (401, Some("Unauthorized"))
    );
    let other = Request::get(MAPS).header("impersonate-user", "jane");
    let other = server.ask(other.body(Full::default()).unwrap());
    assert_eq!(other.code, 403);
    assert!(
        other.text().contains("User \\\"jane\\\" cannot list"),
        "{}",
        other.text()
    );
}

#[test]
fn bodies_and_answers_take_many_forms() {
    let server = TestServer::start();
    let created = server.ask(post(MAPS, "", &map("plain")));
    assert_eq!(created.code, 201, "{}", created.text());
    assert!(!created.header("audit-id").is_empty());
    let yaml = server.ask(post(MAPS, "application/yaml", "metadata: {name: yaml}\n"));
    assert_eq!(yaml.code, 201, "{}", yaml.text());
    let refused = server.ask(post(MAPS, "text/html", "x"));
    assert_eq!(
        (refused.code, refused.json()["reason"].as_str()),
        (415, Some("UnsupportedMediaType"))
    );
    let again = server.ask(post(MAPS, "application/json", &map("plain")));
    assert_eq!(
        again.json()["message"],
        "configmaps \"plain\" already exists"
    );
    let odd = Request::get(MAPS).header("accept", "application/cbor");
    assert_eq!(server.ask(odd.body(Full::default()).unwrap()).code, 406);
    let table = Request::get(MAPS).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = server.ask(table.body(Full::default()).unwrap()).json();
    assert_eq!(table["rows"][0]["cells"][0], "plain");
    let pretty = server.ask(get(&format!("{MAPS}?pretty=true&limit=1")));
    assert!(pretty.text().starts_with("{\n  \""), "{}", pretty.text());
    let refused = server.ask(get(&format!("{MAPS}/absent?pretty=true")));
    assert!(refused.text().starts_with("{\n  \""), "{}", refused.text());
    let refused = server.ask(get(&format!("{MAPS}/absent")));
    assert!(refused.text().starts_with("{\""), "{}", refused.text());
    let large = "x".repeat(3 * 1024 * 1024 + 1);
    assert_eq!(server.ask(post(MAPS, "application/json", &large)).code, 413);
    let unknown = r#"{"metadata":{"name":"w"},"spec":{},"data":{"a":"1","a":"2"}}"#;
    let warned = server.ask(post(MAPS, "application/json", unknown));
    let warnings: Vec<_> = warned.headers.get_all("warning").iter().collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "unknown field \"spec\"""#,
            r#"299 - "duplicate field \"data.a\"""#
        ]
    );
}

#[test]
fn paths_beside_resources() {
    let server = TestServer::start();
    let version = server.ask(get("/version/")).json();
    assert_eq!(
        (version["major"].as_str(), version["minor"].as_str()),
        (Some("1"), Some("36"))
    );
    assert_eq!(server.ask(get("/readyz")).text(), "ok");
    let missing = server.ask(get("/nonsense"));
    assert_eq!(
        (missing.code, missing.text().as_str()),
        (404, "404 page not found\n")
    );
    assert_eq!(server.ask(get("/apis/example.com/v1/things")).code, 404);
    assert_eq!(server.ask_as(None, get("/nonsense")).code, 403);
    let metrics = server.ask(get("/metrics"));
    assert!(
        metrics.text().contains("apiserver_request_total"),
        "{}",
        metrics.text()
    );
    let openid = server.ask(get("/.well-known/openid-configuration")).json();
    assert_eq!(
        openid["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
    let keys = server.ask(get("/openid/v1/jwks"));
    assert_eq!(keys.header("content-type"), "application/jwk-set+json");
    assert_eq!(keys.json()["keys"][0]["crv"], "P-256");
    let paths = server.ask(get("/")).json();
    assert!(
        paths["paths"]
            .as_array()
            .unwrap()
            .contains(&json!("/apis/apps/v1"))
    );
}

#[test]
fn discovery_is_aggregated_on_request_and_kept_by_etag() {
    let server = TestServer::start();
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let ask = |etag: &str| {
        let request = Request::get("/apis?timeout=32s")
            .header("accept", accept)
            .header("if-none-match", etag);
        server.ask(request.body(Full::default()).unwrap())
    };
    let whole = ask("");
    let media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    assert_eq!(whole.header("content-type"), media);
    assert_eq!(whole.json()["kind"], "APIGroupDiscoveryList");
    let again = ask(whole.header("etag"));
    assert_eq!((again.code, again.body.len()), (304, 0));
    assert_eq!(server.ask(get("/apis")).json()["kind"], "APIGroupList");
    assert_eq!(server.ask(get("/api")).json()["kind"], "APIVersions");
    assert_eq!(server.ask(get("/api/v1")).json()["groupVersion"], "v1");
    assert_eq!(
        server.ask(get("/apis/apps")).json()["preferredVersion"]["version"],
        "v1"
    );
}

#[test]
fn watches_begin_at_once_and_tell_changes() {
    let server = TestServer::start();
    let list = server.ask(get(MAPS)).json();
    let from = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{MAPS}?watch=1&resourceVersion={from}&timeoutSeconds=30");
    let response = server.run(server.send(Some(server.pki.admin()), get(&path)));
    assert_eq!(response.status(), 200);
    assert_eq!(server.ask(post(MAPS, "", &map("x"))).code, 201);
    let mut body = response.into_body();
    let frame: Bytes =
        server.run(async { body.frame().await.unwrap().unwrap().into_data().unwrap() });
    let event: serde_json::Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["metadata"]["name"], "x");
}

#[test]
fn places_know_their_methods() {
    let server = TestServer::start();
    let cases = [
        ("DELETE", "/api/v1/configmaps", 405),
        ("POST", "/api/v1/configmaps", 405),
        ("PUT", "/api/v1/configmaps", 405),
        ("PATCH", MAPS, 405),
        ("POST", "/api/v1/namespaces/default/configmaps/x", 405),
        ("GET", "/api/v1/configmaps/x", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/configmaps", 200),
        (
            "GET",
            "/api/v1/watch/namespaces/default/configmaps/x?timeoutSeconds=1",
            200,
        ),
    ];
    for (method, path, code) in cases {
        let request = Request::builder().method(method).uri(path);
        let answer = server.ask(request.body(Full::default()).unwrap());
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.text());
    }
}

#[test]
fn answers_to_questions_have_no_columns() {
    let server = TestServer::start();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let ask = |accept: &str| {
        let request = Request::post(path).header("accept", accept);
        let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
        server.ask(request.body(Full::from(review.to_string())).unwrap())
    };
    assert_eq!(ask(table).code, 406);
    let either = ask(&format!("{table},application/json"));
    assert_eq!(either.json()["kind"], "SelfSubjectAccessReview");
}

#[test]
fn documents_in_yaml_mean_the_same_to_every_reader() {
    let server = TestServer::start();
    server.ask(post(MAPS, "", &map("a")));
    let request = Request::get(format!("{MAPS}/a")).header("accept", "application/yaml");
    let answer = server.ask(request.body(Full::default()).unwrap());
    let text = answer.text();
    let line = text.lines().find(|line| line.contains("creationTimestamp"));
    assert!(line.unwrap().contains(": \"2"), "{text}");
    assert!(text.contains("\n  resourceVersion: \""), "{text}");
}

#[test]
fn warnings_speak_any_language() {
    let server = TestServer::start();
    let body = r#"{"metadata":{"name":"w"},"한글":1}"#;
    let answer = server.ask(post(MAPS, "", body));
    let told = answer.headers.get("warning").unwrap().as_bytes();
    let expected = "299 - \"unknown field \\\"한글\\\"\"";
    assert_eq!(String::from_utf8_lossy(told), expected);
}
