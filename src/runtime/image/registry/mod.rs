//! Pulling from registries (distribution specification 1.1): manifest, configuration, layers.

mod access;
mod challenge;
mod connection;
pub mod proxy;
pub mod trust;
mod verifier;

use super::{
    Options,
    index::Image,
    layer::Layers,
    manifest::{
        ACCEPT, Configuration, DOCUMENT_BYTES_MAX, Descriptor, Manifest, digest, for_this_platform,
    },
    reference::Reference,
};
use crate::runtime::model::{Credential, PullProgress, RuntimeError};
use access::{Access, Refusal};
use futures_util::{TryStreamExt, stream};
use std::io::{self, Read};
use tokio::sync::mpsc;

/// Layers downloaded at the same time, as upstream does.
const PARALLEL_LAYERS: usize = 3;
/// Chunks between the network and the unpacking thread.
const CHUNKS: usize = 8;
/// Downloads of one layer before it is given up; each goes on where the last one broke off.
const ATTEMPTS: u32 = 5;
const NESTING_MAX: usize = 4;
/// Of what a failed pull says.
const WHY_CHARS_MAX: usize = 1000;

/// Why a pull failed.
#[derive(Debug)]
pub enum Failure {
    /// The registry said no to the reference.
    Refused(String),
    Unreachable(String),
    /// What it sent is not what it should be.
    Broken(String),
}

impl Failure {
    /// The texts are the ones people search for.
    pub fn into_error(self, reference: &Reference) -> RuntimeError {
        let (Failure::Refused(why) | Failure::Unreachable(why) | Failure::Broken(why)) = &self;
        let why = printable(why);
        let head = format!("failed to pull and unpack image \"{reference}\"");
        let resolve = format!("{head}: failed to resolve reference \"{reference}\"");
        match self {
            Failure::Refused(_) => RuntimeError::PullRefused(format!("{resolve}: {why}")),
            Failure::Unreachable(_) => {
                RuntimeError::RegistryUnavailable(format!("{resolve}: {why}"))
            }
            Failure::Broken(_) => RuntimeError::Failed(format!("{head}: {why}")),
        }
    }
}

