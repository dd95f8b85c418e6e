//! Images: which are here, where they come from, what their containers need.
//!
//! An image is its configuration and a stack of unpacked layers; compressed blobs are not kept. Layers are shared by
//! all images and published by a rename, the index is replaced as a whole: a crash at any instant leaves images that
//! are complete or absent, and rubbish only in `tmp`, which is emptied at start.

mod adopt;
mod archive;
mod builtin;
mod export;
mod index;
mod layer;
pub mod manifest;
pub mod reference;
mod registry;
mod unpack;

use super::model::{ImageInfo, PullProgress, PullRequest, RuntimeError};
use anyhow::{Context, Result};
use index::{Image, Index};
use layer::{Layers, short};
use manifest::Configuration;
use reference::Reference;
pub use registry::{proxy::Proxies, trust::certificates};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::{RwLock, mpsc};

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Base addresses tried before the registry itself: `docker.io` → `http://127.0.0.1:5000`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts whose certificates are not verified and that may speak plain HTTP. Loopback always may.
    pub insecure: BTreeSet<String>,
    /// Certificates, as PEM, that are believed beside the host's own.
    pub authorities: Vec<String>,
    pub proxies: Proxies,
}

/// What a container takes from its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Directory names in `layers_dir`, the bottom layer first.
    pub layers: Vec<String>,
    pub layers_dir: PathBuf,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub stop_signal: String,
    /// Places that its programs write to, also where the rest is read only.
    pub volumes: Vec<String>,
}

impl ImageConfig {
    /// The folders of its layers, the bottom one first.
    #[must_use]
    pub fn layer_folders(&self) -> Vec<PathBuf> {
        let layers = self.layers.iter();
        layers.map(|layer| self.layers_dir.join(layer)).collect()
    }
}

/// The images of one cluster. Cheap to clone. Methods without `async` block on files.
#[derive(Clone)]
pub struct Images(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    layers: Layers,
    options: Options,
    index: Mutex<Index>,
    /// Held shared while layers arrive that no image in the index has yet, alone while unused ones are removed.
    arriving: RwLock<()>,
    /// Held while the built-in image is made: two pods may ask for it at the same moment.
    making: Mutex<()>,
}

impl Images {
    /// Opens the store in `folder`, removing what an interrupted import left.
    pub fn open(folder: &Path, options: Options) -> Result<Images> {
        let layers = Layers {
            folder: folder.join("layers"),
            temporary: folder.join("tmp"),
        };
        let _ = fs::remove_dir_all(&layers.temporary);
        fs::create_dir_all(&layers.folder)
            .with_context(|| format!("create {}", layers.folder.display()))?;
        let mut index = Index::read(&folder.join("index.json"))?;
        // A damaged layer folder must not look like an image that is here.
        index.images.retain(|_, image| {
            let parsed = Configuration::parse(image.configuration.as_bytes());
            parsed.is_ok_and(|parsed| parsed.rootfs.diff_ids.iter().all(|id| layers.has(id)))
        });
        Ok(Images(Arc::new(Inner {
            folder: folder.to_owned(),
            layers,
            options,
            index: Mutex::new(index),
            arriving: RwLock::default(),
            making: Mutex::default(),
        })))
    }

    /// The image that a reference or id (or at least 12 digits of one) stands for.
    pub fn find(&self, text: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        let id = self.id(text)?;
        let index = self.index();
        Ok(id.and_then(|id| index.images.get(&id).map(|image| image.info(&id))))
    }

    /// In the order of ids.
    #[must_use]
    pub fn list(&self) -> Vec<ImageInfo> {
        let index = self.index();
        index
            .images
            .iter()
            .map(|(id, image)| image.info(id))
            .collect()
    }

    pub fn config(&self, id: &str) -> Result<ImageConfig, RuntimeError> {
        let index = self.index();
        let image = index
            .images
            .get(id)
            .ok_or_else(|| RuntimeError::NotFound(format!("image {id}")))?;
        let parsed =
            Configuration::parse(image.configuration.as_bytes()).map_err(RuntimeError::Failed)?;
        Ok(ImageConfig {
            layers: stack(&parsed.rootfs.diff_ids),
            layers_dir: self.0.layers.folder.clone(),
            entrypoint: parsed.config.entrypoint,
            cmd: parsed.config.cmd,
            env: parsed.config.env,
            working_dir: parsed.config.working_dir,
            user: parsed.config.user,
            stop_signal: parsed.config.stop_signal,
            volumes: parsed.config.volumes.into_keys().collect(),
        })
    }

