//! Taking a sandbox away, whatever state it is in.
//!
//! Works from what is found: its run directory says where its cgroup and data are. The directory goes last, so a
//! removal that was cut short is found and finished by the next.

use crate::runtime::{
    cgroup,
    model::{ContainerInfo, SandboxInfo, SandboxSpec},
    shim::protocol::{RECORDS_DIR, SANDBOX_FILE, SHM_DIR, SandboxFile},
};
use jiff::Timestamp;
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What the directory says about its sandbox. `None`: not one, or begun and never finished.
pub fn read_spec(dir: &Path) -> Option<SandboxSpec> {
    let text = fs::read(dir.join(SANDBOX_FILE)).ok()?;
    let file: SandboxFile = serde_json::from_slice(&text).ok()?;
    Some(file.spec)
}

/// A sandbox whose shim is gone, as its records tell it.
pub fn read_dead(dir: &Path) -> Option<SandboxInfo> {
    let spec = read_spec(dir)?;
    let created = fs::metadata(dir.join(SANDBOX_FILE)).and_then(|metadata| metadata.modified());
    let created = created.ok().and_then(|time| Timestamp::try_from(time).ok());
    let records = fs::read_dir(dir.join(RECORDS_DIR))
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let records = records
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"));
    let parse = |path: PathBuf| -> Option<ContainerInfo> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    };
    Some(SandboxInfo {
        id: spec.id,
        pid: 0,
        netns: PathBuf::new(),
        created_at: created.unwrap_or_default(),
        alive: false,
        labels: spec.labels,
        containers: records.filter_map(parse).collect(),
    })
}

/// Kills what is left and removes every trace but logs. Blocks.
pub fn sweep(dir: &Path, shim: Option<i32>) -> io::Result<()> {
    if let Some(pid) = shim {
        // Usually gone by itself by now.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let mut result = Ok(());
    let mut note = |outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
        _ => {}
    };
    if let Some(spec) = read_spec(dir) {
        let groups = cgroup::host();
        note(groups.kill_all(&spec.cgroup));
        note(groups.remove(&spec.cgroup));
        note(fs::remove_dir_all(spec.data_dir.join("containers")));
    }
    while umount2(&dir.join(SHM_DIR), MntFlags::MNT_DETACH).is_ok() {}
    result?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