/// What strangers sent may be quoted in an error.
fn printable(text: &str) -> String {
    let shown = text.chars().take(WHY_CHARS_MAX);
    shown
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Fetches the image and unpacks its layers. Mirrors are tried first, each with every fitting credential.
pub async fn pull(
    reference: &Reference,
    credentials: &[Credential],
    options: &Options,
    layers: &Layers,
    progress: Option<mpsc::Sender<PullProgress>>,
) -> Result<(String, Image), Failure> {
    let mut failure = None;
    for access in access::candidates(reference, credentials, options) {
        match from(&access, reference, layers, progress.as_ref()).await {
            Ok(image) => return Ok(image),
            Err(failure @ Failure::Broken(_)) => return Err(failure),
            Err(other) => failure = Some(worse(failure, other)),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::Unreachable("no registry to ask".to_owned())))
}

/// The first refusal explains more than those of further attempts, and more than that nobody was there; of these the
/// last does: the registry itself is asked after its mirrors, and plainly after it did not speak TLS.
fn worse(first: Option<Failure>, second: Failure) -> Failure {
    match first {
        Some(first @ Failure::Refused(_)) => first,
        _ => second,
    }
}

async fn from(
    access: &Access,
    reference: &Reference,
    layers: &Layers,
    progress: Option<&mpsc::Sender<PullProgress>>,
) -> Result<(String, Image), Failure> {
    let (top, config, parts) = resolve(access, reference).await?;
    let text = document(access, reference, &format!("blobs/{}", config.digest)).await?;
    if digest(&text) != config.digest {
        return Err(Failure::Broken(format!(
            "the configuration is not {}",
            config.digest
        )));
    }
    let parsed = Configuration::parse(&text).map_err(Failure::Broken)?;
    let ids = &parsed.rootfs.diff_ids;
    if ids.len() != parts.len() {
        let why = format!(
            "the manifest has {} layers and the configuration {}",
            parts.len(),
            ids.len()
        );
        return Err(Failure::Broken(why));
    }
    stream::iter(ids.iter().zip(&parts).map(Ok))
        .try_for_each_concurrent(PARALLEL_LAYERS, |(id, part)| {
            layer(access, reference, layers, id, part, progress)
        })
        .await?;
    let image = Image {
        tags: reference.tagged().into_iter().collect(),
        digests: vec![format!("{}@{top}", reference.name())],
        size_bytes: parts.iter().map(|part| part.size).sum::<u64>() + config.size,
        configuration: String::from_utf8(text).map_err(|e| Failure::Broken(e.to_string()))?,
        private_to: access.used().into_iter().collect(),
    };
    Ok((config.digest, image))
}

/// From the reference to the manifest for this machine. Answers the digest of the outermost document as well.
async fn resolve(
    access: &Access,
    reference: &Reference,
) -> Result<(String, Descriptor, Vec<Descriptor>), Failure> {
    let mut wanted = reference.wanted().to_owned();
    let mut top = None;
    for _ in 0..NESTING_MAX {
        let bytes = document(access, reference, &format!("manifests/{wanted}")).await?;
        let found = digest(&bytes);
        if wanted.starts_with("sha256:") && found != wanted {
            return Err(Failure::Broken(format!("the manifest is not {wanted}")));
        }
        top.get_or_insert(found.clone());
        match Manifest::parse(&bytes).map_err(Failure::Broken)? {
            Manifest::Image { config, layers } => {
                return Ok((top.unwrap_or(found), config, layers));
            }
            Manifest::Index(entries) => match for_this_platform(&entries) {
                Some(entry) => wanted.clone_from(&entry.digest),
                None => {
                    let why = "no match for platform in manifest: not found";
                    return Err(Failure::Refused(why.to_owned()));
                }
            },
        }
    }
    Err(Failure::Broken("indexes are nested too deeply".to_owned()))
}

async fn document(access: &Access, reference: &Reference, part: &str) -> Result<Vec<u8>, Failure> {
    let response = access
        .get(part, ACCEPT, 0)
        .await
        .map_err(|refusal| failure(refusal, reference))?;
    let limit = usize::try_from(DOCUMENT_BYTES_MAX).unwrap_or(usize::MAX);
    let text = connection::text(response.into_body(), limit).await;
    text.map_err(|why| Failure::Unreachable(format!("read {part}: {why}")))
}

fn failure(refusal: Refusal, reference: &Reference) -> Failure {
    match refusal {
        Refusal::NotFound => Failure::Refused(format!("{reference}: not found")),
        Refusal::Denied(why) => Failure::Refused(format!(
            "pull access denied, repository does not exist or may require authorization: {why}"
        )),
        Refusal::Status(text) => Failure::Refused(text),
        Refusal::Unreachable(why) => Failure::Unreachable(why),
    }
}

/// Downloads and unpacks one layer, both at the same time.
async fn layer(
    access: &Access,
    reference: &Reference,
    layers: &Layers,
    id: &str,
    part: &Descriptor,
    progress: Option<&mpsc::Sender<PullProgress>>,
) -> Result<(), Failure> {
    if layers.has(id) {
        return Ok(());
    }
    let (tx, rx) = mpsc::channel(CHUNKS);
    let unpacking = tokio::task::spawn_blocking({
        let (layers, id, part) = (layers.clone(), id.to_owned(), part.clone());
        move || {
            let stream = Chunks {
                rx,
                chunk: bytes::Bytes::new(),
            };
            // One byte more than promised shows that the promise was broken.
            layers.add(
                &id,
                Some(&part.digest),
                part.size,
                stream.take(part.size.saturating_add(1)),
            )
        }
    });
    let downloaded = download(access, reference, part, &tx, progress).await;
    drop(tx);
    let unpacked = unpacking
        .await
        .map_err(|error| Failure::Broken(error.to_string()))?;
    downloaded?;
    unpacked.map_err(|error| Failure::Broken(format!("{error:#}")))
}

/// Sends the blob's bytes to `tx`, going on after broken connections.
async fn download(
    access: &Access,
    reference: &Reference,
    part: &Descriptor,
    tx: &mpsc::Sender<bytes::Bytes>,
    progress: Option<&mpsc::Sender<PullProgress>>,
) -> Result<(), Failure> {
    let mut done = 0u64;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let response = match access
            .get(&format!("blobs/{}", part.digest), "*/*", done)
            .await
        {
            Ok(response) => response,
            Err(Refusal::Unreachable(why)) => {
                last = why;
                continue;
            }
            Err(refusal) => return Err(failure(refusal, reference)),
        };
        // A server without ranges starts anew: skip what we have.
        let mut skip = if response.status() == http::StatusCode::PARTIAL_CONTENT {
            0
        } else {
            done
        };
        let mut body = response.into_body();
        loop {
            match connection::part(&mut body).await {
                Some(Ok(mut chunk)) => {
                    let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
                    skip -= skipped as u64;
                    let chunk = chunk.split_off(skipped);
                    done += chunk.len() as u64;
                    // The unpacking side has given up; it says why.
                    if tx.send(chunk).await.is_err() {
                        return Ok(());
                    }
                    report(progress, part, done);
                }
                Some(Err(why)) => {
                    last = why;
                    break;
                }
                None => {
                    last = format!("it ended after {done} of {} bytes", part.size);
                    break;
                }
            }
        }
        if done >= part.size {
            return Ok(());
        }
    }
    Err(Failure::Unreachable(format!(
        "download {}: {last}",
        part.digest
    )))
}

/// A full channel loses a report, never time.
fn report(progress: Option<&mpsc::Sender<PullProgress>>, part: &Descriptor, done_bytes: u64) {
    if let Some(progress) = progress {
        let _ = progress.try_send(PullProgress {
            layer: part.digest.clone(),
            done_bytes,
            total_bytes: part.size,
        });
    }
}

/// The receiving end as a blocking reader.
struct Chunks {
    rx: mpsc::Receiver<bytes::Bytes>,
    chunk: bytes::Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.rx.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_that_explains_most_is_told() {
        let refused = |why: &str| Failure::Refused(why.to_owned());
        let absent = |why: &str| Failure::Unreachable(why.to_owned());
        #[rustfmt::skip]
        let cases = [
            (vec![refused("a"), refused("b")], "a"),
            (vec![absent("tls"), refused("not found")], "not found"),
            (vec![refused("denied"), absent("offline")], "denied"),
            (vec![absent("mirror"), absent("registry")], "registry"),
        ];
        for (failures, expected) in cases {
            let text = format!("{failures:?}");
            let told = failures
                .into_iter()
                .fold(None, |told, one| Some(worse(told, one)));
            let (Failure::Refused(why) | Failure::Unreachable(why) | Failure::Broken(why)) =
                told.unwrap();
            assert_eq!(why, expected, "{text}");
        }
    }

    #[test]
    fn strangers_bytes_do_not_reach_terminals() {
        let text = printable(&format!("a\u{1b}[2Jb\n{}", "x".repeat(5000)));
        assert!(
            text.starts_with("a\u{fffd}[2Jb\u{fffd}x") && text.chars().count() == WHY_CHARS_MAX
        );
    }
}
