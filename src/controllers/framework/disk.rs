//! Makes and removes directories of volumes. Each operation may be repeated after a crash half-way.

use super::action::{Disk, Failure};
use crate::{
    api::{call::Verb, object::Object},
    task::Tasks,
};
use k8s_openapi::api::core::v1::PersistentVolume;
use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

pub async fn carry_out(disk: Disk) -> Result<(), Failure> {
    let verb = match &disk {
        Disk::Make(_) => Verb::Create,
        Disk::Remove(_) => Verb::Delete,
    };
    let done = Tasks::blocking(move || match &disk {
        Disk::Make(path) => make(path).map_err(|failure| told("make", path, &failure)),
        Disk::Remove(path) => remove(path).map_err(|failure| told("remove", path, &failure)),
    });
    let message = match done.await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(message)) => message,
        Err(failure) => failure.to_string(),
    };
    Err(Failure {
        verb,
        resource: PersistentVolume::gvr(),
        reason: "InternalError",
        message,
    })
}

fn told(what: &str, path: &Path, failure: &io::Error) -> String {
    format!("{what} directory {}: {failure}", path.display())
}

fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    // Containers run as any user, and nobody hands the directory over to them.
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn directories_are_made_and_removed_twice() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        let path = root.path().join("volumes/pvc-1");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        for _ in 0..2 {
            carry_out(Disk::Make(path.clone())).await.unwrap();
        }
        fs::create_dir(path.join("sub")).unwrap();
        std::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
        for _ in 0..2 {
            carry_out(Disk::Remove(path.clone())).await.unwrap();
        }
        assert!(!path.exists() && outside.join("kept").exists());
    }
}
