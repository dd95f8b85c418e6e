//! `FILE.lock`, as client-go takes it: created exclusively, removed when done.
//!
//! Ours names its process. A lock that nobody holds any more, because its process was killed, is broken: otherwise every
//! later command would fail. Of others we know only their age: kubectl holds a lock for milliseconds.

use super::super::failure::Failure;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// A foreign lock of this age is nobody's; so is one of ours whose process was killed before it wrote its name.
const AGE_MAX: Duration = Duration::from_secs(3);
const MARK: &str = "kubik ";

pub struct Lock(PathBuf);

impl Lock {
    /// The folder of `file` must exist.
    pub fn take(file: &Path) -> Result<Lock, Failure> {
        let mut name = file.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let begun = Instant::now();
        loop {
            match OpenOptions::new().create_new(true).write(true).open(&path) {
                Ok(mut made) => {
                    // Without the name it is a lock like any other.
                    let name = format!("{MARK}{}", std::process::id());
                    let _ = made.write_all(name.as_bytes());
                    return Ok(Lock(path));
                }
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Failure::host(&path.display().to_string(), &error));
                }
                Err(_) if is_abandoned(&path) => drop(fs::remove_file(&path)),
                Err(_) if begun.elapsed() > PATIENCE => {
                    let why = format!("{} is held by another process", path.display());
                    return Err(Failure::new("HOST_KUBECONFIG_LOCK", 31, why)
                        .advise("If no kubectl is running, remove that file and try again."));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    if let Some(pid) = text
        .strip_prefix(MARK)
        .and_then(|pid| pid.parse::<u32>().ok())
    {
        return !Path::new("/proc").join(pid.to_string()).exists();
    }
    let changed = fs::metadata(path).and_then(|meta| meta.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > AGE_MAX))
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_the_dead_are_broken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let path = folder.path().join("config.lock");
        drop(Lock::take(&file).unwrap());
        assert!(!path.exists());
        // No process has this id.
        fs::write(&path, format!("{MARK}{}", u32::MAX)).unwrap();
        let held = Lock::take(&file).unwrap();
        assert!(!is_abandoned(&path), "a living process holds it");
        drop(held);
        fs::write(&path, "").unwrap();
        assert!(!is_abandoned(&path), "it may be kubectl's");
        let old = std::time::SystemTime::UNIX_EPOCH;
        let handle = fs::File::options().write(true).open(&path).unwrap();
        handle.set_modified(old).unwrap();
        assert!(is_abandoned(&path));
    }
}
