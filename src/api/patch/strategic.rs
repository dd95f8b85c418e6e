//! Strategic merge patch: a merge patch that knows how the lists of built-in kinds are to be merged, and directives.
//!
//! | directive | where | does |
//! |---|---|---|
//! | `$patch: replace` | object | the object is replaced by the rest of the patch |
//! | `$patch: delete` | object | the object is emptied; in a list, the item goes |
//! | `$patch: replace` | item of a list | the list is replaced by the other items |
//! | `$retainKeys` | object | keys not named go |
//! | `$setElementOrder/x` | beside `x` | the relative order of `x`'s items |
//! | `$deleteFromPrimitiveList/x` | beside `x` | scalars that leave `x` |

use super::{
    PatchError,
    order::{Positions, arrange, identity},
};
use crate::api::schema::{PatchStrategy, Shape, Type, lookup};
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder";
const DELETIONS: &str = "$deleteFromPrimitiveList";

type Object = Map<String, Value>;

/// Changes the document in place; after an error it is in an undefined state.
pub fn apply(document: &mut Value, patch: &Value, definition: &str) -> Result<(), PatchError> {
    let (Some(object), Some(changes)) = (document.as_object_mut(), patch.as_object()) else {
        return Err(PatchError::Malformed("invalid JSON document".to_owned()));
    };
    let known = lookup(definition).map_or(Known::Nothing, Known::Type);
    merge_object(object, changes, known)
}

/// What is known of an object's members.
#[derive(Clone, Copy)]
enum Known<'a> {
    Type(&'a Type),
    /// A map: all members are alike.
    Each(&'a Shape),
    Nothing,
}

struct Member<'a> {
    known: Known<'a>,
    strategy: PatchStrategy,
}

impl<'a> Known<'a> {
    fn member(self, name: &str) -> Member<'a> {
        let field = match self {
            Known::Type(schema) => schema.field(name),
            Known::Each(_) | Known::Nothing => None,
        };
        let shape = match self {
            Known::Each(shape) => Some(shape),
            _ => field.map(|field| &field.shape),
        };
        Member {
            known: shape.map_or(Known::Nothing, Known::of),
            strategy: field.map(|field| field.patch.clone()).unwrap_or_default(),
        }
    }

    /// Of an object, or of the items of a list.
    fn of(shape: &'a Shape) -> Known<'a> {
        match shape {
            Shape::Object(reference) => Known::Type(reference.get()),
            Shape::Map(item) => Known::Each(item),
            Shape::List(item) => Known::of(item),
            _ => shape.element_type().map_or(Known::Nothing, Known::Type),
        }
    }
}

fn merge_object(object: &mut Object, patch: &Object, known: Known<'_>) -> Result<(), PatchError> {
    match patch.get(DIRECTIVE).map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            *object = plain_object(patch);
            return Ok(());
        }
        Some(Some("delete")) => {
            object.clear();
            return Ok(());
        }
        Some(_) => return Err(unknown_directive(patch)),
    }
    retain_keys(object, patch)?;
    for (name, wanted) in directed(patch, ORDER)? {
        let member = known.member(name);
        merge_ordered(object, name, patch.get(name), wanted, &member)?;
    }
    for (name, change) in patch {
        let is_ordered = || patch.contains_key(&format!("{ORDER}/{name}"));
        if name.starts_with('$') && is_directive(name) || change.is_array() && is_ordered() {
            continue;
        }
        if change.is_null() {
            object.remove(name);
            continue;
        }
        merge_member(object, name, change, &known.member(name))?;
    }
    for (name, gone) in directed(patch, DELETIONS)? {
        if let Some(Value::Array(items)) = object.get_mut(name) {
            items.retain(|item| !gone.contains(item));
        }
    }
    Ok(())
}

