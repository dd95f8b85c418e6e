//! `kubectl logs`: one attempt's file, filtered, followed until the attempt has ended.
//!
//! Attempts are told apart by their files, so that logs survive containers, sandboxes and daemons.

use super::cri;
use crate::{
    api::{
        ApiError,
        object::Object,
        stream::{LogOptions, SESSION_BUFFER},
    },
    node::{host::Host, spec},
    runtime::follow::Follow,
    task::{Tasks, clock},
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;
use tracing::debug;

/// Text handed on at once.
const CHUNK: usize = 32 << 10;

pub(super) async fn logs(
    host: &Arc<Host>,
    pod: &Arc<Pod>,
    container: &str,
    options: LogOptions,
) -> Result<mpsc::Receiver<Bytes>, ApiError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let spec = spec::of(pod);
    if spec::container(&spec, container).is_none() {
        let text = format!("container {container} is not valid for pod {name}");
        return Err(ApiError::bad_request(text));
    }
    let directory = host.place(pod).log_dir.join(container);
    let status = status_of(pod, container);
    let newest = newest_attempt(&directory);
    let attempt = if options.previous {
        previous(newest, status.as_ref()).filter(|attempt| log_file(&directory, *attempt).exists())
    } else {
        newest
    };
    let Some(attempt) = attempt else {
        return Err(ApiError::bad_request(if options.previous {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        } else {
            not_started(container, &name, status.as_ref())
        }));
    };
    let reader = Reader::new(log_file(&directory, attempt), &options, clock::now());
    let (tx, rx) = mpsc::channel(SESSION_BUFFER);
    let (host, pod, container) = (Arc::clone(host), Arc::clone(pod), container.to_owned());
    let tasks = host.tasks.clone();
    let mut stop = tasks.stop_signal();
    let follows = options.follow && !options.previous;
    tasks.spawn(format!("logs of {name}"), async move {
        let done = async {
            if follows {
                follow(&host, &pod, &container, attempt, reader, &tx).await
            } else {
                drain(reader, &tx).await.map(drop)
            }
        };
        tokio::select! {
            result = done => {
                if let Err(failure) = result {
                    debug!(%failure, "read a container's log");
                }
            }
            () = tx.closed() => {}
            () = stop.stopped() => {}
        }
    });
    Ok(rx)
}

async fn follow(
    host: &Host,
    pod: &Pod,
    container: &str,
    attempt: u32,
    reader: Reader,
    tx: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    // Watched before it is read: what is written in between is noticed.
    let mut watch = Follow::new(&reader.path)?;
    let key = pod.key();
    let uid = pod.uid().to_owned();
    let ended = host.caches.pods.until(|pods| {
        let pod = pods.get(&key).filter(|pod| pod.uid() == uid);
        pod.is_none_or(|pod| has_ended(status_of(pod, container).as_ref(), attempt))
    });
    tokio::pin!(ended);
    let mut reader = reader;
    loop {
        let Some(next) = drain(reader, tx).await? else {
            return Ok(());
        };
        reader = next;
        tokio::select! {
            changed = watch.changed() => changed?,
            () = &mut ended => return drain(reader, tx).await.map(drop),
        }
    }
}

/// Sends what the file holds beyond what was sent. `None`: the limit is reached or nobody listens any more.
async fn drain(mut reader: Reader, tx: &mpsc::Sender<Bytes>) -> io::Result<Option<Reader>> {
    loop {
        let read = Tasks::blocking(move || {
            let chunk = reader.next_chunk();
            (reader, chunk)
        });
        let (back, chunk) = read.await.map_err(io::Error::other)?;
        reader = back;
        let chunk = chunk?;
        if chunk.is_empty() {
            return Ok((!reader.is_exhausted()).then_some(reader));
        }
        if tx.send(Bytes::from(chunk)).await.is_err() {
            return Ok(None);
        }
    }
}

fn log_file(directory: &Path, attempt: u32) -> PathBuf {
    directory.join(format!("{attempt}.log"))
}

fn newest_attempt(directory: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(directory).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .max()
}

/// The attempt that ended last: the newest one when nothing runs, else the one before.
fn previous(newest: Option<u32>, status: Option<&ContainerStatus>) -> Option<u32> {
    let state = status.and_then(|status| status.state.clone())?;
    let has_last = status.is_some_and(|status| {
        let last = status.last_state.as_ref();
        last.is_some_and(|last| last.terminated.is_some())
    });
    match state.waiting {
        Some(_) if has_last => newest,
        Some(_) => None,
        None => newest?.checked_sub(1),
    }
}

