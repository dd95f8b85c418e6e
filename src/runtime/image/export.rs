//! An image as a `docker save` archive, which docker, podman and kubik load.
//!
//! Compressed blobs are not kept, so layers are written anew from their directories: same contents, other digests,
//! and so another image id than where it came from. Blocks.

use super::{layer::Layers, manifest::hex};
use anyhow::{Context, Result};
use nix::sys::stat::{major, minor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Seek, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header, HeaderMode};
use xattr::FileExt;

const OPAQUE: &str = "trusted.overlay.opaque";

/// One image to write: its names, its configuration's text, its layers' directories from the bottom.
pub struct Source {
    pub tags: Vec<String>,
    pub configuration: String,
    pub layers: Vec<PathBuf>,
}

pub fn write(images: &[Source], layers: &Layers, out: impl Write) -> Result<()> {
    let mut archive = Builder::new(out);
    let mut written: HashMap<&Path, String> = HashMap::new();
    let mut manifest = Vec::new();
    for image in images {
        let mut digests = Vec::new();
        for layer in &image.layers {
            if !written.contains_key(layer.as_path()) {
                let digest = layer_file(&mut archive, layer, layers)
                    .with_context(|| format!("write layer {}", layer.display()))?;
                written.insert(layer, digest);
            }
            digests.push(written[layer.as_path()].clone());
        }
        let configuration = with_layers(&image.configuration, &digests)?;
        let name = format!("{}.json", hex(&Sha256::digest(&configuration)));
        append(&mut archive, &name, &configuration)?;
        let paths: Vec<String> = digests
            .iter()
            .map(|digest| format!("{digest}/layer.tar"))
            .collect();
        manifest.push(json!({ "Config": name, "RepoTags": image.tags, "Layers": paths }));
    }
    append(
        &mut archive,
        "manifest.json",
        &serde_json::to_vec(&manifest)?,
    )?;
    archive.into_inner()?.flush()?;
    Ok(())
}

fn with_layers(configuration: &str, digests: &[String]) -> Result<Vec<u8>> {
    let mut configuration: Value = serde_json::from_str(configuration)?;
    let ids: Vec<String> = digests
        .iter()
        .map(|digest| format!("sha256:{digest}"))
        .collect();
    configuration["rootfs"] = json!({ "type": "layers", "diff_ids": ids });
    Ok(serde_json::to_vec(&configuration)?)
}

fn append<W: Write>(archive: &mut Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes)
}

/// Through a file, because an archive says a member's size before its contents. Returns the digest.
fn layer_file<W: Write>(archive: &mut Builder<W>, layer: &Path, layers: &Layers) -> Result<String> {
    fs::create_dir_all(&layers.temporary)?;
    let path = layers.temporary.join(format!("export-{:016x}", unique()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    // Nameless from here on: nothing is left whatever happens.
    fs::remove_file(&path)?;
    let mut hashing = Hashing(file, Sha256::new());
    tar_layer(layer, &mut hashing)?;
    let Hashing(mut file, hash) = hashing;
    let digest = hex(&hash.finalize());
    let mut header = Header::new_gnu();
    header.set_size(file.stream_position()?);
    header.set_mode(0o644);
    file.rewind()?;
    archive.append_data(&mut header, format!("{digest}/layer.tar"), file)?;
    Ok(digest)
}

fn unique() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel has random numbers");
    u64::from_le_bytes(bytes)
}

struct Hashing(File, Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.0.write(bytes)?;
        self.1.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A layer's directory as a layer's archive, in the order of names: equal contents give equal bytes.
fn tar_layer(root: &Path, out: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(out);
    archive.mode(HeaderMode::Complete);
    archive.follow_symlinks(false);
    archive.sparse(false);
    let mut linked: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        if !path.as_os_str().is_empty() {
            entry(&mut archive, &full, &path, &metadata, &mut linked)?;
        }
        if metadata.is_dir() {
            if xattr::get(&full, OPAQUE)?.is_some() {
                append(
                    &mut archive,
                    &path.join(".wh..wh..opq").to_string_lossy(),
                    b"",
                )?;
            }
            let names: io::Result<Vec<_>> = fs::read_dir(&full)?
                .map(|e| e.map(|e| e.file_name()))
                .collect();
            let mut names = names?;
            names.sort_unstable_by(|a, b| b.cmp(a));
            pending.extend(names.into_iter().map(|name| path.join(name)));
        }
    }
    archive.into_inner()?.flush()
}

fn entry<W: Write>(
    archive: &mut Builder<W>,
    full: &Path,
    path: &Path,
    metadata: &Metadata,
    linked: &mut HashMap<(u64, u64), PathBuf>,
) -> io::Result<()> {
    if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = path.with_file_name(format!(".wh.{name}"));
        return append(archive, &hidden.to_string_lossy(), b"");
    }
    if metadata.is_file() && metadata.nlink() > 1 {
        let first = linked
            .entry((metadata.dev(), metadata.ino()))
            .or_insert_with(|| path.to_owned());
        if first.as_path() != path {
            let mut header = Header::new_gnu();
            header.set_metadata(metadata);
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            return archive.append_link(&mut header, path, first);
        }
    }
    if metadata.is_file() || metadata.is_dir() {
        attributes(archive, full)?;
    } else if !metadata.is_symlink() {
        return special(archive, path, metadata);
    }
    archive.append_path_with_name(full, path)
}

/// Devices and pipes, which the archive's own method files under the host's path. Sockets belong to no archive.
fn special<W: Write>(archive: &mut Builder<W>, path: &Path, metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let kind = if kind.is_fifo() {
        EntryType::Fifo
    } else if kind.is_block_device() {
        EntryType::Block
    } else if kind.is_char_device() {
        EntryType::Char
    } else {
        return Ok(());
    };
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_entry_type(kind);
    header.set_size(0);
    let number = |part: u64| u32::try_from(part).map_err(io::Error::other);
    header.set_device_major(number(major(metadata.rdev()))?)?;
    header.set_device_minor(number(minor(metadata.rdev()))?)?;
    archive.append_data(&mut header, path, io::empty())
}

/// File capabilities and the like; overlayfs' own say nothing outside of it.
fn attributes<W: Write>(archive: &mut Builder<W>, full: &Path) -> io::Result<()> {
    let file = File::open(full)?;
    let mut found = Vec::new();
    for name in file.list_xattr()? {
        let text = name.to_string_lossy();
        if !text.starts_with("trusted.overlay.")
            && let Some(value) = file.get_xattr(&name)?
        {
            found.push((format!("SCHILY.xattr.{text}"), value));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    archive.append_pax_extensions(
        found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice())),
    )
}
