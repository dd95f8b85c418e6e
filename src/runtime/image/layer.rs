//! One layer from its compressed stream to a directory that is complete or not there.

use super::{manifest::hex, unpack::unpack};
use anyhow::{Context, Result, bail};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, BufRead, BufReader, Chain, Cursor, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// A layer may unpack to this much and a hundred times its compressed size.
const UNPACKED_BASE_MAX: u64 = 1 << 30;
const RATIO_MAX: u64 = 100;

const BUFFER_BYTES: usize = 1 << 17;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Where the layers of all images lie: `layers/<short>`; unfinished ones in `tmp`.
#[derive(Clone, Debug)]
pub struct Layers {
    pub folder: PathBuf,
    pub temporary: PathBuf,
}

/// The directory name of a layer: short, because overlayfs' mount options end at a page. 64 bits of a SHA-256.
pub fn short(diff_id: &str) -> &str {
    let hex = diff_id.trim_start_matches("sha256:");
    hex.get(..16).unwrap_or(hex)
}

impl Layers {
    pub fn has(&self, diff_id: &str) -> bool {
        self.folder.join(short(diff_id)).exists()
    }

    /// Unpacks a stream (gzip, zstd or plain) whose unpacked digest must be `diff_id` and, if given, whose own digest
    /// must be `blob`. Does nothing when the layer is there. Blocking.
    pub fn add(
        &self,
        diff_id: &str,
        blob: Option<&str>,
        size: u64,
        stream: impl Read,
    ) -> Result<()> {
        if self.has(diff_id) {
            return Ok(());
        }
        let unfinished = fresh_folder(&self.temporary)?;
        let outcome = self.fill(&unfinished, diff_id, blob, size, stream);
        let outcome = outcome.and_then(|()| self.publish(&unfinished, diff_id));
        if outcome.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        outcome.with_context(|| format!("unpack layer {diff_id}"))
    }

    fn fill(
        &self,
        to: &Path,
        diff_id: &str,
        blob: Option<&str>,
        size: u64,
        stream: impl Read,
    ) -> Result<()> {
        let compressed = Hashing::new(stream);
        let compressed_hash = compressed.hash();
        let plain = Hashing::new(decompress(compressed)?);
        let plain_hash = plain.hash();
        let bytes_max = UNPACKED_BASE_MAX.saturating_add(size.saturating_mul(RATIO_MAX));
        let bounded = plain.take(bytes_max);
        unpack(bounded, to, bytes_max)?;
        let found = plain_hash.finish();
        if found != diff_id {
            bail!("the layer's content is {found}");
        }
        match blob {
            Some(blob) if compressed_hash.finish() != blob => {
                bail!("the downloaded bytes are not {blob}")
            }
            _ => Ok(()),
        }
    }

    /// Another download of the same layer may have been faster: then ours is dropped.
    fn publish(&self, unfinished: &Path, diff_id: &str) -> Result<()> {
        match fs::rename(unfinished, self.folder.join(short(diff_id))) {
            Err(_) if self.has(diff_id) => Ok(fs::remove_dir_all(unfinished)?),
            other => Ok(other?),
        }
    }
}

/// A fresh directory with a random name.
fn fresh_folder(parent: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("random bytes: {e}"))?;
    let path = parent.join(hex(&random));
    fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Chooses by the first bytes, which cannot lie about themselves as media types can.
fn decompress<'a>(stream: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let head = reader.fill_buf().context("read the layer")?;
    if head.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(MultiGzDecoder::new(reader)));
    }
    if head.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(Zstd {
            state: Some(ZstdState::Between(reader)),
        }));
    }
    Ok(Box::new(reader))
}

/// All frames of a zstd stream, one after the other; skippable ones are skipped (RFC 8878, section 3.1).
struct Zstd<R: Read> {
    /// `None` at the end.
    state: Option<ZstdState<R>>,
}

type Frame<R> = StreamingDecoder<Chain<Cursor<[u8; 4]>, R>, FrameDecoder>;