fn status_of(pod: &Pod, container: &str) -> Option<ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|status| status.name == container).cloned()
}

/// Whether the API knows that this attempt is over.
fn has_ended(status: Option<&ContainerStatus>, attempt: u32) -> bool {
    let Some(status) = status else { return false };
    let newest = u32::try_from(status.restart_count).unwrap_or(0);
    let state = status.state.clone().unwrap_or_default();
    let is_waiting = state.waiting.is_some_and(|waiting| {
        let reason = waiting.reason.unwrap_or_default();
        reason != "ContainerCreating" && reason != "PodInitializing"
    });
    newest > attempt || (newest == attempt && (state.terminated.is_some() || is_waiting))
}

fn not_started(container: &str, pod: &str, status: Option<&ContainerStatus>) -> String {
    let state = status
        .and_then(|status| status.state.clone())
        .unwrap_or_default();
    let reason = state.waiting.and_then(|waiting| waiting.reason);
    let stem = format!("container \"{container}\" in pod \"{pod}\" is");
    match reason.as_deref() {
        Some("ErrImagePull") => format!("{stem} waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => {
            format!("{stem} waiting to start: trying and failing to pull image")
        }
        Some(reason) => format!("{stem} waiting to start: {reason}"),
        None if state.terminated.is_some() => format!("{stem} terminated"),
        None => format!("{stem} waiting to start: ContainerCreating"),
    }
}

/// Turns a file into what the client reads, chunk by chunk. Blocking.
struct Reader {
    path: PathBuf,
    /// How far the file was read; whole lines only.
    offset: u64,
    since: Option<Timestamp>,
    with_times: bool,
    /// Lines wanted from the end; taken at the first chunk.
    tail: Option<u64>,
    /// Bytes that may still be sent.
    left: Option<u64>,
    /// The next line continues one that was sent.
    continues: bool,
}

impl Reader {
    fn new(path: PathBuf, options: &LogOptions, now: Timestamp) -> Reader {
        let since = options.since_seconds.map(|seconds| {
            now.checked_sub(SignedDuration::from_secs(seconds))
                .unwrap_or(Timestamp::MIN)
        });
        Reader {
            path,
            offset: 0,
            since: options.since_time.or(since),
            with_times: options.timestamps,
            tail: options.tail_lines,
            left: options.limit_bytes,
            continues: false,
        }
    }

    fn is_exhausted(&self) -> bool {
        self.left == Some(0)
    }

    /// What has been added since the last chunk, up to [`CHUNK`]; empty when there is nothing (or no file).
    fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        if self.is_exhausted() {
            return Ok(Vec::new());
        }
        let mut file = match File::open(&self.path) {
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        if file.metadata()?.len() < self.offset {
            // Rotated: the new file begins anew.
            self.offset = 0;
        }
        if let Some(lines) = self.tail.take() {
            self.offset = start_of_last(&mut file, lines)?;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut lines = BufReader::new(file);
        let mut chunk = Vec::new();
        let mut line = Vec::new();
        while chunk.len() < CHUNK {
            line.clear();
            let length = lines.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                // Unfinished: it is read when the rest has been written.
                break;
            }
            self.offset += length as u64;
            self.add(&line[..length - 1], &mut chunk);
        }
        if let Some(left) = &mut self.left {
            chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= chunk.len() as u64;
        }
        Ok(chunk)
    }

    fn add(&mut self, line: &[u8], chunk: &mut Vec<u8>) {
        let Some(line) = cri::parse(line) else { return };
        let is_old = self.since.is_some_and(|since| {
            let time: Result<Timestamp, _> = line.time.parse();
            time.is_ok_and(|time| time < since)
        });
        if is_old {
            return;
        }
        if self.with_times && !self.continues {
            chunk.extend_from_slice(line.time.as_bytes());
            chunk.push(b' ');
        }
        chunk.extend_from_slice(line.text);
        if line.is_whole {
            chunk.push(b'\n');
        }
        self.continues = !line.is_whole;
    }
}

