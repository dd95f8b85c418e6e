//! A layer's tar stream becomes a directory for overlayfs. The stream is hostile until proven otherwise.
//!
//! Every path is resolved by the kernel inside the layer's own root (`openat2`, RESOLVE_IN_ROOT: Linux 5.6), so that
//! neither `..` nor a link of an earlier entry leads outside. Sizes and counts are bounded. Whiteouts take
//! overlayfs' form: a 0:0 character device, or the `trusted.overlay.opaque` attribute.

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::{
        stat::{
            FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, makedev,
            mkdirat, mknodat, utimensat,
        },
        time::TimeSpec,
    },
    unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};
use tar::{Entry, EntryType};

/// Entries of one layer; the largest real images have some hundred thousand.
const ENTRIES_MAX: u64 = 2_000_000;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OPAQUE_ATTRIBUTE: &str = "trusted.overlay.opaque";
/// Attributes that a layer may set; the others are the host's business.
const ATTRIBUTES: [&str; 2] = ["security.capability", "user."];

/// Unpacks into `root`, which is empty. Answers the bytes written. `bytes_max` bounds them.
pub fn unpack(stream: impl Read, root: &Path, bytes_max: u64) -> Result<u64> {
    let root = File::open(root).with_context(|| format!("open {}", root.display()))?;
    let mut layer = Layer {
        root: root.into(),
        bytes: 0,
        bytes_max,
        folders: Vec::new(),
    };
    let mut archive = tar::Archive::new(stream);
    for (count, entry) in (0u64..).zip(archive.entries()?) {
        if count >= ENTRIES_MAX {
            bail!("the layer has more than {ENTRIES_MAX} entries");
        }
        let mut entry = entry.context("read the layer's archive")?;
        let name = entry.path_bytes().into_owned();
        layer
            .entry(&mut entry, &name)
            .with_context(|| format!("unpack {}", String::from_utf8_lossy(&name)))?;
    }
    layer.stamp_folders();
    // What follows the archive's end still counts for the digest.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).context("read the layer's end")?;
    Ok(layer.bytes)
}

struct Layer {
    root: OwnedFd,
    bytes: u64,
    bytes_max: u64,
    /// Directories' times are set last: making entries changes them.
    folders: Vec<(PathBuf, TimeSpec)>,
}

