//! What passes between the API server and a node agent for logs, exec, attach and port-forward.
//!
//! `node` implements [`NodeApi`], `apiserver` calls it, `daemon` joins them by node name. Bytes travel in bounded
//! channels; a closed channel is the end of that direction.

use super::{ApiError, name::Key, usage::NodeUsage};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
};

/// Chunks waiting in one direction of a session before the writer has to wait.
pub const SESSION_BUFFER: usize = 16;

#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub since_seconds: Option<i64>,
    pub since_time: Option<Timestamp>,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Empty for attach.
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// How a remote command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    Exited(i32),
    /// It could not be run or the connection to it broke; a text for people.
    Failed(String),
}

/// A running exec or attach, seen from the API server.
#[derive(Debug)]
pub struct Session {
    /// Dropped to close the process' standard input. `None` when not asked for.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    pub stdout: mpsc::Receiver<Bytes>,
    pub stderr: mpsc::Receiver<Bytes>,
    /// Columns and rows.
    pub resize: mpsc::Sender<(u16, u16)>,
    /// Resolves after the last output was sent.
    pub end: oneshot::Receiver<SessionEnd>,
}

impl Session {
    /// One that could not begin. Its end is told where a client of a session looks for it: clients that switched
    /// protocols do not read what answers a failed switch.
    #[must_use]
    pub fn failed(why: String) -> Session {
        let (end, ended) = oneshot::channel();
        let _ = end.send(SessionEnd::Failed(why));
        Session {
            stdin: None,
            stdout: mpsc::channel(1).1,
            stderr: mpsc::channel(1).1,
            resize: mpsc::channel(1).0,
            end: ended,
        }
    }
}

/// A page of a node, ready to be sent.
#[derive(Clone, Debug)]
pub struct Page {
    pub content_type: &'static str,
    pub text: String,
}

pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A node agent, as the API server needs it. Errors are what the client shall see.
pub trait NodeApi: Send + Sync {
    /// The log as bytes; with `follow` the channel stays open until the container is gone or the receiver dropped.
    fn logs(
        &self,
        pod: Key,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ApiError>>;

    fn exec(
        &self,
        pod: Key,
        container: String,
        options: SessionOptions,
    ) -> BoxFuture<'_, Result<Session, ApiError>>;

    fn attach(
        &self,
        pod: Key,
        container: String,
        options: SessionOptions,
    ) -> BoxFuture<'_, Result<Session, ApiError>>;

    /// Connects to `127.0.0.1:port` inside the pod's network namespace.
    fn port_forward(&self, pod: Key, port: u16)
    -> BoxFuture<'_, Result<Box<dyn Duplex>, ApiError>>;

    /// What the node and its pods use, measured now.
    fn usage(&self) -> BoxFuture<'_, Result<NodeUsage, ApiError>>;

    /// One of the node's own pages: `/stats/summary`, `/metrics/resource` …
    fn page<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Page, ApiError>>;
}
