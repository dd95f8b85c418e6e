//! What Kubernetes' API documentation says of definitions and their fields, for `kubectl explain`.
//!
//! The texts lie packed in the binary (`assets/descriptions.tsv.zz`, written by `scripts/descriptions.py`). They are
//! unpacked for one document and dropped with it: an idle server keeps none of them.

use crate::api::schema;
use flate2::read::ZlibDecoder;
use serde_json::Value;
use std::{collections::HashMap, io::Read, ops::Range, sync::LazyLock};

const PACKED: &[u8] = include_bytes!("../../../assets/descriptions.tsv.zz");

/// Changes when the texts do.
pub fn fingerprint() -> u64 {
    static HASH: LazyLock<u64> = LazyLock::new(|| schema::fingerprint(PACKED));
    *HASH
}

pub struct Descriptions {
    text: String,
    /// The lines of each definition, its own first.
    places: HashMap<String, Range<usize>>,
}

impl Descriptions {
    pub fn unpack() -> Descriptions {
        let mut text = String::new();
        ZlibDecoder::new(PACKED)
            .read_to_string(&mut text)
            .expect("the texts were packed by our own script");
        let mut places = HashMap::new();
        let mut start = 0;
        while let Some(name) = text[start..].strip_prefix('@') {
            let end = text[start..].find("\n@");
            let end = end.map_or(text.len(), |length| start + length + 1);
            let name = name.split('\t').next().unwrap_or_default();
            places.insert(name.to_owned(), start..end);
            start = end;
        }
        Descriptions { text, places }
    }

    /// Adds the texts to a definition's schema.
    pub fn describe(&self, definition: &str, schema: &mut Value) {
        let Some(place) = self.places.get(definition) else {
            return;
        };
        for line in self.text[place.clone()].lines() {
            let (name, text) = line.split_once('\t').unwrap_or_default();
            let about = match name.strip_prefix('@') {
                Some(_) => Some(&mut *schema),
                None => schema["properties"].get_mut(name),
            };
            if let Some(about) = about.filter(|_| !text.is_empty()) {
                about["description"] = text.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn definitions_and_fields_have_texts() {
        let all = Descriptions::unpack();
        let mut schema = json!({"properties": {"replicas": {"type": "integer"}, "unknown": {}}});
        all.describe("io.k8s.api.apps.v1.DeploymentSpec", &mut schema);
        let text = schema["description"].as_str().unwrap();
        assert!(
            text.starts_with("DeploymentSpec is the specification"),
            "{text}"
        );
        let text = schema["properties"]["replicas"]["description"].as_str();
        assert!(text.unwrap().starts_with("Number of desired pods."));
        assert_eq!(schema["properties"]["unknown"], json!({}));
    }

    #[test]
    fn hardly_any_field_is_without_a_text() {
        let all = Descriptions::unpack();
        let (mut with, mut without) = (0, Vec::new());
        // The crate has one generic type for all lists.
        let names = schema::definitions().filter(|name| name.starts_with("io.k8s.api."));
        for name in names.filter(|name| !name.ends_with("List")) {
            let known = schema::lookup(name).unwrap();
            let fields = known.fields.iter();
            let properties: Value = fields
                .map(|field| (field.name.to_string(), json!({})))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let mut schema = json!({"properties": properties});
            all.describe(name, &mut schema);
            for (field, said) in schema["properties"].as_object().unwrap() {
                match said["description"].is_string() {
                    true => with += 1,
                    false => without.push(format!("{name}.{field}")),
                }
            }
        }
        assert!(
            without.len() * 50 < with,
            "{with} with, without: {without:?}"
        );
    }
}
