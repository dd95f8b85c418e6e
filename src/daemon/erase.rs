//! Removes every trace of a cluster by what is found on the host: safe to repeat, after any crash, without a daemon.
//!
//! Goes on past failures, so that one obstacle does not leave the rest, and reports them together. The directories go
//! last: they are what a repeated `delete` works from.

use super::parts;
use crate::{
    config::{self, ClusterConfig, Layout},
    net, runtime,
};
use anyhow::{Result, bail};
use std::{fs, io, path::Path};

/// `config` is `None` for a cluster whose directory is damaged: then what bears its name on the host, or says that it
/// belongs to its directory, is removed. Blocking.
pub fn everything(host_name: &str, layout: &Layout, config: Option<&ClusterConfig>) -> Result<()> {
    let mut failures: Vec<String> = Vec::new();
    let mut note =
        |outcome: Result<()>| failures.extend(outcome.err().map(|error| format!("{error:#}")));
    let cgroup = config.map_or_else(|| config::cgroup(host_name), ClusterConfig::cgroup);
    note(runtime::linux::erase(layout, &cgroup));
    note(net::linux::destroy(&parts::traces(host_name, layout, config)).map_err(Into::into));
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    remove(&layout.run)?;
    remove(&layout.state)
}

/// Kills every pod, for a cluster whose daemon is gone. The next start makes them anew. Blocking.
pub fn pods(layout: &Layout, config: &ClusterConfig) -> Result<()> {
    runtime::linux::erase(layout, &config.cgroup())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            bail!("remove {}: {error}", folder.display())
        }
        _ => Ok(()),
    }
}
