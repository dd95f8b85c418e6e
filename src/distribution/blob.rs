//! Blobs: pulled whole or in part, pushed at once, in chunks, or mounted from another repository.

use super::{
    Registry,
    answer::{self, Answer, DIGEST, Refusal, UPLOAD},
    range::{self, Asked},
    upload::Upload,
};
use crate::{
    runtime::image::reference::{is_digest, is_repository},
    task::Tasks,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use std::{io, sync::Arc};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, SeekFrom},
};

const READ_BYTES: usize = 256 << 10;

/// The parameters of a request for an upload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    pub digest: Option<String>,
    pub mount: Option<String>,
    pub from: Option<String>,
}

impl Parameters {
    pub fn parse(query: Option<&str>) -> Parameters {
        let mut found = Parameters::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match key.as_ref() {
                "digest" => found.digest = Some(value.into_owned()),
                "mount" => found.mount = Some(value.into_owned()),
                "from" => found.from = Some(value.into_owned()),
                _ => {}
            }
        }
        found
    }
}

impl Registry {
    pub async fn get_blob(
        &self,
        name: &str,
        digest: &str,
        headers: &HeaderMap,
        is_head: bool,
    ) -> Answer {
        let found = self.0.store.open_blob(name, digest);
        let (file, size) = found.map_err(|_| Refusal::blob_unknown())?;
        let text = headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok());
        let asked = range::asked(text.filter(|_| !is_head), size);
        let (status, first, length) = match asked {
            Asked::All => (StatusCode::OK, 0, size),
            Asked::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Asked::Unsatisfiable => {
                let refusal = Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "RANGE_INVALID",
                    "invalid content range",
                );
                let mut response = refusal.into_response();
                answer::set(
                    &mut response,
                    header::CONTENT_RANGE,
                    &format!("bytes */{size}"),
                );
                return Ok(response);
            }
        };
        let mut response = if is_head {
            answer::empty(status)
        } else {
            let mut file = File::from_std(file);
            file.seek(SeekFrom::Start(first)).await?;
            answer::respond(status, StreamBody::new(pieces(file, length)).boxed_unsync())
        };
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {first}-{}/{size}", first + length - 1);
            answer::set(&mut response, header::CONTENT_RANGE, &range);
        }
        for (name, value) in [
            (header::CONTENT_LENGTH, length.to_string().as_str()),
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::ACCEPT_RANGES, "bytes"),
            (DIGEST, digest),
        ] {
            answer::set(&mut response, name, value);
        }
        Ok(response)
    }

    pub fn delete_blob(&self, name: &str, digest: &str) -> Answer {
        let part = super::store::Part::Layers;
        let removed = self.0.store.remove(name, part, digest);
        removed.map_err(|_| Refusal::blob_unknown())?;
        Ok(answer::empty(StatusCode::ACCEPTED))
    }

    /// Begins an upload; with `digest` the body is the whole blob, with `mount` it may not be needed at all.
    pub async fn begin_upload(&self, name: &str, parameters: Parameters, body: Incoming) -> Answer {
        if let Some(digest) = parameters.mount.filter(|text| is_digest(text)) {
            let from = parameters.from.filter(|text| is_repository(text));
            let is_here = from.is_some_and(|from| self.0.store.has_blob(&from, &digest));
            if is_here {
                self.0.store.link_blob(name, &digest)?;
                return Ok(created(name, &digest));
            }
        }
        let upload = self.0.uploads.begin(name)?;
        if let Some(digest) = parameters.digest {
            upload.append(body).await?;
            return self.complete(&upload, &digest).await;
        }
        Ok(standing(&upload, StatusCode::ACCEPTED))
    }

    pub fn look_at_upload(&self, name: &str, id: &str) -> Answer {
        let upload = self.0.uploads.find(name, id)?;
        Ok(standing(&upload, StatusCode::NO_CONTENT))
    }

    pub fn cancel_upload(&self, name: &str, id: &str) -> Answer {
        let upload = self.0.uploads.find(name, id)?;
        self.0.uploads.forget(&upload.id);
        Ok(answer::empty(StatusCode::NO_CONTENT))
    }

    pub async fn continue_upload(
        &self,
        name: &str,
        id: &str,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Answer {
        let upload = self.0.uploads.find(name, id)?;
        in_order(&upload, headers)?;
        upload.append(body).await?;
        Ok(standing(&upload, StatusCode::ACCEPTED))
    }

    pub async fn finish_upload(
        &self,
        name: &str,
        id: &str,
        headers: &HeaderMap,
        parameters: Parameters,
        body: Incoming,
    ) -> Answer {
        let upload = self.0.uploads.find(name, id)?;
        let digest = parameters.digest.ok_or_else(Refusal::digest_invalid)?;
        in_order(&upload, headers)?;
        upload.append(body).await?;
        self.complete(&upload, &digest).await
    }

    async fn complete(&self, upload: &Arc<Upload>, digest: &str) -> Answer {
        self.0.uploads.forget(&upload.id);
        let (store, taken, wanted) = (self.0.store.clone(), Arc::clone(upload), digest.to_owned());
        let adopted = Tasks::blocking(move || {
            let (path, found) = taken.finish()?;
            if found != wanted {
                return Err(Refusal::digest_invalid());
            }
            Ok(store.adopt_blob(&taken.name, &found, &path)?)
        });
        adopted
            .await
            .map_err(|error| Refusal::disk(&io::Error::other(error)))??;
        Ok(created(&upload.name, digest))
    }
}

/// A chunk that says where it belongs must belong where the last one ended.
fn in_order(upload: &Upload, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else {
        return Ok(());
    };
    let done = upload.size();
    match value.to_str().ok().and_then(range::chunk) {
        Some((first, _)) if first == done => Ok(()),
        _ => Err(Refusal::out_of_order(done)),
    }
}

fn created(name: &str, digest: &str) -> http::Response<answer::Body> {
    let mut response = answer::empty(StatusCode::CREATED);
    answer::set(
        &mut response,
        header::LOCATION,
        &format!("/v2/{name}/blobs/{digest}"),
    );
    answer::set(&mut response, DIGEST, digest);
    response
}

fn standing(upload: &Upload, status: StatusCode) -> http::Response<answer::Body> {
    let mut response = answer::empty(status);
    let location = format!("/v2/{}/blobs/uploads/{}", upload.name, upload.id);
    answer::set(&mut response, header::LOCATION, &location);
    answer::set(
        &mut response,
        header::RANGE,
        &range::received(upload.size()),
    );
    answer::set(&mut response, UPLOAD, &upload.id);
    response
}

/// `length` bytes of a file, piece by piece.
fn pieces(file: File, length: u64) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> {
    stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let wanted = READ_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut piece = BytesMut::with_capacity(wanted);
        let count = (&mut file).take(left).read_buf(&mut piece).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((
            Frame::data(piece.freeze()),
            (file, left - count as u64),
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let found = Parameters::parse(Some("digest=sha256%3Aab&from=a%2Fb&x=1&mount=m"));
        let expected = Parameters {
            digest: Some("sha256:ab".into()),
            mount: Some("m".into()),
            from: Some("a/b".into()),
        };
        assert_eq!(found, expected);
        assert_eq!(Parameters::parse(None), Parameters::default());
    }
}
