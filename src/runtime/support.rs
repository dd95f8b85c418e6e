//! What the kernel and the disk offer to containers, for who wants to know before there is one.
//!
//! Looks only. Modules may get loaded, as they would be by the first container.

use super::{device, sys};
use nix::sys::statfs::statfs;
use std::{fs, io, path::Path};

/// Whether an overlay can be mounted. Asking the kernel for it is what loads its module on a fresh machine.
#[must_use]
pub fn has_overlay() -> bool {
    match sys::knows_file_system(c"overlay") {
        Ok(known) => known,
        // Not allowed to ask: what is loaded is known all the same.
        Err(_) => {
            let loaded = fs::read_to_string("/proc/filesystems").unwrap_or_default();
            loaded.lines().any(|line| line.ends_with("\toverlay"))
        }
    }
}

/// File systems that no overlay can be written to, by the number `statfs(2)` tells.
const UNFIT: &[(i64, &str)] = &[
    (0x794c_7630, "overlay"),
    (0x6969, "nfs"),
    (0xfe53_4d42, "smb"),
    (0xff53_4d42, "cifs"),
    (0x0102_1997, "9p"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0xf15f, "ecryptfs"),
];

/// The name of the directory's file system if containers cannot write their layers to it.
#[must_use]
pub fn unfit_file_system(dir: &Path) -> Option<&'static str> {
    let kind = statfs(dir).ok()?.filesystem_type().0;
    let found = UNFIT.iter().find(|(number, _)| *number == kind)?;
    Some(found.1)
}

/// Whether devices can be closed to containers on cgroup v2.
pub fn restrict_devices() -> io::Result<()> {
    sys::load_device_program(&device::program(&[])).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_disks_are_fit() {
        assert_eq!(unfit_file_system(Path::new("/dev/shm")), None);
        assert_eq!(unfit_file_system(Path::new("/none")), None);
    }
}
