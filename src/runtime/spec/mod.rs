//! The OCI runtime specification of a container: a pure function of what was asked and what was found.

pub mod capability;
pub mod seccomp;
pub mod user;

use crate::runtime::{
    model::{ContainerSpec, Mount, Propagation},
    shim::protocol::ImageRoot,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use user::User;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What a container is made of. Namespace paths: `None` shares the host's.
pub struct Plan<'a> {
    pub container: &'a ContainerSpec,
    pub image: &'a ImageRoot,
    pub user: &'a User,
    pub hostname: &'a str,
    pub rootfs: &'a Path,
    pub cgroup: &'a str,
    pub network: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    pub pid: PidNamespace,
    /// Mounted at `/dev/shm`; shared by the pod.
    pub shm: &'a Path,
    /// Bit mask, already limited to what can be given.
    pub capabilities: u64,
    pub seccomp: Option<Value>,
    /// Besides the standard ones.
    pub devices: &'a [Device],
    /// `None`: leave it as it is, because this process may not change it that way.
    pub oom_score_adj: Option<i32>,
}

pub enum PidNamespace {
    Own,
    Host,
    Join(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub path: PathBuf,
    pub is_block: bool,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The process' arguments by Kubernetes' rules: `command` replaces both, `args` the image's cmd.
pub fn arguments(container: &ContainerSpec, image: &ImageRoot) -> Vec<String> {
    let mut arguments = if container.command.is_empty() {
        image.entrypoint.clone()
    } else {
        container.command.clone()
    };
    if !container.args.is_empty() {
        arguments.extend_from_slice(&container.args);
    } else if container.command.is_empty() {
        arguments.extend_from_slice(&image.cmd);
    }
    arguments
}

/// `NAME=value` lines; later sources win, the place of the first stays.
pub fn environment(plan: &Plan<'_>) -> Vec<String> {
    let mut env: Vec<(String, String)> = vec![("PATH".into(), DEFAULT_PATH.into())];
    for entry in &plan.image.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(&mut env, name, value);
    }
    set(&mut env, "HOSTNAME", plan.hostname);
    if plan.container.tty {
        set(&mut env, "TERM", "xterm");
    }
    for (name, value) in &plan.container.env {
        set(&mut env, name, value);
    }
    // Always given: libcontainer would otherwise ask the C library's user database, which a static program must not.
    if !env
        .iter()
        .any(|(name, value)| name == "HOME" && !value.is_empty())
    {
        set(&mut env, "HOME", &plan.user.home);
    }
    env.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(other, _)| other == name) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => env.push((name.to_owned(), value.to_owned())),
    }
}

pub fn working_dir<'a>(container: &'a ContainerSpec, image: &'a ImageRoot) -> &'a str {
    [container.working_dir.as_str(), &image.working_dir]
        .into_iter()
        .find(|dir| !dir.is_empty())
        .unwrap_or("/")
}

/// How host mounts reach the container's namespace as a whole; single mounts are narrowed afterwards.
pub fn root_propagation(mounts: &[Mount]) -> Propagation {
    let any = |wanted| mounts.iter().any(|mount| mount.propagation == wanted);
    if any(Propagation::Bidirectional) {
        Propagation::Bidirectional
    } else if any(Propagation::HostToContainer) {
        Propagation::HostToContainer
    } else {
        Propagation::Private
    }
}

pub fn build(plan: &Plan<'_>) -> Value {
    let container = plan.container;
    let user = &plan.user.process;
    let mut process = json!({
        "terminal": container.tty,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": arguments(container, plan.image),
        "env": environment(plan),
        "cwd": working_dir(container, plan.image),
        "capabilities": capabilities(plan.capabilities),
    });
    // `false` must be left out: libcontainer would then load the seccomp profile too late (SPIKE, section 1).
    if container.no_new_privileges {
        process["noNewPrivileges"] = true.into();
    }
    if let Some(adjustment) = plan.oom_score_adj {
        process["oomScoreAdj"] = adjustment.into();
    }
    json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": plan.rootfs, "readonly": container.read_only_rootfs },
        "mounts": mounts(plan),
        "linux": linux(plan),
    })
}

fn capabilities(mask: u64) -> Value {
    let names = capability::names(mask);
    json!({ "bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": [] })
}

