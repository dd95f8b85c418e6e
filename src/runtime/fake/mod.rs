//! A runtime in memory, for tests of whoever uses one. Containers run until told to end.
//!
//! It keeps the contract of [`Runtime`](super::Runtime): acts are safe to repeat, events come after the state they
//! tell of. It knows no processes: streams are empty or what the test says.

mod world;

use super::{
    Answer, Runtime,
    model::{
        ContainerInfo, ContainerSpec, ContainerState, ExecIo, ExecSpec, ImageInfo, PullProgress,
        PullRequest, Resources, RuntimeError, RuntimeEvent, SandboxInfo, SandboxSpec, SandboxStats,
        Space, Throttling, Usage,
    },
};
use futures_util::FutureExt;
use std::{
    collections::{BTreeMap, HashMap},
    io::Cursor,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::mpsc;
use world::World;

/// What a container does when it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behavior {
    Run,
    /// Ends at once with this code.
    Exit(i32),
    /// Cannot be started.
    CannotRun(String),
}

/// Output and exit code of a further process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecResult {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub code: i32,
}

/// What every container uses.
const USAGE: Usage = Usage {
    cpu_nanos: 1_000_000,
    memory_bytes: 2 << 20,
    working_set_bytes: 1 << 20,
    rss_bytes: 1 << 20,
    cache_bytes: 0,
    throttling: Throttling {
        periods: 0,
        throttled_periods: 0,
        throttled_nanos: 0,
    },
};

type OnStart = Box<dyn Fn(&ContainerSpec) -> Behavior + Send>;
type OnExec = Box<dyn Fn(&str, &ExecSpec) -> ExecResult + Send>;

/// Cheap to clone; the clones are the same.
#[derive(Clone)]
pub struct FakeRuntime(Arc<Mutex<World>>);

impl Default for FakeRuntime {
    fn default() -> FakeRuntime {
        FakeRuntime::new()
    }
}

impl FakeRuntime {
    #[must_use]
    pub fn new() -> FakeRuntime {
        FakeRuntime(Arc::new(Mutex::new(World {
            sandboxes: BTreeMap::new(),
            images: BTreeMap::new(),
            refused: HashMap::new(),
            subscribers: Vec::new(),
            on_start: Box::new(|_| Behavior::Run),
            on_exec: Box::new(|_, _| ExecResult::default()),
            ignored_signals: Vec::new(),
            last_pid: 1000,
            pulls: Vec::new(),
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no panic while locked")
    }

    /// Decides for every container that is started from now on.
    pub fn on_start(&self, decide: impl Fn(&ContainerSpec) -> Behavior + Send + 'static) {
        self.world().on_start = Box::new(decide);
    }

    /// Decides for every exec from now on; called with the container's name.
    pub fn on_exec(&self, decide: impl Fn(&str, &ExecSpec) -> ExecResult + Send + 'static) {
        self.world().on_exec = Box::new(decide);
    }

    /// Containers go on running when they get one of these. Others end them; SIGKILL always does.
    pub fn ignore_signals(&self, signals: &[i32]) {
        self.world().ignored_signals = signals.to_vec();
    }

    /// Makes pulls of this reference fail.
    pub fn refuse(&self, reference: &str, error: fn(String) -> RuntimeError) {
        self.world().refused.insert(reference.to_owned(), error);
    }

    pub fn add_image(&self, reference: &str) -> ImageInfo {
        self.world().add_image(reference)
    }

    /// What was pulled, in order.
    #[must_use]
    pub fn pulls(&self) -> Vec<String> {
        self.world().pulls.clone()
    }

    /// Ends the newest container of this name. False if none runs.
    pub fn exit(&self, sandbox: &str, name: &str, code: i32) -> bool {
        let mut world = self.world();
        let found = world.newest(sandbox, name);
        found.is_some_and(|id| world.end(sandbox, &id, code, 0, ""))
    }

    /// Pause dies, and with it every container.
    pub fn kill_sandbox(&self, id: &str) {
        let mut world = self.world();
        let Some(sandbox) = world.sandboxes.get_mut(id) else {
            return;
        };
        sandbox.info.alive = false;
        let containers: Vec<String> = sandbox
            .info
            .containers
            .iter()
            .map(|c| c.id.clone())
            .collect();
        for container in containers {
            world.end(id, &container, 137, 9, "");
        }
        world.emit(&RuntimeEvent::SandboxDied {
            sandbox: id.to_owned(),
        });
    }

    /// What was asked for, by container name and newest attempt.
    #[must_use]
    pub fn container_spec(&self, sandbox: &str, name: &str) -> Option<ContainerSpec> {
        let world = self.world();
        let id = world.newest(sandbox, name)?;
        world.sandboxes.get(sandbox)?.specs.get(&id).cloned()
    }

    #[must_use]
    pub fn sandbox_spec(&self, id: &str) -> Option<SandboxSpec> {
        self.world()
            .sandboxes
            .get(id)
            .map(|sandbox| sandbox.spec.clone())
    }
}

fn answer<'a, T: Send + 'a>(result: Result<T, RuntimeError>) -> Answer<'a, T> {
    std::future::ready(result).boxed()
}

impl Runtime for FakeRuntime {
    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(1024);
        self.world().subscribers.push(sender);
        receiver
    }

    fn sandboxes(&self) -> Answer<'_, Vec<SandboxInfo>> {
        answer(Ok(self
            .world()
            .sandboxes
            .values()
            .map(|sandbox| sandbox.info.clone())
            .collect()))
    }

    fn create_sandbox(&self, spec: SandboxSpec) -> Answer<'_, SandboxInfo> {
        answer(Ok(self.world().create_sandbox(spec)))
    }

