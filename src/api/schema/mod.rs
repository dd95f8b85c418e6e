//! What is known of the fields of built-in kinds: types, defaults, list and patch strategies.
//!
//! Definitions carry their OpenAPI names (`io.k8s.api.core.v1.Pod`). The facts lie in `assets/schema.tsv` and are parsed
//! definition by definition on first use. Custom resources are not in this table: the functions that take a definition
//! name leave documents of unknown definitions alone. A [`Type`] may also be built by hand, so everything that works on
//! types works for schemas from elsewhere.

mod check;
mod default;
mod normal;
mod prune;
mod table;

pub use check::{check_conversion, check_types};
pub use default::default;
pub use normal::normalize;
pub use prune::prune;
pub use table::{TypeRef, definitions, fingerprint, lookup};

use serde_json::Value;
use std::borrow::Cow;

/// Documents nested deeper than this are refused by the codec; schemas recurse no deeper than their document.
pub const DEPTH_MAX: usize = 128;

/// One definition: an object with named fields.
#[derive(Clone, Debug)]
pub struct Type {
    /// `io.k8s.api.core.v1.PodSpec`.
    pub name: Cow<'static, str>,
    /// Sorted by name.
    pub fields: Vec<Field>,
    /// Owned and replaced as a whole by server-side apply.
    pub is_atomic: bool,
    /// `group/version/Kind` of every kind with this definition; the group may be empty.
    pub kinds: Vec<Cow<'static, str>>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: Cow<'static, str>,
    pub shape: Shape,
    pub is_required: bool,
    /// Upstream's encoder leaves the field out when it is zero or empty.
    pub omits_zero: bool,
    pub default: Option<Value>,
    /// How strategic merge patch treats the field.
    pub patch: PatchStrategy,
    /// How server-side apply treats a list; atomic when the field is no list.
    pub list: ListKind,
    /// Says otherwise than the field's type whether its map or object is atomic.
    pub is_atomic: Option<bool>,
}

#[derive(Clone, Debug)]
pub enum Shape {
    String,
    /// Base64 text.
    Bytes,
    Int32,
    Int64,
    Double,
    Boolean,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON value.
    Any,
    /// Any JSON object: embedded documents of other kinds.
    Free,
    /// A JSON schema, or a list of them.
    SchemaOrArray,
    /// A JSON schema, or a boolean.
    SchemaOrBool,
    /// A JSON schema, or a list of names.
    SchemaOrStrings,
    List(Box<Shape>),
    /// Keys are strings.
    Map(Box<Shape>),
    Object(TypeRef),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged instead of replaced.
    pub merge: bool,
    /// Objects are replaced instead of merged.
    pub replace: bool,
    /// The patch may name the keys to keep.
    pub retain_keys: bool,
    /// Identifies list items; `None` for lists of scalars.
    pub merge_key: Option<Cow<'static, str>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    /// Items are objects identified by these fields.
    Map(Vec<Cow<'static, str>>),
}

impl Type {
    pub fn field(&self, name: &str) -> Option<&Field> {
        let found = self
            .fields
            .binary_search_by(|field| field.name.as_ref().cmp(name));
        found.ok().map(|index| &self.fields[index])
    }

    /// `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }
}

impl Shape {
    /// The type of the object, or of the objects in the list or map.
    pub fn element_type(&self) -> Option<&Type> {
        match self {
            Shape::Object(reference) => Some(reference.get()),
            Shape::List(shape) | Shape::Map(shape) => shape.element_type(),
            Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
                lookup(JSON_SCHEMA)
            }
            _ => None,
        }
    }
}

const JSON_SCHEMA: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

#[cfg(test)]
mod tests;
