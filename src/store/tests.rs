//! The store's contract, over memory and over a temporary directory.

use super::*;
use bytes::Bytes;
use tempfile::TempDir;

fn put(key: &str, expect: Expect, text: &str) -> Write {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    Write {
        key: key.into(),
        expect,
        encode: Some(Box::new(move |_| (bytes, Arc::new(())))),
        durability: Durability::Durable,
    }
}

fn create(key: &str) -> Write {
    put(key, Expect::Absent, key)
}

fn delete(key: &str, modified: Revision) -> Write {
    Write {
        key: key.into(),
        expect: Expect::Modified(modified),
        encode: None,
        durability: Durability::Durable,
    }
}

fn lazy(write: Write) -> Write {
    Write {
        durability: Durability::Lazy,
        ..write
    }
}

fn in_memory() -> Store {
    Store::open(Options::default()).unwrap()
}

fn on_disk(dir: &TempDir) -> Store {
    let path = Some(dir.path().join("store"));
    Store::open(Options {
        path,
        ..Options::default()
    })
    .unwrap()
}

fn keys(snapshot: &Snapshot, prefix: &str) -> Vec<String> {
    let entries = snapshot.range(prefix, None);
    entries.map(|entry| entry.key.to_string()).collect()
}

fn text(entry: &Entry) -> &str {
    str::from_utf8(&entry.bytes).unwrap()
}

async fn both(story: impl AsyncFn(Store)) {
    story(in_memory()).await;
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk(&dir);
    story(store.clone()).await;
    store.close().await;
}

