//! OpenAPI documents over HTTP; their content is `api::openapi`.

use super::listen::answer::Answer;
use crate::api::ApiError;
use http::request::Parts;

#[derive(Default)]
pub struct OpenApi {}

impl OpenApi {
    /// `None` when the path is none of ours.
    pub async fn answer(&self, parts: &Parts) -> Result<Option<Answer>, ApiError> {
        if !parts.uri.path().starts_with("/openapi/") {
            return Ok(None);
        }
        Err(ApiError::not_implemented("OpenAPI"))
    }
}