impl Layer {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, name: &[u8]) -> Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = inside(Path::new(OsStr::from_bytes(name)))?;
        let Some(leaf) = path.file_name() else {
            return Ok(()); // The root itself: its attributes come from the lowest layer of overlayfs.
        };
        let parent = self.folder(path.parent().unwrap_or(Path::new("")))?;
        let leaf_bytes = leaf.as_bytes();
        if leaf_bytes == OPAQUE {
            return set_attribute(&parent, OPAQUE_ATTRIBUTE, b"y");
        }
        if let Some(hidden) = leaf_bytes.strip_prefix(WHITEOUT) {
            return self.whiteout(&parent, hidden);
        }
        let was_hidden = kind == EntryType::Directory && is_whiteout(&parent, leaf)?;
        self.make_room(&parent, leaf, kind)?;
        match kind {
            EntryType::Directory => {
                make_folder(&parent, leaf)?;
                if was_hidden {
                    make_opaque(&parent, leaf)?;
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &parent, leaf)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().context("a link without a target")?;
                symlinkat(OsStr::from_bytes(&target), &parent, leaf)?;
            }
            EntryType::Link => {
                let target = entry
                    .link_name_bytes()
                    .context("a link without a target")?
                    .into_owned();
                return self.hard_link(&target, &parent, leaf);
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                device(entry, &parent, leaf, kind)?;
            }
            _ => return Ok(()),
        }
        self.attributes(entry, &parent, leaf, kind, &path)
    }

    /// Opens a directory inside the root, making what is missing of it.
    fn folder(&self, path: &Path) -> Result<OwnedFd> {
        match self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(folder) => Ok(folder),
            Err(Errno::ENOENT) => {
                let parent = self.folder(path.parent().context("the root is gone")?)?;
                make_folder(
                    &parent,
                    path.file_name().context("a folder without a name")?,
                )?;
                Ok(self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Never leaves the root, whatever links lie on the way.
    fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    /// A later entry replaces an earlier one of its name, except that directories merge.
    fn make_room(&self, parent: &OwnedFd, leaf: &OsStr, kind: EntryType) -> Result<()> {
        match unlinkat(parent, leaf, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) if kind == EntryType::Directory => Ok(()),
            Err(Errno::EISDIR) => Ok(unlinkat(parent, leaf, UnlinkatFlags::RemoveDir)?),
            Err(error) => Err(error.into()),
        }
    }

    fn whiteout(&self, parent: &OwnedFd, hidden: &[u8]) -> Result<()> {
        if hidden.is_empty() || hidden.starts_with(WHITEOUT) || hidden == b"." || hidden == b".." {
            return Ok(()); // Old union file systems left marks of their own; they mean nothing here.
        }
        let leaf = OsStr::from_bytes(hidden);
        match status(parent, leaf)? {
            None => mknodat(parent, leaf, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?,
            // What is of this very layer stays, whatever comes first: a mark hides only what lies below.
            Some(found) if is_kind(&found, SFlag::S_IFDIR) => make_opaque(parent, leaf)?,
            Some(_) => {}
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        leaf: &OsStr,
    ) -> Result<()> {
        let size = entry.size();
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.bytes_max {
            bail!("the layer unpacks to more than {} bytes", self.bytes_max);
        }
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = nix::fcntl::openat(parent, leaf, flags, Mode::from_bits_truncate(0o600))?;
        let written = io::copy(entry, &mut File::from(file))?;
        if written != size {
            bail!("{written} bytes instead of {size}");
        }
        Ok(())
    }

    /// The target is a name of this archive, resolved like any other.
    fn hard_link(&self, target: &[u8], parent: &OwnedFd, leaf: &OsStr) -> Result<()> {
        let target = inside(Path::new(OsStr::from_bytes(target)))?;
        let name = target.file_name().context("a link to the root")?;
        let from = self
            .open(
                target.parent().unwrap_or(Path::new("")),
                OFlag::O_RDONLY | OFlag::O_DIRECTORY,
            )
            .context("the link's target does not exist")?;
        linkat(&from, name, parent, leaf, AtFlags::empty()).context("link to its target")?;
        Ok(())
    }

    fn attributes<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        leaf: &OsStr,
        kind: EntryType,
        path: &Path,
    ) -> Result<()> {
        let header = entry.header();
        let id = |id: u64| u32::try_from(id).context("a user or group id that Linux does not have");
        let raw = header.as_old();
        let (uid, gid) = (
            id(if is_blank(&raw.uid) { 0 } else { header.uid()? })?,
            id(if is_blank(&raw.gid) { 0 } else { header.gid()? })?,
        );
        fchownat(
            parent,
            leaf,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        let seconds = if is_blank(&raw.mtime) {
            0
        } else {
            header.mtime()?
        };
        let time = TimeSpec::new(i64::try_from(seconds).unwrap_or(i64::MAX), 0);
        if kind != EntryType::Symlink {
            // After the owner: changing that clears setuid bits.
            let bits = if is_blank(&raw.mode) {
                0
            } else {
                header.mode()?
            };
            let mode = Mode::from_bits_truncate(bits & 0o7777);
            fchmodat(parent, leaf, mode, FchmodatFlags::FollowSymlink)?;
        }
        // Nothing else is opened: a device would notice.
        if matches!(
            kind,
            EntryType::Regular | EntryType::Continuous | EntryType::Directory
        ) {
            self.extended(entry, path)?;
        }
        if kind == EntryType::Directory {
            self.folders.push((path.to_owned(), time));
        } else {
            utimensat(parent, leaf, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        }
        Ok(())
    }

    fn extended<R: Read>(&self, entry: &mut Entry<'_, R>, path: &Path) -> Result<()> {
        let Some(extensions) = entry.pax_extensions()? else {
            return Ok(());
        };
        for extension in extensions.flatten() {
            let Some(name) = extension
                .key()
                .ok()
                .and_then(|key| key.strip_prefix("SCHILY.xattr."))
            else {
                continue;
            };
            if ATTRIBUTES.iter().any(|allowed| name.starts_with(allowed)) {
                let file = self.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
                set_attribute(&file, name, extension.value_bytes())?;
            }
        }
        Ok(())
    }

    fn stamp_folders(&self) {
        for (path, time) in self.folders.iter().rev() {
            // A directory that a later entry replaced needs no time.
            if let Ok(folder) = self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
                let _ = nix::sys::stat::futimens(&folder, time, time);
            }
        }
    }
}

/// The path without its leading `/` and `.`; `..` is refused rather than interpreted.
fn inside(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => bail!("the path leads outside the layer"),
        }
    }
    Ok(clean)
}

/// Some writers leave numbers out that are zero.
fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|&byte| byte == 0 || byte == b' ')
}

/// What is there now, if anything is.
fn status(parent: &OwnedFd, leaf: &OsStr) -> Result<Option<FileStat>> {
    match fstatat(parent, leaf, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_kind(found: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == kind
}

fn is_whiteout(parent: &OwnedFd, leaf: &OsStr) -> Result<bool> {
    let found = status(parent, leaf)?;
    Ok(found.is_some_and(|found| is_kind(&found, SFlag::S_IFCHR) && found.st_rdev == 0))
}

/// Hides what layers below have in this directory.
fn make_opaque(parent: &OwnedFd, leaf: &OsStr) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = nix::fcntl::openat(parent, leaf, flags, Mode::empty())?;
    set_attribute(&folder, OPAQUE_ATTRIBUTE, b"y")
}

fn make_folder(parent: &OwnedFd, leaf: &OsStr) -> Result<()> {
    match mkdirat(parent, leaf, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn device<R: Read>(
    entry: &Entry<'_, R>,
    parent: &OwnedFd,
    leaf: &OsStr,
    kind: EntryType,
) -> Result<()> {
    let header = entry.header();
    let number = |part: Option<u32>| u64::from(part.unwrap_or(0));
    let device = if kind == EntryType::Fifo {
        0
    } else {
        makedev(
            number(header.device_major()?),
            number(header.device_minor()?),
        )
    };
    let flag = match kind {
        EntryType::Char => SFlag::S_IFCHR,
        EntryType::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    mknodat(parent, leaf, flag, Mode::empty(), device)?;
    Ok(())
}

/// A file system without extended attributes (some tmpfs) unpacks without them, as other runtimes do.
fn set_attribute(file: &OwnedFd, name: &str, value: &[u8]) -> Result<()> {
    use xattr::FileExt;
    let file = File::from(file.as_fd().try_clone_to_owned()?);
    match file.set_xattr(name, value) {
        Err(error) if error.raw_os_error() != Some(Errno::EOPNOTSUPP as i32) => {
            Err(error).with_context(|| format!("set the attribute {name}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
