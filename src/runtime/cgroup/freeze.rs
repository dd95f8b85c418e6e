//! Stopping every process of a group between two instructions, and letting them go on.

use super::{Cgroups, children};
use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Processes in the kernel's own sleeps cannot be stopped at once.
const DEADLINE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

impl Cgroups {
    /// Freezes a group with all below, or lets it go; returns when it is so. No group is no error. Blocking.
    pub fn freeze(&self, path: &str, frozen: bool) -> io::Result<()> {
        let Some(dir) = self.dir("freezer", path).filter(|dir| dir.exists()) else {
            return Ok(());
        };
        let (file, value) = match (self, frozen) {
            (Cgroups::Unified(_), true) => ("cgroup.freeze", "1"),
            (Cgroups::Unified(_), false) => ("cgroup.freeze", "0"),
            (Cgroups::Legacy(_), true) => ("freezer.state", "FROZEN"),
            (Cgroups::Legacy(_), false) => ("freezer.state", "THAWED"),
        };
        let begun = Instant::now();
        loop {
            // On v1 a group that was joined meanwhile needs to be told again.
            fs::write(dir.join(file), value)?;
            if self.is_frozen(&dir) == frozen {
                return Ok(());
            }
            if begun.elapsed() > DEADLINE {
                let text = format!("{} does not become {value}", dir.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            thread::sleep(PAUSE);
        }
    }

    fn is_frozen(&self, dir: &Path) -> bool {
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        match self {
            Cgroups::Unified(_) => read("cgroup.events").lines().any(|line| line == "frozen 1"),
            Cgroups::Legacy(_) => read("freezer.state").trim() == "FROZEN",
        }
    }

    /// On v1 a frozen process does not even die: everything from the group's first ancestor down is let go.
    pub(super) fn thaw_to_kill(&self, path: &str) {
        let Cgroups::Legacy(_) = self else {
            return;
        };
        let mut parts = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            parts.push('/');
            parts.push_str(part);
            self.thaw(&parts);
        }
        let mut pending: Vec<_> = self.dir("freezer", path).into_iter().collect();
        while let Some(dir) = pending.pop() {
            thaw(&dir);
            pending.extend(children(&dir));
        }
    }

    fn thaw(&self, path: &str) {
        if let Some(dir) = self.dir("freezer", path) {
            thaw(&dir);
        }
    }
}

fn thaw(dir: &Path) {
    let file = dir.join("freezer.state");
    let state = fs::read_to_string(&file).unwrap_or_default();
    if !state.is_empty() && state.trim() != "THAWED" {
        let _ = fs::write(file, "THAWED");
    }
}
