//! Protobuf bodies; the transcoder is `api::protobuf`.

use crate::api::{ApiError, call::Document};

pub fn decode(_bytes: &[u8]) -> Result<Document, ApiError> {
    Err(ApiError::not_implemented("protobuf"))
}
