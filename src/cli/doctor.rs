//! `kubik doctor`: what this machine offers. Looks only; changes nothing.
//!
//! `CHECKS` is the table. The checks that are fatal also run before every start ([`fatal`]), in under a millisecond.

use super::{failure::Failure, place, screen};
use crate::runtime::{
    cgroup::{self, Survey},
    support,
};
use nix::sys::{resource, statvfs};
use std::{fs, net::TcpListener, path::Path, process::ExitCode};

enum Verdict {
    Good(String),
    /// Works, with less.
    Warning(String, &'static str),
    /// A cluster cannot run.
    Bad(String, &'static str),
}
use Verdict::{Bad, Good, Warning};

struct Check {
    name: &'static str,
    look: Look,
}

enum Look {
    Machine(fn() -> Verdict),
    /// At the place where a cluster's state is kept, or the first directory above that is there.
    State(fn(&Path) -> Verdict),
}
use Look::{Machine, State};

const CHECKS: &[Check] = &[
    Check {
        name: "rights",
        look: Machine(rights),
    },
    Check {
        name: "kernel",
        look: Machine(kernel),
    },
    Check {
        name: "namespaces",
        look: Machine(namespaces),
    },
    Check {
        name: "overlayfs",
        look: Machine(overlayfs),
    },
    Check {
        name: "cgroups",
        look: Machine(cgroups),
    },
    Check {
        name: "devices",
        look: Machine(devices),
    },
    Check {
        name: "network",
        look: Machine(network),
    },
    Check {
        name: "sysctls",
        look: Machine(sysctls),
    },
    Check {
        name: "OOM scores",
        look: Machine(oom_scores),
    },
    Check {
        name: "open files",
        look: Machine(open_files),
    },
    Check {
        name: "inotify",
        look: Machine(inotify),
    },
    Check {
        name: "state disk",
        look: State(state_disk),
    },
    Check {
        name: "disk space",
        look: State(disk_space),
    },
    Check {
        name: "API port",
        look: Machine(api_port),
    },
    Check {
        name: "proxy",
        look: Machine(proxy),
    },
];

pub fn run(_profile: &str) -> Result<ExitCode, Failure> {
    let mut bad = 0;
    let state = place::state_root();
    for check in CHECKS {
        let (sign, text, advice) = match check.verdict(&state) {
            Good(text) => ("ok  ", text, None),
            Warning(text, advice) => ("warn", text, Some(advice)),
            Bad(text, advice) => {
                bad += 1;
                ("FAIL", text, Some(advice))
            }
        };
        screen::result(&format!("{sign}  {:<12}{text}", check.name));
        if let Some(advice) = advice {
            screen::result(&format!("      {:<12}{advice}", ""));
        }
    }
    match bad {
        0 => {
            screen::result("This machine can run kubik.");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Failure::new(
            "HOST_DOCTOR",
            36,
            format!("{bad} of {} checks failed", CHECKS.len()),
        )),
    }
}

impl Check {
    fn verdict(&self, state: &Path) -> Verdict {
        match self.look {
            Machine(look) => look(),
            State(look) => {
                let existing = state.ancestors().find(|path| path.exists());
                look(existing.unwrap_or(state))
            }
        }
    }
}

/// The first check that forbids a start of a cluster with its state there.
pub fn fatal(state: &Path) -> Result<(), Failure> {
    for check in CHECKS {
        if let Bad(text, advice) = check.verdict(state) {
            let why = format!("{}: {text}", check.name);
            return Err(Failure::new("HOST_UNSUPPORTED", 36, why).advise(advice));
        }
    }
    Ok(())
}

fn rights() -> Verdict {
    if nix::unistd::geteuid().is_root() {
        Good("root".to_owned())
    } else {
        Bad("not root".to_owned(), "Run kubik with sudo.")
    }
}

/// pidfds, clone3 and cgroup.kill's predecessors are there from 5.10 on, the oldest kernel that is still kept.
const KERNEL_MIN: (u32, u32) = (5, 10);

fn kernel() -> Verdict {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN {
        Bad(release, "kubik needs Linux 5.10 or newer.")
    } else {
        Good(release)
    }
}

fn namespaces() -> Verdict {
    let missing: Vec<&str> = ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
        .into_iter()
        .filter(|name| !fs::exists(format!("/proc/self/ns/{name}")).unwrap_or(false))
        .collect();
    if missing.is_empty() {
        Good("cgroup ipc mnt net pid uts".to_owned())
    } else {
        let text = format!("missing: {}", missing.join(" "));
        Bad(
            text,
            "The kernel was built without them; use a distribution's kernel.",
        )
    }
}

fn overlayfs() -> Verdict {
    if support::has_overlay() {
        return Good("available".to_owned());
    }
    let advice = match Modules::read().is_outdated() {
        true => REBOOT,
        false => "The kernel has no such module: use a distribution's kernel, with its modules.",
    };
    Bad("not available".to_owned(), advice)
}

fn state_disk(place: &Path) -> Verdict {
    match support::unfit_file_system(place) {
        None => Good(format!("{} can hold containers", place.display())),
        Some(kind) => Bad(
            format!(
                "{} is on {kind}, which containers cannot write to",
                place.display()
            ),
            "Name a place on a real disk with KUBIK_HOME (in a container: a volume), or start with --ephemeral.",
        ),
    }
}

fn cgroups() -> Verdict {
    match cgroup::survey() {
        Survey::Unified => Good("version 2".to_owned()),
        Survey::Legacy => Good("version 1 (hybrid)".to_owned()),
        Survey::NotMounted => Bad(
            "not mounted".to_owned(),
            "Mount cgroup2 on /sys/fs/cgroup: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        ),
        Survey::ReadOnly => Bad(
            "mounted read-only".to_owned(),
            "In a container kubik needs more rights: docker run --privileged.",
        ),
        Survey::Missing(names) => Bad(
            format!("controllers missing: {}", names.join(" ")),
            "Limits would not hold. For memory, boot with cgroup_enable=memory; in a container, let them through.",
        ),
    }
}

/// Version 1 has a controller for it.
fn devices() -> Verdict {
    if !cgroup::host().is_unified() {
        return Good("closed to containers by the devices controller".to_owned());
    }
    match support::restrict_devices() {
        Ok(()) => Good("closed to containers by an eBPF program".to_owned()),
        Err(error) => Warning(
            format!("eBPF is refused: {error}"),
            "Containers that may make device nodes can open this machine's devices.",
        ),
    }
}

const REBOOT: &str =
    "The kernel's modules are gone from /lib/modules, as after its upgrade: reboot.";

/// What the kernel may load by itself when it is asked for.
struct Modules {
    /// `modules.builtin` and `modules.dep`. Empty where there are none: a kernel without modules, or a container.
    lists: [String; 2],
    has_others: bool,
}

impl Modules {
    fn read() -> Modules {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let folder = format!("/lib/modules/{}", release.trim());
        Modules {
            lists: ["modules.builtin", "modules.dep"]
                .map(|name| fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default()),
            has_others: fs::read_dir("/lib/modules").is_ok_and(|mut all| all.next().is_some()),
        }
    }

    /// The machine has modules, for other kernels only.
    fn is_outdated(&self) -> bool {
        self.has_others && self.lists.iter().all(String::is_empty)
    }

    /// A kernel that cannot be asked has everything.
    fn has(&self, name: &str) -> bool {
        let file = format!("/{name}.ko");
        let is_listed = || self.lists.iter().any(|list| list.contains(&file));
        let is_silent = || !self.has_others && self.lists.iter().all(String::is_empty);
        fs::exists(format!("/sys/module/{name}")).unwrap_or(false) || is_silent() || is_listed()
    }
}

/// What links and rules are made of.
fn network() -> Verdict {
    let modules = Modules::read();
    let missing: Vec<&str> = ["bridge", "veth", "nf_tables"]
        .into_iter()
        .filter(|name| !modules.has(name))
        .collect();
    if missing.is_empty() {
        return Good("bridge veth nf_tables".to_owned());
    }
    let text = format!("no module {}", missing.join(", "));
    if modules.is_outdated() {
        // What is built in cannot be told from what is not there.
        return Warning(text, REBOOT);
    }
    let advice = "Pods need them: use a distribution's kernel, with its modules.";
    Bad(text, advice)
}

/// Forwarding is switched on there, for the machine and for the cluster's bridge.
fn sysctls() -> Verdict {
    let read_only = statvfs::statvfs("/proc/sys/net")
        .is_ok_and(|stat| stat.flags().contains(statvfs::FsFlags::ST_RDONLY));
    if read_only {
        let advice = "In a container kubik needs more rights: docker run --privileged.";
        Bad("/proc/sys is read-only".to_owned(), advice)
    } else {
        Good("can be set".to_owned())
    }
}

fn proxy() -> Verdict {
    let set = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
        .into_iter()
        .filter(|name| {
            let small = name.to_ascii_lowercase();
            [std::env::var_os(name), std::env::var_os(small)]
                .iter()
                .flatten()
                .any(|v| !v.is_empty())
        });
    let set: Vec<&str> = set.collect();
    if set.is_empty() {
        Good("none for pulling images".to_owned())
    } else {
        Good(format!("images are pulled by {}", set.join(", ")))
    }
}

fn oom_scores() -> Verdict {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:\t"));
    let bits = effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    if bits >> CAP_SYS_RESOURCE & 1 == 1 {
        Good("can be set".to_owned())
    } else {
        let advice =
            "Without CAP_SYS_RESOURCE, guaranteed pods are not protected from the OOM killer.";
        Warning("cannot be lowered".to_owned(), advice)
    }
}

fn open_files() -> Verdict {
    const WANTED: u64 = 4096;
    match resource::getrlimit(resource::Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= WANTED => Good(format!("up to {hard}")),
        Ok((_, hard)) => Warning(format!("only {hard}"), "Raise it: ulimit -Hn 65536."),
        Err(error) => Warning(
            error.to_string(),
            "The limit on open files could not be read.",
        ),
    }
}

fn inotify() -> Verdict {
    let path = "/proc/sys/fs/inotify/max_user_instances";
    let limit: u64 = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    if limit >= 128 {
        Good(format!("{limit} instances"))
    } else {
        Warning(
            format!("only {limit} instances"),
            "Raise it: sysctl fs.inotify.max_user_instances=512",
        )
    }
}

fn disk_space(existing: &Path) -> Verdict {
    const WANTED_BYTES: u64 = 1 << 30;
    match statvfs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.blocks_available() * stat.fragment_size();
            let text = format!("{:.1} GB free in {}", bytes_to_gb(free), existing.display());
            if free >= WANTED_BYTES {
                Good(text)
            } else {
                Warning(text, "Images need room; KUBIK_HOME names another place.")
            }
        }
        Err(error) => Warning(
            format!("{}: {error}", existing.display()),
            "It could not be measured.",
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn bytes_to_gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn api_port() -> Verdict {
    match TcpListener::bind(("127.0.0.1", 8443)) {
        Ok(_) => Good("8443 is free".to_owned()),
        Err(_) => Good("8443 is taken; the next free one will be used".to_owned()),
    }
}
