//! Documents in Kubernetes' protobuf encoding (API chapter 6).
//!
//! Table-driven: `assets/proto.tsv` holds the field numbers of every message, so no code is generated. Decoding gives
//! the document upstream's JSON would show; encoding writes the fields the document has, which every decoder accepts.
//! Nesting is bounded by [`DEPTH_MAX`]; memory stays in proportion to the input. No input panics.

mod decode;
mod encode;
mod special;
mod table;
pub(super) mod wire;

pub use encode::{encode, watch_event};

use super::name::split_api_version;
use serde_json::Value;
use table::Message;

/// Every encoded document starts with this.
pub const MAGIC: &[u8] = b"k8s\0";
pub const DEPTH_MAX: usize = 100;

/// Why bytes are no document, or a document has no encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoMagic,
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind { api_version: String, kind: String },
    #[error("proto: {0}")]
    Malformed(&'static str),
    /// The document does not have the types its kind wants.
    #[error("cannot encode {0}")]
    Unencodable(String),
}

/// Reads an enveloped document. `expected` (apiVersion and kind) stands in when the envelope does not name its type.
pub fn decode(bytes: &[u8], expected: Option<(&str, &str)>) -> Result<Value, ProtobufError> {
    let body = bytes.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    decode::envelope(body, expected, 0)
}

/// Whether documents of this type can be encoded: all built-in ones, never custom resources.
pub fn is_known(api_version: &str, kind: &str) -> bool {
    message(api_version, kind).is_some()
}

/// Groups whose package is not simply named after them.
const PACKAGES: &[(&str, &str)] = &[
    ("", "k8s.io.api.core"),
    (
        "apiextensions.k8s.io",
        "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    ),
    (
        "apiregistration.k8s.io",
        "k8s.io.kube_aggregator.pkg.apis.apiregistration",
    ),
    ("meta.k8s.io", META),
    ("metrics.k8s.io", "k8s.io.metrics.pkg.apis.metrics"),
];
const META: &str = "k8s.io.apimachinery.pkg.apis.meta";

/// `DeleteOptions`, `Status` and their like belong to every group, but live in meta/v1.
fn message(api_version: &str, kind: &str) -> Option<&'static Message> {
    let (group, version) = split_api_version(api_version);
    let own = match PACKAGES.iter().find(|(name, _)| *name == group) {
        Some((_, package)) => format!("{package}.{version}.{kind}"),
        None => {
            let short = group.split('.').next().unwrap_or_default();
            format!("k8s.io.api.{short}.{version}.{kind}")
        }
    };
    // A custom group may begin like a built-in one.
    let is_built_in = !group.contains('.') || group.ends_with(".k8s.io");
    let found = is_built_in.then(|| table::lookup(&own)).flatten();
    found.or_else(|| {
        let is_common = COMMON.contains(&kind) && is_built_in;
        is_common
            .then(|| table::lookup(&format!("{META}.v1.{kind}")))
            .flatten()
    })
}

const COMMON: &[&str] = &[
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "Status",
    "UpdateOptions",
    "WatchEvent",
];

#[cfg(test)]
mod tests;
