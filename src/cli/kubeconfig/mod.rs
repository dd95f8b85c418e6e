//! The user's kubeconfig: which file, its lock, what we put in and take out again.
//!
//! kubectl's own rules: `--kubeconfig` wins, then the first existing file of `KUBECONFIG` (otherwise its last), then
//! `~/.kube/config`; under sudo that of the person who typed it. The lock file is the one client-go uses. Entries of
//! others keep their place and fields, files keep their mode and owner.

mod document;
mod lock;

use super::{failure::Failure, person, place};
use crate::config::Layout;
use document::Kubeconfig;
use lock::Lock;
use std::{
    env, fs,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

/// Where our clusters are; entries that point elsewhere are not ours.
const OUR_SERVERS: &str = "https://127.0.0.1:";

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
    let home = person::behind_sudo().map(|person| person.home);
    match home.or_else(|| env::var_os("HOME").map(PathBuf::from)) {
        Some(home) => Ok(home.join(".kube").join("config")),
        None => Err(
            Failure::new("HOST_HOME", 38, "neither KUBECONFIG nor HOME is set")
                .advise("Say where to write with --kubeconfig FILE, or use --no-kubeconfig."),
        ),
    }
}

/// Fails if the cluster's entries could not be put into `file`: it is none, or has others of that name.
pub fn check(file: &Path, profile: &str) -> Result<(), Failure> {
    let config = read(file)?;
    match config
        .server(profile)
        .filter(|server| !server.starts_with(OUR_SERVERS))
    {
        None => Ok(()),
        Some(server) => {
            let why = format!(
                "{} has a cluster \"{profile}\" already, at {server}: it is not kubik's",
                file.display()
            );
            Err(Failure::new("HOST_KUBECONFIG_CONFLICT", 31, why)
                .advise("Choose another name with -p, or another file with --kubeconfig FILE."))
        }
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
    check(file, profile)?;
    if let Some(folder) = file.parent() {
        make_folder(folder).map_err(|e| Failure::host(&folder.display().to_string(), &e))?;
    }
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
    let Some((file, _)) = recall(layout) else {
        return Ok(());
    };
    if !file.parent().is_some_and(Path::exists) {
        return Ok(());
    }
    let _lock = Lock::take(&file)?;
    // A write that was killed half-way.
    let _ = fs::remove_file(unfinished(&file));
    if !file.exists() {
        return Ok(());
    }
    let before = recall(layout).map_or_else(String::new, |(_, before)| before);
    let mut config = read(&file)?;
    let own = read(&layout.state.join("kubeconfig"))?;
    let is_ours = own.shares(&config, profile);
    if config.current_context() == profile && is_ours {
        let restored = if config.has_context(&before) {
            before.as_str()
        } else {
            ""
        };
        config.set_current_context(restored);
    }
    if remove && is_ours {
        config.remove(profile);
        hand_on(profile, &file, &before, &config);
    }
    if config.is_bare() && remove {
        return fs::remove_file(&file).map_err(|e| Failure::host(&file.display().to_string(), &e));
    }
    write(&file, &config)
}

/// How the user's kubeconfig stands to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Configured,
    Misconfigured,
    /// It was not to be written.
    Irrelevant,
}

/// Whether the file we wrote to still has our context; for somebody who may not read that, their own file.
pub fn standing(profile: &str, layout: &Layout) -> Standing {
    let Some((file, _)) = recall(layout) else {
        return match layout.state.join("kubeconfig").exists() {
            true => Standing::Irrelevant,
            false => Standing::Misconfigured,
        };
    };
    let is_closed = matches!(fs::metadata(&file).and_then(|_| fs::File::open(&file)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
    let file = match is_closed {
        true => path(None).unwrap_or(file),
        false => file,
    };
    match read(&file) {
        Ok(config) if config.has_context(profile) => Standing::Configured,
        _ => Standing::Misconfigured,
    }
}

/// Clusters that were started while this one was current would give its context back, which is going: they get what was
/// current before it. To be called with the lock: a cluster that has its entries still is not being removed.
fn hand_on(profile: &str, file: &Path, before: &str, config: &Kubeconfig) {
    let others = place::profiles();
    for other in others.iter().filter(|other| config.has_context(other)) {
        let layout = place::layout(other);
        if recall(&layout) == Some((file.to_owned(), profile.to_owned())) {
            // At worst no context is current in the end.
            let _ = remember(&layout, file, before);
        }
    }
}

/// Where we note the file and the context that was current before us.
fn memory(layout: &Layout) -> PathBuf {
    layout.state.join("previous-context")
}

fn remember(layout: &Layout, file: &Path, before: &str) -> Result<(), Failure> {
    let path = memory(layout);
    let text = format!("{}\n{before}\n", file.display());
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|e| Failure::host(&path.display().to_string(), &e))
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

/// Replaces the file as a whole, keeping its mode and owner; a new one is readable only by whoever owns its folder.
fn write(file: &Path, config: &Kubeconfig) -> Result<(), Failure> {
    let failure = |error: io::Error| Failure::host(&file.display().to_string(), &error);
    // A link (dotfiles kept elsewhere) stays a link: its target is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let old = fs::metadata(&file);
    let mode = old
        .as_ref()
        .map_or(0o600, |old| old.permissions().mode() & 0o777);
    let model = old.or_else(|_| fs::metadata(file.parent().unwrap_or(Path::new("."))));
    let new = unfinished(&file);
    let mut out = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&new)
        .map_err(failure)?;
    out.write_all(config.to_text().as_bytes())
        .and_then(|()| out.sync_all())
        .and_then(|()| model.and_then(|model| belong_to(&new, &model)))
        .and_then(|()| fs::rename(&new, &file))
        .map_err(failure)
}

/// What a write makes before it takes the place of `file`.
fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".kubik-new");
    file.with_file_name(name)
}

/// Missing folders belong to whoever owns the folder above: `~/.kube` is the person's, whoever we are.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new("/"));
    make_folder(above)?;
    let above = if above.as_os_str().is_empty() {
        Path::new(".")
    } else {
        above
    };
    fs::create_dir(folder)?;
    belong_to(folder, &fs::metadata(above)?)
}

/// Only root can give a file away, and needs to.
fn belong_to(path: &Path, model: &fs::Metadata) -> io::Result<()> {
    let own = fs::metadata(path)?;
    match (own.uid(), own.gid()) == (model.uid(), model.gid()) {
        true => Ok(()),
        false => chown(path, Some(model.uid()), Some(model.gid())),
    }
}
