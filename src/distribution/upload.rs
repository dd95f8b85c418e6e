//! Blobs on their way in: a file that grows, and the digest of what is in it so far.
//!
//! An upload is known to the process that began it; after a restart clients begin anew, as the specification allows.

use super::answer::Refusal;
use crate::task::Tasks;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// Uploads at once; the one that was touched least recently makes room.
const UPLOADS_MAX: usize = 64;
/// Larger blobs are refused.
const BLOB_BYTES_MAX: u64 = 64 << 30;
/// Written and hashed at once, on a thread that may block.
const PIECE_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Counts touches.
    clock: u64,
    /// By id; the number says when one was touched last.
    uploads: BTreeMap<String, (u64, Arc<Upload>)>,
}

pub struct Upload {
    pub id: String,
    /// The repository that it was begun in.
    pub name: String,
    path: PathBuf,
    progress: Mutex<Progress>,
    /// One request at a time.
    turn: tokio::sync::Mutex<()>,
}

struct Progress {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Gone already when it was taken over.
        let _ = fs::remove_file(&self.path);
    }
}

impl Uploads {
    pub fn new(folder: &Path) -> Uploads {
        Uploads(Arc::new(Inner {
            folder: folder.join("uploads"),
            known: Mutex::default(),
        }))
    }

    /// Removes what an earlier process left. Blocking.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(&self.0.folder);
    }

    pub fn begin(&self, name: &str) -> io::Result<Arc<Upload>> {
        fs::create_dir_all(&self.0.folder)?;
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.0.folder.join(&id);
        let upload = Arc::new(Upload {
            progress: Mutex::new(Progress {
                file: File::create(&path)?,
                hash: Sha256::new(),
                size: 0,
            }),
            id: id.clone(),
            name: name.to_owned(),
            path,
            turn: tokio::sync::Mutex::default(),
        });
        let mut known = self.0.known.lock().expect("no panic while locked");
        known.clock += 1;
        let touched = known.clock;
        if known.uploads.len() >= UPLOADS_MAX {
            let oldest = known
                .uploads
                .iter()
                .min_by_key(|(_, (touched, _))| *touched);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                known.uploads.remove(&oldest);
            }
        }
        known.uploads.insert(id, (touched, Arc::clone(&upload)));
        Ok(upload)
    }

    pub fn find(&self, name: &str, id: &str) -> Result<Arc<Upload>, Refusal> {
        let mut known = self.0.known.lock().expect("no panic while locked");
        known.clock += 1;
        let now = known.clock;
        let (touched, upload) = known
            .uploads
            .get_mut(id)
            .ok_or_else(Refusal::upload_unknown)?;
        *touched = now;
        if upload.name == name {
            Ok(Arc::clone(upload))
        } else {
            Err(Refusal::upload_unknown())
        }
    }

    pub fn forget(&self, id: &str) {
        let mut known = self.0.known.lock().expect("no panic while locked");
        known.uploads.remove(id);
    }
}

impl Upload {
    pub fn size(&self) -> u64 {
        self.progress.lock().expect("no panic while locked").size
    }

    /// Appends a body; answers the size of all. What arrived before a connection broke stays.
    pub async fn append(self: &Arc<Upload>, mut body: Incoming) -> Result<u64, Refusal> {
        let Ok(_turn) = self.turn.try_lock() else {
            return Err(Refusal::busy());
        };
        let mut piece = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::size_invalid())?;
            if let Ok(data) = frame.into_data() {
                piece.extend_from_slice(&data);
            }
            if piece.len() >= PIECE_BYTES {
                self.write(piece.split().freeze()).await?;
            }
        }
        self.write(piece.freeze()).await?;
        Ok(self.size())
    }

    async fn write(self: &Arc<Upload>, piece: Bytes) -> Result<(), Refusal> {
        let upload = Arc::clone(self);
        let written = Tasks::blocking(move || upload.write_blocking(&piece)).await;
        written.map_err(|error| Refusal::disk(&io::Error::other(error)))?
    }

    fn write_blocking(&self, piece: &[u8]) -> Result<(), Refusal> {
        let mut progress = self.progress.lock().expect("no panic while locked");
        if progress.size + piece.len() as u64 > BLOB_BYTES_MAX {
            return Err(Refusal::too_large("SIZE_INVALID", "the blob is too large"));
        }
        progress.file.write_all(piece)?;
        progress.hash.update(piece);
        progress.size += piece.len() as u64;
        Ok(())
    }

    /// The file and the digest of everything in it, on disk. Blocking.
    pub fn finish(&self) -> io::Result<(PathBuf, String)> {
        let progress = self.progress.lock().expect("no panic while locked");
        progress.file.sync_data()?;
        let hash = progress.hash.clone().finalize();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((self.path.clone(), format!("sha256:{hex}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::image::manifest::digest;

    #[test]
    fn the_digest_is_that_of_all_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(folder.path());
        let upload = uploads.begin("a").unwrap();
        for piece in ["some ", "bytes"] {
            upload.write_blocking(piece.as_bytes()).unwrap();
        }
        let (path, found) = upload.finish().unwrap();
        assert_eq!((found, upload.size()), (digest(b"some bytes"), 10));
        assert_eq!(fs::read_to_string(&path).unwrap(), "some bytes");
        assert!(uploads.find("b", &upload.id).is_err());
        uploads.forget(&upload.id);
        assert!(uploads.find("a", &upload.id).is_err());
        drop(upload);
        assert!(!path.exists());
    }

    #[test]
    fn forgotten_uploads_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(folder.path());
        let first = uploads.begin("a").unwrap().id.clone();
        for _ in 0..UPLOADS_MAX {
            uploads.begin("a").unwrap();
        }
        assert!(uploads.find("a", &first).is_err());
        assert_eq!(
            fs::read_dir(folder.path().join("uploads")).unwrap().count(),
            UPLOADS_MAX
        );
    }
}
