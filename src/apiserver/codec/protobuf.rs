//! Protobuf bodies; the transcoder is `api::protobuf`.

use crate::{
    api::{ApiError, call::Document, protobuf},
    kinds::Kind,
};
use serde_json::Value;

pub const MEDIA: &str = "application/vnd.kubernetes.protobuf";
pub const MEDIA_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Whether replies about the kind have this encoding.
pub fn is_offered(kind: &Kind) -> bool {
    protobuf::is_known(&kind.group_version(), kind.name)
}

/// A request's body. Its envelope names its type; `kind` stands in.
pub fn decode(bytes: &[u8], kind: &Kind) -> Result<Document, ApiError> {
    let group_version = kind.group_version();
    let value = protobuf::decode(bytes, Some((&group_version, kind.name)))
        .map_err(|why| ApiError::bad_request(why.to_string()))?;
    Ok(Document {
        value,
        duplicates: Vec::new(),
    })
}

/// `None` when the document's type has no encoding: it is sent as JSON then, which every client reads.
pub fn encode(document: &Value) -> Option<Vec<u8>> {
    protobuf::encode(document).ok()
}

/// One frame of a watch.
pub fn event(kind: &str, object: &Value) -> Result<Vec<u8>, ApiError> {
    protobuf::watch_event(kind, object).map_err(ApiError::internal)
}
