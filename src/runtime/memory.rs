//! The memory of this process: what a burst leaves behind goes back to the kernel.
//!
//! The C library keeps freed pages for itself, in one arena per thread; after a large list or a body of some megabytes
//! they would stay with an idle daemon for good. Whoever wakes up regularly anyhow asks [`Memory::ease`]; there is no
//! timer here. Measures anonymous memory only: pages of files are the kernel's own to take.

use super::sys;
use std::fs;

/// What the process may grow by before it is looked through; that costs some milliseconds.
const SLACK_BYTES: u64 = 16 << 20;

/// Knows how small the process has been.
#[derive(Debug, Default)]
pub struct Memory {
    /// After the last time pages were given back; before that zero, so that the first look always gives.
    floor: u64,
}

impl Memory {
    /// Gives free pages back when the process has grown; blocks for as long as that takes.
    pub fn ease(&mut self) {
        let Some(resident) = resident() else {
            return;
        };
        if is_swollen(resident, self.floor) {
            sys::trim_heap();
            self.floor = self::resident().unwrap_or(resident);
        } else {
            self.floor = self.floor.min(resident);
        }
    }
}

fn is_swollen(resident: u64, floor: u64) -> bool {
    resident > floor.saturating_add(SLACK_BYTES)
}

fn resident() -> Option<u64> {
    anonymous_bytes(&fs::read_to_string("/proc/self/status").ok()?)
}

/// `RssAnon: 57072 kB` in a process' status.
fn anonymous_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_measured_from_the_floor() {
        let cases = [
            (0, 0, false),
            (30 << 20, 0, true),
            (30 << 20, 20 << 20, false),
            (37 << 20, 20 << 20, true),
            (10 << 20, 20 << 20, false),
        ];
        for (resident, floor, expected) in cases {
            assert_eq!(is_swollen(resident, floor), expected, "{resident} {floor}");
        }
        let status = "Name:\tx\nVmRSS:\t  105396 kB\nRssAnon:\t   57072 kB\nRssFile:\t   1 kB\n";
        assert_eq!(anonymous_bytes(status), Some(57072 * 1024));
        assert_eq!(anonymous_bytes("Name:\tx\n"), None);
    }
}
