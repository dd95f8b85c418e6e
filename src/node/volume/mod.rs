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

use super::{host::Host, spec};
use crate::{
    api::object::Object,
    task::{Tasks, clock},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeMap, path::PathBuf};

pub use token::Tokens;

/// The volumes of one pod, ready to be mounted into containers.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// By volume name.
    pub paths: BTreeMap<String, PathBuf>,
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
    pub message: String,
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
        if failed
            .iter()
            .any(|failure: &Failed| failure.volume == volume.name)
        {
            continue;
        }
        match source::resolve(pod, volume, &world) {
            Ok(order) => orders.push((volume.name.clone(), order)),
            Err(message) => failed.push(Failed {
                volume: volume.name.clone(),
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
        let made = orders.into_iter().map(|(name, order)| {
            let done = disk::carry_out(&order, fs_group);
            (name, done.map_err(|failure| failure.to_string()))
        });
        made.collect::<Vec<_>>()
    });
    let made = made.await.unwrap_or_default();
    for (volume, result) in made {
        match result {
            Ok(path) => drop(prepared.paths.insert(volume, path)),
            Err(message) => failed.push(Failed { volume, message }),
        }
    }
    if failed.is_empty() {
        Ok(prepared)
    } else {
        Err(failed)
    }
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
