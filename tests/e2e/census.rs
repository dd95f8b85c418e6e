//! What there is on the host: taken before and after, the difference must be empty.

use super::cluster::run;
use std::{collections::BTreeSet, fs, path::Path};

/// Settings that a cluster may change while it lives.
const SYSCTLS: [&str; 4] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/bridge/bridge-nf-call-iptables",
];

/// One line per thing, with its kind in front.
pub fn take(home: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut note = |kind: &str, lines: String| {
        found.extend(
            lines
                .lines()
                .map(|line| format!("{kind}: {}", line.trim_end())),
        );
    };
    note("link", run("ip", &["-o", "-br", "link"]));
    note("address", run("ip", &["-o", "-br", "address"]));
    note("route", run("ip", &["route", "show", "table", "all"]));
    note("netns", run("ip", &["netns", "list"]));
    note("rule", run("nft", &["list", "ruleset"]));
    note("mount", mounts(home).join("\n"));
    note("cgroup", cgroups(Path::new("/sys/fs/cgroup"), 0).join("\n"));
    note("process", processes().join("\n"));
    note("listener", run("ss", &["-Hltun"]));
    for name in SYSCTLS {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        note("sysctl", format!("{name} {value}"));
    }
    note("file", files(home, 0).join("\n"));
    found
}

/// Panics with what was left behind and what is missing now.
pub fn assert_same(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let left: Vec<&String> = after.difference(before).collect();
    let missing: Vec<&String> = before.difference(after).collect();
    assert!(
        left.is_empty() && missing.is_empty(),
        "left behind: {left:#?}\nmissing: {missing:#?}"
    );
}

/// Those below `home`, where all of a cluster's are; others come and go with the machine's own life.
fn mounts(home: &Path) -> Vec<String> {
    let home = home.to_string_lossy();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let lines = mounts.lines().map(str::to_owned);
    lines.filter(|line| line.contains(&*home)).collect()
}

/// Cgroups of the clusters of this run; others come and go with the machine's own life.
fn cgroups(folder: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < 8 {
            let path = entry.path();
            let text = path.to_string_lossy();
            let own = format!("kubik-t{}-", std::process::id());
            if text.contains(&own) || text.contains("kubik-run-") {
                found.push(path.display().to_string());
            }
            found.extend(cgroups(&path, depth + 1));
        }
    }
    found
}

/// Processes of the binary under test.
fn processes() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(exe) = fs::read_link(entry.path().join("exe")) else {
            continue;
        };
        if name.parse::<i32>().is_ok() && exe == Path::new(env!("CARGO_BIN_EXE_kubik")) {
            let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push(command.replace('\0', " "));
        }
    }
    found
}

fn files(folder: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < 8 {
            found.extend(files(&entry.path(), depth + 1));
        }
    }
    found
}
