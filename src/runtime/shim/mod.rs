//! The shim: one small process per sandbox that owns its namespaces and containers and outlives the daemon.
//!
//! [`main`] is entered before the program makes any thread, and it makes none: libcontainer forks and changes
//! process-wide state. What the daemon says to it is in [`protocol`]; the daemon's side is `runtime::linux`.

mod client;
mod container;
mod exec;
pub mod log;
mod program;
pub mod protocol;
mod rootfs;
mod sandbox;
mod serve;
mod stdio;

use crate::{
    runtime::{
        cgroup,
        model::{SandboxInfo, SandboxSpec},
        sys,
    },
    task::clock,
};
use protocol::{Failure, SANDBOX_FILE, SOCKET_FILE, SandboxFile};
use serve::Shim;
use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
};

pub use container::{log_path, place};

/// The directory of what a container has written to its root file system.
#[must_use]
pub fn upper_of(sandbox: &SandboxSpec, container: &str) -> PathBuf {
    let dir = place(sandbox, container);
    rootfs::Place { dir }.upper()
}

/// The hidden command's name.
pub const COMMAND: &str = "shim";

/// `kubik shim <directory>`: makes the sandbox described there, reports on standard output, serves until told to end.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(dir) = arguments.next().map(PathBuf::from) else {
        return ExitCode::FAILURE;
    };
    let made = begin(&dir);
    let report: Result<SandboxInfo, Failure> = match &made {
        Ok(shim) => Ok(shim.info()),
        Err(failure) => Err(failure.clone()),
    };
    let text = serde_json::to_vec(&report).expect("plain data");
    let _ = io::stdout().write_all(&text);
    let _ = io::stdout().flush();
    let Ok(mut shim) = made else {
        return ExitCode::FAILURE;
    };
    // The end of this pipe tells the daemon that the report is complete.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&null);
    }
    sys::trim_heap();
    match shim.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::complain(&format!("poll: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn begin(dir: &Path) -> Result<Shim, Failure> {
    sys::set_name(c"kubik-shim");
    keep_reasons();
    let _ = nix::unistd::setsid();
    sys::become_subreaper()?;
    std::env::set_current_dir("/")?;
    // Containers inherit it, and expect what every runtime gives.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let text = fs::read(dir.join(SANDBOX_FILE))?;
    let file: SandboxFile =
        serde_json::from_slice(&text).map_err(|error| Failure::Failed(error.to_string()))?;
    let pause = sandbox::create(&file.spec, dir)?;
    sys::notice_children()?;
    leave_daemon_group(&file.spec.cgroup);
    // Last: whoever can connect finds a complete sandbox.
    let socket = dir.join(SOCKET_FILE);
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(Shim {
        dir: dir.to_owned(),
        spec: file.spec,
        pause,
        created_at: clock::now(),
        alive: true,
        containers: Vec::new(),
        listener,
        clients: Vec::new(),
        execs: Vec::new(),
        last_client: 0,
        leaving: false,
    })
}

/// libcontainer says why something failed only to its trace, so that is kept: in the sandbox's log, through a
/// descriptor of its own, because the forked first process of a container gets another standard error.
fn keep_reasons() {
    if let Ok(log) = io::stderr().as_fd().try_clone_to_owned() {
        let trace = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::ERROR)
            .with_ansi(false)
            .log_internal_errors(false);
        // Refused only if there is one already.
        let _ = trace.with_writer(Mutex::new(File::from(log))).try_init();
    }
}

/// Moves to a group beside the pods, so that neither the pod's limits nor the end of the session or service which
/// started the daemon touch the shim. Best effort.
fn leave_daemon_group(pod: &str) {
    let cluster = pod
        .trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default();
    let group = format!("/{cluster}/shims");
    let groups = cgroup::host();
    let none = crate::runtime::model::Resources::default();
    let moved = groups
        .ensure(&group, &none)
        .and_then(|()| groups.join(&group, std::process::id().cast_signed()));
    if let Err(error) = moved {
        serve::complain(&format!("join cgroup {group}: {error}"));
    }
}
