//! Manifests: what makes blobs an image. A tagged one that this machine can run is an image of the cluster before the
//! push is answered; a chart, a signature or a foreign platform is only kept.

use super::{
    Registry,
    answer::{self, Answer, DIGEST, Refusal, SUBJECT},
    route::Wanted,
    store::{MANIFEST_BYTES_MAX, Note, Part},
};
use crate::{
    runtime::image::{
        manifest::digest,
        reference::{Reference, is_digest},
    },
    task::Tasks,
};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use std::io;
use tracing::info;

/// Media types of layers that lie elsewhere.
const FOREIGN: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// What a manifest needs to be here before it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    blobs: Vec<String>,
    manifests: Vec<String>,
    subject: Option<String>,
    media_type: Option<String>,
}

fn needs(bytes: &[u8]) -> Result<Needs, String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if document["schemaVersion"] != 2 {
        return Err("schema version 2 is the only one known".to_owned());
    }
    let digest_of = |entry: &Value| match entry["digest"].as_str() {
        Some(text) if is_digest(text) => Ok(text.to_owned()),
        other => Err(format!("unsupported digest {other:?}")),
    };
    let list = |field: &str| document[field].as_array().into_iter().flatten();
    let is_foreign = |entry: &Value| {
        let media_type = entry["mediaType"].as_str();
        media_type.is_some_and(|text| FOREIGN.contains(&text))
    };
    let mut found = Needs {
        media_type: document["mediaType"].as_str().map(str::to_owned),
        ..Needs::default()
    };
    if document["config"].is_object() {
        found.blobs.push(digest_of(&document["config"])?);
    } else if !document["manifests"].is_array() {
        return Err("neither an image nor an index".to_owned());
    }
    for layer in list("layers").filter(|layer| !is_foreign(layer)) {
        found.blobs.push(digest_of(layer)?);
    }
    for entry in list("manifests") {
        found.manifests.push(digest_of(entry)?);
    }
    if document["subject"].is_object() {
        found.subject = Some(digest_of(&document["subject"])?);
    }
    Ok(found)
}

impl Registry {
    pub fn get_manifest(&self, name: &str, wanted: &Wanted, is_head: bool) -> Answer {
        let store = &self.0.store;
        let digest = match wanted {
            Wanted::Digest(digest) => digest.clone(),
            Wanted::Tag(tag) => store.tag(name, tag).map_err(|_| self.unknown(name))?,
        };
        let (bytes, note) = store
            .manifest(name, &digest)
            .map_err(|_| self.unknown(name))?;
        let length = bytes.len().to_string();
        let mut response = if is_head {
            answer::empty(StatusCode::OK)
        } else {
            answer::full(StatusCode::OK, bytes.into())
        };
        for (name, value) in [
            (header::CONTENT_TYPE, note.media_type.as_str()),
            (header::CONTENT_LENGTH, &length),
            (DIGEST, &digest),
        ] {
            answer::set(&mut response, name, value);
        }
        Ok(response)
    }

    fn unknown(&self, name: &str) -> Refusal {
        if self.0.store.has_repository(name) {
            Refusal::manifest_unknown()
        } else {
            Refusal::name_unknown()
        }
    }

