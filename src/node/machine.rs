//! The machine below the node: what it has and what it is called. Read once at start.

use nix::sys::{statvfs::statvfs, utsname::uname};
use std::{fs, path::Path, thread};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    /// Of the file system that holds the cluster's state.
    pub storage_bytes: i64,
    /// What pods are not offered, because eviction begins there.
    pub memory_reserve_bytes: i64,
    pub storage_reserve_bytes: i64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    pub swap_bytes: i64,
}

impl Machine {
    #[must_use]
    pub fn read(state: &Path) -> Machine {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let id = line("/etc/machine-id");
        Machine {
            cpus: thread::available_parallelism()
                .map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
            memory_bytes: kibibytes(&memory, "MemTotal") * 1024,
            swap_bytes: kibibytes(&memory, "SwapTotal") * 1024,
            storage_bytes: space(state).0,
            memory_reserve_bytes: 0,
            storage_reserve_bytes: 0,
            system_uuid: match line("/sys/class/dmi/id/product_uuid") {
                none if none.is_empty() => id.clone(),
                uuid => uuid,
            },
            machine_id: id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: uname().map_or_else(
                |_| String::new(),
                |name| name.release().to_string_lossy().into_owned(),
            ),
            os_image: pretty_name(&release),
        }
    }
}

/// Bytes in all and bytes free for us; zeros when the path is not there.
#[must_use]
pub fn space(path: &Path) -> (i64, i64) {
    let Ok(stat) = statvfs(path) else {
        return (0, 0);
    };
    let bytes = |blocks: u64| {
        let bytes = blocks.saturating_mul(stat.fragment_size());
        i64::try_from(bytes).unwrap_or(i64::MAX)
    };
    (bytes(stat.blocks()), bytes(stat.blocks_available()))
}

/// Inodes in all and free ones.
#[must_use]
pub fn inodes(path: &Path) -> (i64, i64) {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    statvfs(path).map_or((0, 0), |stat| {
        (count(stat.files()), count(stat.files_available()))
    })
}

/// A value of `/proc/meminfo`.
#[must_use]
pub fn kibibytes(table: &str, name: &str) -> i64 {
    let mut lines = table.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

fn line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn pretty_name(release: &str) -> String {
    let mut lines = release.lines();
    let value = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let table = "MemTotal:       24601234 kB\nMemFree: 5 kB\n";
        assert_eq!(kibibytes(table, "MemTotal"), 24_601_234);
        assert_eq!(kibibytes(table, "Mem"), 0);
        assert_eq!(
            pretty_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
            "Debian GNU/Linux 12"
        );
        assert!(Machine::read(Path::new("/")).memory_bytes > 0);
    }
}
