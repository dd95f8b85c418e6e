//! The informer against a scripted server.

use super::*;
use crate::client::fake::{Script, config_map, event, list};
use k8s_openapi::api::core::v1::ConfigMap;
use std::time::Duration;

fn informers(script: &Script) -> (Informers, Tasks) {
    let tasks = Tasks::new();
    (Informers::new(script.client(), tasks.clone()), tasks)
}

fn names(cache: &Cache<ConfigMap>) -> Vec<String> {
    cache.snapshot().keys().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_then_watches_from_the_lists_revision() {
    let script = Script::new();
    script.answer(list(5, &[config_map("a", 3)]));
    let events = script.answer_watch();
    let (informers, tasks) = informers(&script);
    let cache = informers.cache::<ConfigMap>();
    informers.synced().await;
    assert_eq!(names(&cache), ["default/a"]);
    assert_eq!(cache.snapshot().seen, 5);

    events.send(event("ADDED", &config_map("b", 7), 7)).unwrap();
    cache.seen(7).await;
    assert_eq!(names(&cache), ["default/a", "default/b"]);
    events
        .send(event("DELETED", &config_map("a", 8), 8))
        .unwrap();
    events
        .send(event("BOOKMARK", &config_map("", 20), 20))
        .unwrap();
    cache.seen(20).await;
    assert_eq!(names(&cache), ["default/b"]);
    assert_eq!(script.asked(), ["list configmaps", "watch configmaps 5"]);
    tasks.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_watch_goes_on_and_an_expired_one_lists_again() {
    let script = Script::new();
    script.answer(list(5, &[config_map("a", 3), config_map("b", 4)]));
    let first = script.answer_watch();
    let second = script.answer_watch();
    script.answer(list(30, &[config_map("b", 4), config_map("c", 29)]));
    let _third = script.answer_watch();
    let (informers, tasks) = informers(&script);
    let cache = informers.cache::<ConfigMap>();
    let told = Arc::new(Mutex::new(Vec::new()));
    cache.on_change({
        let told = Arc::clone(&told);
        move |old, new| {
            let name = |one: Option<&Arc<ConfigMap>>| one.map(|one| one.key().name);
            told.lock().unwrap().push((name(old), name(new)));
        }
    });
    cache.synced().await;

    first
        .send(event("MODIFIED", &config_map("a", 9), 9))
        .unwrap();
    drop(first);
    let gone = serde_json::json!({"kind": "Status", "code": 410});
    second.send(event("ERROR", &gone, 0)).unwrap();
    cache.seen(30).await;
    assert_eq!(names(&cache), ["default/b", "default/c"]);
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(
        *told.lock().unwrap(),
        [
            (None, name("a")),
            (None, name("b")),
            (name("a"), name("a")),
            (name("a"), None),
            (None, name("c")),
        ]
    );
    assert_eq!(
        script.asked()[1..4],
        [
            "watch configmaps 5",
            "watch configmaps 9",
            "list configmaps"
        ]
    );
    tasks.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_absent_server_is_asked_again_and_late_handlers_are_told_everything() {
    let script = Script::new();
    script.refuse();
    script.refuse();
    script.answer(list(2, &[config_map("a", 1)]));
    let _events = script.answer_watch();
    let (informers, tasks) = informers(&script);
    let cache = informers.cache::<ConfigMap>();
    cache.synced().await;
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    cache.on_change(move |old, new| {
        assert!(old.is_none() && new.is_some());
        *count.lock().unwrap() += 1;
    });
    assert_eq!(*told.lock().unwrap(), 1);
    tasks.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_fit_is_left_out_but_seen() {
    let script = Script::new();
    let odd = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": 5});
    script.answer(list(5, &[odd.clone(), config_map("a", 1)]));
    let events = script.answer_watch();
    let (informers, tasks) = informers(&script);
    let cache = informers.cache::<ConfigMap>();
    cache.synced().await;
    events.send(event("ADDED", &odd, 6)).unwrap();
    cache.seen(6).await;
    assert_eq!(names(&cache), ["default/a"]);
    tasks.shutdown(Duration::from_secs(1)).await;
}
