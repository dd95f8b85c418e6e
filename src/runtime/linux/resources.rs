//! Limits and use of sandboxes, from their control groups and directories: no shim is asked.

use super::{Shims, removal};
use crate::{
    runtime::{
        cgroup::{self, Level},
        model::{Resources, RuntimeError, SandboxSpec, SandboxStats, Space, Usage},
        shim::upper_of,
        stats,
    },
    task::Tasks,
};

impl Shims {
    pub async fn set_resources(
        &self,
        id: &str,
        container: Option<&str>,
        resources: Resources,
    ) -> Result<(), RuntimeError> {
        let dir = self.dir(id)?;
        let spec = removal::read_spec(&dir)
            .ok_or_else(|| RuntimeError::NotFound(format!("sandbox {id}")))?;
        let (path, level) = match container {
            Some(container) => (format!("{}/{container}", spec.cgroup), Level::Container),
            None => (spec.cgroup, Level::Pod),
        };
        let set = move || cgroup::host().change(&path, &resources, level);
        let set = Tasks::blocking(set)
            .await
            .map_err(|error| RuntimeError::Failed(error.to_string()))?;
        set.map_err(|error| {
            RuntimeError::Failed(format!("set the resources of sandbox {id}: {error}"))
        })
    }

    pub async fn usage(&self, id: &str, container: &str) -> Result<Usage, RuntimeError> {
        let container = container.to_owned();
        self.read(id, move |spec| {
            cgroup::host().usage(&format!("{}/{container}", spec.cgroup))
        })
        .await
    }

    pub async fn stats(&self, id: &str) -> Result<SandboxStats, RuntimeError> {
        self.read(id, |spec| cgroup::host().stats(&spec.cgroup))
            .await
    }

    pub async fn rootfs_space(&self, id: &str, container: &str) -> Result<Space, RuntimeError> {
        let container = container.to_owned();
        self.read(id, move |spec| {
            let upper = upper_of(spec, &container);
            upper.exists().then(|| stats::space(&upper))
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        id: &str,
        read: impl FnOnce(&SandboxSpec) -> Option<T> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let dir = self.dir(id)?;
        let found = Tasks::blocking(move || read(&removal::read_spec(&dir)?)).await;
        let found = found.map_err(|error| RuntimeError::Failed(error.to_string()))?;
        found.ok_or_else(|| RuntimeError::NotFound(format!("usage of sandbox {id}")))
    }
}
