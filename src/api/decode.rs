//! Text to documents: JSON and YAML, noticing keys that stand twice.
//!
//! Nesting is bounded by the parsers (128 levels), size by whoever reads the body. Of two equal keys the last wins.
//! Error texts for JSON are Go's where the parser's reason has a counterpart.

use super::call::Document;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{collections::HashSet, fmt};

/// Opened and not closed. Texts inside a document may hold some.
const BRACKETS_MAX: usize = 10_000;
/// Further duplicates are not told.
const DUPLICATES_MAX: usize = 100;

pub fn json(text: &[u8]) -> Result<Document, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mut document = Document::default();
    let mut path = String::new();
    let seed = Node {
        path: &mut path,
        duplicates: &mut document.duplicates,
    };
    let value = seed.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    document.value = value.map_err(|error| go_message(&error, text))?;
    Ok(document)
}

/// One YAML document. Numbers and booleans as keys become text, as JSON needs it.
pub fn yaml(text: &[u8]) -> Result<Document, String> {
    if nests_without_end(text) {
        return Err("error converting YAML to JSON: yaml: exceeded max depth".to_owned());
    }
    let deserializer = serde_yaml_ng::Deserializer::from_slice(text);
    let mut document = Document::default();
    let mut path = String::new();
    let seed = Node {
        path: &mut path,
        duplicates: &mut document.duplicates,
    };
    let value = seed.deserialize(deserializer);
    document.value =
        value.map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))?;
    Ok(document)
}

/// The parser's own limit comes after it has read everything, which takes long for brackets alone.
fn nests_without_end(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    text.iter().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > BRACKETS_MAX
    })
}

/// What upstream's strict YAML reader says of keys that stand twice: `line 10: key "foo" already set in map`. Lines are
/// found in block style only; elsewhere the text names the first line.
pub fn yaml_duplicates(text: &[u8]) -> Vec<String> {
    let Ok(document) = yaml(text) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(text);
    let mut lines = repeated_lines(&text);
    let last_key = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let told = document.duplicates.iter().map(|path| {
        let key = last_key(path);
        let found = lines.iter().position(|(_, repeated)| *repeated == key);
        let line = found.map_or(1, |index| lines.remove(index).0);
        format!("line {line}: key {key:?} already set in map")
    });
    told.collect()
}

/// Numbers (from one) and keys of lines that repeat a key of their block.
fn repeated_lines(text: &str) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, HashSet<&str>)> = Vec::new();
    let mut repeated = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        let mut indent = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        while let Some(item) = rest.strip_prefix("- ") {
            blocks.retain(|(column, _)| *column <= indent);
            let trimmed = item.trim_start();
            indent += rest.len() - trimmed.len();
            rest = trimmed;
        }
        blocks.retain(|(column, _)| *column <= indent);
        let Some((key, after)) = rest.split_once(':') else {
            continue;
        };
        if !(after.is_empty() || after.starts_with(' ')) {
            continue;
        }
        let key = key.trim_end().trim_matches(['"', '\'']);
        match blocks.last_mut() {
            Some((column, keys)) if *column == indent => {
                if !keys.insert(key) {
                    repeated.push((index + 1, key.to_owned()));
                }
            }
            _ => blocks.push((indent, HashSet::from([key]))),
        }
    }
    repeated
}

