//! What a valid object is, kind by kind, in upstream's words (API chapter 14).
//!
//! Pure functions over documents that have been decoded, pruned and defaulted. The rows of the catalogue name them as
//! hooks; metadata is judged for every kind alike, see [`metadata`].

pub mod finding;
pub mod format;
pub mod labels;
mod metadata;
mod resources;

pub mod pod;
pub mod webhook;
pub mod workload;

pub mod job;

pub mod config;
pub mod endpoints;
pub mod event;
pub mod network;
pub mod node;
pub mod quota;
pub mod scaling;
pub mod service;
pub mod storage;

pub mod access;

pub use metadata::{metadata, metadata_update, name_complaints};

#[cfg(test)]
mod tests;
