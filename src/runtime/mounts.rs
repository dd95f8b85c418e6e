//! Mounts of volumes on the host: memory disks, directories below a volume, and their removal.
//!
//! Safe to repeat. A path below a volume is followed only as long as it stays inside: a container can write links
//! into its volumes. Does not know what a volume is for.

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat, stat},
};
use std::{
    fs,
    io::{self, Read},
    os::fd::{AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

/// Mounts a memory disk on `target` (made if missing) unless one is there.
pub fn tmpfs(target: &Path, size_bytes: Option<u64>, mode: u32) -> io::Result<()> {
    fs::create_dir_all(target)?;
    if mount_points()?.iter().any(|point| point == target) {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size_bytes {
        options.push_str(&format!(",size={size}"));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        flags,
        Some(options.as_str()),
    )?;
    Ok(())
}

/// The kernel takes options of at most a page.
const OPTIONS_MAX: usize = 4000;

/// Mounts a stack of layers, the bottom one first, as one tree at `target` (made if missing) unless it is there.
/// Nobody can write to it or run programs from it: an overlay without an upper layer.
pub fn layers(layers: &[PathBuf], target: &Path) -> io::Result<()> {
    if mount_points()?.iter().any(|point| point == target) {
        return Ok(());
    }
    fs::create_dir_all(target)?;
    // One layer alone is no overlay to the kernel.
    let mut lower: Vec<String> = layers.iter().rev().map(|layer| escape(layer)).collect();
    if lower.len() < 2 {
        let empty = target.with_extension("empty");
        fs::create_dir_all(&empty)?;
        lower.push(escape(&empty));
    }
    let options = format!("lowerdir={}", lower.join(":"));
    if options.len() > OPTIONS_MAX {
        let text = format!("{} layers are too many for one mount", layers.len());
        return Err(io::Error::other(text));
    }
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let data = Some(options.as_str());
    mount(Some("overlay"), target, Some("overlay"), flags, data)?;
    Ok(())
}

/// Whether exactly these layers are mounted somewhere on the host.
#[must_use]
pub fn are_mounted(layers: &[PathBuf]) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    is_in_table(&table, layers)
}

fn is_in_table(table: &str, layers: &[PathBuf]) -> bool {
    let top_first: Vec<String> = layers.iter().rev().map(|layer| escape(layer)).collect();
    let wanted = format!("lowerdir={}", top_first.join(":"));
    let mut options = table.lines().filter_map(|line| {
        let (_, right) = line.split_once(" - overlay ")?;
        right.split(' ').next_back()
    });
    options.any(|options| {
        let mut options = options.split(',');
        options.any(|option| {
            let rest = option.strip_prefix(wanted.as_str());
            // What may follow is the stand-in for the second layer.
            rest.is_some_and(|rest| {
                rest.is_empty() || (layers.len() == 1 && rest.ends_with(".empty"))
            })
        })
    })
}

fn escape(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.replace('\\', "\\\\");
    text.replace(':', "\\:").replace(',', "\\,")
}

/// Binds `root/sub` to `target`, in place of what stood there before the path led elsewhere. Directories that are missing
/// below the root are made, as open as the root is.
///
/// Fails with `PermissionDenied` when the path leads out of the root.
pub fn bind_below(root: &Path, sub: &Path, target: &Path) -> io::Result<()> {
    let source = open_below(root, sub)?;
    if mount_points()?.iter().any(|point| point == target) {
        let (wanted, present) = (fstat(&source)?, stat(target)?);
        if (wanted.st_dev, wanted.st_ino) == (present.st_dev, present.st_ino) {
            return Ok(());
        }
        umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
        // What is bound now may be of another kind.
        let _ = fs::remove_file(target).or_else(|_| fs::remove_dir(target));
    }
    let is_directory =
        SFlag::from_bits_truncate(fstat(&source)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    if is_directory {
        fs::create_dir_all(target)?;
    } else {
        let parent = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent)?;
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(target)?;
    }
    let source = format!("/proc/self/fd/{}", source.as_raw_fd());
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(
        Some(source.as_str()),
        target,
        None::<&str>,
        flags,
        None::<&str>,
    )?;
    Ok(())
}

fn open_below(root: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let root = open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let mode = Mode::from_bits_truncate(fstat(&root)?.st_mode & 0o2777);
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let escape = |failure: Errno| match failure {
        Errno::EXDEV | Errno::ELOOP => io::Error::from(io::ErrorKind::PermissionDenied),
        other => io::Error::from(other),
    };
    match openat2(&root, sub, how) {
        Ok(found) => return Ok(found),
        Err(Errno::ENOENT) => {}
        Err(failure) => return Err(escape(failure)),
    }
    let mut at = root;
    for part in sub.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        // Each step is looked up below the one before, so that a link swapped in meanwhile leads nowhere new.
        let found = match openat2(&at, name, how) {
            Err(Errno::ENOENT) => {
                let is_new = match mkdirat(&at, name, Mode::S_IRWXU) {
                    Ok(()) => true,
                    Err(Errno::EEXIST) => false,
                    Err(failure) => return Err(failure.into()),
                };
                let made = openat2(&at, name, how.flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC));
                // Whatever the umask says.
                if let (true, Ok(made)) = (is_new, &made) {
                    fchmod(made, mode)?;
                }
                made
            }
            other => other,
        };
        at = found.map_err(escape)?;
    }
    Ok(at)
}

