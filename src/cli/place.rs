//! Where the clusters of this machine lie, and which exist.

use super::failure::Failure;
use crate::config::{ClusterConfig, Layout, RUN_ROOT, STATE_ROOT, home_mark};
use nix::fcntl::{Flock, FlockArg};
use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Longest profile name: it becomes part of a unix socket's path (107 bytes) and of an nftables table's name.
const PROFILE_LENGTH_MAX: usize = 30;

/// The cluster of commands that name none.
pub const DEFAULT_PROFILE: &str = "kubik";
/// See [`lock`]; in the run root.
const LOCK: &str = ".lock";
/// What `kubik config` keeps, in the state root.
pub const SETTINGS: &str = "config.json";

/// One path per home, however it is spelled: names on the host are derived from it.
pub fn state_root() -> PathBuf {
    from_variable("KUBIK_HOME").unwrap_or_else(|| PathBuf::from(STATE_ROOT))
}

/// Every home has its own, also when only `KUBIK_HOME` is set.
pub fn run_root() -> PathBuf {
    from_variable("KUBIK_RUN")
        .unwrap_or_else(|| PathBuf::from(format!("{RUN_ROOT}{}", home_mark(&state_root()))))
}

fn from_variable(name: &str) -> Option<PathBuf> {
    let value = env::var_os(name).filter(|value| !value.is_empty())?;
    let path = std::path::absolute(&value).unwrap_or_else(|_| PathBuf::from(&value));
    // Links are followed as far as there is something; what is not there yet is a plain name.
    let existing = path.ancestors().find(|folder| folder.exists())?;
    let rest = path.strip_prefix(existing).ok()?;
    let real = fs::canonicalize(existing).unwrap_or_else(|_| existing.to_owned());
    Some(real.components().chain(rest.components()).collect())
}

/// What a cluster of this home is called where the host's clusters meet.
pub fn host_name(profile: &str) -> String {
    format!("{profile}{}", home_mark(&state_root()))
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

/// Where a start puts what is new; a cluster that is there stays where it is.
pub fn wanted_layout(profile: &str, is_ephemeral: bool) -> Layout {
    let found = layout(profile);
    match is_ephemeral && !found.config().exists() {
        true => ephemeral_layout(profile),
        false => found,
    }
}

fn ephemeral_layout(profile: &str) -> Layout {
    let mut layout = Layout::new(&state_root(), &run_root(), profile);
    layout.state = layout.run.join("state");
    layout
}

/// The saved configuration of a cluster; `None` when it was never started (or its directory is damaged).
pub fn load(layout: &Layout) -> Option<ClusterConfig> {
    read(layout).ok().flatten()
}

/// [`load`], where a damaged directory is an error.
pub fn read(layout: &Layout) -> Result<Option<ClusterConfig>, Failure> {
    let path = layout.config();
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|e| Failure::host(&path.display().to_string(), &e))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        let why = format!("{} cannot be read: {e}", path.display());
        let advice = "It may be another version's. What can be saved is below that directory; `kubik delete` removes it.";
        Failure::new("HOST_CONFIG", 38, why).advise(advice)
    })
}

pub fn existing(profile: &str) -> Result<(Layout, ClusterConfig), Failure> {
    let layout = layout(profile);
    match read(&layout)? {
        Some(config) => Ok((layout, config)),
        None => Err(Failure::no_cluster(profile)),
    }
}

/// The cluster's own kubeconfig, for commands that talk to its API.
pub fn credentials(layout: &Layout) -> Result<PathBuf, Failure> {
    let path = layout.state.join("kubeconfig");
    match File::open(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = "the cluster's credentials are for root to read";
            Err(Failure::new("HOST_PERMISSION", 37, why)
                .advise("Run it with sudo, or use kubectl with your own kubeconfig."))
        }
        Err(error) => Err(Failure::host(&path.display().to_string(), &error)),
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

/// Held while configurations are chosen or changed, so that two commands do not choose the same subnets and ports. It
/// lies where something can always be written: a cluster in memory needs no disk.
pub fn lock() -> Result<Flock<File>, Failure> {
    let root = run_root();
    let failure =
        |path: &Path, e: &dyn std::fmt::Display| Failure::host(&path.display().to_string(), e);
    let path = root.join(LOCK);
    loop {
        fs::create_dir_all(&root).map_err(|e| failure(&root, &e))?;
        let file = match File::create(&path) {
            // Another command has just tidied up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(|e| failure(&path, &e))?,
        };
        let locked =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failure(&path, &e))?;
        // One that was removed while we waited for it keeps nobody out.
        let ours = locked.metadata().map_err(|e| failure(&path, &e))?.ino();
        if fs::metadata(&path).is_ok_and(|meta| meta.ino() == ours) {
            return Ok(locked);
        }
    }
}

/// Removes the roots when nobody's cluster or setting is left in them.
pub fn tidy() -> Result<(), Failure> {
    let _guard = lock()?;
    let (state, run) = (state_root(), run_root());
    // Fails where something is left, or where somebody's disk is mounted.
    let _ = fs::remove_dir(&state);
    let entries = fs::read_dir(&run).into_iter().flatten().flatten();
    if entries.into_iter().all(|entry| entry.file_name() == LOCK) {
        let _ = fs::remove_file(run.join(LOCK));
        let _ = fs::remove_dir(&run);
    }
    Ok(())
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