/// Go's words for serde's reasons.
const MESSAGES: &[(&str, &str)] = &[
    ("expected value", "looking for beginning of value"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    (
        "key must be a string",
        "looking for beginning of object key string",
    ),
    ("trailing comma", "looking for beginning of value"),
    ("trailing characters", "after top-level value"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
    ("invalid number", "in numeric literal"),
];

fn go_message(error: &serde_json::Error, text: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let reason = error.to_string();
    let line = text
        .split(|&byte| byte == b'\n')
        .nth(error.line().saturating_sub(1));
    let byte = line.and_then(|line| line.get(error.column().saturating_sub(1)));
    let message = MESSAGES.iter().find(|(start, _)| reason.starts_with(start));
    match (byte, message) {
        (Some(&byte), Some((_, what))) => {
            let shown = match byte {
                b'\'' => "\\'".to_owned(),
                b'"' => "\"".to_owned(),
                byte => char::from(byte).escape_debug().to_string(),
            };
            format!("invalid character '{shown}' {what}")
        }
        _ => reason,
    }
}

/// Reads one value, with its place for messages.
struct Node<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let start = self.path.len();
        loop {
            self.path.push_str(&format!("[{}]", list.len()));
            let node = Node {
                path: self.path,
                duplicates: self.duplicates,
            };
            let item = items.next_element_seed(node)?;
            self.path.truncate(start);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let start = self.path.len();
        while let Some(key) = entries.next_key_seed(Key)? {
            if start > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let node = Node {
                path: self.path,
                duplicates: self.duplicates,
            };
            let value = entries.next_value_seed(node)?;
            let is_new = object.insert(key, value).is_none();
            if !is_new
                && self.duplicates.len() < DUPLICATES_MAX
                && !self.duplicates.contains(self.path)
            {
                self.duplicates.push(self.path.clone());
            }
            self.path.truncate(start);
        }
        Ok(Value::Object(object))
    }
}

/// A key of an object: text, or a scalar of YAML turned into text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }

    fn visit_string<E>(self, key: String) -> Result<String, E> {
        Ok(key)
    }

    fn visit_bool<E>(self, key: bool) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_i64<E>(self, key: i64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_u64<E>(self, key: u64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_f64<E>(self, key: f64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        Err(E::custom("unsupported map key of type: nil"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::random::Random;
    use serde_json::json;

    #[test]
    fn duplicate_keys_are_named_by_path_and_the_last_wins() {
        let text = br#"{"spec":{"replicas":1,"replicas":2,"replicas":3,"list":[{"a":1},{"a":1,"a":2}]},"kind":"A","kind":"B"}"#;
        let document = json(text).unwrap();
        assert_eq!(
            document.duplicates,
            ["spec.replicas", "spec.list[1].a", "kind"]
        );
        assert_eq!(
            document.value,
            json!({"spec": {"replicas": 3, "list": [{"a": 1}, {"a": 2}]}, "kind": "B"})
        );
    }

    #[test]
    fn json_errors_read_like_gos() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 \"b\"}",
                "invalid character '\"' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            (
                "{1:2}",
                "invalid character '1' looking for beginning of object key string",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(json(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        let deep = "[".repeat(1000);
        assert!(json(deep.as_bytes()).is_err());
    }

    #[test]
    fn yaml_becomes_json() {
        let text = b"apiVersion: v1\nspec:\n  1: a\n  true: b\n  list:\n  - x: 0x10\n  - 1.5\n  text: |\n    foo\n  none: ~\n";
        let document = yaml(text).unwrap();
        assert_eq!(
            document.value,
            json!({"apiVersion": "v1", "spec": {"1": "a", "true": "b", "list": [{"x": 16}, 1.5], "text": "foo\n", "none": null}})
        );
        assert_eq!(yaml(b"{\"a\": [1]}").unwrap().value, json!({"a": [1]}));
        assert!(
            yaml(b"a: [")
                .unwrap_err()
                .starts_with("error converting YAML to JSON: yaml: ")
        );
    }

    #[test]
    fn repeated_yaml_keys_are_told_with_their_line() {
        let text = b"apiVersion: v1\nkind: A\nmetadata:\n  name: x\n  finalizers:\n  - a\nspec:\n  unknown: 1\n  foo: a\n  foo: b\n  items:\n  - foo: 1\n    bar: 2\n    bar: 3\n";
        assert_eq!(
            yaml(text).unwrap().duplicates,
            ["spec.foo", "spec.items[0].bar"]
        );
        assert_eq!(
            yaml_duplicates(text),
            [
                "line 10: key \"foo\" already set in map",
                "line 14: key \"bar\" already set in map"
            ]
        );
    }

    #[test]
    fn random_text_never_panics() {
        let mut random = Random::new(3);
        for _ in 0..5_000 {
            let text = random.text("{}[]\",:-a1 \n|&*#é\\", 24);
            if let Ok(document) = json(text.as_bytes()) {
                let again = serde_json::to_vec(&document.value).unwrap();
                assert_eq!(json(&again).unwrap().value, document.value);
            }
            let _ = yaml(text.as_bytes());
            yaml_duplicates(text.as_bytes());
        }
    }
}
