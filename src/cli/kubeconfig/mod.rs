//! The user's kubeconfig: which file, its lock, what we put in and take out again.
//!
//! kubectl's own rules: `--kubeconfig` wins, then the first existing file of `KUBECONFIG` (otherwise its last), then
//! `~/.kube/config`. The lock file is the one client-go uses. Entries of others keep their place and fields.

mod document;

use super::failure::Failure;
use crate::config::Layout;
use document::Kubeconfig;
use std::{
    env, fs,
    fs::OpenOptions,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A lock older than this belongs to a process that died: kubectl holds it for milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The file to write to.
pub fn path(explicit: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    let listed: Vec<PathBuf> = env::var_os("KUBECONFIG")
        .map(|value| {
            env::split_paths(&value)
                .filter(|p| !p.as_os_str().is_empty())
                .collect()
        })
        .unwrap_or_default();
    let existing = listed.iter().find(|path| path.exists());
    if let Some(path) = existing.or(listed.last()) {
        return Ok(path.clone());
    }
    match env::var_os("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".kube").join("config")),
        None => Err(
            Failure::new("HOST_HOME", 38, "neither KUBECONFIG nor HOME is set")
                .advise("Say where to write with --kubeconfig FILE, or use --no-kubeconfig."),
        ),
    }
}

/// Puts the cluster's entries (read from `own`) into `file` and makes it current, remembering what was current.
pub fn merge(
    file: &Path,
    own: &Path,
    profile: &str,
    layout: &Layout,
    keep_context: bool,
) -> Result<(), Failure> {
    let entries = read(own)?;
    let _lock = Lock::take(file)?;
    let mut config = read(file)?;
    let before = config.current_context();
    config.adopt(&entries, profile);
    if !keep_context && before != profile {
        remember(layout, file, &before)?;
        config.set_current_context(profile);
    }
    if !memory(layout).exists() {
        remember(layout, file, &before)?;
    }
    write(file, &config)
}

/// Gives the previous current context back if ours is still current; with `remove` takes our entries out as well.
/// Nothing to do is no error, nor is a file that is gone.
pub fn release(profile: &str, layout: &Layout, remove: bool) -> Result<(), Failure> {
    let Some((file, before)) = recall(layout) else {
        return Ok(());
    };
    if !file.exists() {
        return Ok(());
    }
    let _lock = Lock::take(&file)?;
    let mut config = read(&file)?;
    if config.current_context() == profile {
        let restored = if config.has_context(&before) {
            before.as_str()
        } else {
            ""
        };
        config.set_current_context(restored);
    }
    if remove {
        config.remove(profile);
    }
    if config.is_bare() && remove {
        return fs::remove_file(&file).map_err(|e| Failure::host(&file.display().to_string(), &e));
    }
    write(&file, &config)
}

/// Whether the file we wrote to still has our context.
pub fn is_configured(profile: &str, layout: &Layout) -> bool {
    recall(layout)
        .and_then(|(file, _)| read(&file).ok())
        .is_some_and(|config| config.has_context(profile))
}

/// Where we note the file and the context that was current before us.
fn memory(layout: &Layout) -> PathBuf {
    layout.state.join("previous-context")
}

fn remember(layout: &Layout, file: &Path, before: &str) -> Result<(), Failure> {
    let path = memory(layout);
    let text = format!("{}\n{before}\n", file.display());
    fs::write(&path, text).map_err(|e| Failure::host(&path.display().to_string(), &e))
}

fn recall(layout: &Layout) -> Option<(PathBuf, String)> {
    let text = fs::read_to_string(memory(layout)).ok()?;
    let mut lines = text.lines();
    let file = PathBuf::from(lines.next()?);
    Some((file, lines.next().unwrap_or_default().to_owned()))
}

fn read(file: &Path) -> Result<Kubeconfig, Failure> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::host(&file.display().to_string(), &error)),
    };
    Kubeconfig::parse(&text).map_err(|why| {
        Failure::new(
            "HOST_KUBECONFIG",
            38,
            format!("{} is no kubeconfig: {why}", file.display()),
        )
        .advise("Mend or move the file, or point KUBECONFIG elsewhere; kubik has not touched it.")
    })
}

/// Replaces the file as a whole, keeping its mode; a new file is readable by its owner only.
fn write(file: &Path, config: &Kubeconfig) -> Result<(), Failure> {
    let failure = |error: std::io::Error| Failure::host(&file.display().to_string(), &error);
    // A link (dotfiles kept elsewhere) stays a link: its target is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let mode = fs::metadata(&file).map_or(0o600, |meta| meta.permissions().mode() & 0o777);
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".kubik-new");
    let new = file.with_file_name(name);
    let mut out = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&new)
        .map_err(failure)?;
    out.write_all(config.to_text().as_bytes())
        .and_then(|()| out.sync_all())
        .and_then(|()| fs::rename(&new, &file))
        .map_err(failure)
}

/// `FILE.lock`, created exclusively; removed on drop.
struct Lock(PathBuf);

impl Lock {
    fn take(file: &Path) -> Result<Lock, Failure> {
        let mut name = file.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let failure = |error: &std::io::Error| Failure::host(&path.display().to_string(), error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| failure(&e))?;
        }
        let begun = Instant::now();
        loop {
            match OpenOptions::new().create_new(true).write(true).open(&path) {
                Ok(_) => return Ok(Lock(path)),
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(failure(&error));
                }
                Err(_) if begun.elapsed() > LOCK_PATIENCE => {
                    let why = format!("{} is held by another process", path.display());
                    return Err(Failure::new("HOST_KUBECONFIG_LOCK", 31, why)
                        .advise("If no kubectl is running, remove that file and try again."));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