enum ZstdState<R: Read> {
    Between(R),
    Inside(Box<Frame<R>>),
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(ZstdState::Between(reader)) => self.state = next_frame(reader)?,
                Some(ZstdState::Inside(mut frame)) => {
                    let count = frame.read(buffer)?;
                    if count > 0 || buffer.is_empty() {
                        self.state = Some(ZstdState::Inside(frame));
                        return Ok(count);
                    }
                    self.state = Some(ZstdState::Between(frame.into_inner().into_inner().1));
                }
            }
        }
    }
}

fn next_frame<R: Read>(mut reader: R) -> io::Result<Option<ZstdState<R>>> {
    let mut magic = [0u8; 4];
    if reader.read(&mut magic[..1])? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut magic[1..])?;
    if magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18] {
        let mut length = [0u8; 4];
        reader.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        return Ok(Some(ZstdState::Between(reader)));
    }
    let frame =
        StreamingDecoder::new(Cursor::new(magic).chain(reader)).map_err(io::Error::other)?;
    Ok(Some(ZstdState::Inside(Box::new(frame))))
}

/// Passes bytes on and hashes them.
struct Hashing<R> {
    inner: R,
    hash: Hash,
}

/// The digest of what has been read so far, kept by someone who does not own the reader.
#[derive(Clone)]
struct Hash(Arc<Mutex<Sha256>>);

impl Hash {
    fn finish(&self) -> String {
        let hash = self.0.lock().expect("no panic while locked").clone();
        format!("sha256:{}", hex(&hash.finalize()))
    }
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Hashing<R> {
        Hashing {
            inner,
            hash: Hash(Arc::default()),
        }
    }

    fn hash(&self) -> Hash {
        self.hash.clone()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash
            .0
            .lock()
            .expect("no panic while locked")
            .update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::image::manifest::digest;
    use std::io::Write;

    fn layers() -> (tempfile::TempDir, Layers) {
        let folder = tempfile::tempdir().unwrap();
        let layers = Layers {
            folder: folder.path().join("layers"),
            temporary: folder.path().join("tmp"),
        };
        fs::create_dir(&layers.folder).unwrap();
        (folder, layers)
    }

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        header.set_uid(u64::from(nix::unistd::getuid().as_raw()));
        header.set_gid(u64::from(nix::unistd::getgid().as_raw()));
        builder
            .append_data(&mut header, "file", &b"12345"[..])
            .unwrap();
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Two frames with a skippable one between them, as zstd:chunked layers have.
    fn zstd(bytes: &[u8]) -> Vec<u8> {
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let mut stream = compress_to_vec(first, CompressionLevel::Fastest);
        stream.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
        stream.extend(compress_to_vec(second, CompressionLevel::Fastest));
        stream
    }

    #[test]
    fn every_compression_gives_the_same_layer() {
        let tar = tar();
        for stream in [tar.clone(), gzip(&tar), zstd(&tar)] {
            let (_folder, layers) = layers();
            let (id, blob) = (digest(&tar), digest(&stream));
            layers
                .add(&id, Some(&blob), stream.len() as u64, stream.as_slice())
                .unwrap();
            let file = layers.folder.join(short(&id)).join("file");
            assert_eq!(fs::read_to_string(file).unwrap(), "12345");
        }
    }

    #[test]
    fn wrong_content_leaves_nothing() {
        let tar = tar();
        let wrong = digest(b"else");
        for (id, blob) in [(wrong.clone(), None), (digest(&tar), Some(wrong.as_str()))] {
            let (_folder, layers) = layers();
            assert!(layers.add(&id, blob, 10, gzip(&tar).as_slice()).is_err());
            assert!(!layers.has(&id));
            assert_eq!(fs::read_dir(&layers.temporary).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let (_folder, layers) = layers();
        let zeros = gzip(&vec![0u8; 4 << 20]);
        // A header that promises more than the stream may unpack to.
        let mut header = tar::Header::new_gnu();
        header.set_path("bomb").unwrap();
        header.set_size(UNPACKED_BASE_MAX + (1 << 40));
        header.set_cksum();
        let stream = gzip(header.as_bytes());
        let error = layers
            .add(&digest(b"x"), None, 1, [stream, zeros].concat().as_slice())
            .unwrap_err();
        assert!(
            format!("{error:#}").contains("unpacks to more than"),
            "{error:#}"
        );
    }
}
