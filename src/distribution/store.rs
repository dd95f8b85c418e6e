//! What was pushed, as files: blobs by digest, and per repository which blobs, manifests and tags it has.
//!
//! `blobs/<hex>`; `repositories/<name>/{_layers,_manifests}/<hex>` and `_tags/<tag>`. Names of repositories never begin
//! with `_`. Every file appears by a rename, and a blob before what names it: a crash leaves nothing half-done.
//! A blob is visible in the repositories that it was pushed to or mounted into. Blocking.

use crate::runtime::image::manifest::digest;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The specification wants at least 4 MiB.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Folders below each other that the catalogue looks into.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// What is noted about a manifest beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    pub media_type: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Layers,
    Manifests,
    Tags,
}

impl Part {
    fn folder(self) -> &'static str {
        match self {
            Part::Layers => "_layers",
            Part::Manifests => "_manifests",
            Part::Tags => "_tags",
        }
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

impl Store {
    pub fn new(folder: &Path) -> Store {
        Store {
            folder: folder.to_owned(),
        }
    }

    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.blobs().join(hex(digest))
    }

    pub fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    fn repositories_folder(&self) -> PathBuf {
        self.folder.join("repositories")
    }

    fn part(&self, name: &str, part: Part) -> PathBuf {
        self.repositories_folder().join(name).join(part.folder())
    }

    /// A blob as seen from a repository.
    pub fn open_blob(&self, name: &str, digest: &str) -> io::Result<(File, u64)> {
        fs::symlink_metadata(self.part(name, Part::Layers).join(hex(digest)))?;
        let file = File::open(self.blob_path(digest))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    pub fn has_blob(&self, name: &str, digest: &str) -> bool {
        self.open_blob(name, digest).is_ok()
    }

    /// Makes a blob that is here visible in a repository.
    pub fn link_blob(&self, name: &str, digest: &str) -> io::Result<()> {
        self.write(&self.part(name, Part::Layers).join(hex(digest)), b"")
    }

    /// Takes over a complete file whose digest was checked.
    pub fn adopt_blob(&self, name: &str, digest: &str, from: &Path) -> io::Result<()> {
        fs::create_dir_all(self.blobs())?;
        fs::rename(from, self.blob_path(digest))?;
        self.link_blob(name, digest)
    }

    /// Answers the digest.
    pub fn put_manifest(&self, name: &str, bytes: &[u8], note: &Note) -> io::Result<String> {
        let digest = digest(bytes);
        self.write(&self.blob_path(&digest), bytes)?;
        let note = serde_json::to_vec(note)?;
        self.write(&self.part(name, Part::Manifests).join(hex(&digest)), &note)?;
        Ok(digest)
    }

    pub fn manifest(&self, name: &str, digest: &str) -> io::Result<(Vec<u8>, Note)> {
        let note = fs::read(self.part(name, Part::Manifests).join(hex(digest)))?;
        let note = serde_json::from_slice(&note)?;
        let mut bytes = Vec::new();
        File::open(self.blob_path(digest))?
            .take(MANIFEST_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        Ok((bytes, note))
    }

    pub fn put_tag(&self, name: &str, tag: &str, digest: &str) -> io::Result<()> {
        self.write(&self.part(name, Part::Tags).join(tag), digest.as_bytes())
    }

    pub fn tag(&self, name: &str, tag: &str) -> io::Result<String> {
        fs::read_to_string(self.part(name, Part::Tags).join(tag))
    }

    pub fn remove(&self, name: &str, part: Part, entry: &str) -> io::Result<()> {
        fs::remove_file(self.part(name, part).join(hex(entry)))
    }

    /// The entries of a part of a repository, in order; digests without their prefix.
    pub fn entries(&self, name: &str, part: Part) -> io::Result<Vec<String>> {
        names(&self.part(name, part))
    }

    pub fn has_repository(&self, name: &str) -> bool {
        self.repositories_folder().join(name).is_dir()
    }

    /// Every repository with a manifest, in order.
    pub fn repositories(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut pending = vec![(String::new(), 0)];
        while let Some((name, depth)) = pending.pop() {
            let folder = self.repositories_folder().join(&name);
            for entry in names(&folder)? {
                if entry == Part::Manifests.folder() {
                    if !names(&folder.join(&entry))?.is_empty() {
                        found.push(name.clone());
                    }
                } else if !entry.starts_with('_') && depth < DEPTH_MAX {
                    let separator = if name.is_empty() { "" } else { "/" };
                    pending.push((format!("{name}{separator}{entry}"), depth + 1));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    pub fn modified(
        &self,
        name: &str,
        part: Part,
        entry: &str,
    ) -> io::Result<std::time::SystemTime> {
        fs::metadata(self.part(name, part).join(hex(entry)))?.modified()
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = self.folder.join("tmp");
        fs::create_dir_all(&temporary)?;
        let new = temporary.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        if !bytes.is_empty() {
            file.sync_data()?;
        }
        fs::rename(&new, path)
    }
}

/// Names in a folder, in order; one that is not there is empty.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names: io::Result<Vec<String>> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_seen_only_where_they_were_pushed_or_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("registry"));
        let upload = folder.path().join("upload");
        fs::write(&upload, "layer").unwrap();
        let id = digest(b"layer");
        store.adopt_blob("a/b", &id, &upload).unwrap();
        assert!(store.has_blob("a/b", &id) && !store.has_blob("c", &id));
        store.link_blob("c", &id).unwrap();
        assert!(store.has_blob("c", &id));
        store.remove("c", Part::Layers, &id).unwrap();
        assert!(store.has_blob("a/b", &id) && !store.has_blob("c", &id));
    }

    #[test]
    fn tags_lead_to_manifests_and_repositories_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert!(store.repositories().unwrap().is_empty());
        let note = Note {
            media_type: "x".into(),
        };
        for name in ["b", "a/c", "a"] {
            let id = store.put_manifest(name, b"{}", &note).unwrap();
            store.put_tag(name, "1", &id).unwrap();
            let found = store.tag(name, "1").unwrap();
            assert_eq!(
                store.manifest(name, &found).unwrap(),
                (b"{}".to_vec(), note.clone())
            );
        }
        assert_eq!(store.repositories().unwrap(), ["a", "a/c", "b"]);
        assert_eq!(store.entries("a", Part::Tags).unwrap(), ["1"]);
        assert!(store.tag("a", "2").is_err() && !store.has_repository("d"));
    }
}