/// The text of a file below a volume, up to `limit` bytes.
///
/// Fails with `PermissionDenied` when the path leads out of the root, or to anything but a file.
pub fn read_below(root: &Path, sub: &Path, limit: u64) -> io::Result<String> {
    let root = open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    // A pipe in the place of the file must not hold us up.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let file = match openat2(&root, sub, how) {
        Err(Errno::EXDEV | Errno::ELOOP) => return Err(denied()),
        other => fs::File::from(other?),
    };
    if !file.metadata()?.is_file() {
        return Err(denied());
    }
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

/// Unmounts everything on and below a path, the newest first. Succeeds when there is nothing.
pub fn unmount_below(path: &Path) -> io::Result<()> {
    let mut failure = None;
    for point in mount_points()?.iter().rev() {
        if point.starts_with(path)
            && let Err(errno) = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            && errno != Errno::EINVAL
            && errno != Errno::ENOENT
        {
            failure = Some(io::Error::from(errno));
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Mount points in the order they were made.
fn mount_points() -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.map(|point| PathBuf::from(unescape(point))).collect())
}

/// The kernel writes spaces, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4);
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn sub_paths_are_made_and_links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("real")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("real", root.join("inside")).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o2777)).unwrap();
        for path in ["a/b/c", "real", "inside", "inside/new"] {
            open_below(&root, Path::new(path)).unwrap();
        }
        assert!(root.join("real/new").is_dir());
        let mode = |path| root.join(path).metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b/c")), (0o2777, 0o2777));
        for path in ["absolute", "relative", "absolute/x", "relative/x"] {
            let failure = open_below(&root, Path::new(path)).unwrap_err();
            assert_eq!(failure.kind(), io::ErrorKind::PermissionDenied, "{path}");
        }
        assert!(!outside.join("x").exists());
    }

    #[test]
    fn mounted_layers_are_found_in_the_table() {
        let table = "36 35 0:9 / /p ro - overlay overlay ro,lowerdir=/l/b:/l/a\n\
            37 35 0:9 / /q ro - overlay overlay ro,lowerdir=/l/a:/q.empty,xino=off\n\
            38 35 0:9 / /r rw - tmpfs lowerdir=/l/c rw\n";
        let layers = |names: &[&str]| -> Vec<PathBuf> {
            let names = names.iter();
            names.map(|name| Path::new("/l").join(name)).collect()
        };
        let cases = [
            (vec!["a", "b"], true),
            (vec!["a"], true),
            (vec!["b"], false),
            (vec!["c"], false),
            (vec!["b", "a"], false),
        ];
        for (names, expected) in cases {
            assert_eq!(is_in_table(table, &layers(&names)), expected, "{names:?}");
        }
    }

    #[test]
    fn escapes_of_the_mount_table() {
        assert_eq!(unescape(r"/a\040b\134c"), "/a b\\c");
        assert_eq!(unescape(r"/a\9"), r"/a\9");
    }
}
