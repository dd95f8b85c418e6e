//! Images from files: `docker save` archives, OCI layouts as archive or directory, gzipped or not.
//!
//! An archive is read twice: first its table of contents, then the parts in the order the manifests name them.

use super::{
    index::Image,
    layer::Layers,
    manifest::{
        Configuration, DOCUMENT_BYTES_MAX, Descriptor, Manifest, digest, for_this_platform,
    },
    reference::{Reference, is_digest},
};
use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Names in one archive.
const NAMES_MAX: usize = 100_000;
/// Indexes that point to indexes, from the outermost on.
const NESTING_MAX: usize = 4;
/// A gzipped archive is unzipped to a file of at most this size.
const UNZIPPED_MAX: u64 = 64 << 30;

/// Parts of an image by their names in the archive.
enum Source {
    Folder(PathBuf),
    Archive {
        file: File,
        /// Offset and size of each member.
        members: HashMap<String, (u64, u64)>,
    },
}

/// Every image of the file, its layers unpacked. Blocking.
pub fn import(path: &Path, layers: &Layers) -> Result<Vec<(String, Image)>> {
    let source = Source::open(path, &layers.temporary)?;
    let images = if source.has("manifest.json") {
        docker(&source, layers)?
    } else if source.has("index.json") {
        oci(&source, layers)?
    } else {
        bail!("neither manifest.json nor index.json is in it: not an image archive");
    };
    if images.is_empty() {
        bail!("it contains no image for this machine");
    }
    Ok(images)
}

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn docker(source: &Source, layers: &Layers) -> Result<Vec<(String, Image)>> {
    let manifest: Vec<DockerImage> =
        serde_json::from_slice(&source.document("manifest.json")?).context("read manifest.json")?;
    let mut images = Vec::new();
    for entry in manifest {
        let text = source.document(&entry.config)?;
        let configuration = Configuration::parse(&text).map_err(anyhow::Error::msg)?;
        let ids = &configuration.rootfs.diff_ids;
        if ids.len() != entry.layers.len() {
            bail!(
                "manifest.json has {} layers and the configuration {}",
                entry.layers.len(),
                ids.len()
            );
        }
        let mut size = 0;
        for (id, name) in ids.iter().zip(&entry.layers) {
            let (part, length) = source.part(name)?;
            size += length;
            layers.add(id, None, length, part)?;
        }
        let tags = entry.repo_tags.unwrap_or_default();
        images.push((digest(&text), image(&text, names(&tags)?, size)?));
    }
    Ok(images)
}

fn oci(source: &Source, layers: &Layers) -> Result<Vec<(String, Image)>> {
    let text = source.document("index.json")?;
    let Manifest::Index(entries) = Manifest::parse(&text).map_err(anyhow::Error::msg)? else {
        bail!("index.json is not an index");
    };
    let mut images = Vec::new();
    for entry in &entries {
        let named = [
            "io.containerd.image.name",
            "org.opencontainers.image.ref.name",
        ]
        .into_iter()
        .find_map(|key| entry.annotations.get(key));
        // A bare tag (`1.25`) names no image.
        let names_image = named.filter(|name| name.contains(['/', ':']));
        let tags = names(&names_image.cloned().into_iter().collect::<Vec<_>>())?;
        if let Some((config, parts)) = resolve(source, entry, 0)? {
            let text = source.blob(&config)?;
            let configuration = Configuration::parse(&text).map_err(anyhow::Error::msg)?;
            let ids = &configuration.rootfs.diff_ids;
            if ids.len() != parts.len() {
                bail!(
                    "the manifest has {} layers and the configuration {}",
                    parts.len(),
                    ids.len()
                );
            }
            for (id, part) in ids.iter().zip(&parts) {
                let (stream, length) = source.part(&blob_name(&part.digest)?)?;
                layers.add(id, Some(&part.digest), length, stream)?;
            }
            let size = parts.iter().map(|part| part.size).sum();
            images.push((config.digest, image(&text, tags, size)?));
        }
    }
    Ok(images)
}

/// Follows an entry to the image for this machine; `None` when it has none.
fn resolve(
    source: &Source,
    entry: &Descriptor,
    depth: usize,
) -> Result<Option<(Descriptor, Vec<Descriptor>)>> {
    if depth > NESTING_MAX {
        bail!("indexes are nested too deeply");
    }
    match Manifest::parse(&source.blob(entry)?).map_err(anyhow::Error::msg)? {
        Manifest::Image { config, layers } => Ok(Some((config, layers))),
        Manifest::Index(entries) => match for_this_platform(&entries) {
            Some(entry) => resolve(source, entry, depth + 1),
            None => Ok(None),
        },
    }
}

