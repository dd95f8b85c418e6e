//! A further process in a running container.
//!
//! Done here rather than by libcontainer, whose tenants lose the seccomp profile, and because probes make it frequent:
//! one fork into the container's PID namespace, then the rest from inside. Failures before exec come back over a pipe
//! that exec closes.

use super::{
    program,
    protocol::{ExecProcess, Failure},
};
use crate::runtime::{
    cgroup,
    sys::{self, Forked},
};
use nix::{
    sched::{CloneFlags, setns},
    unistd::{
        Gid, Uid, chdir, chown, dup2_stderr, dup2_stdin, dup2_stdout, setgroups, setresgid,
        setresuid, setsid,
    },
};
use oci_spec::runtime::LinuxSeccomp;
use serde::Deserialize;
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

/// The parts of a container's `config.json` that its further processes share.
#[derive(Deserialize)]
struct Config {
    process: Process,
    linux: Linux,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    user: User,
    env: Vec<String>,
    cwd: String,
    capabilities: Capabilities,
    #[serde(default)]
    no_new_privileges: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct User {
    uid: u32,
    gid: u32,
    additional_gids: Vec<u32>,
}

#[derive(Deserialize)]
struct Capabilities {
    bounding: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    cgroups_path: String,
    #[serde(default)]
    seccomp: Option<LinuxSeccomp>,
}

/// The container's first process.
pub struct Target<'a> {
    pub pid: i32,
    pub fd: BorrowedFd<'a>,
    pub config: &'a Path,
}

pub struct Running {
    pub pid: i32,
    pub fd: OwnedFd,
    pub terminal: Option<OwnedFd>,
}

pub fn start(
    target: &Target<'_>,
    process: &ExecProcess,
    streams: Vec<OwnedFd>,
) -> Result<Running, Failure> {
    let config = fs::read(target.config)?;
    let config: Config = serde_json::from_slice(&config)
        .map_err(|error| Failure::Failed(format!("read the container's configuration: {error}")))?;
    let (mut failed, report) = io::pipe()?;
    let (wait, mut go) = io::pipe()?;
    let (terminal, terminal_there) = UnixStream::pair()?;
    // Only children are born into another PID namespace, so this process itself stays where it is.
    let home = File::open("/proc/self/ns/pid")?;
    let theirs = File::open(format!("/proc/{}/ns/pid", target.pid))?;
    setns(&theirs, CloneFlags::CLONE_NEWPID)?;
    let forked = sys::clone_with(0);
    if !matches!(forked, Ok(Forked::Child)) {
        setns(&home, CloneFlags::CLONE_NEWPID)?;
    }
    let pid = match forked? {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop((failed, go, terminal));
            let child = Child {
                target,
                process,
                config: &config,
                streams,
                wait,
                terminal: terminal_there,
            };
            child.run(report)
        }
    };
    drop((report, wait, terminal_there, streams));
    let fd = sys::pidfd_open(pid)?;
    // Joined before the child does anything that costs memory.
    if let Err(error) = cgroup::host().join(&config.linux.cgroups_path, pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        return Err(error.into());
    }
    let adjustment = fs::read(format!("/proc/{}/oom_score_adj", target.pid));
    let _ = adjustment.and_then(|text| fs::write(format!("/proc/{pid}/oom_score_adj"), text));
    go.write_all(b"!")?;
    let mut text = String::new();
    failed.read_to_string(&mut text)?;
    if !text.is_empty() {
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
        return Err(Failure::CannotRun(text));
    }
    let terminal = if process.tty {
        let mut fds = Vec::new();
        sys::recv_with_fds(terminal.as_fd(), &mut [0], &mut fds)?;
        fds.pop()
    } else {
        None
    };
    Ok(Running { pid, fd, terminal })
}

/// What the forked child works with.
struct Child<'a> {
    target: &'a Target<'a>,
    process: &'a ExecProcess,
    config: &'a Config,
    streams: Vec<OwnedFd>,
    wait: io::PipeReader,
    terminal: UnixStream,
}

