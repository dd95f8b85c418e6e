//! A container's root file system: an overlay of the image's layers, seen by the container alone.
//!
//! The overlay is mounted in a mount namespace that exists only while the container is being made, so nothing of it
//! is ever on the host: it ends with the container, also when everything here is killed. The exception is a
//! container with a `Bidirectional` mount, whose namespace must stay a peer of the host's; its overlay is on the host
//! for that moment.

use super::protocol::{Failure, ImageRoot};
use crate::runtime::{
    model::{ContainerSpec, DeviceFile, Mount, Propagation},
    spec::Device,
    sys,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::stat::{Mode, mkdirat},
    unistd::chdir,
};
use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    },
    path::{Component, Path, PathBuf},
};

/// No account file of a sane image is longer.
const ACCOUNTS_MAX: u64 = 1 << 20;

/// While it lives, this process sees the overlay at its place. Dropping it goes back.
pub struct Mounted {
    host: Option<File>,
    target: PathBuf,
}

/// The directories of one container's writable layer and bundle.
pub struct Place {
    pub dir: PathBuf,
}

impl Place {
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    fn work(&self) -> PathBuf {
        self.dir.join("work")
    }
}

pub fn mount_image(
    place: &Place,
    image: &ImageRoot,
    propagation: Propagation,
) -> Result<Mounted, Failure> {
    // Nobody but root has business in a container's files, whatever their own modes say.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&place.dir)?;
    for dir in [place.rootfs(), place.upper(), place.work()] {
        fs::create_dir_all(dir)?;
    }
    // The root directory's own mode and owner come from the upper layer.
    copy_root_attributes(image, &place.upper())?;
    let host = if propagation == Propagation::Bidirectional {
        None
    } else {
        let host = File::open("/proc/self/ns/mnt")?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        Some(host)
    };
    let mounted = Mounted {
        host,
        target: place.rootfs(),
    };
    if mounted.host.is_some() {
        // Host mounts still arrive; nothing made here goes out.
        let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    }
    mount_overlay(place, image)?;
    Ok(mounted)
}

fn mount_overlay(place: &Place, image: &ImageRoot) -> Result<(), Failure> {
    // Short relative names: the option string of mount(2) ends at one page.
    chdir(&image.layers_dir)?;
    let layers: Vec<&str> = image.layers.iter().rev().map(String::as_str).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        layers.join(":"),
        escape(&place.upper()),
        escape(&place.work())
    );
    // `volatile` (Linux 5.10): nothing of a container's own layer needs to survive the container.
    let target = place.rootfs();
    let attempt = |options: &str| {
        let data = Some(options);
        mount(
            Some("overlay"),
            &target,
            Some("overlay"),
            MsFlags::empty(),
            data,
        )
    };
    let result = attempt(&format!("{options},volatile")).or_else(|_| attempt(&options));
    chdir("/")?;
    result.map_err(|error| {
        let count = layers.len();
        Failure::Failed(format!(
            "mount the overlay of {count} layers: {}",
            error.desc()
        ))
    })
}

fn escape(path: &Path) -> String {
    path.display()
        .to_string()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,")
}

fn copy_root_attributes(image: &ImageRoot, upper: &Path) -> io::Result<()> {
    let Some(top) = image.layers.last() else {
        return Ok(());
    };
    let from = fs::metadata(image.layers_dir.join(top))?;
    fs::set_permissions(upper, from.permissions())?;
    std::os::unix::fs::chown(upper, Some(from.uid()), Some(from.gid()))
}

impl Mounted {
    pub fn path(&self) -> &Path {
        &self.target
    }

    fn root(&self) -> io::Result<OwnedFd> {
        let file = File::options().read(true).open(&self.target)?;
        Ok(file.into())
    }

    /// The text of an account file of the image; empty if it has none.
    pub fn accounts(&self, path: &str) -> io::Result<String> {
        let root = self.root()?;
        let fd = match sys::open_in_root(
            root.as_fd(),
            Path::new(path),
            libc::O_RDONLY | libc::O_NONBLOCK,
        ) {
            Ok(fd) => fd,
            Err(_) => return Ok(String::new()),
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Ok(String::new());
        }
        let mut text = Vec::new();
        file.take(ACCOUNTS_MAX).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Makes the working directory where it is missing: in the volume that covers it, or in the root.
    pub fn ensure_dir(&self, path: &Path, mounts: &[Mount]) -> io::Result<()> {
        let covering = mounts
            .iter()
            .filter(|mount| path.starts_with(&mount.destination) && mount.source.is_dir())
            .max_by_key(|mount| mount.destination.components().count());
        match covering {
            Some(mount) if mount.read_only || mount.recursive_read_only => Ok(()),
            Some(mount) => {
                let below = path
                    .strip_prefix(&mount.destination)
                    .unwrap_or(Path::new(""));
                make_dirs(&File::open(&mount.source)?.into(), below)
            }
            None => make_dirs(&self.root()?, path),
        }
    }

    /// Makes the places that the image's programs write to, and answers the mounts that keep them writable where the
    /// root is read only.
    pub fn written(&self, places: &[String], container: &ContainerSpec) -> io::Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        for place in places {
            let destination = Path::new("/").join(place);
            let covers = |mount: &Mount| destination.starts_with(&mount.destination);
            let is_covered = container.mounts.iter().any(covers);
            // Where the image has a file of that name, its programs cannot mean a directory.
            let made = self.ensure_dir(&destination, &container.mounts);
            if made.is_err() || is_covered || !container.read_only_rootfs {
                continue;
            }
            let inside = destination.strip_prefix("/").unwrap_or(&destination);
            // A link of the image that leads out of it, or nowhere, is not followed.
            let root = fs::canonicalize(&self.target)?;
            let source = fs::canonicalize(self.target.join(inside));
            if let Some(source) = source.ok().filter(|source| source.starts_with(&root)) {
                mounts.push(Mount {
                    source,
                    destination,
                    ..Mount::default()
                });
            }
        }
        Ok(mounts)
    }
}

