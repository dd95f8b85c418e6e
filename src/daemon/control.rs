//! The daemon's control socket: what commands ask of a running daemon beside the Kubernetes API.
//!
//! One JSON document per line each way; a connection carries one request and its answers, the last of which is
//! not `Progress`. Everybody on the host may ask how the cluster is and which images it has; the rest is for root.

use crate::{
    config::Layout,
    runtime::model::{ImageInfo, PullProgress},
};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

/// Longest request line the daemon reads.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Request {
    /// Answers `Done` when the cluster is ready.
    Status,
    /// Ends the pods gracefully; answers `Done`, then the daemon ends.
    Stop,
    Images,
    /// An archive on this host.
    Load {
        path: PathBuf,
    },
    Remove {
        reference: String,
    },
    Pull {
        reference: String,
    },
    /// Writes images to an archive on this host, as `docker save` does.
    Save {
        references: Vec<String>,
        path: PathBuf,
    },
    /// Gives an image a further name.
    Tag {
        reference: String,
        name: String,
    },
    /// Freezes containers or lets them go; no namespace means all.
    Pause {
        namespaces: Vec<String>,
        pause: bool,
    },
    /// Starts or stops a node; one that is new was saved by the command.
    Node {
        name: String,
        runs: bool,
    },
    /// Ends a node for good, its object included.
    RemoveNode {
        name: String,
    },
    /// Turns an addon on or off; the configuration was saved by the command.
    Addon {
        name: String,
        enabled: bool,
    },
    /// Listens, if it does not yet; answers `Dashboard`.
    Dashboard {
        port: Option<u16>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Answer {
    Done,
    Starting,
    /// The cluster is being stopped; the daemon will be gone in a moment.
    Ending,
    /// Whoever asks is not root.
    Forbidden,
    Images {
        images: Vec<ImageInfo>,
    },
    /// How many were acted on.
    Pods {
        count: usize,
    },
    Progress {
        layer: String,
        done: u64,
        total: u64,
    },
    /// Lets one browser in, once.
    Dashboard {
        url: String,
    },
    Failed {
        message: String,
    },
}

impl Request {
    /// Tells nothing that is secret and changes nothing.
    #[must_use]
    pub fn is_for_everybody(&self) -> bool {
        matches!(self, Request::Status | Request::Images)
    }
}

impl From<PullProgress> for Answer {
    fn from(progress: PullProgress) -> Answer {
        Answer::Progress {
            layer: progress.layer,
            done: progress.done_bytes,
            total: progress.total_bytes,
        }
    }
}

impl Answer {
    #[must_use]
    pub fn is_last(&self) -> bool {
        !matches!(self, Answer::Progress { .. })
    }
}

/// Sends a request and returns the last answer. Fails when no daemon listens or it is silent for `timeout`.
pub fn ask(layout: &Layout, request: &Request, timeout: Duration) -> Result<Answer> {
    ask_watching(layout, request, timeout, |_| {})
}

/// [`ask`], showing every answer that is not the last.
pub fn ask_watching(
    layout: &Layout,
    request: &Request,
    timeout: Duration,
    mut watch: impl FnMut(&Answer),
) -> Result<Answer> {
    let path = layout.control();
    let mut stream =
        UnixStream::connect(&path).with_context(|| format!("connect to {}", path.display()))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
    let mut lines = BufReader::new(stream);
    let mut text = String::new();
    loop {
        text.clear();
        if lines
            .read_line(&mut text)
            .context("wait for the daemon's answer")?
            == 0
        {
            bail!("the daemon closed the connection");
        }
        let answer: Answer = serde_json::from_str(&text).context("read the daemon's answer")?;
        if answer.is_last() {
            return Ok(answer);
        }
        watch(&answer);
    }
}