    pub async fn put_manifest(
        &self,
        name: &str,
        wanted: &Wanted,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Answer {
        let limit = usize::try_from(MANIFEST_BYTES_MAX).unwrap_or(usize::MAX);
        let body = Limited::new(body, limit).collect().await.map_err(|_| {
            Refusal::too_large("MANIFEST_INVALID", "manifest payload size limit exceeded")
        })?;
        let bytes = body.to_bytes();
        let id = digest(&bytes);
        if matches!(wanted, Wanted::Digest(digest) if *digest != id) {
            return Err(Refusal::digest_invalid());
        }
        let needs = needs(&bytes).map_err(Refusal::manifest_invalid)?;
        let media_type = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .or(needs.media_type.as_deref())
            .unwrap_or("application/vnd.oci.image.manifest.v1+json");
        let note = Note {
            media_type: media_type.to_owned(),
        };
        self.refuse_gaps(name, &needs)?;
        let (registry, name_too, wanted_too) = (self.clone(), name.to_owned(), wanted.clone());
        let stored =
            Tasks::blocking(move || registry.store_manifest(&name_too, &wanted_too, &bytes, &note));
        stored
            .await
            .map_err(|error| Refusal::disk(&io::Error::other(error)))??;
        let mut response = answer::empty(StatusCode::CREATED);
        let location = format!("/v2/{name}/manifests/{id}");
        answer::set(&mut response, header::LOCATION, &location);
        answer::set(&mut response, DIGEST, &id);
        if let Some(subject) = needs.subject {
            answer::set(&mut response, SUBJECT, &subject);
        }
        Ok(response)
    }

    fn refuse_gaps(&self, name: &str, needs: &Needs) -> Result<(), Refusal> {
        let store = &self.0.store;
        let blob = needs.blobs.iter().find(|id| !store.has_blob(name, id));
        let manifest = needs
            .manifests
            .iter()
            .find(|id| store.manifest(name, id).is_err());
        match blob.or(manifest) {
            None => Ok(()),
            Some(missing) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "MANIFEST_BLOB_UNKNOWN",
                format!("blob unknown to registry: {missing}"),
            )),
        }
    }

    /// The tag comes last: until then nobody sees the new manifest, and the image is in the cluster before.
    fn store_manifest(
        &self,
        name: &str,
        wanted: &Wanted,
        bytes: &[u8],
        note: &Note,
    ) -> Result<(), Refusal> {
        let store = &self.0.store;
        let id = store.put_manifest(name, bytes, note)?;
        let Wanted::Tag(tag) = wanted else {
            return Ok(());
        };
        let reference = Reference {
            domain: self.0.domain.clone(),
            path: name.to_owned(),
            tag: Some(tag.clone()),
            digest: None,
        };
        let open = |digest: &str| store.blob_path(digest);
        let adopted = self.0.images.adopt(&reference, bytes, &open);
        let adopted = adopted.map_err(|error| Refusal::manifest_invalid(format!("{error:#}")))?;
        if let Some(image) = adopted {
            info!(image = %reference, id = %image.id, "pushed");
        }
        store.put_tag(name, tag, &id)?;
        Ok(())
    }

    /// By tag only the tag goes; by digest the manifest with every tag of it.
    pub fn delete_manifest(&self, name: &str, wanted: &Wanted) -> Answer {
        let store = &self.0.store;
        match wanted {
            Wanted::Tag(tag) => store
                .remove(name, Part::Tags, tag)
                .map_err(|_| self.unknown(name))?,
            Wanted::Digest(digest) => {
                store
                    .remove(name, Part::Manifests, digest)
                    .map_err(|_| self.unknown(name))?;
                for tag in store.entries(name, Part::Tags)? {
                    if store.tag(name, &tag).is_ok_and(|found| found == *digest) {
                        let _ = store.remove(name, Part::Tags, &tag);
                    }
                }
            }
        }
        Ok(answer::empty(StatusCode::ACCEPTED))
    }
}

/// Digests that a manifest leads to: blobs, then manifests. Nothing for what cannot be read.
pub fn leads_to(bytes: &[u8]) -> (Vec<String>, Vec<String>, Option<String>) {
    let needs = needs(bytes).unwrap_or_default();
    (needs.blobs, needs.manifests, needs.subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn a_manifest_names_what_it_needs() {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"m","config":{{"digest":"{}"}},
                "layers":[{{"digest":"{}"}},{{"digest":"x","mediaType":"{}"}}],"subject":{{"digest":"{}"}}}}"#,
            id("a"),
            id("b"),
            FOREIGN[0],
            id("c")
        );
        let expected = Needs {
            blobs: vec![id("a"), id("b")],
            manifests: vec![],
            subject: Some(id("c")),
            media_type: Some("m".into()),
        };
        assert_eq!(needs(text.as_bytes()), Ok(expected));
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}"}}]}}"#,
            id("d")
        );
        assert_eq!(needs(index.as_bytes()).unwrap().manifests, [id("d")]);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for odd in [
            "",
            "[]",
            "{}",
            r#"{"schemaVersion":1,"manifests":[]}"#,
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":2,"config":{"digest":"../../etc"}}"#,
            r#"{"schemaVersion":2,"manifests":[{}]}"#,
        ] {
            assert!(needs(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
