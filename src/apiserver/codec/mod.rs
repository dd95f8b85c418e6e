//! Replies as HTTP bodies: the form a client asked for, made of the registry's shared bytes.
//!
//! JSON is spliced without being read; only Tables, metadata, YAML and indented text look inside the documents.

pub mod accept;
pub mod protobuf;
pub mod table;
pub mod watch;

pub use accept::{Circumstances, Format, Shape, Wanted, is_person, negotiate};

use super::listen::answer::{self, Answer, JSON};
use crate::{
    api::{
        ApiError,
        call::{List, Outcome, Reply},
        yaml,
    },
    kinds::Kind,
    task::{Stop, clock},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::{Value, json};
use std::collections::VecDeque;
use table::{Include, Table, metadata_only};

const YAML: &str = "application/yaml";
/// All warnings of one answer together, and each one when they are more (as upstream cuts them).
const WARNINGS_MAX: usize = 4096;
const WARNING_MAX: usize = 256;

/// How the replies of one request are written.
#[derive(Clone, Copy)]
pub struct Codec {
    pub wanted: Wanted,
    pub kind: &'static Kind,
    pub include: Include,
}

impl Codec {
    /// `stop` ends watches when the server does.
    pub fn answer(&self, reply: Reply, stop: Stop) -> Result<Answer, ApiError> {
        let mut answer = match reply.outcome {
            Outcome::Object { bytes, created } => {
                self.object(if created { 201 } else { 200 }, bytes)?
            }
            Outcome::Status { code, bytes } => self.plain(code, VecDeque::from([bytes]))?,
            Outcome::List(list) => self.list(list)?,
            Outcome::Watch(events) => watch::answer(*self, events, stop),
        };
        add_warnings(&mut answer, &reply.warnings);
        Ok(answer)
    }

    fn table(&self, api_version: &'static str) -> Table {
        Table {
            kind: self.kind,
            api_version,
            include: self.include,
        }
    }

    fn object(&self, code: u16, bytes: Bytes) -> Result<Answer, ApiError> {
        let shaped = self.shaped(bytes, true)?;
        self.plain(code, VecDeque::from([shaped]))
    }

    /// One document in the wanted shape, as JSON.
    fn shaped(&self, bytes: Bytes, with_columns: bool) -> Result<Bytes, ApiError> {
        let value = match self.wanted.shape {
            Shape::Whole => return Ok(bytes),
            Shape::Metadata(version) => metadata_only(read(&bytes)?, version),
            Shape::Table(version) => {
                let object = read(&bytes)?;
                let table = self.table(version);
                let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let mut shown = table.header(&meta, with_columns);
                shown["rows"] = json!([table.row(object, clock::now())]);
                shown
            }
        };
        Ok(Bytes::from(value.to_string()))
    }

    fn list(&self, list: List) -> Result<Answer, ApiError> {
        let mut meta = json!({"resourceVersion": list.revision.to_string()});
        if let Some(token) = list.continue_token {
            meta["continue"] = token.into();
        }
        if let Some(remaining) = list.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        let (head, items) = match self.wanted.shape {
            Shape::Whole => {
                let head =
                    json!({"kind": list.kind, "apiVersion": list.api_version, "metadata": meta});
                (open(&head, "items"), list.items)
            }
            Shape::Metadata(version) => {
                let head = json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": meta});
                let item = |bytes: Bytes| Ok(metadata_only(read(&bytes)?, version));
                (open(&head, "items"), rewrite(list.items, item)?)
            }
            Shape::Table(version) => {
                let table = self.table(version);
                let now = clock::now();
                let row = |bytes: Bytes| Ok(table.row(read(&bytes)?, now));
                (
                    open(&table.header(&meta, true), "rows"),
                    rewrite(list.items, row)?,
                )
            }
        };
        let mut pieces = VecDeque::with_capacity(items.len() * 2 + 2);
        pieces.push_back(head);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                pieces.push_back(Bytes::from_static(b","));
            }
            pieces.push_back(item);
        }
        pieces.push_back(Bytes::from_static(b"]}"));
        self.plain(200, pieces)
    }

    /// A JSON text in the wanted format.
    fn plain(&self, code: u16, mut json: VecDeque<Bytes>) -> Result<Answer, ApiError> {
        let whole =
            |json: &VecDeque<Bytes>| read(&json.iter().flatten().copied().collect::<Vec<u8>>());
        if self.wanted.format == Format::Protobuf
            && let Some(bytes) = protobuf::encode(&whole(&json)?)
        {
            return Ok(answer::bytes(code, protobuf::MEDIA, bytes));
        }
        match self.wanted.format {
            Format::Yaml => {
                let text = yaml::text(&whole(&json)?);
                Ok(answer::bytes(code, YAML, text))
            }
            _ if self.wanted.is_pretty => {
                let mut text =
                    serde_json::to_string_pretty(&whole(&json)?).map_err(ApiError::internal)?;
                text.push('\n');
                Ok(answer::bytes(code, JSON, text))
            }
            _ => {
                json.push_back(Bytes::from_static(b"\n"));
                Ok(answer::pieces(code, JSON, json))
            }
        }
    }
}

fn read(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(ApiError::internal)
}

/// The text of an object up to the first element of its last field, an array.
fn open(head: &Value, field: &str) -> Bytes {
    let mut text = head.to_string();
    text.pop();
    text.push_str(&format!(",\"{field}\":["));
    Bytes::from(text)
}

fn rewrite(
    items: Vec<Bytes>,
    item: impl Fn(Bytes) -> Result<Value, ApiError>,
) -> Result<Vec<Bytes>, ApiError> {
    let texts = items
        .into_iter()
        .map(|bytes| Ok(Bytes::from(item(bytes)?.to_string())));
    texts.collect()
}

fn add_warnings(answer: &mut Answer, warnings: &[String]) {
    let too_long = warnings.iter().map(String::len).sum::<usize>() > WARNINGS_MAX;
    let mut total = 0;
    for text in warnings {
        let text = match too_long {
            true => text.chars().take(WARNING_MAX).collect(),
            false => text.clone(),
        };
        total += text.len();
        if total > WARNINGS_MAX {
            return;
        }
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        // A text that cannot stand in a header (a line break) is left out, as upstream does.
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests;
