//! The values that pass through the `Runtime` trait.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a caller can tell apart.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{0} does not exist")]
    NotFound(String),
    /// The image's text is no reference; the message is for people.
    #[error("{0}")]
    InvalidReference(String),
    /// The registry answered, and said no (missing image, authorization).
    #[error("{0}")]
    PullRefused(String),
    /// The registry could not be reached.
    #[error("{0}")]
    RegistryUnavailable(String),
    /// The program could not be started: missing file, no permission. Upstream's exit code is 128.
    #[error("{0}")]
    CannotRun(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Failed(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxSpec {
    /// Unique on the host, `[a-z0-9-]`, short: it names a directory with a socket and a cgroup. The pod's uid.
    pub id: String,
    pub hostname: String,
    pub domainname: String,
    /// Absolute cgroup path of the pod, below the cluster's own.
    pub cgroup: String,
    /// Limits of the whole pod, on its cgroup.
    pub resources: Resources,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// One PID namespace for all containers of the sandbox, held by pause.
    pub share_pid: bool,
    pub sysctls: BTreeMap<String, String>,
    /// Holds `<container name>/<attempt>.log` of each container.
    pub log_dir: PathBuf,
    /// Writable layers and bundles of the containers.
    pub data_dir: PathBuf,
    /// Kept with the sandbox and given back on adoption; the runtime does not read them.
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxInfo {
    pub id: String,
    /// Of pause.
    pub pid: i32,
    /// A path that opens the network namespace; empty with `host_network`.
    pub netns: PathBuf,
    pub created_at: Timestamp,
    /// False once pause has died: the sandbox must be removed and made again.
    pub alive: bool,
    pub labels: BTreeMap<String, String>,
    pub containers: Vec<ContainerInfo>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Relative weight, 1024 per core (cgroup v1 scale). Zero: leave alone.
    pub cpu_shares: u64,
    /// Microseconds per `cpu_period_us`. Zero: no limit.
    pub cpu_quota_us: i64,
    pub cpu_period_us: u64,
    /// Zero: no limit.
    pub memory_limit_bytes: i64,
    /// Zero: no limit.
    pub pids_limit: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerSpec {
    pub name: String,
    /// Counts restarts from zero; names the log file and the container.
    pub attempt: u32,
    /// Id of an image that is here ([`ImageInfo::id`]).
    pub image: String,
    /// Replaces the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Replaces the image's cmd when not empty (or when `command` is given).
    pub args: Vec<String>,
    /// On top of the image's own; later entries win.
    pub env: Vec<(String, String)>,
    /// Replaces the image's when not empty.
    pub working_dir: String,
    pub mounts: Vec<Mount>,
    pub devices: Vec<DeviceFile>,
    pub user: Option<UserSpec>,
    pub supplemental_groups: Vec<u32>,
    /// The image's own `/etc/group` gives the user no further groups.
    pub strict_groups: bool,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub privileged: bool,
    pub read_only_rootfs: bool,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
    pub resources: Resources,
    pub oom_score_adj: i32,
    pub tty: bool,
    pub stdin: bool,
    /// Close standard input after the first attached client leaves.
    pub stdin_once: bool,
    /// Join the PID namespace of this container instead of making one (ephemeral containers, `kubectl debug`).
    pub target_container: Option<String>,
    /// Kept and given back; the runtime does not read them.
    pub labels: BTreeMap<String, String>,
}

/// A device of the host and where the container has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFile {
    pub host: PathBuf,
    pub container: PathBuf,
}

/// Numeric, or a name that the image's own `/etc/passwd` and `/etc/group` resolve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserSpec {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seccomp {
    #[default]
    RuntimeDefault,
    Unconfined,
    /// A profile in the OCI JSON form.
    Profile(PathBuf),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A bind mount of a host file or directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    pub source: PathBuf,
    pub destination: PathBuf,
    pub read_only: bool,
    pub recursive_read_only: bool,
    pub propagation: Propagation,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerInfo {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub attempt: u32,
    pub image: String,
    pub state: ContainerState,
    pub log_path: PathBuf,
    pub labels: BTreeMap<String, String>,
    /// Who its first process is at its start; `None` from shims of an earlier release.
    #[serde(default)]
    pub user: Option<ProcessUser>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessUser {
    pub uid: u32,
    pub gid: u32,
    /// Sorted, with the primary group.
    pub groups: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum ContainerState {
    Created,
    Running { pid: i32, started_at: Timestamp },
    Exited(Exit),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// 128 + signal when a signal ended it.
    pub code: i32,
    pub signal: i32,
    pub oom_killed: bool,
    /// `None` when it never started.
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    /// Why it could not be started; empty otherwise.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RuntimeEvent {
    ContainerExited {
        sandbox: String,
        container: Box<ContainerInfo>,
    },
    /// Pause died or the shim vanished.
    SandboxDied { sandbox: String },
    /// Events were lost: look at everything again.
    Overflow,
}

#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub tty: bool,
    pub stdin: bool,
}

pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// A process' streams as the daemon holds them. With a terminal everything arrives on `stdout`.
pub struct ExecIo {
    pub stdin: Option<WriteHalf>,
    pub stdout: Option<ReadHalf>,
    pub stderr: Option<ReadHalf>,
    /// Sets columns and rows; no effect without a terminal.
    pub resize: Box<dyn Fn(u16, u16) + Send + Sync>,
    /// The exit code; resolves when the process is gone. An error when the shim vanished.
    pub wait: futures_util::future::BoxFuture<'static, Result<i32, RuntimeError>>,
    /// Ends the process (SIGKILL): used for time-outs and vanished clients.
    pub kill: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for ExecIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecIo")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Since the container started.
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    /// Memory that cannot be reclaimed at once: usage less inactive file pages.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Files the kernel keeps in memory.
    pub cache_bytes: u64,
    pub throttling: Throttling,
}

/// How a CPU limit was felt. All zero without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_nanos: u64,
}

/// What one sandbox uses right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxStats {
    /// Of the sandbox' own control group: all containers, those that have ended too, and pause.
    pub usage: Usage,
    pub processes: u64,
    /// Of containers whose group exists, by id.
    pub containers: BTreeMap<String, Usage>,
}

/// Space on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub bytes: u64,
    pub inodes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageInfo {
    /// Digest of the configuration: `sha256:…`.
    pub id: String,
    /// Normalized references: `docker.io/library/nginx:1.25`.
    pub tags: Vec<String>,
    /// `docker.io/library/nginx@sha256:…`.
    pub digests: Vec<String>,
    pub size_bytes: u64,
    /// `USER` of the image; empty means root.
    pub user: String,
    /// `STOPSIGNAL` of the image, as text; empty means SIGTERM.
    pub stop_signal: String,
    /// Marks of the credentials that it was pulled with ([`Credential::marks`]); without any it is everybody's.
    #[serde(skip)]
    pub private_to: BTreeSet<String>,
}

impl ImageInfo {
    /// Whether somebody with these credentials may use it without asking the registry.
    #[must_use]
    pub fn is_open_to(&self, credentials: &[Credential]) -> bool {
        let mut marks = credentials.iter().flat_map(Credential::marks);
        self.private_to.is_empty() || marks.any(|mark| self.private_to.contains(&mark))
    }
}

#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    pub reference: String,
    /// Tried in order; empty means anonymous.
    pub credentials: Vec<Credential>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// Host, host:port or host/path prefix this credential is for.
    pub server: String,
    pub username: String,
    pub password: String,
    /// An identity token in place of a password; empty if none.
    pub token: String,
    /// What it was taken from, by a name that stays when its content changes; empty if nothing.
    pub origin: String,
}

impl Credential {
    /// By what it is known again without being written down.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        let parts = [&self.server, &self.username, &self.password, &self.token];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digits: Vec<String> = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut marks = vec![digits.concat()];
        marks.extend(Some(self.origin.clone()).filter(|origin| !origin.is_empty()));
        marks
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    pub layer: String,
    pub done_bytes: u64,
    pub total_bytes: u64,
}