fn is_directive(name: &str) -> bool {
    [DIRECTIVE, RETAIN_KEYS].contains(&name)
        || [ORDER, DELETIONS]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The lists of `<prefix>/<name>` members.
fn directed<'a>(
    patch: &'a Object,
    prefix: &str,
) -> Result<Vec<(&'a str, &'a Vec<Value>)>, PatchError> {
    let malformed = || {
        PatchError::Malformed(match prefix {
            ORDER => "invalid patch format of setElementOrder list".to_owned(),
            _ => "invalid patch format of primitive list".to_owned(),
        })
    };
    let named = patch.iter().filter(|(name, _)| name.starts_with(prefix));
    let lists = named.map(|(name, value)| {
        let name = name[prefix.len()..]
            .strip_prefix('/')
            .ok_or_else(malformed)?;
        Ok((name, value.as_array().ok_or_else(malformed)?))
    });
    lists.collect()
}

fn retain_keys(object: &mut Object, patch: &Object) -> Result<(), PatchError> {
    let Some(directive) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let malformed = || PatchError::Rejected("invalid patch format of retainKeys".to_owned());
    let kept: Vec<&str> = directive
        .as_array()
        .ok_or_else(malformed)?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let is_kept = |name: &String| kept.contains(&name.as_str());
    let strays = patch
        .iter()
        .any(|(name, value)| !value.is_null() && !is_directive(name) && !is_kept(name));
    if strays {
        return Err(malformed());
    }
    object.retain(|name, _| is_kept(name));
    Ok(())
}

fn merge_member(
    object: &mut Object,
    name: &str,
    change: &Value,
    member: &Member<'_>,
) -> Result<(), PatchError> {
    match (object.get_mut(name), change) {
        (Some(Value::Object(old)), Value::Object(new)) if !member.strategy.replace => {
            merge_object(old, new, member.known)
        }
        (Some(Value::Array(old)), Value::Array(new)) if member.strategy.merge => {
            *old = merge_list(std::mem::take(old), new, None, member)?;
            Ok(())
        }
        _ => {
            object.insert(name.to_owned(), plain(change));
            Ok(())
        }
    }
}

/// A list whose items' order the patch prescribes. The items the patch changes may be missing altogether.
fn merge_ordered(
    object: &mut Object,
    name: &str,
    change: Option<&Value>,
    wanted: &[Value],
    member: &Member<'_>,
) -> Result<(), PatchError> {
    let malformed =
        || PatchError::Malformed("invalid patch format of setElementOrder list".to_owned());
    let changes = match change {
        None => &[][..],
        Some(change) => change.as_array().ok_or_else(malformed)?,
    };
    let merge_key = member.strategy.merge_key.as_deref();
    check_order(changes, wanted, merge_key)?;
    let old = match object.remove(name) {
        Some(Value::Array(old)) => old,
        Some(_) => return Err(malformed()),
        None if change.is_none() => return Ok(()),
        None => Vec::new(),
    };
    let list = if member.strategy.merge {
        merge_list(old, changes, Some(wanted), member)?
    } else if change.is_some() {
        plain_list(changes)
    } else {
        old
    };
    object.insert(name.to_owned(), Value::Array(list));
    Ok(())
}

/// Items of the patch must stand in the prescribed order, and nowhere but in it.
fn check_order(
    changes: &[Value],
    wanted: &[Value],
    merge_key: Option<&str>,
) -> Result<(), PatchError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let positions = Positions::of(wanted, merge_key);
    let mut last = None;
    for change in changes
        .iter()
        .filter(|change| change.get(DIRECTIVE).is_none())
    {
        let identity =
            identity(change, merge_key).ok_or_else(|| no_merge_key(change, merge_key))?;
        let position = positions.get(&identity);
        if position.is_none() || position < last {
            return Err(PatchError::Unmergeable(format!(
                "The order in patch list:\n{}\n doesn't match {ORDER} list:\n{}\n",
                go_list(changes),
                go_list(wanted)
            )));
        }
        last = position;
    }
    Ok(())
}

/// `wanted` is the prescribed order; without one the patch's own order counts.
fn merge_list(
    old: Vec<Value>,
    changes: &[Value],
    wanted: Option<&[Value]>,
    member: &Member<'_>,
) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && changes.is_empty() {
        return Ok(old);
    }
    if old.iter().chain(changes).any(Value::is_array) {
        return Err(PatchError::Rejected(
            "lists of lists are not supported".to_owned(),
        ));
    }
    let merge_key = member.strategy.merge_key.as_deref();
    let server = Positions::of(&old, merge_key);
    let merged = match merge_key {
        None => merge_scalars(old, changes),
        Some(key) => merge_items(old, changes, key, member.known)?,
    };
    let wanted = Positions::of(wanted.unwrap_or(changes), merge_key);
    Ok(arrange(merged, &wanted, &server, merge_key))
}

