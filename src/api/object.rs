//! What our own code may assume of a typed object. Documents from clients stay JSON (`serde_json::Value`).

use super::name::{Gvr, Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{borrow::Cow, fmt::Debug};

/// A kind of `k8s-openapi` with ordinary metadata: what controllers, scheduler and node agent read and write.
pub trait Object:
    k8s_openapi::Resource
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
    fn key(&self) -> Key {
        let meta = self.metadata();
        Key::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }

    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    /// The revision of the last write; zero for an object that was never stored.
    fn revision(&self) -> u64 {
        let text = self.metadata().resource_version.as_deref();
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    fn is_deleting(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    fn gvr() -> Gvr {
        Gvr {
            group: Cow::Borrowed(Self::GROUP),
            version: Cow::Borrowed(Self::VERSION),
            resource: Cow::Borrowed(Self::URL_PATH_SEGMENT),
        }
    }
}

impl<T> Object for T where
    T: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// A typed object out of a document. It is read from its text: reading from the tree would put a second reader of
/// every kind into the program.
pub fn typed<T: DeserializeOwned>(document: &Value) -> serde_json::Result<T> {
    serde_json::from_slice(&serde_json::to_vec(document)?)
}
