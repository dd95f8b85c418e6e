//! Control groups behind one interface: unified (v2), or legacy and hybrid (v1), detected once.
//!
//! Paths are absolute within the hierarchy (`/kubik-x/pod<uid>`), never on the file system. Everything is safe to
//! repeat. Limits of containers are libcontainer's work; this module makes pods' groups, joins, kills, reads, removes.

mod detect;
mod freeze;
mod limit;
mod nested;

pub use detect::{Survey, survey};
pub use limit::Level;

use crate::runtime::{
    device,
    model::{Resources, SandboxStats, Throttling, Usage},
    spec::Device,
    sys,
};
use limit::{Setting, settings, unlimited};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// How long [`Cgroups::kill_all`] goes on before it reports what is left.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// The mount point.
    Unified(PathBuf),
    /// Controllers (or `name=…`) and mount points. In hybrid mode the controllers are here too.
    Legacy(Vec<(String, PathBuf)>),
}

/// The host's. Read once: it does not change while the system runs.
pub fn host() -> &'static Cgroups {
    static HOST: OnceLock<Cgroups> = OnceLock::new();
    HOST.get_or_init(|| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        detect::from_mountinfo(&mounts)
    })
}

impl Cgroups {
    #[must_use]
    pub fn is_unified(&self) -> bool {
        matches!(self, Cgroups::Unified(_))
    }

    /// The directory of a group for one legacy controller, or the only one.
    fn dir(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let path = path.trim_start_matches('/');
        match self {
            Cgroups::Unified(root) => Some(root.join(path)),
            Cgroups::Legacy(mounts) => {
                let mount = mounts.iter().find(|(name, _)| name == controller)?;
                Some(mount.1.join(path))
            }
        }
    }

