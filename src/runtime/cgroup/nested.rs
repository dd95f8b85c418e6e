//! The root of a hierarchy that is not the machine's, as in a container with a cgroup namespace of its own.
//!
//! A group that hands controllers down may not have processes; only the machine's own root may. The processes of such
//! a root go to a group of ours, and go back when the last cluster is erased. Whoever enters the container later is put
//! beside its first process by current runtimes, because the root refuses.

use super::children;
use std::{fs, io, path::Path};

/// Not a cluster's: no profile's name has a dot.
const GROUP: &str = "kubik.host";
const CLUSTERS: &str = "kubik-";

/// Hands a controller down from the root, making room for that if need be.
pub fn enable(root: &Path, controller: &str) -> io::Result<()> {
    let enable = || {
        fs::write(
            root.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
    };
    match enable() {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy && !is_machines(root) => {
            move_processes(root, &root.join(GROUP))?;
            enable()
        }
        outcome => outcome,
    }
}

/// Undoes it when no cluster is left. Best effort: the processes are as well off where they are.
pub fn give_back(root: &Path) {
    let group = root.join(GROUP);
    let clusters = children(root);
    let mut names = clusters.iter().filter_map(|dir| dir.file_name()?.to_str());
    if !group.exists() || names.any(|name| name.starts_with(CLUSTERS)) {
        return;
    }
    let control = root.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    for controller in enabled.split_whitespace() {
        let _ = fs::write(&control, format!("-{controller}"));
    }
    let _ = move_processes(&group, root);
    let _ = fs::remove_dir(&group);
}

/// Only the machine's root has no type.
fn is_machines(root: &Path) -> bool {
    !root.join("cgroup.type").exists()
}

/// Until none is left: they fork meanwhile.
fn move_processes(from: &Path, to: &Path) -> io::Result<()> {
    const ROUNDS: u32 = 20;
    super::ensure_dir(to)?;
    for _ in 0..ROUNDS {
        let text = fs::read_to_string(from.join("cgroup.procs"))?;
        // Zero stands for a process of another PID namespace, which cannot be named from here.
        let mut pids = text.lines().filter(|pid| *pid != "0").peekable();
        if pids.peek().is_none() {
            break;
        }
        for pid in pids {
            // It may have ended.
            let _ = fs::write(to.join("cgroup.procs"), pid);
        }
    }
    Ok(())
}