/// Where the last `count` lines of text begin.
fn start_of_last(file: &mut File, count: u64) -> io::Result<u64> {
    let mut starts: VecDeque<u64> = VecDeque::new();
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    let (mut offset, mut continues) = (0, false);
    loop {
        line.clear();
        let length = lines.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        if !continues {
            starts.push_back(offset);
        }
        if starts.len() as u64 > count {
            starts.pop_front();
        }
        offset += length as u64;
        let parsed = cri::parse(&line[..length - 1]);
        continues = parsed.is_some_and(|parsed| !parsed.is_whole);
    }
    Ok(starts.front().copied().unwrap_or(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(file: &str, options: &LogOptions) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, file).unwrap();
        let mut reader = Reader::new(path, options, Timestamp::from_second(100).unwrap());
        let mut all = Vec::new();
        loop {
            let chunk = reader.next_chunk().unwrap();
            if chunk.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            all.extend(chunk);
        }
    }

    #[test]
    fn options_choose_what_is_read() {
        let file = "1970-01-01T00:01:00.000000000Z stdout F one\n\
                    1970-01-01T00:01:10.000000000Z stdout P tw\n\
                    1970-01-01T00:01:10.000000001Z stdout F o\n\
                    1970-01-01T00:01:30.000000000Z stderr F three\n\
                    1970-01-01T00:01:31.000000000Z stdout F unfini";
        let tail = |lines| LogOptions {
            tail_lines: Some(lines),
            ..LogOptions::default()
        };
        let times = LogOptions {
            timestamps: true,
            ..tail(2)
        };
        #[rustfmt::skip]
        let cases = [
            (LogOptions::default(), "one\ntwo\nthree\n"),
            (tail(2), "two\nthree\n"), (tail(1), "three\n"), (tail(0), ""), (tail(9), "one\ntwo\nthree\n"),
            (times, "1970-01-01T00:01:10.000000000Z two\n1970-01-01T00:01:30.000000000Z three\n"),
            (LogOptions { since_seconds: Some(30), ..LogOptions::default() }, "two\nthree\n"),
            (LogOptions { since_time: Some(Timestamp::from_second(80).unwrap()), ..LogOptions::default() }, "three\n"),
            (LogOptions { limit_bytes: Some(5), ..LogOptions::default() }, "one\nt"),
        ];
        for (options, expected) in cases {
            assert_eq!(read(file, &options), expected, "{options:?}");
        }
    }

    #[test]
    fn a_growing_file_is_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut reader = Reader::new(path.clone(), &LogOptions::default(), Timestamp::default());
        assert_eq!(reader.next_chunk().unwrap(), b"");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"t stdout F a\nt stdout F b").unwrap();
        assert_eq!(reader.next_chunk().unwrap(), b"a\n");
        file.write_all(b"c\n").unwrap();
        assert_eq!(reader.next_chunk().unwrap(), b"bc\n");
        std::fs::write(&path, "t stdout F n\n").unwrap();
        assert_eq!(reader.next_chunk().unwrap(), b"n\n", "rotated");
    }

    #[test]
    fn previous_attempts_and_ends() {
        let status = |state: serde_json::Value, restarts: i32, last: bool| -> ContainerStatus {
            let last = if last {
                serde_json::json!({"terminated": {"exitCode": 1}})
            } else {
                serde_json::json!({})
            };
            serde_json::from_value(
                serde_json::json!({"name": "c", "image": "", "imageID": "", "ready": false,
                "restartCount": restarts, "state": state, "lastState": last}),
            )
            .unwrap()
        };
        let running = || serde_json::json!({"running": {}});
        let waits = |reason: &str| serde_json::json!({"waiting": {"reason": reason}});
        assert_eq!(
            previous(Some(3), Some(&status(running(), 3, true))),
            Some(2)
        );
        assert_eq!(previous(Some(0), Some(&status(running(), 0, false))), None);
        assert_eq!(
            previous(Some(3), Some(&status(waits("CrashLoopBackOff"), 3, true))),
            Some(3)
        );
        assert!(!has_ended(Some(&status(running(), 1, true)), 1));
        assert!(has_ended(Some(&status(running(), 2, true)), 1));
        assert!(has_ended(
            Some(&status(waits("CrashLoopBackOff"), 1, true)),
            1
        ));
        assert!(!has_ended(
            Some(&status(waits("ContainerCreating"), 0, false)),
            0
        ));
    }
}
