//! Patches: what a client wants changed, applied to a document (API chapter 2.11).
//!
//! Pure and bounded: a JSON patch has at most [`OPERATIONS_MAX`] operations and copies at most [`COPY_BYTES_MAX`]; the
//! others take time and memory in proportion to document and patch. What the result means (defaults, types, admission)
//! is judged by the caller.

pub mod apply;
mod json;
mod merge;
mod order;
mod strategic;

pub use json::{apply as json, unknown_fields as json_unknown_fields};
pub use merge::apply as merge;
pub use strategic::apply as strategic;

use super::ApiError;
use super::error::Details;

pub const OPERATIONS_MAX: usize = 10_000;
pub const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Why a patch could not be applied. Texts are upstream's where they reach people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The text is not a patch of its kind.
    #[error("{0}")]
    Malformed(String),
    /// It is one, but does not fit the document.
    #[error("{0}")]
    Rejected(String),
    #[error("{0}")]
    TooLarge(String),
    /// Upstream answers 500 here: a list item without the key that identifies it, an unknown directive.
    #[error("{0}")]
    Unmergeable(String),
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> ApiError {
        match error {
            PatchError::Malformed(text) => ApiError::bad_request(text),
            PatchError::Rejected(_) => {
                let message = "the server rejected our request due to an error in our request";
                ApiError::new(422, "Invalid", message).with_details(Details::default())
            }
            PatchError::TooLarge(text) => ApiError::new(413, "RequestEntityTooLarge", text),
            PatchError::Unmergeable(text) => ApiError::new(500, "", text),
        }
    }
}

#[cfg(test)]
mod tests;
