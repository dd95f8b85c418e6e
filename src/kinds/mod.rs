//! The catalogue of built-in kinds. A kind is one row; everything else follows from it.
//!
//! Rows are constants, a file per family of API groups. Custom resources are not here: their rows are made at run
//! time from their definitions.

mod behavior;
pub mod columns;
mod defaults;
mod kind;

pub mod validate;

mod access;
mod core;
mod extension;
mod networking;
mod storage;
mod system;
mod workloads;

pub use kind::{Cell, Column, ColumnType, Grace, Hooks, Kind, Scope, UpdateContext};

use std::sync::LazyLock;

/// One slice per group version, in the order discovery shows them.
const GROUPS: &[&[Kind]] = &[
    core::CORE,
    extension::APIREGISTRATION,
    workloads::APPS,
    system::EVENTS,
    access::AUTHENTICATION,
    access::AUTHORIZATION,
    workloads::AUTOSCALING_V2,
    workloads::AUTOSCALING,
    workloads::BATCH,
    access::CERTIFICATES,
    networking::NETWORKING,
    workloads::POLICY,
    access::RBAC,
    storage::STORAGE,
    extension::ADMISSIONREGISTRATION,
    extension::APIEXTENSIONS,
    workloads::SCHEDULING,
    system::COORDINATION,
    storage::NODE,
    networking::DISCOVERY,
    extension::FLOWCONTROL,
    storage::RESOURCE,
    system::METRICS,
];

static ALL: LazyLock<Vec<&'static Kind>> =
    LazyLock::new(|| GROUPS.iter().copied().flatten().collect());

/// Every built-in kind in every served version; group versions in discovery's order, kinds by plural within.
pub fn all() -> &'static [&'static Kind] {
    &ALL
}

/// By the names a request path carries.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    group_version(group, version)
        .iter()
        .find(|kind| kind.plural == plural)
}

/// By the names a document carries.
pub fn find_kind(group: &str, version: &str, name: &str) -> Option<&'static Kind> {
    group_version(group, version)
        .iter()
        .find(|kind| kind.name == name)
}

/// The kinds of one group version; empty when it is not served.
pub fn group_version(group: &str, version: &str) -> &'static [Kind] {
    let wanted = |kinds: &&&[Kind]| kinds[0].group == group && kinds[0].version == version;
    GROUPS.iter().find(wanted).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
