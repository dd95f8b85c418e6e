//! What is bound into one container: its volumes or paths below them, disks, the termination log, our own files.
//!
//! Safe to repeat. Decides nothing but how to say what went wrong: people are not told what lies on the host.

use super::{
    act::StartFailed,
    host::Host,
    sandbox::etc_directory,
    translate::mount::{self, VolumeMount},
    volume::Prepared,
};
use crate::{
    api::object::Object,
    runtime::{
        model::{DeviceFile, Mount},
        mounts,
    },
    task::Tasks,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// `log` is where the container writes its last words.
pub async fn mounts(
    host: &Host,
    pod: &Pod,
    container: &Container,
    volumes: &Prepared,
    log: PathBuf,
    wanted: Vec<VolumeMount>,
) -> Result<Vec<Mount>, StartFailed> {
    let sub_paths = host.layout.pod(pod.uid()).join("volume-subpaths");
    let etc = etc_directory(host, pod);
    let (name, volumes) = (container.name.clone(), volumes.clone());
    let log_path = container.termination_message_path.clone();
    let work = move || -> Result<Vec<Mount>, StartFailed> {
        let mut mounts = Vec::new();
        for (index, wanted) in wanted.into_iter().enumerate() {
            let sub_path = sub_paths.join(&wanted.volume).join(&name);
            mounts.push(volume(
                wanted,
                &volumes,
                &name,
                sub_path.join(index.to_string()),
            )?);
        }
        let destination = log_path.unwrap_or_else(|| "/dev/termination-log".to_owned());
        let touched = touch(&log);
        touched.map_err(|failure| failed("CreateContainerError", failure.to_string()))?;
        for (file, place) in [
            ("hosts", "/etc/hosts"),
            ("resolv.conf", "/etc/resolv.conf"),
            ("hostname", "/etc/hostname"),
        ] {
            mount::add_managed(&mut mounts, etc.join(file), place, false);
        }
        mount::add_managed(&mut mounts, log, &destination, false);
        Ok(mounts)
    };
    let done = Tasks::blocking(work).await;
    done.unwrap_or_else(|failure| Err(failed("CreateContainerError", failure.to_string())))
}

fn failed(reason: &'static str, message: String) -> StartFailed {
    StartFailed {
        reason,
        message,
        ended: None,
    }
}

fn volume(
    wanted: VolumeMount,
    volumes: &Prepared,
    container: &str,
    sub_path: PathBuf,
) -> Result<Mount, StartFailed> {
    let name = &wanted.volume;
    let root = volumes.paths.get(name).ok_or_else(|| {
        let text = format!("cannot find volume \"{name}\" to mount into container \"{container}\"");
        failed("CreateContainerConfigError", text)
    })?;
    let mut mount = wanted.mount;
    mount.source.clone_from(root);
    mount.read_only |= volumes.read_only.contains(name);
    if !wanted.sub_path.is_empty() {
        mount.source = sub_path;
        let bound = mounts::bind_below(root, Path::new(&wanted.sub_path), &mount.source);
        bound.map_err(|failure| {
            let text = format!(
                "failed to prepare subPath for volumeMount \"{name}\" of container \"{container}\""
            );
            tracing::warn!(volume = %root.display(), sub_path = wanted.sub_path, %failure, "bind a sub path");
            failed("CreateContainerConfigError", text)
        })?;
    }
    Ok(mount)
}

/// The disks a container is given, each at its place.
pub fn devices(container: &Container, volumes: &Prepared) -> Vec<DeviceFile> {
    let wanted = container.volume_devices.iter().flatten();
    wanted
        .filter_map(|device| {
            Some(DeviceFile {
                host: volumes.devices.get(&device.name)?.clone(),
                container: Path::new("/").join(&device.device_path),
            })
        })
        .collect()
}

/// Where a container writes its last words. Any user of the container may.
fn touch(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, "")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}
