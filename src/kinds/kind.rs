//! What the API server needs to know about a kind beyond its schema.

use crate::api::{
    call::Propagation,
    error::Cause,
    name::{Gvr, group_version},
};
use jiff::Timestamp;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// Type of a Table column, as the wire spells it in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    String,
    Integer,
    Boolean,
    Date,
}

/// Computes the cell of one row. `now` is for ages.
pub type Cell = fn(object: &Value, now: Timestamp) -> Value;

/// A column of `kubectl get`.
#[derive(Clone, Copy)]
pub struct Column {
    pub title: &'static str,
    pub column_type: ColumnType,
    /// `name` for the first column, otherwise mostly empty.
    pub format: &'static str,
    /// Shown with `-o wide` only (priority 1).
    pub wide: bool,
    pub cell: Cell,
}

/// The facts an update is judged by.
#[derive(Clone, Copy, Debug)]
pub struct UpdateContext<'a> {
    pub old: &'a Value,
    /// `Some("status")`, `Some("scale")` … when the write goes to a subresource.
    pub subresource: Option<&'a str>,
}

/// How a kind dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Removed at once unless finalizers hold it.
    None,
    /// Pods: marked, stopped by their node, then removed.
    Pod,
}

/// Behavior a schema cannot express. `None` means the generic rule is enough. All hooks are pure.
#[derive(Clone, Copy, Default)]
pub struct Hooks {
    /// Defaults that depend on other fields; runs after the schema's own defaults, on every write.
    pub default: Option<fn(&mut Value)>,
    /// Fields the server owns are set or cleared before the first write: phase, status, generation aside.
    pub prepare_create: Option<fn(&mut Value)>,
    /// Carries over what a client may not change.
    pub prepare_update: Option<fn(&mut Value, UpdateContext<'_>)>,
    /// Every finding about a new object.
    pub validate: Option<fn(&Value) -> Vec<Cause>>,
    /// Every finding about a change; `validate` has run on the new object as well.
    pub validate_update: Option<fn(&Value, UpdateContext<'_>) -> Vec<Cause>>,
    /// Texts for `Warning` headers.
    pub warn: Option<fn(&Value) -> Vec<String>>,
}

impl Hooks {
    pub const NONE: Hooks = Hooks {
        default: None,
        prepare_create: None,
        prepare_update: None,
        validate: None,
        validate_update: None,
        warn: None,
    };
}

/// One built-in kind in one version.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub name: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    /// In discovery's order: `create`, `delete` …
    pub verbs: &'static [&'static str],
    /// `status`, `scale`, `log` …
    pub subresources: &'static [&'static str],
    /// The OpenAPI definition: `io.k8s.api.apps.v1.Deployment`.
    pub definition: &'static str,
    /// Where objects of this kind lie in the store: `deployments.apps`. Two versions of one kind share it. Empty for
    /// kinds that are answered and never stored (reviews, bindings, component statuses).
    pub storage: &'static str,
    /// Fields besides `metadata.name` and `metadata.namespace` that field selectors may name.
    pub selectable_fields: &'static [&'static str],
    /// Whether `metadata.generation` is kept, and moves when `spec` (or, without a spec, the content) changes.
    pub has_generation: bool,
    /// PUT without resourceVersion is refused when false.
    pub unconditional_update: bool,
    /// PUT of a missing object creates it.
    pub create_on_update: bool,
    /// What DELETE does with dependents when the client does not say.
    pub default_propagation: Propagation,
    pub grace: Grace,
    pub columns: &'static [Column],
    pub hooks: Hooks,
}

/// What nearly every kind allows.
const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

impl Kind {
    /// A namespaced kind with every verb and no peculiarity, to be completed with `..`.
    /// `names` are the Kind, the singular and the plural.
    pub const fn row(
        group: &'static str,
        version: &'static str,
        names: [&'static str; 3],
        definition: &'static str,
        storage: &'static str,
    ) -> Kind {
        let [name, singular, plural] = names;
        Kind {
            group,
            version,
            name,
            plural,
            singular,
            short: &[],
            categories: &[],
            scope: Scope::Namespaced,
            verbs: ALL_VERBS,
            subresources: &[],
            definition,
            storage,
            selectable_fields: &[],
            has_generation: false,
            unconditional_update: true,
            create_on_update: false,
            default_propagation: Propagation::Background,
            grace: Grace::None,
            columns: &[],
            hooks: Hooks::NONE,
        }
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// False for kinds that are answered on the spot.
    pub fn is_stored(&self) -> bool {
        !self.storage.is_empty()
    }

    pub fn gvr(&self) -> Gvr {
        Gvr::new(self.group, self.version, self.plural)
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn group_version(&self) -> String {
        group_version(self.group, self.version)
    }
}
