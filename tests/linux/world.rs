//! A place for one test: directories, a cgroup of its own, a layer with the probe, and the shims to try.

use jiff::Timestamp;
use kubik::{
    runtime::{
        linux::Shims,
        model::{
            ContainerInfo, ContainerSpec, ContainerState, Exit, RuntimeEvent, SandboxSpec, Seccomp,
        },
        shim::protocol::ImageRoot,
    },
    task::Tasks,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc::Receiver;

/// Generous: other builds share the machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct World {
    pub dir: PathBuf,
    pub cgroup: String,
    pub tasks: Tasks,
    pub shims: Shims,
}

impl World {
    pub fn new(name: &str) -> World {
        let unique = format!("kt{}-{name}", std::process::id());
        let dir = Path::new("/run").join(&unique);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("layers/probe")).unwrap();
        let layer = dir.join("layers/probe");
        let own = std::env::current_exe().unwrap();
        fs::copy(own, layer.join("probe")).unwrap();
        fs::create_dir_all(layer.join("etc")).unwrap();
        fs::write(
            layer.join("etc/passwd"),
            "root:x:0:0::/root:/\nweb:x:101:102::/var/www:/\n",
        )
        .unwrap();
        fs::write(
            layer.join("etc/group"),
            "root:x:0:\nweb:x:102:\nlogs:x:5:web\n",
        )
        .unwrap();
        fs::write(layer.join("noexec"), "").unwrap();
        let tasks = Tasks::new();
        let shims = World::connect(&dir, &tasks);
        World {
            dir,
            cgroup: format!("/{unique}"),
            tasks,
            shims,
        }
    }

    fn connect(dir: &Path, tasks: &Tasks) -> Shims {
        let exe = PathBuf::from(env!("CARGO_BIN_EXE_kubik"));
        Shims::new(dir.join("s"), exe, tasks.clone())
    }

    /// As if the daemon had been killed and started again.
    pub async fn restart(&mut self) {
        self.tasks.shutdown(DEADLINE).await;
        self.tasks = Tasks::new();
        self.shims = World::connect(&self.dir, &self.tasks);
    }

    pub fn sandbox(&self, id: &str) -> SandboxSpec {
        SandboxSpec {
            id: id.to_owned(),
            hostname: "web-0".to_owned(),
            cgroup: format!("{}/pod{id}", self.cgroup),
            log_dir: self.dir.join("logs").join(id),
            data_dir: self.dir.join("data").join(id),
            ..SandboxSpec::default()
        }
    }

    pub fn image(&self) -> ImageRoot {
        ImageRoot {
            layers: vec!["probe".to_owned()],
            layers_dir: self.dir.join("layers"),
            entrypoint: vec!["/probe".to_owned()],
            ..ImageRoot::default()
        }
    }

    pub fn container(&self, name: &str, arguments: &[&str]) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: "sha256:probe".to_owned(),
            args: arguments.iter().map(|word| (*word).to_owned()).collect(),
            seccomp: Seccomp::Unconfined,
            ..ContainerSpec::default()
        }
    }

    /// Creates and starts.
    pub async fn run(&self, sandbox: &str, spec: ContainerSpec) -> ContainerInfo {
        let made = self
            .shims
            .create_container(sandbox, spec, self.image())
            .await
            .unwrap();
        assert_eq!(made.state, ContainerState::Created);
        self.shims.start_container(sandbox, &made.id).await.unwrap()
    }

    /// Runs to the end and returns how it ended, with its log without times.
    pub async fn outcome(&self, sandbox: &str, spec: ContainerSpec) -> (Exit, String) {
        let mut events = self.shims.events();
        let made = self.run(sandbox, spec).await;
        let exit = exit_of(&mut events, &made.id).await;
        (exit, log(&made.log_path))
    }

    /// Removes the sandbox and looks for anything that is left of the test.
    pub async fn finish(self, sandboxes: &[&str]) {
        for id in sandboxes {
            self.shims.remove_sandbox_twice(id).await;
        }
        self.tasks.shutdown(DEADLINE).await;
        let dir = self.dir.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&dir), "mounts are left:\n{mounts}");
        assert_eq!(names(&self.dir.join("s")), [""; 0], "run directories");
        for id in sandboxes {
            assert_eq!(
                names(&self.dir.join("data").join(id)),
                [""; 0],
                "data of {id}"
            );
        }
        let groups = groups_named(&self.cgroup);
        let pods: Vec<&PathBuf> = groups
            .iter()
            .filter(|path| path.to_string_lossy().contains("/pod"))
            .collect();
        assert!(pods.is_empty(), "cgroups are left: {pods:?}");
        for process in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            assert!(!line.contains(&dir), "a process is left: {line:?}");
        }
        kubik::runtime::cgroup::host().remove(&self.cgroup).unwrap();
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

impl Drop for World {
    /// A failed test must not leave processes to the next.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let groups = kubik::runtime::cgroup::host();
            let _ = groups.kill_all(&self.cgroup);
            let _ = groups.remove(&self.cgroup);
            for id in names(&self.dir.join("s")) {
                let shm = self.dir.join("s").join(id).join("shm");
                let _ = nix::mount::umount2(&shm, nix::mount::MntFlags::MNT_DETACH);
            }
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

trait RemoveTwice {
    async fn remove_sandbox_twice(&self, id: &str);
}

impl RemoveTwice for Shims {
    async fn remove_sandbox_twice(&self, id: &str) {
        self.remove(id).await.unwrap();
        self.remove(id).await.unwrap();
    }
}

pub async fn exit_of(events: &mut Receiver<RuntimeEvent>, id: &str) -> Exit {
    let waited = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Some(RuntimeEvent::ContainerExited { container, .. }) = events.recv().await
                && container.id == id
                && let ContainerState::Exited(exit) = container.state
            {
                return exit;
            }
        }
    });
    let exit = waited.await.expect("the container ends");
    assert!(exit.finished_at <= Timestamp::now());
    exit
}

/// A log without times.
pub fn log(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split_once(' ').unwrap().1);
    lines.collect::<Vec<&str>>().join("\n")
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn groups_named(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.path().to_string_lossy().contains(name) {
                    found.push(entry.path());
                }
                pending.push(entry.path());
            }
        }
    }
    found
}