fn merge_scalars(mut old: Vec<Value>, changes: &[Value]) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    old.extend_from_slice(changes);
    old.retain(|item| seen.insert(item.to_string()));
    old
}

fn merge_items(
    mut items: Vec<Value>,
    changes: &[Value],
    key: &str,
    known: Known<'_>,
) -> Result<Vec<Value>, PatchError> {
    let mut plain_changes = Vec::new();
    let mut is_replaced = false;
    for change in changes {
        let Some(object) = change.as_object() else {
            return Err(PatchError::Unmergeable(format!(
                "list element types are not identical: {}",
                go_list(changes)
            )));
        };
        match object.get(DIRECTIVE).map(Value::as_str) {
            None => plain_changes.push((change, object)),
            Some(Some("delete")) => {
                let gone = change
                    .get(key)
                    .ok_or_else(|| no_merge_key(change, Some(key)))?;
                items.retain(|item| item.get(key) != Some(gone));
            }
            Some(Some("replace")) => is_replaced = true,
            Some(Some("merge")) => {
                let text = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Unmergeable(text.to_owned()));
            }
            Some(_) => return Err(unknown_directive(object)),
        }
    }
    if is_replaced {
        return Ok(plain_changes
            .into_iter()
            .map(|(change, _)| plain(change))
            .collect());
    }
    let positions = Positions::of(&items, Some(key));
    let mut added: Vec<Value> = Vec::new();
    let mut added_at = std::collections::HashMap::new();
    for (change, object) in plain_changes {
        let identity =
            identity(change, Some(key)).ok_or_else(|| no_merge_key(change, Some(key)))?;
        let found = match positions.get(&identity) {
            Some(position) => items.get_mut(position),
            None => added_at
                .get(&identity)
                .and_then(|&position: &usize| added.get_mut(position)),
        };
        match found.and_then(Value::as_object_mut) {
            Some(item) => merge_object(item, object, known)?,
            None => {
                added_at.insert(identity, added.len());
                added.push(plain(change));
            }
        }
    }
    items.append(&mut added);
    Ok(items)
}

/// A patch's value where there is nothing to merge it into: without directives and nulls.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(plain_object(object)),
        Value::Array(items) => Value::Array(plain_list(items)),
        scalar => scalar.clone(),
    }
}

fn plain_object(object: &Object) -> Object {
    if object.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
        return Object::new();
    }
    let members = object
        .iter()
        .filter(|(name, value)| !is_directive(name) && !value.is_null());
    members
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect()
}

fn plain_list(items: &[Value]) -> Vec<Value> {
    let is_content = |item: &&Value| match item.get(DIRECTIVE).and_then(Value::as_str) {
        Some("delete") => false,
        Some("replace") => item.as_object().is_some_and(|object| object.len() > 1),
        _ => true,
    };
    items.iter().filter(is_content).map(plain).collect()
}

fn no_merge_key(item: &Value, key: Option<&str>) -> PatchError {
    PatchError::Unmergeable(format!(
        "map: {} does not contain declared merge key: {}",
        go(item),
        key.unwrap_or_default()
    ))
}

fn unknown_directive(patch: &Object) -> PatchError {
    let directive = patch.get(DIRECTIVE).map(go).unwrap_or_default();
    let text = go(&Value::Object(patch.clone()));
    PatchError::Unmergeable(format!("unknown patch type: {directive} in map: {text}"))
}

/// As Go prints it with `%v`.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => go_list(items),
        Value::Object(object) => {
            let members = object
                .iter()
                .map(|(name, value)| format!("{name}:{}", go(value)));
            format!("map[{}]", members.collect::<Vec<_>>().join(" "))
        }
        scalar => scalar.to_string(),
    }
}

fn go_list(items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(go).collect();
    format!("[{}]", items.join(" "))
}
