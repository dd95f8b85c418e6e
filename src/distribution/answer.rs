//! Answers: bodies, headers, and refusals in the specification's words.

use super::route::NoRoute;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use std::io;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Answer = Result<Response<Body>, Refusal>;

pub const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Why a request is refused.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Where an upload stands, for clients that want to go on.
    range: Option<String>,
}

macro_rules! refusals {
    ($($name:ident $status:ident $code:literal $message:literal,)*) => {
        $(pub fn $name() -> Refusal {
            Refusal::new(StatusCode::$status, $code, $message)
        })*
    };
}

impl Refusal {
    // The words are those of the reference implementation: clients show them.
    refusals! {
        blob_unknown NOT_FOUND "BLOB_UNKNOWN" "blob unknown to registry",
        upload_unknown NOT_FOUND "BLOB_UPLOAD_UNKNOWN" "blob upload unknown to registry",
        manifest_unknown NOT_FOUND "MANIFEST_UNKNOWN" "manifest unknown",
        name_unknown NOT_FOUND "NAME_UNKNOWN" "repository name not known to registry",
        digest_invalid BAD_REQUEST "DIGEST_INVALID" "provided digest did not match uploaded content",
        size_invalid BAD_REQUEST "SIZE_INVALID" "provided length did not match content length",
        unsupported METHOD_NOT_ALLOWED "UNSUPPORTED" "The operation is unsupported.",
        busy TOO_MANY_REQUESTS "TOOMANYREQUESTS" "too many requests",
    }

    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code,
            message: message.into(),
            range: None,
        }
    }

    pub fn manifest_invalid(why: impl std::fmt::Display) -> Refusal {
        let message = format!("manifest invalid: {why}");
        Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    pub fn too_large(code: &'static str, why: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code, why)
    }

    /// A chunk that does not begin where the last one ended.
    pub fn out_of_order(done: u64) -> Refusal {
        let mut refusal = Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "RANGE_INVALID",
            "invalid content range",
        );
        refusal.range = Some(super::range::received(done));
        refusal
    }

    pub fn disk(error: &io::Error) -> Refusal {
        let (status, message) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
                StatusCode::INSUFFICIENT_STORAGE,
                "the disk of the cluster is full".to_owned(),
            ),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        Refusal::new(status, "UNKNOWN", message)
    }

    pub fn into_response(self) -> Response<Body> {
        let document =
            json!({ "errors": [{ "code": self.code, "message": self.message, "detail": null }] });
        let mut response = json_answer(self.status, &document);
        if let Some(range) = self.range {
            set(&mut response, header::RANGE, &range);
        }
        response
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::disk(&error)
    }
}

impl From<NoRoute> for Refusal {
    fn from(no: NoRoute) -> Refusal {
        match no {
            NoRoute::Unknown => Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such path"),
            NoRoute::Name => Refusal::new(
                StatusCode::BAD_REQUEST,
                "NAME_INVALID",
                "invalid repository name",
            ),
            NoRoute::Digest => Refusal::digest_invalid(),
            NoRoute::Tag => Refusal::new(
                StatusCode::BAD_REQUEST,
                "TAG_INVALID",
                "manifest tag did not match URI",
            ),
        }
    }
}

pub fn empty(status: StatusCode) -> Response<Body> {
    respond(
        status,
        Empty::new().map_err(|never| match never {}).boxed_unsync(),
    )
}

pub fn json_answer(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = full(status, document.to_string().into());
    set(&mut response, header::CONTENT_TYPE, "application/json");
    response
}

pub fn full(status: StatusCode, bytes: Bytes) -> Response<Body> {
    respond(
        status,
        Full::new(bytes)
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

pub fn respond(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, VERSION, "registry/2.0");
    response
}

/// Values are ours or were checked; one that no header can hold is left out.
pub fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