    /// Every image of an archive (`docker save`, OCI layout, each also gzipped) or of an OCI layout directory.
    pub fn import(&self, path: &Path) -> Result<Vec<ImageInfo>> {
        // Not waited for: this may not block on a task.
        let _arriving = self.0.arriving.try_read();
        let images = archive::import(path, &self.0.layers)
            .with_context(|| format!("load {}", path.display()))?;
        images
            .into_iter()
            .map(|(id, image)| self.add(&id, image))
            .collect()
    }

    /// An image that was pushed to us: its manifest, and where its blobs lie on this host. `None` when there is nothing
    /// in it that this machine could run. Must be called from a thread that may block.
    pub fn adopt(
        &self,
        reference: &Reference,
        manifest: &[u8],
        blob: &dyn Fn(&str) -> PathBuf,
    ) -> Result<Option<ImageInfo>> {
        let _arriving = self.0.arriving.blocking_read();
        let adopted = adopt::adopt(reference, manifest, blob, &self.0.layers)?;
        adopted.map(|(id, image)| self.add(&id, image)).transpose()
    }

    /// Writes images as one `docker save` archive, each under the name it was asked for. Ids change: layers are packed anew.
    pub fn export(&self, texts: &[&str], out: impl std::io::Write) -> Result<()> {
        let mut sources = Vec::new();
        for text in texts {
            let id = self
                .id(text)?
                .with_context(|| format!("image \"{text}\" is not here"))?;
            let config = self.config(&id)?;
            let index = self.index();
            let image = index
                .images
                .get(&id)
                .with_context(|| format!("image {id}"))?;
            sources.push(export::Source {
                tags: named_by(text, &image.tags),
                configuration: image.configuration.clone(),
                layers: config
                    .layers
                    .iter()
                    .map(|name| config.layers_dir.join(name))
                    .collect(),
            });
        }
        export::write(&sources, &self.0.layers, out)
    }

    /// Pulls from the registry of the reference, or a mirror of it.
    pub async fn pull(
        &self,
        request: PullRequest,
        progress: Option<mpsc::Sender<PullProgress>>,
    ) -> Result<ImageInfo, RuntimeError> {
        let reference =
            Reference::parse(&request.reference).map_err(RuntimeError::InvalidReference)?;
        // Nobody publishes it: `imagePullPolicy: Always`, the default for `latest`, must find it too.
        if builtin::is_builtin(&reference)
            && let Some(image) = self.find_blocking(&request.reference).await?
        {
            return Ok(image);
        }
        let _arriving = self.0.arriving.read().await;
        let pulled = registry::pull(
            &reference,
            &request.credentials,
            &self.0.options,
            &self.0.layers,
            progress,
        )
        .await;
        let (id, image) = pulled.map_err(|failure| failure.into_error(&reference))?;
        let images = self.clone();
        let added = tokio::task::spawn_blocking(move || images.add(&id, image)).await;
        added
            .map_err(|error| RuntimeError::Failed(error.to_string()))?
            .map_err(|error| RuntimeError::Failed(format!("{error:#}")))
    }

    async fn find_blocking(&self, text: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        let (images, text) = (self.clone(), text.to_owned());
        let found = tokio::task::spawn_blocking(move || images.find(&text)).await;
        found.map_err(|error| RuntimeError::Failed(error.to_string()))?
    }

    /// Gives an image a further name.
    pub fn tag(&self, text: &str, name: &str) -> Result<(), RuntimeError> {
        let reference = Reference::parse(name).map_err(RuntimeError::InvalidReference)?;
        let id = self
            .id(text)?
            .ok_or_else(|| RuntimeError::NotFound(format!("image \"{text}\"")))?;
        let mut index = self.index();
        if let Some(mut image) = index.images.get(&id).cloned() {
            image.tags = reference.tagged().into_iter().collect();
            index.add(&id, image);
        }
        self.save(&index)
            .map_err(|error| RuntimeError::Failed(format!("{error:#}")))
    }