    /// Every directory a group has, each once.
    fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        match self {
            Cgroups::Unified(root) => vec![root.join(path)],
            Cgroups::Legacy(mounts) => {
                let mut dirs: Vec<PathBuf> = mounts.iter().map(|(_, m)| m.join(path)).collect();
                dirs.dedup();
                dirs
            }
        }
    }

    /// Makes a group with its ancestors and sets its limits. On v2 only ancestors hand controllers down: a group that
    /// does may not have processes.
    pub fn ensure(&self, path: &str, limits: &Resources) -> io::Result<()> {
        match self {
            Cgroups::Unified(root) => {
                nested::make_room(root)?;
                let mut dir = root.clone();
                for part in path.split('/').filter(|part| !part.is_empty()) {
                    delegate(&dir);
                    dir.push(part);
                    ensure_dir(&dir)?;
                }
            }
            Cgroups::Legacy(_) => {
                for controller in ["cpu", "memory", "pids"] {
                    if let Some(dir) = self.dir(controller, path) {
                        fs::create_dir_all(dir)?;
                    }
                }
            }
        }
        self.limit(path, limits)
    }

    fn limit(&self, path: &str, limits: &Resources) -> io::Result<()> {
        self.write(path, settings(self.is_unified(), limits, Level::Pod))
    }

    /// Changes the limits of a group in use; zero lifts. Refuses less memory than is used: the kernel would kill.
    pub fn change(&self, path: &str, limits: &Resources, level: Level) -> io::Result<()> {
        let used = self
            .usage(path)
            .ok_or(io::ErrorKind::NotFound)?
            .memory_bytes;
        let wanted = u64::try_from(limits.memory_limit_bytes).unwrap_or(0);
        if wanted > 0 && wanted < used {
            let text =
                format!("attempting to set memory limit ({wanted}) below current usage ({used})");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.write(path, unlimited(self.is_unified(), limits))?;
        self.write(path, settings(self.is_unified(), limits, level))
    }

    /// After the last group of a cluster is removed: the root is as it was before the first.
    pub fn give_back_root(&self) {
        if let Cgroups::Unified(root) = self {
            nested::give_back(root);
        }
    }

    fn write(&self, path: &str, settings: Vec<Setting>) -> io::Result<()> {
        for (controller, file, value) in settings {
            if let Some(dir) = self.dir(controller, path) {
                fs::write(dir.join(file), value)?;
            }
        }
        Ok(())
    }

    /// Moves a process into a group, where the group exists.
    pub fn join(&self, path: &str, pid: i32) -> io::Result<()> {
        for dir in self.dirs(path) {
            match fs::write(dir.join("cgroup.procs"), pid.to_string()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The processes of a group and of all groups below.
    #[must_use]
    pub fn processes(&self, path: &str) -> Vec<i32> {
        let mut pids = Vec::new();
        let mut dirs = self.dirs(path);
        while let Some(dir) = dirs.pop() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            // Zero stands for a process of another PID namespace, which cannot be signalled from here.
            pids.extend(
                text.lines()
                    .filter_map(|l| l.parse::<i32>().ok())
                    .filter(|p| *p > 0),
            );
            dirs.extend(children(&dir));
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// SIGKILLs every process of a group and of those below until none is left. Blocks.
    pub fn kill_all(&self, path: &str) -> io::Result<()> {
        let started = Instant::now();
        let mut pause = Duration::from_micros(200);
        self.thaw_to_kill(path);
        loop {
            // cgroup.kill exists since Linux 5.14 and leaves no race with forks.
            let killed_at_once = match self {
                Cgroups::Unified(root) => fs::write(
                    root.join(path.trim_start_matches('/')).join("cgroup.kill"),
                    "1",
                )
                .is_ok(),
                Cgroups::Legacy(_) => false,
            };
            let left = self.processes(path);
            if left.is_empty() {
                return Ok(());
            }
            if !killed_at_once {
                for pid in &left {
                    let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
                }
            }
            if started.elapsed() > KILL_DEADLINE {
                let text = format!("processes {left:?} of cgroup {path} do not end");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Removes a group and all below. Succeeds when there is none; its processes must have ended.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let mut result = Ok(());
        for dir in self.dirs(path) {
            if let Err(error) = remove_tree(&dir) {
                result = Err(error);
            }
        }
        result
    }

    /// How often the kernel killed a process of this group for want of memory.
    #[must_use]
    pub fn oom_kills(&self, path: &str) -> u64 {
        let file = if self.is_unified() {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        self.read("memory", path, file)
            .and_then(|text| field(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// One kill for want of memory ends the whole group, and nothing of it goes to the machine's swap instead, as
    /// Kubernetes wants it on v2. No effect on v1.
    pub fn contain_memory(&self, path: &str) {
        if let Cgroups::Unified(root) = self {
            let dir = root.join(path.trim_start_matches('/'));
            let _ = fs::write(dir.join("memory.oom.group"), "1");
            // A kernel without swap has no such file.
            let _ = fs::write(dir.join("memory.swap.max"), "0");
        }
    }

    /// Lets the group's processes open these devices besides the standard ones. On v1 libcontainer has done it.
    pub fn restrict_devices(&self, path: &str, devices: &[Device]) -> io::Result<()> {
        let Cgroups::Unified(root) = self else {
            return Ok(());
        };
        let group = fs::File::open(root.join(path.trim_start_matches('/')))?;
        let program = sys::load_device_program(&device::program(devices))?;
        sys::attach_device_program(group.as_fd(), program.as_fd())
    }

    /// `None` when the group does not exist.
    #[must_use]
    pub fn usage(&self, path: &str) -> Option<Usage> {
        let cpu = self.read("cpu", path, "cpu.stat");
        let cpu = |name: &str| field(cpu.as_deref()?, name);
        let (cpu_nanos, throttled_nanos, memory_bytes) = if self.is_unified() {
            (
                cpu("usage_usec")? * 1000,
                cpu("throttled_usec").unwrap_or(0) * 1000,
                self.number("memory", path, "memory.current")?,
            )
        } else {
            (
                self.number("cpuacct", path, "cpuacct.usage").unwrap_or(0),
                cpu("throttled_time").unwrap_or(0),
                self.number("memory", path, "memory.usage_in_bytes")?,
            )
        };
        let memory = self.read("memory", path, "memory.stat")?;
        // Inactive files, anonymous memory, files.
        let names = match self.is_unified() {
            true => ["inactive_file", "anon", "file"],
            false => ["total_inactive_file", "total_rss", "total_cache"],
        };
        let [inactive, rss_bytes, cache_bytes] =
            names.map(|name| field(&memory, name).unwrap_or(0));
        Some(Usage {
            cpu_nanos,
            memory_bytes,
            working_set_bytes: memory_bytes.saturating_sub(inactive),
            rss_bytes,
            cache_bytes,
            throttling: Throttling {
                periods: cpu("nr_periods").unwrap_or(0),
                throttled_periods: cpu("nr_throttled").unwrap_or(0),
                throttled_nanos,
            },
        })
    }

    /// A group with the groups right below it, which are its containers' by name. `None` when it does not exist.
    #[must_use]
    pub fn stats(&self, path: &str) -> Option<SandboxStats> {
        let name = |dir: &PathBuf| Some(dir.file_name()?.to_str()?.to_owned());
        let below = children(&self.dir("memory", path)?);
        let containers = below.iter().filter_map(|dir| {
            let name = name(dir)?;
            let usage = self.usage(&format!("{path}/{name}"))?;
            Some((name, usage))
        });
        // The whole after its parts: what only grows is then never less than one of them.
        let containers = containers.collect();
        Some(SandboxStats {
            usage: self.usage(path)?,
            processes: self.number("pids", path, "pids.current").unwrap_or(0),
            containers,
        })
    }

    fn read(&self, controller: &str, path: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.dir(controller, path)?.join(file)).ok()
    }

    fn number(&self, controller: &str, path: &str, file: &str) -> Option<u64> {
        self.read(controller, path, file)?.trim().parse().ok()
    }
}

/// The value of a `name value` line.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    text.lines().find_map(value)
}

/// Hands the controllers down. Each on its own: one that is missing must not cost the others.
fn delegate(dir: &Path) {
    let enabled = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    for controller in ["cpu", "memory", "pids", "io", "cpuset", "hugetlb"] {
        if !enabled.split_whitespace().any(|other| other == controller) {
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn ensure_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let folders = entries
        .filter_map(Result::ok)
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in children(dir) {
        remove_tree(&child)?;
    }
    let started = Instant::now();
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A process that has just ended is counted for another moment.
            Err(error)
                if error.raw_os_error() == Some(nix::errno::Errno::EBUSY as i32)
                    && started.elapsed() < Duration::from_millis(500) =>
            {
                thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_whole_name() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "kill"), None);
    }
}
