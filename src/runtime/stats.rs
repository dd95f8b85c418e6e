//! Space that directories take on their disk, counted as `du` counts it: blocks, files with several names once, other
//! file systems left out.
//!
//! CPU and memory are in `cgroup`. A walk costs a system call per file and blocks; what vanishes meanwhile is not
//! counted and no error.

use super::model::Space;
use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Of `stat(2)`, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

/// What a file or directory takes with everything below it. Nothing when it does not exist.
#[must_use]
pub fn space(path: &Path) -> Space {
    let mut sum = Space::default();
    let Ok(root) = fs::symlink_metadata(path) else {
        return sum;
    };
    let mut links = HashSet::new();
    let mut pending: Vec<(PathBuf, fs::Metadata)> = vec![(path.to_owned(), root)];
    let device = pending[0].1.dev();
    while let Some((path, meta)) = pending.pop() {
        if meta.dev() != device || (meta.nlink() > 1 && !meta.is_dir() && !links.insert(meta.ino()))
        {
            continue;
        }
        sum.bytes += meta.blocks() * BLOCK_BYTES;
        sum.inodes += 1;
        if meta.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten();
            let found = entries.filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.path(), entry.metadata().ok()?))
            });
            pending.extend(found);
        }
    }
    sum
}

impl std::ops::AddAssign for Space {
    fn add_assign(&mut self, other: Space) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_count_once_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("d")).unwrap();
        let empty = space(root);
        assert_eq!(empty.inodes, 2);
        fs::write(root.join("d/file"), vec![1; 1 << 20]).unwrap();
        fs::File::open(root.join("d/file"))
            .unwrap()
            .sync_all()
            .unwrap();
        fs::hard_link(root.join("d/file"), root.join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", root.join("link")).unwrap();
        let found = space(root);
        assert_eq!(found.inodes, 4);
        let grown = found.bytes - empty.bytes;
        assert!(((1 << 20)..(1 << 20) + 65_536).contains(&grown), "{grown}");
        assert_eq!(space(&root.join("none")), Space::default());
    }
}
