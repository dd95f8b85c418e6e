//! `kubik doctor`: what this machine offers. Looks only; changes nothing.
//!
//! `CHECKS` is the table. The checks that are fatal also run before every start ([`fatal`]), in under a millisecond.

use super::{failure::Failure, place, screen};
use nix::sys::{resource, statvfs};
use std::{fs, net::TcpListener, process::ExitCode};

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
    look: fn() -> Verdict,
}

const CHECKS: &[Check] = &[
    Check {
        name: "rights",
        look: rights,
    },
    Check {
        name: "kernel",
        look: kernel,
    },
    Check {
        name: "namespaces",
        look: namespaces,
    },
    Check {
        name: "overlayfs",
        look: overlayfs,
    },
    Check {
        name: "cgroups",
        look: cgroups,
    },
    Check {
        name: "network",
        look: network,
    },
    Check {
        name: "OOM scores",
        look: oom_scores,
    },
    Check {
        name: "open files",
        look: open_files,
    },
    Check {
        name: "inotify",
        look: inotify,
    },
    Check {
        name: "disk space",
        look: disk_space,
    },
    Check {
        name: "API port",
        look: api_port,
    },
    Check {
        name: "proxy",
        look: proxy,
    },
];

pub fn run(_profile: &str) -> Result<ExitCode, Failure> {
    let mut bad = 0;
    for check in CHECKS {
        let (sign, text, advice) = match (check.look)() {
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

/// The first check that forbids a start.
pub fn fatal() -> Result<(), Failure> {
    for check in CHECKS {
        if let Bad(text, advice) = (check.look)() {
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
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.ends_with("\toverlay")) {
        Good("built in or loaded".to_owned())
    } else {
        let advice = "kubik loads nothing itself: modprobe overlay (and add it to /etc/modules).";
        Bad("not available".to_owned(), advice)
    }
}

fn cgroups() -> Verdict {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let has = |kind: &str| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(2) == Some(kind))
    };
    let v1_memory = mounts.lines().any(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields.get(2) == Some(&"cgroup")
            && fields
                .get(3)
                .is_some_and(|options| options.contains("memory"))
    });
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let wanted = ["cpu", "memory", "pids"];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| !v2.split_whitespace().any(|have| have == *name))
        .collect();
    match () {
        () if missing.is_empty() => Good("version 2".to_owned()),
        () if v1_memory => Good("version 1 (hybrid)".to_owned()),
        () if has("cgroup2") || has("cgroup") => {
            let advice = "Limits will not hold: enable the cpu, memory and pids controllers.";
            Warning(
                format!("controllers missing: {}", missing.join(" ")),
                advice,
            )
        }
        () => Bad("not mounted".to_owned(), "Mount cgroup2 on /sys/fs/cgroup."),
    }
}

/// What links and rules are made of; the kernel loads modules by itself when they are asked for.
fn network() -> Verdict {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = format!("/lib/modules/{}", release.trim());
    let lists = ["modules.builtin", "modules.dep"]
        .map(|name| fs::read_to_string(format!("{modules}/{name}")).unwrap_or_default());
    let missing: Vec<&str> = ["bridge", "veth", "nf_tables"]
        .into_iter()
        .filter(|name| {
            let loaded = fs::exists(format!("/sys/module/{name}")).unwrap_or(false);
            let file = format!("/{name}.ko");
            !loaded && !lists.iter().any(|list| list.contains(&file))
        })
        .collect();
    // A kernel without lists of modules has everything built in, or cannot be asked.
    if missing.is_empty() || lists.iter().all(String::is_empty) {
        Good("bridge veth nf_tables".to_owned())
    } else {
        let text = format!("no module {}", missing.join(", "));
        Warning(text, "Pods need them: use a distribution's kernel.")
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

fn disk_space() -> Verdict {
    const WANTED_BYTES: u64 = 1 << 30;
    let root = place::state_root();
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(&root);
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