fn linux(plan: &Plan<'_>) -> Value {
    let container = plan.container;
    let mut linux = json!({
        "cgroupsPath": plan.cgroup,
        "namespaces": namespaces(plan),
        "resources": resources(plan),
        "rootfsPropagation": match root_propagation(&container.mounts) {
            Propagation::Private => "private",
            Propagation::HostToContainer => "slave",
            Propagation::Bidirectional => "shared",
        },
    });
    if !container.privileged && !container.unmasked_proc {
        linux["maskedPaths"] = json!(MASKED_PATHS);
        linux["readonlyPaths"] = json!(READ_ONLY_PATHS);
    }
    if !plan.devices.is_empty() {
        linux["devices"] = plan.devices.iter().map(device).collect();
    }
    if let Some(profile) = &plan.seccomp {
        linux["seccomp"] = profile.clone();
    }
    linux
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": if device.is_block { "b" } else { "c" },
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

fn namespaces(plan: &Plan<'_>) -> Vec<Value> {
    let mut namespaces = vec![json!({ "type": "mount" }), json!({ "type": "cgroup" })];
    let joined = [
        ("network", &plan.network),
        ("ipc", &plan.ipc),
        ("uts", &plan.uts),
    ];
    for (kind, path) in joined {
        if let Some(path) = path {
            namespaces.push(json!({ "type": kind, "path": path }));
        }
    }
    match &plan.pid {
        PidNamespace::Own => namespaces.push(json!({ "type": "pid" })),
        PidNamespace::Join(path) => namespaces.push(json!({ "type": "pid", "path": path })),
        PidNamespace::Host => {}
    }
    namespaces
}

fn resources(plan: &Plan<'_>) -> Value {
    let limits = &plan.container.resources;
    let mut devices = vec![json!({ "allow": plan.container.privileged, "access": "rwm" })];
    if !plan.container.privileged {
        devices.extend(plan.devices.iter().map(|device| {
            json!({
                "allow": true,
                "type": if device.is_block { "b" } else { "c" },
                "major": device.major,
                "minor": device.minor,
                "access": "rwm",
            })
        }));
    }
    let mut resources = json!({ "devices": devices });
    let mut cpu = json!({});
    if limits.cpu_shares > 0 {
        cpu["shares"] = limits.cpu_shares.into();
    }
    if limits.cpu_quota_us > 0 {
        cpu["quota"] = limits.cpu_quota_us.into();
        cpu["period"] = limits.cpu_period_us.max(1000).into();
    }
    if cpu.as_object().is_some_and(|cpu| !cpu.is_empty()) {
        resources["cpu"] = cpu;
    }
    if limits.memory_limit_bytes > 0 {
        resources["memory"] = json!({ "limit": limits.memory_limit_bytes });
    }
    if limits.pids_limit > 0 {
        resources["pids"] = json!({ "limit": limits.pids_limit });
    }
    resources
}

fn mounts(plan: &Plan<'_>) -> Vec<Value> {
    let sysfs = if plan.container.privileged {
        "rw"
    } else {
        "ro"
    };
    let standard: [(&str, &str, &str, &[&str]); 7] = [
        ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        (
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        (
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        (
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        (
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", sysfs],
        ),
        (
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", sysfs],
        ),
        (
            "/dev/shm",
            "bind",
            "",
            &["rbind", "rw", "nosuid", "noexec", "nodev"],
        ),
    ];
    let replaced = |destination: &str| {
        let destination = Path::new(destination);
        plan.container.mounts.iter().any(|mount| {
            mount.destination == destination
                || (mount.destination == Path::new("/dev") && destination.starts_with("/dev"))
        })
    };
    let mut all = Vec::new();
    for (destination, kind, source, options) in standard {
        if !replaced(destination) {
            let source = if kind == "bind" {
                plan.shm
            } else {
                Path::new(source)
            };
            let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
            all.push(mount);
        }
    }
    // Outer mounts first, whatever order they were listed in; equal depths keep theirs.
    let mut own: Vec<&Mount> = plan.container.mounts.iter().collect();
    own.sort_by_key(|mount| mount.destination.components().count());
    all.extend(own.into_iter().map(bind));
    all
}

fn bind(mount: &Mount) -> Value {
    let mut options = vec!["rbind"];
    options.push(match (mount.read_only, mount.recursive_read_only) {
        (_, true) => "rro",
        (true, false) => "ro",
        (false, false) => "rw",
    });
    json!({ "destination": mount.destination, "type": "bind", "source": mount.source, "options": options })
}

#[cfg(test)]
mod tests;