/// Makes what a mount's source is missing a directory, as containerd does. Anything else about it fails later.
pub fn ensure_sources(mounts: &[Mount]) -> Result<(), Failure> {
    for source in mounts.iter().map(|mount| &mount.source) {
        if let Err(error) = fs::metadata(source) {
            let made = match error.kind() {
                io::ErrorKind::NotFound => fs::create_dir_all(source),
                _ => Err(error),
            };
            made.map_err(|error| {
                Failure::Failed(format!("failed to stat {:?}: {error}", source.display()))
            })?;
        }
    }
    Ok(())
}

/// `mkdir -p` that cannot leave `root`.
fn make_dirs(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let mut walked = PathBuf::new();
    for part in path.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        let parent = open_dir(root, &walked)?;
        walked.push(name);
        if open_dir(root, &walked).is_err() {
            mkdirat(parent, name, Mode::from_bits_truncate(0o755))?;
        }
    }
    Ok(())
}

fn open_dir(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    sys::open_in_root(root.as_fd(), path, libc::O_PATH | libc::O_DIRECTORY)
}

impl Drop for Mounted {
    fn drop(&mut self) {
        match &self.host {
            Some(host) => {
                // Cannot fail: the process has one thread and came from there. Staying would mix up containers.
                setns(host, CloneFlags::CLONE_NEWNS)
                    .expect("the way back to the host's mounts is open");
            }
            None => drop(umount2(&self.target, MntFlags::MNT_DETACH)),
        }
        let _ = chdir("/");
    }
}

/// Narrows single mounts of a running namespace, which libcontainer cannot: what is not asked for must not flow.
/// Called in a process of its own.
pub fn narrow_propagation(init: &OwnedFd, mounts: &[Mount]) -> nix::Result<()> {
    setns(init, CloneFlags::CLONE_NEWNS)?;
    for mount_point in mounts {
        let flag = match mount_point.propagation {
            Propagation::Private => MsFlags::MS_PRIVATE,
            Propagation::HostToContainer => MsFlags::MS_SLAVE,
            Propagation::Bidirectional => continue,
        };
        let target = &mount_point.destination;
        mount(
            None::<&str>,
            target,
            None::<&str>,
            flag | MsFlags::MS_REC,
            None::<&str>,
        )?;
    }
    Ok(())
}

/// The devices that were asked for, each at the container's own place for it, after those of the host if it has them all.
pub fn devices(wanted: &[DeviceFile], all: bool) -> Vec<Device> {
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = all.then(|| "/dev".into()).into_iter().collect();
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = metadata.file_type();
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| path == Path::new(skipped)) {
            let entries = fs::read_dir(&path)
                .into_iter()
                .flatten()
                .filter_map(Result::ok);
            pending.extend(entries.map(|entry| entry.path()));
        } else {
            found.extend(device(&metadata, path));
        }
    }
    found.retain(|device| !OWN.iter().any(|own| device.path == Path::new(own)));
    for file in wanted {
        // Through links: volumes name disks by their ids.
        let device = fs::metadata(&file.host)
            .ok()
            .and_then(|metadata| device(&metadata, file.container.clone()));
        if let Some(device) = device {
            found.retain(|other| other.path != device.path);
            found.push(device);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn device(metadata: &fs::Metadata, path: PathBuf) -> Option<Device> {
    let kind = metadata.file_type();
    let is_device = kind.is_block_device() || kind.is_char_device();
    is_device.then(|| Device {
        is_block: kind.is_block_device(),
        major: libc::major(metadata.rdev()).into(),
        minor: libc::minor(metadata.rdev()).into(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        path,
    })
}

/// Below `/dev`, but file systems of their own in a container.
const SKIPPED: &[&str] = &["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd"];
/// Every container has its own.
const OWN: &[&str] = &["/dev/console", "/dev/ptmx"];
