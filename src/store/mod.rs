//! A revisioned, watchable map from keys to bytes over sled. Has never heard of Kubernetes.
//!
//! Contract (the owner of this module implements it; see ARCHITECTURE D3 and the spike's findings on sled):
//! one writer thread, group commit, acknowledged means durable, one global revision, history for watches.

mod kinds_of_write;

pub use kinds_of_write::{Entry, Event, Expect, Note, Revision, Write, WriteError, Written};