fn image(configuration: &[u8], tags: Vec<String>, size_bytes: u64) -> Result<Image> {
    Ok(Image {
        tags,
        digests: Vec::new(),
        size_bytes,
        configuration: String::from_utf8(configuration.to_vec())
            .context("the configuration is not text")?,
        ..Image::default()
    })
}

fn names(tags: &[String]) -> Result<Vec<String>> {
    let parsed = tags
        .iter()
        .map(|tag| Reference::parse(tag).map_err(anyhow::Error::msg));
    parsed
        .filter_map(|reference| reference.map(|reference| reference.tagged()).transpose())
        .collect()
}

fn blob_name(digest: &str) -> Result<String> {
    if !is_digest(digest) {
        bail!("unsupported digest \"{digest}\"");
    }
    Ok(format!(
        "blobs/sha256/{}",
        digest.trim_start_matches("sha256:")
    ))
}

impl Source {
    fn open(path: &Path, temporary: &Path) -> Result<Source> {
        if path.is_dir() {
            return Ok(Source::Folder(path.to_owned()));
        }
        let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut head = [0u8; 2];
        let is_gzip = file.read(&mut head)? == 2 && head == [0x1f, 0x8b];
        file.seek(SeekFrom::Start(0))?;
        let file = if is_gzip {
            unzip(file, temporary)?
        } else {
            file
        };
        let members = contents(&file)?;
        Ok(Source::Archive { file, members })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Source::Folder(folder) => folder.join(name).is_file(),
            Source::Archive { members, .. } => members.contains_key(name),
        }
    }

    /// A stream of its own, so that parts can be read in any order.
    fn part(&self, name: &str) -> Result<(Box<dyn Read>, u64)> {
        match self {
            Source::Folder(folder) => {
                let is_plain = Path::new(name)
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                if !is_plain {
                    bail!("\"{name}\" is no name inside the layout");
                }
                let file = File::open(folder.join(name)).with_context(|| format!("open {name}"))?;
                let length = file.metadata()?.len();
                Ok((Box::new(file), length))
            }
            Source::Archive { file, members } => {
                let &(offset, length) = members
                    .get(name)
                    .with_context(|| format!("{name} is missing"))?;
                let slice = Slice {
                    file: file.try_clone()?,
                    offset,
                    left: length,
                };
                Ok((Box::new(slice), length))
            }
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let (part, length) = self.part(name)?;
        if length > DOCUMENT_BYTES_MAX {
            bail!("{name} has {length} bytes, more than {DOCUMENT_BYTES_MAX}");
        }
        let mut bytes = Vec::new();
        part.take(DOCUMENT_BYTES_MAX)
            .read_to_end(&mut bytes)
            .with_context(|| format!("read {name}"))?;
        Ok(bytes)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let bytes = self.document(&blob_name(&descriptor.digest)?)?;
        if digest(&bytes) != descriptor.digest {
            bail!("the content of {} has another digest", descriptor.digest);
        }
        Ok(bytes)
    }
}

/// Reads its part of a file by position: the file's own offset is shared by all clones.
struct Slice {
    file: File,
    offset: u64,
    left: u64,
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// An unnamed file: it is gone with its last descriptor, also after a crash.
fn unzip(file: File, temporary: &Path) -> Result<File> {
    fs::create_dir_all(temporary)?;
    let path = temporary.join(format!("unzipped-{}", std::process::id()));
    let mut plain = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    let mut stream = MultiGzDecoder::new(io::BufReader::new(file)).take(UNZIPPED_MAX);
    io::copy(&mut stream, &mut plain).context("unzip the archive")?;
    Ok(plain)
}

/// Where each member of the archive begins and how long it is. Links (older `docker save`) share their target's.
fn contents(file: &File) -> Result<HashMap<String, (u64, u64)>> {
    let mut reader = file.try_clone()?;
    reader.seek(SeekFrom::Start(0))?;
    let mut archive = tar::Archive::new(reader);
    let mut members = HashMap::new();
    let mut links = Vec::new();
    for entry in archive.entries_with_seek().context("read the archive")? {
        // The reader's own words quote whatever it found there.
        let entry = entry.ok().context("read the archive: is it a tar file?")?;
        let name = entry
            .path()?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        if members.len() + links.len() >= NAMES_MAX {
            bail!("the archive has more than {NAMES_MAX} names");
        }
        match entry.link_name()? {
            Some(target) => links.push((name, target.to_string_lossy().into_owned())),
            None => drop(members.insert(name, (entry.raw_file_position(), entry.size()))),
        }
    }
    for (name, target) in links {
        // `../<id>/layer.tar`, relative to the link's own folder, or a path from the root (hard links).
        let found = members
            .get(&target)
            .or_else(|| members.get(target.trim_start_matches("../")))
            .copied();
        if let Some(place) = found {
            members.insert(name, place);
        }
    }
    Ok(members)
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