    fn remove_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        self.world().sandboxes.remove(id);
        answer(Ok(()))
    }

    fn create_container<'a>(
        &'a self,
        sandbox: &'a str,
        spec: ContainerSpec,
    ) -> Answer<'a, ContainerInfo> {
        answer(self.world().create_container(sandbox, spec))
    }

    fn start_container<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
    ) -> Answer<'a, ContainerInfo> {
        answer(self.world().start_container(sandbox, container))
    }

    fn signal_container<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
        signal: i32,
    ) -> Answer<'a, ()> {
        let mut world = self.world();
        if signal == 9 || !world.ignored_signals.contains(&signal) {
            world.end(sandbox, container, 128 + signal, signal, "");
        }
        answer(Ok(()))
    }

    fn remove_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()> {
        let mut world = self.world();
        world.end(sandbox, container, 137, 9, "");
        if let Some(sandbox) = world.sandboxes.get_mut(sandbox) {
            sandbox
                .info
                .containers
                .retain(|other| other.id != container);
            sandbox.specs.remove(container);
        }
        answer(Ok(()))
    }

    fn exec<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
        spec: ExecSpec,
    ) -> Answer<'a, ExecIo> {
        let mut world = self.world();
        let name = match world.container(sandbox, container) {
            Ok(found) if matches!(found.state, ContainerState::Running { .. }) => {
                found.name.clone()
            }
            Ok(found) => {
                let text = format!("a running container {}", found.name);
                return answer(Err(RuntimeError::NotFound(text)));
            }
            Err(error) => return answer(Err(error)),
        };
        let result = (world.on_exec)(&name, &spec);
        answer(Ok(ExecIo {
            stdin: spec.stdin.then(|| Box::new(tokio::io::sink()) as _),
            stdout: Some(Box::new(Cursor::new(result.stdout))),
            stderr: Some(Box::new(Cursor::new(result.stderr))),
            resize: Box::new(|_, _| ()),
            wait: std::future::ready(Ok(result.code)).boxed(),
            kill: Box::new(|| ()),
        }))
    }

    fn attach<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ExecIo> {
        self.exec(sandbox, container, ExecSpec::default())
    }

    fn set_resources<'a>(
        &'a self,
        sandbox: &'a str,
        container: Option<&'a str>,
        resources: Resources,
    ) -> Answer<'a, ()> {
        answer(self.world().set_resources(sandbox, container, resources))
    }

    fn set_group<'a>(&'a self, _: &'a str, _: u64) -> Answer<'a, ()> {
        answer(Ok(()))
    }

    fn usage<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, Usage> {
        answer(self.world().container(sandbox, container).map(|_| USAGE))
    }

    fn stats<'a>(&'a self, sandbox: &'a str) -> Answer<'a, SandboxStats> {
        let world = self.world();
        let missing = || RuntimeError::NotFound(format!("sandbox {sandbox}"));
        let found = world.sandboxes.get(sandbox).ok_or_else(missing);
        let found = found.map(|sandbox| SandboxStats {
            usage: USAGE,
            processes: 1,
            containers: sandbox
                .info
                .containers
                .iter()
                .filter(|container| matches!(container.state, ContainerState::Running { .. }))
                .map(|container| (container.id.clone(), USAGE))
                .collect(),
        });
        answer(found)
    }

    fn rootfs_space<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, Space> {
        let mut world = self.world();
        let found = world.container(sandbox, container);
        answer(found.map(|_| Space::default()))
    }

    fn image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<ImageInfo>> {
        let world = self.world();
        let by_id = || world.images.values().find(|image| image.id == reference);
        answer(Ok(world.images.get(reference).or_else(by_id).cloned()))
    }

    fn images(&self) -> Answer<'_, Vec<ImageInfo>> {
        answer(Ok(self.world().images.values().cloned().collect()))
    }

    fn mount_image<'a>(&'a self, _: &'a str, target: &'a Path) -> Answer<'a, ()> {
        let made = std::fs::create_dir_all(target);
        answer(made.map_err(|failure| RuntimeError::Failed(failure.to_string())))
    }

    fn pull(
        &self,
        request: PullRequest,
        _: Option<mpsc::Sender<PullProgress>>,
    ) -> Answer<'_, ImageInfo> {
        let mut world = self.world();
        world.pulls.push(request.reference.clone());
        answer(match world.refused.get(&request.reference) {
            Some(error) => Err(error(format!("failed to pull {}", request.reference))),
            None => Ok(world.add_image(&request.reference)),
        })
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()> {
        self.world().images.remove(reference);
        answer(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::Exit;

    #[tokio::test]
    async fn containers_run_until_told_to_end() {
        let runtime = FakeRuntime::new();
        let mut events = runtime.events();
        let spec = SandboxSpec {
            id: "a".to_owned(),
            ..SandboxSpec::default()
        };
        runtime.create_sandbox(spec).await.unwrap();
        let container = ContainerSpec {
            name: "c".to_owned(),
            ..ContainerSpec::default()
        };
        let made = runtime
            .create_container("a", container.clone())
            .await
            .unwrap();
        assert_eq!(
            runtime.create_container("a", container).await.unwrap(),
            made
        );
        let running = runtime.start_container("a", &made.id).await.unwrap();
        assert!(matches!(running.state, ContainerState::Running { .. }));
        runtime.ignore_signals(&[15]);
        runtime.signal_container("a", &made.id, 15).await.unwrap();
        assert!(events.try_recv().is_err());
        assert!(runtime.exit("a", "c", 3));
        assert!(!runtime.exit("a", "c", 3));
        let Some(RuntimeEvent::ContainerExited { container, .. }) = events.recv().await else {
            panic!("an exit is told");
        };
        assert!(matches!(
            container.state,
            ContainerState::Exited(Exit { code: 3, .. })
        ));
        runtime.kill_sandbox("a");
        assert!(matches!(
            events.recv().await,
            Some(RuntimeEvent::SandboxDied { .. })
        ));
        runtime.remove_sandbox("a").await.unwrap();
        assert!(runtime.sandboxes().await.unwrap().is_empty());
    }
}
