//! One container as its shim knows it: made with libcontainer, recorded on disk, reaped.
//!
//! States: `Created` → `Running` → `Exited`, or `Created` → `Exited` (could not run, or killed before its start).
//! Every change is written to a record, renamed into place before anybody hears of it; exits are synced too.

use super::{
    exec,
    program::{CANNOT_RUN, Program},
    protocol::{ExecProcess, Failure, NewContainer, RECORDS_DIR, SHM_DIR},
    rootfs::{self, Mounted, Place},
    serve::complain,
    stdio::{self, Stdio},
};
use crate::{
    runtime::{
        cgroup,
        model::{
            ContainerInfo, ContainerSpec, ContainerState, Exit, Propagation, SandboxSpec, Seccomp,
        },
        spec::{self, Device, PidNamespace, Plan, capability, seccomp, user},
        sys::{self, Forked},
    },
    task::clock,
};
use jiff::Timestamp;
use libcontainer::{
    container::{Container as Oci, builder::ContainerBuilder},
    syscall::syscall::SyscallType,
};
use nix::sys::wait::WaitStatus;
use serde_json::Value;
use std::{
    error::Error,
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Only an exit must survive a loss of power: before it there is nothing that could not be seen to be gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    No,
}

/// The sandbox as far as its containers need it.
pub struct Pod<'a> {
    pub spec: &'a SandboxSpec,
    pub dir: &'a Path,
    pub pause: i32,
}

#[derive(Debug)]
pub struct Container {
    pub info: ContainerInfo,
    pub stdio: Stdio,
    /// The first process while it lives.
    pub init: Option<(i32, OwnedFd)>,
    place: PathBuf,
    cgroup: String,
    /// The kernel ends its processes with the first one.
    owns_pids: bool,
    record: PathBuf,
    oci_root: PathBuf,
    /// Why it cannot be started, if that is known already.
    cannot_run: Option<String>,
}

pub fn log_path(sandbox: &SandboxSpec, container: &ContainerSpec) -> PathBuf {
    sandbox
        .log_dir
        .join(&container.name)
        .join(format!("{}.log", container.attempt))
}

/// Where a container's writable layer and bundle are.
pub fn place(sandbox: &SandboxSpec, id: &str) -> PathBuf {
    // Short: the path appears in an option string with a limit.
    sandbox
        .data_dir
        .join("containers")
        .join(&id[..id.len().min(16)])
}

impl Container {
    /// Makes the container up to the point where only its start is missing. A program that cannot be run is not an
    /// error here: upstream reports it at the start.
    pub fn create(
        pod: &Pod<'_>,
        new: &NewContainer,
        target: Option<i32>,
    ) -> Result<Container, Failure> {
        let log = log_path(pod.spec, &new.spec);
        let mut container = Container {
            info: ContainerInfo {
                id: new.id.clone(),
                name: new.spec.name.clone(),
                attempt: new.spec.attempt,
                image: new.spec.image.clone(),
                state: ContainerState::Created,
                log_path: log.clone(),
                labels: new.spec.labels.clone(),
                user: None,
            },
            stdio: Stdio::new(&log, new.spec.stdin_once)?,
            init: None,
            place: place(pod.spec, &new.id),
            cgroup: format!("{}/{}", pod.spec.cgroup, new.id),
            owns_pids: !pod.spec.host_pid && !pod.spec.share_pid && target.is_none(),
            record: pod.dir.join(RECORDS_DIR).join(format!("{}.json", new.id)),
            oci_root: pod.dir.join("oci"),
            cannot_run: None,
        };
        match container.make(pod, new, target) {
            Ok(()) => {}
            Err(Failure::CannotRun(reason)) => container.cannot_run = Some(reason),
            Err(failure) => {
                container.remove_traces();
                return Err(failure);
            }
        }
        container.save(Durable::No)?;
        Ok(container)
    }

