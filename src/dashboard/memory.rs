//! What outlives the daemon, so that pages left open go on after a restart: the ports and who was let in.
//!
//! One small file, root's alone, beside the cluster's other state. It holds hashes: whoever reads it cannot come in
//! by it. A file that is missing or damaged is an empty memory; tickets are never kept.

use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub ports: Vec<u16>,
    /// Hashes of sessions, as `session` writes them.
    pub sessions: Vec<String>,
}

impl Memory {
    #[must_use]
    pub fn read(path: &Path) -> Memory {
        let text = fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Whole or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&new, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_whole_and_a_damaged_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dashboard.json");
        assert_eq!(Memory::read(&path), Memory::default());
        let memory = Memory {
            ports: vec![7070],
            sessions: vec!["x".to_owned()],
        };
        memory.write(&path).unwrap();
        assert_eq!(Memory::read(&path), memory);
        fs::write(&path, "{\"ports\":[70000]").unwrap();
        assert_eq!(Memory::read(&path), Memory::default());
    }
}
