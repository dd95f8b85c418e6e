//! Sandboxes, containers and images on Linux. Knows no Kubernetes types: a container can be run without a cluster.
//!
//! [`Runtime`] is what the node agent uses and what tests fake. The real one talks to one *shim* process per sandbox
//! (ARCHITECTURE D7); only the shim calls libcontainer.

pub mod follow;
pub mod hello;
pub mod image;
pub mod memory;
pub mod model;
pub mod mounts;
pub mod nfs;
pub mod resolve;
pub mod stats;
pub mod support;

pub mod cgroup;
mod device;
pub mod fake;
pub mod linux;
pub mod shim;
pub mod spec;
mod sys;

use futures_util::future::BoxFuture;
use model::{
    ContainerInfo, ContainerSpec, ExecIo, ExecSpec, ImageInfo, PullProgress, PullRequest,
    Resources, RuntimeError, RuntimeEvent, SandboxInfo, SandboxSpec, SandboxStats, Space, Usage,
};
use std::{ffi::OsString, path::Path, process::ExitCode, time::Duration};
use tokio::sync::mpsc;

type Answer<'a, T> = BoxFuture<'a, Result<T, RuntimeError>>;

/// Containers and images of one cluster on this host. Every act is safe to repeat.
pub trait Runtime: Send + Sync {
    /// Subscribes to what happens from now on. The channel is bounded; a subscriber that falls behind receives
    /// [`RuntimeEvent::Overflow`] and must look at everything again.
    fn events(&self) -> mpsc::Receiver<RuntimeEvent>;

    /// Every sandbox found on the host with its containers, including those of an earlier daemon (adoption).
    fn sandboxes(&self) -> Answer<'_, Vec<SandboxInfo>>;

    /// Creates namespaces and the pause process. Networking is the caller's next step.
    fn create_sandbox(&self, spec: SandboxSpec) -> Answer<'_, SandboxInfo>;

    /// Kills every process of the sandbox and removes its namespaces, containers, cgroups, mounts and shim.
    /// Logs stay. Succeeds when there is nothing (left).
    fn remove_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;

    /// Makes the root file system and the container; its process waits to be started.
    fn create_container<'a>(
        &'a self,
        sandbox: &'a str,
        spec: ContainerSpec,
    ) -> Answer<'a, ContainerInfo>;

    fn start_container<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
    ) -> Answer<'a, ContainerInfo>;

    /// Sends a signal (number) to the container's first process. No error when it has already exited.
    fn signal_container<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
        signal: i32,
    ) -> Answer<'a, ()>;

    /// Removes an exited container and its writable layer. Its log stays.
    fn remove_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()>;

    /// Runs a further process in a running container.
    fn exec<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
        spec: ExecSpec,
    ) -> Answer<'a, ExecIo>;

    /// Joins the container's own standard streams.
    fn attach<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ExecIo>;

    /// Changes the limits of a running container, or of the whole sandbox with `None`. Zero lifts a limit; zero
    /// shares leave the weight alone. Fails if memory in use cannot be brought below a new limit.
    fn set_resources<'a>(
        &'a self,
        sandbox: &'a str,
        container: Option<&'a str>,
        resources: Resources,
    ) -> Answer<'a, ()>;

    /// Sets the CPU weight of a cgroup that holds sandboxes (1024 per core); makes it if it is missing.
    fn set_group<'a>(&'a self, cgroup: &'a str, cpu_shares: u64) -> Answer<'a, ()>;

    /// CPU and memory from the container's cgroup.
    fn usage<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, Usage>;

    /// CPU and memory of a sandbox and all its containers at once, from their cgroups. Asks no shim: a few file reads.
    fn stats<'a>(&'a self, sandbox: &'a str) -> Answer<'a, SandboxStats>;

    /// What a container has written to its root file system. Walks a directory: ask seldom.
    fn rootfs_space<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, Space>;

    /// The image a reference (`nginx`, `nginx:1.25`, `…@sha256:…`, or an id) stands for, if it is here.
    fn image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<ImageInfo>>;

    fn images(&self) -> Answer<'_, Vec<ImageInfo>>;

    /// Mounts the files of an image (by id) at `target` for reading only. The caller unmounts; until then the image
    /// cannot be removed.
    fn mount_image<'a>(&'a self, image: &'a str, target: &'a Path) -> Answer<'a, ()>;

    /// Pulls from a registry; progress goes to the channel if there is one.
    fn pull(
        &self,
        request: PullRequest,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Answer<'_, ImageInfo>;

    /// Removes a reference, and the image with its last reference.
    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()>;
}

/// How long the real runtime waits for one answer of a shim before it reports [`RuntimeError::Timeout`].
pub const SHIM_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the program as a shim or as the program of `kubik/hello`, if its name and arguments say so. Must be asked
/// before any thread exists.
pub fn hidden_command(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let program = arguments.next()?.to_string_lossy().into_owned();
    if hello::is_named(&program) {
        let words: Vec<String> = arguments
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return Some(hello::main(&words));
    }
    let command = arguments.next()?;
    (command == shim::COMMAND).then(|| shim::main(arguments))
}