    fn make(
        &mut self,
        pod: &Pod<'_>,
        new: &NewContainer,
        target: Option<i32>,
    ) -> Result<(), Failure> {
        if spec::arguments(&new.spec, &new.root).is_empty() {
            return Err(Failure::Failed(format!(
                "failed to generate container \"{}\" spec: failed to generate spec: no command specified",
                new.id
            )));
        }
        let place = Place {
            dir: self.place.clone(),
        };
        rootfs::ensure_sources(&new.spec.mounts)?;
        let propagation = spec::root_propagation(&new.spec.mounts);
        let mounted = rootfs::mount_image(&place, &new.root, propagation)?;
        let devices = rootfs::devices(&new.spec.devices, new.spec.privileged);
        let config = self.plan(pod, new, target, &mounted, &devices)?;
        fs::write(place.dir.join("config.json"), config.to_string())?;
        let result = self.build(new, &place);
        // libcontainer leaves both changed in its caller.
        let _ = sys::set_dumpable(true);
        let _ = fs::write(OOM_SCORE, own_oom_score());
        drop(mounted);
        let pid = result?;
        let fd = sys::pidfd_open(pid)?;
        cgroup::host().contain_memory(&self.cgroup);
        if !new.spec.privileged
            && let Err(error) = cgroup::host().restrict_devices(&self.cgroup, &devices)
        {
            // Where eBPF is not allowed, the machine is somebody else's container and the devices are not there.
            complain(&format!(
                "restrict the devices of {}: {error}",
                self.info.name
            ));
        }
        if propagation != Propagation::Private {
            narrow(&fd, &new.spec)?;
        }
        self.init = Some((pid, fd));
        Ok(())
    }

    fn plan(
        &mut self,
        pod: &Pod<'_>,
        new: &NewContainer,
        target: Option<i32>,
        mounted: &Mounted,
        devices: &[Device],
    ) -> Result<Value, Failure> {
        let mut container = new.spec.clone();
        let written = mounted.written(&new.root.volumes, &container)?;
        container.mounts.extend(written);
        let container = &container;
        let user = user::resolve(
            &new.root.user,
            container,
            &mounted.accounts("etc/passwd")?,
            &mounted.accounts("etc/group")?,
        )
        .map_err(Failure::Failed)?;
        self.info.user = Some(user.process.clone());
        let directory = Path::new(spec::working_dir(container, &new.root));
        mounted.ensure_dir(directory, &container.mounts)?;
        let own = capability::permitted(&fs::read_to_string("/proc/self/status")?);
        let capabilities = capability::resolve(
            container.privileged,
            &container.capabilities_add,
            &container.capabilities_drop,
            own,
        )
        .map_err(Failure::Failed)?;
        let held = |name: &str| Some(PathBuf::from(format!("/proc/{}/ns/{name}", pod.pause)));
        let host_network = pod.spec.host_network;
        let shm = if pod.spec.host_ipc {
            PathBuf::from("/dev/shm")
        } else {
            pod.dir.join(SHM_DIR)
        };
        Ok(spec::build(&Plan {
            container,
            image: &new.root,
            user: &user,
            hostname: &pod.spec.hostname,
            rootfs: mounted.path(),
            cgroup: &self.cgroup,
            network: held("net").filter(|_| !host_network),
            uts: held("uts").filter(|_| !host_network),
            ipc: held("ipc").filter(|_| !pod.spec.host_ipc),
            pid: match (target, pod.spec.host_pid, pod.spec.share_pid) {
                (Some(pid), ..) => PidNamespace::Join(format!("/proc/{pid}/ns/pid").into()),
                (None, true, _) => PidNamespace::Host,
                (None, false, true) => {
                    PidNamespace::Join(format!("/proc/{}/ns/pid", pod.pause).into())
                }
                (None, false, false) => PidNamespace::Own,
            },
            shm: &shm,
            capabilities,
            seccomp: profile(container, capabilities)?,
            devices,
            oom_score_adj: possible_oom_score(container.oom_score_adj),
        }))
    }

