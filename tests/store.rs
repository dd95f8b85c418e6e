//! The store against death and against a disk that refuses: what was acknowledged is there, nothing is half there.
//!
//! The parts that must die or need their own mounts run in a re-exec of this test binary: a test that does nothing
//! unless an environment variable names its directory.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::print_stdout,
    reason = "the child tells its parent what was acknowledged"
)]

use bytes::Bytes;
use kubik::store::{Durability, Entry, Expect, Options, Revision, Store, Write, WriteError};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::{SigSet, Signal},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};
use tokio::task::JoinSet;

const KILLS: usize = 24;
const DIR: &str = "KUBIK_TEST_STORE_DIR";

fn open(path: &Path) -> Store {
    Store::open(Options {
        path: Some(path.to_owned()),
        ..Options::default()
    })
    .unwrap()
}

fn create(key: &str, bytes: Bytes) -> Write {
    Write {
        key: key.into(),
        expect: Expect::Absent,
        encode: Some(Box::new(move |_| (bytes, Arc::new(())))),
        durability: Durability::Durable,
    }
}

/// Starts one test of this binary in a process of its own.
#[expect(clippy::disallowed_methods, reason = "the child must be a process")]
fn re_exec(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Sizes from a few bytes to several chunks, content that tells a torn value.
fn content(writer: usize, number: usize) -> Bytes {
    let length = match number % 20 {
        0 => 50_000,
        other => other * 150,
    };
    let pattern = format!("{writer}:{number};");
    pattern.bytes().cycle().take(length).collect()
}

#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let store = open(&dir.join("store"));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        let start = store.snapshot().count(&format!("/{writer}/"));
        writers.spawn(async move {
            for number in start.. {
                let key = format!("/{writer}/{number:06}");
                let written = store.write(create(&key, content(writer, number))).await;
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {} {key}", written.unwrap().revision).unwrap();
                out.flush().unwrap();
            }
        });
    }
    writers.join_next().await;
}

#[tokio::test]
async fn acknowledged_writes_survive_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(Revision, String)> = Vec::new();
    for round in 0..KILLS {
        let mut child = re_exec("child_writes_until_it_is_killed", dir.path());
        let kill_at = 40 + 37 * round % 250;
        let mut told_count = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(told) = line.strip_prefix("acknowledged ") else {
                continue;
            };
            // The kill may cut the last line short.
            if let Some((revision, key)) = told.split_once(' ')
                && key.len() == "/0/000000".len()
            {
                acknowledged.push((revision.parse().unwrap(), key.to_owned()));
            }
            told_count += 1;
            if told_count == kill_at {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = open(&dir.path().join("store"));
        check(&store, &acknowledged, round);
        store.close().await;
    }
}

fn check(store: &Store, acknowledged: &[(Revision, String)], round: usize) {
    let snapshot = store.snapshot();
    for (revision, key) in acknowledged {
        let entry = snapshot.get(key).map(|entry| entry.modified);
        assert_eq!(
            entry,
            Some(*revision),
            "round {round}: {key} was acknowledged"
        );
    }
    let mut revisions = Vec::new();
    for entry in snapshot.range("/", None) {
        assert_eq!(
            entry.bytes,
            expected(entry),
            "round {round}: {entry:?} is torn"
        );
        revisions.push(entry.modified);
    }
    revisions.sort_unstable();
    let all: Vec<Revision> = (1..=store.revision()).collect();
    assert_eq!(revisions, all, "round {round}: a group was applied in part");
}

fn expected(entry: &Entry) -> Bytes {
    let (writer, number) = entry.key[1..].split_once('/').unwrap();
    content(writer.parse().unwrap(), number.parse().unwrap())
}

/// Writes until the store refuses, which must not be before `at_least` writes.
async fn fill(store: &Store, number: &mut usize, at_least: usize) {
    for tried in 0..10_000 {
        let write = create(&format!("/0/{number:06}"), content(0, *number));
        match store.write(write).await {
            Ok(_) => *number += 1,
            Err(WriteError::Unavailable(_)) if tried >= at_least => return,
            Err(error) => panic!("write {tried}: {error}"),
        }
    }
    panic!("the disk never became full");
}

fn assert_complete(store: &Store, number: usize) {
    let snapshot = store.snapshot();
    assert_eq!(snapshot.count("/"), number);
    for entry in snapshot.range("/", None) {
        assert_eq!(entry.bytes, expected(entry), "{entry:?} is torn");
    }
}

#[tokio::test]
async fn child_fills_a_small_disk() {
    let Some(dir) = child_dir() else { return };
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let (none, options) = (MsFlags::empty(), Some("size=48m"));
    mount(Some("kubik-test"), &dir, Some("tmpfs"), none, options).unwrap();
    let ballast = dir.join("ballast");
    fs::write(&ballast, vec![1; 24 << 20]).unwrap();

    let path = dir.join("store");
    let store = open(&path);
    let mut number = 0;
    fill(&store, &mut number, 10).await;
    assert_complete(&store, number);
    fs::remove_file(&ballast).unwrap();
    fill(&store, &mut number, 10).await;
    store.close().await;
    let store = open(&path);
    assert_complete(&store, number);
    store.close().await;
    println!("child done");
}

/// Here the store cannot see the end coming: it looks at free space, but the log may not grow.
#[tokio::test]
async fn child_hits_a_write_error() {
    let Some(dir) = child_dir() else { return };
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();

    let path = dir.join("store");
    let mut number = 0;
    let mut limit = 5_000_000;
    for _ in 0..4 {
        limit_file_size(&limit.to_string());
        let store = open(&path);
        fill(&store, &mut number, 10).await;
        assert_complete(&store, number);
        limit_file_size("unlimited");
        let write = create(&format!("/0/{number:06}"), content(0, number));
        store.write(write).await.unwrap();
        number += 1;
        assert_complete(&store, number);
        store.close().await;
        let store = open(&path);
        assert_complete(&store, number);
        store.close().await;
        limit += 5_000_000;
    }
    println!("child done");
}

#[expect(clippy::disallowed_methods, reason = "the limit is set by a tool")]
fn limit_file_size(soft: &str) {
    let pid = std::process::id().to_string();
    let limit = format!("--fsize={soft}:unlimited");
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(status.unwrap().success());
}

fn run_child(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let child = re_exec(test, dir.path());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("child done"), "{told}");
}

#[test]
fn a_full_disk_is_survived() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: mounting needs root");
        return;
    }
    run_child("child_fills_a_small_disk");
}

#[test]
fn a_write_error_is_survived() {
    let has_tool = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .any(|dir| dir.join("prlimit").exists());
    if !has_tool {
        println!("skipped: prlimit is not installed");
        return;
    }
    run_child("child_hits_a_write_error");
}
