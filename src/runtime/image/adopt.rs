//! Images whose blobs lie on this host already: those that were pushed to the cluster's own registry.
//!
//! The blobs were checked against their digests when they came; layers are checked again while they are unpacked.

use super::{
    index::Image,
    layer::Layers,
    manifest::{
        Configuration, DOCUMENT_BYTES_MAX, Descriptor, Manifest, digest, for_this_platform,
    },
    reference::Reference,
};
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Indexes that point to indexes.
const NESTING_MAX: usize = 4;

/// Configurations of images; others belong to charts, signatures and the like.
const CONFIGURATIONS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// The image of a manifest, its layers unpacked; `None` when there is nothing in it that this machine could run.
/// `blob` says where a digest lies. Blocking.
pub fn adopt(
    reference: &Reference,
    manifest: &[u8],
    blob: &dyn Fn(&str) -> PathBuf,
    layers: &Layers,
) -> Result<Option<(String, Image)>> {
    let top = digest(manifest);
    let Some((config, parts)) = resolve(manifest, blob)? else {
        return Ok(None);
    };
    if !CONFIGURATIONS.contains(&config.media_type.as_str()) {
        return Ok(None);
    }
    let text = document(&blob(&config.digest))?;
    let parsed = Configuration::parse(&text).map_err(anyhow::Error::msg)?;
    let ids = &parsed.rootfs.diff_ids;
    if ids.len() != parts.len() {
        bail!(
            "the manifest has {} layers and the configuration {}",
            parts.len(),
            ids.len()
        );
    }
    let mut size_bytes = text.len() as u64;
    for (id, part) in ids.iter().zip(&parts) {
        let file =
            File::open(blob(&part.digest)).with_context(|| format!("open {}", part.digest))?;
        let size = file.metadata()?.len();
        size_bytes += size;
        layers.add(id, Some(&part.digest), size, file)?;
    }
    let image = Image {
        tags: reference.tagged().into_iter().collect(),
        digests: vec![format!("{}@{top}", reference.name())],
        size_bytes,
        configuration: String::from_utf8(text).context("the configuration is not text")?,
        ..Image::default()
    };
    Ok(Some((config.digest, image)))
}

fn resolve(
    manifest: &[u8],
    blob: &dyn Fn(&str) -> PathBuf,
) -> Result<Option<(Descriptor, Vec<Descriptor>)>> {
    let mut bytes = manifest.to_vec();
    for _ in 0..NESTING_MAX {
        match Manifest::parse(&bytes) {
            Ok(Manifest::Image { config, layers }) => return Ok(Some((config, layers))),
            Ok(Manifest::Index(entries)) => match for_this_platform(&entries) {
                Some(entry) => bytes = document(&blob(&entry.digest))?,
                None => return Ok(None),
            },
            // An index of nothing, for example: no image.
            Err(_) => return Ok(None),
        }
    }
    bail!("indexes are nested too deeply")
}

fn document(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(DOCUMENT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
