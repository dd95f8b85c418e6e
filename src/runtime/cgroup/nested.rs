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

/// To be called before anything is handed down from the root. Before all of it: some controllers may be handed down
/// beside processes (cpu, pids), but then the others never, and no group below takes processes.
pub fn make_room(root: &Path) -> io::Result<()> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    // Only the machine's root has no type.
    let kind = read("cgroup.type");
    if kind.is_empty() || read("cgroup.procs").is_empty() {
        return Ok(());
    }
    if kind.trim() == "domain threaded" {
        hand_nothing_down(root);
    }
    move_processes(root, &root.join(GROUP))
}

/// Undoes it when no cluster is left. Best effort: the processes are as well off where they are.
pub fn give_back(root: &Path) {
    let group = root.join(GROUP);
    let clusters = children(root);
    let mut names = clusters.iter().filter_map(|dir| dir.file_name()?.to_str());
    if !group.exists() || names.any(|name| name.starts_with(CLUSTERS)) {
        return;
    }
    hand_nothing_down(root);
    let _ = move_processes(&group, root);
    let _ = fs::remove_dir(&group);
}

fn hand_nothing_down(root: &Path) {
    let control = root.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    for controller in enabled.split_whitespace() {
        let _ = fs::write(&control, format!("-{controller}"));
    }
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
