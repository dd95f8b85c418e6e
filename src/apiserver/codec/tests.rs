//! Replies in every form.

use super::*;
use crate::{
    api::call::{EventType, WatchEvent},
    kinds,
    task::Tasks,
};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;

fn codec(accept: &str) -> Codec {
    Codec {
        wanted: negotiate(Some(accept), Circumstances::default()).unwrap(),
        kind: kinds::find("", "v1", "configmaps").unwrap(),
        include: Include::Metadata,
    }
}

fn object(name: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","resourceVersion":"7"}},"data":{{"a":"b"}}}}"#
    ))
}

fn list() -> Outcome {
    Outcome::List(List {
        api_version: "v1".to_owned(),
        kind: "ConfigMapList".to_owned(),
        revision: 9,
        continue_token: Some("t".to_owned()),
        remaining: Some(3),
        items: vec![object("x"), object("y")],
    })
}

async fn body(accept: &str, outcome: Outcome) -> (String, String) {
    let answer = codec(accept)
        .answer(outcome.into(), Tasks::new().stop_signal())
        .unwrap();
    let media = answer.headers()[header::CONTENT_TYPE]
        .to_str()
        .unwrap()
        .to_owned();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (media, String::from_utf8(bytes.to_vec()).unwrap())
}

const TABLE: &str = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

#[tokio::test]
async fn lists_are_spliced() {
    let (media, text) = body("application/json", list()).await;
    assert_eq!(media, "application/json");
    assert!(text.ends_with("]}\n"));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["kind"], "ConfigMapList");
    assert_eq!(
        value["metadata"],
        json!({"resourceVersion": "9", "continue": "t", "remainingItemCount": 3})
    );
    assert_eq!(value["items"][1]["metadata"]["name"], "y");
}

#[tokio::test]
async fn tables_have_rows_and_list_metadata() {
    let (_, text) = body(TABLE, list()).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["apiVersion"], "meta.k8s.io/v1beta1");
    assert_eq!(value["metadata"]["continue"], "t");
    assert_eq!(value["rows"][1]["cells"][0], "y");
    assert_eq!(value["rows"][1]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn metadata_leaves_the_rest_out() {
    let (_, text) = body(METADATA, list()).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["kind"], "PartialObjectMetadataList");
    assert_eq!(value["items"][0]["metadata"]["name"], "x");
    assert!(value["items"][0]["data"].is_null());
}

#[tokio::test]
async fn yaml_and_status() {
    let created = || Outcome::Object {
        bytes: object("x"),
        created: true,
    };
    let (media, text) = body("application/yaml", created()).await;
    assert_eq!(media, "application/yaml");
    assert!(text.contains("name: x\n"), "{text}");
    let answer = codec("*/*")
        .answer(created().into(), Tasks::new().stop_signal())
        .unwrap();
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn watches_are_lines_and_tables_name_columns_once() {
    let events = || {
        let event = |event, object| WatchEvent {
            event,
            object,
            revision: 7,
        };
        let status = Bytes::from_static(br#"{"kind":"Status"}"#);
        let all = [
            event(EventType::Added, object("x")),
            event(EventType::Modified, object("x")),
            event(EventType::Error, status),
        ];
        Outcome::Watch(futures_util::stream::iter(all).boxed())
    };
    let tasks = Tasks::new();
    let lines = async |accept: &str| -> Vec<Value> {
        let answer = codec(accept)
            .answer(events().into(), tasks.stop_signal())
            .unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let plain = lines("application/json").await;
    assert_eq!(plain[0]["type"], "ADDED");
    assert_eq!(plain[1]["object"]["data"]["a"], "b");
    let tables = lines(TABLE).await;
    assert!(tables[0]["object"]["columnDefinitions"].is_array());
    assert!(tables[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(tables[1]["object"]["rows"][0]["cells"][0], "x");
    assert_eq!(tables[2]["object"]["kind"], "Status");
}

#[tokio::test]
async fn warnings_become_headers() {
    let mut reply = Reply::from(list());
    reply.warnings = vec![
        "unknown field \"spec.x\"".to_owned(),
        "line\nbreak".to_owned(),
    ];
    let answer = codec("*/*")
        .answer(reply, Tasks::new().stop_signal())
        .unwrap();
    let all: Vec<_> = answer.headers().get_all(header::WARNING).iter().collect();
    assert_eq!(all, [r#"299 - "unknown field \"spec.x\"""#]);
}
