//! A cluster under test: made by the real binary, deleted when dropped.

pub use super::place::{Place, enter_own_network, project};
use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long anything may take before a story fails. Generous: speed is measured elsewhere.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Runs a program that must succeed; answers its standard output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{text}",
        stderr(&output)
    );
    text
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn tool(name: &str) -> PathBuf {
    let path = project().join("target/tools").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make test`, which fetches it",
        path.display()
    );
    path
}

impl Place {
    /// A script of the project, driving the real binary.
    pub fn script(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(project().join("scripts").join(name));
        self.environment(&mut command);
        command
            .env("KUBIK", env!("CARGO_BIN_EXE_kubik"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs `kubik`, which must succeed; answers its standard output.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.kubik(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "kubik {arguments:?}: {}\n{}",
            stderr(&output),
            self.log_tail()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The link that the cluster's pods hang on.
    pub fn bridge(&self) -> String {
        format!("kubik{}", self.config()["slot"])
    }

    /// The cgroup of all its pods, below a mount point.
    pub fn cgroup(&self) -> String {
        format!("kubik-{}", self.config()["hostName"].as_str().unwrap())
    }

    /// What the cluster was started with.
    fn config(&self) -> serde_json::Value {
        let folder = self.home.path().join("state").join(&self.profile);
        let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool("kubectl"));
        self.environment(&mut command);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Stock kubectl, which must succeed; answers its standard output.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            stderr(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Stock kubectl, which must fail; answers its standard error.
    pub fn kubectl_fails(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_command(arguments).output().unwrap();
        assert!(
            !output.status.success(),
            "kubectl {arguments:?} should have failed"
        );
        stderr(&output)
    }

    /// `kubectl apply` of a manifest given as text.
    pub fn apply(&self, manifest: &str) {
        let path = self.home.path().join("manifest.yaml");
        std::fs::write(&path, manifest).unwrap();
        self.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    }

    /// One field of one object by JSONPath.
    pub fn field(&self, what: &[&str], path: &str) -> String {
        let output = format!("jsonpath={{{path}}}");
        let mut arguments = vec!["get"];
        arguments.extend(what);
        arguments.extend(["-o", &output]);
        self.kubectl(&arguments)
    }

    /// Waits until all these pods are ready.
    pub fn until_ready(&self, namespace: &str, pods: &[&str]) {
        let names: Vec<String> = pods.iter().map(|pod| format!("pod/{pod}")).collect();
        let mut arguments = vec![
            "wait",
            "-n",
            namespace,
            "--for=condition=Ready",
            "--timeout=60s",
        ];
        arguments.extend(names.iter().map(String::as_str));
        self.kubectl(&arguments);
    }

    /// Waits until the check answers something.
    pub fn eventually<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain for {what}\n{}\n{}",
                self.situation(),
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn situation(&self) -> String {
        let text = |arguments: &[&str]| {
            let output = self.kubectl_command(arguments).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        text(&["get", "all,events", "-A", "-o", "wide"])
    }

    /// The daemon's last words, for messages of failed tests.
    pub fn log_tail(&self) -> String {
        let path = self
            .home
            .path()
            .join("state")
            .join(&self.profile)
            .join("daemon.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

static SHARED: Mutex<Option<Place>> = Mutex::new(None);

/// One running cluster for the stories that leave the cluster itself alone. Each takes a namespace of its own.
pub fn shared() -> Shared {
    let mut place = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_none() {
        let new = Place::new();
        new.must(&["start"]);
        *place = Some(new);
    }
    Shared(place)
}

pub struct Shared(MutexGuard<'static, Option<Place>>);

impl std::ops::Deref for Shared {
    type Target = Place;

    fn deref(&self) -> &Place {
        self.0.as_ref().unwrap()
    }
}

pub fn end_shared() {
    drop(SHARED.lock().unwrap_or_else(PoisonError::into_inner).take());
}