impl Child<'_> {
    fn run(mut self, mut report: io::PipeWriter) -> ! {
        let mut go = [0];
        if self.wait.read_exact(&mut go).is_err() {
            sys::leave(255);
        }
        let reason = match self.enter() {
            Err(error) => error.to_string(),
            Ok(()) => {
                let env = self.environment();
                match program::find(&self.process.command, &env) {
                    Ok(path) => program::execute(&path, &self.process.command, &env),
                    Err(reason) => reason,
                }
            }
        };
        let _ = report.write_all(reason.as_bytes());
        sys::leave(255)
    }

    /// Order: descriptors of the host first (they are lost to view inside), then namespaces, then privileges.
    fn enter(&mut self) -> io::Result<()> {
        let flags = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWCGROUP;
        // One call for all of them; a pidfd is accepted since Linux 5.8.
        setns(self.target.fd, flags)?;
        setsid()?;
        if self.process.tty {
            self.open_terminal()?;
        } else {
            self.connect_streams()?;
        }
        sys::close_from_on_exec(3);
        let Process {
            user,
            capabilities,
            cwd,
            no_new_privileges,
            ..
        } = &self.config.process;
        chdir(cwd.as_str())?;
        if *no_new_privileges {
            sys::set_no_new_privileges()?;
        } else if let Some(profile) = &self.config.linux.seccomp {
            // Without no_new_privs this needs a capability which is about to go.
            filter(profile)?;
        }
        let mask = mask(&capabilities.bounding);
        for number in 0..64 {
            if mask & (1 << number) == 0 && !sys::drop_bounding(number) {
                break;
            }
        }
        sys::keep_capabilities()?;
        let groups: Vec<Gid> = user
            .additional_gids
            .iter()
            .map(|gid| Gid::from_raw(*gid))
            .collect();
        setgroups(&groups)?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        sys::set_capabilities(mask)?;
        if let Some(profile) = &self.config.linux.seccomp
            && *no_new_privileges
        {
            filter(profile)?;
        }
        Ok(())
    }

    /// A terminal of the container's own file system, so that `tty` inside knows it.
    fn open_terminal(&self) -> io::Result<()> {
        let master: OwnedFd = File::options()
            .read(true)
            .write(true)
            .open("/dev/pts/ptmx")?
            .into();
        let slave = sys::open_terminal_peer(master.as_fd())?;
        let path = format!("/proc/self/fd/{}", slave.as_raw_fd());
        let _ = chown(
            path.as_str(),
            Some(Uid::from_raw(self.config.process.user.uid)),
            None,
        );
        sys::control_terminal(slave.as_fd())?;
        dup2_stdin(&slave)?;
        dup2_stdout(&slave)?;
        dup2_stderr(&slave)?;
        sys::send_with_fds(self.terminal.as_fd(), b"t", &[master.as_raw_fd()])?;
        Ok(())
    }

    fn connect_streams(&mut self) -> io::Result<()> {
        let mut streams = std::mem::take(&mut self.streams).into_iter();
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let stdin = if self.process.stdin {
            streams.next()
        } else {
            None
        };
        dup2_stdin(stdin.as_ref().map_or(null.as_fd(), AsFd::as_fd))?;
        let stdout = streams.next();
        dup2_stdout(stdout.as_ref().map_or(null.as_fd(), AsFd::as_fd))?;
        let stderr = streams.next();
        dup2_stderr(stderr.as_ref().map_or(null.as_fd(), AsFd::as_fd))?;
        Ok(())
    }

    fn environment(&self) -> Vec<String> {
        let mut env = self.config.process.env.clone();
        let mut added: Vec<(&str, &str)> = Vec::new();
        if self.process.tty {
            added.push(("TERM", "xterm"));
        }
        added.extend(
            self.process
                .env
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        for (name, value) in added {
            env.retain(|entry| entry.split('=').next() != Some(name));
            env.push(format!("{name}={value}"));
        }
        env
    }
}

fn filter(profile: &LinuxSeccomp) -> io::Result<()> {
    match libcontainer::seccomp::initialize_seccomp(profile) {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::other(format!(
            "install the seccomp profile: {error}"
        ))),
    }
}

fn mask(names: &[String]) -> u64 {
    let known = crate::runtime::spec::capability::NAMES;
    let bit = |name: &String| known.iter().position(|other| *other == name.as_str());
    names.iter().filter_map(bit).map(|number| 1 << number).sum()
}
