//! The two directories of a cluster. Everything kubik leaves on a disk lies below them, so that `delete` finds it.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Holds one directory per profile; `KUBIK_HOME` replaces it.
pub const STATE_ROOT: &str = "/var/lib/kubik";
/// Sockets, pids, mounts: gone after a reboot; `KUBIK_RUN` replaces it.
pub const RUN_ROOT: &str = "/run/kubik";

/// Tells clusters of one profile in different homes apart, where their names meet. Empty for the usual home; otherwise it
/// begins with a character that no profile has.
#[must_use]
pub fn home_mark(state_root: &Path) -> String {
    if state_root == Path::new(STATE_ROOT) {
        return String::new();
    }
    let digest = Sha256::digest(state_root.as_os_str().as_encoded_bytes());
    let digits: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!(".{digits}")
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Survives `stop` and reboots.
    pub state: PathBuf,
    /// Must be short: it holds unix sockets, whose paths end at 107 bytes.
    pub run: PathBuf,
}

impl Layout {
    #[must_use]
    pub fn new(state_root: &Path, run_root: &Path, profile: &str) -> Layout {
        Layout {
            state: state_root.join(profile),
            run: run_root.join(profile),
        }
    }

    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.state.join("config.json")
    }

    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.state.join("store")
    }

    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    /// Image blobs, unpacked layers and their index.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// What was pushed to the cluster's own registry.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.state.join("registry")
    }

    /// What one pod keeps on disk: volumes, container layers, hosts file. Named by uid.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.state.join("pods").join(uid)
    }

    /// Container logs, as `<namespace>_<pod>_<uid>/<container>/<attempt>.log`.
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.state.join("logs").join("pods")
    }

    /// Manifests of static pods.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.state.join("manifests")
    }

    /// Data of the default StorageClass.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// The dashboard's ports and sessions, once somebody asked for it.
    #[must_use]
    pub fn dashboard(&self) -> PathBuf {
        self.state.join("dashboard.json")
    }

    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// Which namespaces are frozen. Gone after a reboot, as the frozen processes are.
    #[must_use]
    pub fn paused(&self) -> PathBuf {
        self.run.join("paused.json")
    }

    /// Held with an exclusive lock by the running daemon; contains its pid.
    #[must_use]
    pub fn daemon_lock(&self) -> PathBuf {
        self.run.join("daemon.lock")
    }

    /// The daemon's control socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// One directory per shim, named by sandbox id.
    #[must_use]
    pub fn shims(&self) -> PathBuf {
        self.run.join("shims")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_have_marks_of_their_own() {
        let mark = |path: &str| home_mark(Path::new(path));
        assert_eq!(mark(STATE_ROOT), "");
        assert_eq!(mark("/srv/a"), mark("/srv/a"));
        assert_ne!(mark("/srv/a"), mark("/srv/b"));
        assert_eq!(mark("/srv/a").len(), 9);
    }
}
