//! A place of its own for a cluster under test or measurement: network, directories, profile. Deleted on drop.
//!
//! Shared by the stories and the benchmarks; what only one of them does is theirs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// From here on this process and its children have a network of their own with only a loopback link.
pub fn enter_own_network() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .unwrap();
    assert!(status.success(), "ip link set lo up");
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A place with its own directories, kubeconfig and profile; clusters in it see nothing of the machine's others.
pub struct Place {
    pub home: TempDir,
    pub profile: String,
}

impl Place {
    pub fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Place {
            home: tempfile::Builder::new()
                .prefix("kubik-e2e-")
                .tempdir_in("/var/tmp")
                .unwrap(),
            profile: format!("t{}-{count}", std::process::id()),
        }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    /// What a program needs to mean this place.
    pub fn environment(&self, command: &mut Command) {
        let home = self.home.path();
        command
            .env("HOME", home)
            .env("KUBIK_HOME", home.join("state"))
            .env("KUBIK_RUN", home.join("run"))
            .env("KUBIK_PROFILE", &self.profile)
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECTL_KUBERC", "false");
    }

    /// The real binary, ready for arguments.
    pub fn kubik(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubik"));
        self.environment(&mut command);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    pub fn daemon_pid(&self) -> i32 {
        let path = self
            .home
            .path()
            .join("run")
            .join(&self.profile)
            .join("daemon.lock");
        std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.kubik(&["delete", "--all", "--purge"]).output();
    }
}
