//! Volumes of a pod: made ready before its containers, kept up to date while it runs, removed with it.
//!
//! [`resolve`](source::resolve) decides from objects what each volume is (pure); [`disk`] does it, safe to repeat.
//! Tokens are requested in between. A volume that cannot be made yet is told by name and tried again by the worker.

mod atomic;
mod content;
mod disk;
mod host_path;
mod source;
mod token;

use super::{
    host::Host,
    image::{self, Trouble},
    spec,
};
use crate::{
    api::object::Object,
    task::{Tasks, clock},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use source::{LOCAL, Order, Refusal};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

pub use source::claim_name;
pub use token::Tokens;

/// The volumes of one pod, ready to be mounted into containers.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// By volume name.
    pub paths: BTreeMap<String, PathBuf>,
    /// Disks, by volume name.
    pub devices: BTreeMap<String, PathBuf>,
    /// Volumes that containers may not write to, whatever their mounts say.
    pub read_only: BTreeSet<String>,
    pub tokens: Tokens,
}

impl Prepared {
    /// When a token wants to be renewed.
    #[must_use]
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.tokens.refresh_at()
    }
}

/// A volume that could not be made, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub volume: String,
    /// As events name it.
    pub shown: String,
    pub stage: Stage,
    pub message: String,
}

/// What was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before anything was done: the objects do not allow it.
    Process,
    SetUp,
    /// Local volumes are looked at before they are set up.
    Look,
    /// A disk, which is not mounted.
    Map,
}

impl Failed {
    fn set_up(volume: &str, message: String) -> Failed {
        Failed {
            volume: volume.to_owned(),
            shown: volume.to_owned(),
            stage: Stage::SetUp,
            message,
        }
    }

    /// The text of the event, in upstream's words.
    #[must_use]
    pub fn text(&self) -> String {
        let (volume, shown, message) = (&self.volume, &self.shown, &self.message);
        let stage = match self.stage {
            Stage::Process => {
                return format!(
                    "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[{volume}]: {message}"
                );
            }
            Stage::SetUp => "MountVolume.SetUp failed",
            Stage::Look => "MountVolume.NewMounter initialization failed",
            Stage::Map => "MapVolume.MapBlockVolume failed",
        };
        format!("{stage} for volume \"{shown}\" : {message}")
    }
}

/// Whether volumes of the pod hold what its own metadata says.
#[must_use]
pub fn shows_metadata(pod: &Pod) -> bool {
    let spec = spec::of(pod);
    let mut volumes = spec.volumes.iter().flatten();
    volumes.any(|volume| {
        let projected = volume.projected.iter();
        let mut sources = projected.flat_map(|projected| projected.sources.iter().flatten());
        volume.downward_api.is_some() || sources.any(|source| source.downward_api.is_some())
    })
}

/// Makes every volume of the pod, or brings it up to date. Tells all that failed.
pub async fn prepare(host: &Host, pod: &Pod, tokens: Tokens) -> Result<Prepared, Vec<Failed>> {
    let spec = spec::of(pod);
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let mut prepared = Prepared {
        tokens,
        ..Prepared::default()
    };
    let mut failed = Vec::new();
    if let Err(failure) = prepared.tokens.renew(host, pod, clock::now()).await {
        failed.push(failure);
    }
    let world = source::World {
        sources: host.sources(),
        claims: host.caches.claims.snapshot(),
        volumes: host.caches.volumes.snapshot(),
        facts: host.facts(pod, None),
        pod_dir: host.layout.pod(pod.uid()),
        tokens: prepared.tokens.values(),
    };
    let mut orders = Vec::new();
    for volume in volumes {
        let has_failed = |failure: &Failed| failure.volume == volume.name;
        if failed.iter().any(has_failed) {
            continue;
        }
        if source::is_read_only(volume) {
            prepared.read_only.insert(volume.name.clone());
        }
        let shown = source::shown_name(pod, volume, &world);
        let order = source::resolve(pod, volume, &world);
        match order {
            Ok(order) => orders.push((volume.name.clone(), shown, order)),
            Err(Refusal { stage, message }) => failed.push(Failed {
                volume: volume.name.clone(),
                shown,
                stage,
                message,
            }),
        }
    }
    let fs_group = spec
        .security_context
        .as_ref()
        .and_then(|context| context.fs_group)
        .and_then(|group| u32::try_from(group).ok());
    let made = Tasks::blocking(move || {
        let made = orders.into_iter().map(|(volume, shown, order)| {
            let done = disk::carry_out(&order, fs_group).map_err(|failure| Failed {
                shown,
                stage: stage(&order),
                ..Failed::set_up(&volume, failure.to_string())
            });
            (volume, matches!(order, Order::Device { .. }), done)
        });
        made.collect::<Vec<_>>()
    });
    let made = made.await.unwrap_or_default();
    for (volume, is_device, result) in made {
        match result {
            Ok(path) if is_device => drop(prepared.devices.insert(volume, path)),
            Ok(path) => drop(prepared.paths.insert(volume, path)),
            Err(failure) => failed.push(failure),
        }
    }
    if failed.is_empty() {
        Ok(prepared)
    } else {
        Err(failed)
    }
}

fn stage(order: &Order) -> Stage {
    match order {
        Order::Persistent { kind, .. } if kind == LOCAL => Stage::Look,
        Order::Device { .. } => Stage::Map,
        _ => Stage::SetUp,
    }
}

/// Brings the images that the container mounts as volumes. Called along with its own image: what fails is told of the
/// container, and a volume that nobody mounts is not asked for.
pub async fn mount_images(host: &Host, pod: &Pod, container: &Container) -> Result<(), Trouble> {
    let spec = spec::of(pod);
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    for volume in volumes.filter(|volume| mounts.iter().any(|mount| mount.name == volume.name)) {
        let Some(source) = &volume.image else {
            continue;
        };
        let asked = image::Asked {
            reference: source.reference.as_deref().unwrap_or_default(),
            policy: source.pull_policy.as_deref(),
            field: None,
        };
        let found = image::ensure(host, pod, &asked).await?;
        let path = source::image_path(&host.layout.pod(pod.uid()), &volume.name);
        let mounted = host.runtime.mount_image(&found.id, &path).await;
        mounted.map_err(|failure| Trouble {
            image: asked.reference.to_owned(),
            reason: "CreateContainerError",
            message: format!(
                "failed to mount image volume \"{}\": {failure}",
                volume.name
            ),
        })?;
    }
    Ok(())
}

/// Unmounts what was mounted for the pod and, unless it is to come back, removes its directory.
pub async fn tear_down(host: &Host, uid: &str, keeps_data: bool) -> std::io::Result<()> {
    let directory = host.layout.pod(uid);
    let work = move || {
        if !directory.exists() {
            return Ok(());
        }
        crate::runtime::mounts::unmount_below(&directory)?;
        if keeps_data {
            return Ok(());
        }
        match std::fs::remove_dir_all(&directory) {
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    };
    Tasks::blocking(work).await.map_err(std::io::Error::other)?
}
