//! Carries out orders: directories, memory disks, files, groups. Blocking, safe to repeat.

use super::{atomic, host_path, source::Order};
use crate::runtime::{mounts, nfs};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown},
    path::{Path, PathBuf},
};

/// Returns what is mounted into containers.
pub(super) fn carry_out(order: &Order, group: Option<u32>) -> io::Result<PathBuf> {
    match order {
        Order::Directory { path } => {
            if !path.exists() {
                fs::create_dir_all(path)?;
                open_to_all(path, 0o777, group)?;
            }
            Ok(path.clone())
        }
        Order::Memory { path, size_bytes } => {
            mounts::tmpfs(path, *size_bytes, 0o777)?;
            open_to_all(path, 0o777, group)?;
            Ok(path.clone())
        }
        Order::Files {
            path,
            payload,
            in_memory,
        } => {
            // As open as an emptyDir, as upstream's are; containers see it read only.
            let mode = if *in_memory { 0o1777 } else { 0o777 };
            if *in_memory {
                mounts::tmpfs(path, None, mode)?;
            }
            fs::create_dir_all(path)?;
            open_to_all(path, mode, group)?;
            atomic::write(path, payload, group)?;
            Ok(path.clone())
        }
        Order::Nfs { path, share } => {
            nfs::mount_share(share, path)?;
            Ok(path.clone())
        }
        // It is mounted with the first container that wants it.
        Order::Image { path } => Ok(path.clone()),
        Order::Host { path, kind } | Order::Device { path, kind } => {
            host_path::check(path, kind)?;
            Ok(path.clone())
        }
        Order::Persistent {
            path,
            kind,
            only_on_mismatch,
        } => {
            host_path::check(path, kind)?;
            if let Some(group) = group.filter(|&group| !only_on_mismatch || !suits(path, group)) {
                give(path, group)?;
            }
            Ok(path.clone())
        }
    }
}

/// Whatever the umask; a group is inherited by what is made inside.
fn open_to_all(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let set_group = if group.is_some() { 0o2000 } else { 0 };
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode | set_group))
}

fn suits(path: &Path, group: u32) -> bool {
    let meta = fs::metadata(path);
    meta.is_ok_and(|meta| meta.gid() == group && meta.mode() & 0o2070 == 0o2070)
}

/// Gives everything below to the group: readable and writable, directories passable and inheriting.
fn give(path: &Path, group: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let extra = if meta.is_dir() { 0o2070 } else { 0o060 };
    fs::set_permissions(
        path,
        fs::Permissions::from_mode(meta.mode() & 0o7777 | extra),
    )?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_open_and_keeps_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let order = Order::Directory { path: path.clone() };
        carry_out(&order, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
        fs::write(path.join("x"), "x").unwrap();
        carry_out(&order, None).unwrap();
        assert!(path.join("x").exists());
    }

    #[test]
    fn a_group_gets_everything_of_a_persistent_volume() {
        let dir = tempfile::tempdir().unwrap();
        let group = fs::metadata(dir.path()).unwrap().gid();
        let file = dir.path().join("f");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let order = Order::Persistent {
            path: dir.path().to_owned(),
            kind: String::new(),
            only_on_mismatch: true,
        };
        carry_out(&order, Some(group)).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o660);
        assert!(suits(dir.path(), group));
    }
}
