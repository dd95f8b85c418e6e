//! The real runtime: the daemon's side of shims and images.
//!
//! [`Shims`] runs containers from layers, `image::Images` has the layers; [`LinuxRuntime`] joins the two.

mod connection;
mod erase;
mod events;
mod removal;
mod resources;
mod shims;
mod spawn;
mod streams;

pub use erase::erase;
pub use shims::Shims;

use super::{
    Answer, Runtime,
    image::Images,
    model::{
        ContainerInfo, ContainerSpec, ExecIo, ExecSpec, ImageInfo, PullProgress, PullRequest,
        Resources, RuntimeError, RuntimeEvent, SandboxInfo, SandboxSpec, SandboxStats, Space,
        Usage,
    },
    mounts,
    shim::protocol::ImageRoot,
};
use crate::{config::Layout, task::Tasks};
use futures_util::FutureExt;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// The running program, also after its file was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Cheap to clone; the clones are the same.
#[derive(Clone)]
pub struct LinuxRuntime {
    shims: Shims,
    images: Images,
}

impl LinuxRuntime {
    /// The runtime of one cluster. Starts nothing; [`Runtime::sandboxes`] adopts what an earlier daemon left.
    #[must_use]
    pub fn new(layout: &Layout, images: Images, tasks: Tasks) -> LinuxRuntime {
        LinuxRuntime::with_program(layout, images, tasks, OWN_PROGRAM.into())
    }

    /// With another program as the shim: tests are not kubik.
    #[must_use]
    pub fn with_program(
        layout: &Layout,
        images: Images,
        tasks: Tasks,
        exe: PathBuf,
    ) -> LinuxRuntime {
        LinuxRuntime {
            shims: Shims::new(layout.shims(), exe, tasks),
            images,
        }
    }

    /// For what only people ask for: import, tag.
    #[must_use]
    pub fn image_store(&self) -> &Images {
        &self.images
    }

    fn root(&self, image: &str) -> Result<ImageRoot, RuntimeError> {
        let config = self.images.config(image)?;
        Ok(ImageRoot {
            layers: config.layers,
            layers_dir: config.layers_dir,
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            working_dir: config.working_dir,
            user: config.user,
            volumes: config.volumes,
        })
    }

    /// Image methods block on files.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Images) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let images = self.images.clone();
        let result = Tasks::blocking(move || work(&images)).await;
        result.map_err(|error| RuntimeError::Failed(error.to_string()))?
    }
}

impl Runtime for LinuxRuntime {
    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        self.shims.events()
    }

    fn sandboxes(&self) -> Answer<'_, Vec<SandboxInfo>> {
        self.shims.list().boxed()
    }

    fn create_sandbox(&self, spec: SandboxSpec) -> Answer<'_, SandboxInfo> {
        self.shims.create(spec).boxed()
    }

    fn remove_sandbox<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        self.shims.remove(id).boxed()
    }

    fn create_container<'a>(
        &'a self,
        sandbox: &'a str,
        spec: ContainerSpec,
    ) -> Answer<'a, ContainerInfo> {
        async move {
            let root = self.root(&spec.image)?;
            self.shims.create_container(sandbox, spec, root).await
        }
        .boxed()
    }

    fn start_container<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
    ) -> Answer<'a, ContainerInfo> {
        self.shims.start_container(sandbox, container).boxed()
    }

    fn signal_container<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
        signal: i32,
    ) -> Answer<'a, ()> {
        self.shims
            .signal_container(sandbox, container, signal)
            .boxed()
    }

    fn remove_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()> {
        self.shims.remove_container(sandbox, container).boxed()
    }

    fn exec<'a>(
        &'a self,
        sandbox: &'a str,
        container: &'a str,
        spec: ExecSpec,
    ) -> Answer<'a, ExecIo> {
        self.shims.exec(sandbox, container, spec).boxed()
    }

    fn attach<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ExecIo> {
        self.shims.attach(sandbox, container).boxed()
    }

    fn set_resources<'a>(
        &'a self,
        sandbox: &'a str,
        container: Option<&'a str>,
        resources: Resources,
    ) -> Answer<'a, ()> {
        self.shims
            .set_resources(sandbox, container, resources)
            .boxed()
    }

    fn set_group<'a>(&'a self, cgroup: &'a str, cpu_shares: u64) -> Answer<'a, ()> {
        let path = cgroup.to_owned();
        let limits = Resources {
            cpu_shares,
            ..Resources::default()
        };
        async move {
            let text = format!("set the weight of {path}");
            let set = Tasks::blocking(move || super::cgroup::host().ensure(&path, &limits)).await;
            let set = set.map_err(|error| RuntimeError::Failed(error.to_string()))?;
            set.map_err(|error| RuntimeError::Failed(format!("{text}: {error}")))
        }
        .boxed()
    }

    fn usage<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, Usage> {
        self.shims.usage(sandbox, container).boxed()
    }

    fn stats<'a>(&'a self, sandbox: &'a str) -> Answer<'a, SandboxStats> {
        self.shims.stats(sandbox).boxed()
    }

    fn rootfs_space<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, Space> {
        self.shims.rootfs_space(sandbox, container).boxed()
    }

    fn image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<ImageInfo>> {
        let reference = reference.to_owned();
        self.blocking(move |images| images.find(&reference)).boxed()
    }

    fn images(&self) -> Answer<'_, Vec<ImageInfo>> {
        self.blocking(|images| Ok(images.list())).boxed()
    }

    fn mount_image<'a>(&'a self, image: &'a str, target: &'a Path) -> Answer<'a, ()> {
        let (image, target) = (image.to_owned(), target.to_owned());
        self.blocking(move |images| {
            let layers = images.config(&image)?.layer_folders();
            let mounted = mounts::layers(&layers, &target);
            mounted.map_err(|error| RuntimeError::Failed(format!("mount image {image}: {error}")))
        })
        .boxed()
    }

    fn pull(
        &self,
        request: PullRequest,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Answer<'_, ImageInfo> {
        self.images.pull(request, progress).boxed()
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()> {
        let wanted = reference.to_owned();
        async move {
            let find = wanted.clone();
            let image = self.blocking(move |images| images.find(&find)).await?;
            let last_name = image
                .filter(|image| image.id == wanted || image.tags.len() + image.digests.len() <= 2);
            if let Some(image) = last_name {
                // A container's root stands on the layers of its image.
                let sandboxes = self.shims.list().await?;
                let mut containers = sandboxes.iter().flat_map(|sandbox| &sandbox.containers);
                if let Some(user) = containers.find(|container| container.image == image.id) {
                    let text = format!("image {wanted:?} is used by container {}", user.name);
                    return Err(RuntimeError::Failed(text));
                }
                let layers = self.images.config(&image.id)?.layer_folders();
                let mounted = self.blocking(move |_| Ok(mounts::are_mounted(&layers)));
                if mounted.await? {
                    let text = format!("image {wanted:?} is used by a volume");
                    return Err(RuntimeError::Failed(text));
                }
            }
            self.blocking(move |images| images.remove(&wanted)).await
        }
        .boxed()
    }
}
