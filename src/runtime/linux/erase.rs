//! Removing every sandbox of a cluster at once, without a daemon and without asking the shims.
//!
//! Works from what is on the host: processes that say they are shims of this run directory, the cluster's cgroup, and
//! mounts below its directories. Safe to repeat, whatever an earlier attempt or a crash left.

use crate::{
    config::Layout,
    runtime::{cgroup, mounts, shim::COMMAND},
};
use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, path::Path, thread, time::Duration};

/// Killed processes leave within milliseconds; one that does not in all these rounds hangs in the kernel.
const ROUNDS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Kills all shims and containers, removes the cgroup `cgroup` with all below, unmounts what lies below the cluster's
/// directories. Blocking; the directories themselves stay.
pub fn erase(layout: &Layout, cgroup: &str) -> Result<()> {
    let groups = cgroup::host();
    // A shim that lives would restart nothing, but it holds mounts; one that is just being born must not escape.
    for round in 0.. {
        let shims = shims(&layout.shims());
        for pid in &shims {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        groups
            .kill_all(cgroup)
            .with_context(|| format!("kill the processes of {cgroup}"))?;
        if shims.is_empty() {
            break;
        }
        if round >= ROUNDS {
            bail!("shims do not end: {shims:?}");
        }
        thread::sleep(PAUSE);
    }
    groups
        .remove(cgroup)
        .with_context(|| format!("remove the cgroup {cgroup}"))?;
    groups.give_back_root();
    for folder in [&layout.run, &layout.state] {
        mounts::unmount_below(folder)
            .with_context(|| format!("unmount below {}", folder.display()))?;
    }
    Ok(())
}

/// Processes started as shims for directories below `folder`.
fn shims(folder: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_shim(&line, folder)
    })
    .collect()
}

fn is_shim(command_line: &[u8], folder: &Path) -> bool {
    let text = String::from_utf8_lossy(command_line);
    let mut words = text.split('\0').skip(1);
    words.next() == Some(COMMAND)
        && words
            .next()
            .is_some_and(|dir| Path::new(dir).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_shims_are_found() {
        let folder = Path::new("/run/kubik/a/shims");
        assert!(is_shim(b"kubik\0shim\0/run/kubik/a/shims/uid\0", folder));
        assert!(!is_shim(b"kubik\0shim\0/run/kubik/ab/shims/uid\0", folder));
        assert!(!is_shim(b"vi\0notes\0/run/kubik/a/shims/uid\0", folder));
        assert!(!is_shim(b"", folder));
    }
}
