//! A request to the API and its answer, apart from HTTP: what `client` sends and the registry serves.
//!
//! `apiserver` turns HTTP into a [`Call`] and a [`Reply`] back into HTTP; in-process clients skip both steps and
//! share the reply's bytes.

use super::name::Gvr;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// As RBAC rules and messages spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// Who asks, after authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// As reviews show it: `authentication.k8s.io/v1` UserInfo.
    #[must_use]
    pub fn info(&self) -> Value {
        let mut info = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            info["uid"] = self.uid.as_str().into();
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }

    /// A component of ours: `system:kube-scheduler`, member of `system:authenticated` and `groups`.
    pub fn component(name: &str, groups: &[&str]) -> User {
        let mut all: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        all.push("system:authenticated".to_owned());
        User {
            name: name.to_owned(),
            groups: all,
            ..User::default()
        }
    }
}

/// A body that was decoded, with what strict decoding has to say about its text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    pub value: Value,
    /// Paths of fields that stood twice: `spec.replicas`. Unknown fields are found later, by the schema.
    pub duplicates: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

#[derive(Clone, Debug, Default)]
pub enum Body {
    #[default]
    None,
    /// Of create, update and of subresources that take a document.
    Document(Document),
    /// The text of a patch; `Apply` may be YAML.
    Patch(PatchKind, Bytes),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// `DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// The old `orphanDependents`, for the clients that still send it.
    pub orphan_dependents: Option<bool>,
}

/// Query options, still as text where only the registry can judge them.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    pub limit: Option<u64>,
    pub continue_token: Option<String>,
    pub resource_version: Option<String>,
    pub resource_version_match: Option<String>,
    pub send_initial_events: Option<bool>,
    pub allow_watch_bookmarks: bool,
    pub timeout: Option<Duration>,
    pub dry_run: bool,
    pub field_manager: Option<String>,
    pub field_validation: FieldValidation,
    pub force: Option<bool>,
    pub delete: DeleteOptions,
}

/// One request. `name` is `None` for collections (and for create, where the body names the object, except when a
/// subresource of a named object is created).
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    pub resource: Gvr,
    /// `None`: cluster scope, or all namespaces.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    pub body: Body,
    pub options: Options,
}

impl Call {
    pub fn new(verb: Verb, resource: Gvr) -> Call {
        Call {
            verb,
            resource,
            namespace: None,
            name: None,
            subresource: None,
            body: Body::None,
            options: Options::default(),
        }
    }

    #[must_use]
    pub fn named(mut self, namespace: &str, name: &str) -> Call {
        self.namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        self.name = (!name.is_empty()).then(|| name.to_owned());
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
        }
    }
}

/// One event of a watch. `object` is the whole JSON document (a `Status` for `Error`).
#[derive(Clone, Debug)]
pub struct WatchEvent {
    pub event: EventType,
    pub object: Bytes,
    /// Zero for `Error`.
    pub revision: u64,
}

/// The items of a list, each the stored JSON document with `kind` and `apiVersion`.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub api_version: String,
    /// `PodList`.
    pub kind: String,
    pub revision: u64,
    pub continue_token: Option<String>,
    pub remaining: Option<u64>,
    pub items: Vec<Bytes>,
}

pub enum Outcome {
    /// A whole object. `created` tells 201 from 200.
    Object {
        bytes: Bytes,
        created: bool,
    },
    /// A `Status`, as deletes and bindings answer; `code` is the HTTP status.
    Status {
        code: u16,
        bytes: Bytes,
    },
    List(List),
    /// Ends when the server ends the watch; after an `Error` event nothing follows.
    Watch(BoxStream<'static, WatchEvent>),
}

impl Outcome {
    /// The HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            Outcome::Object { created: true, .. } => 201,
            Outcome::Status { code, .. } => *code,
            _ => 200,
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Object { bytes, created } => {
                write!(f, "Object({} bytes, created: {created})", bytes.len())
            }
            Outcome::Status { code, bytes } => write!(f, "Status({code}, {} bytes)", bytes.len()),
            Outcome::List(list) => write!(f, "List({} items)", list.items.len()),
            Outcome::Watch(_) => f.write_str("Watch"),
        }
    }
}

#[derive(Debug)]
pub struct Reply {
    pub outcome: Outcome,
    /// Texts for `Warning: 299` headers.
    pub warnings: Vec<String>,
}

impl From<Outcome> for Reply {
    fn from(outcome: Outcome) -> Reply {
        Reply {
            outcome,
            warnings: Vec::new(),
        }
    }
}
