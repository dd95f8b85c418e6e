//! Kubernetes vocabulary: names, documents, selectors, quantities, patches, schemas, errors.
//!
//! Pure: no I/O, no clock, no randomness. Everything here can be tested with a table.

pub mod autoscaler;
pub mod call;
pub mod cron;
pub mod decode;
pub mod duration;
pub mod error;
pub mod label;
pub mod name;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod placement;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod stream;
pub mod time;
pub mod usage;
pub mod yaml;

#[cfg(test)]
mod random;

pub use error::ApiError;
