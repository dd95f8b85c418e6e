//! What there is in a runtime in memory, and how it changes. Decides nothing about tasks and streams.

use super::{Behavior, OnExec, OnStart};
use crate::{
    runtime::model::{
        ContainerInfo, ContainerSpec, ContainerState, Exit, ImageInfo, Resources, RuntimeError,
        RuntimeEvent, SandboxInfo, SandboxSpec,
    },
    task::clock,
};
use std::collections::{BTreeMap, HashMap};
use tokio::sync::mpsc;

pub(super) struct World {
    pub(super) sandboxes: BTreeMap<String, Sandbox>,
    pub(super) images: BTreeMap<String, ImageInfo>,
    pub(super) refused: HashMap<String, fn(String) -> RuntimeError>,
    pub(super) subscribers: Vec<mpsc::Sender<RuntimeEvent>>,
    pub(super) on_start: OnStart,
    pub(super) on_exec: OnExec,
    pub(super) ignored_signals: Vec<i32>,
    pub(super) last_pid: i32,
    pub(super) pulls: Vec<String>,
}

pub(super) struct Sandbox {
    pub(super) spec: SandboxSpec,
    pub(super) info: SandboxInfo,
    pub(super) specs: HashMap<String, ContainerSpec>,
}

impl World {
    pub(super) fn emit(&mut self, event: &RuntimeEvent) {
        self.subscribers.retain(|subscriber| {
            !matches!(
                subscriber.try_send(event.clone()),
                Err(mpsc::error::TrySendError::Closed(_))
            )
        });
    }

    pub(super) fn add_image(&mut self, reference: &str) -> ImageInfo {
        let number = self.images.len() + 1;
        let image = self
            .images
            .entry(reference.to_owned())
            .or_insert_with(|| ImageInfo {
                id: format!("sha256:{number:064x}"),
                tags: vec![reference.to_owned()],
                digests: vec![format!("{reference}@sha256:{number:064x}")],
                size_bytes: 1000,
                ..ImageInfo::default()
            });
        image.clone()
    }

    pub(super) fn newest(&self, sandbox: &str, name: &str) -> Option<String> {
        let containers = &self.sandboxes.get(sandbox)?.info.containers;
        let named = containers.iter().filter(|container| container.name == name);
        named
            .max_by_key(|container| container.attempt)
            .map(|container| container.id.clone())
    }

    pub(super) fn container(
        &mut self,
        sandbox: &str,
        id: &str,
    ) -> Result<&mut ContainerInfo, RuntimeError> {
        let found = self.sandboxes.get_mut(sandbox);
        let found =
            found.and_then(|sandbox| sandbox.info.containers.iter_mut().find(|c| c.id == id));
        found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))
    }

    pub(super) fn end(
        &mut self,
        sandbox: &str,
        id: &str,
        code: i32,
        signal: i32,
        message: &str,
    ) -> bool {
        let now = clock::now();
        let Ok(container) = self.container(sandbox, id) else {
            return false;
        };
        let started_at = match container.state {
            ContainerState::Running { started_at, .. } => Some(started_at),
            ContainerState::Created => None,
            ContainerState::Exited(_) => return false,
        };
        container.state = ContainerState::Exited(Exit {
            code,
            signal,
            oom_killed: false,
            started_at,
            finished_at: now,
            message: message.to_owned(),
        });
        let container = Box::new(container.clone());
        self.emit(&RuntimeEvent::ContainerExited {
            sandbox: sandbox.to_owned(),
            container,
        });
        true
    }

    pub(super) fn pid(&mut self) -> i32 {
        self.last_pid += 1;
        self.last_pid
    }

    pub(super) fn create_sandbox(&mut self, spec: SandboxSpec) -> SandboxInfo {
        if let Some(sandbox) = self
            .sandboxes
            .get(&spec.id)
            .filter(|sandbox| sandbox.info.alive)
        {
            return sandbox.info.clone();
        }
        let info = SandboxInfo {
            id: spec.id.clone(),
            pid: self.pid(),
            netns: format!("/fake/{}/net", spec.id).into(),
            created_at: clock::now(),
            alive: true,
            labels: spec.labels.clone(),
            containers: Vec::new(),
        };
        let sandbox = Sandbox {
            info: info.clone(),
            specs: HashMap::new(),
            spec,
        };
        self.sandboxes.insert(info.id.clone(), sandbox);
        info
    }

    pub(super) fn create_container(
        &mut self,
        id: &str,
        spec: ContainerSpec,
    ) -> Result<ContainerInfo, RuntimeError> {
        let pid = self.pid();
        let sandbox = self
            .sandboxes
            .get_mut(id)
            .filter(|sandbox| sandbox.info.alive);
        let sandbox = sandbox.ok_or_else(|| RuntimeError::NotFound(format!("sandbox {id}")))?;
        let same = |info: &&ContainerInfo| info.name == spec.name && info.attempt == spec.attempt;
        if let Some(existing) = sandbox.info.containers.iter().find(same) {
            return Ok(existing.clone());
        }
        let info = ContainerInfo {
            id: format!("{pid:064x}"),
            name: spec.name.clone(),
            attempt: spec.attempt,
            image: spec.image.clone(),
            state: ContainerState::Created,
            log_path: sandbox
                .spec
                .log_dir
                .join(&spec.name)
                .join(format!("{}.log", spec.attempt)),
            labels: spec.labels.clone(),
            user: None,
        };
        sandbox.info.containers.push(info.clone());
        sandbox.specs.insert(info.id.clone(), spec);
        Ok(info)
    }

    pub(super) fn set_resources(
        &mut self,
        id: &str,
        container: Option<&str>,
        resources: Resources,
    ) -> Result<(), RuntimeError> {
        let missing = || RuntimeError::NotFound(format!("sandbox {id}"));
        let sandbox = self.sandboxes.get_mut(id).ok_or_else(missing)?;
        match container {
            None => sandbox.spec.resources = resources,
            Some(container) => {
                let missing = || RuntimeError::NotFound(format!("container {container}"));
                sandbox
                    .specs
                    .get_mut(container)
                    .ok_or_else(missing)?
                    .resources = resources;
            }
        }
        Ok(())
    }

    pub(super) fn start_container(
        &mut self,
        sandbox: &str,
        id: &str,
    ) -> Result<ContainerInfo, RuntimeError> {
        let pid = self.pid();
        let spec = self
            .sandboxes
            .get(sandbox)
            .and_then(|sandbox| sandbox.specs.get(id));
        let behavior = spec.map_or(Behavior::Run, |spec| (self.on_start)(spec));
        let container = self.container(sandbox, id)?;
        if container.state != ContainerState::Created {
            return Ok(container.clone());
        }
        if let Behavior::CannotRun(reason) = behavior {
            self.end(sandbox, id, 128, 0, &reason);
            return Err(RuntimeError::CannotRun(reason));
        }
        container.state = ContainerState::Running {
            pid,
            started_at: clock::now(),
        };
        let started = container.clone();
        if let Behavior::Exit(code) = behavior {
            self.end(sandbox, id, code, 0, "");
        }
        Ok(started)
    }
}
