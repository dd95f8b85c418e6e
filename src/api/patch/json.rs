//! JSON patch (RFC 6902), with negative list indexes as upstream has them.

use super::{COPY_BYTES_MAX, OPERATIONS_MAX, PatchError};
use crate::api::decode;
use serde_json::{Map, Value};

/// The document after all operations; on failure none has happened.
pub fn apply(document: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations = operations(patch)?;
    let mut result = document.clone();
    let mut copied = 0;
    for operation in &operations {
        operate(&mut result, operation, &mut copied)?;
    }
    Ok(result)
}

/// Members of operations that RFC 6902 does not know, as strict validation names them:
/// `json patch unknown field "[0].foo"`.
pub fn unknown_fields(patch: &[u8]) -> Vec<String> {
    let Ok(operations) = operations(patch) else {
        return Vec::new();
    };
    let known = ["op", "path", "from", "value"];
    let mut unknown = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let names = operation
            .keys()
            .filter(|name| !known.contains(&name.as_str()));
        unknown.extend(names.map(|name| format!("json patch unknown field \"[{index}].{name}\"")));
    }
    unknown
}

fn operations(patch: &[u8]) -> Result<Vec<Map<String, Value>>, PatchError> {
    let parsed = decode::json(patch).map_err(PatchError::Malformed)?.value;
    let Value::Array(items) = parsed else {
        let what = if parsed.is_object() {
            "object"
        } else {
            "value"
        };
        return Err(PatchError::Malformed(format!(
            "json: cannot unmarshal {what} into Go value of type jsonpatch.Patch"
        )));
    };
    if items.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            items.len()
        )));
    }
    let operations = items.into_iter().map(|item| match item {
        Value::Object(operation) => Ok(operation),
        _ => Err(PatchError::Malformed(
            "json: cannot unmarshal value into Go value of type jsonpatch.Operation".to_owned(),
        )),
    });
    operations.collect()
}

fn operate(
    document: &mut Value,
    operation: &Map<String, Value>,
    copied: &mut usize,
) -> Result<(), PatchError> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let path = |name: &str| {
        let text = text(name).ok_or_else(|| rejected(&format!("missing `{name}`")))?;
        Pointer::parse(text)
    };
    let value = || operation.get("value").cloned().unwrap_or_default();
    match text("op").unwrap_or_default() {
        "add" => add(document, &path("path")?, value()),
        "remove" => remove(document, &path("path")?).map(|_| ()),
        "replace" => {
            let place = path("path")?.find_mut(document)?;
            *place = value();
            Ok(())
        }
        "move" => {
            let (from, to) = (path("from")?, path("path")?);
            if to.starts_with(&from) && to.0.len() > from.0.len() {
                return Err(rejected("a value cannot move into itself"));
            }
            let value = remove(document, &from)?;
            add(document, &to, value)
        }
        "copy" => {
            let value = path("from")?.find_mut(document)?.clone();
            *copied += value.to_string().len();
            if *copied > COPY_BYTES_MAX {
                return Err(PatchError::TooLarge(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the \
                     limit {COPY_BYTES_MAX}"
                )));
            }
            add(document, &path("path")?, value)
        }
        "test" => match path("path")?.find_mut(document) {
            Ok(found) if *found == value() => Ok(()),
            // An absent value equals null.
            Err(_) if value().is_null() => Ok(()),
            _ => Err(rejected("testing value failed")),
        },
        other => Err(rejected(&format!("Unexpected kind: {other}"))),
    }
}

fn rejected(why: &str) -> PatchError {
    PatchError::Rejected(why.to_owned())
}

#[derive(PartialEq, Eq)]
struct Pointer(Vec<String>);

impl Pointer {
    fn parse(text: &str) -> Result<Pointer, PatchError> {
        if text.is_empty() {
            return Ok(Pointer(Vec::new()));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(rejected("a path starts with a slash"));
        };
        let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
        Ok(Pointer(rest.split('/').map(unescape).collect()))
    }

    fn starts_with(&self, other: &Pointer) -> bool {
        self.0.starts_with(&other.0)
    }

    fn find_mut<'a>(&self, document: &'a mut Value) -> Result<&'a mut Value, PatchError> {
        self.0.iter().try_fold(document, |value, name| {
            let found = match value {
                Value::Object(object) => object.get_mut(name),
                Value::Array(items) => {
                    let index = index(name, items.len(), items.len())?;
                    items.get_mut(index)
                }
                _ => None,
            };
            found.ok_or_else(|| rejected("a path leads nowhere"))
        })
    }

    /// The container of the value, and the value's name in it; `None` for the whole document.
    fn parent<'a, 'b>(
        &'b self,
        document: &'a mut Value,
    ) -> Result<Option<(&'a mut Value, &'b str)>, PatchError> {
        let Some((last, rest)) = self.0.split_last() else {
            return Ok(None);
        };
        let parent = rest.iter().try_fold(document, |value, name| {
            Pointer(vec![name.clone()]).find_mut(value)
        });
        Ok(Some((parent?, last)))
    }
}

/// Counts from the end when negative. At most `max` (one past the end for additions).
fn index(name: &str, length: usize, max: usize) -> Result<usize, PatchError> {
    let number: i64 = name
        .parse()
        .map_err(|_| rejected("a list has no such index"))?;
    let counted = if number < 0 {
        number + max as i64
    } else {
        number
    };
    match usize::try_from(counted) {
        Ok(index) if index < max.max(length) => Ok(index),
        _ => Err(rejected("a list index is out of bounds")),
    }
}

fn add(document: &mut Value, path: &Pointer, value: Value) -> Result<(), PatchError> {
    match path.parent(document)? {
        None => *document = value,
        Some((Value::Object(object), name)) => {
            object.insert(name.to_owned(), value);
        }
        Some((Value::Array(items), "-")) => items.push(value),
        Some((Value::Array(items), name)) => {
            let index = index(name, items.len(), items.len() + 1)?;
            items.insert(index, value);
        }
        Some(_) => return Err(rejected("only objects and lists have members")),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &Pointer) -> Result<Value, PatchError> {
    match path.parent(document)? {
        None => Ok(document.take()),
        Some((Value::Object(object), name)) => object
            .remove(name)
            .ok_or_else(|| rejected("a path leads nowhere")),
        Some((Value::Array(items), name)) => {
            let index = index(name, items.len(), items.len())?;
            Ok(items.remove(index))
        }
        Some(_) => Err(rejected("only objects and lists have members")),
    }
}