    /// Returns the first process, which waits to be started.
    fn build(&mut self, new: &NewContainer, place: &Place) -> Result<i32, Failure> {
        fs::create_dir_all(&self.oci_root)?;
        let builder = ContainerBuilder::new(new.id.clone(), SyscallType::default());
        let builder = builder
            .with_root_path(&self.oci_root)
            .map_err(|error| explain(&error))?;
        let builder = builder.with_executor(Program);
        let finish = |builder: ContainerBuilder| {
            let init = builder
                .as_init(&place.dir)
                .with_systemd(false)
                .with_detach(true);
            init.build().map_err(|error| explain(&error))
        };
        let made = if new.spec.tty {
            let socket = place.dir.join("tty");
            let _ = fs::remove_file(&socket);
            let listener = bind_short(&socket)?;
            let made = finish(builder.with_console_socket(Some(&socket)))?;
            let (stream, _) = listener.accept()?;
            let mut fds = Vec::new();
            sys::recv_with_fds(stream.as_fd(), &mut [0; 256], &mut fds)?;
            let master = fds
                .pop()
                .ok_or_else(|| Failure::Failed("no terminal came".to_owned()))?;
            self.stdio.connect_terminal(master, new.spec.stdin)?;
            made
        } else {
            let (stdin, stdout, stderr, theirs) = stdio::pipes(new.spec.stdin)?;
            let builder = builder
                .with_stdin(theirs.stdin)
                .with_stdout(theirs.stdout)
                .with_stderr(theirs.stderr);
            let made = finish(builder)?;
            self.stdio.connect_pipes(stdin, stdout, stderr)?;
            made
        };
        let pid = made
            .pid()
            .ok_or_else(|| Failure::Failed("the container has no process".to_owned()))?;
        Ok(pid.as_raw())
    }

    /// Lets the first process go on to its program. Repeating it is harmless.
    pub fn start(&mut self) -> Result<(), Failure> {
        if self.info.state != ContainerState::Created {
            return Ok(());
        }
        if let Some(reason) = &self.cannot_run {
            let failure = Failure::CannotRun(reason.clone());
            self.exited(128, 0, reason.clone())?;
            return Err(failure);
        }
        let Some((pid, _)) = &self.init else {
            return Err(Failure::Failed(format!(
                "container {} has no process",
                self.info.name
            )));
        };
        let pid = *pid;
        let mut made =
            Oci::load(self.oci_root.join(&self.info.id)).map_err(|error| explain(&error))?;
        made.start().map_err(|error| explain(&error))?;
        self.info.state = ContainerState::Running {
            pid,
            started_at: clock::now(),
        };
        self.save(Durable::No)?;
        Ok(())
    }

    pub fn signal(&self, signal: i32) -> Result<(), Failure> {
        if let Some((pid, _)) = &self.init {
            let signal = nix::sys::signal::Signal::try_from(signal)?;
            match nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), signal) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub fn exec(
        &self,
        process: &ExecProcess,
        streams: Vec<OwnedFd>,
    ) -> Result<exec::Running, Failure> {
        let (ContainerState::Running { .. }, Some((pid, fd))) = (&self.info.state, &self.init)
        else {
            return Err(Failure::NotFound(format!(
                "a running container {}",
                self.info.name
            )));
        };
        let target = exec::Target {
            pid: *pid,
            fd: fd.as_fd(),
            config: &self.place.join("config.json"),
        };
        exec::start(&target, process, streams)
    }

