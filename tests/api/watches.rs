//! Watches: beginnings, selectors, bookmarks, ends.

use crate::server::{Server, config};
use kubik::api::call::{EventType, Options};
use serde_json::{Value, json};
use std::time::Duration;

fn labeled(name: &str, app: &str) -> Value {
    let mut object = config(name);
    object["metadata"]["labels"] = json!({"app": app});
    object
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there() {
    let server = Server::new().await;
    server.create("configmaps", config("a")).await.unwrap();
    let mut events = server
        .watch("configmaps", Options::default())
        .await
        .unwrap();
    server.create("configmaps", config("b")).await.unwrap();
    server.delete("configmaps", "a").await.unwrap();
    assert_eq!(events.ready(), ["ADDED a", "ADDED b", "DELETED a"]);
}

#[tokio::test]
async fn a_watch_resumes_where_it_ended() {
    let server = Server::new().await;
    let a = server.create("configmaps", config("a")).await.unwrap();
    server.create("configmaps", config("b")).await.unwrap();
    let options = Options {
        resource_version: a["metadata"]["resourceVersion"].as_str().map(str::to_owned),
        ..Options::default()
    };
    let mut events = server.watch("configmaps", options).await.unwrap();
    assert_eq!(events.ready(), ["ADDED b"]);
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let server = Server::new().await;
    let options = Options {
        label_selector: Some("app=web".to_owned()),
        ..Options::default()
    };
    let mut events = server.watch("configmaps", options).await.unwrap();
    server
        .create("configmaps", labeled("a", "db"))
        .await
        .unwrap();
    assert!(events.ready().is_empty());
    server
        .update("configmaps", labeled("a", "web"))
        .await
        .unwrap();
    assert_eq!(events.ready(), ["ADDED a"]);
    let gone = server
        .update("configmaps", labeled("a", "db"))
        .await
        .unwrap();
    let (event, object) = events.next().await.unwrap();
    assert_eq!(event, EventType::Deleted);
    // The state that still matched, at the revision of the change.
    assert_eq!(object["metadata"]["labels"]["app"], "web");
    assert_eq!(
        object["metadata"]["resourceVersion"],
        gone["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn a_deletion_has_its_own_revision() {
    let server = Server::new().await;
    let made = server.create("configmaps", config("a")).await.unwrap();
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let options = Options {
        resource_version: Some(version.to_owned()),
        ..Options::default()
    };
    let mut events = server.watch("configmaps", options).await.unwrap();
    server.delete("configmaps", "a").await.unwrap();
    let (event, object) = events.next().await.unwrap();
    assert_eq!(event, EventType::Deleted);
    let revision: u64 = object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(revision, version.parse::<u64>().unwrap() + 1);
}

#[tokio::test]
async fn a_watch_list_ends_its_beginning_with_a_bookmark() {
    let server = Server::new().await;
    server.create("configmaps", config("a")).await.unwrap();
    let options = Options {
        send_initial_events: Some(true),
        resource_version_match: Some("NotOlderThan".to_owned()),
        allow_watch_bookmarks: true,
        ..Options::default()
    };
    let mut events = server.watch("configmaps", options).await.unwrap();
    assert_eq!(events.next().await.unwrap().0, EventType::Added);
    let (event, object) = events.next().await.unwrap();
    assert_eq!(event, EventType::Bookmark);
    assert_eq!(object["kind"], "ConfigMap");
    assert_eq!(
        object["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_before_the_end() {
    let server = Server::new().await;
    let options = Options {
        allow_watch_bookmarks: true,
        timeout: Some(Duration::from_secs(90)),
        ..Options::default()
    };
    let start = tokio::time::Instant::now();
    let mut events = server.watch("configmaps", options).await.unwrap();
    let mut seconds = Vec::new();
    while let Some((event, _)) = events.next().await {
        assert_eq!(event, EventType::Bookmark);
        seconds.push(start.elapsed().as_secs());
    }
    assert_eq!(seconds, [60, 88]);
    assert_eq!(start.elapsed().as_secs(), 90);
}
