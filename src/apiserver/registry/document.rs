//! An object as it is stored: its final JSON, and the index beside it.
//!
//! A write is serialized once, with a gap for the resource version that only the store knows. Lists and watches hand
//! out these bytes; what they select by stands in the [`Index`], so that reading never parses.

use crate::{
    api::selector::{Labels, selectable},
    kinds,
    kinds::Kind,
    store::Note,
};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

/// What the server knows of an entry without parsing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the storage kind's `selectable_fields`, in their order.
    pub fields: Box<[Box<str>]>,
    pub uid: Box<str>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub is_deleting: bool,
    /// Where the digits of the resource version begin in the bytes.
    pub revision_at: u32,
}

/// A serialized object without its resource version.
pub struct Template {
    bytes: Vec<u8>,
    at: usize,
}

impl Template {
    /// `document` must be an object with `metadata`; a resource version in it is left out.
    pub fn new(document: &Value) -> Template {
        let mut bytes = Vec::with_capacity(1024);
        let mut at = 0;
        let empty = Map::new();
        bytes.push(b'{');
        for (i, (key, value)) in document.as_object().unwrap_or(&empty).iter().enumerate() {
            if i > 0 {
                bytes.push(b',');
            }
            put(&mut bytes, key);
            bytes.push(b':');
            match value.as_object().filter(|_| key == "metadata") {
                Some(meta) => at = put_metadata(&mut bytes, meta),
                None => put(&mut bytes, value),
            }
        }
        bytes.push(b'}');
        Template { bytes, at }
    }

    pub fn revision_at(&self) -> u32 {
        u32::try_from(self.at).expect("a body is smaller than 4 GiB")
    }

    pub fn stamped(&self, revision: u64) -> Bytes {
        let digits = revision.to_string();
        let mut whole = Vec::with_capacity(self.bytes.len() + digits.len());
        whole.extend_from_slice(&self.bytes[..self.at]);
        whole.extend_from_slice(digits.as_bytes());
        whole.extend_from_slice(&self.bytes[self.at..]);
        whole.into()
    }
}

fn put<T: serde::Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(bytes, value).expect("JSON values serialize");
}

/// Returns where the resource version belongs.
fn put_metadata(bytes: &mut Vec<u8>, meta: &Map<String, Value>) -> usize {
    const FIELD: &str = "resourceVersion";
    let mut at = 0;
    let mut separator: &[u8] = b"{";
    let put_gap = |bytes: &mut Vec<u8>, separator: &[u8]| {
        bytes.extend_from_slice(separator);
        bytes.extend_from_slice(b"\"resourceVersion\":\"");
        let at = bytes.len();
        bytes.push(b'"');
        at
    };
    for (key, value) in meta.iter().filter(|(key, _)| key.as_str() != FIELD) {
        if at == 0 && key.as_str() > FIELD {
            at = put_gap(bytes, separator);
            separator = b",";
        }
        bytes.extend_from_slice(separator);
        separator = b",";
        put(bytes, key);
        bytes.push(b':');
        put(bytes, value);
    }
    if at == 0 {
        at = put_gap(bytes, separator);
    }
    bytes.push(b'}');
    at
}

/// The stored bytes with another resource version, as events of a deletion carry it.
pub fn restamped(bytes: &Bytes, index: &Index, revision: u64) -> Bytes {
    let at = index.revision_at as usize;
    let digits = bytes[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let text = revision.to_string();
    let mut whole = Vec::with_capacity(bytes.len() + text.len());
    whole.extend_from_slice(&bytes[..at]);
    whole.extend_from_slice(text.as_bytes());
    whole.extend_from_slice(&bytes[at + digits..]);
    whole.into()
}

impl Labels for Index {
    fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(own, _)| (**own).cmp(key));
        at.ok().map(|at| &*self.labels[at].1)
    }
}

impl Index {
    pub fn of(document: &Value, kind: &Kind, revision_at: u32) -> Index {
        let meta = &document["metadata"];
        let labels = meta["labels"].as_object().map(|labels| {
            let pairs = labels.iter();
            pairs
                .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
                .collect()
        });
        let fields = kind.selectable_fields.iter();
        Index {
            labels: labels.unwrap_or_default(),
            fields: fields
                .map(|path| selectable(document, path).into())
                .collect(),
            uid: meta["uid"].as_str().unwrap_or_default().into(),
            is_deleting: !meta["deletionTimestamp"].is_null(),
            revision_at,
        }
    }
}

/// Kinds by where their objects lie. Of kinds that share a place, the one whose version is stored.
static BY_STORAGE: LazyLock<HashMap<&'static str, &'static Kind>> = LazyLock::new(|| {
    let mut by_storage = HashMap::new();
    for &kind in kinds::all() {
        if !super::convert::is_view(kind) {
            by_storage.entry(kind.storage).or_insert(kind);
        }
    }
    by_storage
});

/// The kind in whose version objects of this kind are stored.
pub fn storage_kind(storage: &str) -> Option<&'static Kind> {
    BY_STORAGE.get(storage).copied()
}

/// The store's [`annotate`](crate::store::Options): makes the index of an entry read back from disk.
pub fn annotate(key: &str, bytes: &[u8]) -> Note {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let storage = key[1..].split('/').next().unwrap_or_default();
    let at = Template::new(&document).revision_at();
    let index = storage_kind(storage).map(|kind| Index::of(&document, kind, at));
    Arc::new(index.unwrap_or_default())
}

/// The index beside an entry that this server wrote.
pub fn index(note: &Note) -> &Index {
    note.downcast_ref().expect("every note is an index")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_revision_stands_where_it_belongs() {
        let cases = [
            (
                json!({"apiVersion": "v1", "metadata": {"name": "a", "uid": "u"}, "spec": {}}),
                r#"{"apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7","uid":"u"},"spec":{}}"#,
            ),
            (
                json!({"metadata": {"name": "a", "resourceVersion": "3"}}),
                r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#,
            ),
            (
                json!({"metadata": {}}),
                r#"{"metadata":{"resourceVersion":"7"}}"#,
            ),
            (
                json!({"metadata": {"uid": "u"}}),
                r#"{"metadata":{"resourceVersion":"7","uid":"u"}}"#,
            ),
        ];
        for (document, expected) in cases {
            let template = Template::new(&document);
            let stamped = template.stamped(7);
            assert_eq!(stamped, expected);
            let index = Index {
                revision_at: template.revision_at(),
                ..Index::default()
            };
            let again = restamped(&stamped, &index, 1234);
            assert_eq!(again, expected.replace("\"7\"", "\"1234\""));
        }
    }
}