    /// Takes a name away, and the image with its last one. Layers that no image has any more are removed.
    pub fn remove(&self, text: &str) -> Result<(), RuntimeError> {
        let missing = || RuntimeError::NotFound(format!("image \"{text}\""));
        let id = self.id(text)?.ok_or_else(missing)?;
        let mut index = self.index();
        let name = match Reference::parse(text) {
            Ok(reference) if text != id => match &reference.digest {
                Some(digest) => format!("{}@{digest}", reference.name()),
                None => reference.to_string(),
            },
            _ => id.clone(),
        };
        index.remove(&id, &name);
        let failed = |error: anyhow::Error| RuntimeError::Failed(format!("{error:#}"));
        self.save(&index).map_err(failed)?;
        self.sweep(&index).map_err(failed)
    }

    fn add(&self, id: &str, image: Image) -> Result<ImageInfo> {
        // The layers' data must be on disk before the index says that the image is here.
        if let Ok(folder) = fs::File::open(&self.0.layers.folder) {
            let _ = nix::unistd::syncfs(&folder);
        }
        let mut index = self.index();
        index.add(id, image);
        self.save(&index)?;
        Ok(index
            .images
            .get(id)
            .map(|image| image.info(id))
            .unwrap_or_default())
    }

    fn id(&self, text: &str) -> Result<Option<String>, RuntimeError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let looks_like_id = digits.len() >= 12 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if looks_like_id {
            let prefix = format!("sha256:{digits}");
            let found = self
                .index()
                .images
                .keys()
                .find(|id| id.starts_with(&prefix))
                .cloned();
            if found.is_some() || text.starts_with("sha256:") {
                return Ok(found);
            }
        }
        let reference = Reference::parse(text).map_err(RuntimeError::InvalidReference)?;
        if let Some(id) = self.named(&reference) {
            return Ok(Some(id));
        }
        if builtin::is_builtin(&reference) {
            let failed = |error: anyhow::Error| {
                RuntimeError::Failed(format!("make image {text}: {error:#}"))
            };
            let _alone = self.0.making.lock().expect("no panic while locked");
            if let Some(id) = self.named(&reference) {
                return Ok(Some(id));
            }
            let (id, image) = builtin::make(&reference, &self.0.layers).map_err(failed)?;
            self.add(&id, image).map_err(failed)?;
            return Ok(Some(id));
        }
        Ok(None)
    }

    fn named(&self, reference: &Reference) -> Option<String> {
        let index = self.index();
        let name = match &reference.digest {
            Some(digest) => format!("{}@{digest}", reference.name()),
            None => reference.tagged()?,
        };
        let has = |image: &Image| image.tags.contains(&name) || image.digests.contains(&name);
        index
            .images
            .iter()
            .find(|(_, image)| has(image))
            .map(|(id, _)| id.clone())
    }

    fn sweep(&self, index: &Index) -> Result<()> {
        let Ok(_alone) = self.0.arriving.try_write() else {
            // The next removal takes along what this one leaves.
            return Ok(());
        };
        let used: BTreeSet<String> = index
            .images
            .values()
            .filter_map(|image| Configuration::parse(image.configuration.as_bytes()).ok())
            .flat_map(|parsed| parsed.rootfs.diff_ids)
            .map(|id| short(&id).to_owned())
            .collect();
        for entry in fs::read_dir(&self.0.layers.folder)?.flatten() {
            if !used.contains(entry.file_name().to_string_lossy().as_ref()) {
                fs::remove_dir_all(entry.path())
                    .with_context(|| format!("remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }

    fn save(&self, index: &Index) -> Result<()> {
        index.write(&self.0.folder.join("index.json"))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().expect("no panic while locked")
    }
}

/// The directory names of layers, the bottom one first, each once: an overlay takes no directory twice, and what is
/// laid on top again hides all that it had further down.
fn stack(diff_ids: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let top_first = diff_ids.iter().rev().map(|id| short(id));
    let mut names: Vec<String> = top_first
        .filter(|name| seen.insert(*name))
        .map(str::to_owned)
        .collect();
    names.reverse();
    names
}

/// The tag that was asked for, or all of them when it was asked for by id or digest.
fn named_by(text: &str, tags: &[String]) -> Vec<String> {
    let asked = Reference::parse(text).ok().and_then(|one| one.tagged());
    match asked.filter(|tag| tags.contains(tag)) {
        Some(tag) => vec![tag],
        None => tags.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_image_is_made_when_asked_for() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(folder.path(), Options::default()).unwrap();
        assert!(images.list().is_empty());
        let info = images.find("kubik/hello").unwrap().unwrap();
        assert_eq!(info.tags, ["docker.io/kubik/hello:latest"]);
        let config = images.config(&info.id).unwrap();
        let program = config
            .layers_dir
            .join(&config.layers[0])
            .join("kubik-hello");
        assert!(program.metadata().unwrap().len() > 0);
        // It survives a restart and goes without a trace.
        let again = Images::open(folder.path(), Options::default()).unwrap();
        assert_eq!(again.list(), std::slice::from_ref(&info));
        again.remove("kubik/hello").unwrap();
        assert_eq!(fs::read_dir(&config.layers_dir).unwrap().count(), 0);
    }

    #[test]
    fn the_builtin_image_is_made_once_for_all_who_ask() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(folder.path(), Options::default()).unwrap();
        let ask = |images: Images| move || images.find("kubik/hello").unwrap().unwrap().id;
        let all: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(ask(images.clone())))
            .collect();
        let ids: BTreeSet<String> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(ids.len(), 1);
    }

    #[test]
    fn an_exported_image_can_be_imported() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(&folder.path().join("a"), Options::default()).unwrap();
        let first = images.find("kubik/hello").unwrap().unwrap();
        // What a layer can hold besides plain files.
        let config = images.config(&first.id).unwrap();
        let layer = config.layers_dir.join(&config.layers[0]);
        fs::create_dir(layer.join("d")).unwrap();
        fs::write(layer.join("d/file"), "text").unwrap();
        fs::hard_link(layer.join("d/file"), layer.join("d/link")).unwrap();
        std::os::unix::fs::symlink("file", layer.join("d/symlink")).unwrap();
        xattr::set(layer.join("d"), "trusted.overlay.opaque", b"y").unwrap();
        let node = |name: &str, kind, device| {
            let mode = nix::sys::stat::Mode::S_IRUSR;
            nix::sys::stat::mknod(&layer.join(name), kind, mode, device).unwrap();
        };
        node("d/gone", nix::sys::stat::SFlag::S_IFCHR, 0);
        let null = nix::sys::stat::makedev(1, 3);
        node("d/null", nix::sys::stat::SFlag::S_IFCHR, null);
        node("d/pipe", nix::sys::stat::SFlag::S_IFIFO, 0);
        let archive = folder.path().join("x.tar");
        images
            .export(&["kubik/hello"], fs::File::create(&archive).unwrap())
            .unwrap();
        let others = Images::open(&folder.path().join("b"), Options::default()).unwrap();
        let imported = others.import(&archive).unwrap();
        assert_eq!(imported[0].tags, first.tags);
        let config = others.config(&imported[0].id).unwrap();
        assert_eq!(config.entrypoint, ["/kubik-hello"]);
        let layer = config.layers_dir.join(&config.layers[0]);
        assert_eq!(fs::read_to_string(layer.join("d/link")).unwrap(), "text");
        assert_eq!(
            fs::read_link(layer.join("d/symlink")).unwrap(),
            Path::new("file")
        );
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(layer.join("d/file")).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(layer.join("d/gone")).unwrap().rdev(), 0);
        assert_eq!(fs::metadata(layer.join("d/null")).unwrap().rdev(), null);
        use std::os::unix::fs::FileTypeExt;
        assert!(
            fs::metadata(layer.join("d/pipe"))
                .unwrap()
                .file_type()
                .is_fifo()
        );
        assert!(
            xattr::get(layer.join("d"), "trusted.overlay.opaque")
                .unwrap()
                .is_some()
        );
        assert!(layer.join("kubik-hello").exists());
    }

    #[test]
    fn a_layer_that_comes_twice_lies_on_top() {
        let id = |c: &str| format!("sha256:{}", c.repeat(64));
        let ids: Vec<String> = ["a", "b", "c", "b", "d"].map(id).into();
        let names = stack(&ids);
        let first: Vec<&str> = names.iter().map(|name| &name[..1]).collect();
        assert_eq!(first, ["a", "c", "b", "d"]);
    }

    #[test]
    fn unknown_images_are_absent_and_bad_names_refused() {
        let folder = tempfile::tempdir().unwrap();
        let images = Images::open(folder.path(), Options::default()).unwrap();
        assert_eq!(images.find("nginx").unwrap(), None);
        assert!(matches!(
            images.find("NGINX"),
            Err(RuntimeError::InvalidReference(_))
        ));
        assert!(matches!(
            images.remove("nginx"),
            Err(RuntimeError::NotFound(_))
        ));
    }
}
