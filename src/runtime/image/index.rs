//! Which images are here: one JSON file, replaced as a whole, so that a crash leaves the old state or the new one.

use crate::runtime::model::ImageInfo;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    path::Path,
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// By id (digest of the configuration).
    pub images: BTreeMap<String, Image>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// `docker.io/library/nginx:1.25`.
    pub tags: Vec<String>,
    /// `docker.io/library/nginx@sha256:…`.
    pub digests: Vec<String>,
    /// Compressed where it came from a registry, as upstream counts it.
    pub size_bytes: u64,
    /// The configuration's text: small, and needed for every container.
    pub configuration: String,
    /// Marks of the credentials that it was pulled with; empty once it came openly.
    pub private_to: BTreeSet<String>,
}

impl Index {
    /// An index that is not there is empty.
    pub fn read(path: &Path) -> Result<Index> {
        match fs::read(path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Index::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// Adds an image under its names. A tag moves away from the image that had it; one that loses its last name is
    /// kept until it is removed, as it may be running.
    pub fn add(&mut self, id: &str, new: Image) {
        for tag in &new.tags {
            self.untag(tag);
        }
        let is_open = self
            .images
            .get(id)
            .is_some_and(|old| old.private_to.is_empty());
        let image = self.images.entry(id.to_owned()).or_default();
        if is_open || new.private_to.is_empty() {
            image.private_to.clear();
        } else {
            image.private_to.extend(new.private_to);
        }
        image.configuration = new.configuration;
        image.size_bytes = new.size_bytes;
        image.tags.extend(new.tags);
        for digest in new.digests {
            if !image.digests.contains(&digest) {
                image.digests.push(digest);
            }
        }
    }

    fn untag(&mut self, tag: &str) {
        for image in self.images.values_mut() {
            image.tags.retain(|own| own != tag);
        }
    }

    /// Takes a name away; the image goes with its last one. False when nothing has this name.
    pub fn remove(&mut self, id: &str, name: &str) -> bool {
        let Some(image) = self.images.get_mut(id) else {
            return false;
        };
        let is_id = !image
            .tags
            .iter()
            .chain(&image.digests)
            .any(|own| own == name);
        image.tags.retain(|own| own != name);
        image.digests.retain(|own| own != name);
        if is_id || image.tags.is_empty() {
            self.images.remove(id);
        }
        true
    }
}

impl Image {
    pub fn info(&self, id: &str) -> ImageInfo {
        let parsed = super::manifest::Configuration::parse(self.configuration.as_bytes());
        let config = parsed.unwrap_or_default().config;
        ImageInfo {
            id: id.to_owned(),
            tags: self.tags.clone(),
            digests: self.digests.clone(),
            size_bytes: self.size_bytes,
            user: config.user,
            stop_signal: config.stop_signal,
            private_to: self.private_to.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: &str) -> Image {
        Image {
            tags: vec![tag.to_owned()],
            ..Image::default()
        }
    }

    #[test]
    fn a_tag_belongs_to_one_image() {
        let mut index = Index::default();
        index.add("a", tagged("x:1"));
        index.add("b", tagged("x:1"));
        assert!(index.images["a"].tags.is_empty());
        assert_eq!(index.images["b"].tags, ["x:1"]);
    }

    #[test]
    fn an_image_goes_with_its_last_tag() {
        let mut index = Index::default();
        index.add("a", tagged("x:1"));
        index.add("a", tagged("x:2"));
        assert!(index.remove("a", "x:1") && index.images.contains_key("a"));
        assert!(index.remove("a", "x:2") && index.images.is_empty());
        assert!(!index.remove("a", "x:2"));
        index.add("a", tagged("x:1"));
        assert!(index.remove("a", "a") && index.images.is_empty());
    }

    #[test]
    fn what_came_openly_once_is_everybodys() {
        let pulled = |mark: &str| Image {
            private_to: [mark]
                .into_iter()
                .filter(|mark| !mark.is_empty())
                .map(str::to_owned)
                .collect(),
            ..Image::default()
        };
        let cases: [(&[&str], &[&str]); 4] = [
            (&["a", "b"], &["a", "b"]),
            (&["a", ""], &[]),
            (&["", "a"], &[]),
            (&["a", "", "b"], &[]),
        ];
        for (pulls, expected) in cases {
            let mut index = Index::default();
            for mark in pulls {
                index.add("i", pulled(mark));
            }
            let found: Vec<&str> = index.images["i"]
                .private_to
                .iter()
                .map(String::as_str)
                .collect();
            assert_eq!(found, expected, "{pulls:?}");
        }
    }

    #[test]
    fn the_file_survives_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.json");
        let mut index = Index::read(&path).unwrap();
        index.add("a", tagged("x:1"));
        index.write(&path).unwrap();
        assert_eq!(Index::read(&path).unwrap(), index);
    }
}
