//! The pod's namespaces and the process that holds them.
//!
//! Pause is a fork of the young shim, not another program: it costs a millisecond and next to no memory of its own.
//! It dies with nothing else, reaps orphans where it is the first process of a shared PID namespace, and ends by
//! SIGTERM.

use super::protocol::{Failure, SHM_DIR};
use crate::runtime::{
    cgroup,
    model::{Resources, SandboxSpec},
    sys::{self, Forked},
};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};
use std::{
    fs,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

pub struct Pause {
    pub pid: i32,
    pub fd: OwnedFd,
}

/// Makes the pod's cgroup, namespaces, `/dev/shm` and pause.
pub fn create(spec: &SandboxSpec, dir: &Path) -> Result<Pause, Failure> {
    let groups = cgroup::host();
    groups
        .ensure(&spec.cgroup, &spec.resources)
        .map_err(|error| Failure::Failed(format!("make cgroup {}: {error}", spec.cgroup)))?;
    let own_group = format!("{}/pause", spec.cgroup);
    groups.ensure(&own_group, &Resources::default())?;
    mount_shm(spec, dir)?;
    let (failed, report) = std::io::pipe()?;
    let pid = match sys::clone_with(namespaces(spec))? {
        Forked::Child => {
            drop(failed);
            hold(spec, report)
        }
        Forked::Parent(pid) => pid,
    };
    drop(report);
    let fd = sys::pidfd_open(pid)?;
    groups.join(&own_group, pid)?;
    // Best effort: lowering it needs CAP_SYS_RESOURCE.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "-998");
    let mut text = String::new();
    let mut failed = failed;
    failed.read_to_string(&mut text)?;
    if text.is_empty() {
        Ok(Pause { pid, fd })
    } else {
        Err(Failure::Failed(text))
    }
}

fn namespaces(spec: &SandboxSpec) -> u64 {
    let flags = [
        (!spec.host_network, libc::CLONE_NEWNET | libc::CLONE_NEWUTS),
        (!spec.host_ipc, libc::CLONE_NEWIPC),
        (spec.share_pid && !spec.host_pid, libc::CLONE_NEWPID),
    ];
    let wanted = flags.iter().filter(|(wanted, _)| *wanted);
    wanted
        .map(|(_, flags)| u64::from(flags.cast_unsigned()))
        .sum()
}

/// Mounted on the host, because each container's mount namespace is made from the host's at that instant.
fn mount_shm(spec: &SandboxSpec, dir: &Path) -> Result<(), Failure> {
    if spec.host_ipc {
        return Ok(());
    }
    let shm = dir.join(SHM_DIR);
    fs::create_dir_all(&shm)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("shm"),
        &shm,
        Some("tmpfs"),
        flags,
        Some("mode=1777,size=65536k"),
    )?;
    Ok(())
}

/// Runs in the new namespaces, for ever.
fn hold(spec: &SandboxSpec, mut report: std::io::PipeWriter) -> ! {
    sys::set_name(c"pause");
    if let Err(error) = furnish(spec) {
        let _ = report.write_all(error.as_bytes());
        sys::leave(1);
    }
    drop(report);
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    let _ = signals.thread_block();
    let _ = nix::unistd::setsid();
    let _ = nix::unistd::chdir("/");
    sys::close_from(0);
    loop {
        if let Ok(Signal::SIGTERM | Signal::SIGINT) = signals.wait() {
            sys::leave(0);
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
    }
}

fn furnish(spec: &SandboxSpec) -> Result<(), String> {
    if !spec.host_network {
        nix::unistd::sethostname(&spec.hostname)
            .map_err(|error| format!("set hostname {:?}: {error}", spec.hostname))?;
        sys::raise_loopback().map_err(|error| format!("bring lo up: {error}"))?;
        if !spec.domainname.is_empty() {
            fs::write("/proc/sys/kernel/domainname", &spec.domainname)
                .map_err(|error| format!("set domain name: {error}"))?;
        }
    }
    for (name, value) in &spec.sysctls {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        if name.contains("..") || name.starts_with('/') {
            return Err(format!("sysctl {name:?} is not allowed"));
        }
        fs::write(file, value).map_err(|error| format!("set sysctl {name}={value}: {error}"))?;
    }
    Ok(())
}
