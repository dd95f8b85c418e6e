//! A cluster to measure: own directories, deleted on drop.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;

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

pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kubik"))
}

pub struct Place {
    home: TempDir,
    profile: String,
}

impl Place {
    pub fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Place {
            home: tempfile::Builder::new()
                .prefix("kubik-bench-")
                .tempdir_in("/var/tmp")
                .unwrap(),
            profile: format!("b{}-{count}", std::process::id()),
        }
    }

    /// Runs `kubik` and answers how long it took.
    pub fn kubik(&self, arguments: &[&str]) -> Duration {
        let home = self.home.path();
        let begun = Instant::now();
        let output = Command::new(binary())
            .env("KUBIK_HOME", home.join("state"))
            .env("KUBIK_RUN", home.join("run"))
            .env("KUBIK_PROFILE", &self.profile)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let took = begun.elapsed();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubik {arguments:?}: {errors}");
        took
    }

    pub fn start(&self) -> Duration {
        self.kubik(&["start", "--no-kubeconfig"])
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.home
            .path()
            .join("state")
            .join(&self.profile)
            .join("kubeconfig")
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
        let home = self.home.path();
        let _ = Command::new(binary())
            .env("KUBIK_HOME", home.join("state"))
            .env("KUBIK_RUN", home.join("run"))
            .args(["delete", "--all", "--purge"])
            .output();
    }
}