    /// The first process has been reaped.
    pub fn reaped(&mut self, status: WaitStatus) -> io::Result<()> {
        let (code, signal) = match status {
            WaitStatus::Exited(_, code) => (code, 0),
            WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, signal as i32),
            _ => return Ok(()),
        };
        if !self.owns_pids {
            cgroup::host().kill_all(&self.cgroup)?;
        }
        self.exited(code, signal, String::new())
    }

    fn exited(&mut self, code: i32, signal: i32, message: String) -> io::Result<()> {
        self.stdio.finish();
        self.init = None;
        let started_at = match self.info.state {
            ContainerState::Running { started_at, .. } => Some(started_at),
            _ => None,
        };
        let finished_at: Timestamp = clock::now();
        self.info.state = ContainerState::Exited(Exit {
            code,
            signal,
            oom_killed: cgroup::host().oom_kills(&self.cgroup) > 0,
            started_at,
            finished_at,
            message,
        });
        self.save(Durable::Yes)
    }

    fn save(&self, durable: Durable) -> io::Result<()> {
        let dir = self.record.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let fresh = self.record.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(&self.info)?)?;
        if durable == Durable::Yes {
            file.sync_all()?;
        }
        fs::rename(&fresh, &self.record)?;
        if durable == Durable::Yes {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Only after its exit.
    pub fn remove(&self) -> io::Result<()> {
        cgroup::host().kill_all(&self.cgroup)?;
        self.remove_traces();
        fs::remove_file(&self.record)
    }

    fn remove_traces(&self) {
        let groups = cgroup::host();
        let _ = groups.kill_all(&self.cgroup);
        let _ = groups.remove(&self.cgroup);
        let _ = fs::remove_dir_all(self.oci_root.join(&self.info.id));
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// A listener at a path that may be longer than a socket's address: bound relative to its directory.
fn bind_short(path: &Path) -> io::Result<UnixListener> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    std::env::set_current_dir(dir)?;
    let listener = UnixListener::bind(name);
    std::env::set_current_dir("/")?;
    listener
}

fn profile(container: &ContainerSpec, capabilities: u64) -> Result<Option<Value>, Failure> {
    if container.privileged {
        return Ok(None);
    }
    match &container.seccomp {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => Ok(Some(seccomp::runtime_default(capabilities))),
        Seccomp::Profile(path) => {
            let text = fs::read(path).map_err(|error| {
                Failure::Failed(format!("load seccomp profile {}: {error}", path.display()))
            })?;
            serde_json::from_slice(&text).map(Some).map_err(|error| {
                Failure::Failed(format!("load seccomp profile {}: {error}", path.display()))
            })
        }
    }
}

fn narrow(init: &OwnedFd, container: &ContainerSpec) -> Result<(), Failure> {
    match sys::clone_with(0)? {
        Forked::Child => {
            let done = rootfs::narrow_propagation(init, &container.mounts);
            sys::leave(i32::from(done.is_err()))
        }
        Forked::Parent(pid) => {
            match nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)? {
                WaitStatus::Exited(_, 0) => Ok(()),
                _ => Err(Failure::Failed("set the propagation of mounts".to_owned())),
            }
        }
    }
}

/// This process' own adjustment, as it was before anything changed it.
fn own_oom_score() -> &'static str {
    static OWN: OnceLock<String> = OnceLock::new();
    OWN.get_or_init(|| fs::read_to_string(OOM_SCORE).unwrap_or_else(|_| "0".to_owned()))
}

/// The wanted adjustment if this process may set it; lowering needs CAP_SYS_RESOURCE, which is not everywhere.
fn possible_oom_score(wanted: i32) -> Option<i32> {
    let own = own_oom_score();
    let possible = fs::write(OOM_SCORE, wanted.to_string()).is_ok();
    let _ = fs::write(OOM_SCORE, own);
    possible.then_some(wanted)
}

/// libcontainer's chain of errors as one line, and our own executor's verdict apart.
fn explain(error: &dyn Error) -> Failure {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    match text.split_once(CANNOT_RUN) {
        Some((_, reason)) => Failure::CannotRun(format!(
            "unable to start container process: error during container init: {}",
            reason
                .split(". error during cleanup")
                .next()
                .unwrap_or(reason)
        )),
        None => Failure::Failed(text),
    }
}