#[tokio::test]
async fn writes_are_judged_by_what_is_there() {
    both(async |store| {
        let created = store.write(put("/a/x", Expect::Absent, "1")).await.unwrap();
        assert_eq!((created.revision, created.entry.created), (1, 1));
        let again = store.write(create("/a/x")).await;
        assert!(matches!(again, Err(WriteError::Exists)), "{again:?}");
        let changed = put("/a/x", Expect::Modified(1), "2");
        let changed = store.write(changed).await.unwrap();
        let entry = &changed.entry;
        assert_eq!((changed.revision, entry.created, entry.modified), (2, 1, 2));
        let stale = store.write(put("/a/x", Expect::Modified(1), "3")).await;
        assert!(matches!(stale, Err(WriteError::Changed { modified: 2 })));
        let missing = store.write(put("/a/y", Expect::Modified(1), "3")).await;
        assert!(matches!(missing, Err(WriteError::Missing)));
        let deleted = store.write(delete("/a/x", 2)).await.unwrap();
        assert_eq!((deleted.revision, text(&deleted.entry)), (3, "2"));
        let nothing = Write {
            expect: Expect::Absent,
            ..delete("/a/x", 0)
        };
        assert!(matches!(
            store.write(nothing).await,
            Err(WriteError::Missing)
        ));
        assert_eq!(store.revision(), 3);
        assert!(store.get("/a/x").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_panic_while_encoding_fails_that_write_only() {
    both(async |store| {
        let broken = Write {
            encode: Some(Box::new(|_| panic!("on purpose"))),
            ..create("/a/x")
        };
        assert!(store.write(broken).await.is_err());
        assert_eq!(store.write(create("/a/x")).await.unwrap().revision, 1);
    })
    .await;
}

#[tokio::test]
async fn ranges_are_ordered_and_resumable() {
    let store = in_memory();
    for key in ["/b/2", "/a/1", "/b/1", "/b/3", "/bb/1"] {
        store.write(create(key)).await.unwrap();
    }
    let snapshot = store.snapshot();
    assert_eq!(keys(&snapshot, "/b/"), ["/b/1", "/b/2", "/b/3"]);
    assert_eq!(snapshot.count("/"), 5);
    let rest: Vec<&str> = snapshot
        .range("/b/", Some("/b/1"))
        .map(|entry| &*entry.key)
        .collect();
    assert_eq!(rest, ["/b/2", "/b/3"]);
    let before: Vec<&str> = snapshot
        .range("/b/", Some("/a"))
        .map(|entry| &*entry.key)
        .collect();
    assert_eq!(before.len(), 3);
}

#[tokio::test]
async fn a_snapshot_stays_and_the_past_can_be_seen() {
    let store = in_memory();
    store.write(put("/a/x", Expect::Absent, "1")).await.unwrap();
    store.write(create("/a/y")).await.unwrap();
    let held = store.snapshot();
    store
        .write(put("/a/x", Expect::Modified(1), "2"))
        .await
        .unwrap();
    store.write(delete("/a/y", 2)).await.unwrap();
    assert_eq!(keys(&held, "/"), ["/a/x", "/a/y"]);
    let table: [(Revision, &[&str], &str); 4] = [
        (1, &["/a/x"], "1"),
        (2, &["/a/x", "/a/y"], "1"),
        (3, &["/a/x", "/a/y"], "2"),
        (4, &["/a/x"], "2"),
    ];
    for (revision, expected, value) in table {
        let past = store.snapshot_at(revision).unwrap();
        assert_eq!(past.revision, revision);
        assert_eq!(keys(&past, "/"), expected, "at {revision}");
        assert_eq!(text(past.get("/a/x").unwrap()), value, "at {revision}");
    }
    assert_eq!(store.snapshot_at(0).unwrap().count("/"), 0);
    assert_eq!(store.snapshot_at(9).unwrap().revision, 4);
}

#[tokio::test]
async fn a_watch_replays_then_follows_its_prefix_only() {
    let store = in_memory();
    for key in ["/a/1", "/a/2", "/b/1"] {
        store.write(create(key)).await.unwrap();
    }
    let mut narrow = store.watch("/a/", 1).unwrap();
    let mut wide = store.watch("/", 2).unwrap();
    let mut future = store.watch("/a/", 4).unwrap();
    store.write(create("/a/3")).await.unwrap();
    store.write(delete("/a/1", 1)).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = narrow.try_next() {
        seen.push((event.revision, event.now.is_some(), event.before.is_some()));
    }
    assert_eq!(seen, [(2, true, false), (4, true, false), (5, false, true)]);
    let revisions = std::iter::from_fn(|| wide.try_next()).map(|event| event.revision);
    assert_eq!(revisions.collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(future.next().await.unwrap().revision, 5);
}

#[tokio::test]
async fn who_falls_behind_is_cut_off() {
    let store = in_memory();
    let mut slow = store.watch("/a/", 0).unwrap();
    for number in 0..10_001 {
        store.write(create(&format!("/a/{number}"))).await.unwrap();
    }
    for revision in 1..=10_000 {
        assert_eq!(slow.next().await.unwrap().revision, revision);
    }
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn history_is_bounded() {
    let store = Store::open(Options {
        history_bytes: 3000,
        ..Options::default()
    })
    .unwrap();
    for number in 0..100 {
        store.write(create(&format!("/a/{number}"))).await.unwrap();
    }
    let Err(Compacted { oldest }) = store.watch("/a/", 50) else {
        panic!("revision 50 is still known");
    };
    assert!((85..100).contains(&oldest), "{oldest}");
    assert!(store.watch("/a/", oldest).is_ok());
    assert_eq!(
        store.snapshot_at(oldest - 1).err(),
        Some(Compacted { oldest })
    );
    let forgetful = Store::open(Options {
        history_age: Duration::ZERO,
        ..Options::default()
    })
    .unwrap();
    forgetful.write(create("/a/1")).await.unwrap();
    forgetful.write(create("/a/2")).await.unwrap();
    assert!(forgetful.watch("/a/", 0).is_err());
}

#[tokio::test]
async fn closing_ends_watches_and_refuses_writes() {
    both(async |store| {
        let mut watch = store.watch("/", 0).unwrap();
        store.write(create("/a/1")).await.unwrap();
        store.close().await;
        store.close().await;
        assert_eq!(watch.next().await.unwrap().revision, 1);
        assert!(watch.next().await.is_none());
        let refused = store.write(create("/a/2")).await;
        assert!(matches!(refused, Err(WriteError::Unavailable(_))));
        assert!(store.get("/a/1").is_some());
    })
    .await;
}

#[tokio::test]
async fn everything_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk(&dir);
    let long = "long ".repeat(100_000);
    store.write(create("/a/1")).await.unwrap();
    store
        .write(put("/a/2", Expect::Absent, &long))
        .await
        .unwrap();
    store
        .write(put("/a/3", Expect::Absent, &long))
        .await
        .unwrap();
    store
        .write(put("/a/3", Expect::Modified(3), "short"))
        .await
        .unwrap();
    store.write(create("/a/4")).await.unwrap();
    store.write(delete("/a/4", 5)).await.unwrap();
    store.close().await;
    let store = on_disk(&dir);
    assert_eq!(store.revision(), 6, "deletes count as well");
    let snapshot = store.snapshot();
    assert_eq!(keys(&snapshot, "/"), ["/a/1", "/a/2", "/a/3"]);
    assert_eq!(text(snapshot.get("/a/2").unwrap()), long);
    let short = snapshot.get("/a/3").unwrap();
    assert_eq!(
        (text(short), short.created, short.modified),
        ("short", 3, 4)
    );
    assert!(store.watch("/", 5).is_err(), "the past is forgotten");
    assert!(store.watch("/", 6).is_ok());
    assert_eq!(store.write(create("/a/5")).await.unwrap().revision, 7);
    store.close().await;
}

#[tokio::test]
async fn lazy_writes_spare_the_disk_and_survive_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk(&dir);
    let mut modified = store.write(lazy(create("/a/1"))).await.unwrap().revision;
    let log = dir.path().join("store/db");
    let before = std::fs::read(&log).unwrap();
    for _ in 0..50 {
        let write = lazy(put("/a/1", Expect::Modified(modified), "beat"));
        modified = store.write(write).await.unwrap().revision;
    }
    assert_eq!(std::fs::read(&log).unwrap(), before);
    store.close().await;
    let store = on_disk(&dir);
    assert_eq!(text(&store.get("/a/1").unwrap()), "beat");
    assert_eq!(store.revision(), 51);
    store.close().await;
}

#[tokio::test]
async fn torn_snapshot_files_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk(&dir);
    store.write(create("/a/1")).await.unwrap();
    store.close().await;
    let path = dir.path().join("store");
    for name in ["snap.0000000000000001.generating", "snap.00000000FFFFFFFF"] {
        std::fs::write(path.join(name), b"torn").unwrap();
    }
    let store = on_disk(&dir);
    assert!(store.get("/a/1").is_some());
    store.close().await;
}

#[tokio::test]
async fn a_bloated_file_is_replaced_by_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = on_disk(&dir);
    let mut random = 1_u64;
    let mut blob = move || -> String {
        let step = |_| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            char::from(b'a' + (random >> 60) as u8)
        };
        (0..900_000).map(step).collect()
    };
    let mut writes = Vec::new();
    for number in 0..80 {
        let write = put(&format!("/a/{number}"), Expect::Absent, &blob());
        writes.push(store.write(write));
    }
    for write in writes {
        write.await.unwrap();
    }
    for number in 1..80 {
        let key = format!("/a/{number}");
        let modified = store.get(&key).unwrap().modified;
        store.write(delete(&key, modified)).await.unwrap();
    }
    let kept = store.get("/a/0").unwrap();
    store.close().await;
    let size = || {
        std::fs::metadata(dir.path().join("store/db"))
            .unwrap()
            .len()
    };
    assert!(size() > 64 << 20, "{}", size());
    let store = on_disk(&dir);
    assert!(size() < 16 << 20, "{}", size());
    assert_eq!(store.get("/a/0").unwrap().bytes, kept.bytes);
    assert_eq!(store.revision(), 159);
    store.close().await;
    let store = on_disk(&dir);
    assert_eq!(store.revision(), 159);
    store.close().await;
}
