//! Where the clusters of this machine lie, and which exist.

use super::failure::Failure;
use crate::config::{ClusterConfig, Layout, RUN_ROOT, STATE_ROOT};
use nix::fcntl::{Flock, FlockArg};
use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Longest profile name: it becomes part of a unix socket's path (107 bytes) and of an nftables table's name.
const PROFILE_LENGTH_MAX: usize = 30;

/// The cluster of commands that name none.
pub const DEFAULT_PROFILE: &str = "kubik";
/// What `kubik config` keeps, in the state root.
pub const SETTINGS: &str = "config.json";

pub fn state_root() -> PathBuf {
    env::var_os("KUBIK_HOME").map_or_else(|| PathBuf::from(STATE_ROOT), PathBuf::from)
}

pub fn run_root() -> PathBuf {
    env::var_os("KUBIK_RUN").map_or_else(|| PathBuf::from(RUN_ROOT), PathBuf::from)
}

/// An RFC 1123 label: it names directories, a cgroup, a packet rule table and the node.
pub fn profile_name(text: &str) -> Result<String, String> {
    let fits = (1..=PROFILE_LENGTH_MAX).contains(&text.len());
    let inner = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if fits && inner && ends {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "use 1 to {PROFILE_LENGTH_MAX} lower-case letters, digits and '-', not at the ends"
        ))
    }
}

/// The directories of a profile. An ephemeral cluster has its state below the run directory, which is in memory.
pub fn layout(profile: &str) -> Layout {
    let on_disk = Layout::new(&state_root(), &run_root(), profile);
    let in_memory = ephemeral_layout(profile);
    if !on_disk.config().exists() && in_memory.config().exists() {
        in_memory
    } else {
        on_disk
    }
}

pub fn ephemeral_layout(profile: &str) -> Layout {
    let mut layout = Layout::new(&state_root(), &run_root(), profile);
    layout.state = layout.run.join("state");
    layout
}

/// The saved configuration of a cluster; `None` when it was never started (or its directory is damaged).
pub fn load(layout: &Layout) -> Option<ClusterConfig> {
    serde_json::from_slice(&fs::read(layout.config()).ok()?).ok()
}

pub fn existing(profile: &str) -> Result<(Layout, ClusterConfig), Failure> {
    let layout = layout(profile);
    match load(&layout) {
        Some(config) => Ok((layout, config)),
        None => Err(Failure::no_cluster(profile)),
    }
}

/// Changes a cluster's saved configuration; answers what was saved. Locked against other commands, replaced as a whole.
pub fn change(
    layout: &Layout,
    edit: impl FnOnce(&mut ClusterConfig),
) -> Result<ClusterConfig, Failure> {
    let _guard = lock()?;
    let failure =
        |e: &dyn std::fmt::Display| Failure::host(&layout.config().display().to_string(), e);
    let mut config: ClusterConfig =
        serde_json::from_slice(&fs::read(layout.config()).map_err(|e| failure(&e))?)
            .map_err(|e| failure(&e))?;
    edit(&mut config);
    save(layout, &config).map_err(|e| failure(&e))?;
    Ok(config)
}

/// Held while configurations are chosen or changed, so that two commands do not choose the same subnets and ports.
pub fn lock() -> Result<Flock<File>, Failure> {
    let root = state_root();
    let failure =
        |path: &Path, e: &dyn std::fmt::Display| Failure::host(&path.display().to_string(), e);
    fs::create_dir_all(&root).map_err(|e| failure(&root, &e))?;
    let path = root.join(".lock");
    let file = File::create(&path).map_err(|e| failure(&path, &e))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failure(&path, &e))
}

/// Replaces the file as a whole: a crash leaves the old one or the new one.
pub fn save(layout: &Layout, config: &ClusterConfig) -> std::io::Result<()> {
    let path = layout.config();
    private_folder(&layout.state)?;
    private_folder(&layout.run)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(config)?)?;
    file.sync_all()?;
    fs::rename(&new, &path)
}

fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
}

/// Every profile that has left something in one of the roots, in name order.
pub fn profiles() -> Vec<String> {
    let mut names: Vec<String> = [state_root(), run_root()]
        .iter()
        .flat_map(|root| directories(root))
        .filter(|name| profile_name(name).is_ok())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn directories(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

pub fn require_root() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(Failure::not_root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_names_are_labels() {
        for good in ["kubik", "a", "ci-42"] {
            assert!(profile_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a_b", &"x".repeat(31)] {
            assert!(profile_name(bad).is_err(), "{bad}");
        }
    }
}
