//! Which hierarchy this machine has, and what of it kubik can use.

use super::Cgroups;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where every distribution mounts control groups, and the only place where libcontainer looks.
pub const ROOT: &str = "/sys/fs/cgroup";

/// Without these, limits would not hold; the kubelet does not start then either.
const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];

const LEGACY_CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

/// What the machine offers.
#[derive(Debug, PartialEq, Eq)]
pub enum Survey {
    NotMounted,
    /// Nothing can be made there.
    ReadOnly,
    /// Some needed controllers are not there.
    Missing(Vec<&'static str>),
    Unified,
    Legacy,
}

/// Looks only. A few reads.
#[must_use]
pub fn survey() -> Survey {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let controllers = Path::new(ROOT).join("cgroup.controllers");
    let controllers = fs::read_to_string(controllers).unwrap_or_default();
    survey_of(&mounts, &controllers)
}

fn survey_of(mounts: &str, unified_controllers: &str) -> Survey {
    let all = mounts_in(mounts);
    let missing = |has: &dyn Fn(&str) -> bool| -> Vec<&'static str> {
        NEEDED.into_iter().filter(|name| !has(name)).collect()
    };
    let (missing, needed, good): (_, Vec<&Mount<'_>>, _) = match from_mounts(&all) {
        None => return Survey::NotMounted,
        Some(Cgroups::Unified(root)) => (
            missing(&|name| unified_controllers.split_whitespace().any(|c| c == name)),
            all.iter().filter(|mount| mount.point == root).collect(),
            Survey::Unified,
        ),
        Some(Cgroups::Legacy(mounts)) => (
            missing(&|name| mounts.iter().any(|(have, _)| have == name)),
            all.iter()
                .filter(|mount| mount.controllers().iter().any(|c| NEEDED.contains(c)))
                .collect(),
            Survey::Legacy,
        ),
    };
    // The last of several at one place is the one that is seen.
    let is_read_only = |mount: &&Mount<'_>| {
        let top = needed.iter().rfind(|other| other.point == mount.point);
        top.is_some_and(|top| top.is_read_only)
    };
    if !missing.is_empty() {
        Survey::Missing(missing)
    } else if needed.iter().any(is_read_only) {
        Survey::ReadOnly
    } else {
        good
    }
}

/// A hierarchy's mount.
struct Mount<'a> {
    point: PathBuf,
    is_unified: bool,
    is_read_only: bool,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// Controllers and `name=…` of a legacy hierarchy.
    fn controllers(&self) -> Vec<&'a str> {
        let known =
            |option: &&str| option.starts_with("name=") || LEGACY_CONTROLLERS.contains(option);
        match self.is_unified {
            true => Vec::new(),
            false => self.options.split(',').filter(known).collect(),
        }
    }
}

fn mounts_in(text: &str) -> Vec<Mount<'_>> {
    let parse = |line| -> Option<Mount<'_>> {
        let (left, right) = str::split_once(line, " - ")?;
        let mut left = left.split(' ').skip(4);
        let (point, flags) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let is_unified = match right.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let options = right.nth(1).unwrap_or_default();
        let is_ro = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Mount {
            point: point.into(),
            is_unified,
            is_read_only: is_ro(flags) || is_ro(options),
            options,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Unified if that is what stands at its usual place; legacy as soon as a needed controller is mounted the old way.
fn from_mounts(mounts: &[Mount<'_>]) -> Option<Cgroups> {
    let at_root = mounts.iter().rfind(|mount| mount.point == Path::new(ROOT));
    if at_root.is_some_and(|mount| mount.is_unified) {
        return Some(Cgroups::Unified(ROOT.into()));
    }
    let mut legacy: Vec<(String, PathBuf)> = Vec::new();
    for mount in mounts {
        if legacy.iter().all(|(_, other)| *other != mount.point) {
            let names = mount.controllers().into_iter();
            legacy.extend(names.map(|name| (name.to_owned(), mount.point.clone())));
        }
    }
    let is_needed = |name: &str| NEEDED.contains(&name);
    legacy
        .iter()
        .any(|(name, _)| is_needed(name))
        .then_some(Cgroups::Legacy(legacy))
}

/// What is not mounted is unified: every use of it fails, and says so.
pub fn from_mountinfo(text: &str) -> Cgroups {
    from_mounts(&mounts_in(text)).unwrap_or_else(|| Cgroups::Unified(ROOT.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "25 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "30 1 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        31 1 0:2 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 1 0:3 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        33 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn hierarchies_are_recognized() {
        // A second look at the unified hierarchy, and a named one that some program keeps, change nothing.
        for more in [
            "26 1 0:22 / /run/x/unified rw - cgroup2 cgroup2 rw\n",
            "26 1 0:9 / /run/x/named rw - cgroup none rw,name=x\n",
            "",
        ] {
            let found = from_mountinfo(&format!("{more}{UNIFIED}"));
            assert_eq!(found, Cgroups::Unified(ROOT.into()));
        }
        let Cgroups::Legacy(mounts) = from_mountinfo(HYBRID) else {
            panic!("hybrid keeps its controllers in v1");
        };
        let names: Vec<&str> = mounts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["memory", "cpu", "cpuacct", "name=systemd"]);
        // Booted without the memory controller, as small machines are: still the old way.
        let without = HYBRID.replace(",memory\n", ",freezer\n");
        assert!(matches!(from_mountinfo(&without), Cgroups::Legacy(_)));
    }

    #[test]
    fn a_survey_says_what_is_wrong() {
        let pids = "34 1 0:5 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let hybrid = format!("{HYBRID}{pids}");
        let all = "cpuset cpu io memory hugetlb pids rdma misc\n";
        let read_only = UNIFIED.replace("rw,nosuid", "ro,nosuid");
        let again = format!("{read_only}{UNIFIED}");
        let cases = [
            ("", "", Survey::NotMounted),
            (HYBRID, "", Survey::Missing(vec!["pids"])),
            (&hybrid, "", Survey::Legacy),
            (UNIFIED, all, Survey::Unified),
            (UNIFIED, "cpu io pids\n", Survey::Missing(vec!["memory"])),
            (&read_only, all, Survey::ReadOnly),
            (&again, all, Survey::Unified),
        ];
        for (mounts, controllers, expected) in cases {
            assert_eq!(survey_of(mounts, controllers), expected, "{mounts}");
        }
    }
}
